"""The places of a server: its port, its data folder and its ready file, held while it serves, and its database."""

import dataclasses
import errno
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from herdbook.cli.environment import CommandFailed, environment
from herdbook.cluster_template import copy_template
from herdbook.embedded import EmbeddedPostgres
from herdbook.settings import Settings

_PORT_SECONDS: Final = 10.0
_TELL_SECONDS: Final = 2.0
# Bytes of an answer that the system takes beyond those that it has sent.
_MAX_NOT_SENT: Final = 131_072
# The addresses of `localhost`.
LOOPBACK: Final = ("127.0.0.1", "::1")


class Opened(NamedTuple):
    """The places of a server: its sockets, database and ready file, and how to tell its data folder the address."""

    listeners: list[socket.socket]
    database_url: str
    announce_to_folder: Callable[[str], None]
    ready_file: "ReadyFile | None"


def with_lab_token(settings: Settings) -> Settings:
    """Return the settings with a token for the lab, if there is to be one."""
    if not settings.lab:
        return dataclasses.replace(settings, lab_token=None)
    return dataclasses.replace(settings, lab_token=settings.lab_token or secrets.token_urlsafe(24))


@contextmanager
def opened(settings: Settings, beside: Callable[[], None] = lambda: None) -> Generator[Opened]:
    """Hold the places of a server until the block ends or a signal arrives. `beside` is called while the database starts."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    with (
        _without_garbage_collection(),
        _ready_file(settings.ready_file) as ready_file,
        _listening(settings) as listeners,
        _database(settings, ready_file.remove_stale if ready_file else _do_nothing, beside) as (
            database_url,
            announce_to_folder,
        ),
    ):
        yield Opened(listeners, database_url, announce_to_folder, ready_file)


@contextmanager
def _without_garbage_collection() -> Generator[None]:
    """Collect no garbage until the server is ready (`keep_what_is_there`): nearly all that a start allocates is kept."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


def _bind(listener: socket.socket, address: Any, where: str) -> None:
    """Bind a socket to an address.

    The workers of a killed server leave the port within a moment, but one that is just starting takes long on a busy machine.
    """
    began = time.monotonic()
    is_told = False
    while True:
        try:
            listener.bind(address)
        except OSError as error:
            waited = time.monotonic() - began
            if error.errno != errno.EADDRINUSE or waited > _PORT_SECONDS:
                raise CommandFailed(
                    f"Cannot listen on {where}: {error.strerror}. Choose another with --port or HERDBOOK_PORT; 0 takes any."
                ) from None
            if waited > _TELL_SECONDS and not is_told:
                is_told = True
                environment.complain(
                    f"{where} is in use. Waiting {_PORT_SECONDS:.0f} seconds: a killed server may still leave it."
                )
            time.sleep(0.02)
        else:
            return


@contextmanager
def _listening(settings: Settings) -> Generator[list[socket.socket]]:
    """Yield listening sockets, so that a taken port is refused before a database is started.

    A browser takes `localhost` for 127.0.0.1 or ::1, so a server of the one listens at the other, too, if the system has it.
    Otherwise another program might get the link that signs somebody in.
    """
    with ExitStack() as opened:
        listeners = [opened.enter_context(_listener(settings.host, settings.port))]
        port: int = listeners[0].getsockname()[1]
        if settings.host == LOOPBACK[0] and _has_other_loopback():
            listeners.append(opened.enter_context(_listener(LOOPBACK[1], port)))
        yield listeners


def _has_other_loopback() -> bool:
    try:
        socket.create_server((LOOPBACK[1], 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@contextmanager
def _listener(host: str, port: int) -> Generator[socket.socket]:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # Name the protocol: the event loop turns Nagle's algorithm off only if it knows that this is TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise CommandFailed(f"Cannot listen on {host}: {error.strerror}. Choose another address with --host.") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not_sent := getattr(socket, "TCP_NOTSENT_LOWAT", None):
            # The system would otherwise take megabytes for each client that does not read.
            listener.setsockopt(socket.IPPROTO_TCP, not_sent, _MAX_NOT_SENT)
        _bind(listener, address, f"{host}, port {port}")
        listener.listen(2048)
        yield listener


@contextmanager
def _database(
    settings: Settings, when_held: Callable[[], None], beside: Callable[[], None]
) -> Generator[tuple[str, Callable[[str], None]]]:
    """Yield the database's URL, and a function that tells the data folder the server's.

    `when_held` is called once no other server can have the folder.
    """
    if settings.database_url is not None:
        when_held()
        beside()
        yield settings.database_url, lambda _: None
        return
    server = EmbeddedPostgres(
        settings.data_dir,
        settings.all_connections,
        lambda: os.kill(os.getpid(), signal.SIGTERM),
        when_held=when_held,
        template=copy_template,
    )
    try:
        with ThreadPoolExecutor(1) as thread:
            started = thread.submit(server.start)
            try:
                beside()
                database_url = started.result()
            except BaseException:
                # A signal to stop must not wait for a database that recovers from a crash.
                server.give_up()
                raise
        yield database_url, server.announce
    finally:
        server.stop()
        if server.is_lost:
            raise CommandFailed("The database stopped and could not be restarted. The log above says why.")


def _do_nothing() -> None:
    pass


class ReadyFile:
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

    def write(self, content: str) -> None:
        """Write the file. It may raise OSError."""
        # The file may hold a key, so it is newly created, not a link, and readable by the owner alone from the start.
        with os.fdopen(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
            self._written = os.fstat(file.fileno())
        # Replace atomically, so that nobody reads a partial file.
        self._draft.replace(self._path)

    def remove_own(self) -> None:
        """Remove the file, unless another server has replaced it meanwhile."""
        with suppress(OSError):
            if self._written is not None and os.path.samestat(self._path.lstat(), self._written):
                self._path.unlink()


@contextmanager
def _ready_file(path: Path | None) -> Generator[ReadyFile | None]:
    """Yield the ready file, if one is asked for. A start that is refused leaves that of a running server alone."""
    if path is None:
        yield None
        return
    if not path.parent.is_dir():
        raise CommandFailed(f"The folder of the ready file `{path}` does not exist. Create it, or choose another file.")
    file = ReadyFile(path)
    try:
        yield file
    finally:
        file.remove_own()
