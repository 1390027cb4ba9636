"""The values of fields in the record of a contact, at a creation, and in upserts and merges."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from herdbook import ids
from herdbook.contacts.commands import UpdateContact
from herdbook.contacts.model import ContactRecord, ContactUpdate
from herdbook.contacts.store import CONTACT_FIELDS, CONTACTS, ContactRow
from herdbook.ledger.unit_of_work import Origin, UnitOfWork
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import create, update, write
from tests.contacts.records import change, read, record_of
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import ask as query
from tests.custom_fields.test_query_contacts import where

_ADDRESS: Final = {"street": "12 St James's Square", "city": "London", "country": "GB"}
# The values of each kind, as they are sent and as they are kept.
GOOD: Final = {
    "text": ("Countess ", "Countess "),
    "long_text": ("x" * 10_000, "x" * 10_000),
    "integer": (-(2**53) + 1, -(2**53) + 1),
    "decimal": ("-0012.50", "-12.50"),
    "date": ("1815-12-10", "1815-12-10"),
    "date_time": ("2026-03-01T13:00+01:00", "2026-03-01T12:00:00.000000Z"),
    "yes_no": (False, False),
    "one_of": ("gold", "gold"),
    "several_of": (["silver", "gold"], ["silver", "gold"]),
    "link": ("https://example.com/ada?x=1", "https://example.com/ada?x=1"),
    "email": (" Ada@Example.com ", "Ada@Example.com"),
    "phone": ("0044 (0)20 7946-0958", "+442079460958"),
    "address": ({"country": "GB", **_ADDRESS, "region": None}, _ADDRESS),
    "money": ({"currency": "EUR", "amount": "12.50"}, {"amount": "12.50", "currency": "EUR"}),
}
BAD: Final[dict[str, tuple[str, Json, str, str]]] = {
    "text of a number": ("text", 1, "", "invalid_type"),
    "long text for a text": ("text", "x" * 256, "", "too_long"),
    "empty": ("text", "", "", "too_short"),
    "blank": ("text", " \u200b", "", "blank"),
    "NUL": ("long_text", "a\x00b", "", "invalid_characters"),
    "fraction": ("integer", 1.5, "", "invalid_type"),
    "yes for a number": ("integer", True, "", "invalid_type"),
    "large": ("integer", 2**53, "", "invalid_range"),
    "number for a decimal": ("decimal", 12.5, "", "invalid_type"),
    "no decimal": ("decimal", "1e5", "", "invalid_format"),
    "no day": ("date", "2026-02-30", "", "invalid_format"),
    "no time": ("date_time", "2026-03-01", "", "invalid_format"),
    "no boolean": ("yes_no", "yes", "", "invalid_type"),
    "no option": ("one_of", "iron", "", "invalid_choice"),
    "no options": ("several_of", ["gold", "iron"], "[1]", "invalid_choice"),
    "an option twice": ("several_of", ["gold", "gold"], "[1]", "duplicate"),
    "no link": ("link", "javascript:alert(1)", "", "invalid_format"),
    "no address": ("email", "ada", "", "invalid_format"),
    "no phone": ("phone", "none", "", "invalid_format"),
    "unknown part": ("address", {"planet": "Earth"}, ".planet", "unknown_field"),
    "no part": ("address", {}, "", "too_short"),
    "no currency": ("money", {"amount": "1"}, ".currency", "required"),
    "bad currency": ("money", {"amount": "1", "currency": "eur"}, ".currency", "invalid_format"),
    "no id": ("user", "ada", "", "invalid_format"),
    "nobody": ("contact", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "", "not_found"),
}


@pytest.mark.parametrize(("kind", "sent", "kept"), [(kind, *values) for kind, values in GOOD.items()], ids=GOOD.keys())
async def test_a_value_is_stored(alice: Person, frank: Person, ada: Thing, kind: str, sent: Json, kept: Json) -> None:
    """A value of each kind is kept in one form, and null clears it."""
    await define(frank, "own", kind)
    record = (await change(alice, ada, fields={"own": sent})).json()

    assert record["fields"] == {"own": kept}
    assert record == await read(alice, ada)
    assert "fields" not in (await change(alice, ada, fields={"own": None})).json()


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_bad_value_is_named(
    alice: Person, frank: Person, ada: Thing, stored: Stored, bad: tuple[str, Json, str, str]
) -> None:
    """A value that does not have the form of its kind is refused by name, and changes nothing."""
    kind, value, place, code = bad
    await define(frank, "own", kind)
    response = await alice.patch(record_of(ada), json={"fields": {"own": value}, "last_name": "King"})

    assert (response.status_code, faults(response)) == (422, [(f"fields.own{place}", code)])
    assert (await stored.row(ada))["own"] is None


async def test_no_values_at_all_are_said_key_by_key(alice: Person, frank: Person, ada: Thing, engine: Thing) -> None:
    """Null for `fields` as a whole is refused by each way in, with the remedy; a key alone can be null."""
    await define(frank, "own")
    await change(alice, ada, fields={"own": "kept"})
    contact, match = {"fields": None}, {"match_by": "external_ids", "external_ids": ["crm-1"], "fields": None}
    operations = [create(fields=None), update(ada.id, fields=None), {"action": "upsert", "contact": match}]
    answers = [
        await alice.patch(record_of(ada), json=contact),
        await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json=contact),
        await alice.post("/api/v2/contacts", json=contact),
        await write(alice, *operations, atomic=True),
    ]
    errors = [error for each in answers for error in each.json()["errors"]]

    assert [each.status_code for each in answers] == [422] * 4
    assert [error["field"] for error in errors] == ["fields"] * 3 + [f"operations[{n}].contact.fields" for n in range(3)]
    assert all("send that member as null" in error["message"] for error in errors)
    assert (await read(alice, ada))["fields"] == {"own": "kept"}


async def test_a_bulk_names_each_place_in_its_body(alice: Person, frank: Person) -> None:
    """An error of a value in a bulk names all its places from the top of the body, also that of an earlier item."""
    await define(frank, "own", "several_of")
    problem = (await write(alice, create(fields={"own": ["gold", "gold"]}))).json()["results"][0]["problem"]
    path = "operations[0].contact.fields.own"

    assert [error["field"] for error in problem["errors"]] == [f"{path}[1]"]
    assert f"`{path}[1]` is the same option as `{path}[0]`." in problem["detail"]


async def test_many_errors_are_counted(alice: Person, frank: Person, ada: Thing) -> None:
    """At most a hundred errors of values are listed, by each way in; the last one counts those that are left out."""
    await define(frank, "own", "several_of")
    sent = {"own": ["iron"] * 99, "other": 1}
    hundred = await alice.patch(record_of(ada), json={"fields": sent})
    sent["own"] = ["iron"] * 150
    more = await alice.patch(record_of(ada), json={"fields": sent})
    bulk = (await write(alice, update(ada.id, fields=sent))).json()["results"][0]["problem"]

    assert len(faults(hundred)) == len(faults(more)) == len(bulk["errors"]) == 100
    assert faults(hundred)[-1] == ("fields.other", "unknown_field")
    assert faults(more)[-2:] == [("fields.own[98]", "invalid_choice"), ("fields", "further_errors")]
    assert more.json()["errors"][-1]["message"].startswith("`fields` has 52 further errors, which are not listed.")
    assert bulk["errors"][-1]["message"].startswith("`operations[0].contact.fields` has 52 further errors")


async def test_a_reference_names_an_object_of_the_workspace(
    alice: Person, frank: Person, charlie: Person, ada: Thing, grace: Thing, engine: Thing
) -> None:
    """A reference to a contact or a company is stored; one to an object of another workspace is refused."""
    await define(frank, "mentor", "contact")
    await define(frank, "former_company", "company")
    fields = {"mentor": grace.id, "former_company": engine.id}
    stranger = Thing(await charlie.post("/api/v2/contacts", json={}))
    response = await alice.patch(record_of(ada), json={"fields": {"mentor": stranger.id}})

    assert (await change(alice, ada, fields=fields)).json()["fields"] == fields
    assert faults(response) == [("fields.mentor", "not_found")]


async def test_a_field_must_be_defined(alice: Person, frank: Person, charlie: Person, ada: Thing) -> None:
    """A field that is not defined, of companies only, or of another workspace is refused."""
    await define(frank, "founded", "date", "company")
    await define(charlie, "charlies")
    sent = {"founded": "1837-12-01", "charlies": "x", "none": None}
    response = await alice.patch(record_of(ada), json={"fields": sent})

    assert faults(response) == [(f"fields.{key}", "unknown_field") for key in sent]


async def test_other_values_stay(alice: Person, frank: Person, ada: Thing, stored: Stored) -> None:
    """A change of one value leaves the others alone, and so does an update by the vendor's operation, which shows none."""
    for key in ("one", "two"):
        await define(frank, key)
    await change(alice, ada, fields={"one": "1", "two": "2"})
    await change(alice, ada, fields={"one": "3"})
    etag = (await change(alice, ada, fields={"one": "3"})).headers["ETag"]
    vendors = await alice.patch(ada.url, json={"last_name": "King"})

    assert "fields" not in vendors.json()
    assert (await read(alice, ada))["fields"] == {"one": "3", "two": "2"}
    assert etag == f'"{(await stored.changes())[-1].seq - 1}"'


