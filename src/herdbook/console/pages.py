"""The pages about the person who signs in: links, sign-in, password, sessions, workspaces; and the page of the components."""

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from herdbook import ids
from herdbook.addresses import NotAnAddress, comparable_address
from herdbook.auth.keys import NotAKey, read_token
from herdbook.console import sign_in_store, store
from herdbook.console.model import INVITATION_DAYS, LINK_MINUTES, SESSION_PREFIX, StoredLink
from herdbook.console.page import BASE, THEMES, MenuItem, Page, PageAnswer, Redirect, Shown
from herdbook.console.visit import Visit, own_path
from herdbook.errors import RateLimited

HOME: Final = f"{BASE}/contacts"
ACCOUNT: Final = f"{BASE}/account"
SIGN_IN: Final = f"{BASE}/sign-in"
_MAX_BROWSER: Final = 255
_WRONG: Final = "The e-mail address or the password is wrong, or the account has no password yet."
_NOWHERE: Final = "You belong to no workspace any more. Ask an administrator for a new link."


async def show_home(_: Visit) -> PageAnswer:
    """Lead to the first page."""
    return Redirect(HOME)


async def show_sign_in(visit: Visit) -> PageAnswer:
    """Show the form to sign in."""
    following = own_path(visit.query.get("next", BASE))
    if visit.has_session:
        return Redirect(following)
    return Shown({"next": following, "address": "", "error": ""})


async def sign_in(visit: Visit) -> PageAnswer:
    """Sign in by a password."""
    from herdbook.console.passwords import MAX_LENGTH, is_right  # noqa: PLC0415  # its library is not for programs

    following, address, password = own_path(visit.field("next")), visit.field("address").strip(), visit.field("password")

    try:
        account = comparable_address(address)
    except NotAnAddress:
        return sign_in_again(visit, _WRONG)
    try:
        visit.attempts.take(account, visit.address)
    except RateLimited as refusal:
        return sign_in_again(visit, refusal.detail, 429)
    pool = visit.services.database.pool
    person = await store.person_with(pool, account)
    if not await is_right(password[: MAX_LENGTH + 1], None if person is None else person.password_hash) or person is None:
        return sign_in_again(visit, _WRONG)
    visit.attempts.give_back(account, visit.address)
    if not person.memberships:
        return sign_in_again(visit, _NOWHERE)
    first = person.memberships[0]
    await begin(visit, person.id, first.workspace_id, first.user_id, is_by_link=False)
    return Redirect(following)


def sign_in_again(visit: Visit, error: str, status: int = 422) -> Shown:
    """Show the form to sign in again, with the reason."""
    context = {"next": own_path(visit.field("next")), "address": visit.field("address").strip(), "error": error}
    return Shown(context, status)


async def begin(visit: Visit, person_id: UUID, workspace_id: UUID, user_id: UUID, *, is_by_link: bool) -> None:
    """Begin a new session; one that the browser had before ends, so that nobody can have chosen it for the person."""
    pool = visit.services.database.pool
    await _end_present(visit)
    browser = visit.headers.get("user-agent", "")[:_MAX_BROWSER]
    visit.new_cookie = await store.create_session(
        pool, person_id, workspace_id, user_id, is_by_link=is_by_link, address=visit.address, browser=browser
    )


async def _end_present(visit: Visit) -> None:
    if visit.has_session:
        stored = visit.session.stored
        await store.end_session(visit.services.database.pool, stored.person_id, stored.id)
        visit.new_cookie = ""


async def sign_out(visit: Visit) -> PageAnswer:
    """End this session. Another person may then go on with what this one has left."""
    await _end_present(visit)
    following = own_path(visit.field("next"))
    return Redirect(SIGN_IN if following == BASE else f"{SIGN_IN}?{urlencode({'next': following})}")


async def _link(visit: Visit, text: str) -> StoredLink | None:
    """Return the link with this token, if it still works. Refusal: RateLimited."""
    try:
        token = read_token(text, ids.SIGN_IN_LINK, "link")
    except NotAKey:
        return None
    return await visit.sign_ins.stored(store.find_link, token.id, token.secret, visit.address)


