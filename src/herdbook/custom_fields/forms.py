"""The forms that edit one member of a contact or a company: what they show, and the patch that they stand for."""

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from herdbook.custom_fields.model import REFERENCES, Field, FieldKind

LABELS: Final = ("work", "home", "mobile", "other")
# Empty rows beneath addresses, numbers or domains, to add some.
_MORE_ROWS: Final = 1


class Row(NamedTuple):
    """An address, a number or a domain in its form."""

    value: str = ""
    label: str = ""
    is_primary: bool = False


# Returns the texts of a form by a name.
Texts = Callable[[str], list[str]]


class Member(NamedTuple):
    """A member of a record that is edited in place: of a contact or a company.

    `kind` names the macro that shows the value and the form. `field` is the definition of a field of one's own. `refers_to`
    is the type of the objects that a reference names.
    """

    name: str
    label: str
    kind: str
    field: Field | None = None
    refers_to: str = ""

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
        value = self._sent(texts)
        return {self.name: value} if self.field is None else {"fields": {self.field.key: value}}

    def rows(self, record: Any) -> list[Row]:
        """Return the rows of the addresses, numbers or domains, and an empty one."""
        items: Iterable[Any] = self.value(record) or ()
        rows = [Row(getattr(item, self.kind), getattr(item, "label", UNSET) or "", item.is_primary) for item in items]
        return rows + [Row()] * _MORE_ROWS

    def sent_rows(self, texts: Texts) -> list[Row]:
        """Return the rows as they were sent."""
        primary = next(iter(texts("primary")), "")
        # Domains have no labels.
        pairs = zip_longest(texts("value"), texts("label"), fillvalue="")
        return [Row(value, label, str(index) == primary) for index, (value, label) in enumerate(pairs)]

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
                return texts("value") or None
            case "lines":
                return [line.strip() for line in text.splitlines() if line.strip()] or None
            case "yes_no":
                return {"yes": True, "no": False}.get(text)
            case "integer":
                return _integer(text)
            case _:
                # A browser ends lines with two characters.
                return text.replace("\r\n", "\n") or None


def _integer(text: str) -> int | str | None:
    try:
        return int(text)
    except ValueError:
        # The operation says what is wrong with it.
        return text or None


# Fields of the other kinds are edited as a text, as the API takes it. Values with parts are shown only.
_KINDS: Final = {
    FieldKind.LONG_TEXT: "long_text",
    FieldKind.INTEGER: "integer",
    FieldKind.YES_NO: "yes_no",
    FieldKind.ONE_OF: "one_of",
    FieldKind.SEVERAL_OF: "several_of",
    FieldKind.DATE: "date",
    FieldKind.LINK: "link",
    FieldKind.MONEY: "parts",
    FieldKind.ADDRESS: "parts",
}


def own_member(field: Field) -> Member:
    """Return the member of a field of one's own."""
    refers_to = field.kind.value if field.kind in REFERENCES else ""
    kind = "reference" if refers_to else _KINDS.get(field.kind, "text")
    return Member(f"fields.{field.key}", field.label, kind, field, refers_to)
