"""The operations of /v2/engagements, of the engagements of contacts and companies, and of transcript timelines."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies import store as companies
from herdbook.companies.model import Company
from herdbook.contacts import store as contacts
from herdbook.db.paging import ListRow
from herdbook.engagements import store
from herdbook.engagements.commands import (
    PRIVATE_READ,
    PRIVATE_WRITE,
    REMOVE_COMMENTS,
    CreateEngagement,
    DeleteComments,
    DeleteEngagement,
    EngagementComments,
    ExternalIdKnown,
    RecordingNeeded,
    ReplaceContacts,
    ReplaceTags,
    SetTimeline,
    handles_of,
)
from herdbook.engagements.model import (
    Details,
    Engagement,
    EngagementCompany,
    EngagementContacts,
    EngagementCreate,
    EngagementTags,
    EngagementType,
    ProcessingStatus,
    Timeline,
    TimelineRequest,
    timeline_errors,
)
from herdbook.errors import FieldError, Invalid, NotFound, Taken
from herdbook.http.call import Call, answer_found
from herdbook.http.etag import etag
from herdbook.http.operation import Answer, Filter, ListOf, Operation, OtherAnswer, id_filter
from herdbook.names import person_name
from herdbook.shared_schemas import Deleted
from herdbook.workspaces.store import region_of

# A page with expansions ends before its limit once it has this many bytes, or names this many contacts, companies and tags.
MAX_PAGE_BYTES: Final = 4_194_304
MAX_PAGE_REFERENCES: Final = 5000
# Joining a page waits for another slice of the event loop's time after this many bytes.
_SLICE_BYTES: Final = 1_048_576
# Parsing names does so after this many.
_NAMES_AT_ONCE: Final = 10
# Members that an answer has only when it is asked for them, and the scope that each needs beside the operation's own.
_EXPAND: Final = {
    "companies": "companies:read",
    "contacts": "contacts:read",
    "owner": "users:read",
    "action_items": None,
    "signals": None,
    "transcript": None,
    "media_url": None,
    "tags": None,
}


async def list_engagements(call: Call) -> Answer:
    """List the engagements of the workspace."""
    return await _listed(call, None)


async def list_contact_engagements(call: Call, contact_id: UUID) -> Answer:
    """List the engagements that a contact takes part in."""
    if await contacts.find(call.services.database, call.caller.workspace_id, contact_id) is None:
        raise NotFound("contact", object_id=contact_id)
    return await _listed(call, store.Within("contact_ids", contact_id))


async def list_company_engagements(call: Call, company_id: UUID) -> Answer:
    """List the engagements that a company is part of."""
    if await companies.find(call.services.database, call.caller.workspace_id, company_id) is None:
        raise NotFound("company", object_id=company_id)
    return await _listed(call, store.Within("company_ids", company_id))


async def create_engagement(call: Call, engagement: EngagementCreate) -> Answer:
    """Create an engagement, or return the existing one with the same external id."""
    engagement.require_content()
    # Parse phone numbers and names here, because the ledger applies the command without a pause.
    has_number = any(participant.phone is not None for participant in engagement.participants or ())
    region = await region_of(call.services.database.pool, call.caller.workspace_id) if has_number else None
    handles_of(engagement, region)
    for count, participant in enumerate(engagement.participants or (), start=1):
        if participant.name is not None:
            person_name(participant.name)
        if count % _NAMES_AT_ONCE == 0:
            await call.time_slice()
    command = CreateEngagement(
        engagement_id=ids.new_id(),
        fields=engagement,
        created_by=call.caller.credential_id,
        owner_user_id=call.caller.user_id,
        has_precondition=call.has_precondition,
        region=region,
    )
    try:
        return await _created(call, command)
    except ExternalIdKnown as known:
        return _existing(call, known.engagement)


async def _created(call: Call, command: CreateEngagement) -> Answer:
    # A recording is fetched only if the engagement can be created, since it takes long.
    try:
        return await call.write(command)
    except RecordingNeeded as needed:
        url = needed.url
    async with call.services.recordings.fetched(url, call.caller.workspace_id, command.engagement_id) as recording:
        command = msgspec.structs.replace(command, media=recording.media, duration_seconds=recording.duration_seconds)
        answer = await call.write(command)
        recording.stays = not answer.replayed
        return answer


async def get_engagement(call: Call, engagement_id: UUID) -> Answer:
    """Read one engagement."""
    expand = call.page_query().expand
    found = await visible(call, engagement_id)
    if not expand:
        return answer_found(found.found, "engagement")
    (body,) = await expanded(call, [ShownEngagement(engagement_id, found.found.body, found.details)], expand)
    # The ETag is the version of the engagement alone. It does not cover the expanded fields, so there is no 304 for them.
    return Answer(body, headers=((b"etag", etag(found.found.version)),))


async def replace_contacts(call: Call, engagement_id: UUID, asked: EngagementContacts) -> Answer:
    """Replace the contacts of one engagement."""
    command = ReplaceContacts(
        engagement_id=engagement_id,
        contact_ids=asked.contact_ids,
        private_scopes=private_scopes(call),
        if_version=call.if_version,
    )
    return await call.write(command)


async def replace_tags(call: Call, engagement_id: UUID, asked: EngagementTags) -> Answer:
    """Replace the tags of one engagement."""
    command = ReplaceTags(
        engagement_id=engagement_id,
        tag_ids=asked.tag_ids,
        private_scopes=private_scopes(call),
        if_version=call.if_version,
    )
    return await call.write(command)


async def get_timeline(call: Call, engagement_id: UUID) -> Answer:
    """Read the transcript timeline of one engagement."""
    await visible(call, engagement_id, needed=("engagements:read", PRIVATE_READ))
    timeline = await store.find_timeline(call.services.database, call.caller.workspace_id, engagement_id)
    return answer_found(timeline, "transcript timeline")


async def set_timeline(call: Call, engagement_id: UUID, timeline: TimelineRequest) -> Answer:
    """Set the transcript timeline of one engagement, which completes it."""
    if errors := timeline_errors(timeline):
        raise Invalid(errors)
    command = SetTimeline(
        engagement_id=engagement_id,
        timeline=timeline,
        private_scopes=private_scopes(call),
        if_version=call.if_version,
        has_precondition=call.has_precondition,
    )
    return await call.write(command)


async def delete_engagement(comments: EngagementComments, call: Call, engagement_id: UUID) -> Answer:
    """Delete one engagement, with its transcript and its comments."""
    command = DeleteEngagement(
        engagement_id=engagement_id, comments=comments, private_scopes=private_scopes(call), if_version=call.if_version
    )
    answer = await call.write(command)
    await call.finish(REMOVE_COMMENTS, partial(DeleteComments, comments=comments), [engagement_id])
    return answer


def private_scopes(call: Call) -> frozenset[str]:
    """Return the scopes for private engagements that a caller has."""
    return frozenset(scope for scope in (PRIVATE_READ, PRIVATE_WRITE) if call.caller.may(scope))


async def visible(call: Call, engagement_id: UUID, needed: Sequence[str] = (PRIVATE_READ,)) -> store.FoundEngagement:
    """Return an engagement that the caller may see. A private one requires the scopes in `needed`. Refusal: NotFound."""
    found = await store.find(call.services.database, call.caller.workspace_id, engagement_id)
    if found is None or (found.is_private and not all(call.caller.may(scope) for scope in needed)):
        raise NotFound("engagement")
    return found


def _existing(call: Call, engagement: store.EngagementRow) -> Answer:
    """Answer with an existing engagement. A private one is shown only to its creator and to callers that may see it.

    Refusal: Taken.
    """
    is_creator = engagement.details.created_by == str(call.caller.credential_id)
    if engagement.is_private and not is_creator and not private_scopes(call):
        message = "`external_id` belongs to an engagement that this credential may not see. Use another `external_id`."
        holder = ("engagement", ids.encoded(ids.ENGAGEMENT, engagement.id))
        raise Taken([FieldError("external_id", "already_in_use", message)], [holder], PRIVATE_READ)
    return Answer(msgspec.json.encode(engagement.object), engagement.version, status=200, is_own=is_creator)


async def _listed(call: Call, within: store.Within | None) -> Answer:
    query = call.page_query()
    caller = call.caller
    rows = await store.page(
        call.services.database.pages, caller.workspace_id, query, sees_private=caller.may(PRIVATE_READ), within=within
    )
    if not query.expand:
        return call.answer_page(rows, query)
    shown: list[ShownEngagement] = []
    references = 0
    for row in rows[: query.limit]:
        shown.append(ShownEngagement.of_row(row))
        references += shown[-1].references
        if references >= MAX_PAGE_REFERENCES:
            break
    bodies = await expanded(call, shown, query.expand)
    whole = [row._replace(body=body) for row, body in zip(rows, bodies, strict=False)]
    return call.answer_page([*whole, *rows[len(whole) :]], query, len(whole))


class ShownEngagement(NamedTuple):
    """An engagement to show: its id, the JSON that the API always shows, and the details."""

    id: UUID
    body: bytes
    details: Details

    @classmethod
    def of_row(cls, row: ListRow) -> "ShownEngagement":
        """Return the engagement of a row of a list."""
        return cls(_id_in(row.body), row.body, store.decoded_details(row.more[0]))

    @property
    def references(self) -> int:
        """The number of its contacts, companies and tags."""
        return len(self.details.contact_ids) + len(self.details.company_ids) + len(self.details.tag_ids)


class _Identified(msgspec.Struct):
    id: str
    owner_user_id: str | None = None


_identified: Final = msgspec.json.Decoder(_Identified)
_company: Final = msgspec.json.Decoder(Company)


def _id_in(body: bytes) -> UUID:
    return ids.decoded(ids.ENGAGEMENT, _identified.decode(body).id) or ids.NIL


async def expanded(call: Call, shown: Sequence[ShownEngagement], expand: Iterable[str]) -> list[bytes]:
    """Return the engagements with the requested fields, up to `MAX_PAGE_BYTES`. Each field takes one statement for all."""
    members = await asyncio.gather(*(_member(call, shown, name) for name in expand))
    bodies: list[bytes] = []
    size = in_slice = 0
    for each, values in zip(shown, zip(*members, strict=False), strict=False):
        more = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in zip(expand, values, strict=True))
        bodies.append(each.body[:-1] + more + b"}")
        size += len(bodies[-1])
        in_slice += len(bodies[-1])
        if size >= MAX_PAGE_BYTES:
            break
        if in_slice >= _SLICE_BYTES:
            in_slice = 0
            await call.time_slice()
    return bodies


async def _member(call: Call, shown: Sequence[ShownEngagement], name: str) -> Iterable[bytes]:
    """Return one field of each engagement, in JSON. Transcripts end where there are `MAX_PAGE_BYTES` of them."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    match name:
        case "companies":
            named = [ids.decoded_all(ids.COMPANY, each.details.company_ids) for each in shown]
            found = await store.objects(pool, workspace_id, name, {each for some in named for each in some})
            parts = {key: msgspec.json.encode(EngagementCompany.of(_company.decode(body))) for key, body in found.items()}
            return (_array(parts[key] for key in some if key in parts) for some in named)
        case "contacts" | "tags":
            prefix = ids.CONTACT if name == "contacts" else ids.TAG
            texts = [each.details.contact_ids if name == "contacts" else each.details.tag_ids for each in shown]
            named = [ids.decoded_all(prefix, some) for some in texts]
            found = await store.objects(pool, workspace_id, name, {each for some in named for each in some})
            return (_array(found[key] for key in some if key in found) for some in named)
        case "owner":
            owners = [ids.decoded_all(ids.USER, [_identified.decode(each.body).owner_user_id or ""]) for each in shown]
            found = await store.objects(pool, workspace_id, name, {each for some in owners for each in some})
            return [next((found[key] for key in some if key in found), b"null") for some in owners]
        case "transcript":
            texts = await store.texts(pool, workspace_id, [each.id for each in shown], MAX_PAGE_BYTES)
            return (msgspec.json.encode(texts.found.get(each.id)) for each in shown[: texts.covered])
        case "media_url":
            return [msgspec.json.encode(_media_url(call, each)) for each in shown]
        case _:
            # herdbook derives neither action items nor signals.
            return [b"[]"] * len(shown)


