"""The map: the operations, the way of a request to them or to a page, the chores, and the server's start and stop."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdbook import metrics
from herdbook.addresses import load_e_mail_library
from herdbook.auth.authenticate import Authenticator
from herdbook.business_types import BUSINESS_TYPES
from herdbook.cards import api as cards_api
from herdbook.chores import Chore, tried
from herdbook.companies import api as companies_api
from herdbook.companies.commands import RELEASE_CONTACTS, ReleaseContacts
from herdbook.companies.store import COMPANY
from herdbook.console.model import ConsoleOptions, OpenId
from herdbook.console.page import is_page
from herdbook.console.sign_in_store import forget_old_challenges
from herdbook.console.store import forget_old_sessions
from herdbook.contacts import api as contacts_api
from herdbook.contacts.commands import ContactsOfCompany
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields import api as fields_api
from herdbook.custom_fields.commands import ConvertValues, add_usual_fields
from herdbook.custom_fields.store import CONVERT_VALUES, note_older_values
from herdbook.db.database import Database
from herdbook.db.pool import CONNECTION_ERRORS, PagePool, Pool, open_pool
from herdbook.db.rounds import once_an_hour
from herdbook.disk import DiskWatch
from herdbook.duplicates import api as duplicates_api
from herdbook.duplicates.comparison import load_library_of_likeness
from herdbook.duplicates.searching import follow_all, follow_moved
from herdbook.embedded import GIVE_UP_SECONDS, has_data
from herdbook.engagements import api as engagements_api
from herdbook.engagements import store as engagements_store
from herdbook.engagements.commands import REMOVE_COMMENTS, DeleteComments
from herdbook.erasure import api as erasure_api
from herdbook.erasure.erasing import erase_again, expire, finished, sweep_uploads
from herdbook.erasure_list import NAME, ErasureList
from herdbook.exports import api as exports_api
from herdbook.feed import api as feed_api
from herdbook.history import api as history_api
from herdbook.http import openapi
from herdbook.http.api_app import ApiApp, ApiOptions
from herdbook.http.call import Services
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.http.protocol import ANSWER
from herdbook.http.ratelimit import RateLimit, TokenBuckets
from herdbook.http.request_log import RequestLog
from herdbook.importing import api as importing_api
from herdbook.importing.running import Importer
from herdbook.ledger.idempotency import forget_old_records
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.readiness import Readiness
from herdbook.ledger.retention import trim_ledgers
from herdbook.ledger.unfinished import finish
from herdbook.logs import LINES, configure_logs
from herdbook.media import PATH, Recordings
from herdbook.media_sweep import sweep
from herdbook.merging import api as merging_api
from herdbook.merging.commands import MoveReferences
from herdbook.merging.store import MERGE_TYPES
from herdbook.metrics_page import MetricsPage
from herdbook.names import load_reader_of_names
from herdbook.notes import api as notes_api
from herdbook.oauth import api as oauth_api
from herdbook.oauth.store import forget_old_tokens
from herdbook.object_types import OBJECT_TYPES
from herdbook.older_export import api as older_export_api
from herdbook.operator_faults import described
from herdbook.pages import Pages
from herdbook.phone_numbers import load_phone_library
from herdbook.request_log import api as request_log_api
from herdbook.request_log import commands as request_log_commands
from herdbook.request_log import store as request_log_store
from herdbook.search_refresh import refresh_search
from herdbook.settings import SettingOutOfRange, Settings
from herdbook.signals import before_stop
from herdbook.tags import api as tags_api
from herdbook.transcript_comments import api as transcript_comments_api
from herdbook.transcript_comments.commands import CommentsOfEngagement
from herdbook.uploads import Uploads
from herdbook.users import api as users_api
from herdbook.views import api as views_api
from herdbook.webhook_endpoints import api as webhook_endpoints_api
from herdbook.webhooks import api as webhooks_api
from herdbook.webhooks import store as webhooks_store
from herdbook.webhooks.supervisor import WorkerConfig, WorkerSupervisor
from herdbook.workspace_document import api as workspace_document_api
from herdbook.workspaces import api as workspaces_api

if TYPE_CHECKING:
    from herdbook.console.console_app import Console
    from herdbook.lab.server import LabServer

_COMPANY_CONTACTS: Final = ContactsOfCompany()
_COMMENTS: Final = CommentsOfEngagement()
FIELD_HOLDERS: Final = {each.name: each for each in (CONTACT, COMPANY)}
OPERATIONS: Final[tuple[Operation, ...]] = (
    *map(duplicates_api.reporting, contacts_api.OPERATIONS),
    *map(duplicates_api.reporting, companies_api.operations(_COMPANY_CONTACTS)),
    *cards_api.OPERATIONS,
    *users_api.OPERATIONS,
    *tags_api.OPERATIONS,
    *notes_api.OPERATIONS,
    *views_api.OPERATIONS,
    *fields_api.operations(FIELD_HOLDERS),
    *exports_api.OPERATIONS,
    *merging_api.OPERATIONS,
    *duplicates_api.OPERATIONS,
    *erasure_api.OPERATIONS,
    *engagements_api.OPERATIONS,
    engagements_api.deletion(_COMMENTS),
    *transcript_comments_api.OPERATIONS,
    *older_export_api.OPERATIONS,
    *oauth_api.OPERATIONS,
    *feed_api.OPERATIONS,
    *history_api.OPERATIONS,
    *webhook_endpoints_api.OPERATIONS,
    *webhooks_api.OPERATIONS,
    *request_log_api.OPERATIONS,
    *importing_api.OPERATIONS,
    *workspaces_api.OPERATIONS,
    *workspace_document_api.OPERATIONS,
)
_API_PATHS: Final = ("/api/v2/", "/v2/", "/api/v1/", "/v1/", "/api/herdbook/", "/herdbook/")
# Headers of answers that pages of other origins may read.
_EXPOSED_HEADERS: Final = (
    *("ETag", "X-Request-Id", "X-Api-Version", "Idempotency-Replayed", "Location", "Retry-After", "WWW-Authenticate", "Allow"),
    *("RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Accept-Encoding"),
)
_PAGE_CONNECTIONS: Final = 2
# As long as the embedded database is restarted before the server gives up.
_DATABASE_SECONDS: Final = GIVE_UP_SECONDS
_TRY_AGAIN_SECONDS: Final = 0.1
_LAST_USES_SECONDS: Final = 2.0
# How often a server offers to make the round of the hour. A refusal costs one look-up.
_OFFER_ROUND_SECONDS: Final = 300.0
# How long after the start libraries are imported that the first answer does not need.
_LOAD_AFTER_SECONDS: Final = 0.5

ResultT = TypeVar("ResultT")


class Herdbook:
    """The ASGI application."""

    _api: ASGIApp
    _console: ASGIApp
    _pages: ASGIApp

    def __init__(
        self, settings: Settings, database_url: str, *, delivers: bool = False, is_told_to_stop: Callable[[], bool] = bool
    ) -> None:
        self._settings = settings
        self._is_told_to_stop = is_told_to_stop
        self._database_url = database_url
        self._direct_url = settings.database_direct_url or database_url
        self._delivers = delivers
        self.request_log = RequestLog() if settings.request_log_hours else None
        self._lifespan = Router(lifespan=lambda _: self.running())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; requests for the API bypass the routes of the pages."""
        if scope["type"] != "http":
            await self._lifespan(scope, receive, partial(_send_plainly, send))
        elif scope["path"].startswith(_API_PATHS) and not scope["path"].startswith(PATH):
            await self._api(scope, receive, send)
        elif is_page(scope["path"]):
            # Pages of other origins have no business with it, so no header allows them anything.
            await self._console(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _once_reachable(self, act: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Act; while the database is away or a migration has locked a table, act again. A worker may start at such a time."""
        give_up_at = time.monotonic() + _DATABASE_SECONDS
        while True:
            try:
                return await act()
            except (*CONNECTION_ERRORS, asyncpg.LockNotAvailableError) as error:
                # A database that has too few connections for this server will not have more of them soon.
                is_hopeless = isinstance(error, asyncpg.TooManyConnectionsError)
                if is_hopeless or self._is_told_to_stop() or time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _opened(self) -> tuple[Pool, PagePool, str]:
        """Return the connections, those for lists, and the secret that signs cursors."""
        opened: list[PagePool] = []
        try:
            size = self._settings.database_connections - _PAGE_CONNECTIONS
            is_pooled = self._settings.database_direct_url is not None
            opened.append(await open_pool(self._database_url, size, is_pooled=is_pooled))
            # A session of a pooler plans for one and all.
            opened.append(await open_pool(self._direct_url, _PAGE_CONNECTIONS, planning_once=opened[0]))
            secret: str = await opened[0].fetchval("select value from setting where name = 'cursor_secret'")
        except BaseException:
            for pool in opened:
                pool.terminate()
            raise
        pool, pages = opened
        return pool, pages, secret

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve for as long as the block lasts; then carry out waiting writes, and close."""
        settings = self._settings
        # Before anything is open that a refusal would leave open.
        lab = await self._once_reachable(partial(_lab, settings, self._direct_url))
        pool, pages, secret = await self._once_reachable(self._opened)
        notifier = ChangeNotifier(pool)
        ledger = Ledger(pool, settings.queue_limit, notifier=notifier)
        authenticator = Authenticator(pool)
        rate_limit = _rate_limit(settings)
        recordings = Recordings(settings.data_dir / "media", secret, settings.targets.allowed, settings.media_limit)
        database = Database(pool, pages)
        importer = _importer(settings, database, ledger)
        erasures = ErasureList(settings.data_dir / NAME, makes_folder=True)
        # The disk of an external database is not visible here.
        data_dir = settings.data_dir if settings.database_url is None else None
        disk = DiskWatch(data_dir)
        operations = OPERATIONS if lab is None else (*OPERATIONS, *lab.operations)
        # Made for its first reader, because that takes a fifth of a start.
        document = partial(openapi.document, operations, settings.problem_type_base, f"{settings.public_url or ''}/api")
        services = Services(
            ledger,
            database,
            CursorSigner(secret),
            recordings,
            notifier,
            OBJECT_TYPES,
            erasures,
            settings.public_url,
            settings.targets,
            settings.loopback_webhook_targets == "yes",
            cache(lambda: msgspec.json.encode(document())),
            settings.request_log_hours,
            disk,
            (settings.history_days, _deleted_days(settings)),
            importer.uploads,
        )
        request_log = self.request_log
        api = ApiApp(
            operations=OPERATIONS,
            services=services,
            authenticator=authenticator,
            rate_limit=rate_limit,
            disk=disk,
            options=ApiOptions(settings.body_limit, settings.problem_type_base, settings.problem_media_type),
            logs_requests=settings.log_level in ("debug", "info"),
            request_log=request_log,
        )
        if lab is not None:
            await lab.open(api, services)
        self._api = _for_web_pages(lab or api, settings.origins)
        options = ConsoleOptions(
            settings.public_url,
            _openid(settings),
            settings.log_level == "debug",
            settings.log_level in ("debug", "info"),
            request_log,
        )
        console = _LateConsole(partial(_console, api, services, authenticator, options))
        self._console = console if lab is None else lab.console(console, console.loaded)
        of_lab = None if lab is None else lab.lab.services
        page_routes = Pages(document, services, Readiness(pool, ledger), disk, of_lab=of_lab).routes()
        page_routes.append(Route("/metrics", MetricsPage((pool, pages), data_dir).get))
        self._pages = _for_web_pages(_pages(page_routes, api), settings.origins)
        supervisor = WorkerSupervisor(
            pool,
            notifier,
            WorkerConfig(self._database_url, settings.targets, settings.log_level, settings.database_direct_url),
        )
        ledger.open()
        # A person who was erased after a backup must not be seen once that is restored.
        await self._once_reachable(partial(erase_again, pool, ledger, erasures))
        await disk.look()
        chores = [
            Chore(0.25, disk.look),
            Chore(30, authenticator.note_uses),
            *_chores_in_database(settings, pool, ledger, erasures),
            Chore(0.5, importer.look),
            Chore(3600, importer.forget_expired),
            Chore(3600, partial(sweep_uploads, pool, importer.uploads.folder), first_within_seconds=2),
            Chore(5, partial(follow_moved, pool, notifier)),
            *([Chore(0.5, supervisor.look)] if self._delivers else []),
            *([] if request_log is None else _chores_of_request_log(settings, pool, request_log)),
        ]
        tasks = [asyncio.create_task(each) for each in (notifier.poll(), _load_late(), *(chore.repeat() for chore in chores))]
        before_stop(partial(asyncio.get_running_loop().call_soon_threadsafe, notifier.close))
        yield
        notifier.close()
        for task in tasks:
            task.cancel()
        last_requests = [] if request_log is None else [partial(request_log_commands.write, pool, request_log)]
        await _close(
            *(pool.close, pages.close, *([] if rate_limit is None else [rate_limit.close]), recordings.close),
            *(_last_try(act) for act in (authenticator.note_uses, *last_requests)),
            *(supervisor.close, ledger.close, importer.close, *([] if lab is None else [lab.close])),
        )


async def _close(*parts: Callable[[], Awaitable[object]]) -> None:
    """Close the parts of a server, the last one first. Each is closed even if another fails to close."""
    async with AsyncExitStack() as closing:
        # A worker ends by a signal, which skips the exit handlers.
        closing.callback(LINES.flush)
        for part in parts:
            closing.push_async_callback(part)


def _last_try(act: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    return partial(tried, lambda: asyncio.wait_for(act(), _LAST_USES_SECONDS))


async def _send_plainly(send: Send, message: Message) -> None:
    """Send a message about the server's life. A start that fails by what an operator can mend says so, without a traceback."""
    if message["type"] == "lifespan.startup.failed":
        # Starlette sends the traceback while it handles the error.
        message = {**message, "message": described(sys.exc_info()[1]) or message["message"]}
    await send(message)


async def _load_late() -> None:
    """Load what the first answer does not need, before a request needs it, which would wait for it and let others wait."""
    await asyncio.sleep(_LOAD_AFTER_SECONDS)
    loads = load_e_mail_library, load_phone_library, load_library_of_likeness, oauth_api.load_server, load_reader_of_names
    for load in loads:
        # In a thread, from which the interpreter takes its turn after 5 ms.
        await asyncio.to_thread(load)


class _LateConsole:
    """The console, which is loaded for the first person: a server that only programs use starts sooner, and is smaller."""

    def __init__(self, load: "Callable[[], Console]") -> None:
        self._load = load
        self._app: Console | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await (await self.loaded())(scope, receive, send)

    async def loaded(self) -> "Console":
        """Return the console."""
        async with self._loading if self._app is None else nullcontext():
            # Programs are served meanwhile.
            self._app = self._app or await asyncio.to_thread(self._load)
        return self._app


async def _lab(settings: Settings, database_url: str) -> "LabServer | None":
    """Return the lab, if the server has one, with a new database."""
    if not settings.lab:
        return None
    from herdbook.lab.server import LabServer  # noqa: PLC0415  # a server without a lab has nothing of it

    lab = LabServer(settings, database_url)
    await lab.create_database()
    return lab


def _console(api: ApiApp, services: Services, authenticator: Authenticator, options: ConsoleOptions) -> "Console":
    from herdbook.console.console_app import Console  # noqa: PLC0415  # not imported before there is a person
    from herdbook.console_pages import PAGES  # noqa: PLC0415  # not imported before there is a person

    console = Console(PAGES, OPERATIONS, api=api, services=services, authenticator=authenticator, options=options)
    # Like what was allocated before the start, all of this is long-lived.
    gc.freeze()
    return console


def _importer(settings: Settings, database: Database, ledger: Ledger) -> Importer:
    uploads = Uploads(settings.data_dir / "imports", settings.import_limit, settings.import_days)
    is_alone = settings.database_url is None and has_data(settings.data_dir)
    return Importer(database, ledger, uploads, OBJECT_TYPES, shares_database=not is_alone)


def _chores_of_request_log(settings: Settings, pool: Pool, log: RequestLog) -> list[Chore]:
    hours = settings.request_log_hours
    return [
        Chore(1, partial(request_log_commands.write, pool, log)),
        Chore(60, partial(request_log_commands.trim_grown, pool, log, hours)),
        _round(pool, f"requests {hours}", partial(request_log_store.trim, pool, hours)),
    ]


def _round(pool: Pool, name: str, make_round: Callable[[], Awaitable[object]]) -> Chore:
    """Return the chore of a round over all workspaces, which the servers of a database share."""
    return Chore(_OFFER_ROUND_SECONDS, partial(once_an_hour, pool, name, make_round))


def _deleted_days(settings: Settings) -> int:
    return settings.history_days if settings.deleted_days is None else settings.deleted_days


def _chores_in_database(settings: Settings, pool: Pool, ledger: Ledger, erasures: ErasureList) -> list[Chore]:
    needing_recordings = partial(engagements_store.needing_recordings, pool)
    chores = [
        Chore(60, partial(finish, pool, ledger, RELEASE_CONTACTS, partial(ReleaseContacts, contacts=_COMPANY_CONTACTS))),
        Chore(60, partial(finish, pool, ledger, CONVERT_VALUES, partial(ConvertValues, holders=FIELD_HOLDERS))),
        *(Chore(60, partial(finish, pool, ledger, each.task, partial(MoveReferences, each))) for each in MERGE_TYPES),
        Chore(60, partial(finish, pool, ledger, REMOVE_COMMENTS, partial(DeleteComments, comments=_COMMENTS))),
        Chore(60, partial(finished, pool, ledger, erasures)),
        Chore(3600, partial(add_usual_fields, pool, ledger), first_within_seconds=1),
        Chore(3600, partial(note_older_values, pool), first_within_seconds=1),
        Chore(60, partial(refresh_search, pool, ledger), first_within_seconds=1),
        _round(pool, "duplicates", partial(follow_all, pool)),
        Chore(3600, partial(forget_old_records, pool)),
        Chore(3600, partial(forget_old_tokens, pool)),
        Chore(3600, partial(forget_old_sessions, pool)),
        Chore(3600, partial(forget_old_challenges, pool)),
        _round(pool, "deliveries", partial(webhooks_store.forget_old_deliveries, pool)),
        Chore(3600, partial(sweep, settings.data_dir / "media", needing_recordings), first_within_seconds=2),
    ]
    if settings.history_days:
        # A server that was started with another number of days begins a round at once.
        days = settings.history_days
        chores.append(_round(pool, f"history {days}", partial(trim_ledgers, pool, days)))
    if deleted_days := _deleted_days(settings):
        chores.append(Chore(3600, partial(expire, pool, ledger, BUSINESS_TYPES, deleted_days)))
    return chores


def _pages(routes: list[Route], api: ASGIApp) -> ASGIApp:
    pages = Starlette(routes=routes)
    # The API answers all other paths, if only with the problem that there is no such operation.
    pages.router.default = api
    # A redirect would lead to whatever host the request names.
    pages.router.redirect_slashes = False
    return pages


def _for_web_pages(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return an application that browsers let pages of these origins use."""
    if not origins:
        return app
    middleware = CORSMiddleware(
        app,
        allow_origins=origins,
        # The application itself refuses other methods, with a problem that a page can read.
        allow_methods=["*"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=_EXPOSED_HEADERS,
        max_age=600,
    )

    async def for_web_pages(scope: Scope, receive: Receive, send: Send) -> None:
        # An answer in one step would not pass through the middleware.
        scope.get("state", {}).pop(ANSWER, None)
        # The middleware would refuse a preflight without a problem or a request id.
        is_refused = scope["method"] == "OPTIONS" and not middleware.is_allowed_origin(Headers(scope=scope).get("origin", ""))
        await (app if is_refused else middleware)(scope, receive, send)

    return for_web_pages


def create_app(settings: Settings, database_url: str, *, delivers: bool = False) -> Herdbook:
    """Return the application of one worker; if it delivers to webhooks, it runs a courier process."""
    # A start that waits for the database must notice a signal to stop.
    told: list[bool] = []
    before_stop(lambda: told.append(True))
    configure_logs(settings.log_level, metrics.LOG_LINES_DROPPED.inc)
    if settings.workers > 1:
        metrics.forget_dead_workers()
    return Herdbook(settings, database_url, delivers=delivers, is_told_to_stop=lambda: bool(told))


def _openid(settings: Settings) -> OpenId | None:
    if settings.openid_issuer is None or settings.openid_client_id is None:
        return None
    file = settings.openid_client_secret_file
    return OpenId(settings.openid_issuer, settings.openid_client_id, None if file is None else file.read_text().strip())


def _rate_limit(settings: Settings) -> RateLimit | None:
    if not settings.rate_limit:
        return None
    if settings.rate_limit_store is None:
        return TokenBuckets(settings.rate_limit, settings.rate_limit_burst)
    # Import it only here, because its library is an extra and takes a tenth of a second to import.
    try:
        from herdbook.http.shared_ratelimit import SharedWindows  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = f'--rate-limit-store needs the package `{error.name}`: pip install "herdbook[valkey]".'
        raise SettingOutOfRange(message) from None
    return SharedWindows(settings.rate_limit, settings.rate_limit_burst, settings.rate_limit_store)
