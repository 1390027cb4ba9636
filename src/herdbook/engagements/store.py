"""The types of engagements and their transcripts, with their tables, and every SQL statement about them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, LiteralString, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.distribution import fetch_of
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import DatabaseAway, Executor, PagePool, Pool
from herdbook.engagements.events import engagement_data, transcript_data
from herdbook.engagements.model import Details, Engagement, EngagementEntry, Timeline, TranscriptEntry
from herdbook.ledger.changes import Action
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectRow, ObjectType, object_table
from herdbook.search_text import END, indexed, searchable_name
from herdbook.tags.store import TAG


class EngagementRow(ObjectRow, frozen=True, kw_only=True):
    """An engagement's row: the engagement as the API always shows it, its details, and the columns that queries use."""

    engagement_type: str
    processing_status: str
    is_private: bool
    start_at: datetime
    owner_user_id: UUID | None
    contact_ids: tuple[UUID, ...]
    company_ids: tuple[UUID, ...]
    search: str
    details: Details
    object: Engagement

    @property
    def entry(self) -> EngagementEntry:
        return EngagementEntry.of(self.object, self.details)

    @classmethod
    def columns(cls, before: Self | None, after: EngagementEntry) -> dict[str, Any]:  # noqa: ARG003  # all follows from the entry
        shown, details, owner = after.shown, after.details, after.owner_user_id
        start_at = fields.parsed_time(shown.start_at or shown.created_at)
        assert start_at is not None, "the server wrote this time"
        return {
            "engagement_type": shown.engagement_type.value,
            "processing_status": shown.processing_status.value,
            "is_private": shown.is_private,
            "start_at": start_at,
            "owner_user_id": None if owner is UNSET else ids.decoded(ids.USER, owner),
            "contact_ids": tuple(ids.decoded_all(ids.CONTACT, details.contact_ids)),
            "company_ids": tuple(ids.decoded_all(ids.COMPANY, details.company_ids)),
            "search": searchable_name(shown.title) + END,
            "details": details,
            "object": shown,
        }


ENGAGEMENTS: Final = object_table(
    EngagementRow,
    "engagement",
    {
        "engagement_type": "text",
        "processing_status": "text",
        "is_private": "boolean",
        "start_at": "timestamptz",
        "owner_user_id": "uuid",
        "contact_ids": "uuid[]",
        "company_ids": "uuid[]",
        "search": "text",
        "details": "json",
    },
)
ENGAGEMENT_WORDS: Final = index_table("engagement_word", "word", "text", "engagement_id")
ENGAGEMENT_CONTACTS: Final = index_table("engagement_contact", "contact_id", "uuid", "engagement_id")
ENGAGEMENT_COMPANIES: Final = index_table("engagement_company", "company_id", "uuid", "engagement_id")
# This index has the tags' ids as the API shows them.
ENGAGEMENT_TAGS: Final = index_table("engagement_tag", "tag_id", "text", "engagement_id")
EXTERNAL_IDS: Final = UniqueKey[EngagementEntry](
    claim_table("engagement_external_id", "external_id", "engagement_id"),
    keys=lambda engagement: [engagement.details.external_id],
    field_path=lambda _, __: "external_id",
)
ENGAGEMENT: Final = ObjectType(
    kind="e",
    name="engagement",
    plural="engagements",
    prefix=ids.ENGAGEMENT,
    table=ENGAGEMENTS,
    entry=EngagementEntry,
    example=Engagement.example,
    indexes=(
        Index[EngagementRow](ENGAGEMENT_WORDS, attrgetter("search"), lambda row: indexed(row.search)),
        Index[EngagementRow](ENGAGEMENT_CONTACTS, attrgetter("contact_ids"), lambda row: set(row.contact_ids)),
        Index[EngagementRow](ENGAGEMENT_COMPANIES, attrgetter("company_ids"), lambda row: set(row.company_ids)),
        Index[EngagementRow](ENGAGEMENT_TAGS, attrgetter("details.tag_ids"), lambda row: set(row.details.tag_ids)),
    ),
    unique_keys=(EXTERNAL_IDS,),
    refers_to=(CONTACT, COMPANY, TAG),
    read_scopes=Engagement.read_scopes,
    write_scopes=("engagements:write",),
    # An entry that was erased says nothing of whether the engagement was private.
    is_public="coalesce(object ->> 'is_private', 'false') = 'false'",
    events=Events.of_changes("engagement", is_erasable=True, example_previous={"title": "The next step"}, data=engagement_data),
    history=HistoryNotes(
        "A private one is shown only with the `engagements:private:read` scope. Linked contacts and companies are shown "
        "only to credentials that may read them."
    ),
)


