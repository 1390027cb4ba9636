"""The commands of imports: a slice of rows, in one transaction with the progress of its import, and those that steer one."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.cards.commands import KeptCard
from herdbook.companies.commands import UpsertCompany
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest, CompanyRecord, CompanyUpsert
from herdbook.companies.store import COMPANIES, COMPANY, DOMAINS, CompanyRow
from herdbook.contacts.commands import UpsertContact
from herdbook.contacts.model import ContactRecord, ContactUpsert, without_marks
from herdbook.contacts.store import CONTACT, CONTACTS, ContactRow
from herdbook.custom_fields.commands import CreateField, definitions, value_needs
from herdbook.custom_fields.model import FieldCreate, FieldObjectType
from herdbook.erasure.store import UNDER_WAY, is_under_way
from herdbook.errors import FieldError, FieldsRefusal, Invalid, NotFound, Refusal
from herdbook.history.commands import UndoReversals
from herdbook.history.model import Kept
from herdbook.importing.model import (
    GONE,
    Content,
    Counts,
    Existing,
    ImportedRow,
    ImportState,
    Progress,
    RowFault,
    RowVerdict,
    Undoing,
    new_fields,
)
from herdbook.importing.preparing import PreparedRow, company_key, name_key
from herdbook.importing.store import (
    CONTENTS,
    FORGOTTEN_SLICES,
    JOBS,
    KEPT,
    MAX_NAMESAKES,
    NAMED_COMPANIES,
    NAMED_CONTACTS,
    NO_COMPANY,
    NOTES_WITH_TEXT,
    SLICES,
    ContentRow,
    ForgottenSlices,
    JobRow,
    KeptRow,
    SliceRow,
)
from herdbook.ledger.changes import Action
from herdbook.ledger.commands import Create
from herdbook.ledger.object_types import active, require_loaded_at_once
from herdbook.ledger.unit_of_work import LongCommand, Need, NotLoaded, Result, UnitOfWork
from herdbook.notes.commands import CreateNote
from herdbook.notes.model import NoteCreate
from herdbook.notes.store import NOTES
from herdbook.search_text import END, name_key_of
from herdbook.tags.model import TagCreate, comparable_name
from herdbook.tags.store import TAG, TAG_NAMES

# A command gives up the event loop's time after so many rows.
_STEP: Final = 2
_STAYS_DELETED: Final = (
    "It is deleted, and stays so. Choose `fill` or `overwrite` for what is there already to bring it back, or restore it."
)
_VERDICTS: Final = {Action.CREATED: RowVerdict.CREATE, Action.UPDATED: RowVerdict.UPDATE, Action.RESTORED: RowVerdict.RESTORE}


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command on an import: its state, the rows that it is done with, and companies that they named.

    The workspace's last change was number `began` before it, and number `ended` after it.
    """

    state: ImportState
    done: int
    companies: dict[str, UUID] = {}
    began: int = 0
    ended: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The part that all rows of an import share. `region` is that of numbers, and `user_id` the author of notes."""

    object_type: FieldObjectType
    existing: Existing
    creates_companies: bool
    crm_source: str
    region: str | None
    user_id: UUID | None
    new_fields: tuple[FieldCreate, ...] = ()


def planned_fields(content: Content) -> tuple[FieldCreate, ...]:
    """Return the fields that the mapping of an import defines."""
    object_type = content.mapping.object_type
    return tuple(
        FieldCreate(object_type=object_type, key=each.key, label=each.label, kind=each.kind)
        for each in new_fields(content.mapping)
    )


class ImportSlice(LongCommand, frozen=True, kw_only=True):
    """Import some rows, and move the import behind them, both or neither.

    Nothing is done if the import is not at `first_row` any more: the rows are done, or somebody has stopped it. `began` is when
    this work began: another one may be at the same row, with another mapping. Nothing is done either while a person is erased,
    whom a row may make anew; the import goes with the erasure. A row that is refused leaves the others alone. A dry run takes
    everything back that the rows have changed. `faults_of` returns the errors of a row with their columns. `duplicates` are the
    rows that an earlier row of the file means as well. `companies` are some that the rows are known to name. If the objects
    that the rows mean are too large together, it raises TooLarge.
    """

    goes_ahead: ClassVar[bool] = True

    job_id: UUID
    is_check: bool
    began: float
    first_row: int
    rows: tuple[PreparedRow, ...]
    plan: Plan
    duplicates: Mapping[int, int]
    companies: frozenset[UUID]
    faults_of: Callable[[PreparedRow, Sequence[FieldError]], tuple[RowFault, ...]]

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)
        yield Need(UNDER_WAY, "erasures")
        for company_id in self.companies:
            yield Need(COMPANIES, company_id)
        if self.is_check:
            yield from _field_needs(self.plan.new_fields)
        for row in self.rows:
            if row.asked is not None:
                yield from _of_row(row, self.plan).needs()

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        job = work.get(JOBS, self.job_id)
        if job is None or self._place != (job.state, job.progress.began, job.progress.done) or is_under_way(work):
            return Result(work.seq, _moved(job))
        start = work.savepoint()
        if self.is_check:
            _define_fields(work, self.plan.new_fields)
        context = _Context(work)
        found: list[ImportedRow] = []
        for number, row in enumerate(self.rows, start=1):
            if number % _STEP == 0:
                yield
            try:
                found.append(self._imported(work, row, context))
            except NotLoaded:
                # All rows will be imported again. Go on, so that the rows that the others miss are loaded, too.
                continue
        if len(self.rows) > 1:
            require_loaded_at_once(work)
        companies = context.named
        if self.is_check:
            work.roll_back(start)
            # The ids of a dry run are none.
            companies = {}
        moved = self._move(work, job, found)
        return Result(work.seq, msgspec.structs.replace(moved, companies=companies, began=start.seq, ended=work.seq))

    @property
    def _place(self) -> tuple[ImportState, float, int]:
        return ImportState.CHECKING if self.is_check else ImportState.RUNNING, self.began, self.first_row

    def _imported(self, work: UnitOfWork, row: PreparedRow, context: "_Context") -> ImportedRow:
        if row.asked is None:
            return ImportedRow(row=row.number, verdict=RowVerdict.PROBLEM, faults=row.faults)
        if self.is_check and (earlier := self.duplicates.get(row.number)) is not None:
            return ImportedRow(row=row.number, verdict=RowVerdict.DUPLICATE, duplicate_of=earlier)
        entries = len(work.changes)
        try:
            answer: Any = work.attempt(_of_row(row, self.plan, context)).answer
        except FieldsRefusal as refusal:
            return ImportedRow(row=row.number, verdict=RowVerdict.PROBLEM, faults=self.faults_of(row, refusal.errors))
        except Refusal as refusal:
            fault = RowFault(code="refused", message=refusal.detail)
            return ImportedRow(row=row.number, verdict=RowVerdict.PROBLEM, faults=(fault,))
        if not isinstance(answer, _Skipped):
            context.note(work, row, answer)
        return self._verdict(work, row, answer, entries)

    def _verdict(self, work: UnitOfWork, row: PreparedRow, answer: Any, entries: int) -> ImportedRow:
        """Return what came of a row by the entries that it made in the ledger."""
        if isinstance(answer, _Skipped):
            faults = (RowFault(code="deleted", message=_STAYS_DELETED),) if answer.is_deleted else ()
            return ImportedRow(row=row.number, verdict=RowVerdict.SKIP, id=answer.id, faults=faults)
        verdict, changed = RowVerdict.UNCHANGED, list[str]()
        for change in work.changes[entries:]:
            if change.kind in (CONTACT.kind, COMPANY.kind) and change.object.id == answer.id:
                verdict = _VERDICTS[change.action]
                changed += change.previous or ()
            elif change.object.object.value == "note" and verdict is not RowVerdict.CREATE:
                verdict = RowVerdict.UPDATE if verdict is RowVerdict.UNCHANGED else verdict
                changed.append("note")
        # The ids of a dry run are none.
        shown_id = UNSET if self.is_check and verdict is RowVerdict.CREATE else answer.id
        return ImportedRow(
            row=row.number, verdict=verdict, id=shown_id, changed=tuple(dict.fromkeys(changed)), left_out=row.left_out
        )

    def _move(self, work: UnitOfWork, job: JobRow, found: Sequence[ImportedRow]) -> Moved:
        verdicts = [each.verdict for each in found]
        old = (job.progress.checked if self.is_check else job.progress.ran) or Counts()
        counts: dict[str, Any] = {"checked" if self.is_check else "ran": old.plus(verdicts)}
        progress = msgspec.structs.replace(job.progress, done=self.first_row + len(self.rows), **counts)
        work.put(JOBS, msgspec.structs.replace(job, progress=progress))
        noted = SliceRow(
            workspace_id=work.workspace_id,
            job_id=self.job_id,
            is_check=self.is_check,
            last_row=self.rows[-1].number,
            verdicts=tuple(dict.fromkeys(verdicts)),
            rows=tuple(found),
        )
        work.put(SLICES, noted)
        return Moved(state=job.state, done=progress.done)


def _moved(job: JobRow | None) -> Moved:
    return Moved(state=ImportState.CANCELLED, done=0) if job is None else Moved(state=job.state, done=job.progress.done)


class _Skipped(msgspec.Struct, frozen=True):
    """The answer for a row whose object is there, or is deleted, and shall stay as it is."""

    id: str
    is_deleted: bool


class _Context:
    """The names of what earlier rows of the slice have created, which no table has yet."""

    def __init__(self, work: UnitOfWork) -> None:
        self.companies: dict[str, UUID] = {row.search: row.id for row in work.changed_in(COMPANIES) if row.deleted_at is None}
        self.named: dict[str, UUID] = {}
        self._contacts: dict[str, list[UUID]] = {}
        # The objects that rows have created, and the texts of the notes that the batch has written on each object.
        self.created: set[UUID] = set()
        self.notes: dict[UUID, set[str]] = {}
        for note in work.changed_in(NOTES):
            if note.deleted_at is None:
                self.note_text(note.contact_id or note.company_id or ids.NIL, note.object.text)
        # Those whose names nobody has asked for.
        self._unnamed = [row.object for row in work.changed_in(CONTACTS) if row.deleted_at is None]

    def note(self, work: UnitOfWork, row: PreparedRow, answer: Any) -> None:
        """Note what a row has created."""
        if isinstance(answer, ContactRecord):
            self._unnamed.append(answer)
            if row.company_name and answer.company is not UNSET and row.company_name not in self.named:
                found = ids.decoded(ids.COMPANY, answer.company.id)
                assert found is not None, "the server has made it"
                self.named[row.company_name] = found
                if work.has_changed(COMPANIES, found):
                    self.companies.setdefault(company_key(row.company_name), found)
        elif (company_id := ids.decoded(ids.COMPANY, answer.id)) is not None:
            self.companies.setdefault(company_key(answer.name or ""), company_id)

    def note_text(self, object_id: UUID, text: str) -> None:
        """Note the text of a note on an object."""
        self.notes.setdefault(object_id, set()).add(_with_line_feeds(text))

    def contacts_named(self, key: str) -> Sequence[UUID]:
        """Return the contacts with a name, in the form in which names are compared."""
        for contact in self._unnamed:
            known = self._contacts.setdefault(name_key(contact.first_name or "", contact.last_name or ""), [])
            contact_id = ids.decoded(ids.CONTACT, contact.id)
            assert contact_id is not None, "the server has made it"
            if contact_id not in known:
                known.append(contact_id)
        self._unnamed.clear()
        return self._contacts.get(key, ())


def _of_row(row: PreparedRow, plan: Plan, context: "_Context | None" = None) -> "_ImportContact | _ImportCompany":
    if isinstance(row.asked, ContactUpsert):
        return _ImportContact(row, row.asked, plan, context)
    assert row.asked is not None, "the row is not refused"
    return _ImportCompany(row, row.asked, plan, context)


class _ImportContact(msgspec.Struct, frozen=True):
    """Create the contact of a row, or update the one that it means. Refusals: those of the upsert."""

    row: PreparedRow
    asked: ContactUpsert
    plan: Plan
    context: _Context | None

    def needs(self) -> Iterator[Need]:
        row = self.row
        if row.match in ("emails", "phone_numbers", "crm_association", "external_ids"):
            yield from UpsertContact(self.asked, self.plan.region).needs()
        elif row.match == "name":
            yield Need(NAMED_CONTACTS, (*_name_place(self.asked), None))
        if row.match in ("name", "never"):
            yield from CONTACT.key_needs(self.asked)
            yield from value_needs(CONTACT.name, self.asked.fields)
        if row.company_domain:
            yield from DOMAINS.needs([row.company_domain])
        if row.company_name:
            yield Need(NAMED_COMPANIES, company_key(row.company_name))
        yield from TAG_NAMES.needs([comparable_name(name) for name in row.tags])

    def apply(self, work: UnitOfWork) -> Result:
        row, asked = self.row, self.asked
        company_id = self._company(work)
        upsert = UpsertContact(asked, self.plan.region)
        before = self._named(work, company_id) if row.match == "name" else None if row.match == "never" else upsert.known(work)
        former = upsert.former(work) if before is None and row.match not in ("name", "never") else None
        if self.plan.existing == "skip" and (skipped := before or former) is not None:
            return Result(skipped.version, _Skipped(skipped.object.id, is_deleted=skipped is former))
        entry: ContactRecord | None = None if before is None else before.entry
        is_filled = entry is not None and self.plan.existing == "fill"
        if entry is not None and is_filled:
            asked = without_marks(entry, _unfilled(entry, asked), self.plan.region)
        # A contact that keeps its company needs none.
        if not (entry is not None and is_filled and entry.company is not UNSET):
            if company_id is None and (row.company_name or row.company_domain) and self.plan.creates_companies:
                company_id = self._created_company(work)
            if company_id is not None:
                asked = msgspec.structs.replace(asked, company_id=ids.encoded(ids.COMPANY, company_id))
        asked = _tagged(work, row, asked)
        upsert = UpsertContact(asked, self.plan.region, partial(self._kept.beside, work) if row.card else None)
        if self.asked.company_id is not UNSET or self.asked.tag_ids is not UNSET:
            # All others were found or created here.
            upsert.require_references(work)
        is_new = False
        if before is not None:
            result = upsert.update(work, before)
        elif former is not None:
            result = upsert.restore(work, former)
        else:
            result, is_new = upsert.create(work), True
        _write_notes(work, row, result, self.plan, self.context, is_new=is_new)
        return result

    @property
    def _kept(self) -> KeptCard:
        row = self.row
        overwrites = self.plan.existing == "overwrite"
        return KeptCard(row.card, row.says_more, row.company_name, row.tags, row.notes, overwrites=overwrites)

    def _company(self, work: UnitOfWork) -> UUID | None:
        """Return the company of the row, if it exists: by its domain, or else by its name."""
        row = self.row
        if row.company_domain and (holder := DOMAINS.holder(work, row.company_domain)) is not None:
            return holder
        return _company_named(work, row.company_name, self.context) if row.company_name else None

    def _created_company(self, work: UnitOfWork) -> UUID:
        row = self.row
        domains = (CompanyDomainRequest(row.company_domain),) if row.company_domain else ()
        name = row.company_name or row.company_domain
        answer: Any = Create(COMPANY, CompanyCreate(domains=domains, name=name)).apply(work).answer
        company_id = ids.decoded(ids.COMPANY, answer.id)
        assert company_id is not None, "the server has made it"
        return company_id

    def _named(self, work: UnitOfWork, company_id: UUID | None) -> ContactRow | None:
        """Return the oldest contact with the row's name and company. Without a company, the only one with the name will do."""
        place = _name_place(self.asked)
        stored = work.get(NAMED_CONTACTS, (*place, None))
        contact_ids = [] if stored is None else [*stored.contact_ids]
        # A company that a row of the batch has made has another id in each attempt, and no contacts.
        if len(contact_ids) == MAX_NAMESAKES and not (company_id is not None and work.has_changed(COMPANIES, company_id)):
            of_company = work.get(NAMED_CONTACTS, (*place, NO_COMPANY if company_id is None else str(company_id)))
            contact_ids += () if of_company is None else of_company.contact_ids
        key = name_key(self.asked.first_name or "", self.asked.last_name or "")
        recent = () if self.context is None else self.context.contacts_named(key)
        contact_ids = [*dict.fromkeys((*contact_ids, *recent))]
        rows = [row for each in work.get_all(CONTACTS, contact_ids) if (row := each) is not None and row.deleted_at is None]
        rows = [row for row in rows if name_key(row.object.first_name or "", row.object.last_name or "") == key]
        if not self.row.company_name and not self.row.company_domain and len(rows) == 1:
            return rows[0]
        return next((row for row in rows if row.company_id == company_id), None)


