"""Files that a passphrase seals: Argon2id makes the key, and ChaCha20-Poly1305 (RFC 8439) encrypts and authenticates.

A file is encrypted in chunks, each with its number and whether it is the last, so that no chunk can be altered, left out, moved
or cut off unnoticed (STREAM, of Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, 2015). A part of the file can be read without the rest, and memory does not grow with the file.
"""

import hmac
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_MAGIC: Final = b"herdbook sealed archive 1\n"
_SALT_SIZE: Final = 16
# A part of the passphrase's hash that is no part of the key tells a wrong passphrase from a damaged file.
_CHECK_SIZE: Final = 16
_KEY_SIZE: Final = 32
_HEADER_SIZE: Final = len(_MAGIC) + _SALT_SIZE + _CHECK_SIZE
_CHUNK: Final = 1 << 16
_TAG_SIZE: Final = 16
# The second recommended choice of RFC 9106, section 4.
_PASSES, _MEMORY_KIB, _LANES = 3, 1 << 16, 4


class PassphraseWrong(Exception):
    """Another passphrase seals the file."""


def is_sealed(file: BinaryIO) -> bool:
    """Whether a file begins like a sealed one."""
    file.seek(0)
    return file.read(len(_MAGIC)) == _MAGIC


def _hashed(passphrase: str, salt: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    """Return the cipher, and the value that tells a wrong passphrase."""
    hashed = hash_secret_raw(passphrase.encode(), salt, _PASSES, _MEMORY_KIB, _LANES, _KEY_SIZE + _CHECK_SIZE, Type.ID)
    return ChaCha20Poly1305(hashed[:_KEY_SIZE]), hashed[_KEY_SIZE:]


def _nonce(number: int, *, is_last: bool) -> bytes:
    """Return the nonce of a chunk. The key is of this file alone, so the number may begin at 0."""
    return number.to_bytes(11) + bytes([is_last])


class Sealed(io.RawIOBase):
    """Encrypts what is written, into another file. `finish` writes the last chunk."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        salt = os.urandom(_SALT_SIZE)
        self._cipher, check = _hashed(passphrase, salt)
        self._file = file
        self._header = _MAGIC + salt + check
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        self._waiting += data
        # The last chunk is not written here, even if it is full.
        while len(self._waiting) > _CHUNK:
            self._write_chunk(bytes(self._waiting[:_CHUNK]), is_last=False)
            del self._waiting[:_CHUNK]
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Write the last chunk."""
        self._write_chunk(bytes(self._waiting), is_last=True)

    def _write_chunk(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, self._header))
        self._number += 1


class Unsealed(io.RawIOBase):
    """Reads a sealed file. Raise PassphraseWrong, or, where a chunk is altered or the end is missing, `damage`."""

    def __init__(self, file: BinaryIO, passphrase: str, damage: Callable[[], Exception]) -> None:
        self._file = file
        self._damage = damage
        file.seek(0)
        self._header = file.read(_HEADER_SIZE)
        salt, check = self._header[len(_MAGIC) : -_CHECK_SIZE], self._header[-_CHECK_SIZE:]
        size = file.seek(0, os.SEEK_END) - _HEADER_SIZE
        self._chunks = -(-size // (_CHUNK + _TAG_SIZE))
        self._size = size - self._chunks * _TAG_SIZE
        if self._size <= 0:
            raise damage()
        self._cipher, expected = _hashed(passphrase, salt)
        if not hmac.compare_digest(check, expected):
            raise PassphraseWrong
        self._place = 0
        self._opened: tuple[int, bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if begin + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = begin + offset
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        if self._place >= self._size or not target.nbytes:
            return 0
        number, begin = divmod(self._place, _CHUNK)
        some = self._chunk(number)[begin : begin + target.nbytes]
        target[: len(some)] = some
        self._place += len(some)
        return len(some)

    def _chunk(self, number: int) -> bytes:
        if self._opened is None or self._opened[0] != number:
            self._file.seek(_HEADER_SIZE + number * (_CHUNK + _TAG_SIZE))
            sealed = self._file.read(_CHUNK + _TAG_SIZE)
            try:
                nonce = _nonce(number, is_last=number == self._chunks - 1)
                self._opened = number, self._cipher.decrypt(nonce, sealed, self._header)
            except InvalidTag:
                raise self._damage() from None
        return self._opened[1]
