"""The map: the handler of each path, the order of the stages that a request passes, and the server's start and stop."""

import asyncio
import functools
import gc
import importlib
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType
from typing import Any, Final

import asyncpg
import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from herdbook import metrics
from herdbook.auth.authenticate import Authenticator
from herdbook.companies import api as companies_api
from herdbook.companies.releasing import release_left_behind
from herdbook.contacts import api as contacts_api
from herdbook.contacts.commands import CompanyStaff
from herdbook.db.database import Database
from herdbook.db.pool import CONNECTION_ERRORS, Pool, open_pool
from herdbook.disk import DiskWatch, FolderCollector
from herdbook.embedded import GIVE_UP_SECONDS
from herdbook.engagements import api as engagements_api
from herdbook.engagements import store as engagements_store
from herdbook.feed import api as feed_api
from herdbook.history import api as history_api
from herdbook.http import openapi
from herdbook.http.api_app import ApiApp, ApiOptions
from herdbook.http.call import Services, address_of
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.http.ratelimit import RateLimit, TokenBuckets
from herdbook.ledger.idempotency import forget_old_records
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.readiness import NOT_READY, Readiness
from herdbook.ledger.retention import trim_ledgers
from herdbook.logs import LINES, RequestLog, configure_logs
from herdbook.media import PATH, Recordings
from herdbook.media_sweep import sweep
from herdbook.merging import api as merging_api
from herdbook.merging.moving import move_left_behind
from herdbook.oauth import api as oauth_api
from herdbook.oauth.store import forget_old_tokens
from herdbook.object_types import OBJECT_TYPES
from herdbook.settings import Settings
from herdbook.tags import api as tags_api
from herdbook.transcript_comments import api as transcript_comments_api
from herdbook.users import api as users_api
from herdbook.webhook_endpoints import api as webhook_endpoints_api
from herdbook.webhooks import api as webhooks_api
from herdbook.webhooks import store as webhooks_store
from herdbook.webhooks.supervisor import WorkerConfig, WorkerSupervisor

_STAFF: Final = CompanyStaff()
OPERATIONS: Final[tuple[Operation, ...]] = (
    *contacts_api.OPERATIONS,
    *companies_api.operations(_STAFF),
    *users_api.OPERATIONS,
    *tags_api.OPERATIONS,
    *merging_api.OPERATIONS,
    *engagements_api.OPERATIONS,
    *transcript_comments_api.OPERATIONS,
    *oauth_api.OPERATIONS,
    *feed_api.OPERATIONS,
    *history_api.OPERATIONS,
    *webhook_endpoints_api.OPERATIONS,
    *webhooks_api.OPERATIONS,
)

_log: Final = logging.getLogger("herdbook.app")
_API_PATHS: Final = ("/api/v2/", "/v2/", "/api/v1/", "/v1/", "/api/herdbook/", "/herdbook/")
_PAGE_CONNECTIONS: Final = 2
_NOTE_USES_EVERY_SECONDS: Final = 30.0
_FORGET_EVERY_SECONDS: Final = 3600.0
_SWEEP_WITHIN_SECONDS: Final = 2.0
_RELEASE_EVERY_SECONDS: Final = 60.0
_KEEP_EVERY_SECONDS: Final = 0.5
_FIRST_SECONDS: Final = 30.0
_LAST_USES_SECONDS: Final = 2.0
_LOOK_AT_DISK_EVERY_SECONDS: Final = 0.25
# As long as the embedded database is restarted before the server gives up.
_DATABASE_SECONDS: Final = GIVE_UP_SECONDS
_TRY_AGAIN_SECONDS: Final = 0.1
_METRICS_SECONDS: Final = 2.0


