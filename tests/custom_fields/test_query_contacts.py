"""POST /herdbook/contacts/query."""

from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from herdbook.ledger.ledger import Ledger
from herdbook.querying import store as query_store
from tests.cast import Json, Person, Thing, faults
from tests.contacts.listing import create
from tests.contacts.records import change, read, record_of
from tests.custom_fields.claims import convert
from tests.custom_fields.definitions import define, half_converted

URL: Final = "/api/herdbook/contacts/query"


async def ask(person: Person, **query: Any) -> Json:
    """Return a page of a query."""
    response = await person.post(URL, json=query)
    assert response.status_code == 200, response.text
    return response.json()


async def found(person: Person, **query: Any) -> list[str]:
    """Return the first names of the contacts on all pages."""
    page = await ask(person, **query)
    data = page["data"]
    while page["has_more"]:
        page = await ask(person, **{**query, "cursor": page["next_cursor"]})
        data += page["data"]
    assert page["next_cursor"] is None, "the last page has no cursor"
    return [each["first_name"] for each in data]


def where(field: str, op: str, value: Json = None) -> Json:
    """Return a condition."""
    return {"field": field, "op": op} | ({} if value is None else {"value": value})


async def test_whole_records_are_shown(alice: Person, frank: Person, ada: Thing, grace: Thing, renewal: Thing) -> None:
    """Without a condition, all contacts are found, the latest first, each with all that its record shows."""
    await define(frank, "tier")
    gone = Thing(await alice.post("/api/v2/tags", json={"name": "Gone"}))
    emails = [{"email": "ada@engine.test", "label": "work"}]
    await change(alice, ada, emails=emails, fields={"tier": "x"}, tag_ids=[renewal.id, gone.id], external_ids=["7"])
    await alice.delete(gone.url)
    page = await ask(alice, count=True)

    assert page["data"] == [await read(alice, ada), await read(alice, grace)]
    assert (page["count"], page["count_is_exact"]) == (2, True)


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (where("first_name", "eq", "ADA"), ["Ada"]),
        (where("first_name", "not_eq", "ada"), ["Grace"]),
        (where("last_name", "begins_with", "HÖP"), ["Grace"]),
        (where("first_name", "one_of", ["Ada", "Eve"]), ["Ada"]),
        (where("emails", "eq", "Ada@Engine.test"), ["Ada"]),
        (where("emails", "contains", "@navy"), ["Grace"]),
        (where("phone_numbers", "eq", "(020) 7946-0958"), ["Ada"]),
        (where("phone_numbers", "is_not_set"), ["Grace"]),
        (where("company_id", "is_set"), ["Ada"]),
        (where("external_ids", "eq", "7"), ["Ada"]),
        (where("tag_ids", "is_set"), ["Ada"]),
        (where("time_zone", "contains", "london"), ["Ada"]),
        (where("crm_association", "eq", "12"), ["Ada"]),
        (where("created_at", "before", "2001-01-01T00:00:00Z"), []),
        (where("updated_at", "after", "2001-01-01T00:00:00Z"), ["Ada", "Grace"]),
        ({"or": [where("first_name", "eq", "grace"), where("description", "contains", "engine")]}, ["Ada", "Grace"]),
        ({"not": {"and": [where("description", "is_set"), where("emails", "is_set")]}}, ["Grace"]),
    ],
    ids=str,
)
async def test_members_of_the_vendor(  # noqa: PLR0917  # the fixtures of one test
    alice: Person, ada: Thing, grace: Thing, engine: Thing, renewal: Thing, condition: Json, names: list[str]
) -> None:
    """Each member is compared in its own way, texts without case and accents; conditions combine."""
    await change(
        alice,
        ada,
        description="Engines",
        phone_numbers=[{"phone_number": "+44 20 7946 0958"}],
        company_id=engine.id,
        external_ids=["7"],
        tag_ids=[renewal.id],
        time_zone="Europe/London",
        crm_association={"object_type": "contact", "crm_object_id": "12", "source": "test"},
    )
    if condition.get("field") == "phone_numbers" and "value" in condition:
        condition = {**condition, "value": "+442079460958"}

    assert await found(alice, where=condition, sort=[{"field": "first_name"}]) == names
    assert await found(alice, where={"or": [condition]}, sort=[{"field": "created_at"}]) == names
    assert grace.id, "she is the other one"


