"""The pages of imports: the file, the meaning of its columns, the dry run, the run, and what came of it."""

import asyncio
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.companies.pages import COMPANIES
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Refused, Visit
from herdbook.contacts.pages import CONTACTS
from herdbook.custom_fields.defined import definitions
from herdbook.custom_fields.model import Field, FieldObjectType
from herdbook.custom_fields.telling import author_of, names_of
from herdbook.formats import reading
from herdbook.formats.lists import quoted
from herdbook.formats.model import Layout
from herdbook.history.model import Kept, Undo
from herdbook.http.problems import Problem
from herdbook.importing.forms import (
    COLUMNS_SHOWN,
    DAYS,
    EXISTING,
    MATCHES,
    NEW,
    ShownColumn,
    fields_to_fill,
    members_to_fill,
    sent_mapping,
    shown_columns,
)
from herdbook.importing.guessing import guess
from herdbook.importing.model import (
    ENDED,
    IGNORE,
    LABEL,
    MAX_TAGS,
    WORKING,
    Counts,
    Import,
    ImportedRow,
    ImportList,
    ImportRows,
    ImportState,
    KeptObjects,
    SavedMappings,
    fitted,
    told_fault,
)
from herdbook.importing.model import Mapping as ImportMapping
from herdbook.shared_schemas import Deleted

_MAX_DIGITS: Final = 5
_PATH: Final = f"{BASE}/imports"
_KINDS: Final = {FieldObjectType.CONTACT: CONTACTS, FieldObjectType.COMPANY: COMPANIES}
_ROWS_SHOWN: Final = 50
# The rows of an import of whose undo the page says first what would stay.
_ROWS_TRIED: Final = 250
# A file is read from its beginning to show what is in a row, so this is done for the first rows alone.
_ROWS_READ: Final = 20_000
_VALUES_SHOWN: Final = 4
_MAX_TEXT: Final = 255
_TOO_LARGE: Final = "The file is larger than that. Split it, and import its parts."
_STEPS: Final = ("File", "Columns", "Dry run", "Import")
# The verdicts, in the order in which people look at them, as they are called before and after the run.
_VERDICTS: Final = {
    "problem": ("Problem", "Problem"),
    "create": ("Create", "Created"),
    "update": ("Update", "Updated"),
    "restore": ("Restore", "Restored"),
    "duplicate": ("Duplicate", "Duplicate"),
    "skip": ("Leave", "Left as it was"),
    "unchanged": ("Unchanged", "Unchanged"),
}
# The same in sentences.
_TRIED: Final = {
    "create": "would be new here",
    "update": "would be changed",
    "restore": "would come back",
    "duplicate": "would come twice",
    "unchanged": "would change nothing",
    "skip": "would be left out",
    "problem": "cannot be imported",
}
_DONE: Final = {
    "create": "new here",
    "update": "changed",
    "restore": "came back",
    "unchanged": "changed nothing",
    "skip": "left out",
    "problem": "not imported",
}
_STATES: Final = {
    ImportState.UPLOADED: "columns to check",
    ImportState.CHECKING: "dry run under way",
    ImportState.CHECKED: "tried",
    ImportState.RUNNING: "under way",
    ImportState.PAUSED: "paused",
    ImportState.FINISHED: "done",
    ImportState.CANCELLED: "cancelled",
    ImportState.FAILED: "failed",
    ImportState.UNDOING: "undo under way",
    ImportState.UNDONE: "undone",
}
_ENCODINGS: Final = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1252": "Windows-1252", "ascii": "ASCII"}
_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# The formats that the server reads by making a table of them, by the ends of their files' names.
_TABLED: Final = {"vcf": "vCards", "vcard": "vCards", "xlsx": "a workbook", "xlsm": "a workbook", "ods": "a workbook"} | {
    "xls": "a workbook"
}
_COLUMN: Final = re.compile(r"`?mapping\.columns\[(\d+)\](?:\.\w+)?`?")
_not_plain: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Tab(NamedTuple):
    """A choice of the rows with one verdict: its name, and how many there are."""

    verdict: str
    label: str
    rows: int


class RowLine(NamedTuple):
    """A row of the table: what came of it, the beginning of its values, and what it says in words."""

    row: ImportedRow
    label: str
    values: str
    changed: str
    faults: Sequence[str]


