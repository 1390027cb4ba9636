"""Tables for people."""

from rich.console import Console
from rich.table import Table

from herdbook.cli.environment import environment


def new_table(*columns: str) -> Table:
    """Return a table with these columns."""
    return Table(*columns, box=None)


def show(table: Table) -> None:
    """Show a table, as wide as it needs where nobody watches."""
    console = Console(file=environment.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)
