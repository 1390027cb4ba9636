"""What can be done to users: commands, applied to a book. The API only reads users; the command line makes them."""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.ledger.book import Book, Need, Result
from herdbook.ledger.changes import Action, Kind
from herdbook.ledger.links import relink
from herdbook.ledger.objects import current, updated
from herdbook.search_text import searchable, words
from herdbook.users.model import NewUser, User, UserEmail, UserObject, UserRole
from herdbook.users.store import HANDLES, USER_WORDS, USERS, UserRow


class CreateUser(msgspec.Struct, frozen=True):
    """Create a user. Refusals: Taken; NotAnAddress for an address that is none."""

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
        version = book.enter(Kind.USER, user_id, Action.CREATED, None, user)
        phone_number = None if new.phone_number is None else handles[-1]
        text = searchable("\n".join([new.first_name or "", new.last_name or "", *new.emails]))
        book.put(
            USERS,
            UserRow(
                workspace_id=book.workspace_id,
                id=user_id,
                version=version,
                updated_at=book.at,
                deleted_at=None,
                is_active=new.role.is_active,
                phone_number_e164=phone_number,
                search=text,
                object=user,
            ),
        )
        relink(book, USER_WORDS, user_id, set(), set(words(text)))
        return Result(version, user)


class SetRole(msgspec.Struct, frozen=True):
    """Give a user another role. Refusal: NotFound."""

    user_id: UUID
    role: UserRole

    def needs(self) -> Iterator[Need]:
        yield Need(USERS, self.user_id)

    def apply(self, book: Book) -> Result:
        before = current(book, USERS, self.user_id, None, "user")
        return updated(book, Kind.USER, before, msgspec.structs.replace(before.object, role=self.role), _put_again)


def _put_again(book: Book, _: UUID, version: int, before: UserRow | None, after: User) -> None:
    assert before is not None, "only what is there gets another role"
    row = msgspec.structs.replace(before, version=version, updated_at=book.at, is_active=after.role.is_active, object=after)
    book.put(USERS, row)
