"""`herdbook restore`: a whole backup in a new folder, or nothing at all."""

import asyncio
import hashlib
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from herdbook.backups.restoration import checked
from herdbook.db.migrate import available, migrate
from herdbook.parts_file import FileRefused
from tests.backups.farm import copied, file_in, manifest_of, recordings, rewritten, rows, served, tables
from tests.cli.programs import Finished, Running, herdbook, serving

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk, or give files away")


@contextmanager
def silent(_: str, __: int | None) -> Generator[Callable[[int], None]]:
    yield lambda _: None


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_restored_folder_is_served(farm: Path, backup: Path, tmp_path: Path) -> None:
    """A server starts on a restored folder in the usual way, and knows the keys and the data."""
    assert herdbook("restore", str(backup), folder=tmp_path).status == 0
    with serving(tmp_path) as server:
        known = Running(server.process, tmp_path, server.url, (farm.parent / "key.txt").read_text(), first=False)
        contacts = known.get("/api/v2/contacts").json()["data"]

    assert not server.first
    assert len(contacts) == 20


def test_the_figures_are_shown(backup: Path, tmp_path: Path) -> None:
    """Standard output has the result, and standard error a line for each step if it is no terminal."""
    done = herdbook("restore", str(backup), "--data-dir=restored", folder=tmp_path)

    result, remedy = done.said.splitlines()
    assert result == f"Restored into {tmp_path / 'restored'}. Workspaces: 2, changes: 68, recordings: 4."
    assert remedy.endswith(f": herdbook erasures apply FOLDER/erasures.jsonl --data-dir {tmp_path / 'restored'}")
    assert [line.partition(":")[0] for line in done.complained.splitlines()] == [
        *("Checking the file", "Restoring the recordings", "Restoring the database", "Comparing the rows"),
    ]


def test_verify_leaves_nothing(backup: Path, tmp_path: Path) -> None:
    """`--verify` restores into a scratch folder, and removes it again."""
    # The path to a socket must be short.
    with tempfile.TemporaryDirectory() as scratch:
        done = herdbook("restore", str(backup), "--verify", folder=tmp_path, TMPDIR=scratch)
        left = contents(Path(scratch))

    assert done.status == 0, done.complained
    assert "has the same rows and heads" in done.said
    assert (contents(tmp_path), left) == (set(), set())


def test_all_differences_are_found(backup: Path, tmp_path: Path) -> None:
    """A backup whose database is not the one that it was made from is not good, and the message names each difference."""
    one, other = sorted(manifest_of(backup)["content"]["heads"])
    planted = [
        ("content/tables/public.contact/rows", 41),
        ("content/tables/public.company/checksum", "1"),
        ("content/tables/public.goat", {"rows": 1, "checksum": "1"}),
        (f"content/heads/{one}/seq", 1),
        (f"content/heads/{other}/at", "2026-01-01T00:00:00+00:00"),
    ]
    altered = rewritten(backup, tmp_path / "altered", manifest=planted)
    refused = herdbook("restore", str(altered), "--verify", folder=tmp_path)

    assert refused.status == 1
    assert "the table public.contact has 40 rows instead of 41" in refused.complained
    assert "rows of the table public.company have other values" in refused.complained
    assert "the table public.goat is missing" in refused.complained
    assert refused.complained.count("the head of the ledger of workspace wrks_") == 2
    assert "in 5 places" in refused.complained
    assert "Do not use this backup" in refused.complained


def test_a_changed_row_is_found(farm: Path, backup: Path, tmp_path: Path) -> None:
    """The dump of a database in which one letter differs is neither good nor restored, though its checksum is right."""
    data = copied(farm, tmp_path / "data")
    with served(data) as url:
        execute(url, "update contact set object = replace(object::text, 'Zoë7', 'Zoé7')::json where first_name = 'Zoë7'")
    assert herdbook("backup", "other", "--data-dir=data", folder=tmp_path).status == 0
    right = manifest_of(backup)["content"]
    rewritten(tmp_path / "other", tmp_path / "altered", manifest=[("content", right)])
    refused = [herdbook("restore", "altered", option, folder=tmp_path) for option in ("--verify", "--data-dir=restored")]

    assert [done.status for done in refused] == [1, 1]
    for done in refused:
        assert "in 1 places:\n  the 40 rows of the table public.contact have other values" in done.complained
    assert contents(tmp_path / "restored") == {"herdbook.lock"}


def execute(url: str, *statements: str) -> None:
    async def carry_out() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(carry_out())


def cut(backup: Path, target: Path) -> None:
    target.write_bytes(backup.read_bytes()[:-1])