async def show_imports(visit: Visit, error: str = "", status: int = 200) -> PageAnswer:
    """Show the form for a file, and the imports of the workspace."""
    listed = (await visit.call("list-imports", ImportList)).value
    context: dict[str, Any] = {
        "imports": listed.data,
        "most_bytes": visit.services.uploads.most_bytes,
        "days": visit.services.uploads.days,
        "error": error,
        "sheet": visit.field("sheet"),
        "states": _STATES,
        "told": _told_counts,
    }
    return Shown(context, status)


def _told_counts(counts: Counts) -> str:
    """Return the outcome of an import in a line."""
    return _told_rows(counts, _DONE)


def _told_rows(counts: Counts, words: Mapping[str, str]) -> str:
    """Return how many rows had each outcome, as people say it."""
    found = [f"{count:,} {told}" for name, told in words.items() if (count := getattr(counts, name))]
    return " and ".join(filter(None, (", ".join(found[:-1]), found[-1]))) if found else "none is done"


async def receive_file(visit: Visit) -> PageAnswer:
    """Receive a file as it comes, and lead to what was found in it, or say why it cannot be read."""
    if visit.file is None:
        return await show_imports(visit, "Choose a file first.", 422)
    query = {"name": visit.file.name[:_MAX_TEXT]} | ({"sheet": sheet} if (sheet := visit.field("sheet").strip()) else {})
    try:
        found = await visit.call("create-import", Import, query=query, file=visit.file.pieces)
    except Refused as refused:
        problem = refused.problem
        if problem.status not in (400, 413, 422, 503):
            raise
        error = _TOO_LARGE if problem.status == 413 else " ".join(_messages(problem))
        return await show_imports(visit, error, problem.status)
    return visit.redirect(f"{_PATH}/{found.value.id}")


def _messages(problem: Problem) -> list[str]:
    """Return what a problem says, without the marks of names."""
    return [each.message.replace("`", "") for each in problem.errors or ()] or [problem.detail]


async def show_import(
    visit: Visit, import_id: str, problem: Problem | None = None, mapping: ImportMapping | None = None
) -> PageAnswer:
    """Show an import at its step: the columns of its file, the dry run, the run, or what came of it."""
    job = (await visit.call("get-import-by-id", Import, import_id)).value
    is_checked = job.state is ImportState.CHECKED
    is_undoing = job.state is ImportState.UNDOING
    asks_undo = job.state in ENDED and visit.query.get("step") == "undo"
    is_reading = job.state is ImportState.UPLOADED or (is_checked and visit.query.get("step") == "columns")
    is_check = is_checked and not is_reading
    progress = job.undo.progress if is_undoing and job.undo and job.undo.progress else job.progress
    context: dict[str, Any] = {
        "job": job,
        "path": f"{_PATH}/{job.id}",
        "kind": _KINDS[job.mapping.object_type],
        "steps": _STEPS,
        "step": _STEPS.index("Columns" if is_reading else "Dry run" if is_check or not _has_begun(job) else "Import"),
        "is_reading": is_reading,
        "is_check": is_check,
        "is_working": job.state in WORKING,
        "state": _STATES[job.state],
        "errors": [] if problem is None else [_named(text, job) for text in _messages(problem)],
        "asks_undo": asks_undo,
        "progress": progress,
        "left": _told_seconds(progress.seconds_left or 0.0),
    }
    if is_reading:
        context |= await _reading(visit, job, mapping)
    elif asks_undo:
        context |= await _undo_asked(visit, job)
    elif job.state not in WORKING:
        context |= await _rows(visit, job, is_check=is_check)
        context |= await _undo(visit, job)
    return Shown(context, 200 if problem is None else problem.status)


async def _undo_asked(visit: Visit, job: Import) -> dict[str, Any]:
    """Return what the page shows before an undo: what would stay, unless the import has changed too much to look at first."""
    counts = job.result or Counts()
    undo = None
    if counts.create + counts.update + counts.restore <= _ROWS_TRIED:
        undo = (await visit.call("undo-import", Undo, job.id, query={"dry_run": "true"})).value
    kept = () if undo is None else undo.kept[:_ROWS_SHOWN]
    return {
        "counts": counts,
        "told": _told_counts,
        "tried": undo,
        "kept": kept,
        "more_kept": 0 if undo is None else len(undo.kept) - len(kept),
        "names": await _names_of_kept(visit, kept),
    }


