"""The operation GET /herdbook/duplicates."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from herdbook.duplicates.searching import MAX_SHARING
from tests.cast import Person, Thing
from tests.custom_fields.definitions import define
from tests.duplicates.listed import URL, all_groups, company, contact, groups, listed, phone, reasons

NUMBER = "+44 20 7946 0000"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    assert (await client.get(URL)).status_code == 401


async def test_charlie_sees_nothing(charlie: Person, alice: Person) -> None:
    """The duplicates of another workspace are not there."""
    await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    await contact(charlie, "Ada", "Lovelace", phone_numbers=phone(NUMBER))

    assert len(await groups(alice)) == 1
    assert await groups(charlie) == []


async def test_it_needs_the_scope_of_the_objects(dave: Person) -> None:
    """A caller who may not read contacts is told the scope."""
    response = await dave.get(URL)

    assert response.status_code == 403
    assert "contacts:read" in response.json()["detail"]


async def test_same_phone_and_name(alice: Person) -> None:
    """Two contacts with one name and one number, however it is written, are a group, with the reasons in words."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    second = await contact(alice, "Ada", "Lovelace", phone_numbers=phone("0044 (0)20 79460000"))
    await contact(alice, "Grace", "Hopper", phone_numbers=phone("+1 202 555 0143"))

    page = await listed(alice)

    (group,) = page["data"]
    (pair,) = group["pairs"]
    assert page["complete"]
    assert (group["object"], group["object_type"]) == ("duplicate_group", "contact")
    assert [each["id"] for each in group["objects"]] == [first.id, second.id]
    assert {each["name"] for each in group["objects"]} == {"Ada Lovelace"}
    assert pair["ids"] == sorted((first.id, second.id))
    assert pair["score"] == group["score"] > 0.98
    assert pair["reasons"] == ["same name", f"same phone {NUMBER}"]


async def test_a_new_contact_is_seen_at_once(alice: Person) -> None:
    """A list after a change takes the change in."""
    ada = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    assert await groups(alice) == []

    other = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    assert await groups(alice) == [{ada.id, other.id}]

    await alice.patch(other.url, json={"first_name": "Grace", "last_name": "Hopper", "phone_numbers": []})
    assert await groups(alice) == []


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (("Jon", "Smith"), ("Jonathan", "Smith"), "same name in another form at the same company"),
        (("Bob", "Müller"), ("Róbert", "Mueller"), "similar name at the same company"),
        (("Sepp", "Huber"), ("Josef", "Huber"), "same name in another form at the same company"),
        (("Pepe", "García"), ("José", "Garcia"), "same name in another form at the same company"),
        (("Sasha", "Ivanov"), ("Aleksandr", "Ivanov"), "same name in another form at the same company"),
        (("Ada", "Lovelace"), ("Lovelace", "Ada"), "same name in the other order at the same company"),
        (("Katherine", "Johnson"), ("Katherne", "Johnson"), "similar name at the same company"),
        (("Dr. Ada", "Lovelace"), ("Ada", "Lovelace"), "same name at the same company"),
        (("Ada Lovelace", None), ("Ada", "Lovelace"), "same name at the same company"),
    ],
)
async def test_names(alice: Person, engine: Thing, one: Any, other: Any, reason: str) -> None:
    """Short forms, accents, titles, misspellings and the order of names at one company are seen through."""
    found = set[str]()
    for first, last in (one, other):
        names = {"first_name": first, **({} if last is None else {"last_name": last})}
        found.add(Thing(await alice.post("/api/v2/contacts", json={**names, "company_id": engine.id})).id)

    assert await groups(alice) == [found]
    assert await reasons(alice) == [reason]


async def test_an_initial_and_an_address(alice: Person, engine: Thing) -> None:
    """An initial fits a name, and addresses at one domain fit each other."""
    one = await contact(alice, "J.", "Smith", "jon@engine.test", company_id=engine.id)
    other = await contact(alice, "Jonathan", "Smith", "jonathan@engine.test", company_id=engine.id)

    assert await groups(alice) == [{one.id, other.id}]
    assert "`jon@` and `jonathan@` at one domain" in await reasons(alice)


