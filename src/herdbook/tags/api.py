"""The operations of /v2/tags."""

from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook.errors import Taken
from herdbook.http.call import Call
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


async def with_existing_tags(call: Call, answer: Answer, record: type[msgspec.Struct]) -> Answer:
    """Return the record of a tagged object without tags that are deleted. They come back once these are restored."""
    if b'"tag_ids":' not in answer.body:
        return answer
    shown: Any = msgspec.json.decode(answer.body, type=record)
    named = shown.tag_ids or ()
    found = await store.existing(call.services.database.pool, call.caller.workspace_id, named)
    if len(found) == len(named):
        return answer
    return answer._replace(body=msgspec.json.encode(msgspec.structs.replace(shown, tag_ids=tuple(found) or UNSET)))


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
