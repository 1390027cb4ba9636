"""GET /herdbook/changes: the changes of a workspace in the order in which they were made."""

import asyncio
import json
from collections import Counter
from datetime import datetime
from typing import Any, TypeAlias, cast

import asyncpg
import httpx
import pytest

from herdbook import ids, shared_schemas
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Pool
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.feed import api, store, telling
from herdbook.feed.store import LOOKED_AT, PAGE_BYTES, View
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import deleted, restored
from herdbook.ledger.unit_of_work import Need, Origin, Result, UnitOfWork
from herdbook.oauth.store import create_client
from tests.cast import Json, Person, Stored, Thing, faults
from tests.feed.feed import URL, now, read, told, walked

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """The feed requires a credential."""
    response = await client.get(URL)

    assert response.status_code == 401


async def test_a_stranger_sees_nothing(charlie: Person, ada: Thing) -> None:
    """Charlie's feed stays empty whatever happens in Alice's workspace."""
    assert ada.id

    assert await read(charlie) == {"object": "list", "data": [], "has_more": False, "position": 0, "head": 0}


async def test_each_kind_of_change_is_told(alice: Person, ada: Thing) -> None:
    """Creation, update and deletion come in this order, with the object, and with the old values of an update."""
    before = ada.json
    position = int(ada.etag.strip('"')) - 1
    updated = await alice.patch(ada.url, json={"first_name": "Augusta", "last_name": None})
    await alice.delete(ada.url)
    page = await read(alice, after=position)

    assert [change["type"] for change in page["data"]] == ["contact.created", "contact.updated", "contact.deleted"]
    assert [change["data"] for change in page["data"]] == [
        {"object": before},
        {"object": updated.json(), "previous_attributes": {"first_name": "Ada", "last_name": "Lovelace"}},
        {"object": updated.json()},
    ]
    assert (page["position"], page["head"], page["has_more"]) == (position + 3, position + 3, False)


async def test_a_change_says_when_it_was_made_and_by_whom(alice: Person, ada: Thing) -> None:
    """A change has the position, time, request and credential of its write."""
    response = await alice.patch(ada.url, json={"first_name": "Augusta"})
    change = (await read(alice))["data"][-1]
    del change["data"]

    assert change == {
        "object": "change",
        "object_id": ada.id,
        "position": int(response.headers["ETag"].strip('"')),
        "type": "contact.updated",
        "at": response.json()["updated_at"],
        "request_id": response.headers["X-Request-Id"],
        "credential_id": ids.encoded(ids.CREDENTIAL, alice.key.id),
    }


async def test_objects_are_told_as_they_were_entered(alice: Person, stored: Stored, renewal: Thing) -> None:
    """Objects of every kind pass through byte for byte: entries are copied, not decoded."""
    await alice.patch(renewal.url, json={"name": 'Zoë\'s \\ "renewal"\n\u2028'})
    await alice.delete(renewal.url)
    response = await alice.get(URL)
    entered = await stored.changes()

    assert [change["data"]["object"] for change in response.json()["data"]] == [one.object for one in entered]
    assert all(json.dumps(one.object, ensure_ascii=False, separators=(",", ":")) in response.text for one in entered)


async def test_what_the_command_line_did_has_no_credential(alice: Person, owner: Thing) -> None:
    """The first user's creation has no credential, because no caller of the API made it."""
    change = (await read(alice, types="user"))["data"][0]

    assert (change["data"]["object"]["id"], change["credential_id"]) == (owner.id, None)


async def test_what_a_client_did_has_its_id(alice: Person, client: httpx.AsyncClient, pool: Connections) -> None:
    """A change by an OAuth client names the client, and differs from one by an API key."""
    new = await create_client(pool, alice.workspace_id, "A program", ["tags:write"], [])
    form = {"grant_type": "client_credentials", "client_id": new.client_id, "client_secret": new.client_secret}
    token = (await client.post("/api/v1/oauth/token", data=form)).json()["access_token"]
    await client.post("/api/v2/tags", json={"name": "Renewal"}, headers={"Authorization": f"Bearer {token}"})
    change = (await read(alice, types="tag"))["data"][-1]

    assert change["credential_id"] == new.client_id


class MergeAndRestore:
    """A command that deletes a contact as merged into another one, and restores it."""

    def __init__(self, contact: Thing, into: Thing) -> None:
        self._contact_id = contact.uuid
        self._into = into.uuid

    def needs(self) -> list[Need]:
        """Name the contact."""
        return [Need(CONTACT.table, self._contact_id)]

    def apply(self, work: UnitOfWork) -> Result:
        """Delete it as merged, then restore it."""
        before = work.get(CONTACT.table, self._contact_id)
        assert before is not None, "the row exists"
        deleted(work, CONTACT, before, self._into)
        after = work.get(CONTACT.table, self._contact_id)
        assert after is not None, "a deleted object keeps its row"
        return restored(work, CONTACT, after, before.entry)


