"""The pages of passkeys: one is made and removed on the account's page, and signs its person in."""

from typing import Final

from herdbook import ids
from herdbook.console import sign_in_store, store
from herdbook.console.model import PASSKEY_PREFIX
from herdbook.console.page import Data, Page, PageAnswer, Redirect
from herdbook.console.pages import ACCOUNT, begin, proven_again, show_account, sign_in_again
from herdbook.console.visit import Visit, own_path
from herdbook.errors import FieldError, Invalid, RateLimited

_MAX_NAME: Final = 255
_FAILED: Final = "The passkey was not accepted. It may have been removed from its account. Try again, or use your password."
_NOT_ADDED: Final = "The passkey could not be added. Try again."
_NOWHERE: Final = "You belong to no workspace any more. Ask an administrator for an invitation."


async def ask_for_new(visit: Visit) -> PageAnswer:
    """Tell a script how to ask the browser for a new passkey. Refusal: Invalid, without the present password."""
    from herdbook.console import passkeys  # noqa: PLC0415  # its library is for people alone

    if fault := await proven_again(visit):
        raise Invalid([FieldError("current", "invalid", fault)])
    stored, pool = visit.session.stored, visit.services.database.pool
    existing = await sign_in_store.credential_ids_of(pool, stored.person_id)
    asked = passkeys.ask_for_new(visit.origin, stored.person_id, stored.address or stored.user_name, existing)
    content = {"challenge": asked.challenge, "person_id": str(stored.person_id)}
    token = await sign_in_store.create_challenge(pool, content)
    return Data({"options": asked.options, "challenge": str(token)})


async def add_passkey(visit: Visit) -> PageAnswer:
    """Keep a passkey that the browser has made."""
    from herdbook.console import passkeys  # noqa: PLC0415  # its library is for people alone

    stored, pool = visit.session.stored, visit.services.database.pool
    name = visit.field("name").strip() or "Passkey"
    if len(name) > _MAX_NAME or not name.isprintable():
        return await show_account(visit, f"A name has at most {_MAX_NAME} characters that can be printed.", "passkey")
    content = await sign_in_store.take_challenge(pool, visit.field("challenge"))
    if content is None or content.get("person_id") != str(stored.person_id):
        return await show_account(visit, _NOT_ADDED, "passkey")
    try:
        new = passkeys.made(visit.field("credential"), content["challenge"], visit.origin)
    except passkeys.Refused:
        return await show_account(visit, _NOT_ADDED, "passkey")
    if not await sign_in_store.add_passkey(pool, stored.person_id, new.credential_id, new.public_key, new.sign_count, name):
        return await show_account(visit, "This passkey is known here already.", "passkey")
    return visit.redirect(ACCOUNT, "The passkey was added. You can sign in with it.")


async def remove_passkey(visit: Visit) -> PageAnswer:
    """Forget a passkey of the person, who knows the present password."""
    if fault := await proven_again(visit):
        return await show_account(visit, fault, "remove")
    passkey_id = ids.decoded(PASSKEY_PREFIX, visit.field("passkey"))
    if passkey_id is not None:
        await sign_in_store.remove_passkey(visit.services.database.pool, visit.session.stored.person_id, passkey_id)
    return visit.redirect(ACCOUNT, "The passkey was removed. Nobody can sign in with it any more.")


async def ask_for_any(visit: Visit) -> PageAnswer:
    """Tell a script how to ask the browser for a passkey. Refusal: RateLimited."""
    from herdbook.console import passkeys  # noqa: PLC0415  # its library is for people alone

    visit.attempts.take_from(visit.address)
    asked = passkeys.ask_for_any(visit.origin)
    token = await sign_in_store.create_challenge(visit.services.database.pool, {"challenge": asked.challenge})
    return Data({"options": asked.options, "challenge": str(token)})


async def sign_in_by_passkey(visit: Visit) -> PageAnswer:
    """Sign in by a passkey."""
    from herdbook.console import passkeys  # noqa: PLC0415  # its library is for people alone

    pool, credential = visit.services.database.pool, visit.field("credential")
    try:
        credential_id = passkeys.credential_id_of(credential)
        account = credential_id.hex()
        visit.attempts.take(account, visit.address)
        content = await sign_in_store.take_challenge(pool, visit.field("challenge"))
        stored = await sign_in_store.find_passkey(pool, credential_id)
        # A challenge of another purpose has other members.
        if content is None or stored is None or content.keys() != {"challenge"}:
            return sign_in_again(visit, _FAILED)
        count = passkeys.checked(credential, content["challenge"], visit.origin, stored.public_key, stored.sign_count)
    except passkeys.Refused:
        return sign_in_again(visit, _FAILED)
    except RateLimited as refusal:
        return sign_in_again(visit, refusal.detail, 429)
    if not await sign_in_store.note_passkey_use(pool, stored, count):
        return sign_in_again(visit, _FAILED)
    visit.attempts.give_back(account, visit.address)
    # The challenge was counted, too.
    visit.attempts.give_back_from(visit.address)
    memberships = await store.memberships(pool, stored.person_id)
    if not memberships:
        return sign_in_again(visit, _NOWHERE)
    first = memberships[0]
    await begin(visit, stored.person_id, first.workspace_id, first.user_id, is_by_link=False)
    return Redirect(own_path(visit.field("next")))


PAGES: Final = (
    Page(
        method="POST",
        path="/account/passkeys/options",
        id="ask-for-new-passkey",
        scopes=(),
        handler=ask_for_new,
        is_personal=True,
    ),
    Page(
        method="POST",
        path="/account/passkeys",
        id="add-passkey",
        scopes=(),
        handler=add_passkey,
        template="console/account.html",
        is_personal=True,
    ),
    Page(
        method="POST",
        path="/account/passkeys/remove",
        id="remove-passkey",
        scopes=(),
        handler=remove_passkey,
        template="console/account.html",
        is_personal=True,
    ),
    Page(method="POST", path="/sign-in/passkey/options", id="ask-for-passkey", scopes=None, handler=ask_for_any),
    Page(
        method="POST",
        path="/sign-in/passkey",
        id="sign-in-by-passkey",
        scopes=None,
        handler=sign_in_by_passkey,
        template="console/sign_in.html",
    ),
)
