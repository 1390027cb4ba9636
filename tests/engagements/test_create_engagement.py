"""POST /v2/engagements. Recordings have their own file."""

import re
from asyncio import gather
from typing import cast
from uuid import uuid4

import asyncpg
import httpx
import pytest

from herdbook.db.pool import Executor
from herdbook.users.model import NewUser, UserRole
from herdbook.workspaces.store import set_region
from tests.cast import Json, Person, Stored, Team, Thing, faults
from tests.engagements.calls import LISTING, TIMELINE, URL, Made, call, expanded, timed
from tests.engagements.conftest import Keys


async def kinds(stored: Stored, since: int = 1) -> list[tuple[str, str]]:
    """Return the kind and action of each change after the first ones."""
    return [(change.kind, change.action) for change in (await stored.changes())[since:]]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json=call())

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_has_his_own(charlie: Person, step: Made, ada: Thing) -> None:
    """An external id of another workspace is free, and its contacts are unknown."""
    response = await charlie.post(URL, json=call(participants=[{"email": "ada@engine.test"}]))

    assert response.status_code == 201
    assert response.json()["id"] != step.id
    (contact,) = await expanded(charlie, Made(response), "contacts")
    assert contact["id"] != ada.id


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot create anything."""
    response = await bob.post(URL, json=call())

    assert response.status_code == 403
    assert "engagements:write" in response.json()["detail"]
    assert await kinds(stored) == []


async def test_dave_needs_no_more_than_the_write_scope(keys: Keys) -> None:
    """The write scope is also enough to create contacts from participants, and to create a private engagement."""
    dave = await keys.holder("engagements:write")
    response = await dave.post(URL, json=call(is_private=True, participants=[{"email": "eve@engine.test"}]))

    assert response.status_code == 201
    assert response.json()["is_private"] is True


async def test_everything_that_is_sent_comes_back(alice: Person, owner: Thing) -> None:
    """The response shows the engagement as stored."""
    body = timed(
        type="MEETING",
        title=" The engine's next step ",
        start_at="2026-03-01T13:00:00+01:00",
        external_url="wavv://call/123",
        is_private=True,
        run_workflows=False,
    )
    response = await alice.post(URL, json=body)

    engagement = response.json()
    assert response.status_code == 201
    assert re.fullmatch("ngmt_[0-9A-HJKMNP-TV-Z]{26}", engagement.pop("id"))
    assert engagement.pop("created_at") == engagement.pop("updated_at")
    assert engagement == {
        "object": "engagement",
        "title": " The engine's next step ",
        "engagement_type": "MEETING",
        "processing_status": "COMPLETED",
        "is_private": True,
        "data_source": "dialer",
        "engagement_at": "2026-03-01T12:00:00.000000Z",
        "start_at": "2026-03-01T12:00:00.000000Z",
        "end_at": "2026-03-01T12:00:04.500000Z",
        "duration_seconds": 5,
        "external_url": "wavv://call/123",
        "owner_user_id": owner.id,
        "host_user_id": owner.id,
    }


async def test_what_is_empty_is_left_out(alice: Person) -> None:
    """An engagement with only text has no duration and no end, starts at its creation, and is not private."""
    engagement = (await alice.post(URL, json=call())).json()

    assert set(engagement) == {
        *("object", "id", "title", "engagement_type", "processing_status", "is_private", "created_at", "updated_at"),
        *("data_source", "engagement_at", "start_at", "owner_user_id", "host_user_id"),
    }
    assert engagement["start_at"] == engagement["engagement_at"] == engagement["created_at"]
    assert engagement["is_private"] is False


async def test_it_is_there_at_once(alice: Person, step: Made) -> None:
    """A read shows what the response showed, under the same ETag."""
    response = await alice.get(step.url)

    assert response.json() == step.json
    assert response.headers["ETag"] == step.etag


async def test_the_changes_are_entered(alice: Person, stored: Stored) -> None:
    """The ledger has the engagement, including members that the API hides, and then the transcript."""
    participants = [{"name": "Ada", "phone": "ask reception"}]
    created = Made(await alice.post(URL, json=timed(participants=participants, run_workflows=False)))
    shown = {name: value for name, value in created.json.items() if name != "unknown_participants"}
    engagement, transcript = (await stored.changes())[1:]

    assert (engagement.kind, engagement.action, engagement.previous) == ("e", "c", None)
    details = engagement.object.pop("details")
    assert engagement.object == shown
    assert details == {
        "source_system": "dialer",
        "external_id": "call-1842",
        "created_by": str(alice.key.id),
        "run_workflows": False,
        "participants": participants,
    }
    assert (transcript.kind, transcript.action, transcript.previous) == ("r", "c", None)
    assert transcript.object["timeline"] == (await alice.get(created.timeline_url)).json()
    assert transcript.object["text"] == await expanded(alice, created, "transcript")


@pytest.mark.parametrize(
    ("start_at", "end_at"),
    [
        ("2026-12-31T23:59:58Z", "2027-01-01T00:00:02.500000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:04.500000Z"),
        ("9999-12-31T23:59:59.999999Z", None),
    ],
)
async def test_it_ends_when_the_last_word_is_said(alice: Person, start_at: str, end_at: str | None) -> None:
    """The end is the start plus the duration, or absent if the calendar ends first."""
    engagement = (await alice.post(URL, json=timed(start_at=start_at))).json()

    assert engagement.get("end_at") == end_at
    assert engagement["duration_seconds"] == 5


@pytest.mark.parametrize(("ends", "seconds"), [([2.4], 2), ([2.5], 3), ([0], 0), ([9, 3, 7], 9), ([31_536_000], 31_536_000)])
async def test_the_duration_is_in_whole_seconds(alice: Person, ends: list[float], seconds: int) -> None:
    """The duration is the time of the last word, rounded, in whatever order the entries come."""
    entries = [{"speaker_index": 0, "start_seconds": 0, "end_seconds": end, "text": "So."} for end in ends]
    engagement = (await alice.post(URL, json=timed(transcript_timeline={"speakers": [{}], "entries": entries}))).json()

    assert engagement["duration_seconds"] == seconds


async def test_a_timeline_in_which_nobody_speaks(alice: Person) -> None:
    """A silent timeline is valid: it has no duration and no words."""
    created = Made(await alice.post(URL, json=timed(transcript_timeline={"speakers": [{}], "entries": []})))

    assert created.json["processing_status"] == "COMPLETED"
    assert "duration_seconds" not in created.json
    assert await expanded(alice, created, "transcript") == ""


async def test_a_timeline_is_plain_text_too(alice: Person) -> None:
    """A timeline's text has a line for each entry, after the speaker's name, or a number without a name."""
    created = Made(await alice.post(URL, json=timed()))

    assert await expanded(alice, created, "transcript") == "Ada Lovelace: Shall we begin?\nSpeaker 2: The engine is ready."


async def test_plain_text_goes_before_the_timelines(alice: Person) -> None:
    """Plain text and timeline are both kept as sent."""
    created = Made(await alice.post(URL, json=call(transcript=" In short: yes.\n", transcript_timeline=TIMELINE)))

    assert await expanded(alice, created, "transcript") == " In short: yes.\n"
    assert (await alice.get(created.timeline_url)).json()["entries"] == TIMELINE["entries"]


async def test_the_longest_texts_are_taken(alice: Person) -> None:
    """Texts of the documented greatest length are accepted."""
    body = call("x" * 500, title="ü" * 500, source_system="ü" * 100, external_url="https://x.test/" + "x" * 2033)
    created = Made(await alice.post(URL, json=body))

    assert await LISTING.listed(alice, {"search": "u" * 255}) == ["ü" * 500]
    assert (created.json["data_source"], len(created.json["external_url"])) == ("ü" * 100, 2048)


@pytest.mark.parametrize("letter", ["x", "é"])
async def test_the_longest_transcript_is_taken(alice: Person, letter: str) -> None:
    """A transcript of 900,000 characters and 950,000 bytes is accepted, but not one more of either."""
    most = 900_000 if letter == "x" else 475_000
    longest, longer = [await alice.post(URL, json=call(str(n), transcript=letter * n)) for n in (most, most + 1)]

    assert longest.status_code == 201
    assert len(await expanded(alice, Made(longest), "transcript")) == most
    assert longer.status_code == 422
    assert faults(longer) == [("transcript", "too_long")]


EMPTY: Json = {}


def timeline(*entries: Json, speakers: Json = (EMPTY,)) -> Json:
    """Return a body whose timeline has these entries, each with at least some text."""
    said = {"speaker_index": 0, "start_seconds": 0, "end_seconds": 1, "text": "So."}
    return {"transcript_timeline": {"speakers": list(speakers), "entries": [{**said, **entry} for entry in entries]}}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"transcript": "x" * 900_001, "title": 1}, [("transcript", "too_long"), ("title", "invalid_type")]),
        ({"transcript": "\n" * 900_001}, [("transcript", "too_long")]),
        ({"transcript": "x" * 70_000, "title": "x" * 501}, [("title", "too_long")]),
        ({"title": "x" * 70_000}, [("title", "too_long")]),
        (timeline({"text": "x" * 70_000}), [("transcript_timeline.entries[0].text", "too_long")]),
    ],
)
async def test_a_text_is_too_long_in_a_long_body_too(alice: Person, members: Json, found: list[tuple[str, str]]) -> None:
    """A body beyond 64 KiB does not hide which text is too long, nor what else is wrong."""
    response = await alice.post(URL, json=call(**members))

    assert response.status_code == 422
    assert sorted(faults(response)) == sorted(found)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"type": "EMAIL"}, ("type", "invalid_choice")),
        ({"type": "call"}, ("type", "invalid_choice")),
        ({"type": None}, ("type", "invalid_choice")),
        ({"title": ""}, ("title", "too_short")),
        ({"title": "x" * 501}, ("title", "too_long")),
        ({"title": " \t"}, ("title", "blank")),
        ({"title": None}, ("title", "invalid_type")),
        ({"title": "a\u0000"}, ("title", "invalid_characters")),
        ({"source_system": ""}, ("source_system", "too_short")),
        ({"source_system": "x" * 101}, ("source_system", "too_long")),
        ({"source_system": " "}, ("source_system", "blank")),
        ({"external_id": ""}, ("external_id", "too_short")),
        ({"external_id": "x" * 501}, ("external_id", "too_long")),
        ({"external_id": " "}, ("external_id", "blank")),
        ({"external_id": "a\u0000"}, ("external_id", "invalid_characters")),
        ({"external_id": 5}, ("external_id", "invalid_type")),
        ({"transcript": ""}, ("transcript", "too_short")),
        ({"transcript": " \n"}, ("transcript", "blank")),
        ({"transcript": "a\u0000"}, ("transcript", "invalid_characters")),
        ({"run_workflows": "yes"}, ("run_workflows", "invalid_type")),
        ({"is_private": None}, ("is_private", "invalid_type")),
        ({"start_at": "noon"}, ("start_at", "invalid_format")),
        ({"start_at": "2026-03-01"}, ("start_at", "invalid_format")),
        ({"start_at": None}, ("start_at", "invalid_type")),
        ({"external_url": "wavv"}, ("external_url", "invalid_format")),
        ({"external_url": "wavv:"}, ("external_url", "invalid_format")),
        ({"external_url": "https://a b.test"}, ("external_url", "invalid_format")),
        ({"external_url": "JavaScript:alert(1)"}, ("external_url", "invalid_format")),
        ({"external_url": "data:text/html,x"}, ("external_url", "invalid_format")),
        ({"external_url": " https://a.test"}, ("external_url", "invalid_format")),
        ({"external_url": "https://x.test/" + "x" * 2034}, ("external_url", "too_long")),
        ({"private": True}, ("private", "unknown_field")),
        ({"transcript_timeline": None}, ("transcript_timeline", "invalid_type")),
        ({"transcript_timeline": {"speakers": [EMPTY]}}, ("transcript_timeline.entries", "required")),
        (timeline(speakers=[]), ("transcript_timeline.speakers", "too_short")),
        (timeline(speakers=[EMPTY] * 101), ("transcript_timeline.speakers", "too_long")),
        (timeline(speakers=[{"name": ""}]), ("transcript_timeline.speakers[0].name", "too_short")),
        (timeline(speakers=[EMPTY, {"name": " "}]), ("transcript_timeline.speakers[1].name", "blank")),
        (timeline(speakers=[{"email": "nobody"}]), ("transcript_timeline.speakers[0].email", "invalid_format")),
        (timeline(speakers=[{"sentiment": 1.1}]), ("transcript_timeline.speakers[0].sentiment", "invalid_range")),
        (timeline(speakers=[{"sentiment": -1.1}]), ("transcript_timeline.speakers[0].sentiment", "invalid_range")),
        (timeline({"speaker_index": 1}), ("transcript_timeline.entries[0].speaker_index", "invalid_range")),
        (timeline(EMPTY, {"speaker_index": -1}), ("transcript_timeline.entries[1].speaker_index", "invalid_range")),
        (timeline({"speaker_index": 0.5}), ("transcript_timeline.entries[0].speaker_index", "invalid_type")),
        (timeline({"start_seconds": -1}), ("transcript_timeline.entries[0].start_seconds", "invalid_range")),
        (timeline({"start_seconds": 1.1}), ("transcript_timeline.entries[0].end_seconds", "invalid_range")),
        (timeline({"end_seconds": 31_536_001}), ("transcript_timeline.entries[0].end_seconds", "invalid_range")),
        (timeline({"text": ""}), ("transcript_timeline.entries[0].text", "too_short")),
        (timeline({"text": " "}), ("transcript_timeline.entries[0].text", "blank")),
        (timeline({"text": "\u3164"}), ("transcript_timeline.entries[0].text", "blank")),
        (timeline({"text": "a\u0000"}), ("transcript_timeline.entries[0].text", "invalid_characters")),
        (timeline({"text": "x" * 50_001}), ("transcript_timeline.entries[0].text", "too_long")),
        (timeline({"speaker": 0}), ("transcript_timeline.entries[0].speaker", "unknown_field")),
        ({"participants": EMPTY}, ("participants", "invalid_type")),
        ({"participants": [{"name": "Ada"}] * 101}, ("participants", "too_long")),
        ({"participants": [EMPTY]}, ("participants[0]", "required")),
        ({"participants": [{"is_owner": True}]}, ("participants[0]", "required")),
        ({"participants": [{"name": ""}]}, ("participants[0].name", "too_short")),
        ({"participants": [{"name": " "}]}, ("participants[0].name", "blank")),
        ({"participants": [{"name": "Ada"}, {"email": "nobody"}]}, ("participants[1].email", "invalid_format")),
        ({"participants": [{"phone": "\u0000"}]}, ("participants[0].phone", "invalid_characters")),
        ({"participants": [{"name": "x" * 256}]}, ("participants[0].name", "too_long")),
        ({"participants": [{"name": "Ada", "is_owner": None}]}, ("participants[0].is_owner", "invalid_type")),
        (
            {"participants": [{"email": "owner@herd.test", "is_owner": True}] * 2},
            ("participants[1].is_owner", "multiple_owners"),
        ),
    ],
)
async def test_what_an_engagement_cannot_be_is_refused(
    alice: Person, stored: Stored, members: Json, fault: tuple[str, str]
) -> None:
    """Each fault in the body is reported with the field's path, and nothing is created."""
    response = await alice.post(URL, json=call(**members))

    assert response.status_code == 422
    assert faults(response) == [fault]
    assert await kinds(stored) == []


