"""Random queries of random contacts, compared with a small model of the rules."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook.contacts import query_store
from tests.cast import Json, Person, Thing
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import found

_KINDS: Final = {
    "word": "text",
    "score": "integer",
    "price": "decimal",
    "born": "date",
    "tier": "one_of",
    "likes": "several_of",
}
_WORDS: Final = ["a", "Ä", "ab", "b", "7", "x" * 150 + "a", "x" * 150 + "b"]
_OPTIONS: Final = ["gold", "silver", "bronze"]
_VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "word": _WORDS,
    "score": [-10, -9, 0, 7, 10],
    "price": ["-1.50", "0", "0.25", "10", "9"],
    "born": ["1815-12-10", "1906-12-09", "2000-02-29"],
    "tier": _OPTIONS,
    "likes": _OPTIONS,
    "last_name": ["Lovelace", "LÖVELACE", "King", "De King", "de Koven"],
}
_SORTED: Final = ("word", "score", "price", "born", "tier", "last_name", "created_at")
_DIRECTIONS: Final = st.sampled_from(["asc", "desc"])


def _conditions_on(name: str) -> st.SearchStrategy[Json]:
    values, is_text, is_list = st.sampled_from(_VALUES[name]), name in ("word", "last_name"), name in ("tier", "likes")
    field = name if name == "last_name" else f"fields.{name}"
    some: list[st.SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries({"op": st.sampled_from(["is_set", "is_not_set"])}),
        st.fixed_dictionaries({"op": st.sampled_from(["eq", "not_eq"]), "value": values}),
        st.fixed_dictionaries({"op": st.just("one_of"), "value": st.lists(values, min_size=1, max_size=3)}),
    ]
    if not is_list:
        orders = st.sampled_from(["gt", "gte", "lt", "lte", "before", "after"])
        some.append(st.fixed_dictionaries({"op": orders, "value": values}))
    if is_text:
        parts = st.sampled_from(["A", "x" * 120, "k", "de", "é", *_WORDS])
        some.append(st.fixed_dictionaries({"op": st.sampled_from(["contains", "begins_with"]), "value": parts}))
    return st.one_of(some).map(lambda condition: {"field": field, **condition})


def _groups_of(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    parts = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries({"and": parts}) | st.fixed_dictionaries({"or": parts}) | st.fixed_dictionaries({"not": inner})


def _is_flat(condition: Json) -> bool:
    return _depth(condition) <= 5


_LEAVES: Final = st.sampled_from([*_VALUES]).flatmap(_conditions_on)
_CONDITIONS: Final[st.SearchStrategy[Json]] = st.recursive(_LEAVES, _groups_of, max_leaves=5).filter(_is_flat)
_CONTACT: Final = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(values) for name, values in _VALUES.items() if name != "likes"}
    | {"likes": st.lists(st.sampled_from(_OPTIONS), unique=True, min_size=1)},
)
_SORTS: Final = st.lists(st.tuples(st.sampled_from(_SORTED), _DIRECTIONS), max_size=3, unique_by=lambda key: key[0])


def _depth(condition: Json) -> int:
    parts = condition.get("and") or condition.get("or") or [condition["not"]] if "field" not in condition else []
    return 1 + max((_depth(part) for part in parts), default=0)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [*value] if isinstance(value, list | tuple) else [value]


def compared(name: str, value: Any) -> Any:
    """Return a value in the form in which the model compares it."""
    if name in ("score", "price"):
        return float(value)
    return str(value).lower().translate({ord("ä"): "a", ord("ö"): "o", ord("é"): "e"})


def meets(contact: Mapping[str, Any], condition: Json) -> bool:
    """Whether the rules say that a contact meets a condition."""
    if "field" not in condition:
        parts = [meets(contact, part) for part in condition.get("and") or condition.get("or") or [condition["not"]]]
        return all(parts) if "and" in condition else any(parts) if "or" in condition else not parts[0]
    name, op = condition["field"].removeprefix("fields."), condition["op"]
    held = contact.get(name)
    mine = [compared(name, each) for each in _listed(held)]
    if op in ("is_set", "is_not_set"):
        return bool(mine) == (op == "is_set")
    asked = condition["value"]
    theirs = [compared(name, each) for each in _listed(asked)]
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "contains": lambda one, other: other in one,
        "begins_with": lambda one, other: one.startswith(other),
        **dict.fromkeys(("gt", "after"), lambda one, other: one > other),
        "gte": lambda one, other: one >= other,
        **dict.fromkeys(("lt", "before"), lambda one, other: one < other),
        "lte": lambda one, other: one <= other,
    }
    test = tests.get(op, lambda one, other: one == other)
    return any(test(one, other) for one in mine for other in theirs) != (op == "not_eq")


def in_order(contacts: Sequence[tuple[str, Mapping[str, Any]]], sort: Sequence[tuple[str, str]]) -> list[str]:
    """Return the names of contacts, which are sorted by age, in the order of a sort."""
    age = {name: index for index, (name, _) in enumerate(contacts)}

    def compare(one: tuple[str, Mapping[str, Any]], other: tuple[str, Mapping[str, Any]]) -> int:
        for name, direction in sort:
            pair = [each[1].get(name) for each in (one, other)] if name != "created_at" else [0, 0]
            if None in pair and pair != [None, None]:
                return 1 if pair[0] is None else -1
            # Texts are sorted by their beginning.
            left, right = (None if each is None else compared(name, each) for each in pair)
            if name == "word" and left is not None and right is not None:
                left, right = left[:100], right[:100]
            if left is not None and right is not None and left != right:
                return (1 if left > right else -1) * (-1 if direction == "desc" else 1)
        way = -1 if sort[-1][1] == "desc" else 1
        return way * (1 if age[one[0]] > age[other[0]] else -1)

    return [name for name, _ in sorted(contacts, key=functools.cmp_to_key(compare))]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    contacts=st.lists(_CONTACT, min_size=1, max_size=8),
    queries=st.lists(st.tuples(st.none() | _CONDITIONS, _SORTS, st.integers(1, 9), st.booleans()), min_size=3, max_size=6),
)
async def test_queries_follow_the_model(
    alice: Person,
    frank: Person,
    monkeypatch: pytest.MonkeyPatch,
    contacts: Sequence[Mapping[str, Any]],
    queries: Sequence[tuple[Json, Sequence[tuple[str, str]], int, bool]],
) -> None:
    """Each match comes on one page alone, in order, whichever way the contacts are read."""
    defined = (await frank.get("/api/herdbook/fields", params={"limit": 100})).json()["data"]
    for key in _KINDS.keys() - {each["key"] for each in defined}:
        await define(frank, key, _KINDS[key])
    mine: list[tuple[str, Mapping[str, Any]]] = []
    made: list[Thing] = []
    for contact in contacts:
        name = f"n{len(mine)}"
        made.append(Thing(await alice.post("/api/v2/contacts", json={"first_name": name})))
        record = {"fields": {key: value for key, value in contact.items() if key != "last_name"}}
        record |= {"last_name": contact["last_name"]} if "last_name" in contact else {}
        response = await alice.patch(f"/api/herdbook/contacts/{made[-1].id}/record", json=record)
        assert response.status_code == 200, response.text
        mine.append((name, contact))
    # Ids of the same millisecond have no order of their own.
    mine = [mine[index] for index in sorted(range(len(made)), key=lambda index: made[index].id)]
    for condition, asked_sort, limit, walks in queries:
        sort = asked_sort
        monkeypatch.setattr(query_store, "FEW", 0 if walks else 2000)
        compared_field = "" if condition is None else condition.get("field", "").removeprefix("fields.")
        if walks and compared_field in _SORTED:
            # A condition on the member to sort by shortens the walk.
            sort = [(compared_field, sort[0][1] if sort else "asc")]
        matching = [each for each in mine if condition is None or meets(each[1], condition)]
        event(f"{'walk' if walks else 'look up'}: {'some' if matching else 'none'}")
        keys = [
            {"field": name if name in ("last_name", "created_at") else f"fields.{name}", "direction": way} for name, way in sort
        ]
        names = await found(alice, limit=limit, sort=keys, **({} if condition is None else {"where": condition}))

        assert (names if sort else sorted(names)) == (
            in_order(matching, sort) if sort else sorted(name for name, _ in matching)
        )
    for thing in made:
        await alice.request("DELETE", thing.url)