def _name_place(asked: ContactUpsert) -> tuple[str | None, str | None, str]:
    """Return the key under which contacts with a name are found."""
    names = name_key(asked.first_name or "", asked.last_name or "")
    first_name, last_name, *_ = names.removesuffix(END).split("\n", 2)
    return name_key_of(first_name), name_key_of(last_name), names


def _company_named(work: UnitOfWork, name: str, context: _Context | None) -> UUID | None:
    key = company_key(name)
    if context is not None and key in context.companies:
        return context.companies[key]
    stored = work.get(NAMED_COMPANIES, key)
    # An earlier command of the batch may have deleted it, or given it another name.
    row = None if stored is None else active(work, COMPANIES, stored.company_id)
    return None if row is None or row.search != key else row.id


def _unfilled(before: ContactRecord, asked: ContactUpsert) -> ContactUpsert:
    """Return a request without the members that the contact has already. Items of lists are added in any case."""
    kept = {
        name: UNSET
        for name in ("first_name", "last_name", "description", "company_id", "time_zone", "crm_association")
        if getattr(before, "company" if name == "company_id" else name) not in (UNSET, None)
    }
    if asked.fields is not UNSET:
        kept["fields"] = _unfilled_fields(before, asked.fields)
    return msgspec.structs.replace(asked, **kept) if kept else asked


