"""Entity tags."""

import pytest

from herdbook.http.etag import etag, if_version, none_match, variant_of


async def test_a_tag_is_the_version_in_quotes() -> None:
    """An entity tag is the version in quotes (RFC 9110, section 8.8.3)."""
    assert etag(1842) == b'"1842"'


IF_MATCH: list[tuple[bytes | None, set[int] | None]] = [
    (None, None),
    (b"*", None),
    (b" * ", None),
    (b"", set()),
    (b" , ,", set()),
    (b'"1842"', {1842}),
    (b' "1842" ', {1842}),
    (b'"1", "2","3"', {1, 2, 3}),
    (b',"1",,"2" , ', {1, 2}),
    (b'W/"1"', set()),
    (b'W/"1", "2"', {2}),
    (b'"9223372036854775807"', {2**63 - 1}),
    (b'"' + b"9" * 5000 + b'"', set()),
    (b'"01"', set()),
    (b'"0"', set()),
    (b'"-1"', set()),
    (b'"1.0"', set()),
    (b'"1_0"', set()),
    (b'"\xb2"', set()),
    (b'""', set()),
    ('"\u0661"'.encode(), set()),
    (b'"a,b", "7"', {7}),
    *((b'"428%s"' % suffix, {428}) for suffix in (b"-gzip", b"--gzip", b";gzip", b"-br", b"-zstd", b"-deflate")),
    *((b'"428%s"' % suffix, set()) for suffix in (b"-", b"-x", b"-gzip-gzip", b"gzip", b"-GZIP", b"---gzip", b"-gzip1")),
    (b'W/"428-gzip"', set()),
    (b'"428.0123456789abcdef", "7.0123456789abcdef-gzip"', {428, 7}),
    *((b'"428%s"' % suffix, set()) for suffix in (b".", b".0123456789abcde", b".0123456789abcdef0", b".0123456789ABCDEF")),
    (b'"*"', set()),
]
MALFORMED = [
    *(b"1842", b'"1842', b'1842"', b"'\"1842\"'", b'"1" "2"', b'"1"2', b'w/"1"', b'W/ "1"', b"W/1", b"\xff", b'"1", *', b"**"),
    *(b'" 1"', b'"1";q=1', b'"1"\x0c', b" " * 60_000 + b"x", b'"' * 60_001, b", " * 30_000 + b"x"),
]


@pytest.mark.parametrize(("header", "versions"), IF_MATCH)
async def test_if_match(header: bytes | None, versions: set[int] | None) -> None:
    """Strong tags name versions exactly as they were issued; `*` or no header matches any version."""
    assert if_version(header, None) == versions


@pytest.mark.parametrize("header", MALFORMED)
async def test_what_is_no_list_of_tags_names_no_version(header: bytes) -> None:
    """A malformed list of tags names no version, in either header."""
    assert if_version(header, None) == set()
    assert none_match(header, 1842)


NONE_MATCH: list[tuple[bytes | None, bool]] = [
    (None, True),
    (b"*", False),
    (b'"1842"', False),
    (b'W/"1842"', False),
    (b'"1", W/"1842"', False),
    (b'"01842"', True),
    (b'"1843"', True),
    (b'"other"', True),
    (b"", True),
]


@pytest.mark.parametrize(("header", "passes"), NONE_MATCH)
async def test_none_match(header: bytes | None, passes: bool) -> None:  # noqa: FBT001
    """If-None-Match compares weakly, and `*` matches any version."""
    assert none_match(header, 1842) == passes


@pytest.mark.parametrize(("header", "passes"), NONE_MATCH)
async def test_none_match_of_a_write(header: bytes | None, passes: bool) -> None:  # noqa: FBT001
    """A write does not overwrite a version that If-None-Match names."""
    versions = if_version(None, header)

    assert (versions is None or 1842 in versions) == passes


async def test_both_have_to_hold() -> None:
    """If-Match selects versions, and If-None-Match excludes some of them."""
    assert if_version(b'"1", "2"', b'"2"') == {1}
    assert if_version(b'"1"', b"*") == set()


async def test_nothing_there_is_no_version() -> None:
    """`If-None-Match: *` allows creation only."""
    versions = if_version(None, b"*")

    assert versions is not None
    assert None in versions


async def test_variants_of_a_version_are_told_apart() -> None:
    """If-None-Match excludes only the answer that it names among those of one version; a write takes any of them."""
    tag = etag(7, variant_of(b"{}"))

    assert not none_match(tag, 7, variant_of(b"{}"))
    assert none_match(tag, 7, variant_of(b"[]"))
    assert none_match(tag, 7)
    assert none_match(b'"7"', 7, variant_of(b"{}"))
    assert if_version(tag, None) == {7}