def cut_in_half(backup: Path, target: Path) -> None:
    target.write_bytes(backup.read_bytes()[: backup.stat().st_size // 2])


def alter(backup: Path, target: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[5000] ^= 1
    target.write_bytes(content)


def put_other_recording(backup: Path, target: Path) -> None:
    name = next(name for name in manifest_of(backup)["parts"] if name.startswith("media/"))
    rewritten(backup, target, files={name: b"RIFF"})


def put_file_outside(backup: Path, target: Path) -> None:
    parts = manifest_of(backup)["parts"] | {"../evil": {"size": 0, "sha256": "0"}}
    rewritten(backup, target, files={"../evil": b""}, manifest=[("parts", parts)])


def add_file(backup: Path, target: Path) -> None:
    rewritten(backup, target, files={"media/other": b""})


def put_text(_: Path, target: Path) -> None:
    target.write_text("Dear diary")


def put_dump(backup: Path, target: Path) -> None:
    target.write_bytes(file_in(backup, "database.dump"))


def put_other_archive(_: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("backup.txt", "Dear diary")


def append_junk(backup: Path, target: Path) -> None:
    target.write_bytes(backup.read_bytes() + b"junk")


def prepend_junk(backup: Path, target: Path) -> None:
    target.write_bytes(b"junk" + backup.read_bytes())


def put_nothing(_: Path, target: Path) -> None:
    target.write_bytes(b"")


def make_newer(path: str, value: Any) -> Callable[[Path, Path], None]:
    def make(backup: Path, target: Path) -> None:
        rewritten(backup, target, manifest=[(path, value), ("herdbook", "99.0")])

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cut, "is cut off: its end is missing. Copy the file again"),
        (cut_in_half, "is cut off: its end is missing. Copy the file again"),
        (alter, "is damaged: `database.dump` in it"),
        (put_other_recording, "differs from its checksum. Copy the file again"),
        (put_file_outside, "it has files that no backup has"),
        (add_file, "its files are not those of its manifest"),
        (append_junk, "it has bytes before its beginning or after its end. Copy the file again"),
        (prepend_junk, "it has bytes before its beginning or after its end. Copy the file again"),
        (put_text, "is not a backup of herdbook. Name a file that `herdbook backup` wrote"),
        (put_dump, "`pg_restore` reads dumps of `pg_dump`"),
        (put_other_archive, "is not a backup of herdbook"),
        (put_nothing, "is not a backup of herdbook"),
        (make_newer("format", 2), "was made by herdbook 99.0, which is newer than this one. Install that release"),
        (make_newer("postgres", 99), "was made by herdbook 99.0, which is newer"),
        (make_newer("content/migrations", [*available(), "9999_later"]), "was made by herdbook 99.0, which is newer"),
    ],
)
def test_a_file_that_is_no_whole_backup_is_refused(
    backup: Path, tmp_path: Path, make: Callable[[Path, Path], None], words: str
) -> None:
    """The message says what is wrong and what to do, before anything is touched."""
    make(backup, tmp_path / "file")
    before = contents(tmp_path)
    refused = herdbook("restore", "file", folder=tmp_path)

    assert refused.status == 1
    assert words in refused.complained
    assert "Nothing was restored." in refused.complained
    assert "Traceback" not in refused.complained
    assert contents(tmp_path) == before


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A name without a file is refused."""
    refused = herdbook("restore", "nothing", folder=tmp_path)

    assert refused.status == 1
    assert "There is no file `nothing`" in refused.complained
    assert contents(tmp_path) == set()


def test_no_altered_byte_goes_unnoticed(backup: Path, tmp_path: Path) -> None:
    """If any byte of the file is altered, the file is refused, or all that is read from it is the same."""
    whole = backup.read_bytes()
    expected = manifest_of(backup)
    positions = [*range(0, len(whole), 997), *range(len(whole) - 1000, len(whole))]
    wrong: list[tuple[int, str]] = []
    for position in positions:
        altered = bytearray(whole)
        altered[position] ^= 0xFF
        (tmp_path / "altered").write_bytes(altered)
        try:
            with checked(tmp_path / "altered", silent) as read:
                if msgspec.to_builtins(read.manifest) != msgspec.to_builtins(msgspec.convert(expected, type(read.manifest))):
                    wrong.append((position, "other content"))
        except FileRefused:
            pass
        except Exception as error:
            wrong.append((position, repr(error)))

    assert wrong == []


def test_no_cut_goes_unnoticed(backup: Path, tmp_path: Path) -> None:
    """A file that ends too early, at whatever byte, is refused."""
    whole = backup.read_bytes()
    read: list[int] = []
    for size in [*range(0, len(whole), 4999), *range(len(whole) - 100, len(whole))]:
        (tmp_path / "cut").write_bytes(whole[:size])
        try:
            with checked(tmp_path / "cut", silent):
                read.append(size)
        except FileRefused:
            pass

    assert read == []


def test_data_are_not_overwritten(farm: Path, backup: Path, tmp_path: Path) -> None:
    """A folder with data is refused. With --replace its data are kept aside, and files of others stay in their places."""
    data = copied(farm, tmp_path / "data")
    (data / "notes.txt").write_text("ours")
    (data / "erasures.jsonl").touch()
    with served(data) as url:
        execute(url, "delete from contact")
    refused = herdbook("restore", str(backup), "--data-dir=data", folder=tmp_path)
    with served(data) as url:
        kept = rows(url, "select count(*) from contact")
    done = herdbook("restore", str(backup), "--data-dir=data", "--replace", folder=tmp_path)
    (former,) = data.glob("replaced-*")
    with served(data) as url:
        restored = rows(url, "select count(*) from contact")
    with served(former) as url:
        aside = rows(url, "select count(*) from contact")

    assert (refused.status, done.status) == (1, 0), done.complained
    assert f"The folder {data} holds data already. Name a new folder" in refused.complained
    assert (kept, restored, aside) == ([b"0"], [b"40"], [b"0"])
    assert recordings(data) == recordings(former) == recordings(farm)
    assert f"The former data are in {former}" in done.said
    assert f"The next start erases again whom {data / 'erasures.jsonl'} lists." in done.said
    assert (data / "notes.txt").read_text() == "ours"


@as_root
def test_data_that_cannot_be_kept_aside_stay_as_they_were(farm: Path, backup: Path, tmp_path: Path) -> None:
    """If only some of the former data can be moved, they get their places again."""
    data = copied(farm, tmp_path / "data")
    cluster = str(data / "postgres")
    if subprocess.run(["mount", "--bind", cluster, cluster], check=False).returncode != 0:
        pytest.skip("not allowed to mount a folder")
    try:
        refused = herdbook("restore", str(backup), "--data-dir=data", "--replace", folder=tmp_path)
    finally:
        subprocess.run(["umount", cluster], check=True)

    assert refused.status == 1
    assert f"`{cluster}`: Device or resource busy" in refused.complained
    assert contents(data) == contents(farm)
    assert recordings(data) == recordings(farm)


def test_recordings_alone_are_data(backup: Path, tmp_path: Path) -> None:
    """A folder that holds only recordings is that of a server with an external database."""
    (tmp_path / "data" / "media" / "w").mkdir(parents=True)
    refused = herdbook("restore", str(backup), "--data-dir=data", folder=tmp_path)

    assert refused.status == 1
    assert "holds data already" in refused.complained
    assert contents(tmp_path / "data") == {"media"}


def test_a_folder_of_others_is_refused(backup: Path, tmp_path: Path) -> None:
    """A folder that holds only other files is left as it is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    refused = herdbook("restore", str(backup), "--data-dir=data", folder=tmp_path)

    assert refused.status == 1
    assert "holds other files (`thesis.txt`)" in refused.complained
    assert contents(tmp_path / "data") == {"thesis.txt"}


def test_a_folder_in_use_is_refused(farm: Path, backup: Path, tmp_path: Path) -> None:
    """Nothing is restored under a running server, even with --replace."""
    copied(farm, tmp_path / "herdbook-data")
    with serving(tmp_path) as server:
        refused = herdbook("restore", str(backup), "--replace", folder=tmp_path)
        status = server.get("/readyz").status_code

    assert refused.status == 1
    assert "is in use by another herdbook" in refused.complained
    assert "Stop that one first" in refused.complained
    assert status == 200


@as_root
@pytest.mark.parametrize("options", [[], ["--replace"]])
def test_a_folder_of_another_account_is_refused(backup: Path, tmp_path: Path, options: list[str]) -> None:
    """Files that root restores into the folder of another account could not be read by that account's server."""
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 65534, 65534)
    refused = herdbook("restore", str(backup), "--data-dir=data", *options, folder=tmp_path)

    assert refused.status == 1
    assert "belongs to another account (uid 65534)" in refused.complained
    assert contents(tmp_path / "data") == set()


