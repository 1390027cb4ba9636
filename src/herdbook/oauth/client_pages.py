"""The pages of OAuth clients, for administrators: the list, one client, and its secret, once."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.console.conflicts import state_of, theirs
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Redirect, Shown
from herdbook.console.visit import Visit
from herdbook.custom_fields.credential_pages import TEMPLATE as HISTORY_TEMPLATE
from herdbook.custom_fields.credential_pages import CredentialType, show_credential_history
from herdbook.custom_fields.telling import credential_history
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.oauth import store
from herdbook.oauth.model import AUTHORIZE_PATH, CLIENT_SECRET_PREFIX, TOKEN_PATH, ClientFacts
from herdbook.oauth.store import ListedClient

_CLIENTS: Final = f"{BASE}/clients"
_TYPE: Final = CredentialType("oauth_client", "client")
_PUBLIC: Final = "public"
# The latest changes among which a conflict looks for those of others.
_MAX_SINCE: Final = 10
_POSSIBLE: Final = {scope: sentence for scope, sentence in SCOPES.items() if scope != ADMIN}


class Seen(NamedTuple):
    """A client as a form has seen it: its state, and the id of its latest change."""

    state: str
    version: str


async def show_clients(visit: Visit) -> Shown:
    """Show the clients of the workspace: those that work first, and the newest of them first."""
    clients = [*reversed(await _clients(visit))]
    return Shown({"clients": sorted(clients, key=lambda each: each.revoked_at is not None)})


async def show_new_client(visit: Visit, errors: Sequence[FieldError] = ()) -> Shown:
    """Show the form of a new client."""
    return _form(None, _sent(visit), errors, is_public=visit.field("kind") == _PUBLIC)


async def create_client(visit: Visit) -> PageAnswer:
    """Create a client, and lead to the page that shows its secret once. A form that is sent twice creates one client."""
    facts, is_public = _sent(visit), visit.field("kind") == _PUBLIC
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    made = visit.made_once(facts.name, *sorted(facts.scopes), *facts.redirect_uris, visit.field("kind"))
    known = made.id, visit.secret_of(made)
    try:
        created = await store.create_client(pool, workspace_id, *facts, is_public=is_public, made=known, by=visit.author)
    except Invalid as refusal:
        return await show_new_client(visit, refusal.errors)
    visit.show_once(made)
    return Redirect(f"{_CLIENTS}/{created.client_id}/secret")


async def show_client(visit: Visit, shown_id: str) -> Shown:
    """Show a client. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    latest = await credential_history(visit, client.id, None, 1)
    seen = Seen(state_of(_facts(client)), latest[0].entry["version"] if latest else "")
    return _form(client, _facts(client), is_public=client.is_public, seen=seen)


async def change_client(visit: Visit, shown_id: str) -> PageAnswer:
    """Change a client, unless somebody else has changed it since the form was shown. Refusal: NotFound."""
    client, facts = await _client(visit, shown_id), _sent(visit)
    if client.revoked_at is not None:
        raise _not_here()
    is_changed = False
    if visit.field("seen") == state_of(_facts(client)):
        try:
            pool = visit.services.database.pool
            is_changed = await store.change_client(pool, client.workspace_id, client, facts, visit.author)
        except Invalid as refusal:
            return _form(
                client,
                facts,
                refusal.errors,
                is_public=client.is_public,
                seen=Seen(visit.field("seen"), visit.field("version")),
            )
    if not is_changed:
        now = await _client(visit, shown_id)
        differing = theirs(
            (
                ("Name", now.name, facts.name),
                ("Redirect addresses", "\n".join(now.redirect_uris), "\n".join(facts.redirect_uris)),
                ("May ask for", " ".join(sorted(now.scopes)), " ".join(sorted(facts.scopes))),
            )
        )
        history = await credential_history(visit, client.id, None, _MAX_SINCE)
        seen = Seen(state_of(_facts(now)), history[0].entry["version"] if history else "")
        shown = _form(now, facts, is_public=now.is_public, seen=seen)
        since = [each for each in history if each.entry["version"] > visit.field("version")]
        return Shown(dict(shown.context) | {"is_late": True, "theirs": differing, "since": since}, 412)
    return visit.redirect(f"{_CLIENTS}/{shown_id}", "The client was changed.")


