"""The tables that an erasure reads and writes beside those of objects, and every SQL statement about erasures."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import Contact
from herdbook.db.pool import Executor
from herdbook.db.survivors import survivors
from herdbook.engagements.model import Details
from herdbook.erasure.model import ErasureState, Found, Subject, erased_address, keyed_hash, spellings, task_of_address
from herdbook.erasure.places import PLACES, VIEW_TEXT, Place, searched
from herdbook.erasure_list import ListedErasure
from herdbook.ledger.changes import PREVIOUS_ENTRY, is_erased
from herdbook.ledger.idempotency import ERASED_ANSWER
from herdbook.ledger.unfinished import Task
from herdbook.ledger.unit_of_work import Removed, Table
from herdbook.phone_numbers import number_keys
from herdbook.workspaces.store import region_of

KEY: Final = "erasure_key"
# Certificates count the files of recordings under this name, among the tables.
RECORDING: Final = "recording"


class Setting(msgspec.Struct, frozen=True):
    """A setting of the database."""

    workspace_id: UUID
    name: str
    value: str


SETTINGS: Final = Table(
    row=Setting,
    key=lambda setting: setting.name,
    load="""
        select asked.workspace_id, s.name, s.value
        from json_to_recordset($rows) as asked(workspace_id uuid, key text) join setting s on s.name = asked.key
    """,
    save=None,
)


class ErasureTask(msgspec.Struct, frozen=True):
    """An erasure under way, under the id of its object; `version` is an entry of the request that asked for it."""

    workspace_id: UUID
    id: UUID
    version: int
    state: ErasureState


ERASURE_TASKS: Final = Table(
    row=ErasureTask,
    key=lambda task: task.id,
    load="""
        select t.workspace_id, t.id, t.version, t.state
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join erasure_task t on t.workspace_id = asked.workspace_id and t.id = asked.key
    """,
    save="""
        erasure_task_saved as (
            insert into erasure_task (workspace_id, id, version, state)
            select r.workspace_id, r.id, r.version, r.state
            from json_to_recordset($rows) as r(workspace_id uuid, id uuid, version bigint, state json)
            join held on held.id = r.workspace_id
            on conflict (workspace_id, id) do update set version = excluded.version, state = excluded.state
        )
    """,
    removals=Table(
        row=Removed,
        key=lambda removed: removed.id,
        load=None,
        save="""
            erasure_task_removed as (
                delete from erasure_task t
                using json_to_recordset($rows) as r(workspace_id uuid, id uuid) join held on held.id = r.workspace_id
                where t.workspace_id = r.workspace_id and t.id = r.id
            )
        """,
    ),
)
# The origin of a slice is found by the entry of the erasure, as those of other tasks by the version of their objects.
ERASE: Final = Task("erase", "erasure_task")


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure as it is kept: the hash of an id or address, when, and on whose request."""

    workspace_id: UUID
    hash: str
    at: datetime
    request_id: UUID
    credential_id: UUID
    with_engagements: bool
    found: Found | None = None


ERASURES: Final = Table(
    row=Erasure,
    key=lambda erasure: erasure.hash,
    load=None,
    save="""
        erasure_saved as (
            insert into erasure (workspace_id, hash, at, request_id, credential_id, with_engagements, found)
            select r.workspace_id, r.hash, r.at, r.request_id, r.credential_id, r.with_engagements, r.found
            from json_to_recordset($rows) as r(
                workspace_id uuid, hash text, at timestamptz, request_id uuid, credential_id uuid, with_engagements boolean,
                found json
            )
            join held on held.id = r.workspace_id
            on conflict (workspace_id, hash) do update
            set at = excluded.at, request_id = excluded.request_id, credential_id = excluded.credential_id,
                with_engagements = excluded.with_engagements, found = coalesce(excluded.found, erasure.found)
        )
    """,
)


class MergedContacts(msgspec.Struct, frozen=True):
    """The contacts that were merged into one."""

    workspace_id: UUID
    contact_id: UUID
    merged: tuple[UUID, ...]


