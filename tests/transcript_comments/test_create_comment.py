"""POST /v2/engagements/{engagement_id}/transcript_comments."""

import re
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.calls import TIMELINE, URL, Made, call, timed
from tests.engagements.conftest import Keys

COMMENT = {"body": "Is that a promise?"}
UNKNOWN = f"{URL}/ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T/transcript_comments"


def comments_url(engagement: Made) -> str:
    """Return the path of an engagement's comments."""
    return f"{engagement.url}/transcript_comments"


async def test_anonymous_is_refused(client: httpx.AsyncClient, talk: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(comments_url(talk), json=COMMENT)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, talk: Made, stored: Stored) -> None:
    """An engagement of another workspace is not found."""
    before = await stored.changes()
    response = await charlie.post(comments_url(talk), json=COMMENT)

    assert response.status_code == 404
    assert await stored.changes() == before


@pytest.mark.parametrize("lacking", ["engagements:read", "transcript_comments:write"])
async def test_two_scopes_are_needed(keys: Keys, talk: Made, lacking: str) -> None:
    """Commenting needs its own scope and the one for reading the engagement, nothing more."""
    scopes = {"engagements:read", "transcript_comments:write"}
    refused = await (await keys.holder(*scopes - {lacking})).post(comments_url(talk), json=COMMENT)
    done = await (await keys.holder(*scopes)).post(comments_url(talk), json=COMMENT)

    assert (refused.status_code, done.status_code) == (403, 201)
    assert lacking in refused.json()["detail"]


async def test_everything_that_is_sent_comes_back(alice: Person, talk: Made, owner: Thing, stored: Stored) -> None:
    """The response shows the comment as stored: open, and on the engagement's timeline."""
    anchor = {"entry_index": 1, "start_seconds": 2.8, "end_seconds": 4.5, "quote": "The engine is ready."}
    response = await alice.post(comments_url(talk), json={"body": "Is that a promise?", "anchor": anchor})
    (timeline_id,) = [change.object["timeline_id"] for change in await stored.changes() if change.kind == "r"]

    comment = response.json()
    assert response.status_code == 201
    assert re.fullmatch("tano_[0-9A-HJKMNP-TV-Z]{26}", comment.pop("id"))
    assert re.fullmatch("tt_[0-9A-HJKMNP-TV-Z]{26}", timeline_id)
    assert comment.pop("created_at") == comment.pop("updated_at")
    assert comment == {
        "object": "transcript_comment",
        "engagement_id": talk.id,
        "transcript_timeline_id": timeline_id,
        "body": "Is that a promise?",
        "status": "OPEN",
        "anchor": anchor,
        "created_by": owner.id,
        "resolved_by": None,
        "resolved_at": None,
    }


async def test_it_is_there_at_once(alice: Person, promise: Made) -> None:
    """A read shows what the response showed, under the same ETag."""
    response = await alice.get(promise.url)

    assert response.json() == promise.json
    assert response.headers["ETag"] == promise.etag


async def test_the_change_is_entered(promise: Made, stored: Stored) -> None:
    """The ledger has one entry: the new comment, with no previous state."""
    change = (await stored.changes())[-1]

    assert (change.kind, change.action, change.previous, change.object) == ("n", "c", None, promise.json)
    assert promise.etag == f'"{change.seq}"'


async def test_the_author_is_the_keys_user(keys: Keys, talk: Made, edith: Thing) -> None:
    """The author of a comment is the user whom the key acts for."""
    ediths = await keys.holder("engagements:read", "transcript_comments:write", user=edith)
    response = await ediths.post(comments_url(talk), json=COMMENT)

    assert response.json()["created_by"] == edith.id


async def test_without_users_nobody_is_the_author(charlie: Person) -> None:
    """A comment has no author in a workspace without users, and no anchor if none was sent."""
    talk = Made(await charlie.post(URL, json=timed()))
    comment = (await charlie.post(comments_url(talk), json=COMMENT)).json()

    assert "created_by" not in comment
    assert "anchor" not in comment


@pytest.mark.parametrize(
    ("body", "expected"),
    [("  So?\n", "So?"), ("\u00a0So\u2003?\u3000", "So\u2003?"), ("a\n\n b ", "a\n\n b"), (" " * 49_999 + "x", "x")],
)
async def test_the_body_is_trimmed(alice: Person, talk: Made, body: str, expected: str) -> None:
    """White space around a comment is removed, and inner white space stays."""
    response = await alice.post(comments_url(talk), json={"body": body})

    assert response.status_code == 201
    assert response.json()["body"] == expected