async def test_everything_that_is_wrong_is_told_at_once(alice: Person, stored: Stored) -> None:
    """All faults are reported at once, missing members included."""
    body: Json = {
        "type": "FAX",
        "title": " ",
        "soruce_system": "dialer",
        "participants": [{"email": "nobody"}, {"mail": "ada@engine.test"}],
        "external_url": "here",
    }
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert sorted(faults(response)) == [
        ("external_id", "required"),
        ("external_url", "invalid_format"),
        ("participants[0].email", "invalid_format"),
        ("participants[1].mail", "unknown_field"),
        ("soruce_system", "unknown_field"),
        ("source_system", "required"),
        ("title", "blank"),
        ("type", "invalid_choice"),
    ]
    assert "Did you mean `source_system`?" in response.json()["detail"]
    assert await kinds(stored) == []


async def test_something_must_say_what_was_said(alice: Person, stored: Stored) -> None:
    """An engagement needs a recording, a timeline or a text."""
    body = call()
    del body["transcript"]
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert faults(response) == [("media_url", "required")]
    assert await kinds(stored) == []


# Participants


@pytest.mark.parametrize("spelling", ["ada@engine.test", " ADA@Engine.TEST "])
async def test_a_contact_is_known_by_an_address(alice: Person, ada: Thing, stored: Stored, spelling: str) -> None:
    """A participant with a contact's address, in any spelling, is that contact, and the contact stays unchanged."""
    created = Made(await alice.post(URL, json=call(participants=[{"name": "Countess", "email": spelling}])))

    assert await expanded(alice, created, "contacts") == [ada.json]
    assert await kinds(stored, 2) == [("e", "c"), ("r", "c")]


