"""GET /herdbook/.../history?at=: an object as it was at a given time."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from herdbook.db.pool import Pool
from herdbook.ledger.retention import trim_slice
from tests.cast import Json, Person, Thing, faults
from tests.engagements.calls import Made
from tests.history.requests import Register, beside, restore, without_time


async def as_of(person: Person, thing: Thing, time: str) -> httpx.Response:
    """Request an object as it was at a given time."""
    return await person.get(beside(thing, "history"), params={"at": time})


def earlier(time: str) -> str:
    """Return the moment before a given time."""
    return (datetime.fromisoformat(time) - timedelta(microseconds=1)).isoformat()


async def renamed(person: Person, thing: Thing, *names: str) -> list[httpx.Response]:
    """Give a contact several first names, one after the other."""
    return [await person.patch(thing.url, json={"first_name": name}) for name in names]


async def test_it_is_what_was_read_then(alice: Person, bob: Person, ada: Thing) -> None:
    """From one change to the next, the answer is byte for byte what GET returned, with the same ETag."""
    await renamed(alice, ada, "Augusta")
    read = [ada.json, *[(await alice.get(ada.url)).json()]]
    changes = await renamed(alice, ada, "A.", "Ada")
    read += [change.json() for change in changes]

    for shown, following in zip(read, [*read[1:], None], strict=True):
        at_once = await as_of(bob, ada, shown["updated_at"])
        assert at_once.json() == shown
        if following is not None:
            assert (await as_of(bob, ada, earlier(following["updated_at"]))).content == at_once.content
    assert (await as_of(bob, ada, changes[0].json()["updated_at"])).content == changes[0].content
    assert (await as_of(bob, ada, changes[0].json()["updated_at"])).headers["ETag"] == changes[0].headers["ETag"]


async def test_in_the_future_it_is_as_now(alice: Person, ada: Thing) -> None:
    """A time in the future returns the current state."""
    (latest,) = await renamed(alice, ada, "Augusta")
    response = await as_of(alice, ada, "2999-01-01T00:00:00Z")

    assert (response.content, response.headers["ETag"]) == (latest.content, latest.headers["ETag"])


async def test_before_it_was_created_it_was_not_there(alice: Person, ada: Thing) -> None:
    """The moment before its creation, an object is not found, and the refusal says why."""
    await renamed(alice, ada, "Augusta")
    response = await as_of(alice, ada, earlier(ada.json["created_at"]))

    assert response.status_code == 404
    assert response.json()["detail"].startswith("This contact did not exist at that time.")


async def test_while_it_was_deleted_it_was_not_there(alice: Person, renewal: Thing, register: Register) -> None:
    """Between deletion and restoration an object is not found; before and after, it is."""
    await alice.delete(renewal.url)
    deleted_at = (await alice.get(beside(renewal, "history"))).json()["data"][0]["at"]
    gone = [
        (await as_of(alice, renewal, time)).status_code for time in (earlier(deleted_at), deleted_at, "2999-01-01T00:00:00Z")
    ]
    restored = await restore(alice, renewal)

    assert gone == [200, 404, 404]
    assert (await as_of(alice, renewal, deleted_at)).status_code == 404
    assert (await as_of(alice, renewal, earlier(deleted_at))).json() == renewal.json
    assert (await as_of(alice, renewal, restored.json()["updated_at"])).content == restored.content
    assert await register.entries() == 4


async def test_an_engagement_is_shown_as_always(alice: Person, step: Made, ada: Thing) -> None:
    """An engagement is shown without internal fields, in its current state and in former ones."""
    replaced = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})

    assert (await as_of(alice, step, step.json["updated_at"])).json() == step.json
    assert (await as_of(alice, step, replaced.json()["updated_at"])).json() == replaced.json()


async def test_what_is_no_longer_kept_is_refused(alice: Person, ada: Thing, register: Register) -> None:
    """A state from a trimmed entry is refused; states that the oldest entry or the row still gives are returned."""
    changes = await renamed(alice, ada, "Augusta", "A.", "Ada")
    times = [ada.json["updated_at"], *(change.json()["updated_at"] for change in changes)]
    first = int(ada.etag.strip('"'))
    await register.trim(first + 1)
    kept = [(await as_of(alice, ada, time)).status_code for time in times]
    await register.trim(first + 3)
    problem: Json = (await as_of(alice, ada, times[2])).json()

    assert kept == [410, 410, 200, 200]
    assert [(await as_of(alice, ada, time)).status_code for time in times] == [410, 410, 410, 200]
    assert problem["type"].endswith("/no_longer_kept")
    assert (problem["oldest"], problem["head"]) == (first + 3, first + 3)


async def test_what_it_was_before_its_oldest_entry_is_known(
    alice: Person, ada: Thing, grace: Thing, register: Register, app_pool: Pool
) -> None:
    """An object that rested for longer than entries are kept had the same state until its next change."""
    (before,) = await renamed(alice, ada, "Augusta")
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    await register.age(int(before.headers["ETag"].strip('"')), days=100)
    (after,) = await renamed(alice, ada, "Ada")
    await trim_slice(app_pool, alice.workspace_id, 90)
    week_ago = await as_of(alice, ada, (datetime.now(UTC) - timedelta(days=7)).isoformat())
    long_ago = await as_of(alice, ada, "2019-12-31T23:59:59Z")

    assert {**without_time(week_ago.json()), "created_at": ada.json["created_at"]} == without_time(before.json())
    assert week_ago.headers["ETag"] == before.headers["ETag"]
    assert (await as_of(alice, ada, earlier(after.json()["updated_at"]))).content == week_ago.content
    assert (await as_of(alice, ada, week_ago.json()["updated_at"])).content == week_ago.content
    assert (await as_of(alice, ada, earlier(week_ago.json()["updated_at"]))).status_code == 410
    assert long_ago.status_code == 404


async def test_from_the_oldest_entry_that_is_kept_on_it_is_known(
    alice: Person, ada: Thing, grace: Thing, register: Register
) -> None:
    """Without a record of the trimming time, the oldest entry left, of any object, bounds the known time."""
    (kept,) = await renamed(alice, grace, "Amazing")
    (after,) = await renamed(alice, ada, "Augusta")
    await register.trim(int(kept.headers["ETag"].strip('"')) - 1)
    response = await as_of(alice, ada, earlier(after.json()["updated_at"]))

    assert without_time(response.json()) == without_time(ada.json)
    assert response.headers["ETag"] == ada.etag
    assert (await as_of(alice, ada, kept.json()["updated_at"])).content == response.content
    assert (await as_of(alice, ada, earlier(kept.json()["updated_at"]))).status_code == 410
    assert (await as_of(alice, ada, earlier(ada.json["created_at"]))).status_code == 404


async def test_a_deletion_tells_what_was_deleted(alice: Person, ada: Thing, renewal: Thing, register: Register) -> None:
    """A deletion's entry gives the deleted state with its time and version, even if all earlier entries are trimmed."""
    (changed,) = await renamed(alice, ada, "Augusta")
    for thing, shown, version in ((ada, changed.json(), changed.headers["ETag"]), (renewal, renewal.json, renewal.etag)):
        await alice.delete(thing.url)
        deletion = (await alice.get(beside(thing, "history"))).json()["data"][0]
        await register.trim(deletion["version"] - 1)
        response = await as_of(alice, thing, shown["updated_at"])
        assert (response.json(), response.headers["ETag"]) == (shown, version)
        assert (await as_of(alice, thing, deletion["at"])).status_code == 404


