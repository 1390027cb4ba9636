"""The pages of API keys: the list, the form of a new one, and the key itself, once."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, NamedTuple

from herdbook import ids, sources
from herdbook.api_keys import commands
from herdbook.api_keys.commands import NewKey
from herdbook.auth import store
from herdbook.auth.keys import PREFIX, ApiKey
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import Credential
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Redirect, Shown
from herdbook.console.visit import Visit
from herdbook.custom_fields.credential_pages import TEMPLATE as HISTORY_TEMPLATE
from herdbook.custom_fields.credential_pages import CredentialType, show_credential_history
from herdbook.errors import FieldError, Invalid, NotFound

_KEYS: Final = f"{BASE}/keys"
_TYPE: Final = CredentialType("api_key", "key")


# The lists with which a new key is tried, and the scopes that they need.
_TRIED: Final = {each: f"{each}:read" for each in ("contacts", "companies", "engagements", "tags", "users")}
# A key works on the day that its form names.
_END_OF_DAY: Final = time(23, 59, 59, tzinfo=UTC)


class ListedKey(NamedTuple):
    """A key in the list, with its id as the CLI shows it, and whether it `works`, has `expired` or was `revoked`."""

    key: Credential
    shown_id: str
    state: str

    @property
    def as_author(self) -> str:
        """The id by which the ledger and the log of requests know it."""
        return ids.encoded(ids.CREDENTIAL, self.key.id)


async def show_keys(visit: Visit) -> Shown:
    """Show the keys of the workspace: those that work first, and the newest of them first."""
    keys = await store.list_keys(visit.services.database.pool, visit.session.stored.workspace_id)
    now = sources.now()
    listed = [ListedKey(each, ids.encoded(PREFIX, each.id), _state(each, now)) for each in reversed(keys)]
    listed.sort(key=lambda each: each.state != "works")
    return Shown({"keys": listed})


def _state(key: Credential, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "works"


async def show_new_key(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of a new key."""
    context: dict[str, Any] = {"errors": errors, "scopes": SCOPES, "admin": ADMIN, "sent": visit.fields}
    return Shown(context, 422 if errors else 200)


async def create_key(visit: Visit) -> PageAnswer:
    """Create a key, and lead to the page that shows it once. A form that is sent twice creates one key."""
    stored, expires = visit.session.stored, visit.field("expires").strip()
    try:
        expires_at = datetime.combine(date.fromisoformat(expires), _END_OF_DAY) if expires else None
    except ValueError:
        message = "This is not a date. Give one such as 2027-01-31, or none."
        return await show_new_key(visit, [FieldError("expires", "invalid_format", message)])
    user_id = stored.user_id if visit.field("user") == "me" else None
    key = NewKey(visit.field("name").strip(), visit.fields("scope"), expires_at, user_id)
    made = visit.made_once(key.name, *sorted(key.scopes), expires, visit.field("user"))
    pool = visit.services.database.pool
    try:
        created = await commands.create(pool, stored.workspace_id, key, ApiKey(made.id, visit.secret_of(made)), visit.author)
    except Invalid as refusal:
        return await show_new_key(visit, refusal.errors)
    visit.show_once(made)
    return Redirect(f"{_KEYS}/{ids.encoded(PREFIX, created.id)}")


async def show_key(visit: Visit, shown_id: str) -> Shown:
    """Show a key that a form has just created, once, or say that it cannot be shown again. Refusal: NotFound."""
    key = await _key(visit, shown_id)
    secret = visit.shown_once(key.id)
    allowed = [plural for plural, scope in _TRIED.items() if scope in key.scopes or ADMIN in key.scopes]
    shown = None if secret is None else ApiKey(key.id, secret)
    return Shown({"key": shown, "name": key.name, "tried": next(iter(allowed), None)})


async def show_key_history(visit: Visit, shown_id: str) -> Shown:
    """Show who created a key, and who revoked it. Refusal: NotFound."""
    return await show_credential_history(visit, _TYPE, (await _key(visit, shown_id)).id, _KEYS)


async def _key(visit: Visit, shown_id: str) -> Credential:
    keys = await store.list_keys(visit.services.database.pool, visit.session.stored.workspace_id)
    for key in keys:
        if key.id == ids.decoded(PREFIX, shown_id):
            return key
    raise _not_here()


def _not_here() -> NotFound:
    return NotFound("key", "Open the list of keys again.")


async def revoke_key(visit: Visit, shown_id: str) -> PageAnswer:
    """Revoke a key of the workspace. Refusal: NotFound."""
    key_id = ids.decoded(PREFIX, shown_id)
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    if key_id is None or not await store.revoke_key(pool, key_id, workspace_id, visit.author):
        raise _not_here()
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
    Page(method="GET", path="/keys/{key_id}", id="show-key", scopes=_SCOPES, handler=show_key, template="api_keys/key.html"),
    Page(
        method="GET",
        path="/keys/{key_id}/history",
        id="show-key-history",
        scopes=_SCOPES,
        handler=show_key_history,
        template=HISTORY_TEMPLATE,
    ),
    Page(method="POST", path="/keys/{key_id}/revoke", id="revoke-key", scopes=_SCOPES, handler=revoke_key),
)
