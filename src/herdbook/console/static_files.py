"""The files of the console that browsers keep for ever: their addresses change with their content."""

import functools
import gzip
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from herdbook.console.page import BASE
from herdbook.console.shortcuts import acts

PATH: Final = f"{BASE}/static/"
_FOLDER: Final = Path(__file__).with_name("static")
_MEDIA_TYPES: Final = {"css": b"text/css; charset=utf-8", "js": b"text/javascript; charset=utf-8", "svg": b"image/svg+xml"}


class StaticFile(NamedTuple):
    """A file, also compressed."""

    media_type: bytes
    content: bytes
    compressed: bytes


@functools.cache
def files() -> dict[str, StaticFile]:
    """Return the files by their names: those of the folder, and the table of the keys as a module for the scripts."""
    contents = {each.name: each.read_bytes() for each in sorted(_FOLDER.iterdir()) if _media_type(each.name) is not None}
    contents["shortcuts.js"] = b"export default %s;\n" % msgspec.json.encode(acts())
    return {
        name: StaticFile(_media_type(name) or b"", content, gzip.compress(content, 9, mtime=0))
        for name, content in contents.items()
    }


def _media_type(name: str) -> bytes | None:
    return _MEDIA_TYPES.get(name.rpartition(".")[2])


@functools.cache
def fingerprint() -> str:
    """Return a text that changes with the content of any file; modules that import others thus get those of their own time."""
    hashed = hashlib.sha256()
    for name, file in files().items():
        hashed.update(f"{name} {len(file.content)}\n".encode() + file.content)
    return hashed.hexdigest()[:16]


def address_of(name: str) -> str:
    """Return the path of a file."""
    assert name in files(), f"there is no static file {name}"
    return f"{PATH}{fingerprint()}/{name}"


def find(path: str) -> tuple[StaticFile | None, bool]:
    """Return the file at a path, and whether it is that of this release: only then may a browser keep it.

    While servers are replaced, a page of one release may ask a server of the other one.
    """
    named, _, name = path.removeprefix(PATH).partition("/")
    return files().get(name), named == fingerprint()
