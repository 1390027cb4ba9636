"""The pages of API keys: the list, the form of a new one, and the key itself, once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from herdbook import ids
from herdbook.api_keys import commands
from herdbook.api_keys.commands import NewKey
from herdbook.auth import store
from herdbook.auth.keys import PREFIX
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import Credential
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Visit
from herdbook.errors import FieldError, Invalid, NotFound

_KEYS: Final = f"{BASE}/keys"


class ListedKey(NamedTuple):
    """A key in the list, with its id as the CLI shows it, and whether it `works`, has `expired` or was `revoked`."""

    key: Credential
    shown_id: str
    state: str


async def show_keys(visit: Visit) -> Shown:
    """Show the keys of the workspace: those that work first, and the newest of them first."""
    keys = await store.list_keys(visit.services.database.pool, visit.session.stored.workspace_id)
    now = datetime.now(UTC)
    listed = [ListedKey(each, ids.encoded(PREFIX, each.id), _state(each, now)) for each in reversed(keys)]
    listed.sort(key=lambda each: each.state != "works")
    return Shown({"keys": listed})


def _state(key: Credential, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "works"


async def show_new_key(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of a new key."""
    context: dict[str, Any] = {"created": None, "errors": errors, "scopes": SCOPES, "admin": ADMIN, "sent": visit.fields}
    return Shown(context, 422 if errors else 200)


async def create_key(visit: Visit) -> PageAnswer:
    """Create a key, and show it. A page that is loaded again cannot show it."""
    stored, expires = visit.session.stored, visit.field("expires").strip()
    try:
        expires_at = datetime.fromisoformat(expires).replace(tzinfo=UTC) if expires else None
    except ValueError:
        message = "This is not a date. Send one such as 2027-01-31, or none."
        return await show_new_key(visit, [FieldError("expires", "invalid_format", message)])
    user_id = stored.user_id if visit.field("user") == "me" else None
    key = NewKey(visit.field("name").strip(), visit.fields("scope"), expires_at, user_id)
    try:
        created = await commands.create(visit.services.database.pool, stored.workspace_id, key)
    except Invalid as refusal:
        return await show_new_key(visit, refusal.errors)
    return Shown({"created": created, "name": key.name})


async def revoke_key(visit: Visit, shown_id: str) -> PageAnswer:
    """Revoke a key of the workspace. Refusal: NotFound."""
    key_id = ids.decoded(PREFIX, shown_id)
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    if key_id is None or not await store.revoke_key(pool, key_id, workspace_id):
        raise NotFound("key", "Open the list of keys again.")
    return visit.redirect(_KEYS, "The key was revoked. It stops working within 5 seconds.")


_SCOPES: Final = (ADMIN,)

PAGES: Final = (
    Page(
        method="GET",
        path="/keys",
        id="show-keys",
        scopes=_SCOPES,
        handler=show_keys,
        template="api_keys/list.html",
        menu=MenuItem("API keys", "key", "k"),
    ),
    Page(
        method="GET",
        path="/keys/new",
        id="show-new-key",
        scopes=_SCOPES,
        handler=show_new_key,
        template="api_keys/new.html",
        action="New API key",
    ),
    Page(method="POST", path="/keys/new", id="create-key", scopes=_SCOPES, handler=create_key, template="api_keys/new.html"),
    Page(method="POST", path="/keys/{key_id}/revoke", id="revoke-key", scopes=_SCOPES, handler=revoke_key),
)
