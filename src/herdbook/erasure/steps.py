"""The steps of an erasure: each empties some of the places in slices that fit a batch.

A slice finds entries, comments and kept answers in the database alone. It therefore leaves an object that its own batch has
changed to the next slice, which runs in a later batch and sees the change.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.cards.store import forget_cards
from herdbook.contacts.model import ContactRecord
from herdbook.contacts.store import ADDRESSES, CONTACT, CONTACT_WORDS, CONTACTS, ContactRow
from herdbook.custom_fields.commands import definitions
from herdbook.custom_fields.model import FieldKind
from herdbook.custom_fields.store import FIELD, FIELDS
from herdbook.custom_fields.values import without_values
from herdbook.duplicates.store import FORGOTTEN_DUPLICATES, ForgottenDuplicate
from herdbook.engagements.model import (
    Details,
    Engagement,
    EngagementEntry,
    Timeline,
    TimelineRequest,
    TimelineSpeaker,
    TranscriptEntry,
)
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENT_CONTACTS, ENGAGEMENTS, TRANSCRIPT, TRANSCRIPTS, EngagementRow
from herdbook.erasure.model import Chain, ErasedImport, ErasureState, Subject
from herdbook.erasure.store import (
    CHAIN_RANGES,
    COMMENTS_OF,
    DEFAULTED,
    EMPTIED_ANSWERS,
    EMPTIED_ENTRIES,
    IMPORTS,
    MAX_COMMENTS,
    MAX_NOTES,
    MAX_OUTCOMES,
    MENTIONING_ANSWERS,
    MENTIONING_VIEWS,
    MENTIONS,
    MERGED_CONTACTS,
    NAMING,
    NAMING_ENTRIES,
    NOTES_OF,
    REMOVED_IMPORTS,
    REMOVED_VIEWS,
    SPEAKERS,
    SPOKEN_ENTRIES,
    WITH_VALUES,
    AnswerKey,
    ChainEntry,
    EmptiedAnswer,
    EmptiedEntry,
    NamingEntry,
    RemovedImports,
    RemovedView,
    Speaking,
    view_key,
)
from herdbook.ledger.changes import Erased, is_erased, same
from herdbook.ledger.idempotency import IDEMPOTENCY_RECORDS
from herdbook.ledger.index_entries import IndexReader
from herdbook.ledger.object_types import ObjectType, erased, remove_traces, updated_silently
from herdbook.ledger.unit_of_work import Need, UnitOfWork
from herdbook.notes.store import NOTE, NOTES
from herdbook.phone_numbers import number_keys
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT, TRANSCRIPT_COMMENTS

# Limits how many engagements a slice changes, and how many entries of an object it empties.
MAX_ENGAGEMENTS: Final = 20
MAX_ENTRIES: Final = 100
# Limits how many participants and links the engagements of a slice have, unless a single one has more.
MAX_LINKS: Final = 500
# Limits the bytes of the transcripts that a slice changes, as they are stored, unless a single one has more.
MAX_TRANSCRIPT_BYTES: Final = 8192
# Limits how many entries of each of several objects a slice empties.
MAX_FIRST_ENTRIES: Final = 5
MAX_OBJECTS: Final = 60
# Limits how many other contacts or companies a slice clears values of.
MAX_CLEARED: Final = 50
_FIRST: Final = str(ids.NIL)
# Begins the place of a step that has reached the end once.
_AGAIN: Final = "again "
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
        work.put(FORGOTTEN_DUPLICATES, ForgottenDuplicate(work.workspace_id, each.id))
        forget_cards(work, each.id)
        erased(work, CONTACT, each.id, each.version)
        subject = subject.having(each.entry)
    subject = msgspec.structs.replace(subject, contact_ids=subject.contact_ids.union(rows))
    return subject, [Chain.of(CONTACT, each.id, each.version) for each in rows.values()]


def with_held(work: UnitOfWork, subject: Subject) -> Subject:
    """Return the person, whom an address or a number does not identify that another active contact has by now."""
    holders = ADDRESSES.holders(work, sorted({comparable_address(each) for each in subject.addresses}))
    held = {address for address, holder in holders.items() if holder is not None}
    keys = {number: number_keys(number, subject.region) for number in subject.phone_numbers}
    found = IndexReader(work, CONTACT_WORDS).first({key for some in keys.values() for key in some}, 1)
    for some in keys.values():
        if any(found[key] for key in some):
            held |= {*some}
    return msgspec.structs.replace(subject, held=subject.held | held)


def empty_entries(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Empty some entries of the objects in `chains`, then erase comments. Return None once neither is left."""
    if state.chains:
        chain, *others = state.chains
        done = _emptied(work, state.subject, chain, MAX_ENTRIES)
        emptied = state.emptied + done.of_others
        return msgspec.structs.replace(state, subject=done.subject, chains=(*done.chains, *others), emptied=emptied)
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


