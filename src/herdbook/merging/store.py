"""The types of merges, one for each kind of object that can be merged, and every SQL statement about merging."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.companies.commands import RELEASE_CONTACTS
from herdbook.companies.store import COMPANIES, COMPANY
from herdbook.contacts.store import COMPANY_CONTACTS, CONTACT, CONTACTS, ContactRow
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENT_COMPANIES, ENGAGEMENT_CONTACTS, EngagementRow
from herdbook.ledger.index_entries import IndexTable
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unfinished import Task
from herdbook.ledger.unit_of_work import Table
from herdbook.merging.model import CompanyMerge, ContactMerge, merged_company, merged_contact
from herdbook.notes.store import COMPANY_NOTES, CONTACT_NOTES, NOTE, NoteRow
from herdbook.shared_schemas import ResourceRef

# Limits how many objects that refer to merged ones a batch moves.
MAX_MOVED: Final = 500
# Maps each object that is replaced to the one that replaces it.
Replacements: TypeAlias = Mapping[UUID, UUID]


class Counted(msgspec.Struct, frozen=True):
    """The number of objects that refer to any of some others."""

    workspace_id: UUID
    referred_ids: tuple[UUID, ...]
    many: int


def _counting(table: LiteralString, key: LiteralString, object_id: LiteralString) -> Table[Counted]:
    load: LiteralString = """
        select asked.workspace_id, asked.key as referred_ids, (
            select count(distinct l.$object) from $table l
            where l.workspace_id = asked.workspace_id and l.$key = any(asked.key)
        ) as many
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid[])
    """
    return Table(
        row=Counted,
        key=lambda counted: counted.referred_ids,
        load=load.replace("$table", table).replace("$key", key).replace("$object", object_id),
        save=None,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Referrers:
    """Objects of a type that refer to the merged ones, and move to the one that remains.

    `index` finds them by the object that they refer to, and `count` counts them. `replaced` returns the entry of such an object
    with other references. `moved` is the member of the answer that has their number.
    """

    object_type: ObjectType[Any, Any]
    index: IndexTable
    count: Table[Counted]
    replaced: Callable[[Any, Replacements], Any]
    moved: str


@dataclass(frozen=True, eq=False, kw_only=True)
class MergeType:
    """How objects of a type are merged.

    `combined` returns the target after the merge, from the target, the sources before it and the region of the workspace.
    `lists` names its lists, of which all items are kept, and what they hold. `referrers` move in this order. `task` moves the
    rest of them later. `tasks_of_target` are due if the target has been merged or deleted since. `answer` is the result as
    clients see it.
    """

    object_type: ObjectType[Any, Any]
    combined: Callable[[Any, Sequence[Any], str | None], Any]
    lists: Mapping[str, str]
    referrers: tuple[Referrers, ...]
    task: Task
    tasks_of_target: tuple[Task, ...]
    answer: type[ContactMerge | CompanyMerge]


def _with_other_contacts(row: EngagementRow, replacements: Replacements) -> Any:
    return _with_details(row, contact_ids=_replaced(ids.CONTACT, row.contact_ids, replacements))


def _with_other_companies(row: EngagementRow, replacements: Replacements) -> Any:
    return _with_details(row, company_ids=_replaced(ids.COMPANY, row.company_ids, replacements))


def _with_details(row: EngagementRow, **members: Any) -> Any:
    entry = row.entry
    return msgspec.structs.replace(entry, details=msgspec.structs.replace(entry.details, **members))


def _replaced(prefix: str, object_ids: Sequence[UUID], replacements: Replacements) -> tuple[str, ...]:
    """Return the ids with replacements, each once."""
    return tuple(ids.encoded(prefix, each) for each in dict.fromkeys(replacements.get(each, each) for each in object_ids))


def _with_other_company(row: ContactRow, replacements: Replacements) -> Any:
    assert row.company_id is not None, "the index of companies found it"
    company_id = ids.encoded(ids.COMPANY, replacements[row.company_id])
    return msgspec.structs.replace(row.entry, company=ResourceRef(company_id, COMPANY.name))


def _with_other_place(row: NoteRow, replacements: Replacements) -> Any:
    if row.contact_id is not None:
        return msgspec.structs.replace(row.object, contact_id=ids.encoded(ids.CONTACT, replacements[row.contact_id]))
    assert row.company_id is not None, "a note is on a contact or a company"
    return msgspec.structs.replace(row.object, company_id=ids.encoded(ids.COMPANY, replacements[row.company_id]))


_MOVE_OF_CONTACT: Final = Task("move", CONTACTS.name)
_MOVE_OF_COMPANY: Final = Task("move_company", COMPANIES.name)
CONTACT_MERGE: Final = MergeType(
    object_type=CONTACT,
    combined=merged_contact,
    lists={"emails": "e-mail addresses", "phone_numbers": "phone numbers", "external_ids": "external ids", "tag_ids": "tags"},
    referrers=(
        Referrers(
            object_type=ENGAGEMENT,
            index=ENGAGEMENT_CONTACTS,
            count=_counting("engagement_contact", "contact_id", "engagement_id"),
            replaced=_with_other_contacts,
            moved="engagements_moved",
        ),
        Referrers(
            object_type=NOTE,
            index=CONTACT_NOTES,
            count=_counting("contact_note", "contact_id", "note_id"),
            replaced=_with_other_place,
            moved="notes_moved",
        ),
    ),
    task=_MOVE_OF_CONTACT,
    tasks_of_target=(_MOVE_OF_CONTACT,),
    answer=ContactMerge,
)
# A new engagement gets the companies of its contacts. It gets no merged one once the contacts have moved, so they come first.
COMPANY_MERGE: Final = MergeType(
    object_type=COMPANY,
    combined=merged_company,
    lists={"domains": "domains", "tag_ids": "tags"},
    referrers=(
        Referrers(
            object_type=CONTACT,
            index=COMPANY_CONTACTS,
            count=_counting("company_contact", "company_id", "contact_id"),
            replaced=_with_other_company,
            moved="contacts_moved",
        ),
        Referrers(
            object_type=ENGAGEMENT,
            index=ENGAGEMENT_COMPANIES,
            count=_counting("engagement_company", "company_id", "engagement_id"),
            replaced=_with_other_companies,
            moved="engagements_moved",
        ),
        Referrers(
            object_type=NOTE,
            index=COMPANY_NOTES,
            count=_counting("company_note", "company_id", "note_id"),
            replaced=_with_other_place,
            moved="notes_moved",
        ),
    ),
    task=_MOVE_OF_COMPANY,
    tasks_of_target=(_MOVE_OF_COMPANY, RELEASE_CONTACTS),
    answer=CompanyMerge,
)
MERGE_TYPES: Final = (CONTACT_MERGE, COMPANY_MERGE)