class TranscriptRow(ObjectRow, frozen=True, kw_only=True):
    """A transcript's row, under the engagement's id: the text, and the timeline if there is one."""

    timeline_id: UUID | None
    text: str
    object: Timeline | None

    @property
    def entry(self) -> TranscriptEntry:
        shown_id = None if self.timeline_id is None else ids.encoded(ids.TRANSCRIPT_TIMELINE, self.timeline_id)
        return TranscriptEntry(timeline_id=shown_id, text=self.text, timeline=self.object)

    @classmethod
    def columns(cls, before: Self | None, after: TranscriptEntry) -> dict[str, Any]:  # noqa: ARG003  # all follows from the entry
        timeline_id = None if after.timeline_id is None else ids.decoded(ids.TRANSCRIPT_TIMELINE, after.timeline_id)
        return {"timeline_id": timeline_id, "text": after.text, "object": after.timeline}


TRANSCRIPTS: Final = object_table(TranscriptRow, "transcript", {"timeline_id": "uuid", "text": "text"}, is_large=True)
TRANSCRIPT: Final = ObjectType(
    kind="r",
    name="transcript",
    plural="transcripts",
    prefix=ids.ENGAGEMENT,
    table=TRANSCRIPTS,
    entry=TranscriptEntry,
    example={"timeline": Timeline.example, "engagement": Engagement.example},
    context_fields=frozenset({"engagement"}),
    refers_to=(ENGAGEMENT,),
    read_scopes=("engagements:read", "transcript_timelines:read"),
    write_scopes=("engagements:write",),
    is_public="""coalesce(
        (select not e.is_private from engagement e where e.workspace_id = change.workspace_id and e.id = change.object_id),
        object ->> 'erased' = 'true'
    )""",
    events=Events(
        types=dict.fromkeys((Action.CREATED, Action.UPDATED), "v1.engagement.transcript_timeline.completed"),
        data=transcript_data,
        condition="json_typeof(change.object -> 'timeline') = 'object'",
    ),
)


class FoundEngagement(NamedTuple):
    """An engagement as read from the database."""

    found: ObjectRead
    is_private: bool
    details: Details


async def find(database: Database, workspace_id: UUID, engagement_id: UUID) -> FoundEngagement | None:
    """Return an active engagement as the API always shows it, with its version and its details."""
    found = await database.find(find_in("engagement", ", c.is_private, c.details"), workspace_id, engagement_id)
    if found is None:
        return None
    return FoundEngagement(found, found.more[0], decoded_details(found.more[1]))


async def find_timeline(database: Database, workspace_id: UUID, engagement_id: UUID) -> ObjectRead | None:
    """Return the timeline of an engagement with its version, and with its id in `more`."""
    found = await database.find(find_in("transcript", ", c.timeline_id"), workspace_id, engagement_id)
    # A plain text has no timeline.
    return None if found is None or found.more[0] is None else found


async def needing_recordings(
    statements: Executor, workspace_ids: Sequence[UUID], engagement_ids: Sequence[UUID]
) -> set[tuple[UUID, UUID]]:
    """Return those of the engagements that exist, or can be restored because the entry of their deletion is still kept.

    Refusal: DatabaseAway if a node is, because nobody knows then which of its engagements exist.
    """
    found = await fetch_of(
        statements,
        {*workspace_ids},
        """
        select e.workspace_id, e.id
        from unnest($1::uuid[], $2::uuid[]) as asked(workspace_id, id)
        join engagement e on e.workspace_id = asked.workspace_id and e.id = asked.id
        left join change_trimmed t on t.workspace_id = e.workspace_id
        where asked.workspace_id = any($3) and (e.deleted_at is null or e.version > coalesce(t.seq, 0))
        """,
        workspace_ids,
        engagement_ids,
    )
    if not found.is_all:
        raise DatabaseAway("a node with some of the engagements is away")
    return {(record["workspace_id"], record["id"]) for record in found.records}


_SEARCH_INDEX: Final = SearchIndex(
    "engagement",
    "select w.engagement_id from engagement_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most",
)


class Bucket(NamedTuple):
    """The parts of a filter by linked objects: the statements about the links, and the object type of CRM records."""

    name: str
    prefix: str
    crm_type: str
    resolve: LiteralString
    linked: LiteralString
    holds: LiteralString


