"""A page of the console, declared once. Routing, access, the menu and the tests of all pages read the declaration."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeAlias
from unicodedata import bidirectional

from herdbook.fields import parsed_time
from herdbook.shared_schemas import shown_time

BASE: Final = "/console"
# The page on which a person lets a program in has the address that programs expect.
OAUTH: Final = "/oauth"
# Another one, or none, follows the system.
THEMES: Final = ("light", "dark")

# The classes of characters that turn the direction of the text around them, and the marks of isolates (UAX #9).
_TURNING: Final = frozenset({"R", "AL", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_ISOLATES: Final = dict.fromkeys(range(0x2066, 0x206A))


# The folders of the pages of objects, by their types. A transcript has the id of its engagement.
_FOLDERS: Final = {
    "contact": "contacts",
    "company": "companies",
    "tag": "tags",
    "user": "users",
    "engagement": "engagements",
    "transcript": "engagements",
    "field": "fields",
    "webhook_endpoint": "webhooks",
}


def path_of(object_type: str, object_id: str) -> str | None:
    """Return the path of an object's page, if it has one."""
    folder = _FOLDERS.get(object_type)
    return None if folder is None else f"{BASE}/{folder}/{object_id}"


class Shown(NamedTuple):
    """The answer of a page that is rendered: what its template shows, and the status."""

    context: Mapping[str, Any]
    status: int = 200


class Redirect(NamedTuple):
    """The answer that leads to another address."""

    path: str


class Data(NamedTuple):
    """The answer for a script of a page, as JSON."""

    value: Any


class Download(NamedTuple):
    """The answer of a page that is a file, sent in parts."""

    name: str
    media_type: str
    chunks: AsyncGenerator[bytes]


PageAnswer: TypeAlias = Shown | Redirect | Data | Download
# Takes the visit, and the parameters of the path in order.
Handler: TypeAlias = Callable[..., Awaitable[PageAnswer]]


class MenuItem(NamedTuple):
    """The place of a page in the menu: its label, the name of its icon, and the letter that goes there after `g`, if any."""

    label: str
    icon: str
    jump: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page or form: only the facts that do not follow from others.

    `path` is relative to `base`; a segment in braces matches any value. `scopes` are those that the person's role must
    have; empty: anybody who has signed in; None: anybody at all. `template` is rendered with what the handler returns; None:
    it always redirects, or answers a script. A form that is posted is shown again, with what is wrong, by the template of its
    page.
    `action` is the name under which the command menu leads to it, beside the pages of the menu.
    `is_personal` says that its form concerns the person, and acts in whatever workspace the session is.
    `is_by_itself` says that a script asks for it while perhaps nobody is there: it is no visit, and keeps no session alive.
    `takes_file` says that its form may have a file, behind all fields. `is_for_development` says that it is only there with
    `--log-level debug`.
    """

    method: str
    path: str
    id: str
    scopes: tuple[str, ...] | None
    handler: Handler
    template: str | None = None
    menu: MenuItem | None = None
    action: str = ""
    base: str = BASE
    is_personal: bool = False
    is_by_itself: bool = False
    takes_file: bool = False
    is_for_development: bool = False

    @property
    def address(self) -> str:
        """The path of the page on its server, with parameters in braces."""
        return self.base + self.path


def is_page(path: str) -> bool:
    """Whether the console answers requests to a path."""
    return any(path == base or path.startswith(base + "/") for base in (BASE, OAUTH))


def isolated(text: str) -> str:
    """Return a value for a sentence, whose other words keep their direction whatever characters the value has."""
    if text.isascii() or not any(bidirectional(each) in _TURNING for each in text):
        return text
    return f"\u2068{text.translate(_ISOLATES)}\u2069"


def moment_of(entry: Mapping[str, Any]) -> str | None:
    """Return a time at which an object was as an entry left it, or before its deletion. An erased one cannot be looked at."""
    if entry["action"] == "erased":
        return None
    if entry["action"] != "deleted" or (at := parsed_time(entry["at"])) is None:
        return entry["at"]
    return shown_time(at - timedelta(microseconds=1))