MERGED_CONTACTS: Final = Table(
    row=MergedContacts,
    key=lambda merged: merged.contact_id,
    load="""
        select asked.workspace_id, asked.key as contact_id, array(
            select c.id from contact c where c.workspace_id = asked.workspace_id and c.merged_into = asked.key
        ) as merged
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)


class ChainEntry(msgspec.Struct, frozen=True):
    """An entry of an object. `object` and `previous` are null in a range that is not read.

    `replaced_by` is the object into which the entry merges this one.
    """

    seq: int
    object: msgspec.Raw
    previous: msgspec.Raw
    replaced_by: UUID | None = None


class ChainRange(msgspec.Struct, frozen=True):
    """The entries of an object from one backwards. `is_cut` if the range is full: the chain may go on from its last entry.

    A range is full with `most` entries, or with 4 KB for each of these: as text if it reads them, otherwise as stored.
    """

    workspace_id: UUID
    kind: str
    object_id: UUID
    seq: int
    most: int
    is_read: bool
    entries: tuple[ChainEntry, ...]
    is_cut: bool


# A range has two entries at least, because the next one begins with its last.
CHAIN_RANGES: Final = Table(
    row=ChainRange,
    key=lambda found: (found.kind, found.object_id, found.seq, found.most, found.is_read),
    load="""
        select asked.workspace_id, k.kind, k.object_id, k.seq, k.most, k.is_read, found.entries, found.is_cut
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (
            select asked.key ->> 0 as kind, (asked.key ->> 1)::uuid as object_id, (asked.key ->> 2)::bigint as seq,
                (asked.key ->> 3)::int as most, (asked.key ->> 4)::boolean as is_read
        ) as k
        cross join lateral (
            with recursive chain as (
                select c.*, 1 as place, $bytes as bytes from change c
                where c.workspace_id = asked.workspace_id and c.seq = k.seq and c.object_id = k.object_id
                    and c.kind::text = k.kind
                union all
                select c.*, chain.place + 1, chain.bytes + $bytes from chain $previous_entry
                cross join lateral (select e.*) as c
                where chain.place < k.most and (chain.place < 2 or chain.bytes < 4096 * k.most)
            )
            select coalesce(json_agg(json_build_object(
                    'seq', chain.seq, 'object', case when k.is_read then chain.object end,
                    'previous', case when k.is_read then chain.previous end,
                    'replaced_by', case when chain.action = 'd' then chain.merged_into end
                ) order by chain.seq desc), '[]') as entries,
                coalesce(max(chain.place) >= k.most or (max(chain.place) >= 2 and max(chain.bytes) >= 4096 * k.most), false)
                    as is_cut
            from chain
        ) as found
    """.replace(
        "$bytes",
        """
        case when k.is_read then octet_length(c.object::text) + coalesce(octet_length(c.previous::text), 0)
        else pg_column_size(c.object) + coalesce(pg_column_size(c.previous), 0) end
        """,
    ).replace("$previous_entry", PREVIOUS_ENTRY),
    save=None,
)


class EmptiedEntry(msgspec.Struct, frozen=True):
    """An entry from which personal data are removed. The answers of webhooks to its event go, too."""

    workspace_id: UUID
    seq: int
    object: Any
    previous: Any = None


# The keys of deliveries are found through the readers, because no index has them by entry.
EMPTIED_ENTRIES: Final = Table(
    row=EmptiedEntry,
    key=lambda emptied: emptied.seq,
    load=None,
    save="""
        emptied as (
            select r.workspace_id, r.seq, r.object, r.previous
            from json_to_recordset($rows) as r(workspace_id uuid, seq bigint, object json, previous json)
            join held on held.id = r.workspace_id
        ), change_emptied as (
            update change c set object = emptied.object, previous = emptied.previous
            from emptied where c.workspace_id = emptied.workspace_id and c.seq = emptied.seq
        ), delivery_emptied as (
            update webhook_delivery d set attempts = '[]'
            from emptied join webhook_reader w on w.workspace_id = emptied.workspace_id
            where d.workspace_id = emptied.workspace_id and d.endpoint_id = w.endpoint_id and d.seq = emptied.seq
        )
    """,
)


class CommentsOf(msgspec.Struct, frozen=True):
    """The first comments on an engagement, deleted or not."""

    workspace_id: UUID
    engagement_id: UUID
    comments: tuple[tuple[UUID, int], ...]


COMMENTS_OF: Final = Table(
    row=CommentsOf,
    key=lambda found: found.engagement_id,
    load="""
        select asked.workspace_id, asked.key as engagement_id, (
            select coalesce(json_agg(json_build_array(n.id, n.version)), '[]') from (
                select n.id, n.version from transcript_comment n
                where n.workspace_id = asked.workspace_id and n.engagement_id = asked.key and n.deleted_at is null
                union all
                select n.id, n.version from transcript_comment n
                where n.workspace_id = asked.workspace_id and n.engagement_id = asked.key and n.deleted_at is not null
                limit 50
            ) as n
        ) as comments
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)
MAX_COMMENTS: Final = 50


