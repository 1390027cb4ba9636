"""`herdbook serve` and `herdbook demo`: start the database, migrate its schema, run the workers, and stop all of it."""

import asyncio
import errno
import functools
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
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from herdbook import ids
from herdbook.cli.environment import CommandFailed, environment
from herdbook.console.model import LINK_MINUTES, link_address
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import Prepared, note_shown, prepare
from herdbook.logs import configure_logs
from herdbook.settings import Settings

_log: Final = logging.getLogger("herdbook.serve")
_DRAIN_SECONDS: Final = 10
_PORT_SECONDS: Final = 10.0
# One process would answer more connections too slowly. Some files are for the database, the log and recordings.
_MAX_CONNECTIONS: Final = 20_000
_OTHER_FILES: Final = 128
# Connections that may be accepted and wait to be opened, unless there may be few files.
_MAX_WAITING: Final = 8192
# Bytes of an answer that the system takes beyond those that it has sent.
_MAX_NOT_SENT: Final = 131_072
# Called with the server's address once it answers requests.
Announce = Callable[[str, Prepared], None]


def serve(settings: Settings, prepared: Callable[[str], Coroutine[Any, Any, Prepared]], announce: Announce) -> None:
    """Serve until a signal arrives. `prepared` prepares the database, `announce` reports that the server is ready."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    with (
        _ready_file(settings.ready_file) as ready_file,
        _listening(settings) as listener,
        _database(settings, ready_file.remove_stale if ready_file else _do_nothing) as (database_url, announce_to_folder),
    ):
        configure_logs(settings.log_level)
        ready = asyncio.run(prepared(database_url))
        url = _url(settings.host, listener)

        def tell() -> None:
            # A full disk must not stop the other announcements.
            _tried(lambda: announce_to_folder(url))
            told = [_tried(functools.partial(ready_file.write, url, ready))] if ready_file else []
            told.append(_tried(lambda: announce(url, ready)))
            if ready.api_key is not None and any(told):
                asyncio.run(note_shown(database_url))

        threading.Thread(target=_when_ready, args=(url, tell), daemon=True).start()
        _run_workers(settings, database_url, listener)


def preparing(settings: Settings) -> Callable[[str], Coroutine[Any, Any, Prepared]]:
    """Return the function that prepares a database according to the settings."""
    is_alone = settings.database_url is None
    return functools.partial(prepare, allows_newer_schema=settings.allow_newer_schema, is_alone=is_alone)


def _tried(way: Callable[[], None]) -> bool:
    try:
        way()
    except OSError as error:
        _log.error("the server could not announce that it is ready", extra={"error": str(error)})
        return False
    return True


def announce_server(settings: Settings) -> Announce:
    """Return the function that prints the server's address, its data folder and, on the first start, its API key."""

    def announce(url: str, ready: Prepared) -> None:
        environment.say(f"herdbook answers at {url} (documentation: {url}/docs)")
        environment.say(
            f"Data:      {settings.data_dir.resolve() if settings.database_url is None else 'in the external database'}"
        )
        environment.say(f"Workspace: {ids.encoded(ids.WORKSPACE, ready.workspace_id)}")
        if ready.link is None:
            environment.say(f"Console:   {url}/console   (`herdbook users link` makes a link that signs a user in)")
        else:
            # The link works at once, even if the public address does not yet.
            environment.say(f"Console:   {link_address(url, ready.link)}   (signs you in, once, within {LINK_MINUTES} minutes)")
        if ready.api_key is not None:
            environment.say(f"API key:   {ready.api_key}   (shown only once; `herdbook keys create` makes others)")
        elif ready.lacks_key:
            environment.say("API key:   the first key may never have been shown; `herdbook keys create` makes another")

    return announce


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


