"""The operation of /herdbook/openapi.json."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from herdbook.custom_fields import store
from herdbook.custom_fields.api import READERS_TOLD
from herdbook.custom_fields.store import FIELD
from herdbook.http.call import Call
from herdbook.http.etag import none_match
from herdbook.http.operation import Answer, Operation
from herdbook.workspace_document.model import DocumentWriter, WorkspaceDocument


# A process has one document.
@lru_cache(maxsize=1)
def _writer(document: Callable[[], bytes]) -> DocumentWriter:
    return DocumentWriter(document())


async def get_document(call: Call) -> Answer:
    """Return the OpenAPI document with the workspace's fields."""
    FIELD.require_reader(call.caller.may)
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    # In a thread, because a workspace may have hundreds of fields.
    writer = await asyncio.to_thread(_writer, call.services.document)
    # The version is read first, so that the document is never older than its ETag.
    version = writer.version(workspace_id, await store.definitions_version(pool, workspace_id))
    if not none_match(call.headers.get(b"if-none-match"), version):
        return Answer(b"", version)
    definitions = await store.all_definitions(pool, workspace_id)
    return Answer(await asyncio.to_thread(writer.written, definitions), version)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/openapi.json",
        id="get-openapi-document",
        summary="Get OpenAPI document",
        description="Returns this document with the workspace's own fields: each is typed by its kind wherever an operation "
        "takes or gives `fields`, and in the conditions of queries. Archived fields are left out. The ETag changes with the "
        f"definitions of fields. {READERS_TOLD}",
        tag="subpackage_fields",
        scopes=(),
        handler=get_document,
        answer=WorkspaceDocument,
        answer_description="The document of the workspace.",
    ),
)
