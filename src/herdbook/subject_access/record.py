"""The record of a person: a folder with the data as JSON, a page, transcripts as text, and recordings."""

import os
import shutil
import zipfile
from collections.abc import AsyncIterable, Awaitable, Callable, Collection
from mimetypes import guess_extension
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.erasure.places import PLACES, Place
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.page import About, Digest, rendered
from herdbook.subject_access.words import Words

DATA: Final = "data.json"
PAGE: Final = "index.html"


class Record:
    """The files of a record in a folder. Only their owner may read them. `media` has the recordings of the workspace."""

    def __init__(self, folder: Path, media: Path) -> None:
        self._folder = folder
        self._media = media

    async def write(
        self,
        about: About,
        rows: AsyncIterable[tuple[Place, bytes]],
        withholder: Withholder,
        words_of: Callable[[Collection[str]], Awaitable[Words]],
    ) -> Digest:
        """Write the rows, one after the other, then the contacts in plain words, and the page. Return the digest of the rows.

        `words_of` returns the words for contacts that refer to these ids.
        """
        digest = Digest(rows=dict.fromkeys((place.table for place in PLACES), 0))
        with self._created(DATA) as file:
            file.write(b'{"object":"subject_access","about":' + msgspec.json.encode(about) + b',"places":{')
            table = ""
            async for place, encoded in rows:
                row = withholder.shown(place, msgspec.json.decode(encoded))
                file.write(b",\n" if place.table == table else _next_table(table, place.table))
                file.write(msgspec.json.encode(row))
                digest.note(place.table, row)
                self._write_files(place.table, row, digest)
                table = place.table
            contacts = digest.in_words(await words_of(digest.referred))
            file.write((b"]" if table else b"") + b'},"in_words":' + msgspec.json.encode(contacts) + b"}\n")
        with self._created(PAGE) as file:
            for part in rendered(about, digest, contacts):
                file.write(part.encode())
        return digest

    def _write_files(self, table: str, row: dict[str, Any], digest: Digest) -> None:
        if table == "transcript":
            self._write_transcript(row, digest)
        elif table == "engagement":
            self._copy_recording(row, digest)

    def _write_transcript(self, row: dict[str, Any], digest: Digest) -> None:
        name = f"transcripts/{ids.encoded(ids.ENGAGEMENT, UUID(row['id']))}.txt"
        with self._created(name) as file:
            file.write(row["text"].encode())
        digest.transcripts[row["id"]] = name

    def _copy_recording(self, row: dict[str, Any], digest: Digest) -> None:
        engagement_id, media = UUID(row["id"]), row["details"].get("media")
        shown_id = ids.encoded(ids.ENGAGEMENT, engagement_id)
        ending = "" if media is None else guess_extension(media["content_type"]) or ""
        name = f"recordings/{shown_id}{ending}"
        try:
            source = (self._media / engagement_id.hex).open("rb")
        except FileNotFoundError:
            if media is not None:
                digest.missing_recordings.append(shown_id)
            return
        with source, self._created(name) as file:
            shutil.copyfileobj(source, file)
        digest.recordings[row["id"]] = name

    def _created(self, name: str) -> BinaryIO:
        path = self._folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return created(path)


def _next_table(last: str, table: str) -> bytes:
    return (b"],\n" if last else b"\n") + msgspec.json.encode(table) + b":[\n"


def created(path: Path) -> BinaryIO:
    """Open a new file that only its owner may read. Raise FileExistsError if it exists."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def zipped(folder: Path, target: Path) -> None:
    """Put the files of a folder into a new zip file."""
    with created(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
