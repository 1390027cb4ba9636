"""People who use the console in the same process, by their forms, without a browser."""

import re
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import httpx
import msgspec

from herdbook import ids
from herdbook.auth.keys import Token
from herdbook.console import store
from herdbook.console.console_app import FORM_TOKEN
from herdbook.console.page import BASE, is_page
from herdbook.ledger.commands import Update
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, RoleUpdate, User, UserRole
from herdbook.users.store import USER

ORIGIN: Final = "http://herdbook.test"
FORM_TOKEN_FIELD: Final = re.compile(rf'name="{FORM_TOKEN}" value="([^"]+)"')


class Member(NamedTuple):
    """A user of a workspace, who may sign in."""

    workspace_id: UUID
    user_id: UUID


class Visitor:
    """Somebody with a browser, which keeps cookies and sends forms as browsers do."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.client = httpx.AsyncClient(transport=transport, base_url=ORIGIN)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Open a page."""
        return await self.client.get(path if is_page(path) else BASE + path, **options)

    async def post(
        self, path: str, form: dict[str, Any] | None = None, headers: dict[str, str] | None = None, token: str | None = None
    ) -> httpx.Response:
        """Send a form with the token of the session, or with another one."""
        sent = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        if token is None:
            token = await self.token()
        body = {FORM_TOKEN: token, **(form or {})}
        return await self.client.post(
            path if is_page(path) else BASE + path, data=body, headers={key: text for key, text in sent.items() if text}
        )

    async def send_file(self, name: str, content: str | bytes, form: dict[str, Any] | None = None) -> httpx.Response:
        """Send the form of an import with a file."""
        body = {FORM_TOKEN: await self.token(), **(form or {})}
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        return await self.client.post(f"{BASE}/imports", data=body, files={"file": (name, content)}, headers=headers)

    async def token(self) -> str:
        """Return a token for forms, or an empty text without a session."""
        found = FORM_TOKEN_FIELD.search((await self.get("/account")).text)
        return "" if found is None else found[1]

    async def open(self, link: Token) -> httpx.Response:
        """Open a sign-in link, and press its button."""
        return await self.post(f"/link/{link}", token="")


class People:
    """The people of a workspace."""

    def __init__(self, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", transport: httpx.AsyncBaseTransport) -> None:
        self._ledger = ledger
        self._pool = pool
        self._transport = transport

    async def member(self, workspace_id: UUID, name: str, role: UserRole = UserRole.MEMBER, *emails: str) -> Member:
        """Add a user to a workspace."""
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        written = await self._ledger.write(workspace_id, CreateUser(NewUser(name, None, emails, role)), origin)
        user_id = ids.decoded(ids.USER, msgspec.json.decode(written.body, type=User).id)
        assert user_id is not None, "the ledger gave it"
        return Member(workspace_id, user_id)

    async def set_role(self, member: Member, role: UserRole) -> None:
        """Set the role of a user."""
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        await self._ledger.write(member.workspace_id, Update(USER, member.user_id, RoleUpdate(role)), origin)

    async def link(self, member: Member) -> Token:
        """Make a link for a user."""
        statements: Any = self._pool
        return await store.create_link(statements, member.workspace_id, member.user_id)

    def visitor(self) -> Visitor:
        """Return somebody who has not signed in."""
        return Visitor(self._transport)

    async def visiting(self, member: Member) -> Visitor:
        """Return a user who has signed in by a link."""
        visitor = self.visitor()
        opened = await visitor.open(await self.link(member))
        assert opened.status_code == 303, opened.text
        return visitor

    async def join(self, workspace_id: UUID, name: str, role: UserRole = UserRole.MEMBER, *emails: str) -> Visitor:
        """Add a user to a workspace, and sign the user in."""
        return await self.visiting(await self.member(workspace_id, name, role, *emails))
