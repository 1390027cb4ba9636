"""PATCH /herdbook/fields/{field_id} with another kind, and with unique values: what becomes of the values that are there."""

import json
from typing import Final

import asyncpg
import pytest

from herdbook import ids
from herdbook.app import FIELD_HOLDERS
from herdbook.custom_fields import effects
from herdbook.custom_fields.commands import ConvertValues, UpdateField
from herdbook.custom_fields.model import FieldKind, FieldUpdate
from herdbook.custom_fields.store import note_older_values
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change, read, record_of
from tests.custom_fields.claims import convert
from tests.custom_fields.definitions import define
from tests.history.requests import restore, undo

_OPTIONS: Final = [{"id": "gold", "label": "Gold tier"}, {"id": "silver", "label": "Silver"}]
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
    "no to text": ("yes_no", False, "text", "no"),
}


@pytest.mark.parametrize("conversion", CONVERTED.values(), ids=CONVERTED.keys())
async def test_a_value_is_converted(alice: Person, frank: Person, ada: Thing, conversion: tuple[str, Json, str, Json]) -> None:
    """A value gets the form of its field's new kind; an undo of the request gives both back."""
    kind, value, new_kind, converted = conversion
    options: Json = {"options": _OPTIONS} if kind in ("one_of", "several_of") else {}
    field = await define(frank, "own", kind, **options)
    await change(alice, ada, fields={"own": value})
    more = {"options": _OPTIONS} if new_kind in ("one_of", "several_of") else {}
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"kind": new_kind, **more})).json()
    changed = await frank.patch(field.url, json={"kind": new_kind, **more})
    record = await read(alice, ada)
    undone = await frank.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})

    assert (changed.status_code, changed.json()["kind"]) == (200, new_kind), changed.text
    assert record["fields"] == {"own": converted}
    assert (effect["kept"] + effect["converted"], effect["refused"]) == (1, 0)
    assert undone.json()["kept"] == []
    assert (await read(alice, ada))["fields"] == {"own": value}


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
        "converted": 1,
        "refused": 1,
        "examples": [{"id": grace.id, "value": "a dozen"}],
    }
    assert (refused.status_code, faults(refused)) == (422, [("kind", "values_in_use")])
    assert (await frank.get(field.url)).json() == field.json
    assert (await read(alice, ada))["fields"] == {"own": "12"}


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


async def test_a_conversion_goes_on_after_a_crash(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger
) -> None:
    """A conversion of more values than a slice has is finished by a later round, from where a crash has stopped it."""
    field = await define(frank, "own")
    for _ in range(2):
        operations = [{"action": "create", "contact": {"fields": {"own": f" {number} "}}} for number in range(400)]
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

    assert first_slice == 500
    assert await pool.fetchval(counting, alice.workspace_id) == 800
    assert await pool.fetchval("select count(*) from unfinished where workspace_id = $1", alice.workspace_id) == 0


async def test_values_of_an_earlier_release_get_their_form(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """Numbers, and claims of numbers and texts, in the form of an earlier release are brought into the present one, once."""
    await define(frank, "line", "phone", unique=True)
    await define(frank, "badge", unique=True)
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
    taken = [await alice.patch(record_of(grace), json={"fields": sent}) for sent in ({"line": "+4930901820"}, {"badge": "A"})]
    await note_older_values(pool)

    assert (record["fields"], sorted(record["unique_values"])) == (now["fields"], sorted(now["unique_values"]))
    assert [each.status_code for each in taken] == [409, 409]
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
