"""The operations of /herdbook/imports."""

import asyncio
import codecs
import contextlib
import csv
import io
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids, sources
from herdbook.auth.scopes import ADMIN
from herdbook.counts import number_of
from herdbook.custom_fields.model import FieldObjectType
from herdbook.custom_fields.store import all_definitions
from herdbook.errors import FieldError, Forbidden, Invalid, InvalidQuery, NoLongerKept, NotFound, TooLarge, TooManyFollowers
from herdbook.formats import card_table, json_values, reading, workbooks
from herdbook.formats.guards import guarded, unguarded
from herdbook.formats.model import Column, Layout, Pace, Record, Survey, Unreadable, size_of
from herdbook.formats.workbooks import Sheets
from herdbook.history import store as history
from herdbook.history.model import HistoryBy, Undo, UndoQuery
from herdbook.history.undoing import may_name, require_whole, undo
from herdbook.http import event_stream
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Handler, Operation
from herdbook.importing import store
from herdbook.importing.commands import BeginUndo, StartImport, StopImport, UpdateImport, planned_fields
from herdbook.importing.guessing import Guess, guess, mapping_of
from herdbook.importing.model import (
    ENDED,
    GONE,
    IGNORE,
    MAX_IMPORTS,
    MAX_MAPPING_BYTES,
    MAX_MAPPINGS,
    READ_SCOPES,
    WORKING,
    Content,
    Import,
    ImportFile,
    ImportList,
    ImportObject,
    ImportProblemRow,
    ImportProgress,
    ImportQuery,
    ImportRows,
    ImportsQuery,
    ImportState,
    ImportUndo,
    ImportUpdate,
    KeptObjects,
    KeptQuery,
    MappedColumn,
    Mapping,
    RowsQuery,
    RowVerdict,
    SavedMapping,
    SavedMappings,
    Undoing,
    fitted,
    told_fault,
    unsound,
)
from herdbook.importing.sight import require_sight, scopes_of_names, seen
from herdbook.importing.store import RowsAsked, StoredImport
from herdbook.ledger.unit_of_work import Origin
from herdbook.phone_numbers import region_named
from herdbook.shared_schemas import Deleted, shown_time
from herdbook.turns import Turns
from herdbook.uploads import locked_table

# Rows of the file of problems that are made before others have their turn.
_STEP: Final = 500
_PROBLEM: Final = "Problem"
_MAX_SHEETS: Final = 500
# The changes of which a dry run of an undo tells in one answer.
_MAX_TRIED: Final = 20_000
# A workbook may take all the memory that its process has, so few are read at once.
READING: Final = Turns("workbooks to read", at_once=2, at_once_each=1, waiting=40, waiting_each=4, seconds=120)
# Between two looks at an import that somebody follows.
_LOOK_SECONDS: Final = 0.25


async def create_import(call: Call, sent: AsyncIterator[bytes], query: ImportsQuery) -> Answer:
    """Receive a file, and answer with what was found in it. Refusals: Forbidden, Invalid, InvalidQuery, TooLarge."""
    _objects(call)
    uploads, workspace_id, import_id = call.services.uploads, call.caller.workspace_id, ids.new_id()
    length = call.headers.get(b"content-length")
    if length is not None and int(length) > uploads.most_bytes:
        raise TooLarge(uploads.most_bytes)
    async with uploads.received(workspace_id, import_id, sent) as path:
        try:
            made = await _make_table(call, path, query.sheet)
            table = uploads.table(workspace_id, import_id, made.sheet)
            survey = await call.steps(reading.survey(table, made.layout))
        except Unreadable as unreadable:
            raise Invalid([FieldError("file", "unreadable", str(unreadable))]) from None
        found = await _suggested(call, survey)
        if survey.layout.format == "ndjson":
            found = msgspec.structs.replace(found, mapping=mapping_of(next(reading.records(table, survey.layout)).values[0]))
            _require_objects(call, found.mapping)
        file = _file(query.name, table.stat().st_size, survey, found)
        file = msgspec.structs.replace(file, sheets=made.sheets, sheet=made.sheet)
        content = Content(
            file=file,
            mapping=found.mapping,
            request_id=ids.new_id(),
            credential_id=call.caller.credential_id,
            user_id=call.caller.user_id,
            sent_with=tuple(filter(call.caller.may, READ_SCOPES)),
        )
        pool = call.services.database.pool
        if await store.create(pool, workspace_id, import_id, content, days=uploads.days, most=MAX_IMPORTS) is None:
            message = f"The workspace has {MAX_IMPORTS} imports, which is the limit. Delete one that is no longer needed."
            raise Invalid([FieldError("file", "too_long", message)])
    return await get_import(call, import_id)


