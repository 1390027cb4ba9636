"""The members of kept calls that name an erased person: speakers, external ids and links."""

from pathlib import Path
from typing import Any, Final

import pytest

from herdbook.db.pool import Pool
from herdbook.erasure.erasing import erase_again
from herdbook.erasure.store import listed
from herdbook.erasure_list import ErasureList
from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person
from tests.engagements.calls import TIMELINE, URL, Made, timed
from tests.erasure.test_erase_contact import ADDRESS, MARKER, PHONE, erase, everything, feed, marked
from tests.erasure.test_erase_participants import ERASE
from tests.history.consistency import assert_consistent

BOB: Final = {"name": "Bob", "email": "bob@x.test"}
NAME: Final = f"{MARKER} the Second {MARKER}"


def spoken(*speakers: Json) -> Json:
    """Return a timeline with the same words, said by these speakers and Bob."""
    return TIMELINE | {"speakers": [*speakers, BOB]}


async def speakers_of(alice: Person, made: Made) -> list[Json]:
    """Return the speakers of a call."""
    return (await alice.get(made.timeline_url)).json()["speakers"]


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize(
    "speaker",
    [{"name": MARKER, "email": ADDRESS.upper()}, {"name": NAME, "sentiment": 0.5}, {"name": ADDRESS}, {"name": PHONE}],
)
async def test_a_speaker_of_a_linked_call_goes(
    alice: Person,
    admin: Person,
    pool: Any,
    speaker: Json,
    is_deleted: bool,  # noqa: FBT001
) -> None:
    """A speaker by the address or the name goes from the timeline, its text, its history and kept answers; others stay."""
    ada = await marked(alice)
    body = timed(participants=[{"email": ADDRESS}, BOB], transcript_timeline=spoken(speaker))
    made = Made(await alice.post(URL, json=body))
    key = {"Idempotency-Key": "timeline"}
    other = spoken({"name": "Zoe"}, speaker)
    assert (await alice.put(made.set_timeline_url, json=other, headers=key)).status_code == 200
    assert (await alice.put(made.set_timeline_url, json=spoken(speaker))).status_code == 200
    undo = None
    if is_deleted:
        undo = (await alice.delete(f"/api/herdbook/engagements/{made.id}")).headers["X-Request-Id"]
    before = len(await feed(admin))
    assert (await erase(admin, ada)).json()["kept_engagement_ids"] == [made.id]

    assert await everything(pool, alice.workspace_id) == {}
    assert (await alice.put(made.set_timeline_url, json=other, headers=key)).status_code == 410
    if undo is None:
        told = [each["type"] for each in (await feed(admin))[before:]]
        assert sorted(told) == ["contact.erased", "engagement.updated", "transcript.updated"]
    else:
        await admin.post("/api/herdbook/undo", json={"request_id": undo})
    sentiment = {"sentiment": speaker["sentiment"]} if "sentiment" in speaker else {}
    assert await speakers_of(alice, made) == [sentiment, BOB]
    text = (await alice.get(made.url, params={"expand": "transcript"})).json()["transcript"]
    assert text == "Speaker 1: Shall we begin?\nBob: The engine is ready."
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize("engagements", ["false", "true"])
async def test_a_speaker_of_an_unlinked_call_goes_by_the_address(
    alice: Person, admin: Person, pool: Any, engagements: str
) -> None:
    """In a call that is not linked, the address tells a speaker, and a name does not; the call stays in any case."""
    ada = await marked(alice)
    grace = {"name": "Grace", "email": "grace@x.test"}
    alone = Made(await alice.post(URL, json=timed(participants=[BOB], transcript_timeline=spoken({"email": ADDRESS}, grace))))
    former = Made(await alice.post(URL, json=timed("2", participants=[BOB], transcript_timeline=spoken({"email": ADDRESS}))))
    assert (await alice.put(former.set_timeline_url, json=spoken(grace))).status_code == 200
    expected = (await erase(admin, ada, dry_run="true", engagements=engagements)).json()
    certificate = (await erase(admin, ada, engagements=engagements)).json()

    assert await everything(pool, alice.workspace_id) == {}
    assert await speakers_of(alice, alone) == [{}, grace, BOB]
    assert await speakers_of(alice, former) == [grace, BOB]
    assert expected["kept_engagement_ids"] == certificate["kept_engagement_ids"] == [alone.id]
    await assert_consistent(pool, alice.workspace_id)


