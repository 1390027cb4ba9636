"""Random commands from many concurrent callers in a few workspaces, in this process or in another one.

`python -m tests.ledger.concurrent_callers URL SEED COMMANDS WORKSPACE...` prints a line of JSON for each command as soon as it
is answered, so that a test that kills it knows what was acknowledged.
"""

import asyncio
import logging
import random
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.contacts.commands import CreateContact, UpdateContact
from herdbook.contacts.model import ContactCrmAssociation, ContactUpdate, ContactUpdatePhoneNumber
from herdbook.contacts.store import CONTACT
from herdbook.errors import OutcomeUnknown
from herdbook.ledger.commands import Delete, SetCrmAssociation
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger
from tests.ledger.ledger_client import EnterTwice, LedgerClient, ThinkTwice, Unprepared, creation, items, ledger_on, unstorable
from tests.ledger.promises import Record

CALLERS: Final = 12
# All callers share one credential, so that equal keys collide.
CREDENTIAL_ID: Final = UUID(int=1)
_NAMES: Final = ("Ada", "Grace", "Alan Mathison", "Barbara", "Zoë", "O'Neil-Smith", None)
_ADDRESSES: Final = tuple(f"{name}@{domain}" for name in "abcdefghij" for domain in ("x.test", "Y.example", "z-z.test"))
_KEYS: Final = 150
_ROOT: Final = Path(__file__).parents[2]

_Command: TypeAlias = CreateContact | UpdateContact | Delete | SetCrmAssociation


class Said(msgspec.Struct):
    """The outcome of a command, as its caller saw it."""

    workspace_id: UUID
    request_id: UUID
    refusal: str | None = None
    is_unknown: bool = False
    version: int = 0
    body: str = ""
    replayed: bool = False
    if_version: int | None = None
    key: str | None = None


class _Known:
    """The callers' knowledge of one workspace: the ids of contacts, and the versions last seen."""

    def __init__(self, versions: dict[UUID, int]) -> None:
        self.versions = versions


class _Caller:
    """One caller of the crowd."""

    def __init__(self, ledger: Ledger, known: dict[UUID, _Known], dice: random.Random, say: Callable[[Said], None]) -> None:
        self._ledger = ledger
        self._known = known
        self._dice = dice
        self._say = say

    async def call(self) -> None:
        """Send one command, or the same command twice with one key, and report the outcome."""
        # Half of all commands go to the first workspace.
        workspaces = list(self._known)
        workspace_id = workspaces[0] if self._dice.random() < 0.5 else self._dice.choice(workspaces)
        known = self._known[workspace_id]
        ledger_client = LedgerClient(self._ledger, workspace_id, CREDENTIAL_ID)
        chance = self._dice.random()
        if chance < 0.025:
            bad = self._dice.choice([unstorable(), EnterTwice(), ThinkTwice(creation())])
            await self._send(ledger_client, known, bad)
        elif chance < 0.1:
            number = self._dice.randrange(_KEYS)
            key = IdempotencyKey(f"key {number}", str(number))
            command = creation(first_name=f"Key {number}")
            await asyncio.gather(*(self._send(ledger_client, known, command, key) for _ in range(2)))
        else:
            await self._send(ledger_client, known, self._command(known))

    def _command(self, known: _Known) -> _Command:
        dice = self._dice
        chance = dice.random()
        if chance < 0.1 or not known.versions:
            return creation(*dice.sample(_ADDRESSES, dice.choice([0, 0, 1])), first_name=f"New {dice.randrange(1000)}")
        contact_id = dice.choice(list(known.versions))
        if_version = frozenset({known.versions[contact_id]}) if dice.random() < 0.4 else None
        if chance < 0.14:
            return Delete(CONTACT, contact_id, if_version)
        if chance < 0.2:
            link = ContactCrmAssociation(object_type="contact", crm_object_id=f"crm {dice.randrange(5)}", source="test")
            return SetCrmAssociation(CONTACT, contact_id, dice.choice([None, link]), if_version)
        if chance < 0.4:
            patch = ContactUpdate(emails=items(*dice.sample(_ADDRESSES, dice.choice([0, 1, 1, 2]))))
            return UpdateContact(contact_id, patch, if_version)
        members: dict[str, Any] = {
            "first_name": dice.choice(_NAMES),
            "last_name": dice.choice(_NAMES),
            "description": f"Seen {dice.randrange(100)} times",
            "phone_numbers": (ContactUpdatePhoneNumber(f"+1 650 253 {dice.randrange(4):04}"),),
            "time_zone": dice.choice(["Europe/London", None]),
        }
        names = dice.sample(sorted(members), dice.choice([1, 1, 2]))
        return UpdateContact(contact_id, ContactUpdate(**{name: members[name] for name in names}), if_version)

    async def _send(self, ledger_client: LedgerClient, known: _Known, command: Any, key: IdempotencyKey | None = None) -> None:
        said = Said(ledger_client.workspace_id, ids.new_id(), key=None if key is None else key.key)
        if versions := getattr(command, "if_version", None):
            [said.if_version] = versions
        try:
            sent = Unprepared(command) if self._dice.random() < 0.1 else command
            written = await ledger_client.write(sent, key, said.request_id)
        except Exception as refusal:
            said.refusal = type(refusal).__name__
            said.is_unknown = isinstance(refusal, OutcomeUnknown)
        else:
            said.version, said.body, said.replayed = written.version, written.body.decode(), written.replayed
            contact_id = ids.decoded(ids.CONTACT, msgspec.json.decode(written.body)["id"])
            assert contact_id is not None, "the ledger gave it"
            # The id of a deleted contact stays known, so callers may write to a contact that is gone.
            known.versions[contact_id] = written.version
        self._say(said)


