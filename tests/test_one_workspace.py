"""Statements for a single workspace name it once: each of their tables has `workspace_id = $1`, the same parameter.

A database that keeps workspaces on several nodes can then bring the whole statement to the node that has the workspace.
"""

import ast
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from herdbook.app import OPERATIONS
from herdbook.custom_fields.store import find_record_in
from herdbook.db.database import find_in
from herdbook.ledger import batch
from herdbook.ledger.changes import SAVE_CHANGE, SAVE_CHANGES
from herdbook.ledger.unit_of_work import Table
from herdbook.object_types import OBJECT_TYPES

_SOURCE: Final = Path(__file__).parents[1] / "src" / "herdbook"
_SCHEMA: Final = (_SOURCE / "db" / "schema.sql").read_text()
_EXECUTORS: Final = {"execute", "executemany", "fetch", "fetchrow", "fetchval"}
# The functions whose statements are about several workspaces, by file, with the reason.
_SPANNING: Final = {
    "operators see all workspaces": {
        "auth/store.py": {"list_workspaces"},
        "backups/store.py": {"content"},
        "first_start.py": {"prepare"},
        "archives/store.py": {"take_erasure_key"},
    },
    "chores go over all workspaces, once an hour or a minute": {
        "custom_fields/store.py": {"note_older_values", "without_usual_fields"},
        "db/slices.py": {"slices_of_workspaces"},
        "duplicates/store.py": {"first_passes", "searches_behind"},
        "engagements/store.py": {"needing_recordings"},
        "erasure/store.py": {"needing_uploads"},
        "ledger/idempotency.py": {"delete"},
        "ledger/retention.py": {"_mark", "ledgers_with_old_entries", "trim_slice"},
        "request_log/store.py": {"trim"},
    },
    "the courier looks after the endpoints of all workspaces, and metrics count them": {
        "webhooks/delivery_store.py": {"workspaces_to_look_at"},
        "webhooks/store.py": {"any_enabled", "totals", "totals_at_work"},
    },
    "followers of a process wait for several workspaces": {"ledger/notifier.py": {"poll"}},
    "a person may belong to several workspaces, and is found first": {
        "console/sign_in_store.py": {"person_with_proven_address"},
        "console/store.py": {
            *("find_link", "invitations", "memberships", "set_password", "_part_from_others"),
        },
        "oauth/store.py": {"programs_of"},
    },
    "an index finds the changes of a request, before the workspace": {"request_log/store.py": {"changes_of"}},
    "the database of a lab is never distributed": {"lab/store.py": {"webhook_work"}},
    "a migration of a release before this one": {"db/domains_without_www.py": {"claim_without_www"}},
}
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
    assert OPERATIONS, "the map has imported all tables"
    found: list[Table[Any]] = [each for each in gc.get_objects() if isinstance(each, Table)]
    return sorted(found, key=lambda table: table.number)


def _statements() -> Iterator[str]:
    """Yield the statements of the ledger, and of reads of single objects, that are for one workspace."""
    yield from (batch.LOCK_ONE, batch.MOVE_HEAD, batch.many_of_one(SAVE_CHANGES), *(each.sql for each in SAVE_CHANGE))
    for table in _tables():
        if table.load is not None:
            yield batch.load_statement((table,), (), is_one=True)
        if table.load_first is not None:
            yield batch.load_statement((table,), (table,), is_one=True)
        if table.save is not None:
            yield batch.many_of_one(table.save)
        yield from (each.sql for each in table.of_one)
    for object_type in OBJECT_TYPES:
        yield find_in(object_type.table.name).of_one
    yield from (find_record_in(each).of_one for each in ("contact", "company"))


def lacking(statement: str) -> list[str]:
    """Return the tables of a statement that are not found by the workspace `$1`."""
    found: list[str] = []
    for clause, table, alias in _NAMED.findall(statement):
        column = "id" if table == "workspace" else "workspace_id"
        if clause == "into":
            inserted = re.search(rf"into {table}\s*\(([^)]*)\)\s*(values \(\$1|select)", statement)
            is_found = inserted is not None and inserted[1].split(",")[0].strip() == column
        else:
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


def _called() -> Iterator[tuple[str, str, str]]:
    """Yield the statements that stand where they are executed, with their file and function."""
    for path in sorted(_SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _EXECUTORS):
                continue
            texts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)] if node.args else []
            around = [each.name for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0)]
            if texts and isinstance(texts[0], str) and around:
                yield path.relative_to(_SOURCE).as_posix(), around[-1], texts[0]


def test_statements_about_several_workspaces_are_known() -> None:
    """A statement that stands where it is executed has the workspace for each table, or its function is listed."""
    spanning = {(file, name) for files in _SPANNING.values() for file, names in files.items() for name in names}

    assert {(file, name) for file, name, statement in _called() if lacking(statement)} == spanning
