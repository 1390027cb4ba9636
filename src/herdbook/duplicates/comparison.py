"""The comparison of two contacts or two companies: the keys by which the two meet, the evidence, and the score.

The score is the probability that the two are the same, between 0 and 1. It follows from the sum of the weights of the evidence,
which are natural logarithms of likelihood ratios (Fellegi and Sunter, 1969). The weights of names, addresses and birthdays were
fitted to the FEBRL data sets; `tests/duplicates/test_febrl.py` measures the result.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import product
from typing import Any, Final, NamedTuple, cast

import msgspec

from herdbook.addresses import comparable_address
from herdbook.duplicates.common_words import DOMAINS, LEGAL_FORMS, POSTS, SECOND_LEVELS, STREETS, TITLES
from herdbook.duplicates.nicknames import names_of
from herdbook.phone_numbers import spelled, sure_keys
from herdbook.search_text import folded

_WORDS: Final = re.compile(r"[^\W_]+")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_NUMBER: Final = re.compile(r"\d+")
_VOWELS: Final = re.compile(r"(?<=.)[aeiouyhw]+")
_DOUBLES: Final = re.compile(r"(.)\1+")
_ALIKE: Final = str.maketrans({"z": "s", "c": "k", "q": "k", "v": "f", "d": "t", "b": "p", "g": "k", "j": "i", "m": "n"})
_MIN_LOCAL: Final = 5
# Limits the addresses and numbers of a contact that are compared, and the names that a form of one may stand for.
_MAX_ITEMS: Final = 5
_MAX_ROOTS: Final = 3
# The similarity of texts of several words, of 100, from which on they are taken for spellings of one.
_CLOSE: Final = 85


class _Item(msgspec.Struct, frozen=True):
    email: str = ""
    phone_number: str = ""
    domain: str = ""


class _Ref(msgspec.Struct, frozen=True):
    id: str = ""


class _Crm(msgspec.Struct, frozen=True):
    crm_object_id: str = ""
    source: str = ""


class StoredContact(msgspec.Struct, frozen=True):
    """The members of a contact that are compared."""

    first_name: str | None = None
    last_name: str | None = None
    company: _Ref | None = None
    emails: tuple[_Item, ...] = ()
    phone_numbers: tuple[_Item, ...] = ()
    crm_association: _Crm | None = None


class Email(NamedTuple):
    """An e-mail address in its parts, and the words of its local part."""

    local: str
    domain: str
    words: tuple[str, ...]


class Name(NamedTuple):
    """The name of a person: the parts of the given name and of the family name, and each without spaces."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    first: str
    last: str

    @property
    def swapped(self) -> "Name":
        """The same with the parts in the other order."""
        return Name(self.family, self.given, self.last, self.first)


class Place(NamedTuple):
    """A postal address."""

    number: str
    street: str
    city: str
    postal_code: str
    region: str


class Person(NamedTuple):
    """A contact, prepared for comparisons."""

    name: Name
    company: str
    numbers: tuple[str, ...]
    emails: tuple[Email, ...]
    domains: frozenset[str]
    place: Place | None
    birthday: str
    crm: str


class Firm(NamedTuple):
    """A company, prepared for comparisons: its name without legal forms, in words and joined, its domains and their labels."""

    words: tuple[str, ...]
    joined: str
    domains: frozenset[str]
    labels: frozenset[str]
    place: Place | None
    crm: str


class Evidence(NamedTuple):
    """A piece of evidence that two objects are the same, or not: its kind, which has a weight, and the values it is about."""

    kind: str
    values: tuple[str, ...] = ()


# The natural logarithms of how much likelier each evidence is among the same than among others. A missing value is none.
WEIGHTS: Final = {
    # Only objects with a key in common are compared: a few in a thousand of them are the same.
    "prior": -6.0,
    # Names of persons.
    "name": 6.0,
    "nickname": 5.0,
    "similar": 4.5,
    "swapped": 4.5,
    "initial": 3.0,
    "given": 2.0,
    "family": 1.5,
    "roughly": 1.5,
    "another family": -1.5,
    "another given": -4.0,
    "another name": -4.5,
    # Members that one person has, mostly.
    "number": 4.5,
    "birthday": 7.0,
    "similar birthday": 2.5,
    "another birthday": -2.5,
    "crm": 8.0,
    "email": 6.0,
    "local": 3.0,
    "similar local": 2.0,
    "another email": -1.0,
    # Members that several persons share.
    "shared number": 1.0,
    "shared address": 0.5,
    "company": 2.5,
    "domain": 2.0,
    "another company": -0.7,
    "address": 4.5,
    "street": 2.5,
    "house number": 1.0,
    "postal code": 2.0,
    "city": 1.5,
    "another street": -1.0,
    "another postal code": -1.0,
    "another city": -0.7,
    # Companies.
    "company name": 6.5,
    "similar company name": 4.5,
    "longer company name": 3.0,
    "another company name": -4.0,
    "label": 4.0,
    "named by domain": 3.5,
    "another label": -1.5,
}
# Evidence that means less the more people have the name.
_OF_NAMES: Final = frozenset(("name", "nickname", "similar", "swapped"))
_OF_OTHERS: Final = frozenset(("another given", "another name"))


