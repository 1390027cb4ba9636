"""The map: what answers which path, in which order a request passes what, and how the server starts and stops."""

import asyncio
import functools
import gc
import importlib
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from herdbook.contacts.actions import CompanyStaff
from herdbook.db.database import Database
from herdbook.db.migrate import missing
from herdbook.db.pool import CONNECTION_ERRORS, Pool, open_pool
from herdbook.engagements import api as engagements_api
from herdbook.feed import api as feed_api
from herdbook.history import api as history_api
from herdbook.http import openapi
from herdbook.http.call import Services, address_of
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.http.ratelimit import RateLimit, TokenBuckets
from herdbook.http.requests import Requests, Wire
from herdbook.ledger.heads import Heads
from herdbook.ledger.idempotency import forget_old_records
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.retention import trim_ledgers
from herdbook.logs import LINES, RequestLog, configure_logs
from herdbook.media import PATH, Recordings
from herdbook.merging import api as merging_api
from herdbook.merging.moving import move_left_behind
from herdbook.oauth import api as oauth_api
from herdbook.oauth.store import forget_old_tokens
from herdbook.settings import Settings
from herdbook.tags import api as tags_api
from herdbook.transcript_comments import api as transcript_comments_api
from herdbook.users import api as users_api
from herdbook.webhooks import api as webhooks_api
from herdbook.webhooks import store as webhooks_store
from herdbook.webhooks.keeper import Keeper, Order

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
    *webhooks_api.OPERATIONS,
)

_log: Final = logging.getLogger("herdbook.app")
_API_PATHS: Final = ("/api/v2/", "/v2/", "/api/v1/", "/v1/", "/api/herdbook/", "/herdbook/")
_PAGE_CONNECTIONS: Final = 2
_NOTE_USES_EVERY_SECONDS: Final = 30.0
_FORGET_EVERY_SECONDS: Final = 3600.0
_RELEASE_EVERY_SECONDS: Final = 60.0
_KEEP_EVERY_SECONDS: Final = 0.5
_METRICS_SECONDS: Final = 2.0


