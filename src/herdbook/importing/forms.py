"""The form of a mapping: what its columns may fill, how sure a guess is, and what somebody has sent."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from starlette.datastructures import ImmutableMultiDict

from herdbook.custom_fields.model import Field, FieldObjectType
from herdbook.custom_fields.values import PARTS
from herdbook.formats.lists import SEPARATORS, values_in
from herdbook.formats.model import Column
from herdbook.importing.guessing import guess, may_have_days
from herdbook.importing.model import IGNORE, FixedValue, ImportFile, MappedColumn, NewField, targets_of
from herdbook.importing.model import Mapping as ImportMapping

# Columns on one page. Each has a list of all targets.
COLUMNS_SHOWN: Final = 50
# The target that stands for a field to be defined.
NEW: Final = "new"
_SAMPLES: Final = 3
LABELS: Final = {
    "first_name": "First name",
    "middle_name": "Middle name, which goes with the first",
    "last_name": "Last name",
    "full_name": "Full name, which is split",
    "email": "E-mail",
    "phone": "Phone",
    "company_name": "Company, by name",
    "company_domain": "Company, by domain",
    "company_id": "Company, by id",
    "description": "Description",
    "note": "Note",
    "tags": "Tags",
    "time_zone": "Time zone",
    "crm_id": "CRM id",
    "external_id": "External id",
    "card": "vCard, kept beside the contact",
    "name": "Name",
    "domain": "Domain",
}
MATCHES: Final[Mapping[FieldObjectType, Mapping[str, str]]] = {
    FieldObjectType.CONTACT: {
        "email": "E-mail address",
        "phone": "Phone number",
        "crm_id": "CRM id",
        "external_id": "External id",
        "name_and_company": "Name and company",
        "never": "Never: each row becomes a new contact",
    },
    FieldObjectType.COMPANY: {
        "domain": "Domain",
        "name": "Name",
        "crm_id": "CRM id",
        "never": "Never: each row becomes a new company",
    },
}
EXISTING: Final = {
    "fill": "Fill in what is empty there",
    "overwrite": "Overwrite it with the file",
    "skip": "Leave it as it is",
}
DAYS: Final = {"": "days as 2026-12-31", "day_first": "days as 31/12/2026", "month_first": "days as 12/31/2026"}
# The targets whose values may have a label.
_LABELLED: Final = ("email", "phone")


class Target(NamedTuple):
    """A choice of a column: what it fills, as the mapping names it and as people read it."""

    to: str
    label: str


class ShownColumn(NamedTuple):
    """A column in the form. `new` is the field that could be defined for it; `may_be_label`: the next one can have a label.

    `has_days` if it fills a field of days.
    """

    place: int
    column: Column
    mapped: MappedColumn
    new: NewField | None
    may_be_label: bool
    has_days: bool

    @property
    def to(self) -> str:
        """The choice that the column has."""
        return self.mapped.to if self.mapped.field is UNSET or self.mapped.to == IGNORE else NEW

    @property
    def samples(self) -> Sequence[str]:
        """The first few values."""
        return self.column.samples[:_SAMPLES]

    @property
    def sure(self) -> str:
        """How sure the guess is, in words. Nothing is quite sure."""
        if self.mapped.sure is UNSET:
            return "chosen"
        if self.mapped.sure < 0.3:
            return "not known"
        return f"{min(99, int(self.mapped.sure * 100))}\N{NO-BREAK SPACE}% sure"

    @property
    def is_sure(self) -> bool:
        """Whether the guess needs no look."""
        return self.mapped.sure is not UNSET and self.mapped.sure >= 0.85

    @property
    def is_doubtful(self) -> bool:
        """Whether somebody should look at the guess."""
        return self.mapped.sure is not UNSET and 0.3 <= self.mapped.sure < 0.6

    @property
    def has_label(self) -> bool:
        """Whether the values of the column may have a label."""
        return self.mapped.to in _LABELLED


def members_to_fill(object_type: FieldObjectType) -> list[Target]:
    """Return the members that a column may fill, beside fields of one's own."""
    return [Target(each, LABELS[each]) for each in targets_of(object_type)]


def fields_to_fill(object_type: FieldObjectType, defined: Iterable[Field]) -> list[Target]:
    """Return the fields of one's own that a column may fill, a value with parts part by part."""
    found: list[Target] = []
    for each in defined:
        if each.object_type is object_type and not each.archived:
            parts = PARTS.get(each.kind, ())
            found += [Target(f"field:{each.key}.{part}", f"{each.label}: {part.replace('_', ' ')}") for part in parts]
            found += [] if parts else [Target(f"field:{each.key}", each.label)]
    return found


def shown_columns(file: ImportFile, mapping: ImportMapping, defined: Iterable[Field], start: int) -> list[ShownColumn]:
    """Return the columns of one page of the form."""
    known = [each for each in defined if each.object_type is mapping.object_type and not each.archived]
    suggested = guess(file.columns, known, mapping.object_type).mapping.columns
    following = [*(each.to in _LABELLED for each in mapping.columns), False][1:]
    every = zip(file.columns, mapping.columns, suggested, following, strict=True)
    return [
        ShownColumn(
            index,
            column,
            mapped,
            mapped.field or new.field or None,
            may_be_label,
            has_days=mapped.to != IGNORE and may_have_days(mapped.to, mapped.field, known),
        )
        for index, (column, mapped, new, may_be_label) in itertools.islice(enumerate(every), start, start + COLUMNS_SHOWN)
    ]


def sent_mapping(form: ImmutableMultiDict[str, str], mapping: ImportMapping, columns: Iterable[ShownColumn]) -> ImportMapping:
    """Return the mapping that a form has sent. Columns of its other pages stay."""
    mapped = [*mapping.columns]
    for each in columns:
        mapped[each.place] = _sent_column(form, each)
    fixed = zip(form.getlist("fixed_to"), form.getlist("fixed_value"), strict=False)
    changes: dict[str, Any] = {
        "columns": tuple(mapped),
        "match_by": form.get("match_by", mapping.match_by),
        "existing": form.get("existing", mapping.existing),
        "region": form.get("region", "").strip().upper() or None,
        "crm_source": form.get("crm_source", "").strip() or mapping.crm_source,
        "create_companies": "create_companies" in form or mapping.object_type is FieldObjectType.COMPANY,
        "tags": tuple(dict.fromkeys(filter(None, values_in(form.get("tags", ""), SEPARATORS)))),
        "fixed": tuple(FixedValue(to=to, value=value) for to, value in fixed if to and value),
    }
    return msgspec.structs.replace(mapping, **changes)


def _sent_column(form: ImmutableMultiDict[str, str], shown: ShownColumn) -> MappedColumn:
    to, old = form.get(f"to_{shown.place}", shown.to), shown.mapped
    label = form.get(f"label_{shown.place}", "").strip() or UNSET
    if to == shown.to:
        old = msgspec.structs.replace(old, label=label) if shown.has_label else old
        days: Any = form.get(f"days_{shown.place}", "") or UNSET
        return msgspec.structs.replace(old, days=days) if shown.has_days else old
    if to == NEW and shown.new is not None:
        return MappedColumn(to=f"field:{shown.new.key}", field=shown.new, days=shown.column.days)
    if to == IGNORE:
        return MappedColumn(to=IGNORE, field=shown.new or UNSET)
    return MappedColumn(to=to, days=shown.column.days if to.startswith("field:") else UNSET)
