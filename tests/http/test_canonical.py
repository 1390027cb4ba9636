"""The content of a request that is sent again with its Idempotency-Key: spaces and the order of members do not matter."""

import json
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.http.canonical import canonical
from herdbook.turns import finished
from tests.cast import Person, Thing

CONTACTS: Final = "/api/v2/contacts"
HEADERS: Final = {"Content-Type": "application/json", "Idempotency-Key": "a key"}
FIRST: Final = b'{"first_name":"Ada","emails":[{"email":"ada@engine.test","is_primary":true}],"description":"Caf\\u00e9"}'
AGAIN: Final = [
    '{ "description": "Café",\n "emails": [ {"is_primary": true, "email": "ada@engine.test"} ], "first_name": "Ada" }'.encode(),
    b'\xef\xbb\xbf{"emails":[{"email":"ada@engine.test","is_primary":true}],"first_name":"Ada","description":"Caf\\u00E9"}\r\n',
]

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@pytest.mark.parametrize("again", AGAIN, ids=["spaces", "byte order mark"])
async def test_the_same_content_is_the_same_request(alice: Person, again: bytes) -> None:
    """A retry that was serialised anew, with members in another order, gets the first answer."""
    first = await alice.post(CONTACTS, content=FIRST, headers=HEADERS)
    second = await alice.post(CONTACTS, content=again, headers=HEADERS)

    assert (first.status_code, second.status_code) == (201, 201), first.text
    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    "other",
    [
        FIRST.replace(b"Ada", b"Eda"),
        FIRST.replace(b"true", b"false"),
        FIRST.replace(b'"description"', b'"last_name"'),
        FIRST.replace(b"}]", b'},{"email":"b@engine.test"}]'),
    ],
)
async def test_another_content_is_another_request(alice: Person, other: bytes) -> None:
    """A request with other values, members or items is refused with the key of the first."""
    await alice.post(CONTACTS, content=FIRST, headers=HEADERS)
    response = await alice.post(CONTACTS, content=other, headers=HEADERS)

    assert response.status_code == 422
    assert response.json()["type"].endswith("/idempotency_key_reused")


async def test_the_order_of_items_matters(alice: Person, ada: Thing) -> None:
    """Lists are not sorted: their order has a meaning."""
    one = {"emails": [{"email": "a@engine.test"}, {"email": "b@engine.test"}]}
    other = {"emails": one["emails"][::-1]}

    assert (await alice.patch(ada.url, json=one, headers={"Idempotency-Key": "k"})).status_code == 200
    assert (await alice.patch(ada.url, json=other, headers={"Idempotency-Key": "k"})).status_code == 422


async def test_a_long_bulk_is_compared_so_too(alice: Person) -> None:
    """A bulk of a megabyte is the same request with members in another order."""
    operations = [{"action": "create", "contact": {"first_name": f"Ada {n}", "description": "x" * 250}} for n in range(1000)]
    turned = [dict(reversed(each.items())) for each in operations]
    bulk = "/api/herdbook/contacts/bulk"
    first = await alice.post(bulk, content=json.dumps({"atomic": True, "operations": operations * 1}), headers=HEADERS)
    second = await alice.post(bulk, content=json.dumps({"operations": turned, "atomic": True}, indent=9), headers=HEADERS)

    assert first.status_code == second.status_code == 200
    assert second.content == first.content


@given(documents, st.sampled_from([None, 1, 7]))
def test_the_canonical_form_is_one(document: Any, indent: int | None) -> None:
    """Each document has one form, whatever its spaces and the order of its members."""
    turned = _turned(document)

    assert finished(canonical(json.dumps(turned, indent=indent).encode())) == finished(canonical(json.dumps(document).encode()))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9])
def test_a_long_document_has_one_form_too(depth: int) -> None:
    """The parts of a long document are brought into their form one by one, in steps, and it keeps what it says."""
    part: Any = [{"b": "x" * 100_000, "a": n} for n in range(30)]
    for _ in range(depth - 1):
        members: dict[str, Any] = {"z": part, "a": [1, {}]}
        part = members
    forms = [list(_steps(json.dumps(each, indent=indent).encode())) for each, indent in ((part, None), (_turned(part), None))]

    assert min(map(len, forms)) > 2 or depth > 3
    assert depth > 3 or forms[0][-1] == forms[1][-1]


@pytest.mark.parametrize(
    "document",
    [{"b": "ü" * 100_000, "a": [1, 2.5]}, ["x" * 300_000, {"a": {"b": ["y" * 270_000]}}], "ü" * 300_000],
)
def test_the_form_is_that_of_the_whole(document: Any) -> None:
    """Parts, steps and escapes leave no trace in the form of a long document."""
    form = msgspec.json.Encoder(order="sorted").encode(document)

    for body in (json.dumps(document, indent=60), json.dumps(document, ensure_ascii=False)):
        assert finished(canonical(body.encode())) == form


@pytest.mark.parametrize(("one", "same"), [("1", "1.0"), ("[-0.0]", "[0]"), ("12e1", "120"), ('{"a": 2.50}', '{"a": 2.5}')])
def test_a_number_has_one_form(one: str, same: str) -> None:
    """Programs write whole numbers with and without a fraction."""
    assert finished(canonical(one.encode())) == finished(canonical(same.encode()))


async def test_no_body_is_an_empty_object(alice: Person, ada: Thing) -> None:
    """No body says the same as `{}`, also when it is sent again."""
    first = await alice.patch(ada.url, headers=HEADERS)
    second = await alice.patch(ada.url, content=b"{}", headers=HEADERS)

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["Idempotency-Replayed"] == "true"


def _steps(body: bytes) -> Any:
    steps = canonical(body)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            yield ended.value
            return
        yield b""


def _turned(document: Any) -> Any:
    match document:
        case dict():
            members = cast("dict[str, Any]", document)
            return {name: _turned(value) for name, value in reversed(members.items())}
        case list():
            return [_turned(item) for item in cast("list[Any]", document)]
        case _:
            return document
