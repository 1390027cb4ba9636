"""`herdbook serve` and `herdbook demo`: the database, its schema, then the workers; and all of it down again."""

import asyncio
import errno
import functools
import importlib
import json
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from herdbook import ids
from herdbook.cli.environment import CommandFailed, environment
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import Prepared, note_shown, prepare
from herdbook.logs import configure_logs
from herdbook.settings import Settings

_log: Final = logging.getLogger("herdbook.serve")
_DRAIN_SECONDS: Final = 10
_PORT_SECONDS: Final = 2.0
_APP: Final = "herdbook.app"
# More connections than this in one process would be answered slowly. Some files are the database's, the log's, recordings'.
_MAX_CONNECTIONS: Final = 20_000
_OTHER_FILES: Final = 128
# Called once requests are answered, with the server's address.
Announce = Callable[[str, Prepared], None]


def serve(settings: Settings, prepared: Callable[[str], Coroutine[Any, Any, Prepared]], announce: Announce) -> None:
    """Serve until a signal says otherwise. `prepared` makes the database ready, `announce` tells that it serves."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    with (
        _ready_file(settings.ready_file) as write_ready_file,
        _listening(settings) as listener,
        _database(settings) as (database_url, announce_to_folder),
    ):
        configure_logs(settings.log_level)
        ready = asyncio.run(prepared(database_url))
        url = _url(settings.host, listener)

        def tell() -> None:
            # A disk that is full is no reason to tell others less.
            _tried(lambda: announce_to_folder(url))
            told = [_tried(lambda: write_ready_file(url, ready))] if settings.ready_file is not None else []
            told.append(_tried(lambda: announce(url, ready)))
            if ready.api_key is not None and any(told):
                asyncio.run(note_shown(database_url))

        threading.Thread(target=_when_ready, args=(url, tell), daemon=True).start()
        _run_workers(settings, database_url, listener)


def preparing(settings: Settings) -> Callable[[str], Coroutine[Any, Any, Prepared]]:
    """Return what makes a database ready, as the settings say."""
    is_alone = settings.database_url is None
    return functools.partial(prepare, allows_newer_schema=settings.allow_newer_schema, is_alone=is_alone)


def _tried(way: Callable[[], None]) -> bool:
    try:
        way()
    except OSError as error:
        _log.error("the server cannot tell that it serves", extra={"error": str(error)})
        return False
    return True


def announce_server(settings: Settings) -> Announce:
    """Return what tells a person that the server serves, where its data are and, once, its key."""

    def announce(url: str, ready: Prepared) -> None:
        environment.say(f"herdbook answers at {url} (documentation: {url}/docs)")
        environment.say(
            f"Data:      {settings.data_dir.resolve() if settings.database_url is None else 'in the external database'}"
        )
        environment.say(f"Workspace: {ids.encoded(ids.WORKSPACE, ready.workspace_id)}")
        if ready.api_key is not None:
            environment.say(f"API key:   {ready.api_key}   (shown this once; `herdbook keys create` makes others)")
        elif ready.lacks_key:
            environment.say("API key:   that of the first start was perhaps never shown; `herdbook keys create` makes another")

    return announce


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


@contextmanager
def _listening(settings: Settings) -> Generator[socket.socket]:
    """A socket that listens already, so that a port that is taken is refused before a database is started."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # The protocol is named: the event loop turns Nagle's algorithm off only where it knows that this is TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise CommandFailed(
            f"Cannot listen at {settings.host}: {error.strerror}. Choose another address with --host."
        ) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The workers of a server that was killed let go of the port in a moment.
        give_up_at = time.monotonic() + _PORT_SECONDS
        while True:
            try:
                listener.bind(address)
                break
            except OSError as error:
                if error.errno == errno.EADDRINUSE and time.monotonic() < give_up_at:
                    time.sleep(0.02)
                    continue
                where = f"{settings.host}, port {settings.port}"
                raise CommandFailed(f"Cannot listen at {where}: {error.strerror}. Choose another: --port=0 is any.") from None
        listener.listen(2048)
        yield listener


