"""The webhooks of a workspace: delivered in this process, when its clock says so, with faults, and into its inbox."""

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids, sources
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.errors import Refusal
from herdbook.lab import store
from herdbook.lab.clock import Clock, Surroundings, within
from herdbook.lab.faults import Asked, Fault, Faults
from herdbook.lab.journal import Journal, JournalEntry, Message, message
from herdbook.lab.session_store import ClockedPool
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.outgoing import Targets
from herdbook.shared_schemas import shown_time
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhook_endpoints.signing import signed_headers
from herdbook.webhooks.delivery import DeliveryContext, EndpointDelivery
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import Answered, KeptConnection, Sender

_log: Final = logging.getLogger("herdbook.lab")
_WRONG_SECRET: Final = "whsec_" + base64.b64encode(b"this is the secret of somebody else").decode()
_TOO_EARLY: Final = timedelta(hours=1)
# Rounds of one endpoint that may follow each other at one time, each of which sends something or moves on.
_MOST_ROUNDS: Final = 1000
_PATIENCE_SECONDS: Final = 0.2
# Events of one workspace that faults hold back at once. Past that, they are sent as if they met none.
MOST_HELD: Final = 1000


class Host(Protocol):
    """A workspace, as far as its deliveries need it."""

    id: UUID
    shown_id: str
    faults: Faults
    journal: Journal
    background: Surroundings
    pool: ClockedPool

    @property
    def clock(self) -> Clock: ...

    def take_into_inbox(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Answered: ...


class Inbox:
    """The inbox of a workspace: it answers with the statuses that it was told, in their order, and then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.retry_after: int | None = None

    def answer(self) -> Answered:
        """Return the answer to the next message."""
        status = self.statuses.pop(0) if self.statuses else 200
        waits = None if self.retry_after is None or status not in (429, 503) else str(self.retry_after)
        return Answered(status, b"{}", waits)


class LabNotifier(ChangeNotifier):
    """Tells the deliveries of a workspace, too, when its ledger moves. No other process writes there."""

    def __init__(self, workspace: Host, moved: Callable[[], None]) -> None:
        super().__init__(workspace.pool)
        self._wake_deliveries = moved

    def notify(self, workspace_ids: Collection[UUID]) -> None:
        """Wake the followers, and the deliveries."""
        super().notify(workspace_ids)
        self._wake_deliveries()


class _Following(NamedTuple):
    """When there is something to send next, and the endpoints of the ledger's events among it."""

    at: datetime
    endpoint_ids: Sequence[UUID]


class Deliveries:
    """Delivers what is due, in the order in which it falls due."""

    def __init__(self, workspace: Host, ledger: Ledger, targets: Targets) -> None:
        self._workspace = workspace
        self._sender = LabSender(workspace, targets)
        self._context = DeliveryContext(
            workspace.pool,
            ledger,
            self._sender,
            ids.new_id(),
            workspace.clock.now,
            workspace.background.jitter,
            linger_seconds=0,
        )
        self._since = workspace.clock.now()
        self._ahead: dict[UUID, set[int]] = {}
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    def moved(self) -> None:
        """Deliver soon: the ledger has moved, or the clock runs otherwise."""
        self._moved.set()

    async def close(self) -> None:
        """Stop, after a round that is about to end: to cancel a statement takes the database longer than to finish it."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._turn:
                self._task.cancel()
        except TimeoutError:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def advance(self, target: Callable[[datetime], datetime]) -> int:
        """Move the clock ahead, and deliver what falls due on the way, in its order; return how often something was sent.

        `target` is asked for the time of the move once the moves before it are done. Something that is due then is sent, too.
        Refusals: those of `target`.
        """
        clock = self._workspace.clock
        async with self._turn:
            to = target(clock.now())
            before = self._sender.attempts
            following = await self._deliver()
            while following is not None and following.at <= to:
                clock.move_to(following.at)
                following = await self._deliver(following.endpoint_ids)
            clock.move_to(to)
            return self._sender.attempts - before

    async def _follow(self) -> None:
        while True:
            try:
                async with self._turn:
                    following = await self._deliver()
            except (*CONNECTION_ERRORS, asyncpg.PostgresError, Refusal):
                _log.exception("deliveries are interrupted")
                following = None
            left = None
            if following is not None and self._workspace.clock.frozen_at is None:
                left = max(0.01, (following.at - self._workspace.clock.now()).total_seconds())
            try:
                async with asyncio.timeout(left):
                    await self._moved.wait()
            except TimeoutError:
                pass
            self._moved.clear()

    async def _deliver(self, ready: Sequence[UUID] = ()) -> _Following | None:
        """Deliver what can be delivered now. Return when there is something next, or None if nothing waits.

        `ready` are endpoints of which that is known.
        """
        workspace = self._workspace
        for _ in range(_MOST_ROUNDS):
            now = workspace.clock.now()
            await self._sender.release(lambda held, until=now: held.due <= until)
            for endpoint_id in ready:
                place = EndpointKey(workspace.id, endpoint_id)
                await EndpointDelivery(self._context, place, self._ahead.setdefault(endpoint_id, set()), self._since).go()
            work = await store.webhook_work(workspace.pool, workspace.id)
            ready = [endpoint_id for endpoint_id, at in work if at <= workspace.clock.now()]
            if not ready:
                first = min([at for _, at in work] + [held.due for held in self._sender.held], default=None)
                return None if first is None else _Following(first, [each for each, at in work if at == first])
        return None


class Held(NamedTuple):
    """An event that a fault holds back until a time, or if it `follows`, until the next event of its endpoint was sent."""

    due: datetime
    url: str
    follows: bool
    send: Callable[[], Awaitable[object]]


class LabSender(Sender):
    """Sends events with the faults of a workspace, and enters each attempt into its journal."""

    def __init__(self, workspace: Host, targets: Targets) -> None:
        super().__init__(targets)
        self.workspace = workspace
        self.held: list[Held] = []
        self.attempts = 0

    async def release(self, is_free: Callable[[Held], bool]) -> None:
        """Send the events that are held back no longer, in the order in which they are due."""
        free = sorted(filter(is_free, self.held), key=lambda held: held.due)
        self.held = [held for held in self.held if held not in free]
        for held in free:
            await held.send()

    def kept_connection(self, url: str, workspace_id: UUID, own_headers: str | None = None) -> KeptConnection:
        """Return a connection to an endpoint."""
        return _LabConnection(self, url, workspace_id, own_headers)


class _LabConnection(KeptConnection):
    """A connection to an endpoint, or to the inbox of the workspace."""

    def __init__(self, sender: LabSender, url: str, workspace_id: UUID, own_headers: str | None) -> None:
        super().__init__(sender, url, workspace_id, own_headers)
        self._lab = sender
        self._target = url

    async def attempt(
        self, signing_secrets: Sequence[str], event_id: str, body: bytes, may_begin: Callable[[], bool] = lambda: True
    ) -> tuple[Attempt, str | None]:
        """Send an event with the fault that it meets, and return the attempt and the value of `Retry-After`."""
        workspace = self._lab.workspace
        fault = workspace.faults.of_delivery(Asked(event_type=_type_of(body)))
        kind = None if fault is None else fault.rule.fault

        async def send(secrets: Sequence[str] = signing_secrets) -> tuple[Attempt, str | None]:
            return await self._entered(fault, secrets, event_id, body, may_begin)

        async def send_later() -> None:
            # The delivery that it was part of is over by then, and with it its connection.
            try:
                await self._entered(fault, signing_secrets, event_id, body, lambda: True)
            finally:
                self.close()

        if fault is not None and kind == "webhook_lost":
            return self._unsent(fault, signing_secrets, event_id, body), None
        if fault is not None and kind in ("webhook_late", "webhook_reorder") and len(self._lab.held) < MOST_HELD:
            due = workspace.clock.now() + timedelta(seconds=fault.rule.seconds)
            self._lab.held.append(Held(due, self._target, kind == "webhook_reorder", send_later))
            return self._unsent(None, signing_secrets, event_id, body), None
        if kind == "webhook_wrong_time":
            early = Clock(workspace.clock.now() - _TOO_EARLY, is_frozen=True)
            with within(Surroundings(early)):
                return await send()
        sent = await send([_WRONG_SECRET] if kind == "webhook_wrong_signature" else signing_secrets)
        if kind == "webhook_twice":
            sent = await send()
        await self._lab.release(lambda held: held.follows and held.url == self._target)
        return sent

    async def _exchange(self, message: bytes, until: float, may_begin: Callable[[], bool]) -> Answered:
        if store.INBOXES + self._lab.workspace.shown_id not in self._target:
            return await super()._exchange(message, until, may_begin)
        head, _, body = message.partition(b"\r\n\r\n")
        return self._lab.workspace.take_into_inbox(_headers(head), body)

    async def _entered(
        self, fault: Fault | None, secrets: Sequence[str], event_id: str, body: bytes, may_begin: Callable[[], bool]
    ) -> tuple[Attempt, str | None]:
        began = time.perf_counter()
        attempt, retry_after = await super().attempt(secrets, event_id, body, may_begin)
        answer = UNSET if attempt.status is None else Message(headers={}, body=attempt.answer)
        self._enter(attempt, event_id, body, answer, began, fault)
        return attempt, retry_after

    def _enter(
        self, attempt: Attempt, event_id: str, body: bytes, answer: Message | UnsetType, began: float, fault: Fault | None
    ) -> None:
        headers = [(name.encode(), value.encode()) for name, value in attempt.headers.items()]
        self._lab.attempts += 1
        self._lab.workspace.journal.add(
            lambda number: JournalEntry(
                number=number,
                kind="delivery",
                at=shown_time(attempt.at),
                began_seconds=began,
                method="POST",
                path=self._target,
                event_id=event_id,
                event_type=_type_of(body),
                request=message(headers, body),
                answer=answer,
                status=attempt.status or 0,
                outcome=attempt.error or "answered",
                fault="" if fault is None else fault.id,
                fault_kind="" if fault is None else fault.rule.fault,
                seconds=round(attempt.milliseconds / 1000, 6),
            )
        )

    def _unsent(self, fault: Fault | None, secrets: Sequence[str], event_id: str, body: bytes) -> Attempt:
        """Return an attempt that the endpoint seems to have taken, and never saw."""
        at = sources.now()
        headers = signed_headers(secrets, event_id, at, body)
        attempt = Attempt(at=at, url=self._target, headers=headers, milliseconds=0.0, status=200)
        if fault is not None:
            lost = Attempt(at=at, url=self._target, headers=headers, milliseconds=0.0, error="lost by a fault")
            self._enter(lost, event_id, body, UNSET, time.perf_counter(), fault)
        return attempt


class _Event(msgspec.Struct):
    type: str = ""


def _type_of(body: bytes) -> str:
    return msgspec.json.decode(body, type=_Event).type


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [(name.strip().lower(), value.strip()) for name, _, value in lines]
