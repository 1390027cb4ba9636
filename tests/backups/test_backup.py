"""`herdbook backup`: all data of one moment, in a file that exists only when it is whole."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from herdbook.backups.backup import take
from herdbook.backups.programs import without_password
from herdbook.db.pool import connect
from herdbook.engagements.store import needing_recordings
from herdbook.media_sweep import sweep
from herdbook.parts_file import Writer, new_file, writing
from tests.backups.farm import OPTIONS, add_recording, copied, manifest_of, recordings, rows, served, sound_of, tables
from tests.cli.programs import PATIENCE, PROGRAM, Running, environment, herdbook, serving, until
from tests.waiting import blocked

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk, or give files away")


def test_a_restored_backup_has_the_same_bytes(farm: Path, backup: Path, tmp_path: Path) -> None:
    """Each row of each table and each recording has the same bytes, in all workspaces."""
    restored = herdbook("restore", str(backup), "--data-dir=restored", folder=tmp_path)
    with served(farm) as url:
        before = tables(url)
    with served(tmp_path / "restored") as url:
        after = tables(url)

    assert restored.status == 0, restored.complained
    assert after == before
    assert recordings(tmp_path / "restored") == recordings(farm)
    assert len(before["workspace"]) == 2
    assert {"contact", "change", "engagement", "webhook_endpoint", "tag", "company", "credential"} <= {
        name for name, lines in before.items() if lines
    }
    assert len(recordings(farm)) == 4


class Load:
    """Clients that write until they are told to stop."""

    def __init__(self, server: Running, media: str) -> None:
        self.written = 0
        self._stopping = threading.Event()
        works: tuple[Callable[[int], object], ...] = (
            lambda number: server.post("/api/v2/contacts", {"first_name": f"Ada{number}"}).raise_for_status(),
            lambda number: server.post("/api/v2/tags", {"name": f"T{number}", "description": "D", "hex_color": "#1F6FEB"}),
            lambda number: add_recording(server, media, 1000 + number),
        )
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Callable[[int], object]) -> None:
        number = 0
        while not self._stopping.is_set():
            work(number)
            number += 1
            self.written += 1

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def test_one_moment(farm: Path, media: str, tmp_path: Path) -> None:
    """A backup beside a server that writes has each ledger up to one change, and all objects and recordings of that moment."""
    copied(farm, tmp_path / "herdbook-data")
    with serving(tmp_path, *OPTIONS) as server:
        load = Load(replace(server, key=(farm.parent / "key.txt").read_text()), media)
        try:
            until(lambda: load.written > 20)
            (acknowledged,) = rows(str(database_of(tmp_path)), "select max(seq) from workspace")
            before = load.written
            done = herdbook("backup", "load.backup", folder=tmp_path)
            during = load.written - before
            until(lambda: load.written > before + during + 20)
        finally:
            load.stop()
    restored = herdbook("restore", "load.backup", "--data-dir=restored", folder=tmp_path)
    assert (done.status, restored.status) == (0, 0), done.complained + restored.complained
    upto = "join workspace w on w.id = t.workspace_id"
    with served(tmp_path / "restored") as url:
        heads = dict(line.split(b"\t") for line in rows(url, "select id, seq from workspace"))
        changes, contacts = rows(url, "select * from change"), rows(url, f"select t.* from contact t {upto}")
        engagements = rows(url, "select replace(workspace_id || '/' || id, '-', '') from engagement")
    head = max(int(seq) for seq in heads.values())
    with served(tmp_path / "herdbook-data") as url:
        limit = " or ".join(f"t.workspace_id = '{id.decode()}' and SEQ <= {seq.decode()}" for id, seq in heads.items())
        changes_before = rows(url, f"select t.* from change t where {limit.replace('SEQ', 't.seq')}")
        contacts_before = rows(url, f"select t.* from contact t where {limit.replace('SEQ', 't.version')}")
        last = int(rows(url, "select max(seq) from workspace")[0])

    assert during > 0
    assert int(acknowledged) <= head < last
    assert changes == changes_before
    assert contacts == contacts_before
    assert sorted(recordings(tmp_path / "restored")) == [name.decode() for name in engagements]
    originals = recordings(tmp_path / "herdbook-data")
    assert all(content == originals[name] for name, content in recordings(tmp_path / "restored").items())


def database_of(folder: Path) -> str:
    """Return the address of the database of a running server."""
    return f"postgresql://postgres@/herdbook?host={folder}/herdbook-data/postgres&port=5432"


def test_a_recording_that_is_removed_meanwhile_is_in_the_backup(farm: Path, tmp_path: Path) -> None:
    """No sweep removes a recording while a backup whose snapshot needs it runs; the next one does."""
    data = copied(farm, tmp_path / "data")
    files = recordings(data)

    async def forget(url: str) -> None:
        connection = await connect(url)
        await connection.execute("delete from engagement")
        await sweep(data / "media", partial(needing_recordings, connection))
        await connection.close()

    @contextmanager
    def step(name: str, _: int | None) -> Generator[Callable[[int], None]]:
        if name == "Writing the database":
            thread = threading.Thread(target=asyncio.run, args=(forget(url),))
            thread.start()
            thread.join()
        yield lambda _: None

    with served(data) as url, new_file(tmp_path / "swept.backup") as (_, file), writing(file) as writer:
        taken = asyncio.run(take(writer, url, data / "media", step))
        left = recordings(data)
        asyncio.run(forget(url))

    assert left == files
    assert sorted(taken.manifest.recordings) == sorted(f"media/{name}" for name in files)
    assert taken.missing == 0
    assert recordings(data) == {}


def test_a_missing_recording_is_told(farm: Path, tmp_path: Path) -> None:
    """The command says how many recordings were not found, backs up everything else, and ends with a status of its own."""
    data = copied(farm, tmp_path / "data")
    (lost, *_) = [path for path in (data / "media").rglob("*") if path.is_file()]
    lost.unlink()
    done = herdbook("backup", "lost.backup", "--data-dir=data", folder=tmp_path)

    assert done.status == 3
    assert "1 recording of an engagement is not in the backup" in done.complained
    assert len(manifest_of(tmp_path / "lost.backup")["parts"]) == 4


def test_only_the_owner_may_read_it(backup: Path) -> None:
    """The file has mode 0600, and nothing else is left beside it."""
    assert backup.stat().st_mode & 0o777 == 0o600
    assert list(backup.parent.iterdir()) == [backup]


def test_a_backup_replaces_no_file_without_force(farm: Path, tmp_path: Path) -> None:
    """A file of that name is kept. With --force it is replaced, and with --verify the restored rows were compared before."""
    (tmp_path / "daily").write_text("yesterday's")
    refused = herdbook("backup", "daily", f"--data-dir={farm}", folder=tmp_path)
    kept = (tmp_path / "daily").read_text()
    done = herdbook("backup", "daily", "--force", "--verify", f"--data-dir={farm}", folder=tmp_path)

    assert (refused.status, kept) == (1, "yesterday's")
    assert "`daily` exists. Choose another name, or replace it with --force." in refused.complained
    assert done.status == 0, done.complained
    assert "Comparing the rows" in done.complained
    assert "Workspaces: 2" in done.said
    assert [path.name for path in tmp_path.iterdir()] == ["daily"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere/daily", "There is no folder `nowhere`"), (".", "`.` exists. Choose another name.")],
)
def test_a_place_that_cannot_be_written_is_told(farm: Path, tmp_path: Path, name: str, words: str) -> None:
    """The refusal names the file and the remedy, even with --force."""
    refused = herdbook("backup", name, "--force", f"--data-dir={farm}", folder=tmp_path)

    assert refused.status == 1
    assert words in refused.complained


def test_a_folder_without_data_is_told(tmp_path: Path) -> None:
    """There is nothing to back up in a folder that no server has used, and no file is written."""
    refused = herdbook("backup", "nothing.backup", folder=tmp_path)

    assert refused.status == 1
    assert "There is no herdbook data in `herdbook-data`" in refused.complained
    assert list(tmp_path.iterdir()) == []


def test_an_erased_recording_is_left_out(farm: Path, tmp_path: Path) -> None:
    """A recording that is removed before the backup reads it, because its person is erased, does not stop the backup."""
    data = copied(farm, tmp_path / "data")

    @contextmanager
    def step(name: str, _: int | None) -> Generator[Callable[[int], None]]:
        if name == "Writing the database":
            next(path for path in (data / "media").rglob("*") if path.is_file()).unlink()
        yield lambda _: None

    with served(data) as url, new_file(tmp_path / "erased.backup") as (_, file), writing(file) as writer:
        taken = asyncio.run(take(writer, url, data / "media", step))

    assert sorted(taken.manifest.recordings) == sorted(f"media/{name}" for name in recordings(data))
    assert taken.missing == 1


def test_a_terminal_shows_bars(farm: Path, tmp_path: Path) -> None:
    """On a terminal, each step is a bar."""
    ours, theirs = os.openpty()
    command = [str(PROGRAM), "backup", "shown", f"--data-dir={farm}"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment({"TERM": "xterm"}), stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        # Reading fails once nobody has the other end open.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)

    assert process.returncode == 0
    assert "Writing the database" in shown.decode()
    assert "━" in shown.decode()


def test_a_stopped_backup_leaves_nothing(farm: Path, tmp_path: Path) -> None:
    """A signal in the middle of a backup ends it with status 1 and a message, and no file is left."""
    data = copied(farm, tmp_path / "data")
    (tmp_path / "out").mkdir()

    def begin(url: str) -> "subprocess.Popen[str]":
        command = [str(PROGRAM), "backup", "out/stopped", f"--database-url={url}", f"--data-dir={data}"]
        return subprocess.Popen(command, cwd=tmp_path, env=environment({}), stderr=subprocess.PIPE, text=True)

    async def interrupt(url: str) -> tuple[int, str]:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("lock table tag in access exclusive mode")
            process = begin(url)
            while not await blocked(connection):
                assert process.poll() is None
                await asyncio.sleep(0.01)
            half_done = [path.suffix for path in (tmp_path / "out").iterdir()]
            process.send_signal(signal.SIGTERM)
            _, complained = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        await connection.close()
        assert half_done == [".part"]
        return process.returncode, complained

    with served(data) as url:
        status, complained = asyncio.run(interrupt(url))

    assert status == 1
    assert "Stopped by a signal" in complained
    assert "Traceback" not in complained
    assert list((tmp_path / "out").iterdir()) == []


@as_root
def test_a_full_disk_leaves_nothing(farm: Path, tmp_path: Path) -> None:
    """If the disk of the file is full, the command says that, and leaves no file."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "herdbook-test", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("not allowed to mount a disk")
    try:
        failed = herdbook("backup", str(tmp_path / "full"), f"--data-dir={farm}", folder=farm.parent)
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert failed.status == 1
    assert "the disk is full" in failed.complained
    assert "Traceback" not in failed.complained
    assert left == []


