"""The forms that edit one member of a contact: what they show, and the patch that they stand for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from herdbook.contacts.model import LabelledContactRecord
from herdbook.custom_fields.model import Field, FieldKind

LABELS: Final = ("work", "home", "mobile", "other")
# Empty rows beneath the addresses or numbers of a contact, to add some.
_MORE_ROWS: Final = 1


class Row(NamedTuple):
    """An address or a number in its form."""

    value: str = ""
    label: str = ""
    is_primary: bool = False


# Returns the texts of a form by a name.
Texts = Callable[[str], list[str]]


class Member(NamedTuple):
    """A member of a contact that is edited in place.

    `kind` names the macro that shows the value and the form. `field` is the definition of a field of one's own.
    """

    name: str
    label: str
    kind: str
    field: Field | None = None

    def value(self, contact: LabelledContactRecord) -> Any:
        """Return the value, or None if the contact has none."""
        if self.field is not None:
            return (contact.fields or {}).get(self.field.key)
        if self.name == "company_id":
            return None if contact.company is UNSET else contact.company.id
        value = getattr(contact, self.name)
        return None if value is UNSET or value == () else value

    def patch(self, texts: Texts) -> dict[str, Any]:
        """Return the patch that a form stands for. Its errors are found when the operation reads it."""
        value = self._sent(texts)
        return {self.name: value} if self.field is None else {"fields": {self.field.key: value}}

    def rows(self, contact: LabelledContactRecord) -> list[Row]:
        """Return the rows of the addresses or numbers, and an empty one."""
        items: Iterable[Any] = self.value(contact) or ()
        part = self.kind
        rows = [Row(getattr(item, part), "" if item.label is UNSET else item.label, item.is_primary) for item in items]
        return rows + [Row()] * _MORE_ROWS

    def sent_rows(self, texts: Texts) -> list[Row]:
        """Return the rows as they were sent."""
        primary = next(iter(texts("primary")), "")
        pairs = zip(texts("value"), texts("label"), strict=False)
        return [Row(value, label, str(index) == primary) for index, (value, label) in enumerate(pairs)]

    def _sent(self, texts: Texts) -> Any:
        text = next(iter(texts("value")), "").strip()
        match self.kind:
            case "email" | "phone_number":
                return [
                    {self.kind: row.value, "label": row.label.strip() or None}
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


_STANDARD: Final = (
    Member("first_name", "First name", "text"),
    Member("last_name", "Last name", "text"),
    Member("company_id", "Company", "company"),
    Member("emails", "E-mail", "email"),
    Member("phone_numbers", "Phone", "phone_number"),
    Member("time_zone", "Time zone", "text"),
    Member("tag_ids", "Tags", "tags"),
    Member("description", "Description", "long_text"),
    Member("external_ids", "External ids", "lines"),
)
# The kinds whose values are edited as a text, as the API takes it. Values of the others have parts.
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


def members_of(definitions: Sequence[Field]) -> list[Member]:
    """Return the members that a contact's page shows, the fields of one's own last and in their order."""
    own = sorted((each for each in definitions if not each.archived), key=lambda each: (each.order, each.key))
    return [*_STANDARD, *(Member(f"fields.{each.key}", each.label, _KINDS.get(each.kind, "text"), each) for each in own)]
