"""The content of cards: the properties that a contact has a place for, read from cards, and written to them.

A contact keeps the properties of the card that it came from. They are written again as they were, except those of which the
contact says something else by now, so that a card loses nothing on its way through herdbook. Texts are taken as the same with
other spaces around them, and lists in another order, because imports and contacts change these.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from herdbook.addresses import comparable_address
from herdbook.fields import MAX_ITEMS, shows
from herdbook.formats.cards import Parameter, Property, escaped, parts_of, text_of
from herdbook.names import person_name
from herdbook.time_zones import time_zones

# The parts of an address in a card (RFC 6350, section 6.3.1). The first two belong to the street.
_ADDRESS_PARTS: Final = ("street", "street", "street", "city", "region", "postal_code", "country")
_ADDRESS_PLACES: Final = {"street": 2, "city": 3, "region": 4, "postal_code": 5, "country": 6}
_DAY: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:T.*)?", re.ASCII).fullmatch
# Apple writes its own labels so.
_APPLE_LABEL: Final = re.compile(r"_\$!<(.*)>!\$_").fullmatch
_LABELS: Final = {"cell": "mobile", "iphone": "mobile", "mobile": "mobile", "work": "work", "home": "home", "fax": "fax"}
_TYPES: Final = {"mobile": "cell", "work": "work", "home": "home", "fax": "fax"}
_TEL: Final = re.compile(r"tel:([^;]*)(?:;.*?\bext=(\d+))?.*", re.IGNORECASE).fullmatch
_IS_LINK: Final = re.compile(r"https?://\S+\.\S+").fullmatch
_DIGITS: Final = re.compile(r"\d+").findall
_NAMES: Final = ("N", "FN")
_LINKS: Final = ("URL", "X-SOCIALPROFILE", "SOCIALPROFILE")
# A property and a parameter of our own.
_OWN: Final = "X-HERDBOOK"
# The label that Apple writes beside the other properties of a group.
_LABEL: Final = "X-ABLABEL"
# Contacts and their fields have no longer texts; those of notes are counted in bytes.
_MAX_TEXT: Final = 255
_MAX_LABEL: Final = 50
_MAX_DESCRIPTION: Final = 2000
_MAX_LINK: Final = 2000
_MAX_URI: Final = 2000
_MAX_LINKS: Final = 10_000
_MAX_NOTE: Final = 65_536
# A number with fewer digits, such as 112, is another one with others before it.
_MIN_DIGITS: Final = 5


class CardItem(NamedTuple):
    """An e-mail address or a phone number of a card, with its label, if any."""

    value: str
    label: str = ""
    is_primary: bool = False


class CardContent(msgspec.Struct, frozen=True, kw_only=True):
    """All that a card says of a person. An empty text says nothing.

    `birthday` is a day as `YYYY-MM-DD`, `address` has the parts that own fields of the kind address have, `links` are those
    after the website, and `notes` are texts without a form. `others` are members that cards have no place for, by names of the
    caller's choice.
    """

    first_name: str = ""
    last_name: str = ""
    emails: tuple[CardItem, ...] = ()
    phone_numbers: tuple[CardItem, ...] = ()
    company: str = ""
    department: str = ""
    job_title: str = ""
    address: dict[str, str] = {}
    birthday: str = ""
    website: str = ""
    links: tuple[str, ...] = ()
    description: str = ""
    notes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    time_zone: str = ""
    others: dict[str, str] = {}


def content_of(properties: Sequence[Property]) -> CardContent:
    """Return what the properties of a card say of its person, as far as a contact and its usual fields can take it."""
    names = _by_name(properties)
    labels = _labels_of_groups(properties)
    links = _links(names)
    emails = _items(names.get("EMAIL", ()), _email, labels, _same_address)
    phone_numbers = _items(names.get("TEL", ()), _phone_number, labels, str.__eq__)
    first_name, last_name = _person(names)
    company, department = _company_of(next(iter(names.get("ORG", ())), None))
    return CardContent(
        first_name=first_name,
        last_name=last_name,
        emails=emails,
        phone_numbers=phone_numbers,
        company=company,
        department=department,
        job_title=_first(names.get("TITLE", ()), _title),
        address=_address(_first_address(names.get("ADR", ()))),
        birthday=_first(names.get("BDAY", ()), _day),
        website=next(iter(links), ""),
        links=links[1:],
        description=_first(names.get("NOTE", ()), _description),
        notes=tuple(dict.fromkeys(note for each in names.get("NOTE", ()) if (note := _note(each)))),
        tags=_tags(names),
        time_zone=_first(names.get("TZ", ()), _zone),
        others={name: text_of(each.value) for each in names.get(_OWN, ()) if (name := _own_name(each))},
    )


def properties_of(content: CardContent, kept: Sequence[Property] = (), left: Iterable[str] = ()) -> tuple[Property, ...]:
    """Return the properties of a card that says this. `kept` are those of the card that the person came from.

    `left` names what the person did not take over from that card: members, and `others.` with the name of another. The card
    goes on to say it.
    """
    before = content_of(kept)
    content = _with_left(content, before, left)
    if not (before.first_name or before.last_name or content.last_name) and content.first_name == shown_name(kept):
        # Somebody without any name is called by what the card shows.
        content = msgspec.structs.replace(content, first_name="")
    if not _differing(content, before) and any(each.name == "FN" for each in kept):
        return tuple(kept)
    written = [*kept]
    for members, names, made in _WRITERS:
        # A card without a name is called by what it has, and so depends on the other members.
        if names == _NAMES or _differing(content, before, members):
            written = _replaced(written, names, made(content, before, written))
    return tuple(written)


def left_by(content: CardContent, kept: Sequence[Property]) -> tuple[str, ...]:
    """Return what a person with this content has not taken over from a card, for `properties_of`."""
    before = content_of(kept)
    members = [name for name in _MEMBERS if name != "others" and getattr(before, name) and not getattr(content, name)]
    return (*members, *(f"others.{name}" for name in before.others if name not in content.others))


def says_more(properties: Sequence[Property]) -> bool:
    """Whether a card has anything that a person who took over its content would not write again."""
    written = Counter(map(_canonical, properties_of(content_of(properties))))
    return not Counter(map(_canonical, properties)) <= written


def _canonical(each: Property) -> tuple[Any, ...]:
    """Return the form in which properties of all versions are compared."""
    parameters = frozenset(
        (name, value.lower() if name == "TYPE" else value)
        for name, values in each.parameters
        for value in values
        if name != "PREF" and value.lower() != "pref"
    )
    return each.group, each.name, each.value, each.is_preferred, parameters


def _with_left(content: CardContent, before: CardContent, left: Iterable[str]) -> CardContent:
    members: dict[str, Any] = {}
    others = {**content.others}
    for each in left:
        prefix, _, name = each.partition(".")
        if name and name in before.others:
            others.setdefault(name, before.others[name])
        elif not name and prefix in _MEMBERS and not getattr(content, prefix):
            members[prefix] = getattr(before, prefix)
    return msgspec.structs.replace(content, others=others, **members)


def _differing(content: CardContent, before: CardContent, members: Iterable[str] = CardContent.__struct_fields__) -> bool:
    """Whether two contents have different members."""
    return any(not _same(name, getattr(content, name), getattr(before, name)) for name in members)


def _same(name: str, one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return one.strip() == other.strip()
    match name:
        case "emails" | "phone_numbers":
            is_same = _same_address if name == "emails" else _same_number
            return len(one) == len(other) and all(_has_item(other, item, is_same) for item in one)
        case "notes" | "tags":
            return sorted(map(_comparable, one)) == sorted(map(_comparable, other))
        case "address":
            return {key: text.strip() for key, text in one.items()} == {key: text.strip() for key, text in other.items()}
        case _:
            return one == other


def _has_item(items: Iterable[CardItem], wanted: CardItem, is_same: Callable[[str, str], bool]) -> bool:
    return any(
        is_same(wanted.value, item.value)
        and wanted.is_primary is item.is_primary
        and _comparable_label(wanted.label) == _comparable_label(item.label)
        for item in items
    )


def _comparable(text: str) -> str:
    return text.strip()


def _comparable_label(label: str) -> str:
    # Tables mark the primary one by an asterisk.
    return label.lstrip("* ").rstrip().lower()


def _same_address(one: str, other: str) -> bool:
    return comparable_address(one.strip()) == comparable_address(other.strip())


def _same_number(one: str, other: str) -> bool:
    """Whether two numbers may be the same, one of them without its country."""
    digits, others = ("".join(_DIGITS(each)).lstrip("0") for each in (one, other))
    if min(len(digits), len(others)) < _MIN_DIGITS:
        return one.strip() == other.strip()
    return digits.endswith(others) or others.endswith(digits)


def _by_name(properties: Iterable[Property]) -> Mapping[str, Sequence[Property]]:
    found: dict[str, list[Property]] = {}
    for each in properties:
        found.setdefault(each.name, []).append(each)
    return found


def _first(found: Iterable[Property], value_of: Callable[[Property], str]) -> str:
    """Return the first value that a contact can take, or nothing."""
    return next((value for each in found if (value := value_of(each))), "")


def _texts(each: Property | None) -> list[str]:
    """Return the parts of a value as texts; one that is empty of none."""
    return [""] if each is None else [text_of(part) for part in parts_of(each.value)]


def _fitting(text: str, most: int = _MAX_TEXT) -> str:
    """Return a text, or none if it is too long for a contact, or nothing of it shows. The card keeps it."""
    return text if len(text) <= most and shows(text) else ""


def _is_description(each: Property) -> bool:
    return each.values_of(_OWN) == ("description",)


def _description(each: Property) -> str:
    return _fitting(text_of(each.value), _MAX_DESCRIPTION) if _is_description(each) else ""


def _note(each: Property) -> str:
    text = text_of(each.value)
    return text if not _is_description(each) and shows(text) and len(text.encode()) <= _MAX_NOTE else ""


def _title(each: Property) -> str:
    return _fitting(text_of(each.value))


def _zone(each: Property) -> str:
    zone = text_of(each.value)
    return zone if zone in time_zones() else ""


def _own_name(each: Property) -> str:
    return next(iter(each.values_of("NAME")), "")


def _company_of(each: Property | None) -> tuple[str, str]:
    """Return the company and the department of a card."""
    company, *units = _texts(each)
    return _fitting(company), _fitting(", ".join(filter(None, units)))


def shown_name(properties: Sequence[Property]) -> str:
    """Return the name that a card shows, if a contact can take it."""
    return _fitting(next((text_of(each.value) for each in properties if each.name == "FN"), ""))


def _person(names: Mapping[str, Sequence[Property]]) -> tuple[str, str]:
    """Return the first and the last name. Middle names, with commas between them, go with the first."""
    if parts := next((found for each in names.get("N", ()) if any(found := _texts(each))), None):
        family, given, middle = ([*parts, "", "", ""])[:3]
        first = _fitting(" ".join(filter(None, (given, *map(str.strip, middle.split(","))))))
        if first or _fitting(family):
            return first, _fitting(family)
    full = _fitting(next((text_of(each.value) for each in names.get("FN", ())), ""))
    # A card of a company, or one that has no name, is called by what it has.
    others = {_texts(each)[0] for each in names.get("ORG", ())}
    others.update(map(_email, names.get("EMAIL", ())), map(_phone_number, names.get("TEL", ())))
    if not full or full in others:
        return "", ""
    name = person_name(full)
    return (name.first, name.last) if name.first or name.last else (full, "")


def _items(
    found: Iterable[Property],
    value_of: Callable[[Property], str],
    labels: Mapping[str, str],
    is_same: Callable[[str, str], bool],
) -> tuple[CardItem, ...]:
    """Return items with their labels, each once. The first of those that the card prefers is primary, otherwise the first."""
    listed: list[tuple[Property, str]] = []
    for each in found:
        if len(listed) == MAX_ITEMS:
            break
        if (value := value_of(each)) and not any(is_same(value, other) for _, other in listed):
            listed.append((each, value))
    primary = next((index for index, (each, _) in enumerate(listed) if each.is_preferred), 0)
    return tuple(CardItem(value, _label(each, labels), index == primary) for index, (each, value) in enumerate(listed))


def _email(each: Property) -> str:
    """Return an address, or nothing if it is none."""
    text = text_of(each.value).strip().removeprefix("mailto:")
    try:
        comparable_address(text)
    except ValueError:
        return ""
    return text


def _phone_number(each: Property) -> str:
    text = text_of(each.value).strip()
    # No number is longer, and the time to read one grows with the square of its length.
    if len(text) <= _MAX_URI and (match := _TEL(text)) is not None:
        text = match[1] + (f" ext. {match[2]}" if match[2] else "")
    return _fitting(text) if _DIGITS(text) else ""


def _label(each: Property, labels: Mapping[str, str]) -> str:
    if each.group and (label := labels.get(each.group)):
        return label
    return next((_LABELS[kind] for kind in _LABELS if kind in each.types), "")


def _labels_of_groups(properties: Iterable[Property]) -> dict[str, str]:
    """Return the labels that Apple writes beside the other properties of a group."""
    found: dict[str, str] = {}
    for each in properties:
        if each.group and each.name == _LABEL:
            text = text_of(each.value).strip()
            match = _APPLE_LABEL(text)
            # The last ones are of relations and pages, whose labels tell nothing.
            label = _LABELS.get(match[1].lower(), match[1].lower()) if match else text
            if label := _fitting(label, _MAX_LABEL):
                found[each.group] = label
    return found


def _links(names: Mapping[str, Sequence[Property]]) -> tuple[str, ...]:
    """Return the links of a card, as many as a field takes."""
    found = [link for name in _LINKS for each in names.get(name, ()) if (link := _link(each))]
    size, fitting = 0, list[str]()
    for link in dict.fromkeys(found):
        size += len(link) + 1
        if size > _MAX_LINKS:
            break
        fitting.append(link)
    return tuple(fitting)


def _link(each: Property) -> str:
    link = text_of(each.value)
    if len(link) > _MAX_LINK or _IS_LINK(link) is None:
        return ""
    try:
        return link if urlsplit(link).hostname else ""
    except ValueError:
        return ""


def _first_address(found: Sequence[Property]) -> Property | None:
    return next((each for each in found if each.is_preferred), next(iter(found), None))


def _address(each: Property | None) -> dict[str, str]:
    parts: dict[str, str] = {}
    for name, text in zip(_ADDRESS_PARTS, _texts(each), strict=False):
        if shows(text):
            parts[name] = f"{parts[name]}, {text}" if name in parts else text
    return parts if all(len(text) <= _MAX_TEXT for text in parts.values()) else {}


def _day(each: Property) -> str:
    """Return a birthday, or nothing if it is no whole day. Apple writes the year 1604 for one without a year."""
    match = _DAY(each.value.strip())
    if match is None or each.values_of("X-APPLE-OMIT-YEAR"):
        return ""
    with contextlib.suppress(ValueError):
        return date(*map(int, match.groups())).isoformat()
    return ""


def _tags(names: Mapping[str, Sequence[Property]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for each in names.get("CATEGORIES", ()) for tag in _categories(each)))[:MAX_ITEMS]


def _categories(each: Property) -> Iterator[str]:
    yield from filter(_fitting, (text_of(part) for part in parts_of(each.value, ",")))


def _replaced(properties: Sequence[Property], names: Sequence[str], made: Iterable[Property]) -> list[Property]:
    """Return properties with those of some names replaced by others.

    Those that stay are at their places, and the others behind the first of them.
    """
    wanted = [*made]
    old = [each for each in properties if each.name in names]
    gone = {each.group for each in old if each not in wanted} - {each.group for each in wanted} - {""}
    rest = [each for each in properties if not (each.name == _LABEL and each.group in gone)]
    if [each for each in wanted if each in old] == [each for each in old if each in wanted]:
        # Nothing of what stays has another order, so that it can stay at its place.
        return _at_places(rest, names, wanted)
    place = next((index for index, each in enumerate(rest) if each.name in names), len(rest))
    head, tail = ([each for each in half if each.name not in names] for half in (rest[:place], rest[place:]))
    return [*head, *wanted, *tail]


def _at_places(properties: Iterable[Property], names: Sequence[str], wanted: list[Property]) -> list[Property]:
    found: list[Property] = []
    waiting = [*wanted]
    for each in properties:
        if each.name not in names:
            found.append(each)
            continue
        if each in waiting:
            place = waiting.index(each)
            found += waiting[: place + 1]
            waiting = waiting[place + 1 :]
        elif waiting and waiting[0] not in properties:
            # A new one takes the place of one that goes.
            found.append(waiting.pop(0))
            while waiting and waiting[0].name == _LABEL:
                found.append(waiting.pop(0))
    place = next((len(found) - index for index, each in enumerate(reversed(found)) if each.name in names), len(found))
    return [*found[:place], *waiting, *found[place:]]


def _named(content: CardContent, before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the names. The titles and suffixes of the card stay."""
    old = [each for each in kept if each.name in _NAMES]
    full = " ".join(filter(None, (content.first_name, content.last_name)))
    is_same = not _differing(content, before, ("first_name", "last_name"))
    if is_same and full and any(each.name == "FN" for each in old):
        yield from old
        return
    if is_same:
        yield from (each for each in old if each.name == "N")
    elif full:
        name = next((each for each in old if each.name == "N"), Property("N", ""))
        parts = [*parts_of(name.value), "", "", "", "", ""][:5]
        yield name._replace(value=";".join((escaped(content.last_name), escaped(content.first_name), "", *parts[3:])))
    formatted = [each for each in old if each.name == "FN"]
    # A card must have a name (RFC 6350, section 6.2.1).
    text = escaped(full or next((each.value for each in (*content.emails, *content.phone_numbers)), content.company))
    same = [each for each in formatted if text_of(each.value).strip() == text_of(text).strip()]
    if same and is_same:
        yield from formatted
    else:
        yield next(iter(same), Property("FN", text))