def has_name(evidence: Sequence[Evidence]) -> bool:
    """Whether two objects have the same name, or one like it."""
    return bool(evidence) and evidence[0].kind in _OF_NAMES


def score(evidence: Sequence[Evidence], namesakes: int = 1, weights: Mapping[str, float] = WEIGHTS) -> float:
    """Return the probability that two objects are the same, by the evidence.

    `namesakes` is how many others have the name of one of them: the more there are, the less does it say.
    """
    total = weights["prior"]
    for each in evidence:
        total += weights[each.kind]
        if namesakes > 1 and each.kind in _OF_NAMES:
            total -= math.log(namesakes)
    return 1 / (1 + math.exp(-total))


@lru_cache(maxsize=65_536)
def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(folded(text).replace("'", "")))


@lru_cache(maxsize=65_536)
def skeleton(word: str) -> str:
    """Return what stays of a word if it is misspelt: its first letter and its consonants, the similar ones alike."""
    return _DOUBLES.sub(r"\1", _VOWELS.sub("", word.replace("ph", "f").translate(_ALIKE)))[:6]


def name_of(first_name: str | None, last_name: str | None) -> Name:
    """Return a name in its parts, without titles. A single text of several words ends with the family name."""
    given = tuple(word for word in _words(first_name or "") if word not in TITLES)
    family = tuple(word for word in _words(last_name or "") if word not in TITLES)
    if not family and len(given) > 1:
        given, family = given[:-1], given[-1:]
    elif not given and len(family) > 1:
        given, family = family[:-1], family[-1:]
    return Name(given, family, "".join(given), "".join(family))


def _email_of(address: str) -> Email:
    local, _, domain = comparable_address(address).rpartition("@")
    local = local.partition("+")[0] or local
    return Email(local, domain, tuple(_LETTERS.findall(folded(local))))


def place_of(value: Any) -> Place | None:
    """Return the postal address in the value of a field, or None if it is none."""
    if not isinstance(value, dict):
        return None
    parts = {name: str(part) for name, part in cast("dict[str, object]", value).items()}
    words = _words(parts.get("street", ""))
    number = next((word for word in words if word[0].isdecimal()), "")
    street = " ".join(STREETS.get(word, word) for word in words if word is not number)
    city, region = " ".join(_words(parts.get("city", ""))), " ".join(_words(parts.get("region", "")))
    postal_code = "".join(_words(parts.get("postal_code", "")))
    return Place(number, street, city, postal_code, region) if street or city or postal_code else None


def person_of(
    contact: StoredContact, fields: Mapping[str, Any], region: str | None, numbers: Sequence[str] | None = None
) -> Person:
    """Return a contact, prepared for comparisons.

    `fields` are its values of the workspace's own fields. `region` is the workspace's default region for phone numbers, and
    `numbers` are those with a country code, as they were read.
    """
    emails = tuple(_email_of(item.email) for item in contact.emails[:_MAX_ITEMS])
    birthday = fields.get("birthday")
    crm = contact.crm_association
    return Person(
        name=name_of(contact.first_name, contact.last_name),
        company="" if contact.company is None else contact.company.id,
        numbers=_numbers_of(contact, region, numbers or ()),
        emails=emails,
        domains=frozenset(each.domain for each in emails if each.domain not in DOMAINS),
        place=place_of(fields.get("address")),
        birthday=birthday if isinstance(birthday, str) else "",
        crm="" if crm is None else f"{crm.source} {crm.crm_object_id}",
    )


