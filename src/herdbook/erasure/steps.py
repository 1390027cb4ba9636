"""The steps of an erasure: each empties some of the places in slices that fit a batch.

A slice finds entries, comments and kept answers in the database alone. It therefore leaves an object that its own batch has
changed to the next slice, which runs in a later batch and sees the change.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import Contact
from herdbook.contacts.store import CONTACT, CONTACTS, ContactRow
from herdbook.engagements.model import Details, EngagementEntry
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENT_CONTACTS, ENGAGEMENTS, TRANSCRIPT, TRANSCRIPTS, EngagementRow
from herdbook.erasure.model import Chain, ErasureState, Subject
from herdbook.erasure.store import (
    CHAIN_RANGES,
    COMMENTS_OF,
    EMPTIED_ANSWERS,
    EMPTIED_ENTRIES,
    MAX_COMMENTS,
    MAX_NOTES,
    MENTIONING_ANSWERS,
    MENTIONING_VIEWS,
    MENTIONS,
    MERGED_CONTACTS,
    NOTES_OF,
    REMOVED_VIEWS,
    AnswerKey,
    ChainEntry,
    EmptiedAnswer,
    EmptiedEntry,
    RemovedView,
)
from herdbook.ledger.changes import Erased, is_erased
from herdbook.ledger.idempotency import IDEMPOTENCY_RECORDS
from herdbook.ledger.index_entries import IndexReader
from herdbook.ledger.object_types import erased, remove_traces, updated_silently
from herdbook.ledger.unit_of_work import Need, UnitOfWork
from herdbook.notes.store import NOTE, NOTES
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT, TRANSCRIPT_COMMENTS

# Limits how many engagements a slice changes, and how many entries of an object it empties.
MAX_ENGAGEMENTS: Final = 20
MAX_ENTRIES: Final = 100
# Limits how many participants and links the engagements of a slice have, unless a single one has more.
MAX_LINKS: Final = 500
# Limits how many entries of each of several objects a slice empties.
MAX_FIRST_ENTRIES: Final = 5
MAX_OBJECTS: Final = 60
_Members: TypeAlias = dict[str, msgspec.Raw]


def erase_contact(work: UnitOfWork, row: ContactRow, subject: Subject) -> tuple[Subject, list[Chain]]:
    """Erase a contact and all that were merged into it. Return the person, and the entries to empty."""
    rows = {row.id: row}
    found = [row.id]
    while found:
        merged = {each for known in work.get_all(MERGED_CONTACTS, found) if known is not None for each in known.merged}
        merged |= {each.id for each in work.changed_in(CONTACTS) if each.merged_into in found}
        found = sorted(merged - rows.keys())
        # Undoing may have taken a merge back since it was stored.
        rows |= {each.id: each for each in work.get_all(CONTACTS, found) if each is not None and each.merged_into in rows}
        found = sorted(rows.keys() & set(found))
    for each in rows.values():
        remove_traces(work, CONTACT, each)
        erased(work, CONTACT, each.id, each.version)
        subject = subject.having(each.object)
    subject = msgspec.structs.replace(subject, contact_ids=subject.contact_ids.union(rows))
    return subject, [Chain.of(CONTACT, each.id, each.version) for each in rows.values()]


def empty_entries(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Empty some entries of the objects in `chains`, then erase comments. Return None once neither is left."""
    if state.chains:
        chain, *others = state.chains
        subject, rest = _emptied(work, state.subject, chain, MAX_ENTRIES)
        return msgspec.structs.replace(state, subject=subject, chains=(*rest, *others))
    if state.commented:
        engagement_id, *uncommented = state.commented
        if _has_changed_comments(work, engagement_id):
            return state
        comments, is_last = _comments_of(work, engagement_id)
        commented = uncommented if is_last else state.commented
        return _with_chains(work, msgspec.structs.replace(state, commented=tuple(commented)), comments)
    return None