class NotesOf(msgspec.Struct, frozen=True):
    """The first notes on a contact, deleted or not."""

    workspace_id: UUID
    contact_id: UUID
    notes: tuple[UUID, ...]


MAX_NOTES: Final = 20
NOTES_OF: Final = Table(
    row=NotesOf,
    key=lambda found: found.contact_id,
    load="""
        select asked.workspace_id, asked.key as contact_id, array(
            select n.id from note n where n.workspace_id = asked.workspace_id and n.contact_id = asked.key limit 20
        ) as notes
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)


class Mentions(msgspec.Struct, frozen=True):
    """The engagements after one that may mention a person, deleted ones, too; `last` is the last one that was read."""

    workspace_id: UUID
    after: UUID
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    last: UUID | None
    found: tuple[UUID, ...]


# A statement looks through so few rows and stored bytes that others hardly wait for it. Because of the offset, the text that is
# searched is computed once for each row.
_NEXT_ENGAGEMENTS: Final[LiteralString] = """
    select e.id, e.details, coalesce(e.details ->> 'participants', '') as participants, $said as said
    from (
        select e.id, e.details, sum(pg_column_size(e.details)) over (order by e.id) - pg_column_size(e.details) as bytes_before
        from (
            select e.id, e.details from engagement e where e.workspace_id = $workspace and e.id > $after order by e.id limit 500
        ) as e
    ) as e
    where e.bytes_before < 131072 offset 0
""".replace("$said", searched("coalesce(e.details ->> 'participants', '') || coalesce(e.details ->> 'contact_ids', '')"))
_MENTIONED: Final[LiteralString] = """(
    exists (select from unnest($terms) as term(text) where strpos(e.said, term.text) > 0)
    or exists (select from unnest($tails) as tail(pattern) where e.participants ~ tail.pattern)
)"""
_MENTIONS: Final[LiteralString] = """
    select asked.workspace_id, k.after, k.terms, k.tails, read.last, read.found
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral (
        select (asked.key ->> 0)::uuid as after,
            array(select json_array_elements_text(asked.key -> 1)) as terms,
            array(select json_array_elements_text(asked.key -> 2)) as tails
    ) as k
    cross join lateral (
        select max(e.id::text)::uuid as last, coalesce(array_agg(e.id) filter (where $mentioned), '{}') as found
        from ($next) as e
    ) as read
"""
MENTIONS: Final = Table(
    row=Mentions,
    key=lambda found: (found.after, found.terms, found.tails),
    load=_MENTIONS.replace("$mentioned", _MENTIONED.replace("$terms", "k.terms").replace("$tails", "k.tails")).replace(
        "$next", _NEXT_ENGAGEMENTS.replace("$workspace", "asked.workspace_id").replace("$after", "k.after")
    ),
    save=None,
)


class AnswerKey(msgspec.Struct, frozen=True):
    """The key of an idempotency record, and whether the key itself mentions the person."""

    credential_id: UUID
    key: str
    is_in_key: bool


class MentioningAnswers(msgspec.Struct, frozen=True):
    """The idempotency records after one that mention a person; `last` is the last one that was read.

    The answer to an erasure, which has the id alone, is left out.
    """

    workspace_id: UUID
    after: tuple[UUID, str]
    terms: tuple[str, ...]
    last: tuple[UUID, str] | None
    found: tuple[AnswerKey, ...]


_NEXT_ANSWERS: Final[LiteralString] = """
    select r.credential_id, r.key, $key as said_by_key, $answer as said,
        r.answer::text like '{"erased":true,%' as is_of_erasure
    from (
        select r.credential_id, r.key, r.answer, sum(pg_column_size(r.answer)) over (order by r.credential_id, r.key)
            - pg_column_size(r.answer) as bytes_before
        from (
            select r.credential_id, r.key, r.answer from idempotency_record r
            where r.workspace_id = $workspace and (r.credential_id, r.key) > $after
            order by r.credential_id, r.key limit 500
        ) as r
    ) as r
    where r.bytes_before < 131072 offset 0
""".replace("$key", searched("r.key")).replace("$answer", searched("r.answer::text"))
_MENTIONING_ANSWERS: Final[LiteralString] = """
    select asked.workspace_id, json_build_array(k.credential_id, k.key) as after, k.terms, found.last, found.found
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral (
        select (asked.key ->> 0)::uuid as credential_id, asked.key ->> 1 as key,
            array(select json_array_elements_text(asked.key -> 2)) as terms
    ) as k
    cross join lateral (
        with read as materialized (
            select n.credential_id, n.key,
                exists (select from unnest(k.terms) as t(text) where strpos(n.said_by_key, t.text) > 0) as is_in_key,
                not n.is_of_erasure
                    and exists (select from unnest(k.terms) as t(text) where strpos(n.said, t.text) > 0) as is_in_answer
            from ($next) as n
        )
        select (
            select json_build_array(read.credential_id, read.key) from read
            order by read.credential_id desc, read.key desc limit 1
        ) as last, (
            select coalesce(json_agg(n), '[]') from (
                select read.credential_id, read.key, read.is_in_key from read where read.is_in_key or read.is_in_answer
            ) as n
        ) as found
    ) as found
"""
MENTIONING_ANSWERS: Final = Table(
    row=MentioningAnswers,
    key=lambda found: (*found.after, found.terms),
    load=_MENTIONING_ANSWERS.replace(
        "$next", _NEXT_ANSWERS.replace("$workspace", "asked.workspace_id").replace("$after", "(k.credential_id, k.key)")
    ),
    save=None,
)


class EmptiedAnswer(msgspec.Struct, frozen=True):
    """An idempotency record whose answer is emptied, so that a repeated request still does nothing.

    A record whose key mentions the person goes as a whole.
    """

    workspace_id: UUID
    credential_id: UUID
    key: str
    is_in_key: bool
    answer: msgspec.Raw = ERASED_ANSWER


EMPTIED_ANSWERS: Final = Table(
    row=EmptiedAnswer,
    key=lambda emptied: (emptied.credential_id, emptied.key),
    load=None,
    save="""
        emptied_answer as (
            select r.workspace_id, r.credential_id, r.key, r.is_in_key, r.answer
            from json_to_recordset($rows) as r(
                workspace_id uuid, credential_id uuid, key text, is_in_key boolean, answer json
            )
            join held on held.id = r.workspace_id
        ), answer_removed as (
            delete from idempotency_record i using emptied_answer e
            where i.workspace_id = e.workspace_id and i.credential_id = e.credential_id and i.key = e.key and e.is_in_key
        ), answer_emptied as (
            update idempotency_record i set answer = e.answer from emptied_answer e
            where i.workspace_id = e.workspace_id and i.credential_id = e.credential_id and i.key = e.key and not e.is_in_key
        )
    """,
)


class MentioningViews(msgspec.Struct, frozen=True):
    """The saved views that mention a person, by name or in a condition or a search."""

    workspace_id: UUID
    terms: tuple[str, ...]
    view_ids: tuple[UUID, ...]


MENTIONING_VIEWS: Final = Table(
    row=MentioningViews,
    key=lambda found: found.terms,
    load="""
        select asked.workspace_id, asked.key as terms, (
            select coalesce(json_agg(t.id), '[]') from saved_view t
            where t.workspace_id = asked.workspace_id and exists (
                select from json_array_elements_text(asked.key) as term(text) where strpos($said, term.text) > 0
            )
        ) as view_ids
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    """.replace("$said", searched(VIEW_TEXT)),
    save=None,
)


class RemovedView(msgspec.Struct, frozen=True):
    """A saved view that mentions a person, and goes as a whole: without one of its conditions it would list others."""

    workspace_id: UUID
    id: UUID


REMOVED_VIEWS: Final = Table(
    row=RemovedView,
    key=lambda removed: removed.id,
    load=None,
    save="""
        view_removed as (
            delete from saved_view t
            using json_to_recordset($rows) as r(workspace_id uuid, id uuid) join held on held.id = r.workspace_id
            where t.workspace_id = r.workspace_id and t.id = r.id
        )
    """,
)


async def subject_of(statements: Executor, workspace_id: UUID, contact_ids: Sequence[UUID]) -> Subject:
    """Return the person that these contacts are, with the contacts merged into them and all that their history kept."""
    records = await statements.fetch(
        """
        with recursive found as (
            select c.id, c.version from contact c where c.workspace_id = $1 and c.id = any($2)
            union
            select c.id, c.version
            from found join contact c on c.workspace_id = $1 and c.merged_into = found.id
        ), chain as (
            select c.* from found join change c on c.workspace_id = $1 and c.seq = found.version and c.object_id = found.id
            union all
            select e.* from chain
        """
        + PREVIOUS_ENTRY
        + """
        )
        select id, object from contact where workspace_id = $1 and id in (select id from found)
        union all
        select object_id, object from chain
        """,
        workspace_id,
        list(contact_ids),
    )
    found = frozenset(record[0] for record in records)
    subject = Subject(contact_ids=found, region=await region_of(statements, workspace_id))
    for _, object_ in records:
        if not is_erased(object_):
            subject = subject.having(msgspec.json.decode(object_, type=Contact))
    held = await _held_by_others(statements, workspace_id, subject)
    return await with_engagements_of(statements, workspace_id, msgspec.structs.replace(subject, held=held))


async def subject_with_address(statements: Executor, workspace_id: UUID, address: str) -> Subject:
    """Return the person without a contact who has an address."""
    subject = Subject(addresses=frozenset({address}), region=await region_of(statements, workspace_id))
    held = await _held_by_others(statements, workspace_id, subject)
    return await with_engagements_of(statements, workspace_id, msgspec.structs.replace(subject, held=held))


async def _held_by_others(statements: Executor, workspace_id: UUID, subject: Subject) -> frozenset[str]:
    """Return those addresses of a person that another active contact has, and the keys of such numbers."""
    keys = {number: number_keys(number, subject.region) for number in subject.phone_numbers}
    records = await statements.fetch(
        """
        select address from contact_email
        where workspace_id = $1 and address = any($2) and contact_id <> all($4)
        union
        select word from contact_word
        where workspace_id = $1 and word = any($3) and contact_id <> all($4)
        """,
        workspace_id,
        list(subject.addresses),
        [key for some in keys.values() for key in some],
        list(subject.contact_ids),
    )
    found = frozenset(record[0] for record in records)
    return found.union(*(some for some in keys.values() if not found.isdisjoint(some)))


# Limits how many participants are compared before others have their turn.
_TURN_PARTICIPANTS: Final = 500
_NEXT_MENTIONS: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_ENGAGEMENTS.replace("$workspace", "$1").replace("$after", "$2")
    + ") select e.id, e.details from read e where "
    + _MENTIONED.replace("$terms", "$3::text[]").replace("$tails", "$4::text[]")
    + " union all select max(id::text)::uuid, null from read"
)


async def with_engagements_of(statements: Executor, workspace_id: UUID, subject: Subject) -> Subject:
    """Return a person with the engagements that are linked to them, or have them among the participants.

    Engagements are read a slice at a time.
    """
    linked: set[UUID] = set(
        await statements.fetchval(
            "select array(select engagement_id from engagement_contact where workspace_id = $1 and contact_id = any($2))",
            workspace_id,
            list(subject.contact_ids),
        )
    )
    found = set[UUID]()
    shown_ids = {ids.encoded(ids.CONTACT, each) for each in subject.contact_ids}
    after: UUID | None = ids.NIL if subject.terms or subject.tails else None
    compared = 0
    while after is not None:
        *mentioning, end = await statements.fetch(_NEXT_MENTIONS, workspace_id, after, subject.terms, subject.tails)
        for record in mentioning:
            details = msgspec.json.decode(record[1], type=Details)
            if not shown_ids.isdisjoint(details.contact_ids):
                linked.add(record[0])
            elif subject.others(details.participants, is_linked=False) != details.participants:
                found.add(record[0])
            compared += len(details.participants)
            if compared >= _TURN_PARTICIPANTS:
                compared = 0
                await asyncio.sleep(0)
        after = end[0]
    return msgspec.structs.replace(subject, engagement_ids=frozenset(found | linked), linked_ids=frozenset(linked))


# Limits how many engagements a statement counts the rows of.
_COUNTED_ENGAGEMENTS: Final = 200


async def count(statements: Executor, workspace_id: UUID, subject: Subject, *, with_engagements: bool) -> Found:
    """Return how many rows of each table have data of a person, a slice at a time."""
    rows, kept = dict[str, int](), dict[str, int]()
    going = subject.linked_ids if with_engagements else frozenset[UUID]()
    in_going, in_kept = (
        [*parts(msgspec.structs.replace(subject, engagement_ids=each), _COUNTED_ENGAGEMENTS)]
        for each in (going, subject.engagement_ids - going)
    )
    # The part without engagements is in both.
    in_all = [*in_going, *in_kept[1:]]
    for place in PLACES:
        for counts, slices in ((rows, in_going), (kept, in_kept)) if place.goes_with_engagements else ((rows, in_all),):
            if many := await _count_of(statements, workspace_id, place, slices):
                counts[place.table] = counts.get(place.table, 0) + many
    for counts, slices in ((rows, in_going), (kept, in_kept)):
        if many := await _recordings(statements, workspace_id, slices):
            counts[RECORDING] = many
    if many := len(subject.engagement_ids - going):
        kept["engagement"] = many
    return Found(rows=rows, kept=kept, engagement_ids=tuple(sorted(going)))


async def _count_of(statements: Executor, workspace_id: UUID, place: Place, slices: Sequence[Subject]) -> int:
    if place.table == "idempotency_record":
        return await _answers_of(statements, workspace_id, slices[0].terms)
    many = 0
    statement: LiteralString = "select count(*) from (" + place.rows + ") as found"
    for part in slices:
        if not part.engagement_ids or place.is_of_engagements:
            many += await statements.fetchval(statement, *parameters(workspace_id, part))
    return many


async def _recordings(statements: Executor, workspace_id: UUID, slices: Sequence[Subject]) -> int:
    """Return how many of the engagements have a recording."""
    many = 0
    for part in slices:
        many += await statements.fetchval(
            """
            select count(*) from engagement
            where workspace_id = $1 and id = any($2) and json_typeof(details -> 'media') = 'object'
            """,
            workspace_id,
            list(part.engagement_ids),
        )
    return many


_COUNT_ANSWERS: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_ANSWERS.replace("$workspace", "$1").replace("$after", "($2, $3)")
    + """) select (array_agg(credential_id order by credential_id desc, key desc))[1],
        (array_agg(key order by credential_id desc, key desc))[1],
        count(*) filter (where exists (
            select from unnest($4::text[]) as term(text)
            where strpos(read.said_by_key, term.text) > 0 or strpos(read.said, term.text) > 0
        ))
    from read
    """
)


async def _answers_of(statements: Executor, workspace_id: UUID, terms: Sequence[str]) -> int:
    """Return how many idempotency records mention a person."""
    many = 0
    credential_id: UUID | None = ids.NIL
    key = ""
    while credential_id is not None:
        record = await statements.fetchrow(_COUNT_ANSWERS, workspace_id, credential_id, key, terms)
        assert record is not None, "`count` always returns a row"
        credential_id, key = record[0], record[1]
        many += record[2]
    return many


def parts(subject: Subject, many: int) -> Iterator[Subject]:
    """Yield the person without engagements, and then so many engagements each: a row belongs to exactly one of them."""
    yield msgspec.structs.replace(subject, engagement_ids=frozenset())
    engagement_ids = sorted(subject.engagement_ids)
    for start in range(0, len(engagement_ids), many):
        yield Subject(engagement_ids=frozenset(engagement_ids[start : start + many]))


def parameters(workspace_id: UUID, subject: Subject) -> tuple[UUID, list[UUID], list[UUID], list[str]]:
    """Return the parameters of the statements of `PLACES`."""
    return workspace_id, sorted(subject.contact_ids), sorted(subject.engagement_ids), subject.terms


class KeptErasure(NamedTuple):
    """An erasure as its certificate shows it."""

    at: datetime
    request_id: UUID
    credential_id: UUID
    is_client: bool
    is_finished: bool
    with_engagements: bool
    found: Found


async def read_key(statements: Executor) -> str:
    """Return the key of the hashes."""
    key: str = await statements.fetchval("select value from setting where name = $1", KEY)
    return key


async def erasure_of(statements: Executor, workspace_id: UUID, contact_id: UUID) -> KeptErasure | None:
    """Return the erasure of a contact, or None if it was not erased."""
    hashed = keyed_hash(await read_key(statements), workspace_id, ids.encoded(ids.CONTACT, contact_id))
    return await _kept_erasure(statements, workspace_id, hashed, contact_id)


async def erasure_of_address(statements: Executor, workspace_id: UUID, address: str) -> KeptErasure | None:
    """Return the erasure that was asked for by an address, or None if there was none."""
    hashed = keyed_hash(await read_key(statements), workspace_id, erased_address(address))
    return await _kept_erasure(statements, workspace_id, hashed, task_of_address(hashed))


async def _kept_erasure(statements: Executor, workspace_id: UUID, hashed: str, task_id: UUID) -> KeptErasure | None:
    record = await statements.fetchrow(
        """
        select e.at, e.request_id, e.credential_id, exists (select from oauth_client o where o.id = e.credential_id),
            not exists (select from erasure_task t where t.workspace_id = e.workspace_id and t.id = $3),
            e.with_engagements, e.found
        from erasure e where e.workspace_id = $1 and e.hash = $2
        """,
        workspace_id,
        hashed,
        task_id,
    )
    if record is None:
        return None
    found = Found(rows={}, kept={}) if record[6] is None else msgspec.json.decode(record[6], type=Found)
    return KeptErasure(record[0], record[1], record[2], record[3], record[4], record[5], found)


# Limits how many contacts or entries a statement looks through.
_LOOKED_THROUGH: Final = 5000


async def contacts_known_by(statements: Executor, workspace_id: UUID, address: str) -> set[UUID]:
    """Return the contacts that have or had an address. A merged one stands for the contact that replaces it."""
    found: set[UUID] = set()
    after, head = 0, await statements.fetchval("select seq from workspace where id = $1", workspace_id)
    while after < head:
        records = await statements.fetch(
            """
            select object_id, object from change
            where workspace_id = $1 and seq > $2 and seq <= $2 + $3 and kind = 'c' and exists (
                select from unnest($4::text[]) as term(text) where strpos($object, term.text) > 0
            )
            """.replace("$object", searched("object::text")),
            workspace_id,
            after,
            _LOOKED_THROUGH,
            sorted(spellings(address)),
        )
        found |= {record[0] for record in records if _has(record[1], address)}
        after += _LOOKED_THROUGH
    last: UUID | None = ids.NIL
    while last is not None:
        contacts = await contacts_after(statements, workspace_id, last, _LOOKED_THROUGH)
        found |= {each.id for each in contacts if address in each.addresses}
        last = contacts[-1].id if contacts else None
    left = await stored(statements, workspace_id, found)
    replacing = await survivors(statements, "contact", workspace_id, left)
    return {replacing.get(each, each) for each in left}


def _has(object_: bytes, address: str) -> bool:
    if is_erased(object_):
        return False
    contact = msgspec.json.decode(object_, type=Contact)
    return address in {comparable_address(item.email) for item in contact.emails}


class KnownContact(NamedTuple):
    """A contact, deleted or not: when it was created, and its addresses."""

    id: UUID
    created_at: datetime
    addresses: frozenset[str]


async def contacts_after(statements: Executor, workspace_id: UUID, after: UUID, limit: int) -> list[KnownContact]:
    """Return contacts of a workspace in the order of their ids."""
    records = await statements.fetch(
        "select id, object from contact where workspace_id = $1 and id > $2 order by id limit $3", workspace_id, after, limit
    )
    contacts = [(record[0], msgspec.json.decode(record[1], type=Contact)) for record in records]
    return [
        KnownContact(
            contact_id,
            datetime.fromisoformat(contact.created_at),
            frozenset(comparable_address(item.email) for item in contact.emails),
        )
        for contact_id, contact in contacts
    ]


class KnownParticipants(NamedTuple):
    """The addresses of an engagement's participants, and when it was created."""

    id: UUID
    created_at: datetime
    addresses: frozenset[str]


