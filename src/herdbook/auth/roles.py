"""The scopes of people, by their roles."""

from collections.abc import Iterable, Mapping
from typing import Final

from herdbook.auth.scopes import ADMIN, SCOPES

_OF_VIEWERS: Final = frozenset(scope for scope in SCOPES if scope.endswith(":read") and ":private:" not in scope)
_OF_MEMBERS: Final = frozenset(scope for scope in SCOPES if ":private:" not in scope) - {ADMIN}

# A user with another role cannot sign in.
_SCOPES_OF_ROLES: Final[Mapping[str | None, frozenset[str]]] = {
    "OWNER": frozenset({ADMIN}),
    "ADMIN": frozenset({ADMIN}),
    "MEMBER": _OF_MEMBERS,
    "VIEWER": _OF_VIEWERS,
}


def scopes_of_role(role: str | None) -> frozenset[str]:
    """Return the scopes of people with a role."""
    return _SCOPES_OF_ROLES.get(role, frozenset())


def within_role(scopes: Iterable[str], role: str | None) -> list[str]:
    """Return those of a program's scopes that the role of the person who let it in has, too."""
    of_role = scopes_of_role(role)
    return [scope for scope in scopes if ADMIN in of_role or scope in of_role]