@pytest.mark.parametrize("local", ["paul", "newcombe", "paul.newcombe", "paulnewcombe", "newcombe-p"])
async def test_addresses_made_of_one_name(alice: Person, local: str) -> None:
    """Two addresses at one domain are of one person if both are made of the name, in whatever form."""
    one = await contact(alice, "Paul", "Newcombe", f"{local}@newc.test")
    other = await contact(alice, "Paul", "Newcombe", "pnewcombe@newc.test")

    assert await groups(alice) == [{one.id, other.id}]


async def test_a_family_is_no_duplicate(alice: Person) -> None:
    """People of one family who share a telephone and an address are several."""
    await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    await contact(alice, "William", "Lovelace", phone_numbers=phone(NUMBER))

    assert await groups(alice) == []


async def test_colleagues_are_no_duplicates(alice: Person, engine: Thing) -> None:
    """People of one company who share its telephone are several."""
    for name in ("Ada Lovelace", "Grace Hopper", "Katherine Johnson"):
        first, last = name.split()
        await contact(alice, first, last, f"{first.lower()}@engine.test", phone_numbers=phone(NUMBER), company_id=engine.id)

    assert await groups(alice) == []


async def test_three_are_one_group(alice: Person) -> None:
    """Pairs that have a contact in common are one group, of which the fullest contact comes first."""
    bare = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    full = await contact(alice, "Ada", "Lovelace", "ada@engine.test", phone_numbers=phone(NUMBER), description="Countess")
    other = await contact(alice, "A.", "Lovelace", phone_numbers=phone(NUMBER))

    (group,) = (await listed(alice))["data"]
    assert group["objects"][0]["id"] == full.id
    assert {each["id"] for each in group["objects"]} == {bare.id, full.id, other.id}
    assert [each["score"] for each in group["pairs"]] == sorted((each["score"] for each in group["pairs"]), reverse=True)


async def test_pages(alice: Person) -> None:
    """Each group is on one page, the most likely first, whatever the limit."""
    for index in range(7):
        for times in range(2 + index % 2):
            members = {} if times == 1 else {"description": f"{index}"}
            await contact(
                alice,
                f"Ada{'abcdefg'[index]}",
                f"Lovelace{'xyzuvwt'[index]}",
                phone_numbers=phone(f"+4420794600{index}0"),
                **members,
            )

    at_once = await all_groups(alice)
    assert len(at_once) == 7
    assert await all_groups(alice, limit=1) == at_once
    assert await all_groups(alice, limit=3) == at_once


async def test_cursors_belong_to_a_list(alice: Person) -> None:
    """A cursor that was made up, or for another list, is refused by name."""
    for index in range(4):
        await contact(alice, f"Ada{index // 2}", "Lovelace", phone_numbers=phone(f"+44207946000{index // 2}"))
    cursor = (await listed(alice, limit=1))["next_cursor"]

    made_up = await alice.get(URL, params={"cursor": "x"})
    other = await alice.get(URL, params={"cursor": cursor, "min_score": 0.9})

    assert [each.status_code for each in (made_up, other)] == [400, 400]
    assert made_up.json()["errors"][0]["field"] == "cursor"
    assert other.json()["errors"][0]["field"] == "min_score"


@pytest.mark.parametrize(
    "asked", [{"min_score": "0.2"}, {"min_score": "high"}, {"min_score": "1.5"}, {"object_type": "user"}, {"limit": "101"}]
)
async def test_bad_parameters_are_refused_by_name(alice: Person, asked: dict[str, str]) -> None:
    """A parameter that means nothing gets 400 with its name."""
    response = await alice.get(URL, params=asked)

    assert response.status_code == 400
    assert [each["field"] for each in response.json()["errors"]] == [*asked]


@pytest.mark.parametrize("least", ["1", "0.5", "0.7927865999345283", "0.50000000000000011"])
async def test_a_score_may_have_all_its_digits(alice: Person, least: str) -> None:
    """A score is taken in the form in which programs print numbers, with up to 17 digits."""
    response = await alice.get(URL, params={"min_score": least})

    assert response.status_code == 200


async def test_companies(alice: Person) -> None:
    """Companies are compared without their legal forms, and by their domains."""
    first = await company(alice, "Acme, Inc.", "acme.test")
    second = await company(alice, "ACME", "acme.example")
    await company(alice, "Engine GmbH", "engine.test")

    assert await groups(alice, object_type="company") == [{first.id, second.id}]
    assert await reasons(alice, object_type="company") == ["same name", "domains acme.test and acme.example"]
    assert await groups(alice) == []


