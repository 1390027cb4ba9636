"""Entity tags: an object's version in quotes, and the variant of the answer behind it if it has several (RFC 9110, 8.8.3)."""

import hashlib
import re
from typing import Final, NamedTuple, cast

# One tag of a list with its separator; an empty element is allowed (RFC 9110, section 5.6.1). Possessive quantifiers make
# the match linear.
_ITEM: Final = re.compile(r'[ \t]*+(?:(W/)?"([!#-~\x80-\xff]*+)"[ \t]*+)?+(?:,|\Z)')
# A version exactly as `etag` writes it: tags are compared by character, and a version fits in a `bigint`. Proxies that compress
# answers append the coding to the tag.
_VERSION: Final = re.compile(r"([1-9][0-9]{0,18})(?:\.([0-9a-f]{16}))?(?:(?:-|--|;)(?:gzip|br|zstd|deflate))?")
_WEAK_TAG: Final = (
    "`If-Match` holds a weak tag (`W/`), which never matches (RFC 9110, section 13.1.1). Send the tag without `W/`, and tell "
    "the proxy that made it weak to leave tags alone."
)
_NOT_THERE: Final = cast("frozenset[int]", frozenset({None}))


class AllBut(frozenset[int]):
    """All versions except these."""

    def __contains__(self, version: object) -> bool:
        """Whether the version is not one of these."""
        return not super().__contains__(version)


class _Named(NamedTuple):
    """A tag of a header: `W/` if it is weak, the version, and the variant of an answer, if it names one."""

    weak: str
    version: int
    variant: str


def etag(version: int, variant: str = "") -> bytes:
    """Return the entity tag of a version, or of one of several variants of the answer that shows it."""
    return f'"{version}.{variant}"'.encode() if variant else b'"%d"' % version


def variant_of(body: bytes) -> str:
    """Return the variant that an answer is, if its version does not tell all of its content."""
    return hashlib.sha256(body).hexdigest()[:16]


def if_version(match: bytes | None, none_match: bytes | None) -> frozenset[int] | None:
    """Return the versions that If-Match and If-None-Match allow; None allows any.

    A header that is not a list of entity tags names no version, so such an If-Match is never met. In the set, None stands for
    an object that does not exist yet. If-Match is compared strongly (RFC 9110, section 13.1.1), so weak tags and foreign tags
    match nothing.
    """
    named = None
    if match is not None and match.strip() != b"*":
        named = frozenset(each.version for each in _tags(match) or () if not each.weak)
    if none_match is None:
        return named
    if none_match.strip() == b"*":
        return _NOT_THERE if named is None else frozenset()
    refused = {each.version for each in _tags(none_match) or ()}
    return AllBut(refused) if named is None else named - refused


def none_match(header: bytes | None, version: int, variant: str = "") -> bool:
    """Whether If-None-Match requires a full answer: it names neither this answer nor `*` (RFC 9110, section 13.1.2)."""
    if header is None:
        return True
    return header.strip() != b"*" and all((each.version, each.variant) != (version, variant) for each in _tags(header) or ())


def precondition_fault(version: int, match: bytes | None, none_match: bytes | None) -> str | None:
    """Return the fault of the header that fails for an object's version, and the remedy.

    None stands for an If-Match that names another version.
    """
    allowed = if_version(match, None)
    if match is not None and allowed is not None and version not in allowed:
        if _tags(match) is None:
            return (
                "`If-Match` is not a list of ETags. Send an ETag as it was returned, in double quotes; the current one is "
                f'`"{version}"`.'
            )
        return _WEAK_TAG if b"W/" in match else None
    if none_match is not None and none_match.strip() == b"*":
        return f'`If-None-Match: *` excludes every object that exists, and the ETag of this one is `"{version}"`. Leave it out.'
    return f'`If-None-Match` excludes the current version, `"{version}"`. Read the object again, then decide.'


def _tags(header: bytes) -> list[_Named] | None:
    """Return the tags of a list that name a version, or None if the header is no such list."""
    text = header.decode("latin-1")
    found: list[_Named] = []
    place = 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None:
            return None
        if item[2] is not None and (version := _VERSION.fullmatch(item[2])):
            found.append(_Named(item[1] or "", int(version[1]), version[2] or ""))
        place = item.end()
    return found
