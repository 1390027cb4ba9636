"""The values of fields in the record of a contact, at a creation, and in upserts and merges."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.contacts.commands import UpdateContact
from herdbook.contacts.model import ContactRecord, ContactUpdate
from herdbook.contacts.store import CONTACT_FIELDS, CONTACTS, ContactRow
from herdbook.ledger.unit_of_work import Origin, UnitOfWork
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import both_forms, create, update, write
from tests.contacts.records import change, read, record_of
from tests.custom_fields.claims import assert_claimed
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import ask as query
from tests.custom_fields.test_query_contacts import where
from tests.history.requests import restore

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
    assert etag.strip('"').partition(".")[0] == str((await stored.changes())[-1].seq - 1)


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
    """A number with a remark, or of no known country, keeps its text, and is compared by its digits."""
    await define(frank, "line", "phone", unique=True)
    texts = ["030 901820 (mornings)", "112"]
    kept = [(await change(alice, ada, fields={"line": each})).json() for each in texts]
    same = await alice.patch(record_of(grace), json={"fields": {"line": "1-1-2"}})

    assert [record["fields"]["line"] for record in kept] == texts
    assert [record["unique_values"] for record in kept] == [["line=030901820"], ["line=112"]]
    assert faults(same) == [("fields.line", "already_in_use")]


_EXTENDED: Final = [
    *("+49 30 901820 ext. 12", "0049 30 901820;ext=12", "(030) 901820 x 12", "030 901820, extension 12", "030901820 #12"),
]


@pytest.mark.parametrize("sent", _EXTENDED)
async def test_a_number_with_an_extension_is_another_one(
    alice: Person, frank: Person, ada: Thing, grace: Thing, sent: str
) -> None:
    """A number with an extension has one form in any spelling, and is not the number without it or with another one."""
    await define(frank, "line", "phone", unique=True)
    await frank.patch("/api/herdbook/workspace", json={"region": "DE"})
    record = (await change(alice, ada, fields={"line": sent})).json()
    taken = [await alice.patch(record_of(grace), json={"fields": {"line": each}}) for each in _EXTENDED]
    found = [await query(alice, where=where("fields.line", "eq", each)) for each in (*_EXTENDED, "030 901820")]
    others = [await change(alice, grace, fields={"line": each}) for each in ("030 901820", "030 901820 ext. 13")]

    assert record["fields"] == {"line": "+4930901820 ext. 12"}
    assert record["unique_values"] == ["line=+4930901820;ext=12"]
    assert {(each.status_code, *faults(each)) for each in taken} == {(409, ("fields.line", "already_in_use"))}
    assert [[contact["id"] for contact in page["data"]] for page in found] == [*[[ada.id]] * len(_EXTENDED), []]
    assert [each.json()["fields"]["line"] for each in others] == ["+4930901820", "+4930901820 ext. 13"]


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


async def test_each_error_names_its_holder(alice: Person, frank: Person, dave: Person, ada: Thing, grace: Thing) -> None:
    """Several values that others have are refused each with its holder, by all of herdbook's own writes, but not to Dave."""
    await define(frank, "badge", unique=True)
    await change(alice, grace, fields={"badge": "7"})
    other = Thing(await alice.post("/api/v2/contacts", json={"last_name": "Hamilton"}))
    own = {"emails": [{"email": "ada@engine.test"}], "fields": {"badge": "7"}}
    refused = [
        await alice.post("/api/herdbook/contacts", json=own),
        await alice.patch(record_of(other), json=own),
        await write(alice, {"action": "create", "contact": own}, atomic=True),
        await write(alice, {"action": "update", "id": other.id, "contact": own}, atomic=True),
    ]
    found = await write(alice, {"action": "create", "contact": own})
    unnamed = await write(dave, {"action": "create", "contact": own}, atomic=True)
    vendors = await alice.post("/api/v2/contacts", json=own)

    holders = [{"object": "contact", "id": ada.id}, {"object": "contact", "id": grace.id}]
    problems = [*(each.json() for each in refused), found.json()["results"][0]["problem"]]
    assert [each["status"] for each in problems] == [409, 409, 422, 422, 409]
    assert [[error["conflict"] for error in each["errors"]] for each in problems] == [holders] * 5
    assert [error.keys() for error in unnamed.json()["errors"]] == [{"field", "code", "message"}] * 2
    assert [error.keys() for error in vendors.json()["errors"]] == [{"field", "code", "message"}] * 2
    assert vendors.json()["conflict"] == holders[0]


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
    nulled = await alice.post("/api/v2/contacts", json={"fields": {"tier": None}})
    complete = Thing(await alice.post("/api/v2/contacts", json={"fields": {"tier": "gold"}}))

    assert (await alice.post("/api/v2/contacts", json={})).status_code == 201
    assert faults(created) == [("fields.tier", "required")]
    assert created.json()["detail"] == "`fields.tier` is missing. Send it."
    assert nulled.json()["detail"] == cleared.json()["detail"] == "`fields.tier` is required. Send a value."
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
    queried = await alice.post("/api/herdbook/contacts/query", json={})
    update = {"action": "update", "id": ada.id, "contact": {"last_name": "Byron"}}
    written = await alice.post("/api/herdbook/contacts/bulk", json={"operations": [update]})
    shown = [changed, await alice.get(record_of(ada)), queried, written]
    await alice.delete(ada.url)
    shown.append(await alice.get("/api/herdbook/contacts/deleted"))
    shown.append(await restore(alice, ada))

    assert [each.status_code for each in shown] == [200] * len(shown)
    assert [b'"own' in each.content for each in shown] == [False] * len(shown)


