"""Statements for a single workspace name it once: each of their tables has `workspace_id = $1`, the same parameter.

A database that keeps workspaces on several nodes can then bring the whole statement to the node that has the workspace.
"""

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import herdbook.app  # noqa: F401  # it knows all tables
from herdbook.custom_fields.store import find_record_in
from herdbook.db.database import find_in
from herdbook.ledger import batch
from herdbook.ledger.changes import SAVE_CHANGE, SAVE_CHANGES
from herdbook.ledger.unit_of_work import Table
from herdbook.object_types import OBJECT_TYPES

_SCHEMA: Final = (Path(__file__).parents[2] / "src" / "herdbook" / "db" / "schema.sql").read_text()
_SPREAD: Final = {
    name
    for name, columns in re.findall(r"create table (\w+) \((.*?)\n\)", _SCHEMA, re.DOTALL)
    if name == "workspace" or (re.search(r"primary key \(workspace_id", columns) and name != "person_user")
}
_NAMED: Final = re.compile(
    rf"\b(from|join|using|update|into|,)\s+({'|'.join(sorted(_SPREAD))})\b(?!\.)"
    r"(?:\s+(?:as\s+)?(?!set\b|where\b|on\b)(\w+))?"
)


def _tables() -> list[Table[Any]]:
    return sorted((each for each in gc.get_objects() if isinstance(each, Table)), key=lambda table: table.number)


def _statements() -> Iterator[str]:
    """Yield the statements of the ledger, and of reads of single objects, that are for one workspace."""
    yield from (batch._LOCK_ONE, batch._MOVE_HEAD, batch._many_of_one(SAVE_CHANGES), *(each.sql for each in SAVE_CHANGE))  # noqa: SLF001
    for table in _tables():
        if table.load is not None:
            yield batch._load_statement((table,), (), is_one=True)  # noqa: SLF001
        if table.load_first is not None:
            yield batch._load_statement((table,), (table,), is_one=True)  # noqa: SLF001
        if table.save is not None:
            yield batch._many_of_one(table.save)  # noqa: SLF001
        yield from (each.sql for each in table.of_one)
    for object_type in OBJECT_TYPES:
        yield find_in(object_type.table.name).of_one
    yield from (find_record_in(each).of_one for each in ("contact", "company"))


def lacking(statement: str) -> list[str]:
    """Return the tables of a statement that are not found by the workspace `$1`."""
    found: list[str] = []
    for clause, table, alias in _NAMED.findall(statement):
        if clause == "into":
            inserted = re.search(rf"into {table} \(([^)]*)\)\s*(values \(\$1|select)", statement)
            is_found = inserted is not None and inserted[1].split(",")[0].strip() == "workspace_id"
        else:
            column = "id" if table == "workspace" else "workspace_id"
            is_found = (
                re.search(rf"(?<![\w.]){re.escape(alias + '.') if alias else ''}{column} = \$1(?!\d)", statement) is not None
            )
        if not is_found:
            found.append(f"{table} {alias}".strip())
    return found


@pytest.mark.parametrize("statement", [*dict.fromkeys(_statements())], ids=lambda sql: " ".join(sql.split())[:60])
def test_each_table_has_the_workspace(statement: str) -> None:
    """Each table of a statement for one workspace is found by the first parameter."""
    assert lacking(statement) == []