def _unfilled_fields(before: ContactRecord | CompanyRecord, asked: Mapping[str, Any]) -> Any:
    values = {key: value for key, value in asked.items() if key not in (before.fields or {})}
    return values or UNSET


def _tagged(work: UnitOfWork, row: PreparedRow, asked: Any) -> Any:
    """Return a request with the ids of the row's tags. Tags that do not exist are created."""
    if not row.tags:
        return asked
    tag_ids: list[str] = [*(asked.tag_ids or ())]
    holders = TAG_NAMES.holders(work, [comparable_name(name) for name in row.tags])
    for name in row.tags:
        holder = holders[comparable_name(name)]
        if holder is None:
            answer: Any = Create(TAG, TagCreate(name=name)).apply(work).answer
            tag_ids.append(answer.id)
        else:
            tag_ids.append(ids.encoded(ids.TAG, holder))
    return msgspec.structs.replace(asked, tag_ids=tuple(dict.fromkeys(tag_ids)))


def _write_notes(  # the row, its object, and the author
    work: UnitOfWork, row: PreparedRow, result: Result, plan: Plan, context: _Context | None, *, is_new: bool
) -> None:
    """Write the notes of a row on its object, except those whose text it has."""
    assert context is not None, "the row is one of a slice"
    object_type = CONTACT if plan.object_type is FieldObjectType.CONTACT else COMPANY
    answer: Any = result.answer
    object_id = ids.decoded(object_type.prefix, answer.id)
    assert object_id is not None, "the server has made it"
    if is_new:
        context.created.add(object_id)
    if not row.notes:
        return
    texts = {*context.notes.get(object_id, ())}
    # A new object has no others. It has another id in each attempt, so that a look-up would never end.
    if object_id not in context.created:
        texts.update(_stored_texts(work, plan.object_type, object_id, row.notes))
    # Notes are read in the order of their ids, which are of one moment here.
    note_ids = sorted(ids.new_id() for _ in row.notes)
    for note_id, text in zip(note_ids, row.notes, strict=True):
        if _with_line_feeds(text) not in texts:
            note = NoteCreate(text=text)
            command = CreateNote(
                object_type=object_type, object_id=object_id, fields=note, user_id=plan.user_id, note_id=note_id
            )
            command.apply(work)
            context.note_text(object_id, text)


