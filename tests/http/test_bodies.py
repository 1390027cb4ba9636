"""Request bodies: how JSON is read, and what is refused before any field is checked."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncGenerator
from typing import Final

import pytest

from herdbook.bulk.model import BulkEnvelope
from herdbook.errors import Invalid, TooLarge
from herdbook.http.body import MAX_ARRAYS, MAX_COLONS, BodyReader
from herdbook.http.coding import unpacked
from herdbook.turns import finished
from tests.cast import Json, Person, Stored, Thing, faults

JSON = {"Content-Type": "application/json"}
LIMIT = 1_048_576
LARGE_LIMIT = 8_388_608
BULK = "/api/herdbook/contacts/bulk"


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"}", b" ", b"{}{}", b'{"first_name": "Ada",}', b"{'first_name': 'Ada'}", b"first_name=Ada", b"\x00"),
        *(b'{"first_name": NaN}', b'{"first_name": 1e999}', b'{"first_name": "\n"}', b'{"first_name": "A'),
        b"\xef\xbb\xbf" * 2 + b"{}",
        *(b'{"first_name": "\xff"}', b'{"\xff": 1}', b'{"first_name": "\xed\xa0\x80"}', '{"first_name": "Ä"}'.encode("utf-16")),
        *(b'{"first_name": "\\ud800"}', b'{"first_name": "\\udc00\\ud800"}', b'{"first_name": "\\x"}'),
    ],
)
async def test_what_is_no_json_is_refused(alice: Person, ada: Thing, stored: Stored, body: bytes) -> None:
    """Malformed JSON, bytes that are not UTF-8 and unpaired surrogates are refused as invalid JSON."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.status_code == 422
    assert faults(response) == [("", "invalid_json")]
    assert len(await stored.changes()) == 1


async def test_a_text_that_is_none_hides_no_other_fault(alice: Person) -> None:
    """In an array of texts, an item that is no text and one that is not allowed are told together."""
    asked = {"object_type": "change", "format": "csv", "types": [5, "person"]}
    response = await alice.post("/api/herdbook/exports", json=asked)

    assert faults(response) == [("types[0]", "invalid_type"), ("types", "invalid_choice")]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"first_name": "Ada",}', "trailing comma in object at byte 21. Correct it there."),
        (b'{"first_name": "Ada"', "it ends too early, at byte 20. Send all of it."),
        (b'{"first_name": "\xff"}', "it is not UTF-8. Send it in UTF-8."),
        (
            b'{"first_name": "\\ud800"}',
            "`\\ud800` at byte 16 is half of a surrogate pair, which is no character. Send both halves, or leave it out.",
        ),
        (b'{"a":' * 50_000, "it is nested too deeply. Send fewer levels."),
    ],
)
async def test_the_fault_of_what_is_no_json_is_named_once(alice: Person, ada: Thing, body: bytes, fault: str) -> None:
    """The refusal says once that the body is not JSON, what is wrong and where, and the remedy."""
    response = await alice.patch(ada.url, content=body, headers=JSON)

    assert response.json()["detail"] == f"The body is not JSON: {fault}"


@pytest.mark.parametrize(
    ("body", "owner"),
    [({"zzz": 1}, "The body"), ({"emails": [{"email": "ada@engine.test", "zzz": 1}]}, "`emails[0]`")],
)
async def test_an_unknown_field_is_shown_the_known_ones(alice: Person, ada: Thing, body: Json, owner: str) -> None:
    """A field that is like none is refused with the fields that its object takes."""
    response = await alice.patch(ada.url, json=body)

    assert f"`. {owner} takes `" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/api/v2/contacts", "/api/herdbook/changes"])
async def test_an_unknown_parameter_is_shown_the_known_ones(alice: Person, path: str) -> None:
    """A query parameter that is like none is refused with those that the operation takes, in lists and elsewhere."""
    response = await alice.get(path, params={"zzz": "1"})

    assert response.json()["detail"].startswith("There is no query parameter `zzz`. This operation takes `")


