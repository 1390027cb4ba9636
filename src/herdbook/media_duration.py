"""The duration of a recording: a program for one file, whose path is its argument. It prints JSON.

The file comes from strangers, and it controls the parser of its format. This process therefore reads a limited part of it, for
a limited time, in limited memory, and the server continues whatever happens to the process.
"""

import io
import json
import os
import resource
import sys
from typing import Final

from tinytag import TinyTag, TinyTagException

MAX_BYTES_READ: Final = 8 << 20
_MAX_CPU_SECONDS: Final = 3
_MAX_MEMORY: Final = 256 << 20
_MAX_DURATION_SECONDS: Final = 31_536_000
_NICE: Final = 10


class BoundedFile(io.FileIO):
    """A file of which at most `MAX_BYTES_READ` bytes can be read. Reading more raises ValueError."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.unread = MAX_BYTES_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes; check the number before allocating memory for them."""
        if size is None or not 0 <= size <= self.unread:
            raise ValueError("too much of the file would be read")
        self.unread -= size
        return super().read(size) or b""


def duration_in(path: str) -> float | None:
    """Return the duration of a recording in seconds, or None if its format does not state it in the part that may be read."""
    try:
        with BoundedFile(path) as file:
            # The library chooses a parser by the file's first bytes. Only with tags does its Ogg parser skip the sound.
            is_ogg = file.read(4) == b"OggS"
            file.seek(0)
            duration = TinyTag.get(file_obj=file, tags=is_ogg).duration  # type: ignore[arg-type]  # it is a binary file
    except (TinyTagException, ValueError, OSError):
        return None
    # A damaged header may state nonsense.
    return float(duration) if duration is not None and 0 <= duration <= _MAX_DURATION_SECONDS else None


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    os.nice(_NICE)
    _limit(resource.RLIMIT_CPU, _MAX_CPU_SECONDS)
    _limit(resource.RLIMIT_AS, _MAX_MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    print(json.dumps(duration_in(sys.argv[1])))  # noqa: T201  # the server reads it
