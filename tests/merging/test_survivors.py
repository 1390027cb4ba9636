"""Refusals about a merged object name the object that replaces it."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, Final, TypeAlias

import httpx
import pytest

from tests.cast import Json, Person, Thing
from tests.engagements.calls import Made, create
from tests.history.requests import company_named, person_named
from tests.merging.merges import merge, merged, url_of

Ask: TypeAlias = Callable[[Person, Thing, Made], Awaitable[httpx.Response]]

_CRM: Final = {"object_type": "contact", "crm_object_id": "1", "source": "hubspot"}
_NOT_FOUND: Final[dict[str, Ask]] = {
    "PATCH": lambda person, gone, _: person.patch(gone.url, json={"first_name": "A."}),
    "DELETE": lambda person, gone, _: person.delete(gone.url),
    "PUT": lambda person, gone, _: person.put(f"{gone.url}/crm_association", json=_CRM),
    "unlink": lambda person, gone, _: person.delete(f"{gone.url}/crm_association"),
    "merge": lambda person, gone, _: person.post(url_of(gone), json={"from": ["cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"]}),
    "engagements": lambda person, gone, _: person.get(f"{gone.url}/engagements"),
}


@pytest.mark.parametrize("ask", _NOT_FOUND.values(), ids=_NOT_FOUND)
async def test_a_404_names_it(alice: Person, ada: Thing, grace: Thing, ask: Ask) -> None:
    """The problem of a request for a merged contact names the contact at the end of the chain."""
    last = await person_named(alice, "mary@x.test")
    (made,) = await create(alice, "Talk")
    await merged(alice, grace, ada)
    await merged(alice, last, grace)
    response = await ask(alice, ada, made)

    assert response.status_code == 404
    assert response.json()["merged_into"] == last.id
    assert last.id in response.json()["detail"]


async def test_it_is_told_to_those_who_may_read(alice: Person, dave: Person, ada: Thing, grace: Thing) -> None:
    """A credential that may not read contacts does not learn which one replaces another."""
    await merged(alice, grace, ada)
    response = await dave.patch(ada.url, json={"first_name": "A."})

    assert response.status_code == 404
    assert grace.id not in response.text


async def test_it_is_not_told_to_others(alice: Person, charlie: Person, ada: Thing, grace: Thing) -> None:
    """Another workspace learns nothing, and a contact that was deleted has nobody in its place."""
    await merged(alice, grace, ada)
    of_another = await charlie.patch(ada.url, json={})
    await alice.delete(grace.url)
    of_deleted = await alice.patch(ada.url, json={})

    assert [each.status_code for each in (of_another, of_deleted)] == [404, 404]
    assert not any("merged_into" in each.json() for each in (of_another, of_deleted))


async def test_a_long_chain_has_an_end(alice: Person, ada: Thing) -> None:
    """A chain of merges may be longer than a command may follow."""
    chain = [ada, *[await person_named(alice) for _ in range(12)]]
    for source, target in pairwise(chain):
        await merged(alice, target, source)

    assert (await alice.patch(ada.url, json={})).json()["merged_into"] == chain[-1].id


def errors_of(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the fields at fault, each with the object that replaces the missing one."""
    assert response.status_code == 422, response.text
    return [(error["field"], error["merged_into"]) for error in response.json()["errors"]]


async def test_a_field_that_names_it_is_told(alice: Person, dave: Person, ada: Thing, grace: Thing) -> None:
    """An error about a merged contact or company in a body names the one that replaces it, to those who may read it."""
    mill, engine = await company_named(alice, "mill.test"), await company_named(alice, "engine.test")
    (made,) = await create(alice, "Talk")
    await merged(alice, grace, ada)
    await alice.post(f"/api/herdbook/companies/{engine.id}/merge", json={"from": [mill.id]})
    linked = await alice.put(f"{made.url}/contacts", json={"contact_ids": [grace.id, ada.id]})
    employed = await alice.patch(grace.url, json={"company_id": mill.id})

    assert errors_of(linked) == [("contact_ids[1]", grace.id)]
    assert errors_of(employed) == [("company_id", engine.id)]
    assert errors_of(await merge(alice, grace, await person_named(alice), ada)) == [("from[1]", grace.id)]
    assert f"`{engine.id}`" in employed.json()["detail"]
    assert engine.id not in (await dave.patch(grace.url, json={"company_id": mill.id})).text


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_bulk_names_it(alice: Person, ada: Thing, grace: Thing, *, atomic: bool) -> None:
    """An operation of a bulk on a merged contact names the one that replaces it."""
    await merged(alice, grace, ada)
    operations: Json = [{"action": "update", "id": ada.id, "contact": {"first_name": "A."}}, {"action": "delete", "id": ada.id}]
    response = await alice.post("/api/herdbook/contacts/bulk", json={"atomic": atomic, "operations": operations})

    if atomic:
        assert errors_of(response) == [("operations[0].id", grace.id), ("operations[1].id", grace.id)]
    else:
        problems: Any = [each["problem"] for each in response.json()["results"]]
        assert [problem["merged_into"] for problem in problems] == [grace.id, grace.id]


async def test_a_company_is_named_likewise(alice: Person, engine: Thing) -> None:
    """The problem of a write to a merged company names the company that replaces it."""
    mill = await company_named(alice, "mill.test")
    await alice.post(f"/api/herdbook/companies/{mill.id}/merge", json={"from": [engine.id]})

    assert (await alice.patch(engine.url, json={"name": "E."})).json()["merged_into"] == mill.id