async def test_an_archived_field_is_hidden(alice: Person, frank: Person, ada: Thing) -> None:
    """An archived field is neither shown nor set; with the field, its value comes back."""
    fields = [await define(frank, key) for key in ("one", "two")]
    await change(alice, ada, fields={"one": "1", "two": "2"})
    for field in fields:
        await frank.patch(field.url, json={"archived": True})
    refused = await alice.patch(record_of(ada), json={"fields": {"one": "3"}})
    hidden = [await read(alice, ada), (await change(alice, ada, last_name="King")).json()]
    await frank.patch(fields[0].url, json={"archived": False})

    assert faults(refused) == [("fields.one", "archived")]
    assert not any("fields" in each for each in hidden)
    assert (await read(alice, ada))["fields"] == {"one": "1"}


_NUMBERS: Final = ["+49 30 901820", "0049 30 901820", "030 901820", "(030) 90-18-20", "+49 (0)30 901820", "+4930901820"]


@pytest.mark.parametrize("sent", _NUMBERS)
async def test_all_spellings_of_a_number_are_one(alice: Person, frank: Person, ada: Thing, grace: Thing, sent: str) -> None:
    """A number is kept in one form and belongs to one holder, in any spelling, also after the region has changed."""
    await define(frank, "line", "phone", unique=True)
    await frank.patch("/api/herdbook/workspace", json={"region": "DE"})
    record = (await change(alice, ada, fields={"line": sent})).json()
    taken = [await alice.patch(record_of(grace), json={"fields": {"line": each}}) for each in _NUMBERS]
    found = [await query(alice, where=where("fields.line", "eq", each)) for each in _NUMBERS]
    others = await query(alice, where=where("fields.line", "not_eq", "030/901820"))
    await frank.patch("/api/herdbook/workspace", json={"region": "GB"})
    still = await query(alice, where=where("fields.line", "one_of", ["0049 30 901820", "1"]))

    assert record["fields"] == {"line": "+4930901820"}
    assert record["unique_values"] == ["line=+4930901820"]
    assert {(each.status_code, *faults(each)) for each in taken} == {(409, ("fields.line", "already_in_use"))}
    assert [[contact["id"] for contact in page["data"]] for page in (*found, still)] == [[ada.id]] * 7
    assert [contact["id"] for contact in others["data"]] == [grace.id]


