"""GET /v2/engagements/{engagement_id}/transcript_timeline, and our own PUT."""

import json
from collections.abc import Iterator
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from herdbook import fields
from herdbook.errors import FieldError
from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.calls import LISTING, TIMELINE, URL, Made, call, expanded, timed
from tests.engagements.conftest import Keys

UNKNOWN = "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
EMPTY: Json = {}
OTHER: Json = {
    "speakers": [{"name": "Grace"}],
    "entries": [{"speaker_index": 0, "start_seconds": 1, "end_seconds": 60, "text": "Nanoseconds."}],
}


async def test_anonymous_is_refused(client: httpx.AsyncClient, step: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    answers = [await client.get(step.timeline_url), await client.put(step.set_timeline_url, json=TIMELINE)]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in answers)


async def test_charlie_is_refused(charlie: Person, alice: Person) -> None:
    """Timelines of another workspace can be neither read nor set."""
    created = Made(await alice.post(URL, json=timed()))
    read, write = await charlie.get(created.timeline_url), await charlie.put(created.set_timeline_url, json=OTHER)

    assert (read.status_code, write.status_code) == (404, 404)
    assert "begin" not in read.text
    assert (await alice.get(created.timeline_url)).json()["entries"] == TIMELINE["entries"]


async def test_reading_takes_its_scope(keys: Keys, alice: Person) -> None:
    """`transcript_timelines:read` is required and sufficient."""
    created = Made(await alice.post(URL, json=timed()))
    reader, other = await keys.holder("transcript_timelines:read"), await keys.holder("engagements:read")
    read, refused = await reader.get(created.timeline_url), await other.get(created.timeline_url)

    assert (read.status_code, refused.status_code) == (200, 403)
    assert "transcript_timelines:read" in refused.json()["detail"]


async def test_setting_takes_its_scope(bob: Person, keys: Keys, step: Made, stored: Stored) -> None:
    """`engagements:write` is required and sufficient."""
    refused = await bob.put(step.set_timeline_url, json=TIMELINE)
    assert len(await stored.changes()) == 3
    done = await (await keys.holder("engagements:write")).put(step.set_timeline_url, json=TIMELINE)

    assert (refused.status_code, done.status_code) == (403, 200)
    assert "engagements:write" in refused.json()["detail"]


async def test_it_comes_back_as_it_was_sent(alice: Person) -> None:
    """A timeline shows speakers and entries as sent, and the speakers' average."""
    created = Made(await alice.post(URL, json=timed()))
    response = await alice.get(created.timeline_url)

    assert response.status_code == 200
    assert response.json() == {
        "object": "transcript_timeline",
        "engagement_id": created.id,
        **TIMELINE,
        "overall_sentiment": 0.125,
    }


@pytest.mark.parametrize(
    ("sentiments", "overall"), [([None, None], None), ([], None), ([0.5, None], 0.5), ([1, -1, 0.6], 0.2), ([0], 0)]
)
async def test_the_average_is_over_the_speakers_who_have_one(
    alice: Person, step: Made, sentiments: list[float | None], overall: float | None
) -> None:
    """Speakers without a sentiment do not count; without any sentiment there is no average."""
    speakers: Json = [{} if each is None else {"sentiment": each} for each in sentiments] or [{}]
    response = await alice.put(step.set_timeline_url, json={"speakers": speakers, "entries": []})

    assert response.json()["overall_sentiment"] == (overall if overall is None else pytest.approx(overall))