async def list_imports(call: Call) -> Answer:
    """List the imports of objects that the caller may write, without what is in their files."""
    stored = await store.all_of(call.services.database.pool, call.caller.workspace_id, _objects(call))
    return Answer(msgspec.json.encode(ImportList(object="list", data=tuple(await _shown(call, stored)))))


async def read_import(call: Call, import_id: UUID, query: ImportQuery) -> Answer:
    """Read one import, wait until its state is another, or stream its progress.

    Refusals: Forbidden, NotFound, TooManyFollowers.
    """
    stored = await _found(call, import_id)
    if event_stream.is_wanted(call):
        return event_stream.streamed(call, _events(call, stored))
    known = query.state or (stored.state.value if stored.state in WORKING else "")
    if query.wait and stored.state.value == known:
        event_stream.require_room(call)
        until = asyncio.get_running_loop().time() + query.wait
        async with contextlib.aclosing(_looks(call, import_id)) as looks:
            async for seen in looks:
                if seen.state.value != known or asyncio.get_running_loop().time() >= until:
                    break
    return await get_import(call, import_id)


async def _events(call: Call, told: StoredImport) -> AsyncGenerator[bytes]:
    """Yield the state of an import as events whenever it has moved, until no server works on it. Refusals: those of a look."""
    yield await _event(call, told)
    if told.state not in WORKING:
        return
    async with contextlib.aclosing(_looks(call, told.id)) as looks:
        async for seen in looks:
            if (seen.state, seen.progress) == (told.state, told.progress):
                yield b""
                continue
            told = seen
            yield await _event(call, told)
            if told.state not in WORKING:
                return


async def _event(call: Call, stored: StoredImport) -> bytes:
    """Return the state of an import as an event. All who have read the same state at once share it."""

    async def made() -> bytes:
        (shown,) = await _shown(call, [stored])
        name = b"progress" if stored.state in WORKING else b"end"
        return b"event: %s\ndata: %s\n\n" % (name, msgspec.json.encode(shown.status))

    return await call.services.database.shared(("event of import", stored.id, stored.state, stored.progress), made)


async def _looks(call: Call, import_id: UUID) -> AsyncGenerator[StoredImport]:
    """Yield an import as it is at intervals, until the server stops.

    All who follow an import in this process look at the same moments, so that they share each read. Refusals: Forbidden,
    NotFound; Unauthenticated, once the caller's credential is no longer valid.
    """
    loop, notifier = asyncio.get_running_loop(), call.services.notifier
    with notifier.subscribed(call.caller.workspace_id):
        while not notifier.is_closed:
            await asyncio.sleep(_LOOK_SECONDS - loop.time() % _LOOK_SECONDS)
            await call.check_caller()
            yield await _found(call, import_id)


async def get_import(call: Call, import_id: UUID) -> Answer:
    """Read one import. Refusals: Forbidden, NotFound."""
    (shown,) = await _shown(call, [await _found(call, import_id)])
    return Answer(msgspec.json.encode(shown))


async def update_import(call: Call, import_id: UUID, patch: ImportUpdate) -> Answer:
    """Change how an import reads its file. Refusals: Forbidden, Invalid, NotFound."""
    stored = await _seen(call, import_id)
    content = stored.content
    if patch.sheet is not UNSET:
        content = await _with_sheet(call, stored, patch.sheet)
    elif patch.has_header is not UNSET and patch.has_header is not content.file.layout.has_header:
        content = await _with_header(call, stored, has_header=patch.has_header)
    if patch.mapping is not UNSET:
        content = msgspec.structs.replace(content, mapping=patch.mapping)
    _require_scopes(call, content)
    await _require_sound(call, content)
    workspace_id, pool = call.caller.workspace_id, call.services.database.pool
    saved: SavedMapping | None = None
    if patch.save_as is not UNSET:
        names = tuple(column.name for column in content.file.columns)
        saved = SavedMapping(name=patch.save_as, columns=names, mapping=content.mapping)
        await _require_savable(call, saved)
    await call.services.ledger.write(workspace_id, UpdateImport(job_id=import_id, content=content), call.origin)
    if saved is not None and not await store.save_mapping(pool, workspace_id, saved, MAX_MAPPINGS, MAX_MAPPING_BYTES):
        # Another request took the room meanwhile.
        raise _no_room()
    return await get_import(call, import_id)


async def check_import(call: Call, import_id: UUID) -> Answer:
    """Begin the dry run of an import. Refusals: Forbidden, Invalid, NotFound."""
    return await _start(call, import_id, is_check=True)


async def run_import(call: Call, import_id: UUID) -> Answer:
    """Begin the run of an import, or go on with it. Refusals: Forbidden, Invalid, NotFound, Taken."""
    return await _start(call, import_id, is_check=False)


async def pause_import(call: Call, import_id: UUID) -> Answer:
    """Pause the run of an import. Refusals: Forbidden, Invalid, NotFound."""
    return await _stop(call, import_id, is_pause=True)


