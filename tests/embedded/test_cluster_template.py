"""The template of new clusters: copies share no secret, and a new folder is made whatever is wrong with the template."""

import asyncio
import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NoReturn, cast

import asyncpg
import pytest

from herdbook.cluster_template import copy_template
from herdbook.embedded import EmbeddedPostgres, binary, restarts
from herdbook.first_start import prepare
from tests.cli.programs import until
from tests.embedded.test_embedded import ask

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is a template on Linux alone")
# Said by initdb, whose output is in the log of the folder.
INITDB_RAN = "The files belonging to this database system"


@contextlib.contextmanager
def served(data_dir: Path) -> Generator[str]:
    """Run a server, on a copy of the template if the folder is new; yield its DSN."""
    server = EmbeddedPostgres(data_dir, template=copy_template)
    try:
        yield server.start()
    finally:
        server.stop()


def is_copy(data_dir: Path) -> bool:
    """Whether a folder that has been started once has a copy of a template."""
    return INITDB_RAN not in (data_dir / "postgres.log").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with a template, which the second new folder made."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        for name in ("first", "second"):
            with served(tmp_path_factory.mktemp(name)):
                pass
    return cache


@pytest.fixture
def template(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template in a cache folder of the test's own."""
    shutil.copytree(made, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    [template] = (tmp_path / "cache/herdbook").glob("*.tar")
    return template


def control_data(data_dir: Path) -> dict[str, str]:
    """Return what PostgreSQL's control file says about a cluster that is shut down."""
    command = [binary("pg_controldata"), "-D", str(data_dir / "postgres")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}


def texts_in(dsn: str) -> set[str]:
    """Return the values of all rows that are long enough to be secrets, except names and times of migrations."""

    async def read() -> set[str]:
        connection = cast("Any", await asyncpg.connect(dsn))
        try:
            tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
            names = {row["tablename"] for row in tables} - {"migration"}
            rows = [row for name in names for row in await connection.fetch(f'select * from "{name}"')]
            return {str(value) for row in rows for value in row.values() if len(str(value)) >= 16}
        finally:
            await connection.close()

    return asyncio.run(read())


def test_the_first_new_folder_only_wants_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that makes one folder and no other spends no time on a template."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(tmp_path / "data"):
        assert [file.suffix for file in (tmp_path / "cache/herdbook").iterdir()] == [".wanted"]

    assert not is_copy(tmp_path / "data")


def test_a_new_folder_is_a_copy(template: Path, tmp_path: Path) -> None:
    """With a template, neither initdb nor a migration runs, and the copy is the same to its owner and to PostgreSQL."""
    with served(tmp_path / "data") as dsn:
        applied = ask(dsn, "select count(*) from migration")
    with served(tmp_path / "data") as dsn:
        again = ask(dsn, "select count(*) from migration")

    checked = subprocess.run(
        [binary("pg_checksums"), "--check", "-D", str(tmp_path / "data/postgres")], check=True, capture_output=True, text=True
    )
    assert template.exists()
    assert is_copy(tmp_path / "data")
    assert applied == again > 40
    assert "Bad checksums:  0" in checked.stdout


def test_a_copy_has_the_modes_and_the_owner_of_a_new_cluster(template: Path, tmp_path: Path) -> None:
    """Nobody but the account of PostgreSQL can read the files of a copy."""
    server = EmbeddedPostgres(tmp_path / "made by initdb")
    server.start()
    server.stop()
    with served(tmp_path / "copy"):
        pass

    def described(data_dir: Path) -> set[tuple[int, int, int]]:
        return {(each.stat().st_uid, each.stat().st_gid, each.stat().st_mode) for each in (data_dir / "postgres").rglob("*")}

    owner = (tmp_path / "copy/postgres").stat()
    assert template.exists()
    assert is_copy(tmp_path / "copy")
    assert described(tmp_path / "copy") == described(tmp_path / "made by initdb")
    assert stat.S_IMODE(owner.st_mode) == 0o700
    assert owner.st_uid == (tmp_path / "made by initdb/postgres").stat().st_uid


def test_two_folders_share_no_secret(template: Path, tmp_path: Path) -> None:
    """Copies of one template have different keys and secrets, and PostgreSQL tells them from each other."""
    server = EmbeddedPostgres(tmp_path / "made by initdb")
    dsn = server.start()
    asyncio.run(prepare(dsn, is_alone=True))
    everywhere = texts_in(dsn)
    server.stop()
    found: list[set[str]] = []
    for name in ("one", "other"):
        with served(tmp_path / name) as dsn:
            asyncio.run(prepare(dsn, is_alone=True))
            assert ask(dsn, "select length(value) from setting where name = 'erasure_key'") == 64
            found.append(texts_in(dsn))
        assert is_copy(tmp_path / name)
    one, other = (control_data(tmp_path / name) for name in ("one", "other"))

    assert template.exists()
    assert len(found[0] - found[1]) > 10
    assert (found[0] & found[1]) - everywhere == set()
    for line in ("Database system identifier", "Mock authentication nonce"):
        assert one[line] != other[line]


def test_a_template_has_no_secret(template: Path, tmp_path: Path) -> None:
    """Before its server is prepared, a copy has no row that is secret."""
    with served(tmp_path / "data") as dsn:
        assert ask(dsn, "select count(*) from setting") == 0

    assert template.exists()
    assert is_copy(tmp_path / "data")


def test_a_copy_survives_a_crash(template: Path, tmp_path: Path) -> None:
    """A copy recovers from the WAL, which has its new identity."""
    server = EmbeddedPostgres(tmp_path / "data", template=copy_template)
    dsn = server.start()
    ask(dsn, "create table herd (name text)", "insert into herd values ('Clover')")
    postmaster = int((tmp_path / "data/postgres/postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    until(lambda: restarts(tmp_path / "data"))
    recovered = ask(dsn, "select name from herd")
    server.stop()

    assert recovered == "Clover"
    assert template.exists()
    assert is_copy(tmp_path / "data")
    assert "automatic recovery in progress" in (tmp_path / "data/postgres.log").read_text()


def damage(template: Path) -> None:
    with template.open("r+b") as file:
        file.seek(template.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def cut(template: Path) -> None:
    os.truncate(template, template.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [damage, cut])
def test_a_damaged_template_is_not_used(template: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A template with one wrong bit, or half of one, is removed, and another is made."""
    spoil(template)
    before = template.read_bytes()
    with served(tmp_path / "data") as dsn:
        assert ask(dsn, "select count(*) from migration") > 40

    [other] = template.parent.glob("*.tar")
    assert other.read_bytes() != before


def test_what_a_killed_process_left_is_removed(template: Path, tmp_path: Path) -> None:
    """If a process was killed while it made the template, the next one begins anew."""
    making = template.parent / "making"
    making.mkdir()
    (making / "template.tar").write_text("half")
    template.unlink()
    with served(tmp_path / "data"):
        pass

    assert [each.suffix for each in sorted(template.parent.iterdir())] == [".tar", ".wanted", ".lock"]
    assert is_copy(tmp_path / "data")


def test_nobody_waits_for_a_template_in_the_making(template: Path, tmp_path: Path) -> None:
    """While another process makes the template, a new folder is made without."""
    template.unlink()
    with (template.parent / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with served(tmp_path / "data"):
            pass

    assert not is_copy(tmp_path / "data")
    assert list(template.parent.glob("*.tar")) == []


def open_to_others(folder: Path) -> None:
    folder.chmod(0o777)


def make_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def give_to_another(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(folder, 65534, 65534)


@pytest.mark.parametrize("spoil", [open_to_others, make_a_file, give_to_another])
def test_a_cache_folder_of_others_is_not_used(template: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A template could hold functions of whoever wrote it, and a folder is made without a cache as well."""
    spoil(template.parent)
    with served(tmp_path / "data"):
        pass

    assert not is_copy(tmp_path / "data")


def test_a_template_that_cannot_be_touched_is_used(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template may lie on a file system that is read-only, as in an image of a container."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    with served(tmp_path / "data"):
        pass

    assert template.exists()
    assert is_copy(tmp_path / "data")


def test_a_tape_of_the_user_is_not_read(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tar` would read the file that the environment names."""
    monkeypatch.setenv("TAPE", str(tmp_path / "tape"))
    with served(tmp_path / "data"):
        pass

    assert template.exists()
    assert is_copy(tmp_path / "data")


def test_a_user_without_a_home_has_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that no file knows."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert not copy_template(EmbeddedPostgres(tmp_path / "data"), tmp_path / "copy")


def test_a_template_that_cannot_be_made_stops_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is made without a template, whatever its migrations meet, such as a full disk of the cache alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(tmp_path / "first"):
        pass
    # The migrations of the template, unlike those of the folder, run in this process.
    monkeypatch.setenv("PGSSLMODE", "none such")
    with served(tmp_path / "second"):
        pass

    assert not is_copy(tmp_path / "second")
    assert list((tmp_path / "cache/herdbook").glob("*.tar")) == []


def test_a_template_that_cannot_be_made_is_not_tried_at_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try takes as long as a new folder does. After one that has failed, none is made for a day."""
    cache = tmp_path / "cache/herdbook"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy_template(EmbeddedPostgres(tmp_path / "data"), tmp_path / "copy")
    [wanted] = cache.iterdir()
    monkeypatch.setenv("PGSSLMODE", "none such")
    copy_template(EmbeddedPostgres(tmp_path / "data"), tmp_path / "copy")
    monkeypatch.delenv("PGSSLMODE")
    copy_template(EmbeddedPostgres(tmp_path / "data"), tmp_path / "copy")
    soon = list(cache.glob("*.tar"))
    a_day_ago = wanted.stat().st_mtime - 86_400
    os.utime(wanted, (a_day_ago, a_day_ago))
    with served(tmp_path / "later"):
        pass

    assert soon == []
    assert is_copy(tmp_path / "later")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in the folders of others")
def test_root_leaves_nothing_in_the_home_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If root has the home of a user, that has no cache folder of root's afterwards."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    with served(tmp_path / "data"):
        pass

    assert [*home.iterdir()] == []
