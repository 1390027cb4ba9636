"""The commands that change users. The API only reads users; the command line creates them."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Kind
from herdbook.ledger.links import relink
from herdbook.ledger.objects import Subject, created, current, updated
from herdbook.search_text import searchable, words
from herdbook.users.model import NewUser, User, UserEmail, UserObject, UserRole
from herdbook.users.store import HANDLES, KNOWN_USERS, USER_WORDS, USERS, UserRow


class CreateUser(msgspec.Struct, frozen=True):
    """Create a user. Refusals: Taken; NotAnAddress for a malformed address."""

    new: NewUser

    def needs(self) -> Iterator[Need]:
        yield from HANDLES.needs(list(self.new.handles()))

    def apply(self, book: Book) -> Result:
        new = self.new
        user_id = ids.new_id()
        handles = list(new.handles())
        HANDLES.claim(book, user_id, [], handles, lambda index: handles[index])
        user = User(
            object=UserObject.USER,
            id=ids.encoded(ids.USER, user_id),
            role=new.role,
            created_at=book.time,
            updated_at=book.time,
            first_name=new.first_name,
            last_name=new.last_name,
            job_title=new.job_title or UNSET,
            emails=tuple(UserEmail(email.strip(), index == 0) for index, email in enumerate(new.emails)),
            time_zone=new.time_zone or UNSET,
        )
        result = created(book, USER, user_id, user)
        row = book.find(USERS, user_id)
        if row is not None and new.phone_number is not None:
            # The number is not part of the API's user, so the ledger's entry lacks it.
            book.put(USERS, msgspec.structs.replace(row, phone_number_e164=handles[-1]))
        return result


class SetRole(msgspec.Struct, frozen=True):
    """Give a user another role. Refusal: NotFound."""

    user_id: UUID
    role: UserRole

    def needs(self) -> Iterator[Need]:
        yield Need(USERS, self.user_id)

    def apply(self, book: Book) -> Result:
        before = current(book, USERS, self.user_id, None, "user")
        return updated(book, USER, before, msgspec.structs.replace(before.object, role=self.role))


def active_user(book: Book, handle: str) -> UUID | None:
    """Return the active user with an address or number, as the batch has it now. The command must need `KNOWN_USERS`."""
    known = book.find(KNOWN_USERS, handle)
    user_id = HANDLES.holder(book, handle) or (None if known is None else known.user_id)
    # A user that got the handle in this batch has a row in the book.
    row = None if user_id is None else book.find(USERS, user_id)
    is_active = (known is not None and known.is_active) if row is None else row.is_active and row.deleted_at is None
    return user_id if is_active else None


def _row(book: Book, user_id: UUID, version: int, before: UserRow | None, after: User) -> UserRow:
    return UserRow(
        workspace_id=book.workspace_id,
        id=user_id,
        version=version,
        updated_at=book.at,
        deleted_at=None,
        is_active=after.role.is_active,
        phone_number_e164=None if before is None else before.phone_number_e164,
        search=searchable("\n".join([after.first_name or "", after.last_name or "", *(item.email for item in after.emails)])),
        object=after,
    )


def _relink(book: Book, before: UserRow | None, after: UserRow | None) -> None:
    user = after or before
    assert user is not None, "a change has a row before or after it"
    relink(book, USER_WORDS, user.id, set(words(before.search if before else "")), set(words(after.search if after else "")))


USER: Final = Subject(
    kind=Kind.USER,
    name="user",
    prefix=ids.USER,
    table="workspace_user",
    shelf=USERS,
    entry=User,
    row=_row,
    entered=lambda row: row.object,
    read_scopes=("users:read",),
    relink=_relink,
)
