"""SQL is made of literals, and a domain's statements stand in its stores, as CONTRIBUTING asks."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[1] / "src" / "herdbook"
DOMAINS: Final = sorted(path.parent for path in SOURCE.glob("*/store.py"))
EXECUTORS: Final = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare"}


def _calls_in(path: Path) -> Iterator[ast.Call]:
    """Yield the calls in a file."""
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda path: path.name)
def test_statements_of_a_domain_stand_in_its_stores(domain: Path) -> None:
    """No other file of a domain executes a statement."""
    executing = [
        f"{path.name}:{call.lineno}"
        for path in domain.glob("*.py")
        if not path.name.endswith("store.py")
        for call in _calls_in(path)
        if isinstance(call.func, ast.Attribute) and call.func.attr in EXECUTORS
    ]

    assert executing == []


def test_only_migrations_are_computed() -> None:
    """The types refuse computed text as SQL. Only migrations, which are files, and the names of shards get around them."""
    casting = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for call in _calls_in(path)
        if isinstance(call.func, ast.Name)
        and call.func.id == "cast"
        and ast.unparse(call.args[0]).strip("'\"") == "LiteralString"
    }

    assert casting == {"db/migrate.py", "db/shards.py"}
