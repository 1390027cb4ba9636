"""A page of the console, declared once. Routing, access, the menu and the tests of all pages read the declaration."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

BASE: Final = "/console"
# Another one, or none, follows the system.
THEMES: Final = ("light", "dark")


class Shown(NamedTuple):
    """The answer of a page that is rendered: what its template shows, and the status."""

    context: Mapping[str, Any]
    status: int = 200


class Redirect(NamedTuple):
    """The answer that leads to another page, whose path is below `BASE`."""

    path: str


class Download(NamedTuple):
    """The answer of a page that is a file, sent in parts."""

    name: str
    media_type: str
    chunks: AsyncGenerator[bytes]


PageAnswer: TypeAlias = Shown | Redirect | Download
# Takes the visit, and the parameters of the path in order.
Handler: TypeAlias = Callable[..., Awaitable[PageAnswer]]


class MenuItem(NamedTuple):
    """The place of a page in the menu: its label, and the name of its icon."""

    label: str
    icon: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page or form: only the facts that do not follow from others.

    `path` is relative to `/console`; a segment in braces matches any value. `scopes` are those that the person's role must
    have; empty: anybody who has signed in; None: anybody at all. `template` is rendered with what the handler returns; None:
    it always redirects. A form that is posted is shown again, with what is wrong, by the template of its page.
    `is_for_development` says that it is only there with `--log-level debug`.
    """

    method: str
    path: str
    id: str
    scopes: tuple[str, ...] | None
    handler: Handler
    template: str | None = None
    menu: MenuItem | None = None
    is_for_development: bool = False
