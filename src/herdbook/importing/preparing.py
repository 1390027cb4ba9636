"""The rows of a file as requests: what a contact or a company gets of each, checked by the rules of the operations."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields
from herdbook.addresses import comparable_address
from herdbook.cards.model import properties_in
from herdbook.companies.model import CompanyUpsert, NotADomain, normal_domain
from herdbook.contacts.model import ContactUpsert
from herdbook.counts import number_of
from herdbook.custom_fields.model import Field, FieldKind, FieldObjectType
from herdbook.custom_fields.values import Conversion, normal_value
from herdbook.errors import FieldError, Invalid, bounded
from herdbook.formats.card_content import says_more
from herdbook.formats.card_table import AROUND, LEFT_OUT
from herdbook.formats.cards import Property, fitting
from herdbook.formats.days import Ambiguous, DayForm, day_of, is_no_day
from herdbook.formats.guards import text_of
from herdbook.formats.lists import SEPARATORS, label_in, values_in
from herdbook.formats.model import Record
from herdbook.http.body import BodyReader
from herdbook.importing.model import IGNORE, LABEL, RowFault
from herdbook.importing.model import Mapping as ImportMapping
from herdbook.names import person_name
from herdbook.notes.model import NoteCreate
from herdbook.phone_numbers import international_number, number_keys, read_number
from herdbook.search_text import END, searchable_name

# Google joins several values by it, others by a semicolon or a line break.
_BETWEEN: Final = re.compile(r":::|[;\n]")
_INDEX: Final = re.compile(r"(\w+)\[(\d+)\]")
# Members that herdbook's own answers have beside those that a request may.
_READ_ONLY: Final = frozenset(
    {"object", "id", "created_at", "updated_at", "unique_values", "company", "labels", "card_ids", "problem", "tags", "notes"}
    | {"industry", "website", "number_of_employees", "logo_url", "match_by"}
)
_MATCHES: Final = {
    "email": "emails",
    "phone": "phone_numbers",
    "crm_id": "crm_association",
    "external_id": "external_ids",
    "name_and_company": "name",
}
# The faults of a row in which values are missing or in wrong columns, so that more faults would say nothing.
_MISLEADING: Final = ("empty", "too_many_values")
# The parts of names and numbers have less room together. The time to read a long text grows faster than its length.
_MAX_NAME: Final = 1000
_MAX_TEXT: Final = 255
_has_digit: Final = re.compile(r"\d").search
_CONTACT_READER: Final = BodyReader(ContactUpsert)
_COMPANY_READER: Final = BodyReader(CompanyUpsert)


def _each(rule: fields.Rule) -> fields.Rule:
    def of_items(items: Sequence[str | None], path: str) -> Iterator[FieldError]:
        for index, item in enumerate(items):
            yield from rule(item, f"{path}[{index}]")

    return of_items


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """A reference as herdbook's answers have it."""

    id: str