def _stored_texts(work: UnitOfWork, object_type: FieldObjectType, object_id: UUID, texts: Sequence[str]) -> Iterator[str]:
    """Yield those of some texts that notes on an object have, which the batch has not changed, whatever ends their lines."""
    spelled = [
        (text, spelling)
        for text in map(_with_line_feeds, texts)
        for spelling in dict.fromkeys((text, text.replace("\n", "\r\n")))
    ]
    digests = [hashlib.md5(spelling.encode(), usedforsecurity=False).hexdigest() for _, spelling in spelled]
    found = work.get_all(NOTES_WITH_TEXT[object_type], [(object_id, digest) for digest in digests])
    for (text, _), notes in zip(spelled, found, strict=True):
        if notes is not None and not all(work.has_changed(NOTES, note_id) for note_id in notes.note_ids):
            yield text


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n")


class _ImportCompany(msgspec.Struct, frozen=True):
    """Create the company of a row, or update the one that it means. Refusals: Invalid, Taken."""

    row: PreparedRow
    asked: CompanyUpsert
    plan: Plan
    context: _Context | None

    def needs(self) -> Iterator[Need]:
        if self.row.match in ("domains", "crm_association"):
            yield from UpsertCompany(self.asked).needs()
        else:
            yield from COMPANY.key_needs(self.asked)
            yield from value_needs(COMPANY.name, self.asked.fields)
        if self.row.match == "name":
            yield Need(NAMED_COMPANIES, company_key(self.asked.name or ""))
        yield from TAG_NAMES.needs([comparable_name(name) for name in self.row.tags])

    def apply(self, work: UnitOfWork) -> Result:
        before = self._known(work)
        former = UpsertCompany(self.asked).former(work) if before is None and self.row.match == "domains" else None
        if self.plan.existing == "skip" and (skipped := before or former) is not None:
            return Result(skipped.version, _Skipped(skipped.object.id, is_deleted=skipped is former))
        asked = _tagged(work, self.row, self.asked)
        is_new = False
        if before is not None:
            if self.plan.existing == "fill":
                asked = self._unfilled(before.entry, asked)
            result = UpsertCompany(asked).update(work, before)
        elif former is not None:
            result = UpsertCompany(asked).restore(work, former)
        else:
            result, is_new = UpsertCompany(asked).create(work), True
        _write_notes(work, self.row, result, self.plan, self.context, is_new=is_new)
        return result

    def _known(self, work: UnitOfWork) -> CompanyRow | None:
        match self.row.match:
            case "domains":
                keys = [held.key for held in COMPANY.held(COMPANY.new(ids.NIL, "", self.asked)) if held.unique_key is DOMAINS]
                holders = (each for each in DOMAINS.holders(work, keys).values() if each is not None)
                return active(work, COMPANIES, next(holders, None))
            case "name":
                return active(work, COMPANIES, _company_named(work, self.asked.name or "", self.context))
            case "crm_association":
                return UpsertCompany(self.asked).known(work)
            case _:
                return None

    @staticmethod
    def _unfilled(before: CompanyRecord, asked: CompanyUpsert) -> CompanyUpsert:
        names = ("name", "description", "crm_association")
        kept: dict[str, Any] = {name: UNSET for name in names if getattr(before, name) not in (UNSET, None)}
        if asked.fields is not UNSET:
            kept["fields"] = _unfilled_fields(before, asked.fields)
        if before.domains and asked.domains:
            kept["domains"] = tuple(CompanyDomainRequest(each.domain) for each in asked.domains)
        return msgspec.structs.replace(asked, **kept) if kept else asked


