"""The workers of `herdbook serve` and `herdbook demo`, on a database that answers: prepare it, run them, and say so."""

import asyncio
import functools
import json
import logging
import os
import resource
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from herdbook import ids
from herdbook.app import create_app
from herdbook.cli.environment import CommandFailed, environment
from herdbook.cli.places import LOOPBACK, Opened
from herdbook.console.model import LINK_MINUTES, link_address
from herdbook.db.pooler import require_fit
from herdbook.first_start import Prepared, note_shown, prepare
from herdbook.http.listener import Server, Worker, keep_what_is_there
from herdbook.http.protocol import Connection, Front, Limits
from herdbook.logs import configure_logs
from herdbook.settings import Settings

_log: Final = logging.getLogger("herdbook.serve")
_DRAIN_SECONDS: Final = 10
# One process would answer more connections too slowly. Some files are for the database, the log and recordings.
_MAX_CONNECTIONS: Final = 20_000
_OTHER_FILES: Final = 128
# Connections that may be accepted and wait to be opened, unless there may be few files.
_MAX_WAITING: Final = 8192
# Called with the server's address once it answers requests.
Announce = Callable[[str, Prepared], None]


def run(
    settings: Settings, places: Opened, prepared: Callable[[str], Coroutine[Any, Any, Prepared]], announce: Announce
) -> None:
    """Serve until a signal arrives. `prepared` prepares the database, `announce` reports that the server is ready."""
    configure_logs(settings.log_level)
    direct_url = settings.direct_url or places.database_url

    async def prepared_directly() -> Prepared:
        if settings.database_url is not None:
            await require_fit(settings.database_url, settings.database_direct_url)
        return await prepared(direct_url)

    ready = asyncio.run(prepared_directly())
    url = _url(settings.host, places.listeners[0])

    def tell() -> None:
        # A full disk must not stop the other announcements.
        _tried(lambda: places.announce_to_folder(url))
        file = places.ready_file
        told = [_tried(lambda: file.write(_content(url, ready, settings.lab_token)))] if file else []
        told.append(_tried(lambda: announce(url, ready)))
        if ready.api_key is not None and any(told):
            asyncio.run(note_shown(direct_url))

    threading.Thread(target=_when_ready, args=(url, tell), daemon=True).start()
    _run_workers(settings, places.database_url, places.listeners)


def _content(url: str, ready: Prepared, lab_token: str | None) -> str:
    """Return the content of the ready file."""
    content = {"url": url, "workspace_id": ids.encoded(ids.WORKSPACE, ready.workspace_id)}
    if ready.api_key is not None:
        content["api_key"] = str(ready.api_key)
    if lab_token is not None:
        content["lab_token"] = lab_token
    return json.dumps(content)


def console_url(url: str) -> str:
    """Return the address by which people open the console of a server. Passkeys need a host with a name (WebAuthn, 5.1.2)."""
    address = urlsplit(url)
    return f"http://localhost:{address.port}" if address.hostname in LOOPBACK else url


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
            environment.say(
                f"Console:   {console_url(url)}/console   (`herdbook users link` makes a link that signs a user in)"
            )
        else:
            # The link works at once, even if the public address does not yet.
            link = link_address(console_url(url), ready.link)
            environment.say(f"Console:   {link}   (signs you in, once, within {LINK_MINUTES} minutes)")
        if ready.api_key is not None:
            environment.say(f"API key:   {ready.api_key}   (shown only once; `herdbook keys create` makes others)")
        elif ready.lacks_key:
            environment.say(
                "API key:   the first key may never have been shown: `herdbook keys list` names it, `herdbook keys revoke` "
                "ends it, and `herdbook keys create` makes another"
            )
        if settings.lab_token is not None:
            environment.say(f"Lab token: {settings.lab_token}   (commands the lab at {url}/api/herdbook/lab)")

    return announce


def _run_workers(settings: Settings, database_url: str, listeners: list[socket.socket]) -> None:
    front = Front(
        Limits(*_most_connections()),
        proxies=settings.proxies,
        problem_type_base=settings.problem_type_base,
        problem_media_type=settings.problem_media_type,
    )
    config = uvicorn.Config(
        functools.partial(create_app, settings, database_url, delivers=True),
        factory=True,
        workers=settings.workers,
        http=cast("type[asyncio.Protocol]", functools.partial(Connection, front=front)),
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("X-Herdbook-Lab", "1")] if settings.lab else None,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    if settings.workers == 1:
        server = Server(config)
        try:
            server.run(sockets=listeners)
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
    supervisor = _Supervisor(config, sockets=listeners)
    keep_what_is_there()
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
