"""`herdbook unarchive`: the same workspace on another server, or nothing of it."""

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.archives.archiving import take
from herdbook.archives.file import ARCHIVE, opened_archive, part_of, writing_archive
from herdbook.archives.places import PLACES
from herdbook.cli.progress import step
from herdbook.db.migrate import available, migrate
from herdbook.db.pool import connect
from tests.archives.shelves import (
    PASSPHRASE,
    SECRET,
    Original,
    contents,
    manifest_of,
    rewritten,
    rows_of,
    with_manifest,
)
from tests.backups.farm import copied, recordings, rows, served
from tests.backups.test_restore import execute
from tests.cli.programs import PROGRAM, Finished, Running, environment, herdbook, serving
from tests.db.conftest import database_on
from tests.waiting import blocked

COPIED = [place.table for place in PLACES if place.workspace_column and not place.is_secret]


def unarchived(archive: Path, folder: Path, data_dir: str = "data", *options: str) -> Finished:
    """Bring an archive into a data folder."""
    words = ("unarchive", str(archive), f"--data-dir={data_dir}", *options)
    return herdbook(*words, folder=folder, HERDBOOK_PASSPHRASE=PASSPHRASE)


def archived(workspace: str, folder: Path, *options: str) -> Path:
    """Archive a workspace of the data folder `data`."""
    words = ("archive", "again", f"--workspace={workspace}", "--data-dir=data", *options)
    done = herdbook(*words, folder=folder, HERDBOOK_PASSPHRASE=PASSPHRASE)
    assert done.status == 0, done.complained
    return folder / "again"


def test_an_archive_of_what_was_brought_in_is_the_same_file(original: Original, archive: Path, tmp_path: Path) -> None:
    """Archive, unarchive, archive: the files are equal to the byte, and so are all recordings."""
    brought = unarchived(archive, tmp_path)
    again = archived(original.workspace, tmp_path)

    assert brought.status == 0, brought.complained
    assert brought.said.startswith(f"Brought in the workspace `{original.workspace}`, First workspace.")
    assert "2 webhook endpoints have new secrets, and are sent nothing until you enable them." in brought.said
    assert again.read_bytes() == archive.read_bytes()
    assert recordings(tmp_path / "data") == {
        name: content for name, content in recordings(original.data_dir).items() if original.uuid.replace("-", "") in name
    }


def test_the_rows_are_the_same(original: Original, sealed: Path, tmp_path: Path) -> None:
    """With secrets, each row of each table has the same bytes, but for leases, and nothing is there of the neighbour."""
    brought = unarchived(sealed, tmp_path)
    assert brought.status == 0, brought.complained
    tables = [place.table for place in PLACES if place.workspace_column and place.table != "webhook_reader"]
    others = ("person_openid", "passkey", "oauth_grant", "oauth_refresh_token")
    with served(original.data_dir) as url:
        before = rows_of(url, original.uuid, tables)
        ours = {table: [row for row in rows(url, f"select * from {table}") if b"Neigh" not in row] for table in others}
        key = rows(url, "select value from setting where name = 'erasure_key'")
    with served(tmp_path / "data") as url:
        after = rows_of(url, original.uuid, tables)
        theirs = {table: rows(url, f"select * from {table}") for table in others}
        people = rows(url, "select address, password_hash, is_vouched from person")
        readers = rows(url, "select is_enabled, lease_holder, leased_until, sends_as from webhook_reader")
        workspaces = rows(url, "select id from workspace")
        key_after = rows(url, "select value from setting where name = 'erasure_key'")

    assert after == before
    assert [table for table, found in theirs.items() if not set(found) <= set(ours[table])] == []
    assert [len(found) for found in theirs.values()] == [1, 1, 1, 1]
    assert people == [f"owner0@marker.test\t{SECRET}0\tf".encode()]
    assert readers == [rb"t	\N	\N	\N"] * 2
    assert workspaces == [original.uuid.encode()]
    assert key_after == key


