"""The commands that change users. The API only reads users; the command line creates them."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.ledger.object_types import all_active, created
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.users.model import NewUser, User, UserEmail, UserObject
from herdbook.users.store import HANDLES, USER, USERS


class CreateUser(msgspec.Struct, frozen=True):
    """Create a user. Refusals: Taken; NotAnAddress for a malformed address."""

    new: NewUser

    def needs(self) -> Iterator[Need]:
        yield from HANDLES.needs(list(self.new.handles()))

    def apply(self, work: UnitOfWork) -> Result:
        new = self.new
        user_id = ids.new_id()
        handles = list(new.handles())
        HANDLES.claim(work, USER, user_id, [], handles, lambda _, handle: handle)
        user = User(
            object=UserObject.USER,
            id=ids.encoded(ids.USER, user_id),
            role=new.role,
            created_at=work.time,
            updated_at=work.time,
            first_name=new.first_name,
            last_name=new.last_name,
            job_title=new.job_title or UNSET,
            emails=tuple(UserEmail(email.strip(), index == 0) for index, email in enumerate(new.emails)),
            time_zone=new.time_zone or UNSET,
        )
        result = created(work, USER, user_id, user)
        row = work.get(USERS, user_id)
        if row is not None and new.phone_number is not None:
            # The number is not part of the API's user, so the ledger's entry lacks it.
            work.put(USERS, msgspec.structs.replace(row, phone_number_e164=handles[-1]))
        return result


def active_users(work: UnitOfWork, handles: Sequence[str]) -> dict[str, UUID]:
    """Return the active users with these addresses and numbers, by address or number."""
    work.require(HANDLES.needs(handles))
    holders = {handle: holder for handle in handles if (holder := HANDLES.holder(work, handle)) is not None}
    rows = all_active(work, USERS, list(holders.values()))
    return {handle: row.id for handle, row in zip(holders, rows, strict=True) if row is not None and row.is_active}
