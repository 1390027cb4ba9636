"""Entity tags."""

import pytest

from herdbook.http.etag import etag, if_match, none_match


async def test_a_tag_is_the_version_in_quotes() -> None:
    """RFC 9110, section 8.8.3."""
    assert etag(1842) == b'"1842"'


IF_MATCH: list[tuple[bytes | None, set[int] | None]] = [
    (None, None),
    (b"*", None),
    (b" * ", None),
    (b"", set()),
    (b'"1842"', {1842}),
    (b'"1", "2","3"', {1, 2, 3}),
    (b'W/"1"', set()),
    (b'W/"1", "2"', {2}),
    (b'"9223372036854775807"', {2**63 - 1}),
    (b'"' + b"9" * 5000 + b'"', set()),
    (b'"01"', set()),
    (b'"0"', set()),
    (b'"-1"', set()),
    (b'"1.0"', set()),
    (b'" 1"', set()),
    (b'"1_0"', set()),
    (b'"\xb2"', set()),
    ('"\u0661"'.encode(), set()),
    (b"1842", set()),
    (b'"1842', set()),
    (b'"a,b", "7"', {7}),
    (b'"*"', set()),
    (b"\xff", set()),
]


@pytest.mark.parametrize(("header", "versions"), IF_MATCH)
async def test_if_match(header: bytes | None, versions: set[int] | None) -> None:
    """Strong tags of ours name versions, as they were given; `*` and nothing at all fit any."""
    assert if_match(header) == versions


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        (None, True),
        (b"*", False),
        (b'"1842"', False),
        (b'W/"1842"', False),
        (b'"1", W/"1842"', False),
        (b'"01842"', True),
        (b'"1843"', True),
        (b"1842", True),
        (b'"1842', True),
        (b"", True),
        (b"\xff", True),
    ],
)
async def test_none_match(header: bytes | None, passes: bool) -> None:  # noqa: FBT001
    """The comparison is the weak one, and `*` names any version."""
    assert none_match(header, 1842) == passes
