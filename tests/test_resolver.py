"""A name server that does not answer holds up look-ups of its own host alone."""

import asyncio
import threading
from collections import Counter
from collections.abc import Generator

import pytest

from herdbook.outgoing import Targets, TargetUnknown
from herdbook.resolver import Resolver


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
    slow = [asyncio.create_task(resolver.addresses("slow.test")) for _ in range(100)]
    found = await resolver.addresses("quick.test")
    servers.goes.set()

    assert found == ["93.184.216.34"]
    assert await asyncio.gather(*slow) == [found] * 100
    assert servers.asked["slow.test"] == 1


async def test_asking_again_after_the_deadline_holds_no_other_thread(servers: NameServers) -> None:
    """A target whose name server does not answer is unknown, and trying it again and again looks it up once."""
    targets = Targets([], resolver=Resolver(servers.find, 0.001))
    for _ in range(20):
        with pytest.raises(TargetUnknown, match="did not answer in time"):
            await targets.resolve("slow.test", 443)

    assert servers.asked["slow.test"] == 1


async def test_a_host_is_looked_up_anew_afterwards(servers: NameServers) -> None:
    """An answer is not kept: the name may have another address by now."""
    resolver = Resolver(servers.find)
    for _ in range(3):
        await resolver.addresses("quick.test")

    assert servers.asked["quick.test"] == 3
