"""GET /v2/engagements/{engagement_id}/transcript_comments."""

import httpx
import pytest

from tests.cast import Json, Person, faults
from tests.engagements.calls import URL, Made, timed
from tests.engagements.conftest import Keys
from tests.listing import Listing

ASCENDING = {"order_by": "updated_at:asc"}


def comments_of(engagement: Made) -> Listing:
    """Return the listing of an engagement's comments."""
    return Listing(f"{engagement.url}/transcript_comments", "body")


async def say(person: Person, engagement: Made, *bodies: str) -> list[Made]:
    """Comment on an engagement, in order."""
    url = f"{engagement.url}/transcript_comments"
    return [Made(await person.post(url, json={"body": body})) for body in bodies]


async def test_anonymous_is_refused(client: httpx.AsyncClient, talk: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(comments_of(talk).url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, talk: Made, promise: Made) -> None:
    """The comments of another workspace's engagement are not found."""
    response = await charlie.get(comments_of(talk).url)

    assert response.status_code == 404
    assert promise.id not in response.text


@pytest.mark.parametrize("lacking", ["engagements:read", "transcript_comments:read"])
async def test_two_scopes_are_needed(keys: Keys, talk: Made, promise: Made, lacking: str) -> None:
    """Reading comments needs their own scope and the one for reading the engagement, nothing more."""
    scopes = {"engagements:read", "transcript_comments:read"}
    refused = await (await keys.holder(*scopes - {lacking})).get(comments_of(talk).url)
    read = await (await keys.holder(*scopes)).get(comments_of(talk).url)

    assert refused.status_code == 403
    assert lacking in refused.json()["detail"]
    assert read.json() == {"object": "list", "data": [promise.json], "has_more": False, "next_cursor": None}
    assert "ETag" not in read.headers


async def test_only_its_own_comments_are_listed(alice: Person, talk: Made, whisper: Made, step: Made) -> None:
    """A list has only its engagement's comments, and is empty if there are none or can be none."""
    await say(alice, talk, "a", "b")
    await say(alice, whisper, "c")

    assert await comments_of(talk).listed(alice) == ["b", "a"]
    assert await comments_of(whisper).listed(alice) == ["c"]
    assert await comments_of(step).listed(alice) == []


async def test_what_is_private_is_not_there_for_others(bob: Person, erin: Person, whisper: Made, hush: Made) -> None:
    """The comments on a private engagement need `engagements:private:read`, otherwise they are not found."""
    assert (await bob.get(comments_of(whisper).url)).status_code == 404
    assert await comments_of(whisper).listed(erin) == [hush.json["body"]]


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", range(1, 9))
async def test_a_walk_meets_once_what_is_left_alone(alice: Person, talk: Made, order: str, limit: int) -> None:
    """A walk meets each untouched comment once, at any page size and order, while others write between the pages."""
    made = {each.json["body"]: each for each in await say(alice, talk, *"a1b2c3d")}
    met = await comments_of(talk).walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: alice.patch(made["1"].url, json={"status": "RESOLVED"}),
            lambda: alice.delete(made["3"].url),
            lambda: say(alice, talk, "4"),
            lambda: alice.patch(made["2"].url, json={"body": "2 again"}),
        ],
    )

    alone = [body for body in met if body in "abcd"]
    assert alone == (list("abcd") if order.endswith("asc") else list("dcba"))
    assert len(met) == len(set(met)) or order.endswith("asc"), "in descending order, nothing is met twice"


async def test_a_time_bounds_the_list(alice: Person, talk: Made) -> None:
    """The list takes the time bounds that all lists take, so recent resolutions can be found."""
    a, _, c = await say(alice, talk, "a", "b", "c")
    await alice.patch(a.url, json={"status": "RESOLVED"})

    assert await comments_of(talk).listed(alice, {"filter[updated_at][gte]": c.json["updated_at"], **ASCENDING}) == ["c", "a"]


@pytest.mark.parametrize(
    "params", [{"search": "promise"}, {"filter[status][eq]": "OPEN"}, {"expand": "owner"}, {"order_by": "start_at:asc"}]
)
async def test_it_takes_no_more_than_all_lists_do(alice: Person, talk: Made, params: Json) -> None:
    """Parameters of other lists are refused."""
    response = await alice.get(comments_of(talk).url, params=params)

    assert response.status_code == 400
    assert faults(response)[0][1] in ("unknown_parameter", "invalid_choice")


async def test_a_cursor_stays_within_an_engagement(alice: Person, talk: Made) -> None:
    """The cursor of one engagement's comments is refused in the list of another's."""
    other = Made(await alice.post(URL, json=timed("other")))
    await say(alice, other, "theirs")
    await say(alice, talk, "a", "b")
    cursor = (await alice.get(comments_of(talk).url, params={"limit": 1})).json()["next_cursor"]

    response = await alice.get(comments_of(other).url, params={"cursor": cursor})

    assert faults(response) == [("cursor", "invalid_cursor")]


@pytest.mark.parametrize("engagement_id", ["nobody", "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "%00"])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """An unknown object gets 404, but only after the query is validated."""
    url = f"{URL}/{engagement_id}/transcript_comments"
    unknown, invalid = await alice.get(url), await alice.get(url, params={"limit": "0"})

    assert (unknown.status_code, invalid.status_code) == (404, 400)
