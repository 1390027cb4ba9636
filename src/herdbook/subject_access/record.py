"""The record of a person: a folder with the data as JSON, a page, transcripts as text, and recordings."""

import asyncio
import os
import shutil
import zipfile
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Sequence
from mimetypes import guess_extension
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.erasure.places import PLACES, Place
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.page import About, Digest, ToldContact, rendered
from herdbook.subject_access.words import Words

DATA: Final = "data.json"
PAGE: Final = "index.html"
# The tables whose rows have files of their own.
_WITH_FILES: Final = ("engagement", "transcript")
# Rows of so many bytes are written before others have their turn.
_TURN_BYTES: Final = 131_072


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
            table, unyielded = "", 0
            async for place, encoded in rows:
                unyielded += len(encoded)
                if unyielded >= _TURN_BYTES:
                    unyielded = 0
                    await asyncio.sleep(0)
                row = withholder.shown(place, msgspec.json.decode(encoded))
                file.write(b",\n" if place.table == table else _next_table(table, place.table))
                file.write(msgspec.json.encode(row))
                digest.note(place.table, row)
                if place.table in _WITH_FILES:
                    # A recording may have a gigabyte.
                    await asyncio.to_thread(self._write_file, place.table, row, digest)
                table = place.table
            contacts = digest.in_words(await words_of(digest.referred))
            file.write((b"]" if table else b"") + b'},"in_words":' + msgspec.json.encode(contacts) + b"}\n")
        await asyncio.to_thread(self._write_page, about, digest, contacts)
        return digest

    def _write_page(self, about: About, digest: Digest, contacts: Sequence[ToldContact]) -> None:
        with self._created(PAGE) as file:
            for part in rendered(about, digest, contacts):
                file.write(part.encode())

    def _write_file(self, table: str, row: dict[str, Any], digest: Digest) -> None:
        if table == "transcript":
            self._write_transcript(row, digest)
        else:
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
