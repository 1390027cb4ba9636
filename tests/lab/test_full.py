"""A lab whose database has reached its bound."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from herdbook.settings import Settings
from tests.lab.conftest import LAB, TOKEN, Bench
from tests.serving import serving
from tests.waiting import until

CONTACTS = "/api/v2/contacts"


@pytest_asyncio.fixture(scope="module")
async def full(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Bench]:
    """A lab that may have so little that its empty database is too much."""
    settings = Settings(lab=True, lab_token=TOKEN, lab_limit=1_000_000, data_dir=tmp_path_factory.mktemp("lab"))
    async with serving(settings, database_url) as client:
        yield Bench(client)


async def test_a_lab_that_is_full_says_so_and_keeps_nothing_more(full: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Workspaces and seeds are refused with the remedy, and the log tells whoever looks after it. Reads go on."""
    await until(lambda: "the lab has reached its bound" in caplog.text)

    made = await full.ask("POST", f"{LAB}/workspaces", json={})
    seed = await full.ask("POST", f"{LAB}/seeds", json={"name": "one", "objects": []})

    assert (made.status_code, seed.status_code) == (422, 422)
    assert "--lab-limit" in made.json()["detail"]
    assert (await full.ask("GET", f"{LAB}/state")).status_code == 200
