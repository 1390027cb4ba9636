"""How long a recording lasts: the program of a process for one file, whose path is its argument. It prints JSON.

A file comes from strangers, and the reader of its format does what the file says. So this process reads a bounded part, for a
bounded time, in bounded memory, and the server goes on whatever becomes of it.
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
    """A file of which `MAX_BYTES_READ` bytes are read at most. To ask for more is a ValueError."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.unread = MAX_BYTES_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes; their number is checked before any memory is taken for them."""
        if size is None or not 0 <= size <= self.unread:
            raise ValueError("too much of the file would be read")
        self.unread -= size
        return super().read(size) or b""


def duration_in(path: str) -> float | None:
    """Return how many seconds a recording lasts, where its format says so within what may be read."""
    try:
        with BoundedFile(path) as file:
            # The library chooses a reader by the file's beginning. That for Ogg passes over the sound only once it has tags.
            is_ogg = file.read(4) == b"OggS"
            file.seek(0)
            duration = TinyTag.get(file_obj=file, tags=is_ogg).duration  # type: ignore[arg-type]  # it is a binary file
    except (TinyTagException, ValueError, OSError):
        return None
    # What a damaged header says is no duration.
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