@pytest.mark.parametrize("path", ["/api/v2/contacts", "/api/herdbook/changes"])
@pytest.mark.parametrize("count", [100, 101, 300])
async def test_more_wrong_parameters_than_are_listed_are_told(alice: Person, path: str, count: int) -> None:
    """A hundred errors of a query string are listed; if there are more, the last one says so."""
    response = await alice.get(path, params={f"zzz{number}": "1" for number in range(count)})

    assert response.status_code == 400
    assert len(faults(response)) == 100
    assert [code for _, code in faults(response)].count("further_errors") == (count > 100)
    if count > 100:
        assert response.json()["errors"][-1]["message"].startswith("The query string has further errors")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"first_name":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 50_000],
)
async def test_deep_nesting_is_refused(alice: Person, ada: Thing, body: bytes) -> None:
    """A body of unlimited nesting is refused like any other, and does not crash the server."""
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
    """A body must be an object; the refusal names the type that was sent."""
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
    """A valid field does not excuse an invalid one of the same name."""
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
    """Every media type that means JSON in UTF-8 is accepted."""
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
    """A body with another media type is refused without being parsed: 415 precedes 422."""
    response = await alice.patch(ada.url, content=b"{", headers={"Content-Type": content_type})

    assert response.status_code == 415
    assert response.json()["type"].endswith("/unsupported_media_type")


async def test_no_declaration_is_taken_as_json(alice: Person, ada: Thing) -> None:
    """A body without a media type is read as JSON."""
    response = await alice.patch(ada.url, content=b'{"first_name": "Augusta"}')

    assert response.status_code == 200


async def test_of_no_body_no_declaration_matters(alice: Person, ada: Thing) -> None:
    """The media type of an empty body does not matter."""
    response = await alice.patch(ada.url, headers={"Content-Type": "text/plain"})

    assert response.status_code == 200


async def test_a_body_may_be_as_large_as_the_limit(alice: Person, ada: Thing) -> None:
    """A body of exactly the maximum size is accepted; white space counts."""
    response = await alice.patch(ada.url, content=b"{}".ljust(LIMIT), headers=JSON)

    assert response.status_code == 200


async def test_a_body_that_says_it_is_too_large_is_refused(alice: Person, ada: Thing) -> None:
    """A declared size of one byte over the maximum is refused."""
    response = await alice.patch(ada.url, content=b"{}".ljust(LIMIT + 1), headers=JSON)

    assert response.status_code == 413
    assert response.json()["type"].endswith("/too_large")