def _media_url(call: Call, each: ShownEngagement) -> str | None:
    media = each.details.media
    if media is None:
        return None
    return call.base_url + call.services.recordings.address(call.caller.workspace_id, each.id, media)


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _choice_filter(name: str, choices: type[EngagementType] | type[ProcessingStatus], description: str) -> Filter:
    values = [choice.value for choice in choices]

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"it must be one of {', '.join(values)}")
        return text

    return Filter(name, read, {"type": "string", "enum": values}, description)


LIST_OF: Final = ListOf(
    search="Search words. Each must match the start of a word in the title; case, accents, apostrophes and hyphens are "
    "ignored.",
    crm_types=("company", "contact", "deal"),
    times=("updated_at", "start_at"),
    filters=(
        _choice_filter("engagement_type", EngagementType, "Only engagements of this type."),
        _choice_filter("processing_status", ProcessingStatus, "Only engagements with this status."),
        id_filter("company_ids", ids.COMPANY, "company", "Only engagements that this company is part of."),
        id_filter("contact_ids", ids.CONTACT, "contact", "Only engagements that this contact takes part in."),
        id_filter("owner_ids", ids.USER, "user", "Only engagements that this user owns."),
    ),
)
_TAG: Final = "subpackage_engagements"
_READ: Final = ("engagements:read",)
_WRITE: Final = ("engagements:write",)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/engagements",
        id="list-engagements",
        summary="List engagements",
        description="Lists the workspace's engagements. Private ones are listed only with `engagements:private:read`.",
        tag=_TAG,
        scopes=_READ,
        handler=list_engagements,
        answer=Engagement,
        answer_description="Engagement list response.",
        list_of=LIST_OF,
        expand=_EXPAND,
    ),
    Operation(
        method="POST",
        path="/v2/engagements",
        id="create-engagement",
        summary="Create engagement",
        description="Creates an engagement from a transcript, or from a recording that is fetched from `media_url`. Sending an "
        "`external_id` again returns the existing engagement, unchanged.",
        tag=_TAG,
        scopes=_WRITE,
        handler=create_engagement,
        is_large=True,
        body=EngagementCreate,
        answer=Engagement,
        answer_description="Created engagement response.",
        status=201,
        other_answers={200: OtherAnswer(Engagement, "The existing engagement with this `external_id`.")},
        refusals=(Taken,),
    ),
    Operation(
        method="GET",
        path="/v2/engagements/{engagement_id}",
        id="get-engagement-by-id",
        summary="Get engagement",
        description="Reads a single engagement. A private one is shown only with the `engagements:private:read` scope.",
        tag=_TAG,
        scopes=_READ,
        handler=get_engagement,
        answer=Engagement,
        answer_description="Engagement response.",
        expand=_EXPAND,
    ),
    Operation(
        method="PUT",
        path="/v2/engagements/{engagement_id}/contacts",
        id="replace-engagement-contacts",
        summary="Replace engagement contacts",
        description="Replaces the contacts of an engagement, and its companies by those of the contacts. A private "
        "engagement is changed only with the `engagements:private:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=replace_contacts,
        body=EngagementContacts,
        answer=Engagement,
        answer_description="Updated engagement response.",
    ),
    Operation(
        method="PUT",
        path="/v2/engagements/{engagement_id}/tags",
        id="replace-engagement-tags",
        summary="Replace engagement tags",
        description="Replaces the tags of an engagement. A private engagement is changed only with the "
        "`engagements:private:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=replace_tags,
        body=EngagementTags,
        answer=Engagement,
        answer_description="Updated engagement response.",
    ),
    Operation(
        method="GET",
        path="/v2/engagements/{engagement_id}/transcript_timeline",
        id="get-engagement-transcript-timeline",
        summary="Get engagement transcript timeline",
        description="Reads the transcript timeline of an engagement. That of a private engagement is shown only with the "
        "`engagements:read` and `engagements:private:read` scopes.",
        tag="subpackage_transcriptTimelines",
        scopes=("transcript_timelines:read",),
        handler=get_timeline,
        answer=Timeline,
        answer_description="Transcript timeline response.",
    ),
    Operation(
        method="PUT",
        path="/herdbook/engagements/{engagement_id}/transcript_timeline",
        id="set-engagement-transcript-timeline",
        summary="Set engagement transcript timeline",
        description="Sets the transcript timeline of an engagement, which completes it: herdbook transcribes nothing itself. "
        "A private engagement is changed only with the `engagements:private:write` scope.",
        tag="subpackage_transcriptTimelines",
        scopes=_WRITE,
        handler=set_timeline,
        is_large=True,
        body=TimelineRequest,
        answer=Timeline,
        answer_description="Transcript timeline response.",
    ),
    Operation(
        method="GET",
        path="/v2/contacts/{contact_id}/engagements",
        id="list-contact-engagements",
        summary="List contact engagements",
        description="Lists the engagements that a contact takes part in.",
        tag="subpackage_contacts",
        scopes=_READ,
        handler=list_contact_engagements,
        answer=Engagement,
        answer_description="Engagement list response.",
        list_of=LIST_OF,
        expand=_EXPAND,
    ),
    Operation(
        method="GET",
        path="/v2/companies/{company_id}/engagements",
        id="list-company-engagements",
        summary="List company engagements",
        description="Lists the engagements that a company is part of.",
        tag="subpackage_companies",
        scopes=_READ,
        handler=list_company_engagements,
        answer=Engagement,
        answer_description="Engagement list response.",
        list_of=LIST_OF,
        expand=_EXPAND,
    ),
)


def deletion(comments: EngagementComments) -> Operation:
    """Return the operation that deletes an engagement. `comments` gives access to its comments."""
    return Operation(
        method="DELETE",
        path="/herdbook/engagements/{engagement_id}",
        id="delete-engagement",
        summary="Delete engagement",
        description="Deletes a single engagement with its transcript and its comments. The recording goes once the deletion "
        "can no longer be undone. A private engagement is deleted only with the `engagements:private:write` scope.",
        tag=_TAG,
        scopes=_WRITE,
        handler=partial(delete_engagement, comments),
        answer=Deleted,
        answer_description="Deleted engagement response.",
    )
