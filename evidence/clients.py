"""Sixteen clients that write at the same time, and remember what each was told."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from evidence.checks import Fault, Outcome, Write, back, gone
from evidence.http_client import Answer, Connection, Missing, NotSent, Unanswered

CONTACTS = "/api/v2/contacts"
BULK = "/api/herdbook/contacts/bulk"
ENGAGEMENTS = "/api/v2/engagements"
OPERATIONS = 20
"""Operations of a bulk."""
LONGEST_PAUSE = 0.02
"""Seconds that a client rests at most after a write."""
RETRY_PAUSE = 0.2
"""The same before it asks again: a server that starts needs the processors for itself."""
BULK_PAUSE = 0.3
"""The same after many writes in one request: each makes as many changes as twenty others."""


class Unexplained(Exception):
    """An answer that no fault explains. The client ends."""


numbers = itertools.count(1)


def new_mark(name: str) -> str:
    return f"{name}-{next(numbers)}"


class Clients:
    """The clients of a server. `writes` has all writes since the list was last taken."""

    def __init__(self, url: str, key: str, recording: str | None = None) -> None:
        self._url, self._key = url, key
        self._recording = recording
        self._stopping = False
        self._running: list[asyncio.Task[None]] = []
        self.writes: list[Write] = []
        self.faults: list[Fault] = []
        self.recordings: dict[str, str] = {}
        """The mark of each acknowledged recording, and the id of its engagement."""
        self.acknowledged: Counter[str] = Counter()

    def start(self) -> None:
        self._stopping = False
        kinds: list[tuple[Callable[[Client], Awaitable[None]], int]] = [
            *((Client.patch, 6), (Client.create, 3), (Client.create_and_delete, 2)),
            *((Client.bulk, 1), (Client.atomic_bulk, 2), (Client.upsert, 1), (Client.merge_and_undo, 1)),
        ]
        if self._recording is not None:
            kinds.append((Client.record, 1))
        self._running = [asyncio.create_task(self._run(one)) for one, count in kinds for _ in range(count)]

    async def stop(self) -> None:
        """Let each client end the write at which it is."""
        self._stopping = True
        for ended in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(ended, Unexplained):
                self.faults.append(Fault("answer", str(ended)))
            elif isinstance(ended, Missing):
                self.faults.append(Fault("lost", str(ended)))
            elif ended is not None:
                raise ended

    def cancel(self) -> None:
        for each in self._running:
            each.cancel()

    def take(self) -> tuple[list[Write], list[Fault]]:
        """Return the writes, and the answers that nothing explains, since the last call."""
        taken = self.writes, self.faults
        self.writes, self.faults = [], []
        return taken

    async def _run(self, one: "Callable[[Client], Awaitable[None]]") -> None:
        client = Client(self, Connection(self._url, self._key), self._recording)
        try:
            while not self._stopping:
                await one(client)
        finally:
            client.connection.close()


class Client:
    """One client with a connection of its own."""

    def __init__(self, clients: Clients, connection: Connection, recording: str | None) -> None:
        self._clients = clients
        self.connection = connection
        self._recording = recording
        self._contact_id: str | None = None
        self._address = ""

    async def patch(self) -> None:
        """Change a contact of its own."""
        if self._contact_id is None:
            self._contact_id = await self._created()
        else:
            mark = new_mark("patch")
            path = f"{CONTACTS}/{self._contact_id}"
            await self._once(Write("PATCH", [mark]), "PATCH", path, {"description": mark})
        await rest(LONGEST_PAUSE)

    async def create(self) -> None:
        """Create a contact."""
        await self._created()
        await rest(LONGEST_PAUSE)

    async def create_and_delete(self) -> None:
        """Create a contact and delete it."""
        contact_id = await self._created()
        await self._until_done(Write("delete", [gone(contact_id)]), "DELETE", f"{CONTACTS}/{contact_id}")
        await rest(LONGEST_PAUSE)

    async def bulk(self) -> None:
        """Create contacts in bulk, each independently."""
        write = Write("operation in bulk", [new_mark("bulk") for _ in range(OPERATIONS)], is_whole=False)
        await self._until_done(write, "POST", BULK, {"operations": creations(write.marks)})
        await rest(BULK_PAUSE)

    async def atomic_bulk(self) -> None:
        """Create contacts in bulk, all or none."""
        write = Write(f"atomic bulk of {OPERATIONS}", [new_mark("atomic") for _ in range(OPERATIONS)])
        await self._until_done(write, "POST", BULK, {"atomic": True, "operations": creations(write.marks)})
        await rest(BULK_PAUSE)

    async def upsert(self) -> None:
        """Create a contact or change the one with the address, by turns."""
        mark = new_mark("upsert")
        # The address is kept for a second upsert.
        self._address, address = ("", self._address) if self._address else (f"{mark}@herd.test", f"{mark}@herd.test")
        contact = {"emails": [{"email": address}], "description": mark}
        await self._once(Write("upsert", [mark]), "POST", BULK, {"operations": [{"action": "upsert", "contact": contact}]})
        await rest(LONGEST_PAUSE)

    async def merge_and_undo(self) -> None:
        """Merge a contact into another one, and undo that."""
        target, source = await self._created(), await self._created()
        merged = await self._once(
            Write("merge", [gone(source)]), "POST", f"/api/herdbook/contacts/{target}/merge", {"from": [source]}
        )
        if merged is not None:
            undo = Write("undo", [back(source)])
            await self._until_done(undo, "POST", "/api/herdbook/undo", {"request_id": merged.request_id})
        await rest(LONGEST_PAUSE)

    async def record(self) -> None:
        """Create an engagement with a recording, which the server fetches."""
        mark = new_mark("recording")
        body = {"type": "CALL", "title": mark, "source_system": "dialer", "external_id": mark, "media_url": self._recording}
        answer = await self._until_done(Write("recording", [mark]), "POST", ENGAGEMENTS, body)
        self._clients.recordings[mark] = answer.json()["id"]
        await rest(LONGEST_PAUSE)

    async def _created(self) -> str:
        mark = new_mark("create")
        body = {"first_name": "Ada", "description": mark, "emails": [{"email": f"{mark}@herd.test"}]}
        answer = await self._until_done(Write("create", [mark]), "POST", CONTACTS, body)
        contact_id: str = answer.json()["id"]
        return contact_id

    async def _once(self, write: Write, method: str, path: str, body: object) -> Answer | None:
        """Ask once without a key, and note the outcome; return the answer of success."""
        answer = None
        while answer is None:
            try:
                answer = await self.connection.ask(method, path, body)
            except NotSent:
                await rest(RETRY_PAUSE)
            except Unanswered:
                break
        self._clients.writes.append(write)
        if answer is not None and not self._judged(write, answer):
            await rest(RETRY_PAUSE)
        return answer if write.outcome is Outcome.ACKNOWLEDGED else None

    async def _until_done(self, write: Write, method: str, path: str, body: object = None) -> Answer:
        """Ask with a key until the answer is a success."""
        key = write.marks[0].replace(" ", "-")
        self._clients.writes.append(write)
        asked = 0
        while True:
            try:
                answer = await self.connection.ask(method, path, body, key)
                asked += 1
                if self._judged(write, answer):
                    self._clients.acknowledged["of these, after a retry with the same Idempotency-Key"] += asked > 1
                    return answer
                # A refusal is not the last word on a write that is repeated.
                write.outcome = Outcome.UNKNOWN
            except NotSent:
                pass
            except Unanswered:
                asked += 1
            await rest(RETRY_PAUSE)

    def _judged(self, write: Write, answer: Answer) -> bool:
        """Note the outcome that an answer tells; return whether it is a success."""
        if answer.status in (200, 201, 204) and not has_failures(answer):
            write.outcome = Outcome.ACKNOWLEDGED
            self._clients.acknowledged[write.kind] += 1 if write.is_whole else len(write.marks)
            return True
        if answer.status in (429, 503):
            write.outcome = Outcome.REFUSED
        elif answer.status != 200 and not (answer.status == 500 and b"outcome_unknown" in answer.body):
            # Each client names only what was acknowledged to it.
            refusal = Missing if answer.lacks else Unexplained
            raise refusal(f"{write.kind} {write.marks[0]}: {answer.status} {answer.body[:500]!r}")
        return False


def creations(marks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the operations that create a contact for each mark."""
    return [{"action": "create", "contact": {"first_name": "Grace", "description": mark}} for mark in marks]


def has_failures(answer: Answer) -> bool:
    """Whether an answer to a bulk names an operation that failed."""
    return b'"result":"failed"' in answer.body


async def rest(longest: float) -> None:
    await asyncio.sleep(random.uniform(0, longest))