async def call_all(
    ledger: Ledger, pool: Any, workspace_ids: Sequence[UUID], seed: int, commands: int, say: Callable[[Said], None]
) -> None:
    """Send a number of random commands, from several callers at once."""
    known: dict[UUID, _Known] = {}
    for workspace_id in workspace_ids:
        rows = await pool.fetch("select id, version from contact where workspace_id = $1 and deleted_at is null", workspace_id)
        known[workspace_id] = _Known({row["id"]: row["version"] for row in rows})
    turns = iter(range(commands))

    async def call(number: int) -> None:
        dice = random.Random(f"{seed} {number}")  # noqa: S311  # repeatable on purpose
        caller = _Caller(ledger, known, dice, say)
        for _ in turns:
            await caller.call()

    await asyncio.gather(*(call(number) for number in range(CALLERS)))


@asynccontextmanager
async def crowd_elsewhere(
    database_url: str, seed: int, commands: int, workspace_ids: Sequence[UUID]
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """Run a crowd in another process; yield the process and its output."""
    arguments = [database_url, str(seed), str(commands), *map(str, workspace_ids)]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", __name__, *arguments], stdout=asyncio.subprocess.PIPE, cwd=_ROOT, limit=1 << 20
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def heard(line: bytes) -> Said:
    """Decode a line of a crowd's output."""
    return msgspec.json.decode(line, type=Said)


def assert_kept(changes: dict[int, Record], said: Sequence[Said]) -> None:
    """Check that the outcomes that callers of a workspace saw match its changes."""
    by_request = {change["request_id"]: change for change in changes.values()}
    last_of: dict[UUID, int] = {}
    version_before: dict[int, int | None] = {}
    for seq, change in changes.items():
        version_before[seq] = last_of.get(change["object_id"])
        last_of[change["object_id"]] = seq

    created_with: dict[str, set[int]] = {}
    for one in said:
        if one.refusal is not None:
            assert one.is_unknown or one.request_id not in by_request, "a refused command was not carried out"
            continue
        change = changes[one.version]
        if '"deleted":true' in one.body:
            assert change["action"] == "d"
        else:
            assert change["object"] == one.body
        if one.key is not None:
            created_with.setdefault(one.key, set()).add(one.version)
        if change["request_id"] == one.request_id:
            if one.if_version is not None:
                assert version_before[one.version] == one.if_version, "nobody's update was lost"
        else:
            assert one.replayed or one.if_version in (None, one.version), "the command changed nothing, or repeated a request"
            assert one.request_id not in by_request
    assert all(len(versions) == 1 for versions in created_with.values()), "one key, one contact"


async def _main(database_url: str, seed: int, commands: int, workspace_ids: Sequence[UUID]) -> None:
    logging.getLogger("herdbook").setLevel(logging.CRITICAL)
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    async with pool, ledger_on(database_url) as ledger:
        await call_all(ledger, pool, workspace_ids, seed, commands, _print)


def _print(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    url, first, second, *rest = sys.argv[1:]
    asyncio.run(_main(url, int(first), int(second), [UUID(one) for one in rest]))
