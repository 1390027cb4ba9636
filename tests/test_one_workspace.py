"""Statements for a single workspace name it once: each of their tables has `workspace_id = $1`, the same parameter.

A database that keeps workspaces on several nodes can then bring the whole statement to the node that has the workspace. The
ledger, and reads of single objects, go to that node themselves (`tests/db/test_shards.py`).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parents[1] / "src" / "herdbook"
_SCHEMA: Final = (_SOURCE / "db" / "schema.sql").read_text()
_EXECUTORS: Final = {"execute", "executemany", "fetch", "fetchrow", "fetchval"}
# They ask the nodes of a distributed database one by one.
_LOOKS: Final = {"fetch_everywhere", "fetch_of"}
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
        "db/slices.py": {"_slices"},
        "duplicates/store.py": {"first_passes", "searches_behind"},
        "engagements/store.py": {"needing_recordings"},
        "erasure/store.py": {"needing_uploads"},
        "ledger/idempotency.py": {"delete"},
        "ledger/retention.py": {"_mark", "ledgers_with_old_entries", "trim_slice"},
        "request_log/store.py": {"look"},
    },
    "the courier looks after the endpoints of all workspaces, and metrics count them": {
        "webhooks/delivery_store.py": {"workspaces_to_look_at"},
        "webhooks/store.py": {"any_enabled", "totals", "totals_at_work"},
    },
    "followers of a process wait for several workspaces": {"ledger/notifier.py": {"poll"}},
    "a person may belong to several workspaces, and is found first": {
        "console/sign_in_store.py": {"person_with_proven_address"},
        "console/store.py": {
            *("find_link", "invitations", "memberships", "_is_of_another", "_part_from_others"),
        },
        "oauth/store.py": {"programs_of"},
    },
    "an index finds the changes of a request, before the workspace": {"request_log/store.py": {"changes_of"}},
    "the database of a lab is never distributed": {"lab/store.py": {"webhook_work"}},
    "a migration of a release before this one": {"db/domains_without_www.py": {"claim_without_www"}},
}
SPREAD: Final = {
    name
    for name, columns in re.findall(r"create table (\w+) \((.*?)\n\)", _SCHEMA, re.DOTALL)
    if name == "workspace" or (re.search(r"primary key \(workspace_id", columns) and name != "person_user")
}
NAMED: Final = re.compile(
    rf"\b(from|join|using|update|into|,)\s+({'|'.join(sorted(SPREAD))})\b(?!\.)"
    r"(?:\s+(?:as\s+)?(?!set\b|where\b|on\b)(\w+))?"
)


def lacking(statement: str) -> list[str]:
    """Return the tables of a statement that are not found by the workspace `$1`."""
    found: list[str] = []
    for clause, table, alias in NAMED.findall(statement):
        column = "id" if table == "workspace" else "workspace_id"
        if clause == "into":
            inserted = re.search(rf"into {table}(?: as \w+)?\s*\(([^)]*)\)\s*(values \(\$1|select)", statement)
            is_found = inserted is not None and inserted[1].split(",")[0].strip() == column
        else:
            is_found = (
                re.search(rf"(?<![\w.]){re.escape(alias + '.') if alias else ''}{column} = \$1(?!\d)", statement) is not None
            )
        if not is_found:
            found.append(f"{table} {alias}".strip())
    return found


def called() -> Iterator[tuple[str, str, str]]:
    """Yield the statements that stand where they are executed, with their file and function."""
    for path in sorted(_SOURCE.rglob("*.py")):
        source = path.read_text()
        # To parse all files takes most of the time.
        if not any(f"{name}(" in source for name in _EXECUTORS | _LOOKS):
            continue
        nodes = list(ast.walk(ast.parse(source)))
        functions = [each for each in nodes if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr in _EXECUTORS:
                given = node.args[:1]
            elif isinstance(node.func, ast.Name) and node.func.id in _LOOKS:
                given = node.args
            else:
                continue
            texts = [part.value for each in given for part in ast.walk(each) if isinstance(part, ast.Constant)]
            around = [each.name for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0)]
            if texts and isinstance(texts[0], str) and around:
                yield path.relative_to(_SOURCE).as_posix(), around[-1], texts[0]


def test_statements_about_several_workspaces_are_known() -> None:
    """A statement that stands where it is executed has the workspace for each table, or its function is listed."""
    spanning = {(file, name) for files in _SPANNING.values() for file, names in files.items() for name in names}

    assert {(file, name) for file, name, statement in called() if lacking(statement)} == spanning
