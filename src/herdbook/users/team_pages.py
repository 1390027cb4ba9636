"""The pages of the team: who belongs to the workspace, invitations, roles, and one's own name."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec import UNSET

from herdbook import fields, ids
from herdbook.auth.scopes import ADMIN
from herdbook.console import store as console_store
from herdbook.console.model import INVITATION_DAYS
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.naming import name_of
from herdbook.errors import FieldError, NotFound
from herdbook.http.problems import ErrorItem
from herdbook.ledger.commands import Update
from herdbook.shared_schemas import Deleted
from herdbook.users import store
from herdbook.users.model import Invitation, InvitationList, NameUpdate, User, UserRole
from herdbook.users.store import USER

_ROLES_PATH: Final = f"{BASE}/users/roles"
LIMIT: Final = 50
_MAX_NAME: Final = 255
# The roles that somebody may have who belongs to the team, and what they may do.
_ROLES: Final = {
    UserRole.VIEWER: "reads everything but private engagements",
    UserRole.MEMBER: "also changes it",
    UserRole.ADMIN: "also administers the workspace",
    UserRole.OWNER: "also chooses the owners",
}


class ListedUser(NamedTuple):
    """A user in the list, by name, whether the user has signed in before, and the invitations that still work."""

    user: User
    name: str
    has_account: bool
    invitations: Sequence[Invitation]


async def show_roles(visit: Visit, error: ErrorItem | None = None, about: str = "") -> Shown:
    """Show a page of the users of the workspace, or of those found by a search; with an error, the user whom it is about."""
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    search, cursor = visit.query.get("search", "").strip(), visit.query.get("cursor")
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {"search": search} if search else {})
    listed = (await visit.call("list-users", Listed[User], query=query)).value
    shown = [await _user(visit, about)] if error else listed.data
    user_ids = ids.decoded_all(ids.USER, [each.id for each in shown])
    found = await console_store.users_with_accounts(pool, workspace_id, user_ids)
    with_accounts = {ids.encoded(ids.USER, each) for each in found}
    invitations = (await visit.call("list-invitations", InvitationList)).value.data
    users = [
        ListedUser(each, name_of(each), each.id in with_accounts, [link for link in invitations if link.user_id == each.id])
        for each in shown
    ]
    context: dict[str, Any] = {
        "users": users,
        "roles": _ROLES,
        "error": error,
        "about": about,
        "me": visit.session.shown_user_id,
        "search": search,
        "next": visit.next_page(listed.next_cursor),
        "has_more": listed.has_more and error is None,
        "is_first": not cursor,
    }
    return Shown(context, 422 if error else 200)


async def show_new_user(visit: Visit, errors: Sequence[ErrorItem] = ()) -> Shown:
    """Show the form of an invitation."""
    context: dict[str, Any] = {"link": None, "errors": errors, "roles": _ROLES, "visit": visit}
    return Shown(context, 422 if errors else 200)


async def invite(visit: Visit) -> PageAnswer:
    """Add a user to the workspace, and show the link that lets the user in."""
    names = ("first_name", "last_name", "email", "role")
    body = {name: text for name in names if (text := visit.field(name).strip())}
    try:
        invitation = (await visit.call("create-invitation", Invitation, body=body)).value
    except Refused as refused:
        if refused.problem.errors is UNSET:
            raise
        return await show_new_user(visit, refused.problem.errors)
    return await _shown_invitation(visit, invitation)


async def invite_again(visit: Visit, user_id: str) -> PageAnswer:
    """Show another link for a user who has never signed in."""
    return await _shown_invitation(visit, (await visit.call("create-user-invitation", Invitation, user_id)).value)


async def _shown_invitation(visit: Visit, invitation: Invitation) -> Shown:
    user = (await visit.call("get-user-by-id", User, invitation.user_id)).value
    # The operation names the server by its own address; a browser may know it by another one.
    url = (visit.services.public_url or visit.origin) + urlsplit(invitation.url or "").path
    return Shown({"link": url, "name": name_of(user), "days": INVITATION_DAYS})


async def revoke_invitation(visit: Visit, invitation_id: str) -> PageAnswer:
    """Revoke an invitation."""
    await visit.call("revoke-invitation", Deleted, invitation_id)
    return visit.redirect(_ROLES_PATH, "The link no longer works.")


async def change_role(visit: Visit, user_id: str) -> PageAnswer:
    """Change the role of a user, or end the membership."""
    try:
        user = (await visit.call("update-user-role", User, user_id, body={"role": visit.field("role")})).value
    except Refused as refused:
        if refused.problem.errors is UNSET:
            raise
        return await show_roles(visit, refused.problem.errors[0], user_id)
    if user.role is UserRole.INACTIVE:
        return visit.redirect(_ROLES_PATH, f"{name_of(user)} does not belong to the workspace any more.")
    return visit.redirect(_ROLES_PATH, f"{name_of(user)} is now {user.role.value.lower()}.")


async def show_name(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of one's own name."""
    user = await _user(visit, visit.session.shown_user_id)
    first = visit.field("first_name") if errors else user.first_name
    last = visit.field("last_name") if errors else user.last_name
    context = {"first_name": first or "", "last_name": last or "", "errors": errors}
    return Shown(context, 422 if errors else 200)


