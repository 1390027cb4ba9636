"""The documentation says what the code does."""

import dataclasses
import re
from pathlib import Path

import pytest

from herdbook.app import OPERATIONS
from herdbook.http.openapi import document
from herdbook.http.operation import Operation
from herdbook.settings import Settings

ROOT = Path(__file__).parent.parent
COMPATIBILITY = (ROOT / "docs/compatibility.md").read_text()
DOCUMENT = document(OPERATIONS, Settings().problem_type_base)
# What herdbook answers beyond the vendor's statuses.
OURS = {"304", "412", "413", "415", "503"}


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_each_setting_is_documented(field: dataclasses.Field[object]) -> None:
    """The table of settings has each one, with its variable and its default."""
    default = "" if field.default is None else f"`{field.default}`"
    row = f"| `--{field.name.replace('_', '-')}` | `HERDBOOK_{field.name.upper()}` | {default} |"

    assert row in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_operation_has_a_row(operation: Operation) -> None:
    """The page on compatibility has each operation, with its path, its scopes, and every status that is not ours alone."""
    scopes = "none" if operation.scopes is None else " + ".join(operation.scopes) or "those of the objects"
    declared = sorted(DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"])
    statuses = " ".join(status for status in declared if status not in OURS)
    row = f"| {operation.id} | {operation.method} {operation.path} | {scopes} | {statuses} |"

    assert row in COMPATIBILITY


def test_the_statuses_that_are_ours_are_named() -> None:
    """Those that the rows leave out stand below the table."""
    assert f"Ours on any of them: {', '.join(sorted(OURS | {'405'}))}." in COMPATIBILITY


def test_each_schema_is_judged() -> None:
    """Of each schema of the document, the page says how much of it is our reading."""
    table = COMPATIBILITY.partition("## Schemas")[2]

    assert set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    ) == set(DOCUMENT["components"]["schemas"])


def test_each_code_is_named() -> None:
    """Each code that an error of a field can have is on the page."""
    sources = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    codes = set(re.findall(r"(?:FieldError\((?:f?\"[^\"]*\"|[^,\"]+)|_refusal\()(?:, )?\"([a-z_]+)\"", sources))

    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in COMPATIBILITY} == set()


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.list_of], ids=lambda operation: operation.id)
def test_each_filter_is_named(operation: Operation) -> None:
    """Each filter of a list is on the page."""
    assert operation.list_of is not None
    filters = [each.name for each in operation.list_of.filters] + list(operation.list_of.times)

    assert [name for name in filters if f"`filter[{name}][" not in COMPATIBILITY] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tests/[\w/]+\.py", COMPATIBILITY))))
def test_what_holds_a_rule_is_there(path: str) -> None:
    """Each rule on that page names a test that exists."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links between pages lead to files that are there."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
