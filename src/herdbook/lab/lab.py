"""The lab: its database, its workspaces, and the way of a request to its workspace."""

import asyncio
import logging
import random
import shutil
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto

from herdbook import ids, sources
from herdbook.auth.keys import ApiKey, secret_hash
from herdbook.auth.scopes import ADMIN
from herdbook.business_types import BUSINESS_TYPES
from herdbook.chores import Chore
from herdbook.db.database import Database
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.disk import DiskWatch
from herdbook.erasure.erasing import expire
from herdbook.erasure_list import NAME, ErasureList
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Services
from herdbook.lab import store
from herdbook.lab.clock import LAST_MOMENT, Clock, Surrounding, Surroundings
from herdbook.lab.files import FileRoom, LabRecordings, LabUploads
from herdbook.lab.gate import gone
from herdbook.lab.seed_file import FIRST_MOMENT, Seed, SeedInvalid
from herdbook.lab.seeds import SHIPPED, build
from herdbook.lab.session_store import Sessions, copying
from herdbook.lab.workspace import LabWorkspace, Parts, Template
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.retention import trim_ledgers_of
from herdbook.outgoing import Targets
from herdbook.request_log.store import trim_one
from herdbook.settings import LAB_CONNECTIONS, Settings, TargetRules
from herdbook.shared_schemas import shown_time

MOST_SEEDS: Final = 50
# Copies of one seed that are made ahead, and how many changes all of them may have: one of 10,000 takes a second and 10 MB.
_MOST_IN_STOCK: Final = 16
_MOST_CHANGES_IN_STOCK: Final = 4000
# Workspaces whose ids follow from random seeds and that are made ahead.
_MOST_AHEAD: Final = 16
_MOST_CREDENTIALS: Final = 10_000
_MEASURE_SECONDS: Final = 1
_KEY_NAME: Final = "Lab"
_log: Final = logging.getLogger("herdbook.lab")


class State(NamedTuple):
    """A state of a workspace: a seed, and its name."""

    seed: str
    template: Template


class Made(NamedTuple):
    """A workspace, its first key, the state that it was made of, and the one that it was last given."""

    workspace: LabWorkspace
    key: ApiKey
    beginning: State
    state: State


class _Next(NamedTuple):
    """The future of an id that no workspace has now: a copy of a seed, or nothing, once the task is done."""

    template: Template | None
    task: asyncio.Task[None]


class LabDisk(DiskWatch):
    """Knows whether the database of a lab has reached its bound, or the disk of the server is almost full."""

    def __init__(self, of_server: DiskWatch, most_bytes: int) -> None:
        super().__init__(None)
        self._of_server = of_server
        self._most_bytes = most_bytes
        self.note(0)

    def note(self, size: int) -> None:
        """Note the size of the database, in bytes."""
        is_over = size > self._most_bytes
        if is_over and not self.is_full:
            _log.error("the lab has reached its bound: writes are refused", extra={"bytes": size, "most": self._most_bytes})
        self.is_full = is_over or self._of_server.is_full
        self.refusal = (
            f"The database of this lab has {size:,} bytes, more than its bound of {self._most_bytes:,}. Nothing was written. "
            "Start the lab anew, or raise --lab-limit."
            if is_over
            else self._of_server.refusal
        )


