"""POST /herdbook/participants/erase: participants without a contact."""

from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import msgspec

from herdbook import ids
from herdbook.business_types import BUSINESS_TYPES
from herdbook.db.pool import Pool
from herdbook.erasure.erasing import erase_again, expire
from herdbook.erasure.store import listed
from herdbook.erasure_list import ErasureList
from herdbook.ledger.ledger import Ledger
from tests.cast import Person
from tests.cli.programs import herdbook, serving
from tests.engagements.calls import URL, Made, call
from tests.erasure.test_erase_contact import ADDRESS, MARKER, everything, marked
from tests.history.consistency import assert_consistent

ERASE: Final = "/api/herdbook/participants/erase"


async def expired(pool: Any, own_pool: Pool, ledger: Ledger, alice: Person) -> Made:
    """Create an engagement with the marked person, and delete that contact so long ago that it is gone."""
    ada = await marked(alice)
    participants = [{"email": ADDRESS, "name": MARKER}, {"email": "bob@x.test", "name": "Bob"}]
    engagement = Made(await alice.post(URL, json=call(participants=participants)))
    await alice.delete(ada.url)
    await pool.execute("update contact set deleted_at = now() - interval '91 days' where id = $1", ada.uuid)
    await expire(own_pool, ledger, BUSINESS_TYPES, 90)
    return engagement


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """Without a credential the answer is 401."""
    assert (await client.post(ERASE, json={"email": ADDRESS})).status_code == 401


async def test_charlie_erases_nobody(charlie_keys: Any, alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """An administrator of another workspace changes nothing in this one."""
    charlie = await charlie_keys.holder("workspace:admin")
    await alice.post(URL, json=call(participants=[{"phone": "030 1234567", "name": MARKER}]))
    before = await everything(pool, alice.workspace_id)

    assert (await charlie.post(ERASE, json={"email": ADDRESS})).json()["rows"] == {}
    assert await everything(pool, alice.workspace_id) == before


async def test_bob_is_refused(bob: Person) -> None:
    """A credential that is no administrator's is refused."""
    assert (await bob.post(ERASE, json={"email": ADDRESS})).status_code == 403


async def test_participants_without_a_contact(alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A participant whose contact is long gone goes from the engagement and its history; others and the engagement stay."""
    engagement = await expired(pool, own_pool, ledger, alice)

    body = {"email": ADDRESS.upper()}
    expected, done = [await admin.post(ERASE, json=body, params={"dry_run": each}) for each in ("true", "false")]

    assert done.status_code == 200, done.text
    certificate = done.json()
    assert (certificate["contact_id"], certificate["finished"]) == (None, True)
    assert certificate["rows"] == expected.json()["rows"]
    assert certificate["rows"]["engagement"] == 1
    assert await everything(pool, alice.workspace_id) == {}
    details = await pool.fetchval(
        "select details ->> 'participants' from engagement where workspace_id = $1", alice.workspace_id
    )
    assert details == '[{"name":"Bob","email":"bob@x.test"}]'
    assert (await alice.get(engagement.url)).status_code == 200
    last = await pool.fetchval("select request_id from change where workspace_id = $1 order by seq desc", alice.workspace_id)
    assert ids.encoded(ids.REQUEST, last) == certificate["request_id"]
    await assert_consistent(pool, alice.workspace_id)


async def test_participants_are_erased_again(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """Participants who are back with a backup are erased again by the list."""
    await expired(pool, own_pool, ledger, alice)
    details = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert (await admin.post(ERASE, json={"email": ADDRESS})).status_code == 200
    erasures = ErasureList(tmp_path / "erasures.jsonl")
    erasures.add([each for each in await listed(own_pool) if each.workspace_id == alice.workspace_id])
    await pool.execute("delete from erasure where workspace_id = $1", alice.workspace_id)
    await pool.execute("update engagement set details = $2 where workspace_id = $1", alice.workspace_id, details)

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert await everything(pool, alice.workspace_id) == {}


async def test_the_address_of_a_contact_is_refused(alice: Person, admin: Person) -> None:
    """An address that a contact has is refused, with the remedy; so is no address."""
    await marked(alice)

    refused = [(await admin.post(ERASE, json={"email": each})).json() for each in (ADDRESS, "Ada")]

    assert [each["errors"][0]["code"] for each in refused] == ["already_in_use", "invalid_format"]


def test_an_address_is_erased_beside_the_server(tmp_path: Path) -> None:
    """`herdbook erase` erases participants without a contact, too, and refuses an address that nobody has."""
    with serving(tmp_path) as server:
        participants = [{"email": "room@resource.calendar.google.com", "name": MARKER}]
        assert server.post("/api/v2/engagements", call(participants=participants)).status_code == 201

        tried, erased, again = (
            herdbook("erase", "Room@Resource.calendar.google.com", *more, folder=tmp_path) for more in (["--dry-run"], [], [])
        )

        assert [each["rows"]["engagement"] for each in msgspec.json.decode(tried.said)] == [1]
        assert [each["contact_id"] for each in msgspec.json.decode(erased.said)] == [None]
        assert again.status == 1
        assert "no participant has it" in again.complained


async def test_a_retry_gets_the_first_answer(alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A retry is answered as before though a contact has the address by then, which refuses another request."""
    await expired(pool, own_pool, ledger, alice)
    key = {"Idempotency-Key": "7"}
    first = await admin.post(ERASE, json={"email": ADDRESS}, headers=key)
    await alice.post("/api/v2/contacts", json={"emails": [{"email": ADDRESS}]})
    second = await admin.post(ERASE, json={"email": ADDRESS}, headers=key)
    other = await admin.post(ERASE, json={"email": ADDRESS})

    assert (first.status_code, second.status_code, other.status_code) == (200, 200, 422)
    assert (second.content, second.headers["Idempotency-Replayed"]) == (first.content, "true")
