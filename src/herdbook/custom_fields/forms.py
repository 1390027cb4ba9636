"""The forms that edit one member of a contact or a company: what they show, and the patch that they stand for."""

import re
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.custom_fields.model import REFERENCES, Field, FieldKind
from herdbook.custom_fields.values import ADDRESS_PARTS
from herdbook.phone_numbers import read_number

LABELS: Final = ("work", "home", "mobile", "other")
# Forms name times in UTC without a zone, as browsers do.
_ZONELESS: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?").fullmatch


class Row(NamedTuple):
    """An address, a number or a domain in its form."""

    value: str = ""
    label: str = ""
    is_primary: bool = False


class Part(NamedTuple):
    """A part of a value that has several, such as the city of a postal address."""

    name: str
    label: str
    hint: str = ""


_PARTS: Final = {
    FieldKind.MONEY: (Part("amount", "Amount", "12.50"), Part("currency", "Currency", "EUR")),
    FieldKind.ADDRESS: tuple(Part(each, each.replace("_", " ").capitalize()) for each in ADDRESS_PARTS),
}
CRM_PARTS: Final = (Part("source", "System", "hubspot"), Part("crm_object_id", "Id there"))


# Returns the texts of a form by a name.
Texts = Callable[[str], list[str]]


class Member(NamedTuple):
    """A member of a record that is edited in place: of a contact or a company.

    `kind` names the macro that shows the value and the form. `field` is the definition of a field of one's own. `refers_to`
    is the type of the objects that a reference names. `parts` are those of a value that has several, beside `fixed` ones.
    """

    name: str
    label: str
    kind: str
    field: Field | None = None
    refers_to: str = ""
    parts: tuple[Part, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()

    def value(self, record: Any) -> Any:
        """Return the value, or None if the record has none."""
        if self.field is not None:
            values: dict[str, Any] = record.fields or {}
            return values.get(self.field.key)
        if self.name == "company_id":
            return None if record.company is UNSET else record.company.id
        value = getattr(record, self.name)
        return None if value is UNSET or value == () else value

    def patch(self, texts: Texts) -> dict[str, Any]:
        """Return the patch that a form stands for. Its errors are found when the operation reads it."""
        return self.patch_to(self._sent(texts))

    def patch_to(self, value: Any) -> dict[str, Any]:
        """Return the patch that sets the member to a value, or clears it with None."""
        if self.field is not None:
            return {"fields": {self.field.key: value}}
        return {self.name: () if value is None and self.kind in _ROWS else value}

    def united(self, record: Any, texts: Texts) -> Any:
        """Return the value that a record has with what a form adds to it: None if the form adds nothing.

        A value that is no list is added only where there is none.
        """
        before, sent = self.value(record), self._sent(texts)
        if self.kind in _ROWS:
            known = {_compared(self.kind, getattr(each, self.kind)) for each in before or ()}
            more = [each for each in sent if _compared(self.kind, each[self.kind]) not in known]
            return [*(before or ()), *more] if more else None
        if self.kind in ("tags", "several_of", "lines"):
            more = [each for each in sent or () if each not in (before or ())]
            return [*(before or ()), *more] if more else None
        return sent if before is None else None

    def part(self, record: Any, name: str, texts: Texts | None) -> str:
        """Return the text of a part of the value, as it was sent or as the record has it."""
        if texts is not None:
            return next(iter(texts(name)), "")
        return self.part_of(self.value(record), name)

    def part_of(self, value: Any, name: str) -> str:
        """Return the text of a part of a value."""
        members: dict[str, Any] = value or {}
        text: Any = members.get(name) if self.field is not None else getattr(value, name, None)
        return "" if text is None else str(text)

    def rows(self, record: Any) -> list[Row]:
        """Return the rows of the addresses, numbers or domains, and an empty one."""
        items: Iterable[Any] = self.value(record) or ()
        return [*(Row(getattr(item, self.kind), getattr(item, "label", UNSET) or "", item.is_primary) for item in items), Row()]

    def sent_rows(self, texts: Texts, arrangement: str = "") -> list[Row]:
        """Return the rows as they were sent or, with an arrangement such as `up 2`, with that row moved, removed or added."""
        primary = next(iter(texts("primary")), "")
        # Domains have no labels.
        pairs = zip_longest(texts("value"), texts("label"), fillvalue="")
        rows = [Row(value, label, str(index) == primary) for index, (value, label) in enumerate(pairs)]
        action, _, number = arrangement.partition(" ")
        index = int(number) if number.isascii() and number.isdecimal() and len(number) < 4 else -1
        match action:
            case "add":
                rows.append(Row())
            case "remove" if 0 <= index < len(rows):
                del rows[index]
            case "up" if 0 < index < len(rows):
                rows[index - 1 : index + 1] = [rows[index], rows[index - 1]]
            case _:
                pass
        return rows

    def _sent(self, texts: Texts) -> Any:
        text = next(iter(texts("value")), "").strip()
        match self.kind:
            case "email" | "phone_number" | "domain":
                return [
                    {self.kind: row.value}
                    | ({} if self.kind == "domain" else {"label": row.label.strip() or None})
                    | ({"is_primary": True} if row.is_primary else {})
                    for row in self.sent_rows(texts)
                    if row.value.strip()
                ]
            case "tags" | "several_of":
                return [text for text in texts("value") if text] or None
            case "lines":
                return [line.strip() for line in text.splitlines() if line.strip()] or None
            case "yes_no" | "integer" | "date_time":
                return _READ[self.kind](text)
            case "parts":
                sent = {part.name: self.part(None, part.name, texts).strip() for part in self.parts}
                return dict(self.fixed) | {name: each for name, each in sent.items() if each} if any(sent.values()) else None
            case _:
                # A browser ends lines with two characters.
                return text.replace("\r\n", "\n") or None


def _compared(kind: str, text: str) -> str:
    text = text.strip()
    match kind:
        case "email":
            try:
                return comparable_address(text)
            except NotAnAddress:
                return text
        case "phone_number":
            number = read_number(text)
            return text if number is None else number.key
        case _:
            return text.casefold().removeprefix("www.")


# The kinds of members that have several values, one of them the primary one.
_ROWS: Final = ("email", "phone_number", "domain")


def _integer(text: str) -> int | str | None:
    try:
        return int(text)
    except ValueError:
        # The operation says what is wrong with it.
        return text or None


def _date_time(text: str) -> str | None:
    return f"{text}Z" if _ZONELESS(text) else text or None


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "yes_no": {"yes": True, "no": False}.get,
    "integer": _integer,
    "date_time": _date_time,
}


# Fields of the other kinds are edited as a text, as the API takes it.
_KINDS: Final = {
    FieldKind.LONG_TEXT: "long_text",
    FieldKind.INTEGER: "integer",
    FieldKind.DECIMAL: "decimal",
    FieldKind.YES_NO: "yes_no",
    FieldKind.ONE_OF: "one_of",
    FieldKind.SEVERAL_OF: "several_of",
    FieldKind.DATE: "date",
    FieldKind.DATE_TIME: "date_time",
    FieldKind.LINK: "link",
    FieldKind.MONEY: "parts",
    FieldKind.ADDRESS: "parts",
}


def own_member(field: Field) -> Member:
    """Return the member of a field of one's own."""
    refers_to = field.kind.value if field.kind in REFERENCES else ""
    kind = "reference" if refers_to else _KINDS.get(field.kind, "text")
    return Member(f"fields.{field.key}", field.label, kind, field, refers_to, _PARTS.get(field.kind, ()))
