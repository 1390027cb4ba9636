"""Entity tags: an object's version in quotes (RFC 9110, section 8.8.3)."""

import re
from typing import Final, cast

from herdbook.errors import FieldError, InvalidHeader

# One tag of a list and what ends it, or nothing between two commas (RFC 9110, section 5.6.1). No byte is looked at twice.
_ITEM: Final = re.compile(r'[ \t]*+(?:(W/)?"([!#-~\x80-\xff]*+)"[ \t]*+)?+(?:,|\Z)')
# A version as `etag` spells it: a tag is compared character by character, and no longer than a `bigint`.
_VERSION: Final = re.compile("[1-9][0-9]{0,18}")
_NOT_THERE: Final = cast("frozenset[int]", frozenset({None}))


class AllBut(frozenset[int]):
    """All versions but these."""

    def __contains__(self, version: object) -> bool:
        """Whether it is none of these."""
        return not super().__contains__(version)


def etag(version: int) -> bytes:
    """Return the entity tag of a version."""
    return b'"%d"' % version


def if_version(match: bytes | None, none_match: bytes | None) -> frozenset[int] | None:
    """Return the versions that If-Match and If-None-Match let a request be about; None: any. Refusal: InvalidHeader.

    Among them, None stands for what is not there yet.
    If-Match is compared strongly (RFC 9110, section 13.1.1), so weak tags, and what is no tag of ours, match nothing.
    """
    named = None
    if match is not None and match.strip() != b"*":
        named = frozenset(version for weak, version in _versions("If-Match", match) if not weak)
    if none_match is None:
        return named
    if none_match.strip() == b"*":
        return _NOT_THERE if named is None else frozenset()
    refused = {version for _, version in _versions("If-None-Match", none_match)}
    return AllBut(refused) if named is None else named - refused


def none_match(header: bytes | None, version: int) -> bool:
    """Whether If-None-Match lets a read through: it names neither this version nor any (RFC 9110, section 13.1.2)."""
    allowed = if_version(None, header)
    return allowed is None or version in allowed


def _versions(name: str, header: bytes) -> list[tuple[str, int]]:
    text = header.decode("latin-1")
    found: list[tuple[str, int]] = []
    place = 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None:
            message = f'`{name}` is no list of entity tags. Send `*`, or tags as they were given, such as `"1842"`.'
            raise InvalidHeader([FieldError(name, "invalid_format", message)])
        if item[2] is not None and _VERSION.fullmatch(item[2]):
            found.append((item[1] or "", int(item[2])))
        place = item.end()
    return found
