"""The commands that change users."""

from collections.abc import Iterator, Sequence
from typing import Never
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.errors import FieldError, Forbidden, Invalid
from herdbook.ledger.object_types import active, all_active, created, current, updated
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.users.model import ADMINISTRATORS, NewUser, User, UserEmail, UserObject, UserRole
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


class InviteUser(msgspec.Struct, frozen=True):
    """Create a user, as another one does who administers the workspace, or as a key of no user does.

    Refusals: those of CreateUser; Invalid, if only an owner may do it.
    """

    new: NewUser
    by: UUID | None

    def needs(self) -> Iterator[Need]:
        yield from CreateUser(self.new).needs()
        if self.by is not None:
            yield Need(USERS, self.by)

    def apply(self, work: UnitOfWork) -> Result:
        if _role_of(work, self.by) is not UserRole.OWNER and self.new.role is UserRole.OWNER:
            _refuse("Only an owner makes somebody an owner. Choose another role.")
        return CreateUser(self.new).apply(work)


def _role_of(work: UnitOfWork, user_id: UUID | None) -> UserRole:
    """Return the role of somebody who administers the workspace. A key of no user is no owner. Refusal: Forbidden."""
    if user_id is None:
        return UserRole.ADMIN
    row = active(work, USERS, user_id)
    if row is None or row.entry.role not in ADMINISTRATORS:
        raise Forbidden(ADMIN)
    return row.entry.role


class ChangeRole(msgspec.Struct, frozen=True):
    """Change the role of a user, as another one does who administers the workspace, or as a key of no user does.

    INACTIVE ends the membership.

    `administrators` are those who were known before. If there are more by now, a change may be refused that is possible.
    Refusals: NotFound; Forbidden, if the other one no longer administers the workspace; Invalid, if only an owner may do it, or
    if nobody would be left to do it.
    """

    user_id: UUID
    role: UserRole
    by: UUID | None
    administrators: tuple[UUID, ...]

    def needs(self) -> Iterator[Need]:
        for user_id in {self.user_id, *self.administrators, *([] if self.by is None else [self.by])}:
            yield Need(USERS, user_id)

    def apply(self, work: UnitOfWork) -> Result:
        before = current(work, USERS, self.user_id, None, USER.noun)
        by = _role_of(work, self.by)
        others = [each for each in all_active(work, USERS, self.administrators) if each and each.id != self.user_id]
        roles = {each.entry.role for each in others}
        is_of_owner = UserRole.OWNER in (before.entry.role, self.role) and self.role is not before.entry.role
        if is_of_owner and by is not UserRole.OWNER and UserRole.OWNER in roles | {before.entry.role}:
            _refuse("Only an owner makes somebody an owner, or changes the role of one. Ask an owner.")
        if before.entry.role is UserRole.OWNER and self.role is not UserRole.OWNER and UserRole.OWNER not in roles:
            _refuse("This is the last owner. Make somebody else an owner first.")
        if before.entry.role in ADMINISTRATORS and self.role not in ADMINISTRATORS and not roles & ADMINISTRATORS:
            _refuse("Nobody else administers this workspace. Make somebody else an administrator first.")
        return updated(work, USER, before, msgspec.structs.replace(before.entry, role=self.role))


def _refuse(message: str) -> Never:
    raise Invalid([FieldError("role", "invalid_choice", message)])


def active_users(work: UnitOfWork, handles: Sequence[str]) -> dict[str, UUID]:
    """Return the active users with these addresses and numbers, by address or number."""
    work.require(HANDLES.needs(handles))
    holders = {handle: holder for handle in handles if (holder := HANDLES.holder(work, handle)) is not None}
    rows = all_active(work, USERS, list(holders.values()))
    return {handle: row.id for handle, row in zip(holders, rows, strict=True) if row is not None and row.is_active}