async def test_a_claim_that_an_earlier_release_has_left_is_free(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """Another contact can take a unique value of one that an earlier release has deleted without freeing the value."""
    await define(frank, "badge", unique=True)
    await change(alice, ada, fields={"badge": "7"})
    await alice.delete(ada.url)
    left = "insert into contact_field_value (workspace_id, value, contact_id) values ($1, 'badge=7', $2)"
    await pool.execute(left, alice.workspace_id, ada.uuid)
    taken = await alice.patch(record_of(grace), json={"fields": {"badge": "7"}})
    back = await restore(alice, ada)

    assert taken.status_code == 200, taken.text
    assert (back.status_code, faults(back)) == (409, [("fields.badge", "already_in_use")])
    await assert_claimed(pool, alice.workspace_id)


async def test_a_value_is_claimed_when_it_is_sent_again(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """A value without a claim is claimed by sending it again, once no other contact holds it; until then it is accepted."""
    await define(frank, "badge", unique=True)
    await change(alice, grace, fields={"badge": "7"})
    await pool.execute("""update contact set own = '{"fields":{"badge":"7"}}' where id = $1""", ada.uuid)
    early = (await change(alice, ada, fields={"badge": "7"})).json()
    await change(alice, grace, fields={"badge": None})
    late = (await change(alice, ada, fields={"badge": "7"})).json()
    refused = await alice.patch(record_of(grace), json={"fields": {"badge": "7"}})

    assert "unique_values" not in early
    assert late["unique_values"] == ["badge=7"]
    assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, ada.id)
    await assert_claimed(pool, alice.workspace_id)


_LONG: Final = "\u20ac" * 10_000


async def _long_fields(person: Person) -> list[str]:
    """Define fields of which nine long texts are too many bytes."""
    keys = [f"text_{number}" for number in range(10)]
    for key in keys:
        await define(person, key, "long_text")
    return keys


async def test_all_values_of_an_object_are_bounded(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """Values of more than 256 KiB together are refused, in a change, a creation and a merge, with a remedy."""
    keys = await _long_fields(frank)
    await change(alice, ada, fields=dict.fromkeys(keys[:8], _LONG))
    await change(alice, grace, fields={keys[8]: _LONG})
    changed = await alice.patch(record_of(ada), json={"fields": {keys[8]: _LONG}})
    created = await alice.post("/api/v2/contacts", json={"fields": dict.fromkeys(keys, _LONG)})
    merged = await alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]})

    assert [(each.status_code, faults(each)) for each in (changed, created)] == [(422, [("fields", "too_long")])] * 2
    assert "clear them with null" in changed.text
    assert (merged.status_code, faults(merged)) == (422, [("from", "too_long")])
    assert len((await read(alice, ada))["fields"]) == 8


async def test_an_object_with_too_many_bytes_may_get_fewer(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing
) -> None:
    """An object of an earlier release with too many bytes of values may be changed if it then has fewer, and not more."""
    keys = await _long_fields(frank)
    own = json.dumps({"fields": dict.fromkeys(keys, _LONG)}, ensure_ascii=False)
    await pool.execute("update contact set own = $2 where id = $1", ada.uuid, own)
    more = await alice.patch(record_of(ada), json={"fields": {keys[0]: "\U0001f600" * 10_000}})
    fewer = await alice.patch(record_of(ada), json={"fields": {keys[0]: "x"}})
    other = await alice.patch(record_of(ada), json={"last_name": "King", "fields": {}})

    assert (more.status_code, faults(more)) == (422, [("fields", "too_long")])
    assert fewer.status_code == 200, fewer.text
    assert other.status_code == 200, other.text


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_number_is_accepted_as_it_was_read_after_the_region_has_changed(
    alice: Person, frank: Person, ada: Thing, grace: Thing, *, bulk: bool
) -> None:
    """A number without a country stays if it is sent as it was read, though another contact has it by the region of later."""
    await define(frank, "line", "phone", unique=True)
    await change(alice, ada, fields={"line": "020 7946 0958"})
    await change(alice, grace, fields={"line": "+44 20 7946 0958"})
    assert (await frank.patch("/api/herdbook/workspace", json={"region": "GB"})).status_code == 200
    before = await alice.get(record_of(ada))
    sent = {"fields": before.json()["fields"]}
    if bulk:
        operations = [{"action": "update", "id": ada.id, "contact": sent}]
        again = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
        assert again.json()["results"][0]["result"] == "unchanged", again.text
    else:
        again = await alice.patch(record_of(ada), json=sent)
    anew = await alice.patch(record_of(ada), json={"fields": {"line": "(020) 7946 0958"}})

    assert again.status_code == 200, again.text
    assert (await alice.get(record_of(ada))).headers["ETag"] == before.headers["ETag"]
    assert (anew.status_code, anew.json()["conflict"]["id"]) == (409, grace.id)