async def test_sort_by_a_field(alice: Person, frank: Person) -> None:
    """Contacts are sorted by a field, either way, over all pages; those without a value come last."""
    await define(frank, "score", "integer")
    for name, score in zip("abcdef", (10, -2, None, 9, 10, None), strict=True):
        (contact,) = await create(alice, name)
        await change(alice, contact, fields={"score": score})
    ascending, descending = ([{"field": "fields.score", "direction": way}] for way in ("asc", "desc"))

    assert await found(alice, sort=ascending, limit=2) == ["b", "d", "a", "e", "c", "f"]
    assert await found(alice, sort=descending, limit=1) == ["e", "a", "d", "b", "f", "c"]
    assert await found(alice, sort=descending, where=where("fields.score", "gte", 10)) == ["e", "a"]
    assert await found(alice, sort=[{"field": "fields.score", "direction": "desc"}, {"field": "first_name"}], limit=4) == [
        *["a", "e", "d", "b", "c", "f"]
    ]


async def test_only_contacts_of_the_workspace_are_found(
    alice: Person, charlie: Person, bob: Person, dave: Person, ada: Thing
) -> None:
    """A query finds nothing of other workspaces, and needs the scope to read contacts alone."""
    answers = [await each.post(URL, json={"where": where("emails", "is_set")}) for each in (charlie, bob, dave)]

    assert [each.status_code for each in answers] == [200, 200, 403]
    assert [[contact["id"] for contact in each.json()["data"]] for each in answers[:2]] == [[], [ada.id]]
    assert "X" not in await found(alice), "a query writes nothing"


_BAD: Final[dict[str, tuple[Json, str, str]]] = {
    "no condition": ({"where": []}, "where", "invalid_type"),
    "unknown field": ({"where": where("frist_name", "is_set")}, "where.field", "unknown_field"),
    "archived": ({"where": where("fields.old", "is_set")}, "where.field", "archived"),
    "wrong op": ({"where": where("company_id", "gt", "x")}, "where.op", "invalid_choice"),
    "no value": ({"where": {"and": [where("first_name", "is_set"), where("emails", "eq")]}}, "where.and[1].value", "required"),
    "value of is_set": ({"where": where("emails", "is_set", "x")}, "where.value", "not_allowed"),
    "value of a field": ({"where": {"not": where("fields.born", "eq", "today")}}, "where.not.value", "invalid_format"),
    "value in a list": ({"where": where("emails", "one_of", ["a@b.test", "x"])}, "where.value[1]", "invalid_format"),
    "empty group": ({"where": {"or": []}}, "where.or", "too_short"),
    "two groups": ({"where": {"or": [], "and": []}}, "where", "not_allowed"),
    "other member": ({"where": {**where("emails", "is_set"), "x": 1}}, "where.x", "unknown_field"),
    "NUL": ({"where": where("first_name", "eq", "a\0")}, "where.value", "invalid_characters"),
    "too many": ({"where": {"or": [where("first_name", "is_set")] * 50}}, "where", "too_long"),
    "sort by a list": ({"sort": [{"field": "tag_ids"}]}, "sort[0].field", "not_sortable"),
    "sort twice": ({"sort": [{"field": "first_name"}] * 2}, "sort[1].field", "duplicate"),
    "limit": ({"limit": 101}, "limit", "invalid_range"),
    "cursor": ({"cursor": "x"}, "cursor", "invalid_cursor"),
}


@pytest.mark.parametrize("bad", _BAD.values(), ids=_BAD.keys())
async def test_refusals_name_the_place(alice: Person, frank: Person, bad: tuple[Json, str, str]) -> None:
    """A bad query is refused with the path of the fault."""
    await define(frank, "born", "date")
    await frank.patch((await define(frank, "old")).url, json={"archived": True})
    query, path, code = bad

    assert faults(await alice.post(URL, json=query)) == [(path, code)]