@contextmanager
def _database(settings: Settings) -> Generator[tuple[str, Callable[[str], None]]]:
    if settings.database_url is not None:
        yield settings.database_url, lambda _: None
        return
    server = EmbeddedPostgres(settings.data_dir, settings.all_connections, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(server.start)
            # What is imported while the database starts need not be waited for afterwards.
            importlib.import_module(_APP)
            database_url = started.result()
        yield database_url, server.announce
    finally:
        server.stop()
        if server.is_lost:
            raise CommandFailed("The database ended and could not be started again; the log above says why.")


def _run_workers(settings: Settings, database_url: str, listener: socket.socket) -> None:
    protocol = importlib.import_module("herdbook.http.protocol")
    front = protocol.Front(
        protocol.Limits(connections=_most_connections()),
        proxies=settings.proxies,
        problem_type_base=settings.problem_type_base,
        problem_media_type=settings.problem_media_type,
    )
    config = uvicorn.Config(
        functools.partial(_create_app, settings, database_url),
        factory=True,
        workers=settings.workers,
        http=cast("type[asyncio.Protocol]", functools.partial(protocol.Connection, front=front)),
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    if settings.workers == 1:
        server = uvicorn.Server(config)
        try:
            server.run(sockets=[listener])
        except SystemExit as end:
            if end.code != STARTUP_FAILURE:
                raise
            # A server that is told to stop while it starts has not failed.
            if not server.should_exit:
                raise _did_not_start() from None
        return
    # The workers are told by this variable, when they are imported, that they count together.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder = tempfile.mkdtemp(prefix="herdbook-metrics-")
    supervisor = _Supervisor(config, sockets=[listener])
    try:
        supervisor.run()
    finally:
        shutil.rmtree(folder)
    if not supervisor.is_told_to_stop and any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise _did_not_start()


class _Supervisor(Multiprocess):
    """The parent of the workers; it knows whether a signal ended it, since a worker that was starting then has not failed."""

    is_told_to_stop = False

    def handle_int(self) -> None:
        self.is_told_to_stop = True
        super().handle_int()

    def handle_term(self) -> None:
        self.is_told_to_stop = True
        super().handle_term()


def _most_connections() -> int:
    """Raise the limit of open files as far as it goes; return how many connections it leaves room for, in each process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, hard - min(_OTHER_FILES, hard // 2))


def _did_not_start() -> CommandFailed:
    return CommandFailed("The server could not start; the log above says why.")


def _create_app(settings: Settings, database_url: str) -> ASGIApp:
    is_told_to_stop = _note_signals()
    create_app = importlib.import_module(_APP).create_app
    app: ASGIApp = create_app(settings, database_url, delivers=True, is_told_to_stop=is_told_to_stop)
    return app


def _note_signals() -> Callable[[], bool]:
    """Return whether a signal to stop has come; noted from here on, since a start that waits must hear of it."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)
        assert callable(handled), "uvicorn handles it by now"

        def note(number: int, frame: FrameType | None, then: Callable[[int, FrameType | None], object] = handled) -> None:
            told.append(number)
            then(number, frame)

        signal.signal(number, note)
    return lambda: bool(told)


def _url(host: str, listener: socket.socket) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{listener.getsockname()[1]}"


def _when_ready(url: str, tell: Callable[[], None]) -> None:
    while not _is_ready(url):
        time.sleep(0.01)
    tell()


def _is_ready(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None, "the address was made of a host and a port"
    # Asked directly: a proxy that the environment names for the world knows nothing of this server.
    with closing(HTTPConnection(address.hostname, address.port, timeout=5)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def _write_nothing(_: str, __: Prepared) -> None:
    pass


@contextmanager
def _ready_file(path: Path | None) -> Generator[Callable[[str, Prepared], None]]:
    """What writes the ready file. It is there while the server serves: one of an earlier run is gone from the first moment."""
    if path is None:
        yield _write_nothing
        return
    draft = path.with_name(path.name + ".new")
    if not path.parent.is_dir():
        raise CommandFailed(f"There is no folder for the ready file `{path}`. Create it, or name another.")
    try:
        path.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailed(f"The ready file `{path}` cannot be written: {error.strerror}. Name another.") from None
    written: list[os.stat_result] = []

    def write(url: str, ready: Prepared) -> None:
        content = {"url": url, "workspace_id": ids.encoded(ids.WORKSPACE, ready.workspace_id)}
        if ready.api_key is not None:
            content["api_key"] = str(ready.api_key)
        # It may hold a key, so it is new, no link of somebody's, and the owner's alone from the first moment.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
            written.append(os.fstat(file.fileno()))
        # In one step, so that nobody reads half of it.
        draft.replace(path)

    try:
        yield write
    finally:
        with suppress(OSError):
            # By now it may be another server's.
            if written and os.path.samestat(path.lstat(), written[0]):
                path.unlink()
