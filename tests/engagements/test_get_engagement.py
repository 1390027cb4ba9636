"""GET /v2/engagements/{engagement_id}, and its expansions."""

import httpx
import pytest

from tests.cast import Person, Thing, faults
from tests.engagements.calls import URL, Made, call, expanded, timed
from tests.engagements.conftest import Keys

EVERYTHING = "companies,contacts,owner,action_items,signals,transcript,media_url,tags"


async def test_anonymous_is_refused(client: httpx.AsyncClient, step: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(step.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, step: Made) -> None:
    """An engagement of another workspace is not found."""
    response = await charlie.get(step.url)

    assert response.status_code == 404
    assert "The next step" not in response.text


async def test_dave_is_refused(dave: Person, step: Made) -> None:
    """A write-only credential cannot read anything."""
    response = await dave.get(step.url)

    assert response.status_code == 403
    assert "engagements:read" in response.json()["detail"]


async def test_the_read_scope_is_enough(keys: Keys, step: Made) -> None:
    """A read shows the engagement as created, with its ETag and without expansions."""
    response = await (await keys.holder("engagements:read")).get(step.url)

    assert response.status_code == 200
    assert response.json() == step.json
    assert response.headers["ETag"] == step.etag


async def test_what_is_private_is_not_there_for_others(bob: Person, erin: Person, secret: Made) -> None:
    """A private engagement needs `engagements:private:read`, otherwise it is not found."""
    unknown = await bob.get(f"{URL}/ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    hidden, shown = await bob.get(secret.url), await erin.get(secret.url)

    assert (hidden.status_code, shown.status_code) == (404, 200)
    assert hidden.json()["detail"] == unknown.json()["detail"]
    assert shown.json() == secret.json


async def test_the_private_scope_is_not_enough(keys: Keys, secret: Made) -> None:
    """`engagements:private:read` also needs `engagements:read`."""
    response = await (await keys.holder("engagements:private:read")).get(secret.url)

    assert response.status_code == 403


@pytest.mark.parametrize("engagement_id", ["ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "call", "%00"])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"{URL}/{engagement_id}")

    assert response.status_code == 404
    assert response.json()["type"].endswith("/not_found")


async def test_what_the_client_has_is_not_sent_again(alice: Person, step: Made, renewal: Thing) -> None:
    """If-None-Match gets 304 with the current version, and the engagement after a change."""
    same = await alice.get(step.url, headers={"If-None-Match": step.etag})
    changed = await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})
    other = await alice.get(step.url, headers={"If-None-Match": step.etag})

    assert (same.status_code, same.content) == (304, b"")
    assert (other.status_code, other.content) == (200, changed.content)


@pytest.mark.parametrize(
    ("name", "scope"), [("companies", "companies:read"), ("contacts", "contacts:read"), ("owner", "users:read")]
)
async def test_what_has_a_scope_of_its_own_needs_it(keys: Keys, step: Made, name: str, scope: str) -> None:
    """Companies, contacts and users are expanded only for callers who may read them."""
    without, having = await keys.holder("engagements:read"), await keys.holder("engagements:read", scope)
    refused = await without.get(step.url, params={"expand": f"tags,{name}"})
    shown = await having.get(step.url, params={"expand": f"tags,{name}"})

    assert refused.status_code == 403
    assert scope in refused.json()["detail"]
    assert shown.status_code == 200
    assert name in shown.json()


async def test_the_rest_needs_no_other_scope(keys: Keys, step: Made) -> None:
    """Tags, transcript, recording and analysis results are expanded without further scopes."""
    reader = await keys.holder("engagements:read")
    response = await reader.get(step.url, params={"expand": "action_items,signals,transcript,media_url,tags"})

    assert response.json() == {
        **step.json,
        "action_items": [],
        "signals": [],
        "transcript": "Shall we begin?",
        "media_url": None,
        "tags": [],
    }


async def test_expansions_are_as_reads_show_them(
    alice: Person, engine: Thing, ada: Thing, grace: Thing, renewal: Thing, owner: Thing
) -> None:
    """Contacts, the owner and tags look as in their own operations; companies are shown in short form."""
    link = {"object_type": "company", "crm_object_id": "1", "source": "hubspot"}
    await alice.put(f"{engine.url}/crm_association", json=link)
    await alice.patch(ada.url, json={"company_id": engine.id})
    participants = [{"email": "grace@navy.test"}, {"email": "ada@engine.test"}]
    created = Made(await alice.post(URL, json=timed(participants=participants)))
    tagged = await alice.put(f"{created.url}/tags", json={"tag_ids": [renewal.id]})
    response = await alice.get(created.url, params={"expand": EVERYTHING})

    assert response.json() == {
        **tagged.json(),
        "companies": [
            {"object": "engagement_company", "id": engine.id, "name": "Analytical Engine", "crm_association": link},
        ],
        "contacts": [(await alice.get(grace.url)).json(), (await alice.get(ada.url)).json()],
        "owner": owner.json,
        "action_items": [],
        "signals": [],
        "transcript": "Ada Lovelace: Shall we begin?\nSpeaker 2: The engine is ready.",
        "media_url": None,
        "tags": [renewal.json],
    }
    assert response.headers["ETag"] == tagged.headers["ETag"]


async def test_what_is_unknown_is_null_or_empty(charlie: Person) -> None:
    """Expanded members are present even without an owner or participants."""
    created = Made(await charlie.post(URL, json=call()))
    response = await charlie.get(created.url, params={"expand": "owner,companies,contacts,tags"})

    assert response.json() == {**created.json, "owner": None, "companies": [], "contacts": [], "tags": []}


async def test_words_that_are_not_known_are_null(alice: Person, waiting: Made) -> None:
    """An engagement with only a recording has a null transcript."""
    assert await expanded(alice, waiting, "transcript") is None


async def test_expansions_are_what_they_are_by_now(alice: Person, engine: Thing, ada: Thing, renewal: Thing) -> None:
    """A renamed contact, tag or company is shown under its new name."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    created = Made(await alice.post(URL, json=call(participants=[{"email": "ada@engine.test"}])))
    await alice.put(f"{created.url}/tags", json={"tag_ids": [renewal.id]})
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    await alice.patch(engine.url, json={"name": "Difference Engine"})
    await alice.patch(renewal.url, json={"name": "Renewed"})
    shown = (await alice.get(created.url, params={"expand": EVERYTHING})).json()

    assert shown["contacts"][0]["first_name"] == "Augusta"
    assert [shown[name][0]["name"] for name in ("companies", "tags")] == ["Difference Engine", "Renewed"]


async def test_what_was_deleted_is_not_shown(alice: Person, engine: Thing, ada: Thing, renewal: Thing) -> None:
    """Deleted contacts, tags and companies are left out, and the others stay."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    participants = [{"email": "ada@engine.test"}, {"email": "eve@engine.test"}]
    created = Made(await alice.post(URL, json=call(participants=participants)))
    await alice.put(f"{created.url}/tags", json={"tag_ids": [renewal.id]})
    for thing in (ada, engine, renewal):
        assert (await alice.delete(thing.url)).status_code == 200
    shown = (await alice.get(created.url, params={"expand": EVERYTHING})).json()

    assert [contact["emails"][0]["email"] for contact in shown["contacts"]] == ["eve@engine.test"]
    assert (shown["companies"], shown["tags"]) == ([], [])


async def test_an_expanded_read_is_sent_again(alice: Person, ada: Thing) -> None:
    """If-None-Match never stops a read with expansions, because the ETag does not cover them."""
    created = Made(await alice.post(URL, json=call(participants=[{"email": "ada@engine.test"}])))
    first = await alice.get(created.url, params={"expand": "contacts"})
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    second = await alice.get(created.url, params={"expand": "contacts"}, headers={"If-None-Match": first.headers["ETag"]})

    assert second.status_code == 200
    assert second.json()["contacts"][0]["first_name"] == "Augusta"


@pytest.mark.parametrize("expand", ["tags,owner", " owner , tags", "owner,tags,owner"])
async def test_expansions_are_asked_for_in_any_order(alice: Person, step: Made, expand: str) -> None:
    """Commas separate the names; white space, order and repetition do not matter."""
    response = await alice.get(step.url, params={"expand": expand})

    assert set(response.json()) == {*step.json, "owner", "tags"}


async def test_nothing_to_expand_is_fine(alice: Person, step: Made) -> None:
    """An empty `expand` expands nothing."""
    assert (await alice.get(step.url, params={"expand": ""})).json() == step.json


@pytest.mark.parametrize("expand", ["attendees", "Owner", "owner,", "owner;tags", "*"])
async def test_what_cannot_be_expanded_is_refused(alice: Person, step: Made, expand: str) -> None:
    """An unknown name is refused with the list of valid ones."""
    response = await alice.get(step.url, params={"expand": expand})

    assert response.status_code == 400
    assert faults(response) == [("expand", "invalid_choice")]
    assert "`media_url`" in response.json()["detail"]


@pytest.mark.parametrize("name", ["limit", "cursor", "expands", "filter[engagement_type][eq]"])
async def test_it_takes_nothing_else(alice: Person, step: Made, name: str) -> None:
    """The parameters of lists are refused."""
    response = await alice.get(step.url, params={name: "1"})

    assert response.status_code == 400
    assert faults(response) == [(name, "unknown_parameter")]


@pytest.mark.parametrize("name", ["filter[updated_at][gt]", "limit", "order_by", "search", "cursor"])
async def test_it_takes_nothing_that_lists_take(alice: Person, step: Made, name: str) -> None:
    """A filter is refused, because a single read would ignore it."""
    response = await alice.get(step.url, params={name: "2026-03-01T00:00:00Z"})

    assert response.status_code == 400
    assert faults(response) == [(name, "unknown_parameter")]