async def test_a_contact_is_known_by_a_number(alice: Person) -> None:
    """A participant with a contact's number is that contact, the oldest of several."""
    contact = {"phone_numbers": [{"phone_number": "+44 (0)20 7946-0018"}]}
    oldest, _ = [Thing(await alice.post("/api/v2/contacts", json=contact)) for _ in range(2)]
    participants = [{"email": "not@known.test", "phone": "+442079460018"}]
    created = Made(await alice.post(URL, json=call(participants=participants)))

    assert await expanded(alice, created, "contacts") == [oldest.json]


async def test_an_address_goes_before_a_number(alice: Person, ada: Thing) -> None:
    """The address decides if address and number belong to two contacts."""
    await alice.post("/api/v2/contacts", json={"phone_numbers": [{"phone_number": "+442079460018"}]})
    participants = [{"email": "ada@engine.test", "phone": "+442079460018"}]
    created = Made(await alice.post(URL, json=call(participants=participants)))

    assert await expanded(alice, created, "contacts") == [ada.json]


async def test_a_user_is_no_contact(alice: Person, edith: Thing, stored: Stored) -> None:
    """A participant who is a user is no contact and becomes none."""
    assert edith.json["emails"][1]["email"] == "clarke@home.test"
    created = Made(await alice.post(URL, json=call(participants=[{"email": "clarke@home.test"}])))

    assert await expanded(alice, created, "contacts") == []
    assert await kinds(stored, 2) == [("e", "c"), ("r", "c")]


