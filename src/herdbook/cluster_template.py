"""A template of new clusters in the user's cache folder, so that a new data folder needs neither initdb nor the schema.

    CACHE/herdbook/                a folder of the user's, closed to others; CACHE is $XDG_CACHE_HOME or ~/.cache
    CACHE/herdbook/KEY.wanted      a new folder was made without a template; its time is that from which one may be made
    CACHE/herdbook/KEY-SUM.tar     the template; SUM is the checksum of the file

The key names the programs, the options of initdb, and the schema with the migrations. The first new folder of a key only notes
that; the second one makes the template, because some machines make one folder and no other. If it cannot be made, as on a disk
that is too small, the next one tries a day later, because a try costs its start as much as a new folder does. Without a cache
folder that can be used, without `tar`, or on another system than Linux there is no template, and nothing else changes.

Nothing in a template is secret or unique. It is made of a cluster of its own that no server has used, and that loses its
identity and the secrets that migrations have made. Each copy gets an identity of its own, and its server makes the secrets.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

from herdbook.embedded import INITDB, EmbeddedPostgres, binary, environment
from herdbook.replacement import sync

__all__ = ["copy_template"]

_log: Final = logging.getLogger("herdbook.embedded")
_CONTROL: Final = "global/pg_control"
# Templates of former versions that are kept, for those who change between two.
_KEPT: Final = 2
# How long after a failure no template is made.
_PAUSE_SECONDS: Final = 86_400.0
# In the place of an identity: the number of the system, and the nonce of its password authentication (which we do not use).
_NO_SYSTEM: Final = b"herdbook"
_NO_NONCE: Final = b"template of herdbook's clusters."
# The place of the system's number in the file of a WAL segment (XLogLongPageHeaderData).
_SYSTEM_IN_WAL: Final = 24
# Longer than the part of the file of 8 KiB that the checksum covers.
_MAX_CONTROL: Final = 512
_SHUT_DOWN: Final = re.compile(
    r"^Database cluster state: +shut down$.*^Mock authentication nonce: +([0-9a-f]{64})$", re.MULTILINE | re.DOTALL
)
_NOT_COPIED: Final = ("postmaster.pid", "postmaster.opts", ".s.PGSQL.5432", ".s.PGSQL.5432.lock")


class _Unusable(Exception):
    """The cache folder or the template cannot be used."""


def copy_template(postgres: EmbeddedPostgres, cluster: Path) -> bool:
    """Make a cluster in an empty folder, safe from a loss of power. Return whether it could; else the folder is unusable."""
    try:
        if sys.platform != "linux" or (tar := shutil.which("tar")) is None or (sync_command := shutil.which("sync")) is None:
            return False
        folder = _opened_folder()
        key = _key()
        template = _found(folder, key) or _made(folder, key)
        if template is None:
            return False
        # Without a name, `tar` would read the tape that the user's environment names.
        postgres.run(cluster, [tar, "-x", "-p", "-f", "-", "-C", str(cluster)], text=template)
        _give_identity(cluster)
        # As initdb does it: one call instead of a thousand.
        postgres.run(cluster, [sync_command, "-f", str(cluster)])
    except Exception as error:
        # A new folder is made whatever is wrong, such as a full disk that the migrations of the template meet.
        _log.info("a new folder is made without a template", extra={"error": repr(error)})
        return False
    return True


def _opened_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is to be ignored (XDG Base Directory Specification).
    folder = (cache if cache.is_absolute() else Path("~/.cache").expanduser()) / "herdbook"
    if not folder.is_absolute():
        raise _Unusable("the user has no home folder")
    if os.geteuid() == 0 and next(each for each in (folder, *folder.parents) if each.exists()).stat().st_uid != 0:
        # `sudo` may leave the home of its user, whose programs could not write in a cache folder that root has made.
        raise _Unusable(f"{folder} would belong to root in a folder of another user")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    # A cluster has functions that run with all rights, so nobody else may write one for us.
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise _Unusable(f"{folder} belongs to another user, or others may write in it")
    return folder


def _found(folder: Path, key: str) -> Path | None:
    """Return the template, unless there is none. Remove a damaged one."""
    for template in folder.glob(f"{key}-*.tar"):
        if template.stem == f"{key}-{_sum_of(template)}":
            # The file system may be read-only, as in an image of a container. Nobody removes former templates there either.
            with contextlib.suppress(OSError):
                os.utime(template)
            return template
        _log.warning("a damaged template of clusters is removed", extra={"file": str(template)})
        template.unlink(missing_ok=True)
    return None


def _made(folder: Path, key: str) -> Path | None:
    """Make the template and return it; None if it is not yet wanted, or another process is making it."""
    wanted = folder / f"{key}.wanted"
    if not wanted.exists():
        wanted.touch(mode=0o600)
        return None
    now = time.time()
    # A time that is farther away is of a clock that was wrong.
    if now < wanted.stat().st_mtime <= now + _PAUSE_SECONDS:
        return None
    with _alone(folder / "making.lock") as is_alone:
        if not is_alone:
            return None
        making = folder / "making"
        shutil.rmtree(making, ignore_errors=True)  # left by a process that was killed
        try:
            postgres = EmbeddedPostgres(making / "data", connections=10)
            try:
                _fill(postgres.start())
            finally:
                postgres.stop()
            cluster = making / "data/postgres"
            _remove_identity(cluster)
            draft = making / "template.tar"
            _pack(cluster, draft)
            template = folder / f"{key}-{_sum_of(draft)}.tar"
            draft.replace(template)
            sync(folder)
        except Exception:
            os.utime(wanted, (now, now + _PAUSE_SECONDS))
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    _remove_former(folder, template)
    return template


def _fill(database_url: str) -> None:
    # Imported here, because a server that finds a template imports them beside its copy.
    import asyncio  # noqa: PLC0415

    from herdbook.first_start import migrate_without_secrets  # noqa: PLC0415

    asyncio.run(migrate_without_secrets(database_url))


def _remove_former(folder: Path, template: Path) -> None:
    others = sorted(set(folder.glob("*-*.tar")) - {template}, key=lambda each: each.stat().st_mtime, reverse=True)
    for former in others[_KEPT:]:
        former.unlink(missing_ok=True)
    for wanted in folder.glob("*.wanted"):
        if not any(each.name.startswith(wanted.stem) for each in (template, *others[:_KEPT])):
            wanted.unlink(missing_ok=True)


def _key() -> str:
    """Return the name of all that decides the content of a new cluster."""
    of = hashlib.blake2b(digest_size=16)
    programs = Path(binary("initdb")).parent
    catalogs = programs.parent / "share"
    words = [platform.machine(), *INITDB]
    for program in (programs / "initdb", programs / "postgres"):
        status = program.stat()
        words += [program.name, str(status.st_size), str(status.st_mtime_ns)]
    of.update("\0".join(words).encode())
    ours = Path(__file__)
    # The schema has all that the migrations make, and their names are in the template.
    schema = ours.with_name("db")
    migrations = sorted(schema.glob("migrations/*.sql"))
    by_us = [ours, ours.with_name("first_start.py"), schema / "migrate.py", schema / "schema.sql", *migrations]
    for file in [catalogs / "postgres.bki", *by_us]:
        of.update(file.name.encode() + b"\0" + file.read_bytes())
    return of.hexdigest()


def _sum_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextlib.contextmanager
def _alone(lock: Path) -> Generator[bool]:
    """Yield whether this process alone has the lock, without waiting."""
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _pack(cluster: Path, draft: Path) -> None:
    """Write the files of a cluster into one file, without their owner, and wait for the disk."""

    def packed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(member.name).name in _NOT_COPIED:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(cluster, arcname=".", filter=packed)
        file.flush()
        os.fsync(file.fileno())


# The identity of a cluster


class _Control(NamedTuple):
    """The control file of a cluster: its bytes, and where its checksum stands, behind everything that it covers."""

    content: bytearray
    checksum_at: int

    @property
    def system(self) -> bytes:
        """The number by which PostgreSQL tells clusters, and their WAL and backups, from each other."""
        return bytes(self.content[:8])

    def replace(self, old: bytes, new: bytes) -> None:
        place = self.content.find(old, 0, self.checksum_at)
        if place < 0 or len(old) != len(new):
            raise _Unusable("the control file of the cluster has another form")
        self.content[place : place + len(new)] = new


def _control(cluster: Path) -> _Control:
    content = bytearray((cluster / _CONTROL).read_bytes())
    register = 0xFFFFFFFF
    for place, byte in enumerate(content[:_MAX_CONTROL]):
        # The file has its own byte order.
        if place > 64 and place % 4 == 0 and int.from_bytes(content[place : place + 4], sys.byteorder) == register ^ 0xFFFFFFFF:
            return _Control(content, place)
        register = _crc32c(register, byte)
    raise _Unusable("the control file of the cluster has no checksum")


def _crc32c(register: int, byte: int) -> int:
    register ^= byte
    for _ in range(8):
        register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register


def _write(cluster: Path, control: _Control, former_system: bytes) -> None:
    """Write the control file with its checksum, and its number into the WAL, in whose pages no checksum covers it."""
    register = 0xFFFFFFFF
    for byte in control.content[: control.checksum_at]:
        register = _crc32c(register, byte)
    checksum = (register ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    control.content[control.checksum_at : control.checksum_at + 4] = checksum
    _overwrite(cluster / _CONTROL, 0, bytes(control.content))
    for segment in (cluster / "pg_wal").iterdir():
        if segment.is_file():
            with segment.open("rb") as file:
                file.seek(_SYSTEM_IN_WAL)
                is_of_system = file.read(8) == former_system
            if is_of_system:
                _overwrite(segment, _SYSTEM_IN_WAL, control.system)


def _overwrite(file: Path, place: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(content)


def _remove_identity(cluster: Path) -> None:
    control = _control(cluster)
    system = control.system
    control.replace(control.system, _NO_SYSTEM)
    control.replace(_nonce(cluster), _NO_NONCE)
    _write(cluster, control, system)


def _nonce(cluster: Path) -> bytes:
    """Return the nonce of a cluster that was shut down."""
    command = [binary("pg_controldata"), "-D", str(cluster)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment()).stdout
    found = _SHUT_DOWN.search(said)
    if found is None:
        raise _Unusable("the cluster of the template was not shut down, or its control file has another form")
    return bytes.fromhex(found[1])


def _give_identity(cluster: Path) -> None:
    """Give a copy a number like those of initdb, from the time, and a nonce."""
    control = _control(cluster)
    number = int(time.time()) << 32 | secrets.randbits(32)
    control.replace(_NO_SYSTEM, number.to_bytes(8, sys.byteorder))
    control.replace(_NO_NONCE, secrets.token_bytes(32))
    _write(cluster, control, _NO_SYSTEM)