async def test_a_body_that_turns_out_too_large_is_refused(alice: Person, ada: Thing) -> None:
    """A body of undeclared size is counted as it arrives."""

    async def body() -> AsyncGenerator[bytes]:
        for _ in range(17):
            yield b" " * (LIMIT // 16)

    response = await alice.patch(ada.url, content=body(), headers=JSON)

    assert response.status_code == 413


async def test_scope_comes_before_the_body(bob: Person, ada: Thing) -> None:
    """The body of a caller without the scope is not read: 403 precedes 413 and 415."""
    large = await bob.patch(ada.url, content=b"x" * (LIMIT + 1), headers=JSON)
    other = await bob.patch(ada.url, content=b"x", headers={"Content-Type": "text/plain"})

    assert (large.status_code, other.status_code) == (403, 403)


async def test_a_body_of_nothing_but_mistakes_is_answered_shortly(alice: Person, ada: Thing) -> None:
    """A refusal lists a hundred errors at most, of fields and of items."""
    fields = await alice.patch(ada.url, json={f"first_nam{n}": 1 for n in range(20_000)})
    items = await alice.patch(ada.url, json={"emails": [{"emai": n} for n in range(20_000)]})

    assert (len(faults(fields)), len(faults(items))) == (100, 100)
    assert faults(items)[0] == ("emails", "too_long")


async def test_a_body_of_very_many_names_is_answered_shortly(alice: Person, ada: Thing) -> None:
    """A body with too many names is searched only for names that it may have."""
    names = b",".join(b'"%x":1' % n for n in range(MAX_COLONS))
    peaks = [
        await _peak(alice, ada, b'{"first_name":1,%s}' % names[: names.rindex(b",")]),
        await _peak(alice, ada, b'{"first_name":1,%s}' % names),
    ]

    assert peaks[0][0] == 100
    assert peaks[1][0] == 1
    assert peaks[1][1] < peaks[0][1] / 2


async def _peak(alice: Person, ada: Thing, body: bytes) -> tuple[int, int]:
    """Return how many mistakes are told of a body, and the most bytes that were held meanwhile."""
    body = body.ljust(300_000)
    tracemalloc.start()
    response = await alice.patch(ada.url, content=body, headers=JSON)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 422
    return len(faults(response)), most


@pytest.mark.parametrize("colon", [b":", b" : "])
async def test_an_array_that_comes_again_and_again_is_refused(alice: Person, colon: bytes) -> None:
    """Each would be counted by itself. Brackets within text are no arrays."""
    again = b",".join([b'"operations"%s[]' % colon] * (MAX_ARRAYS + 1))
    refused = await alice.post(BULK, content=b"{%s}" % again, headers=JSON)
    text = "[: [" * (MAX_ARRAYS + 1)
    contact: Json = {"first_name": text}
    create = {"action": "create", "contact": contact}
    taken = await alice.post(BULK, json={"operations": [create] * 5})

    assert faults(refused) == [("", "too_long")]
    assert "arrays" in refused.json()["errors"][0]["message"]
    assert taken.status_code == 200


async def test_some_bodies_may_be_large(alice: Person) -> None:
    """The bulk operation accepts larger bodies, because it carries many objects."""
    operation = b'{"operations":[{"action":"create","contact":{}}]}'
    whole = await alice.post(BULK, content=operation.ljust(LARGE_LIMIT), headers=JSON)
    more = await alice.post(BULK, content=operation.ljust(LARGE_LIMIT + 1), headers=JSON)

    assert (whole.status_code, more.status_code) == (200, 413)


_READER = BodyReader(BulkEnvelope)
_MANY = (LARGE_LIMIT // 16) * b'"operations":1,'


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        pytest.param(b'{"operations":[%s1]}' % (b"1," * 1000), 1, id="a short one"),
        pytest.param(b'{"operations":[%s1]}' % (b"1," * (LARGE_LIMIT // 2 - 20)), 3, id="too many items"),
        pytest.param(b'{%s"n":1}' % _MANY, 3, id="a field again and again"),
        pytest.param(b'{"%s":1}' % (b"n" * (LARGE_LIMIT - 10)), 3, id="a long name"),
        pytest.param(b'{"operations":"%s"}' % (b"n" * (LARGE_LIMIT - 20)), 3, id="a long text"),
    ],
)
def test_a_long_body_is_checked_in_steps(body: bytes, passes: int) -> None:
    """Others have their turn between the passes over a long body; the errors of a short one are listed in a second step."""
    steps = _READER.steps(body)
    for _ in range(passes):
        next(steps)
    with pytest.raises(Invalid):
        list(steps)


def test_a_short_valid_body_is_read_at_once() -> None:
    """A body of a usual size takes a single step."""
    with pytest.raises(StopIteration) as ended:
        next(_READER.steps(b'{"operations":[{}]}'))

    assert [bytes(operation) for operation in ended.value.value.operations] == [b"{}"]


@pytest.mark.parametrize("item", [b"1", b"{}", b"[]", b'""', b'{"action":"create","contact":{}}'])
async def test_an_array_without_end_is_not_made(alice: Person, item: bytes) -> None:
    """Items beyond the maximum are skipped without being decoded, so memory stays bounded."""
    items = b",".join([item] * (LARGE_LIMIT // (len(item) + 1) - 20))
    body = b'{"operations":[' + items + b"]}"
    tracemalloc.start()
    response = await alice.post(BULK, content=body, headers=JSON)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert response.status_code == 422
    assert faults(response) == [("operations", "too_long")]
    # The body exists a few times: in the test, in the client and in the server.
    assert most < 5 * LARGE_LIMIT


@pytest.mark.parametrize("field", ["emails", "phone_numbers"])
async def test_items_beyond_the_end_are_not_judged(alice: Person, ada: Thing, field: str) -> None:
    """An array that is too long is refused as such; only its first items are checked, however many follow."""
    items = await alice.patch(ada.url, content=b'{"%s":[%s]}' % (field.encode(), b",".join([b"[[]]"] * 200_000)), headers=JSON)

    assert faults(items)[0] == (field, "too_long")
    assert faults(items)[1:-1] == [(f"{field}[{n}]", "invalid_type") for n in range(98)]
    assert faults(items)[-1] == ("", "further_errors")


_MANY_FAULTS: Final[dict[str, tuple[str, str, Json, str]]] = {
    "members": ("POST", "v2/contacts", {f"first_nam{n}": 1 for n in range(150)}, ""),
    "members of a long body": ("POST", "v2/contacts", {f"first_nam{n}": "x" * 1000 for n in range(150)}, ""),
    "items": ("POST", "v2/contacts", {"emails": [{}] * 100, "phone_numbers": [{}] * 100}, ""),
    "members of one item": ("POST", "v2/contacts", {"emails": [{f"emai{n}": 1 for n in range(150)}]}, ""),
    "rules": ("POST", "v2/contacts", {"emails": [{"email": "x"}] * 100, "external_ids": ["x"] * 100}, ""),
    "values": ("POST", "v2/contacts", {"fields": {f"none{n}": 1 for n in range(150)}}, "fields"),
    "an operation": (
        *("POST", "herdbook/contacts/bulk"),
        {"atomic": True, "operations": [{"action": "create", "contact": {f"first_nam{n}": 1 for n in range(150)}}]},
        "operations[0].contact",
    ),
    "an operation and its contact": (
        *("POST", "herdbook/contacts/bulk"),
        {
            "atomic": True,
            "operations": [{"action": "create", **{f"i{n}": 1 for n in range(60)}, "contact": {f"n{n}": 1 for n in range(60)}}],
        },
        "operations[0]",
    ),
    "a company": ("POST", "v2/companies", {"domains": [{}] * 100, **{f"nam{n}": 1 for n in range(50)}}, ""),
}


@pytest.mark.parametrize(("method", "path", "body", "place"), _MANY_FAULTS.values(), ids=_MANY_FAULTS.keys())
async def test_a_list_of_errors_that_is_cut_says_so(alice: Person, method: str, path: str, body: Json, place: str) -> None:
    """If a body has more than a hundred errors, the last one listed says so and where, whichever part of the body has them."""
    refused = await alice.request(method, f"/api/{path}", json=body)

    assert (refused.status_code, len(faults(refused))) == (422, 100)
    assert faults(refused)[-1] == (place, "further_errors")
    assert [code for _, code in faults(refused)].count("further_errors") == 1


@pytest.mark.parametrize("length", [101, 1000, 60_000])
async def test_what_is_quoted_is_cut(alice: Person, ada: Thing, length: int) -> None:
    """A message quotes at most a hundred characters of a name, parameter, value or media type."""
    name = "n" * length
    header = name[:10_000]
    answers = [
        await alice.patch(ada.url, json={name: 1}),
        await alice.patch(ada.url, json={"emails": [{"email": "a@x.test", name: 1}]}),
        await alice.post(BULK, json={"operations": [{"action": "create", "contact": {name: 1}}]}),
        await alice.get(f"/api/v2/contacts?{header}=1"),
        await alice.get(f"/api/v2/contacts?{header}=1&{header}=2"),
        await alice.get(f"/api/herdbook/changes?{header}=1"),
        await alice.get(f"/api/herdbook/changes?types={header}"),
        await alice.patch(ada.url, content=b"{}", headers={"Content-Type": header}),
        await alice.patch(ada.url, content=b"{}", headers={"Content-Encoding": header}),
    ]

    for answer in answers:
        assert len(answer.content) < 4000
        assert "n" * 100 + "…" in answer.text
        assert "n" * 101 not in answer.text


async def test_a_query_of_nothing_but_mistakes_is_answered_shortly(alice: Person) -> None:
    """A refusal lists a hundred errors of a query at most."""
    answers = [
        await alice.get("/api/v2/contacts?" + "&".join(f"limi{n}=1" for n in range(5000))),
        await alice.get("/api/herdbook/changes?types=" + ",".join(["x"] * 20_000)),
    ]

    assert [len(faults(answer)) for answer in answers] == [100] * 2


async def test_a_bulk_of_nothing_but_mistakes_is_answered_shortly(alice: Person) -> None:
    """The errors of a bulk are listed up to a hundred, and then one for each operation."""
    operations = [{"action": "create", "contact": {f"first_nam{n}": 1 for n in range(150)}}] * 1000
    each = await alice.post(BULK, json={"operations": operations})
    every = await alice.post(BULK, json={"operations": operations, "atomic": True})
    told = [len(result["problem"]["errors"]) for result in each.json()["results"]]

    assert told == [100] + [1] * 999
    assert len(faults(every)) == sum(told)


async def test_an_operation_of_a_bulk_is_no_larger_than_a_body(alice: Person) -> None:
    """An operation of a bulk may not be larger than the body of a single request."""
    operation = b'{"action":"create","contact":{}' + b" " * LIMIT + b"}"
    response = await alice.post(BULK, content=b'{"operations":[' + operation + b"]}", headers=JSON)

    assert response.json()["results"][0]["problem"]["errors"][0]["code"] == "too_long"


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x", "identity, gzip"])
async def test_a_coded_body_is_refused(alice: Person, ada: Thing, coding: str) -> None:
    """415 names the accepted codings; a body that does not have the declared one gets it, too (RFC 9110, section 15.5.16)."""
    response = await alice.patch(ada.url, content=b'{"first_name":"x"}', headers={**JSON, "Content-Encoding": coding})

    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "gzip, deflate, identity"


async def test_a_body_that_is_coded_as_itself_is_taken(alice: Person, ada: Thing) -> None:
    """The coding `identity` is accepted."""
    response = await alice.patch(ada.url, content=b"{}", headers={**JSON, "Content-Encoding": "Identity"})

    assert response.status_code == 200


def _deflated(body: bytes, bits: int) -> bytes:
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(body) + packer.flush()


ADA_AS_AUGUSTA = b'{"first_name": "Augusta"}'
CODED: Final = [
    ("gzip", gzip.compress(ADA_AS_AUGUSTA, mtime=0)),
    ("GZip", gzip.compress(ADA_AS_AUGUSTA, mtime=0)),
    ("x-gzip", gzip.compress(ADA_AS_AUGUSTA, mtime=0)),
    ("identity, gzip", gzip.compress(ADA_AS_AUGUSTA, mtime=0)),
    ("gzip", gzip.compress(ADA_AS_AUGUSTA, mtime=0) + bytes(100_000)),
    ("gzip,", gzip.compress(ADA_AS_AUGUSTA[:5], mtime=0) + gzip.compress(ADA_AS_AUGUSTA[5:], mtime=0)),
    ("deflate", _deflated(ADA_AS_AUGUSTA, 15)),
    ("deflate", _deflated(ADA_AS_AUGUSTA, 9)),
    ("deflate", _deflated(ADA_AS_AUGUSTA, -15)),
]


@pytest.mark.parametrize(("coding", "body"), CODED, ids=range(len(CODED)))
async def test_a_packed_body_is_unpacked(alice: Person, ada: Thing, coding: str, body: bytes) -> None:
    """Bodies in gzip and deflate are taken, also in several members, and without the frame that some leave out."""
    response = await alice.patch(ada.url, content=body, headers={**JSON, "Content-Encoding": coding})

    assert response.status_code == 200
    assert response.json()["first_name"] == "Augusta"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_long_packed_body_is_unpacked(alice: Person, coding: str) -> None:
    """A body of megabytes is unpacked, too."""
    operations = [{"action": "create", "contact": {"first_name": "Ada", "description": "x" * 250}}] * 1000
    body = json.dumps({"operations": operations}, indent=8).encode()
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    response = await alice.post(BULK, content=packed, headers={**JSON, "Content-Encoding": coding})

    assert len(response.json()["results"]) == 1000


@pytest.mark.parametrize("broken", ["cut", "changed", "trailing", "empty member"])
async def test_a_broken_packed_body_is_refused(alice: Person, ada: Thing, broken: str) -> None:
    """A body that is not whole and valid in its coding is refused, and named as such."""
    packed = gzip.compress(ADA_AS_AUGUSTA)
    body = {
        "cut": packed[:-1],
        "changed": packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
        "trailing": packed + b"x",
        "empty member": packed + packed[:1],
    }[broken]
    response = await alice.patch(ada.url, content=body, headers={**JSON, "Content-Encoding": "gzip"})

    assert response.status_code == 415
    assert "not complete and valid" in response.json()["detail"]


@pytest.mark.parametrize(("path", "limit"), [("/api/v2/contacts", LIMIT), (BULK, LARGE_LIMIT)])
async def test_what_a_body_unpacks_to_is_limited(alice: Person, path: str, limit: int) -> None:
    """A small body that unpacks to more than the limit gets 413."""
    headers = {**JSON, "Content-Encoding": "gzip"}
    whole = await alice.post(path, content=gzip.compress(b"{}" + b" " * (limit - 2)), headers=headers)
    more = await alice.post(path, content=gzip.compress(b"{}" + b" " * (limit - 1)), headers=headers)

    assert (whole.status_code == 413, more.status_code) == (False, 413)


def test_a_body_is_unpacked_in_steps_and_counted() -> None:
    """No step unpacks more than 256 KiB, each is counted, and nothing is unpacked past the limit."""
    counted: list[int] = []
    body = b" " * 3_000_000
    steps = unpacked("gzip", gzip.compress(body), 4_000_000, counted.append)
    bomb = unpacked("gzip", gzip.compress(b" " * 100_000_000), 1_000_000, counted.append)

    assert finished(steps) == body
    assert (sum(counted), max(counted) <= 262_144) == (len(body), True)
    with pytest.raises(TooLarge):
        finished(bomb)
    assert sum(counted) - len(body) <= 1_000_000


async def test_a_byte_order_mark_is_ignored(alice: Person, ada: Thing) -> None:
    """Some programs begin a text with a byte order mark, which is no part of it (RFC 8259, section 8.1)."""
    plain = await alice.patch(ada.url, content=b"\xef\xbb\xbf" + ADA_AS_AUGUSTA, headers=JSON)
    packed = await alice.patch(
        ada.url, content=gzip.compress(b'\xef\xbb\xbf{"first_name": "Ada"}'), headers={**JSON, "Content-Encoding": "gzip"}
    )

    assert [response.json()["first_name"] for response in (plain, packed)] == ["Augusta", "Ada"]


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("a\\ud83d", "\\ud83d"),
        ("\\uDE00", "\\uDE00"),
        ("\\ud83d\\ude00 \\\\ud83d \\uDBFFx", "\\uDBFF"),
        ("\\udc00\\ud800", "\\udc00"),
        ("\\ud83d\\n" + "x" * 100_000, "\\ud83d"),
    ],
)
async def test_half_a_surrogate_pair_is_named(alice: Person, ada: Thing, text: str, half: str) -> None:
    """An escape that is half of a surrogate pair is named, with its place, in short bodies and long ones."""
    body = '{"first_name": "' + text + '"}'
    single = await alice.patch(ada.url, content=body.encode(), headers=JSON)
    bulk = await alice.post(
        BULK, content=('{"operations": [{"action": "create", "contact": ' + body + "}]}").encode(), headers=JSON
    )

    assert faults(single) == [("", "invalid_json")]
    assert f"`{half}` at byte {body.index(half)}" in single.json()["detail"]
    assert half in bulk.json()["detail"] if bulk.status_code == 422 else half in bulk.json()["results"][0]["problem"]["detail"]


@pytest.mark.parametrize("before", ["x", "\\\\", "\\ud83d\\ude00"])
async def test_half_a_surrogate_pair_far_behind_is_named(alice: Person, before: str) -> None:
    """Behind megabytes of text and of other escapes, too."""
    far = before * (3_000_000 // len(before))
    whole = '{"operations": [{"action": "create", "contact": {"first_name": "' + far + '\\ud83d"}}]}'
    response = await alice.post(BULK, content=whole.encode(), headers=JSON)

    assert response.status_code == 422
    place = whole.rindex("\\ud83d")
    assert f"`\\ud83d` at byte {place} is half" in response.json()["detail"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_another_encoding_is_named(alice: Person, ada: Thing, encoding: str) -> None:
    """A body in another encoding of Unicode is told that it is not UTF-8."""
    response = await alice.patch(ada.url, content=ADA_AS_AUGUSTA.decode().encode(encoding), headers=JSON)

    assert faults(response) == [("", "invalid_json")]
    assert "not UTF-8" in response.json()["detail"]