async def cancel_import(call: Call, import_id: UUID) -> Answer:
    """End the work on an import. Refusals: Forbidden, Invalid, NotFound."""
    return await _stop(call, import_id, is_pause=False)


async def undo_import(call: Call, import_id: UUID, query: UndoQuery) -> Answer:
    """Begin the undo of an import, or tell what it would do. Refusals: Forbidden, Invalid, NoLongerKept, NotFound."""
    stored = await _found(call, import_id)
    _require_scopes(call, stored.content)
    if planned_fields(stored.content):
        call.caller.require(ADMIN)
    object_types, workspace_id = call.services.object_types, call.caller.workspace_id
    pool, request_id = call.services.database.pool, stored.content.request_id
    found = await history.types_of(pool, object_types, workspace_id, request_id)
    entries = sum(each.entries for each in found)
    if not entries:
        message = "The import has changed nothing that is still in the ledger, so there is nothing to undo."
        raise Invalid([FieldError("state", "not_allowed", message)])
    if query.dry_run:
        if entries > _MAX_TRIED:
            message = (
                f"The import has made {number_of(entries, 'change')}, and a dry run tells of {_MAX_TRIED:,} at most. Begin the "
                "undo: it leaves what somebody has changed since, and lists it."
            )
            raise Invalid([FieldError("dry_run", "not_allowed", message)])
        return await undo(call, ids.encoded(ids.REQUEST, request_id), is_dry_run=True)
    await require_whole(pool, workspace_id, request_id)
    begun = Undoing(
        request_id=call.request_id,
        credential_id=call.caller.credential_id,
        former=stored.state,
        may_name=tuple(sorted(each.name for each in may_name(object_types, call.caller.may))),
        began=sources.now().timestamp(),
        first=(first := min(each.first for each in found)),
        last=max(each.last for each in found),
        total=entries,
        after=first - 1,
    )
    await call.services.ledger.write(workspace_id, BeginUndo(job_id=import_id, undo=begun), call.origin)
    return await get_import(call, import_id)


async def list_kept(call: Call, import_id: UUID, query: KeptQuery) -> Answer:
    """List the objects that the undo of an import has kept. Refusals: Forbidden, NotFound."""
    await _seen(call, import_id)
    found = await store.kept(call.services.database.pool, call.caller.workspace_id, import_id, query.after, query.limit)
    page = KeptObjects(object="list", data=tuple(found[: query.limit]), has_more=len(found) > query.limit)
    return Answer(msgspec.json.encode(page))


async def delete_import(call: Call, import_id: UUID) -> Answer:
    """Delete an import with its file. Refusals: Forbidden, Invalid, NotFound."""
    stored = await _found(call, import_id)
    if not await store.delete(call.services.database.pool, call.caller.workspace_id, import_id):
        message = f"The import is `{stored.state.value}`. Cancel it first."
        raise Invalid([FieldError("state", "not_allowed", message)])
    await call.services.uploads.remove(call.caller.workspace_id, import_id)
    return Answer(msgspec.json.encode(Deleted(id=ids.encoded(ids.IMPORT, import_id), object="import")))


async def list_rows(call: Call, import_id: UUID, query: RowsQuery) -> Answer:
    """List what came of rows. Refusals: Forbidden, NotFound."""
    await _seen(call, import_id)
    asked = RowsAsked(query.of == "check", query.verdict, query.after, query.limit)
    found = await store.rows(call.services.database.pool, call.caller.workspace_id, import_id, asked)
    page = ImportRows(object="list", data=tuple(found[: query.limit]), has_more=len(found) > query.limit)
    return Answer(msgspec.json.encode(page))


async def get_problems(call: Call, import_id: UUID) -> Answer:
    """Return the rows that failed as a file, each with its reasons. Refusals: Forbidden, NotFound."""
    stored = await _seen(call, import_id)
    if not call.services.uploads.table(stored.workspace_id, stored.id, stored.content.file.sheet).is_file():
        raise NotFound("import", GONE, import_id)
    is_json = stored.content.file.layout.format == "ndjson"
    return Answer(b"", stream=_problem_file(call, stored), media_type=b"application/x-ndjson" if is_json else b"text/csv")


async def list_mappings(call: Call) -> Answer:
    """List the saved mappings. Refusal: Forbidden."""
    return Answer(msgspec.json.encode(SavedMappings(object="list", data=tuple(await _saved(call)))))


async def _saved(call: Call) -> list[SavedMapping]:
    """Return the saved mappings whose objects the caller may import, and whose names it may read. Refusal: Forbidden."""
    objects = _objects(call)
    saved = await store.saved_mappings(call.services.database.pool, call.caller.workspace_id)
    return [each for each in saved if _shows(call, each, objects)]


def _shows(call: Call, saved: SavedMapping, objects: Collection[str]) -> bool:
    """Whether a saved mapping is for these objects, and has names that the caller may read."""
    return saved.mapping.object_type.value in objects and all(map(call.caller.may, scopes_of_names(saved.mapping)))