# Members at fault beside values that are, and where each is named.
_FAULTS: Final[Json] = {"first_name": 5, "emails": [{"email": "a@"}], "fields": {"when": "x", "nope": 1}}
_NAMED: Final = {"first_name", "emails[0].email", "fields.when", "fields.nope"}
_MISSING: Final = {"fields.sure"}


@both_forms
@pytest.mark.parametrize("action", ["create", "update", "upsert"])
async def test_a_bulk_tells_faults_of_values_beside_others(
    alice: Person,
    frank: Person,
    ada: Thing,
    action: str,
    atomic: bool,  # noqa: FBT001  # pytest names it
) -> None:
    """Faults of values are told beside those of other members of an operation, in all of its ways."""
    await define(frank, "when", "date")
    await define(frank, "sure", required=True)
    operation: Json = {"action": action, "contact": _FAULTS} | ({"id": ada.id} if action == "update" else {})
    answer = await write(alice, operation, atomic=atomic)
    problem = answer.json() if atomic else answer.json()["results"][0]["problem"]

    named = _NAMED | (_MISSING if action == "create" else set[str]())
    assert {each["field"] for each in problem["errors"]} == {f"operations[0].contact.{name}" for name in named}
    assert all(f"`{each['field']}`" in each["message"] for each in problem["errors"])


async def test_faults_of_values_are_told_beside_others(alice: Person, frank: Person, ada: Thing, engine: Thing) -> None:
    """The whole of a body is looked at: values, too, if other members are at fault, and the other way round."""
    for object_type in ("contact", "company"):
        await define(frank, "when", "date", object_type)
        await define(frank, "sure", object_type=object_type, required=True)
    refused = [await alice.post("/api/herdbook/contacts", json=_FAULTS), await alice.patch(record_of(ada), json=_FAULTS)]
    company: Json = {"name": 5, "domains": [{"domain": "a.test"}], "fields": _FAULTS["fields"]}
    companies = [
        await alice.post("/api/herdbook/companies", json=company),
        await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json=company),
    ]
    missing = await alice.post("/api/herdbook/contacts", json={"firstname": 1, "fields": {"when": "x"}})

    assert [{name for name, _ in faults(each)} for each in refused] == [_NAMED | _MISSING, _NAMED]
    assert [{name for name, _ in faults(each)} for each in companies] == [
        {"name", "fields.when", "fields.nope", *_MISSING},
        {"name", "fields.when", "fields.nope"},
    ]
    assert faults(missing) == [
        ("firstname", "unknown_field"),
        ("fields.when", "invalid_format"),
        ("fields.sure", "required"),
    ]


async def test_missing_objects_and_values_are_told_together(alice: Person, frank: Person, ada: Thing) -> None:
    """A company and tags that do not exist are told beside the faults of values."""
    await define(frank, "when", "date")
    asked = {
        "company_id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "tag_ids": ["tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"],
        "fields": {"when": "x"},
    }
    refused = [
        await alice.post("/api/herdbook/contacts", json=asked),
        await alice.patch(record_of(ada), json=asked),
        await write(alice, {"action": "upsert", "contact": {**asked, "emails": [{"email": "b@b.test"}]}}, atomic=True),
    ]

    named = [[each["field"].removeprefix("operations[0].contact.") for each in one.json()["errors"]] for one in refused]
    assert named == [["company_id", "tag_ids[0]", "fields.when"]] * 3


async def test_an_archived_option_that_a_contact_has_is_no_fault_beside_others(
    alice: Person, frank: Person, ada: Thing
) -> None:
    """A value that the contact may keep is not told as a fault when another member is at fault."""
    field = await define(frank, "tiers", "several_of")
    await change(alice, ada, fields={"tiers": ["gold", "silver"]})
    await frank.patch(field.url, json={"options": [{"id": "gold", "label": "Gold"}]})
    refused = await alice.patch(record_of(ada), json={"first_name": 5, "fields": {"tiers": ["silver"]}})

    assert faults(refused) == [("first_name", "invalid_type")]


async def test_a_body_of_too_many_faults_has_a_last_one(alice: Person) -> None:
    """At most a hundred faults are told of a body, also if values are at fault beside other members."""
    refused = await alice.post("/api/herdbook/contacts", json={"first_name": 5, "fields": {f"a{n}": 1 for n in range(200)}})

    assert (len(faults(refused)), faults(refused)[0][0], faults(refused)[-1][1]) == (100, "first_name", "further_errors")