async def test_a_merge_and_its_undoing_are_told(alice: Person, ada: Thing, grace: Thing, ledger: Ledger) -> None:
    """A merged contact is deleted with the id of the contact that replaces it, and can be restored."""
    position = await now(alice)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    await ledger.write(alice.workspace_id, MergeAndRestore(ada, into=grace), origin)
    changes = (await read(alice, after=position))["data"]

    assert [change["type"] for change in changes] == ["contact.deleted", "contact.restored"]
    assert [change["merged_into"] for change in changes] == [grace.id, grace.id]


async def test_pages_have_everything_once(alice: Person) -> None:
    """Paging returns each change once, in order, at every page size."""
    for number in range(7):
        await alice.post("/api/v2/contacts", json={"first_name": f"Ada {number}"})
    head = await now(alice)

    for limit in (1, 3, 7, 1000):
        assert [change["position"] for change in await walked(alice, limit=limit)] == list(range(1, head + 1))


@pytest.mark.usefixtures("ada")
async def test_a_page_has_as_many_as_were_asked_for(alice: Person, grace: Thing) -> None:
    """`position` is that of the last change on the page, and `has_more` says whether more follow."""
    page = await read(alice, limit=2)

    assert [change["position"] for change in page["data"]] == [1, 2]
    assert (page["position"], page["has_more"]) == (2, True)
    assert page["head"] == int(grace.etag.strip('"'))


async def test_types_filter(alice: Person, ada: Thing, engine: Thing) -> None:
    """Only changes of the named kinds are returned, and the position moves past the others."""
    position = int(ada.etag.strip('"')) - 1
    await alice.post("/api/v2/tags", json={"name": "Renewal"})
    await alice.patch(engine.url, json={"name": "Difference Engine"})
    page = await read(alice, after=position, types="company")

    assert [change["type"] for change in page["data"]] == ["company.created", "company.updated"]
    assert await told(alice, after=position, types="tag,contact,tag") == ["contact.created", "tag.created"]
    assert page["position"] == page["head"]


async def test_what_is_left_out_costs_nothing_next_time(alice: Person, ada: Thing, grace: Thing) -> None:
    """The position moves to the end even if nothing of the kind happened."""
    page = await read(alice, after=ada.etag.strip('"'), types="tag")

    assert (page["data"], page["has_more"]) == ([], False)
    assert page["position"] == page["head"] == int(grace.etag.strip('"'))


async def test_no_more_is_looked_at_than_a_request_may_take(alice: Person, ada: Thing, pool: Connections) -> None:
    """A page among very many changes of other kinds ends before it reaches a rare one, and says that there is more."""
    first = int(ada.etag.strip('"'))
    await pool.execute(
        """
        insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
        select workspace_id, seq + n, at, object_id, request_id, credential_id, kind, action, object
        from change, generate_series(1, $3::int) as n where workspace_id = $1 and seq = $2
        """,
        *(alice.workspace_id, first, LOOKED_AT),
    )
    await pool.execute("update workspace set seq = seq + $2 where id = $1", alice.workspace_id, LOOKED_AT)
    await alice.post("/api/v2/tags", json={"name": "Rare"})
    page = await read(alice, after=first - 1, types="tag")

    assert (page["data"], page["position"], page["has_more"]) == ([], first - 1 + LOOKED_AT, True)
    assert await told(alice, after=page["position"], types="tag") == ["tag.created"]


async def test_a_page_of_long_objects_is_short(alice: Person) -> None:
    """Transcripts may be long, so a page ends at a limit of bytes and the next one continues."""
    position = await now(alice)
    for number in range(6):
        # Random text, because repetitive text would be stored compressed.
        text = "".join(ids.encoded("", ids.new_id()) for _ in range(30_000))
        call = {"type": "CALL", "title": "Long", "source_system": "dialer", "external_id": f"long-{number}"}
        response = await alice.post("/api/v2/engagements", json={**call, "transcript": text})
        assert response.status_code == 201
    page = await read(alice, after=position, types="transcript")
    changes = await walked(alice, after=position, types="transcript")

    assert 1 < len(page["data"]) < 6
    assert page["has_more"]
    assert [change["type"] for change in changes] == ["transcript.created"] * 6


async def test_a_page_is_bounded_by_what_it_sends(alice: Person) -> None:
    """A page ends after the change that exceeds its limit of bytes, however well that change is compressed in storage."""
    position = await now(alice)
    for number in range(6):
        call = {"type": "CALL", "title": "Long", "source_system": "dialer", "external_id": f"long-{number}"}
        response = await alice.post("/api/v2/engagements", json={**call, "transcript": "all the same " * 60_000})
        assert response.status_code == 201
    pages: list[tuple[int, int]] = []
    page: Json = {"position": position, "has_more": True}
    while page["has_more"]:
        response = await alice.get(URL, params={"after": page["position"], "types": "transcript", "limit": 1000})
        page = response.json()
        pages.append((len(page["data"]), len(response.content)))

    assert sum(many for many, _ in pages) == 6
    assert all(1 <= many <= 3 for many, _ in pages)
    assert max(size for _, size in pages) < PAGE_BYTES + 1_000_000


