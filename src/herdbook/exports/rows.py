"""Contacts and companies as rows of a table. A row has all that the object has, under names that an import knows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from herdbook.companies.model import CompanyRecord
from herdbook.contacts.model import LabelledContactRecord
from herdbook.custom_fields.model import Field, FieldKind
from herdbook.custom_fields.values import PARTS
from herdbook.formats.guards import kept
from herdbook.formats.lists import joined, labelled, quoted
from herdbook.shared_schemas import CrmAssociation

# Stands between several values in a cell.
BETWEEN: Final = "; "


class Whole(NamedTuple):
    """An object with the names of what it refers to, and with its notes."""

    record: Any
    company_name: str
    tags: tuple[str, ...]
    notes: tuple[str, ...]


class Widths(NamedTuple):
    """How many columns there are for lists: addresses or domains, numbers, ids of the callers' own, and notes."""

    first: int
    second: int
    ids: int
    notes: int


class Columns:
    """The columns of a table of contacts or companies."""

    def __init__(self, definitions: Iterable[Field], widths: Widths, *, has_people: bool) -> None:
        self._definitions = sorted((each for each in definitions if not each.archived), key=lambda each: (each.order, each.key))
        self._widths = widths
        self._has_people = has_people

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        widths = self._widths
        if self._has_people:
            names = ["id", "first_name", "last_name"]
            for number in range(1, widths.first + 1):
                names += [f"email_{number}_label", f"email_{number}"]
            for number in range(1, widths.second + 1):
                names += [f"phone_number_{number}_label", f"phone_number_{number}"]
            names += ["company_name", "company_id", "description", "time_zone"]
            names += [f"external_id_{number}" for number in range(1, widths.ids + 1)]
        else:
            names = ["id", "name", *(f"domain_{number}" for number in range(1, widths.first + 1)), "description"]
        names += ["crm_object_id", "crm_source", "crm_object_type", "tags"]
        for field in self._definitions:
            parts = PARTS.get(field.kind)
            names += [f"fields.{field.key}.{part}" for part in parts] if parts else [f"fields.{field.key}"]
        names += [f"note_{number}" for number in range(1, widths.notes + 1)]
        return [*names, "created_at", "updated_at"]

    def row(self, whole: Whole) -> list[str]:
        """Return the cells of an object."""
        record = whole.record
        cells = self._of_person(record, whole) if self._has_people else self._of_company(record)
        crm: CrmAssociation | None = record.crm_association or None
        cells += [crm.crm_object_id, crm.source, crm.object_type] if crm else ["", "", ""]
        cells.append(joined(whole.tags))
        values: Mapping[str, Any] = record.fields or {}
        for field in self._definitions:
            cells += _cells_of(field, values.get(field.key))
        cells += _filled(whole.notes, self._widths.notes)
        return [*map(kept, cells), record.created_at, record.updated_at]

    def _of_person(self, record: LabelledContactRecord, whole: Whole) -> list[str]:
        emails = [(labelled(item.label or "", is_primary=item.is_primary), quoted(item.email)) for item in record.emails]
        numbers = [
            (labelled(item.label or "", is_primary=item.is_primary), quoted(item.phone_number)) for item in record.phone_numbers
        ]
        return [
            *(record.id, record.first_name or "", record.last_name or ""),
            *_filled((cell for pair in emails for cell in pair), 2 * self._widths.first),
            *_filled((cell for pair in numbers for cell in pair), 2 * self._widths.second),
            whole.company_name,
            "" if record.company is UNSET else record.company.id,
            *(record.description or "", record.time_zone or ""),
            *_filled(record.external_ids or (), self._widths.ids),
        ]

    def _of_company(self, record: CompanyRecord) -> list[str]:
        # The primary one comes first.
        domains = sorted(record.domains, key=lambda item: not item.is_primary)
        return [
            *(record.id, record.name or ""),
            *_filled((item.domain for item in domains), self._widths.first),
            record.description or "",
        ]


def _filled(cells: Iterable[str], width: int) -> Iterator[str]:
    """Return as many cells as there are columns. An object that has grown meanwhile has the first ones."""
    several = [*cells][:width]
    yield from several
    yield from [""] * (width - len(several))


def _cells_of(field: Field, value: Any) -> list[str]:
    parts = PARTS.get(field.kind)
    if parts:
        return [value.get(part, "") if value else "" for part in parts]
    if value is None:
        return [""]
    if field.kind in (FieldKind.ONE_OF, FieldKind.SEVERAL_OF):
        labels = {option.id: option.label for option in field.options}
        return [BETWEEN.join(labels.get(each, each) for each in ([value] if isinstance(value, str) else value))]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)]
