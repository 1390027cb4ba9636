"""The fields that are defined for contacts and companies, as pages show them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from herdbook.console.visit import Listed, Visit
from herdbook.custom_fields import store
from herdbook.custom_fields.forms import Member, own_member
from herdbook.custom_fields.model import Field
from herdbook.ledger.ledger import Ledger

# Each has up to some hundred definitions.
_KEPT: Final = 16


class Defined(NamedTuple):
    """The definitions of a type of records, archived ones included, and the members that the others are, in their order."""

    fields: Sequence[Field]
    members: Sequence[Member]


class _Kept:
    """A place for what is defined, by the version at which it was read."""

    def __init__(self) -> None:
        self.version = -1
        self.defined = Defined((), ())


# The workspace of a lab begins anew with each test: with a ledger of its own, and versions that there have been before.
@lru_cache(_KEPT)
def _kept(_ledger: Ledger, _workspace_id: UUID, _object_type: str) -> _Kept:
    return _Kept()


async def defined(visit: Visit, object_type: str) -> Defined:
    """Return the definitions of the fields of contacts or companies. Refusal: Forbidden.

    Nearly every page needs them, and they seldom change, so they are kept until one has changed.
    """
    store.FIELD.require_reader(visit.session.may)
    workspace_id = visit.session.stored.workspace_id
    kept = _kept(visit.services.ledger, workspace_id, object_type)
    # It is read first, so that nothing is kept under a version that is later than it.
    version = await store.definitions_version(visit.services.database.pool, workspace_id)
    if kept.version == version:
        return kept.defined
    fields = await visit.all_of("list-fields", Listed[Field], {"filter[object_type][eq]": object_type})
    active = sorted((each for each in fields if not each.archived), key=lambda each: (each.order, each.key))
    found = Defined((*fields,), (*map(own_member, active),))
    if version >= kept.version:
        kept.version, kept.defined = version, found
    return found


async def definitions(visit: Visit, object_type: str) -> Sequence[Field]:
    """Return the definitions of the fields of contacts or companies, archived ones included. Refusal: Forbidden."""
    return (await defined(visit, object_type)).fields
