"""People, their sessions, and the links that let them in, as the console sees them."""

import hmac
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from herdbook import ids
from herdbook.auth.authenticate import Caller
from herdbook.auth.keys import Token, derived_secret
from herdbook.auth.roles import scopes_of_role
from herdbook.http.request_log import RequestLog

SESSION_PREFIX: Final = "cses_"
PASSKEY_PREFIX: Final = "pkey_"
LINK_MINUTES: Final = 10
INVITATION_DAYS: Final = 7
# A session ends when it has not been used for so long, and in any case some time after the sign-in.
IDLE_DAYS: Final = 7
MAX_DAYS: Final = 30


class OpenId(NamedTuple):
    """The settings of an OpenID provider. A client without a secret is a public one."""

    issuer: str
    client_id: str
    secret: str | None

    @property
    def host(self) -> str:
        """The host by which people know the provider."""
        return urlsplit(self.issuer).netloc


class ConsoleOptions(NamedTuple):
    """The settings of the operator that concern the console."""

    public_url: str | None
    openid: OpenId | None
    is_in_development: bool
    logs_requests: bool
    request_log: RequestLog | None = None


class Membership(NamedTuple):
    """A workspace that a person belongs to, and the user that the person is there."""

    workspace_id: UUID
    user_id: UUID
    workspace_name: str
    role: str

    @property
    def shown_id(self) -> str:
        """The id of the workspace."""
        return ids.encoded(ids.WORKSPACE, self.workspace_id)


class StoredSession(NamedTuple):
    """A session that is not over, with its person, and the user that the person is in the chosen workspace."""

    id: UUID
    secret_hash: bytes
    person_id: UUID
    workspace_id: UUID
    user_id: UUID
    credential_id: UUID
    is_by_link: bool
    address: str | None
    has_password: bool
    role: str
    user_name: str
    workspace_name: str


class ListedSession(NamedTuple):
    """A session, as its person sees it."""

    id: UUID
    created_at: datetime
    seen_at: datetime
    address: str
    browser: str

    @property
    def shown_id(self) -> str:
        """The id of the session."""
        return ids.encoded(SESSION_PREFIX, self.id)


class StoredLink(NamedTuple):
    """A sign-in link that still works."""

    id: UUID
    secret_hash: bytes
    workspace_id: UUID
    user_id: UUID
    workspace_name: str
    user_name: str
    is_invitation: bool


class Person(NamedTuple):
    """A person who may sign in by a password."""

    id: UUID
    password_hash: str | None
    memberships: Sequence[Membership]


class ShownForm(NamedTuple):
    """A form that a page has shown: an id that no other page's forms have, and the workspace in which it acts."""

    id: UUID
    workspace_id: UUID


class Session:
    """The session of a request: its person, who calls operations, and the secret of its cookie."""

    def __init__(self, stored: StoredSession, secret: str) -> None:
        self.stored = stored
        self._secret = secret
        self.shown_user_id = ids.encoded(ids.USER, stored.user_id)
        self.shown_workspace_id = ids.encoded(ids.WORKSPACE, stored.workspace_id)
        self.caller = Caller(
            stored.workspace_id,
            stored.credential_id,
            scopes_of_role(stored.role),
            self.shown_workspace_id,
            self.shown_user_id,
            stored.user_id,
            stored.user_id,
        )

    def may(self, scope: str) -> bool:
        """Whether the person may do what needs the scope."""
        return self.caller.may(scope)

    def form_token(self) -> str:
        """Return a token for the forms of a page. No two are alike, so that compressed pages reveal nothing of it."""
        return self.signed(f"{ids.new_id().hex}.{self.stored.workspace_id.hex}", "form")

    def shown_form(self, token: str) -> ShownForm | None:
        """Return what a form's token says of it, or None if it was not made in this session."""
        text = self.unsigned(token, "form")
        return None if text is None else ShownForm(*map(UUID, text.split(".")))

    def derived_secret(self, salt: bytes) -> str:
        """Return a secret that follows from that of the session and a salt, and that nobody else can know."""
        return derived_secret(self._secret, salt)

    def signed(self, text: str, purpose: str) -> str:
        """Return a text that only this session can have made for a purpose."""
        return f"{text}.{self._signature(text, purpose)}"

    def unsigned(self, signed: str, purpose: str) -> str | None:
        """Return the text of a signed one, or None if this session has not made it for the purpose."""
        text, _, signature = signed.rpartition(".")
        expected = self._signature(text, purpose)
        return text if hmac.compare_digest(signature.encode(), expected.encode()) else None

    def _signature(self, text: str, purpose: str) -> str:
        return hmac.new(self._secret.encode(), f"{purpose} {text}".encode(), sha256).hexdigest()[:32]


def link_address(url: str, link: Token) -> str:
    """Return the address that a sign-in link opens, on a server with this URL."""
    return f"{url}/console/link/{link}"
