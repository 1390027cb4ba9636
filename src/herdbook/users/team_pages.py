"""The pages of the team: who belongs to the workspace, invitations, roles, and one's own name."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress
from herdbook.auth.scopes import ADMIN
from herdbook.console import store as console_store
from herdbook.console.model import INVITATION_DAYS, link_address
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Visit
from herdbook.errors import FieldError, FieldsRefusal, Invalid, NotFound
from herdbook.ledger.commands import Update
from herdbook.users import store
from herdbook.users.commands import ChangeRole, CreateUser
from herdbook.users.model import ADMINISTRATORS, NameUpdate, NewUser, User, UserRole
from herdbook.users.store import USER

_ROLES_PATH: Final = f"{BASE}/users/roles"
_MAX_NAME: Final = 255
# The roles that somebody may have who belongs to the team, and what they may do.
_ROLES: Final = {
    UserRole.VIEWER: "reads everything but private engagements",
    UserRole.MEMBER: "also changes it",
    UserRole.ADMIN: "also administers the workspace",
    UserRole.OWNER: "also chooses the owners",
}


class ListedUser(NamedTuple):
    """A user in the list, by name, and whether the user has signed in before."""

    user: User
    name: str
    has_account: bool


async def show_roles(visit: Visit, error: FieldError | None = None, about: str = "") -> Shown:
    """Show the users of the workspace, those who have left last."""
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    with_accounts = {ids.encoded(ids.USER, each) for each in await console_store.users_with_accounts(pool, workspace_id)}
    users = [ListedUser(each, _name_of(each), each.id in with_accounts) for each in await store.all_users(pool, workspace_id)]
    users.sort(key=lambda each: (not each.user.role.is_active, each.name.lower()))
    context = {"users": users, "roles": _ROLES, "error": error, "about": about, "me": visit.session.shown_user_id}
    return Shown(context, 422 if error else 200)


async def show_new_user(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of an invitation."""
    context: dict[str, Any] = {"link": None, "errors": errors, "roles": _ROLES, "visit": visit}
    return Shown(context, 422 if errors else 200)


async def invite(visit: Visit) -> PageAnswer:
    """Add a user to the workspace, and show the link that lets the user in."""
    first_name, last_name, email = (visit.field(name).strip() for name in ("first_name", "last_name", "email"))
    errors = [*_name_faults(first_name, last_name)]
    role = next((each for each in _ROLES if each.value == visit.field("role")), None)
    if role is None:
        errors.append(FieldError("role", "invalid_choice", "Choose a role."))
    elif role is UserRole.OWNER and visit.session.stored.role != UserRole.OWNER.value:
        errors.append(FieldError("role", "invalid_choice", "Only an owner makes somebody an owner. Choose another role."))
    if not email:
        errors.append(FieldError("email", "required", "Send the address, by which others know that it is this person."))
    if errors or role is None:
        return await show_new_user(visit, errors)
    try:
        written = await visit.write(CreateUser(NewUser(first_name, last_name or None, (email,), role)))
    except NotAnAddress as error:
        return await show_new_user(visit, [FieldError("email", "invalid_format", f"This is not an e-mail address: {error}")])
    except FieldsRefusal:
        message = "Another user of this workspace has this address. If somebody comes back, choose a role in the list."
        return await show_new_user(visit, [FieldError("email", "already_in_use", message)])
    return await _shown_invitation(visit, msgspec.json.decode(written.body, type=User))


async def invite_again(visit: Visit, shown_id: str) -> PageAnswer:
    """Show another link for a user who has never signed in. Refusals: NotFound, Invalid."""
    user = await _user(visit, shown_id)
    with_accounts = await console_store.users_with_accounts(visit.services.database.pool, visit.session.stored.workspace_id)
    if ids.decoded(ids.USER, user.id) in with_accounts or not user.role.is_active:
        message = (
            "An invitation is for somebody who has never signed in. For a lost password, the server's operator makes a link."
        )
        raise Invalid([FieldError("user", "already_in_use", message)])
    return await _shown_invitation(visit, user)


async def _shown_invitation(visit: Visit, user: User) -> Shown:
    user_id = ids.decoded(ids.USER, user.id)
    assert user_id is not None, "the ledger gave it"
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    link = await console_store.create_link(pool, workspace_id, user_id, is_invitation=True)
    url = visit.services.public_url or visit.origin
    return Shown({"link": link_address(url, link), "name": _name_of(user), "days": INVITATION_DAYS})


async def change_role(visit: Visit, shown_id: str) -> PageAnswer:
    """Change the role of a user, or end the membership. Refusals: NotFound, Forbidden."""
    stored, pool = visit.session.stored, visit.services.database.pool
    user = await _user(visit, shown_id)
    role = next((each for each in (*_ROLES, UserRole.INACTIVE) if each.value == visit.field("role")), None)
    if role is None:
        return await show_roles(visit, FieldError("role", "invalid_choice", "Choose a role."), user.id)
    users = await store.all_users(pool, stored.workspace_id)
    administrators = [ids.decoded(ids.USER, each.id) or ids.NIL for each in users if each.role in ADMINISTRATORS]
    user_id = ids.decoded(ids.USER, user.id) or ids.NIL
    try:
        await visit.write(ChangeRole(user_id, role, stored.user_id, tuple(administrators)))
    except Invalid as refusal:
        return await show_roles(visit, refusal.errors[0], user.id)
    name = _name_of(user)
    if role is UserRole.INACTIVE:
        await console_store.end_sessions_of_user(pool, stored.workspace_id, user_id)
        return visit.redirect(_ROLES_PATH, f"{name} does not belong to the workspace any more.")
    return visit.redirect(_ROLES_PATH, f"{name} is now {role.value.lower()}.")


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
    users = await store.all_users(visit.services.database.pool, visit.session.stored.workspace_id)
    found = next((each for each in users if each.id == shown_id), None)
    if found is None:
        raise NotFound("user", "Open the list of people again.")
    return found


def _name_of(user: User) -> str:
    emails = [each.email for each in user.emails]
    full = " ".join(part for part in (user.first_name, user.last_name) if part)
    return next((text for text in (full, *emails) if text.strip()), "A user")


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
        path="/users/{user_id}/invitation",
        id="invite-user-again",
        scopes=_SCOPES,
        handler=invite_again,
        template="users/new.html",
    ),
    Page(method="GET", path="/account/name", id="show-name", scopes=(), handler=show_name, template="users/name.html"),
    Page(method="POST", path="/account/name", id="set-name", scopes=(), handler=set_name, template="users/name.html"),
)
