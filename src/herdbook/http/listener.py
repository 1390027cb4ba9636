"""Accepts connections, and opens them in turns.

The system has one queue for all clients, and the event loop takes one connection of it at a time. A client that opens thousands
would keep all others waiting there.
"""

import asyncio
import errno
import fcntl
import functools
import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import uvicorn
from uvicorn.supervisors import multiprocess

from herdbook import metrics
from herdbook.auth.sign_ins import network_of
from herdbook.http.protocol import Front

_log: Final = logging.getLogger("herdbook.connections")
# More than come in one iteration of the event loop.
_MAX_ACCEPTED: Final = 256
# Opening a connection takes as long as several small reads.
_OPENING_COST: Final = 4
# How long nothing is accepted after the system refused to.
_PAUSE_SECONDS: Final = 0.1


class Listener:
    """Sockets that listen, as uvicorn expects of a server of the event loop."""

    def __init__(self, sockets: Sequence[socket.socket], protocol_factory: Any, front: Front) -> None:
        self.sockets = sockets
        self._protocol_factory = protocol_factory
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._waiting: Counter[str] = Counter()
        self._opening: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        for each in sockets:
            each.setblocking(False)  # noqa: FBT003
            self._listen(each)

    def _listen(self, listening: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_MAX_ACCEPTED):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    _log.warning("no connection can be accepted", extra={"error": str(error)})
                    self._loop.remove_reader(listening)
                    self._loop.call_later(_PAUSE_SECONDS, self._listen, listening)
                    return
                continue
            self._take(accepted, network_of(address[0]))

    def _take(self, accepted: socket.socket, client: str) -> None:
        if self._front.work.takes(_OPENING_COST):
            self._open(accepted)
            return
        most = self._front.limits.waiting
        # One client has half of the places at most.
        if self._waiting[client] >= most // 2 or self._waiting.total() >= most:
            accepted.close()
            metrics.CONNECTIONS_CLOSED.inc()
            self._front.warn(self._loop.time(), "connections come faster than they can be opened: some are closed")
            return
        self._waiting[client] += 1
        self._front.work.add(client, functools.partial(self._open_waiting, accepted, client))

    def _open_waiting(self, accepted: socket.socket, client: str) -> None:
        self._waiting[client] -= 1
        if not self._waiting[client]:
            del self._waiting[client]
        self._open(accepted)

    def _open(self, accepted: socket.socket) -> None:
        if self._is_closed:
            accepted.close()
            return
        opening = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol_factory, accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def close(self) -> None:
        """Accept no more."""
        self._is_closed = True
        for each in self.sockets:
            self._loop.remove_reader(each)

    async def wait_closed(self) -> None:
        """Do nothing: the sockets are their owner's."""


class Server(uvicorn.Server):
    """uvicorn's server, with a `Listener`. Its protocol is a `Connection` with its `front` as a keyword."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        protocol: Any = config.http
        self._front: Front = protocol.keywords["front"]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen."""
        assert sockets is not None
        await super().startup(sockets=[])
        if self.should_exit:
            return
        limits = self._front.limits
        _prepare_for_files(sockets[0], limits.connections + limits.waiting)
        factory = functools.partial(
            self.config.http_protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        keep_what_is_there()
        self.servers: list[Any] = [Listener(sockets, factory, self._front)]


class Worker(multiprocess.Process):
    """A worker of uvicorn's supervisor with such a server. It ends with its parent."""

    _has_answered = False

    def is_alive(self, timeout: float = 5) -> bool:
        """Whether it runs and answers in time. One that starts may take any time to answer first, as on a busy machine."""
        if not self._has_answered:
            self._has_answered = self.ping(0)
            return self.process.is_alive()
        return super().is_alive(timeout)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the server in the worker's process."""
        for each in sockets or ():
            # Its own children would otherwise have the sockets, too, and keep the port after it.
            each.set_inheritable(False)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        super().target(sockets)

    def _end_with_parent(self) -> None:
        """Stop as soon as the parent process is gone, because this worker would block the port for the next server."""
        parent = multiprocessing.parent_process()
        assert parent is not None, "only the supervisor makes workers"
        parent.join()
        if self._server is not None and self._server.started:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            # It may wait for a database that went away with its parent, and nobody waits for it.
            os._exit(1)

    @property
    def server(self) -> Server:
        """Return the server, which the worker's process makes."""
        if self._server is None:
            self._server = Server(self.config)
        assert isinstance(self._server, Server)
        return self._server


def keep_what_is_there() -> None:
    """Exempt everything allocated so far from garbage collection, because it is as long-lived as the process; then allow it.

    No garbage is looked for before, because that takes as long as a tenth of a start.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def _prepare_for_files(any_socket: socket.socket, count: int) -> None:
    """Let the system make its table of open files as large as it may become.

    It would otherwise double the table again and again while connections are accepted, and stop all threads for some ms.
    """
    try:
        highest = fcntl.fcntl(any_socket, fcntl.F_DUPFD_CLOEXEC, count)
    except OSError:
        # There may not be so many.
        return
    socket.close(highest)