@contextmanager
def _listening(settings: Settings) -> Generator[socket.socket]:
    """Yield a listening socket, so that a taken port is refused before a database is started."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Name the protocol: the event loop turns Nagle's algorithm off only if it knows that this is TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise CommandFailed(
            f"Cannot listen on {settings.host}: {error.strerror}. Choose another address with --host."
        ) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not_sent := getattr(socket, "TCP_NOTSENT_LOWAT", None):
            # The system would otherwise take megabytes for each client that does not read.
            listener.setsockopt(socket.IPPROTO_TCP, not_sent, _MAX_NOT_SENT)
        # The workers of a killed server release the port within a moment, but one that is just starting takes seconds.
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
                raise CommandFailed(
                    f"Cannot listen on {where}: {error.strerror}. Choose another with --port or HERDBOOK_PORT; 0 takes any."
                ) from None
        listener.listen(2048)
        yield listener


@contextmanager
def _database(settings: Settings, when_held: Callable[[], None]) -> Generator[tuple[str, Callable[[str], None]]]:
    """Yield the database's URL, and a function that tells the data folder the server's.

    `when_held` is called once no other server can have the folder.
    """
    if settings.database_url is not None:
        when_held()
        yield settings.database_url, lambda _: None
        return
    server = EmbeddedPostgres(
        settings.data_dir, settings.all_connections, lambda: os.kill(os.getpid(), signal.SIGTERM), when_held=when_held
    )
    try:
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(server.start)
            # Import the application while the database starts, to save time.
            import herdbook.app  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]

            database_url = started.result()
        yield database_url, server.announce
    finally:
        server.stop()
        if server.is_lost:
            raise CommandFailed("The database stopped and could not be restarted. The log above says why.")


def _run_workers(settings: Settings, database_url: str, listener: socket.socket) -> None:
    from herdbook.http.listener import Server, Worker  # noqa: PLC0415  # not imported before the database starts
    from herdbook.http.protocol import Connection, Front, Limits  # noqa: PLC0415  # not imported before the database starts

    front = Front(
        Limits(*_most_connections()),
        proxies=settings.proxies,
        problem_type_base=settings.problem_type_base,
        problem_media_type=settings.problem_media_type,
    )
    config = uvicorn.Config(
        functools.partial(_create_app, settings, database_url),
        factory=True,
        workers=settings.workers,
        http=cast("type[asyncio.Protocol]", functools.partial(Connection, front=front)),
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    if settings.workers == 1:
        server = Server(config)
        try:
            server.run(sockets=[listener])
        except SystemExit as end:
            if end.code != STARTUP_FAILURE:
                raise
            # A server that is stopped during its start has not failed.
            if not server.should_exit:
                raise _did_not_start() from None
        return
    # The workers read this variable on import; with it they share their metrics.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder = tempfile.mkdtemp(prefix="herdbook-metrics-")
    # uvicorn has no setting for the class of its workers.
    multiprocess.Process = Worker
    supervisor = _Supervisor(config, sockets=[listener])
    try:
        supervisor.run()
    finally:
        shutil.rmtree(folder)
    if not supervisor.is_told_to_stop and any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise _did_not_start()


class _Supervisor(Multiprocess):
    """The parent of the workers. It notes a stop signal, because a worker that was still starting then has not failed.

    It logs a worker that ended unexpectedly.
    """

    is_told_to_stop = False

    def keep_subprocess_alive(self) -> None:
        before = list(self.processes)
        super().keep_subprocess_alive()
        for worker in before:
            if worker not in self.processes:
                _log.warning("a worker ended unexpectedly and was replaced", extra={"pid": worker.pid, **_end(worker.exitcode)})

    def handle_int(self) -> None:
        self.is_told_to_stop = True
        super().handle_int()

    def handle_term(self) -> None:
        self.is_told_to_stop = True
        super().handle_term()


def _end(exit_code: int | None) -> dict[str, int | str | None]:
    """Return the exit code of a process, or the signal that ended it."""
    if exit_code is None or exit_code >= 0:
        return {"exit_code": exit_code}
    number = -exit_code
    return {"signal": signal.Signals(number).name if number in set(signal.Signals) else str(number)}


def _most_connections() -> tuple[int, int]:
    """Raise the limit of open files to its maximum, and return how many connections each process may have and keep waiting."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS, _MAX_WAITING
    files = hard - min(_OTHER_FILES, hard // 2)
    waiting = min(_MAX_WAITING, files // 4)
    return min(_MAX_CONNECTIONS, files - waiting), waiting


def _did_not_start() -> CommandFailed:
    return CommandFailed("The server could not start. The log above says why.")


def _create_app(settings: Settings, database_url: str) -> ASGIApp:
    from herdbook.app import create_app  # noqa: PLC0415  # workers import it, and this command while the database starts

    return create_app(settings, database_url, delivers=True)


def _url(host: str, listener: socket.socket) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{listener.getsockname()[1]}"


def _when_ready(url: str, tell: Callable[[], None]) -> None:
    while not _is_ready(url):
        time.sleep(0.01)
    tell()


def _is_ready(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None, "the address has a host and a port"
    # Connect directly: the environment's proxy cannot reach this server.
    with closing(HTTPConnection(address.hostname, address.port, timeout=5)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def _do_nothing() -> None:
    pass


class _ReadyFile:
    """The ready file, which exists only while the server serves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".new")
        self._written: os.stat_result | None = None

    def remove_stale(self) -> None:
        """Remove the file of an earlier run. Refusal: CommandFailed."""
        try:
            self._path.unlink(missing_ok=True)
            self._draft.unlink(missing_ok=True)
        except OSError as error:
            raise CommandFailed(
                f"The ready file `{self._path}` cannot be written: {error.strerror}. Choose another file."
            ) from None

    def write(self, url: str, ready: Prepared) -> None:
        """Write the file. It may raise OSError."""
        content = {"url": url, "workspace_id": ids.encoded(ids.WORKSPACE, ready.workspace_id)}
        if ready.api_key is not None:
            content["api_key"] = str(ready.api_key)
        # The file may hold a key, so it is newly created, not a link, and readable by the owner alone from the start.
        with os.fdopen(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
            self._written = os.fstat(file.fileno())
        # Replace atomically, so that nobody reads a partial file.
        self._draft.replace(self._path)

    def remove_own(self) -> None:
        """Remove the file, unless another server has replaced it meanwhile."""
        with suppress(OSError):
            if self._written is not None and os.path.samestat(self._path.lstat(), self._written):
                self._path.unlink()


@contextmanager
def _ready_file(path: Path | None) -> Generator[_ReadyFile | None]:
    """Yield the ready file, if one is asked for. A start that is refused leaves that of a running server alone."""
    if path is None:
        yield None
        return
    if not path.parent.is_dir():
        raise CommandFailed(f"The folder of the ready file `{path}` does not exist. Create it, or choose another file.")
    file = _ReadyFile(path)
    try:
        yield file
    finally:
        file.remove_own()