async def test_the_longest_body_is_taken(alice: Person, talk: Made) -> None:
    """A body of 50,000 characters is accepted."""
    response = await alice.post(comments_url(talk), json={"body": "ü" * 50_000})

    assert response.json()["body"] == "ü" * 50_000


async def test_the_timeline_may_be_named(alice: Person, talk: Made, promise: Made) -> None:
    """The timeline's id is optional: it defaults to the engagement's, as shown by other comments."""
    timeline_id = promise.json["transcript_timeline_id"]
    response = await alice.post(comments_url(talk), json={**COMMENT, "transcript_timeline_id": timeline_id})

    assert response.status_code == 201
    assert response.json()["transcript_timeline_id"] == timeline_id


async def test_a_new_timeline_is_the_same_one(alice: Person, talk: Made, promise: Made) -> None:
    """A replaced timeline keeps its id, so comments stay on it."""
    await alice.put(talk.set_timeline_url, json={"speakers": [{}], "entries": []})
    response = await alice.post(comments_url(talk), json=COMMENT)

    assert response.json()["transcript_timeline_id"] == promise.json["transcript_timeline_id"]
    assert (await alice.get(promise.url)).json() == promise.json


@pytest.mark.parametrize("timeline_id", ["tt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "tt_1", "other's"])
async def test_another_timeline_is_refused(alice: Person, talk: Made, whisper: Made, timeline_id: str) -> None:
    """A timeline that is unknown or belongs to another engagement is refused."""
    if timeline_id == "other's":
        timeline_id = (await alice.post(comments_url(whisper), json=COMMENT)).json()["transcript_timeline_id"]
    response = await alice.post(comments_url(talk), json={**COMMENT, "transcript_timeline_id": timeline_id})

    assert response.status_code == 422
    assert faults(response) == [("transcript_timeline_id", "not_found")]


async def test_without_a_timeline_there_is_nothing_to_comment_on(alice: Person, step: Made, waiting: Made) -> None:
    """Comments need a timeline: words or a recording alone are not enough."""
    answers = [await alice.post(comments_url(engagement), json=COMMENT) for engagement in (step, waiting)]
    await alice.put(waiting.set_timeline_url, json=TIMELINE)
    later = await alice.post(comments_url(waiting), json=COMMENT)

    assert [answer.status_code for answer in (*answers, later)] == [422, 422, 201]
    assert faults(answers[0]) == faults(answers[1]) == [("transcript_timeline_id", "not_found")]


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"body": ""}, ("body", "too_short")),
        ({"body": " \t\n"}, ("body", "blank")),
        ({"body": "\u00a0\u2003\ufeff"}, ("body", "blank")),
        ({"body": "x" * 50_001}, ("body", "too_long")),
        ({"body": " " * 50_000 + "x"}, ("body", "too_long")),
        ({"body": "a\u0000"}, ("body", "invalid_characters")),
        ({"body": None}, ("body", "invalid_type")),
        ({"status": "RESOLVED"}, ("status", "unknown_field")),
        ({"transcript_timeline_id": "first"}, ("transcript_timeline_id", "invalid_format")),
        ({"transcript_timeline_id": ""}, ("transcript_timeline_id", "invalid_format")),
        ({"transcript_timeline_id": None}, ("transcript_timeline_id", "invalid_type")),
        ({"anchor": None}, ("anchor", "invalid_type")),
        ({"anchor": 1}, ("anchor", "invalid_type")),
        ({"anchor": {"entry_index": 2}}, ("anchor.entry_index", "invalid_range")),
        ({"anchor": {"entry_index": -1}}, ("anchor.entry_index", "invalid_range")),
        ({"anchor": {"entry_index": 10**30}}, ("anchor.entry_index", "invalid_range")),
        ({"anchor": {"entry_index": 0.5}}, ("anchor.entry_index", "invalid_type")),
        ({"anchor": {"entry_index": True}}, ("anchor.entry_index", "invalid_type")),
        ({"anchor": {"start_seconds": -0.1}}, ("anchor.start_seconds", "invalid_range")),
        ({"anchor": {"start_seconds": 2, "end_seconds": 1.9}}, ("anchor.end_seconds", "invalid_range")),
        ({"anchor": {"quote": ""}}, ("anchor.quote", "too_short")),
        ({"anchor": {"quote": " "}}, ("anchor.quote", "blank")),
        ({"anchor": {"quote": "x" * 2001}}, ("anchor.quote", "too_long")),
        ({"anchor": {"entry": 1}}, ("anchor.entry", "unknown_field")),
    ],
)
async def test_what_a_comment_cannot_be_is_refused(
    alice: Person, talk: Made, stored: Stored, members: Json, fault: tuple[str, str]
) -> None:
    """Each fault in the body is reported with the field's path, and nothing is created."""
    before = await stored.changes()
    response = await alice.post(comments_url(talk), json={**COMMENT, **members})

    assert response.status_code == 422
    assert faults(response) == [fault]
    assert await stored.changes() == before


