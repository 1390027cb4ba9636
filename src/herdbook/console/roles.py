"""The scopes of people, by their roles."""

from collections.abc import Mapping
from typing import Final

from herdbook.auth.scopes import ADMIN, SCOPES

_OF_VIEWERS: Final = frozenset(scope for scope in SCOPES if scope.endswith(":read") and ":private:" not in scope)
_OF_MEMBERS: Final = frozenset(scope for scope in SCOPES if ":private:" not in scope) - {ADMIN}

# A user with another role cannot sign in.
SCOPES_OF_ROLES: Final[Mapping[str, frozenset[str]]] = {
    "OWNER": frozenset({ADMIN}),
    "ADMIN": frozenset({ADMIN}),
    "MEMBER": _OF_MEMBERS,
    "VIEWER": _OF_VIEWERS,
}