async def _require_savable(call: Call, saved: SavedMapping) -> None:
    """Require room for a mapping, and a name that no mapping has which the caller does not see. Refusal: Invalid."""
    pool, workspace_id, objects = call.services.database.pool, call.caller.workspace_id, _objects(call)
    known = await store.saved_mappings(pool, workspace_id)
    if any(each.name == saved.name and not _shows(call, each, objects) for each in known):
        message = "`save_as` is the name of a mapping that needs further scopes, such as those of its tags. Use another name."
        raise Invalid([FieldError("save_as", "already_in_use", message)])
    if not await store.has_room(pool, workspace_id, saved, MAX_MAPPINGS, MAX_MAPPING_BYTES):
        raise _no_room()


def _no_room() -> Invalid:
    message = (
        f"There is no room for this mapping: a workspace saves {MAX_MAPPINGS}, with {MAX_MAPPING_BYTES:,} bytes together. Use "
        "the name of one of them."
    )
    return Invalid([FieldError("save_as", "too_long", message)])


_PLURALS: Final = {FieldObjectType.CONTACT: "contacts", FieldObjectType.COMPANY: "companies"}


def _objects(call: Call) -> list[str]:
    """Return the types of objects that the caller may import: those that it may read and write. Refusal: Forbidden."""
    found = [
        each.value
        for each, plural in _PLURALS.items()
        if call.caller.may(f"{plural}:read") and call.caller.may(f"{plural}:write")
    ]
    if not found:
        raise Forbidden("contacts:write")
    return found


async def _found(call: Call, import_id: UUID) -> StoredImport:
    """Return an import of objects that the caller may import. Refusals: Forbidden, NotFound."""
    objects = _objects(call)
    database, workspace_id = call.services.database, call.caller.workspace_id
    find = partial(store.find, database.pool, workspace_id, import_id)
    stored = await database.shared(("import", workspace_id, import_id), find)
    if stored is None or stored.content.mapping.object_type.value not in objects:
        raise NotFound("import", GONE, import_id)
    return stored


async def _seen(call: Call, import_id: UUID) -> StoredImport:
    """Return an import of whose file the caller may see the values. Refusals: Forbidden, NotFound."""
    stored = await _found(call, import_id)
    require_sight(call.caller, stored.content)
    return stored


def _require_objects(call: Call, mapping: Mapping) -> None:
    """Require the scopes to read and write the objects that rows become. Refusal: Forbidden."""
    for access in ("read", "write"):
        call.caller.require(f"{_PLURALS[mapping.object_type]}:{access}")


def _require_scopes(call: Call, content: Content) -> None:
    """Require the scopes to write all that an import fills. Refusal: Forbidden."""
    caller, mapping = call.caller, content.mapping
    _require_objects(call, mapping)
    # Objects in JSON have members, and no columns that are mapped.
    targets = {each.to for each in (*mapping.columns, *mapping.fixed)} | set(content.file.members)
    needed: list[str] = []
    if targets & {"company_name", "company_domain"}:
        needed += ["companies:read"] + (["companies:write"] if mapping.create_companies else [])
    if mapping.tags or "tags" in targets:
        needed += ["tags:read", "tags:write"]
    for scope in needed:
        caller.require(scope)


async def _require_sound(call: Call, content: Content) -> None:
    """Require that a mapping fits the file and the fields of the workspace. Refusals: Forbidden, Invalid."""
    mapping = content.mapping
    defined = await all_definitions(call.services.database.pool, call.caller.workspace_id)
    known = {each.key for each in defined if each.object_type is mapping.object_type and not each.archived}
    errors = [*unsound(mapping, content.file.columns, frozenset(known))]
    if mapping.region is not None and region_named(mapping.region) != mapping.region:
        message = "`mapping.region` is no country. Send two capital letters (ISO 3166-1), such as `GB`, or null."
        errors.append(FieldError("mapping.region", "invalid_choice", message))
    if errors:
        raise Invalid(errors)
    if planned_fields(content):
        call.caller.require(ADMIN)