async def test_another_speaker_with_the_name_stays(alice: Person, admin: Person) -> None:
    """A speaker with the same name and another address is another person, and so is one in a call that is not linked."""
    ada = await marked(alice)
    namesake = {"name": NAME, "email": "namesake@x.test"}
    linked = Made(await alice.post(URL, json=timed(participants=[{"email": ADDRESS}], transcript_timeline=spoken(namesake))))
    unlinked = Made(await alice.post(URL, json=timed("2", participants=[BOB], transcript_timeline=spoken({"name": NAME}))))
    await erase(admin, ada)

    assert await speakers_of(alice, linked) == [namesake, BOB]
    assert await speakers_of(alice, unlinked) == [{"name": NAME}, BOB]


@pytest.mark.parametrize("is_linked", [True, False])
@pytest.mark.parametrize(
    "member",
    [
        {"external_id": ADDRESS.upper()},
        {"external_id": "0049301234567"},
        {"external_url": f"mailto:{ADDRESS}"},
        {"external_url": f"https://dialer.test/calls?of={ADDRESS.replace('@', '%40')}"},
        {"external_url": f"wavv://call/{PHONE}"},
    ],
    ids=str,
)
async def test_an_external_id_and_a_link_go(
    alice: Person,
    admin: Person,
    pool: Any,
    member: Json,
    is_linked: bool,  # noqa: FBT001
) -> None:
    """An external id that is the address or the number goes, and so does a link with it, with their history and answers."""
    ada = await marked(alice)
    body = timed(participants=[{"email": ADDRESS}] if is_linked else [BOB]) | member
    made = Made(await alice.post(URL, json=body, headers={"Idempotency-Key": "call"}))
    await alice.put(f"{made.url}/tags", json={"tag_ids": []}, headers={"Idempotency-Key": "tags"})
    assert (await erase(admin, ada)).json()["kept_engagement_ids"] == [made.id]

    assert await everything(pool, alice.workspace_id) == {}
    shown = (await alice.get(made.url)).json()
    assert "external_url" not in shown
    assert await pool.fetchval("select details ->> 'external_id' from engagement where id = $1", made.uuid) == (
        made.id if "external_id" in member else body["external_id"]
    )
    await assert_consistent(pool, alice.workspace_id)


async def test_they_go_afterwards(alice: Person, admin: Person, pool: Any) -> None:
    """An erasure by the address takes what an earlier one has left in calls, and says in which."""
    body = {"external_id": ADDRESS, "external_url": f"mailto:{ADDRESS}"}
    made = Made(await alice.post(URL, json=timed(participants=[BOB], transcript_timeline=spoken({"email": ADDRESS})) | body))
    expected, done = [
        (await admin.post(ERASE, json={"email": ADDRESS}, params={"dry_run": each})).json() for each in ("true", "false")
    ]

    assert expected["kept_engagement_ids"] == done["kept_engagement_ids"] == [made.id]
    assert expected["rows"]["engagement"] == 1
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_a_speaker_is_erased_again(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A speaker who is back with a backup is erased again by the list."""
    await alice.post(URL, json=timed(participants=[BOB], transcript_timeline=spoken({"email": ADDRESS})))
    object_ = await pool.fetchval("select object::text from transcript where workspace_id = $1", alice.workspace_id)
    assert (await admin.post(ERASE, json={"email": ADDRESS})).status_code == 200
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add([each for each in await listed(own_pool) if each.workspace_id == alice.workspace_id])
    await pool.execute("delete from erasure where workspace_id = $1", alice.workspace_id)
    await pool.execute("update transcript set object = $2 where workspace_id = $1", alice.workspace_id, object_)

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert await everything(pool, alice.workspace_id) == {}
