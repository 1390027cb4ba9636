"""`herdbook archive`: one workspace of one moment in one file, and nothing else."""

import threading
from pathlib import Path

from herdbook.archives.places import PLACES
from tests.archives.shelves import NEIGHBOUR, SECRET, Original, contents, manifest_of, rows_of
from tests.backups.farm import copied, rows, served
from tests.backups.test_restore import execute
from tests.cli.programs import herdbook, serving, until
from tests.erasure.planting import MARKER


def test_every_table_has_rows(archive: Path) -> None:
    """The workspace of these tests has rows in each place, so that each is tried."""
    tables = manifest_of(archive)["tables"]

    assert [place.table for place in PLACES if not place.is_secret and not tables[place.table]["rows"]] == []


def test_no_other_workspace_is_in_it(original: Original, archive: Path) -> None:
    """The file has as many rows of each table as the workspace, and none of a neighbour, who has rows in the same tables."""
    tables = [place.table for place in PLACES if place.workspace_column and not place.is_secret]
    with served(original.data_dir) as url:
        ours = rows_of(url, original.uuid, tables)
        (neighbour,) = rows(url, f"select id::text from workspace where id <> '{original.uuid}'")
        theirs = rows_of(url, neighbour.decode(), tables)
        ids = rows(url, f"select id::text from contact where workspace_id = '{neighbour.decode()}'")
    parts, shown = contents(archive), manifest_of(archive)["tables"]

    assert {table: shown[table]["rows"] for table in tables} == {table: len(found) for table, found in ours.items()}
    assert sum(1 for found in theirs.values() if found) > 30
    assert MARKER.encode() in parts["tables/contact.tsv"]
    for planted in [NEIGHBOUR.encode(), neighbour, *ids]:
        assert [name for name, content in parts.items() if planted in content] == []


def test_no_secret_is_in_it(original: Original, archive: Path) -> None:
    """Neither the hashes of keys, programs and passwords, nor the secrets of webhooks are in the file."""
    with served(original.data_dir) as url:
        hashes = rows(url, "select encode(secret_hash, 'hex') from credential where secret_hash <> ''")
    parts = contents(archive)

    spelled = [SECRET.encode(), SECRET.encode().hex().encode(), b"whsec_", b"owner0@marker.test", *hashes]
    assert [(name, each) for name, content in parts.items() for each in spelled if each in content] == []
    assert len(hashes) == 2
    assert rb"\\x00" in parts["tables/oauth_client.tsv"]


def test_only_the_owner_may_read_it(archive: Path) -> None:
    """The file has mode 0600, and nothing else is left beside it."""
    assert archive.stat().st_mode & 0o777 == 0o600
    assert list(archive.parent.iterdir()) == [archive]


def test_a_workspace_must_be_named_among_several(original: Original, tmp_path: Path) -> None:
    """With two workspaces, the refusal asks for one, and no file is written."""
    refused = herdbook("archive", "herd", f"--data-dir={original.data_dir}", folder=tmp_path)

    assert refused.status == 1
    assert "There are 2 workspaces. Name one with --workspace" in refused.complained
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_replaced(original: Original, archive: Path) -> None:
    """A file of that name stays as it is."""
    refused = herdbook("archive", str(archive), f"--data-dir={original.data_dir}", folder=archive.parent)

    assert refused.status == 1
    assert refused.complained == f"herdbook: `{archive}` exists. Choose another name.\n"


def test_a_missing_recording_is_told(original: Original, tmp_path: Path) -> None:
    """The command archives everything else, says how many recordings were not found, and ends with a status of its own."""
    data = copied(original.data_dir, tmp_path / "data")
    with served(data) as url:
        execute(url, """update engagement set details = jsonb_set(details::jsonb, '{media}', '{"size": 1}')::json""")
    for path in (data / "media").rglob("*"):
        if path.is_file():
            path.unlink()
    done = herdbook("archive", "herd", f"--workspace={original.workspace}", "--data-dir=data", folder=tmp_path)

    assert done.status == 3
    assert "recordings of engagements are not in the archive" in done.complained
    assert manifest_of(tmp_path / "herd")["tables"]["engagement"]["rows"] == 2


def test_secrets_need_a_passphrase(original: Original, tmp_path: Path) -> None:
    """Without a terminal and without the variable, or with a short one, nothing is written."""
    words = ("archive", "herd", "--with-secrets", f"--data-dir={original.data_dir}")
    without = herdbook(*words, folder=tmp_path)
    short = herdbook(*words, folder=tmp_path, HERDBOOK_PASSPHRASE="cow")  # noqa: S106  # as above

    assert (without.status, short.status) == (1, 1)
    assert "Set HERDBOOK_PASSPHRASE, or run the command in a terminal" in without.complained
    assert "A passphrase needs 12 characters" in short.complained
    assert list(tmp_path.iterdir()) == []


def test_it_is_of_one_moment(tmp_path: Path) -> None:
    """Beside a server that writes, the ledger is whole up to one change, and the contacts are those of this change."""
    stopping = threading.Event()
    written: list[str] = []

    with serving(tmp_path, "--rate-limit=0") as server:

        def write() -> None:
            while not stopping.is_set():
                written.append(server.post("/api/v2/contacts", {"first_name": f"Ada{len(written)}"}).json()["id"])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            until(lambda: len(written) > 20)
            before = len(written)
            done = herdbook("archive", "herd", folder=tmp_path)
            during = len(written) - before
        finally:
            stopping.set()
            thread.join()
    entries = _cells(tmp_path / "herd", "change", "seq", "object_id", "kind")
    contacts = _cells(tmp_path / "herd", "contact", "id")
    seq = manifest_of(tmp_path / "herd")["seq"]

    assert done.status == 0, done.complained
    assert during > 5
    assert [int(each[0]) for each in entries] == list(range(1, seq + 1))
    assert before <= len(contacts) < len(written)
    assert {each[0] for each in contacts} == {each[1] for each in entries if each[2] == b"c"}


def _cells(archive: Path, table: str, *columns: str) -> list[tuple[bytes, ...]]:
    """Return some columns of the rows of a table."""
    places: list[int] = [manifest_of(archive)["tables"][table]["columns"].index(column) for column in columns]
    lines = contents(archive)[f"tables/{table}.tsv"].splitlines()
    return [tuple(line.split(b"\t")[place] for place in places) for line in lines]
