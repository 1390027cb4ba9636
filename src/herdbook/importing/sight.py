"""The scopes to see the values in the file of an import: its samples, its rows, and the names in its mapping.

A file names companies, tags and people beside the objects that its rows become. Somebody who may read contacts alone must not
learn of the others by an import of somebody else.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from herdbook.auth.authenticate import Caller
from herdbook.companies.model import CompanyRecord, CompanyUpsert
from herdbook.contacts.model import ContactRecord, ContactUpsert
from herdbook.custom_fields.model import FieldObjectType
from herdbook.errors import Forbidden
from herdbook.importing.guessing import hints
from herdbook.importing.model import IGNORE, READ_SCOPES, Content, Mapping

_PEOPLE: Final = frozenset({"first_name", "middle_name", "last_name", "full_name"})
# The targets of columns, and members of objects in JSON.
_SCOPES: Final = {
    **dict.fromkeys(("name", "company_name", "company_domain", "company"), ("companies:read",)),
    **dict.fromkeys((*_PEOPLE, "email", "phone"), ("contacts:read",)),
    "tags": ("tags:read",),
    "card": READ_SCOPES,
}
# The members of objects in JSON whose values are known by their names.
_BESIDE: Final = ("tags", "notes")
_MEMBERS: Final = {
    FieldObjectType.CONTACT: frozenset(
        {*ContactUpsert.__struct_fields__, *ContactRecord.__struct_fields__, *_BESIDE}
        | {"middle_name", "company_name", "company_domain"}
    ),
    FieldObjectType.COMPANY: frozenset({*CompanyUpsert.__struct_fields__, *CompanyRecord.__struct_fields__, *_BESIDE}),
}


def scopes_to_see(content: Content) -> list[str]:
    """Return the scopes to see the values of an import, beside those of its objects.

    They are those of all that its mapping fills and, as a mapping may ignore columns, of all that the names of these suggest.
    They are all that a file may need if it does not tell what some of its values are, and for vCards, which have everything.
    """
    mapping, file = content.mapping, content.file
    found = hints(file.columns)
    unknown = [each.to for each, hint in zip(mapping.columns, found, strict=False) if not hint]
    is_known = file.layout.has_header and IGNORE not in unknown and _MEMBERS[mapping.object_type].issuperset(file.members)
    if file.layout.is_of_cards or not is_known:
        return [*READ_SCOPES]
    return _scopes({each.to for each in (*mapping.columns, *mapping.fixed)} | _suggested(found) | set(file.members), mapping)


def _suggested(found: Sequence[set[str]]) -> set[str]:
    """Return the members that the hints of all columns suggest."""
    names = sum("name" in hint for hint in found)
    told: set[str] = set()
    for hint in found:
        if "name" in hint and hint & _PEOPLE:
            # A name may be that of the object itself, unless another column may have it.
            told |= hint & _PEOPLE if names > 1 else set()
        else:
            told |= hint
    return told


def scopes_of_names(mapping: Mapping) -> list[str]:
    """Return the scopes to see the names that a mapping gives to all rows."""
    return _scopes({each.to for each in mapping.fixed}, mapping)


def _scopes(targets: Iterable[str], mapping: Mapping) -> list[str]:
    named = {*targets, "tags"} if mapping.tags else {*targets}
    return sorted({scope for each in named for scope in _SCOPES.get(each, ())})


def _has_sent(caller: Caller, content: Content) -> bool:
    """Whether the credential has sent the file. Tokens of an OAuth client are of several users, and may have fewer scopes."""
    if caller.credential_id != content.credential_id:
        return False
    return not caller.is_client or (caller.user_id == content.user_id and all(map(caller.may, content.sent_with)))


def require_sight(caller: Caller, content: Content) -> None:
    """Refuse a caller who may not see the values of an import. A credential sees those that it has sent. Refusal: Forbidden."""
    if not _has_sent(caller, content) and not all(map(caller.may, READ_SCOPES)):
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
