"""The list of erasures outside of the database, and deleted objects that go by themselves."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from herdbook import ids
from herdbook.business_types import BUSINESS_TYPES
from herdbook.db.pool import Pool
from herdbook.erasure import store
from herdbook.erasure.commands import EraseSlice
from herdbook.erasure.erasing import certificate, erase_again, expire, finished, require_list
from herdbook.erasure.model import keyed_hash
from herdbook.erasure.steps import MAX_ENTRIES
from herdbook.erasure_list import ErasureList, ErasureListInvalid, ListedErasure
from herdbook.errors import Unavailable
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from tests.cast import Person, Thing
from tests.cli.programs import herdbook
from tests.engagements.calls import URL, Made, timed
from tests.erasure.test_erase_contact import MARKER, erase, everything, feed, marked
from tests.history.consistency import assert_consistent
from tests.history.requests import undo
from tests.merging.merges import contact, merged
from tests.notes.notes import noted
from tests.waiting import blocked, until_blocked


async def set_back(pool: Any, person: Person, ada: Thing) -> None:
    """Bring the person back as a restored backup does: with the row, and without the erasure."""
    await pool.execute("delete from erasure where workspace_id = $1", person.workspace_id)
    await pool.execute(
        """
        insert into contact (workspace_id, id, version, updated_at, search, object)
        select w.id, $2, w.seq, w.last_at, '', $3 from workspace w where w.id = $1
        """,
        person.workspace_id,
        ada.uuid,
        json.dumps(ada.json),
    )


async def listed(pool: Any, person: Person) -> list[Any]:
    """Return the erasures of a workspace."""
    return [each for each in await store.listed(pool) if each.workspace_id == person.workspace_id]


async def test_a_restored_person_is_erased_again(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A person who is back with a backup is erased again by the list; a second round finds nothing to do."""
    ada = await marked(alice)
    await erase(admin, ada)
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add(await listed(own_pool, alice))
    await set_back(pool, alice, ada)

    many = [await erase_again(own_pool, ledger, erasures) for _ in range(2)]

    assert many == [1, 0]
    assert await everything(pool, alice.workspace_id) == {}
    assert (await feed(admin))[-1]["type"] == "contact.erased"