async def test_who_is_not_known_becomes_a_contact(alice: Person, stored: Stored) -> None:
    """Each unknown participant becomes a contact with the data sent, by its own change before the engagement's."""
    participants: Json = [
        {"name": " Ada  King Lovelace ", "email": "ada@engine.test", "phone": "+442079460018"},
        {"phone": "+442079460019"},
    ]
    created = Made(await alice.post(URL, json=call(participants=participants)))

    ada, somebody = await expanded(alice, created, "contacts")
    assert await kinds(stored) == [("c", "c"), ("c", "c"), ("e", "c"), ("r", "c")]
    assert [change.object for change in (await stored.changes())[1:3]] == [ada, somebody]
    assert (ada["first_name"], ada["last_name"]) == ("Ada", "King Lovelace")
    assert ada["emails"] == [{"email": "ada@engine.test", "is_primary": True}]
    assert ada["phone_numbers"] == [{"phone_number": "+442079460018", "is_primary": True}]
    assert (somebody["first_name"], somebody["last_name"], somebody["emails"]) == (None, None, [])
    assert (await alice.get(f"/api/v2/contacts/{ada['id']}")).json() == ada


@pytest.mark.parametrize(
    ("name", "first_name", "last_name"),
    [
        ("Lovelace, Ada", "Ada", "Lovelace"),
        ('"Ada Lovelace"', "Ada", "Lovelace"),
        ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
        ("ada@x.example", None, None),
    ],
)
async def test_a_new_contact_has_the_name_of_the_person(
    alice: Person, name: str, first_name: str | None, last_name: str | None
) -> None:
    """Names are understood as mail programs and calendars send them; an address is no name."""
    created = Made(await alice.post(URL, json=call(participants=[{"name": name, "email": "ada@x.example"}])))

    (contact,) = await expanded(alice, created, "contacts")
    assert (contact["first_name"], contact["last_name"]) == (first_name, last_name)