async def _undo(visit: Visit, job: Import) -> dict[str, Any]:
    """Return what the page shows of an undo: when it was and by whom, and some of the objects that it has kept."""
    if not job.undo:
        return {"kept": (), "next_kept": None}
    user_id = job.undo.by.user_id
    author, key = author_of(msgspec.to_builtins(job.undo.by), await names_of(visit, [user_id] if user_id is not None else []))
    after = visit.query.get("kept", "")
    query = {"limit": str(_ROWS_SHOWN)} | ({"after": after} if after.isdecimal() and len(after) < 16 else {})
    page = (await visit.call("list-import-kept", KeptObjects, job.id, query=query)).value
    kept = [each.kept for each in page.data]
    return {
        "author": author + (f" with {key}" if key else ""),
        "kept": kept,
        "kept_names": await _names_of_kept(visit, kept),
        "next_kept": visit.here(kept=str(page.data[-1].number)) if page.has_more else None,
        "is_first_kept": "kept" not in visit.query,
    }


async def _names_of_kept(visit: Visit, kept: Sequence[Kept]) -> Mapping[str, str]:
    ids_shown = [each.id for each in kept if each.id] + [each.conflict.id for each in kept if each.conflict]
    return await names_of(visit, ids_shown)


def _has_begun(job: Import) -> bool:
    """Whether rows are imported, or were."""
    return job.state not in (ImportState.UPLOADED, ImportState.CHECKING, ImportState.CHECKED)


def _named(message: str, job: Import) -> str:
    """Return a message about columns with their names."""
    columns = job.file.columns

    def name(found: re.Match[str]) -> str:
        index = int(found[1])
        return _quoted(columns[index].name) if index < len(columns) else found[0]

    return _COLUMN.sub(name, message)


