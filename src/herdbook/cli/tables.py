"""Tables for the terminal."""

from rich.console import Console
from rich.table import Table

from herdbook.cli.environment import environment


def new_table(*columns: str) -> Table:
    """Return a table with these columns."""
    return Table(*columns, box=None)


def show(table: Table) -> None:
    """Print a table; off a terminal it gets its full width."""
    console = Console(file=environment.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)
