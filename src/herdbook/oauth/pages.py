"""The page on which a person lets a program in, or does not (RFC 6749, 7636, 9207 and 9700), and the programs let in."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.auth.roles import within_role
from herdbook.auth.scopes import SCOPES
from herdbook.console import store as console_store
from herdbook.console.model import Membership
from herdbook.console.page import BASE, OAUTH, Page, PageAnswer, Shown
from herdbook.console.visit import Visit
from herdbook.errors import Invalid, Unauthenticated
from herdbook.oauth import server, store
from herdbook.oauth.model import NotAuthorized
from herdbook.oauth.server import Asked

_CHANGED: Final = "Something has changed since you opened this page. Look at it again before you decide."


class Offer(NamedTuple):
    """The user that a person is in a program's workspace, and the scopes that the person can let the program have there.

    The role withholds the other scopes that the program asks for.
    """

    membership: Membership
    scopes: Sequence[str]
    withheld: Sequence[str]


async def show_request(visit: Visit) -> PageAnswer:
    """Show the person which program asks for access, and to what. Refusal: Unauthenticated.

    Nobody is led to another site before signing in, or without choosing it, even if the request has a fault that the program
    must learn (RFC 9700, section 4.11.2): whoever administers a workspace chooses the addresses of its programs.
    """
    try:
        asked = await server.asked(visit.services.database.pool, visit.query.multi_items())
    except Invalid as refusal:
        return _refused(refusal)
    if not visit.has_session:
        raise Unauthenticated("You are not signed in.")
    try:
        scopes = asked.scopes()
    except NotAuthorized as refusal:
        fault = refusal.description.replace("`", "")
        address = _told(visit, asked, refusal)
        return Shown({"step": "fails", "client": asked.client, "fault": fault, "address": address, "place": _place(asked)}, 400)
    return await _shown(visit, asked, scopes)


async def decide(visit: Visit) -> PageAnswer:
    """Let a program in as the page has offered it, or refuse it. An offer that has changed meanwhile is shown again."""
    pool = visit.services.database.pool
    try:
        asked = await server.asked(pool, visit.query.multi_items())
    except Invalid as refusal:
        return _refused(refusal)
    if visit.field("decision") != "allow":
        return _leaving(asked, _denied(visit, asked))
    try:
        scopes = asked.scopes()
    except NotAuthorized as refusal:
        return _leaving(asked, _told(visit, asked, refusal))
    offer = await _offer(visit, asked, scopes)
    if offer is None or not offer.scopes or visit.field("scope") != " ".join(offer.scopes):
        return await _shown(visit, asked, scopes, _CHANGED)
    request = asked.request._replace(scope=" ".join(offer.scopes))
    code = await server.issue_code(pool, request, offer.membership.user_id)
    return _leaving(asked, asked.answer(visit.base_url, code=code))


async def _offer(visit: Visit, asked: Asked, scopes: Sequence[str]) -> Offer | None:
    """Return the offer of a person who belongs to the program's workspace, or None."""
    memberships = await console_store.memberships(visit.services.database.pool, visit.session.stored.person_id)
    for each in memberships:
        if each.workspace_id == asked.client.workspace_id:
            offered = within_role(scopes, each.role)
            return Offer(each, offered, [scope for scope in scopes if scope not in offered])
    return None


async def _shown(visit: Visit, asked: Asked, scopes: Sequence[str], changed: str = "") -> Shown:
    context: dict[str, Any] = {
        "client": asked.client,
        "offer": await _offer(visit, asked, scopes),
        "sentences": SCOPES,
        "place": _place(asked),
        "denied": _denied(visit, asked),
        "changed": changed,
    }
    return Shown({"step": "asks", **context}, 409 if changed else 200)


def _refused(refusal: Invalid) -> Shown:
    return Shown({"step": "refused", "fault": refusal.errors[0].message.replace("`", "")}, 400)


def _leaving(asked: Asked, address: str) -> Shown:
    """Show a page that leads to the program. The policy lets no form redirect to another site."""
    return Shown({"step": "leaves", "client": asked.client, "address": address})


def _told(visit: Visit, asked: Asked, refusal: NotAuthorized) -> str:
    return asked.answer(visit.base_url, error=refusal.error, error_description=refusal.description)


def _denied(visit: Visit, asked: Asked) -> str:
    return asked.answer(visit.base_url, error="access_denied", error_description="The user has not let the program in.")


def _place(asked: Asked) -> str:
    """Return the host that gets the answer, or an empty text for this computer. A port or a user would only hide it."""
    parts = urlsplit(asked.request.redirect_uri)
    return parts.hostname or "" if parts.scheme == "https" else ""


async def show_programs(visit: Visit) -> Shown:
    """Show the programs that the person has let in, in any workspace."""
    return Shown({"programs": await store.programs_of(visit.services.database.pool, visit.session.stored.person_id)})


async def shut_out(visit: Visit, shown_id: str) -> PageAnswer:
    """Take back what the person has let a program do. One that was not let in changes nothing."""
    client_id = ids.decoded(CLIENT_PREFIX, shown_id) or ids.NIL
    await store.shut_out(visit.services.database.pool, visit.session.stored.person_id, client_id)
    return visit.redirect(f"{BASE}/programs", "The program is shut out. Its tokens stop working within 5 seconds.")


PAGES: Final = (
    Page(method="GET", path="/programs", id="show-programs", scopes=(), handler=show_programs, template="oauth/programs.html"),
    Page(
        method="POST",
        path="/programs/{client_id}/shut-out",
        id="shut-out-program",
        scopes=(),
        handler=shut_out,
        is_personal=True,
    ),
    Page(
        method="GET",
        path="/authorize",
        base=OAUTH,
        id="show-authorization",
        # It needs a session once it is known which program asks.
        scopes=None,
        handler=show_request,
        template="oauth/authorize.html",
    ),
    Page(
        method="POST",
        path="/authorize",
        base=OAUTH,
        id="decide-authorization",
        scopes=(),
        handler=decide,
        template="oauth/authorize.html",
        # It acts in the workspace of the program.
        is_personal=True,
    ),
)