def leave_transcripts(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of the speakers of a further transcript that is kept, deleted ones, too.

    Return None after the last one.
    """
    after = UUID(_place(state) or _FIRST)
    read = work.get(SPEAKERS, (after, *_known_by(state.subject)))
    assert read is not None, "a range without transcripts has a row, too"
    if read.last is None:
        return None
    found = [each for each in read.found if _is_speaking(each, state)]
    fitting = _first_speaking(found)
    if any(work.has_changed(TRANSCRIPTS, each.id) or work.has_changed(ENGAGEMENTS, each.id) for each in fitting):
        return state
    work.require(need for each in fitting for need in (Need(TRANSCRIPTS, each.id), Need(ENGAGEMENTS, each.id)))
    for each in fitting:
        _leave_transcript(work, each.id, state.subject.without_speaker(each.speakers, is_linked=each.is_linked))
    if len(fitting) < len(found):
        return _moved(state, str(fitting[-1].id))
    return _moved(state, str(read.last), has_more=read.has_more)


def _is_speaking(found: Speaking, state: ErasureState) -> bool:
    """Whether the person is among the speakers of a transcript that is kept."""
    # A linked engagement that goes takes its transcript along.
    goes = found.is_linked and state.with_engagements
    return not goes and state.subject.without_speaker(found.speakers, is_linked=found.is_linked) != found.speakers


def _first_speaking(found: Sequence[Speaking]) -> list[Speaking]:
    """Return the first of some transcripts, so few that others hardly wait while they are written."""
    fitting: list[Speaking] = []
    size = 0
    for each in found[:MAX_ENGAGEMENTS]:
        size += each.bytes
        if fitting and size > MAX_TRANSCRIPT_BYTES:
            break
        fitting.append(each)
    return fitting


def _known_by(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...], tuple[UUID, ...]]:
    return tuple(subject.terms), tuple(subject.tails), tuple(sorted(subject.contact_ids))


def _leave_transcript(work: UnitOfWork, engagement_id: UUID, speakers: tuple[TimelineSpeaker, ...]) -> None:
    """Give a transcript other speakers, by a change that does not tell who they were."""
    (row,), (engagement,) = work.get_all(TRANSCRIPTS, [engagement_id]), work.get_all(ENGAGEMENTS, [engagement_id])
    if row is None or row.object is None:
        return
    timeline = msgspec.structs.replace(row.object, speakers=speakers)
    after = TranscriptEntry(
        timeline_id=row.entry.timeline_id,
        text=_text_with(row.text, row.object, timeline),
        timeline=timeline,
        engagement=UNSET if engagement is None else engagement.object,
    )
    if row.deleted_at is None:
        updated_silently(work, TRANSCRIPT, row, after, after)
    else:
        work.put(TRANSCRIPTS, msgspec.structs.replace(row, text=after.text, object=timeline))


def _text_with(text: str, before: Timeline, after: Timeline) -> str:
    """Return the plain text of a timeline with other speakers. A text of its own stays."""
    was, becomes = (TimelineRequest(speakers=each.speakers, entries=each.entries).as_text() for each in (before, after))
    return becomes if text == was else text


def leave_spoken_entries(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of the speakers in further entries of transcripts. Return None after the last one."""
    after = int(_place(state) or "0")
    read = work.get(SPOKEN_ENTRIES, (after, *_known_by(state.subject)))
    assert read is not None, "a range without entries has a row, too"
    if read.last is None:
        return None
    found = [entry for entry in read.found if not is_erased(bytes(entry.object))]
    found = [entry for entry in found if not (entry.is_linked and state.with_engagements)]
    if any(work.has_changed(EMPTIED_ENTRIES, entry.seq) for entry in found):
        return state
    for entry in found:
        object_, previous = (
            _without_speaker(each, state.subject, is_linked=entry.is_linked) for each in (entry.object, entry.previous)
        )
        if object_ is not entry.object or previous is not entry.previous:
            work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, object_, previous))
    return _moved(state, str(read.last), has_more=read.has_more)


