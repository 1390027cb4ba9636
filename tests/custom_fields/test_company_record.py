"""GET and PATCH /herdbook/companies/{company_id}/record."""

import httpx

from tests.cast import Person, Stored, Thing, faults
from tests.custom_fields.definitions import define

_LINK = {"object_type": "company", "crm_object_id": "17", "source": "hubspot"}


def record_of(company: Thing) -> str:
    """Return the URL of the whole of a company."""
    return f"/api/herdbook/companies/{company.id}/record"


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    responses = [await client.get(record_of(engine)), await client.patch(record_of(engine), json={"name": "X"})]

    assert [response.status_code for response in responses] == [401, 401]
    assert responses[0].headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, engine: Thing) -> None:
    """A company of another workspace is not found."""
    responses = [await charlie.get(record_of(engine)), await charlie.patch(record_of(engine), json={"name": "X"})]

    assert [response.status_code for response in responses] == [404, 404]


async def test_bob_may_only_read(bob: Person, engine: Thing) -> None:
    """A read-only credential reads the company, byte for byte as the vendor's operation shows it, and cannot change it."""
    read, vendors = await bob.get(record_of(engine)), await bob.get(engine.url)

    assert (read.content, read.headers["ETag"]) == (vendors.content, vendors.headers["ETag"])
    assert (await bob.patch(record_of(engine), json={"name": "X"})).status_code == 403


async def test_all_of_it_changes_at_once(alice: Person, frank: Person, engine: Thing, stored: Stored) -> None:
    """One change sets members of the vendor's, the link, and values; the vendor's operation leaves values alone."""
    await define(frank, "founded", "date", "company")
    sent = {"name": "Engines", "crm_association": _LINK, "fields": {"founded": "1837-12-01"}}
    changed = await alice.patch(record_of(engine), json=sent)
    record = changed.json()
    vendors = await alice.patch(engine.url, json={"description": "Brass."})
    after = (await alice.get(record_of(engine))).json()

    assert changed.status_code == 200, changed.text
    assert record == {**engine.json, **sent, "updated_at": record["updated_at"]}
    assert (await stored.changes())[-2].object == record
    assert "fields" not in vendors.json()
    assert after == {**record, "description": "Brass.", "updated_at": after["updated_at"]}


async def test_a_stale_version_is_refused(alice: Person, engine: Thing) -> None:
    """If-Match with another version gets 412, and changes nothing."""
    await alice.patch(record_of(engine), json={"name": "Engines"})
    stale = await alice.patch(record_of(engine), json={"name": "X"}, headers={"If-Match": engine.etag})

    assert stale.status_code == 412
    assert (await alice.get(record_of(engine))).json()["name"] == "Engines"


async def test_a_domain_and_a_unique_value_have_one_holder(alice: Person, frank: Person, engine: Thing) -> None:
    """A domain and a unique value of another company are refused together; a merge gives its value to the target."""
    await define(frank, "number", "integer", "company", unique=True)
    await alice.patch(record_of(engine), json={"fields": {"number": 7}})
    other = Thing(await alice.post("/api/v2/companies", json={"domains": []}))
    sent = {"domains": [{"domain": "engine.test"}], "fields": {"number": 7}}
    refused = await alice.patch(record_of(other), json=sent)
    merged = await alice.post(f"/api/herdbook/companies/{other.id}/merge", json={"from": [engine.id]})

    assert (refused.status_code, faults(refused)) == (
        409,
        [("domains[0].domain", "already_in_use"), ("fields.number", "already_in_use")],
    )
    assert merged.json()["company"]["fields"] == {"number": 7}
    assert (await alice.patch(record_of(other), json=sent)).status_code == 200


async def test_no_other_member_is_suggested(alice: Person) -> None:
    """A member of contacts alone is not taken for one whose name merely ends alike."""
    response = await alice.post("/api/herdbook/companies", json={"domains": [{"domain": "engine.test"}], "external_ids": ["7"]})

    assert faults(response) == [("external_ids", "unknown_field")]
    assert "Did you mean" not in response.json()["detail"]
