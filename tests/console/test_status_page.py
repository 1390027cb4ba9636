"""The status page: it shows the server as it is, and the backlog of the person's own workspace."""

import re
from typing import Any
from uuid import UUID

from herdbook.companies.commands import RELEASE_CONTACTS
from herdbook.custom_fields.store import CONVERT_VALUES
from herdbook.engagements.commands import REMOVE_COMMENTS
from herdbook.erasure.store import ERASE
from herdbook.merging.store import MERGE_TYPES
from herdbook.status.pages import TASKS
from tests.cast import Person
from tests.console.people import Visitor
from tests.oauth.conftest import Connections


def _fact(page: str, name: str) -> str:
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page, re.DOTALL)
    assert found is not None, name
    return re.sub(r"<[^>]+>", "", found[1]).strip()


async def test_server_and_database_are_shown(anna: Visitor, pool: Connections) -> None:
    """The page says which version runs, that writes are accepted, and how large the database is."""
    page = (await anna.get("/status")).text

    assert re.fullmatch(r"herdbook \d+\.\d+\.\d+", _fact(page, "Version"))
    assert _fact(page, "Writes") == "accepted"
    assert _fact(page, "Waiting writes").startswith("0 ")
    # The tests bring the database of another process.
    assert "its disk is not visible here" in _fact(page, "Disk")
    assert _fact(page, "PostgreSQL") == await pool.fetchval("select current_setting('server_version')")
    assert re.fullmatch(r"[\d.]+ [MG]iB", _fact(page, "Size"))
    assert _fact(page, "Schema") == "up to date"


async def test_backlog_is_that_of_the_workspace(
    anna: Visitor, carla: Visitor, frank: Person, pool: Connections, workspace_id: UUID
) -> None:
    """Changes that a webhook lacks and events that wait count in their own workspace, and unfinished work does."""
    created = await frank.post("/api/herdbook/webhooks", json={"url": "https://93.184.216.34/hook"})
    assert created.status_code == 201, created.text
    await frank.post("/api/v2/contacts", json={"first_name": "Ada"})
    await pool.execute("insert into unfinished values ($1, 'erase', $1)", workspace_id)
    try:
        page, other = (await anna.get("/status")).text, (await carla.get("/status")).text

        assert (_fact(page, "Enabled").split()[0], _fact(other, "Enabled").split()[0]) == ("1", "0")
        assert (_fact(page, "Changes not yet sent"), _fact(other, "Changes not yet sent")) == ("1", "0")
        assert (_fact(page, "Events to retry"), _fact(page, "Erasures")) == ("0", "1")
        assert "Erasures" not in other
    finally:
        await pool.execute("delete from unfinished where workspace_id = $1", workspace_id)


async def test_missing_migration_is_named(anna: Visitor, pool: Connections) -> None:
    """A schema that lacks a migration is said to."""
    name: Any = await pool.fetchval("delete from migration where name like '0031%' returning name")
    try:
        assert _fact((await anna.get("/status")).text, "Schema") == f"incomplete It lacks {name}."
    finally:
        await pool.execute("insert into migration (name) values ($1)", name)


def test_each_task_has_its_words() -> None:
    """No unfinished task is shown by the name that the database has for it."""
    tasks = (RELEASE_CONTACTS, CONVERT_VALUES, REMOVE_COMMENTS, ERASE, *(each.task for each in MERGE_TYPES))

    assert {task.name for task in tasks} == TASKS.keys()
