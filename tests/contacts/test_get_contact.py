"""GET /v2/contacts/{contact_id}."""

from asyncio import TaskGroup

import httpx
import pytest

from tests.cast import Person, Thing


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(ada.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not found."""
    response = await charlie.get(ada.url)

    assert response.status_code == 404
    assert "Lovelace" not in response.text


async def test_dave_is_refused(dave: Person, ada: Thing) -> None:
    """A write-only credential cannot read anything."""
    response = await dave.get(ada.url)

    assert response.status_code == 403
    assert "contacts:read" in response.json()["detail"]


async def test_bob_reads(bob: Person, ada: Thing) -> None:
    """The read scope is enough."""
    response = await bob.get(ada.url)

    assert response.status_code == 200
    assert response.json() == ada.json
    assert response.headers["ETag"] == ada.etag
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "contact_id",
    [
        "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "cnt_00000000000000000000000000",
        "cnt_7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "cnt_8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "contact",
        "cnt_",
        "%00",
        "%C3%A9",
        "'; drop table contact",
    ],
)
async def test_what_is_not_there_is_not_found(alice: Person, contact_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"/api/v2/contacts/{contact_id}")

    assert response.status_code == 404
    assert response.json()["type"].endswith("/not_found")


async def test_an_id_has_one_spelling(alice: Person, ada: Thing) -> None:
    """An id in lower case does not find the contact."""
    response = await alice.get(f"/api/v2/contacts/cnt_{ada.id[4:].lower()}")

    assert response.status_code == 404


async def test_a_deleted_contact_is_not_found(alice: Person, ada: Thing) -> None:
    """A deleted contact is not found, whoever asks."""
    await alice.delete(ada.url)
    response = await alice.get(ada.url)

    assert response.status_code == 404


@pytest.mark.parametrize("form", ["{0}", "W/{0}", "*", '"other", {0}', '"other",W/{0}', '"a,b", {0}'])
async def test_what_the_client_has_is_not_sent_again(alice: Person, ada: Thing, form: str) -> None:
    """If-None-Match with the current version, in a list or weak, or with `*`, gets 304 without a body."""
    response = await alice.get(ada.url, headers={"If-None-Match": form.format(ada.etag)})

    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["ETag"] == ada.etag
    assert response.headers["X-Api-Version"] == "v2"


@pytest.mark.parametrize("tags", ['"0"', '"01"', 'W/"2"', "1", '"', "", '"other"'])
async def test_what_the_client_lacks_is_sent(alice: Person, ada: Thing, tags: str) -> None:
    """If-None-Match gets the contact if it does not name the current version exactly as given."""
    response = await alice.get(ada.url, headers={"If-None-Match": tags})

    assert response.status_code == 200
    assert response.json() == ada.json


async def test_a_changed_contact_is_sent(alice: Person, ada: Thing) -> None:
    """The version before a change no longer gets 304."""
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    response = await alice.get(ada.url, headers={"If-None-Match": ada.etag})

    assert response.status_code == 200
    assert response.json()["first_name"] == "Augusta"


async def test_many_readers_get_their_own(alice: Person, charlie: Person, ada: Thing, grace: Thing) -> None:
    """Reads that share a statement are not mixed up, neither among objects nor among workspaces."""
    readers = [(alice, ada), (charlie, ada), (alice, grace), (alice, ada)]
    async with TaskGroup() as tasks:
        reads = [tasks.create_task(person.get(thing.url)) for person, thing in readers]

    answers = [read.result() for read in reads]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200]
    assert [answer.json()["id"] for answer in answers if answer.is_success] == [ada.id, grace.id, ada.id]