@as_root
@pytest.mark.parametrize("is_created", [False, True])
def test_a_full_disk_leaves_nothing(backup: Path, tmp_path: Path, *, is_created: bool) -> None:
    """If the disk is full, while the database is created or while it is filled, the command says that and leaves nothing."""
    (tmp_path / "data").mkdir()
    with served(tmp_path / "empty"):
        pass
    empty = sum(path.stat().st_blocks * 512 for path in (tmp_path / "empty").rglob("*"))
    size = empty + 500_000 if is_created else empty // 2
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "herdbook-test", str(tmp_path / "data")]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("not allowed to mount a disk")
    try:
        failed = herdbook("restore", str(backup), "--data-dir=data", folder=tmp_path)
        left = contents(tmp_path / "data")
    finally:
        subprocess.run(["umount", str(tmp_path / "data")], check=True)

    assert failed.status == 1
    assert "is full" in failed.complained
    assert "Nothing was restored." in failed.complained
    assert "Traceback" not in failed.complained
    assert left == {"herdbook.lock"}


class External:
    """A PostgreSQL beside herdbook."""

    def __init__(self, url: str) -> None:
        self._url = url

    def database(self, name: str) -> str:
        """Create an empty database, and return its address."""
        execute(self._url, f"create database {name}")
        return self._url.replace("/herdbook?", f"/{name}?", 1)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Generator[External]:
    """A PostgreSQL that herdbook did not start."""
    with served(tmp_path_factory.mktemp("external")) as url:
        yield External(url)