async def participants_after(statements: Executor, workspace_id: UUID, after: UUID, limit: int) -> list[KnownParticipants]:
    """Return the participants of engagements of a workspace, deleted or not, in the order of the engagements' ids."""
    records = await statements.fetch(
        """
        select id, object ->> 'created_at', details from engagement
        where workspace_id = $1 and id > $2 order by id limit $3
        """,
        workspace_id,
        after,
        limit,
    )
    return [
        KnownParticipants(
            engagement_id,
            datetime.fromisoformat(created_at),
            frozenset(
                comparable_address(each.email.strip())
                for each in msgspec.json.decode(details, type=Details).participants
                if each.email is not None
            ),
        )
        for engagement_id, created_at, details in records
    ]


async def version_of(statements: Executor, workspace_id: UUID, contact_id: UUID) -> int:
    """Return the version of a contact that has a row, deleted or not."""
    version: int = await statements.fetchval(
        "select version from contact where workspace_id = $1 and id = $2", workspace_id, contact_id
    )
    return version


async def stored(statements: Executor, workspace_id: UUID, contact_ids: Collection[UUID]) -> list[UUID]:
    """Return those of the contacts that have a row, deleted or not."""
    found: list[UUID] = await statements.fetchval(
        "select array(select id from contact where workspace_id = $1 and id = any($2))", workspace_id, list(contact_ids)
    )
    return found