async def set_name(visit: Visit) -> PageAnswer:
    """Change one's own name."""
    first_name, last_name = visit.field("first_name").strip(), visit.field("last_name").strip()
    if errors := [*_name_faults(first_name, last_name)]:
        return await show_name(visit, errors)
    await visit.write(Update(USER, visit.session.stored.user_id, NameUpdate(first_name, last_name or None)))
    return visit.redirect(f"{BASE}/account", "Your name is changed.")


async def _user(visit: Visit, shown_id: str) -> User:
    """Return a user of the workspace. Refusal: NotFound."""
    user_id = ids.decoded(ids.USER, shown_id) or ids.NIL
    found = await store.find_user(visit.services.database.pool, visit.session.stored.workspace_id, user_id)
    if found is None:
        raise NotFound("user", "Open the list of people again.")
    return found


def _name_faults(first_name: str, last_name: str) -> list[FieldError]:
    faults = [*fields.text(last_name or None, "last_name")]
    if not first_name:
        faults.append(FieldError("first_name", "required", "Send a first name, so that others can recognise the person."))
    else:
        faults += fields.text(first_name, "first_name")
    texts = {"first_name": first_name, "last_name": last_name}
    message = f"A name has at most {_MAX_NAME} characters. Send a shorter one."
    return faults + [FieldError(name, "too_long", message) for name, text in texts.items() if len(text) > _MAX_NAME]


_SCOPES: Final = (ADMIN,)

PAGES: Final = (
    Page(
        method="GET",
        path="/users/roles",
        id="show-roles",
        scopes=_SCOPES,
        handler=show_roles,
        template="users/roles.html",
        menu=MenuItem("Roles and invitations", "people", "p"),
    ),
    Page(
        method="GET",
        path="/users/new",
        id="show-new-user",
        scopes=_SCOPES,
        handler=show_new_user,
        template="users/new.html",
        action="Invite somebody",
    ),
    Page(method="POST", path="/users/new", id="invite-user", scopes=_SCOPES, handler=invite, template="users/new.html"),
    Page(
        method="POST",
        path="/users/{user_id}/role",
        id="change-role",
        scopes=_SCOPES,
        handler=change_role,
        template="users/roles.html",
    ),
    Page(
        method="POST",
        path="/invitations/{invitation_id}/revoke",
        id="revoke-invitation-by-form",
        scopes=_SCOPES,
        handler=revoke_invitation,
    ),
    Page(
        method="POST",
        path="/users/{user_id}/invitation",
        id="invite-user-again",
        scopes=_SCOPES,
        handler=invite_again,
        template="users/new.html",
    ),
    Page(method="GET", path="/account/name", id="show-name", scopes=(), handler=show_name, template="users/name.html"),
    Page(method="POST", path="/account/name", id="set-name", scopes=(), handler=set_name, template="users/name.html"),
)
