"""Bodies: what is read as JSON, and what is refused before anybody looks at fields."""

from collections.abc import AsyncGenerator

import pytest

from tests.cast import Person, Stored, Thing, faults

JSON = {"Content-Type": "application/json"}
LIMIT = 8_388_608


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"}", b" ", b"{}{}", b'{"first_name": "Ada",}', b"{'first_name': 'Ada'}", b"first_name=Ada", b"\x00"),
        *(b'{"first_name": NaN}', b'{"first_name": 1e999}', b'{"first_name": "\n"}', b"\xef\xbb\xbf{}", b'{"first_name": "A'),
        *(b'{"first_name": "\xff"}', b'{"\xff": 1}', b'{"first_name": "\xed\xa0\x80"}', '{"first_name": "Ä"}'.encode("utf-16")),
        *(b'{"first_name": "\\ud800"}', b'{"first_name": "\\udc00\\ud800"}', b'{"first_name": "\\x"}'),
    ],
)
async def test_what_is_no_json_is_refused(alice: Person, ada: Thing, stored: Stored, body: bytes) -> None:
    """Malformed JSON, bytes that are not UTF-8, and surrogates without their other half, are all no JSON."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.status_code == 422
    assert faults(response) == [("", "invalid_json")]
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"first_name":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 50_000],
)
async def test_deep_nesting_is_refused(alice: Person, ada: Thing, body: bytes) -> None:
    """A body that is nested without end is refused like any other, and does not fail the server."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.status_code == 422
    assert faults(response) == [("", "invalid_json")]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", "an array"),
        (b'[{"first_name": "Ada"}]', "an array"),
        (b"null", "null"),
        (b'"Ada"', "a string"),
        (b"5", "a number"),
        (b"true", "true or false"),
    ],
)
async def test_what_is_no_object_is_refused(alice: Person, ada: Thing, body: bytes, kind: str) -> None:
    """A body is an object; the refusal says what it was instead."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.status_code == 422
    assert faults(response) == [("", "invalid_type")]
    assert f"not {kind}" in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"first_name": 1, "first_name": "Ada"}',
        b'{"first_name": "", "first_name": "Ada"}',
        b'{"emails": [{"email": 1, "email": "a@x.test"}]}',
    ],
)
async def test_a_mistake_does_not_hide_behind_its_namesake(alice: Person, ada: Thing, body: bytes) -> None:
    """Of two members with one name, a good one does not excuse a bad one."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.status_code == 422
    assert faults(response) == [("", "duplicate")]


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'),
        "application/json;charset=utf8",
        *("application/merge-patch+json", "application/vnd.api+json; version=1", "application/json; q=1"),
    ],
)
async def test_json_has_many_names(alice: Person, ada: Thing, content_type: str) -> None:
    """What is declared as JSON in UTF-8 is taken as such."""
    response = await alice.patch(ada.url, content=b'{"first_name": "Augusta"}', headers={"Content-Type": content_type})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "", "*/*"),
        *("application/json; charset=iso-8859-1", "application/json;charset=utf-16", "application/jsonp"),
    ],
)
async def test_what_is_declared_as_something_else_is_refused(alice: Person, ada: Thing, content_type: str) -> None:
    """415 goes before 422: what is no JSON is not read as such."""
    response = await alice.patch(ada.url, content=b"{", headers={"Content-Type": content_type})

    assert response.status_code == 415
    assert response.json()["type"].endswith("/unsupported_media_type")


async def test_no_declaration_is_taken_as_json(alice: Person, ada: Thing) -> None:
    """A client that does not say what it sends is understood."""
    response = await alice.patch(ada.url, content=b'{"first_name": "Augusta"}')

    assert response.status_code == 200


async def test_of_no_body_no_declaration_matters(alice: Person, ada: Thing) -> None:
    """There is nothing that could be something else than JSON."""
    response = await alice.patch(ada.url, headers={"Content-Type": "text/plain"})

    assert response.status_code == 200


async def test_a_body_may_be_as_large_as_the_limit(alice: Person, ada: Thing) -> None:
    """White space counts, and a body of the limit's size is read."""
    response = await alice.patch(ada.url, content=b"{}".ljust(LIMIT), headers=JSON)

    assert response.status_code == 200


async def test_a_body_that_says_it_is_too_large_is_refused(alice: Person, ada: Thing) -> None:
    """One byte more is too many."""
    response = await alice.patch(ada.url, content=b"{}".ljust(LIMIT + 1), headers=JSON)

    assert response.status_code == 413
    assert response.json()["type"].endswith("/too_large")


async def test_a_body_that_turns_out_too_large_is_refused(alice: Person, ada: Thing) -> None:
    """A body whose size is not declared is counted as it comes."""

    async def body() -> AsyncGenerator[bytes]:
        for _ in range(17):
            yield b" " * (LIMIT // 16)

    response = await alice.patch(ada.url, content=body(), headers=JSON)

    assert response.status_code == 413


async def test_scope_comes_before_the_body(bob: Person, ada: Thing) -> None:
    """Of somebody who may not write, no body is read: 403 goes before 413 and 415."""
    large = await bob.patch(ada.url, content=b"x" * (LIMIT + 1), headers=JSON)
    other = await bob.patch(ada.url, content=b"x", headers={"Content-Type": "text/plain"})

    assert (large.status_code, other.status_code) == (403, 403)


async def test_a_body_of_nothing_but_mistakes_is_answered_shortly(alice: Person, ada: Thing) -> None:
    """A hundred mistakes are told, and no more, whether they are fields or items."""
    fields = await alice.patch(ada.url, json={f"first_nam{n}": 1 for n in range(20_000)})
    items = await alice.patch(ada.url, json={"emails": [{"emai": n} for n in range(20_000)]})

    assert (len(faults(fields)), len(faults(items))) == (100, 100)
    assert faults(items)[0] == ("emails", "too_long")
