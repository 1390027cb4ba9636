"""Killed couriers and failing endpoints: in the end, each endpoint has received everything."""

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import msgspec
import pytest
import pytest_asyncio

from herdbook.settings import TargetRules
from herdbook.webhooks.events import event_id, seq_of
from herdbook.webhooks.supervisor import WorkerConfig
from tests.cast import Json, Person
from tests.db.conftest import database_on
from tests.webhooks.receiver import TAKEN, Receiver, Request, answer, receiving
from tests.webhooks.webhook_app import WebhookApp, subscribe, webhook_app_on, write_contact


class CourierRunner:
    """Runs couriers in processes of their own, beside an application with webhooks."""

    def __init__(self, post: WebhookApp, database_url: str) -> None:
        self.post = post
        self.database_url = database_url

    @asynccontextmanager
    async def courier(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Run a courier as a server does; kill it at the end of the block if it still runs."""
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "herdbook.webhooks.process", stdin=PIPE)
        assert process.stdin is not None, "stdin is a pipe"
        order = WorkerConfig(self.database_url, TargetRules(allows_loopback=True), "error")
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest_asyncio.fixture
async def runner(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[CourierRunner]:
    """A runner on a new database."""
    async with database_on(database_url) as url, webhook_app_on(url, tmp_path_factory.mktemp("runner")) as post:
        yield CourierRunner(post, url)


class Moody(Receiver):
    """An endpoint that refuses some requests: `taken` has those it accepted, `spurned` the ids of the others."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.taken: list[Request] = []
        self.spurned: set[str] = set()
        self.is_moody = True

        def answering(request: Request) -> bytes | None:
            mood = dice.random()
            if self.is_moody and mood < 0.15:
                self.spurned.add(request.headers["webhook-id"])
                return None if mood < 0.05 else answer(500)
            self.taken.append(request)
            return TAKEN

        self.answering = answering

    def assert_told(self, wanted: set[str]) -> None:
        """Check that exactly these events were accepted, and that events of an object without failures were in order."""
        assert {request.headers["webhook-id"] for request in self.taken} == wanted
        last: dict[str, int] = {}
        seen: set[str] = set()
        for request in self.taken:
            id_ = request.headers["webhook-id"]
            if id_ in seen or id_ in self.spurned:
                continue
            seen.add(id_)
            object_id, seq = request.event["data"]["object"]["id"], seq_of(id_)
            assert seq is not None
            assert last.get(object_id, 0) < seq, "the events of an object are in order"
            last[object_id] = seq


async def write_on(owner: Person, dice: random.Random, contacts: list[Json], count: int) -> None:
    """Create, change and delete contacts."""
    for _ in range(count):
        if len(contacts) < 5 or dice.random() < 0.1:
            contacts.append(await write_contact(owner))
        elif dice.random() < 0.05:
            contact = contacts.pop(dice.randrange(len(contacts)))
            await owner.delete(f"/api/v2/contacts/{contact['id']}")
        else:
            await owner.patch(f"/api/v2/contacts/{dice.choice(contacts)['id']}", json={"last_name": f"N{dice.random()}"})


@pytest.mark.parametrize("seed", range(3))
async def test_everything_is_told(runner: CourierRunner, seed: int) -> None:
    """No event of any workspace is lost by couriers killed during deliveries or by failing endpoints."""
    dice, post = random.Random(seed), runner.post  # noqa: S311  # repeatable on purpose
    moody = [Moody(dice) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for each in moody:
            await stack.enter_async_context(receiving(receiver=each))
        owners = [await post.open_workspace() for _ in range(2)]
        endpoints = [await subscribe(owner, each.url) for owner, each in zip([*owners, owners[0]], moody, strict=True)]
        contacts: list[list[Json]] = [[], []]
        for _ in range(3):
            before = sum(len(each.requests) for each in moody)
            killed_at = len(moody[0].requests) + dice.randrange(1, 20)
            async with runner.courier() as first, runner.courier(), asyncio.TaskGroup() as writing:
                # Side by side: couriers may be as fast as what is written, and after it nothing would come to be waited for.
                for owner, known in zip(owners, contacts, strict=True):
                    writing.create_task(write_on(owner, dice, known, 40))
                await moody[0].wait_for(killed_at)
                first.kill()
                writing.create_task(write_on(owners[0], dice, contacts[0], 20))
            assert sum(len(each.requests) for each in moody) > before
            # Leases of killed couriers end at once.
            await post.pool.execute("update webhook_reader set leased_until = now()")

        for each in moody:
            each.is_moody = False
        courier = post.new_courier()
        for _ in range(12):
            # Again: the last statement of one that was killed, on its way by then, may have renewed a lease.
            await post.pool.execute("update webhook_reader set leased_until = now()")
            post.clock.go(timedelta(hours=12))
            await courier.look()
            await courier.settled()

        for endpoint, each, owner in zip(endpoints, moody, [*owners, owners[0]], strict=True):
            reader = await post.reader(endpoint)
            listed = await owner.get(f"/api/herdbook/webhooks/{endpoint['id']}/deliveries?limit=100")
            wanted = await told_to(post, owner, endpoint)
            each.assert_told(wanted)
            assert {delivery["state"] for delivery in listed.json()["data"]} == {"delivered"}
            assert {row["state"] for row in await post.deliveries(endpoint)} <= {"delivered"}
            assert reader["position"] == await post.pool.fetchval("select seq from workspace where id = $1", owner.workspace_id)


async def told_to(post: WebhookApp, owner: Person, endpoint: Json) -> set[str]:
    """Return the ids of the events that the ledger has for an endpoint."""
    changes = await post.pool.fetch(
        """
        select seq, at from change where workspace_id = $1 and kind = 'c'
            and seq > (select min(seq) from change where workspace_id = $1 and kind = 'w' and object::json ->> 'id' = $2)
        """,
        owner.workspace_id,
        endpoint["id"],
    )
    return {event_id(owner.workspace_id, seq, at) for seq, at in changes}
