"""The operations of /herdbook/duplicates/distinct: people say that two are not the same."""

import httpx

from tests.cast import Person, Thing
from tests.duplicates.listed import URL, contact, groups, phone

DISTINCT = f"{URL}/distinct"
NUMBER = phone("+44 20 7946 0000")


async def two(alice: Person) -> tuple[Thing, Thing]:
    """Create two contacts that may be the same."""
    return (
        await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER),
        await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER),
    )


async def say(person: Person, *things: Thing | str, **members: object) -> httpx.Response:
    """Say that contacts are not the same."""
    ids = [each if isinstance(each, str) else each.id for each in things]
    return await person.post(DISTINCT, json={"object_type": "contact", "ids": ids, **members})


async def distinct(person: Person) -> list[set[str]]:
    """Return the pairs that are not the same."""
    return [set(each["ids"]) for each in (await person.get(DISTINCT)).json()["data"]]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    assert [(await client.get(DISTINCT)).status_code, (await client.post(DISTINCT, json={})).status_code] == [401, 401]


async def test_charlie_is_refused(charlie: Person, alice: Person) -> None:
    """Nobody says anything of the contacts of another workspace, nor learns what was said."""
    first, second = await two(alice)

    response = await say(charlie, first, second)

    assert response.status_code == 422
    assert {each["code"] for each in response.json()["errors"]} == {"not_found"}
    assert await groups(alice) == [{first.id, second.id}]
    await say(alice, first, second)
    assert await distinct(charlie) == []


async def test_who_may_only_read_is_refused(bob: Person, alice: Person) -> None:
    """It needs the scope to write contacts."""
    first, second = await two(alice)

    assert (await say(bob, first, second)).status_code == 403
    assert await groups(bob) == [{first.id, second.id}]


async def test_it_is_remembered(alice: Person) -> None:
    """Two that are not the same are in no group, until that is taken back."""
    first, second = await two(alice)

    said = await say(alice, first, second)
    assert said.json() == {"object": "distinct", "object_type": "contact", "ids": [first.id, second.id], "distinct": True}
    assert await groups(alice) == []
    assert await distinct(alice) == [{first.id, second.id}]

    await alice.patch(first.url, json={"description": "Countess", "phone_numbers": phone("+44 2079460000")})
    assert await groups(alice) == []

    await say(alice, first, second, distinct=False)
    assert await groups(alice) == [{first.id, second.id}]
    assert await distinct(alice) == []


async def test_it_changes_no_contact(alice: Person) -> None:
    """Contacts of which something is said do not change."""
    first, second = await two(alice)
    await say(alice, first, second)

    assert [(await alice.get(each.url)).headers["ETag"] for each in (first, second)] == [first.etag, second.etag]


async def test_it_splits_a_group(alice: Person) -> None:
    """Two that are not the same are in no group together, even if a third is like both."""
    first, second = await two(alice)
    third = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await say(alice, first, second)

    (group,) = await groups(alice)
    assert third.id in group
    assert len(group) == 2


async def test_it_survives_merges(alice: Person) -> None:
    """A contact that is not the same as a merged one is not the same as its replacement, until the merge is undone."""
    first, second = await two(alice)
    third = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    fourth = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await say(alice, first, second)

    merged = await alice.post(f"/api/herdbook/contacts/{third.id}/merge", json={"from": [first.id]})
    merged_twice = await alice.post(f"/api/herdbook/contacts/{fourth.id}/merge", json={"from": [third.id]})
    assert merged_twice.status_code == 200, merged_twice.text
    assert await groups(alice) == []

    for each in (merged_twice, merged):
        undone = await alice.post("/api/herdbook/undo", json={"request_id": each.headers["X-Request-Id"]})
        assert undone.status_code == 200, undone.text
    apart = await groups(alice)
    assert apart
    assert not any({first.id, second.id} <= group for group in apart)
    assert await distinct(alice) == [{first.id, second.id}]


async def test_taking_back_after_a_merge(alice: Person) -> None:
    """To take back what was said of a merged contact, name the one that replaces it."""
    first, second = await two(alice)
    third = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await say(alice, first, second)
    await alice.post(f"/api/herdbook/contacts/{third.id}/merge", json={"from": [first.id]})
    assert await groups(alice) == []

    await say(alice, third, second, distinct=False)

    assert await groups(alice) == [{third.id, second.id}]


async def test_deleted_contacts_keep_it(alice: Person) -> None:
    """A restored contact is still not the same."""
    first, second = await two(alice)
    await say(alice, first, second)

    await alice.delete(second.url)
    assert await distinct(alice) == []
    await alice.post(f"/api/herdbook/contacts/{second.id}/restore")

    assert await groups(alice) == []
    assert await distinct(alice) == [{first.id, second.id}]


async def test_bad_ids_are_refused_by_name(alice: Person) -> None:
    """An id that names nothing, or twice the same, is refused with its place."""
    first, _ = await two(alice)

    unknown = await say(alice, first, "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    twice = await say(alice, first, first)
    alone = await say(alice, first)

    assert [each.status_code for each in (unknown, twice, alone)] == [422, 422, 422]
    assert [each.json()["errors"][0]["field"] for each in (unknown, twice, alone)] == ["ids[1]", "ids[1]", "ids"]


async def test_pages(alice: Person) -> None:
    """Each pair is on one page, the last that was said first."""
    made = [await two(alice) for _ in range(3)]
    for each in made:
        await say(alice, *each)

    found: list[set[str]] = []
    cursor = ""
    while cursor is not None:
        page = (await alice.get(DISTINCT, params={"limit": 1, "cursor": cursor})).json()
        found += [set(each["ids"]) for each in page["data"]]
        cursor = page["next_cursor"]

    assert found == [{first.id, second.id} for first, second in reversed(made)]
    refused = await alice.get(DISTINCT, params={"cursor": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "cursor")