def restore(backup: Path | str, folder: Path, *options: str) -> Finished:
    return herdbook("restore", str(backup), *options, folder=folder)


def test_an_external_database(external: External, farm: Path, backup: Path, tmp_path: Path) -> None:
    """A backup goes into an empty external database and back, and the recordings into the data folder."""
    first = external.database("first")
    out = restore(backup, tmp_path, f"--database-url={first}", "--data-dir=out")
    saved = herdbook("backup", "external.backup", f"--database-url={first}", "--data-dir=out", folder=tmp_path)
    back = restore("external.backup", tmp_path, "--data-dir=back")
    with served(farm) as url:
        original = tables(url)
    with served(tmp_path / "back") as url:
        again = tables(url)

    assert [done.status for done in (out, saved, back)] == [0, 0, 0], out.complained + saved.complained + back.complained
    assert "Restored into the external database." in out.said
    assert tables(first) == original == again
    assert recordings(tmp_path / "out") == recordings(tmp_path / "back") == recordings(farm)


def test_a_database_that_is_not_empty_is_refused(external: External, backup: Path, tmp_path: Path) -> None:
    """A table of somebody else is enough. Nothing is written anywhere."""
    url = external.database("used")
    execute(url, "create table animal (name text)")
    refused = [
        restore(backup, tmp_path, f"--database-url={url}"),
        restore(backup, tmp_path, f"--database-url={url}", "--replace"),
    ]

    assert [done.status for done in refused] == [1, 1]
    assert "The database is not empty. Name an empty one with --database-url." in refused[0].complained
    assert "--replace is for data folders." in refused[1].complained
    assert list(tables(url)) == ["animal"]
    assert contents(tmp_path) == set()


def test_an_external_database_gets_all_or_nothing(external: External, backup: Path, tmp_path: Path) -> None:
    """If the dump cannot be restored, neither the database nor the data folder has anything of it."""
    url = external.database("narrow")
    half = file_in(backup, "database.dump")[:40_000]
    part = {"size": len(half), "sha256": hashlib.sha256(half).hexdigest()}
    altered = rewritten(backup, tmp_path / "altered", files={"database.dump": half}, manifest=[("parts/database.dump", part)])
    refused = restore(altered, tmp_path, f"--database-url={url}")

    assert refused.status == 1
    assert "was not restored. pg_restore failed: " in refused.complained
    assert tables(url) == {}
    assert contents(tmp_path / "herdbook-data") == {"herdbook.lock"}


def test_a_database_without_herdbook_is_not_backed_up(external: External, tmp_path: Path) -> None:
    """A database that no server has prepared has nothing to back up."""
    refused = herdbook("backup", "nothing", f"--database-url={external.database('bare')}", folder=tmp_path)

    assert refused.status == 1
    assert "the database has no data of herdbook" in refused.complained
    assert contents(tmp_path) == set()


def test_a_backup_of_an_older_release_is_migrated_by_the_next_start(external: External, tmp_path: Path) -> None:
    """A backup with fewer migrations is restored as it is; the server that starts on it migrates it."""
    url = external.database("older")
    *older, newest = available()
    asyncio.run(migrate(url, only=older))
    saved = herdbook("backup", "older", f"--database-url={url}", folder=tmp_path)
    restored = restore("older", tmp_path)
    with served(tmp_path / "herdbook-data") as inside:
        before = len(rows(inside, "select name from migration"))
    with serving(tmp_path) as server:
        status = server.get("/readyz").status_code
    with served(tmp_path / "herdbook-data") as inside:
        after = rows(inside, "select name from migration")

    assert (saved.status, restored.status, status) == (0, 0, 200), saved.complained + restored.complained
    assert before == len(older)
    assert after[-1].decode() == newest


def test_a_restore_that_was_killed_leaves_the_folder_free(backup: Path, tmp_path: Path) -> None:
    """The scratch folder of a restore that was killed is no data, and the next restore removes it."""
    (tmp_path / "data" / "restore.new" / "left" / "postgres").mkdir(parents=True)
    done = restore(backup, tmp_path, "--data-dir=data")

    assert done.status == 0, done.complained
    assert "restore.new" not in contents(tmp_path / "data")