async def _make_table(call: Call, path: Path, sheet: str) -> "_Made":
    """Replace a workbook, cards, or JSON that is not in lines, by a table of the same.

    Refusals: InvalidQuery, TooLarge, Unreadable. A workbook with several sheets stays, with the table beside it.
    """
    head = await asyncio.to_thread(_head, path)
    if sheet and not workbooks.is_workbook(head):
        message = "`sheet` is for workbooks, and the file is none. Leave it out."
        raise InvalidQuery([FieldError("sheet", "invalid_choice", message)])
    layout = card_table.LAYOUT if card_table.is_card(head) else json_values.LAYOUT if json_values.is_json(head) else None
    if layout is None and not workbooks.is_workbook(head):
        return _Made()
    with locked_table(path) as table:
        try:
            if workbooks.is_workbook(head):
                async with READING.turn(call.caller.workspace_id):
                    sheets = await _write_sheet(path, table, sheet)
            else:
                write = card_table.write_table if layout is card_table.LAYOUT else json_values.write_lines
                await call.steps(write(path, table))
                sheets = None
            if table.stat().st_size > call.services.uploads.most_bytes:
                raise TooLarge(call.services.uploads.most_bytes)
            if sheets is None or len(sheets.names) == 1 or sheets.read not in sheets.names[:_MAX_SHEETS]:
                await asyncio.to_thread(_overwrite, path, table)
                return _Made(layout)
            number = sheets.names.index(sheets.read)
            await asyncio.to_thread(table.rename, path.with_suffix(f".sheet{number}"))
            return _Made(sheets=sheets.names[:_MAX_SHEETS], sheet=number)
        finally:
            await asyncio.to_thread(table.unlink, missing_ok=True)


class _Made(NamedTuple):
    """The table of a file: its layout, if that is known, and of a workbook with several sheets these and the one that it is of.

    The layout of a sheet depends on its values.
    """

    layout: Layout | None = None
    sheets: tuple[str, ...] = ()
    sheet: int | None = None


async def _write_sheet(path: Path, table: Path, sheet: str) -> Sheets:
    """Write a sheet of a workbook as a table. Refusal: Unreadable."""
    command = workbooks.command(path, table, sheet)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        said, _ = await process.communicate()
    finally:
        # The caller may go away meanwhile.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise Unreadable(said.decode() if process.returncode == workbooks.UNREADABLE else workbooks.TOO_LARGE)
    return Sheets.told(said)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _overwrite(path: Path, table: Path) -> None:
    """Give a file the content of another. It stays the same file, which is locked."""
    with table.open("rb") as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)


async def _suggested(call: Call, survey: Survey) -> "_Suggestion":
    """Return the mapping that the columns of a file suggest: the latest saved one for such columns, or else a guess.

    It is one for objects that the caller may import. Refusal: Forbidden.
    """
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    defined, objects = await all_definitions(pool, workspace_id), _objects(call)
    guessed = guess(survey.columns, defined)
    if guessed.mapping.object_type.value not in objects:
        guessed = guess(survey.columns, defined, FieldObjectType(objects[0]))
    names = [column.name for column in survey.columns]
    for saved in await _saved(call):
        if (mapping := fitted(saved, names)) is not None:
            return _Suggestion(mapping, guessed, saved.name)
    return _Suggestion(guessed.mapping, guessed, None)


class _Suggestion(msgspec.Struct, frozen=True):
    mapping: Mapping
    guessed: Guess
    saved_as: str | None


def _file(name: str, size: int, survey: Survey, found: _Suggestion) -> ImportFile:
    return ImportFile(
        name=name,
        bytes=size,
        rows=survey.records,
        layout=survey.layout,
        columns=survey.columns,
        preset=found.guessed.preset,
        saved_mapping=found.saved_as,
        members=survey.members,
    )


async def _with_sheet(call: Call, stored: StoredImport, name: str) -> Content:
    """Return an import that reads another sheet of its workbook. Refusals: Invalid, NotFound, TooLarge.

    The table of the present sheet stays as it is, so that nobody reads rows of one sheet by the mapping of another.
    """
    uploads, old = call.services.uploads, stored.content.file
    if name not in old.sheets:
        listed = ", ".join(f"`{each}`" for each in old.sheets)
        message = f"The workbook has {listed}." if listed else "The file has no sheets to choose from."
        raise Invalid([FieldError("sheet", "invalid_choice", f"`sheet` must be the name of one of them. {message}")])
    number = old.sheets.index(name)
    path = uploads.path(stored.workspace_id, stored.id)
    table = uploads.table(stored.workspace_id, stored.id, number)
    try:
        if not table.exists():
            await _make_table(call, path, name)
        survey = await call.steps(reading.survey(table))
    except FileExistsError:
        message = "The workbook is read for another request. Send this one again shortly."
        raise Invalid([FieldError("sheet", "not_allowed", message)]) from None
    except FileNotFoundError:
        raise NotFound("import", GONE, stored.id) from None
    except Unreadable as unreadable:
        raise Invalid([FieldError("sheet", "unreadable", str(unreadable))]) from None
    found = await _suggested(call, survey)
    file = msgspec.structs.replace(_file(old.name, table.stat().st_size, survey, found), sheets=old.sheets, sheet=number)
    return msgspec.structs.replace(stored.content, file=file, mapping=found.mapping)