async def test_a_number_with_a_remark_stays_as_it_was_sent(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A number with an extension or a remark, or of no known country, keeps its text, and is compared by its digits."""
    await define(frank, "line", "phone", unique=True)
    texts = ["+49 30 901820 ext. 12", "030 901820 (mornings)", "112"]
    kept = [(await change(alice, ada, fields={"line": each})).json() for each in texts]
    same = await alice.patch(record_of(grace), json={"fields": {"line": "1-1-2"}})

    assert [record["fields"]["line"] for record in kept] == texts
    assert [record["unique_values"] for record in kept] == [["line=+4930901820"], ["line=030901820"], ["line=112"]]
    assert faults(same) == [("fields.line", "already_in_use")]


async def test_unique_texts_are_compared_as_people_read_them(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """Unique texts differ by case, and not by Unicode form and outer white space; e-mail addresses do not differ by case."""
    await define(frank, "number", unique=True)
    await define(frank, "mail", "email", unique=True)
    sent = {"number": " Caf\u00e9-7\u2003", "mail": "Ada@Engine.test"}
    record = (await change(alice, ada, fields=sent)).json()
    same = [
        await alice.patch(record_of(grace), json={"fields": {key: value}})
        for key, value in (("number", "Cafe\u0301-7"), ("number", "Caf\u00e9-7"), ("mail", "ADA@ENGINE.TEST"))
    ]
    other = await change(alice, grace, fields={"number": "caf\u00e9-7"})

    assert record["fields"] == sent
    assert record["unique_values"] == ["number=Caf\u00e9-7", "mail=ada@engine.test"]
    assert [faults(each)[0][1] for each in same] == ["already_in_use"] * 3
    assert other.json()["unique_values"] == ["number=caf\u00e9-7"]


async def test_a_unique_value_has_one_holder(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A value of a unique field of another active contact is refused with that contact, until it is free."""
    await define(frank, "badge", "email", unique=True)
    await change(alice, grace, fields={"badge": "Grace@Example.com"})
    refused = await alice.patch(record_of(ada), json={"fields": {"badge": "grace@example.com"}})
    await alice.request("DELETE", grace.url)
    taken = await change(alice, ada, fields={"badge": "grace@example.com"})
    back = await alice.post(f"/api/herdbook/contacts/{grace.id}/restore")

    assert (refused.status_code, faults(refused)) == (409, [("fields.badge", "already_in_use")])
    assert refused.json()["conflict"] == {"object": "contact", "id": grace.id}
    assert taken.json()["fields"] == {"badge": "grace@example.com"}
    assert (back.status_code, faults(back)) == (409, [("fields.badge", "already_in_use")])


async def test_a_required_value_stays(alice: Person, frank: Person, ada: Thing) -> None:
    """A required field cannot be cleared, and a contact that is created with fields needs it."""
    await define(frank, "tier", "one_of", required=True)
    await change(alice, ada, fields={"tier": "silver"})
    await define(frank, "origin", default="import")
    cleared = await alice.patch(record_of(ada), json={"fields": {"tier": None}})
    created = await alice.post("/api/v2/contacts", json={"fields": {}})
    complete = Thing(await alice.post("/api/v2/contacts", json={"fields": {"tier": "gold"}}))

    assert (await alice.post("/api/v2/contacts", json={})).status_code == 201
    assert faults(created) == [("fields.tier", "required")]
    assert (await read(alice, complete))["fields"] == {"origin": "import", "tier": "gold"}
    assert faults(cleared) == [("fields.tier", "required")]


async def test_an_empty_list_clears_no_required_value(alice: Person, frank: Person, ada: Thing) -> None:
    """An empty list is no value of a required field."""
    await define(frank, "own", "several_of", required=True)
    await change(alice, ada, fields={"own": ["gold"]})
    cleared = await alice.patch(record_of(ada), json={"fields": {"own": []}})

    assert faults(cleared) == [("fields.own", "required")]
    assert (await read(alice, ada))["fields"] == {"own": ["gold"]}


async def test_the_index_has_the_values(alice: Person, frank: Person, ada: Thing, pool: Any) -> None:
    """The index has one entry for a value, one for each option of a list, and none of a deleted contact."""
    for key, kind in (("title", "text"), ("size", "integer"), ("tiers", "several_of")):
        await define(frank, key, kind)
    await change(alice, ada, fields={"title": "Coûntess", "size": 7, "tiers": ["gold", "silver"]})
    statement = "select key from contact_field where workspace_id = $1 order by key"
    keys = [record["key"] for record in await pool.fetch(statement, alice.workspace_id)]
    await alice.request("DELETE", ada.url)

    assert keys == [f"size#2{70_000_000_000:026}", "tiers=gold", "tiers=silver", "title=countess"]
    assert await pool.fetch(statement, alice.workspace_id) == []


async def test_an_upsert_sets_values(alice: Person, frank: Person, ada: Thing) -> None:
    """An upsert sets the values that it has and leaves the others alone; a bulk shows the result."""
    for key in ("one", "two"):
        await define(frank, key)
    await change(alice, ada, fields={"one": "1", "two": "2"})
    upsert = {"action": "upsert", "contact": {"emails": [{"email": "ada@engine.test"}], "fields": {"two": "3"}}}
    create = {"action": "create", "contact": {"fields": {"one": 1}}}
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": [upsert, create]})
    first, second = response.json()["results"]

    assert first["contact"]["fields"] == {"one": "1", "two": "3"}
    assert second["problem"]["errors"][0]["field"] == "operations[1].contact.fields.one"


async def test_a_contact_that_comes_back_leaves_a_value_of_another(
    alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """An upsert that restores a contact gives back its values, except a unique one that another contact has by now."""
    await define(frank, "badge", unique=True)
    await define(frank, "title")
    await change(alice, ada, fields={"badge": "1", "title": "Countess"})
    await alice.request("DELETE", ada.url)
    await change(alice, grace, fields={"badge": "1"})
    upsert = {"action": "upsert", "contact": {"emails": [{"email": "ada@engine.test"}]}}
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": [upsert]})

    assert response.json()["results"][0]["result"] == "restored"
    assert (await read(alice, ada))["fields"] == {"title": "Countess"}


async def test_a_merge_combines_values(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """The target keeps its values and gets those that it lacks; options are united, and a unique value passes to it."""
    for key, kind in (("one", "text"), ("tiers", "several_of"), ("badge", "text")):
        await define(frank, key, kind, unique=key == "badge")
    await change(alice, ada, fields={"one": "1", "tiers": ["gold"]})
    await change(alice, grace, fields={"one": "2", "tiers": ["silver", "gold"], "badge": "7"})
    url = f"/api/herdbook/contacts/{ada.id}/merge"
    preview = (await alice.post(f"{url}?dry_run=true", json={"from": [grace.id]})).json()
    merged = await alice.post(url, json={"from": [grace.id]})
    other = await alice.post("/api/v2/contacts", json={"fields": {"badge": "7"}})
    combined = {"one": "1", "tiers": ["gold", "silver"], "badge": "7"}
    after = await read(alice, ada)
    undone = await frank.post("/api/herdbook/undo", json={"request_id": merged.headers["X-Request-Id"]})

    assert preview["contact"]["fields"] == after["fields"] == combined
    assert other.json()["conflict"]["id"] == ada.id
    assert undone.json()["kept"] == []
    assert (await read(alice, grace))["fields"]["badge"] == "7"
    assert (await read(alice, ada))["fields"] == {"one": "1", "tiers": ["gold"]}


async def test_the_vendors_update_reads_no_definition(alice: Person, frank: Person, ada: Thing) -> None:
    """An update by the vendor's operation needs no definition, and writes no index entry of a value."""
    await define(frank, "one")
    await change(alice, ada, fields={"one": "1"})
    command = UpdateContact(ada.uuid, ContactUpdate(last_name="King"))
    work = UnitOfWork(alice.workspace_id, 0, datetime.now(UTC), datetime.now(UTC))
    record = await read(alice, ada)
    row = ContactRow.of(work, ada.uuid, 1, None, msgspec.convert(record, ContactRecord))
    work.note_looked_up(command.needs())
    work.add_loaded(CONTACTS, row)
    work.carry_out(command, Origin(ids.new_id(), ids.NIL))

    assert {need.table for need in command.needs()} == {CONTACTS}
    assert work.changed_in(CONTACT_FIELDS) == []


async def test_a_reference_to_a_deleted_object_is_sent_back(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A record may be sent as it was read, although one of its references names a deleted contact by now."""
    await define(frank, "own", "contact")
    await define(frank, "other", "text")
    await change(alice, ada, fields={"own": grace.id})
    await alice.delete(grace.url)
    sent = await alice.patch(record_of(ada), json={"fields": {"own": grace.id, "other": "x"}})

    assert sent.status_code == 200, sent.text
    assert sent.json()["fields"] == {"own": grace.id, "other": "x"}


async def test_an_archived_field_shows_no_unique_value(alice: Person, frank: Person, ada: Thing) -> None:
    """The value of an archived field is in no answer, also where it is unique."""
    field = await define(frank, "own", "text", unique=True)
    await change(alice, ada, fields={"own": "x"})
    await frank.patch(field.url, json={"archived": True})
    changed = await alice.patch(record_of(ada), json={"last_name": "King"})

    assert {"fields", "unique_values"}.isdisjoint(changed.json())
    assert {"fields", "unique_values"}.isdisjoint(await read(alice, ada))
