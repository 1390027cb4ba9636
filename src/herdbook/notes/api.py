"""The operations of /herdbook/notes, and of the notes on a contact or a company."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.database import ObjectRead, find_in
from herdbook.db.paging import ListRow
from herdbook.errors import Forbidden, NotFound
from herdbook.http.call import Call, answer_found
from herdbook.http.etag import etag
from herdbook.http.operation import Answer, Filter, ListOf, Operation
from herdbook.ledger.object_types import ObjectType
from herdbook.notes import store
from herdbook.notes.commands import CreateNote, DeleteNote, UpdateNote
from herdbook.notes.model import Note, NoteCreate, NoteUpdate, ShownNote
from herdbook.notes.rendering import html_of
from herdbook.notes.store import NOTE, place_of
from herdbook.shared_schemas import Deleted

# A page with HTML ends before its limit once its notes have this many bytes, which may take a second to render.
MAX_RENDERED_BYTES: Final = 128 * 1024
_PLACES: Final = (CONTACT, COMPANY)


async def list_notes(object_type: ObjectType[Any, Any], call: Call, object_id: UUID) -> Answer:
    """List the notes on one contact or company."""
    query = call.page_query()
    await _require_active(call, object_type, object_id, NotFound(object_type.noun, object_id=object_id))
    rows = await store.page(call.services.database.pages, call.caller.workspace_id, query, object_type, object_id)
    if not query.expand:
        return call.answer_page(rows, query)
    shown = [row._replace(body=await _with_html(call, row.body)) for row in _rendered(rows[: query.limit])]
    return call.answer_page([*shown, *rows[len(shown) :]], query, len(shown))


def _rendered(rows: Sequence[ListRow]) -> Iterator[ListRow]:
    """Yield the rows that are shown with HTML: the first one, and others until they are too long together."""
    size = 0
    for row in rows:
        if size >= MAX_RENDERED_BYTES:
            return
        size += len(row.body)
        yield row


async def create_note(object_type: ObjectType[Any, Any], call: Call, object_id: UUID, note: NoteCreate) -> Answer:
    """Write a note on one contact or company."""
    command = CreateNote(
        object_type=object_type,
        object_id=object_id,
        fields=note,
        user_id=call.caller.user_id,
        has_precondition=call.has_precondition,
    )
    return await call.write(command)


async def get_note(call: Call, note_id: UUID) -> Answer:
    """Read one note."""
    expand = call.page_query().expand
    found = await _found(call, note_id, "read")
    if not expand:
        return answer_found(found, NOTE.noun)
    # The ETag is the version of the note alone. It does not cover the HTML, so there is no 304 for it.
    return Answer(await _with_html(call, found.body), headers=((b"etag", etag(found.version)),))


async def update_note(call: Call, note_id: UUID, patch: NoteUpdate) -> Answer:
    """Change the text of one note, or pin it."""
    return await _write(call, UpdateNote(note_id=note_id, patch=patch, if_version=call.if_version))


async def delete_note(call: Call, note_id: UUID) -> Answer:
    """Delete one note."""
    return await _write(call, DeleteNote(note_id=note_id, if_version=call.if_version))


async def _write(call: Call, command: UpdateNote | DeleteNote) -> Answer:
    """Change a note, if the caller has the rights. Refusals: Forbidden, NotFound, and those of the command and the ledger."""
    try:
        await _found(call, command.note_id, "read", "write")
    except NotFound:
        # A request that is repeated may have deleted it.
        if (first := await call.first_answer()) is not None:
            return first
        raise
    return await call.write(command)


async def _found(call: Call, note_id: UUID, *rights: str) -> ObjectRead:
    """Return a note on an active object, if the caller has these rights on such objects. Refusals: Forbidden, NotFound."""
    scopes = {each: [f"{each.plural}:{right}" for right in rights] for each in _PLACES}
    if not any(all(map(call.caller.may, each)) for each in scopes.values()):
        raise Forbidden(next(scope for scope in scopes[CONTACT] if not call.caller.may(scope)))
    found = await store.find(call.services.database, call.caller.workspace_id, note_id)
    if found is None:
        raise NotFound(NOTE.noun)
    object_type, object_id = place_of(msgspec.json.decode(found.body, type=Note))
    for scope in scopes[object_type]:
        call.caller.require(scope)
    await _require_active(call, object_type, object_id, NotFound(NOTE.noun))
    return found


async def _require_active(call: Call, object_type: ObjectType[Any, Any], object_id: UUID, refusal: NotFound) -> None:
    if await call.services.database.find(find_in(object_type.table.name), call.caller.workspace_id, object_id) is None:
        raise refusal


async def _with_html(call: Call, body: bytes) -> bytes:
    text = msgspec.json.decode(body, type=Note).text
    html = await html_of(text, call.caller.workspace_id)
    return body[:-1] + b',"html":' + msgspec.json.encode(html) + b"}"


def _is_pinned(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("it is `true` or `false`")
    return text


_TAG: Final = "subpackage_notes"
_EXPAND: Final = {"html": None}
_LIST: Final = ListOf(
    filters=(
        Filter(
            "is_pinned",
            _is_pinned,
            {"type": "string", "enum": ["true", "false"]},
            "Only notes that are pinned, or only those that are not.",
            most=1,
        ),
    )
)


def _notes_of(object_type: ObjectType[Any, Any]) -> Iterator[Operation]:
    name, plural = object_type.name, object_type.plural
    path = f"/herdbook/{plural}/{{{name}_id}}/notes"
    yield Operation(
        method="GET",
        path=path,
        id=f"list-{name}-notes",
        summary=f"List {name} notes",
        description=f"Lists the notes on a {name}.",
        tag=_TAG,
        scopes=(f"{plural}:read",),
        handler=partial(list_notes, object_type),
        answer=ShownNote,
        answer_description="Note list response.",
        list_of=_LIST,
        expand=_EXPAND,
    )
    yield Operation(
        method="POST",
        path=path,
        id=f"create-{name}-note",
        summary=f"Create {name} note",
        description=f"Writes a note on a {name}. Its author is the user for whom the credential acts.",
        tag=_TAG,
        scopes=(f"{plural}:write",),
        handler=partial(create_note, object_type),
        body=NoteCreate,
        answer=Note,
        answer_description="Created note response.",
        status=201,
    )


_READ: Final = "Requires the `contacts:read` scope for a note on a contact, `companies:read` for one on a company."
_WRITE: Final = (
    "Requires the `contacts:read` and `contacts:write` scopes for a note on a contact, `companies:read` and "
    "`companies:write` for one on a company."
)
OPERATIONS: Final = (
    *_notes_of(CONTACT),
    *_notes_of(COMPANY),
    Operation(
        method="GET",
        path="/herdbook/notes/{note_id}",
        id="get-note",
        summary="Get note",
        description=f"Reads a single note. {_READ}",
        tag=_TAG,
        scopes=(),
        handler=get_note,
        answer=ShownNote,
        answer_description="Note response.",
        expand=_EXPAND,
    ),
    Operation(
        method="PATCH",
        path="/herdbook/notes/{note_id}",
        id="update-note",
        summary="Update note",
        description=f"Changes the text of a note, or pins it. {_WRITE}",
        tag=_TAG,
        scopes=(),
        handler=update_note,
        body=NoteUpdate,
        answer=Note,
        answer_description="Updated note response.",
    ),
    Operation(
        method="DELETE",
        path="/herdbook/notes/{note_id}",
        id="delete-note",
        summary="Delete note",
        description=f"Deletes a single note. {_WRITE}",
        tag=_TAG,
        scopes=(),
        handler=delete_note,
        answer=Deleted,
        answer_description="Deleted note response.",
    ),
)
