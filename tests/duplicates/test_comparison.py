"""The comparison of two contacts or two companies, without a server."""

from typing import Any

import msgspec
import pytest

from herdbook.duplicates.comparison import (
    Person,
    StoredCompany,
    StoredContact,
    evidence_of_firms,
    evidence_of_persons,
    firm_of,
    keys_of_person,
    label_of,
    person_of,
    reasons_of,
    score,
)
from herdbook.duplicates.nicknames import names_of
from herdbook.search_text import folded


def person(fields: dict[str, Any] | None = None, **members: Any) -> Person:
    """Return a contact, prepared for comparisons."""
    contact = msgspec.convert(members, StoredContact)
    return person_of(contact, fields or {}, "GB")


def named(first: str, last: str, *addresses: str, **members: Any) -> Person:
    """Return a contact with a name."""
    return person(first_name=first, last_name=last, emails=[{"email": each} for each in addresses], **members)


def likely(one: Person, other: Person) -> float:
    """Return the probability that two contacts are the same; it is the same the other way round."""
    found = score(evidence_of_persons(one, other))
    assert score(evidence_of_persons(other, one)) == found
    return found


def test_each_form_is_folded_and_stands_once() -> None:
    """The table of names has each form as it is compared, and a form that is no name stands for itself."""
    for form in ("bob", "sasha", "pepe", "liesl"):
        assert names_of(form) != (form,)
        assert folded(form) == form
    assert names_of("zyxomma") == ("zyxomma",)
    assert set(names_of("alex")) == {"alexander", "alexandra"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("jon", "jonathan"), ("j.smith", "jonathan.smith"), ("smith.j", "j.smith"), ("jsmith", "j.smith"), ("bob", "robert")],
)
def test_addresses_for_one_name(one: str, other: str) -> None:
    """Local parts at one domain that are made of one name are evidence."""
    kinds = [each.kind for each in evidence_of_persons(*(named("", "", f"{each}@engine.test") for each in (one, other)))]

    assert kinds == ["email"]


@pytest.mark.parametrize(
    ("one", "other"), [("jsmith1", "jsmith2"), ("jon", "mary"), ("jsmith", "ksmith"), ("info", "sales"), ("ann", "ian")]
)
def test_addresses_for_several_names(one: str, other: str) -> None:
    """Local parts at one domain that are made of several names are none."""
    kinds = [each.kind for each in evidence_of_persons(*(named("", "", f"{each}@engine.test") for each in (one, other)))]

    assert "email" not in kinds


def test_an_address_of_a_post_says_little() -> None:
    """An address such as `info@` is of no person, so that two at one domain are no duplicates for it."""
    assert likely(named("", "", "info@engine.test"), named("", "", "sales@engine.test")) < 0.1


def test_the_same_address_elsewhere() -> None:
    """The same local part with another provider is evidence for people with the same name."""
    one, other = named("Ada", "King", "ada.king@gmail.com"), named("Ada", "King", "ada.king@outlook.com")

    assert likely(one, other) > 0.9
    assert "`ada.king@` at two domains" in reasons_of(evidence_of_persons(one, other))


def test_twins_of_a_household_are_two() -> None:
    """People of one family at one address are several, even with one telephone."""
    home = {"address": {"street": "12 Ockham Road", "city": "London", "postal_code": "W1"}}
    phone = [{"phone_number": "+44 20 7946 0000"}]
    one = person(home, first_name="Ada", last_name="King", phone_numbers=phone)
    other = person(home, first_name="William", last_name="King", phone_numbers=phone)

    assert likely(one, other) < 0.5


def test_colleagues_share_an_office() -> None:
    """The address of an office says little about colleagues, even with one given name."""
    office = {"address": {"street": "12 Ockham Road", "city": "London", "postal_code": "W1"}}
    company = {"id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}
    one, other = (person(office, first_name="Ngozi", last_name=each, company=company) for each in ("Urquhart", "Eriksen"))

    assert likely(one, other) < 0.1


@pytest.mark.parametrize("street", ["12 Ockham Rd", "Ockham Road 12", "12 ockhamroad", "12 Okham Road"])
def test_streets(street: str) -> None:
    """A street is the same with a short word, a turned order, a missing space or a letter less."""
    place = {"city": "London", "postal_code": "W1 1AA"}
    one = person({"address": {"street": "12 Ockham Road", **place}}, first_name="Ada", last_name="King")
    other = person({"address": {"street": street, **place}}, first_name="Ada", last_name="King")

    assert "same address" in reasons_of(evidence_of_persons(one, other))


def test_birthdays() -> None:
    """A birthday is evidence, one with another digit or with day and month turned is weaker, and another one speaks against."""
    born = {
        text: person({"birthday": text}, first_name="Ada", last_name="King")
        for text in (*("1815-12-10", "1815-12-11", "1815-10-12", "1901-03-04"),)
    }
    first = born["1815-12-10"]

    assert likely(first, first) > likely(first, born["1815-12-11"]) > likely(first, born["1901-03-04"])
    assert likely(first, born["1815-10-12"]) == likely(first, born["1815-12-11"])
    assert likely(first, born["1901-03-04"]) < 0.5


def test_the_same_link_to_a_crm_record() -> None:
    """Contacts that are linked to one record of a CRM are nearly surely the same."""
    link = {"object_type": "contact", "crm_object_id": "77", "source": "hubspot"}

    assert likely(person(crm_association=link), person(crm_association=link)) > 0.85
    assert likely(person(crm_association=link), person(crm_association=link | {"source": "pipedrive"})) < 0.1


def test_namesakes() -> None:
    """The more have a name, the less does it say."""
    evidence = evidence_of_persons(named("Ada", "King"), named("Ada", "King"))

    assert score(evidence, 1) > score(evidence, 2) > score(evidence, 10)


def test_keys_do_not_depend_on_spelling() -> None:
    """Two spellings of a name share a key, and two names share none."""
    keys = [keys_of_person(named(*name)).all for name in (("Jon", "Smith"), ("Jonathan", "Smyth"), ("Mary", "Smith"))]

    assert keys[0] & keys[1]
    assert not keys[0] & keys[2]


@pytest.mark.parametrize(
    ("domain", "label"),
    [("acme.com", "acme"), ("acme.co.uk", "acme"), ("shop.acme.de", "acme"), ("co.uk", "co"), ("a-b.test", "ab")],
)
def test_labels(domain: str, label: str) -> None:
    """The label of a domain is the name of its holder."""
    assert label_of(domain) == label


def test_companies() -> None:
    """Legal forms are no part of a name, and different domains speak against."""

    def firm(name: str, *domains: str) -> Any:
        return firm_of(msgspec.convert({"name": name, "domains": [{"domain": each} for each in domains]}, StoredCompany), {})

    acme = firm("Acme, Inc.", "acme.com")
    assert score(evidence_of_firms(acme, firm("ACME GmbH", "acme.de"))) > 0.95
    assert score(evidence_of_firms(acme, firm("Acme Corporation"))) > 0.6
    assert score(evidence_of_firms(acme, firm("Acme", "other.com"))) < 0.5
    assert score(evidence_of_firms(acme, firm("Umbrella", "umbrella.com"))) < 0.01
