"""PATCH /herdbook/fields/{field_id} with another kind, and with unique values: what becomes of the values that are there."""

import json
from asyncio import gather
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from time import perf_counter
from typing import Any, Final

import asyncpg
import httpx
import msgspec
import pytest

from herdbook import ids
from herdbook.app import FIELD_HOLDERS
from herdbook.auth.store import create_key
from herdbook.custom_fields import api, commands, effects, store
from herdbook.custom_fields.commands import ConvertValues, LookAgain, UpdateField
from herdbook.custom_fields.model import Field, FieldKind, FieldOption, FieldUpdate
from herdbook.custom_fields.store import MAX_COUNTED, note_older_values
from herdbook.custom_fields.values import index_texts
from herdbook.errors import Busy
from herdbook.history import undoing
from herdbook.history.commands import UndoReversals
from herdbook.http.call import Call
from herdbook.ledger.changes import same
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from herdbook.workspaces.store import set_region
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change, read, record_of
from tests.custom_fields.claims import assert_claimed, convert
from tests.custom_fields.definitions import Defined, define
from tests.history.consistency import assert_consistent
from tests.history.requests import company_named, restore, undo
from tests.merging import merges

_OPTIONS: Final = [
    {"id": "gold", "label": "Gold tier"},
    {"id": "silver", "label": "Silver"},
    {"id": "paris", "label": "Paris, France"},
    {"id": "gold_paris", "label": "Gold, Paris"},
    {"id": "france", "label": "France"},
    {"id": "london", "label": "London"},
    {"id": "nought", "label": "007"},
]
CONVERTED: Final[dict[str, tuple[str, Json, str, Json]]] = {
    "text to a list": ("text", " gold TIER ", "one_of", "gold"),
    "text to several": ("text", "silver; Gold tier", "several_of", ["silver", "gold"]),
    "text to a number": ("text", " 12 ", "integer", 12),
    "text to a decimal": ("text", "12.5", "decimal", "12.5"),
    "text to money": ("text", "12.50 EUR", "money", {"amount": "12.50", "currency": "EUR"}),
    "text to yes": ("text", "Yes", "yes_no", True),
    "text to a day": ("text", "2026-03-01", "date", "2026-03-01"),
    "text to an address": ("text", "1 Road", "address", {"street": "1 Road"}),
    "a number to text": ("integer", 12, "text", "12"),
    "an option to text": ("one_of", "gold", "text", "Gold tier"),
    "options to text": ("several_of", ["gold", "silver"], "text", "Gold tier, Silver"),
    "an option to several": ("one_of", "gold", "several_of", ["gold"]),
    "money to text": ("money", {"amount": "1", "currency": "EUR"}, "text", "1 EUR"),
    "text to labels with commas": ("text", "london; Gold, Paris, France", "several_of", ["london", "gold_paris", "france"]),
    "labels with commas to text": ("several_of", ["paris", "gold"], "text", "Paris, France, Gold tier"),
    "no to text": ("yes_no", False, "text", "no"),
    "one to yes": ("integer", 1, "yes_no", True),
    "zero to no": ("integer", 0, "yes_no", False),
}


@pytest.mark.parametrize("conversion", CONVERTED.values(), ids=CONVERTED.keys())
async def test_a_value_is_converted(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, conversion: tuple[str, Json, str, Json]
) -> None:
    """A value gets the form of its field's new kind; an undo of the request gives both back. Each is found by its form."""
    kind, value, new_kind, converted = conversion
    options: Json = {"options": _OPTIONS} if kind in ("one_of", "several_of") else {}
    field = await define(frank, "own", kind, **options)
    await change(alice, ada, fields={"own": value})
    more = {"options": _OPTIONS} if new_kind in ("one_of", "several_of") else {}
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": new_kind, **more})).json()
    changed = await frank.patch(field.url, json={"kind": new_kind, **more})
    record = await read(alice, ada)
    await assert_consistent(pool, alice.workspace_id)
    undone = await frank.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})
    await assert_consistent(pool, alice.workspace_id)

    assert (changed.status_code, changed.json()["kind"]) == (200, new_kind), changed.text
    assert same(record["fields"], {"own": converted})
    assert (effect["kept"] + effect["converted"], effect["refused"]) == (1, 0)
    assert undone.json()["kept"] == []
    assert same((await read(alice, ada))["fields"], {"own": value})


async def test_the_default_of_a_former_kind_comes_back(alice: Person, frank: Person) -> None:
    """An undo of a change of kind gives back a default that Python takes for the same, and new contacts have it."""
    field = await define(frank, "own", "integer", default=1)
    changed = await frank.patch(field.url, json={"kind": "yes_no", "default": True})
    undone = await undo(frank, changed)
    made = await alice.post("/api/v2/contacts", json={"fields": {}})

    assert (undone.kept, same((await frank.get(field.url)).json()["default"], 1)) == ({}, True)
    assert made.status_code == 201, made.text
    assert same((await read(alice, Thing(made)))["fields"], {"own": 1})


