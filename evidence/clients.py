"""Eighteen clients that write at the same time, and remember what each was told."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from evidence.changes import ended
from evidence.checks import Fault, FaultFound, Outcome, Write
from evidence.http_client import Answer, Connection, NotSent, Unanswered

CONTACTS = "/api/v2/contacts"
COMPANIES = "/api/v2/companies"
TAGS = "/api/v2/tags"
FIELDS = "/api/herdbook/fields"
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


ERASED = "erase"
"""Begins the marks in all texts that name a person who will be erased."""
numbers = itertools.count(1)


def new_mark(name: str) -> str:
    return f"{name}-{next(numbers)}"


class Person(NamedTuple):
    """An erased person: the id, and the request that had created the contact, with its key. Each text in it has a mark."""

    contact_id: str
    body: dict[str, Any]
    key: str


class Clients:
    """The clients of a server. `writes` has all writes since the list was last taken."""

    def __init__(self, url: str, key: str, recording: str | None = None) -> None:
        self._url, self._key = url, key
        self._recording = recording
        self._stopping = False
        self._running: list[asyncio.Task[None]] = []
        self.writes: list[Write] = []
        self.faults: list[Fault] = []
        self.field_id = ""
        """A field whose label the clients change."""
        self.recordings: dict[str, str] = {}
        """The mark of each acknowledged recording, and the id of its engagement."""
        self.erased: dict[str, Person] = {}
        """The persons whose erasure was acknowledged as finished, by their marks."""
        self.acknowledged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """The refused writes, by the reason that the server gave."""

    def start(self) -> None:
        self._stopping = False
        kinds: list[tuple[Callable[[Client], Awaitable[None]], int]] = [
            *((Client.patch, 4), (Client.create, 2), (Client.create_and_delete, 2)),
            *((Client.bulk, 1), (Client.atomic_bulk, 2), (Client.upsert, 1), (Client.merge_and_undo, 1)),
            *((Client.describe, 1), (Client.annotate, 1), (Client.employ, 1), (Client.discuss, 1), (Client.erase, 1)),
        ]
        if self._recording is not None:
            kinds.append((Client.record, 1))
        self._running = [asyncio.create_task(self._run(one)) for one, count in kinds for _ in range(count)]

    @property
    def is_broken(self) -> bool:
        """Whether a client has stopped by itself, because of an answer that nothing explains."""
        return any(each.done() for each in self._running)

    async def stop(self) -> None:
        """Let each client end the write at which it is."""
        self._stopping = True
        for error in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(error, FaultFound):
                self.faults.append(error.fault)
            elif error is not None:
                raise error

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
        await self._delete("contact", f"{CONTACTS}/{contact_id}")
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
            Write("merge", [ended("contact.deleted", source)]),
            "POST",
            f"/api/herdbook/contacts/{target}/merge",
            {"from": [source]},
        )
        if merged is not None:
            undo = Write("undo", [ended("contact.restored", source)])
            await self._until_done(undo, "POST", "/api/herdbook/undo", {"request_id": merged.request_id})
        await rest(LONGEST_PAUSE)

    async def describe(self) -> None:
        """Change the whole of a contact of its own: ids of the caller, values of fields, labels."""
        if self._contact_id is None:
            self._contact_id = await self._created()
        mark = new_mark("record")
        body = {
            "description": mark,
            "external_ids": [mark],
            "fields": {"badge": mark, "shoe_size": len(mark)},
            "emails": [{"email": f"{mark}@herd.test", "label": random.choice(["work", "home"])}],
            "phone_numbers": [{"phone_number": f"+4930{random.randrange(10**7):07}", "label": "desk"}],
        }
        await self._once(Write("record", [mark]), "PATCH", record_path("contacts", self._contact_id), body)
        await rest(LONGEST_PAUSE)

    async def annotate(self) -> None:
        """Write a note on a contact and change it, tag the contact, and delete the note or the tag."""
        contact_id, tag = await self._created(), await self._make("tag", TAGS, "name")
        note = await self._make("note", f"/api/herdbook/contacts/{contact_id}/notes", "text")
        mark = new_mark("note")
        await self._until_done(Write("note changed", [mark]), "PATCH", f"/api/herdbook/notes/{note}", {"text": mark})
        mark = new_mark("tagged")
        body = {"description": mark, "tag_ids": [tag]}
        await self._once(Write("record", [mark]), "PATCH", record_path("contacts", contact_id), body)
        if random.random() < 0.5:
            await self._delete("note", f"/api/herdbook/notes/{note}")
        else:
            await self._delete("tag", f"{TAGS}/{tag}")
        await rest(LONGEST_PAUSE)

    async def employ(self) -> None:
        """Create a company with a contact, change both its name and its fields, and perhaps delete it. Rename a field."""
        domain = f"{new_mark('domain')}.test"
        company = await self._make("company", COMPANIES, "name", {"domains": [{"domain": domain}]})
        mark = new_mark("create")
        body = {"description": mark, "company_id": company}
        await self._until_done(Write("create", [mark]), "POST", CONTACTS, body)
        mark = new_mark("company")
        body = {"name": mark, "fields": {"floor": len(mark)}}
        await self._once(Write("record", [mark]), "PATCH", record_path("companies", company), body)
        if random.random() < 0.5:
            await self._delete("company", f"{COMPANIES}/{company}")
        mark = new_mark("field")
        await self._until_done(Write("field", [mark]), "PATCH", f"{FIELDS}/{self._clients.field_id}", {"label": mark})
        await rest(LONGEST_PAUSE)

    async def discuss(self) -> None:
        """Create an engagement with a transcript, comment on it, and perhaps delete all of it."""
        engagement, _ = await self._engagement(f"{new_mark('guest')}@herd.test")
        await self._make("comment", f"{ENGAGEMENTS}/{engagement}/transcript_comments", "body")
        if random.random() < 0.5:
            await self._delete("engagement", f"/api/herdbook/engagements/{engagement}")
        await rest(LONGEST_PAUSE)

    async def erase(self) -> None:
        """Create a contact with a note and an engagement, and erase the person."""
        mark, key = new_mark(ERASED), new_mark("person")
        address = f"{mark}@herd.test"
        number = f"+4940{next(numbers):08}"
        person = {"first_name": mark, "description": mark, "emails": [{"email": address}]}
        person |= {"phone_numbers": [{"phone_number": number}]}
        write = Write("create", [mark])
        write.object_id = (await self._until_done(write, "POST", CONTACTS, person, key)).json()["id"]
        contact_id = write.object_id
        note = Write("note", [f"{mark} noted"])
        path = f"/api/herdbook/contacts/{contact_id}/notes"
        note.object_id = (await self._until_done(note, "POST", path, {"text": note.marks[0]}, new_mark("noted"))).json()["id"]
        engagement_id, engagement = await self._engagement(address, mark)
        if with_engagements := random.random() < 0.5:
            engagement.object_id = engagement_id
        path = f"/api/herdbook/contacts/{contact_id}/erase?engagements={str(with_engagements).lower()}"
        erasure = Write("erasure", [ended("contact.erased", contact_id)])
        await self._until_done(erasure, "POST", path, key=new_mark("erasure"), is_done=lambda answer: answer.json()["finished"])
        self._clients.erased[mark] = Person(contact_id, person, key)
        await rest(LONGEST_PAUSE)

    async def record(self) -> None:
        """Create an engagement with a recording, which the server fetches."""
        mark = new_mark("recording")
        body = {"type": "CALL", "title": mark, "source_system": "dialer", "external_id": mark, "media_url": self._recording}
        answer = await self._until_done(Write("recording", [mark]), "POST", ENGAGEMENTS, body)
        self._clients.recordings[mark] = answer.json()["id"]
        await rest(LONGEST_PAUSE)

    async def _engagement(self, address: str, name: str = "Guest") -> tuple[str, Write]:
        """Create an engagement with a transcript and one participant; return its id, and the write."""
        mark = new_mark("engagement")
        body = {"type": "CALL", "title": mark, "source_system": "dialer", "external_id": mark}
        entry = {"speaker_index": 0, "start_seconds": 0, "end_seconds": 2.5, "text": f"{mark} said"}
        body |= {"participants": [{"name": name, "email": address}]}
        body |= {"transcript_timeline": {"speakers": [{"name": "Guest"}], "entries": [entry]}}
        write = Write("engagement", [mark, f"Guest: {mark} said"])
        return (await self._until_done(write, "POST", ENGAGEMENTS, body)).json()["id"], write

    async def _make(self, kind: str, path: str, member: str, others: Mapping[str, object] | None = None) -> str:
        """Create an object with a mark in one of its members; return its id."""
        mark = new_mark(kind)
        return (await self._until_done(Write(kind, [mark]), "POST", path, {member: mark, **(others or {})})).json()["id"]

    async def _delete(self, kind: str, path: str) -> None:
        mark = ended(f"{kind}.deleted", path.rpartition("/")[2])
        await self._until_done(Write(f"delete {kind}", [mark]), "DELETE", path)

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

    async def _until_done(
        self,
        write: Write,
        method: str,
        path: str,
        body: object = None,
        key: str | None = None,
        is_done: Callable[[Answer], bool] = lambda _: True,
    ) -> Answer:
        """Ask with a key until the answer is a success that says that all is done."""
        key = key or write.marks[0].replace(" ", "-")
        self._clients.writes.append(write)
        asked = 0
        while True:
            try:
                answer = await self.connection.ask(method, path, body, key)
                asked += 1
                if self._judged(write, answer) and is_done(answer):
                    self._clients.acknowledged["of these, after a retry with the same Idempotency-Key"] += asked > 1
                    return answer
                # Neither a refusal nor a part is the last word on a write that is repeated.
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
            self._clients.refused[answer.json()["detail"]] += 1
        elif answer.status != 200 and not (answer.status == 500 and b"outcome_unknown" in answer.body):
            # Each client names only what was acknowledged to it.
            check = "lost" if answer.lacks else "answer"
            raise FaultFound(check, f"{write.kind} {write.marks[0]}: {answer.status} {answer.body[:500]!r}")
        return False


def record_path(plural: str, object_id: str) -> str:
    """Return the path of the whole of a contact or a company."""
    return f"/api/herdbook/{plural}/{object_id}/record"


def creations(marks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the operations that create a contact for each mark."""
    return [{"action": "create", "contact": {"first_name": "Grace", "description": mark}} for mark in marks]


def has_failures(answer: Answer) -> bool:
    """Whether an answer to a bulk names an operation that failed."""
    return b'"result":"failed"' in answer.body


async def rest(longest: float) -> None:
    await asyncio.sleep(random.uniform(0, longest))