async def test_before_it_was_restored_it_was_not_there(alice: Person, ada: Thing, grace: Thing, register: Register) -> None:
    """An object was deleted before its restoration, also if the restoration is its oldest entry."""
    await alice.delete(ada.url)
    (kept,) = await renamed(alice, grace, "Amazing")
    await restore(alice, ada)
    await register.trim(int(kept.headers["ETag"].strip('"')) - 1)

    assert (await as_of(alice, ada, kept.json()["updated_at"])).status_code == 404
    assert (await as_of(alice, ada, ada.json["updated_at"])).status_code == 410


async def test_a_deletion_that_is_no_longer_kept_is_known(alice: Person, ada: Thing, register: Register) -> None:
    """The row tells when an object was deleted, also without an entry."""
    await alice.delete(ada.url)
    await register.trim(int(ada.etag.strip('"')) + 1)

    assert (await as_of(alice, ada, "2999-01-01T00:00:00Z")).status_code == 404
    assert (await as_of(alice, ada, ada.json["updated_at"])).status_code == 410


async def test_entries_of_the_last_release_will_do(alice: Person, ada: Thing, register: Register) -> None:
    """Entries of the last release do not name the previous entry, and are still found."""
    changes = await renamed(alice, ada, "Augusta", "A.", "Ada")
    await register.unchain()

    assert (await as_of(alice, ada, ada.json["updated_at"])).json() == ada.json
    assert (await as_of(alice, ada, changes[1].json()["updated_at"])).content == changes[1].content
    assert (await as_of(alice, ada, earlier(ada.json["updated_at"]))).status_code == 404


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"at": "yesterday"}, ("at", "invalid_format")),
        ({"at": ""}, ("at", "invalid_format")),
        ({"at": "2026-03-01T00:00:00Z", "cursor": "x"}, ("at", "not_with_cursor")),
        ({"when": "2026-03-01"}, ("when", "unknown_parameter")),
    ],
)
async def test_what_is_no_time_is_refused(alice: Person, ada: Thing, params: dict[str, str], fault: tuple[str, str]) -> None:
    """`at` must be a time in ISO 8601, and excludes the parameters of pages."""
    response = await alice.get(beside(ada, "history"), params=params)

    assert (response.status_code, faults(response)) == (400, [fault])
