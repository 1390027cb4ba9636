"""POST /herdbook/contacts/{contact_id}/erase."""

from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.app import create_app
from herdbook.erasure.model import WORDS
from herdbook.erasure.places import PLACES, WITHOUT
from herdbook.erasure.store import MAX_NOTES, OTHER, RECORDING
from herdbook.settings import Settings
from tests.cast import Json, Person, Thing
from tests.custom_fields.definitions import define
from tests.engagements.calls import TIMELINE, URL, Made, call
from tests.history.consistency import assert_consistent
from tests.merging.merges import contact, merged
from tests.notes.notes import noted

NOBODY: Final = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
MARKER: Final = "Zyxomma"
ADDRESS: Final = "zyxomma@marker.test"
PHONE: Final = "+49301234567"
UNDO: Final = "/api/herdbook/undo"
BULK: Final = "/api/herdbook/contacts/bulk"


def url_of(target: Thing | str) -> str:
    """Return the URL that erases a contact."""
    return f"/api/herdbook/contacts/{target if isinstance(target, str) else target.id}/erase"


async def erase(person: Person, target: Thing | str, **params: str) -> httpx.Response:
    """Erase a contact."""
    return await person.post(url_of(target), params=params)


async def marked(person: Person, **members: Any) -> Thing:
    """Create a contact whose every text has the marker."""
    return await contact(
        person,
        ADDRESS,
        first_name=MARKER,
        last_name=f"{MARKER} the Second",
        description=f"{MARKER} likes tea",
        phone_numbers=[{"phone_number": PHONE}],
        external_ids=[f"{MARKER}-7"],
        **members,
    )


