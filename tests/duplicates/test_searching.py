"""The search for duplicates: its steps, which several processes may take, and the chore that takes them."""

from collections.abc import AsyncGenerator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from herdbook.db.pool import PagePool, open_pool
from herdbook.duplicates.searching import (
    CONTACTS,
    MAX_SHARING,
    Place,
    follow,
    follow_all,
    follow_moved,
    is_behind,
    search_state,
    take_step,
)
from herdbook.ledger.notifier import ChangeNotifier
from tests.cast import Person
from tests.duplicates.listed import contact, groups, phone

NUMBER = phone("+44 20 7946 0000")


@pytest_asyncio.fixture
async def own_pool(database_url: str, alice: Person) -> AsyncGenerator[PagePool]:
    """Connections beside those of the application."""
    assert alice, "the application has prepared the database"
    pool = await open_pool(database_url, 2)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def place(own_pool: PagePool, workspace_id: UUID) -> Place:
    """The contacts of Alice's workspace."""
    return Place(own_pool, workspace_id, CONTACTS)


async def _rows(place: Place) -> tuple[int, int, int]:
    """Return how many keys, objects and pairs are kept."""
    record = await place.statements.fetchrow(
        """
        select (select count(*) from duplicate_key where workspace_id = $1),
            (select count(*) from duplicate_object where workspace_id = $1),
            (select count(*) from duplicate_pair where workspace_id = $1)
        """,
        place.workspace_id,
    )
    assert record is not None, "counts are always there"
    return record[0], record[1], record[2]


async def test_a_step_that_comes_too_late_writes_nothing(place: Place, alice: Person) -> None:
    """If another process has taken the step meanwhile, nothing is written, and the search is where that one left it."""
    for _ in range(2):
        await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    begun = await search_state(place)
    await take_step(place, begun)
    after = await search_state(place)
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    kept = await _rows(place)

    assert await take_step(place, begun) is None

    assert (await search_state(place)).scanned_to == after.scanned_to
    assert await _rows(place) == kept
    assert kept[2] == 1


async def test_a_change_replaces_the_keys(place: Place, alice: Person) -> None:
    """A contact that changes, or is deleted, leaves no key and no pair behind."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await follow(place, 9)
    keys, objects, pairs = await _rows(place)
    assert (objects, pairs) == (2, 1)

    await alice.patch(first.url, json={"phone_numbers": [], "first_name": "Grace", "last_name": "Hopper"})
    await follow(place, 9)
    assert await _rows(place) == (keys - 1, 2, 0)

    await alice.delete(first.url)
    await follow(place, 9)
    assert await _rows(place) == (keys // 2, 1, 0)


async def test_a_change_of_something_else_compares_nothing(place: Place, alice: Person) -> None:
    """A new description takes the search on, and no object is looked at."""
    ada = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await follow(place, 9)
    await alice.patch(ada.url, json={"description": "Countess"})
    search = await search_state(place)
    assert is_behind(search)

    assert await take_step(place, search) == 0
    assert not is_behind(await search_state(place))


async def test_the_background_takes_in_what_is_new(own_pool: PagePool, place: Place, alice: Person) -> None:
    """The chore follows a workspace in which somebody has asked, and begins no search by itself."""
    for _ in range(2):
        await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await follow_all(own_pool)
    assert await _rows(place) == (0, 0, 0)

    assert len(await groups(alice)) == 1
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    assert is_behind(await search_state(place))
    await follow_all(own_pool)

    assert not is_behind(await search_state(place))
    assert (await _rows(place))[2] == 3


async def test_a_server_takes_in_what_it_has_changed(own_pool: PagePool, place: Place, alice: Person) -> None:
    """Between the rounds over all, a server follows the workspaces that it has changed, and first passes anywhere."""
    for _ in range(2):
        await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    notifier = ChangeNotifier(own_pool)
    await search_state(place)
    await follow_moved(own_pool, notifier)
    first_pass = await _rows(place)
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await follow_moved(own_pool, notifier)
    untold = await search_state(place)
    notifier.notify([place.workspace_id])
    await follow_moved(own_pool, notifier)

    assert first_pass[2] == 1
    assert is_behind(untold)
    assert not is_behind(await search_state(place))
    assert (await _rows(place))[2] == 3


async def test_what_could_not_be_taken_in_is_followed_later(database_url: str, place: Place, alice: Person) -> None:
    """If the database is away, the workspaces that have changed are not forgotten."""
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    pool = await open_pool(database_url, 1)
    notifier = ChangeNotifier(pool)
    notifier.notify([place.workspace_id])
    pool.terminate()
    with pytest.raises(asyncpg.InterfaceError):
        await follow_moved(pool, notifier)

    assert notifier.take_moved() == {place.workspace_id}


async def test_a_ledger_that_was_trimmed_is_searched_anew(place: Place, alice: Person) -> None:
    """If changes are no longer kept that the search has not taken in, it begins again."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await follow(place, 9)
    await alice.patch(first.url, json={"first_name": "Grace", "last_name": "Hopper"})
    await place.statements.execute(
        "insert into change_trimmed (workspace_id, seq) select id, seq from workspace where id = $1", place.workspace_id
    )
    await place.statements.execute("delete from change where workspace_id = $1", place.workspace_id)

    search = await follow(place, 9)

    assert not is_behind(search)
    assert (await _rows(place))[2] == 0


async def test_many_with_one_number_are_not_compared_for_it(place: Place, alice: Person) -> None:
    """A block of contacts with one number is bounded: nobody of a large one is compared for that alone."""
    operations = [
        {"action": "create", "contact": {"first_name": f"A{index}", "last_name": f"B{index}", "phone_numbers": NUMBER}}
        for index in range(1000)
    ]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})

    await follow(place, 99)

    _, objects, pairs = await _rows(place)
    assert objects == 1000
    assert pairs < MAX_SHARING