async def test_a_merge_takes_them_out(alice: Person) -> None:
    """Merged contacts are no duplicates any more; an undo makes them so again."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    second = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    assert len(await groups(alice)) == 1

    merged = await alice.post(f"/api/herdbook/contacts/{first.id}/merge", json={"from": [second.id]})
    assert await groups(alice) == []

    undone = await alice.post("/api/herdbook/undo", json={"request_id": merged.headers["X-Request-Id"]})
    assert undone.status_code == 200, undone.text
    assert await groups(alice) == [{first.id, second.id}]


async def test_deletion_and_restoration(alice: Person) -> None:
    """A deleted contact is in no group, and a restored one is again."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    second = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    await groups(alice)

    await alice.delete(second.url)
    assert await groups(alice) == []

    await alice.post(f"/api/herdbook/contacts/{second.id}/restore")
    assert await groups(alice) == [{first.id, second.id}]


async def test_what_is_too_common_is_said(alice: Person) -> None:
    """Nobody is compared by a number that more than a hundred have; the list says so, and other keys still find them."""
    switchboard = phone(NUMBER)
    operations = [
        {
            "action": "create",
            "contact": {"first_name": f"A{index:03}", "last_name": f"B{index:03}", "phone_numbers": switchboard},
        }
        for index in range(MAX_SHARING + 1)
    ]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=switchboard)
    second = await contact(alice, "Ada", "Lovelace", phone_numbers=switchboard)

    page = await listed(alice)
    assert f"the phone number {NUMBER}" in page["too_common"]
    assert [{each["id"] for each in group["objects"]} for group in page["data"]] == [{first.id, second.id}]


async def test_many_namesakes_are_no_duplicates(alice: Person) -> None:
    """A name that several have says less than a rare one."""
    for index in range(2):
        await contact(alice, "Ada", "Lovelace", f"ada@engine{index}.test")
    assert len(await groups(alice)) == 1

    for index in range(2, 5):
        await contact(alice, "Ada", "Lovelace", f"ada@engine{index}.test")
    assert await groups(alice) == []


async def test_a_region_that_changes(alice: Person, frank: Person) -> None:
    """Numbers are read again when the workspace gets a region."""
    first = await contact(alice, "Ada", "King", phone_numbers=phone("020 7946 0000"))
    second = await contact(alice, "A.", "King", phone_numbers=phone(NUMBER))
    assert await groups(alice) == []

    await frank.patch("/api/herdbook/workspace", json={"region": "GB"})
    assert await groups(alice) == [{first.id, second.id}]


async def test_archived_fields_are_not_compared(alice: Person, frank: Person) -> None:
    """A birthday is evidence until its field is archived, because nobody sees anything of that."""
    birthday = await define(frank, "birthday", "date")
    two = [
        await contact(alice, "Ada", "King", f"ada@engine{index}.test", fields={"birthday": "1815-12-10"}) for index in range(2)
    ]
    assert await groups(alice) == [{each.id for each in two}]
    assert "same birthday" in await reasons(alice)

    archived = await frank.patch(birthday.url, json={"archived": True})
    assert archived.status_code == 200, archived.text
    assert "same birthday" not in await reasons(alice)


async def test_searches_at_the_same_time(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Requests that search at once find the same, once."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))
    second = await contact(alice, "Ada", "Lovelace", phone_numbers=phone(NUMBER))

    found = await asyncio.gather(*(groups(alice) for _ in range(8)))

    assert found[-1] == [{first.id, second.id}]
    assert await pool.fetchval("select count(*) from duplicate_pair where workspace_id = $1", workspace_id) == 1


async def test_what_is_rare_again_is_compared(alice: Person) -> None:
    """Objects that were not compared for a number which too many had are compared once few have it, and it is named no more."""
    switchboard = phone(NUMBER)
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=switchboard)
    second = await contact(alice, "A.", "Lovelace", phone_numbers=switchboard)
    operations = [
        {"action": "create", "contact": {"first_name": f"A{index:03}", "phone_numbers": switchboard}}
        for index in range(MAX_SHARING)
    ]
    made = (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).json()
    before = await listed(alice)
    gone = [{"action": "delete", "id": each["contact"]["id"]} for each in made["results"]]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": gone})

    after = await listed(alice)

    assert (before["too_common"], before["data"]) == ([f"the phone number {NUMBER}"], [])
    assert after["too_common"] == []
    assert [{each["id"] for each in group["objects"]} for group in after["data"]] == [{first.id, second.id}]
