"""The pages of OAuth clients, for administrators: the list, one client, and its secret, once."""

from collections.abc import Sequence
from typing import Any, Final

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Visit
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.oauth import store
from herdbook.oauth.model import AUTHORIZE_PATH, TOKEN_PATH, ClientFacts
from herdbook.oauth.store import ListedClient

_CLIENTS: Final = f"{BASE}/clients"
_PUBLIC: Final = "public"
_POSSIBLE: Final = {scope: sentence for scope, sentence in SCOPES.items() if scope != ADMIN}


async def show_clients(visit: Visit) -> Shown:
    """Show the clients of the workspace: those that work first, and the newest of them first."""
    clients = [*reversed(await _clients(visit))]
    return Shown({"clients": sorted(clients, key=lambda each: each.revoked_at is not None)})


async def show_new_client(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of a new client."""
    return _form(None, _sent(visit), errors, is_public=visit.field("kind") == _PUBLIC)


async def create_client(visit: Visit) -> PageAnswer:
    """Create a client, and show its secret. A page that is loaded again cannot show it."""
    facts, is_public = _sent(visit), visit.field("kind") == _PUBLIC
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    try:
        created = await store.create_client(pool, workspace_id, *facts, is_public=is_public)
    except Invalid as refusal:
        return await show_new_client(visit, refusal.errors)
    return _credentials(visit, facts.name, created.client_id, created.client_secret)


async def show_client(visit: Visit, shown_id: str) -> Shown:
    """Show a client. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    return _form(client, ClientFacts(client.name, client.scopes, client.redirect_uris), is_public=client.is_public)


async def change_client(visit: Visit, shown_id: str) -> PageAnswer:
    """Change a client. Refusal: NotFound."""
    client, facts = await _client(visit, shown_id), _sent(visit)
    try:
        is_changed = await store.change_client(visit.services.database.pool, client.workspace_id, client, facts)
    except Invalid as refusal:
        return _form(client, facts, refusal.errors, is_public=client.is_public)
    if not is_changed:
        raise _not_here()
    return visit.redirect(f"{_CLIENTS}/{shown_id}", "The client was changed.")


async def replace_secret(visit: Visit, shown_id: str) -> PageAnswer:
    """Give a client another secret, and show it, once. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    secret = await store.replace_secret(visit.services.database.pool, client.workspace_id, client.id)
    if secret is None:
        raise _not_here()
    return _credentials(visit, client.name, shown_id, secret)


async def revoke_client(visit: Visit, shown_id: str) -> PageAnswer:
    """Revoke a client. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    await store.revoke_client(visit.services.database.pool, client.id, client.workspace_id)
    return visit.redirect(_CLIENTS, "The client was revoked. Its tokens stop working within 5 seconds.")


async def _clients(visit: Visit) -> list[ListedClient]:
    return await store.list_clients(visit.services.database.pool, visit.session.stored.workspace_id)


async def _client(visit: Visit, shown_id: str) -> ListedClient:
    client_id = ids.decoded(CLIENT_PREFIX, shown_id)
    for client in await _clients(visit):
        if client.id == client_id:
            return client
    raise _not_here()


def _not_here() -> NotFound:
    return NotFound("client", "Open the list of clients again.")


def _sent(visit: Visit) -> ClientFacts:
    lines = (line.strip() for line in visit.field("redirect_uri").splitlines())
    return ClientFacts(visit.field("name").strip(), visit.fields("scope"), [line for line in lines if line])


def _form(client: ListedClient | None, facts: ClientFacts, errors: Sequence[FieldError] = (), *, is_public: bool) -> Shown:
    context: dict[str, Any] = {
        "created": False,
        "client": client,
        "facts": facts,
        "is_public": is_public,
        "errors": errors,
        "scopes": _POSSIBLE,
    }
    return Shown(context, 422 if errors else 200)


def _credentials(visit: Visit, name: str, client_id: str, client_secret: str) -> Shown:
    addresses = {"authorize": visit.base_url + AUTHORIZE_PATH, "token": f"{visit.base_url}/api{TOKEN_PATH}"}
    return Shown({"created": True, "name": name, "client_id": client_id, "client_secret": client_secret, **addresses})


_SCOPES: Final = (ADMIN,)
_TEMPLATE: Final = "oauth/client.html"

PAGES: Final = (
    Page(
        method="GET",
        path="/clients",
        id="show-clients",
        scopes=_SCOPES,
        handler=show_clients,
        template="oauth/clients.html",
        menu=MenuItem("OAuth clients", "apps"),
    ),
    Page(
        method="GET",
        path="/clients/new",
        id="show-new-client",
        scopes=_SCOPES,
        handler=show_new_client,
        template=_TEMPLATE,
    ),
    Page(method="POST", path="/clients/new", id="create-client", scopes=_SCOPES, handler=create_client, template=_TEMPLATE),
    Page(method="GET", path="/clients/{client_id}", id="show-client", scopes=_SCOPES, handler=show_client, template=_TEMPLATE),
    Page(
        method="POST",
        path="/clients/{client_id}",
        id="change-client",
        scopes=_SCOPES,
        handler=change_client,
        template=_TEMPLATE,
    ),
    Page(
        method="POST",
        path="/clients/{client_id}/secret",
        id="replace-client-secret",
        scopes=_SCOPES,
        handler=replace_secret,
        template=_TEMPLATE,
    ),
    Page(method="POST", path="/clients/{client_id}/revoke", id="revoke-client", scopes=_SCOPES, handler=revoke_client),
)