async def show_link(visit: Visit, text: str) -> PageAnswer:
    """Show the button that uses a link. To look at the link does not use it, because programs look at links in messages."""
    link = await _link(visit, text)
    return _shown_link(visit, link)


def _shown_link(visit: Visit, link: StoredLink | None, refusal: store.SignInFirst | None = None) -> Shown:
    lasts = f"{INVITATION_DAYS} days" if link is not None and link.is_invitation else f"{LINK_MINUTES} minutes"
    sign_in = f"{BASE}/sign-in?{urlencode({'next': visit.path})}"
    context = {
        "link": link,
        "lasts": lasts,
        "needs_sign_in": refusal is not None,
        "may_be_apart": refusal is not None and refusal.may_be_apart,
        "sign_in": sign_in,
    }
    return Shown(context, 404 if link is None else 200 if refusal is None else 409)


async def open_link(visit: Visit, text: str) -> PageAnswer:
    """Use a link: sign its user in."""
    link = await _link(visit, text)
    present = visit.session.stored.person_id if visit.has_session else None
    pool, is_apart = visit.services.database.pool, visit.field("apart") == "yes"
    try:
        person_id = None if link is None else await store.use_link(pool, link, present, is_apart=is_apart)
    except store.SignInFirst as refusal:
        return _shown_link(visit, link, refusal)
    if link is None or person_id is None:
        return _shown_link(visit, None)
    # Somebody who accepts an invitation by an account that was there before does not thereby get to set its password.
    is_by_link = not link.is_invitation or person_id != present
    await begin(visit, person_id, link.workspace_id, link.user_id, is_by_link=is_by_link)
    return Redirect(HOME)


async def show_account(visit: Visit, error: str = "", field: str = "") -> Shown:
    """Show the password, the sessions and the workspaces of the person."""
    stored = visit.session.stored
    context: dict[str, Any] = {
        "sessions": await store.sessions_of(visit.services.database.pool, stored.person_id),
        "passkeys": await sign_in_store.passkeys_of(visit.services.database.pool, stored.person_id),
        "memberships": await store.memberships(visit.services.database.pool, stored.person_id),
        "has_openid": visit.openid is not None
        and await sign_in_store.has_openid(visit.services.database.pool, stored.person_id, visit.openid.issuer),
        "needs_current": stored.has_password and not stored.is_by_link,
        "error": error,
        "field": field,
        "browser_of": browser_of,
    }
    return Shown(context, 422 if error else 200)


async def proven_again(visit: Visit) -> str:
    """Return why the present password of a form is not right, or an empty text: it is, or a link or a passkey came before it.

    This limits who has found an open browser.
    """
    from herdbook.console import passwords  # noqa: PLC0415  # its library is not for programs

    stored = visit.session.stored
    if not stored.has_password or stored.is_by_link:
        return ""
    account = stored.address or str(stored.person_id)
    try:
        visit.attempts.take(account, visit.address)
    except RateLimited as refusal:
        return refusal.detail
    current = await store.password_of(visit.services.database.pool, stored.person_id)
    if not await passwords.is_right(visit.field("current")[: passwords.MAX_LENGTH + 1], current):
        return "This is not your present password."
    visit.attempts.give_back(account, visit.address)
    return ""


async def set_password(visit: Visit) -> PageAnswer:
    """Set the person's password, and the address to sign in with. All other sessions end."""
    from herdbook.console import passwords  # noqa: PLC0415  # its library is not for programs

    stored, pool = visit.session.stored, visit.services.database.pool
    try:
        address = stored.address or comparable_address(visit.field("address").strip())
    except NotAnAddress as error:
        return await show_account(visit, f"This is not an e-mail address: {error}", "address")
    if fault := await proven_again(visit):
        return await show_account(visit, fault, "current")
    password = visit.field("password")
    if not passwords.MIN_LENGTH <= len(password) <= passwords.MAX_LENGTH:
        message = f"A password has {passwords.MIN_LENGTH} to {passwords.MAX_LENGTH} characters. Longer ones are better."
        return await show_account(visit, message, "password")
    if not await store.set_password(pool, stored.person_id, address, await passwords.password_hash(password)):
        message = (
            "This address is somebody else's on this server. Choose another one, or ask the operator for a link, which proves "
            "that it is yours."
        )
        return await show_account(visit, message, "address")
    await store.end_other_sessions(pool, stored.person_id, stored.id)
    return visit.redirect(ACCOUNT, "Your password is set. All your other sessions have ended.")


