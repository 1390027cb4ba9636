"""The requests by which open pages learn that somebody else has changed what they show."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import Final

import msgspec

from herdbook.console.page import Data, Page, PageAnswer
from herdbook.console.visit import Listed, Visit
from herdbook.errors import TooManyFollowers

# A proxy may end a request that takes longer.
_WAIT_SECONDS: Final = 25.0
# A page in a busy workspace looks at most this often.
_BREATHER_SECONDS: Final = 1.0
# Pages leave half of a workspace's followers in a process to programs.
_MAX_PAGES: Final = 500


class _By(msgspec.Struct):
    """The user or the credential that made a change."""

    user_id: str | None
    credential_name: str | None


class _Entry(msgspec.Struct):
    """An entry of a history."""

    version: int
    by: _By


class _Versioned(msgspec.Struct):
    """A record, of which only its version counts."""

    id: str


class _Author(msgspec.Struct):
    """A user, by name."""

    first_name: str | None = None
    last_name: str | None = None


class _Position(msgspec.Struct):
    """A part of the feed, of which only its end and the number of changes count."""

    data: tuple[msgspec.Raw, ...]
    position: int
    has_more: bool


async def follow_contact(visit: Visit, record_id: str) -> PageAnswer:
    """Wait until a contact has another version than the page shows, and tell who changed it."""
    return await _follow_record(visit, "contact", record_id)


async def follow_company(visit: Visit, record_id: str) -> PageAnswer:
    """Wait until a company has another version than the page shows, and tell who changed it."""
    return await _follow_record(visit, "company", record_id)


async def _follow_record(visit: Visit, name: str, record_id: str) -> PageAnswer:
    shown = int(text) if (text := visit.query.get("version", "")).isdecimal() and len(text) < 20 else None
    with _subscribed(visit) as wakes:
        while True:
            version = (await visit.call(f"get-{name}-record", _Versioned, record_id)).version
            if shown is None or version != shown or not await wakes.next():
                break
    if shown is None or version == shown:
        return Data({"version": version, "by": []})
    await visit.check_session()
    history = await visit.call(f"get-{name}-history", Listed[_Entry], record_id, query={"limit": "10"})
    made_by = [each.by for each in history.value.data if each.version > shown]
    users = await visit.each("get-user-by-id", _Author, [each.user_id for each in made_by if each.user_id is not None])
    names = {user_id: " ".join(part for part in (each.first_name, each.last_name) if part) for user_id, each in users.items()}
    by = [names.get(each.user_id or "") or each.credential_name or "Somebody" for each in made_by]
    return Data({"version": version, "by": [*dict.fromkeys(by)]})


async def follow_list(visit: Visit) -> PageAnswer:
    """Wait until an object of a type has changed after a position. Without one, tell the present position."""
    position = visit.query.get("position")
    query = {"types": visit.query.get("type", ""), "limit": "1", "after": position or "now"}
    with _subscribed(visit) as wakes:
        while True:
            page = (await visit.call("list-changes", _Position, query=query)).value
            query["after"] = str(page.position)
            if page.has_more:
                wakes.moved.set()
            if page.data or not position or not await wakes.next():
                break
    if page.data:
        await visit.check_session()
    return Data({"position": page.position, "has_changed": bool(page.data)})


class _Wakes:
    """The moments at which a page looks again: when something in the workspace has changed, but at most once a second."""

    def __init__(self, moved: asyncio.Event, visit: Visit) -> None:
        self.moved: Final = moved
        self._notifier = visit.services.notifier
        self._looked_at = asyncio.get_running_loop().time()
        self._until = self._looked_at + _WAIT_SECONDS

    async def next(self) -> bool:
        """Wait for the next moment; return whether there is one in this request."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                await self.moved.wait()
        if not self.moved.is_set() or self._notifier.is_closed:
            return False
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._looked_at + _BREATHER_SECONDS - loop.time())
        self._looked_at = loop.time()
        self.moved.clear()
        return True


@contextlib.contextmanager
def _subscribed(visit: Visit) -> Generator[_Wakes]:
    """Yield the moments at which to look again. Refusal: TooManyFollowers."""
    notifier, workspace_id = visit.services.notifier, visit.session.stored.workspace_id
    if (following := notifier.followers(workspace_id)) >= _MAX_PAGES:
        raise TooManyFollowers(following)
    with notifier.subscribed(workspace_id) as moved:
        yield _Wakes(moved, visit)


PAGES: Final = (
    Page(method="GET", path="/changes", id="follow-list", scopes=(), handler=follow_list, is_by_itself=True),
    Page(
        method="GET",
        path="/contacts/{contact_id}/changes",
        id="follow-contact",
        scopes=("contacts:read",),
        handler=follow_contact,
        is_by_itself=True,
    ),
    Page(
        method="GET",
        path="/companies/{company_id}/changes",
        id="follow-company",
        scopes=("companies:read",),
        handler=follow_company,
        is_by_itself=True,
    ),
)
