"""The targets that endpoints may have, by the operator's settings."""

import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from herdbook.outgoing import TargetRefused, Targets, TargetUnknown
from herdbook.settings import Settings
from tests.cast import Person, Stored
from tests.serving import serving
from tests.webhooks.endpoints import WEBHOOKS, Endpoint

WORKSPACE_ID = uuid4()
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
PRIVATE = [
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255"),
    *("fc00::1", "fd12:3456::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:c0a8:1::"),
]
METADATA = [
    *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
    *("::ffff:169.254.169.254", "::ffff:100.100.100.200", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
]
NOBODY = [
    *("169.254.0.1", "fe80::1", "fe80::1%1", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.1.2.3", "ff02::1"),  # noqa: S104
    *("240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("2001:db8::1", "fec0::1", "::127.0.0.1", "64:ff9b:1::a00:1", "4000::1"),
]
PUBLIC = ["93.184.216.34", "172.15.0.1", "100.128.0.1", "192.169.0.1", "2606:2800:220:1::1", "64:ff9b::5db8:d822"]


async def allows(targets: Targets, address: str) -> bool:
    """Whether a connection to an address is allowed."""
    try:
        return await targets.resolve(address, 443, WORKSPACE_ID) == address
    except TargetRefused:
        return False


@pytest.mark.parametrize(
    ("switches", "allowed"),
    [
        ({}, [PUBLIC]),
        ({"allows_loopback": True}, [PUBLIC, LOOPBACK]),
        ({"allows_private": True}, [PUBLIC, PRIVATE]),
        ({"allows_loopback": True, "allows_private": True}, [PUBLIC, LOOPBACK, PRIVATE]),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "group", [PUBLIC, LOOPBACK, PRIVATE, METADATA, NOBODY], ids=["public", "loopback", "private", "metadata", "nobody"]
)
async def test_each_switch_allows_its_own(switches: dict[str, Any], allowed: list[list[str]], group: list[str]) -> None:
    """Public addresses are always allowed, loopback and private networks each by its setting, and others never."""
    targets = Targets([], **switches)

    assert [address for address in group if await allows(targets, address)] == (group if group in allowed else [])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "fd12:3456::1", "169.254.169.254", "100.100.100.200", "fe80::1", "224.0.0.1"]
)
async def test_what_is_named_is_allowed(address: str) -> None:
    """An address that the operator names is allowed."""
    assert await allows(Targets([address]), address)


async def test_a_network_is_allowed_as_a_whole() -> None:
    """A named network is allowed entirely, and no address outside it."""
    targets = Targets(["10.1.0.0/16", "fd12::/16"])
    asked = ["10.1.2.3", "::ffff:10.1.2.3", "10.2.0.1", "fd12::1", "fd13::1"]

    assert [address for address in asked if await allows(targets, address)] == ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"]


class Names:
    """A fake resolver with addresses by host."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = addresses

    def getaddrinfo(self, host: str, port: None, **_: Any) -> list[Any]:
        """Replace the system's function."""
        if host.lower() not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses[host.lower()]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A resolver with invented names."""
    names = Names(hidden=["10.0.0.7"], mixed=["10.0.0.7", "93.184.216.34", "169.254.169.254", "93.184.216.35"])
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


async def test_of_several_addresses_the_allowed_ones_are_taken(names: Names) -> None:
    """Only the allowed ones of a name's addresses are used."""
    targets = Targets([])

    assert await targets.addresses("mixed", 443, WORKSPACE_ID) == ["93.184.216.34", "93.184.216.35"]
    assert await targets.resolve("mixed", 443, WORKSPACE_ID) == "93.184.216.34"
    assert await Targets(["mixed"]).addresses("MIXED", 443, WORKSPACE_ID) == names.addresses["mixed"]


@pytest.mark.usefixtures("names")
async def test_a_refusal_names_the_setting_and_not_the_address() -> None:
    """A refusal names the setting to change, and not the address behind the name."""
    refusals: list[str] = []
    for targets in (Targets([]), Targets([], allows_private=False)):
        with pytest.raises(TargetRefused) as refused:
            await targets.resolve("hidden", 443, WORKSPACE_ID)
        refusals.append(str(refused.value))

    plain, with_switch = refusals
    assert plain == "`hidden` is not at a public address. The setting `allowed_targets` would allow it"
    assert with_switch.startswith("`hidden` is at a private address. The setting `allowed_targets` would allow it")
    assert with_switch.endswith("`private_webhook_targets` all private addresses")


@pytest.mark.usefixtures("names")
async def test_what_is_no_name_is_unknown() -> None:
    """An unknown name gets another error than a forbidden target."""
    for host in ("nobody.test", "a" * 64 + ".test"):
        with pytest.raises(TargetUnknown):
            await Targets([]).resolve(host, 443, WORKSPACE_ID)


# Settings


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        *(("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("herdbook.lan", False), ("", False)),  # noqa: S104
    ],
)
def test_a_server_of_this_machine_may_tell_this_machine(host: str, *, is_local: bool) -> None:
    """Only a server that listens on a loopback address allows loopback."""
    assert Settings(host=host).targets == ((), is_local, False)


def test_settings_are_taken_apart() -> None:
    """Hosts and networks are separated by commas."""
    rules = Settings(allowed_targets=" media.lab, 10.1.0.0/16 ,", private_webhook_targets=True).targets

    assert rules == (("media.lab", "10.1.0.0/16"), True, True)


# Requests


@pytest_asyncio.fixture
async def public(database_url: str, tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A server that others can reach."""
    settings = Settings(host="0.0.0.0", rate_limit=0, data_dir=tmp_path, allowed_targets="allowed.test,192.0.2.0/24")  # noqa: S104
    async with serving(settings, database_url) as client:
        yield client


async def answered(client: httpx.AsyncClient, alice: Person, url: str) -> tuple[int, str, str]:
    """Create an endpoint; return the status, and the error's code and message, if any."""
    response = await Person(client, alice.workspace_id, alice.key).post(WEBHOOKS, json={"url": url})
    (error,) = response.json().get("errors", [{"code": "", "message": ""}])
    return response.status_code, error["code"], error["message"]


@pytest.mark.parametrize(
    ("host", "setting"),
    [
        *(("127.0.0.1", "allowed_targets"), ("localhost", "allowed_targets"), ("[::1]", "allowed_targets")),
        *(("0x7f.1", "allowed_targets"), ("2130706433", "allowed_targets"), ("169.254.169.254", "allowed_targets")),
        *(("10.0.0.1", "private_webhook_targets"), ("[fd12::1]", "private_webhook_targets")),
        ("[::ffff:192.168.0.1]", "private_webhook_targets"),
    ],
)
async def test_where_it_may_not_be(public: httpx.AsyncClient, alice: Person, stored: Stored, host: str, setting: str) -> None:
    """A server that others can reach refuses itself and its private network as targets, however they are written."""
    status, code, message = await answered(public, alice, f"http://{host}:8080/hook")

    assert (status, code) == (422, "target_not_allowed")
    assert f"`{setting}`" in message
    assert await stored.changes() == []


async def test_where_it_may_be(public: httpx.AsyncClient, alice: Person, names: Names) -> None:
    """Public addresses and those that the operator has named are accepted."""
    names.addresses |= {"192.0.2.7": ["192.0.2.7"], "allowed.test": ["10.0.0.1"], "example.com": ["93.184.216.34"]}
    urls = ["https://192.0.2.7/", "https://allowed.test/", "https://example.com/"]

    assert [(await answered(public, alice, url))[0] for url in urls] == [201, 201, 201]


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", ["nobody.test", "999.1.1.1", "a..test", "\u00fcber.test"])
async def test_a_name_that_leads_nowhere_is_refused(public: httpx.AsyncClient, alice: Person, host: str) -> None:
    """A name that does not resolve is refused as a probable typo."""
    status, code, message = await answered(public, alice, f"https://{host}/")

    assert (status, code) == (422, "unresolvable")
    assert "Check the host name" in message


async def test_who_lies_deep_may_be_looked_up(public: httpx.AsyncClient, alice: Person, names: Names) -> None:
    """A name in other scripts is resolved in its IDNA 2008 form."""
    names.addresses |= {"xn--bcher-kva.test": ["93.184.216.34"]}

    assert (await answered(public, alice, "https://b\u00fccher.test/"))[0] == 201


async def test_what_was_done_is_not_refused_when_it_is_repeated(public: httpx.AsyncClient, alice: Person, names: Names) -> None:
    """A repeat with the same key gets the first answer, even if the name resolves differently by then."""
    names.addresses |= {"example.com": ["93.184.216.34"]}
    person, key = Person(public, alice.workspace_id, alice.key), {"Idempotency-Key": "once"}
    first = await person.post(WEBHOOKS, json={"url": "https://example.com/"}, headers=key)
    names.addresses |= {"example.com": ["10.0.0.1"]}
    second = await person.post(WEBHOOKS, json={"url": "https://example.com/"}, headers=key)

    assert (first.status_code, second.content) == (201, first.content)


async def test_a_test_event_does_not_go_where_a_name_leads_by_then(
    public: httpx.AsyncClient, alice: Person, names: Names
) -> None:
    """Each attempt checks the address that it connects to, so a name that changed later is refused."""
    names.addresses |= {"example.com": ["93.184.216.34"]}
    person = Person(public, alice.workspace_id, alice.key)
    endpoint = Endpoint(person, await person.post(WEBHOOKS, json={"url": "http://example.com/"}))
    names.addresses |= {"example.com": ["10.0.0.1"]}
    told = await endpoint.post("test")

    assert "status" not in told
    assert "private_webhook_targets" in told["error"]
    assert "10.0.0.1" not in told["error"]


@pytest.mark.parametrize("port", [1, 22, 25, 5060, 6667, 10080])
async def test_ports_that_are_no_webs_are_refused(port: int) -> None:
    """Ports that browsers refuse are refused, whatever the operator allows."""
    targets = Targets(["127.0.0.1"])
    with pytest.raises(TargetRefused):
        await targets.resolve("127.0.0.1", port, WORKSPACE_ID)

    assert await targets.resolve("127.0.0.1", 8080, WORKSPACE_ID) == "127.0.0.1"


async def test_a_name_that_leads_to_this_machine_does_not_name_it(names: Names) -> None:
    """A name that resolves to loopback is refused unless it is `localhost`, because others may control where it leads."""
    names.addresses |= {"elsewhere.test": ["127.0.0.1"], "localhost": ["127.0.0.1"]}
    targets = Targets([], allows_loopback=True)

    assert await targets.resolve("localhost", 80, WORKSPACE_ID) == "127.0.0.1"
    with pytest.raises(TargetRefused):
        await targets.resolve("elsewhere.test", 80, WORKSPACE_ID)


@pytest.mark.parametrize(
    ("settings", "is_allowed"),
    [
        ({}, True),
        ({"public_url": "https://herdbook.example.com"}, False),
        ({"loopback_webhook_targets": "no"}, False),
        ({"loopback_webhook_targets": "yes", "host": "0.0.0.0", "public_url": "https://herdbook.example.com"}, True),  # noqa: S104
    ],
)
def test_a_setting_decides_about_this_machine(settings: dict[str, Any], *, is_allowed: bool) -> None:
    """By default, a server with a public URL refuses its own machine as a target; a setting decides otherwise."""
    assert Settings(**settings).targets.allows_loopback == is_allowed


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"])
async def test_who_comes_through_a_proxy_is_not_on_this_machine(alice: Person, endpoint: Endpoint, header: str) -> None:
    """A caller behind a proxy can neither create a loopback endpoint nor read a local service's answer by a test."""
    through = {header: "192.0.2.1"}
    created = await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1:9000/"}, headers=through)
    updated = await alice.patch(endpoint.url, json={"url": "http://localhost:9001/"}, headers=through)
    told = await endpoint.post("test", headers=through)

    assert (created.status_code, updated.status_code) == (422, 422)
    assert "status" not in told
    assert "not at a public address" in told["error"]
