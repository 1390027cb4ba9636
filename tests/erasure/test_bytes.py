"""After an erasure and a scrub, a marker that was planted everywhere is in no file, log, metric or dump."""

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from herdbook.embedded import binary, running
from tests.cli.programs import herdbook, serving
from tests.erasure.planting import ADDRESS, MARKER, NUMBER, echo, plant, plant_among_others, plant_in_calls
from tests.waiting import until

__all__ = ["echo"]
_NUMBERS: Final = (NUMBER, NUMBER[::-1][:9])


def files_with(spellings: Sequence[str], folder: Path) -> list[str]:
    """Return the files of a folder that have one of some texts."""
    files = (path for path in folder.rglob("*") if path.is_file() and _has(spellings, path.read_bytes()))
    return sorted(str(path.relative_to(folder)) for path in files)


def _has(spellings: Sequence[str], content: bytes) -> bool:
    return any(spelling.encode() in content for spelling in spellings)


@pytest.mark.parametrize(
    ("options", "spellings"),
    [(["--with-engagements"], (MARKER, MARKER.lower(), *_NUMBERS)), ([], (ADDRESS, *_NUMBERS))],
    ids=["with engagements", "kept engagements"],
)
def test_no_byte_is_left(tmp_path: Path, echo: str, options: Sequence[str], spellings: Sequence[str]) -> None:
    """The person is in many files before, and in none after: not in the log, the metrics or a dump either.

    Titles, transcripts and comments of kept engagements may still have the name, but no file has the address or the number.
    """
    data = tmp_path / "herdbook-data"
    with serving(tmp_path) as server:
        plant_among_others(server, plant(server, echo))
        plant_in_calls(server)
        endpoint = server.get("/api/herdbook/webhooks").json()["data"][0]["id"]
        # While the endpoint has a pause, only its first events were attempted, and these are at the end.
        deliveries = f"/api/herdbook/webhooks/{endpoint}/deliveries?limit=100"
        asyncio.run(until(lambda: any(each["attempts"] for each in server.get(deliveries).json()["data"])))
        url = running(data)
        assert url is not None
        subprocess.run([binary("psql"), url, "-qc", "analyze; checkpoint"], check=True)
        before = files_with(spellings, data)

        erased = herdbook("erase", ADDRESS, "--yes", *options, folder=tmp_path)
        scrubbed = herdbook("erasures", "scrub", folder=tmp_path)

        assert erased.status == 0, erased.complained
        assert scrubbed.status == 0, scrubbed.complained
        certificate = msgspec.json.decode(erased.said)[0]
        assert certificate["rows"].keys() >= {
            "contact",
            "change",
            "webhook_delivery",
            "idempotency_record",
        }
        assert any("base" in name for name in before)
        assert any("pg_wal" in name for name in before)
        assert any("media" in name for name in before) is bool(options)
        assert files_with(spellings, data) == []
        assert not _has(spellings, server.get("/metrics").content)
        assert not _has(spellings, (tmp_path / "err.txt").read_bytes())
        dump = subprocess.run([binary("pg_dump"), url], capture_output=True, check=True).stdout
        assert b"create" in dump.lower()
        assert not _has(spellings, dump)
