"""Targets of requests that this server makes on behalf of callers.

The caller chooses the target, but the server is inside a network that the caller cannot reach: beside databases, other services
and the machine's own metadata. The address that a name resolves to is therefore checked, and the connection goes to exactly
that address (OWASP, Server-Side Request Forgery Prevention).
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, TypeAlias
from uuid import UUID

import httpx

from herdbook.errors import Busy
from herdbook.resolver import Resolver

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
# The prefix for translation from IPv6 to IPv4 (RFC 6052): such an address leads to the IPv4 address that it contains.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# The public addresses of IPv6 (RFC 4291, section 2.4). The rest is reserved or has a local meaning, such as the old site-local
# addresses and other translations to IPv4.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
# The addresses inside one organization (RFC 1918, 6598 and 4193).
_PRIVATE: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
# The metadata services of clouds, which give a machine its credentials. Those in networks that are refused anyway are left out.
_METADATA: Final = tuple(
    map(
        ipaddress.ip_network,
        ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128"),
    )
)


# No web server uses these ports, and another service might misread a request: the "bad ports" of browsers
# (https://fetch.spec.whatwg.org/#port-blocking).
_BAD_PORTS: Final = frozenset(
    (
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110),
        *(111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532),
        *(540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061),
        *(6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    )
)


class TargetRefused(httpx.RequestError):
    """The server must not connect to the target for a caller; the message says why, and which setting would allow it."""


class TargetUnknown(httpx.ConnectError):
    """The target cannot be resolved; the message says why."""


class Targets:
    """The allowed targets: public addresses, and hosts and networks that the operator names.

    `allows_loopback` allows this machine if the target names it; a domain name that resolves to it is not enough, because its
    owner chose that address. `allows_private` allows private networks; None means that there is no setting for these as a
    whole.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        *,
        allows_loopback: bool = False,
        allows_private: bool | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._resolver = resolver or Resolver()
        self._allows_loopback = allows_loopback
        self._allows_private = allows_private
        self._hosts: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for text in allowed:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError:
                self._hosts.add(text.lower())

    async def resolve(self, host: str, port: int, workspace_id: UUID) -> str:
        """Return the address to connect to for a workspace. Refusals: TargetRefused, TargetUnknown."""
        return (await self.addresses(host, port, workspace_id))[0]

    async def addresses(self, host: str, port: int, workspace_id: UUID) -> list[str]:
        """Return the addresses that may be connected to, the best first. Refusals: TargetRefused, TargetUnknown.

        The look-up takes the turn of the workspace.
        """
        if port in _BAD_PORTS:
            raise TargetRefused(f"port {port} is not for web servers. Choose another one")
        try:
            found = await self._resolver.addresses(host, workspace_id)
        except Busy:
            raise TargetUnknown(f"`{host}` cannot be resolved: other host names are looked up first. Try again") from None
        except TimeoutError:
            raise TargetUnknown(f"`{host}` cannot be resolved: its name server did not answer in time") from None
        except OSError as error:
            raise TargetUnknown(f"`{host}` cannot be resolved: {error.strerror}") from None
        except UnicodeError:
            raise TargetUnknown(f"`{host}` is not a valid host name") from None
        addresses = {text: ipaddress.ip_address(text.partition("%")[0]) for text in found}
        is_named = host.lower() in self._hosts
        may_be_here = self._allows_loopback and _names_this_machine(host)
        allowed = [
            text for text, address in addresses.items() if is_named or self._may(_within(address), may_be_here=may_be_here)
        ]
        if not allowed:
            raise self._refusal(host, addresses.values())
        return allowed

    def _may(self, address: _Address, *, may_be_here: bool) -> bool:
        if any(address in network for network in self._networks):
            return True
        if address.is_loopback:
            return may_be_here
        if _is_private(address):
            return self._allows_private is True
        if any(address in network for network in _METADATA):
            return False
        is_unicast = address in _GLOBAL_UNICAST if address.version == 6 else not address.is_multicast
        return address.is_global and is_unicast

    def _refusal(self, host: str, addresses: Iterable[_Address]) -> TargetRefused:
        # The message leaves out the address: a caller must not learn how the internal network is laid out.
        if self._allows_private is False and any(_is_private(_within(address)) for address in addresses):
            return TargetRefused(
                f"`{host}` is at a private address. The setting `allowed_targets` would allow it, "
                "`private_webhook_targets` all private addresses"
            )
        return TargetRefused(f"`{host}` is not at a public address. The setting `allowed_targets` would allow it")


def _names_this_machine(host: str) -> bool:
    """Whether a host is a name or an address of this machine, in any notation."""
    try:
        return _within(ipaddress.ip_address(host)).is_loopback
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)).is_loopback
    except OSError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _is_private(address: _Address) -> bool:
    return any(address in network for network in _PRIVATE) and not any(address in network for network in _METADATA)


def _within(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects only to allowed targets, and only over HTTPS, for redirects as well.

    The extension `workspace_id` of a request is the workspace that it is made for. Redirects keep it.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        # Keep no connections: they are pooled by address, so another name at the same address would reuse one whose certificate
        # was not checked for that name.
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the checked address, under the requested name."""
        url = request.url
        if url.scheme != "https":
            raise TargetRefused(f"`{url.scheme}` is not `https`")
        # Use the ASCII form (IDNA 2008): the resolver would convert other letters by older rules, to another name.
        host = url.raw_host.decode("ascii")
        address = await self._targets.resolve(host, url.port or 443, request.extensions["workspace_id"])
        # The `Host` header is already set, and the certificate is checked for the name. Send a copy, because redirects are
        # relative to the original request.
        pinned = httpx.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=dict(request.extensions) | {"sni_hostname": host},
        )
        return await self._transport.handle_async_request(pinned)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