class _Beside(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a row that are no part of the request for its object, by the rules of the operations that create these."""

    rules: ClassVar[dict[str, fields.Rule]] = {
        "company_name": fields.text,
        "tags": _each(fields.text),
        "notes": _each(NoteCreate.rules["text"]),
    }

    company: _Named | UnsetType = UNSET
    company_name: fields.Name | UnsetType = UNSET
    company_domain: str | UnsetType = UNSET
    middle_name: str | UnsetType = UNSET
    tags: Annotated[tuple[fields.Name, ...], Meta(max_length=fields.MAX_ITEMS)] = ()
    notes: tuple[str, ...] = ()


_BESIDE_READER: Final = BodyReader(_Beside)


class PreparedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as a request for a contact or a company; None if it is refused already, for `faults`.

    `match` is how it finds what is there. `keys` are the values that mean an object, which tell duplicates within the file.
    `origins` are the columns of the items of lists. `card` are the properties of the vCard that the row came from,
    `says_more` if they are more than a contact has, and `left_out` names those that are too large to be kept.
    """

    rules: ClassVar[dict[str, Any]] = {}

    number: int
    asked: ContactUpsert | CompanyUpsert | None
    match: str = "never"
    company_name: str = ""
    company_domain: str = ""
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    card: tuple[Property, ...] = ()
    says_more: bool = False
    left_out: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    origins: Mapping[str, Sequence[int]] = {}
    faults: tuple[RowFault, ...] = ()


class Preparer:
    """Prepares the rows of one file by a mapping.

    `defined` are the fields of the workspace and those that the mapping defines, by their keys; `region` is the workspace's.
    """

    def __init__(self, mapping: ImportMapping, defined: Mapping[str, Field], region: str | None) -> None:
        self._mapping = mapping
        self._region = mapping.region or region
        self._conversions = {key: Conversion(field) for key, field in defined.items()}
        self._is_contact = mapping.object_type is FieldObjectType.CONTACT
        self._columns: list[tuple[int, Callable[[_Row, str, int], None]]] = []
        self._labels: dict[int, int] = {}
        self._column_of: dict[str, int] = {}
        for index, column in enumerate(mapping.columns):
            if column.to == LABEL:
                self._labels[index + 1] = index
            elif column.to != IGNORE:
                self._columns.append((index, self._filling(column.to, column.label or "", column.days or None)))
                self._column_of.setdefault(_MEMBERS.get(column.to, column.to), index)
        self._fixed = [(self._filling(each.to, ""), each.value) for each in mapping.fixed]

    def prepared(self, record: Record) -> PreparedRow:
        """Return a row as a request."""
        row = _Row(record, self._labels)
        if not self._mapping.columns:
            row.take_object(record.values[0])
        else:
            values = record.values
            count = len(values)
            for index, fill in self._columns:
                if index < count and (text := text_of(values[index])):
                    fill(row, text, index)
            if count > len(self._mapping.columns) and any(each.strip() for each in values[len(self._mapping.columns) :]):
                message = (
                    f"The row has {number_of(count, 'value')}, and the file has "
                    f"{number_of(len(self._mapping.columns), 'column')}. "
                    "Put a value that has a separator in it between quotation marks."
                )
                row.faults.append(RowFault(code="too_many_values", message=message))
        for fill, value in self._fixed:
            fill(row, value, -1)
        return self._contact(row) if self._is_contact else self._company(row)

    def faults_of(self, row: PreparedRow, errors: Sequence[FieldError]) -> tuple[RowFault, ...]:
        """Return errors of a request as faults of its row, each with its column."""
        return self._faults_of(row.origins, errors)

    def _faults_of(self, origins: Mapping[str, Sequence[int]], errors: Sequence[FieldError]) -> tuple[RowFault, ...]:
        """Return errors of a request as faults, each with its column."""
        return tuple(_fault(each, self._column(origins, each.field)) for each in errors)

    def _column(self, origins: Mapping[str, Sequence[int]], path: str) -> int:
        if (found := _INDEX.match(path)) is not None:
            columns = origins.get(found[1], ())
            return columns[int(found[2])] if int(found[2]) < len(columns) else -1
        member = path.partition(".")[0]
        if member == "fields":
            key = path.removeprefix("fields.").partition(".")[0].partition("[")[0]
            return next((index for to, index in self._column_of.items() if to.partition(".")[0] == f"field:{key}"), -1)
        return self._column_of.get(_MEMBERS.get(member, member), self._column_of.get("full_name", -1))

    def _filling(self, target: str, label: str, days: DayForm | None = None) -> "Callable[[_Row, str, int], None]":
        if target.startswith("field:"):
            return self._filling_field(target.removeprefix("field:"), days)
        region = self._mapping.region
        link = {"object_type": self._mapping.object_type.value, "source": self._mapping.crm_source}
        filling: dict[str, Callable[[_Row, str, int], None]] = {
            "email": lambda row, text, index: row.add_emails(text, label, index),
            "phone": lambda row, text, index: row.add_phones(text, label, index, region),
            "full_name": _fill_name,
            "tags": lambda row, text, index: row.add_texts("tags", filter(None, values_in(text, SEPARATORS)), index),
            "card": lambda row, text, _: row.card.append(text),
            "note": lambda row, text, index: row.add_texts("notes", [text], index),
            "external_id": lambda row, text, index: row.add("external_ids", text, index),
            "domain": lambda row, text, index: row.add_domains(text, index),
            "crm_id": lambda row, text, _: row.body.__setitem__("crm_association", {**link, "crm_object_id": text}),
        }
        return filling.get(target, lambda row, text, _: row.body.__setitem__(target, text))

    def _filling_field(self, path: str, days: DayForm | None) -> "Callable[[_Row, str, int], None]":
        key, _, part = path.partition(".")
        conversion = self._conversions.get(key)

        def fill(row: _Row, text: str, index: int) -> None:
            if conversion is None:
                message = f"The field `{key}` is archived or gone since the mapping was made. Change the mapping."
                row.faults.append(RowFault(code="not_found", message=message, column=UNSET if index < 0 else index))
                return
            if part:
                row.fields.setdefault(key, {})[part] = text
                return
            if conversion.field.kind is FieldKind.DATE:
                if is_no_day(text):
                    return
                try:
                    text = day_of(text, days) or text
                except Ambiguous:
                    row.faults.append(_ambiguous(text, key, index))
                    return
            # A text of another form is sent as it is, so that the operation refuses it in its own words.
            value = conversion.of(text, 0)
            row.fields[key] = text if value is None else value

        return fill

    def _contact(self, row: "_Row") -> PreparedRow:
        body = row.whole_body()
        match = _MATCHES.get(self._mapping.match_by, "never")
        has_name = "first_name" in body or "last_name" in body
        if match != "never" and not (has_name if match == "name" else body.get(match)):
            match = next((each for each in _FALLBACKS if (has_name if each == "name" else body.get(each))), "")
        if not match or not (has_name or body.keys() & set(_MATCHES.values())):
            message = "The row has neither a name nor an address, a number or an id. Fill one of them, or leave the row out."
            row.faults.append(RowFault(code="empty", message=message))
        if match in _MEMBERS_TO_MATCH:
            body["match_by"] = match
        asked = self._read(_CONTACT_READER, row, body)
        keys: tuple[str, ...] = ()
        if isinstance(asked, ContactUpsert):
            for item in asked.phone_numbers or ():
                # The command goes on without a pause, so numbers are read before.
                read_number(item.phone_number)
            keys = self._contact_keys(asked, match, row)
        return self._row(row, asked, match, keys)

    def _contact_keys(self, asked: ContactUpsert, match: str, row: "_Row") -> tuple[str, ...]:
        """Return the values that mean the contact: that by which it is found first, then all that only one contact may have."""
        found: list[str] = []
        match match:
            case "phone_numbers":
                found += (f"phone={each}" for each in number_keys(asked.phone_number, self._region)[:1])
            case "name":
                found.append(f"name={name_key(asked.first_name or '', asked.last_name or '')}\n{row.company_key}")
            case "crm_association":
                found.append(f"crm={asked.crm_association.crm_object_id if asked.crm_association else ''}")
            case "external_ids":
                found.append(f"id={asked.external_id}")
            case _:
                pass
        found += (f"email={comparable_address(each.email.strip())}" for each in asked.emails or ())
        found += (f"id={each}" for each in asked.external_ids or ())
        return tuple(dict.fromkeys(found))

    def _company(self, row: "_Row") -> PreparedRow:
        body = row.whole_body()
        match = {"domain": "domains", "crm_id": "crm_association", "name": "name"}.get(self._mapping.match_by, "never")
        if match != "never" and not body.get(match):
            match = next((each for each in ("domains", "name", "crm_association") if body.get(each)), "")
        if not match or not body.keys() & {"domains", "name"}:
            message = "The row has neither a name nor a domain. Fill one of them, or leave the row out."
            row.faults.append(RowFault(code="empty", message=message))
        if match == "crm_association":
            body["match_by"] = match
        asked = self._read(_COMPANY_READER, row, body)
        keys: tuple[str, ...] = ()
        if isinstance(asked, CompanyUpsert):
            found = [f"domain={normal_domain(each.domain)}" for each in asked.domains or ()]
            if match == "name":
                found.insert(0, f"name={company_key(asked.name or '')}")
            if match == "crm_association" and asked.crm_association:
                found.insert(0, f"crm={asked.crm_association.crm_object_id}")
            keys = tuple(found)
        return self._row(row, asked, match, keys)

    def _read(self, reader: BodyReader, row: "_Row", body: dict[str, Any]) -> Any:
        asked: Any = None
        errors = [*row.errors_beside(self._mapping.tags)]
        try:
            asked = reader.read(msgspec.json.encode(body))
        except Invalid as invalid:
            errors += invalid.errors
        if any(each.code in _MISLEADING for each in row.faults):
            # An object may have its values under other names.
            row.faults += self._faults_of(row.origins, [each for each in errors if each.code == "unknown_field"])
            return None
        named = {each.field for each in errors}
        errors += (each for each in _without_digit(body.get("phone_numbers")) if each.field not in named)
        if errors or row.faults:
            # A row that is refused here does not come to the command, which would look at the fields of one's own.
            errors = bounded([*errors, *self._unfit(body.get("fields", {}))], "fields")
            row.faults += self._faults_of(row.origins, errors)
            return None
        return asked

    def _unfit(self, values: Any) -> list[FieldError]:
        """Return the errors of values that do not fit their fields."""
        errors: list[FieldError] = []
        asked = cast("dict[str, Any]", values) if isinstance(values, dict) else {}
        for key, value in asked.items():
            conversion = self._conversions.get(key)
            if conversion is not None and value is not None:
                normal_value(conversion.field, value, f"fields.{key}", errors)
        return errors

    def _row(self, row: "_Row", asked: Any, match: str, keys: tuple[str, ...]) -> PreparedRow:
        card: tuple[Property, ...] = ()
        left_out: list[str] = []
        if row.card:
            properties = properties_in("".join(row.card))
            if properties is None:
                message = (
                    "The vCard has a line that is no property. Send each property on a line, as an import of a vCard does."
                )
                column = self._column_of.get("card", UNSET)
                row.faults.append(RowFault(code="invalid_format", message=message, column=column))
            else:
                properties = tuple(each for each in properties if each.name not in AROUND)
                card = fitting([each for each in properties if each.name != LEFT_OUT])
                left_out = [each.value if each.name == LEFT_OUT else each.name for each in properties if each not in card]
        if row.faults:
            return PreparedRow(number=row.number, asked=None, faults=tuple(row.faults))
        return PreparedRow(
            number=row.number,
            asked=asked,
            match=match,
            company_name=row.company_name,
            company_domain=row.company_domain,
            tags=tuple(dict.fromkeys((*row.tags, *self._mapping.tags))),
            notes=tuple(dict.fromkeys(row.notes)),
            card=card,
            # To compare takes longer than all else of a row, and most rows have no card.
            says_more=bool(card) and says_more(card),
            left_out=tuple(dict.fromkeys(left_out)),
            keys=keys,
            origins=row.origins,
        )


_MEMBERS_TO_MATCH: Final = ("emails", "phone_numbers", "crm_association", "external_ids")
# How a row is found that lacks the value by which the others are.
_FALLBACKS: Final = ("name", "emails", "phone_numbers", "external_ids", "crm_association")
# The members that targets fill, where these have another name.
_MEMBERS: Final = {
    "middle_name": "first_name",
    "crm_id": "crm_association",
    "company_name": "company",
    "domain": "domains",
    "note": "notes",
}


def name_key(first_name: str, last_name: str) -> str:
    """Return the form of a contact's name in which names are compared."""
    return searchable_name(first_name, last_name) + END


# The rows of a company often follow one another, and each asks several times.
@lru_cache(maxsize=4096)
def company_key(name: str) -> str:
    """Return the form of a company's name in which names are compared: that of the column `search`."""
    return searchable_name(name) + END


def _fault(error: FieldError, column: int) -> RowFault:
    # The name of a member may have NUL characters, which PostgreSQL does not store.
    return RowFault(
        code=error.code,
        message=error.message.replace("\0", ""),
        field=error.field.replace("\0", "") or UNSET,
        column=column if column >= 0 else UNSET,
    )


def _without_digit(items: Any) -> Iterator[FieldError]:
    """Yield the errors of phone numbers that are none. The operations keep any text, because callers know what they send."""
    for index, item in enumerate(cast("list[Any]", items) if isinstance(items, list) else ()):
        text = cast("dict[str, Any]", item).get("phone_number") if isinstance(item, dict) else None
        if isinstance(text, str) and _has_digit(text) is None:
            place = f"phone_numbers[{index}].phone_number"
            message = f"`{place}` has no digit, so it is no phone number. Correct it, or leave it empty."
            yield FieldError(place, "invalid_format", message)


def _ambiguous(text: str, key: str, index: int) -> RowFault:
    message = f"`{text}` may mean two days. Set `days` of its column to `day_first` or `month_first`, or write `2026-12-31`."
    return RowFault(code="invalid_format", message=message, field=f"fields.{key}", column=UNSET if index < 0 else index)


def _fill_name(row: "_Row", text: str, _: int) -> None:
    first, last = person_name(text) if len(text) <= _MAX_NAME else ("", "")
    if not first and not last:
        last = text
    for member, part in (("first_name", first), ("last_name", last)):
        if part:
            row.body.setdefault(member, part)


def _is_plain(name: Any) -> bool:
    """Whether the rules of names hold for one without a closer look."""
    return isinstance(name, str) and len(name) <= _MAX_TEXT and name.isascii() and name.isprintable() and not name.isspace()


class _Row:
    """The values of a row while they are gathered."""

    __slots__ = (
        *(
            "body",
            "card",
            "company_domain",
            "company_name",
            "emails",
            "faults",
            "fields",
            "misfits",
            "notes",
            "number",
            "origins",
            "phones",
        ),
        *("tags", "_labels", "_values"),
    )

    def __init__(self, record: Record, labels: Mapping[int, int]) -> None:
        self.number = record.number
        self.body: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.tags: list[str] = []
        self.notes: list[str] = []
        self.card: list[str] = []
        self.emails: dict[str, dict[str, Any]] = {}
        self.phones: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, list[int]] = {}
        self.faults: list[RowFault] = []
        # Members of an object that are of another type than herdbook shows them.
        self.misfits: dict[str, Any] = {}
        self.company_name = ""
        self.company_domain = ""
        self._labels = labels
        self._values = record.values

    @property
    def company_key(self) -> str:
        """The company of the row, in the form in which companies are compared."""
        return self.company_domain or (company_key(self.company_name) if self.company_name else "")

    def take_object(self, members: Mapping[str, Any]) -> None:
        """Take the members of an object as herdbook's operations show it."""
        self.body = {name: value for name, value in members.items() if value is not None and name not in _READ_ONLY}
        # An export has names, by which companies and tags are found in another workspace.
        for name, texts in (("tags", self.tags), ("notes", self.notes)):
            value = members.get(name)
            if isinstance(value, list):
                texts += [each for each in cast("list[Any]", value) if each != ""]
            elif value is not None:
                self.misfits[name] = value
        for name in ("company_name", "company_domain", "middle_name"):
            if not isinstance(self.body.get(name, ""), str):
                self.misfits[name] = self.body.pop(name)
        if self.tags:
            self.body.pop("tag_ids", None)
        company: Any = members.get("company")
        if company is not None and not isinstance(company, dict):
            self.misfits["company"] = company
        elif company and not members.get("company_name"):
            self.body.setdefault("company_id", cast("dict[str, Any]", company).get("id"))

    def errors_beside(self, tags: Sequence[str]) -> Sequence[FieldError]:
        """Return the errors of what the row has beside its object. `tags` are those of all rows."""
        found: dict[str, Any] = {"tags": [*self.tags, *tags], "notes": self.notes, "company_name": self.company_name}
        found = {name: value for name, value in found.items() if value} | self.misfits
        # Most rows name a company alone, and the reader takes a fifth of their time.
        if found and not (found.keys() == {"company_name"} and _is_plain(found["company_name"])):
            try:
                _BESIDE_READER.read(msgspec.json.encode(found))
            except Invalid as invalid:
                return invalid.errors
        return ()

    def add(self, name: str, value: Any, index: int) -> None:
        """Add an item to a list, and note its column."""
        self._add_all(name, [value])
        self.origins.setdefault(name, []).append(index)

    def add_texts(self, name: str, texts: Iterable[str], index: int) -> None:
        """Add tags or notes, and note their column."""
        known: list[str] = getattr(self, name)
        count = len(known)
        known.extend(texts)
        self.origins.setdefault(name, []).extend([index] * (len(known) - count))

    def _add_all(self, name: str, items: Iterable[Any]) -> None:
        """Add items to a list of the request. The operation refuses what an object has in place of a list."""
        known: Any = self.body.setdefault(name, [])
        if isinstance(known, list):
            cast("list[Any]", known).extend(items)

    def add_emails(self, text: str, label: str, index: int) -> None:
        """Add addresses, each once."""
        told, is_primary = self._label(label, index)
        for part in values_in(text, _BETWEEN) if len(text) > 3 else [text]:
            email = part.strip().removeprefix("mailto:")
            if email and email.lower() not in self.emails:
                item: dict[str, Any] = {"email": email} | ({"label": told} if told else {})
                if is_primary and not any("is_primary" in each for each in self.emails.values()):
                    item["is_primary"] = True
                self.emails[email.lower()] = item
                self.origins.setdefault("emails", []).append(index)

    def add_phones(self, text: str, label: str, index: int, region: str | None) -> None:
        """Add numbers, each once; those of a region as international ones."""
        told, is_primary = self._label(label, index)
        for part in values_in(text, _BETWEEN):
            phone = part.strip()
            if region is not None and len(phone) <= _MAX_TEXT:
                phone = international_number(phone, region)
            if phone and phone not in self.phones:
                item: dict[str, Any] = {"phone_number": phone} | ({"label": told} if told else {})
                if is_primary and not any("is_primary" in each for each in self.phones.values()):
                    item["is_primary"] = True
                self.phones[phone] = item
                self.origins.setdefault("phone_numbers", []).append(index)

    def add_domains(self, text: str, index: int) -> None:
        """Add domains, each once."""
        for part in SEPARATORS.split(text):
            domain = {"domain": part.strip()}
            known: Any = self.body.get("domains", [])
            if domain["domain"] and isinstance(known, list) and domain not in known:
                self.add("domains", domain, index)

    def whole_body(self) -> dict[str, Any]:
        """Return the body of the request."""
        body = self.body
        self.company_name = body.pop("company_name", "")
        if domain := body.pop("company_domain", ""):
            try:
                self.company_domain = normal_domain(domain)
            except NotADomain as error:
                self.faults.append(RowFault(code="invalid_format", message=f"The domain of the company is none: {error}."))
        middle, first = body.pop("middle_name", ""), body.get("first_name", "")
        # A full name in another column may have it already.
        if middle and isinstance(first, str) and not first.endswith(f" {middle}"):
            body["first_name"] = f"{first} {middle}".strip()
        if self.emails:
            self._add_all("emails", self.emails.values())
        if self.phones:
            self._add_all("phone_numbers", self.phones.values())
        if self.fields and isinstance(known := body.setdefault("fields", {}), dict):
            body["fields"] = {**known, **self.fields}
        return body

    def _label(self, label: str, index: int) -> tuple[str, bool]:
        """Return the label of the addresses or numbers in a column, and whether they are the primary ones."""
        place = self._labels.get(index, -1)
        if 0 <= place < len(self._values):
            told, is_primary = label_in(text_of(self._values[place]))
            return (told or label)[:50], is_primary
        return label, False
