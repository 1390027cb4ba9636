"""The pages by which people sign in with an OpenID provider."""

import hmac
import logging
from typing import TYPE_CHECKING, Final
from uuid import UUID

from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.console import sign_in_store, store
from herdbook.console.page import BASE, Page, PageAnswer, Redirect
from herdbook.console.pages import ACCOUNT, begin, proven_again, show_account, sign_in_again
from herdbook.console.visit import Visit, own_path
from herdbook.errors import RateLimited

if TYPE_CHECKING:
    from herdbook.console import openid

_log: Final = logging.getLogger("herdbook.console")
_CALLBACK: Final = "/sign-in/openid/callback"
_NONE: Final = "This server has no OpenID provider. Sign in with your password."
_AWAY: Final = "The OpenID provider cannot be asked. Try again, or use your password."
_FAILED: Final = "The OpenID provider did not let you in, or the sign-in took too long. Try again."
_OTHER: Final = (
    "The person with this address signs in with another account of the OpenID provider. If that is you, sign in otherwise, "
    "and disconnect it on the page Account."
)
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
        account = await openid.provider_of(visit.openid).account(code, content)
        person_id = await sign_in_store.person_with_openid(pool, issuer, account.subject)
        if person_id is None:
            person_id = await _person_with_address(visit, issuer, account)
    except (openid.Failed, NotAnAddress) as error:
        _log.warning("a sign-in by OpenID failed", extra={"request_id": visit.shown_request_id, "error": str(error)})
        return sign_in_again(visit, _FAILED)
    except sign_in_store.OtherAccount:
        return sign_in_again(visit, _OTHER, 403)
    if person_id is None or not (memberships := await store.memberships(pool, person_id)):
        return sign_in_again(visit, _UNKNOWN, 403)
    visit.attempts.give_back_from(visit.address)
    first = memberships[0]
    await begin(visit, person_id, first.workspace_id, first.user_id, is_by_link=False)
    return Redirect(own_path(content["next"]))


async def _person_with_address(visit: Visit, issuer: str, account: "openid.Account") -> UUID | None:
    """Return the person with the address of an account that is new here. Raise NotAnAddress, OtherAccount."""
    if account.address is None:
        raise NotAnAddress("the provider has not verified it")
    address = comparable_address(account.address)
    return await sign_in_store.person_with_proven_address(visit.services.database.pool, address, issuer, account.subject)


async def disconnect(visit: Visit) -> PageAnswer:
    """Forget the person's account at the provider. The next sign-in there connects the account that it is with."""
    if fault := await proven_again(visit):
        return await show_account(visit, fault, "openid")
    if visit.openid is not None:
        pool, person_id = visit.services.database.pool, visit.session.stored.person_id
        await sign_in_store.forget_openid(pool, person_id, visit.openid.issuer)
    return visit.redirect(ACCOUNT, "The account is disconnected.")


PAGES: Final = (
    Page(
        method="POST",
        path="/account/openid",
        id="disconnect-openid",
        scopes=(),
        handler=disconnect,
        template="console/account.html",
        is_personal=True,
    ),
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
