"""The operations of /v2/tags."""

from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.errors import Invalid, InvalidQuery, KeyReused, NotFound, Stale, Taken
from herdbook.http.call import Call, answer_found
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.shared_schemas import Deleted
from herdbook.tags import store
from herdbook.tags.commands import CreateTag, DeleteTag, UpdateTag
from herdbook.tags.model import Tag, TagCreate, TagUpdate


async def list_tags(call: Call) -> Answer:
    """List the tags of the workspace."""
    return await call.answer_list(store.page)


async def create_tag(call: Call, tag: TagCreate) -> Answer:
    """Create a tag."""
    return await call.write(CreateTag(tag, call.has_precondition))


async def get_tag(call: Call, tag_id: str) -> Answer:
    """Read one tag."""
    return answer_found(await store.find(call.services.database, call.caller.workspace_id, _tag_id(tag_id)), "tag")


async def update_tag(call: Call, tag_id: str, patch: TagUpdate) -> Answer:
    """Change some fields of one tag. Absent leaves a field unchanged; null clears it."""
    return await call.write(UpdateTag(_tag_id(tag_id), patch, call.if_version))


async def delete_tag(call: Call, tag_id: str) -> Answer:
    """Delete one tag."""
    answer = await call.write(DeleteTag(_tag_id(tag_id), call.if_version))
    return answer._replace(version=None)


def _tag_id(text: str) -> UUID:
    return ids.decoded(ids.TAG, text) or ids.NIL


_TAG: Final = "subpackage_tags"
_READ: Final = ("tags:read",)
_WRITE: Final = ("tags:write",)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/tags",
        id="list-tags",
        summary="List tags",
        description="Lists the workspace's tags. Requires the `tags:read` scope.",
        tag=_TAG,
        scopes=_READ,
        handler=list_tags,
        answer=Tag,
        answer_description="Tag list response.",
        list_of=ListOf(),
        refusals=(InvalidQuery,),
    ),
    Operation(
        method="POST",
        path="/v2/tags",
        id="create-tag",
        summary="Create tag",
        description="Creates a workspace tag. Requires the `tags:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_tag,
        body=TagCreate,
        answer=Tag,
        answer_description="Created tag response.",
        status=201,
        refusals=(Taken, Stale, Invalid, KeyReused),
    ),
    Operation(
        method="GET",
        path="/v2/tags/{tag_id}",
        id="get-tag-by-id",
        summary="Get tag",
        description="Reads a single workspace tag. Requires the `tags:read` scope.",
        tag=_TAG,
        scopes=_READ,
        handler=get_tag,
        answer=Tag,
        answer_description="Tag response.",
        refusals=(NotFound,),
    ),
    Operation(
        method="PATCH",
        path="/v2/tags/{tag_id}",
        id="update-tag",
        summary="Update tag",
        description="Updates a single workspace tag. Requires the `tags:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=update_tag,
        body=TagUpdate,
        answer=Tag,
        answer_description="Updated tag response.",
        refusals=(NotFound, Taken, Stale, Invalid, KeyReused),
    ),
    Operation(
        method="DELETE",
        path="/v2/tags/{tag_id}",
        id="delete-tag",
        summary="Delete tag",
        description="Deletes a single workspace tag. Requires the `tags:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=delete_tag,
        answer=Deleted,
        answer_description="Deleted tag response.",
        refusals=(NotFound, Stale, KeyReused),
    ),
)