async def test_a_dry_run_changes_nothing(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A dry run tells how many values stay, are converted, and have no such form; the change itself is then refused."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "12"})
    await change(alice, grace, fields={"own": "a dozen"})
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": "integer"})).json()
    refused = await frank.patch(field.url, json={"kind": "integer"})

    assert effect == {
        "object": "field_change",
        "dry_run": True,
        "field": {**field.json, "kind": "integer"},
        "kept": 0,
        "exact": True,
        "converted": 1,
        "refused": 1,
        "examples": [{"id": grace.id, "value": "a dozen"}],
    }
    assert (refused.status_code, faults(refused)) == (422, [("kind", "values_in_use")])
    assert (await frank.get(field.url)).json() == field.json
    assert (await read(alice, ada))["fields"] == {"own": "12"}


async def test_values_that_are_the_same_are_told(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A change that would make a field unique names two objects that have the same value, and blames `unique` alone."""
    field = await define(frank, "badge")
    await change(alice, ada, fields={"badge": "5"})
    await change(alice, grace, fields={"badge": "05"})
    patch: Json = {"kind": "decimal", "unique": True}
    effect = (await frank.patch(f"{field.url}?dry_run=true", json=patch)).json()
    refused = await frank.patch(field.url, json=patch)
    other = Thing(await alice.post("/api/v2/contacts", json={"fields": {"badge": "x"}}))
    both = await frank.patch(field.url, json=patch)

    assert effect["examples"] == [{"id": grace.id, "value": "05", "same_as": ada.id}]
    assert faults(refused) == [("unique", "values_in_use")]
    assert refused.json()["detail"] == (
        f"`unique` does not fit 1 of the values that `fields.badge` has, because two objects have the same: "
        f"`05` (`{ada.id}` and `{grace.id}`). Change these values first; `dry_run=true` shows more of them."
    )
    assert faults(both) == [("kind", "values_in_use"), ("unique", "values_in_use")]
    assert other.id not in both.json()["detail"]


async def test_values_become_unique(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A field whose values differ can become unique, and then refuses the value of another; one with equal values cannot."""
    field = await define(frank, "badge")
    await change(alice, ada, fields={"badge": "1"})
    await change(alice, grace, fields={"badge": "1"})
    refused = await frank.patch(field.url, json={"unique": True})
    await change(alice, grace, fields={"badge": "2"})
    unique = await frank.patch(field.url, json={"unique": True})
    taken = await alice.patch(record_of(grace), json={"fields": {"badge": "1"}})
    await frank.patch(field.url, json={"unique": False})

    assert (refused.status_code, faults(refused)) == (422, [("unique", "values_in_use")])
    assert unique.status_code == 200
    assert (taken.status_code, faults(taken)) == (409, [("fields.badge", "already_in_use")])
    assert (await change(alice, grace, fields={"badge": "1"})).status_code == 200


async def test_more_unique_values_than_one_pass_compares(alice: Person, frank: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are compared in parts if there are many, and each is counted once, whichever part it is in."""
    monkeypatch.setattr(effects, "MAX_COMPARED", 10)
    field = await define(frank, "own")
    values = [*range(60), *range(7), "none", "none"]
    operations = [{"action": "create", "contact": {"fields": {"own": f" {value} "}}} for value in values]
    assert (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).status_code == 200
    change_of = {"kind": "integer", "unique": True}
    effect = (await frank.patch(f"{field.url}?dry_run=true", json=change_of)).json()

    assert (effect["kept"], effect["converted"], effect["refused"]) == (0, 60, 9)
    assert sorted(each["value"] for each in effect["examples"]) == sorted([*(f" {n} " for n in range(7)), " none ", " none "])


@pytest.mark.parametrize("form", [" {} ", "{}"], ids=["few", "many"])
async def test_a_conversion_goes_on_after_a_crash(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, form: str
) -> None:
    """A conversion of more values than a slice has is finished by a later round, from where a crash has stopped it.

    A text that is a number has two index entries, so these are too many for an index to find.
    """
    field = await define(frank, "own")
    for _ in range(2):
        operations = [{"action": "create", "contact": {"fields": {"own": form.format(number)}}} for number in range(600)]
        assert (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).status_code == 200
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.INTEGER)), origin)
    await ledger.write(alice.workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)
    counting = """
        select count(*) filter (where json_typeof(own -> 'fields' -> 'own') = 'number') from contact where workspace_id = $1
    """
    first_slice = await pool.fetchval(counting, alice.workspace_id)
    await convert(pool, ledger)

    assert first_slice == 100
    assert await pool.fetchval(counting, alice.workspace_id) == 1200
    assert await pool.fetchval("select count(*) from unfinished where workspace_id = $1", alice.workspace_id) == 0


async def test_values_of_an_earlier_release_get_their_form(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """Numbers, and claims of numbers and texts, in the form of an earlier release are brought into the present one, once."""
    fields = [await define(frank, "line", "phone", unique=True), await define(frank, "badge", unique=True)]
    defined = {(await frank.get(f"{field.url}/history")).json()["data"][0]["request_id"] for field in fields}
    now = (await change(alice, ada, fields={"line": "+49 30 901820", "badge": " A "})).json()
    old = {"fields": {"line": "0049 30 901820", "badge": " A "}, "unique_values": ["line=0049 30 901820", "badge= A "]}
    await pool.execute("update contact set own = $2 where id = $1", ada.uuid, json.dumps(old))
    await pool.execute("delete from contact_field_value where contact_id = $1", ada.uuid)
    for claim in old["unique_values"]:
        insert = "insert into contact_field_value (workspace_id, value, contact_id) values ($1, $2, $3)"
        await pool.execute(insert, alice.workspace_id, claim, ada.uuid)
    await pool.execute("delete from setting where name = 'form_of_values'")
    await note_older_values(pool)
    await convert(pool, ledger)
    record = await read(alice, ada)
    latest = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"][0]
    taken = [await alice.patch(record_of(grace), json={"fields": sent}) for sent in ({"line": "+4930901820"}, {"badge": "A"})]
    await note_older_values(pool)

    assert (record["fields"], sorted(record["unique_values"])) == (now["fields"], sorted(now["unique_values"]))
    assert [each.status_code for each in taken] == [409, 409]
    assert latest["request_id"] not in defined, "an undo of a definition would take the form back"
    claims = "select count(*) from contact_field_value where contact_id = $1"
    assert await pool.fetchval(claims, ada.uuid) == 2
    assert await pool.fetchval("select count(*) from unfinished where workspace_id = $1", alice.workspace_id) == 0


async def test_a_later_round_goes_on_for_the_request_that_asked(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, ada: Thing, grace: Thing
) -> None:
    """A later round records its slices under the request that asked for the conversion, also if the field was renamed since."""
    field = await define(frank, "own")
    for contact in (ada, grace):
        await change(alice, contact, fields={"own": " 12 "})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    asked = Origin(ids.new_id(), ids.new_id())
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.INTEGER)), asked)
    await frank.patch(field.url, json={"label": "Renamed"})
    await convert(pool, ledger)
    origins = await pool.fetch(
        """
        select e.request_id, e.credential_id
        from contact c join change e on e.workspace_id = c.workspace_id and e.seq = c.version
        where c.workspace_id = $1
        """,
        alice.workspace_id,
    )
    undone = await undo(frank, ids.encoded(ids.REQUEST, asked.request_id))

    assert [tuple(each) for each in origins] == [(asked.request_id, asked.credential_id)] * 2
    assert (undone.kept, undone.reverted) == ({field.json["id"]: "changed_since"}, {})


async def test_values_set_before_an_undo_are_converted(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """If a change of kind is undone, a value that was set meanwhile gets the form of the former kind."""
    field = await define(frank, "own", "text")
    await change(alice, ada, fields={"own": "1"})
    changed = await frank.patch(field.url, json={"kind": "integer"})
    await change(alice, grace, fields={"own": 5})
    undone = await frank.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})
    await convert(pool, ledger)

    assert undone.json()["kept"] == []
    assert (await frank.get(field.url)).json()["kind"] == "text"
    assert (await read(alice, grace))["fields"] == {"own": "5"}


async def test_values_set_before_an_undo_are_claimed(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """If a field becomes unique by an undo, a value that was set meanwhile belongs to its object."""
    field = await define(frank, "own", "text", unique=True)
    changed = await frank.patch(field.url, json={"unique": False})
    await change(alice, ada, fields={"own": "same"})
    await frank.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})
    await convert(pool, ledger)
    refused = await alice.patch(record_of(grace), json={"fields": {"own": "same"}})

    assert refused.status_code == 409, refused.text


async def test_a_typed_text_stays_in_a_field_that_was_a_list(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A text that was typed since a list became texts stays as it is, although it is the id of an option that the list had."""
    field = await define(frank, "own", "one_of", options=_OPTIONS)
    await change(alice, ada, fields={"own": "gold"})
    await frank.patch(field.url, json={"kind": "text"})
    await change(alice, grace, fields={"own": "gold"})
    await alice.delete(grace.url)
    await frank.patch(field.url, json={"kind": "long_text"})
    await restore(alice, grace)
    await frank.patch(field.url, json={"kind": "text"})

    assert [(await read(alice, each))["fields"] for each in (ada, grace)] == [{"own": "Gold tier"}, {"own": "gold"}]


async def test_an_option_reads_as_it_was_labelled(alice: Person, frank: Person, ada: Thing) -> None:
    """An option of a deleted contact becomes the label that it had when the list became texts."""
    field = await define(frank, "own", "one_of", options=_OPTIONS)
    await change(alice, ada, fields={"own": "gold"})
    await alice.delete(ada.url)
    await frank.patch(field.url, json={"kind": "text"})
    renamed = [{"id": "gold", "label": "Platinum", "archived": True}]
    changed = await frank.patch(field.url, json={"options": renamed})
    await restore(alice, ada)

    assert changed.status_code == 200, changed.text
    assert (await read(alice, ada))["fields"] == {"own": "Gold tier"}


async def test_a_text_from_before_the_list_stays(alice: Person, frank: Person, ada: Thing) -> None:
    """A text of a contact that was deleted before its field became a list, and texts again, comes back as it was typed."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "gold"})
    await alice.delete(ada.url)
    await frank.patch(field.url, json={"kind": "one_of", "options": _OPTIONS})
    await frank.patch(field.url, json={"kind": "text"})
    await restore(alice, ada)

    assert (await read(alice, ada))["fields"] == {"own": "gold"}


async def test_an_option_that_another_is_labelled_as_stays(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """An archived option stays the value of its contacts when one of a list becomes several, whatever others are labelled."""
    field = await define(frank, "own", "one_of", options=_OPTIONS)
    for contact in (ada, grace):
        await change(alice, contact, fields={"own": "gold"})
    await frank.patch(field.url, json={"options": [{"id": "new", "label": "Gold"}]})
    await alice.delete(grace.url)
    changed = await frank.patch(field.url, json={"kind": "several_of"})
    await restore(alice, grace)

    assert changed.status_code == 200, changed.text
    assert [(await read(alice, each))["fields"] for each in (ada, grace)] == [{"own": ["gold"]}] * 2


@pytest.mark.parametrize("way", ["typed", "patched"])
async def test_a_text_that_is_typed_before_its_slice_stays(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, ada: Thing, way: str
) -> None:
    """A conversion to texts leaves alone what was typed since it began, and converts the option of a renamed contact."""
    field = await define(frank, "own", "one_of", options=_OPTIONS)
    await change(alice, ada, fields={"own": "silver" if way == "typed" else "gold"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.TEXT)), origin)
    if way == "typed":
        await change(alice, ada, fields={"own": "gold"})
    else:
        await alice.patch(ada.url, json={"first_name": "Augusta"})
    await convert(pool, ledger)

    assert (await read(alice, ada))["fields"] == {"own": "gold" if way == "typed" else "Gold tier"}


@pytest.mark.parametrize("patch", [{"unique": True}, {"label": "Renamed"}, {"kind": "decimal"}])
async def test_a_change_of_nothing_refuses_no_value(
    pool: "asyncpg.Pool[asyncpg.Record]",
    alice: Person,
    frank: Person,
    ada: Thing,
    grace: Thing,
    *,
    monkeypatch: pytest.MonkeyPatch,
    patch: Json,
) -> None:
    """A change that leaves the form of values counts all as kept, also those that do not fit and those without a claim.

    It looks at none of them.
    """
    field = await define(frank, "own", "decimal", unique=True)
    await define(frank, "own_2", "integer")
    await change(alice, await merges.contact(alice), fields={"own_2": 1})
    looks = list[Any]()
    monkeypatch.setattr(store, "values_after", looks.append)
    for holder, value in ((ada, "a dozen"), (grace, "a dozen"), (await merges.contact(alice), "1")):
        await pool.execute(
            "update contact set own = $3 where workspace_id = $1 and id = $2",
            *(alice.workspace_id, holder.uuid, json.dumps({"fields": {"own": value}})),
        )
        await pool.execute(
            "insert into contact_field (workspace_id, key, contact_id) select $1, unnest($3::text[]), $2",
            *(alice.workspace_id, holder.uuid, [f"own{text}" for text in index_texts(value)]),
        )
    effect = await frank.patch(f"{field.url}?dry_run=true", json=patch)
    changed = await frank.patch(field.url, json=patch)

    assert effect.status_code == 200, effect.text
    assert (effect.json()["kept"], effect.json()["converted"], effect.json()["refused"]) == (3, 0, 0)
    assert changed.status_code == 200, changed.text
    assert looks == []


async def test_a_text_that_became_an_option_is_one(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """A text that equals an option's id is an option once its field is a list, as a dry run says; and a text after an undo."""
    field = await define(frank, "own")
    for contact in (ada, grace):
        await change(alice, contact, fields={"own": "gold"})
    listed = await frank.patch(field.url, json={"kind": "one_of", "options": _OPTIONS})
    await undo(frank, listed)
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    await convert(pool, ledger)
    after_undo = [(await read(alice, each))["fields"]["own"] for each in (ada, grace)]
    await frank.patch(field.url, json={"kind": "one_of", "options": _OPTIONS})
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": "text"})).json()
    await frank.patch(field.url, json={"kind": "text"})

    assert after_undo == ["gold", "gold"]
    assert (effect["kept"], effect["converted"]) == (0, 2)
    assert [(await read(alice, each))["fields"]["own"] for each in (ada, grace)] == ["Gold tier", "Gold tier"]


async def test_a_text_that_became_an_option_is_several(alice: Person, frank: Person, ada: Thing) -> None:
    """A text that equals an option's id stays that option when one of a list becomes several, whatever others are labelled."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "gold"})
    await frank.patch(field.url, json={"kind": "one_of", "options": _OPTIONS})
    renamed = [{"id": "gold", "label": "Old"}, {"id": "new", "label": "Gold"}]
    await frank.patch(field.url, json={"options": renamed})
    await frank.patch(field.url, json={"kind": "several_of"})

    assert (await read(alice, ada))["fields"] == {"own": ["gold"]}


async def test_labels_that_are_alike_refuse_a_unique_text(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A list becomes no unique text if the label of an option is the id of another: the dry run says what becomes of values."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "gold"})
    options = [{"id": "gold", "label": "Gold tier"}, {"id": "silver", "label": "gold"}]
    await frank.patch(field.url, json={"kind": "one_of", "options": options})
    await change(alice, grace, fields={"own": "silver"})
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": "text", "unique": True})).json()
    changed = await frank.patch(field.url, json={"kind": "text", "unique": True})
    records = [await read(alice, each) for each in (ada, grace)]

    assert (effect["refused"], changed.status_code) == (0, 200)
    assert [each["fields"]["own"] for each in records] == ["Gold tier", "gold"]
    assert [each["unique_values"] for each in records] == [["own=Gold tier"], ["own=gold"]]


@pytest.mark.parametrize("kind", ["one_of", "integer"])
async def test_an_undo_gives_back_texts_whatever_comes_first(
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    ada: Thing,
    grace: Thing,
    *,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """An undo in slices gives back each text as it was typed, also if the conversion back comes to the object first."""
    field = await define(frank, "own")
    typed = {ada: " gold TIER ", grace: "gold tier"} if kind == "one_of" else {ada: " 07 ", grace: "007"}
    for contact, text in typed.items():
        await change(alice, contact, fields={"own": text})
    options = {"options": _OPTIONS} if kind == "one_of" else {}
    changed = await frank.patch(field.url, json={"kind": kind, **options})
    write = Ledger.write
    converted: list[int] = []

    async def then_convert(self: Ledger, workspace_id: Any, command: Any, *others: Any, **options: Any) -> Any:
        """Let the chore convert values after the first slice of the undo, which gives back the definition."""
        written = await write(self, workspace_id, command, *others, **options)
        if isinstance(command, UndoReversals) and not converted:
            converted.append(written.version)
            await convert(pool, ledger)
        return written

    monkeypatch.setattr(undoing, "MAX_CHANGES", 1)
    monkeypatch.setattr(Ledger, "write", then_convert)
    undone = await undo(frank, changed)

    assert len(converted) == 1
    assert changed.status_code == 200, changed.text
    assert [(await read(alice, each))["fields"]["own"] for each in typed] == [*typed.values()]
    assert undone.kept == {}
    assert undone.reverted == dict.fromkeys([field.json["id"], ada.id, grace.id], "updated")
    await assert_consistent(pool, alice.workspace_id)
    again = await undo(frank, undone)
    assert (again.kept, (await read(alice, ada))["fields"]["own"]) == ({}, "gold" if kind == "one_of" else 7)


async def test_a_conversion_stops_when_it_is_undone(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing
) -> None:
    """A slice of a conversion that comes after its undo changes nothing, so that no change of the request escapes the undo."""
    field = await define(frank, "own", "integer")
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.TEXT)), origin)
    await change(alice, ada, fields={"own": "8"})
    undone = await undo(frank, ids.encoded(ids.REQUEST, origin.request_id))
    await ledger.write(alice.workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)
    late = await read(alice, ada)
    await convert(pool, ledger)

    assert undone.kept == {}
    assert late["fields"] == {"own": "8"}
    assert (await read(alice, ada))["fields"] == {"own": 8}
    latest = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"][0]
    assert latest["request_id"] == undone.response.headers["X-Request-Id"]


BEFORE: Final[dict[str, tuple[str, Json, str, Json]]] = {
    "a text": ("text", "Seven", "text", "Seven"),
    "a text among white space": ("text", " Seven ", "text", "Seven"),
    "a text in another normal form": ("text", "Ca\u0301fe", "text", "C\u00e1fe"),
    "a number as a text": ("text", "07", "integer", 7),
    "a decimal": ("decimal", "7.50", "decimal", "7.5"),
    "a number that becomes a text": ("integer", 7, "text", "7"),
    "an option": ("one_of", "gold", "text", "Gold tier"),
    "an address": ("email", "Ada@Engine.test", "email", "ada@engine.test"),
    "a number": ("phone", "+442079460958", "phone", "+44 20 7946 0958"),
    "a day": ("date", "2026-03-01", "date", "2026-03-01"),
    "a domain in a form for people": ("text", "ada@XN--Bcher-kva.test", "email", "ada@b\u00dccher.test"),
    "a domain in the other form": ("email", "ada@b\u00fccher.test", "email", "Ada@xn--bcher-kva.test"),
    "money": ("money", {"amount": "12.50", "currency": "EUR"}, "text", "12.50 EUR"),
    "yes": ("yes_no", True, "text", "yes"),
    "a decimal as a text with a space": ("text", "7 ", "decimal", "7.0"),
    "a time without a fraction": ("text", "2026-03-01T11:00:00Z", "date_time", "2026-03-01T12:00:00+01:00"),
    "a time with milliseconds": ("text", "2026-03-01T11:00:00.500Z", "date_time", "2026-03-01T11:00:00.5Z"),
    "a time with a short fraction": ("text", "2026-03-01T11:00:00.5Z", "date_time", "2026-03-01T11:00:00.500Z"),
    "a long number that becomes a text": ("integer", 1234567890123456, "text", "1234567890123456"),
}


# Spellings by which an index is not searched.
_ODD: Final[dict[str, tuple[str, Json, str, Json]]] = {
    "a text among much white space": ("text", "\u00a0 Seven\t ", "text", "Seven"),
    "a text behind an Ogham space": ("text", "\u1680Seven", "text", "Seven"),
    "a text before a line separator": ("text", "Seven\u2028", "text", "Seven"),
    "a number among white space": ("text", "\t07", "integer", 7),
    "an option with noughts": ("one_of", "nought", "integer", 7),
    "labels in different forms": ("text", "ada@xn--bcher-kva.b\u00fccher.test", "email", "ada@b\u00fccher.xn--bcher-kva.test"),
    "a quoted local part": ("text", '"ada"@engine.test', "email", "ada@engine.test"),
    "a time of another zone": ("text", "2026-03-01T00:30:00+02:00", "date_time", "2026-02-28T22:30:00Z"),
    "a time with another sign": ("text", "2026-02-28 23.5-01:30", "date_time", "2026-03-01T01:00:00Z"),
    "a time of a week": ("text", "2026-W09-7T12", "date_time", "2026-03-01T12:00:00Z"),
    "midnight": ("text", "2026-02-28T24:00Z", "date_time", "2026-03-01T00:00:00Z"),
    "the first hour": ("text", "0001-01-01T00:00Z", "date_time", "0001-01-01T00:00:00Z"),
    "several options": ("several_of", ["gold", "paris"], "text", "Gold tier, Paris, France"),
    "a number behind noughts": ("text", "-0000000000000007", "integer", -7),
    "a postal address": ("address", {"street": "1 Road, Flat 2", "city": "Cork"}, "text", "1 Road, Flat 2, Cork"),
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
async def test_a_value_that_is_not_converted_yet_has_its_holder(
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    *,
    ada: Thing,
    grace: Thing,
    before: tuple[str, Json, str, Json],
) -> None:
    """While a field becomes unique, nobody takes the value of an object that the conversion has not come to, in any way."""
    kind, value, new_kind, sent = before
    options: Json = {"options": _OPTIONS} if kind in ("one_of", "several_of") else {}
    field = await define(frank, "own", kind, **options)
    await change(alice, ada, fields={"own": value})
    other = Thing(await alice.post("/api/v2/contacts", json={"fields": {"own": value}, "emails": [{"email": "other@a.test"}]}))
    gone = await alice.delete(other.url)
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(unique=True, kind=FieldKind(new_kind))
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    refused = [
        await alice.patch(record_of(grace), json={"fields": {"own": sent}}),
        await alice.post("/api/v2/contacts", json={"fields": {"own": sent}}),
        await restore(alice, other),
    ]
    kept = (await undo(alice, gone)).kept
    await alice.post(
        "/api/herdbook/contacts/bulk",
        json={
            "operations": [
                {"action": "upsert", "contact": {"match_by": "emails", "emails": [{"email": "other@a.test"}]}},
            ]
        },
    )
    own = await alice.patch(record_of(ada), json={"last_name": "King", "fields": {"own": value}})
    await convert(pool, ledger)

    assert own.status_code == 200, own.text
    assert [(each.status_code, faults(each)) for each in refused] == [(409, [("fields.own", "already_in_use")])] * 3
    assert [each.json()["conflict"]["id"] for each in refused] == [ada.id] * 3
    assert kept == {other.id: "conflict"}
    assert "fields" not in await read(alice, other)
    assert len((await read(alice, ada))["unique_values"]) == 1
    await assert_claimed(pool, alice.workspace_id)


@pytest.mark.parametrize("before", _ODD.values(), ids=_ODD.keys())
async def test_a_value_in_an_odd_spelling_is_told_if_another_takes_it(
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    *,
    ada: Thing,
    grace: Thing,
    before: tuple[str, Json, str, Json],
) -> None:
    """A value that another object takes is told with its holder, until it is changed. No look has found it before."""
    kind, value, new_kind, sent = before
    options: Json = {"options": _OPTIONS} if kind in ("one_of", "several_of") else {}
    field = await define(frank, "own", kind, **options)
    await change(alice, ada, fields={"own": value})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(unique=True, kind=FieldKind(new_kind))
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    taken = await alice.patch(record_of(grace), json={"fields": {"own": sent}})
    await convert(pool, ledger)
    told = (await frank.get(f"{field.url}/conversion")).json()
    of_ada = (await read(alice, ada))["fields"]["own"]
    await change(alice, ada, fields={"own": None})

    assert taken.status_code == 200, taken.text
    assert (told["finished"], told["unclaimed"]) == (True, 1)
    assert told["examples"] == [{"id": ada.id, "value": of_ada, "holder": grace.id}]
    assert (await frank.get(f"{field.url}/conversion")).json()["unclaimed"] == 0
    await assert_claimed(pool, alice.workspace_id)


async def test_more_values_than_an_index_tells_apart_are_told(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, grace: Thing
) -> None:
    """Links that begin alike are found by their holders' index entry up to a few; one that is not is told afterwards."""
    field = await define(frank, "own")
    start = f"https://shop.test/{'a' * 100}/"
    operations = [{"action": "create", "contact": {"fields": {"own": f"{start}{number:02}"}}} for number in range(12)]
    made = (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).json()["results"]
    first, *_, last = sorted((each["contact"] for each in made), key=itemgetter("id"))
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    statuses = [(await alice.patch(record_of(grace), json={"fields": each["fields"]})).status_code for each in (first, last)]
    await convert(pool, ledger)

    assert statuses == [409, 200]
    (told,) = (await frank.get(f"{field.url}/conversion")).json()["examples"]
    assert (told["id"], told["holder"]) == (last["id"], grace.id)


@pytest.mark.parametrize("before", _ODD.values(), ids=_ODD.keys())
async def test_a_value_in_an_odd_spelling_is_nobody_elses(
    pool: "asyncpg.Pool[asyncpg.Record]",
    alice: Person,
    frank: Person,
    *,
    ada: Thing,
    grace: Thing,
    before: tuple[str, Json, str, Json],
) -> None:
    """No writer gets a value that another object has once its field is unique, however its holder spells it."""
    kind, value, new_kind, sent = before
    options: Json = {"options": _OPTIONS} if kind in ("one_of", "several_of") else {}
    field = await define(frank, "own", kind, **options)
    await change(alice, ada, fields={"own": value})
    taken = await taken_at_once(frank, field, new_kind, alice, grace, sent)
    told = (await frank.get(f"{field.url}/conversion")).json()

    assert [(each.status_code, faults(each)) for each in taken] == [(409, [("fields.own", "already_in_use")])] * 2
    assert {each.json()["conflict"]["id"] for each in taken} == {ada.id}
    assert (told["finished"], told["unclaimed"]) == (True, 0)
    await assert_claimed(pool, alice.workspace_id)


async def taken_at_once(
    frank: Person, field: Defined, kind: str, alice: Person, other: Thing, sent: Json
) -> list[httpx.Response]:
    """Make a field unique. Return the answers to two who send a value after that and before any slice of its conversion."""
    finish, answers = Call.finish, list[httpx.Response]()

    async def then_finish(call: Call, *task: Any) -> None:
        # A conversion is finished before the look, too.
        if (await frank.get(field.url)).json()["unique"] and not answers:
            body = {"fields": {"own": sent}}
            answers.extend(await gather(alice.patch(record_of(other), json=body), alice.post("/api/v2/contacts", json=body)))
        await finish(call, *task)

    with pytest.MonkeyPatch.context() as hooked:
        hooked.setattr(Call, "finish", then_finish)
        changed = await frank.patch(field.url, json={"kind": kind, "unique": True})
    assert changed.status_code == 200, changed.text
    return answers


async def test_a_look_at_many_values_gives_others_their_turn(pool: Any, alice: Person, frank: Person) -> None:
    """A look at hundreds of values waits for another slice of time after each hundred."""
    field = await define(frank, "own")
    operations = [{"action": "create", "contact": {"fields": {"own": f"{number}"}}} for number in range(250)]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    before = msgspec.convert(field.json, Field)
    slices = list[None]()

    async def time_slice() -> None:
        slices.append(None)

    source = effects.ValueSource(pool, time_slice, FIELD_HOLDERS["contact"], alice.workspace_id)
    found = await effects.effect_of(source, before, msgspec.structs.replace(before, kind=FieldKind.INTEGER))

    assert (found.change.converted, len(slices)) == (250, 3)


async def test_links_that_begin_alike_are_nobody_elses(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, grace: Thing
) -> None:
    """Nobody takes one of many links that an index does not tell apart while their field becomes unique."""
    field = await define(frank, "own")
    start = f"https://shop.test/{'a' * 100}/"
    operations = [{"action": "create", "contact": {"fields": {"own": f"{start}{number:02}"}}} for number in range(12)]
    made = (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).json()["results"]
    last = max((each["contact"] for each in made), key=itemgetter("id"))
    taken = await taken_at_once(frank, field, "text", alice, grace, last["fields"]["own"])

    assert [(each.status_code, each.json()["conflict"]["id"]) for each in taken] == [(409, last["id"])] * 2
    assert (await frank.get(f"{field.url}/conversion")).json()["unclaimed"] == 0
    await assert_claimed(pool, alice.workspace_id)


async def test_new_values_that_begin_alike_hide_no_other(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person
) -> None:
    """Contacts that claim values since a field became unique do not keep an index from finding those that do not yet."""
    field = await define(frank, "own")
    start = "a" * 100
    # They come first in the index.
    new = [Thing(await alice.post("/api/v2/contacts", json={})) for _ in range(11)]
    old = [Thing(await alice.post("/api/v2/contacts", json={"fields": {"own": f"{start}{number}"}})) for number in range(5)]
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    for number, each in enumerate(new[:10]):
        await change(alice, each, fields={"own": f"{start}new {number}"})
    taken = await alice.patch(record_of(new[10]), json={"fields": {"own": f"{start}4"}})
    await convert(pool, ledger)

    assert (taken.status_code, taken.json()["conflict"]["id"]) == (409, old[4].id)
    await assert_claimed(pool, alice.workspace_id)


async def test_a_claim_in_the_form_of_the_former_kind_has_its_holder(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """While a unique field gets another kind, nobody takes the value of a contact whose claim is of the former kind."""
    field = await define(frank, "own", unique=True)
    await change(alice, ada, fields={"own": "7.0"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(kind=FieldKind.DECIMAL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    taken = await alice.patch(record_of(grace), json={"fields": {"own": "7"}})
    await convert(pool, ledger)

    assert (taken.status_code, taken.json()["conflict"]["id"]) == (409, ada.id)
    await assert_claimed(pool, alice.workspace_id)


async def test_texts_become_numbers_of_the_region(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """A text becomes the number that it is in the workspace's region, and an undo gives it back as it was typed."""
    await set_region(pool, alice.workspace_id, "DE")
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": " 030 1234567"})
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": "phone", "unique": True})).json()
    changed = await frank.patch(field.url, json={"kind": "phone", "unique": True})
    converted = (await read(alice, ada))["fields"]["own"]
    taken = await alice.patch(record_of(grace), json={"fields": {"own": "030 1234567"}})
    undone = await undo(frank, changed)
    await convert(pool, ledger)

    assert (effect["converted"], effect["refused"], changed.status_code) == (1, 0, 200)
    assert converted == "+49301234567"
    assert (taken.status_code, taken.json()["conflict"]["id"]) == (409, ada.id)
    assert (undone.kept, (await read(alice, ada))["fields"]["own"]) == ({}, " 030 1234567")


async def test_numbers_of_the_region_that_are_the_same_are_told(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """A field of texts that are one number in the workspace's region does not become one of unique numbers."""
    await set_region(pool, alice.workspace_id, "DE")
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "030 1234567"})
    await change(alice, grace, fields={"own": "+49 30 1234567"})
    refused = await frank.patch(field.url, json={"kind": "phone", "unique": True})

    assert (refused.status_code, faults(refused)) == (422, [("unique", "values_in_use")])


@pytest.mark.parametrize("typed", ["030 1234567", "0301234567"])
async def test_a_number_of_the_region_has_its_holder(
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    *,
    ada: Thing,
    grace: Thing,
    typed: str,
) -> None:
    """While texts become unique numbers, nobody takes one that is written as in the workspace's region."""
    await set_region(pool, alice.workspace_id, "DE")
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": typed})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(kind=FieldKind.PHONE, unique=True)
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    taken = await alice.patch(record_of(grace), json={"fields": {"own": "0049 30 1234567"}})
    await convert(pool, ledger)

    assert (taken.status_code, taken.json()["conflict"]["id"]) == (409, ada.id)
    assert (await read(alice, ada))["fields"]["own"] == "+49301234567"


async def test_a_number_from_before_the_region_stays(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing
) -> None:
    """A number that was set before the workspace had a region stays as it is when its field becomes unique, or is one again."""
    field = await define(frank, "own", "phone")
    await change(alice, ada, fields={"own": "030 1234567"})
    await set_region(pool, alice.workspace_id, "DE")
    await frank.patch(field.url, json={"unique": True})
    unique = (await read(alice, ada))["fields"]["own"]
    as_text = await frank.patch(field.url, json={"kind": "text"})
    undone = await undo(frank, as_text)
    await convert(pool, ledger)

    assert unique == "030 1234567"
    assert (undone.kept, (await read(alice, ada))["fields"]["own"]) == ({}, unique)


async def test_an_odd_spelling_that_is_set_during_the_look_is_compared(
    alice: Person, frank: Person, ada: Thing, grace: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is set during the look refuses the change if another contact has it in an odd spelling."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "\t\tSeven"})
    look = api.effect_of

    async def then_set(*looked: Any) -> Any:
        found = await look(*looked)
        await change(alice, grace, fields={"own": "Seven"})
        return found

    monkeypatch.setattr(api, "effect_of", then_set)
    refused = await frank.patch(field.url, json={"unique": True})

    assert (refused.status_code, faults(refused)) == (422, [("unique", "values_in_use")])
    assert ada.id in refused.text


async def test_an_odd_spelling_that_is_set_during_the_look_is_claimed(
    pool: "asyncpg.Pool[asyncpg.Record]",
    alice: Person,
    frank: Person,
    *,
    ada: Thing,
    grace: Thing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody takes a value that was set in an odd spelling between the look and the change."""
    field = await define(frank, "own")
    look = api.effect_of

    async def then_set(*looked: Any) -> Any:
        found = await look(*looked)
        await change(alice, ada, fields={"own": "\t\tSeven"})
        return found

    monkeypatch.setattr(api, "effect_of", then_set)
    taken = await taken_at_once(frank, field, "text", alice, grace, "Seven")

    assert [(each.status_code, each.json()["conflict"]["id"]) for each in taken] == [(409, ada.id)] * 2
    await assert_claimed(pool, alice.workspace_id)


async def test_unclaimed_values_are_told_only_to_those_who_may_read_them(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, engine: Thing, client: httpx.AsyncClient
) -> None:
    """A caller who may not read companies learns how many values of them are without a claim, and none of these."""
    field = await define(frank, "own", object_type="company")
    other = await company_named(alice, "other.test")
    await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json={"fields": {"own": "\tSeven"}})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    await alice.patch(f"/api/herdbook/companies/{other.id}/record", json={"fields": {"own": "Seven"}})
    await convert(pool, ledger)
    key = await create_key(pool, alice.workspace_id, "Contacts", ["contacts:read"])
    reader = Person(client, alice.workspace_id, key)
    told = [(await each.get(f"{field.url}/conversion")).json() for each in (frank, reader)]

    assert [each["unclaimed"] for each in told] == [1, 1]
    assert [each["examples"] for each in told] == [[{"id": engine.id, "value": "\tSeven", "holder": other.id}], []]


async def test_writes_beside_times_that_become_unique_cost_little(ledger: Ledger, alice: Person, frank: Person) -> None:
    """While a field of thousands of times of one day becomes unique, a bulk takes about as long as before."""
    field = await define(frank, "own", "date_time")
    start = datetime(2026, 3, 1, tzinfo=UTC)
    times = [(start + timedelta(seconds=20 * number)).isoformat() for number in range(3200)]
    operations = [{"action": "create", "contact": {"fields": {"own": each}}} for each in times]
    took: list[float] = []
    for number in range(32):
        if number == 31:
            field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
            origin = Origin(ids.new_id(), ids.NIL)
            await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), origin)
        began = perf_counter()
        sent = {"operations": operations[100 * number : 100 * number + 100]}
        made = (await alice.post("/api/herdbook/contacts/bulk", json=sent)).json()["results"]
        took.append(perf_counter() - began)
        assert [each["result"] for each in made] == ["created"] * 100

    assert took[-1] < 10 * max(took[1:-1])


async def test_other_values_are_taken_while_a_field_becomes_unique(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """While a field becomes unique, a value that nobody has is accepted, and one that its holder has given up."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "Seven"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    await change(alice, grace, fields={"own": "seven"})
    await change(alice, ada, fields={"own": None})
    await change(alice, grace, fields={"own": "Seven"})
    await convert(pool, ledger)

    assert (await read(alice, grace))["unique_values"] == ["own=Seven"]
    await assert_claimed(pool, alice.workspace_id)


async def test_a_conversion_of_no_values_walks_nothing(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, ada: Thing
) -> None:
    """A conversion of few values takes a slice for them, and none for the contacts without a value."""
    field = await define(frank, "own")
    await define(frank, "own_2")
    operations = [{"action": "create", "contact": {"fields": {"own_2": str(number)}}} for number in range(600)]
    assert (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).status_code == 200
    last = Thing(await alice.post("/api/v2/contacts", json={"fields": {"own": "8"}}))
    await change(alice, ada, fields={"own": "7"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.INTEGER)), origin)
    written = await ledger.write(alice.workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)

    assert json.loads(written.body) == {"all": True}
    assert [(await read(alice, each))["fields"]["own"] for each in (ada, last)] == [7, 8]
    assert await pool.fetchval("select count(*) from unfinished where workspace_id = $1", alice.workspace_id) == 0


async def test_a_company_has_its_value_before_it_is_converted(
    ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, engine: Thing
) -> None:
    """While a field of companies becomes unique, no other company takes a value, and the conversion claims it."""
    field = await define(frank, "own", object_type="company")
    other = await company_named(alice, "other.test")
    await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json={"fields": {"own": "7"}})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    refused = await alice.patch(f"/api/herdbook/companies/{other.id}/record", json={"fields": {"own": "7"}})
    await convert(pool, ledger)

    assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, engine.id)
    record = (await alice.get(f"/api/herdbook/companies/{engine.id}/record")).json()
    assert record["unique_values"] == ["own=7"]


@pytest.mark.parametrize("sent", ["7", "a dozen"])
async def test_a_value_that_is_set_during_the_look_must_fit(
    alice: Person, frank: Person, ada: Thing, grace: Thing, *, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    """A value that is set after the look at all values and before the change must fit, and no other contact may have it."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": " 7 "})
    look = api.effect_of

    async def then_set(*looked: Any) -> Any:
        found = await look(*looked)
        await change(alice, grace, fields={"own": sent})
        return found

    monkeypatch.setattr(api, "effect_of", then_set)
    refused = await frank.patch(field.url, json={"kind": "integer", "unique": True})
    monkeypatch.undo()
    await change(alice, grace, fields={"own": "8"})
    changed = await frank.patch(field.url, json={"kind": "integer", "unique": True})

    named = {"7": "unique", "a dozen": "kind"}[sent]
    assert (refused.status_code, faults(refused)) == (422, [(named, "values_in_use")])
    assert f"`{sent}`" in refused.text
    assert changed.status_code == 200, changed.text
    assert [(await read(alice, each))["fields"]["own"] for each in (ada, grace)] == [7, 8]


async def test_values_that_are_set_during_the_look_are_compared_with_each_other(
    alice: Person, frank: Person, ada: Thing, grace: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two contacts that get the same value during the look refuse the change, in whatever spelling."""
    field = await define(frank, "own")
    look = api.effect_of

    async def then_set(*looked: Any) -> Any:
        found = await look(*looked)
        await change(alice, ada, fields={"own": "\t\t7"})
        await change(alice, grace, fields={"own": "7\t\t"})
        return found

    monkeypatch.setattr(api, "effect_of", then_set)
    refused = await frank.patch(field.url, json={"unique": True})

    assert (refused.status_code, faults(refused)) == (422, [("unique", "values_in_use")])
    assert (await frank.get(field.url)).json()["unique"] is False


@pytest.mark.parametrize("stops", [True, False], ids=["stops", "goes on"])
async def test_many_values_that_are_set_during_the_look_are_looked_at(
    alice: Person, frank: Person, ada: Thing, *, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    """If more values are set during the look than a command compares, all are looked at again, a few times."""
    monkeypatch.setattr(commands, "MAX_SET_SINCE", 0)
    field = await define(frank, "own")
    look, looks = api.effect_of, list[Json]()

    async def then_set(*looked: Any) -> Any:
        found = await look(*looked)
        looks.append(found)
        if not stops or len(looks) == 1:
            await change(alice, ada, fields={"own": str(len(looks))})
        return found

    monkeypatch.setattr(api, "effect_of", then_set)
    changed = await frank.patch(field.url, json={"unique": True})

    assert changed.status_code == (200 if stops else 503), changed.text
    assert len(looks) == (2 if stops else 6)
    assert (await frank.get(field.url)).json()["unique"] is stops


@pytest.mark.parametrize("precondition", [False, True])
async def test_a_definition_that_changes_during_the_look_is_looked_at_again(
    alice: Person, frank: Person, ada: Thing, monkeypatch: pytest.MonkeyPatch, *, precondition: bool
) -> None:
    """A change of a kind beside one of a label is carried out, unless it has a precondition, which then fails."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "7"})
    headers = {"If-Match": (await frank.get(field.url)).headers["ETag"]} if precondition else {}
    look, looks = api.effect_of, list[Json]()

    async def then_named(*looked: Any) -> Any:
        looks.append(await look(*looked))
        if len(looks) == 1:
            assert (await frank.patch(field.url, json={"label": "Other"})).status_code == 200
        return looks[-1]

    monkeypatch.setattr(api, "effect_of", then_named)
    changed = await frank.patch(field.url, json={"kind": "integer"}, headers=headers)

    assert (changed.status_code, len(looks)) == ((412, 1) if precondition else (200, 2)), changed.text
    assert (await frank.get(field.url)).json()["label"] == "Other"
    assert (await read(alice, ada))["fields"] == {"own": "7" if precondition else 7}


@pytest.mark.parametrize(("label", "kind", "kept"), [("Sure", "yes_no", "Sure"), ("5", "integer", 5)])
async def test_a_change_of_kind_finishes_the_one_before(
    ledger: Ledger, alice: Person, frank: Person, ada: Thing, *, label: str, kind: str, kept: Json
) -> None:
    """Options that no slice has made texts yet are looked at, and converted, by their labels, and not by their ids."""
    field = await define(frank, "own", "one_of", options=[{"id": "yes", "label": label}, {"id": "no", "label": "No"}])
    await change(alice, ada, fields={"own": "yes"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.TEXT)), origin)
    told = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": kind})).json()
    changed = await frank.patch(field.url, json={"kind": kind})

    is_refused = kept == label
    assert (told["converted"], told["refused"]) == ((0, 1) if is_refused else (1, 0))
    assert changed.status_code == (422 if is_refused else 200), changed.text
    assert (await read(alice, ada))["fields"] == {"own": kept}


async def _half_listed(alice: Person, frank: Person, ledger: Ledger) -> Defined:
    """Define a text that 150 contacts have, make it a list with a label that is the text, and convert 100 of the values."""
    field = await define(frank, "tier")
    operations = [{"action": "create", "contact": {"fields": {"tier": "Gold"}}} for _ in range(150)]
    made = await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": operations})
    assert made.status_code == 200, made.text
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    options = (FieldOption(id="gold", label="Gold"), FieldOption(id="other", label="Silver"))
    origin = Origin(ids.new_id(), ids.NIL)
    patch = FieldUpdate(kind=FieldKind.ONE_OF, options=options)
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), origin)
    await ledger.write(alice.workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)
    return field


async def _tiers(pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> dict[str, int]:
    """Return how many contacts have each value of the field."""
    counting = "select own -> 'fields' ->> 'tier', count(*) from contact where workspace_id = $1 group by 1"
    return dict(map(tuple, await pool.fetch(counting, alice.workspace_id)))


@pytest.mark.parametrize(
    "patch",
    [
        {"options": [{"id": "gold", "label": "Premium"}, {"id": "other", "label": "Silver"}]},
        {"options": [{"id": "gold", "label": "Premium"}, {"id": "other", "label": "Gold"}]},
        {"options": [{"id": "other", "label": "Silver"}]},
        {"kind": "one_of", "options": [{"id": "gold", "label": "Premium"}, {"id": "other", "label": "Silver"}]},
    ],
    ids=["another label", "labels that swap", "an archived option", "with the kind"],
)
async def test_other_options_finish_the_conversion_first(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, patch: Json
) -> None:
    """A change of options converts the values that an earlier conversion has not come to, by the labels from before it."""
    field = await _half_listed(alice, frank, ledger)
    before = await _tiers(pool, alice)
    changed = await frank.patch(field.url, json=patch)
    await convert(pool, ledger)

    assert before == {"gold": 100, "Gold": 50}
    assert changed.status_code == 200, changed.text
    assert await _tiers(pool, alice) == {"gold": 150}


async def test_options_stay_while_values_are_converted(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person
) -> None:
    """The command that changes options asks for another look if a conversion has begun since its caller finished the last."""
    field = await _half_listed(alice, frank, ledger)
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(options=(FieldOption(id="gold", label="Premium"),))
    with pytest.raises(LookAgain):
        await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    await frank.patch(field.url, json={"label": "Level"})

    assert await _tiers(pool, alice) == {"gold": 100, "Gold": 50}


@pytest.mark.parametrize(("kind", "refusals"), [("one_of", 0), ("one_of", 1), ("several_of", 0)])
async def test_an_undo_of_options_finishes_the_conversion_first(
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    refusals: int,
) -> None:
    """An undo that gives back options converts the values first that another undo has begun to give back, whatever it takes."""
    before, after = ([{"id": "gold", "label": label}] for label in ("Gold", "Premium"))
    field = await define(frank, "tier", "one_of", options=before)
    operations = [{"action": "create", "contact": {"fields": {"tier": "gold"}}} for _ in range(150)]
    await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": operations})
    relabelled = await frank.patch(field.url, json={"kind": kind, "options": after})
    as_text = await frank.patch(field.url, json={"kind": "text"})
    texts = await _tiers(pool, alice)
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    as_list = UpdateField(field_id, FieldUpdate(kind=FieldKind(kind), options=(FieldOption(id="gold", label="Premium"),)))
    origin = Origin(ids.new_id(), ids.NIL)
    await ledger.write(alice.workspace_id, as_list, origin)
    await ledger.write(alice.workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)
    half = await _tiers(pool, alice)
    await pool.execute(
        "insert into undone_request (workspace_id, request_id, undone_id) values ($1, $2, $3)",
        *(alice.workspace_id, origin.request_id, ids.decoded(ids.REQUEST, as_text.headers["X-Request-Id"])),
    )
    write = Ledger.write
    left = refusals

    async def refuse_first(self: Ledger, workspace_id: Any, command: Any, *others: Any, **options: Any) -> Any:
        nonlocal left
        if isinstance(command, ConvertValues) and left:
            left -= 1
            raise Busy(1)
        return await write(self, workspace_id, command, *others, **options)

    monkeypatch.setattr(Ledger, "write", refuse_first)
    undone = await undo(frank, relabelled)
    await convert(pool, ledger)

    assert (texts, len(half)) == ({"Premium": 150}, 2)
    assert undone.kept == {}, undone.json
    assert (await frank.get(field.url)).json()["options"] == [{**before[0], "archived": False}]
    assert await _tiers(pool, alice) == {"gold": 150}
    await assert_consistent(pool, alice.workspace_id)


async def test_count_of_very_many_values_is_bounded(alice: Person, frank: Person, pool: Any) -> None:
    """A change that leaves all values as they are counts them exactly if they are not very many, and otherwise says so."""
    field = await define(frank, "own")
    await alice.post(
        "/api/herdbook/contacts/bulk", json={"operations": [{"action": "create", "contact": {"fields": {"own": "7"}}}] * 3}
    )

    few = (await frank.patch(f"{field.url}?dry_run=true", json={"label": "Other"})).json()
    assert (few["kept"], few["exact"]) == (3, True)
    await pool.execute(
        """
        insert into contact_field (workspace_id, key, contact_id)
        select $1, 'own=' || number % 10, gen_random_uuid() from generate_series(1, 2 * $2::int) as number
        """,
        alice.workspace_id,
        MAX_COUNTED,
    )
    many = (await frank.patch(f"{field.url}?dry_run=true", json={"label": "Other"})).json()
    assert (MAX_COUNTED <= many["kept"] <= MAX_COUNTED + 4, many["exact"]) == (True, False)