class Herdbook:
    """The ASGI application."""

    def __init__(
        self, settings: Settings, database_url: str, *, delivers: bool = False, is_told_to_stop: Callable[[], bool] = bool
    ) -> None:
        self._settings = settings
        self._is_told_to_stop = is_told_to_stop
        self._database_url = database_url
        self._delivers = delivers
        self._requests: ASGIApp | None = None
        self._pool: Pool | None = None
        self._readiness: Readiness | None = None
        self._pools: tuple[Pool, ...] = ()
        self._recordings: Recordings | None = None
        self._database: Database | None = None
        # The disk of an external database is not visible here.
        data_dir = settings.data_dir if settings.database_url is None else None
        self._disk = DiskWatch(data_dir)
        self._folder = CollectorRegistry()
        if data_dir is not None:
            self._folder.register(FolderCollector(data_dir))
        self._document = openapi.document(OPERATIONS, settings.problem_type_base)
        self._encoded_document = msgspec.json.encode(self._document)
        # Pages are made in a thread, one after the other, because anybody may ask for them.
        self._making_page = asyncio.Lock()
        self._pages = Starlette(
            routes=[
                Route("/healthz", _healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route(PATH + "{token}", self._recording),
                Route("/docs", self._docs),
                Route("/openapi.json", self._openapi),
                Route("/api/openapi.json", self._openapi),
            ],
            lifespan=lambda _: self.running(),
        )
        # The API answers all other paths, if only with the problem that there is no such operation.
        self._pages.router.default = self._api
        # A redirect would lead to whatever host the request names.
        self._pages.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; requests for the API bypass the routes of the pages."""
        if scope["type"] == "http" and scope["path"].startswith(_API_PATHS) and not scope["path"].startswith(PATH):
            await self._api(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _reached_database(self) -> tuple[Pool, Pool, str]:
        """Return the connections, those for lists, and the secret that signs cursors.

        Wait while the database is away, because a worker that replaces a dead one may start at such a time.
        """
        _stop_if_orphaned()
        give_up_at = time.monotonic() + _DATABASE_SECONDS
        while True:
            opened: list[Pool] = []
            try:
                opened.append(await open_pool(self._database_url, _PAGE_CONNECTIONS, plan_anew=True))
                opened.append(await open_pool(self._database_url, self._settings.database_connections - _PAGE_CONNECTIONS))
                secret: str = await opened[1].fetchval("select value from setting where name = 'cursor_secret'")
            except CONNECTION_ERRORS as error:
                for pool in opened:
                    pool.terminate()
                # A database that has too few connections for this server will not have more of them soon.
                is_hopeless = isinstance(error, asyncpg.TooManyConnectionsError)
                if is_hopeless or self._is_told_to_stop() or time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            else:
                pages, pool = opened
                return pool, pages, secret

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._requests is not None, "the server has started"
        await self._requests(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve for as long as the block lasts; then carry out waiting writes, and close."""
        settings = self._settings
        pool, pages, secret = await self._reached_database()
        self._pool, self._pools = pool, (pool, pages)
        notifier = ChangeNotifier(pool)
        ledger = Ledger(pool, settings.queue_limit, notifier=notifier)
        self._readiness = Readiness(pool, ledger)
        authenticator = Authenticator(pool)
        rate_limit = _rate_limit(settings)
        targets = settings.targets
        media = settings.data_dir / "media"
        self._recordings = recordings = Recordings(media, secret, targets.allowed, settings.media_limit)
        self._database = database = Database(pool, pages)
        sweep_media = functools.partial(sweep, media, functools.partial(engagements_store.needing_recordings, pool))
        self._requests = ApiApp(
            operations=OPERATIONS,
            services=Services(
                ledger,
                database,
                CursorSigner(secret),
                recordings,
                notifier,
                OBJECT_TYPES,
                settings.public_url,
                targets,
                settings.loopback_webhook_targets == "yes",
            ),
            authenticator=authenticator,
            rate_limit=rate_limit,
            disk=self._disk,
            wire=ApiOptions(settings.body_limit, settings.problem_type_base, settings.problem_media_type),
            log=RequestLog() if settings.log_level in ("debug", "info") else None,
        )
        ledger.open()
        await self._disk.look()
        chores = [
            asyncio.create_task(_again_and_again(_LOOK_AT_DISK_EVERY_SECONDS, self._disk.look)),
            asyncio.create_task(notifier.poll()),
            asyncio.create_task(_again_and_again(_NOTE_USES_EVERY_SECONDS, authenticator.note_uses)),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: forget_old_records(pool))),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: forget_old_tokens(pool))),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: webhooks_store.forget_old_deliveries(pool))),
            asyncio.create_task(_again_and_again(_RELEASE_EVERY_SECONDS, lambda: release_left_behind(pool, ledger, _STAFF))),
            asyncio.create_task(_again_and_again(_RELEASE_EVERY_SECONDS, lambda: move_left_behind(pool, ledger))),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, sweep_media, _SWEEP_WITHIN_SECONDS)),
        ]
        if settings.history_days:
            trim = functools.partial(trim_ledgers, pool, settings.history_days)
            chores.append(asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, trim)))
        supervisor = WorkerSupervisor(pool, notifier, WorkerConfig(self._database_url, targets, settings.log_level))
        if self._delivers:
            chores.append(asyncio.create_task(_again_and_again(_KEEP_EVERY_SECONDS, supervisor.look)))
        _when_told_to_stop(notifier.close)
        # Everything allocated so far is long-lived; exempt it from garbage collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        yield
        notifier.close()
        for chore in chores:
            chore.cancel()
        # Each is closed even if another fails to close. The last one in the list is closed first.
        async with AsyncExitStack() as closing:
            # A worker ends by a signal, which skips the exit handlers.
            closing.callback(LINES.flush)
            closing.push_async_callback(pool.close)
            closing.push_async_callback(pages.close)
            if rate_limit is not None:
                closing.push_async_callback(rate_limit.close)
            closing.push_async_callback(recordings.close)
            closing.push_async_callback(_tried, lambda: asyncio.wait_for(authenticator.note_uses(), _LAST_USES_SECONDS))
            closing.push_async_callback(supervisor.close)
            closing.push_async_callback(ledger.close)

    @functools.cached_property
    def _docs_page(self) -> Any:
        # Import it for the first reader: it is a fifth of the imports of a start, and programs do not read the page.
        return importlib.import_module("herdbook.http.docs_page").DocsPage(self._document)

    async def _docs(self, request: Request) -> Response:
        base_url = self._settings.public_url or address_of(request.scope)
        async with self._making_page:
            page: Response = await asyncio.to_thread(lambda: self._docs_page.get(base_url))
        return page

    async def _openapi(self, _: Request) -> Response:
        return Response(self._encoded_document, media_type="application/json")

    async def _recording(self, request: Request) -> Response:
        assert self._recordings is not None, "the server has started"
        assert self._database is not None, "the server has started"
        found = self._recordings.find(request.path_params["token"])
        try:
            is_there = found and await engagements_store.find(self._database, found.workspace_id, found.recording_id)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError):
            return Response("The database cannot be reached. Try again shortly.\n", 503)
        if found is None or is_there is None:
            return Response("This address is invalid or has expired. Read the engagement again to get a new one.\n", 404)
        # The browser must neither guess another type nor run anything.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "private"}
        return FileResponse(found.path, media_type=found.content_type, headers=headers)

    async def _readyz(self, _: Request) -> Response:
        assert self._readiness is not None, "the server has started"
        try:
            schema = await self._readiness.schema()
        except NOT_READY as error:
            return JSONResponse({"ready": False, "database": _said_of_database(error)}, 503)
        found: dict[str, Any] = {"missing_migrations": schema.missing}
        if (failing := self._readiness.failing_writes()) is not None:
            found["writes_fail"] = "The last write failed, because the database is away or accepts no writes. The log says why."
        if self._disk.is_full:
            found["disk"] = "The disk is almost full, so writes are refused."
        is_ready = not schema.missing and failing is None and not self._disk.is_full
        if schema.unknown:
            # This is no fault: a newer release keeps the schema usable for this one, so that servers can be replaced in turn.
            found["unknown_migrations"] = schema.unknown
        return JSONResponse({"ready": is_ready, **found}, 200 if is_ready else 503)

    async def _metrics(self, _: Request) -> Response:
        assert self._pool is not None, "the server has started"
        idle = sum(pool.get_idle_size() for pool in self._pools)
        metrics.POOL_CONNECTIONS.labels("idle").set(idle)
        metrics.POOL_CONNECTIONS.labels("busy").set(sum(pool.get_size() for pool in self._pools) - idle)
        await _look_at_webhooks(self._pool)
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # pyright: ignore[reportUnknownMemberType]  # it is not annotated
        return Response(generate_latest(registry) + generate_latest(self._folder), media_type=CONTENT_TYPE_LATEST)


