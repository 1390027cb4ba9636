"""The user as clients see it, and the rules that need nothing but the user itself."""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.errors import FieldError
from herdbook.phone_numbers import e164
from herdbook.shared_schemas import Time


class UserObject(Enum):
    """Resource discriminator for user payloads."""

    USER = "user"


class UserRole(Enum):
    """A user's role in the team. Users who are not in the team, or no longer, cannot become owners."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"
    VIEWER = "VIEWER"
    INACTIVE = "INACTIVE"
    NOT_INVITED = "NOT_INVITED"

    @property
    def is_active(self) -> bool:
        """Whether a user with this role may own engagements."""
        return self not in (UserRole.INACTIVE, UserRole.NOT_INVITED)


ADMINISTRATORS: Final = frozenset({UserRole.OWNER, UserRole.ADMIN})


class UserEmail(msgspec.Struct, frozen=True):
    """An e-mail address of a user."""

    schema_name: ClassVar[str] = "UserEmailsItems"

    email: str
    is_primary: bool


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Public representation of a workspace user."""

    schema_name: ClassVar[str] = "user"
    example: ClassVar[dict[str, Any]] = {
        "object": "user",
        "id": ids.example(ids.USER),
        "role": "MEMBER",
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "first_name": "Charles",
        "last_name": "Babbage",
        "job_title": "Engineer",
        "emails": [{"email": "charles@example.com", "is_primary": True}],
    }

    object: UserObject
    id: Annotated[str, fields.id_schema(ids.USER)]
    role: UserRole
    created_at: Time
    updated_at: Time
    first_name: str | None = None
    last_name: str | None = None
    job_title: str | UnsetType = UNSET
    emails: tuple[UserEmail, ...] = ()
    time_zone: str | UnsetType = UNSET
    last_activity_at: Time | UnsetType = UNSET


def _address(email: str, path: str) -> Iterator[FieldError]:
    try:
        comparable_address(email.strip())
    except NotAnAddress as error:
        yield FieldError(path, "invalid_format", f"`{path}` is not an e-mail address: {error}")


class InvitationCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for inviting somebody."""

    schema_name: ClassVar[str] = "invitation_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"first_name": fields.text, "last_name": fields.text, "email": _address}
    example: ClassVar[dict[str, Any]] = {
        "first_name": "Charles",
        "last_name": "Babbage",
        "email": "charles@example.com",
        "role": "MEMBER",
    }

    first_name: fields.Name
    last_name: fields.Name | None = None
    email: Annotated[str, Meta(description="The address by which others know the user.", extra_json_schema={"format": "email"})]
    role: Literal["OWNER", "ADMIN", "MEMBER", "VIEWER"]


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A link that lets a user in, once."""

    schema_name: ClassVar[str] = "invitation"
    example: ClassVar[dict[str, Any]] = {
        "object": "invitation",
        "id": ids.example(ids.SIGN_IN_LINK),
        "user_id": ids.example(ids.USER),
        "expires_at": "2026-03-08T12:00:00.000000Z",
    }

    object: Literal["invitation"] = "invitation"
    id: Annotated[str, fields.id_schema(ids.SIGN_IN_LINK)]
    user_id: Annotated[str, fields.id_schema(ids.USER, "The user whom it lets in.")]
    expires_at: Time
    url: (
        Annotated[str, Meta(description="The address to send to the user, which only the answer that creates it has.")]
        | UnsetType
    ) = UNSET


class InvitationList(msgspec.Struct, frozen=True, kw_only=True):
    """The invitations of a workspace that still work, the oldest first."""

    schema_name: ClassVar[str] = "invitation_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [Invitation.example],
        "has_more": False,
        "next_cursor": None,
    }

    object: Literal["list"] = "list"
    data: tuple[Invitation, ...]
    has_more: bool = False
    next_cursor: str | None = None


class UserRoleUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing the role of a user."""

    schema_name: ClassVar[str] = "user_role_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"role": "VIEWER"}

    role: Literal["OWNER", "ADMIN", "MEMBER", "VIEWER", "INACTIVE"]


class RoleUpdate(msgspec.Struct, frozen=True):
    """The change of a user's role."""

    role: UserRole


class NameUpdate(msgspec.Struct, frozen=True):
    """The change of a user's name."""

    first_name: fields.Name
    last_name: fields.Name | None


class NewUser(NamedTuple):
    """The data of a new user. The first address is the primary one."""

    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[str, ...] = ()
    role: UserRole = UserRole.MEMBER
    job_title: str | None = None
    time_zone: str | None = None
    phone_number: str | None = None

    def handles(self) -> Iterator[str]:
        """Yield the user's addresses, then the number, as compared. Raise NotAnAddress for a malformed address."""
        for email in self.emails:
            yield comparable_address(email.strip())
        if self.phone_number is not None:
            yield e164(self.phone_number) or self.phone_number
