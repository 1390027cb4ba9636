"""Entity tags: an object's version in quotes (RFC 9110, section 8.8.3)."""

import re
from typing import Final

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
# A version as `etag` spells it: a tag is compared character by character, and no longer than a `bigint`.
_VERSION: Final = re.compile("[1-9][0-9]{0,18}")


def etag(version: int) -> bytes:
    """Return the entity tag of a version."""
    return b'"%d"' % version


def if_match(header: bytes | None) -> frozenset[int] | None:
    """Return the versions that If-Match names, None where any will do.

    The comparison is the strong one (RFC 9110, section 13.1.1), so weak tags, and what is no tag of ours, match nothing.
    """
    if header is None or header.strip() == b"*":
        return None
    tags = _TAG.findall(header.decode("latin-1"))
    return frozenset(int(tag) for weak, tag in tags if not weak and _VERSION.fullmatch(tag))


def none_match(header: bytes | None, version: int) -> bool:
    """Whether If-None-Match lets a read through: it names neither this version nor any (RFC 9110, section 13.1.2)."""
    if header is None:
        return True
    if header.strip() == b"*":
        return False
    return all(tag != str(version) for _, tag in _TAG.findall(header.decode("latin-1")))