def create_app(
    settings: Settings, database_url: str, *, delivers: bool = False, is_told_to_stop: Callable[[], bool] = bool
) -> Herdbook:
    """Return the application of one worker; if it delivers to webhooks, it runs a courier process."""
    configure_logs(settings.log_level, metrics.LOG_LINES_DROPPED.inc)
    if settings.workers > 1:
        metrics.forget_dead_workers()
    return Herdbook(settings, database_url, delivers=delivers, is_told_to_stop=is_told_to_stop)


def _said_of_database(error: Exception) -> str:
    if isinstance(error, CONNECTION_ERRORS):
        return "It cannot be reached."
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return "It is read-only."
    return f"It reports an error ({type(error).__name__})."


def _rate_limit(settings: Settings) -> RateLimit | None:
    if not settings.rate_limit:
        return None
    if settings.rate_limit_store is None:
        return TokenBuckets(settings.rate_limit, settings.rate_limit_burst)
    # Import it only here, because its library is an extra and takes a tenth of a second to import.
    shared = importlib.import_module("herdbook.http.shared_ratelimit")
    limit: RateLimit = shared.SharedWindows(settings.rate_limit, settings.rate_limit_burst, settings.rate_limit_store)
    return limit


async def _look_at_webhooks(pool: Pool) -> None:
    """Update the metrics of webhooks; they are unknown while the database is away."""
    totals = webhooks_store.UNKNOWN
    try:
        async with asyncio.timeout(_METRICS_SECONDS):
            totals = await webhooks_store.totals(pool)
    except Exception as error:
        _log.warning("webhooks cannot be measured", extra={"error": repr(error)})
    for state in ("enabled", "failing", "disabled"):
        metrics.WEBHOOK_ENDPOINTS.labels(state).set(getattr(totals, state))
    metrics.WEBHOOK_ENTRIES_BEHIND.set(totals.behind)
    metrics.WEBHOOK_DELIVERIES_WAITING.set(totals.waiting)
    for outcome in ("delivered", "failed"):
        metrics.WEBHOOK_DELIVERIES.labels(outcome).set(getattr(totals, outcome))