class UpdateImport(msgspec.Struct, frozen=True, kw_only=True):
    """Change the mapping of an import that nobody works on. Refusals: Invalid, NotFound."""

    job_id: UUID
    content: Content

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)
        yield Need(CONTENTS, self.job_id)

    def apply(self, work: UnitOfWork) -> Result:
        job = _current(work, self.job_id, (ImportState.UPLOADED, ImportState.CHECKED))
        work.put(CONTENTS, ContentRow(workspace_id=work.workspace_id, id=job.id, content=self.content))
        # The findings of a dry run are out of date.
        _forget_check(work, job)
        work.put(JOBS, msgspec.structs.replace(job, state=ImportState.UPLOADED, progress=Progress()))
        return Result(work.seq, Moved(state=ImportState.UPLOADED, done=0))


class StartImport(msgspec.Struct, frozen=True, kw_only=True):
    """Begin the dry run of an import, or its run, or go on after a pause. Refusals: Invalid, NotFound, Taken.

    A run begins by defining its fields. `at` is the time in seconds since 1970.
    """

    job_id: UUID
    is_check: bool
    at: float
    new_fields: tuple[FieldCreate, ...] = ()

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)
        yield from _field_needs(self.new_fields)

    def apply(self, work: UnitOfWork) -> Result:
        states = (ImportState.UPLOADED, ImportState.CHECKED, *(() if self.is_check else (ImportState.PAUSED,)))
        job = _current(work, self.job_id, states)
        if self.is_check:
            _forget_check(work, job)
            progress = Progress(began=self.at)
        else:
            _define_fields(work, self.new_fields)
            done = job.progress.done if job.state is ImportState.PAUSED else 0
            progress = msgspec.structs.replace(job.progress, done=done, from_row=done, began=self.at)
        state = ImportState.CHECKING if self.is_check else ImportState.RUNNING
        work.put(JOBS, msgspec.structs.replace(job, state=state, progress=progress))
        return Result(work.seq, Moved(state=state, done=progress.done))