async def everything(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> dict[str, list[str]]:
    """Return the rows of the workspace in every table that mention the marker, as text."""
    tables = await pool.fetch("select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace")
    # One statement, because no cache of statements holds one for each table.
    every = " union all ".join(f"select '{table}' as relname, t::text as said from {table} t" for (table,) in tables)
    rows = await pool.fetch(
        f"select relname, said from ({every}) as row where said like '%' || $2 || '%' and said ilike any($1)",
        [f"%{MARKER}%", "%301234567%", "%765432103%"],
        str(workspace_id),
    )
    found: dict[str, list[str]] = {}
    for table, said in rows:
        found.setdefault(table, []).append(said)
    return found


async def feed(person: Person) -> list[Json]:
    """Return the whole feed."""
    response = await person.get("/api/herdbook/changes", params={"limit": 1000})
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def test_a_server_makes_its_folder(admin: Person, ada: Thing, database_url: str, tmp_path: Path) -> None:
    """A server with an external database makes the folder for its list of erasures."""
    app = create_app(Settings(rate_limit=0, data_dir=tmp_path / "new" / "data"), database_url)
    async with app.running(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://herdbook.test") as client:
        erased = await erase(Person(client, admin.workspace_id, admin.key), ada)

    assert erased.status_code == 200, erased.text
    assert (tmp_path / "new" / "data" / "erasures.jsonl").stat().st_size > 0


async def test_anonymous_is_refused(client: httpx.AsyncClient, alice: Person) -> None:
    """Without a credential the answer is 401."""
    ada = await marked(alice)

    assert (await client.post(url_of(ada))).status_code == 401


async def test_charlie_is_refused(charlie_keys: Any, alice: Person) -> None:
    """A contact of another workspace is not found."""
    charlie = await charlie_keys.holder("workspace:admin")
    ada = await marked(alice)

    assert (await erase(charlie, ada)).status_code == 404
    assert (await alice.get(ada.url)).json() == ada.json


async def test_only_administrators_erase(alice: Person) -> None:
    """Every other scope together is not enough."""
    ada = await marked(alice)

    assert (await erase(alice, ada)).status_code == 403


async def test_nothing_is_left(alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """After an erasure no table has anything of the person, not the history either, nor a kept answer."""
    await define(admin, "nickname", unique=True)
    ada = await marked(alice, fields={"nickname": MARKER})
    await alice.patch(ada.url, json={"description": f"{MARKER} likes coffee"}, headers={"Idempotency-Key": f"k {ADDRESS}"})
    await alice.patch(ada.url, json={"last_name": f"{MARKER} III"}, headers={"Idempotency-Key": "other"})
    participants = [{"email": ADDRESS, "name": MARKER}, {"email": "bob@x.test", "name": "Bob"}]
    linked = Made(await alice.post(URL, json=call(participants=participants)))
    unlinked = Made(await alice.post(URL, json=call("2", participants=[{"phone": PHONE, "name": MARKER}])))
    await alice.put(f"{unlinked.url}/contacts", json={"contact_ids": []})
    notes = [await noted(admin, ada, f"{MARKER} {number}") for number in range(MAX_NOTES + 2)]
    await admin.patch(notes[0].url, json={"text": f"{MARKER} again"}, headers={"Idempotency-Key": "note"})
    await admin.delete(notes[1].url)

    response = await erase(admin, ada)

    assert response.status_code == 200, response.text
    assert await everything(pool, alice.workspace_id) == {}
    assert (await alice.get(ada.url)).status_code == 404
    assert (await alice.get(linked.url)).json()["title"] == linked.json["title"]
    await assert_consistent(pool, alice.workspace_id)


async def test_the_certificate_counts(alice: Person, admin: Person) -> None:
    """The certificate says when, on whose request and how much; a dry run says the same before, and changes nothing."""
    ada = await marked(alice)
    await alice.post(URL, json=call(participants=[{"email": ADDRESS}]))
    expected = await erase(admin, ada, dry_run="true")
    before = (await alice.get(ada.url)).json()
    certificate = (await erase(admin, ada)).json()

    assert before == ada.json
    assert expected.json() | {"dry_run": False} == certificate | {
        "erased_at": None,
        "finished": False,
        "request_id": expected.json()["request_id"],
    }
    assert certificate["finished"]
    assert certificate["credential_id"] == expected.json()["credential_id"]
    assert certificate["credential_name"]
    assert certificate["in_words"].keys() == {**certificate["rows"], **certificate["kept"]}.keys()
    assert certificate["in_words"]["contact_email"] == "E-mail addresses"
    assert certificate["rows"]["contact_email"] == 1
    assert certificate["rows"]["engagement"] == 1
    assert certificate["kept"]["transcript"] == 1


@pytest.mark.parametrize("engagements", ["false", "true"])
async def test_the_certificate_counts_recordings(alice: Person, admin: Person, waiting: Made, engagements: str) -> None:
    """Engagements and their recordings are counted among what is kept, and the recordings otherwise among what goes."""
    ada = await marked(alice)
    await alice.put(f"{waiting.url}/contacts", json={"contact_ids": [ada.id]})
    expected = (await erase(admin, ada, dry_run="true", engagements=engagements)).json()
    certificate = (await erase(admin, ada, engagements=engagements)).json()
    goes = engagements == "true"

    assert (certificate["rows"], certificate["kept"]) == (expected["rows"], expected["kept"])
    assert certificate["rows"].get("recording", 0) == int(goes)
    assert certificate["rows"]["engagement"] == 1
    kept = {name: many for name, many in certificate["kept"].items() if name in ("engagement", "recording")}
    assert kept == ({} if goes else {"engagement": 1, "recording": 1})


def test_each_place_has_a_name_in_plain_words() -> None:
    """A certificate tells each place in words that are no name of a table."""
    names = {
        *(place.table for place in PLACES),
        RECORDING,
        *(OTHER + each for each in ("contact", "company", "field", "change")),
    }

    assert names == WORDS.keys()
    assert not [word for word in WORDS.values() if "_" in word]


async def test_the_feed_has_no_gap(alice: Person, admin: Person) -> None:
    """The earlier entries of an erased contact keep all but the person, and one tells the erasure by the id alone."""
    ada = await marked(alice)
    await alice.patch(ada.url, json={"first_name": "Ada"})
    before = await feed(admin)

    response = await erase(admin, ada)

    after = await feed(admin)
    assert [each["position"] for each in after] == list(range(1, len(before) + 2))
    assert after[-1] | {"at": ""} == {
        "object": "change",
        "position": len(after),
        "type": "contact.erased",
        "at": "",
        "object_id": ada.id,
        "request_id": response.json()["request_id"],
        "credential_id": response.json()["credential_id"],
        "data": {"object": {"erased": True, "id": ada.id}},
    }
    aside = {"data": {"object": {"erased": True, "id": ada.id}}}
    assert after[:-1] == [each | aside if each["object_id"] == ada.id else each for each in before]


async def test_merged_contacts_go_with_their_survivor(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Contacts that were merged into the person, one after the other, go as well; the merged one itself names its survivor."""
    first = await marked(alice)
    second = await contact(alice, "second@x.test", first_name="Grace")
    third = await contact(alice, "third@x.test", first_name="Zoë")
    await merged(alice, second, first)
    await merged(alice, third, second)

    refused = [await erase(admin, first, **options) for options in ({}, {"dry_run": "true"})]
    response = await erase(admin, third)

    assert [each.status_code for each in refused] == [404, 404]
    assert [each.json()["merged_into"] for each in refused] == [third.id, third.id]
    assert response.status_code == 200, response.text
    assert await everything(pool, alice.workspace_id) == {}
    assert not await pool.fetch("select from contact where workspace_id = $1", alice.workspace_id)


async def test_a_deleted_contact_is_erased(alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A contact that was deleted before is erased like any other, with its former addresses."""
    ada = await marked(alice)
    await alice.delete(ada.url)

    assert (await erase(admin, ada, dry_run="true")).status_code == 200
    assert (await erase(admin, ada)).status_code == 200
    assert await everything(pool, alice.workspace_id) == {}


async def test_it_was_erased(alice: Person, admin: Person) -> None:
    """History, restoration and a second erasure of an erased contact say that it was erased; undo does, too."""
    ada = await marked(alice)
    created = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"][0]["request_id"]
    erased = (await erase(admin, ada)).json()["request_id"]

    history = await admin.get(f"/api/herdbook/contacts/{ada.id}/history")
    restored = await admin.post(f"/api/herdbook/contacts/{ada.id}/restore")
    again = await erase(admin, ada)
    undone = [(await admin.post("/api/herdbook/undo", json={"request_id": each})).json() for each in (created, erased)]

    assert [each.status_code for each in (history, restored, again)] == [404, 404, 404]
    assert all("was erased" in each.json()["detail"] for each in (history, restored, again))
    assert [each["kept"][0]["reason"] for each in undone] == ["erased", "erased"]
    assert [each["reverted"] for each in undone] == [[], []]


async def test_what_went_with_a_person_was_erased(alice: Person, admin: Person) -> None:
    """History and restoration of a note or an engagement say that it was erased; of one that never was, they do not."""
    ada, grace = await marked(alice), await contact(alice, first_name="Grace")
    notes = [
        Thing(await admin.post(f"/api/herdbook/contacts/{each.id}/notes", json={"text": "Met at the fair."}))
        for each in (ada, grace)
    ]
    engagement = Made(await alice.post(URL, json=call()))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    assert (await erase(admin, ada, engagements="true")).status_code == 200
    gone = {"notes": notes[0].id, "engagements": engagement.id}

    answers = [await admin.get(f"/api/herdbook/{plural}/{each}/history") for plural, each in gone.items()]
    answers.append(await admin.post(f"/api/herdbook/notes/{notes[0].id}/restore"))
    never = await admin.get(f"/api/herdbook/notes/{ids.encoded(ids.NOTE, ids.new_id())}/history")

    nouns = ["note", "engagement", "note"]
    assert [(each.status_code, each.json()["detail"]) for each in answers] == [
        (404, f"This {noun} was erased, or was deleted too long ago. It cannot come back.") for noun in nouns
    ]
    assert "was erased" not in never.json()["detail"]
    assert (await admin.get(f"/api/herdbook/notes/{notes[1].id}/history")).status_code == 200


async def test_undo_keeps_the_others(alice: Person, admin: Person) -> None:
    """The undo of a request that made two contacts removes the one that was not erased."""
    operations = [{"action": "create", "contact": {"first_name": name}} for name in ("Ada", "Grace")]
    made = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    ada, grace = (each["contact"]["id"] for each in made.json()["results"])
    await erase(admin, ada)

    undone = (await admin.post("/api/herdbook/undo", json={"request_id": made.headers["X-Request-Id"]})).json()

    assert [(each["id"], each["reason"]) for each in undone["kept"]] == [(ada, "erased")]
    assert [(each["id"], each["action"]) for each in undone["reverted"]] == [(grace, "deleted")]


async def test_undo_brings_an_engagement_back_without_the_person(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A deleted engagement comes back for its other participants, whether the person was linked or had been unlinked."""
    ada, grace = await marked(alice), await contact(alice, "grace@marker.test")
    both = [{"email": ADDRESS}, {"email": "grace@marker.test"}]
    gone = Made(await alice.post(URL, json=call("gone", participants=both)))
    left = Made(await alice.post(URL, json=call("left", participants=both[1:])))
    await alice.put(f"{left.url}/contacts", json={"contact_ids": [ada.id, grace.id]})
    requests = [
        await alice.delete(f"/api/herdbook/engagements/{gone.id}"),
        await alice.put(f"{left.url}/contacts", json={"contact_ids": []}),
    ]
    await erase(admin, ada)

    undone = [(await admin.post(UNDO, json={"request_id": each.headers["X-Request-Id"]})).json() for each in requests]

    assert [each["kept"] for each in undone] == [[], []]
    for made in (gone, left):
        shown = (await alice.get(made.url, params={"expand": "contacts"})).json()
        assert [each["id"] for each in shown["contacts"]] == [grace.id]
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_engagements_go_on_request(alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """With `engagements`, the engagements of the person go with their transcripts and comments, and those of others stay."""
    ada = await marked(alice)
    body = call(participants=[{"email": ADDRESS}], title=MARKER, transcript_timeline=TIMELINE, transcript=MARKER)
    engagement = Made(await alice.post(URL, json=body))
    for number in range(60):
        comment = await alice.post(f"{engagement.url}/transcript_comments", json={"body": f"{MARKER} {number}"})
        assert comment.status_code == 201, comment.text
    other = Made(await alice.post(URL, json=call("2")))

    response = await erase(admin, ada, engagements="true")

    assert response.json()["kept"] == {}
    assert response.json()["rows"]["transcript_comment"] == 60
    assert await everything(pool, alice.workspace_id) == {}
    assert (await alice.get(engagement.url)).status_code == 404
    assert (await alice.get(other.url)).status_code == 200
    told = {each["type"] for each in (await feed(admin))[-62:]}
    assert told == {"engagement.erased", "transcript.erased", "transcript_comment.erased"}
    await assert_consistent(pool, alice.workspace_id)


async def test_a_repeated_key_repeats_the_certificate(alice: Person, admin: Person) -> None:
    """A second request with the same Idempotency-Key gets the same certificate."""
    ada = await marked(alice)
    first, second = [await admin.post(url_of(ada), headers={"Idempotency-Key": "erase-1"}) for _ in range(2)]

    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_a_kept_answer_does_not_repeat_the_request(alice: Person, admin: Person) -> None:
    """A creation that is repeated with its Idempotency-Key after the erasure neither tells the person nor makes them anew."""
    body, headers = {"first_name": MARKER}, {"Idempotency-Key": "create-1"}
    created = await alice.post("/api/v2/contacts", json=body, headers=headers)
    await erase(admin, created.json()["id"])

    repeated = await alice.post("/api/v2/contacts", json=body, headers=headers)

    assert repeated.status_code == 410
    assert repeated.json()["type"].endswith("/answer_erased")
    assert MARKER not in repeated.text


async def test_repeats_of_a_bulk(alice: Person, admin: Person) -> None:
    """A bulk that is repeated tells for each operation whether its answer was erased; an atomic one has a single answer."""
    operations = [{"action": "create", "contact": {"first_name": name}} for name in ("Ada", "Grace")]
    each, atomic = {"operations": operations}, {"operations": operations, "atomic": True}
    made = [await alice.post(BULK, json=body, headers={"Idempotency-Key": f"{body}"}) for body in (each, atomic)]
    for one in made:
        await erase(admin, one.json()["results"][0]["contact"]["id"])

    again, whole = [await alice.post(BULK, json=body, headers={"Idempotency-Key": f"{body}"}) for body in (each, atomic)]

    ada, grace = again.json()["results"]
    assert (again.status_code, whole.status_code) == (200, 410)
    assert (ada["index"], ada["result"], ada["problem"]["status"]) == (0, "failed", 410)
    assert grace == made[0].json()["results"][1]
    assert len((await alice.get("/api/v2/contacts")).json()["data"]) == 2


async def test_a_repeated_undo(alice: Person, admin: Person) -> None:
    """An undo that is repeated with its Idempotency-Key after an erasure is 410."""
    ada = await marked(alice)
    changed = await alice.patch(ada.url, json={"first_name": "Ada"})
    body, headers = {"request_id": changed.headers["X-Request-Id"]}, {"Idempotency-Key": "undo-1"}
    undone = await alice.post("/api/herdbook/undo", json=body, headers=headers)
    await erase(admin, ada)

    repeated = await alice.post("/api/herdbook/undo", json=body, headers=headers)

    assert (undone.status_code, repeated.status_code) == (200, 410)


@pytest.mark.parametrize("with_engagements", ["false", "true"])
async def test_deleted_engagements_count(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", with_engagements: str
) -> None:
    """A deleted engagement that is linked to the person is found by the link, also if its participants only have a name."""
    ada = await marked(alice)
    texts = {"title": MARKER, "transcript": MARKER} if with_engagements == "true" else {}
    body = call(participants=[{"name": f"{MARKER} {MARKER} the Second"}], **texts)
    engagement = Made(await alice.post(URL, json=body))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    await alice.delete(f"/api/herdbook/engagements/{engagement.id}")

    response = await erase(admin, ada, engagements=with_engagements)

    assert response.json()["rows"]["engagement"] == 1
    assert await everything(pool, alice.workspace_id) == {}
    linked = "select count(*) from engagement where workspace_id = $1 and contact_ids <> '{}'"
    assert await pool.fetchval(linked, alice.workspace_id) == 0
    await assert_consistent(pool, alice.workspace_id)


async def test_every_table_is_declared(embedded_url: str) -> None:
    """Every table either has a place with its personal data, or is known to have none."""
    connection = await asyncpg.connect(embedded_url)
    tables = await connection.fetch(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    declared = {place.table for place in PLACES}

    assert {table for (table,) in tables} == declared | WITHOUT.keys()
    assert declared.isdisjoint(WITHOUT)
