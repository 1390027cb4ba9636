"""The commands on API keys, which the CLI and the console share."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import ids, sources
from herdbook.auth import store
from herdbook.auth.keys import ApiKey
from herdbook.auth.scopes import SCOPES
from herdbook.auth.store import Author
from herdbook.db.pool import Executor
from herdbook.errors import FieldError, Invalid
from herdbook.users.store import find_user

_MAX_NAME: Final = 255


class NewKey(NamedTuple):
    """A key to create. Without a user, it acts for the first active user of the workspace."""

    name: str
    scopes: Sequence[str]
    expires_at: datetime | None = None
    user_id: UUID | None = None


def check(key: NewKey) -> None:
    """Refuse a key that nobody could use. Refusal: Invalid, which names each fault."""
    if faults := list(_faults(key)):
        raise Invalid(faults)


async def create(
    statements: Executor, workspace_id: UUID, key: NewKey, made: ApiKey | None = None, by: Author | None = None
) -> ApiKey:
    """Create a key; its secret can never be read again. One that is `made` is created once, however often it is sent.

    Refusal: Invalid, which names each fault.
    """
    check(key)
    if key.user_id is not None and not await _is_active(statements, workspace_id, key.user_id):
        user = ids.encoded(ids.USER, key.user_id)
        message = f"There is no active user `{user}` in this workspace. `herdbook users list` shows all users."
        raise Invalid([FieldError("user", "unknown", message)])
    return await store.create_key(
        statements,
        workspace_id,
        key.name,
        set(key.scopes),
        key.expires_at,
        user_id=key.user_id,
        key=made,
        by=by or Author(),
    )


def _faults(key: NewKey) -> Iterator[FieldError]:
    if not key.name.strip() or len(key.name) > _MAX_NAME or not key.name.isprintable():
        message = f"A key needs a name, so that you can recognise it later. Use 1 to {_MAX_NAME} printable characters."
        yield FieldError("name", "invalid_format", message)
    if not key.scopes:
        yield FieldError("scope", "missing", "A key needs a scope, because it can do nothing without one.")
    if unknown := sorted(set(key.scopes) - SCOPES.keys()):
        message = f"There is no scope {', '.join(unknown)}. Choose from: {', '.join(SCOPES)}."
        yield FieldError("scope", "invalid_choice", message)
    if key.expires_at is not None and key.expires_at <= sources.now():
        message = f"`expires` is in the past: {key.expires_at.isoformat()}. Name a later time, or leave it out."
        yield FieldError("expires", "in_the_past", message)


async def _is_active(statements: Executor, workspace_id: UUID, user_id: UUID) -> bool:
    user = await find_user(statements, workspace_id, user_id)
    return user is not None and user.role.is_active
