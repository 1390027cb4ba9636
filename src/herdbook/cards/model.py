"""The properties of vCards as they are kept beside contacts, how two cards are combined, and what a contact says in one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from herdbook import fields, ids
from herdbook.contacts.model import LabelledContactRecord
from herdbook.formats.card_content import CardContent, CardItem
from herdbook.formats.cards import Property, kept_line, parts_of, read_line, text_of

# A card has one of each of these, so those of another card do not come beside them.
_ONCE: Final = frozenset(
    {
        "FN",
        "N",
        "BDAY",
        "ANNIVERSARY",
        "GENDER",
        "KIND",
        "PRODID",
        "REV",
        "UID",
        "SORT-STRING",
        "CLASS",
        "MAILER",
        "SOURCE",
        "NAME",
    }
    | {"PHOTO", "LOGO", "SOUND", "AGENT", "TZ", "GEO", "DEATHDATE", "BIRTHPLACE", "DEATHPLACE", "XML"}
    | {"X-ABSHOWAS", "X-PHONETIC-FIRST-NAME", "X-PHONETIC-LAST-NAME", "X-PHONETIC-MIDDLE-NAME", "X-GENDER"}
)
# Contacts unite those of all cards.
_UNITED: Final = frozenset({"EMAIL", "TEL"})
# They name the company, and the tags.
_SCOPES: Final = {**dict.fromkeys(("ORG", "X-PHONETIC-ORG", "LOGO"), "companies:read"), "CATEGORIES": "tags:read"}
# They say something of the other properties of their group.
_OF_GROUP: Final = frozenset({"X-ABLABEL", "X-ABADR"})


class ContactCard(msgspec.Struct, frozen=True, kw_only=True):
    """A vCard that is kept beside a contact."""

    schema_name: ClassVar[str] = "contact_card"

    object: Literal["contact_card"]
    id: Annotated[str, fields.id_schema(ids.CARD)]
    properties: Annotated[
        tuple[str, ...],
        Meta(
            description="The properties of the card, each as a line of RFC 6350 that is not folded, in the order of the card."
        ),
    ]
    left_out: Annotated[
        tuple[str, ...],
        Meta(description="What of the card the contact had not taken over when it was imported, such as `N`."),
    ] = ()


class ContactCardList(msgspec.Struct, frozen=True, kw_only=True):
    """The vCards that are kept beside a contact."""

    schema_name: ClassVar[str] = "contact_card_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [
            {
                "object": "contact_card",
                "id": ids.example(ids.CARD),
                "properties": ["FN:Ada Lovelace", "X-SKYPE:ada.l"],
                "left_out": [],
            }
        ],
    }

    object: Literal["list"]
    data: tuple[ContactCard, ...]


class ContactCardQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the removal of kept cards."""

    schema_name: ClassVar[str] = "contact_card_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    card_id: Annotated[str, Meta(description="Only this card; empty for all that the contact has.")] = ""


def lines_of(properties: Iterable[Property]) -> str:
    """Return the properties of a card as they are kept: one on each line."""
    return "\n".join(map(kept_line, properties))


def properties_in(lines: str) -> tuple[Property, ...] | None:
    """Return the properties that `lines_of` has written, or None if a line is none."""
    found = [read_line(line) for line in lines.split("\n") if line]
    return None if None in found else tuple(each for each in found if each is not None)


def visible(properties: Sequence[Property], may: Callable[[str], bool]) -> tuple[Property, ...]:
    """Return the properties of a card that a caller may see. Companies and tags need the scopes to read these."""
    shown = [each for each in properties if (scope := _SCOPES.get(each.name)) is None or may(scope)]
    hidden = {text_of(parts_of(each.value)[0]) for each in properties if each.name == "ORG" and each not in shown}
    # The card of a company has its name in place of a person's.
    return tuple(each for each in shown if each.name != "FN" or text_of(each.value) not in hidden)


def united(first: Sequence[Property], second: Sequence[Property], *, adds_names: bool = False) -> tuple[Property, ...]:
    """Return the properties of a card, and those that another one of the same person has more.

    With `adds_names`, these are the addresses, the numbers, and the properties of other names alone.
    """
    if not first:
        return tuple(second)
    values = {(each.name, each.value) for each in first}
    names = {each.name for each in first}
    groups = {each.group for each in first}
    added = [
        each
        for each in second
        if (each.name, each.value) not in values
        and not (each.name in names and (each.name in _ONCE or (adds_names and each.name not in _UNITED)))
        and not (each.group and each.name in _OF_GROUP)
    ]
    renamed: dict[str, str] = {"": ""}
    for each in added:
        if each.group not in renamed:
            renamed[each.group] = _free(each.group, groups)
            groups.add(renamed[each.group])
    wanted = {id(each) for each in added}
    return (
        *first,
        *(
            each._replace(group=renamed[each.group])
            for each in second
            if id(each) in wanted or (each.group and each.group in renamed and each.name in _OF_GROUP)
        ),
    )


def _free(group: str, taken: set[str]) -> str:
    if group not in taken:
        return group
    return next(found for number in range(1, len(taken) + 2) if (found := f"item{number}") not in taken)


# Usual fields that a card has a place for, by the members of what it says.
_PLACES: Final = {"department": "department", "job_title": "job_title", "birthday": "birthday", "website": "website"}


def content_of_contact(
    record: LabelledContactRecord, company_name: str, tags: Sequence[str], notes: Sequence[str]
) -> CardContent:
    """Return what the card of a contact says."""
    values: dict[str, Any] = dict(record.fields or {})
    placed = {member: values.pop(key) for member, key in _PLACES.items() if isinstance(values.get(key), str)}
    if not company_name and "department" in placed:
        # A department is a part of the company, in a card.
        values["department"] = placed.pop("department")
    address: dict[str, str] = values.pop("address") if type(values.get("address")) is dict else {}
    links = _links_of(values.pop("profile_links")) if _has_links(values) and "website" in placed else ()
    return CardContent(
        first_name=record.first_name or "",
        last_name=record.last_name or "",
        emails=tuple(CardItem(item.email, item.label or "", item.is_primary) for item in record.emails),
        phone_numbers=tuple(CardItem(item.phone_number, item.label or "", item.is_primary) for item in record.phone_numbers),
        company=company_name,
        address=address,
        links=links,
        description=record.description or "",
        notes=tuple(notes),
        tags=tuple(tags),
        time_zone=record.time_zone or "",
        others=_others(record, values),
        **placed,
    )


def _has_links(values: Mapping[str, Any]) -> bool:
    links = values.get("profile_links")
    return isinstance(links, str) and all(line.startswith(("https://", "http://")) for line in links.split("\n"))


def _links_of(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n"))


def _others(record: LabelledContactRecord, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that a card has no place for, each as JSON."""
    others: dict[str, Any] = {f"fields.{key}": value for key, value in values.items()}
    if record.crm_association is not UNSET:
        others["crm_association"] = record.crm_association
    if record.external_ids:
        others["external_ids"] = record.external_ids
    return {name: msgspec.json.encode(value).decode() for name, value in others.items()}