async def _with_header(call: Call, stored: StoredImport, *, has_header: bool) -> Content:
    """Return an import whose file is read again, with its first record as a header or not. Refusals: Invalid, NotFound."""
    path = call.services.uploads.table(stored.workspace_id, stored.id, stored.content.file.sheet)
    if stored.content.file.layout.is_of_cards:
        message = "`has_header` is for tables. vCards name their members themselves, so leave it out."
        raise Invalid([FieldError("has_header", "not_allowed", message)])
    layout = msgspec.structs.replace(stored.content.file.layout, has_header=has_header)
    try:
        survey = await call.steps(reading.survey(path, layout))
    except FileNotFoundError:
        raise NotFound("import", GONE, stored.id) from None
    except Unreadable as unreadable:
        raise Invalid([FieldError("has_header", "not_allowed", str(unreadable))]) from None
    found = await _suggested(call, survey)
    old = stored.content.file
    file = msgspec.structs.replace(_file(old.name, old.bytes, survey, found), sheets=old.sheets, sheet=old.sheet)
    return msgspec.structs.replace(stored.content, file=file, mapping=found.mapping)


async def _start(call: Call, import_id: UUID, *, is_check: bool) -> Answer:
    stored = await _found(call, import_id)
    _require_scopes(call, stored.content)
    await _require_sound(call, stored.content)
    planned = planned_fields(stored.content)
    command = StartImport(
        job_id=import_id, is_check=is_check, at=sources.now().timestamp(), new_fields=() if is_check else planned
    )
    # An undo of the import takes the fields back as well.
    origin = call.origin if is_check else _origin(stored)
    await call.services.ledger.write(call.caller.workspace_id, command, origin)
    return await get_import(call, import_id)


def _origin(stored: StoredImport) -> Origin:
    return Origin(request_id=stored.content.request_id, credential_id=stored.content.credential_id)


async def _stop(call: Call, import_id: UUID, *, is_pause: bool) -> Answer:
    await _found(call, import_id)
    await call.services.ledger.write(call.caller.workspace_id, StopImport(job_id=import_id, is_pause=is_pause), call.origin)
    return await get_import(call, import_id)


async def _shown(call: Call, stored: Sequence[StoredImport]) -> list[Import]:
    """Return imports as clients see them, with their undos."""
    pool = call.services.database.pool
    # An undo by the request of an import's changes is known to the ledger alone.
    ended = [each.content.request_id for each in stored if each.state in ENDED]
    undone = await history.undone_by(pool, call.caller.workspace_id, ended) if ended else {}
    begun = {undo.credential_id for each in stored if (undo := each.progress.undo) is not None}
    authors = await history.authors(pool, begun) if begun else {}
    return [_import(each, seen(call.caller, each.content), _undo(each, undone, authors)) for each in stored]


def _import(stored: StoredImport, content: Content, undo: ImportUndo | UnsetType) -> Import:
    """Return an import as a client sees it. `content` is as much of it as the client may see."""
    progress = stored.progress
    shown = ImportProgress(done=progress.done, total=content.file.rows)
    if stored.state in (ImportState.CHECKING, ImportState.RUNNING):
        shown = _with_rate(shown, progress.done - progress.from_row, progress.began)
    is_undone = undo is not UNSET and undo.progress is UNSET
    return Import(
        object=ImportObject.IMPORT,
        id=ids.encoded(ids.IMPORT, stored.id),
        state=ImportState.UNDONE if is_undone else stored.state,
        file=content.file,
        mapping=content.mapping,
        progress=shown,
        checked=progress.checked or UNSET,
        result=progress.ran or UNSET,
        error=progress.error or UNSET,
        undo=undo,
        request_id=ids.encoded(ids.REQUEST, content.request_id),
        created_at=shown_time(stored.created_at),
        expires_at=shown_time(stored.expires_at),
    )


def _with_rate(progress: ImportProgress, done: int, began: float) -> ImportProgress:
    """Return progress with its rate, if `done` of it is done since some time."""
    if done <= 0:
        return progress
    rate = done / max(0.001, sources.now().timestamp() - began)
    left = (progress.total - progress.done) / rate
    return msgspec.structs.replace(progress, rows_per_second=round(rate, 1), seconds_left=round(left, 1))


def _undo(
    stored: StoredImport, undone: dict[UUID, history.Undone], authors: dict[UUID, history.Author]
) -> ImportUndo | UnsetType:
    """Return the undo of an import, as clients see it."""
    undo = stored.progress.undo
    if undo is None or (undo.error is not None and stored.content.request_id in undone):
        found = undone.get(stored.content.request_id)
        if found is None:
            return UNSET
        return ImportUndo(
            request_id=ids.encoded(ids.REQUEST, found.request_id),
            by=HistoryBy.of(found.credential_id, found.credential_name, found.user_id, is_client=found.is_client),
            ended_at=shown_time(found.at),
        )
    author = authors[undo.credential_id]
    progress = ImportProgress(done=undo.done, total=undo.total)
    return ImportUndo(
        request_id=ids.encoded(ids.REQUEST, undo.request_id),
        by=HistoryBy.of(undo.credential_id, author.name, author.user_id, is_client=author.is_client),
        began_at=shown_time(datetime.fromtimestamp(undo.began, UTC)),
        ended_at=UNSET if undo.ended is None else shown_time(datetime.fromtimestamp(undo.ended, UTC)),
        progress=progress if undo.ended is not None else _with_rate(progress, undo.done, undo.began),
        reverted=undo.reverted,
        kept=undo.kept,
        error=undo.error or UNSET,
    )


