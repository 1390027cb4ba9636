"""A lab whose database has reached its bound."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio

from herdbook.lab.store import DATABASES, lab_url
from herdbook.settings import Settings
from tests.lab.conftest import LAB, TOKEN, Bench, Desk
from tests.serving import serving
from tests.waiting import until, until_so

CONTACTS = "/api/v2/contacts"
# Bytes, more than a lab with one workspace needs.
LIMIT = 50_000_000


@pytest_asyncio.fixture(scope="module")
async def desk(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Desk]:
    """A workspace of a lab whose database has then become larger than it may be."""
    settings = Settings(lab=True, lab_token=TOKEN, lab_limit=LIMIT, data_dir=tmp_path_factory.mktemp("lab"))
    async with serving(settings, embedded_url) as client:
        desk = await Bench(client).workspace()
        connection = await asyncpg.connect(lab_url(embedded_url, DATABASES[0]))
        await connection.execute("create table filler (text text); alter table filler alter text set storage external")
        await connection.execute(
            "insert into filler select repeat('x', 1000000) from generate_series(1, $1)", LIMIT // 1_000_000
        )
        await connection.close()
        yield desk


async def test_a_lab_that_is_full_says_so_and_keeps_nothing_more(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Workspaces and seeds are refused with the remedy, and the log tells whoever looks after it. Reads go on."""
    full = desk.lab

    def is_told() -> bool:
        # The lab may look before the test begins.
        records = [each for phase in ("setup", "call") for each in caplog.get_records(phase)]
        return any("the lab has reached its bound" in each.message for each in records)

    await until(is_told)

    made = await full.ask("POST", f"{LAB}/workspaces", json={})
    seed = await full.ask("POST", f"{LAB}/seeds", json={"name": "one", "objects": []})

    assert (made.status_code, seed.status_code) == (422, 422)
    assert "--lab-limit" in made.json()["detail"]
    assert (await full.ask("GET", f"{LAB}/state")).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/restore", {"seed": "empty"}),
        ("/snapshot", {"name": "one"}),
        ("/keys", {}),
        ("/clients", {"name": "App", "scopes": ["contacts:read"]}),
        ("/sign-ins", {}),
    ],
)
async def test_a_workspace_of_a_full_lab_takes_nothing_more(desk: Desk, path: str, body: dict[str, object]) -> None:
    """Each command that needs room is refused with the remedy."""

    async def is_full() -> bool:
        return (await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).status_code == 503

    await until_so(is_full)
    answer = await desk.lab.ask("POST", f"{desk.path}{path}", json=body)

    assert answer.status_code == 422
    assert "--lab-limit" in answer.json()["detail"]


async def test_a_full_lab_is_reset_and_made_empty(desk: Desk) -> None:
    """The commands that make room go on."""
    assert (await desk.lab.ask("POST", f"{desk.path}/reset")).status_code == 200
    assert (await desk.lab.ask("DELETE", desk.path)).status_code == 200
