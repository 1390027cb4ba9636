"""The work on imports in the background: rows are read, prepared and written in slices, until the end or a stop.

A file is locked while a process works on its import, so that no two do. The lock ends with its process, and the next look of
any server on the machine goes on from the row that the database has. An import whose file is nowhere, as after a restore, ends.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids, sources
from herdbook.custom_fields.model import Field, blank
from herdbook.custom_fields.model import patched as patched_field
from herdbook.custom_fields.store import FIELD, all_definitions
from herdbook.db.database import Database
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.errors import Busy, OutcomeUnknown, Refusal, Unavailable
from herdbook.formats import reading
from herdbook.formats.model import Pace, Record, Unreadable, size_of
from herdbook.history import store as history
from herdbook.history.store import EntriesAsked, TouchedObject
from herdbook.history.undoing import SLICE as UNDO_SLICE
from herdbook.history.undoing import UndoCommands, UndoneHere, effective, in_order, require_whole
from herdbook.importing import store
from herdbook.importing.commands import EndImport, EndUndo, ImportSlice, Moved, Plan, UndoSlice, planned_fields
from herdbook.importing.model import WORKING, ImportState, RowFault, Undoing
from herdbook.importing.preparing import PreparedRow, Preparer
from herdbook.importing.seen_store import Seen
from herdbook.importing.store import StoredImport
from herdbook.ledger.ledger import BATCH_BYTES, Ledger
from herdbook.ledger.object_types import ObjectType, ObjectTypes, TooLarge
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.uploads import Uploads, locked
from herdbook.workspaces.store import region_of

# Rows of one command. A neighbour's write may wait for one of them that has begun.
SLICE: Final = 10
# Rows of one command while nobody else has written in the workspace for some seconds. Each row costs less then.
_LARGE_SLICE: Final = 250
_ALONE_SECONDS: Final = 10.0
# Rows that are matched by these look through all that the slice has done before them.
_SMALL_ONLY: Final = ("phone", "crm_id")
# A slice may have as many bytes as a batch, so no two of them share one.
_SLICE_BYTES: Final = BATCH_BYTES // 2 + 1
_AT_ONCE: Final = 4
# Slices that are with the ledger while nobody else writes: it applies one while it saves the other.
_WAITING: Final = 2
# Rows that are skipped or prepared before others have their turn.
_SKIPPED: Final = 1000
_PREPARED: Final = 10
_PAUSE_SECONDS: Final = 0.2
_MAX_COMPANIES: Final = 20_000
_NO_FILE: Final = "The file of the import is gone: backups do not have it. Rows that are done stay. Upload the file again."
_INTERNAL: Final = "The server failed to import this row. Its log says why."
_log: Final = logging.getLogger("herdbook.importing")


class Importer:
    """Works on the imports whose files are on this machine.

    `shares_database` if servers on other machines may have files of imports, too. `only` limits it to one workspace.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        uploads: Uploads,
        object_types: ObjectTypes,
        *,
        shares_database: bool = False,
        only: UUID | None = None,
    ) -> None:
        self._database = database
        self._pool = database.pool
        self._ledger = ledger
        self._object_types = object_types
        self.uploads = uploads
        self._shares_database = shares_database
        self._only = only
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        # Those of them that do not end at once, as they do for imports that another process works on.
        self._working: set[UUID] = set()

    async def look(self) -> None:
        """Begin to work on the imports that need it."""
        for workspace_id, job_id in await store.at_work(self._pool, self._only):
            if job_id not in self._tasks and len(self._working) < _AT_ONCE:
                task = self._tasks[job_id] = asyncio.create_task(self._tried(workspace_id, job_id), name=f"import {job_id}")
                task.add_done_callback(lambda _, done=job_id: self._tasks.pop(done, None))

    async def work(self) -> None:
        """Work until no import needs it, where nobody looks at intervals."""
        await self.look()
        while self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            await self.look()
            if self._tasks:
                # One that cannot go on, as while the database is away, is looked at again only after a while.
                await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        """Stop the work. It goes on when a server starts."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def forget_expired(self) -> None:
        """Delete imports whose time is over, with their files."""
        while expired := await store.expired(self._pool, self._only):
            for workspace_id, job_id in expired:
                await store.delete(self._pool, workspace_id, job_id)
                await self.uploads.remove(workspace_id, job_id)

    async def _tried(self, workspace_id: UUID, job_id: UUID) -> None:
        path = self.uploads.path(workspace_id, job_id)
        with locked(path) as is_ours:
            stored = await store.find(self._pool, workspace_id, job_id)
            if stored is None or stored.state not in WORKING or len(self._working) == _AT_ONCE:
                return
            # An undo needs no file, which a backup does not have. Without its lock, two servers may work on one undo: each
            # slice is done once, because it finds the undo where the slice before it has left it.
            if is_ours or (stored.state is ImportState.UNDOING and not path.exists()):
                self._working.add(job_id)
                try:
                    await (self._undone if stored.state is ImportState.UNDOING else self._imported)(stored)
                finally:
                    self._working.discard(job_id)
            elif not path.exists():
                await self._end_without_file(stored)

    async def _imported(self, stored: StoredImport) -> None:
        work = await _Work.of(self._pool, self._ledger, self.uploads, stored)
        try:
            await work.do()
        except Unreadable as unreadable:
            await work.end(str(unreadable))
        except Refusal as refusal:
            # The definition of a field may be refused by now, which no row is to blame for.
            await work.end(refusal.detail)
        except CONNECTION_ERRORS:
            _log.warning("an import waits for the database", extra={"import": str(stored.id)})
        except Exception:
            _log.exception("an import failed")
            await work.end("The server failed. Its log says why. Rows that are done stay; an undo takes them back.")

    async def _undone(self, stored: StoredImport) -> None:
        assert stored.progress.undo is not None, "its beginning has noted it"
        work = _UndoWork(self._database, self._ledger, stored, stored.progress.undo, self._object_types)
        try:
            await work.do()
        except Refusal as refusal:
            await work.end(refusal.detail)
        except CONNECTION_ERRORS:
            _log.warning("the undo of an import waits for the database", extra={"import": str(stored.id)})
        except Exception:
            _log.exception("the undo of an import failed")
            await work.end("The server failed. Its log says why. What is undone stays so; begin the undo again to go on.")

    async def _end_without_file(self, stored: StoredImport) -> None:
        """End an import whose file is not here, unless it may be on another machine: there it has until it expires."""
        if self._shares_database and sources.now() < stored.expires_at:
            return
        workspace_id, job_id = stored.workspace_id, stored.id
        origin = Origin(request_id=stored.content.request_id, credential_id=stored.content.credential_id)
        with contextlib.suppress(Refusal):
            await self._ledger.write(
                workspace_id, EndImport(job_id=job_id, began=stored.progress.began, error=_NO_FILE), origin
            )


class _Writing(NamedTuple):
    """A slice that is being written, and the number of rows that are done after it."""

    task: "asyncio.Task[Moved]"
    end: int


class _Work:
    """The work on one import: its dry run or its run."""

    def __init__(self, ledger: Ledger, uploads: Uploads, stored: StoredImport, plan: Plan, preparer: Preparer) -> None:
        self._ledger = ledger
        self._stored = stored
        self._plan = plan
        self._preparer = preparer
        self._path = uploads.table(stored.workspace_id, stored.id, stored.content.file.sheet)
        self._is_check = stored.state is ImportState.CHECKING
        self._origin = Origin(request_id=stored.content.request_id, credential_id=stored.content.credential_id)
        # The companies that rows have named, so that those of later rows are loaded at once.
        self._companies: dict[str, UUID] = {}
        self._may_be_large = stored.content.mapping.match_by not in _SMALL_ONLY
        # The workspace's last change after the last slice, and when somebody else may have written last.
        self._ended = 0
        self._others_wrote = time.monotonic()

    @classmethod
    async def of(cls, pool: Pool, ledger: Ledger, uploads: Uploads, stored: StoredImport) -> "_Work":
        """Return the work on an import, with the definitions that it needs."""
        mapping = stored.content.mapping
        defined = {
            each.key: each
            for each in await all_definitions(pool, stored.workspace_id)
            if each.object_type is mapping.object_type and not each.archived
        }
        planned = planned_fields(stored.content)
        new: dict[str, Field] = {each.key: patched_field(blank("", ""), each) for each in planned}
        region = mapping.region or await region_of(pool, stored.workspace_id)
        plan = Plan(
            object_type=mapping.object_type,
            existing=mapping.existing,
            creates_companies=mapping.create_companies,
            crm_source=mapping.crm_source,
            region=region,
            user_id=stored.content.user_id,
            new_fields=planned,
        )
        return cls(ledger, uploads, stored, plan, Preparer(mapping, {**new, **defined}, region))

    async def do(self) -> None:
        """Import the rows that are not done. A slice is prepared, and waits its turn, while the one before it is written."""
        done = self._stored.progress.done
        records = reading.records(self._path, self._stored.content.file.layout)
        seen = Seen()
        if self._is_check:
            # A dry run that was broken off must know the rows before.
            known = 0
            while known < done and (rows := await self._prepared(records, min(_LARGE_SLICE, done - known))):
                seen.duplicates(rows)
                known += len(rows)
        else:
            await _skip(records, done)
        writing: deque[_Writing] = deque()
        try:
            while rows := await self._prepared(records, self._most_rows):
                duplicates = seen.duplicates(rows) if self._is_check else {}
                # A slice that waits would have its turn before a neighbour's write that comes after it.
                while len(writing) >= (_WAITING if self._is_alone else 1):
                    if not self._goes_on(await (first := writing.popleft()).task, first.end):
                        return
                command = self._slice(done, rows, duplicates)
                done += len(rows)
                task = asyncio.create_task(self._written_after(writing[-1] if writing else None, command))
                writing.append(_Writing(task, done))
            while writing:
                if not self._goes_on(await (first := writing.popleft()).task, first.end):
                    return
            await self.end(None)
        finally:
            for each in writing:
                each.task.cancel()

    async def end(self, error: str | None) -> None:
        """End the work."""
        await self._write(EndImport(job_id=self._stored.id, began=self._stored.progress.began, error=error))

    @property
    def _is_alone(self) -> bool:
        """Whether nobody else has written in the workspace for some seconds."""
        return time.monotonic() - self._others_wrote > _ALONE_SECONDS

    @property
    def _most_rows(self) -> int:
        """The most rows of the next slice. Somebody else's write waits for small ones."""
        return _LARGE_SLICE if self._may_be_large and self._is_alone else SLICE

    def _goes_on(self, moved: Moved, done: int) -> bool:
        if moved.began != self._ended:
            self._others_wrote = time.monotonic()
        self._ended = moved.ended
        if len(self._companies) < _MAX_COMPANIES:
            self._companies |= moved.companies
        return moved.state is self._stored.state and moved.done == done

    def _slice(self, first_row: int, rows: Sequence[PreparedRow], duplicates: dict[int, int]) -> ImportSlice:
        return ImportSlice(
            job_id=self._stored.id,
            is_check=self._is_check,
            began=self._stored.progress.began,
            first_row=first_row,
            rows=tuple(rows),
            plan=self._plan,
            duplicates=duplicates,
            companies=frozenset(self._companies[row.company_name] for row in rows if row.company_name in self._companies),
            faults_of=self._preparer.faults_of,
        )

    async def _prepared(self, records: Iterator[Record], most: int) -> list[PreparedRow]:
        """Return the next rows, fewer if they are long."""
        rows: list[PreparedRow] = []
        size = 0
        for record in itertools.islice(records, most):
            rows.append(self._preparer.prepared(record))
            size += size_of(record)
            if size > BATCH_BYTES:
                break
            if len(rows) % _PREPARED == 0:
                await asyncio.sleep(0)
        return rows

    async def _written_after(self, before: _Writing | None, command: ImportSlice) -> Moved:
        """Write a slice that follows another one, which may still be written."""
        moved = await self._written(command)
        if before is not None and moved.done < command.first_row and self._goes_on(await before.task, before.end):
            # The one before was written by halves, and this one came between them.
            return await self._written(command)
        return moved

    async def _written(self, command: ImportSlice) -> Moved:
        """Write a slice, by halves if its objects are too large together.

        Rows that the database refuses are found by halves, too, so that they leave the others alone.
        """
        try:
            return await self._write(command)
        except TooLarge:
            self._may_be_large = False
        except (Refusal, *CONNECTION_ERRORS, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("a slice of an import failed")
            if len(command.rows) == 1:
                failed = PreparedRow(
                    number=command.rows[0].number, asked=None, faults=(RowFault(code="internal", message=_INTERNAL),)
                )
                return await self._write(msgspec.structs.replace(command, rows=(failed,)))
        middle = len(command.rows) // 2
        moved = await self._written(msgspec.structs.replace(command, rows=command.rows[:middle]))
        if not self._goes_on(moved, command.first_row + middle):
            return moved
        rest = msgspec.structs.replace(command, first_row=command.first_row + middle, rows=command.rows[middle:])
        return await self._written(rest)

    async def _write(self, command: Command) -> Moved:
        return await _moved(self._ledger, self._stored.workspace_id, command, self._origin)


class _UndoWork:
    """The work on the undo of one import: the import's entries are read page by page, and each page is undone by a command."""

    def __init__(
        self, database: Database, ledger: Ledger, stored: StoredImport, undo: Undoing, object_types: ObjectTypes
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._stored = stored
        self._undo = undo
        self._object_types = object_types
        self._origin = Origin(request_id=undo.request_id, credential_id=undo.credential_id)
        self._done = undo.done

    async def do(self) -> None:
        """Undo the changes that are not undone. Refusals: NoLongerKept, NotFound."""
        pool, workspace_id, request_id = self._database.pool, self._stored.workspace_id, self._stored.content.request_id
        await require_whole(pool, workspace_id, request_id)
        found = await history.types_of(pool, self._object_types, workspace_id, request_id)
        undone = UndoneHere(
            workspace_id=workspace_id,
            request_id=ids.encoded(ids.REQUEST, request_id),
            since=self._undo.first,
            object_types=self._object_types,
            may_name=frozenset(self._object_types.named(name) for name in self._undo.may_name),
            converts=any(each.object_type is FIELD for each in found),
        )
        commands = UndoCommands(self._database, undone, self._touched_among, _breathe)
        steps = in_order([each.object_type for each in found], {each.object_type for each in found if each.creates})
        writing: asyncio.Task[Moved] | None = None
        try:
            for number, object_types in enumerate(steps):
                if number < self._undo.step:
                    continue
                after = self._undo.after if number == self._undo.step else self._undo.first - 1
                async for command in self._slices(commands, number, object_types, after):
                    # A page is prepared while the one before it is written.
                    if writing is not None and not self._goes_on(await writing):
                        return
                    writing = asyncio.create_task(self._write(command))
                # Objects of the next step need those of this one as they are then.
                if writing is not None and not self._goes_on(await writing):
                    return
                writing = None
            await self.end(None)
        finally:
            if writing is not None:
                writing.cancel()

    async def end(self, error: str | None) -> None:
        """End the undo."""
        await self._write(EndUndo(job_id=self._stored.id, at=sources.now().timestamp(), error=error))

    def _goes_on(self, moved: Moved) -> bool:
        return moved.state is ImportState.UNDOING

    async def _slices(
        self, commands: UndoCommands, step: int, object_types: Collection[ObjectType[Any, Any]], after: int
    ) -> AsyncIterator[UndoSlice]:
        """Yield the commands that undo the import's changes of these types."""
        at = after
        while after < self._undo.last:
            asked = EntriesAsked(self._stored.content.request_id, object_types, after, self._undo.last, UNDO_SLICE)
            page = await history.entries_of_request(self._database.pool, self._stored.workspace_id, asked)
            touched = await self._first_touched(page.entries)
            fitting = await commands.fitting(touched)
            through = page.through if fitting == len(touched) else touched[fitting].first - 1
            self._done += sum(seq <= through for seq, *_ in page.entries)
            after = through
            command, kept = await commands.of(touched[:fitting])
            if not command.reversals and not kept and through < self._undo.last:
                continue
            is_last = through == self._undo.last
            yield UndoSlice(
                job_id=self._stored.id,
                step=step,
                after=at,
                command=command,
                kept=tuple(kept),
                next_step=step + is_last,
                through=self._undo.first - 1 if is_last else through,
                done=self._done,
            )
            at = through

    async def _first_touched(self, entries: Sequence[tuple[int, ObjectType[Any, Any], UUID]]) -> list[TouchedObject]:
        """Return the objects whose first entry of the import is among these. Each object is undone there."""
        by_type: dict[ObjectType[Any, Any], list[UUID]] = {}
        for _, object_type, object_id in entries:
            by_type.setdefault(object_type, []).append(object_id)
        found = {object_type: await self._touched_among(object_type, those) for object_type, those in by_type.items()}
        touched: list[TouchedObject] = []
        for seq, object_type, object_id in entries:
            # The row of an erased object is gone, and with it the way to its other entries.
            each = found[object_type].get(object_id) or TouchedObject(object_type, object_id, seq, seq, was_there=True)
            if each.first == seq:
                touched.append(each)
        return touched

    async def _touched_among(
        self, object_type: ObjectType[Any, Any], object_ids: Collection[UUID]
    ) -> dict[UUID, TouchedObject]:
        pool, workspace_id, request_id = self._database.pool, self._stored.workspace_id, self._stored.content.request_id
        found = await history.touched_among(pool, object_type, workspace_id, request_id, self._undo.first, object_ids)
        return {each.object_id: each for each in await effective(pool, workspace_id, request_id, [*found.values()])}

    async def _write(self, command: Command) -> Moved:
        return await _moved(self._ledger, self._stored.workspace_id, command, self._origin)


async def _breathe() -> None:
    await asyncio.sleep(0)


async def _moved(ledger: Ledger, workspace_id: UUID, command: Command, origin: Origin) -> Moved:
    """Carry out a command, also after an outage. One whose outcome is unknown may come twice: the second does nothing."""
    while True:
        try:
            written = await ledger.write(workspace_id, command, origin, size=_SLICE_BYTES)
            return msgspec.json.decode(written.body, type=Moved)
        except (Busy, Unavailable, OutcomeUnknown):
            await asyncio.sleep(_PAUSE_SECONDS)


async def _skip(records: Iterator[Record], count: int) -> None:
    """Skip records. Others have their turn meanwhile."""
    pace = Pace(_SKIPPED)
    for record in itertools.islice(records, count):
        if pace.is_over(size_of(record)):
            await asyncio.sleep(0)
