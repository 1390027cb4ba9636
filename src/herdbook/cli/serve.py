"""`herdbook serve` and `herdbook demo`: the database, its schema, then the workers; and all of it down again."""

import asyncio
import functools
import importlib
import json
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
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from herdbook import ids
from herdbook.cli.environment import CommandFailed, environment
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import Prepared
from herdbook.settings import Settings

_DRAIN_SECONDS: Final = 10
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
    if settings.ready_file is not None and not settings.ready_file.parent.is_dir():
        raise CommandFailed(f"There is no folder for the ready file `{settings.ready_file}`. Create it, or name another.")
    with _listening(settings) as listener, _database(settings) as (database_url, announce_to_folder):
        ready = asyncio.run(prepared(database_url))
        url = _url(settings.host, listener)

        def tell() -> None:
            announce_to_folder(url)
            announce(url, ready)
            if settings.ready_file is not None:
                _write_ready_file(settings.ready_file, url, ready)

        threading.Thread(target=_when_ready, args=(url, tell), daemon=True).start()
        _run_workers(settings, database_url, listener)


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
        try:
            listener.bind(address)
        except OSError as error:
            raise CommandFailed(
                f"Cannot listen at {settings.host}, port {settings.port}: {error.strerror}. Choose another: --port=0 is any."
            ) from None
        listener.listen(2048)
        yield listener


@contextmanager
def _database(settings: Settings) -> Generator[tuple[str, Callable[[str], None]]]:
    if settings.database_url is not None:
        yield settings.database_url, lambda _: None
        return
    server = EmbeddedPostgres(settings.data_dir, connections=settings.workers * settings.database_connections)
    try:
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(server.start)
            # What is imported while the database starts need not be waited for afterwards.
            importlib.import_module(_APP)
            database_url = started.result()
        yield database_url, server.announce
    finally:
        server.stop()


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
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except SystemExit as end:
            if end.code == STARTUP_FAILURE:
                raise _did_not_start() from None
            raise
        return
    # The workers are told by this variable, when they are imported, that they count together.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder = tempfile.mkdtemp(prefix="herdbook-metrics-")
    supervisor = Multiprocess(config, sockets=[listener])
    try:
        supervisor.run()
    finally:
        shutil.rmtree(folder)
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise _did_not_start()


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
    app: ASGIApp = importlib.import_module(_APP).create_app(settings, database_url, delivers=True)
    return app


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


def _write_ready_file(path: Path, url: str, ready: Prepared) -> None:
    """Write the file in one step, so that nobody reads half of it."""
    content = {"url": url, "workspace_id": ids.encoded(ids.WORKSPACE, ready.workspace_id)}
    if ready.api_key is not None:
        content["api_key"] = str(ready.api_key)
    draft = path.with_name(path.name + ".new")
    # It may hold a key, so it is the owner's alone from the first moment.
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)
