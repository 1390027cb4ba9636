"""Sealed files: whatever is altered, left out or moved is found."""

import io
import zipfile
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from herdbook.archives.sealing import PassphraseWrong, Sealed, Unsealed, is_sealed
from tests.archives.shelves import PASSPHRASE

CHUNK: Final = (1 << 16) + 16
HEADER: Final = 58


class Damaged(Exception):
    """The refusal of these tests."""


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passphrases in a thousandth of the memory. The tests of whole archives hash them as everybody does."""
    monkeypatch.setattr("herdbook.archives.sealing._MEMORY_KIB", 64)


def sealed(content: bytes, passphrase: str = PASSPHRASE) -> bytes:
    file = io.BytesIO()
    seal = Sealed(file, passphrase)
    for begin in range(0, len(content), 50_000):
        seal.write(content[begin : begin + 50_000])
    seal.finish()
    return file.getvalue()


def unsealed(content: bytes, passphrase: str = PASSPHRASE) -> bytes:
    raw: Any = Unsealed(io.BytesIO(content), passphrase, Damaged)
    return io.BufferedReader(raw).read()


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 200_000])
def test_a_file_comes_out_as_it_went_in(size: int) -> None:
    """Each size has all of its bytes again, also at the edges of chunks, and none is readable before."""
    content = b"Ada Lovelace, " * size

    file = sealed(content[:size])
    assert unsealed(file) == content[:size]
    assert is_sealed(io.BytesIO(file))
    assert size < 10 or b"Lovelace" not in file


def test_it_is_read_from_any_place() -> None:
    """A zip archive, which is read from its end, is read in a sealed file, too."""
    file = io.BytesIO()
    seal = Sealed(file, PASSPHRASE)
    with zipfile.ZipFile(cast("Any", seal), "w") as archive:
        for name in ("one", "two"):
            archive.writestr(name, name * 100_000)
    seal.finish()
    raw: Any = Unsealed(file, PASSPHRASE, Damaged)

    with zipfile.ZipFile(io.BufferedReader(raw)) as archive:
        assert archive.read("two") == b"two" * 100_000
        assert archive.read("one") == b"one" * 100_000


def flip(place: int) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        return file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]

    return change


def pieces(*places: int) -> Callable[[bytes], bytes]:
    """Keep these of the three chunks, in this order."""

    def change(file: bytes) -> bytes:
        chunks = [file[HEADER + place * CHUNK : HEADER + (place + 1) * CHUNK] for place in range(3)]
        return file[:HEADER] + b"".join(chunks[place] for place in places)

    return change


def cut(file: bytes) -> bytes:
    return file[:-1]


@pytest.mark.parametrize(
    "change",
    [
        *(flip(-1), flip(100), flip(CHUNK + 100), cut),
        *(pieces(), pieces(0), pieces(0, 1), pieces(1, 0, 2), pieces(0, 0, 1, 2), pieces(0, 2)),
    ],
)
def test_what_is_changed_is_found(change: Callable[[bytes], bytes]) -> None:
    """A changed bit, a missing end, and chunks that are missing, moved or repeated are refused."""
    file = sealed(b"x" * 150_000)

    assert unsealed(pieces(0, 1, 2)(file)) == b"x" * 150_000
    with pytest.raises(Damaged):
        unsealed(change(file))


def test_another_passphrase_is_told() -> None:
    """A wrong passphrase is told from damage."""
    with pytest.raises(PassphraseWrong):
        unsealed(sealed(b"content"), "baa")


def test_equal_files_differ_when_sealed() -> None:
    """Each file has a salt of its own, so nobody sees that two are equal."""
    assert sealed(b"content")[60:] != sealed(b"content")[60:]