class Lab:
    """The lab of a running server."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self.workspaces: dict[UUID, LabWorkspace] = {}
        self.made: dict[UUID, Made] = {}
        self._by_credential: dict[UUID, UUID] = {}
        self._templates: dict[str, asyncio.Task[Template]] = {}
        self._seeds: dict[str, Callable[[], Seed]] = dict(SHIPPED)
        # Copies of seeds, made ahead, for workspaces whose ids may be any.
        self._stock: dict[str, list[UUID]] = {}
        self._stocking: asyncio.Task[None] | None = None
        # And those whose ids follow from a random seed, which become a copy of a seed, or go.
        self._next: dict[UUID, _Next] = {}
        # Seeds that are copied into workspaces, once for each copy.
        self._in_use: list[Template] = []
        # Workspaces that are deleted, while somebody is in them.
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def most_workspaces(self) -> int:
        """How many workspaces there may be."""
        return self._settings.lab_workspaces

    @property
    def seed_names(self) -> Sequence[str]:
        """The names of the seeds."""
        return tuple(self._seeds)

    async def create_database(self) -> None:
        """Create the lab's database anew. Refusal: SettingOutOfRange."""
        self._database: LiteralString
        self._database, self._keeping = await store.create_database(self._database_url)
        try:
            await store.set_up(self._keeping, self._database)
        except BaseException:
            self._keeping.terminate()
            raise

    async def open(self, api: ApiApp, services: Services) -> None:
        """Let an application serve the workspaces, and take the time of the process from them."""
        settings = self._settings
        url, folder = store.lab_url(self._database_url, self._database), settings.data_dir / "lab"
        # A lab that was killed may have left some.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._files = FileRoom(folder, settings.lab_limit)
        self._disk = LabDisk(services.disk, settings.lab_limit)
        of_requests, of_lists, of_copies = LAB_CONNECTIONS
        self._pool = await open_pool(url, of_requests)
        self._pages = await open_pool(url, of_lists, planning_once=self._pool)
        self._copies = await open_pool(url, of_copies)
        targets = TargetRules(settings.targets.allowed, allows_loopback=True, allows_private=True)
        recordings = LabRecordings(self._files, settings.media_limit, targets, self._surroundings)
        self.services = services._replace(
            database=Database(self._pool, self._pages),
            targets=targets,
            proxies_may_name_loopback=True,
            # Nobody must be erased from the server's own workspaces because a test erased somebody.
            erasures=ErasureList(folder / NAME, makes_folder=True),
            recordings=recordings,
            uploads=LabUploads(self._files, settings.import_limit, settings.import_days),
        )
        self._parts = Parts(
            api,
            self.services,
            self._pool,
            self._pages,
            Sessions(),
            settings.queue_limit,
            settings.rate_limit,
            settings.rate_limit_burst,
            settings.problem_type_base,
            Targets(settings.targets.allowed, allows_loopback=True, allows_private=True),
            self._files,
            self._disk,
            self._clean,
        )
        sources.use(Surrounding())
        self._measuring = asyncio.create_task(Chore(_MEASURE_SECONDS, self.measure).repeat())

    async def measure(self) -> None:
        """Look how large the database is, so that a lab that nobody looks after does not fill the disk."""
        self._disk.note(await store.database_size(self._pool))

    def _surroundings(self, workspace_id: UUID) -> Surroundings | None:
        workspace = self.workspaces.get(workspace_id)
        return None if workspace is None else workspace.surroundings

    async def _clean(self, pool: Pool, ledger: Ledger, workspace_id: UUID) -> None:
        """Remove what a workspace keeps only for some time."""
        settings = self._settings
        if settings.history_days:
            await trim_ledgers_of(pool, [workspace_id], settings.history_days)
        if settings.request_log_hours:
            await trim_one(pool, workspace_id, settings.request_log_hours)
        deleted_days = settings.history_days if settings.deleted_days is None else settings.deleted_days
        if deleted_days:
            await expire(pool, ledger, BUSINESS_TYPES, deleted_days, only=workspace_id)

    async def close(self) -> None:
        """Close all workspaces, and remove the database."""
        self._measuring.cancel()
        await asyncio.gather(*(each.leave() for each in self.workspaces.values()), *self._leaving)
        sources.use(sources.System())
        beside = [each.task for each in self._next.values()] + ([] if self._stocking is None else [self._stocking])
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await self.services.recordings.close()
        await self._copies.close()
        await self._pages.close()
        await self._pool.close()
        # Another lab may take the database as soon as nobody is connected to it.
        await store.drop_database(self._database_url, self._database)
        self._keeping.terminate()

    async def workspace_of(self, credential_id: UUID) -> LabWorkspace | None:
        """Return the workspace of a credential, or None if it is not the lab's."""
        workspace_id = self._by_credential.get(credential_id)
        if workspace_id is None:
            workspace_id = await store.workspace_of_credential(self._pool, credential_id)
            if workspace_id is not None:
                if len(self._by_credential) >= _MOST_CREDENTIALS:
                    # They are found again in the database.
                    self._by_credential.clear()
                self._by_credential[credential_id] = workspace_id
        return None if workspace_id is None else self.workspaces.get(workspace_id)

    async def workspace_of_visit(self, link_id: UUID | None, session_id: UUID | None) -> LabWorkspace | None:
        """Return the workspace of a sign-in link or else of a session, or None if they are not the lab's."""
        if link_id is None and session_id is None:
            return None
        workspace_id = await store.workspace_of_visit(self._pool, link_id, session_id)
        return None if workspace_id is None else self.workspaces.get(workspace_id)

    def workspace(self, workspace_id: UUID) -> LabWorkspace:
        """Return a workspace. Refusal: NotFound."""
        return self.made_as(workspace_id).workspace

    def made_as(self, workspace_id: UUID) -> Made:
        """Return a workspace with what it was made of, once it is whole. Refusal: NotFound."""
        found = self.made.get(workspace_id)
        if found is None:
            raise gone()
        return found

    async def template(self, name: str) -> Template:
        """Return a seed, which is built when somebody asks for it first. Refusal: Invalid."""
        if name not in self._templates:
            if name not in self._seeds:
                message = f"There is no seed `{name}`. There are {', '.join(self._seeds)}."
                raise Invalid([FieldError("seed", "not_found", message)])
            self._templates[name] = asyncio.create_task(build(self._parts, name, self._seeds[name]()))
        building = self._templates[name]
        try:
            return await asyncio.shield(building)
        except SeedInvalid as invalid:
            raise Invalid([FieldError("seed", "refused", str(invalid))]) from None
        finally:
            # After any failure, the next caller builds it anew.
            if building.done() and (building.cancelled() or building.exception() is not None):
                self._templates.pop(name, None)

    async def create(self, seed: str, at: datetime | None, random_seed: int | None, *, is_frozen: bool) -> Made:
        """Create a workspace. Refusal: Invalid."""
        if len(self.workspaces) >= self.most_workspaces:
            message = (
                f"This lab has {self.most_workspaces} workspaces, which is its limit. Delete some, or raise --lab-workspaces."
            )
            raise Invalid([FieldError("", "not_allowed", message)])
        self.require_room()
        template = await self.template(seed)
        if at is not None and at > LAST_MOMENT:
            raise Invalid([FieldError("clock", "too_large", f"A clock goes until {shown_time(LAST_MOMENT)}.")])
        # Without a clock the workspace has the time of the server, which the changes of a seed may be ahead of.
        if (at or sources.now()).timestamp() < template.last_at:
            last = shown_time(datetime.fromtimestamp(template.last_at, UTC))
            message = f"The workspace would begin before the last change of the seed, {last}. Send a later time as `clock`."
            raise Invalid([FieldError("clock", "in_the_past", message)])
        workspace = LabWorkspace(self._parts, ids.NIL, Clock(at, is_frozen=is_frozen), random_seed)
        stock = self._stock.get(seed, ()) if random_seed is None else ()
        is_there, is_first = bool(stock), True
        if stock:
            workspace.move_in(stock.pop())
        else:
            free_id, is_first = self._free_id(random_seed)
            workspace.move_in(free_id)
        # Taken before anybody else can, because a seed of the randomness leads to the same ids.
        self.workspaces[workspace.id] = workspace
        try:
            key = workspace.new_key()
            sent = (key.id, _KEY_NAME, [ADMIN], secret_hash(key.secret))
            with self._using(template):
                if (coming := self._next.pop(workspace.id, None)) is not None:
                    is_there = await self._becomes(workspace.id, coming, template)
                async with self._copying() as connection:
                    if is_there:
                        await store.add_key(connection, workspace.id, sent, None)
                    else:
                        await store.copy_workspace(connection, template.kept, workspace.id, sent)
        except BaseException:
            del self.workspaces[workspace.id]
            raise
        self._by_credential[key.id] = workspace.id
        made = self.made[workspace.id] = Made(workspace, key, State(seed, template), State(seed, template))
        if random_seed is None:
            self._fill_stock(seed, template)
        elif not is_first and (following := self._free_id(random_seed)[0]) not in self._next:
            # A random seed of which there are several workspaces is likely to be asked for again.
            self._begin(following, template, lambda c: store.copy_workspace(c, template.kept, following, None))
        return made

    def _begin(
        self,
        free_id: UUID,
        template: Template | None,
        act: Callable[[Connection], Awaitable[None]],
        after: asyncio.Task[None] | None = None,
    ) -> None:
        """Work on the rows of an id that no workspace has now, while nobody waits for it, once another task is done."""

        async def work() -> None:
            if after is not None:
                # Without a connection, because the other task may need one.
                await asyncio.wait([after])
            async with self._copying() as connection:
                await act(connection)
            if template is None:
                self._next.pop(free_id, None)

        self._next[free_id] = _Next(template, asyncio.create_task(work()))
        ahead = [each for each, one in self._next.items() if one.template is not None]
        if len(ahead) > _MOST_AHEAD:
            self._drop(ahead[0])

    def _drop(self, free_id: UUID) -> None:
        """Remove the rows of an id that is a copy of a seed, or becomes one."""
        before = self._next.pop(free_id).task
        self._begin(free_id, None, lambda c: store.delete_workspace(c, free_id), before)

    async def _becomes(self, workspace_id: UUID, coming: _Next, template: Template) -> bool:
        """Whether an id is a copy of a seed once its work is done. There is nothing of it otherwise."""
        await asyncio.wait([coming.task])
        has_failed = coming.task.cancelled() or coming.task.exception() is not None
        if has_failed or coming.template not in (None, template):
            async with self._copying() as connection:
                await store.delete_workspace(connection, workspace_id)
            return False
        return coming.template is template

    @contextmanager
    def _using(self, template: Template) -> Generator[None]:
        """Keep a seed from being removed."""
        self._in_use.append(template)
        try:
            yield
        finally:
            self._in_use.remove(template)

    def _copying(self) -> AbstractAsyncContextManager[Connection]:
        return copying(self._copies, self._parts.sessions)

    def _fill_stock(self, seed: str, template: Template) -> None:
        """Make copies of a seed ahead, while nobody waits for them."""
        if self._stocking is None or self._stocking.done():
            self._stocking = asyncio.create_task(self._copy_ahead(seed, template))

    async def _copy_ahead(self, seed: str, template: Template) -> None:
        stock = self._stock.setdefault(seed, [])
        most = max(1, min(_MOST_IN_STOCK, _MOST_CHANGES_IN_STOCK // template.kept.changes))
        while len(stock) < most and not self._disk.is_full:
            workspace_id = ids.new_id()
            async with self._copying() as connection:
                await store.copy_workspace(connection, template.kept, workspace_id, None)
                if self._stock.get(seed) is not stock:
                    # The seed was removed meanwhile.
                    await store.delete_workspace(connection, workspace_id)
                    return
            stock.append(workspace_id)

    def _free_id(self, random_seed: int | None) -> tuple[UUID, bool]:
        """Return the id of a new workspace: with a random seed, the first of its ids that no workspace has now.

        Return, too, whether it is the first of them.
        """
        if random_seed is None:
            return ids.new_id(), True
        source = random.Random(f"herdbook lab workspaces {random_seed}")  # noqa: S311  # the same each time
        first = found = _id_of(source)
        while found in self.workspaces:
            found = _id_of(source)
        return found, found == first

    async def restore(self, workspace_id: UUID, seed: str) -> None:
        """Give a workspace the state of a seed or a snapshot. Its clock is not before that. Refusals: NotFound, Invalid."""
        workspace, template = self.workspace(workspace_id), await self.template(seed)
        self.require_room()
        with self._using(template):
            async with workspace.gate.alone():
                await workspace.forget()
                self._files.remove(workspace_id)
                async with self._copying() as connection:
                    await store.refill_workspace(connection, template.kept, workspace_id)
                workspace.clock.move_to(datetime.fromtimestamp(template.last_at, UTC))
                self._note(workspace_id, State(seed, template))

    def _note(self, workspace_id: UUID, state: State) -> None:
        """Note the state that a workspace was given, unless it was deleted meanwhile."""
        if (made := self.made.get(workspace_id)) is not None:
            self.made[workspace_id] = made._replace(state=state)

    async def snapshot(self, workspace_id: UUID, name: str) -> None:
        """Keep the state of a workspace under a name, as a seed. Refusals: NotFound, Invalid."""
        made = self.made_as(workspace_id)
        self._require_free(name)
        self.require_room()

        async def keep() -> Template:
            try:
                async with made.workspace.gate.inside():
                    of_origin = await store.kept(self._pool, workspace_id)
                    kept = of_origin._replace(id=ids.new_id())
                    async with self._copying() as connection:
                        await store.copy_workspace(connection, of_origin, kept.id, None)
                    last_at = made.workspace.clock.now().timestamp()
                    return Template(kept, made.state.template.objects, made.state.template.users, last_at)
            except BaseException:
                del self._seeds[name], self._templates[name]
                raise

        # The name is taken before anybody else can take it.
        self._seeds[name] = lambda: Seed(FIRST_MOMENT, ())
        self._templates[name] = asyncio.create_task(keep())
        await asyncio.shield(self._templates[name])

    async def add_seed(self, name: str, seed: Seed) -> Template:
        """Build a seed under a name. Refusal: Invalid."""
        self._require_free(name)
        self.require_room()
        self._seeds[name] = lambda: seed
        try:
            return await self.template(name)
        except BaseException:
            self._seeds.pop(name, None)
            raise

    async def remove_seed(self, name: str) -> None:
        """Remove a seed or a snapshot, of which no workspace is. Refusals: NotFound, Invalid."""
        if name in SHIPPED:
            raise Invalid([FieldError("name", "not_allowed", f"`{name}` is there from the start and cannot be removed.")])
        if name not in self._seeds:
            raise NotFound("seed", fault=f"There is no seed `{name}` in this lab.")
        template = await self.template(name)
        used = [*(made.beginning.template for made in self.made.values()), *self._in_use]
        if any(each is template for each in used):
            message = f"Workspaces of `{name}` are there still. Delete them first."
            raise Invalid([FieldError("name", "values_in_use", message)])
        if self._seeds.pop(name, None) is None:
            raise NotFound("seed", fault=f"There is no seed `{name}` in this lab.")
        self._templates.pop(name, None)
        for free_id in [each for each, one in self._next.items() if one.template is template]:
            self._drop(free_id)
        for workspace_id in (template.kept.id, *self._stock.pop(name, ())):
            async with self._copying() as connection:
                await store.delete_workspace(connection, workspace_id)

    def require_room(self) -> None:
        """Require that the lab may keep more. Refusal: Invalid."""
        if self._disk.is_full:
            raise Invalid([FieldError("", "not_allowed", self._disk.refusal)])

    def _require_free(self, name: str) -> None:
        if name in self._seeds:
            raise Invalid([FieldError("name", "already_in_use", f"There is a seed `{name}` already. Choose another name.")])
        if len(self._seeds) >= len(SHIPPED) + MOST_SEEDS:
            message = f"This lab has {MOST_SEEDS} seeds and snapshots, its limit. Remove some."
            raise Invalid([FieldError("name", "not_allowed", message)])

    async def reset(self, workspace_id: UUID) -> None:
        """Give a workspace the state of its seed again, once nobody is in it. Refusal: NotFound."""
        made = self.made_as(workspace_id)
        workspace = made.workspace
        async with workspace.gate.alone():
            await workspace.forget()
            workspace.clear()
            self._files.remove(workspace_id)
            async with self._copying() as connection:
                await store.reset_workspace(connection, made.beginning.template.kept, workspace_id)
            workspace.restart()
            self._note(workspace_id, made.beginning)

    async def delete(self, workspace_id: UUID) -> None:
        """Delete a workspace. Its id is free once nobody is in it. Refusal: NotFound."""
        workspace, kept = self.workspace(workspace_id), self.made.pop(workspace_id).beginning.template
        del self.workspaces[workspace_id]
        self._by_credential = {key: other for key, other in self._by_credential.items() if other != workspace_id}

        async def leave() -> None:
            await workspace.leave()
            workspace.clear()
            self._files.remove(workspace_id)

        leaving = asyncio.create_task(leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        if workspace.random_seed is None:
            self._begin(workspace_id, None, lambda c: store.delete_workspace(c, workspace_id), leaving)
        else:
            # A test that runs again wants the same workspace.
            self._begin(workspace_id, kept, lambda c: store.renew_workspace(c, kept.kept, workspace_id), leaving)
        await asyncio.shield(leaving)


def _id_of(source: random.Random) -> UUID:
    # A ULID is at most 7ZZ..., and its first 48 bits are a time.
    return pgproto.UUID((1_760_000_000_000 + source.getrandbits(32)).to_bytes(6) + source.randbytes(10))