def erase_notes(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Erase some notes on the person. Return None once there is none."""
    found = work.get_all(NOTES_OF, sorted(state.subject.contact_ids))
    note_ids = [note_id for each in found if each is not None for note_id in each.notes][:MAX_NOTES]
    if not note_ids:
        return None
    if any(work.has_changed(NOTES, note_id) for note_id in note_ids):
        return state
    rows = [row for row in work.get_all(NOTES, note_ids) if row is not None]
    chains = [Chain.of(NOTE, row.id, row.version) for row in rows]
    work.require(Need(CHAIN_RANGES, range_of(each, MAX_FIRST_ENTRIES)) for each in chains)
    for row in rows:
        remove_traces(work, NOTE, row)
        erased(work, NOTE, row.id, row.version)
    return _with_chains(work, state, chains)


def leave_engagements(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of some linked engagements, or erase these. Return None once no engagement is linked."""
    found = IndexReader(work, ENGAGEMENT_CONTACTS).first(sorted(state.subject.contact_ids), MAX_ENGAGEMENTS)
    engagement_ids = sorted({each for some in found.values() for each in some})[:MAX_ENGAGEMENTS]
    return _left(work, state, engagement_ids)[0] if engagement_ids else None


def leave_participants(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of further engagements, deleted ones, too. Return None at the last one."""
    after = UUID(state.after) if state.after else ids.NIL
    read = work.get(MENTIONS, (after, tuple(state.subject.terms), tuple(state.subject.tails)))
    assert read is not None, "a range without engagements has a row, too"
    if read.last is None:
        return None
    engagement_ids = sorted(read.found)[:MAX_ENGAGEMENTS]
    state, many = _left(work, state, engagement_ids)
    if many == len(read.found):
        return msgspec.structs.replace(state, after=str(read.last))
    return msgspec.structs.replace(state, after=str(engagement_ids[many - 1])) if many else state


def empty_answers(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Empty further idempotency records that mention the person. Return None at the last one."""
    credential_id, _, key = state.after.partition(" ")
    after = (UUID(credential_id), key) if credential_id else (ids.NIL, "")
    read = work.get(MENTIONING_ANSWERS, (*after, tuple(state.subject.terms)))
    assert read is not None, "a range without records has a row, too"
    if any(_is_changed_answer(work, each) for each in read.found):
        return state
    for each in read.found:
        work.put(EMPTIED_ANSWERS, EmptiedAnswer(work.workspace_id, each.credential_id, each.key, each.is_in_key))
    if read.last is None:
        return None
    return msgspec.structs.replace(state, after=f"{read.last[0]} {read.last[1]}")


def remove_views(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Remove the saved views that mention the person. Return None, because that is one slice."""
    found = work.get(MENTIONING_VIEWS, tuple(state.subject.terms))
    assert found is not None, "a workspace without such views has a row, too"
    for view_id in found.view_ids:
        work.put(REMOVED_VIEWS, RemovedView(work.workspace_id, view_id))
    return None


# Each step does a slice, and returns the state after it, or None if nothing was left to do. Entries are emptied before each.
# Those of the contacts are the first, because they tell by which addresses and numbers the person was known.
STEPS: Final[tuple[Callable[[UnitOfWork, ErasureState], ErasureState | None], ...]] = (
    erase_notes,
    leave_engagements,
    leave_participants,
    empty_answers,
    remove_views,
)


def _left(work: UnitOfWork, state: ErasureState, engagement_ids: Sequence[UUID]) -> tuple[ErasureState, int]:
    """Take the person out of engagements, or erase linked ones, until the slice is full or one must wait for the next.

    Return how many it is done with.
    """
    rows = _fitting(work.get_all(ENGAGEMENTS, engagement_ids))
    engagement_ids = engagement_ids[: len(rows)]
    # Miss all that the slice needs before it changes anything, because a command that misses rows is applied again.
    chains_of = [_chain_of(row, state) for row in rows if row is not None and not work.has_changed(ENGAGEMENTS, row.id)]
    needs = [Need(CHAIN_RANGES, range_of(each, MAX_FIRST_ENTRIES)) for each in chains_of]
    if state.with_engagements:
        needs += [need for each in engagement_ids for need in (Need(TRANSCRIPTS.versions, each), Need(COMMENTS_OF, each))]
    work.require(needs)
    many, chains, commented = 0, list[Chain](), list[UUID]()
    for engagement_id, row in zip(engagement_ids, rows, strict=True):
        if _has_changed(work, engagement_id, with_comments=state.with_engagements):
            break
        many += 1
        if row is None or not _is_about(row, state.subject):
            continue
        if state.with_engagements and _is_linked(row, state.subject):
            erased_chains, is_commented = erase_engagement(work, row)
            chains += erased_chains
            commented += [row.id] if is_commented else []
        else:
            _leave(work, state.subject, row)
            chains.append(_chain_of(row, state))
        if len(chains) >= MAX_OBJECTS:
            break
    state = msgspec.structs.replace(state, commented=(*state.commented, *commented))
    return _with_chains(work, state, chains), many


def _fitting(rows: Sequence[EngagementRow | None]) -> list[EngagementRow | None]:
    """Return the first of the engagements, so many that a slice has room for their participants and links."""
    fitting: list[EngagementRow | None] = []
    links = 0
    for row in rows:
        if row is not None:
            details = row.details
            links += len(details.participants) + len(details.contact_ids) + len(details.company_ids) + len(details.tag_ids)
        if fitting and links > MAX_LINKS:
            break
        fitting.append(row)
    return fitting


def _has_changed(work: UnitOfWork, engagement_id: UUID, *, with_comments: bool) -> bool:
    if with_comments and (work.has_changed(TRANSCRIPTS, engagement_id) or _has_changed_comments(work, engagement_id)):
        return True
    return work.has_changed(ENGAGEMENTS, engagement_id)


def _has_changed_comments(work: UnitOfWork, engagement_id: UUID) -> bool:
    if any(row.engagement_id == engagement_id for row in work.changed_in(TRANSCRIPT_COMMENTS)):
        return True
    found = work.get(COMMENTS_OF, engagement_id)
    assert found is not None, "an engagement without comments has a row, too"
    return any(work.has_changed(TRANSCRIPT_COMMENTS, comment_id) for comment_id, _ in found.comments)


def _is_changed_answer(work: UnitOfWork, answer: AnswerKey) -> bool:
    is_put = work.has_changed(IDEMPOTENCY_RECORDS, f"{answer.credential_id}:{answer.key}")
    return is_put or work.has_changed(EMPTIED_ANSWERS, (answer.credential_id, answer.key))


def erase_engagement(work: UnitOfWork, row: EngagementRow) -> tuple[list[Chain], bool]:
    """Erase an engagement with its transcript and its first comments. Return the chains, and whether it has more comments."""
    remove_traces(work, ENGAGEMENT, row)
    erased(work, ENGAGEMENT, row.id, row.version)
    chains = [Chain.of(ENGAGEMENT, row.id, row.version)]
    if (transcript := work.get(TRANSCRIPTS.versions, row.id)) is not None:
        erased(work, TRANSCRIPT, row.id, transcript.version)
        chains.append(Chain.of(TRANSCRIPT, row.id, transcript.version))
    comments, is_last = _comments_of(work, row.id)
    return [*chains, *comments], not is_last


def _comments_of(work: UnitOfWork, engagement_id: UUID) -> tuple[list[Chain], bool]:
    """Erase the first comments on an engagement. Return their chains, and whether these were all comments."""
    found = work.get(COMMENTS_OF, engagement_id)
    assert found is not None, "an engagement without comments has a row, too"
    for comment_id, version in found.comments:
        erased(work, TRANSCRIPT_COMMENT, comment_id, version)
    chains = [Chain.of(TRANSCRIPT_COMMENT, comment_id, version) for comment_id, version in found.comments]
    return chains, len(chains) < MAX_COMMENTS


def _chain_of(row: EngagementRow, state: ErasureState) -> Chain:
    if state.with_engagements:
        return Chain.of(ENGAGEMENT, row.id, row.version)
    is_linked = not state.subject.contact_ids.isdisjoint(row.contact_ids)
    return Chain(ENGAGEMENT.kind, ENGAGEMENT.prefix, row.id, row.version, is_kept=True, is_linked=is_linked)


def _leave(work: UnitOfWork, subject: Subject, row: EngagementRow) -> None:
    """Take the person out of an engagement, by a change that does not tell who it was."""
    is_linked = _is_linked(row, subject)
    participants = subject.others(row.details.participants, is_linked=is_linked)
    told = msgspec.structs.replace(row.details, participants=participants)
    gone = {ids.encoded(CONTACT.prefix, each) for each in subject.contact_ids}
    contact_ids = tuple(each for each in told.contact_ids if each not in gone)
    details = msgspec.structs.replace(told, contact_ids=contact_ids)
    if row.deleted_at is None:
        told_entry, after = (EngagementEntry.of(row.object, each) for each in (told, details))
        updated_silently(work, ENGAGEMENT, row, told_entry, after)
    else:
        # No index has a deleted engagement, and no new entry tells of it.
        decoded_ids = tuple(ids.decoded_all(CONTACT.prefix, contact_ids))
        work.put(ENGAGEMENTS, msgspec.structs.replace(row, details=details, contact_ids=decoded_ids))


def _with_chains(work: UnitOfWork, state: ErasureState, chains: Iterable[Chain]) -> ErasureState:
    """Empty the first entries of objects. Return the state with what is left of them."""
    chains = list(chains)
    work.require(Need(CHAIN_RANGES, range_of(each, MAX_FIRST_ENTRIES)) for each in chains)
    left: list[Chain] = []
    for each in chains:
        left += _emptied(work, state.subject, each, MAX_FIRST_ENTRIES)[1]
    return msgspec.structs.replace(state, chains=(*state.chains, *left))


def _emptied(work: UnitOfWork, subject: Subject, chain: Chain, most: int) -> tuple[Subject, list[Chain]]:
    """Empty some entries of an object. Return the person, known better now, and the rest of the chain."""
    found = work.get(CHAIN_RANGES, range_of(chain, most))
    assert found is not None, "an object without entries has a range, too"
    # Entries of this batch are not stored yet, and what it empties would be read as it was.
    if chain.seq > work.loaded_seq or any(work.has_changed(EMPTIED_ENTRIES, entry.seq) for entry in found.entries):
        return subject, [chain]
    row = work.get(CONTACTS, chain.object_id) if chain.taken is not None else None
    replacing = _replacing(work, subject, chain, found.entries)
    empty = Erased(id=ids.encoded(chain.prefix, chain.object_id))
    for entry in found.entries:
        if is_erased(bytes(entry.object)):
            continue
        if chain.taken is not None:
            if row is not None and entry.seq >= chain.until:
                _empty_of_taken(work, chain.taken, entry, row)
            continue
        if chain.is_kept:
            _empty_in_part(work, subject, entry, is_linked=chain.is_linked)
            continue
        if chain.is_read:
            subject = subject.having(msgspec.json.decode(entry.object, type=Contact))
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, empty))
    # The last entry is read again, because an entry of an older release does not name the one before it.
    has_more = found.is_cut and found.entries[-1].seq > chain.until
    return subject, [*([msgspec.structs.replace(chain, seq=found.entries[-1].seq)] if has_more else []), *replacing]


def _replacing(work: UnitOfWork, subject: Subject, chain: Chain, entries: Sequence[ChainEntry]) -> list[Chain]:
    """Return the chains of the contacts that replaced this one for a time, until a merge was taken back."""
    merges = [
        each
        for each in entries
        if each.replaced_by is not None
        and each.seq >= chain.until
        and each.replaced_by not in subject.contact_ids
        and chain.kind == CONTACT.kind
        and chain.is_read
        and not is_erased(bytes(each.object))
    ]
    rows = {row.id: row for row in work.get_all(CONTACTS, [each.replaced_by for each in merges]) if row is not None}
    return [
        Chain(
            CONTACT.kind,
            CONTACT.prefix,
            row.id,
            row.version,
            is_kept=True,
            taken=chain.taken or msgspec.json.decode(each.object, type=dict[str, Any]),
            until=each.seq,
        )
        for each in merges
        if each.replaced_by is not None and (row := rows.get(each.replaced_by)) is not None
    ]


# These members of a contact have values by key, of which each may have come from another contact.
_KEYED: Final = frozenset({"fields", "labels"})
_REQUIRED: Final = frozenset(each.encode_name for each in msgspec.structs.fields(CONTACT.entry) if each.required)


def _empty_of_taken(work: UnitOfWork, taken: dict[str, Any], entry: ChainEntry, row: ContactRow) -> None:
    """Take out of an entry of another contact what it had from the person's, and does not have now."""
    now = msgspec.to_builtins(row.entry)
    object_, previous = (msgspec.json.decode(each, type=dict[str, Any] | None) for each in (entry.object, entry.previous))
    assert object_ is not None, "an entry has an object"
    left = {name: _without_taken(name, value, taken.get(name), now.get(name)) for name, value in object_.items()}
    left = {name: value for name, value in left.items() if value is not None or name in _REQUIRED}
    left_before = previous and {
        name: _without_taken(name, value, taken.get(name), now.get(name)) for name, value in previous.items()
    }
    if left != object_ or left_before != previous:
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, left, left_before))


def _without_taken(name: str, value: Any, taken: Any, now: Any) -> Any:
    """Return a member without what was taken, unless that is there now; null if nothing is left."""
    if value is None or taken is None or value == now:
        return value
    if name in _KEYED and isinstance(value, dict):
        nested = name if name == "labels" else ""
        keyed, of_person, here = cast("dict[str, Any]", value), cast("dict[str, Any]", taken), cast("dict[str, Any]", now or {})
        left = {key: _without_taken(nested, each, of_person.get(key), here.get(key)) for key, each in keyed.items()}
        return {key: each for key, each in left.items() if each is not None} or None
    if isinstance(value, list) and isinstance(taken, list):
        items, of_person, here = cast("list[Any]", value), cast("list[Any]", taken), cast("list[Any]", now or [])
        gone = {*map(_told_by, of_person)} - {*map(_told_by, here)}
        return [each for each in items if _told_by(each) not in gone] or ([] if name in _REQUIRED else None)
    return None if value == taken else cast("Any", value)


def _told_by(item: Any) -> Any:
    """Return the part of an item of a list that tells it from others."""
    if not isinstance(item, dict):
        return item
    members = cast("dict[str, Any]", item)
    return comparable_address(members["email"]) if "email" in members else members.get("phone_number")


def _empty_in_part(work: UnitOfWork, subject: Subject, entry: ChainEntry, *, is_linked: bool) -> None:
    """Take the person out of what an entry of an engagement says of the participants."""
    object_, previous = (_without_person(each, subject, is_linked=is_linked) for each in (entry.object, entry.previous))
    if object_ is not entry.object or previous is not entry.previous:
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, object_, previous))


def _without_person(object_: msgspec.Raw, subject: Subject, *, is_linked: bool) -> msgspec.Raw:
    members = msgspec.json.decode(object_, type=_Members | None)
    if members is None or "details" not in members:
        return object_
    details = msgspec.json.decode(members["details"], type=Details)
    linked = {ids.encoded(CONTACT.prefix, each) for each in subject.contact_ids}
    is_linked = is_linked or not linked.isdisjoint(details.contact_ids)
    others = subject.others(details.participants, is_linked=is_linked)
    if others == details.participants:
        return object_
    members["details"] = msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(details, participants=others)))
    return msgspec.Raw(msgspec.json.encode(members))


def range_of(chain: Chain, most: int) -> tuple[str, UUID, int, int, bool]:
    """Return the key of the first entries of a chain."""
    return chain.kind, chain.object_id, chain.seq, most, chain.is_read


def _is_about(row: EngagementRow, subject: Subject) -> bool:
    return _is_linked(row, subject) or subject.others(row.details.participants, is_linked=False) != row.details.participants


def _is_linked(row: EngagementRow, subject: Subject) -> bool:
    return not subject.contact_ids.isdisjoint(row.contact_ids)
