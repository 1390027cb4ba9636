"""The type of users, with its tables, and every SQL statement about them."""

from operator import attrgetter
from typing import Any, Final, Self
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address, forms
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import Executor, PagePool
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import ObjectRow, ObjectType, object_table
from herdbook.search_text import END, indexed, searchable, searchable_name
from herdbook.users.model import User


class UserRow(ObjectRow, frozen=True, kw_only=True):
    """A user's row: the user as the API shows it, and the columns that queries use."""

    is_active: bool
    phone_number_e164: str | None
    search: str
    object: User

    @classmethod
    def columns(cls, before: Self | None, after: User) -> dict[str, Any]:
        names = searchable_name(after.first_name or "", after.last_name or "")
        emails = "\n".join([searchable(form) for item in after.emails for form in forms(item.email)])
        return {
            "is_active": after.role.is_active,
            "phone_number_e164": None if before is None else before.phone_number_e164,
            "search": f"{names}{END}{emails}{END}",
        }


USERS: Final = object_table(UserRow, "workspace_user", {"is_active": "boolean", "phone_number_e164": "text", "search": "text"})
USER_WORDS: Final = index_table("user_word", "word", "text", "user_id")
# A user's number is a key, too, but no part of the entry: the command that creates a user claims all handles itself.
HANDLES: Final = UniqueKey[User](
    claim_table("user_handle", "handle", "user_id"),
    keys=lambda user: [comparable_address(item.email) for item in user.emails],
    field_path=lambda index, _: f"emails[{index}].email",
)
USER: Final = ObjectType(
    kind="u",
    name="user",
    plural="users",
    prefix=ids.USER,
    table=USERS,
    entry=User,
    example=User.example,
    indexes=(Index[UserRow](USER_WORDS, attrgetter("search"), lambda user: indexed(user.search)),),
    read_scopes=("users:read",),
)


_SEARCH_INDEX: Final = SearchIndex(
    "workspace_user",
    "select w.user_id from user_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most",
    "select h.user_id from user_handle h where h.workspace_id = $1 and h.handle = any($2)",
)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the users of a page, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    await conditions.search(pool, _SEARCH_INDEX)
    return await conditions.fetch(pool, "workspace_user")


async def find_user(statements: Executor, workspace_id: UUID, user_id: UUID) -> User | None:
    """Return a user of a workspace."""
    body: bytes | None = await statements.fetchval(
        "select object from workspace_user where workspace_id = $1 and id = $2 and deleted_at is null", workspace_id, user_id
    )
    return None if body is None else msgspec.json.decode(body, type=User)


async def all_users(statements: Executor, workspace_id: UUID) -> list[User]:
    """Return all users of a workspace, oldest first."""
    records = await statements.fetch(
        "select object from workspace_user where workspace_id = $1 and deleted_at is null order by id", workspace_id
    )
    return [msgspec.json.decode(record["object"], type=User) for record in records]
