"""The pages of users: the list, and a user with what the user looks after."""

from typing import Any, Final

from herdbook.console.page import MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Visit
from herdbook.custom_fields.naming import name_of
from herdbook.users.model import User

_LIMIT: Final = 50
_MAX_ENGAGEMENTS: Final = 10


async def show_users(visit: Visit) -> PageAnswer:
    """Show the users of the workspace: those whom a search finds, or all."""
    search, cursor = visit.query.get("search", "").strip(), visit.query.get("cursor")
    query = {"limit": str(_LIMIT)} | ({"cursor": cursor} if cursor else {"search": search} if search else {})
    listed = (await visit.call("list-users", Listed[User], query=query)).value
    context: dict[str, Any] = {
        "users": listed.data,
        "search": search,
        "next": visit.next_page(listed.next_cursor),
        "has_more": listed.has_more,
        "is_first": not cursor,
        "name_of": name_of,
    }
    return Shown(context)


async def show_user(visit: Visit, user_id: str) -> PageAnswer:
    """Show a user, and the engagements that the user owns."""
    user = (await visit.call("get-user-by-id", User, user_id)).value
    engagements: Listed[dict[str, Any]] | None = None
    if visit.session.may("engagements:read"):
        query = {"limit": str(_MAX_ENGAGEMENTS), "filter[owner_ids][eq]": user_id}
        engagements = (await visit.call("list-engagements", Listed[dict[str, Any]], query=query)).value
    return Shown({"user": user, "name": name_of(user), "engagements": engagements})


_READ: Final = ("users:read",)

PAGES: Final = (
    Page(
        method="GET",
        path="/users",
        id="show-users",
        scopes=_READ,
        handler=show_users,
        template="users/list.html",
        menu=MenuItem("Team", "person"),
    ),
    Page(method="GET", path="/users/{user_id}", id="show-user", scopes=_READ, handler=show_user, template="users/user.html"),
)
