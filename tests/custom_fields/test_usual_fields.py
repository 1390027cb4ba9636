"""The fields that a workspace begins with."""

from typing import Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.custom_fields import commands
from herdbook.custom_fields.commands import add_usual_fields
from herdbook.db.pool import connect
from herdbook.first_start import create_owned_workspace
from herdbook.ledger.ledger import Ledger
from tests.cast import Person
from tests.custom_fields.definitions import URL, define

_USUAL: Final = {"job_title", "department", "address", "birthday", "website", "profile_links", "owner", "source"}


async def keys_of(person: Person) -> list[str]:
    """Return the keys of the fields of a workspace."""
    return [field["key"] for field in (await person.get(URL)).json()["data"]]


async def test_a_new_workspace_has_them(
    client: httpx.AsyncClient, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A new workspace has the usual fields, and a contact takes their values."""
    connection = await connect(database_url)
    workspace_id = await create_owned_workspace(database_url, connection, "New")
    await connection.close()
    person = Person(client, workspace_id, await create_key(pool, workspace_id, "Owner", [ADMIN]))
    values = {"job_title": "Countess", "source": "referral", "profile_links": "https://a.test\nhttps://b.test"}

    assert {*await keys_of(person)} == _USUAL
    assert (await person.post("/api/v2/contacts", json={"fields": values})).status_code == 201


async def test_a_workspace_of_an_earlier_release_gets_them(
    frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, workspace_id: UUID
) -> None:
    """A workspace without the usual fields gets them once, also after a crash between, and keeps a field of the same key."""
    own = await define(frank, "job_title", "long_text")
    for _ in range(2):
        await pool.execute("update workspace set has_usual_fields = false where id = $1", workspace_id)
        await add_usual_fields(pool, ledger)

    assert sorted(await keys_of(frank)) == sorted(_USUAL)
    assert (await frank.get(own.url)).json() == own.json


async def test_there_are_never_more_fields_than_the_limit(
    frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, workspace_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace with many fields gets those of the usual ones for which there is room."""
    monkeypatch.setattr(commands, "MAX_DEFINITIONS", 3)
    own = await define(frank, "job_title", "long_text")
    await pool.execute("update workspace set has_usual_fields = false where id = $1", workspace_id)
    await add_usual_fields(pool, ledger)

    assert sorted(await keys_of(frank)) == ["address", "department", own.json["key"]]