class StopImport(msgspec.Struct, frozen=True, kw_only=True):
    """Pause the run of an import, or end its work before the last row. Rows that are done stay. Refusals: Invalid, NotFound."""

    job_id: UUID
    is_pause: bool

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)

    def apply(self, work: UnitOfWork) -> Result:
        states = (ImportState.RUNNING,) if self.is_pause else (ImportState.CHECKING, ImportState.RUNNING, ImportState.PAUSED)
        job = _current(work, self.job_id, states)
        state = ImportState.PAUSED if self.is_pause else ImportState.CANCELLED
        if job.state is ImportState.CHECKING:
            _forget_check(work, job)
            state, job = ImportState.UPLOADED, msgspec.structs.replace(job, progress=Progress())
        work.put(JOBS, msgspec.structs.replace(job, state=state))
        return Result(work.seq, Moved(state=state, done=job.progress.done))


class EndImport(msgspec.Struct, frozen=True, kw_only=True):
    """End the work on an import that began at some time: after its last row, or because it cannot go on, for `error`.

    Nothing is done if that work was stopped, although another one may be under way by now.
    """

    job_id: UUID
    began: float
    error: str | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)

    def apply(self, work: UnitOfWork) -> Result:
        job = work.get(JOBS, self.job_id)
        is_at_work = job is not None and job.state in (ImportState.CHECKING, ImportState.RUNNING)
        if job is not None and is_at_work and job.progress.began == self.began:
            ended = ImportState.CHECKED if job.state is ImportState.CHECKING else ImportState.FINISHED
            state = ImportState.FAILED if self.error else ended
            progress = msgspec.structs.replace(job.progress, error=self.error)
            job = msgspec.structs.replace(job, state=state, progress=progress)
            work.put(JOBS, job)
        return Result(work.seq, _moved(job))


