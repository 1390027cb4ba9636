"""Requests that this server makes because somebody asked it to: where they may go.

A caller names the target, and the server stands where the caller does not: beside databases, other services and the machine's
own metadata. So the address that a name resolves to is looked at, and it is the one that is connected to (OWASP, Server-Side
Request Forgery Prevention).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, TypeAlias

import httpx

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
# Where networks translate IPv6 to IPv4 (RFC 6052): such an address leads to the IPv4 address within.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# All of IPv6 that is given out to the public (RFC 4291, section 2.4). The rest is reserved, or is what one network makes of it:
# the old site-local addresses, and other ways to IPv4.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
# What one organization gives out to its own (RFC 1918, 6598 and 4193).
_PRIVATE: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
# Where clouds tell a machine what it is, and its credentials: those that do not lie in a network that is refused anyway.
_METADATA: Final = tuple(
    map(
        ipaddress.ip_network,
        ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128"),
    )
)


class TargetRefused(httpx.RequestError):
    """The target is none that a caller may have the server connect to; the message says why, and what would allow it."""


class TargetUnknown(httpx.ConnectError):
    """The target cannot be resolved; the message says why."""


class Targets:
    """Which targets are allowed: public ones, and those that the operator names, as hosts or networks.

    `allows_loopback` is about this machine, `allows_private` about private networks; None: no setting allows these as a whole.
    """

    def __init__(self, allowed: Iterable[str], *, allows_loopback: bool = False, allows_private: bool | None = None) -> None:
        self._allows_loopback = allows_loopback
        self._allows_private = allows_private
        self._hosts: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for text in allowed:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError:
                self._hosts.add(text.lower())

    async def resolve(self, host: str, port: int) -> str:
        """Return the address to connect to. Refusals: TargetRefused, TargetUnknown."""
        return (await self.addresses(host, port))[0]

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses that may be connected to, the best first. Refusals: TargetRefused, TargetUnknown."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TargetUnknown(f"`{host}` cannot be resolved: {error.strerror}") from None
        except UnicodeError:
            raise TargetUnknown(f"`{host}` is not the name of a host") from None
        addresses = {text: ipaddress.ip_address(text.partition("%")[0]) for text in (str(each[4][0]) for each in found)}
        is_named = host.lower() in self._hosts
        allowed = [text for text, address in addresses.items() if is_named or self._may(_within(address))]
        if not allowed:
            raise self._refusal(host, addresses.values())
        return allowed

    def _may(self, address: _Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        if address.is_loopback:
            return self._allows_loopback
        if _is_private(address):
            return self._allows_private is True
        if any(address in network for network in _METADATA):
            return False
        is_unicast = address in _GLOBAL_UNICAST if address.version == 6 else not address.is_multicast
        return address.is_global and is_unicast

    def _refusal(self, host: str, addresses: Iterable[_Address]) -> TargetRefused:
        # Without the address: who may not go there need not learn what is there.
        if self._allows_private is False and any(_is_private(_within(address)) for address in addresses):
            return TargetRefused(
                f"`{host}` is at a private address. The setting `allowed_targets` would allow it, "
                "`private_webhook_targets` all private addresses"
            )
        return TargetRefused(f"`{host}` is not at a public address. The setting `allowed_targets` would allow it")


def _is_private(address: _Address) -> bool:
    return any(address in network for network in _PRIVATE) and not any(address in network for network in _METADATA)


def _within(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address leads to, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects over HTTPS to allowed targets alone, also where a redirect leads."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        # A connection is made for a name, and would be taken for the address: kept, it would serve another name there, whose
        # certificate nobody has seen.
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the address that was looked at, under the name that was asked for."""
        url = request.url
        if url.scheme != "https":
            raise TargetRefused(f"`{url.scheme}` is not `https`")
        address = await self._targets.resolve(url.host, url.port or 443)
        # The `Host` header is there already, and the certificate is checked for the name. A request of its own, since a
        # redirect is relative to the one that was asked for.
        pinned = httpx.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=dict(request.extensions) | {"sni_hostname": url.host},
        )
        return await self._transport.handle_async_request(pinned)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