async def test_a_comment_says_something(alice: Person, talk: Made) -> None:
    """The body is the only required member."""
    response = await alice.post(comments_url(talk), json={"anchor": {"entry_index": 0}})

    assert faults(response) == [("body", "required")]


async def test_what_the_timeline_refuses_is_told_at_once(alice: Person, talk: Made) -> None:
    """A wrong timeline does not hide an anchor beyond its end."""
    body = {**COMMENT, "transcript_timeline_id": "tt_1", "anchor": {"entry_index": 2}}
    response = await alice.post(comments_url(talk), json=body)

    assert faults(response) == [("transcript_timeline_id", "not_found"), ("anchor.entry_index", "invalid_range")]


async def test_an_anchor_is_of_the_timeline_as_it_is(alice: Person, talk: Made) -> None:
    """An anchor must exist in the current timeline."""
    entry = {"speaker_index": 0, "start_seconds": 0, "end_seconds": 1, "text": "Short."}
    await alice.put(talk.set_timeline_url, json={"speakers": [{}], "entries": [entry]})
    first, second = [
        await alice.post(comments_url(talk), json={**COMMENT, "anchor": {"entry_index": index}}) for index in (0, 1)
    ]

    assert (first.status_code, second.status_code) == (201, 422)


async def test_what_is_private_is_not_there_for_others(erin: Person, keys: Keys, whisper: Made) -> None:
    """Only callers who may read a private engagement can comment on it."""
    other = await keys.holder("engagements:read", "transcript_comments:write", "engagements:private:write")
    hidden, done = await other.post(comments_url(whisper), json=COMMENT), await erin.post(comments_url(whisper), json=COMMENT)

    assert (hidden.status_code, done.status_code) == (404, 201)
    assert hidden.json()["detail"] == (await other.post(UNKNOWN, json=COMMENT)).json()["detail"]


@pytest.mark.parametrize("engagement_id", ["nobody", "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """An unknown object gets 404, but only after the body is validated."""
    url = f"{URL}/{engagement_id}/transcript_comments"
    unknown, invalid = await alice.post(url, json=COMMENT), await alice.post(url, json={})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


async def test_if_match_is_refused(alice: Person, talk: Made, stored: Stored) -> None:
    """A new object has no version that If-Match could match, not even `*`. The timeline is checked first."""
    before = await stored.changes()
    response = await alice.post(comments_url(talk), json=COMMENT, headers={"If-Match": "*"})
    both = await alice.post(comments_url(talk), json={**COMMENT, "anchor": {"entry_index": 2}}, headers={"If-Match": talk.etag})

    assert (response.status_code, both.status_code) == (412, 422)
    assert await stored.changes() == before


async def test_a_retry_gets_the_first_answer(alice: Person, talk: Made, stored: Stored) -> None:
    """A retry with the same Idempotency-Key creates no second comment, and is refused for another engagement."""
    key = {"Idempotency-Key": str(uuid4())}
    other = Made(await alice.post(URL, json=timed("other")))
    first, second = [await alice.post(comments_url(talk), json=COMMENT, headers=key) for _ in range(2)]
    elsewhere = await alice.post(comments_url(other), json=COMMENT, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert faults(elsewhere) == [("Idempotency-Key", "idempotency_key_reused")]
    assert [change.kind for change in await stored.changes()].count("n") == 1


async def test_the_engagement_stays_what_it_is(alice: Person, talk: Made, promise: Made) -> None:
    """A comment changes neither the engagement nor its timeline."""
    assert promise.json["engagement_id"] == talk.id
    assert (await alice.get(talk.url)).headers["ETag"] == talk.etag
    assert (await alice.post(URL, json=call("talk"))).json() == talk.json
