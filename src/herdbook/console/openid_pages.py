"""The pages by which people sign in with an OpenID provider."""

import hmac
import logging
from typing import Final

from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.console import sign_in_store, store
from herdbook.console.page import BASE, Page, PageAnswer, Redirect
from herdbook.console.pages import begin, sign_in_again
from herdbook.console.visit import Visit, own_path
from herdbook.errors import RateLimited

_log: Final = logging.getLogger("herdbook.console")
_CALLBACK: Final = "/sign-in/openid/callback"
_NONE: Final = "This server has no OpenID provider. Sign in with your password."
_AWAY: Final = "The OpenID provider cannot be asked. Try again, or use your password."
_FAILED: Final = "The OpenID provider did not let you in, or the sign-in took too long. Try again."
_UNKNOWN: Final = (
    "Nobody of this server has the address that the OpenID provider names. Ask an administrator for an invitation."
)


async def ask_provider(visit: Visit) -> PageAnswer:
    """Send the browser to the provider."""
    if visit.openid is None:
        return sign_in_again(visit, _NONE, 404)
    from herdbook.console import openid  # noqa: PLC0415  # its library is for people alone

    try:
        visit.attempts.take_from(visit.address)
        asked = await openid.provider_of(visit.openid).ask(f"{visit.services.public_url or visit.origin}{BASE}{_CALLBACK}")
    except RateLimited as refusal:
        return sign_in_again(visit, refusal.detail, 429)
    except openid.Failed as error:
        _log.warning("a sign-in by OpenID failed", extra={"request_id": visit.shown_request_id, "error": str(error)})
        return sign_in_again(visit, _AWAY, 502)
    content = asked.content | {"next": own_path(visit.query.get("next", BASE))}
    visit.new_challenge = str(await sign_in_store.create_challenge(visit.services.database.pool, content))
    return Redirect(asked.url)


async def come_from_provider(visit: Visit) -> PageAnswer:
    """Sign in by the provider's answer, if this browser was sent there, and the answer is the first one."""
    if visit.openid is None:
        return sign_in_again(visit, _NONE, 404)
    from herdbook.console import openid  # noqa: PLC0415  # its library is for people alone

    pool = visit.services.database.pool
    content = await sign_in_store.take_challenge(pool, visit.challenge)
    visit.new_challenge = ""
    state, issuer = visit.query.get("state", ""), visit.query.get("iss", visit.openid.issuer)
    is_asked = content is not None and hmac.compare_digest(state.encode(), str(content.get("state", "")).encode())
    code = visit.query.get("code", "")
    if content is None or not state or not is_asked or issuer != visit.openid.issuer or not code:
        return sign_in_again(visit, _FAILED)
    try:
        address = comparable_address(await openid.provider_of(visit.openid).verified_address(code, content))
    except (openid.Failed, NotAnAddress) as error:
        _log.warning("a sign-in by OpenID failed", extra={"request_id": visit.shown_request_id, "error": str(error)})
        return sign_in_again(visit, _FAILED)
    person_id = await sign_in_store.person_with_proven_address(pool, address)
    if person_id is None or not (memberships := await store.memberships(pool, person_id)):
        return sign_in_again(visit, _UNKNOWN, 403)
    visit.attempts.give_back_from(visit.address)
    first = memberships[0]
    await begin(visit, person_id, first.workspace_id, first.user_id, is_by_link=False)
    return Redirect(own_path(content["next"]))


PAGES: Final = (
    Page(
        method="GET",
        path="/sign-in/openid",
        id="ask-openid-provider",
        scopes=None,
        handler=ask_provider,
        template="console/sign_in.html",
    ),
    Page(
        method="GET",
        path=_CALLBACK,
        id="sign-in-by-openid",
        scopes=None,
        handler=come_from_provider,
        template="console/sign_in.html",
    ),
)