class BeginUndo(msgspec.Struct, frozen=True, kw_only=True):
    """Begin to undo an import that has ended, or go on with an undo that has failed. Refusals: Invalid, NotFound."""

    job_id: UUID
    undo: Undoing

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)

    def apply(self, work: UnitOfWork) -> Result:
        job = _current(work, self.job_id, (ImportState.FINISHED, ImportState.CANCELLED, ImportState.FAILED))
        undo = msgspec.structs.replace(self.undo, former=job.state)
        if (broken := job.progress.undo) is not None:
            # Objects that it has undone would be taken for changed since.
            undo = msgspec.structs.replace(broken, ended=None, error=None)
        progress = msgspec.structs.replace(job.progress, undo=undo)
        work.put(JOBS, msgspec.structs.replace(job, state=ImportState.UNDOING, progress=progress))
        return Result(work.seq, Moved(state=ImportState.UNDOING, done=undo.done))


class UndoSlice(msgspec.Struct, frozen=True, kw_only=True):
    """Undo an import's changes of some objects, and move its undo behind them, both or neither.

    Nothing is done if the undo is not at `step` and `after` any more. `command` undoes the changes, and `kept` are objects that
    stay without it. The undo then is at `next_step` and `through`, and done with `done` entries.
    """

    job_id: UUID
    step: int
    after: int
    command: UndoReversals
    kept: tuple[Kept, ...]
    next_step: int
    through: int
    done: int

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)
        yield from self.command.needs()

    def apply(self, work: UnitOfWork) -> Result:
        job = work.get(JOBS, self.job_id)
        undo = None if job is None or job.state is not ImportState.UNDOING else job.progress.undo
        if job is None or undo is None or (undo.step, undo.after) != (self.step, self.after):
            return Result(work.seq, _moved(job))
        result: Any = self.command.apply(work).answer if self.command.reversals else None
        kept: tuple[Kept, ...] = (*self.kept, *(result.kept if result else ()))
        undo = msgspec.structs.replace(
            undo,
            step=self.next_step,
            after=self.through,
            done=self.done,
            reverted=undo.reverted + len(result.reverted if result else ()),
            kept=undo.kept + len(kept),
        )
        work.put(JOBS, msgspec.structs.replace(job, progress=msgspec.structs.replace(job.progress, undo=undo)))
        if kept:
            work.put(KEPT, KeptRow(workspace_id=work.workspace_id, job_id=job.id, many=undo.kept, kept=kept))
        return Result(work.seq, Moved(state=job.state, done=undo.done))


