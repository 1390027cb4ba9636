"""The operations /herdbook/contacts/{contact_id}/merge and /herdbook/companies/{company_id}/merge."""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.errors import FieldError, Invalid
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.merging.commands import Merge, MergePreview, MoveReferences
from herdbook.merging.model import CompanyMergeRequest, MergeQuery, MergeRequest
from herdbook.merging.store import COMPANY_MERGE, CONTACT_MERGE, MergeType
from herdbook.tags.api import with_existing_tags
from herdbook.workspaces.store import region_of


async def merge(
    merge_type: MergeType, call: Call, target_id: UUID, asked: MergeRequest | CompanyMergeRequest, query: MergeQuery
) -> Answer:
    """Merge objects into another one."""
    if (target := ids.encoded(merge_type.object_type.prefix, target_id)) in asked.sources:
        place = f"from[{asked.sources.index(target)}]"
        message = f"`{place}` is the target of the merge itself. Leave it out."
        raise Invalid([FieldError(place, "duplicate", message)])
    command = Merge(
        merge_type=merge_type,
        target_id=target_id,
        sources=asked.sources,
        is_dry_run=query.dry_run,
        region=await region_of(call.services.database.pool, call.caller.workspace_id),
        if_version=call.if_version,
    )
    try:
        answer = await call.write(command)
    except MergePreview as preview:
        return await _shown(merge_type, call, Answer(msgspec.json.encode(preview.merge)))
    await call.finish(merge_type.task, partial(MoveReferences, merge_type), command.source_ids)
    return await _shown(merge_type, call, answer)


async def _shown(merge_type: MergeType, call: Call, answer: Answer) -> Answer:
    """Return a result with the object as reads show it: without tags that are deleted."""
    if b'"tag_ids":' not in answer.body:
        return answer
    result, name = msgspec.json.decode(answer.body, type=merge_type.answer), merge_type.object_type.name
    (record,) = await with_existing_tags(call, [getattr(result, name)])
    return answer._replace(body=msgspec.json.encode(msgspec.structs.replace(result, **{name: record})))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/herdbook/contacts/{contact_id}/merge",
        id="merge-contacts",
        summary="Merge contacts",
        description="Merges contacts into another one, which gets the fields that it lacks, all their addresses and "
        "numbers, their engagements and their notes.",
        tag="subpackage_contacts",
        scopes=("contacts:write",),
        handler=partial(merge, CONTACT_MERGE),
        body=MergeRequest,
        query=MergeQuery,
        answer=CONTACT_MERGE.answer,
        answer_description="The result of the merge or, for a dry run, the expected result.",
    ),
    Operation(
        method="POST",
        path="/herdbook/companies/{company_id}/merge",
        id="merge-companies",
        summary="Merge companies",
        description="Merges companies into another one, which gets the fields that it lacks, all their domains, their "
        "contacts, their engagements and their notes.",
        tag="subpackage_companies",
        scopes=("companies:write",),
        handler=partial(merge, COMPANY_MERGE),
        body=CompanyMergeRequest,
        query=MergeQuery,
        answer=COMPANY_MERGE.answer,
        answer_description="The result of the merge or, for a dry run, the expected result.",
    ),
)
