"""A name server that does not answer holds up look-ups of its own host alone."""

import asyncio
import threading
from collections import Counter
from collections.abc import Generator
from uuid import uuid4

import pytest

from herdbook.outgoing import Targets, TargetUnknown
from herdbook.resolver import MAX_LOOKUPS, MAX_LOOKUPS_OF_WORKSPACE, Resolver
from tests.waiting import until

WORKSPACE_ID = uuid4()


class NameServers:
    """Name servers that answer at once, but for hosts under `slow.test`, whose servers wait until the test ends."""

    def __init__(self) -> None:
        self.goes = threading.Event()
        self.asked: Counter[str] = Counter()

    def find(self, host: str) -> list[str]:
        """Return the addresses of a host."""
        self.asked[host] += 1
        if host.endswith("slow.test"):
            self.goes.wait()
        if host == "broken.test":
            raise ValueError("broken")
        return ["93.184.216.34"]


@pytest.fixture
def servers() -> Generator[NameServers]:
    """Name servers, which answer all that is left at the end."""
    servers = NameServers()
    yield servers
    servers.goes.set()


async def test_a_host_is_looked_up_once_at_a_time(servers: NameServers) -> None:
    """A hundred that ask for a slow host hold one thread, and others are looked up meanwhile."""
    resolver = Resolver(servers.find, 60)
    slow = [asyncio.create_task(resolver.addresses("slow.test", WORKSPACE_ID)) for _ in range(100)]
    found = await resolver.addresses("quick.test", WORKSPACE_ID)
    servers.goes.set()

    assert found == ["93.184.216.34"]
    assert await asyncio.gather(*slow) == [found] * 100
    assert servers.asked["slow.test"] == 1


async def test_asking_again_after_the_deadline_holds_no_other_thread(servers: NameServers) -> None:
    """A target whose name server does not answer is unknown, and trying it again and again looks it up once."""
    targets = Targets([], resolver=Resolver(servers.find, 0.001))
    for _ in range(20):
        with pytest.raises(TargetUnknown, match="did not answer in time"):
            await targets.resolve("slow.test", 443, WORKSPACE_ID)

    assert servers.asked["slow.test"] == 1


async def test_a_host_is_looked_up_anew_afterwards(servers: NameServers) -> None:
    """An answer is not kept: the name may have another address by now."""
    resolver = Resolver(servers.find)
    for _ in range(3):
        await resolver.addresses("quick.test", WORKSPACE_ID)

    assert servers.asked["quick.test"] == 3


async def test_a_workspace_with_silent_hosts_holds_a_share_of_the_threads(servers: NameServers) -> None:
    """Hosts of one workspace that never answer hold few threads, and another workspace's hosts are looked up meanwhile."""
    resolver, other_id = Resolver(servers.find, 60), uuid4()
    silent = [asyncio.create_task(resolver.addresses(f"{number}.slow.test", WORKSPACE_ID)) for number in range(2 * MAX_LOOKUPS)]
    found = [await resolver.addresses(f"{number}.quick.test", other_id) for number in range(2 * MAX_LOOKUPS)]
    asked_of_silent = sum(count for host, count in servers.asked.items() if host.endswith("slow.test"))
    servers.goes.set()
    answered = await asyncio.gather(*silent)

    assert found == answered == [["93.184.216.34"]] * 2 * MAX_LOOKUPS
    assert asked_of_silent == MAX_LOOKUPS_OF_WORKSPACE


async def test_a_host_that_waits_in_one_workspace_is_looked_up_for_another(servers: NameServers) -> None:
    """A host that waits behind the silent hosts of one workspace does not wait for another workspace."""
    resolver, other_id = Resolver(servers.find, 60), uuid4()
    hosts = [*(f"{number}.slow.test" for number in range(MAX_LOOKUPS_OF_WORKSPACE)), "quick.test"]
    waiting = [asyncio.create_task(resolver.addresses(host, WORKSPACE_ID)) for host in hosts]
    await until(lambda: servers.asked.total() == MAX_LOOKUPS_OF_WORKSPACE)
    found = await resolver.addresses("quick.test", other_id)
    is_done = waiting[-1].done()
    servers.goes.set()
    await asyncio.gather(*waiting)

    assert found == ["93.184.216.34"]
    assert not is_done


async def test_a_silent_host_of_many_workspaces_holds_one_thread(servers: NameServers) -> None:
    """Workspaces that wait for a host together do not hold the turns of others."""
    resolver, other_id = Resolver(servers.find, 60), uuid4()
    slow = [asyncio.create_task(resolver.addresses("slow.test", uuid4())) for _ in range(2 * MAX_LOOKUPS)]
    found = await resolver.addresses("quick.test", other_id)
    servers.goes.set()

    assert await asyncio.gather(*slow) == [found] * 2 * MAX_LOOKUPS
    assert servers.asked["slow.test"] == 1


async def test_a_look_up_without_a_turn_says_so(servers: NameServers) -> None:
    """A target that got no turn before the deadline is unknown, and its name server is not blamed."""
    targets = Targets([], resolver=Resolver(servers.find, 0.001))
    for number in range(MAX_LOOKUPS_OF_WORKSPACE):
        with pytest.raises(TargetUnknown, match="did not answer in time"):
            await targets.resolve(f"{number}.slow.test", 443, WORKSPACE_ID)
    with pytest.raises(TargetUnknown, match="other host names are looked up first"):
        await targets.resolve("quick.test", 443, WORKSPACE_ID)

    assert servers.asked["quick.test"] == 0


async def test_any_error_ends_a_look_up(servers: NameServers) -> None:
    """An error that a look-up never has is raised to those who ask, and holds neither the host nor a turn."""
    resolver = Resolver(servers.find)
    async with asyncio.timeout(60):
        for _ in range(MAX_LOOKUPS_OF_WORKSPACE + 1):
            with pytest.raises(ValueError, match="broken"):
                await resolver.addresses("broken.test", WORKSPACE_ID)

    assert servers.asked["broken.test"] == MAX_LOOKUPS_OF_WORKSPACE + 1


async def test_the_wait_for_a_turn_leaves_the_whole_time_for_the_answer(servers: NameServers) -> None:
    """A look-up that waited for its turn may still take as long as any other."""
    now, answers = asyncio.get_running_loop().time, threading.Event()

    def find(host: str) -> list[str]:
        if host == "late.test":
            answers.wait()
        return servers.find(host)

    resolver, began = Resolver(find, 1), now()
    hosts = [f"{number}.slow.test" for number in range(MAX_LOOKUPS_OF_WORKSPACE)]
    slow = [asyncio.create_task(resolver.addresses(host, WORKSPACE_ID)) for host in hosts]
    late = asyncio.create_task(resolver.addresses("late.test", WORKSPACE_ID))
    await until(lambda: now() > began + 0.5)
    servers.goes.set()
    await asyncio.gather(*slow)
    await until(lambda: now() > began + 1 or late.done())
    answers.set()

    assert await late == ["93.184.216.34"]