class EndUndo(msgspec.Struct, frozen=True, kw_only=True):
    """End the undo of an import: after its last object, or because it cannot go on, for `error`. `at` is the time."""

    job_id: UUID
    at: float
    error: str | None = None

    def needs(self) -> Iterator[Need]:
        yield Need(JOBS, self.job_id)

    def apply(self, work: UnitOfWork) -> Result:
        job = work.get(JOBS, self.job_id)
        if job is not None and job.state is ImportState.UNDOING and (undo := job.progress.undo) is not None:
            state = undo.former if self.error else ImportState.UNDONE
            undo = msgspec.structs.replace(undo, ended=self.at, error=self.error)
            job = msgspec.structs.replace(job, state=state, progress=msgspec.structs.replace(job.progress, undo=undo))
            work.put(JOBS, job)
        return Result(work.seq, _moved(job))


def _current(work: UnitOfWork, job_id: UUID, states: Iterable[ImportState]) -> JobRow:
    """Return an import in one of these states. Refusals: Invalid, NotFound."""
    job = work.get(JOBS, job_id)
    if job is None:
        raise NotFound("import", GONE, job_id)
    if job.state not in states:
        listed = " or ".join(f"`{each.value}`" for each in states)
        raise Invalid(
            [FieldError("state", "not_allowed", f"The import is `{job.state.value}`. This needs one that is {listed}.")]
        )
    return job


def _forget_check(work: UnitOfWork, job: JobRow) -> None:
    work.put(FORGOTTEN_SLICES, ForgottenSlices(work.workspace_id, job.id))


def _field_needs(asked: Sequence[FieldCreate]) -> Iterator[Need]:
    for each in asked:
        yield from CreateField(each).needs()


def _define_fields(work: UnitOfWork, asked: Sequence[FieldCreate]) -> None:
    """Define the fields that do not exist. Refusals: Invalid, Taken."""
    for each in asked:
        if each.key not in definitions(work, each.object_type.value):
            CreateField(each).apply(work)