@pytest.mark.parametrize(
    "email",
    [
        "c_1@resource.calendar.google.com",
        "C_1@group.calendar.google.com",
        "ada.desk@acme.rooms.webex.com",
        "1842@lync.webex.com",
        "1842@zoomcrc.com",
        "meet@t.plcm.vc",
        "1842@bjn.vc",
        "1842@sip.lifesizecloud.com",
        "ada@pexip.me",
        "1@resource.calendar.yahoo.com",
    ],
)
async def test_a_room_becomes_no_contact(alice: Person, email: str) -> None:
    """Rooms and equipment that take part become no contacts, but one that somebody added is known."""
    participants: Json = [{"name": "Room 1", "email": email, "phone": "+442079460018"}, {"email": "ada@x.example"}]
    first = Made(await alice.post(URL, json=call("1", participants=participants)))
    (ada,) = await expanded(alice, first, "contacts")
    added = Thing(await alice.post("/api/v2/contacts", json={"emails": [{"email": email}]}))
    second = Made(await alice.post(URL, json=call("2", participants=participants)))

    assert ada["emails"][0]["email"] == "ada@x.example"
    assert [each["id"] for each in await expanded(alice, second, "contacts")] == [added.id, ada["id"]]


async def test_the_new_contacts_are_known_from_then_on(alice: Person, stored: Stored) -> None:
    """A contact created by one engagement is recognized by the next."""
    participants = [{"email": "ada@engine.test"}, {"phone": "+442079460018"}]
    first, second = [Made(await alice.post(URL, json=call(str(n), participants=participants))) for n in range(2)]

    assert await expanded(alice, first, "contacts") == await expanded(alice, second, "contacts")
    assert (await kinds(stored)).count(("c", "c")) == 2


async def test_who_takes_part_twice_is_one_contact(alice: Person, stored: Stored) -> None:
    """Participants who share an address or a number are one contact."""
    participants: Json = [
        {"name": "Ada", "email": "ada@engine.test", "phone": "+442079460018"},
        {"name": "A. L.", "email": "ADA@engine.test"},
        {"name": "The countess", "phone": "+44 20 7946 0018"},
    ]
    created = Made(await alice.post(URL, json=call(participants=participants)))

    assert [contact["first_name"] for contact in await expanded(alice, created, "contacts")] == ["Ada"]
    assert await kinds(stored) == [("c", "c"), ("e", "c"), ("r", "c")]


async def test_a_name_alone_is_nobody(alice: Person, stored: Stored) -> None:
    """A participant with only a name becomes no contact, because another one may have the same name."""
    participants = [{"name": "Ada"}, {"name": "Grace", "phone": "020 7946 0018"}]
    created = Made(await alice.post(URL, json=call(participants=participants)))

    assert await expanded(alice, created, "contacts") == []
    assert await kinds(stored) == [("e", "c"), ("r", "c")]


async def test_a_deleted_contact_is_not_known(alice: Person, ada: Thing) -> None:
    """A new contact takes the place of a deleted one."""
    await alice.delete(ada.url)
    created = Made(await alice.post(URL, json=call(participants=[{"email": "ada@engine.test"}])))

    (contact,) = await expanded(alice, created, "contacts")
    assert contact["id"] != ada.id


async def test_many_at_once_bring_one_contact(alice: Person, stored: Stored) -> None:
    """Simultaneous engagements with the same unknown participant create one contact."""
    participants = [{"email": "ada@engine.test"}]
    answers = await gather(*(alice.post(URL, json=call(str(n), participants=participants)) for n in range(20)))

    contacts = [await expanded(alice, Made(answer), "contacts") for answer in answers]
    assert contacts == [contacts[0]] * 20
    assert (await kinds(stored)).count(("c", "c")) == 1


