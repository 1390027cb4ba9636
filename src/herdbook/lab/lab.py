"""The lab: its database, its workspaces, and the way of a request to its workspace."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto

from herdbook import ids, sources
from herdbook.auth.authenticate import Caller
from herdbook.auth.keys import ApiKey, secret_hash
from herdbook.auth.scopes import ADMIN
from herdbook.business_types import BUSINESS_TYPES
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.erasure.erasing import expire
from herdbook.erasure_list import NAME, ErasureList
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Services
from herdbook.lab import store
from herdbook.lab.clock import Clock, Surrounding
from herdbook.lab.seed_file import FIRST_MOMENT, Seed, SeedInvalid
from herdbook.lab.seeds import LARGE, SHIPPED, build
from herdbook.lab.session_store import Sessions, copying
from herdbook.lab.workspace import LabWorkspace, Parts, Template
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.retention import trim_ledgers_of
from herdbook.outgoing import Targets
from herdbook.request_log.store import trim_one
from herdbook.settings import LAB_CONNECTIONS, Settings, TargetRules
from herdbook.shared_schemas import shown_time

PATHS: Final = ("/api/herdbook/lab/", "/herdbook/lab/")
MOST_SEEDS: Final = 50
# A large seed takes a second, and a copy of it ten megabytes.
MOST_IN_STOCK: Final = 16
MOST_OF_LARGE: Final = 1
_KEY_NAME: Final = "Lab"
_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")
_CALLER: Final = Caller(ids.NIL, ids.NIL, frozenset(), "", "")


class Made(NamedTuple):
    """A new workspace, its key, and what it was made of."""

    workspace: LabWorkspace
    key: ApiKey
    template: Template
    seed: str


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
        await store.create_database(self._database_url)

    async def open(self, api: ApiApp, services: Services) -> None:
        """Let an application serve the workspaces, and take the time of the process from them."""
        settings = self._settings
        url = store.lab_url(self._database_url)
        of_requests, of_lists, of_copies = LAB_CONNECTIONS
        self._pool = await open_pool(url, of_requests)
        self._pages = await open_pool(url, of_lists, planning_once=self._pool)
        self._copies = await open_pool(url, of_copies)
        self._parts = Parts(
            api,
            services._replace(
                targets=TargetRules(settings.targets.allowed, allows_loopback=True, allows_private=True),
                proxies_may_name_loopback=True,
                # Nobody must be erased from the server's own workspaces because a test erased somebody.
                erasures=ErasureList(settings.data_dir / "lab" / NAME, makes_folder=True),
            ),
            self._pool,
            self._pages,
            Sessions(),
            settings.queue_limit,
            settings.rate_limit,
            settings.rate_limit_burst,
            settings.problem_type_base,
            Targets(settings.targets.allowed, allows_loopback=True, allows_private=True),
            self._clean,
        )
        sources.use(Surrounding())

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
        for workspace in self.workspaces.values():
            await workspace.forget()
        sources.use(sources.System())
        if self._stocking is not None:
            self._stocking.cancel()
        await self._copies.close()
        await self._pages.close()
        await self._pool.close()
        await store.drop_database(self._database_url)

    async def workspace_of(self, credential_id: UUID) -> LabWorkspace | None:
        """Return the workspace of a credential, or None if it is not the lab's."""
        workspace_id = self._by_credential.get(credential_id)
        if workspace_id is None:
            workspace_id = await store.workspace_of_credential(self._pool, credential_id)
            if workspace_id is not None:
                self._by_credential[credential_id] = workspace_id
        return None if workspace_id is None else self.workspaces.get(workspace_id)

    def workspace(self, workspace_id: UUID) -> LabWorkspace:
        """Return a workspace. Refusal: NotFound."""
        found = self.workspaces.get(workspace_id)
        if found is None:
            raise NotFound(
                "workspace", "Check the id, and that it was not deleted.", fault="There is no such workspace in this lab."
            )
        return found

    async def template(self, name: str) -> Template:
        """Return a seed, which is built when somebody asks for it first. Refusal: Invalid."""
        if name not in self._templates:
            if name not in self._seeds:
                message = f"There is no seed `{name}`. There are {', '.join(self._seeds)}."
                raise Invalid([FieldError("seed", "not_found", message)])
            self._templates[name] = asyncio.create_task(build(self._parts, name, self._seeds[name]()))
        try:
            return await asyncio.shield(self._templates[name])
        except SeedInvalid as invalid:
            self._templates.pop(name, None)
            where = f"Line {invalid.line}: " if invalid.line else ""
            raise Invalid([FieldError("seed", "refused", where + invalid.message)]) from None

    async def create(self, seed: str, at: datetime | None, random_seed: int | None, *, is_frozen: bool) -> Made:
        """Create a workspace. Refusal: Invalid."""
        if len(self.workspaces) >= self.most_workspaces:
            message = (
                f"This lab has {self.most_workspaces} workspaces, which is its limit. Delete some, or raise --lab-workspaces."
            )
            raise Invalid([FieldError("", "not_allowed", message)])
        template = await self.template(seed)
        if at is not None and at.timestamp() < template.last_at:
            last = shown_time(datetime.fromtimestamp(template.last_at, UTC))
            message = f"`clock` is before the last change of the seed, {last}. Send a later time."
            raise Invalid([FieldError("clock", "in_the_past", message)])
        workspace = LabWorkspace(self._parts, ids.NIL, Clock(at, is_frozen=is_frozen), random_seed)
        stock = self._stock.get(seed, ()) if random_seed is None else ()
        is_there = bool(stock)
        workspace.move_in(stock.pop() if stock else self._free_id(random_seed))
        # Taken before anybody else can, because a seed of the randomness leads to the same ids.
        self.workspaces[workspace.id] = workspace
        try:
            key = workspace.new_key()
            sent = (key.id, _KEY_NAME, [ADMIN], secret_hash(key.secret))
            async with self._copying() as connection:
                if is_there:
                    await store.add_key(connection, workspace.id, sent, None)
                else:
                    await store.copy_workspace(connection, template.kept, workspace.id, sent)
        except BaseException:
            del self.workspaces[workspace.id]
            raise
        self._by_credential[key.id] = workspace.id
        made = self.made[workspace.id] = Made(workspace, key, template, seed)
        if random_seed is None:
            self._fill_stock(seed, template)
        return made

    def _copying(self) -> AbstractAsyncContextManager[Connection]:
        return copying(self._copies, self._parts.sessions)

    def _fill_stock(self, seed: str, template: Template) -> None:
        """Make copies of a seed ahead, while nobody waits for them."""
        if self._stocking is None or self._stocking.done():
            self._stocking = asyncio.create_task(self._copy_ahead(seed, template))

    async def _copy_ahead(self, seed: str, template: Template) -> None:
        stock = self._stock.setdefault(seed, [])
        most = MOST_OF_LARGE if seed == LARGE else MOST_IN_STOCK
        while len(stock) < most:
            workspace_id = ids.new_id()
            async with self._copying() as connection:
                await store.copy_workspace(connection, template.kept, workspace_id, None)
            stock.append(workspace_id)

    def _free_id(self, random_seed: int | None) -> UUID:
        """Return the id of a new workspace: with a random seed, the first of its ids that no workspace has now."""
        if random_seed is None:
            return ids.new_id()
        source = random.Random(f"herdbook lab workspaces {random_seed}")  # noqa: S311  # the same each time
        while (found := _id_of(source)) in self.workspaces:
            pass
        return found

    async def restore(self, workspace_id: UUID, seed: str) -> None:
        """Give a workspace the state of a seed or a snapshot. Its clock is not before that. Refusals: NotFound, Invalid."""
        workspace, template = self.workspace(workspace_id), await self.template(seed)
        await workspace.forget()
        async with self._copying() as connection:
            await store.refill_workspace(connection, template.kept, workspace_id)
        workspace.clock.move_to(datetime.fromtimestamp(template.last_at, UTC))

    async def snapshot(self, workspace_id: UUID, name: str) -> None:
        """Keep the state of a workspace under a name, as a seed. Refusals: NotFound, Invalid."""
        workspace, made = self.workspace(workspace_id), self.made[workspace_id]
        self._require_free(name)
        kept = store.Kept(ids.new_id(), await store.tables_of(self._pool, workspace_id))
        async with self._copying() as connection:
            await store.copy_workspace(connection, store.Kept(workspace_id, kept.tables), kept.id, None)
        last_at = workspace.clock.now().timestamp()
        self._keep(name, Template(kept, made.template.objects, made.template.users, last_at))

    async def add_seed(self, name: str, seed: Seed) -> Template:
        """Build a seed under a name. Refusal: Invalid."""
        self._require_free(name)
        self._seeds[name] = lambda: seed
        try:
            return await self.template(name)
        except BaseException:
            self._seeds.pop(name, None)
            raise

    async def remove_seed(self, name: str) -> None:
        """Remove a seed or a snapshot. Its workspaces stay, and can no longer be reset. Refusal: NotFound, Invalid."""
        if name in SHIPPED:
            raise Invalid([FieldError("name", "not_allowed", f"`{name}` is there from the start and cannot be removed.")])
        if name not in self._seeds:
            raise NotFound("seed", fault=f"There is no seed `{name}` in this lab.")
        template = await self.template(name)
        if any(made.template is template for made in self.made.values()):
            message = f"Workspaces of `{name}` are there still. Delete them first."
            raise Invalid([FieldError("name", "values_in_use", message)])
        del self._seeds[name]
        self._templates.pop(name, None)
        for workspace_id in (template.kept.id, *self._stock.pop(name, ())):
            async with self._copying() as connection:
                await store.delete_workspace(connection, workspace_id)

    def _require_free(self, name: str) -> None:
        if name in self._seeds:
            raise Invalid([FieldError("name", "already_in_use", f"There is a seed `{name}` already. Choose another name.")])
        if len(self._seeds) >= len(SHIPPED) + MOST_SEEDS:
            message = f"This lab has {MOST_SEEDS} seeds and snapshots, its limit. Remove some."
            raise Invalid([FieldError("name", "not_allowed", message)])

    def _keep(self, name: str, template: Template) -> None:
        async def there() -> Template:
            return template

        self._seeds[name] = lambda: Seed(FIRST_MOMENT, ())
        self._templates[name] = asyncio.create_task(there())

    async def reset(self, workspace_id: UUID) -> None:
        """Give a workspace the state of its seed again. Refusal: NotFound."""
        workspace = self.workspace(workspace_id)
        await workspace.forget()
        workspace.clear()
        async with self._copying() as connection:
            await store.reset_workspace(connection, self.made[workspace_id].template.kept, workspace_id)
        workspace.clock.restart()
        workspace.surroundings.restart()
        workspace.background.restart()

    async def delete(self, workspace_id: UUID) -> None:
        """Delete a workspace. Refusal: NotFound."""
        workspace = self.workspace(workspace_id)
        await workspace.forget()
        async with self._copying() as connection:
            await store.delete_workspace(connection, workspace_id)
        workspace.clear()
        del self.workspaces[workspace_id]
        del self.made[workspace_id]
        self._by_credential = {key: other for key, other in self._by_credential.items() if other != workspace_id}


def _id_of(source: random.Random) -> UUID:
    # A ULID is at most 7ZZ..., and its first 48 bits are a time.
    return pgproto.UUID((1_760_000_000_000 + source.getrandbits(32)).to_bytes(6) + source.randbytes(10))