class Herdbook:
    """The ASGI application."""

    def __init__(self, settings: Settings, database_url: str, *, delivers: bool = False) -> None:
        self._settings = settings
        self._database_url = database_url
        self._delivers = delivers
        self._requests: ASGIApp | None = None
        self._pool: Pool | None = None
        self._pools: tuple[Pool, ...] = ()
        self._recordings: Recordings | None = None
        self._document = openapi.document(OPERATIONS, settings.problem_type_base)
        self._encoded_document = msgspec.json.encode(self._document)
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
        # What is no page is the API's to answer, if only with the problem that there is nothing there.
        self._pages.router.default = self._api
        # It would redirect to whatever host the request names.
        self._pages.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the API's go straight to it, past everything that serves pages."""
        if scope["type"] == "http" and scope["path"].startswith(_API_PATHS) and not scope["path"].startswith(PATH):
            await self._api(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._requests is not None, "the server has started"
        await self._requests(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve for as long as the block lasts; then carry out what waits, and close."""
        settings = self._settings
        pages = await open_pool(self._database_url, _PAGE_CONNECTIONS, plan_anew=True)
        self._pool = pool = await open_pool(self._database_url, settings.database_connections - _PAGE_CONNECTIONS)
        self._pools = (pool, pages)
        secret = await pool.fetchval("select value from setting where name = 'cursor_secret'")
        heads = Heads(pool)
        ledger = Ledger(pool, settings.queue_limit, heads=heads)
        authenticator = Authenticator(pool)
        rate_limit = _rate_limit(settings)
        targets = settings.targets
        self._recordings = recordings = Recordings(settings.data_dir / "media", secret, targets.allowed, settings.media_limit)
        self._requests = Requests(
            operations=OPERATIONS,
            services=Services(
                ledger, Database(pool, pages), CursorSigner(secret), recordings, heads, settings.public_url, targets
            ),
            authenticator=authenticator,
            rate_limit=rate_limit,
            wire=Wire(settings.body_limit, settings.problem_type_base, settings.problem_media_type),
            log=RequestLog() if settings.log_level in ("debug", "info") else None,
        )
        ledger.open()
        chores = [
            asyncio.create_task(heads.look()),
            asyncio.create_task(_again_and_again(_NOTE_USES_EVERY_SECONDS, authenticator.note_uses)),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: forget_old_records(pool))),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: forget_old_tokens(pool))),
            asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, lambda: webhooks_store.forget_old_deliveries(pool))),
            asyncio.create_task(_again_and_again(_RELEASE_EVERY_SECONDS, lambda: release_left_behind(pool, ledger, _STAFF))),
            asyncio.create_task(_again_and_again(_RELEASE_EVERY_SECONDS, lambda: move_left_behind(pool, ledger))),
        ]
        if settings.history_days:
            trim = functools.partial(trim_ledgers, pool, settings.history_days)
            chores.append(asyncio.create_task(_again_and_again(_FORGET_EVERY_SECONDS, trim)))
        keeper = Keeper(pool, heads, Order(self._database_url, targets, settings.log_level))
        if self._delivers:
            chores.append(asyncio.create_task(_again_and_again(_KEEP_EVERY_SECONDS, keeper.look)))
        if settings.workers > 1:
            stop_if_orphaned = functools.partial(_stop_if_orphaned, os.getppid())
            chores.append(asyncio.create_task(_again_and_again(1.0, stop_if_orphaned)))
        _when_told_to_stop(heads.close)
        # What is there by now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        yield
        heads.close()
        for chore in chores:
            chore.cancel()
        await ledger.close()
        await keeper.close()
        await authenticator.note_uses()
        await recordings.close()
        if rate_limit is not None:
            await rate_limit.close()
        await pages.close()
        await pool.close()
        # A worker ends by a signal, which asks nobody to clear up.
        LINES.flush()

    @functools.cached_property
    def _docs_page(self) -> Any:
        # Imported for the first reader: it is a fifth of what a start has to import, and programs do not read.
        return importlib.import_module("herdbook.http.docs_page").DocsPage(self._document)

    async def _docs(self, request: Request) -> Response:
        page: Response = self._docs_page.get(self._settings.public_url or address_of(request.scope))
        return page

    async def _openapi(self, _: Request) -> Response:
        return Response(self._encoded_document, media_type="application/json")

    async def _recording(self, request: Request) -> Response:
        assert self._recordings is not None, "the server has started"
        found = self._recordings.find(request.path_params["token"])
        if found is None:
            return Response("This address is not valid, or not any more. Read the engagement again for a new one.\n", 404)
        path, media_type = found
        # What was fetched stays what it says it is, and runs nothing.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "private"}
        return FileResponse(path, media_type=media_type, headers=headers)

    async def _readyz(self, _: Request) -> Response:
        assert self._pool is not None, "the server has started"
        try:
            lacking = await missing(self._pool)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            return JSONResponse({"ready": False, "database": type(error).__name__}, 503)
        return JSONResponse({"ready": not lacking, "missing_migrations": lacking}, 503 if lacking else 200)

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
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings, database_url: str, *, delivers: bool = False) -> Herdbook:
    """Return the application of one worker, which has a courier beside it if it delivers to webhooks, too."""
    configure_logs(settings.log_level, metrics.LOG_LINES_DROPPED.inc)
    if settings.workers > 1:
        metrics.forget_dead_workers()
    return Herdbook(settings, database_url, delivers=delivers)


def _rate_limit(settings: Settings) -> RateLimit | None:
    if not settings.rate_limit:
        return None
    if settings.rate_limit_store is None:
        return TokenBuckets(settings.rate_limit, settings.rate_limit_burst)
    # By name, since the library it needs is an extra, and takes a tenth of a second to import.
    shared = importlib.import_module("herdbook.http.shared_ratelimit")
    limit: RateLimit = shared.SharedWindows(settings.rate_limit, settings.rate_limit_burst, settings.rate_limit_store)
    return limit


async def _look_at_webhooks(pool: Pool) -> None:
    """Measure how webhooks do; while the database is away, nobody knows."""
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


async def _stop_if_orphaned(parent: int) -> None:
    """Stop this worker if the process that started it is gone: it would keep the port from the next one."""
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _when_told_to_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at the signal to stop, before it is handled: the server waits for answers that are under way."""
    if threading.current_thread() is not threading.main_thread():
        return  # Signals are another's.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)
        if callable(handled) and handled is not signal.default_int_handler:

            def handle(number: int, frame: FrameType | None, then: Callable[[int, FrameType | None], object] = handled) -> None:
                loop.call_soon_threadsafe(stop)
                then(number, frame)

            signal.signal(number, handle)


async def _again_and_again(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        except Exception:
            _log.exception("a chore failed, and will be tried again")