async def listed(statements: Executor, days: int | None = None) -> list[ListedErasure]:
    """Return all erasures of the database, or those of the last days."""
    key = await read_key(statements)
    records = await statements.fetch(
        """
        select workspace_id, hash, at, request_id, credential_id, with_engagements from erasure
        where $1::int is null or at > now() - make_interval(days => $1) order by at
        """,
        days,
    )
    return [ListedErasure(key, record[0], record[1], record[2], record[3], record[4], record[5]) for record in records]


async def note(statements: Executor, erasures: Sequence[ListedErasure]) -> None:
    """Note erasures of a list, so that they are not looked for again."""
    for each in erasures:
        await statements.execute(
            """
            insert into erasure (workspace_id, hash, at, request_id, credential_id, with_engagements)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (workspace_id, hash) do update set at = greatest(erasure.at, excluded.at)
            """,
            *msgspec.structs.astuple(each)[1:],
        )


# Limits how many objects a statement looks at, and how many of them it returns.
_LOOKED_AT: Final = 5000
MAX_EXPIRED: Final = 25
_EXPIRABLE: Final[LiteralString] = """
    with read as materialized (
        select c.workspace_id, c.id, c.version, c.deleted_at$columns from $table c
        where (c.workspace_id, c.id) > ($2, $3) order by c.workspace_id, c.id limit $4
    ), found as (
        select r.workspace_id, r.id, r.version from read r
        where (r.deleted_at < now() - make_interval(days => $1) $and_or)
            and not exists (select from unfinished u where u.workspace_id = r.workspace_id and u.object_id = r.id)
        order by r.workspace_id, r.id limit $5
    )
    select workspace_id, id, version from found
    union all
    (select workspace_id, id, null from read order by workspace_id desc, id desc limit 1)
"""


