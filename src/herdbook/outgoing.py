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


class TargetRefused(httpx.RequestError):
    """The target is none that a caller may have the server connect to; the message says why, and what would allow it."""


class Targets:
    """Which targets are allowed: public ones, and those that the operator names, as hosts or networks."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._hosts: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for text in allowed:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError:
                self._hosts.add(text.lower())

    async def resolve(self, host: str, port: int) -> str:
        """Return the address to connect to. Refusal: TargetRefused."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError(f"`{host}` cannot be resolved: {error.strerror}") from None
        except UnicodeError:
            raise httpx.ConnectError(f"`{host}` is not the name of a host") from None
        addresses = [str(each[4][0]) for each in found]
        for address in addresses:
            if host.lower() in self._hosts or self._may(ipaddress.ip_address(address.partition("%")[0])):
                return address
        # Without the address: who may not go there need not learn what is there.
        raise TargetRefused(f"`{host}` is not at a public address. The setting `allowed_targets` would allow it")

    def _may(self, address: _Address) -> bool:
        address = _within(address)
        if any(address in network for network in self._networks):
            return True
        is_unicast = address in _GLOBAL_UNICAST if address.version == 6 else not address.is_multicast
        return address.is_global and is_unicast


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