async def test_a_key_without_its_prefix_is_recognised(alice: Person, frank: Person) -> None:
    """The key of a field without `fields.` is refused with the name to send."""
    await define(frank, "pet")
    response = await alice.post(URL, json={"where": where("pet", "eq", "cat"), "sort": []})

    assert faults(response) == [("where.field", "unknown_field")]
    assert "Did you mean `fields.pet`?" in response.json()["detail"]


async def test_many_errors_are_counted(alice: Person) -> None:
    """At most a hundred errors of conditions are listed; the last one counts those that are left out."""
    bad = [where("emails", "one_of", ["x"] * 60), where("emails", "one_of", ["x"] * 70)]
    response = await alice.post(URL, json={"where": {"and": bad}})

    assert len(faults(response)) == 100
    assert faults(response)[-2:] == [("where.and[1].value[38]", "invalid_format"), ("where", "further_errors")]
    assert response.json()["errors"][-1]["message"].startswith("`where` has 31 further errors")


async def test_conditions_nest_to_a_depth(alice: Person, ada: Thing) -> None:
    """Conditions nest to a limited depth."""
    condition = where("first_name", "eq", "ada")
    for _ in range(4):
        condition = {"and": [condition]}

    assert await found(alice, where=condition) == [ada.json["first_name"]]
    assert faults(await alice.post(URL, json={"where": {"not": condition}})) == [("where.not" + ".and[0]" * 4, "too_deep")]


async def test_options_are_listed_in_their_order(alice: Person, frank: Person) -> None:
    """The refusal of what is no option names the options as the definition orders them."""
    options = [f"o{number}" for number in (9, 3, 7, 1, 8, 2, 6, 4, 5)]
    await define(frank, "tier", "one_of", options=[{"id": each, "label": each} for each in options])
    response = await alice.post(URL, json={"where": where("fields.tier", "eq", "x")})

    assert ", ".join(f"`{each}`" for each in options) in response.json()["detail"]


async def test_a_cursor_belongs_to_its_query(alice: Person, ada: Thing, grace: Thing) -> None:
    """A cursor of another condition or sort is refused."""
    page = await ask(alice, limit=1, where=where("emails", "is_set"))
    response = await alice.post(URL, json={"cursor": page["next_cursor"], "where": where("emails", "is_not_set")})

    assert [contact["id"] for contact in page["data"]] == [grace.id] != [ada.id]
    assert faults(response) == [("cursor", "invalid_cursor")]


@pytest.mark.parametrize("kind", ["integer", "one_of"])
async def test_a_cursor_ends_with_the_form_of_its_values(alice: Person, frank: Person, kind: str) -> None:
    """A cursor sorted by a field of another kind by now is refused, because no place in the order is where it was."""
    field = await define(frank, "score")
    for score in ("1", "10", "9"):
        await alice.post("/api/herdbook/contacts", json={"first_name": "Ada", "fields": {"score": score}})
    sort = [{"field": "last_name"}, {"field": "fields.score"}]
    page = await ask(alice, limit=1, sort=sort)
    options = {"options": [{"id": f"o{each}", "label": each} for each in ("1", "9", "10")]} if kind == "one_of" else {}
    assert (await frank.patch(field.url, json={"kind": kind, **options})).status_code == 200
    response = await alice.post(URL, json={"limit": 1, "sort": sort, "cursor": page["next_cursor"]})

    assert faults(response) == [("cursor", "invalid_cursor")]
    assert "`fields.score`" in response.json()["errors"][0]["message"]
    assert len(await found(alice, limit=1, sort=sort)) == 3


