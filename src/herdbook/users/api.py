"""The operations of /v2/users."""

from typing import Final
from uuid import UUID

from herdbook.http.call import Call
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.users import store
from herdbook.users.model import User
from herdbook.users.store import USER


async def list_users(call: Call) -> Answer:
    """List the users of the workspace."""
    return await call.answer_list(store.page)


async def get_user(call: Call, user_id: UUID) -> Answer:
    """Read one user."""
    return await call.answer_object(USER, user_id)


_TAG: Final = "subpackage_users"
_READ: Final = ("users:read",)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/users",
        id="list-users",
        summary="List users",
        description="Lists the workspace's users.",
        tag=_TAG,
        scopes=_READ,
        handler=list_users,
        answer=User,
        answer_description="User list response.",
        list_of=ListOf(
            search="Search words. Each must match the start of a word in the full name or an e-mail address; case, accents, "
            "apostrophes and hyphens are ignored. A user who has exactly the searched address comes first."
        ),
    ),
    Operation(
        method="GET",
        path="/v2/users/{user_id}",
        id="get-user-by-id",
        summary="Get user",
        description="Reads a single workspace user.",
        tag=_TAG,
        scopes=_READ,
        handler=get_user,
        answer=User,
        answer_description="User response.",
    ),
)
