"""The documentation matches the code."""

import dataclasses
import fnmatch
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from herdbook.app import OPERATIONS
from herdbook.cli.main import app
from herdbook.http.openapi import document
from herdbook.http.operation import Operation
from herdbook.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
COMPATIBILITY = (ROOT / "docs/compatibility.md").read_text()
DOCUMENT = document(OPERATIONS, Settings().problem_type_base)
# Statuses that herdbook returns beyond the vendor's.
OURS = {"304", "412", "413", "415", "503"}


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_each_setting_is_documented(field: dataclasses.Field[object]) -> None:
    """The table of settings lists each setting with its variable and its default."""
    default = "" if field.default is None else f"`{field.default}`"
    row = f"| `--{field.name.replace('_', '-')}` | `HERDBOOK_{field.name.upper()}` | {default} |"

    assert row in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_operation_has_a_row(operation: Operation) -> None:
    """The compatibility page lists each operation with its path, scopes and statuses, except those that are only ours."""
    scopes = "none" if operation.scopes is None else " + ".join(operation.scopes) or "those of the objects"
    declared = sorted(DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"])
    statuses = " ".join(status for status in declared if status not in OURS)
    row = f"| {operation.id} | {operation.method} {operation.path} | {scopes} | {statuses} |"

    assert row in COMPATIBILITY


def test_the_statuses_that_are_ours_are_named() -> None:
    """A line below the table names the statuses that its rows omit."""
    assert f"Ours on any of them: {', '.join(sorted(OURS | {'405'}))}." in COMPATIBILITY


def test_each_schema_is_judged() -> None:
    """The page says for each schema of the document how much of it is our reading."""
    table = COMPATIBILITY.partition("## Schemas")[2]

    assert set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    ) == set(DOCUMENT["components"]["schemas"])


def test_each_code_is_named() -> None:
    """The page lists each code that an error of a field can have."""
    sources = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    codes = set(re.findall(r"(?:FieldError\((?:f?\"[^\"]*\"|[^,\"]+)|_refusal\()(?:, )?\"([a-z_]+)\"", sources))

    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in COMPATIBILITY} == set()


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.list_of], ids=lambda operation: operation.id)
def test_each_filter_is_named(operation: Operation) -> None:
    """The page lists each filter of a list."""
    assert operation.list_of is not None
    filters = [each.name for each in operation.list_of.filters] + list(operation.list_of.times)

    assert [name for name in filters if f"`filter[{name}][" not in COMPATIBILITY] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tests/[\w/]+\.py", COMPATIBILITY))))
def test_what_holds_a_rule_is_there(path: str) -> None:
    """Each rule on that page names a test that exists."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links between pages lead to files that exist."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def printed(program: str) -> list[str]:
    """The commands with this program that the pages print, joined to one line each."""
    blocks = "\n".join(block for page in PAGES for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(rf"(?:\$ )?(?:\.venv/bin/)?{program} (?!answers)", line)]


@pytest.mark.parametrize("command", printed("herdbook"))
def test_a_printed_command_is_understood(command: str) -> None:
    """Each command on the pages exists, with all its options."""
    words = shlex.split(command.removeprefix("$ "), comments=True)
    found, _, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)

    assert found is not None


def test_the_server_has_thirty_seconds_to_stop_wherever_it_is_said() -> None:
    """The systemd unit, compose and the container's options give the server the same time to stop."""
    operations, compose = (ROOT / "docs/operations.md").read_text(), (ROOT / "compose.yaml").read_text()

    assert re.findall(r"TimeoutStopSec=(\d+)|--stop-timeout (\d+)", operations) == [("30", ""), ("", "30")]
    assert re.findall(r"stop_grace_period: (\w+)", compose + operations) == ["30s", "30s"]


def test_the_map_names_each_file() -> None:
    """The architecture's map has each file and folder of the source, and none that is not there."""
    source = ROOT / "src/herdbook"
    shown: set[str] = set()
    folder = ""
    layout = (ROOT / "docs/architecture.md").read_text().partition("```\nsrc/herdbook/\n")[2].partition("```")[0]
    for line in layout.splitlines():
        names = re.findall(r"\w+(?:\.\w+|/)(?=  )", line)
        if names and names[0].endswith("/") and not line.startswith("    "):
            (folder,) = names
            same = re.findall(r"\b(?:model|commands|store|api|pages)\b", line.partition(";")[2])
            shown |= {folder, *(f"{folder}{stem}.py" for stem in same)}
        else:
            shown |= {(folder if line.startswith("    ") else "") + name for name in names}
    there = {
        path.relative_to(source).as_posix() + ("/" if path.is_dir() else "")
        for path in source.rglob("*")
        if "__pycache__" not in path.parts and path.name not in ("__init__.py", "py.typed")
    }
    there = {
        path
        for path in there
        if not path.startswith("db/migrations/0")
        and "/templates/" not in path.rstrip("/")
        and "/static/" not in path.rstrip("/")
        and "/seeds/" not in path.rstrip("/")
    }

    assert shown == there


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_a_path_leads_to_its_folder(operation: Operation) -> None:
    """The first row of the architecture's table that fits a path names the folder of its operation."""
    rows = (ROOT / "docs/architecture.md").read_text().partition("| path | folder or file |")[2].partition("\n\n")[0]
    folders = [
        row.split("|")[2].strip(" `")
        for row in rows.splitlines()
        if any(fnmatch.fnmatchcase(operation.path, pattern) for pattern in re.findall(r"`(/[^`]+)`", row))
    ]
    handler: Any = operation.handler

    folder = operation.path.split("/")[2] if folders[0] == "the folder of that name" else folders[0].removesuffix("/")
    assert getattr(handler, "func", handler).__module__ == f"herdbook.{folder}.api"
