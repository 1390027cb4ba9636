"""The operation /herdbook/contacts/{contact_id}/merge."""

from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.errors import FieldError, Invalid
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.merging.commands import MOVE_ENGAGEMENTS, MergeContacts, MergePreview, MoveEngagements
from herdbook.merging.model import Merge, MergeQuery, MergeRequest


async def merge_contacts(call: Call, contact_id: UUID, asked: MergeRequest, query: MergeQuery) -> Answer:
    """Merge contacts into another one."""
    if (target := ids.encoded(ids.CONTACT, contact_id)) in asked.sources:
        place = f"from[{asked.sources.index(target)}]"
        message = f"`{place}` is the target of the merge itself. Leave it out."
        raise Invalid([FieldError(place, "duplicate", message)])
    command = MergeContacts(
        target_id=contact_id,
        sources=asked.sources,
        is_dry_run=query.dry_run,
        if_version=call.if_version,
    )
    try:
        answer = await call.write(command)
    except MergePreview as preview:
        return Answer(msgspec.json.encode(preview.merge))
    await call.finish(MOVE_ENGAGEMENTS, MoveEngagements, command.source_ids)
    return answer


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/herdbook/contacts/{contact_id}/merge",
        id="merge-contacts",
        summary="Merge contacts",
        description="Merges contacts into another one, which gets the fields that it lacks, all their addresses and "
        "numbers, and their engagements.",
        tag="subpackage_contacts",
        scopes=("contacts:write",),
        handler=merge_contacts,
        body=MergeRequest,
        query=MergeQuery,
        answer=Merge,
        answer_description="The result of the merge or, for a dry run, the expected result.",
    ),
)