async def replace_secret(visit: Visit, shown_id: str) -> PageAnswer:
    """Give a client another secret, and lead to the page that shows it once. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    made = visit.made_once(shown_id)._replace(id=client.id)
    pool, random = visit.services.database.pool, visit.secret_of(made)
    if not await store.replace_secret(pool, client.workspace_id, client.id, random, visit.author):
        raise _not_here()
    visit.show_once(made)
    return Redirect(f"{_CLIENTS}/{shown_id}/secret")


async def show_secret(visit: Visit, shown_id: str) -> Shown:
    """Show the id of a client, and its new secret, once, or say that it cannot be shown again. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    random = visit.shown_once(client.id)
    context: dict[str, Any] = {
        "client": client,
        "client_secret": None if random is None or client.is_public else CLIENT_SECRET_PREFIX + random,
        "authorize": visit.base_url + AUTHORIZE_PATH,
        "token": f"{visit.base_url}/api{TOKEN_PATH}",
    }
    return Shown(context)


async def revoke_client(visit: Visit, shown_id: str) -> PageAnswer:
    """Revoke a client. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    await store.revoke_client(visit.services.database.pool, client.id, client.workspace_id, visit.author)
    return visit.redirect(_CLIENTS, "The client was revoked. Its tokens stop working within 5 seconds.")


async def show_client_history(visit: Visit, shown_id: str) -> Shown:
    """Show who created a client, changed what of it, and revoked it. Refusal: NotFound."""
    client = await _client(visit, shown_id)
    return await show_credential_history(visit, _TYPE, client.id, f"{_CLIENTS}/{shown_id}")


async def _clients(visit: Visit) -> list[ListedClient]:
    return await store.list_clients(visit.services.database.pool, visit.session.stored.workspace_id)


async def _client(visit: Visit, shown_id: str) -> ListedClient:
    client_id = ids.decoded(CLIENT_PREFIX, shown_id)
    for client in await _clients(visit):
        if client.id == client_id:
            return client
    raise _not_here()


def _facts(client: ListedClient) -> ClientFacts:
    return ClientFacts(client.name, client.scopes, client.redirect_uris)


def _not_here() -> NotFound:
    return NotFound("client", "Open the list of clients again.")


def _sent(visit: Visit) -> ClientFacts:
    lines = (line.strip() for line in visit.field("redirect_uri").splitlines())
    return ClientFacts(visit.field("name").strip(), visit.fields("scope"), [line for line in lines if line])


def _form(
    client: ListedClient | None,
    facts: ClientFacts,
    errors: Sequence[FieldError] = (),
    *,
    is_public: bool,
    seen: Seen | None = None,
) -> Shown:
    context: dict[str, Any] = {
        "client": client,
        "facts": facts,
        "is_public": is_public,
        "errors": errors,
        "seen": seen,
        "is_late": False,
        "scopes": _POSSIBLE,
    }
    return Shown(context, 422 if errors else 200)


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
        method="GET",
        path="/clients/{client_id}/history",
        id="show-client-history",
        scopes=_SCOPES,
        handler=show_client_history,
        template=HISTORY_TEMPLATE,
    ),
    Page(
        method="GET",
        path="/clients/{client_id}/secret",
        id="show-client-secret",
        scopes=_SCOPES,
        handler=show_secret,
        template="oauth/secret.html",
    ),
    Page(
        method="POST",
        path="/clients/{client_id}/secret",
        id="replace-client-secret",
        scopes=_SCOPES,
        handler=replace_secret,
    ),
    Page(method="POST", path="/clients/{client_id}/revoke", id="revoke-client", scopes=_SCOPES, handler=revoke_client),
)