async def test_no_cursor_goes_on_during_a_conversion(
    frank: Person, ledger: Ledger, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A cursor that was made while values are converted is refused until they are, and then too, because they have moved."""
    field = await half_converted(frank, ledger, workspace_id)
    query: Json = {"sort": [{"field": "fields.number"}], "limit": 1}
    cursor = (await ask(frank, **query))["next_cursor"]
    during = await frank.post(URL, json={**query, "cursor": cursor})
    by_name = {"sort": [{"field": "first_name"}], "limit": 1}
    other = await ask(frank, **by_name, cursor=(await ask(frank, **by_name))["next_cursor"])
    await convert(pool, ledger)
    afterwards = await frank.post(URL, json={**query, "cursor": cursor})

    assert [faults(each) for each in (during, afterwards)] == [[("cursor", "invalid_cursor")]] * 2
    assert f"{field.url}/conversion" in during.json()["errors"][0]["message"]
    assert len(other["data"]) == 1


async def test_a_cursor_outlives_a_change_of_the_definition(alice: Person, frank: Person) -> None:
    """A cursor stays right if the field gets another label, or unique values."""
    field = await define(frank, "score")
    for score in ("1", "10", "9"):
        await alice.post("/api/herdbook/contacts", json={"first_name": score, "fields": {"score": score}})
    query: Json = {"limit": 1, "sort": [{"field": "fields.score"}]}
    cursor = (await ask(alice, **query))["next_cursor"]
    assert (await frank.patch(field.url, json={"label": "Points", "unique": True})).status_code == 200

    assert (await ask(alice, **query, cursor=cursor))["data"][0]["first_name"] == "10"


async def test_an_empty_cursor_is_that_of_the_first_page(alice: Person, ada: Thing, grace: Thing) -> None:
    """An empty cursor and null mean the first page, as in every list."""
    pages = [await ask(alice, limit=1, **more) for more in ({}, {"cursor": ""}, {"cursor": None})]

    assert [[contact["id"] for contact in page["data"]] for page in pages] == [[grace.id]] * 3 != [[ada.id]] * 3


async def test_a_page_looks_at_a_limited_number_of_contacts(
    alice: Person, frank: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends with the contacts that it may look at, even if it is empty; the next one goes on behind them."""
    await define(frank, "score", "integer")
    for index, contact in enumerate(await create(alice, *"abcdefghij")):
        await change(alice, contact, fields={"score": index} if index % 2 else {})
    monkeypatch.setattr(query_store, "MAX_LOOKED_AT", 4)
    monkeypatch.setattr(query_store, "_SLICE", 2)
    condition = {"or": [where("first_name", "one_of", ["a", "b", "j"])]}
    queries = [{"where": condition, "sort": [{"field": name, "direction": "asc"}]} for name in ("updated_at", "created_at")]
    first = await ask(alice, where={"or": [where("first_name", "eq", "j")]}, sort=queries[0]["sort"], count=True)

    assert (first["data"], first["has_more"], first["count"], first["count_is_exact"]) == ([], True, 0, False)
    assert [await found(alice, **query) for query in queries] == [["a", "b", "j"]] * 2
    assert await found(alice, where=condition, sort=[{"field": "fields.score"}]) == ["b", "j", "a"]
    assert (await ask(alice, count=True))["count_is_exact"] is False
    assert faults(await alice.post(URL, json={"sort": [{"field": "description"}]})) == [("sort", "too_many_matches")]


async def test_fields_of_two_workspaces_never_meet(alice: Person, frank: Person, charlie: Person) -> None:
    """Two workspaces define a field of the same key in other kinds: each sorts, compares and converts its own values alone."""
    mine = await define(frank, "tier", "integer")
    await define(charlie, "tier", "one_of")
    for person, name, value in ((alice, "Ada", 7), (charlie, "Eve", "gold")):
        contact = Thing(await person.post("/api/v2/contacts", json={"first_name": name, "fields": {"tier": value}}))
        assert (await read(person, contact))["fields"] == {"tier": value}
    sort = [{"field": "fields.tier"}]

    assert [await found(each, sort=sort, where=where("fields.tier", "is_set")) for each in (alice, charlie)] == [
        ["Ada"],
        ["Eve"],
    ]
    assert faults(await charlie.post(URL, json={"where": where("fields.tier", "gt", 1)})) == [("where.op", "invalid_choice")]
    assert faults(await alice.post(URL, json={"where": where("fields.tier", "eq", "gold")})) == [
        ("where.value", "invalid_type")
    ]
    assert (await frank.patch(mine.url, json={"kind": "text"})).status_code == 200
    assert await found(alice, where=where("fields.tier", "eq", "7")) == ["Ada"]
    assert await found(charlie, where=where("fields.tier", "eq", "gold")) == ["Eve"]
    assert (await charlie.get(mine.url)).status_code == 404


async def test_all_faults_of_a_query_are_told(alice: Person) -> None:
    """The condition and the sort are looked at together, and beside other members that are at fault."""
    query: Json = {"where": {"field": "nope", "op": "eq", "value": 1}, "sort": [{"field": "emails"}, {"field": "nope"}]}
    named = ["where.field", "sort[0].field", "sort[1].field"]
    for plural in ("contacts", "companies"):
        both = await alice.post(f"/api/herdbook/{plural}/query", json=query)
        beside = await alice.post(f"/api/herdbook/{plural}/query", json={**query, "limit": 0, "count": 1})

        assert [name for name, _ in faults(both)] == named
        assert [name for name, _ in faults(beside)] == ["limit", "count", *named]


async def test_an_empty_condition_is_told(alice: Person) -> None:
    """An empty condition, and one that lacks both its field and its op, is refused with all that is missing."""
    empty = await alice.post(URL, json={"where": {"not": {}}})
    lacking = await alice.post(URL, json={"where": {"value": 1}})

    assert empty.json()["detail"] == "`where.not` is empty. Send `field` and `op`, or one of `and`, `or` and `not`."
    assert faults(lacking) == [("where.field", "required"), ("where.op", "required")]


async def test_an_archived_field_is_told_with_the_way_back(alice: Person, frank: Person) -> None:
    """A condition on an archived field says how the field comes back."""
    field = await define(frank, "tier")
    await frank.patch(field.url, json={"archived": True})
    refused = await alice.post(URL, json={"where": where("fields.tier", "is_set"), "sort": [{"field": "fields.tier"}]})

    remedy = 'Bring it back first, by a `PATCH` of the field with `"archived": false`, or leave it out.'
    assert [each["message"].endswith(remedy) for each in refused.json()["errors"]] == [True, True]
    await frank.patch(field.url, json={"archived": False})
    assert await found(alice, where=where("fields.tier", "is_set")) == []


async def test_similar_fields_are_suggested_and_no_others(alice: Person, frank: Person, ada: Thing) -> None:
    """An unknown key is told with the field that is meant, and with none that has nothing in common with it."""
    await define(frank, "hobby_horse")
    queried = await alice.post(URL, json={"where": where("fields.hobbyhorse", "is_set"), "sort": [{"field": "fields.nope"}]})
    written = await alice.patch(record_of(ada), json={"fields": {"hobbyhorse": "x", "nope": "x"}})

    hints = ["Did you mean `fields.hobby_horse`?" in each["message"] for each in queried.json()["errors"]]
    assert hints == [True, False]
    assert "Did you mean" not in queried.json()["errors"][1]["message"]
    assert [each["message"] for each in written.json()["errors"]] == [
        "There is no field `fields.hobbyhorse`. Did you mean `fields.hobby_horse`?",
        "There is no field `fields.nope`. `GET /api/herdbook/fields` lists those of the workspace.",
    ]


@pytest.mark.parametrize("field", ["phone_numbers", "fields.direct"])
@pytest.mark.parametrize("part", ["+44 20 7946", "+442079460", "+44 (20) 79-46", "+44.20.79"])
async def test_a_part_of_a_number_is_found_in_any_spelling(
    alice: Person, frank: Person, ada: Thing, grace: Thing, field: str, part: str
) -> None:
    """Signs between digits make no difference to a part of a number, neither in the condition nor in the number."""
    await define(frank, "direct", "phone")
    for target, number in ((ada, "+44 20 7946 0123"), (grace, "+49 30 901820")):
        await change(alice, target, phone_numbers=[{"phone_number": number}], fields={"direct": number})

    assert await found(alice, where=where(field, "begins_with", part)) == ["Ada"]
    assert await found(alice, where=where(field, "contains", part.removeprefix("+44").strip())) == ["Ada"]
    assert await found(alice, where=where(field, "contains", "901820")) == ["Grace"]


async def test_a_number_that_was_kept_as_sent_is_found_by_its_beginning(alice: Person, frank: Person, ada: Thing) -> None:
    """A number without a country code has its spaces in the index, and is found by a beginning with them."""
    await define(frank, "direct", "phone")
    await change(alice, ada, fields={"direct": "020 7946 0123"})

    assert await found(alice, where=where("fields.direct", "begins_with", "020 79")) == ["Ada"]
    assert await found(alice, where=where("fields.direct", "contains", "0207946")) == ["Ada"]