def _numbers_of(contact: StoredContact, region: str | None, read: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the phone numbers of a contact. Those with a country code were read before, if they are valid."""
    others = [item.phone_number for item in contact.phone_numbers if not item.phone_number.startswith("+")]
    if len(others) + len(read) != len(contact.phone_numbers):
        others, read = [item.phone_number for item in contact.phone_numbers], ()
    keys = (key for phone_number in others[:_MAX_ITEMS] for key in sure_keys(phone_number, region)[:1])
    return tuple(dict.fromkeys((*read[:_MAX_ITEMS], *keys)))


class StoredCompany(msgspec.Struct, frozen=True):
    """The members of a company that are compared."""

    name: str | None = None
    domains: tuple[_Item, ...] = ()
    crm_association: _Crm | None = None


def label_of(domain: str) -> str:
    """Return the part of a domain that is the name of its holder: `acme` of `acme.co.uk` and of `shop.acme.de`."""
    labels = domain.split(".")[:-1]
    if len(labels) > 1 and labels[-1] in SECOND_LEVELS:
        labels.pop()
    return labels[-1].replace("-", "") if labels else domain


def firm_of(company: StoredCompany, fields: Mapping[str, Any]) -> Firm:
    """Return a company, prepared for comparisons."""
    words = _words(company.name or "")
    core = tuple(word for word in words if word not in LEGAL_FORMS) or words
    domains = frozenset(item.domain for item in company.domains[:_MAX_ITEMS])
    crm = company.crm_association
    return Firm(
        words=core,
        joined="".join(core),
        domains=domains,
        labels=frozenset(map(label_of, domains)),
        place=place_of(fields.get("address")),
        crm="" if crm is None else f"{crm.source} {crm.crm_object_id}",
    )


def _key(*parts: str) -> int:
    return int.from_bytes(blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big", signed=True)


class Keys(NamedTuple):
    """The keys of an object: others that share one are compared with it. `names` are those of a person's name alone."""

    all: frozenset[int]
    names: frozenset[int]


def keys_of_person(person: Person) -> Keys:
    """Return the keys of a contact."""
    return _keys(_parts_of_person(person))


def keys_of_firm(firm: Firm) -> Keys:
    """Return the keys of a company."""
    return _keys(_parts_of_firm(firm))


def _keys(parts: Iterable[Sequence[str]]) -> Keys:
    hashed = [(each[0], _key(*each)) for each in parts]
    return Keys(frozenset(key for _, key in hashed), frozenset(key for kind, key in hashed if kind == "name"))


def _parts_of_person(person: Person) -> Iterator[tuple[str, ...]]:
    """Yield of each key of a contact its kind and its values."""
    family = skeleton(person.name.last)
    given = [*dict.fromkeys(skeleton(root) for root in _roots(person.name))]
    if family:
        for each in given:
            yield ("name", *sorted((each, family)))
    known = [*given, family] if family else given
    for context in _contexts(person):
        for each in known:
            yield (*context, each)
    for number in person.numbers:
        yield ("number", number)
    for email in person.emails:
        yield from _parts_of_email(email)
    if (place := person.place) is not None and place.number and place.street:
        yield ("address", place.number, skeleton(place.street.replace(" ", "")))
    if person.crm:
        yield ("crm", person.crm)


def _contexts(person: Person) -> Iterator[tuple[str, str]]:
    """Yield what narrows down a part of a name."""
    for domain in person.domains:
        yield ("domain", domain)
    if person.company:
        yield ("company", person.company)
    if person.birthday:
        yield ("birthday", person.birthday)
    if person.place is not None and person.place.postal_code:
        yield ("postal code", person.place.postal_code)


def _parts_of_email(email: Email) -> Iterator[tuple[str, ...]]:
    if len(email.local) >= _MIN_LOCAL and email.local not in POSTS:
        yield ("local", email.local)
    if email.domain not in DOMAINS:
        for each in _email_names(email):
            yield ("domain", email.domain, each)


def _parts_of_firm(firm: Firm) -> Iterator[tuple[str, ...]]:
    """Yield of each key of a company its kind and its values."""
    if firm.joined:
        yield ("title", firm.joined)
        yield ("similar title", skeleton(firm.joined))
        yield ("first words", " ".join(firm.words[:2]))
    for label in firm.labels:
        yield ("title", label)
    if firm.crm:
        yield ("crm of company", firm.crm)


def key_in_words(profile: Person | Firm, key: int) -> str:
    """Return in words what the objects have in common that share a key of one of them."""
    parts = _parts_of_person(profile) if isinstance(profile, Person) else _parts_of_firm(profile)
    kind, *values = next(each for each in parts if _key(*each) == key)
    if kind == "number":
        values = [spelled(values[0])]
    return _KEYS_IN_WORDS[kind].format(*values)


_IN_CONTEXT: Final = ", and names that sound like `{}`"
_KEYS_IN_WORDS: Final = {
    "name": "names that sound like `{} {}`",
    "number": "the phone number {}",
    "local": "addresses that begin with `{}@`",
    "crm": "the CRM record {}",
    "address": "house number {} in streets that sound like `{}`",
    "domain": "the domain {}" + _IN_CONTEXT,
    "company": "the company {}" + _IN_CONTEXT,
    "birthday": "the birthday {}" + _IN_CONTEXT,
    "postal code": "the postal code {}" + _IN_CONTEXT,
    "title": "the name `{}`",
    "similar title": "names that sound like `{}`",
    "first words": "names that begin with `{}`",
    "crm of company": "the CRM record {}",
}


def _roots(name: Name) -> tuple[str, ...]:
    if not name.given:
        return ()
    return names_of(name.given[0])[:_MAX_ROOTS] if len(name.given[0]) > 1 else ()


def _email_names(email: Email) -> set[str]:
    names = {skeleton(root) for word in email.words[:2] if len(word) > 1 for root in names_of(word)[:_MAX_ROOTS]}
    if len(email.words) == 1 and len(email.words[0]) > _MIN_LOCAL:
        names.add(skeleton(email.words[0][1:]))
    return names


def evidence_of_persons(one: Person, other: Person) -> list[Evidence]:
    """Return the evidence that two contacts are the same, or not."""
    found = _of_names(one.name, other.name)
    are_others = bool(found) and found[0].kind in _OF_OTHERS
    if one.company and other.company:
        found.append(Evidence("company" if one.company == other.company else "another company"))
    for key in one.numbers:
        if key in other.numbers:
            # Colleagues and families share telephones.
            found.append(Evidence("shared number" if are_others else "number", (key,)))
            break
    if one.emails and other.emails:
        found += _of_emails(one, other)
    if one.birthday and other.birthday:
        found.append(_of_birthdays(one.birthday, other.birthday))
    if one.place is not None and other.place is not None:
        of_places = _of_places(one.place, other.place)
        if one.company and one.company == other.company:
            # Colleagues have the address of their office.
            of_places = [Evidence("shared address")] if Evidence("address") in of_places else []
        found += of_places
    if one.crm and one.crm == other.crm:
        found.append(Evidence("crm", (one.crm,)))
    return found


def evidence_of_firms(one: Firm, other: Firm) -> list[Evidence]:
    """Return the evidence that two companies are the same, or not."""
    found: list[Evidence] = []
    if one.joined and other.joined:
        found.append(Evidence(_of_titles(one, other)))
    if common := one.labels & other.labels:
        found.append(Evidence("label", tuple(min(d for d in each.domains if label_of(d) in common) for each in (one, other))))
    elif one.labels and other.labels:
        if not any(is_similar(*each) for each in product(one.labels, other.labels)):
            found.append(Evidence("another label"))
    elif one.joined in other.labels or other.joined in one.labels:
        found.append(Evidence("named by domain"))
    if one.place is not None and other.place is not None:
        found += _of_places(one.place, other.place)
    if one.crm and one.crm == other.crm:
        found.append(Evidence("crm", (one.crm,)))
    return found


def _of_titles(one: Firm, other: Firm) -> str:
    if one.joined == other.joined:
        return "company name"
    if one.words[: len(other.words)] == other.words or other.words[: len(one.words)] == one.words:
        return "longer company name"
    is_close = _is_close(" ".join(one.words), " ".join(other.words)) or is_similar(one.joined, other.joined)
    return "similar company name" if is_close else "another company name"


def _of_names(one: Name, other: Name) -> list[Evidence]:
    if not (one.first or one.last) or not (other.first or other.last):
        return []
    if one == other:
        return [Evidence("name" if one.first and one.last else "given" if one.first else "family")]
    straight = _of_parts(one, other)
    if straight in _SURE or not (one.first and one.last and other.first and other.last):
        return [Evidence(straight)]
    if _of_parts(one, other.swapped) in _SURE:
        return [Evidence("swapped")]
    return [Evidence(straight)]


_SURE: Final = frozenset(("name", "nickname", "similar", "initial"))


def _of_parts(one: Name, other: Name) -> str:
    given = _of_given(one, other)
    family = _of_family(one.last, other.last)
    return _NAMES[given, family]


def _of_given(one: Name, other: Name) -> str:
    if not one.first or not other.first:
        return "missing"
    if one.first == other.first:
        return "same"
    first, second = one.given[0], other.given[0]
    if len(first) == 1 or len(second) == 1:
        return "initial" if first[0] == second[0] else "another"
    if first == second or not set(names_of(first)).isdisjoint(names_of(second)):
        return "nickname"
    return "similar" if is_similar(one.first, other.first) else "another"


def _of_family(one: str, other: str) -> str:
    if not one or not other:
        return "missing"
    if one == other:
        return "same"
    return (
        "similar" if is_similar(one, other) or (min(len(one), len(other)) > 3 and (one in other or other in one)) else "another"
    )


def is_similar(one: str, other: str) -> bool:
    """Whether two words differ as a word and its misspelling do."""
    if not (one.isalpha() and other.isalpha()) and _NUMBER.findall(one) != _NUMBER.findall(other):
        # `room12` is no misspelling of `room13`.
        return False
    most = 1 if min(len(one), len(other)) < 5 else 2
    return _edits(one, other, most) <= most or _library().distance.JaroWinkler.similarity(one, other) >= 0.92


def _edits(one: str, other: str, most: int) -> int:
    """Return how many letters were mistyped, or swapped with their neighbour, or a number above `most` if more than those."""
    return _library().distance.OSA.distance(one, other, score_cutoff=most)


@cache
def _library():  # noqa: ANN202  # only as an inferred type does a module have its members
    """Return the library that compares texts. It takes a thirtieth of a start to import, and a new server compares nothing.

    Nobody imports a part of it by itself, because the import of the whole by another thread would fail, and so would that.
    """
    import rapidfuzz  # noqa: PLC0415

    return rapidfuzz


def load_library_of_likeness() -> None:
    """Import the library that compares texts, before two need it."""
    _library()


def _is_close(one: str, other: str) -> bool:
    """Whether two texts have about the same words, in any order."""
    return _library().fuzz.token_sort_ratio(one, other) >= _CLOSE


_NAMES: Final = {
    ("same", "same"): "name",
    ("nickname", "same"): "nickname",
    ("initial", "same"): "initial",
    ("similar", "same"): "similar",
    ("another", "same"): "another given",
    ("missing", "same"): "family",
    ("same", "similar"): "similar",
    ("nickname", "similar"): "similar",
    ("initial", "similar"): "roughly",
    ("similar", "similar"): "roughly",
    ("another", "similar"): "another name",
    ("missing", "similar"): "roughly",
    ("same", "another"): "another family",
    ("nickname", "another"): "another family",
    ("initial", "another"): "another name",
    ("similar", "another"): "another family",
    ("another", "another"): "another name",
    ("missing", "another"): "another name",
    ("same", "missing"): "given",
    ("nickname", "missing"): "given",
    ("initial", "missing"): "roughly",
    ("similar", "missing"): "roughly",
    ("another", "missing"): "another name",
    ("missing", "missing"): "roughly",
}


def _of_birthdays(one: str, other: str) -> Evidence:
    if one == other:
        return Evidence("birthday")
    if one[:4] == other[:4] and one[5:7] == other[8:] and one[8:] == other[5:7]:
        return Evidence("similar birthday")
    return Evidence("similar birthday" if _edits(one, other, 1) <= 1 else "another birthday")


def _of_places(one: Place, other: Place) -> list[Evidence]:
    found: list[Evidence] = []
    if one.street and other.street:
        is_close = _is_close(one.street, other.street) or is_similar(one.street.replace(" ", ""), other.street.replace(" ", ""))
        if not is_close:
            found.append(Evidence("another street"))
        elif one.number and one.number == other.number:
            found.append(Evidence("address"))
        else:
            found.append(Evidence("street"))
    elif one.number and one.number == other.number:
        found.append(Evidence("house number"))
    if one.postal_code and other.postal_code:
        if one.postal_code == other.postal_code:
            found.append(Evidence("postal code"))
        elif _edits(one.postal_code, other.postal_code, 1) > 1:
            found.append(Evidence("another postal code"))
    if one.city and other.city:
        found.append(Evidence("city" if one.city == other.city or is_similar(one.city, other.city) else "another city"))
    return found


def _of_emails(one: Person, other: Person) -> list[Evidence]:
    best: Evidence | None = None
    for first, second in product(one.emails, other.emails):
        each = _of_email(first, second)
        if each is not None and (best is None or WEIGHTS[each.kind] > WEIGHTS[best.kind]):
            best = each
    if best is not None and best.kind == "another email" and _are_of_names(one, other):
        best = Evidence("domain")
    return [] if best is None else [best]


def _are_of_names(one: Person, other: Person) -> bool:
    """Whether two persons have addresses at one domain that are made of their names, in whatever form."""
    shared = one.domains & other.domains
    return all(
        any(email.domain in shared and _is_of_name(email, person.name) for email in person.emails) for person in (one, other)
    )


def _is_of_name(email: Email, name: Name) -> bool:
    """Whether a local part is made of a name, as `ada`, `alovelace` and `lovelace.a` are of Ada Lovelace."""
    first, last = name.first, name.last
    if not (first and last) or _NUMBER.search(email.local):
        return False
    forms = (first, last, first + last, last + first, first[0] + last, last + first[0], first + last[0], *name.given)
    return "".join(email.words) in forms


def _of_email(one: Email, other: Email) -> Evidence | None:
    if one.domain != other.domain:
        if one.local == other.local and len(one.local) >= _MIN_LOCAL and one.local not in POSTS:
            return Evidence("local", (one.local,))
        return None
    if one.domain in DOMAINS:
        is_form = min(len(one.words), len(other.words)) > 1 and _means_same(one.words, other.words)
        return Evidence("similar local", (one.local, other.local)) if is_form or is_similar(one.local, other.local) else None
    if one.local in POSTS or other.local in POSTS:
        return Evidence("domain")
    if _NUMBER.findall(one.local) == _NUMBER.findall(other.local) and _means_same(one.words, other.words):
        return Evidence("email", (one.local, other.local))
    return Evidence("another email")


def _means_same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the words of two local parts may be written for the same name, as `jon` and `j.smith` are for Jonathan Smith."""
    joined, others = "".join(one), "".join(other)
    if not joined or not others:
        return False
    if joined[0] == others[0] and is_similar(joined, others):
        return True
    if len(one) == len(other):
        return all(_is_form(*each) for each in zip(one, other, strict=True)) or all(
            _is_form(*each) for each in zip(one, reversed(other), strict=True)
        )
    longer, shorter = (one, others) if len(one) > len(other) else (other, joined)
    return shorter == longer[0][0] + "".join(longer[1:]) or shorter == "".join(reversed(longer))


def _is_form(one: str, other: str) -> bool:
    if len(one) == 1 or len(other) == 1:
        return one[0] == other[0]
    if one == other or not set(names_of(one)).isdisjoint(names_of(other)):
        return True
    return one[0] == other[0] and is_similar(one, other)


def reasons_of(evidence: Sequence[Evidence]) -> list[str]:
    """Return in words why two objects may be the same, the strongest reason first."""
    kinds = {each.kind for each in evidence}
    found: list[tuple[float, str]] = []
    for each in evidence:
        words = _WORDS_OF.get(each.kind)
        if words is None or (each.kind == "company" and kinds & _OF_NAMES):
            continue
        text = words.format(*(spelled(value) if each.kind.endswith("number") else value for value in each.values))
        if each.kind in _OF_NAMES and "company" in kinds:
            text += " at the same company"
        found.append((WEIGHTS[each.kind], text))
    return [text for _, text in sorted(found, key=lambda one: -one[0])]


_WORDS_OF: Final = {
    "name": "same name",
    "nickname": "same name in another form",
    "similar": "similar name",
    "swapped": "same name in the other order",
    "initial": "same family name and initial",
    "given": "same given name",
    "family": "same family name",
    "roughly": "roughly the same name",
    "another family": "same given name, another family name",
    "number": "same phone {}",
    "shared number": "same phone {}",
    "birthday": "same birthday",
    "similar birthday": "similar birthday",
    "crm": "same CRM record {}",
    "email": "`{}@` and `{}@` at one domain",
    "local": "`{}@` at two domains",
    "similar local": "`{}@` and `{}@` at one provider",
    "company": "same company",
    "domain": "addresses at one domain",
    "address": "same address",
    "shared address": "same address",
    "street": "same street",
    "postal code": "same postal code",
    "city": "same city",
    "company name": "same name",
    "similar company name": "similar name",
    "longer company name": "one name begins the other",
    "label": "domains {} and {}",
    "named by domain": "the domain of one is the name of the other",
}
