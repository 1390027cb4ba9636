"""Durations of recordings: how much is read, and how formats store them."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook.media_duration import MAX_BYTES_READ, BoundedFile, duration_in
from tests.engagements.media_server import sound

_HOUR = 3600.0
# A frame of 128 kbit/s at 44,100 Hz: 1,152 samples in 417 bytes (ISO/IEC 11172-3).
_FRAME = b"\xff\xfb\x90\x64"
_FRAME_BYTES = 417


def atom(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4 file (ISO/IEC 14496-12)."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def page(granule: int, content: bytes, flags: int = 0) -> bytes:
    """Return a page of an Ogg file (RFC 3533), with one packet."""
    sizes = [255] * (len(content) // 255) + [len(content) % 255]
    return b"OggS\x00" + struct.pack("<BqIII", flags, granule, 1, 0, 0) + bytes([len(sizes), *sizes]) + content


def mp3_with_header() -> bytes:
    """Return an hour of variable bit rate, declared by a Xing header in the first frame."""
    frames = round(_HOUR * 44_100 / 1152)
    header = _FRAME + bytes(32) + b"Xing" + struct.pack(">iii", 3, frames, 60 << 20)
    return header + bytes(_FRAME_BYTES - len(header)) + (_FRAME + bytes(_FRAME_BYTES - 4)) * 100


def mp3_behind_tags() -> bytes:
    """Return an hour of constant bit rate after tags with a large picture."""
    size = 9 << 20
    sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + sizes + bytes(size) + (_FRAME + bytes(_FRAME_BYTES - 4)) * round(_HOUR * 44_100 / 1152)


def mp4_with_its_end_first_needed() -> bytes:
    """Return an hour whose length is stored after all of the sound."""
    header = atom(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, int(_HOUR * 1000)) + bytes(80))
    return atom(b"ftyp", b"M4A \x00\x00\x00\x00") + atom(b"mdat", bytes(30 << 20)) + atom(b"moov", header)


def opus() -> bytes:
    """Return an hour of Opus (RFC 7845) in 18 MB, whose length is in the last page."""
    head = page(0, b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0), 2)
    tags = page(0, b"OpusTags" + struct.pack("<II", 0, 0))
    sound_ = b"".join(page(second * 48_000, bytes(5000), 4 if second == _HOUR else 0) for second in range(1, int(_HOUR) + 1))
    return head + tags + sound_


def wav() -> bytes:
    """Return an hour in 28 MB, declared by the header."""
    return sound(_HOUR)


@pytest.mark.parametrize(
    "made",
    [mp3_with_header, mp3_behind_tags, mp4_with_its_end_first_needed, opus, wav],
    ids=lambda made: made.__name__,
)
def test_an_hour_is_told_of_any_size(tmp_path: Path, made: Callable[[], bytes]) -> None:
    """The duration is found wherever a format stores it, however much sound is around it."""
    file = tmp_path / "recording"
    file.write_bytes(made())

    assert duration_in(str(file)) == pytest.approx(_HOUR, abs=0.1)


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    """A file that needs more is refused before any of it is read or held."""
    file = tmp_path / "recording"
    file.write_bytes(bytes(100))
    with BoundedFile(str(file)) as bounded:
        assert bounded.read(60) == bytes(60)
        for size in (MAX_BYTES_READ - 59, 1 << 40, -1, None):
            with pytest.raises(ValueError, match="too much"):
                bounded.read(size)
        assert bounded.read(MAX_BYTES_READ - 60) == bytes(40)
        with pytest.raises(ValueError, match="too much"):
            bounded.read(1)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * (32 << 20),
        atom(b"ftyp", b"M4A \x00\x00\x00\x00")
        + struct.pack(">I", 0x7FFFFFFF)
        + b"moov"
        + struct.pack(">I", 0x7FFFFFF0)
        + b"mvhd",
        b"RIFF\x00\x00\x00\x00WAVEfmt \xff\xff\xff\x7f" + bytes(100),
    ],
    ids=["endless search", "atom of 2 GB", "chunk of 2 GB"],
)
def test_a_hostile_file_ends_its_process_at_most(tmp_path: Path, content: bytes) -> None:
    """A hostile file yields no duration and ends at most its own process."""
    file = tmp_path / "recording"
    file.write_bytes(content)
    command = [sys.executable, "-m", "herdbook.media_duration", str(file)]
    told = subprocess.run(command, capture_output=True, timeout=60, check=False)

    assert told.returncode < 0 or json.loads(told.stdout) is None
