"""GET /herdbook/requests and /herdbook/requests/{request_id}."""

from typing import Final

import httpx
import pytest

from herdbook import ids
from tests.cast import Logged, Person, Thing, faults
from tests.oauth.conftest import Connections

URL: Final = "/api/herdbook/requests"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """The request log requires a credential."""
    answers = [await client.get(URL), await client.get(f"{URL}/{ids.example(ids.REQUEST)}")]

    assert [each.status_code for each in answers] == [401, 401]


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing, logged: Logged) -> None:
    """Another workspace has no request of Alice's."""
    changed = await alice.patch(ada.url, json={"last_name": "King"})
    await logged(changed)
    shown_id = changed.headers["X-Request-Id"]

    assert (await charlie.get(f"{URL}/{shown_id}")).status_code == 404
    assert (await charlie.get(URL, params={"request_id": shown_id})).json()["data"] == []


async def test_requests_are_found(frank: Person, bob: Person, ada: Thing, logged: Logged) -> None:
    """Each filter finds the requests that are like that, and a request says who sent what, when, and how it ended."""
    seen = await frank.get(f"{ada.url}?expand=company")
    missing = await bob.get("/api/v2/companies/cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    for each in (seen, missing):
        await logged(each)
    at = {"seen": seen.headers["X-Request-Id"], "missing": missing.headers["X-Request-Id"]}
    by_bob = ids.encoded(ids.CREDENTIAL, bob.key.id)

    for query, found in (
        ({"status": "4xx"}, {"missing"}),
        ({"status": "404"}, {"missing"}),
        ({"status": "2xx"}, {"seen"}),
        ({"path": ada.id}, {"seen"}),
        ({"key": by_bob}, {"missing"}),
        ({"key": str(bob.key).partition(".")[0]}, {"missing"}),
        ({"request_id": at["seen"]}, {"seen"}),
        ({"request_id": at["seen"], "status": "404"}, set[str]()),
    ):
        answer = (await frank.get(URL, params=query)).json()
        listed = {each["id"] for each in answer["data"]}
        assert {name for name, shown_id in at.items() if shown_id in listed} == found, query
    one = (await frank.get(URL, params={"request_id": at["missing"]})).json()["data"][0]
    assert (one["method"], one["path"], one["status"]) == ("GET", "/api/v2/companies/cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", 404)
    assert (one["operation"], one["by"]["credential_id"], one["by"]["credential_name"]) == ("get-company-by-id", by_bob, "Bob")


async def test_pages_follow_each_other(frank: Person, ada: Thing, logged: Logged) -> None:
    """A cursor leads through all requests, the latest first, and is for the filters that it was made with."""
    for answer in [await frank.get(ada.url) for _ in range(3)]:
        await logged(answer)
    query = {"path": ada.id, "limit": 2}

    first = (await frank.get(URL, params=query)).json()
    second = (await frank.get(URL, params=query | {"cursor": first["next_cursor"]})).json()
    other = await frank.get(URL, params={"limit": 2, "cursor": first["next_cursor"]})

    found = [each["id"] for each in first["data"] + second["data"]]
    assert (len(found), found) == (3, sorted(found, reverse=True))
    assert [first["has_more"], second["has_more"], second["next_cursor"]] == [True, False, None]
    assert (other.status_code, faults(other)) == (400, [("cursor", "invalid_cursor")])


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"status": "6xx"}, "status", "invalid_format"),
        ({"status": "4"}, "status", "invalid_format"),
        ({"request_id": "nonsense"}, "request_id", "invalid_format"),
        ({"key": "nonsense"}, "key", "invalid_format"),
        ({"path": ""}, "path", "too_short"),
        ({"limit": 101}, "limit", "invalid_range"),
    ],
)
async def test_refused_by_name(frank: Person, query: dict[str, str], field: str, code: str) -> None:
    """A filter that no request could meet is refused."""
    refused = await frank.get(URL, params=query)

    assert (refused.status_code, faults(refused)) == (400, [(field, code)])


async def test_request_has_its_changes(frank: Person, ada: Thing, pool: Connections, logged: Logged) -> None:
    """A request leads to the objects that it changed and to their events, even once the log no longer has it."""
    changed = await frank.patch(ada.url, json={"last_name": "King"})
    row = await logged(changed)
    shown_id = changed.headers["X-Request-Id"]

    kept = (await frank.get(f"{URL}/{shown_id}")).json()
    await pool.execute("delete from request_log where id = $1", row["id"])
    trimmed = (await frank.get(f"{URL}/{shown_id}")).json()

    assert kept["logged"]["status"] == 200
    assert [(each["object_type"], each["object_id"], each["action"]) for each in kept["changes"]] == [
        ("contact", ada.id, "updated")
    ]
    assert kept["changes"][0]["event_type"] == "v1.contact.updated"
    assert kept["changes"][0]["version"] == int(changed.headers["ETag"].strip('"'))
    assert trimmed == kept | {"logged": None}
    assert (await frank.get(f"{URL}/{ids.example(ids.REQUEST)}")).status_code == 404