def test_an_archive_with_secrets_comes_out_again(original: Original, sealed: Path, tmp_path: Path) -> None:
    """After a second archive, the passphrase seals the same, though the files differ by their salts."""
    assert unarchived(sealed, tmp_path).status == 0
    again = archived(original.workspace, tmp_path, "--with-secrets")
    with opened_archive(sealed, lambda: PASSPHRASE) as one, opened_archive(again, lambda: PASSPHRASE) as other:
        manifests = one.manifest, other.manifest

    assert manifests[0] == manifests[1]
    assert manifests[0].tables["oauth_refresh_token"].rows == 1
    assert b"tables/" not in sealed.read_bytes()


@pytest.mark.parametrize("made", ["archive", "sealed"])
async def test_an_external_database(
    original: Original, made: str, request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> None:
    """It comes out of an external database, of one node or several, as it went in, and no second time does it go in."""
    file: Path = request.getfixturevalue(made)
    async with database_on(database_url) as url:
        await migrate(url)
        option = f"--database-url={url}"
        brought = await asyncio.to_thread(unarchived, file, tmp_path, "data", option)
        twice = await asyncio.to_thread(unarchived, file, tmp_path, "data", option)
        options = (option, "--with-secrets") if made == "sealed" else (option,)
        again = await asyncio.to_thread(archived, original.workspace, tmp_path, *options)
    with opened_archive(file, lambda: PASSPHRASE) as one, opened_archive(again, lambda: PASSPHRASE) as other:
        manifests = one.manifest, other.manifest

    assert (brought.status, twice.status) == (0, 1), brought.complained + twice.complained
    assert "is on this server already" in twice.complained
    assert manifests[0] == manifests[1]
    assert recordings(tmp_path / "data")


def answers(server: Running) -> list[dict[str, Any]]:
    """Return what the API says of everything."""
    paths = ("v2/contacts", "v2/companies", "v2/engagements", "v2/tags", "v2/users", "herdbook/changes", "herdbook/webhooks")
    more = ("herdbook/workspace", "herdbook/views", "herdbook/fields", "herdbook/import_mappings", "herdbook/activity")
    found: list[dict[str, Any]] = []
    for path in (*paths, *more):
        answer = server.get(f"/api/{path}")
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
    for contact in server.get("/api/v2/contacts").json()["data"]:
        path = f"/api/herdbook/contacts/{contact['id']}"
        found.extend(server.get(f"{path}/{each}").json() for each in ("history", "notes", "record"))
    # Each server signs its cursors.
    return [{name: value for name, value in each.items() if name != "next_cursor"} for each in found]


def test_both_workspaces_answer_the_same(original: Original, archive: Path, tmp_path: Path) -> None:
    """A server with the brought workspace answers as the original does, in lists, histories, feed and views."""
    (tmp_path / "there").mkdir()
    copied(original.data_dir, tmp_path / "data")
    assert unarchived(archive, tmp_path / "there", "herdbook-data").status == 0
    said: list[list[dict[str, Any]]] = []
    for folder, data_dir in ((tmp_path, "data"), (tmp_path / "there", "herdbook-data")):
        with serving(folder, f"--data-dir={data_dir}") as server:
            words = ("Reader", "--scope=workspace:admin", f"--workspace={original.workspace}", f"--data-dir={data_dir}")
            key = herdbook("keys", "create", *words, folder=folder).said.strip()
            assert not server.first
            said.append(answers(Running(server.process, folder, server.url, key, first=False)))

    for one, other in zip(said[1], said[0], strict=True):
        assert one == other
    assert len(said[0]) > 15


def test_a_workspace_that_is_there_stays(original: Original, archive: Path, tmp_path: Path) -> None:
    """The server of the original refuses its archive, and names the remedy."""
    data = copied(original.data_dir, tmp_path / "data")
    before = recordings(data)
    refused = unarchived(archive, tmp_path)

    assert refused.status == 1
    assert f"The workspace `{original.workspace}` of the archive is on this server already. Bring it into" in refused.complained
    assert recordings(data) == before


def test_it_joins_the_workspaces_of_a_running_server(original: Original, archive: Path, tmp_path: Path) -> None:
    """A server that runs serves the workspace beside its own, which stays as it is."""
    with serving(tmp_path) as server:
        first = server.get("/api/herdbook/workspace").json()["id"]
        brought = unarchived(archive, tmp_path, "herdbook-data")
        words = ("create", "Reader", "--scope=contacts:read", f"--workspace={original.workspace}")
        key = herdbook("keys", *words, folder=tmp_path).said.strip()
        there = Running(server.process, tmp_path, server.url, key, first=False).get("/api/v2/contacts").json()["data"]
        own = server.get("/api/v2/contacts").json()["data"]

    assert brought.status == 0, brought.complained
    assert first != original.workspace
    assert (len(there), own) == (2, [])


def cut(archive: Path, target: Path) -> None:
    target.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])


