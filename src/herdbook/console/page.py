"""A page of the console, declared once. Routing, access, the menu and the tests of all pages read the declaration."""

from collections.abc import Awaitable, Callable, Mapping
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
    """The answer that leads to another page, whose path is below `BASE`, or to an OpenID provider."""

    path: str


class Data(NamedTuple):
    """The answer for a script of a page, as JSON."""

    value: Any


PageAnswer: TypeAlias = Shown | Redirect | Data
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

    `path` is relative to `/console`; a segment in braces matches any value. `scopes` are those that the person's role must
    have; empty: anybody who has signed in; None: anybody at all. `template` is rendered with what the handler returns; None:
    it always redirects, or answers a script. A form that is posted is shown again, with what is wrong, by the template of its
    page.
    `action` is the name under which the command menu leads to it, beside the pages of the menu.
    `is_for_development` says that it is only there with `--log-level debug`.
    """

    method: str
    path: str
    id: str
    scopes: tuple[str, ...] | None
    handler: Handler
    template: str | None = None
    menu: MenuItem | None = None
    action: str = ""
    is_for_development: bool = False
