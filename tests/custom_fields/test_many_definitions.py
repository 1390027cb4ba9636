"""Writes with values in a workspace that has many long definitions: the definitions are loaded once, and never out of date."""

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.contacts.commands import UpdateContactRecord
from herdbook.contacts.model import ContactRecordUpdate
from herdbook.custom_fields.commands import KeptDefinitions
from herdbook.custom_fields.store import DEFINITIONS, DEFINITIONS_STATES
from herdbook.db.pool import Pool, open_pool
from herdbook.errors import Invalid
from herdbook.ledger.batch import load
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Need, NotLoaded, Origin
from tests.cast import Person, Thing
from tests.custom_fields.definitions import define
from tests.nodes import home_of, recorded

_OPTIONS = [{"id": f"option_{number}", "label": f"The label of the option {number}"} for number in range(100)]


class Watched(NamedTuple):
    """A ledger like that of another process, its pool, and its statements."""

    ledger: Ledger
    pool: Pool
    statements: list[str]


@pytest_asyncio.fixture
async def watched(database_url: str) -> AsyncGenerator[Watched]:
    """A ledger whose statements are recorded."""
    pool = await open_pool(database_url, 1)
    statements = await recorded(pool)
    ledger = Ledger(pool, 1000)
    ledger.open()
    yield Watched(ledger, pool, statements)
    await ledger.close()
    await pool.close()


async def _set(watched: Watched, person: Person, contact_id: str, **values: Any) -> bool:
    """Set values, and return whether that loaded definitions."""
    watched.statements.clear()
    decoded = ids.decoded(ids.CONTACT, contact_id)
    assert decoded is not None
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    await watched.ledger.write(person.workspace_id, UpdateContactRecord(decoded, ContactRecordUpdate(fields=values)), origin)
    return any("json_build_object('field'" in each for each in watched.statements)


async def test_writes_load_definitions_once(watched: Watched, alice: Person, frank: Person, ada: Thing) -> None:
    """A write loads no definitions that the process has, and all of them after any has changed."""
    await define(frank, "level", "one_of", options=_OPTIONS)
    field = await define(frank, "own")
    await _set(watched, alice, ada.id, own="1")

    assert not await _set(watched, alice, ada.id, own="2")
    await frank.patch(field.url, json={"label": "Other"})
    assert await _set(watched, alice, ada.id, own="3")
    assert not await _set(watched, alice, ada.id, own="4")
    await frank.patch(field.url, json={"archived": True})
    with pytest.raises(Invalid):
        await _set(watched, alice, ada.id, own="5")
    await frank.patch(field.url, json={"archived": False, "kind": "integer"})
    await _set(watched, alice, ada.id, own=6)
    with pytest.raises(Invalid):
        await _set(watched, alice, ada.id, own="text")


async def test_few_definitions_are_kept(watched: Watched, alice: Person, charlie: Person, frank: Person) -> None:
    """Once there is no room, the definitions go that were not used for longest. The last ones stay, however large they are."""
    await define(frank, "own")
    kept = KeptDefinitions(1)

    async def of(person: Person, *more: Need) -> list[str]:
        needs = {person.workspace_id: [Need(DEFINITIONS_STATES, "contact"), *more]}
        home = await home_of(watched.pool, person.workspace_id)
        async with home.acquire() as connection:
            units = await load(connection, needs)
        return [*kept.of(units[person.workspace_id], "contact")]

    everything = Need(DEFINITIONS, "contact")
    assert "own" in await of(alice, everything)
    assert "own" in await of(alice)
    assert "own" not in await of(charlie, everything)
    with pytest.raises(NotLoaded):
        await of(alice)
