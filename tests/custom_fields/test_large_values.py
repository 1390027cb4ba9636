"""Contacts with very many bytes of values: they are written a few at a time, so that others need not wait for them."""

import asyncio
from typing import Any

import pytest

from herdbook import ids
from herdbook.bulk.model import MAX_RESULT_BYTES
from herdbook.ledger.batch import MANY_ROWS
from herdbook.ledger.ledger import BATCH_BYTES
from herdbook.ledger.object_types import TOGETHER_BYTES
from herdbook.ledger.unit_of_work import LOAD_BYTES
from tests.cast import Json, Person, faults
from tests.custom_fields.definitions import define
from tests.history.requests import undo
from tests.importing.jobs import counts, upload

# An object may have no more values of so many bytes.
FIELDS = 26
VALUES = {f"f{number}": "x" * 9_990 for number in range(FIELDS)}
SIZE = sum(map(len, VALUES.values()))
_WAVE = 25


@pytest.fixture
async def fields(frank: Person) -> None:
    """Fields of contacts that take long values."""
    for key in VALUES:
        await define(frank, key, "long_text")


pytestmark = pytest.mark.usefixtures("fields")


async def large(alice: Person, many: int, **members: Any) -> list[str]:
    """Create contacts that are as large as they may be, and return their ids."""
    made: list[str] = []
    for start in range(0, many, _WAVE):
        numbers = range(start, min(start + _WAVE, many))
        creations = [
            {"action": "create", "contact": {"fields": VALUES, "external_ids": [f"n{number}"], **members}} for number in numbers
        ]
        answer = await alice.post("/api/herdbook/contacts/bulk", json={"operations": creations})
        assert answer.status_code == 200, answer.text[:500]
        made += [each["contact"]["id"] for each in answer.json()["results"]]
    return made


def renamings(contact_ids: list[str]) -> list[dict[str, Any]]:
    """Return operations that change a member of contacts beside their values."""
    return [{"action": "update", "id": each, "contact": {"last_name": "King"}} for each in contact_ids]


async def largest_transaction(pool: Any, person: Person, request_id: str) -> int:
    """Return how many objects the largest transaction of a request has changed."""
    largest: int = await pool.fetchval(
        """
        select max(many) from (
            select count(*) as many from change where workspace_id = $1 and request_id = $2 group by xmin::text
        ) as t
        """,
        person.workspace_id,
        ids.decoded(ids.REQUEST, request_id),
    )
    return largest


async def test_writes_that_come_together_share_no_large_batch(alice: Person, pool: Any) -> None:
    """The commands of a wave are saved a few at a time, by the bytes of what they load and put."""
    renamed = await alice.post("/api/herdbook/contacts/bulk", json={"operations": renamings(await large(alice, 50))})

    assert [each["result"] for each in renamed.json()["results"]] == ["updated"] * 50
    assert await largest_transaction(pool, alice, renamed.headers["X-Request-Id"]) <= BATCH_BYTES // SIZE + 1


async def test_upserts_that_come_together_share_no_large_batch(alice: Person, pool: Any) -> None:
    """The same holds for commands that find their rows on the way."""
    await large(alice, 50)
    operations = [
        {"action": "upsert", "contact": {"match_by": "external_ids", "external_ids": [f"n{number}"], "last_name": "King"}}
        for number in range(50)
    ]
    renamed = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})

    assert [each["result"] for each in renamed.json()["results"]] == ["updated"] * 50
    assert await largest_transaction(pool, alice, renamed.headers["X-Request-Id"]) <= BATCH_BYTES // SIZE + 1


async def test_one_contact_changes_often_in_no_large_batch(alice: Person, pool: Any) -> None:
    """Each change of the same contact is an entry that has the whole of it."""
    (contact_id,) = await large(alice, 1)
    writes = [alice.patch(f"/api/v2/contacts/{contact_id}", json={"last_name": f"n{number}"}) for number in range(40)]

    assert {each.status_code for each in await asyncio.gather(*writes)} == {200}
    many = await pool.fetchval(
        "select max(many) from (select count(*) as many from change where workspace_id = $1 group by xmin::text) as t",
        alice.workspace_id,
    )
    assert many <= BATCH_BYTES // SIZE + 1


async def test_contacts_of_a_deleted_company_lose_it_in_slices(alice: Person, pool: Any) -> None:
    """Few large contacts are changed at a time, and all of them are in the end."""
    company = (await alice.post("/api/v2/companies", json={"domains": []})).json()["id"]
    contact_ids = await large(alice, MANY_ROWS + 6, company_id=company)
    deleted = await alice.delete(f"/api/v2/companies/{company}")

    assert deleted.status_code == 200
    assert await largest_transaction(pool, alice, deleted.headers["X-Request-Id"]) <= LOAD_BYTES // SIZE + 1
    for each in contact_ids:
        assert "company" not in (await alice.get(f"/api/v2/contacts/{each}")).json()


async def test_contacts_of_a_merged_company_move_in_slices(alice: Person, pool: Any) -> None:
    """The contacts of a company that is merged move a few at a time. The answer has their number."""
    target, source = [(await alice.post("/api/v2/companies", json={"domains": []})).json()["id"] for _ in range(2)]
    contact_ids = await large(alice, MANY_ROWS + 6, company_id=source)
    merged = await alice.post(f"/api/herdbook/companies/{target}/merge", json={"from": [source]})

    assert merged.json()["contacts_moved"] == len(contact_ids)
    assert await largest_transaction(pool, alice, merged.headers["X-Request-Id"]) <= LOAD_BYTES // SIZE + 3
    for each in contact_ids:
        assert (await alice.get(f"/api/v2/contacts/{each}")).json()["company"]["id"] == target


