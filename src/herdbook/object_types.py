"""All kinds of objects. The feed, histories and webhooks read this list."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import UNSET, UnsetType

from herdbook.auth.authenticate import Caller
from herdbook.business_types import BUSINESS_TYPES
from herdbook.contacts.store import CONTACT
from herdbook.errors import Forbidden
from herdbook.ledger.object_types import ObjectType, ObjectTypes
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT

OBJECT_TYPES: Final = ObjectTypes(*BUSINESS_TYPES, WEBHOOK_ENDPOINT)


def readable_types(caller: Caller, object_types: ObjectTypes, names: Iterable[str] | UnsetType) -> list[ObjectType[Any, Any]]:
    """Return the types with these names, or all that a caller may read. Refusal: Forbidden, if that is nothing or less."""
    if names is UNSET:
        readable = [each for each in object_types if each.may_be_read(caller.may)]
        if not readable:
            raise Forbidden(CONTACT.read_scopes[0])
        return readable
    named = [object_types.named(name) for name in dict.fromkeys(names)]
    for each in named:
        each.require_reader(caller.may)
    return named
