"""Random queries of random contacts of all kinds, compared with a small model of the rules."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook import ids
from herdbook.querying import store as query_store
from tests.cast import Json, Person
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import URL
from tests.repeats import repeats

_OPTIONS: Final = ["gold", "silver", "bronze"]
_CONTACT_IDS: Final = [ids.encoded(ids.CONTACT, ids.new_id()) for _ in range(3)]
_LONG: Final = "x" * 150
_WORDS: Final = ["a", "Ä", "ab", "b", "7", "-1.5", "=", "#1", "~", "z>", _LONG + "a", _LONG + "b"]
# The values of each field. Some keys begin with others, so that the entries of the fields are side by side.
_FIELDS: Final[Mapping[str, tuple[str, Sequence[Any]]]] = {
    "w": ("text", _WORDS),
    "w_": ("long_text", [*_WORDS, "a\nb"]),
    "w0": ("integer", [-(2**53) + 1, -10, -9, 0, 7, 10, 2**53 - 1]),
    "price": ("decimal", ["-1.50", "-1.5", "0", "0.25", "10", "9", "9.0"]),
    "born": ("date", ["1815-12-10", "1906-12-09", "2000-02-29"]),
    "seen": ("date_time", ["2026-03-01T12:00:00.000000Z", "2026-03-01T12:30:00+01:00", "2025-03-01T13:00:00-02:00"]),
    "yes": ("yes_no", [True, False]),
    "tier": ("one_of", _OPTIONS),
    "likes": ("several_of", [["gold"], ["gold", "silver"], ["bronze", "silver"], ["bronze"]]),
    "site": ("link", ["https://b.test/A", "https://b.test/a", "https://a.test/"]),
    "mail": ("email", ["Ada@a.test", "ada@a.test", "b@a.test"]),
    "call": ("phone", ["+442079460958", "020", "+4930"]),
    "home": ("address", [{"street": "1 Road", "city": "Ä"}, {"city": "a"}, {"street": "b", "country": "c"}]),
    "friend": ("contact", _CONTACT_IDS),
    "fee": ("money", [{"amount": amount, "currency": currency} for amount in ("9", "10", "-3") for currency in ("EUR", "USD")]),
}
_NAMES: Final = ["Lovelace", "LÖVELACE", "King", "De King", "de Koven", "(De Ada)", "O'Brien", "Obama", "王小明", "?!"]
# The members of the vendor whose values are drawn.
_VENDOR: Final[Mapping[str, Sequence[Any]]] = {
    "first_name": ["Ada", "ADA", "Ada Marie", "Ada-Anna", "Eve", "Ädä"],
    "last_name": _NAMES,
    "description": ["a", "B", "Ç"],
    "time_zone": ["Europe/London", "Europe/Berlin"],
}
_SORTED: Final = (
    *(f"fields.{key}" for key in _FIELDS if key != "likes"),
    *_VENDOR,
    *("company_id", "crm_association", "created_at", "updated_at"),
)
_UNINDEXED: Final = ("description", "time_zone", "crm_association")
_TEXT_KINDS: Final = ("text", "long_text", "link", "email", "phone")
_ORDERED: Final = ("text", "long_text", "link", "email", "phone", "integer", "decimal", "date", "date_time", "money")


class Held(NamedTuple):
    """A contact: its record, and its version."""

    record: Json
    version: int


def _drawn(drawn: random.Random) -> dict[str, Any]:
    """Return the members of a new contact."""
    fields = {key: drawn.choice(values) for key, (_, values) in _FIELDS.items() if key != "friend" and drawn.random() < 0.6}
    members: dict[str, Any] = {name: drawn.choice(values) for name, values in _VENDOR.items() if drawn.random() < 0.7}
    if drawn.random() < 0.3:
        members["crm_association"] = {"object_type": "contact", "crm_object_id": drawn.choice("123"), "source": "test"}
    return {**members, "fields": fields}


async def _bulk(alice: Person, *operations: Json) -> list[Json]:
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    assert all(each["result"] in ("created", "updated", "deleted") for each in response.json()["results"]), response.text
    return response.json()["results"]


async def populate(alice: Person, frank: Person, seed: int, count: int) -> list[Held]:
    """Create contacts, change some, merge some, delete some, and archive a field; return those that are left."""
    drawn = random.Random(seed)  # noqa: S311  # contacts are no secret
    defined = (await frank.get("/api/herdbook/fields", params={"limit": 100})).json()["data"]
    for key in _FIELDS.keys() - {each["key"] for each in defined}:
        await define(frank, key, _FIELDS[key][0])
    # Its entries are between those of two others.
    old = next((each for each in defined if each["key"] == "seam"), None) or (await define(frank, "seam")).json
    await frank.patch(f"/api/herdbook/fields/{old['id']}", json={"archived": False})
    companies = [(await alice.post("/api/v2/companies", json={"domains": []})).json()["id"] for _ in range(3)]
    made = await _bulk(alice, *({"action": "create", "contact": _drawn(drawn)} for _ in range(count)))
    contact_ids: list[str] = [each["contact"]["id"] for each in made]
    some = functools.partial(drawn.sample, contact_ids)
    friends = some(3)
    for contact_id in some(count // 3):
        fields = {"seam": drawn.choice(_WORDS), "friend": drawn.choice(friends), "w0": drawn.choice([None, 7])}
        response = await alice.patch(f"/api/herdbook/contacts/{contact_id}/record", json={"fields": fields})
        assert response.status_code == 200, response.text
    await _bulk(
        alice,
        *({"action": "update", "id": each, "contact": {"company_id": drawn.choice(companies)}} for each in some(count // 2)),
    )
    merged = some(4)
    for target, source in (merged[:2], merged[2:]):
        response = await alice.post(f"/api/herdbook/contacts/{target}/merge", json={"from": [source]})
        assert response.status_code == 200, response.text
    left = [each for each in contact_ids if each not in (merged[1], merged[3])]
    deleted = drawn.sample(left, 3)
    await _bulk(alice, *({"action": "delete", "id": each} for each in deleted))
    await frank.patch(f"/api/herdbook/fields/{old['id']}", json={"archived": True})
    return [await _held(alice, each) for each in left if each not in deleted]


async def _held(alice: Person, contact_id: str) -> Held:
    response = await alice.get(f"/api/herdbook/contacts/{contact_id}/record")
    return Held(response.json(), int(response.headers["ETag"].strip('"').partition(".")[0]))


async def _clear(alice: Person, contacts: Sequence[Held]) -> None:
    await _bulk(alice, *({"action": "delete", "id": each.record["id"]} for each in contacts))


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [*value] if isinstance(value, list) else [value]


def _value(contact: Held, name: str) -> Any:
    record = contact.record
    if name.startswith("fields."):
        return record.get("fields", {}).get(name.removeprefix("fields."))
    value = record.get("company" if name == "company_id" else name)
    return value if value is None or isinstance(value, str) else value.get("crm_object_id", value.get("id"))


def _folded(text: str) -> str:
    return text.lower().translate({ord("ä"): "a", ord("ö"): "o", ord("é"): "e", ord("ç"): "c"})


def compared(name: str, value: Any) -> Any:
    """Return a value in the form in which the model compares it."""
    kind = _FIELDS[name.removeprefix("fields.")][0] if name.startswith("fields.") else ""
    if name in ("created_at", "updated_at") or kind == "date_time":
        return datetime.fromisoformat(value)
    if name in ("company_id", "crm_association") or kind in ("yes_no", "contact", "integer"):
        return value
    if kind == "decimal":
        return Decimal(value)
    if kind == "money":
        return (value["currency"], Decimal(value["amount"]))
    if kind == "address":
        return _folded("\n".join(value[part] for part in ("street", "city", "country") if part in value))
    return _folded(value)


def _sort_form(contact: Held, name: str) -> Any:
    """Return the form in which a contact is sorted by a member, or None if it has no value."""
    if name == "created_at":
        return contact.record["id"]
    value = _value(contact, name)
    if value is None:
        return None
    found = compared(name, value)
    if name in ("first_name", "last_name"):
        # Signs before the first word do not count.
        return found.lstrip("(?!") or None
    return found[:100] if name.startswith("fields.") and isinstance(found, str) else found


def in_order(contacts: Sequence[Held], sort: Sequence[tuple[str, str]]) -> list[str]:
    """Return the ids of contacts in the order of a sort."""

    def compare(one: Held, other: Held) -> int:
        for name, direction in sort:
            left, right = _sort_form(one, name), _sort_form(other, name)
            if left == right:
                continue
            if left is None or right is None:
                return 1 if left is None else -1
            return (1 if left > right else -1) * (-1 if direction == "desc" else 1)
        is_by_change = sort[-1][0] == "updated_at"
        ties = [each.version if is_by_change else each.record["id"] for each in (one, other)]
        return (1 if ties[0] > ties[1] else -1) * (-1 if sort[-1][1] == "desc" else 1)

    return [each.record["id"] for each in sorted(contacts, key=functools.cmp_to_key(compare))]


def meets(contact: Held, condition: Json) -> bool:
    """Whether the rules say that a contact meets a condition."""
    if "field" not in condition:
        parts = [meets(contact, part) for part in condition.get("and") or condition.get("or") or [condition["not"]]]
        return all(parts) if "and" in condition else any(parts) if "or" in condition else not parts[0]
    name, op = condition["field"], condition["op"]
    held = _value(contact, name)
    mine = [compared(name, each) for each in _listed(held)]
    if op in ("is_set", "is_not_set"):
        return bool(mine) == (op == "is_set")
    asked = condition["value"]
    is_part = op in ("contains", "begins_with")
    theirs = [_folded(each) if is_part else compared(name, each) for each in _listed(asked)]
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "contains": lambda one, other: other in one,
        "begins_with": lambda one, other: one.startswith(other),
        **dict.fromkeys(("gt", "after"), lambda one, other: one > other),
        "gte": lambda one, other: one >= other,
        **dict.fromkeys(("lt", "before"), lambda one, other: one < other),
        "lte": lambda one, other: one <= other,
    }
    if op in tests and isinstance(theirs[0], tuple):
        # Only amounts of a currency are in an order.
        mine = [each for each in mine if each[0] == theirs[0][0]]
    test = tests.get(op, lambda one, other: one == other)
    return any(test(one, other) for one in mine for other in theirs) != (op == "not_eq")


def _conditions_on(name: str) -> st.SearchStrategy[Json]:
    kind, values = _FIELDS[name] if name in _FIELDS else ("text", _VENDOR[name])
    field = f"fields.{name}" if name in _FIELDS else name
    some: list[st.SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries({"op": st.sampled_from(["is_set", "is_not_set"])}),
    ]
    if kind == "several_of":
        values = _OPTIONS
    if kind != "address":
        some.append(st.fixed_dictionaries({"op": st.sampled_from(["eq", "not_eq"]), "value": st.sampled_from(values)}))
        asked = st.lists(st.sampled_from(values), min_size=1, max_size=3)
        some.append(st.fixed_dictionaries({"op": st.just("one_of"), "value": asked}))
    if kind in _ORDERED:
        orders = st.sampled_from(["gt", "gte", "lt", "lte", "before", "after"])
        some.append(st.fixed_dictionaries({"op": orders, "value": st.sampled_from(values)}))
    if kind in (*_TEXT_KINDS, "address"):
        texts = [each for each in values if isinstance(each, str)]
        parts = st.sampled_from(["A", "x" * 120, "k", "de", "é", "(", *texts])
        some.append(st.fixed_dictionaries({"op": st.sampled_from(["contains", "begins_with"]), "value": parts}))
    return st.one_of(some).map(lambda condition: {"field": field, **condition})


def _groups_of(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    parts = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries({"and": parts}) | st.fixed_dictionaries({"or": parts}) | st.fixed_dictionaries({"not": inner})


def _depth(condition: Json) -> int:
    parts = condition.get("and") or condition.get("or") or [condition["not"]] if "field" not in condition else []
    return 1 + max((_depth(part) for part in parts), default=0)


_NAMES_OF_CONDITIONS: Final = [name for name in (*_FIELDS, *_VENDOR) if name not in ("time_zone", "friend")]
_LEAVES: Final = st.sampled_from(_NAMES_OF_CONDITIONS).flatmap(_conditions_on)
_CONDITIONS: Final[st.SearchStrategy[Json]] = st.recursive(_LEAVES, _groups_of, max_leaves=5).filter(
    lambda condition: _depth(condition) <= 4
)
_DIRECTIONS: Final = st.sampled_from(["asc", "desc"])
_SORTS: Final = st.lists(st.tuples(st.sampled_from(_SORTED), _DIRECTIONS), min_size=1, max_size=3, unique_by=lambda key: key[0])


class Asked(NamedTuple):
    """A query, and the way in which it is read."""

    where: Json
    sort: Sequence[tuple[str, str]]
    limit: int
    slice_size: int
    walks: bool


async def found(alice: Person, asked: Asked) -> list[str]:
    """Return the ids of the contacts on all pages, of which only the last may be short if few contacts are looked at."""
    sort = [{"field": name, "direction": way} for name, way in asked.sort]
    query = {"limit": asked.limit, "sort": sort, **({} if asked.where is None else {"where": asked.where})}
    contact_ids: list[str] = []
    cursor = None
    while True:
        response = await alice.post(URL, json=query if cursor is None else {**query, "cursor": cursor})
        assert response.status_code == 200, response.text
        contact_ids += [each["id"] for each in response.json()["data"]]
        before, cursor = cursor, response.json()["next_cursor"]
        if cursor is None:
            return contact_ids
        assert cursor != before, f"the next page is further on: {asked}"


def _read_in(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    """Set the limits of the reader: with `walks`, no index finds few enough contacts, and a page looks at few."""
    walks = asked.walks and all(name not in _UNINDEXED for name, _ in asked.sort)
    monkeypatch.setattr(query_store, "FEW", 0 if walks else 2000)
    for most in ("MAX_SORTED", "MAX_SORTED_BY_NAME"):
        monkeypatch.setattr(query_store, most, 0 if walks else 5000)
    # The database keeps the ids of those that it walks for, or it looks at each.
    monkeypatch.setattr(query_store, "MAX_KEPT", 10_000 * (asked.limit % 2))
    monkeypatch.setattr(query_store, "MAX_PASSED", 7 * asked.limit)
    # A walk by name gives way to a sort, or the objects to sort are too many.
    monkeypatch.setattr(query_store, "MAX_WALKED_BY_NAME", asked.limit)
    monkeypatch.setattr(query_store, "MAX_SORTED_AT_LAST", 20_000 * (asked.slice_size % 2))
    monkeypatch.setattr(query_store, "_MAX_SORTS", asked.slice_size)
    # Some are sorted by the database.
    monkeypatch.setattr(query_store, "_FEW_READ", asked.limit)
    monkeypatch.setattr(query_store, "MAX_LOOKED_AT", 20 if walks else 10_000)
    monkeypatch.setattr(query_store, "_SLICE", asked.slice_size)


_FURTHER: Final = (("fields.tier", "desc"), ("last_name", "asc"))


@pytest.mark.parametrize("walks", [True, False], ids=["walk", "look up"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_every_sort_follows_the_model(
    alice: Person, frank: Person, monkeypatch: pytest.MonkeyPatch, direction: str, *, walks: bool
) -> None:
    """A sort by any member has each contact once, in order, over all pages, whichever way the contacts are read."""
    contacts = await populate(alice, frank, seed=7, count=30)
    for name in _SORTED:
        for asked in (
            Asked(None, [(name, direction)], 9, 3, walks),
            Asked(None, [(name, direction), *(each for each in _FURTHER if each[0] != name)], 7, 5, walks),
        ):
            with monkeypatch.context() as limits:
                _read_in(limits, asked)
                contact_ids = await found(alice, asked)

            assert contact_ids == in_order(contacts, asked.sort), asked


@settings(
    max_examples=repeats(24),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 1000),
    queries=st.lists(
        st.builds(Asked, st.none() | _CONDITIONS, _SORTS, st.integers(1, 9), st.integers(2, 9), st.booleans()),
        min_size=4,
        max_size=8,
    ),
    by_member=st.lists(
        st.tuples(_LEAVES, _DIRECTIONS, st.lists(_LEAVES, max_size=1), st.booleans(), st.integers(1, 9)),
        min_size=4,
        max_size=8,
    ),
)
async def test_queries_follow_the_model(
    alice: Person,
    frank: Person,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    queries: Sequence[Asked],
    by_member: Sequence[tuple[Json, str, Sequence[Json], bool, int]],
) -> None:
    """Each match comes on one page alone, in order, whichever way the contacts are read."""
    contacts = await populate(alice, frank, seed, count=24)
    # A condition on the member to sort by shortens the walk.
    sorted_by_it = [
        Asked({"and": [leaf, *others]} if others else leaf, [(leaf["field"], way)], limit, 3, walks)
        for leaf, way, others, walks, limit in by_member
        if leaf["field"] != "fields.likes"
    ]
    for asked in (*queries, *sorted_by_it):
        matching = [each for each in contacts if asked.where is None or meets(each, asked.where)]
        event(f"{'walk' if asked.walks else 'look up'}: {'some' if matching else 'none'}")
        with monkeypatch.context() as limits:
            _read_in(limits, asked)
            contact_ids = await found(alice, asked)

        assert contact_ids == in_order(matching, asked.sort), asked
    await _clear(alice, contacts)