async def test_the_companies_are_those_of_the_contacts(alice: Person, engine: Thing, ada: Thing, grace: Thing) -> None:
    """Companies of the contacts are listed once each, in the order of the participants."""
    navy = Thing(await alice.post("/api/v2/companies", json={"name": "Navy", "domains": []}))
    await alice.patch(grace.url, json={"company_id": navy.id})
    await alice.patch(ada.url, json={"company_id": engine.id})
    body = {"emails": [{"email": "babbage@engine.test"}], "company_id": engine.id}
    await alice.post("/api/v2/contacts", json=body)
    addresses = ("grace@navy.test", "ada@engine.test", "nobody@new.test", "babbage@engine.test")
    created = Made(await alice.post(URL, json=call(participants=[{"email": email} for email in addresses])))

    assert [company["id"] for company in await expanded(alice, created, "companies")] == [navy.id, engine.id]


# Owners


async def test_the_owner_is_the_keys_user(keys: Keys, alice: Person, edith: Thing, owner: Thing) -> None:
    """The default owner is the user whom the key acts for, or the first user for a key without one."""
    ediths = await keys.holder("engagements:write", user=edith)
    participants = [{"email": "Edith@Grid.test"}]
    first = await alice.post(URL, json=call("1", participants=participants))
    second = await ediths.post(URL, json=call("2", participants=participants))

    assert [answer.json()["owner_user_id"] for answer in (first, second)] == [owner.id, edith.id]
    assert [answer.json()["host_user_id"] for answer in (first, second)] == [owner.id, edith.id]


async def test_who_has_left_owns_nothing_new(keys: Keys, team: Team, edith: Thing, owner: Thing) -> None:
    """A key of an inactive user is refused, so nothing is created in another user's name."""
    await team.set_role(edith, UserRole.INACTIVE)
    ediths = await keys.holder("engagements:write", user=edith)
    response = await ediths.post(URL, json=call())

    assert response.status_code == 401
    assert owner.id not in response.text


async def test_without_users_nobody_owns_it(charlie: Person) -> None:
    """An engagement has no owner in a workspace without users."""
    engagement = (await charlie.post(URL, json=call())).json()

    assert "owner_user_id" not in engagement
    assert "host_user_id" not in engagement


@pytest.mark.parametrize(
    "marked",
    [
        {"email": "clarke@HOME.test"},
        {"phone": "+1 (212) 555-0143"},
        {"email": "Edith@Grid.test", "phone": "+44 20 7946 0001"},
        {"email": "nobody@grid.test", "phone": "+12125550143"},
    ],
)
async def test_the_owner_is_the_participant_who_is_marked(alice: Person, team: Team, marked: Json) -> None:
    """A marked owner is found by address first, then by number."""
    edith = await team.join(NewUser("Edith", None, ("edith@grid.test", "clarke@home.test"), phone_number="+1 212 555 0143"))
    await team.join(NewUser("Other", None, phone_number="+442079460001"))
    response = await alice.post(URL, json=call(participants=[{"name": "Ada"}, {**marked, "is_owner": True}]))

    assert response.json()["owner_user_id"] == response.json()["host_user_id"] == edith.id


@pytest.mark.parametrize(
    "marked",
    [
        {"name": "Edith Clarke"},
        {"email": "nobody@grid.test"},
        {"email": "ada@engine.test"},
        {"email": "gone@grid.test"},
        {"email": "invited@grid.test"},
    ],
)
async def test_an_owner_is_an_active_user(alice: Person, ada: Thing, team: Team, stored: Stored, marked: Json) -> None:
    """An owner must be an active user: others are refused, and no contact is created on the way."""
    await team.join(NewUser("Gone", None, ("gone@grid.test",), role=UserRole.INACTIVE))
    await team.join(NewUser("Invited", None, ("invited@grid.test",), role=UserRole.NOT_INVITED))
    participants = [{"email": "eve@engine.test"}, {**marked, "is_owner": True}]
    response = await alice.post(URL, json=call(participants=participants))

    assert response.status_code == 422
    assert faults(response) == [("participants[1]", "not_found")]
    assert ada.id not in response.text
    assert await kinds(stored, 4) == []


# The same external id again


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"source_system": "rooms"},
        {"title": "Another", "type": "MEETING", "start_at": "2026-03-01T00:00:00Z", "transcript": "Other words."},
        {"is_private": True},
        {"participants": [{"email": "eve@engine.test"}]},
        {"participants": [{"email": "nobody@grid.test", "is_owner": True}]},
        {"media_url": "https://127.0.0.1/"},
    ],
)
async def test_the_same_external_id_again_gives_what_is_there(alice: Person, step: Made, stored: Stored, changes: Json) -> None:
    """A repeated external id gets 200 with the unchanged engagement; nothing is written or fetched, whatever else is sent."""
    response = await alice.post(URL, json=call(**changes))

    assert response.status_code == 200
    assert response.json() == step.json
    assert response.headers["ETag"] == step.etag
    assert await expanded(alice, step, "transcript") == "Shall we begin?"
    assert len(await stored.changes()) == 3