async def _healthz(_: Request) -> Response:
    return JSONResponse({"alive": True})


def _stop_if_orphaned() -> None:
    """Stop this worker as soon as its parent process is gone, because it would block the port for the next server."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_reader(parent.sentinel)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(parent.sentinel, stop)


def _when_told_to_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at the signal to stop, before the server handles it, because the server then waits for pending answers."""
    if threading.current_thread() is not threading.main_thread():
        return  # Only the main thread can handle signals.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)
        if callable(handled) and handled is not signal.default_int_handler:

            def handle(number: int, frame: FrameType | None, then: Callable[[int, FrameType | None], object] = handled) -> None:
                loop.call_soon_threadsafe(stop)
                then(number, frame)

            signal.signal(number, handle)


async def _again_and_again(
    seconds: float, chore: Callable[[], Awaitable[None]], first_within_seconds: float = _FIRST_SECONDS
) -> None:
    # The first run comes soon, so that it also happens if the server is restarted often. The delay is random, so that not all
    # chores begin at once.
    await asyncio.sleep(random.uniform(0, min(seconds, first_within_seconds)))  # noqa: S311  # no secret depends on it
    while True:
        await _tried(chore)
        await asyncio.sleep(seconds)


async def _tried(chore: Callable[[], Awaitable[None]]) -> None:
    try:
        await chore()
    except Exception:
        _log.exception("a background task failed; it will run again")