async def test_plain_text_is_no_timeline(alice: Person, step: Made, waiting: Made) -> None:
    """An engagement with plain text, or with nothing, has no timeline."""
    answers = [await alice.get(engagement.timeline_url) for engagement in (step, waiting)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "transcript timeline" in answers[0].json()["detail"]


@pytest.mark.parametrize("engagement_id", ["nobody", UNKNOWN])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """An unknown engagement gets 404; a PUT validates its body first."""
    read = await alice.get(f"{URL}/{engagement_id}/transcript_timeline")
    url = f"/api/herdbook/engagements/{engagement_id}/transcript_timeline"
    write, invalid = await alice.put(url, json=TIMELINE), await alice.put(url, json={"speakers": []})

    assert (read.status_code, write.status_code, invalid.status_code) == (404, 404, 422)


async def test_the_vendors_path_takes_no_put(alice: Person, step: Made) -> None:
    """The PUT is ours, so it has a path of its own."""
    response = await alice.put(step.timeline_url, json=TIMELINE)

    assert response.status_code == 405


async def test_what_was_set_is_read(alice: Person, step: Made) -> None:
    """The response is the timeline. A read shows the same with the same ETag, and the transcript is the timeline's text."""
    response = await alice.put(step.set_timeline_url, json=TIMELINE)
    read = await alice.get(step.timeline_url)

    assert response.status_code == 200
    assert response.json()["entries"] == TIMELINE["entries"]
    assert (read.content, read.headers["ETag"]) == (response.content, response.headers["ETag"])
    assert await expanded(alice, step, "transcript") == "Ada Lovelace: Shall we begin?\nSpeaker 2: The engine is ready."


async def test_it_completes_what_was_waiting(alice: Person, waiting: Made) -> None:
    """An engagement with only a recording is complete and has a duration once its timeline is set."""
    status = "filter[processing_status][eq]"
    before = [await LISTING.listed(alice, {status: "PENDING"}), await LISTING.listed(alice, {status: "COMPLETED"})]
    await alice.put(waiting.set_timeline_url, json=OTHER)
    engagement = (await alice.get(waiting.url)).json()

    assert waiting.json["processing_status"] == "PENDING"
    assert (engagement["processing_status"], engagement["duration_seconds"]) == ("COMPLETED", 60)
    assert engagement["updated_at"] > waiting.json["updated_at"]
    assert before == [["Waiting"], []]
    assert [await LISTING.listed(alice, {status: "PENDING"}), await LISTING.listed(alice, {status: "COMPLETED"})] == [
        [],
        ["Waiting"],
    ]


async def test_a_duration_that_is_known_stays(alice: Person) -> None:
    """A new timeline replaces the words, not a known duration."""
    created = Made(await alice.post(URL, json=timed()))
    await alice.put(created.set_timeline_url, json=OTHER)

    assert (await alice.get(created.url)).json() == created.json
    assert await expanded(alice, created, "transcript") == "Grace: Nanoseconds."


async def test_the_changes_are_entered(alice: Person, step: Made, stored: Stored) -> None:
    """The ledger has the old words, and the engagement's new duration."""
    response = await alice.put(step.set_timeline_url, json=TIMELINE)
    engagement, transcript = (await stored.changes())[3:]

    assert (transcript.kind, transcript.action) == ("r", "u")
    assert transcript.previous == {"timeline_id": None, "text": "Shall we begin?", "timeline": None}
    assert transcript.object["timeline"] == response.json()
    assert transcript.object["timeline_id"].startswith("tt_")
    assert response.headers["ETag"] == f'"{transcript.seq}"'
    assert (engagement.kind, engagement.action) == ("e", "u")
    assert engagement.previous == {"end_at": None, "duration_seconds": None}
    del engagement.object["details"]
    assert engagement.object == (await alice.get(step.url)).json()


async def test_a_first_transcript_is_entered(alice: Person, waiting: Made, stored: Stored) -> None:
    """A first transcript has no previous state, and the completion of the engagement is a separate change."""
    await alice.put(waiting.set_timeline_url, json={"speakers": [{}], "entries": []})
    engagement, transcript = (await stored.changes())[2:]

    assert (transcript.kind, transcript.action, transcript.previous) == ("r", "c", None)
    assert (engagement.kind, engagement.action) == ("e", "u")
    assert engagement.previous == {"processing_status": "PENDING"}


async def test_the_same_again_writes_nothing(alice: Person, step: Made, stored: Stored) -> None:
    """A request that changes nothing keeps the ETag and adds no ledger entry."""
    first, second = [await alice.put(step.set_timeline_url, json=TIMELINE) for _ in range(2)]

    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert len(await stored.changes()) == 5


async def test_a_timeline_keeps_its_id(alice: Person, stored: Stored) -> None:
    """A timeline that replaces another keeps its id, so comments stay on it."""
    created = Made(await alice.post(URL, json=timed()))
    await alice.put(created.set_timeline_url, json=OTHER)
    first, second = [change.object for change in await stored.changes() if change.kind == "r"]

    assert first["timeline_id"] == second["timeline_id"]
    assert first["timeline"] != second["timeline"]


async def test_if_match_stops_other_versions(alice: Person) -> None:
    """A stale If-Match prevents the replacement. The version is the timeline's, not the engagement's."""
    created = Made(await alice.post(URL, json=timed()))
    etag = (await alice.get(created.timeline_url)).headers["ETag"]
    others = await alice.put(created.set_timeline_url, json=OTHER, headers={"If-Match": created.etag})
    done = await alice.put(created.set_timeline_url, json=OTHER, headers={"If-Match": etag})
    late = await alice.put(created.set_timeline_url, json=TIMELINE, headers={"If-Match": etag})

    assert (others.status_code, done.status_code, late.status_code) == (412, 200, 412)
    assert late.headers["ETag"] == done.headers["ETag"]
    assert (await alice.get(created.timeline_url)).json() == done.json()


@pytest.mark.parametrize("tag", ['"1"', "*"])
async def test_if_match_fits_no_timeline_that_is_not_there(alice: Person, waiting: Made, stored: Stored, tag: str) -> None:
    """A first timeline has no version that If-Match could match, not even `*`."""
    response = await alice.put(waiting.set_timeline_url, json=TIMELINE, headers={"If-Match": tag})

    assert response.status_code == 412
    assert "ETag" not in response.headers
    assert len(await stored.changes()) == 2


async def test_a_retry_gets_the_first_answer(alice: Person, step: Made) -> None:
    """A retry with the same Idempotency-Key does not undo later changes."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.put(step.set_timeline_url, json=TIMELINE, headers=key)
    await alice.put(step.set_timeline_url, json=OTHER)
    second = await alice.put(step.set_timeline_url, json=TIMELINE, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await alice.get(step.timeline_url)).json()["entries"] == OTHER["entries"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"speakers": []}, [("speakers", "too_short")]),
        ({"speakers": None}, [("speakers", "invalid_type")]),
        ({"entries": EMPTY}, [("entries", "invalid_type")]),
        ({"speakers": [{"nick": "A"}]}, [("speakers[0].nick", "unknown_field")]),
        (
            {"speakers": [{"email": "nobody"}, {"name": " "}]},
            [("speakers[0].email", "invalid_format"), ("speakers[1].name", "blank")],
        ),
        ({"speakers": [EMPTY]}, [("entries[1].speaker_index", "invalid_range")]),
        ({"entries": TIMELINE["entries"] * 2501}, [("entries", "too_long")]),
        ({"overall_sentiment": 1}, [("overall_sentiment", "unknown_field")]),
    ],
)
async def test_what_is_no_timeline_is_refused(
    alice: Person, step: Made, stored: Stored, changes: Json, expected: list[tuple[str, str]]
) -> None:
    """A timeline follows the rules of one sent with an engagement, with paths that begin at the body."""
    response = await alice.put(step.set_timeline_url, json={**TIMELINE, **changes})

    assert response.status_code == 422
    assert faults(response) == expected
    assert all(f"`{field}" in error["message"] for (field, _), error in zip(expected, response.json()["errors"], strict=True))
    assert len(await stored.changes()) == 3


async def test_a_long_timeline_is_taken(alice: Person, step: Made) -> None:
    """5,000 entries are not too many, nor are 950,000 bytes of text."""
    first = {**TIMELINE["entries"][0], "text": "é" * 95}
    entries = [first] * 5000
    response = await alice.put(step.set_timeline_url, json={**TIMELINE, "entries": entries})

    assert response.status_code == 200
    assert len((await alice.get(step.timeline_url)).json()["entries"]) == 5000


async def test_texts_that_are_too_long_together_are_refused(alice: Person, step: Made, stored: Stored) -> None:
    """Their bytes count, not their characters, in a timeline by itself and in one that comes with an engagement."""
    first = {**TIMELINE["entries"][0], "text": "é" * 95}
    timeline = {**TIMELINE, "entries": [first] * 4999 + [{**first, "text": "é" * 96}]}
    alone = await alice.put(step.set_timeline_url, json=timeline)
    within = await alice.post(URL, json=timed("call-2", transcript_timeline=timeline))

    assert faults(alone) == [("entries", "too_long")]
    assert faults(within) == [("transcript_timeline.entries", "too_long")]
    assert "950002 bytes" in alone.json()["errors"][0]["message"]
    assert len(await stored.changes()) == 3


async def test_a_timeline_of_before_is_read_and_replaced(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID
) -> None:
    """A timeline from a time with larger limits is read as it is, and can be replaced within today's limits."""
    created = Made(await alice.post(URL, json=timed()))
    kept = (await alice.get(created.timeline_url)).json()
    kept["entries"] = kept["entries"][:1] * 5001
    await pool.execute("update transcript set object = $2 where workspace_id = $1", workspace_id, json.dumps(kept))
    read = await alice.get(created.timeline_url)
    replaced = await alice.put(created.set_timeline_url, json=OTHER)

    assert len(read.json()["entries"]) == 5001
    assert (replaced.status_code, replaced.json()["entries"]) == (200, OTHER["entries"])


async def test_sound_entries_are_not_looked_at_one_by_one(alice: Person, step: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that says what is wrong with a text is asked only where something is."""
    asked: list[str] = []

    def text(value: str | None, path: str) -> Iterator[FieldError]:
        asked.append(path)
        yield from rule(value, path)

    rule = fields.text
    monkeypatch.setattr(fields, "text", text)
    sound = await alice.put(step.set_timeline_url, json=TIMELINE)
    asked_when_sound = [path for path in asked if "entries" in path]
    asked.clear()
    wrong = {**TIMELINE["entries"][0], "text": " "}
    refused = await alice.put(step.set_timeline_url, json={**TIMELINE, "entries": [*TIMELINE["entries"], wrong]})

    assert (sound.status_code, asked_when_sound) == (200, [])
    assert "entries[2].text" in asked
    assert faults(refused) == [("entries[2].text", "blank")]


async def test_a_private_one_is_read_with_three_scopes(keys: Keys, alice: Person) -> None:
    """The timeline of a private engagement needs the scopes for reading the engagement, and its own."""
    secret = Made(await alice.post(URL, json=timed(is_private=True)))
    scopes = ("transcript_timelines:read", "engagements:read", "engagements:private:read")
    holders = [await keys.holder(*scopes), await keys.holder(*scopes[:2]), await keys.holder(scopes[0], scopes[2])]

    assert [(await holder.get(secret.timeline_url)).status_code for holder in holders] == [200, 404, 404]


async def test_a_private_one_is_set_with_the_private_scope(alice: Person, dave: Person, erin: Person, secret: Made) -> None:
    """A caller who may only read it learns which scope is missing. A caller who may not read it gets 404."""
    headers = {"If-Match": '"999"'}
    hidden, readable = [await person.put(secret.set_timeline_url, json=OTHER, headers=headers) for person in (dave, erin)]
    assert await expanded(alice, secret, "transcript") == "Shall we begin?"
    done = await alice.put(secret.set_timeline_url, json=OTHER)

    assert (hidden.status_code, readable.status_code, done.status_code) == (404, 403, 200)
    assert "engagements:private:write" in readable.json()["detail"]


async def test_contacts_stay_where_they_are(alice: Person, ada: Thing) -> None:
    """A timeline does not change the participants."""
    created = Made(await alice.post(URL, json=call(participants=[{"email": "ada@engine.test"}])))
    await alice.put(created.set_timeline_url, json=TIMELINE)

    assert await expanded(alice, created, "contacts") == [ada.json]