async def test_what_is_read_for_a_page_is_bounded(alice: Person, pool: Connections) -> None:
    """The server reads no more bytes than it returns, and one statement reads a whole page of small entries."""
    position = await now(alice)
    for number in range(4):
        call = {"type": "CALL", "title": "Long", "source_system": "dialer", "external_id": f"long-{number}"}
        await alice.post("/api/v2/engagements", json={**call, "transcript": "all the same " * 60_000})
    counted = Counted(pool)
    view = View((TRANSCRIPT, ENGAGEMENT), sees_private=True, sees_details=True)
    page = await store.page(cast("Pool", counted), alice.workspace_id, position, view, 1000, 1_000_000)

    told = sum(len(entry.object) for entry in page.entries)
    assert 1_000_000 < told < 2_000_000
    assert counted.bytes < told + 10_000
    assert counted.statements <= len(page.entries)
    for number in range(30):
        await alice.post("/api/v2/contacts", json={"first_name": f"Ada {number}"})
    counted = Counted(pool)
    view = View((CONTACT,), sees_private=True, sees_details=True)
    page = await store.page(cast("Pool", counted), alice.workspace_id, position, view, 1000)
    assert (len(page.entries), counted.statements) == (30, 1)


class Counted:
    """A pool that counts statements and the bytes that they return."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self.statements = 0
        self.bytes = 0

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Run a statement."""
        records = await self._pool.fetch(query, *args)
        self.statements += 1
        self.bytes += sum(len(value) for record in records for value in record.values() if isinstance(value, str))
        return records


async def test_now_is_the_end(alice: Person, ada: Thing) -> None:
    """`after=now` returns no changes, and the position from which to follow."""
    page = await read(alice, after="now")

    assert (page["data"], page["position"]) == ([], int(ada.etag.strip('"')))
    await alice.delete(ada.url)
    assert await told(alice, after=page["position"]) == ["contact.deleted"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("after=-1", ("after", "invalid_format")),
        ("after=1.5", ("after", "invalid_format")),
        ("after=", ("after", "invalid_format")),
        ("after=1e3", ("after", "invalid_format")),
        ("after=%D9%A1", ("after", "invalid_format")),
        ("after=9999999999999999999", ("after", "invalid_format")),
        ("after=999999999999999999", ("after", "invalid_range")),
        ("types=contacts", ("types", "invalid_choice")),
        ("types=", ("types", "invalid_choice")),
        ("types=contact,,tag", ("types", "invalid_choice")),
        ("limit=0", ("limit", "invalid_range")),
        ("limit=1001", ("limit", "invalid_range")),
        ("limit=x", ("limit", "invalid_type")),
        ("wait=31", ("wait", "invalid_range")),
        ("wait=-1", ("wait", "invalid_range")),
        ("cursor=x", ("cursor", "unknown_parameter")),
        ("after=1&after=2", ("after", "duplicate")),
    ],
)
async def test_what_cannot_be_asked(alice: Person, query: str, expected: tuple[str, str]) -> None:
    """A bad parameter is refused by name."""
    response = await alice.get(f"{URL}?{query}")

    assert response.status_code == 400
    assert faults(response) == [expected]


async def test_a_position_beyond_the_end_is_refused(alice: Person, ada: Thing) -> None:
    """A position beyond the end dates from before a restore of the data, so the refusal says how to begin anew."""
    beyond = int(ada.etag.strip('"')) + 1
    response = await alice.get(URL, params={"after": beyond})

    assert response.status_code == 400
    assert faults(response) == [("after", "invalid_range")]
    assert "`after=now`" in response.json()["detail"]


async def test_a_head_request_waits_for_nothing_but_what_is_asked(alice: Person) -> None:
    """HEAD is answered as GET is, without a body."""
    response = await alice.request("HEAD", URL)

    assert (response.status_code, response.content) == (200, b"")


async def test_changes_are_made_ready_a_few_at_a_time(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several clients that read at once let others have a turn after a number of changes."""
    contact: Json = {}
    operations = [{"action": "create", "contact": contact}] * 200
    assert (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).status_code == 200
    turn = 0
    made = Counter[int]()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def shown_time(at: datetime) -> str:
        made[turn] += 1
        return shared_schemas.shown_time(at)

    # Each change is told with its time.
    monkeypatch.setattr(telling, "shown_time", shown_time)
    counting = asyncio.create_task(count())
    pages = await asyncio.gather(*(read(alice, after=after, limit=1000) for after in range(1, 6)))
    counting.cancel()

    assert [len(page["data"]) for page in pages] == [200, 199, 198, 197, 196]
    assert made.total() == 990
    assert max(made.values()) <= api.MAX_AT_ONCE