_BUCKETS: Final = (
    Bucket(
        "company_ids",
        ids.COMPANY,
        "company",
        "select id from company where workspace_id = $1 and crm_object_id = any($2) and deleted_at is null",
        "select l.engagement_id from engagement_company l where l.workspace_id = $1 and l.company_id = any($ids)",
        "coalesce(c.company_ids && $value::uuid[], false)",
    ),
    Bucket(
        "contact_ids",
        ids.CONTACT,
        "contact",
        "select id from contact where workspace_id = $1 and crm_object_id = any($2) and deleted_at is null",
        "select l.engagement_id from engagement_contact l where l.workspace_id = $1 and l.contact_id = any($ids)",
        "coalesce(c.contact_ids && $value::uuid[], false)",
    ),
)


class Within(NamedTuple):
    """The restriction of a list to one contact or company: the name of the filter, and the id."""

    name: str
    id: UUID


async def page(
    pool: PagePool, workspace_id: UUID, query: PageQuery, *, sees_private: bool, within: Within | None = None
) -> list[ListRow]:
    """Return the engagements of a page with their details, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    if not sees_private:
        conditions.require("not c.is_private")
    filters = query.filters
    if (types := filters.get("engagement_type")) is not None:
        conditions.add("c.engagement_type = any($value)", list(types))
    if (statuses := filters.get("processing_status")) is not None:
        conditions.add("c.processing_status = any($value)", list(statuses))
    if (owners := filters.get("owner_ids")) is not None:
        conditions.add("c.owner_user_id = any($value::uuid[])", ids.decoded_all(ids.USER, owners))
    records = query.crm_records or ()
    for bucket in _BUCKETS:
        crm_ids = [record.id for record in records if record.object_type == bucket.crm_type]
        if bucket.name in filters or crm_ids:
            wanted = ids.decoded_all(bucket.prefix, filters.get(bucket.name, ()))
            if crm_ids:
                wanted += [record["id"] for record in await pool.fetch(bucket.resolve, workspace_id, crm_ids)]
            await conditions.require_links(pool, bucket.linked, bucket.holds, wanted)
        if within is not None and within.name == bucket.name:
            await conditions.require_links(pool, bucket.linked, bucket.holds, [within.id])
    if any(record.object_type == "deal" for record in records):
        # Deals belong to the project bucket. herdbook has no deals, so a filter by deal matches nothing.
        conditions.require("false")
    await conditions.search(pool, _SEARCH_INDEX)
    return await conditions.fetch(pool, "engagement", ", c.details")


# Loads the objects that engagements are expanded with, in one statement for a whole page. As for single objects, the condition
# on `deleted_at` is written so that no partial index is used.
_OBJECTS: Final[LiteralString] = """
    select c.id, c.object from $table c
    where c.workspace_id = $1 and c.id = any($2) and coalesce(c.deleted_at, 'infinity') = 'infinity'
"""
_TABLES: Final[dict[str, LiteralString]] = {
    "companies": "company",
    "contacts": "contact",
    "owner": "workspace_user",
    "tags": "tag",
}


async def objects(pool: Pool, workspace_id: UUID, name: str, wanted: Collection[UUID]) -> dict[UUID, bytes]:
    """Return active objects, as the API shows them, by their ids."""
    records = await pool.fetch(_OBJECTS.replace("$table", _TABLES[name]), workspace_id, list(wanted))
    return {record["id"]: record["object"] for record in records}


class Texts(NamedTuple):
    """The transcripts of the first `covered` of some engagements."""

    found: dict[UUID, str]
    covered: int


async def texts(pool: Pool, workspace_id: UUID, engagement_ids: Sequence[UUID], most_bytes: int) -> Texts:
    """Return the transcripts of engagements as plain text, up to the first that begins after so many bytes."""
    records = await pool.fetch(
        """
        select id, place, case when bytes_before < $3 then text end as text
        from (
            select t.id, t.text, asked.place,
                coalesce(sum(octet_length(t.text)) over earlier, 0) as bytes_before
            from unnest($2::uuid[]) with ordinality as asked(id, place)
            cross join lateral (
                select t.id, t.text from transcript t
                where t.workspace_id = $1 and t.id = asked.id and coalesce(t.deleted_at, 'infinity') = 'infinity'
                limit 1
            ) as t
            window earlier as (order by asked.place rows between unbounded preceding and 1 preceding)
        ) as t
        """,
        workspace_id,
        list(engagement_ids),
        most_bytes,
    )
    covered: int = min((record["place"] - 1 for record in records if record["text"] is None), default=len(engagement_ids))
    return Texts({record["id"]: record["text"] for record in records}, covered)


def decoded_details(details: Any) -> Details:
    """Return the details of a row."""
    return msgspec.json.decode(details, type=Details)