def _without_speaker(object_: msgspec.Raw, subject: Subject, *, is_linked: bool) -> msgspec.Raw:
    """Return what an entry says of a transcript without the person among the speakers, and in the engagement's link."""
    members = msgspec.json.decode(object_, type=_Members | None)
    if members is None:
        return object_
    changed: dict[str, Any] = {}
    timeline = msgspec.json.decode(members.get("timeline", b"null"), type=Timeline | None)
    if timeline is not None:
        after = msgspec.structs.replace(timeline, speakers=subject.without_speaker(timeline.speakers, is_linked=is_linked))
        if after != timeline:
            changed["timeline"] = after
            if "text" in members:
                changed["text"] = _text_with(msgspec.json.decode(members["text"], type=str), timeline, after)
    engagement = msgspec.json.decode(members.get("engagement", b"null"), type=Engagement | None)
    if engagement is not None and subject.is_in_link(engagement.external_url or None):
        changed["engagement"] = msgspec.structs.replace(engagement, external_url=UNSET)
    if not changed:
        return object_
    return msgspec.Raw(msgspec.json.encode(members | changed))


def leave_engagements(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of some linked engagements, or erase these. Return None once no engagement is linked."""
    found = IndexReader(work, ENGAGEMENT_CONTACTS).first(sorted(state.subject.contact_ids), MAX_ENGAGEMENTS)
    engagement_ids = sorted({each for some in found.values() for each in some})[:MAX_ENGAGEMENTS]
    return _left(work, state, engagement_ids)[0] if engagement_ids else None


def leave_participants(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the person out of further engagements, deleted ones, too. Return None after the last one."""
    after = UUID(_place(state) or _FIRST)
    read = work.get(MENTIONS, (after, tuple(state.subject.terms), tuple(state.subject.tails)))
    assert read is not None, "a range without engagements has a row, too"
    if read.last is None:
        return None
    engagement_ids = sorted(read.found)[:MAX_ENGAGEMENTS]
    state, many = _left(work, state, engagement_ids)
    if many == len(read.found):
        return _moved(state, str(read.last), has_more=read.has_more)
    return _moved(state, str(engagement_ids[many - 1])) if many else state


def empty_answers(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Empty further idempotency records that mention the person, or show what was erased. Return None after the last one."""
    credential_id, _, key = _place(state).partition(" ")
    after = (UUID(credential_id or _FIRST), key)
    read = work.get(MENTIONING_ANSWERS, (*after, tuple(state.subject.terms), tuple(state.subject.tails)))
    assert read is not None, "a range without records has a row, too"
    if any(_is_changed_answer(work, each) for each in read.found):
        return state
    for each in read.found:
        is_in_key = each.is_in_key or state.subject.is_number_in(each.key)
        if is_in_key or each.maybe is None or state.subject.is_numbered_in(each.maybe):
            work.put(EMPTIED_ANSWERS, EmptiedAnswer(work.workspace_id, each.credential_id, each.key, is_in_key))
    if read.last is None:
        return None
    return _moved(state, f"{read.last[0]} {read.last[1]}", has_more=read.has_more)


def remove_views(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Remove the saved views that mention the person. Return None, because that is one slice."""
    found = work.get(MENTIONING_VIEWS, view_key(state.subject))
    assert found is not None, "a workspace without such views has a row, too"
    for view in found.views:
        if state.subject.is_in_view(view.object_type, view.name, view.content):
            work.put(REMOVED_VIEWS, RemovedView(work.workspace_id, view.id))
    return None


def clear_values(object_type: ObjectType[Any, Any], work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Clear the values of fields that name the person in further objects of a type, deleted ones, too.

    Return None after the last one.
    """
    after = UUID(_place(state) or _FIRST)
    read = work.get(NAMING[object_type.name], (after, tuple(state.subject.terms), tuple(state.subject.tails)))
    assert read is not None, "a range without objects has a row, too"
    if read.last is None:
        return None
    object_ids = sorted(read.found)[:MAX_CLEARED]
    _clear_some(work, object_type, object_ids, state.subject)
    if len(object_ids) == len(read.found):
        return _moved(state, str(read.last), has_more=read.has_more)
    return _moved(state, str(object_ids[-1]))


def _clear_some(work: UnitOfWork, object_type: ObjectType[Any, Any], object_ids: Sequence[UUID], subject: Subject) -> None:
    """Clear the values that name the person in some objects, by changes that do not tell what they were."""
    kinds = {key: field.kind for key, field in definitions(work, object_type.name).items()}
    for row in work.get_all(object_type.table, object_ids):
        keys = [] if row is None else subject.named_in(row.entry.fields or {}, kinds)
        if row is None or not keys:
            continue
        after = without_values(row.entry, keys)
        if row.deleted_at is None:
            object_type.claim(work, row.id, row.entry, after)
            updated_silently(work, object_type, row, after, after)
        else:
            # A deleted object claims nothing, no index has its values, and no new entry tells of it.
            work.put(object_type.table, msgspec.structs.replace(row, own=after.own))


def clear_defaults(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Clear the defaults of fields that name the person. Return None, because that is one slice."""
    found = work.get(DEFAULTED, "default")
    assert found is not None, "a workspace without such fields has a row, too"
    _clear_some_defaults(work, found.field_ids, state.subject)
    return None


def _clear_some_defaults(work: UnitOfWork, field_ids: Sequence[UUID], subject: Subject) -> None:
    for row in work.get_all(FIELDS, field_ids):
        if row is None or not subject.is_named(row.object.default, row.object.kind):
            continue
        after = msgspec.structs.replace(row.object, default=None)
        if row.deleted_at is None:
            updated_silently(work, FIELD, row, after, after)
        else:
            work.put(FIELDS, msgspec.structs.replace(row, object=after))


def clear_former_values(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Take the values and defaults that name the person out of further entries of other contacts and companies, and of fields.

    Return None after the last one.
    """
    after = int(_place(state) or "0")
    read = work.get(NAMING_ENTRIES, (after, tuple(state.subject.terms), tuple(state.subject.tails)))
    assert read is not None, "a range without entries has a row, too"
    if read.last is None:
        return None
    # Entries that this batch empties would be read as they were.
    if any(work.has_changed(EMPTIED_ENTRIES, entry.seq) for entry in read.found):
        return state
    of_fields = [entry for entry in read.found if entry.kind == FIELD.kind]
    _clear_some_defaults(work, sorted({entry.object_id for entry in of_fields}), state.subject)
    emptied = sum(_empty_default(work, entry, state.subject) for entry in of_fields)
    for object_type in WITH_VALUES:
        entries = [entry for entry in read.found if entry.kind == object_type.kind]
        kinds = {key: field.kind for key, field in definitions(work, object_type.name).items()}
        # Others may have set a value since the step before has passed the object.
        _clear_some(work, object_type, sorted({entry.object_id for entry in entries}), state.subject)
        for entry in entries:
            object_ = _without_named(entry.object, state.subject, kinds, is_previous=False)
            previous = _without_named(entry.previous, state.subject, kinds, is_previous=True)
            if object_ is not entry.object or previous is not entry.previous:
                work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, object_, previous))
                emptied += 1
    state = msgspec.structs.replace(state, emptied=state.emptied + emptied)
    return _moved(state, str(read.last), has_more=read.has_more)


def _empty_default(work: UnitOfWork, entry: NamingEntry, subject: Subject) -> bool:
    """Take a default that names the person out of an entry of a field. Return whether it had one."""
    kind = msgspec.json.decode(entry.object, type=_Default).kind or FieldKind.TEXT
    object_, previous = (_without_default(each, kind, subject) for each in (entry.object, entry.previous))
    has_any = object_ is not entry.object or previous is not entry.previous
    if has_any:
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, object_, previous))
    return has_any


class _Default(msgspec.Struct):
    """The kind and the default of a field, or those of them that a change has replaced."""

    kind: FieldKind | None = None
    default: Any = None


def _without_default(object_: msgspec.Raw, kind: FieldKind, subject: Subject) -> msgspec.Raw:
    """Return a definition, or the old values of its members, without a default that names the person."""
    members = msgspec.json.decode(object_, type=_Members | None)
    if members is None:
        return object_
    said = msgspec.json.decode(object_, type=_Default)
    if not subject.is_named(said.default, said.kind or kind):
        return object_
    return msgspec.Raw(msgspec.json.encode({**members, "default": None}))


class _Named(msgspec.Struct):
    """The members of a contact or a company in which values of fields are."""

    fields: dict[str, Any] | None = None
    unique_values: tuple[str, ...] | None = None


def _without_named(object_: msgspec.Raw, subject: Subject, kinds: Mapping[str, FieldKind], *, is_previous: bool) -> msgspec.Raw:
    """Return an object, or the old values of its members, without the values of fields that name the person."""
    members = msgspec.json.decode(object_, type=_Members | None)
    if members is None or "fields" not in members:
        return object_
    named = msgspec.json.decode(object_, type=_Named)
    if named.fields is None or not (keys := subject.named_in(named.fields, kinds)):
        return object_
    left: dict[str, Any] = {
        "fields": {key: value for key, value in named.fields.items() if key not in keys},
        "unique_values": [each for each in named.unique_values or () if each.partition("=")[0] not in keys],
    }
    for name, value in left.items():
        if value or (is_previous and name in members):
            # Null is the old value of a member that was absent.
            members[name] = msgspec.Raw(msgspec.json.encode(value or None))
        elif name in members:
            del members[name]
    return msgspec.Raw(msgspec.json.encode(members))


def remove_imports(work: UnitOfWork, state: ErasureState) -> ErasureState | None:
    """Remove the imports of the workspace, whose files the sweep of uploads removes, and some outcomes of removed ones."""
    removed, has_more = remove_some_imports(work, state.subject.terms)
    return _moved(msgspec.structs.replace(state, imports=(*state.imports, *removed)), _FIRST, has_more=has_more)


def remove_some_imports(work: UnitOfWork, terms: Sequence[str]) -> tuple[list[ErasedImport], bool]:
    """Remove the imports of the workspace, and some outcomes of those that went before.

    Return the imports, and whether more outcomes may be left. Those of an import that goes now are left to the next time.
    """
    found = work.get(IMPORTS, "imports")
    assert found is not None, "a workspace without imports has a row, too"
    import_ids = tuple(import_id for import_id, _ in found.imports)
    work.put(REMOVED_IMPORTS, RemovedImports(work.workspace_id, tuple(terms), import_ids))
    return [ErasedImport.of(*each) for each in found.imports], found.outcomes == MAX_OUTCOMES


# Each step does a slice, and returns the state after it, or None if nothing was left to do. Entries are emptied before each.
# Those of the contacts are the first, because they tell by which addresses and numbers the person was known. No import goes on
# until the end; those that are uploaded meanwhile go, too. Answers are the last, because one may be kept between any two steps.
STEPS: Final[tuple[Callable[[UnitOfWork, ErasureState], ErasureState | None], ...]] = (
    remove_imports,
    erase_notes,
    leave_transcripts,
    leave_spoken_entries,
    leave_engagements,
    leave_participants,
    remove_views,
    *(partial(clear_values, each) for each in WITH_VALUES),
    clear_defaults,
    clear_former_values,
    remove_imports,
    empty_answers,
)


def ended(state: ErasureState) -> ErasureState:
    """Return the state at the beginning of the next step."""
    return msgspec.structs.replace(state, step=state.step + 1, after="")


def _place(state: ErasureState) -> str:
    """Return the place that a step has reached, or an empty text at its beginning."""
    return state.after.removeprefix(_AGAIN)


def _moved(state: ErasureState, place: str, *, has_more: bool = True) -> ErasureState:
    """Return the state at a place of its step.

    The step ends at the second place that nothing follows, because the batch of the first may have added something. It does not
    go on until it finds nothing: others may write faster than it reads.
    """
    if has_more:
        return msgspec.structs.replace(state, after=place)
    return ended(state) if state.after.startswith(_AGAIN) else msgspec.structs.replace(state, after=_AGAIN + place)


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
    is_linked = _is_linked(row, state.subject)
    if state.with_engagements and is_linked:
        return Chain.of(ENGAGEMENT, row.id, row.version)
    return Chain(ENGAGEMENT.kind, ENGAGEMENT.prefix, row.id, row.version, is_kept=True, is_linked=is_linked)


def _leave(work: UnitOfWork, subject: Subject, row: EngagementRow) -> None:
    """Take the person out of an engagement, by a change that does not tell who it was."""
    told, link = _left_over(row.details, row.object.external_url, subject, row.id, is_linked=_is_linked(row, subject))
    shown = msgspec.structs.replace(row.object, external_url=link)
    gone = {ids.encoded(CONTACT.prefix, each) for each in subject.contact_ids}
    contact_ids = tuple(each for each in told.contact_ids if each not in gone)
    details = msgspec.structs.replace(told, contact_ids=contact_ids)
    if row.deleted_at is None:
        told_entry, after = (EngagementEntry.of(shown, each) for each in (told, details))
        ENGAGEMENT.claim(work, row.id, row.entry, after)
        updated_silently(work, ENGAGEMENT, row, told_entry, after)
    else:
        # No index has a deleted engagement, and no new entry tells of it.
        decoded_ids = tuple(ids.decoded_all(CONTACT.prefix, contact_ids))
        work.put(ENGAGEMENTS, msgspec.structs.replace(row, object=shown, details=details, contact_ids=decoded_ids))


def _left_over(
    details: Details, link: str | UnsetType, subject: Subject, engagement_id: UUID, *, is_linked: bool
) -> tuple[Details, str | UnsetType]:
    """Return what an engagement has without the person: its details but for the links to contacts, and its own link.

    An external id that names the person becomes the id of the engagement, because each engagement must have one of its own.
    """
    details = msgspec.structs.replace(details, participants=subject.others(details.participants, is_linked=is_linked))
    if subject.is_external_id(details.external_id, is_linked=is_linked):
        details = msgspec.structs.replace(details, external_id=ids.encoded(ENGAGEMENT.prefix, engagement_id))
    return details, UNSET if subject.is_in_link(link or None) else link


def _with_chains(work: UnitOfWork, state: ErasureState, chains: Iterable[Chain]) -> ErasureState:
    """Empty the first entries of objects. Return the state with what is left of them."""
    chains = list(chains)
    work.require(Need(CHAIN_RANGES, range_of(each, MAX_FIRST_ENTRIES)) for each in chains)
    left: list[Chain] = []
    for each in chains:
        left += _emptied(work, state.subject, each, MAX_FIRST_ENTRIES).chains
    return msgspec.structs.replace(state, chains=(*state.chains, *left))


class _Emptied(NamedTuple):
    """The person, known better now, the rest of a chain, and the number of entries of another contact that lost something."""

    subject: Subject
    chains: list[Chain]
    of_others: int = 0


def _emptied(work: UnitOfWork, subject: Subject, chain: Chain, most: int) -> _Emptied:
    """Empty some entries of an object."""
    found = work.get(CHAIN_RANGES, range_of(chain, most))
    assert found is not None, "an object without entries has a range, too"
    # Entries of this batch are not stored yet, and what it empties would be read as it was.
    if chain.seq > work.loaded_seq or any(work.has_changed(EMPTIED_ENTRIES, entry.seq) for entry in found.entries):
        return _Emptied(subject, [chain])
    of_others = 0
    row = work.get(CONTACTS, chain.object_id) if chain.taken is not None else None
    replacing = _replacing(work, subject, chain, found.entries)
    empty = Erased(id=ids.encoded(chain.prefix, chain.object_id))
    for entry in found.entries:
        if is_erased(bytes(entry.object)):
            continue
        if chain.taken is not None:
            if row is not None and entry.seq >= chain.until:
                of_others += _empty_of_taken(work, chain.taken, entry, row)
            continue
        if chain.is_kept:
            _empty_in_part(work, subject, entry, chain)
            continue
        if chain.is_read:
            subject = subject.having(msgspec.json.decode(entry.object, type=ContactRecord))
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, empty))
    # The last entry is read again, because an entry of an older release does not name the one before it.
    has_more = found.is_cut and found.entries[-1].seq > chain.until
    rest = [msgspec.structs.replace(chain, seq=found.entries[-1].seq)] if has_more else []
    return _Emptied(subject, [*rest, *replacing], of_others)


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
_ALWAYS: Final = frozenset(each.encode_name for each in msgspec.structs.fields(CONTACT.entry) if each.default is not UNSET)


def _empty_of_taken(work: UnitOfWork, taken: dict[str, Any], entry: ChainEntry, row: ContactRow) -> bool:
    """Take out of an entry of another contact what it had from the person's and does not have now. Return if it had any."""
    now = msgspec.to_builtins(row.entry)
    object_, previous = (msgspec.json.decode(each, type=dict[str, Any] | None) for each in (entry.object, entry.previous))
    assert object_ is not None, "an entry has an object"
    left = {name: _without_taken(name, value, taken.get(name), now.get(name)) for name, value in object_.items()}
    left = {name: value for name, value in left.items() if value is not None or name in _ALWAYS}
    left_before = previous and {
        name: _without_taken(name, value, taken.get(name), now.get(name)) for name, value in previous.items()
    }
    has_any = left != object_ or left_before != previous
    if has_any:
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, left, left_before))
    return has_any


def _without_taken(name: str, value: Any, taken: Any, now: Any) -> Any:
    """Return a member without what was taken, unless that is there now; null if nothing is left."""
    if value is None or taken is None or same(value, now):
        return value
    if name in _KEYED and isinstance(value, dict):
        nested = name if name == "labels" else ""
        keyed, of_person, here = cast("dict[str, Any]", value), cast("dict[str, Any]", taken), cast("dict[str, Any]", now or {})
        left = {key: _without_taken(nested, each, of_person.get(key), here.get(key)) for key, each in keyed.items()}
        return {key: each for key, each in left.items() if each is not None} or None
    if isinstance(value, list) and isinstance(taken, list):
        items, of_person, here = cast("list[Any]", value), cast("list[Any]", taken), cast("list[Any]", now or [])
        gone = {*map(_told_by, of_person)} - {*map(_told_by, here)}
        return [each for each in items if _told_by(each) not in gone] or ([] if name in _ALWAYS else None)
    return None if same(value, taken) else cast("Any", value)


def _told_by(item: Any) -> Any:
    """Return the part of an item of a list that tells it from others."""
    if not isinstance(item, dict):
        return item
    members = cast("dict[str, Any]", item)
    return comparable_address(members["email"]) if "email" in members else members.get("phone_number")


def _empty_in_part(work: UnitOfWork, subject: Subject, entry: ChainEntry, chain: Chain) -> None:
    """Take the person out of what an entry of an engagement says of the participants, its external id and its link."""
    object_, previous = (_without_person(each, subject, chain) for each in (entry.object, entry.previous))
    if object_ is not entry.object or previous is not entry.previous:
        work.put(EMPTIED_ENTRIES, EmptiedEntry(work.workspace_id, entry.seq, object_, previous))


def _without_person(object_: msgspec.Raw, subject: Subject, chain: Chain) -> msgspec.Raw:
    members = msgspec.json.decode(object_, type=_Members | None)
    if members is None:
        return object_
    link = msgspec.json.decode(members.get("external_url", b"null"), type=str | None)
    if subject.is_in_link(link):
        # Null is the old value of a member that was absent, and an object does not have it.
        members = {**members, "external_url": msgspec.Raw(b"null")}
        if "id" in members:
            del members["external_url"]
        object_ = msgspec.Raw(msgspec.json.encode(members))
    if "details" not in members:
        return object_
    details = msgspec.json.decode(members["details"], type=Details)
    linked = {ids.encoded(CONTACT.prefix, each) for each in subject.contact_ids}
    is_linked = chain.is_linked or not linked.isdisjoint(details.contact_ids)
    left, _ = _left_over(details, UNSET, subject, chain.object_id, is_linked=is_linked)
    if left == details:
        return object_
    members["details"] = msgspec.Raw(msgspec.json.encode(left))
    return msgspec.Raw(msgspec.json.encode(members))


def range_of(chain: Chain, most: int) -> tuple[str, UUID, int, int, bool]:
    """Return the key of the first entries of a chain."""
    return chain.kind, chain.object_id, chain.seq, most, chain.is_read


def _is_about(row: EngagementRow, subject: Subject) -> bool:
    return _is_linked(row, subject) or subject.is_in(row.details, row.object.external_url or None, is_linked=False)


def _is_linked(row: EngagementRow, subject: Subject) -> bool:
    return not subject.contact_ids.isdisjoint(row.contact_ids)