def cut_a_byte(archive: Path, target: Path) -> None:
    target.write_bytes(archive.read_bytes()[:-1])


def alter(archive: Path, target: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 1
    target.write_bytes(content)


def put_text(_: Path, target: Path) -> None:
    target.write_text("Dear diary")


def make_newer(archive: Path, target: Path) -> None:
    with_manifest(archive, target, format=2, herdbook="99.0")


def make_newer_schema(archive: Path, target: Path) -> None:
    with_manifest(archive, target, migrations=[*available(), "9999_unknown"], herdbook="99.0")


def name_other_table(archive: Path, target: Path) -> None:
    """Bring a setting of the server."""
    manifest = manifest_of(archive)
    row = b"cursor_secret\tmine\n"
    tables = manifest["tables"] | {"setting": {"columns": ["name", "value"], "rows": 1}}
    rewritten(archive, target, {part_of("setting"): row})
    with_manifest(target, target.with_suffix(".more"), tables=tables)
    target.with_suffix(".more").rename(target)


def change_line(table: str, line: bytes) -> Callable[[Path, Path], None]:
    """Add a line to a table, with the right checksum."""

    def make(archive: Path, target: Path) -> None:
        part = part_of(table)
        rewritten(archive, target, {part: contents(archive)[part] + line})

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cut, "is cut off: its end is missing"),
        (cut_a_byte, "is cut off: its end is missing"),
        (alter, "is damaged: "),
        (put_text, "is not an archive of herdbook. Name a file that `herdbook archive` wrote."),
        (make_newer, "was made by herdbook 99.0, which is newer than this one. Install that release"),
        (make_newer_schema, "was made by herdbook 99.0, which is newer than this one. Install that release"),
        (name_other_table, "is damaged: its manifest names what no archive has"),
        (change_line("tag_name", b"x\ty\tz\n"), "is damaged: the database does not take its rows (extra data"),
        (change_line("tag_name", b"x\tnowhere\n"), "is damaged: the database does not take its rows (invalid input syntax"),
    ],
)
def test_what_cannot_be_brought_in_is_told(
    archive: Path, tmp_path: Path, make: Callable[[Path, Path], None], words: str
) -> None:
    """The refusal is a sentence that says what is wrong, and nothing is brought in."""
    make(archive, tmp_path / "herd")
    refused = unarchived(tmp_path / "herd", tmp_path)

    assert refused.status == 1
    assert words in refused.complained
    assert refused.complained.splitlines()[-1].endswith("Nothing was brought in.")
    assert "Traceback" not in refused.complained
    if (tmp_path / "data").exists():
        with served(tmp_path / "data") as url:
            assert rows(url, "select id from workspace") == []
        assert recordings(tmp_path / "data") == {}


def test_rows_of_others_are_refused(sealed: Path, tmp_path: Path) -> None:
    """A grant to a program of another workspace is found, though the checksums are right."""
    plain = tmp_path / "plain"
    foreign = str(ids.new_id())
    with opened_archive(sealed, lambda: PASSPHRASE) as reader, plain.open("xb") as file, writing_archive(file, None) as writer:
        for name in reader.manifest.parts:
            content = b"".join(reader.chunks(name))
            if name == part_of("oauth_grant"):
                columns = reader.manifest.tables["oauth_grant"].columns
                cells = content.rstrip(b"\n").split(b"\t")
                cells[columns.index("client_id")] = foreign.encode()
                content = b"\t".join(cells) + b"\n"
            writer.add(name, [content])
        writer.finish(ARCHIVE.manifest, msgspec.structs.replace(reader.manifest, parts=writer.parts))
    refused = unarchived(plain, tmp_path)

    assert refused.status == 1
    assert "its rows of the table `oauth_grant` are not those of a workspace" in refused.complained