async def _problem_file(call: Call, stored: StoredImport) -> AsyncGenerator[bytes]:
    """Yield the rows that failed, in the form of the file, with one column more."""
    file = stored.content.file
    path = call.services.uploads.table(stored.workspace_id, stored.id, file.sheet)
    lines = _ProblemLines(file.layout, file.columns, stored.content.mapping.columns)
    yield lines.header()
    records = reading.records(path, file.layout)
    after, has_more, pace = 0, True, Pace(_STEP)
    while has_more:
        # Before the run, they are those of the dry run.
        is_check = stored.progress.ran is None
        asked = RowsAsked(is_check=is_check, verdict=RowVerdict.PROBLEM.value, after=after, limit=_STEP)
        found = await store.rows(call.services.database.pool, stored.workspace_id, stored.id, asked)
        has_more = len(found) > _STEP
        reasons = {each.row: " ".join(told_fault(fault, file.columns) for fault in each.faults) for each in found[:_STEP]}
        after = max(reasons, default=after)
        for record in records if reasons else ():
            if (reason := reasons.pop(record.number, None)) is not None:
                yield lines.line(record, reason)
            if pace.is_over(size_of(record)):
                await call.time_slice()
            if not reasons:
                break


class _ProblemLines:
    """The lines of the file of rows that failed. A column of reasons, which an earlier such file has, is left out.

    Values without a column are behind the reasons, so that they have the same problem until somebody corrects it.
    """

    def __init__(self, layout: Layout, columns: Sequence[Column], mapped: Sequence[MappedColumn]) -> None:
        self._is_json = layout.format == "ndjson"
        self._columns = columns
        fills = [each.to != IGNORE for each in mapped]
        self._kept = [index for index, column in enumerate(columns) if column.name != _PROBLEM or fills[index]]
        self._delimiter = layout.delimiter

    def header(self) -> bytes:
        """Return the first line. Programs for spreadsheets know by its mark that the file is in UTF-8."""
        return (
            b""
            if self._is_json
            else codecs.BOM_UTF8 + self._csv([*(self._columns[index].name for index in self._kept), _PROBLEM])
        )

    def line(self, record: Record, reason: str) -> bytes:
        """Return a row with its reasons."""
        if self._is_json:
            return msgspec.json.encode({**record.values[0], "problem": reason}) + b"\n"
        values = record.values
        known = (values[index] if index < len(values) else "" for index in self._kept)
        return self._csv([*known, reason, *values[len(self._columns) :]])

    def _csv(self, values: Sequence[str]) -> bytes:
        text = io.StringIO()
        # An import takes away the sign that keeps spreadsheets from running a cell, whether the file had it or not.
        csv.writer(text, delimiter=self._delimiter).writerow(guarded(unguarded(value)) for value in values)
        return text.getvalue().encode()


_TAG: Final = "subpackage_imports"
_ONE: Final = "/herdbook/imports/{import_id}"
# It is in the description of all operations that show values of a file.
_SIGHT: Final = (
    "A credential that has not uploaded the file needs the scopes to read all that its columns and mapping name, such as "
    "companies and tags, and `companies:read`, `contacts:read` and `tags:read` if they do not tell what all values are"
)
_SCOPES: Final = (
    "It needs the scopes to read and write the objects, and those to write the companies and tags that it may create. "
    "`workspace:admin` defines fields."
)


