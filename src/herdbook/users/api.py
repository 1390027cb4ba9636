"""The operations of /v2/users, of invitations, and of roles."""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.console import store as console_store
from herdbook.console.model import link_address
from herdbook.errors import FieldError, Invalid, NotFound, Taken
from herdbook.http.call import Call
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.shared_schemas import Deleted, shown_time
from herdbook.users import store
from herdbook.users.commands import ChangeRole, InviteUser
from herdbook.users.model import (
    ADMINISTRATORS,
    Invitation,
    InvitationCreate,
    InvitationList,
    NewUser,
    User,
    UserRole,
    UserRoleUpdate,
)
from herdbook.users.store import USER


async def list_users(call: Call) -> Answer:
    """List the users of the workspace."""
    return await call.answer_list(store.page)


async def get_user(call: Call, user_id: UUID) -> Answer:
    """Read one user."""
    return await call.answer_object(USER, user_id)


async def list_invitations(call: Call) -> Answer:
    """List the invitations that still work."""
    rows = await console_store.invitations(call.services.database.pool, call.caller.workspace_id)
    data = tuple(_shown(each) for each in rows)
    return Answer(msgspec.json.encode(InvitationList(data=data)))


async def create_invitation(call: Call, asked: InvitationCreate) -> Answer:
    """Add a user to the workspace, and answer with the link that lets the user in. Refusals: Taken, Invalid."""
    new = NewUser(asked.first_name, asked.last_name, (asked.email,), UserRole(asked.role))
    command = InviteUser(new, call.caller.own_user_id)
    try:
        written = await call.services.ledger.write(call.caller.workspace_id, command, call.origin)
    except Taken as refusal:
        message = "Another user of this workspace has this address. If somebody comes back, change the role of that user."
        raise Taken([FieldError("email", "already_in_use", message)], refusal.holders, refusal.read_scope) from None
    call.has_written = True
    return await _invited(call, ids.decoded(ids.USER, msgspec.json.decode(written.body, type=User).id) or ids.NIL)


async def create_user_invitation(call: Call, user_id: UUID) -> Answer:
    """Make another link for a user who has never signed in. Refusals: NotFound, Invalid."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    user = await store.find_user(pool, workspace_id, user_id)
    if user is None:
        raise NotFound("user", object_id=user_id)
    if not user.role.is_active or await console_store.users_with_accounts(pool, workspace_id, [user_id]):
        message = (
            "An invitation is for somebody who has never signed in. For a lost password, the server's operator makes a link."
        )
        raise Invalid([FieldError("user_id", "not_allowed", message)])
    return await _invited(call, user_id)


async def _invited(call: Call, user_id: UUID) -> Answer:
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    link = await console_store.create_link(pool, workspace_id, user_id, is_invitation=True)
    rows = await console_store.invitations(pool, workspace_id, user_id)
    row = next(each for each in rows if each.id == link.id)
    return Answer(msgspec.json.encode(_shown(row, link_address(call.base_url, link))))


def _shown(row: console_store.InvitationRow, url: str | UnsetType = UNSET) -> Invitation:
    return Invitation(
        id=ids.encoded(ids.SIGN_IN_LINK, row.id),
        user_id=ids.encoded(ids.USER, row.user_id),
        expires_at=shown_time(row.expires_at),
        url=url,
    )


async def revoke_invitation(call: Call, invitation_id: UUID) -> Answer:
    """Revoke an invitation. Its user stays. Refusal: NotFound."""
    if not await console_store.revoke_invitation(call.services.database.pool, call.caller.workspace_id, invitation_id):
        raise NotFound("invitation", "It may be used up, too old, or revoked already.", object_id=invitation_id)
    return Answer(msgspec.json.encode(Deleted(id=ids.encoded(ids.SIGN_IN_LINK, invitation_id), object="invitation")))


async def update_user_role(call: Call, user_id: UUID, asked: UserRoleUpdate) -> Answer:
    """Change the role of a user, or end the membership. Refusals: NotFound, Forbidden, Invalid."""
    pool, workspace_id = call.services.database.pool, call.caller.workspace_id
    users = await store.all_users(pool, workspace_id)
    administrators = [ids.decoded(ids.USER, each.id) or ids.NIL for each in users if each.role in ADMINISTRATORS]
    role = UserRole(asked.role)
    answer = await call.write(ChangeRole(user_id, role, call.caller.own_user_id, tuple(administrators)))
    if role is UserRole.INACTIVE:
        await console_store.end_sessions_of_user(pool, workspace_id, user_id)
    return answer


_TAG: Final = "subpackage_users"
_READ: Final = ("users:read",)
_ADMIN: Final = (ADMIN,)
_INVITATIONS: Final = "/herdbook/invitations"

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
    Operation(
        method="GET",
        path=_INVITATIONS,
        id="list-invitations",
        summary="List invitations",
        description="Lists the invitations that still work: they are neither used, nor revoked, nor older than 7 days.",
        tag=_TAG,
        scopes=_ADMIN,
        handler=list_invitations,
        answer=InvitationList,
        answer_description="Invitation list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_INVITATIONS,
        id="create-invitation",
        summary="Create invitation",
        description="Adds a user to the workspace, and returns a link that lets this user in to the console, once and for 7 "
        "days. Only a credential that was made for an owner makes somebody an owner.",
        tag=_TAG,
        scopes=_ADMIN,
        handler=create_invitation,
        body=InvitationCreate,
        answer=Invitation,
        answer_description="Created invitation response, with the link.",
        status=201,
        bypasses_ledger=True,
        refusals=(Taken,),
    ),
    Operation(
        method="DELETE",
        path=_INVITATIONS + "/{invitation_id}",
        id="revoke-invitation",
        summary="Revoke invitation",
        description="Revokes an invitation. Its user stays in the workspace; change the role to end the membership.",
        tag=_TAG,
        scopes=_ADMIN,
        handler=revoke_invitation,
        answer=Deleted,
        answer_description="Revoked invitation response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/users/{user_id}/invitations",
        id="create-user-invitation",
        summary="Create user invitation",
        description="Makes another link for a user who has never signed in.",
        tag=_TAG,
        scopes=_ADMIN,
        handler=create_user_invitation,
        answer=Invitation,
        answer_description="Created invitation response, with the link.",
        status=201,
        bypasses_ledger=True,
        refusals=(Invalid,),
    ),
    Operation(
        method="PATCH",
        path="/herdbook/users/{user_id}",
        id="update-user-role",
        summary="Update user role",
        description="Changes the role of a user from the next request on. `INACTIVE` ends the membership: the user is signed "
        "out, and keys and programs that act for the user stop. Only a credential that was made for an owner makes somebody an "
        "owner, or changes the role of one; somebody always stays to administer the workspace.",
        tag=_TAG,
        scopes=_ADMIN,
        handler=update_user_role,
        body=UserRoleUpdate,
        answer=User,
        answer_description="Updated user response.",
    ),
)
