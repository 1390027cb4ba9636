"""The settings: read once, from the command line or the environment, and frozen."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

# Of each worker's courier: three to work with, and one to listen.
COURIER_CONNECTIONS: Final = 4
# For the commands and tools of an operator.
_OTHER_CONNECTIONS: Final = 50
_MANY: Final = 2**31 - 1
_RANGES: Final = {
    # Two for the ledger's writers, two for lists, and some for those who read single objects.
    "database_connections": (5, 100),
    "port": (0, 65_535),
    "workers": (1, 100),
    "rate_limit": (0, _MANY),
    "rate_limit_burst": (1, _MANY),
    "queue_limit": (1, _MANY),
    "body_limit": (1024, _MANY),
    "media_limit": (0, 2**40),
    "history_days": (0, 36_500),
}


class TargetRules(NamedTuple):
    """Where requests of the server's own may go beside public addresses: named hosts and networks; webhooks also elsewhere."""

    allowed: tuple[str, ...] = ()
    allows_loopback: bool = False
    allows_private: bool = False


class SettingOutOfRange(Exception):
    """A setting has a value that cannot work; the message names the option and its range."""


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where the data are."""

    data_dir: Path = Path("herdbook-data")
    """The folder of the embedded database."""

    database_url: str | None = None
    """An external PostgreSQL 18 or newer, as `postgresql://user@host/database`; none: the embedded one."""


@dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """What an operator can decide."""

    database_connections: int = 8
    """Connections to the database, for each worker."""

    host: str = "127.0.0.1"
    """The address to listen at. Other machines reach the server only if this is not a loopback address."""

    port: int = 8080
    """The port to listen at; 0 picks a free one."""

    workers: int = 1
    """Processes that answer requests. With more than one, the others go on when one dies."""

    ready_file: Path | None = None
    """A file to write once requests are answered: JSON with `url`, `workspace_id` and, at a folder's first start, `api_key`."""

    rate_limit: int = 1000
    """Requests a second that one credential may make in the long run; 0: any number."""

    rate_limit_burst: int = 2000
    """Requests that one credential may make at once."""

    rate_limit_store: str | None = None
    """A Valkey or Redis where all workers count together, as `valkey://host:6379` (extra `valkey`); none: each on its own."""

    queue_limit: int = 1000
    """Writes that may wait in one workspace; past it they are answered 429."""

    body_limit: int = 8_388_608
    """Bytes that the body of a request may have."""

    public_url: str | None = None
    """Where clients reach the server, as `https://herdbook.example.com`; none: the address that a request came to."""

    trusted_proxies: str | None = None
    """Addresses and networks of proxies whose `Host` and `X-Forwarded-*` are believed, with commas: `127.0.0.1,10.1.0.0/16`."""

    media_limit: int = 1_073_741_824
    """Bytes that a recording may have which the server is to fetch."""

    allowed_targets: str | None = None
    """Hosts and networks beside public ones that the server may fetch from, with commas: `media.lab,10.1.0.0/16`."""

    history_days: int = 90
    """Days for which changes are kept, for history, undo and the change feed; 0: for ever."""

    allow_newer_schema: bool = False
    """Whether to start on a database that the next release has migrated, to go back by that one release."""

    private_webhook_targets: bool = False
    """Whether webhooks may be at private addresses (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7)."""

    loopback_webhook_targets: Literal["auto", "yes", "no"] = "auto"
    """Whether webhooks may be on this machine; `auto`: if it listens there alone, without --public-url, and no proxy asks."""

    problem_type_base: str = "https://app.askelephant.ai/errors/"
    """What the `type` of a problem begins with."""

    problem_media_type: Literal["application/json", "application/problem+json"] = "application/json"
    """The media type of problems for clients whose `Accept` does not name `application/problem+json`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged; `info` is one line for each request."""

    @property
    def all_connections(self) -> int:
        """Connections that the database must take: those of the workers and of their couriers, and some for others."""
        return self.workers * (self.database_connections + COURIER_CONNECTIONS) + _OTHER_CONNECTIONS

    @property
    def targets(self) -> TargetRules:
        """Where requests of the server's own may go.

        Whoever can call a server at a loopback address is on this machine, or behind a proxy on it.
        """
        allowed = tuple(target.strip() for target in (self.allowed_targets or "").split(",") if target.strip())
        is_here = self.loopback_webhook_targets == "yes"
        if self.loopback_webhook_targets == "auto":
            is_here = _is_loopback(self.host) and self.public_url is None and self.trusted_proxies is None
        return TargetRules(allowed, is_here, self.private_webhook_targets)

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Where the trusted proxies are."""
        names = (self.trusted_proxies or "").split(",")
        return tuple(ipaddress.ip_network(name.strip()) for name in names if name.strip())

    def __post_init__(self) -> None:
        """Refuse what cannot work, with SettingOutOfRange."""
        for name, (least, most) in _RANGES.items():
            value: int = getattr(self, name)
            if not least <= value <= most:
                raise SettingOutOfRange(f"--{name.replace('_', '-')} must be from {least} to {most}, not {value}.")
        try:
            _ = self.proxies
        except ValueError as error:
            raise SettingOutOfRange(f"--trusted-proxies takes addresses and networks: {error}.") from None
        if self.public_url is not None:
            # Paths are put behind it, and begin with a slash of their own.
            object.__setattr__(self, "public_url", self.public_url.rstrip("/"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