@pytest.mark.parametrize(
    ("passphrase", "words"), [("another herd of cows", "The passphrase does not open"), ("", "does not open")]
)
def test_a_wrong_passphrase_is_told(sealed: Path, tmp_path: Path, passphrase: str, words: str) -> None:
    """Another passphrase opens nothing, and the message says so."""
    words_of_command = ("unarchive", str(sealed), "--data-dir=data")
    refused = herdbook(*words_of_command, folder=tmp_path, HERDBOOK_PASSPHRASE=passphrase)

    assert refused.status == 1
    assert words in refused.complained
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("make", [cut, cut_a_byte, alter])
def test_a_sealed_archive_that_is_not_whole_is_told(sealed: Path, tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    """Sealed bytes that were altered or cut off are refused."""
    make(sealed, tmp_path / "herd")
    refused = unarchived(tmp_path / "herd", tmp_path)

    assert refused.status == 1
    assert "is damaged: a part of it was altered, or its end is missing" in refused.complained
    assert not (tmp_path / "data").exists()


def test_people_who_are_there_keep_their_accounts(sealed: Path, tmp_path: Path) -> None:
    """A person with an address of the archive keeps the password, and does not become a user of the workspace."""
    with serving(tmp_path):
        pass
    with served(tmp_path / "herdbook-data") as url:
        execute(url, f"insert into person (id, address, password_hash) values ('{ids.new_id()}', 'owner0@marker.test', 'mine')")
    brought = unarchived(sealed, tmp_path, "herdbook-data")
    with served(tmp_path / "herdbook-data") as url:
        people = rows(url, "select address, password_hash from person")
        users = rows(url, "select * from person_user")

    assert brought.status == 0, brought.complained
    assert "1 person has an account on this server already" in brought.said
    assert (people, users) == ([b"owner0@marker.test\tmine"], [])


def begin(archive: Path, url: str, data: Path, stderr: int) -> "subprocess.Popen[bytes]":
    """Bring an archive in beside the test."""
    words = [str(PROGRAM), "unarchive", str(archive), f"--database-url={url}", f"--data-dir={data}"]
    return subprocess.Popen(words, cwd=data.parent, env=environment({}), stderr=stderr)


async def until_waiting(
    process: "subprocess.Popen[bytes]", connection: "asyncpg.Connection[asyncpg.Record]", many: int = 1
) -> None:
    """Return once so many statements, the last one of this process, wait for the connection's transaction."""
    while len(await blocked(connection)) < many:
        assert process.poll() is None
        await asyncio.sleep(0.01)


def test_a_killed_one_leaves_nothing(original: Original, archive: Path, tmp_path: Path) -> None:
    """Killed before it commits, the command leaves no row; a sweep or the next try removes its recordings."""
    with serving(tmp_path):
        pass
    data = tmp_path / "herdbook-data"

    async def kill_it(url: str) -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("lock table webhook_delivery in access exclusive mode")
            process = begin(archive, url, data, subprocess.DEVNULL)
            await until_waiting(process, connection)
            assert len(recordings(data)) == 1
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
        await connection.close()

    with served(data) as url:
        asyncio.run(kill_it(url))
        left = {table: many for table, many in rows_of(url, original.uuid, COPIED).items() if many}
    brought = unarchived(archive, tmp_path, "herdbook-data")

    assert left == {}
    assert brought.status == 0, brought.complained
    assert len(recordings(data)) == 1


def test_of_two_at_once_one_is_refused(archive: Path, tmp_path: Path) -> None:
    """A second command for the same archive waits, is refused, and leaves the recordings of the first where they are."""
    with serving(tmp_path):
        pass
    data = tmp_path / "herdbook-data"

    async def both(url: str) -> list[tuple[int, str]]:
        connection = await asyncpg.connect(url)
        processes: list[subprocess.Popen[bytes]] = []
        async with connection.transaction():
            await connection.execute("lock table webhook_delivery in access exclusive mode")
            for many in (1, 2):
                processes.append(begin(archive, url, data, subprocess.PIPE))
                await until_waiting(processes[-1], connection, many)
        await connection.close()
        said = [(await asyncio.to_thread(each.communicate))[1].decode() for each in processes]
        return [(each.returncode, text) for each, text in zip(processes, said, strict=True)]

    with served(data) as url:
        first, second = asyncio.run(both(url))

    assert len(recordings(data)) == 1
    assert (first[0], second[0]) == (0, 1), first[1]
    assert "of the archive is on this server already" in second[1]


def test_an_archive_of_an_earlier_schema(tmp_path: Path) -> None:
    """An archive of a database without the last migrations goes through them, and what they would do to its rows is done."""
    old = [name for name in available() if name < "0034"]
    workspace = ids.new_id()

    async def make(url: str) -> None:
        await migrate(url, only=old)
        connection = await connect(url)
        await connection.execute("insert into workspace (id, name, seq) values ($1, 'Old', 1)", workspace)
        await connection.execute(
            """
            insert into contact (workspace_id, id, version, updated_at, search, object)
            values ($1, $2, 1, '2025-01-01', 'ada', '{"first_name": "Ada"}')
            """,
            workspace,
            ids.new_id(),
        )
        with (tmp_path / "old").open("xb") as file, writing_archive(file, None) as writer:
            await take(writer, connection, workspace, tmp_path / "media", step, with_secrets=False)
        await connection.close()

    with served(tmp_path / "old-data") as url:
        asyncio.run(make(url))
    brought = unarchived(tmp_path / "old", tmp_path)
    assert brought.status == 0, brought.complained
    again = archived(ids.encoded(ids.WORKSPACE, workspace), tmp_path)

    assert len(manifest_of(tmp_path / "old")["migrations"]) == len(old)
    assert manifest_of(again)["migrations"] == sorted(available())
    assert "distinct_pair" not in manifest_of(tmp_path / "old")["tables"]
    assert manifest_of(again)["tables"]["contact"]["rows"] == 1


def test_a_copy_tells_nobody_until_it_is_asked_to(original: Original, archive: Path, tmp_path: Path) -> None:
    """Without secrets, each endpoint has a new secret and is sent nothing. Enabling it, as always, begins to send."""
    assert unarchived(archive, tmp_path, "herdbook-data").status == 0
    with served(tmp_path / "herdbook-data") as url:
        secrets = rows(url, "select secret, former_secret from webhook_endpoint")
    with serving(tmp_path) as server:
        words = ("Admin", "--scope=workspace:admin", f"--workspace={original.workspace}")
        key = herdbook("keys", "create", *words, folder=tmp_path).said.strip()
        admin = Running(server.process, tmp_path, server.url, key, first=False)
        one, other = [endpoint["id"] for endpoint in admin.get("/api/herdbook/webhooks").json()["data"]]
        enabled = admin.post(f"/api/herdbook/webhooks/{one}/enable", {})
    with served(tmp_path / "herdbook-data") as url:
        sending = rows(url, "select endpoint_id from webhook_reader where is_enabled")

    assert len(set(secrets)) == 2
    assert all(line.startswith(b"whsec_") and line.endswith(rb"\N") for line in secrets)
    assert enabled.status_code == 200, enabled.text
    assert sending == [str(ids.decoded(ids.WEBHOOK_ENDPOINT, one)).encode()]
    assert one != other


def test_a_key_of_the_original_opens_nothing(original: Original, archive: Path, tmp_path: Path) -> None:
    """Keys are listed by their names, and let nobody in."""
    assert unarchived(archive, tmp_path, "herdbook-data").status == 0
    key = (original.data_dir.parent / "key.txt").read_text()
    with serving(tmp_path) as server:
        refused = Running(server.process, tmp_path, server.url, key, first=False).get("/api/v2/contacts")
    listed = herdbook("keys", "list", folder=tmp_path)

    assert refused.status_code == 401
    assert "First key" in listed.said