def _steering(name: str, handler: Handler, summary: str, description: str) -> Operation:
    return Operation(
        method="POST",
        path=f"{_ONE}/{name}",
        id=f"{name}-import",
        summary=summary,
        description=description,
        tag=_TAG,
        scopes=(),
        handler=handler,
        answer=Import,
        answer_description="Import response.",
        bypasses_ledger=True,
        refusals=(Invalid,),
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/imports",
        id="list-imports",
        summary="List imports",
        description="Lists the imports of the workspace whose objects the credential may read and write, the latest first, "
        "without columns, sheets, members and fixed values: an import by its id has these.",
        tag=_TAG,
        scopes=(),
        handler=list_imports,
        answer=ImportList,
        answer_description="Import list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/imports",
        id="create-import",
        summary="Create import",
        description="Uploads a file of contacts or companies: CSV with any usual delimiter and encoding, workbooks, "
        "vCards, or objects of this API in JSON, in a list or one in each line. The answer has the columns that were found, "
        f"and a mapping they suggest. {_SCOPES}",
        tag=_TAG,
        scopes=(),
        handler=create_import,
        takes_file=True,
        query=ImportsQuery,
        answer=Import,
        answer_description="Created import response.",
        status=201,
        bypasses_ledger=True,
        refusals=(Invalid,),
    ),
    Operation(
        method="GET",
        path=_ONE,
        id="get-import-by-id",
        summary="Get import",
        description="Reads a single import, with its progress. With `wait`, the answer comes when the import is in another "
        "state, so that a program need not ask again and again. With `Accept: text/event-stream`, its progress comes as "
        f"server-sent events. {_SIGHT}, to see samples, and tags and fixed values of the mapping.",
        tag=_TAG,
        scopes=(),
        handler=read_import,
        query=ImportQuery,
        answer=Import,
        answer_description="Import response.",
        bypasses_ledger=True,
        event_stream="The first event has the present state, and further ones come when it changes, at most four a second. The "
        "`data` is the import without `file`, `mapping`, `request_id` and times. The `event` is `progress` while a server "
        "works on the import, and then `end`, with which the stream ends. `wait` and `state` change nothing.",
        refusals=(TooManyFollowers,),
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        id="update-import",
        summary="Update import",
        description=f"Changes the mapping of an import before it runs, and may keep it by a name. {_SCOPES} {_SIGHT}.",
        tag=_TAG,
        scopes=(),
        handler=update_import,
        body=ImportUpdate,
        answer=Import,
        answer_description="Import response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        id="delete-import",
        summary="Delete import",
        description="Deletes an import with its file and the outcome of its rows. Imported objects stay.",
        tag=_TAG,
        scopes=(),
        handler=delete_import,
        answer=Deleted,
        answer_description="Deleted import response.",
        bypasses_ledger=True,
        refusals=(Invalid,),
    ),
    _steering("check", check_import, "Check import", "Begins a dry run: what would come of each row. Nothing is written."),
    _steering(
        "run",
        run_import,
        "Run import",
        "Begins the run of an import, or goes on with a paused one. All its changes have the request id of the import.",
    ),
    _steering("pause", pause_import, "Pause import", "Pauses the run of an import. Rows that are done stay."),
    _steering(
        "cancel", cancel_import, "Cancel import", "Ends the work on an import before its last row. Rows that are done stay."
    ),
    Operation(
        method="POST",
        path=f"{_ONE}/undo",
        id="undo-import",
        summary="Undo import",
        description="Begins to take back what an import has created and changed. A server does that in the background: the "
        "import is `undoing`, then `undone`. What somebody has changed since stays, and so does what others need: "
        "`GET /herdbook/imports/{import_id}/kept` lists it. With `dry_run`, the answer tells at once what the undo would do, "
        f"of an import that has made at most {_MAX_TRIED:,} changes. {_SCOPES}",
        tag=_TAG,
        scopes=(),
        handler=undo_import,
        query=UndoQuery,
        answer=Import,
        or_answer=Undo,
        answer_description="Import response or, for a dry run, the expected result.",
        bypasses_ledger=True,
        refusals=(Invalid, NoLongerKept),
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/kept",
        id="list-import-kept",
        summary="List objects that the undo of an import has kept",
        description="Lists the objects that the undo of an import has left unchanged, and why: those that somebody has changed "
        f"since, that others need, or whose earlier state conflicts with others. {_SIGHT}.",
        tag=_TAG,
        scopes=(),
        handler=list_kept,
        query=KeptQuery,
        answer=KeptObjects,
        answer_description="Kept objects response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/rows",
        id="list-import-rows",
        summary="List rows of an import",
        description=f"Lists what came of the rows of an import, or would by its dry run, in the order of the file. {_SIGHT}.",
        tag=_TAG,
        scopes=(),
        handler=list_rows,
        query=RowsQuery,
        answer=ImportRows,
        answer_description="Rows response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/problems",
        id="get-import-problems",
        summary="Get the rows of an import that failed",
        description="Returns the rows that failed as a file of the same form, with one more column that has the reasons; "
        "before the run, those of the dry run. Correct them there, and upload the file. A file in JSON has the reasons as "
        f"`problem`. {_SIGHT}.",
        tag=_TAG,
        scopes=(),
        handler=get_problems,
        answer=ImportProblemRow,
        answer_description="The file.",
        files=("text/csv", "application/x-ndjson"),
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path="/herdbook/import_mappings",
        id="list-import-mappings",
        summary="List saved mappings",
        description="Lists the mappings of imports that were kept by a name, the latest first. One that names tags or "
        "companies for all rows is there with the scopes to read these.",
        tag=_TAG,
        scopes=(),
        handler=list_mappings,
        answer=SavedMappings,
        answer_description="Saved mapping list response.",
        bypasses_ledger=True,
    ),
)