# A merged object leads to the one that replaces it, and goes once that is gone. Undoing can turn a chain of merges into a
# circle, which leads nowhere; `union` ends there.
_LEADING_NOWHERE: Final[LiteralString] = """
    and not exists (
        with recursive goes_on as (
            select r.id, r.merged_into
            union
            select p.id, p.merged_into
            from goes_on join $table p on p.workspace_id = r.workspace_id and p.id = goes_on.merged_into
        )
        select from goes_on where goes_on.id <> r.id and goes_on.merged_into is null
    )
"""
# The notes on an object go with it, because nobody can read them any more.
_ORPHANED_NOTES: Final[LiteralString] = """
    or not exists (
        select from contact p where p.workspace_id = r.workspace_id and p.id = r.contact_id
        union all
        select from company p where p.workspace_id = r.workspace_id and p.id = r.company_id
    )
"""
_EXPIRABLE_MERGED: Final = _EXPIRABLE.replace("$columns", ", c.merged_into").replace("$and_or", _LEADING_NOWHERE)
_EXPIRABLE_NOTES: Final = _EXPIRABLE.replace("$columns", ", c.contact_id, c.company_id").replace("$and_or", _ORPHANED_NOTES)
_EXPIRABLE_OTHERS: Final = _EXPIRABLE.replace("$columns", "").replace("$and_or", "")
_EXPIRABLE_OF: Final[dict[str, LiteralString]] = {
    "contact": _EXPIRABLE_MERGED,
    "company": _EXPIRABLE_MERGED,
    "note": _EXPIRABLE_NOTES,
}


class ExpirableObjects(NamedTuple):
    """Objects that were deleted long ago, with their versions, by workspace; and the place from which the search goes on."""

    objects: dict[UUID, list[tuple[UUID, int]]]
    place: tuple[UUID, UUID] | None


async def expirable(
    statements: Executor, table: LiteralString, days: int, after: tuple[UUID, UUID] = (ids.NIL, ids.NIL)
) -> ExpirableObjects:
    """Return some objects after a place that were deleted more than this many days ago. The last ones have no place after.

    Merged objects stay as long as the one that replaces them, deleted or not. Notes go once their object is gone.
    """
    statement = _EXPIRABLE_OF.get(table, _EXPIRABLE_OTHERS)
    records = await statements.fetch(statement.replace("$table", table), days, *after, _LOOKED_AT, MAX_EXPIRED)
    objects: dict[UUID, list[tuple[UUID, int]]] = {}
    for workspace_id, object_id, version in records[:-1]:
        objects.setdefault(workspace_id, []).append((object_id, version))
    if not records:
        return ExpirableObjects(objects, None)
    last = records[-2] if len(records) > MAX_EXPIRED else records[-1]
    return ExpirableObjects(objects, (last[0], last[1]))
