"""POST /herdbook/contacts and POST /herdbook/companies."""

from typing import Any, Final

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.custom_fields.definitions import define
from tests.history.requests import undo

VENDORS: Final[dict[str, Json]] = {
    "contact": {"first_name": "Zoë", "emails": [{"email": "zoe@x.test"}], "phone_numbers": [{"phone_number": "+49 30 1"}]},
    "company": {"name": "Looms", "domains": [{"domain": "looms.test"}], "description": "Weavers."},
}
PLURALS: Final = {"contact": "contacts", "company": "companies"}
KINDS: Final = pytest.mark.parametrize("kind", VENDORS)


def url_of(kind: str) -> str:
    """Return the URL that creates an object with all that its record has."""
    return f"/api/herdbook/{PLURALS[kind]}"


def own(kind: str, tag: Thing) -> dict[str, Any]:
    """Return members that the vendor's operations do not show."""
    link = {"object_type": kind, "crm_object_id": "17", "source": "hubspot"}
    return {"crm_association": link, "fields": {"level": 7}, "tag_ids": [tag.id]}


@KINDS
async def test_anonymous_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(url_of(kind), json=VENDORS[kind])

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@KINDS
async def test_charlie_refers_to_nothing_of_alices(charlie: Person, frank: Person, renewal: Thing, kind: str) -> None:
    """Fields and tags of another workspace are unknown."""
    await define(frank, "level", "integer", kind)
    response = await charlie.post(url_of(kind), json={**VENDORS[kind], **own(kind, renewal)})

    assert response.status_code == 422
    assert faults(response) == [("tag_ids[0]", "not_found"), ("fields.level", "unknown_field")]


@KINDS
async def test_bob_may_only_read(bob: Person, kind: str) -> None:
    """A read-only credential creates nothing."""
    assert (await bob.post(url_of(kind), json=VENDORS[kind])).status_code == 403


@KINDS
async def test_all_of_it_is_created_at_once(  # the fixtures of one test
    alice: Person, frank: Person, renewal: Thing, stored: Stored, kind: str
) -> None:
    """One change has the vendor's members, the link, tags, values and defaults; the answer is the record, with its ETag."""
    await define(frank, "level", "integer", kind, unique=True)
    await define(frank, "source", "text", kind, default="fair") if kind == "company" else None
    before = len(await stored.changes())
    created = await alice.post(url_of(kind), json={**VENDORS[kind], **own(kind, renewal)})
    record = await alice.get(f"{url_of(kind)}/{created.json()['id']}/record")
    vendors = (await alice.get(f"/api/v2/{PLURALS[kind]}/{created.json()['id']}")).json()

    assert created.status_code == 201, created.text
    assert (created.content, created.headers["ETag"]) == (record.content, record.headers["ETag"])
    assert created.json()["fields"].items() >= {"level": 7}.items()
    assert created.json()["fields"].get("source") == ("fair" if kind == "company" else None)
    assert (created.json()["tag_ids"], created.json()["unique_values"]) == ([renewal.id], ["level=7"])
    assert len(await stored.changes()) == before + 1
    assert {"fields", "tag_ids", "unique_values"}.isdisjoint(vendors)
    assert vendors["crm_association"]["crm_object_id"] == "17"


async def test_labels_and_external_ids_of_a_contact(alice: Person) -> None:
    """A contact is created with labels beside its addresses, and with external ids."""
    sent = {"emails": [{"email": "zoe@x.test", "label": "work"}], "external_ids": ["7"]}
    created = (await alice.post(url_of("contact"), json=sent)).json()

    assert created["emails"] == [{"email": "zoe@x.test", "is_primary": True, "label": "work"}]
    assert (created["external_ids"], "labels" in created) == (["7"], False)


@KINDS
async def test_bad_values_are_refused_by_name(alice: Person, frank: Person, ada: Thing, kind: str) -> None:
    """Values, required fields, tags and unique values are checked as everywhere, and nothing is created."""
    await define(frank, "level", "integer", kind, unique=True)
    await define(frank, "stage", "text", kind, required=True)
    await alice.post(url_of(kind), json={**VENDORS[kind], "fields": {"level": 7, "stage": "new"}})
    others: Json = {"domains": []} if kind == "company" else {}
    refused = [
        await alice.post(url_of(kind), json={**others, "fields": {"level": "x", "none": 1}}),
        await alice.post(url_of(kind), json={**others, "tag_ids": [ada.id]}),
        await alice.post(url_of(kind), json={**others, "fields": {"level": 7, "stage": "new"}}),
        await alice.post(url_of(kind), json={**others, "fields": {}, "crm_association": None}),
        await alice.post(url_of(kind), json=VENDORS[kind]),
    ]

    assert [faults(each) for each in refused] == [
        [("fields.level", "invalid_type"), ("fields.none", "unknown_field"), ("fields.stage", "required")],
        [("tag_ids[0]", "invalid_format")],
        [("fields.level", "already_in_use")],
        [("crm_association", "invalid_type"), ("fields.stage", "required")],
        [("emails[0].email" if kind == "contact" else "domains[0].domain", "already_in_use")],
    ]
    assert (await alice.post(url_of(kind), json={**others, "fields": {}})).status_code == 422
    assert (await alice.post(url_of(kind), json=others)).status_code == 201, "a creation without fields needs no value"


@KINDS
async def test_a_retry_creates_nothing_more(alice: Person, stored: Stored, kind: str) -> None:
    """A retry with the same key gets the first answer; If-Match is never met."""
    key = {"Idempotency-Key": "7"}
    first = await alice.post(url_of(kind), json=VENDORS[kind], headers=key)
    before = await stored.changes()
    second = await alice.post(url_of(kind), json=VENDORS[kind], headers=key)
    stale = await alice.post(url_of(kind), json={"domains": []} if kind == "company" else {}, headers={"If-Match": "*"})

    assert (first.status_code, second.status_code, stale.status_code) == (201, 201, 412)
    assert (second.content, second.headers["ETag"]) == (first.content, first.headers["ETag"])
    assert await stored.changes() == before


@KINDS
async def test_an_undo_takes_it_back(alice: Person, frank: Person, renewal: Thing, kind: str) -> None:
    """An undo deletes what was created, and its unique value is free."""
    await define(frank, "level", "integer", kind, unique=True)
    created = await alice.post(url_of(kind), json={**VENDORS[kind], **own(kind, renewal)})
    undone = await undo(alice, created)
    again = await alice.post(url_of(kind), json={**VENDORS[kind], **own(kind, renewal)})

    assert undone.reverted == {created.json()["id"]: "deleted"}
    assert again.status_code == 201


async def test_the_vendors_creation_of_a_company_stays_as_it_was(alice: Person) -> None:
    """The vendor's operation takes no member of herdbook's own for a company."""
    refused = await alice.post("/api/v2/companies", json={"domains": [], "fields": {}, "tag_ids": []})

    assert faults(refused) == [("fields", "unknown_field"), ("tag_ids", "unknown_field")]