async def end_sessions(visit: Visit) -> PageAnswer:
    """End one session of the person, or all others."""
    stored, pool = visit.session.stored, visit.services.database.pool
    if (session_id := ids.decoded(SESSION_PREFIX, visit.field("session"))) is not None:
        await store.end_session(pool, stored.person_id, session_id)
        return visit.redirect(ACCOUNT, "The session has ended.")
    await store.end_other_sessions(pool, stored.person_id, stored.id)
    return visit.redirect(ACCOUNT, "All your other sessions have ended.")


async def choose_workspace(visit: Visit) -> PageAnswer:
    """Go on in another workspace of the person. One that the person does not belong to changes nothing."""
    workspace_id = ids.decoded(ids.WORKSPACE, visit.field("workspace"))
    if workspace_id is not None:
        await store.choose_workspace(visit.services.database.pool, visit.session.stored.id, workspace_id)
    return Redirect(own_path(visit.field("here")) if visit.field("here") else HOME)


async def choose_theme(visit: Visit) -> PageAnswer:
    """Choose light or dark, or what the system has."""
    theme = visit.field("theme")
    visit.new_theme = theme if theme in THEMES else ""
    return Redirect(own_path(visit.field("here")))


async def show_kit(_: Visit) -> PageAnswer:
    """Show all components in their states."""
    return Shown({})


def browser_of(user_agent: str) -> str:
    """Return the browser and the system that a `User-Agent` names, as far as people need it to know their own."""
    names = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
    systems = {"iPhone": "iPhone", "Android": "Android", "Windows": "Windows", "Mac OS X": "macOS", "Linux": "Linux"}
    browser = next((name for mark, name in names.items() if f"{mark}/" in user_agent), "A browser")
    system = next((name for mark, name in systems.items() if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


PAGES: Final = (
    Page(method="GET", path="", id="show-home", scopes=(), handler=show_home),
    Page(method="GET", path="/sign-in", id="show-sign-in", scopes=None, handler=show_sign_in, template="console/sign_in.html"),
    Page(method="POST", path="/sign-in", id="sign-in", scopes=None, handler=sign_in, template="console/sign_in.html"),
    Page(method="GET", path="/link/{token}", id="show-link", scopes=None, handler=show_link, template="console/link.html"),
    Page(method="POST", path="/link/{token}", id="open-link", scopes=None, handler=open_link, template="console/link.html"),
    Page(method="POST", path="/sign-out", id="sign-out", scopes=(), handler=sign_out, is_personal=True),
    Page(
        method="GET",
        path="/account",
        id="show-account",
        scopes=(),
        handler=show_account,
        template="console/account.html",
        menu=MenuItem("Account", "person", "a"),
    ),
    Page(
        method="POST",
        path="/account/password",
        id="set-password",
        scopes=(),
        handler=set_password,
        template="console/account.html",
        is_personal=True,
    ),
    Page(method="POST", path="/account/sessions", id="end-sessions", scopes=(), handler=end_sessions, is_personal=True),
    Page(method="POST", path="/workspace", id="choose-workspace", scopes=(), handler=choose_workspace, is_personal=True),
    Page(method="POST", path="/theme", id="choose-theme", scopes=(), handler=choose_theme, is_personal=True),
    Page(
        method="GET",
        path="/_kit",
        id="show-kit",
        scopes=(),
        handler=show_kit,
        template="console/kit.html",
        is_for_development=True,
    ),
)