def _quoted(text: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def _told_seconds(seconds: float) -> str:
    """Return how long something lasts, as people say it."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


async def _reading(visit: Visit, job: Import, sent: ImportMapping | None) -> dict[str, Any]:
    """Return what the page shows of the file and its columns."""
    mapping = sent or job.mapping
    defined = await definitions(visit, mapping.object_type.value)
    saved = (await visit.call("list-import-mappings", SavedMappings)).value.data
    names = sorted(column.name for column in job.file.columns)
    columns = shown_columns(job.file, mapping, defined, start := _start(visit, job))
    members, fields = members_to_fill(mapping.object_type), fields_to_fill(mapping.object_type, defined)
    return {
        "mapping": mapping,
        "found": _found(job),
        "columns": columns,
        "start": start,
        "before": max(0, start - COLUMNS_SHOWN) if start else None,
        "after": start + COLUMNS_SHOWN if start + COLUMNS_SHOWN < len(job.file.columns) else None,
        "members": members,
        "fields": fields,
        "known": {NEW, IGNORE, LABEL, *(each.to for each in (*members, *fields))},
        "kinds": [each for each in _KINDS.values() if visit.session.may(f"{each.plural}:write")],
        "matches": MATCHES[mapping.object_type],
        "existing": EXISTING,
        "tags": ", ".join(map(quoted, mapping.tags)),
        "days": DAYS,
        "saved": [each for each in saved if sorted(each.columns) == names],
        "new": NEW,
        "ignore": IGNORE,
        "most_fixed": MAX_TAGS,
        "may_define": visit.session.may(ADMIN),
    }


def _start(visit: Visit, job: Import) -> int:
    """Return the index of the first column that the form shows."""
    start = _whole_number(visit.field("start") or visit.query.get("start", ""))
    return start - start % COLUMNS_SHOWN if start < len(job.file.columns) else 0


def _whole_number(text: str) -> int:
    """Return the index of a column that a form or an address names, or zero."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _MAX_DIGITS else 0


def _found(job: Import) -> str:
    """Return the form of a file in words."""
    layout = job.file.layout
    if layout.format == "ndjson":
        return "objects in JSON"
    if (tabled := _TABLED.get(job.file.name.rpartition(".")[2].lower())) is not None:
        return tabled
    delimiter = _DELIMITERS.get(layout.delimiter) or _quoted(layout.delimiter)
    return f"values with {delimiter} between them, in {_ENCODINGS.get(layout.encoding, layout.encoding.upper())}"


async def _rows(visit: Visit, job: Import, *, is_check: bool) -> dict[str, Any]:
    """Return what the table of rows shows."""
    counts = (job.checked if is_check else job.result) or Counts()
    verdict = visit.query.get("verdict", "")
    verdict = verdict if verdict in _VERDICTS else ""
    place = 0 if is_check else 1
    after = visit.query.get("after", "")
    query = {"of": "check" if is_check else "run", "limit": str(_ROWS_SHOWN), "verdict": verdict}
    query |= {"after": after} if after.isdecimal() and len(after) < 16 else {}
    page = (await visit.call("list-import-rows", ImportRows, job.id, query=query)).value
    named, values = await asyncio.gather(
        names_of(visit, [each.id for each in page.data if each.id]), _values(visit, job, {each.row for each in page.data})
    )
    labels = {each.name: each.label for each in _KINDS[job.mapping.object_type].members} | {"fields": "Fields", "note": "Note"}
    lines = [
        RowLine(
            each,
            _VERDICTS[each.verdict.value][place],
            values.get(each.row, ""),
            ", ".join(labels.get(name, name.replace("_", " ").capitalize()) for name in each.changed),
            [told_fault(fault, job.file.columns) for fault in each.faults],
        )
        for each in page.data
    ]
    tabs = [Tab(name, told[place], getattr(counts, name)) for name, told in _VERDICTS.items()]
    total = sum(each.rows for each in tabs)
    return {
        "counts": counts,
        "told": _told_rows(counts, _TRIED if is_check else _DONE),
        "tabs": [Tab("", "All", total), *(each for each in tabs if each.rows or each.verdict == verdict)],
        "verdict": verdict,
        "lines": lines,
        "names": named,
        "is_first": "after" not in visit.query,
        "next": visit.here(after=str(lines[-1].row.row)) if page.has_more else None,
        "changes_nothing": total > 0 and not counts.create + counts.update + counts.restore,
    }


async def _values(visit: Visit, job: Import, wanted: Collection[int]) -> dict[int, str]:
    """Return the beginnings of rows, by their numbers. Those far behind are left out."""
    near = {each for each in wanted if each <= _ROWS_READ}
    import_id = ids.decoded(ids.IMPORT, job.id)
    assert import_id is not None, "the server has made it"
    path = visit.services.uploads.table(visit.session.stored.workspace_id, import_id, job.file.sheet)
    mapped = [index for index, each in enumerate(job.mapping.columns) if each.to != IGNORE][:_VALUES_SHOWN]
    return await asyncio.to_thread(_read, path, job.file.layout, mapped, near) if near else {}


def _read(path: Path, layout: Layout, mapped: Sequence[int], wanted: Collection[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    last = max(wanted)
    try:
        for record in itertools.takewhile(lambda each: each.number <= last, reading.records(path, layout)):
            if record.number in wanted:
                values = record.values
                if layout.format == "ndjson":
                    some = [each for each in values[0].values() if isinstance(each, str)][:_VALUES_SHOWN]
                else:
                    some = [values[index] for index in mapped if index < len(values)]
                found[record.number] = " · ".join(filter(None, some))[:_MAX_TEXT]
    except FileNotFoundError:
        # It was removed meanwhile.
        return {}
    return found


async def change_import(visit: Visit, import_id: str) -> PageAnswer:
    """Do what a form of the page asks for: change the columns, try, run, pause, cancel, or delete."""
    do, path = visit.field("do"), f"{_PATH}/{import_id}"
    mapping = None
    try:
        match do:
            case "check" | "save" | "forth" | "back":
                mapping = await _sent(visit, import_id)
                body = {"mapping": mapping} | ({"save_as": name} if (name := visit.field("save_as").strip()) else {})
                await visit.call("update-import", Import, import_id, body=body)
                if do == "check":
                    await visit.call("check-import", Import, import_id)
            case "header" | "sheet" | "type" | "use":
                await visit.call("update-import", Import, import_id, body=await _read_anew(visit, import_id, do))
            case "run" | "pause" | "cancel" | "undo":
                await visit.call(f"{do}-import", Import, import_id)
            case "delete":
                await visit.call("delete-import", Deleted, import_id)
                return visit.redirect(_PATH, "The import and its file were deleted. What it has imported stays.")
            case _:
                await visit.call("get-import-by-id", Import, import_id)
    except Refused as refused:
        if refused.problem.status not in (409, 422):
            raise
        return await show_import(visit, import_id, refused.problem, mapping)
    said = {"save": "Saved.", "pause": "Paused.", "cancel": "Stopped. What was done stays."}.get(do, "")
    if do in ("forth", "back", "save"):
        start = _whole_number(visit.field("start")) + {"forth": COLUMNS_SHOWN, "back": -COLUMNS_SHOWN}.get(do, 0)
        path += f"?start={max(0, start)}"
    return visit.redirect(path, said)


async def _read_anew(visit: Visit, import_id: str, do: str) -> dict[str, Any]:
    """Return the change of a file's reading, or of its whole mapping, that a form has sent."""
    if do == "header":
        return {"has_header": "has_header" in visit.form}
    if do == "sheet":
        return {"sheet": visit.field("sheet")}
    return {"mapping": await (_of_type if do == "type" else _saved)(visit, import_id)}


async def _file_and_fields(visit: Visit, import_id: str) -> tuple[Import, Sequence[Field]]:
    job = (await visit.call("get-import-by-id", Import, import_id)).value
    return job, await definitions(visit, job.mapping.object_type.value)


async def _sent(visit: Visit, import_id: str) -> ImportMapping:
    """Return the mapping that the form has sent."""
    job, defined = await _file_and_fields(visit, import_id)
    columns: Sequence[ShownColumn] = shown_columns(job.file, job.mapping, defined, _start(visit, job))
    return sent_mapping(visit.form, job.mapping, columns)


async def _of_type(visit: Visit, import_id: str) -> ImportMapping:
    """Return the mapping that the columns suggest for the other type of objects."""
    job = (await visit.call("get-import-by-id", Import, import_id)).value
    chosen = FieldObjectType.COMPANY if visit.field("type") == FieldObjectType.COMPANY.value else FieldObjectType.CONTACT
    return guess(job.file.columns, await definitions(visit, chosen.value), chosen).mapping


async def _saved(visit: Visit, import_id: str) -> ImportMapping:
    """Return a saved mapping, in the order of the file's columns; the present one, if there is none of that name."""
    job = (await visit.call("get-import-by-id", Import, import_id)).value
    names = [column.name for column in job.file.columns]
    for each in (await visit.call("list-import-mappings", SavedMappings)).value.data:
        if each.name == visit.field("name") and (mapping := fitted(each, names)) is not None:
            return mapping
    return job.mapping


async def download_problems(visit: Visit, import_id: str) -> PageAnswer:
    """Send the rows that failed as a file, with their reasons."""
    job = (await visit.call("get-import-by-id", Import, import_id)).value
    stem = _not_plain.sub("-", job.file.name.rpartition(".")[0] or job.file.name).strip("-.")[:80] or "import"
    suffix = "ndjson" if job.file.layout.format == "ndjson" else "csv"
    return await visit.download("get-import-problems", import_id, name=f"{stem}-problems.{suffix}")


_WRITE: Final = ("contacts:write",)
_ONE: Final = "/imports/{import_id}"

PAGES: Final = (
    Page(
        method="GET",
        path="/imports",
        id="show-imports",
        scopes=_WRITE,
        handler=show_imports,
        template="importing/list.html",
        menu=MenuItem("Import", "import", "i"),
    ),
    Page(
        method="POST",
        path="/imports",
        id="receive-import",
        scopes=_WRITE,
        handler=receive_file,
        template="importing/list.html",
        takes_file=True,
    ),
    Page(method="GET", path=_ONE, id="show-import", scopes=_WRITE, handler=show_import, template="importing/import.html"),
    Page(method="POST", path=_ONE, id="change-import", scopes=_WRITE, handler=change_import, template="importing/import.html"),
    Page(method="GET", path=f"{_ONE}/problems", id="download-import-problems", scopes=_WRITE, handler=download_problems),
)
