"""The bounds of a lab, and the rate limit of its workspaces."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from herdbook.settings import SettingOutOfRange, Settings
from tests.lab.conftest import LAB, NEW_YEAR, TOKEN, Bench
from tests.serving import serving

CONTACTS = "/api/v2/contacts"


@pytest_asyncio.fixture(scope="module")
async def narrow(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Bench]:
    """A lab that has two workspaces at most, and lets one request a second through, and two at once."""
    folder = tmp_path_factory.mktemp("lab")
    settings = Settings(lab=True, lab_token=TOKEN, lab_workspaces=2, rate_limit=1, rate_limit_burst=2, data_dir=folder)
    async with serving(settings, database_url) as client:
        yield Bench(client)


async def test_the_rate_limit_follows_the_clock(narrow: Bench) -> None:
    """While the clock stands still no token comes back; each second of a move brings one."""
    desk = await narrow.workspace(clock=NEW_YEAR)

    statuses = [(await desk.ask("GET", CONTACTS)).status_code for _ in range(3)]
    await desk.command("PATCH", "/clock", json={"advance_seconds": 1})
    statuses.append((await desk.ask("GET", CONTACTS)).status_code)

    assert statuses == [200, 200, 429, 200]
    await desk.command("DELETE")


async def test_past_its_bound_the_lab_says_what_to_do(narrow: Bench) -> None:
    """The lab has no more workspaces than its setting says."""
    made = [await narrow.workspace() for _ in range(2)]

    response = await narrow.ask("POST", f"{LAB}/workspaces", json={})

    assert response.status_code == 422
    assert "--lab-workspaces" in response.json()["detail"]
    for desk in made:
        await desk.command("DELETE")


async def test_a_second_lab_on_a_database_server_is_refused(
    narrow: Bench, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second lab must not take the database of the first, and says so."""
    settings = Settings(lab=True, lab_token=TOKEN, data_dir=tmp_path_factory.mktemp("lab"))

    with pytest.raises(SettingOutOfRange, match="another server has a lab"):
        async with serving(settings, database_url):
            pass

    assert (await narrow.ask("GET", f"{LAB}/state")).status_code == 200


def test_a_lab_is_not_open_to_other_machines_by_itself() -> None:
    """An address that others reach needs --lab-anywhere."""
    with pytest.raises(SettingOutOfRange, match="--lab-anywhere"):
        Settings(lab=True, host="0.0.0.0")  # noqa: S104  # the address that is refused

    assert Settings(lab=True, lab_anywhere=True, host="0.0.0.0").lab  # noqa: S104


def test_a_lab_has_one_worker() -> None:
    """The workspaces are in the memory of one process."""
    with pytest.raises(SettingOutOfRange, match="one worker"):
        Settings(lab=True, workers=2)
