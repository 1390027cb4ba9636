"""Identifiers: ULIDs inside; a prefix and Crockford's base32 outside."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook import ids

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

uuids = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


@pytest.mark.parametrize(
    ("ulid", "number"),
    [
        ("00000000000000000000000000", 0),
        ("00000000000000000000000001", 1),
        ("0000000000000000000000000Z", 31),
        ("00000000000000000000000010", 32),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 2**128 - 1),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 0x01563E3AB5D3D6764C61EFB99302BD5B),
    ],
)
async def test_known_identifiers(ulid: str, number: int) -> None:
    """An identifier is the ULID of its bits (https://github.com/ulid/spec)."""
    assert ids.encoded("cnt_", UUID(int=number)) == f"cnt_{ulid}"
    assert ids.decoded("cnt_", f"cnt_{ulid}") == UUID(int=number)


async def test_the_first_ten_characters_are_the_time() -> None:
    """The first ten characters encode the time, as in the specification's example."""
    identifier = UUID(int=1_469_918_176_385 << 80)

    assert ids.encoded("", identifier) == "01ARYZ6S41" + "0" * 16


@given(identifier=uuids)
def test_an_identifier_is_crockfords_base32(identifier: UUID) -> None:
    """An identifier has 26 characters of five bits each, the highest bits first."""
    places = range(25, -1, -1)
    expected = "".join(CROCKFORD[identifier.int >> 5 * place & 31] for place in places)

    assert ids.encoded("cnt_", identifier) == "cnt_" + expected


@given(identifier=uuids)
def test_an_identifier_comes_back(identifier: UUID) -> None:
    """Encoding and decoding an identifier returns the same one."""
    assert ids.decoded("cmp_", ids.encoded("cmp_", identifier)) == identifier


@given(text=st.text(alphabet=CROCKFORD + "abzIiLlOoUu_-+ \n٣", min_size=26, max_size=26))
def test_an_identifier_has_one_spelling(text: str) -> None:
    """Text that decodes is spelled exactly as its id is encoded."""
    decoded = ids.decoded("cnt_", f"cnt_{text}")

    assert decoded is None or ids.encoded("cnt_", decoded) == f"cnt_{text}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "cnt_", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "cmp_01ARZ3NDEKTSV4RRFFQ69G5FAV", "CNT_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        *("cnt_01ARZ3NDEKTSV4RRFFQ69G5FA", "cnt_01ARZ3NDEKTSV4RRFFQ69G5FAVV", "cnt_80000000000000000000000000"),
        *("cnt_01arz3ndektsv4rrffq69g5fav", "cnt_01ARZ3NDEKTSV4RRFFQ69G5FAI", "cnt_01ARZ3NDEKTSV4RRFFQ69G5FAU"),
        *("cnt_0_ARZ3NDEKTSV4RRFFQ69G5FAV", "cnt_+1ARZ3NDEKTSV4RRFFQ69G5FAV", "cnt_ 1ARZ3NDEKTSV4RRFFQ69G5FAV"),
        *("cnt_01ARZ3NDEKTSV4RRFFQ69G5FA\n", "cnt_01ARZ3NDEKTSV4RRFFQ69G5FA٣", "cnt_0xARZ3NDEKTSV4RRFFQ69G5FAV"),
    ],
)
async def test_what_is_no_identifier(text: str) -> None:
    """A wrong prefix or length, a letter that Crockford omits, and more than 128 bits are refused."""
    assert ids.decoded("cnt_", text) is None


async def test_new_identifiers_differ_and_sort_by_age() -> None:
    """New identifiers are unique, and one of a later millisecond sorts later."""
    identifiers = [ids.new_id() for _ in range(5000)]
    times = [identifier.int >> 80 for identifier in identifiers]

    assert len(set(identifiers)) == 5000
    assert times == sorted(times)
    assert times[0] > 1_700_000_000_000