def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    """A file is written piece by piece: each piece is on its way before the next one is asked for."""
    written: list[int] = []

    def pieces(file_size: Callable[[], int]) -> Generator[bytes]:
        for _ in range(20):
            yield bytes(1 << 20)
            written.append(file_size())

    with new_file(tmp_path / "large") as (draft, file), writing(file) as writer:
        assert isinstance(writer, Writer)
        writer.add("database.dump", pieces(lambda: draft.stat().st_size))

    assert written[-1] > 19 << 20
    assert all(later - earlier == 1 << 20 for earlier, later in pairwise(written))


@pytest.mark.parametrize(
    ("url", "address", "variables"),
    [
        ("postgresql://u:h%25ush@h:1/db", "postgresql://u@h:1/db", {"PGPASSWORD": "h%ush"}),
        ("postgresql://h/db?password=hush&sslmode=require", "postgresql://h/db?sslmode=require", {"PGPASSWORD": "hush"}),
        ("postgresql://u@/db?host=/a/b&port=1", "postgresql://u@/db?host=%2Fa%2Fb&port=1", {}),
    ],
)
def test_no_password_is_on_a_command_line(url: str, address: str, variables: dict[str, str]) -> None:
    """PostgreSQL's programs get a password in a variable, because everybody may read the words of a command."""
    assert without_password(url) == (address, variables)


def test_a_recording_has_its_bytes(backup: Path, tmp_path: Path) -> None:
    """Ordinary tools open the file, too."""
    subprocess.run(["python3", "-m", "zipfile", "-e", str(backup), str(tmp_path)], check=True)

    assert sorted(recordings(tmp_path).values()) == sorted(sound_of(number) for number in (0, 1, 10, 11))