async def test_values_are_converted_in_slices(alice: Person, frank: Person, pool: Any) -> None:
    """A conversion comes to few large contacts at a time, and to all of them."""
    field = await define(frank, "number", "text")
    contact_ids = await large(alice, 40)
    for each in contact_ids:
        answer = await alice.patch(f"/api/herdbook/contacts/{each}/record", json={"fields": {"f25": None, "number": "7"}})
        assert answer.status_code == 200, answer.text[:500]
    changed = await frank.patch(field.url, json={"kind": "integer"})

    assert changed.status_code == 200, changed.text
    assert await largest_transaction(pool, alice, changed.headers["X-Request-Id"]) <= LOAD_BYTES // SIZE + 2
    for each in contact_ids:
        assert (await alice.get(f"/api/herdbook/contacts/{each}/record")).json()["fields"]["number"] == 7


async def test_rows_of_an_import_are_written_in_slices(alice: Person, pool: Any) -> None:
    """A slice whose rows mean large contacts is halved until these fit, and each row is done once."""
    contact_ids = await large(alice, MANY_ROWS + 6)
    lines = [f"n{number},King" for number in range(len(contact_ids))]
    job = await upload(alice, "\n".join(["external id,last name", *lines]))
    await job.map(["external_id", "last_name"])

    assert await job.run() == counts(update=len(contact_ids))
    many = await pool.fetchval(
        """
        select max(many) from (
            select count(*) as many from change where workspace_id = $1 and action = 'u' group by xmin::text
        ) as t
        """,
        alice.workspace_id,
    )
    assert many <= LOAD_BYTES // SIZE + 1


async def test_long_rows_of_an_import_are_written_in_slices(alice: Person, pool: Any) -> None:
    """A slice has few rows if these are long."""
    header = ",".join(["last name", *VALUES])
    job = await upload(alice, "\n".join([header, *(",".join([f"n{number}", *VALUES.values()]) for number in range(20))]))
    await job.map(["last_name", *(f"field:{key}" for key in VALUES)])

    assert await job.run() == counts(create=20)
    many = await pool.fetchval(
        """
        select max(many) from (
            select count(*) as many from change where workspace_id = $1 and kind = 'c' group by xmin::text
        ) as t
        """,
        alice.workspace_id,
    )
    assert many <= BATCH_BYTES // SIZE + 2


async def test_large_undo_is_made_of_slices(alice: Person, pool: Any) -> None:
    """An undo of large contacts is no single command, and undoes all of them."""
    operations = renamings(await large(alice, MANY_ROWS + 10))
    renamed = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    done = sum(each["result"] == "updated" for each in renamed.json()["results"])
    undone = await undo(alice, renamed)

    assert len(undone.reverted) == done > MANY_ROWS
    assert await largest_transaction(pool, alice, undone.response.headers["X-Request-Id"]) <= TOGETHER_BYTES // SIZE + 1


async def test_atomic_bulk_of_large_contacts_is_refused(alice: Person) -> None:
    """Contacts with more bytes than one batch may have are not written all or none. Nothing is written."""
    contact_ids = await large(alice, 90)
    refused = await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": renamings(contact_ids)})

    assert (refused.status_code, faults(refused)) == (422, [("operations", "too_long")])
    assert (await alice.get(f"/api/v2/contacts/{contact_ids[0]}")).json()["last_name"] is None
    some = await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": renamings(contact_ids[:40])})
    assert [each["result"] for each in some.json()["results"]] == ["updated"] * 40


async def test_atomic_bulk_with_a_large_answer_is_refused(alice: Person) -> None:
    """Each result has the whole of its contact, also if all operations change the same one."""
    (contact_id,) = await large(alice, 1)
    operations = [
        {"action": "update", "id": contact_id, "contact": {"last_name": f"n{number}"}}
        for number in range(MAX_RESULT_BYTES // SIZE + 1)
    ]
    refused = await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": operations})

    assert (refused.status_code, faults(refused)) == (422, [("operations", "too_long")])


async def test_operations_without_room_for_their_results_fail(alice: Person) -> None:
    """Once the results are very large, the operations after them are not applied. Sent again, they are."""
    contact_ids = await large(alice, MAX_RESULT_BYTES // SIZE + 60)
    renamed = await alice.post("/api/herdbook/contacts/bulk", json={"operations": renamings(contact_ids)})
    results: list[Json] = renamed.json()["results"]

    failed = [each for each in results if each["result"] == "failed"]
    assert {each["problem"]["errors"][0]["code"] for each in failed} == {"too_long"}
    assert len(renamed.content) < 2 * MAX_RESULT_BYTES
    left: list[str] = [contact_ids[each["index"]] for each in failed]
    assert (await alice.get(f"/api/v2/contacts/{left[0]}")).json()["last_name"] is None
    again = await alice.post("/api/herdbook/contacts/bulk", json={"operations": renamings(left)})
    assert [each["result"] for each in again.json()["results"]] == ["updated"] * len(left)
