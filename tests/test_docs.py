"""The documentation says what the code does."""

import dataclasses
import re
from pathlib import Path

import pytest

from herdbook.app import OPERATIONS
from herdbook.http.operation import Operation
from herdbook.settings import Settings

ROOT = Path(__file__).parent.parent
COMPATIBILITY = (ROOT / "docs/compatibility.md").read_text()


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_each_setting_is_documented(field: dataclasses.Field[object]) -> None:
    """The table of settings has each one, with its variable and its default."""
    default = "" if field.default is None else f"`{field.default}`"
    row = f"| `--{field.name.replace('_', '-')}` | `HERDBOOK_{field.name.upper()}` | {default} |"

    assert row in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_operation_has_a_row(operation: Operation) -> None:
    """The page on compatibility has each operation, with its path and scope."""
    scopes = " + ".join(operation.scopes or ["none"])
    row = f"| {operation.id} | {operation.method} {operation.path} | {scopes} |"

    assert row in COMPATIBILITY


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tests/[\w/]+\.py", COMPATIBILITY))))
def test_what_holds_a_rule_is_there(path: str) -> None:
    """Each rule on that page names a test that exists."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links between pages lead to files that are there."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