async def test_it_is_given_as_it_is_by_now(alice: Person, step: Made, ada: Thing) -> None:
    """A repeat shows the current engagement and reverts no changes."""
    changed = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    response = await alice.post(URL, json=call())

    assert response.json() == changed.json()
    assert response.headers["ETag"] == changed.headers["ETag"] != step.etag


async def test_a_repeat_survives_that_its_owner_left(alice: Person, team: Team, edith: Thing) -> None:
    """A repeat shows the engagement even if it could not be created any more."""
    body = call(participants=[{"email": "edith@grid.test", "is_owner": True}])
    first = await alice.post(URL, json=body)
    await team.set_role(edith, UserRole.INACTIVE)
    second = await alice.post(URL, json=body)

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()


@pytest.mark.parametrize("external_id", ["CALL-1842", " call-1842", "call-1842 ", "call‐1842"])
async def test_external_ids_are_compared_as_they_are(alice: Person, step: Made, external_id: str) -> None:
    """External ids are compared exactly as sent."""
    response = await alice.post(URL, json=call(external_id))

    assert response.status_code == 201
    assert response.json()["id"] != step.id


async def test_of_many_at_once_one_is_created(alice: Person, stored: Stored) -> None:
    """Twenty simultaneous requests with one external id create one engagement, and all get it."""
    answers = await gather(*(alice.post(URL, json=call(title=f"Try {n}")) for n in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert {answer.headers["ETag"] for answer in answers} == {answers[0].headers["ETag"]}
    assert await kinds(stored) == [("e", "c"), ("r", "c")]


async def test_of_many_with_keys_one_is_created(alice: Person, stored: Stored) -> None:
    """Separate Idempotency-Keys make no difference."""
    answers = await gather(*(alice.post(URL, json=call(), headers={"Idempotency-Key": str(uuid4())}) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert await kinds(stored) == [("e", "c"), ("r", "c")]


async def test_of_many_with_one_key_one_is_created(alice: Person, stored: Stored) -> None:
    """Simultaneous requests with one Idempotency-Key all get the first answer."""
    key = {"Idempotency-Key": str(uuid4())}
    answers = await gather(*(alice.post(URL, json=call(), headers=key) for _ in range(20)))

    assert [answer.status_code for answer in answers] == [201] * 20
    assert {answer.content for answer in answers} == {answers[0].content}
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true") == 19
    assert await kinds(stored) == [("e", "c"), ("r", "c")]


async def test_a_key_that_met_what_was_there_is_not_used_up(alice: Person, step: Made) -> None:
    """A 200 is not stored for the key, because it would be outdated after a change."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.post(URL, json=call(), headers=key)
    changed = await alice.put(f"{step.url}/contacts", json={"contact_ids": []})
    response = await alice.post(URL, json=call(), headers=key)

    assert response.status_code == 200
    assert response.content == changed.content
    assert "Idempotency-Replayed" not in response.headers


async def test_an_external_id_of_what_is_private_is_taken(dave: Person, bob: Person, secret: Made, stored: Stored) -> None:
    """A caller who may not see a private engagement learns only that the external id is taken."""
    response = await dave.post(URL, json=call("secret"))

    assert response.status_code == 409
    assert faults(response) == [("external_id", "already_in_use")]
    assert "conflict" not in response.json()
    assert secret.id not in response.text
    assert "A secret" not in response.text
    assert await kinds(stored) == [("e", "c"), ("r", "c")]
    assert (await bob.get(secret.url)).status_code == 404


async def test_what_is_private_is_shown_to_those_who_may_see_it(erin: Person, secret: Made) -> None:
    """A repeat with `engagements:private:read` is answered like any other."""
    response = await erin.post(URL, json=call("secret"))

    assert response.status_code == 200
    assert response.json() == secret.json


async def test_what_is_private_is_shown_to_its_creator(dave: Person) -> None:
    """The creator of a private engagement may repeat the request without a scope for it."""
    body = call("secret", is_private=True)
    first, second = [await dave.post(URL, json=body) for _ in range(2)]

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content


async def test_if_match_is_refused(alice: Person, stored: Stored) -> None:
    """A new object has no version that If-Match could match, and no contact is created."""
    participants = [{"email": "eve@engine.test"}]
    response = await alice.post(URL, json=call(participants=participants), headers={"If-Match": "*"})

    assert response.status_code == 412
    assert "ETag" not in response.headers
    assert await kinds(stored) == []


async def test_the_owner_comes_before_if_match(alice: Person) -> None:
    """422 takes precedence over 412."""
    body = call(participants=[{"email": "nobody@grid.test", "is_owner": True}])
    response = await alice.post(URL, json=body, headers={"If-Match": "*"})

    assert response.status_code == 422


AMERICAN, BRITISH = "+14155550740", "020 7946 2740"


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        *((AMERICAN, sent) for sent in ("14155550740", "0014155550740", "01114155550740", "14155550740@c.us")),
        *(
            (AMERICAN, sent)
            for sent in ("sip:+14155550740@pbx", "<sip:14155550740@pbx;user=phone>", "tel:+1-415-555-0740;ext=7")
        ),
        *((AMERICAN, sent) for sent in ("+1 415 555 0740 x7", "14155550740:3@s.whatsapp.net", "whatsapp:+14155550740")),
        *(
            (BRITISH, sent)
            for sent in (BRITISH, "02079462740", "(020) 7946-2740", "sip:02079462740@pbx", "020 7946 2740 ext. 3")
        ),
        *(
            (AMERICAN, sent)
            for sent in ("tel:4155550740;phone-context=+1", "PJSIP/+14155550740-0000001a", "+1 415 555 0740 (mobile)")
        ),
        ("14155550740", AMERICAN),
        ("0014155550740", AMERICAN),
        *((held, held) for held in ("0044 (0)20 7946 1041", "0049 (0)30 901820", "0061 0412 345 678", "8 10 7 495 123-45-67")),
        ("0044 (0)20 7946 1041", "+442079461041"),
    ],
)
async def test_a_number_as_a_telephone_system_sends_it(alice: Person, held: str, sent: str) -> None:
    """A caller whom the book holds is found, however the number is written."""
    ada = Thing(await alice.post("/api/v2/contacts", json={"phone_numbers": [{"phone_number": held}]}))
    created = Made(await alice.post(URL, json=call(participants=[{"phone": sent}])))

    assert "unknown_participants" not in created.json
    assert [contact["id"] for contact in await expanded(alice, created, "contacts")] == [ada.id]


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        *((BRITISH, sent) for sent in ("+442079462740", "442079462740", "00442079462740", "2079462740")),
        *(("+442079462740", sent) for sent in (BRITISH, "02079462740", "2079462740", "sip:02079462740@pbx")),
    ],
)
async def test_a_national_number_of_the_region(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", held: str, sent: str
) -> None:
    """The region of the workspace relates national numbers and international ones."""
    ada = Thing(await alice.post("/api/v2/contacts", json={"phone_numbers": [{"phone_number": held}]}))
    await set_region(cast("Executor", pool), alice.workspace_id, "GB")
    created = Made(await alice.post(URL, json=call(participants=[{"phone": sent}])))

    assert [contact["id"] for contact in await expanded(alice, created, "contacts")] == [ada.id]


async def test_a_national_number_of_the_region_makes_a_contact_once(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """With a region, a national number is complete, so that its caller becomes a contact, and the next call finds it."""
    await set_region(cast("Executor", pool), alice.workspace_id, "GB")
    calls = [
        Made(await alice.post(URL, json=call(sent, participants=[{"phone": sent}]))) for sent in (BRITISH, "+442079462740")
    ]
    found = [await expanded(alice, each, "contacts") for each in calls]

    assert [len(each) for each in found] == [1, 1]
    assert found[0][0]["id"] == found[1][0]["id"]
    assert found[0][0]["phone_numbers"] == [{"phone_number": "+442079462740", "is_primary": True}]


async def test_an_unknown_number_is_reported(alice: Person) -> None:
    """A number that is nobody's and lacks its country makes no contact. The answer says so, also when it is repeated."""
    participants = [
        {"name": "Ada"},
        {"email": "ada@engine.test", "phone": "4155550740"},
        {"phone": BRITISH},
        {"phone": "unknown"},
    ]
    key = {"Idempotency-Key": "one"}
    created, again = [await alice.post(URL, json=call(participants=participants), headers=key) for _ in range(2)]
    unknown = [{"index": 2, "phone": BRITISH}, {"index": 3, "phone": "unknown"}]

    assert created.json()["unknown_participants"] == again.json()["unknown_participants"] == unknown
    assert "unknown_participants" not in (await alice.get(f"{URL}/{created.json()['id']}")).json()


async def test_digits_of_a_name_or_an_address_are_no_number(alice: Person) -> None:
    """Only a phone number makes a contact known by a number."""
    await alice.post("/api/v2/contacts", json={"first_name": "02079462740", "emails": [{"email": "02079462740@x.test"}]})
    created = Made(await alice.post(URL, json=call(participants=[{"phone": BRITISH}])))

    assert await expanded(alice, created, "contacts") == []


async def test_a_title_of_symbols_is_stored(alice: Person) -> None:
    """A title needs no letter."""
    response = await alice.post(URL, json=call(title="🔥"))

    assert (response.status_code, response.json()["title"]) == (201, "🔥")
