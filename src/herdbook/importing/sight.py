"""The scopes to see the values in the file of an import: its samples, its rows, and the names in its mapping.

A file names companies, tags and people beside the objects that its rows become. Somebody who may read contacts alone must not
learn of the others by an import of somebody else.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from herdbook.auth.authenticate import Caller
from herdbook.custom_fields.model import FieldObjectType
from herdbook.errors import Forbidden
from herdbook.importing.guessing import guess
from herdbook.importing.model import Content, Mapping

_ALL: Final = ("companies:read", "contacts:read", "tags:read")
# The targets of columns, and members of objects in JSON.
_SCOPES: Final = {
    **dict.fromkeys(("company_name", "company_domain", "company"), ("companies:read",)),
    **dict.fromkeys(("first_name", "last_name", "email", "emails"), ("contacts:read",)),
    "tags": ("tags:read",),
    "card": _ALL,
}


def scopes_to_see(content: Content) -> list[str]:
    """Return the scopes to see the values of an import, beside those of its objects.

    They are those of all that its mapping fills and, as a mapping may ignore columns, of all that the names of these suggest.
    """
    mapping, file = content.mapping, content.file
    suggested = guess(file.columns, (), FieldObjectType.CONTACT).mapping.columns
    return _scopes({each.to for each in (*mapping.columns, *mapping.fixed, *suggested)} | set(file.members), mapping)


def scopes_of_names(mapping: Mapping) -> list[str]:
    """Return the scopes to see the names that a mapping gives to all rows."""
    return _scopes({each.to for each in mapping.fixed}, mapping)


def _scopes(targets: Iterable[str], mapping: Mapping) -> list[str]:
    named = {*targets, "tags"} if mapping.tags else {*targets}
    return sorted({scope for each in named for scope in _SCOPES.get(each, ())})


def require_sight(caller: Caller, content: Content) -> None:
    """Refuse a caller who may not see the values of an import. A credential sees those that it has sent. Refusal: Forbidden."""
    if caller.credential_id != content.credential_id and not all(map(caller.may, _ALL)):
        for scope in scopes_to_see(content):
            caller.require(scope)


def seen(caller: Caller, content: Content) -> Content:
    """Return an import as a caller may see it: without its values, if these need scopes that the caller has not."""
    try:
        require_sight(caller, content)
    except Forbidden:
        columns = tuple(msgspec.structs.replace(each, samples=()) for each in content.file.columns)
        file = msgspec.structs.replace(content.file, columns=columns)
        return msgspec.structs.replace(content, file=file, mapping=msgspec.structs.replace(content.mapping, tags=(), fixed=()))
    return content