def _listed(name: str, member: str, value_of: Callable[[Property], str], is_same: Callable[[str, str], bool]) -> "_Writer":
    def made(content: CardContent, before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
        labels = _labels_of_groups(kept)
        groups = {each.group for each in kept}
        items: tuple[CardItem, ...] = getattr(content, member)
        read: tuple[CardItem, ...] = getattr(before, member)
        primary = next((item for item in items if item.is_primary), None)
        was_primary = next((item for item in read if item.is_primary), None)
        moves = primary is not None and (was_primary is None or not is_same(primary.value, was_primary.value))
        written = set[CardItem]()
        for each in kept:
            if each.name != name:
                continue
            value = value_of(each)
            if not value or not any(is_same(value, item.value) for item in read):
                # The person never had it, unless an operation has set a text that is no number.
                yield each
                written |= {item for item in items if item.value == text_of(each.value).strip()}
                continue
            item = next((item for item in items if is_same(value, item.value)), None)
            if item is None:
                continue
            is_marked = moves and item.is_primary and item not in written
            marked = _preferred(each, is_preferred=is_marked) if moves else each
            if item in written or _comparable_label(_label(each, labels)) == _comparable_label(item.label):
                yield marked
            else:
                yield from _relabelled(marked, item, groups)
            written.add(item)
        for item in items:
            if item not in written:
                yield from _labelled(name, item, groups, is_marked=moves and item.is_primary and bool(read or item != items[0]))

    return made


def _labelled(name: str, item: CardItem, groups: set[str], *, is_marked: bool) -> Iterator[Property]:
    """Return a new item."""
    preferred = (Parameter("TYPE", ("pref",)),) if is_marked else ()
    yield from _with_label(Property(name, escaped(item.value), preferred), item.label, groups)


def _with_label(each: Property, label: str, groups: set[str]) -> Iterator[Property]:
    """Return a property with a label. One that versions 3.0 and 4.0 have no type for is written as Apple does."""
    if not label or label in _TYPES:
        types = (Parameter("TYPE", (_TYPES[label],)),) if label else ()
        yield each._replace(parameters=types + each.parameters)
        return
    group = next(found for number in range(1, len(groups) + 2) if (found := f"item{number}") not in groups)
    groups.add(group)
    yield each._replace(group=group)
    yield Property(_LABEL, escaped(label), (), group)


def _relabelled(each: Property, item: CardItem, groups: set[str]) -> Iterator[Property]:
    """Return a property with another label, and its other parameters."""
    kept = [
        Parameter(name, tuple(value for value in values if name != "TYPE" or not _LABELS.keys() & {*value.lower().split(",")}))
        for name, values in each.parameters
    ]
    bare = each._replace(parameters=tuple(parameter for parameter in kept if parameter.values), group="")
    yield from _with_label(bare, item.label, groups)


def _preferred(each: Property, *, is_preferred: bool) -> Property:
    """Return a property with or without the mark of the preferred one."""
    if each.is_preferred == is_preferred:
        return each
    kept = [
        Parameter(name, tuple(value for value in values if name != "TYPE" or value.lower() != "pref"))
        for name, values in each.parameters
        if name != "PREF"
    ]
    marks = [Parameter("TYPE", ("pref",))] if is_preferred else []
    return each._replace(parameters=tuple(parameter for parameter in [*kept, *marks] if parameter.values))


def _organization(content: CardContent, before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    old = [each for each in kept if each.name == "ORG"]
    if content.company or content.department:
        company, *units = parts_of(old[0].value) if old else [""]
        if _differing(content, before, ["company"]):
            company = escaped(content.company)
        if _differing(content, before, ["department"]):
            units = [escaped(content.department)] if content.department else []
        yield Property("ORG", ";".join((company, *units)), old[0].parameters if old else (), old[0].group if old else "")
        yield from old[1:]


def _titled(content: CardContent, before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the titles. Those behind the first stay with it."""
    old = [each for each in kept if each.name == "TITLE"]
    first = next((each for each in old if _title(each) == before.job_title), None) if before.job_title else None
    if content.job_title and first is None:
        yield Property("TITLE", escaped(content.job_title))
    for each in old:
        if each is first and content.job_title:
            yield each._replace(value=escaped(content.job_title))
        elif content.job_title or not _title(each):
            yield each


def _only(name: str, member: str) -> "_Writer":
    """Return what writes a member as the only property of a name."""

    def made(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
        if value := getattr(content, member):
            group = next((each.group for each in kept if each.name == name), "")
            yield Property(name, escaped(value), (), group)

    return made


def _postal(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the addresses, unless there is none any more."""
    if not content.address:
        return
    old = [each for each in kept if each.name == "ADR"]
    first = _first_address(old)
    parts = [""] * len(_ADDRESS_PARTS)
    for name, text in content.address.items():
        parts[_ADDRESS_PLACES[name]] = escaped(text)
    # The text of a label is of the address before.
    parameters = () if first is None else tuple(parameter for parameter in first.parameters if parameter.name != "LABEL")
    made = Property("ADR", ";".join(parts), parameters, "" if first is None else first.group)
    yield from [made if each is first else each for each in old] if old else [made]


def _web(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the links, that of the website first."""
    wanted = [*filter(None, (content.website, *content.links))]
    old = {value: each for each in reversed(kept) if each.name in _LINKS and (value := _link(each))}
    yield from (old.get(link, Property("URL", escaped(link))) for link in wanted)
    yield from (each for each in kept if each.name in _LINKS and not _link(each))


def _remarks(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the notes. The description of a contact is one that says so, because other programs show no other place."""
    new = {_comparable(note): note for note in content.notes}
    is_described = False
    for each in kept:
        if each.name != "NOTE":
            continue
        note, description = _note(each), _description(each)
        if note:
            if _comparable(note) in new:
                yield each
                del new[_comparable(note)]
        elif description:
            if content.description and not is_described:
                is_described = True
                stays = content.description.strip() == description.strip()
                yield each if stays else each._replace(value=escaped(content.description))
        else:
            yield each
    if content.description and not is_described:
        yield Property("NOTE", escaped(content.description), (Parameter(_OWN, ("description",)),))
    yield from (Property("NOTE", escaped(note)) for note in new.values())


def _tagged(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    """Return the tags, those that stay in the properties in which they were."""
    new = {_comparable(tag): tag for tag in content.tags}
    for each in kept:
        if each.name == "CATEGORIES":
            parts = parts_of(each.value, ",")
            stay = [part for part in parts if not _fitting(text_of(part)) or _comparable(text_of(part)) in new]
            for part in stay:
                new.pop(_comparable(text_of(part)), None)
            if stay:
                yield each if stay == parts else each._replace(value=",".join(stay))
    if new:
        yield Property("CATEGORIES", ",".join(map(escaped, new.values())))


def _own(content: CardContent, _before: CardContent, kept: Sequence[Property]) -> Iterator[Property]:
    old = {(_own_name(each), text_of(each.value)): each for each in kept if each.name == _OWN}
    for name, value in content.others.items():
        yield old.get((name, value), Property(_OWN, escaped(value), (Parameter("NAME", (name,)),)))
    yield from (each for each in kept if each.name == _OWN and not _own_name(each))


_Writer = Callable[[CardContent, CardContent, Sequence[Property]], Iterator[Property]]
_MEMBERS: Final = frozenset(CardContent.__struct_fields__)
# The members that are written together, the names of their properties, and what writes them: from the content, the one that the
# card has had, and the properties of the card.
_WRITERS: Final[tuple[tuple[tuple[str, ...], tuple[str, ...], _Writer], ...]] = (
    (("first_name", "last_name"), _NAMES, _named),
    (("emails",), ("EMAIL",), _listed("EMAIL", "emails", _email, _same_address)),
    (("phone_numbers",), ("TEL",), _listed("TEL", "phone_numbers", _phone_number, _same_number)),
    (("company", "department"), ("ORG",), _organization),
    (("job_title",), ("TITLE",), _titled),
    (("address",), ("ADR",), _postal),
    (("birthday",), ("BDAY",), _only("BDAY", "birthday")),
    (("website", "links"), _LINKS, _web),
    (("description", "notes"), ("NOTE",), _remarks),
    (("tags",), ("CATEGORIES",), _tagged),
    (("time_zone",), ("TZ",), _only("TZ", "time_zone")),
    (("others",), (_OWN,), _own),
)
