"""The operations of /v2/tags."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook.errors import Taken
from herdbook.http.call import Call
from herdbook.http.etag import variant_of
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.ledger.commands import Create, Delete, Update
from herdbook.shared_schemas import Deleted
from herdbook.tags import store
from herdbook.tags.model import Tag, TagCreate, TagUpdate
from herdbook.tags.store import TAG


async def list_tags(call: Call) -> Answer:
    """List the tags of the workspace."""
    return await call.answer_list(store.page)


async def create_tag(call: Call, tag: TagCreate) -> Answer:
    """Create a tag."""
    return await call.write(Create(TAG, tag, call.has_precondition))


async def get_tag(call: Call, tag_id: UUID) -> Answer:
    """Read one tag."""
    return await call.answer_object(TAG, tag_id)


async def update_tag(call: Call, tag_id: UUID, patch: TagUpdate) -> Answer:
    """Change some fields of one tag. Absent leaves a field unchanged; null clears it."""
    return await call.write(Update(TAG, tag_id, patch, call.if_version))


async def delete_tag(call: Call, tag_id: UUID) -> Answer:
    """Delete one tag."""
    return await call.write(Delete(TAG, tag_id, call.if_version))


async def shown_record(call: Call, answer: Answer, record: type[msgspec.Struct]) -> Answer:
    """Return the record of a tagged object without tags that are deleted. They come back once these are restored.

    The values of archived fields, which the answer does not have, come back, too, and neither makes a version of the object.
    The ETag therefore tells them.
    """
    if b'"tag_ids":' in answer.body:
        found = msgspec.json.decode(answer.body, type=record)
        (shown,) = await with_existing_tags(call, [found])
        if shown is not found:
            answer = answer._replace(body=msgspec.json.encode(shown))
    is_variant = any(member in answer.body for member in _HIDEABLE)
    return answer._replace(variant=variant_of(answer.body)) if is_variant else answer


async def with_existing_tags(call: Call, records: Sequence[Any]) -> list[Any]:
    """Return records without tags that are deleted."""
    named = [*dict.fromkeys(tag_id for record in records for tag_id in record.tag_ids or ())]
    # Many records that are read at once share this statement.
    rows = await store.find_each(call.services.database, call.caller.workspace_id, named) if named else ()
    gone = {tag_id for tag_id, row in zip(named, rows, strict=True) if row is None}
    return [
        msgspec.structs.replace(record, tag_ids=tuple(each for each in record.tag_ids if each not in gone) or UNSET)
        if gone.intersection(record.tag_ids or ())
        else record
        for record in records
    ]


# The members of a record of which a part may be hidden. Without any of them, all that may be hidden is.
_HIDEABLE: Final = (b'"tag_ids":', b'"fields":')
_TAG: Final = "subpackage_tags"
_READ: Final = ("tags:read",)
_WRITE: Final = ("tags:write",)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/tags",
        id="list-tags",
        summary="List tags",
        description="Lists the workspace's tags.",
        tag=_TAG,
        scopes=_READ,
        handler=list_tags,
        answer=Tag,
        answer_description="Tag list response.",
        list_of=ListOf(),
    ),
    Operation(
        method="POST",
        path="/v2/tags",
        id="create-tag",
        summary="Create tag",
        description="Creates a workspace tag.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_tag,
        body=TagCreate,
        answer=Tag,
        answer_description="Created tag response.",
        status=201,
        refusals=(Taken,),
    ),
    Operation(
        method="GET",
        path="/v2/tags/{tag_id}",
        id="get-tag-by-id",
        summary="Get tag",
        description="Reads a single workspace tag.",
        tag=_TAG,
        scopes=_READ,
        handler=get_tag,
        answer=Tag,
        answer_description="Tag response.",
    ),
    Operation(
        method="PATCH",
        path="/v2/tags/{tag_id}",
        id="update-tag",
        summary="Update tag",
        description="Updates a single workspace tag.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_tag,
        body=TagUpdate,
        answer=Tag,
        answer_description="Updated tag response.",
        refusals=(Taken,),
    ),
    Operation(
        method="DELETE",
        path="/v2/tags/{tag_id}",
        id="delete-tag",
        summary="Delete tag",
        description="Deletes a single workspace tag.",
        tag=_TAG,
        scopes=_WRITE,
        handler=delete_tag,
        answer=Deleted,
        answer_description="Deleted tag response.",
    ),
)