async def test_an_erasure_that_is_carried_out_again_keeps_its_time(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """The hashes of a person who is erased again keep the time of the erasure, so that a later contact stays each time."""
    ada = await marked(alice)
    await erase(admin, ada)
    before = await listed(own_pool, alice)
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add(before)
    await set_back(pool, alice, ada)
    assert await erase_again(own_pool, ledger, erasures) == 1
    after = await listed(own_pool, alice)
    certificate = await admin.post(f"/api/herdbook/contacts/{ada.id}/erase")

    assert {each.hash: each.at for each in after} == {each.hash: each.at for each in before}
    assert certificate.status_code == 404


async def test_a_later_contact_stays(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A contact with the address of an erased one is not erased again if it was created after the erasure."""
    await erase(admin, await marked(alice))
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add(await listed(own_pool, alice))
    later = await marked(alice)
    await pool.execute("delete from erasure where workspace_id = $1", alice.workspace_id)

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert (await alice.get(later.url)).json() == later.json


async def test_another_contact_with_the_address_stays(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A contact that had the address in the backup, before the erased one was created, is not erased."""
    desk = await contact(alice, "info@x.test", first_name="Desk")
    await alice.patch(desk.url, json={"emails": [{"email": "desk@x.test"}]})
    await erase(admin, await contact(alice, "info@x.test", first_name="Ada"))
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add(await listed(own_pool, alice))
    await pool.execute("delete from erasure where workspace_id = $1", alice.workspace_id)
    await alice.patch(desk.url, json={"emails": [{"email": "info@x.test"}]})

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert (await alice.get(desk.url)).status_code == 200


async def erased_elsewhere(pool: Pool, person: Person, ada: Thing, path: Path) -> ErasureList:
    """Return a list with the erasure of a contact that this database has not erased."""
    key = await store.read_key(pool)
    hashed = keyed_hash(key, person.workspace_id, ada.id)
    erasures = ErasureList(path)
    erasures.add(
        [ListedErasure(key, person.workspace_id, hashed, datetime.now(UTC), ids.new_id(), ids.NIL, with_engagements=False)]
    )
    return erasures


async def test_merged_contacts_are_followed(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path) -> None:
    """A person who is merged into another contact in the backup is erased with that one, which has all that was theirs."""
    ada, desk = await marked(alice), await contact(alice, "desk@x.test", first_name="Desk")
    await merged(alice, desk, ada)
    erasures = await erased_elsewhere(own_pool, alice, ada, tmp_path / "erasures.jsonl")

    assert [await erase_again(own_pool, ledger, erasures) for _ in range(2)] == [1, 0]
    assert await everything(pool, alice.workspace_id) == {}


async def test_a_refused_erasure_is_tried_again(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An erasure that is refused is reported, and the next start carries it out."""
    ada = await marked(alice)
    erasures = await erased_elsewhere(own_pool, alice, ada, tmp_path / "erasures.jsonl")
    full = Ledger(own_pool, queue_limit=0)
    full.open()

    assert await erase_again(own_pool, full, erasures) == 0
    assert "not erased again yet" in caplog.text
    assert await listed(own_pool, alice) == []
    await full.close()
    assert await erase_again(own_pool, ledger, erasures) == 1
    assert await everything(pool, alice.workspace_id) == {}


async def test_an_erasure_that_fails_holds_up_no_other(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A statement of one erasure that the database ends is no outage: others are erased, and this one is at the next start."""
    first, second = await contact(alice, "1@x.test"), await contact(alice, "2@x.test")
    erasures = await erased_elsewhere(own_pool, alice, first, tmp_path / "erasures.jsonl")
    await erased_elsewhere(own_pool, alice, second, tmp_path / "erasures.jsonl")
    async with pool.acquire() as other, other.transaction():
        await other.execute("lock table saved_view in access exclusive mode")
        starting = asyncio.create_task(erase_again(own_pool, ledger, erasures))
        await until_blocked(pool, "saved_view")
        await pool.fetch("select pg_cancel_backend(pid) from unnest($1::int[]) as pid", await blocked(pool, "saved_view"))
    assert await starting == 1
    assert await erase_again(own_pool, ledger, erasures) == 1
    left = await pool.fetchval("select count(*) from contact where id = any($1)", [first.uuid, second.uuid])
    assert left == 0


def test_each_line_is_read_once(tmp_path: Path) -> None:
    """A list that has grown by an erasure, of this process or another, is read from there on."""
    path, workspace_id = tmp_path / "erasures.jsonl", ids.new_id()
    own, other = ErasureList(path), ErasureList(path)
    now = datetime.now(UTC)
    these = [ListedErasure("k", workspace_id, f"{n:064x}", now, ids.NIL, ids.NIL, with_engagements=False) for n in range(3)]
    own.add(these[:1])
    other.add(these[:2])
    own.check()
    path.write_bytes(b"x" + path.read_bytes()[1:])

    own.add(these)

    with pytest.raises(ErasureListInvalid, match="Line 1 "):
        own.read()
    assert [json.loads(line)["hash"] for line in path.read_bytes().splitlines()[1:]] == [f"{n:064x}" for n in (1, 2)]


async def test_nobody_is_erased_without_the_list(tmp_path: Path) -> None:
    """A list that cannot be written is noticed before anybody is erased, by a server and by a command."""
    with pytest.raises(Unavailable, match="Nothing was erased"):
        await require_list(ErasureList(tmp_path / "missing" / "erasures.jsonl"))

    refused = herdbook("erase", "ada@x.test", "--database-url", "postgresql://localhost:1/none", folder=tmp_path)

    assert refused.status == 1
    assert (
        "herdbook-data/erasures.jsonl` cannot be written: No such file or directory. Nothing was erased" in refused.complained
    )


async def test_a_list_that_is_added_to_later(
    alice: Person, admin: Person, own_pool: Pool, ledger: Ledger, tmp_path: Path
) -> None:
    """An erasure is not finished while the list cannot be written, and the next look adds it."""
    ada = await marked(alice)
    assert (await erase(admin, ada)).json()["finished"]
    erasures = ErasureList(tmp_path / "later" / "erasures.jsonl")

    is_listed = await finished(own_pool, ledger, erasures, (alice.workspace_id, [ada.uuid]))
    shown = await certificate(own_pool, alice.workspace_id, ada.uuid, is_listed=is_listed)
    (tmp_path / "later").mkdir()

    assert not is_listed
    assert shown is not None
    assert not shown.finished
    assert await finished(own_pool, ledger, erasures)
    assert alice.workspace_id in {each.workspace_id for each in erasures.read()}


def test_the_list_is_secret_and_whole(tmp_path: Path) -> None:
    """Only its owner may read the list, a line that a crash cut short is dropped, and another file is refused."""
    path = tmp_path / "erasures.jsonl"
    erasures = ErasureList(path)
    erasures.add([])
    path.write_bytes(b'{"key":"ab')
    assert erasures.read() == []
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"hello\n")
    with pytest.raises(ErasureListInvalid):
        erasures.read()


def test_a_copy_becomes_secret(tmp_path: Path) -> None:
    """A list that came with another mode is its owner's alone once it is used."""
    path = tmp_path / "erasures.jsonl"
    path.touch()
    path.chmod(0o644)
    ErasureList(path).check()

    assert path.stat().st_mode & 0o777 == 0o600


LINE: Final = {
    "key": "k",
    "workspace_id": "00000000-0000-0000-0000-000000000001",
    "hash": "0" * 64,
    "at": "2026-03-01T12:00:00Z",
    "request_id": "00000000-0000-0000-0000-000000000002",
    "credential_id": "00000000-0000-0000-0000-000000000003",
    "with_engagements": False,
}


@pytest.mark.parametrize("hashed", ["nohex", "0" * 63, "0" * 65, "0" * 64 + "\n", "A" * 64])
def test_a_hash_that_is_none(tmp_path: Path, hashed: str) -> None:
    """A line with a hash that no erasure has is refused."""
    path = tmp_path / "erasures.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | {"hash": hashed}) + "\n")

    with pytest.raises(ErasureListInvalid, match="Line 2 "):
        ErasureList(path).read()


async def test_nobody_of_a_list_is_there(
    ledger: Ledger, own_pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Erasures of persons whom the database does not have are taken over, and the log does not say that anybody was erased."""
    path = tmp_path / "erasures.jsonl"
    path.write_text(json.dumps(LINE) + "\n")

    assert await erase_again(own_pool, ledger, ErasureList(path)) == 0
    assert [record.getMessage() for record in caplog.records if "erased again" in record.getMessage()] == []


async def test_deleted_objects_go_by_themselves(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """After some days a deleted contact is gone from row, former addresses and entries; a young one stays."""
    ada, young = await marked(alice), Thing(await alice.post("/api/v2/contacts", json={"first_name": "Young"}))
    for number in range(MAX_ENTRIES):
        await alice.patch(ada.url, json={"last_name": f"{MARKER} {number}"})
    await alice.delete(ada.url)
    await alice.delete(young.url)
    await pool.execute("update contact set deleted_at = now() - interval '8 days' where id = $1", ada.uuid)
    before = await feed(alice)

    await expire(own_pool, ledger, BUSINESS_TYPES, 7)
    await finish(own_pool, ledger, store.ERASE, EraseSlice)

    found = await everything(pool, alice.workspace_id)
    assert found.keys() <= {"idempotency_record"}
    after = await feed(alice)
    assert [each["position"] for each in after] == [each["position"] for each in before]
    assert (await alice.post(f"/api/herdbook/contacts/{ada.id}/restore")).status_code == 404
    assert (await alice.post(f"/api/herdbook/contacts/{young.id}/restore")).status_code == 200
    await assert_consistent(pool, alice.workspace_id)


async def _grow_old(pool: Any, person: Person) -> None:
    for table in ("contact", "company"):
        old = f"update {table} set deleted_at = now() - interval '8 days' where workspace_id = $1 and deleted_at is not null"
        await pool.execute(old, person.workspace_id)


@pytest.mark.parametrize("kind", ["contacts", "companies"])
async def test_merged_objects_stay_with_the_one_that_replaces_them(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, kind: str
) -> None:
    """A merged object leads to the one that replaces it without a limit of time, and is gone once that one is."""
    first, second, target = [Thing(await alice.post(f"/api/v2/{kind}", json=_blank(kind))) for _ in range(3)]
    for source, into in ((first, second), (second, target)):
        assert (await alice.post(f"/api/herdbook/{kind}/{into.id}/merge", json={"from": [source.id]})).status_code == 200
    await _grow_old(pool, alice)
    await expire(own_pool, ledger, BUSINESS_TYPES, 7)
    led = [(await alice.get(each.url)).json()["merged_into"] for each in (first, second)]

    await alice.delete(target.url)
    await _grow_old(pool, alice)
    # Each run ends a chain by one object at least.
    for _ in range(3):
        await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    assert led == [target.id, target.id]
    tables = {"contacts": "contact", "companies": "company"}
    assert await pool.fetchval(f"select count(*) from {tables[kind]} where workspace_id = $1", alice.workspace_id) == 0


async def test_a_circle_of_merged_contacts_goes(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Merged contacts that lead to each other alone are gone after the days of deleted ones."""
    ada, grace = [Thing(await alice.post("/api/v2/contacts", json={})) for _ in range(2)]
    await alice.delete(ada.url)
    await alice.delete(grace.url)
    for one, other in ((ada, grace), (grace, ada)):
        await pool.execute("update contact set merged_into = $2 where id = $1", one.uuid, other.uuid)
    await _grow_old(pool, alice)

    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    assert await pool.fetchval("select count(*) from contact where workspace_id = $1", alice.workspace_id) == 0


def _blank(kind: str) -> dict[str, Any]:
    return {"domains": []} if kind == "companies" else {}


async def test_notes_go_with_their_object(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Once a deleted contact or company is gone, the notes on it are; notes that were deleted long ago are gone, too."""
    ada, grace = await marked(alice), Thing(await alice.post("/api/v2/contacts", json={}))
    company = Thing(await alice.post("/api/v2/companies", json={"domains": []}))
    deleted, *_ = [await noted(alice, place, MARKER) for place in (grace, ada, company)]
    kept = await noted(alice, grace, "kept")
    for url in (deleted.url, ada.url, company.url):
        await alice.delete(url)
    for table in ("contact", "company", "note"):
        old = f"update {table} set deleted_at = now() - interval '8 days' where workspace_id = $1 and deleted_at is not null"
        await pool.execute(old, alice.workspace_id)

    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    assert (await everything(pool, alice.workspace_id)).keys() <= {"idempotency_record"}
    assert (await alice.get(kept.url)).json() == kept.json
    await assert_consistent(pool, alice.workspace_id)


async def test_each_kind_goes(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Deleted companies, tags, engagements, transcripts and comments go, too."""
    company = Thing(await alice.post("/api/v2/companies", json={"name": MARKER, "domains": [{"domain": "x.test"}]}))
    tag = Thing(await alice.post("/api/v2/tags", json={"name": MARKER}))
    engagement = Made(await alice.post(URL, json=timed(title=MARKER)))
    await alice.post(f"{engagement.url}/transcript_comments", json={"body": MARKER})
    for url in (company.url, tag.url, f"/api/herdbook/engagements/{engagement.id}"):
        assert (await alice.delete(url)).status_code == 200
    for table in ("company", "tag", "engagement", "transcript", "transcript_comment"):
        old = f"update {table} set deleted_at = now() - interval '8 days' where workspace_id = $1"
        await pool.execute(old, alice.workspace_id)

    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    assert await everything(pool, alice.workspace_id) == {}


async def test_undo_goes_without_what_went(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A contact or an engagement comes back without references to objects whose rows went."""
    company = Thing(await alice.post("/api/v2/companies", json={"domains": [{"domain": "x.test"}]}))
    tag = Thing(await alice.post("/api/v2/tags", json={"name": MARKER}))
    ada = Thing(await alice.post("/api/v2/contacts", json={"first_name": "Ada", "company_id": company.id}))
    engagement = Made(await alice.post(URL, json=timed()))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": [tag.id]})
    gone = [await alice.delete(url) for url in (ada.url, f"/api/herdbook/engagements/{engagement.id}")]
    for thing, table in ((company, "company"), (tag, "tag")):
        await alice.delete(thing.url)
        await pool.execute(f"update {table} set deleted_at = now() - interval '8 days' where id = $1", thing.uuid)
    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    undone = [await undo(alice, each) for each in gone]

    assert [each.kept for each in undone] == [{}, {}]
    shown = (await alice.get(engagement.url, params={"expand": "contacts,companies,tags"})).json()
    assert [[each["id"] for each in shown[name]] for name in ("contacts", "companies", "tags")] == [[ada.id], [], []]
    assert "company" not in (await alice.get(ada.url)).json()
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize("kind", ["contact", "company"])
async def test_what_was_said_of_duplicates_goes(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, kind: str
) -> None:
    """That two objects are not the same is forgotten once one of them is gone by itself, whichever; of others it stays."""
    plural = {"contact": "contacts", "company": "companies"}[kind]
    things = [Thing(await alice.post(f"/api/v2/{plural}", json=_blank(plural))) for _ in range(4)]
    first, second, third, last = [each.id for each in things]
    for pair in ([first, second], [second, third], [first, last]):
        said = await admin.post("/api/herdbook/duplicates/distinct", json={"object_type": kind, "ids": pair})
        assert said.status_code == 200, said.text
    await alice.delete(things[1].url)
    await _grow_old(pool, alice)

    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    left = await pool.fetch("select one_id, other_id from distinct_pair where workspace_id = $1", alice.workspace_id)
    assert [{*each} for each in left] == [{things[0].uuid, things[3].uuid}]


async def test_an_undo_of_what_has_gone_by_itself(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """An undo of a change of an object that was deleted too long ago keeps it, and does not claim that a person was erased."""
    ada = await marked(alice)
    changed = await alice.patch(ada.url, json={"first_name": "Ada"})
    await alice.delete(ada.url)
    await pool.execute("update contact set deleted_at = now() - interval '8 days' where id = $1", ada.uuid)
    await expire(own_pool, ledger, BUSINESS_TYPES, 7)

    undone = await alice.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})

    [kept] = undone.json()["kept"]
    assert kept["message"] == "It was erased, or was deleted too long ago, and cannot come back."
