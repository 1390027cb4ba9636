"""The settings: read once, from the command line or the environment, and frozen."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

# The courier of each worker has three connections to work with, and one to listen.
COURIER_CONNECTIONS: Final = 4
# The connections of a lab to its own database: for requests, for lists, and for copies of workspaces.
LAB_CONNECTIONS: Final = (6, 2, 2)
# These are left for the commands and tools of an operator.
_OTHER_CONNECTIONS: Final = 50
_MANY: Final = 2**31 - 1
_LEAST_TOKEN: Final = 8
_STORE_SCHEMES: Final = ("valkey", "valkeys", "redis", "rediss", "unix")
_RANGES: Final = {
    # The minimum is two for the ledger's writers, two for lists, and one for reads of single objects.
    "database_connections": (5, 100),
    "port": (0, 65_535),
    "workers": (1, 100),
    "rate_limit": (0, _MANY),
    "rate_limit_burst": (1, _MANY),
    "queue_limit": (1, _MANY),
    "body_limit": (1024, _MANY),
    "keep_alive": (1, 86_400),
    "media_limit": (0, 2**40),
    "import_limit": (0, 2**40),
    "import_days": (1, 365),
    "history_days": (0, 36_500),
    "deleted_days": (0, 36_500),
    "request_log_hours": (0, 8760),
    "lab_workspaces": (1, 100_000),
    "lab_limit": (1, 2**50),
}


class TargetRules(NamedTuple):
    """Targets that the server's own requests may reach beside public addresses: `allowed` for all, the others for webhooks."""

    allowed: tuple[str, ...] = ()
    allows_loopback: bool = False
    allows_private: bool = False


class SettingOutOfRange(Exception):
    """A setting has a value that cannot work; the message names the option and its range."""


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """The location of the data."""

    data_dir: Path = Path("herdbook-data")
    """The folder of the embedded database."""

    database_url: str | None = None
    """An external PostgreSQL 18 or newer, as `postgresql://user@host/database`. Without it, the embedded database is used."""

    database_direct_url: str | None = None
    """The database's own address, if `--database-url` leads through PgBouncer in transaction mode."""

    @property
    def direct_url(self) -> str | None:
        """The address of the external database, past any pooler."""
        return self.database_direct_url or self.database_url


@dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """The settings that an operator can choose."""

    database_connections: int = 8
    """Connections to the database, for each worker."""

    host: str = "127.0.0.1"
    """The address to listen on. Other machines reach the server only if this is not a loopback address.

    With 127.0.0.1 it is ::1 as well.
    """

    port: int = 8080
    """The port to listen on; 0 picks a free one."""

    workers: int = 1
    """Processes that answer requests. With more than one, the others continue when one dies."""

    ready_file: Path | None = None
    """A file to write once the server is ready: JSON with `url`, `workspace_id`, at a folder's first start `api_key`, and
    `lab_token` of a lab."""

    rate_limit: int = 1000
    """Sustained requests per second for one credential; 0 means no limit."""

    rate_limit_burst: int = 2000
    """Requests that one credential may make at once."""

    rate_limit_store: str | None = None
    """A Valkey or Redis where all workers count together, as `valkey://host:6379` (extra `valkey`); else each counts alone."""

    queue_limit: int = 1000
    """Writes that may wait in one workspace; more are refused with 429."""

    body_limit: int = 8_388_608
    """The largest body of a request, in bytes."""

    keep_alive: int = 75
    """Seconds for which a connection without a request stays open; it must be longer than a proxy keeps it."""

    public_url: str | None = None
    """The server's URL for clients, as `https://herdbook.example.com`. Without it, the address of each request is used."""

    openid_issuer: str | None = None
    """An OpenID provider by which people sign in to the console, as the provider spells its issuer."""

    openid_client_id: str | None = None
    """The id of this server at the OpenID provider."""

    openid_client_secret_file: Path | None = None
    """A file with the secret of this server at the OpenID provider; without it, the server is a public client."""

    trusted_proxies: str | None = None
    """Proxies whose `Host` and `X-Forwarded-*` are trusted, as addresses and networks with commas: `127.0.0.1,10.1.0.0/16`."""

    cors_origins: str | None = None
    """Web pages that may use the API, as origins with commas (`https://app.example.com,http://localhost:3000`); `*`: all."""

    media_limit: int = 1_073_741_824
    """The largest recording that the server fetches, in bytes."""

    import_limit: int = 1_073_741_824
    """The largest file of an import, in bytes."""

    import_days: int = 7
    """Days for which the file of an import and the outcome of its rows are kept."""

    allowed_targets: str | None = None
    """Hosts and networks that the server may connect to beside public ones, with commas: `media.lab,10.1.0.0/16`."""

    history_days: int = 90
    """Days for which changes are kept, for history, undo and the change feed; 0 keeps them for ever."""

    deleted_days: int | None = None
    """Days after which deleted objects are removed for good; 0 keeps them for ever. By default as many as --history-days."""

    request_log_hours: int = 72
    """Hours for which the requests of each workspace are kept for the console, at most 100,000 of them; 0 keeps none."""

    allow_newer_schema: bool = False
    """Whether to start on a database that the next release has migrated, in order to go back by one release."""

    private_webhook_targets: bool = False
    """Whether webhooks may be at private addresses (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7)."""

    loopback_webhook_targets: Literal["auto", "yes", "no"] = "auto"
    """Whether webhooks may be on this machine; `auto`: if it listens only there, without public URL or proxy."""

    problem_type_base: str = "https://app.askelephant.ai/errors/"
    """The beginning of the `type` of each problem, a URI."""

    problem_media_type: Literal["application/json", "application/problem+json"] = "application/json"
    """The media type of problems for clients whose `Accept` does not name `application/problem+json`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level to log; `info` logs one line for each request."""

    lab: bool = False
    """Whether to serve a lab, too: workspaces that tests make, break and command, in a database of their own."""

    lab_token: str | None = None
    """The token that commands the lab; without it, each start makes another."""

    lab_anywhere: bool = False
    """Whether a lab may be commanded from other machines."""

    lab_workspaces: int = 1000
    """How many workspaces a lab may have at once."""

    lab_limit: int = 4_294_967_296
    """The largest size of a lab's database, in bytes, and of the files of its imports and recordings together."""

    @property
    def all_connections(self) -> int:
        """Connections that the database must accept: those of the workers and their couriers, and some for operators."""
        of_workers = self.workers * (self.database_connections + COURIER_CONNECTIONS)
        return of_workers + (sum(LAB_CONNECTIONS) if self.lab else 0) + _OTHER_CONNECTIONS

    @property
    def targets(self) -> TargetRules:
        """Targets that the server's own requests may reach.

        A caller of a server on a loopback address is on this machine, or comes through a proxy on it.
        """
        allowed = tuple(target.strip() for target in (self.allowed_targets or "").split(",") if target.strip())
        is_here = self.loopback_webhook_targets == "yes"
        if self.loopback_webhook_targets == "auto":
            is_here = _is_loopback(self.host) and self.public_url is None and self.trusted_proxies is None
        return TargetRules(allowed, is_here, self.private_webhook_targets)

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The addresses and networks of the trusted proxies."""
        names = (self.trusted_proxies or "").split(",")
        return tuple(ipaddress.ip_network(name.strip()) for name in names if name.strip())

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of web pages that may use the API, as browsers send them."""
        return tuple(origin.strip().rstrip("/").lower() for origin in (self.cors_origins or "").split(",") if origin.strip())

    def __post_init__(self) -> None:
        """Refuse values that cannot work. Refusal: SettingOutOfRange."""
        for name, (least, most) in _RANGES.items():
            value: int | None = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise SettingOutOfRange(f"--{name.replace('_', '-')} must be from {least} to {most}, not {value}.")
        try:
            _ = self.proxies
        except ValueError as error:
            raise SettingOutOfRange(f"--trusted-proxies must be addresses and networks: {error}.") from None
        self._require_allowed_targets()
        self._require_database()
        self._require_lab()
        self._require_openid()
        if not _is_uri(self.problem_type_base):
            raise SettingOutOfRange(
                "--problem-type-base must be the beginning of a URI, such as https://example.com/errors/, "
                f"not `{self.problem_type_base}`."
            )
        for origin in self.origins:
            if origin != "*" and not _is_origin(origin):
                raise SettingOutOfRange(
                    f"--cors-origins must be origins such as https://app.example.com, without a path, or *; not `{origin}`."
                )
        if self.rate_limit_store is not None and not _is_store(self.rate_limit_store):
            # The address may hold a password, so the message does not repeat it.
            schemes = ", ".join(f"{scheme}://" for scheme in _STORE_SCHEMES)
            raise SettingOutOfRange(
                f"--rate-limit-store must be an address such as valkey://host:6379; it begins with one of {schemes}."
            )
        if self.public_url is not None:
            if not _is_web_address(self.public_url):
                raise SettingOutOfRange(
                    f"--public-url must be an address such as https://herdbook.example.com, not `{self.public_url}`."
                )
            # Paths are appended to it, and begin with a slash.
            object.__setattr__(self, "public_url", self.public_url.rstrip("/"))

    def _require_database(self) -> None:
        if self.database_direct_url is not None and self.database_url is None:
            raise SettingOutOfRange("--database-direct-url needs --database-url, which leads through the pooler.")

    def _require_lab(self) -> None:
        if not self.lab:
            return
        if self.workers > 1:
            raise SettingOutOfRange("--lab works with one worker: its workspaces are in the memory of one process.")
        if not (self.lab_anywhere or _is_loopback(self.host)):
            raise SettingOutOfRange(
                f"--lab lets whoever has its token make and break workspaces, and --host {self.host} lets other machines "
                "reach it. Listen on 127.0.0.1, or add --lab-anywhere."
            )
        if self.lab_token is not None and len(self.lab_token) < _LEAST_TOKEN:
            raise SettingOutOfRange(f"--lab-token must have at least {_LEAST_TOKEN} characters.")

    def _require_openid(self) -> None:
        if (self.openid_issuer is None) != (self.openid_client_id is None):
            raise SettingOutOfRange("--openid-issuer and --openid-client-id belong together: set both, or neither.")
        if self.openid_issuer is not None and not _is_issuer(self.openid_issuer):
            raise SettingOutOfRange(
                f"--openid-issuer must be an address with TLS such as https://login.example.com, not `{self.openid_issuer}`."
            )
        if self.openid_client_secret_file is not None and not self.openid_client_secret_file.is_file():
            raise SettingOutOfRange(f"--openid-client-secret-file: there is no file {self.openid_client_secret_file}.")

    def _require_allowed_targets(self) -> None:
        for target in self.targets.allowed:
            # A target without a slash may be a host.
            if "/" not in target:
                continue
            try:
                ipaddress.ip_network(target)
            except ValueError as error:
                raise SettingOutOfRange(f"--allowed-targets must be hosts and networks: {error}.") from None


def _is_issuer(text: str) -> bool:
    # Without TLS, whoever is in between could answer for the provider.
    return _is_web_address(text) and (text.startswith("https:") or _is_loopback(urlsplit(text).hostname or ""))


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    # An address with a query, a fragment or a user cannot be the beginning of others.
    is_plain = not any(char in text for char in "?#@") and text.isprintable() and " " not in text and port != 0
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain


def _is_uri(text: str) -> bool:
    # RFC 3986, appendix A, without the rules of each part.
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", text) is not None


def _is_origin(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    # Extensions of browsers have origins of their own schemes.
    is_extension = scheme.endswith("-extension") and rest.isalnum()
    return bool(separator) and "/" not in rest and "*" not in rest and (is_extension or _is_web_address(text))


def _is_store(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    # The library takes these schemes in lower case alone.
    return scheme in _STORE_SCHEMES and bool(separator) and bool(parts.path if scheme == "unix" else rest and parts.hostname)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
