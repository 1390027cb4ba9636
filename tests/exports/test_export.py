"""GET and POST /herdbook/exports."""

import csv
import io
import json
from typing import Any, Final

import asyncpg
import httpx
import pytest
from python_calamine import CalamineWorkbook

from herdbook.auth.store import create_key
from herdbook.formats.card_content import CardItem, content_of
from herdbook.formats.cards import Card, read_cards
from herdbook.formats.model import MAX_COLUMNS
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change
from tests.custom_fields.definitions import define
from tests.formats.cards import opened
from tests.importing.jobs import counts, upload

URL: Final = "/api/herdbook/exports"
FORMULAS: Final = ("=1+1", "+1", "-1", "@a", "'=1", "''@")


async def exported(person: Person, **query: str) -> httpx.Response:
    """Return an export."""
    response = await person.get(URL, params=query)
    assert response.status_code == 200, response.text
    return response


async def rows(person: Person, **query: str) -> list[dict[str, str]]:
    """Return the rows of an export as CSV."""
    return [*csv.DictReader(io.StringIO((await exported(person, format="csv", **query)).text))]


async def whole(alice: Person, frank: Person, ada: Thing, renewal: Thing) -> Json:
    """Give Ada all that a contact may have; return her record."""
    await define(frank, "tier", kind="one_of", options=[{"id": "gold", "label": "Gold, the best"}])
    await define(frank, "worth", kind="money")
    for key, kind in (("job_title", "text"), ("birthday", "date"), ("address", "address")):
        await define(frank, key, kind=kind)
    body = {"name": "Engines; & Sons", "domains": [{"domain": "engines.test"}]}
    company = (await alice.post("/api/v2/companies", json=body)).json()
    await alice.post(f"{ada.url.replace('/v2/', '/herdbook/')}/notes", json={"text": "First\nline"})
    await change(
        alice,
        ada,
        company_id=company["id"],
        emails=[{"email": "ada@a.test", "label": "work"}, {"email": "ada@b.test", "is_primary": True}],
        phone_numbers=[{"phone_number": "+44 20 7946 0958", "label": "mobile"}],
        description="=cmd()",
        time_zone="Europe/London",
        external_ids=["7", "8"],
        crm_association={"object_type": "contact", "crm_object_id": "1", "source": "hubspot"},
        tag_ids=[renewal.id],
        fields={
            "tier": "gold",
            "worth": {"amount": "12.50", "currency": "EUR"},
            "job_title": "Countess",
            "birthday": "1815-12-10",
            "address": {"street": "12 St James's Sq", "city": "London"},
        },
    )
    return (await alice.get(ada.url.replace("/v2/", "/herdbook/") + "/record")).json()


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    answers = [await client.get(URL), await client.post(URL, json={"object_type": "contact", "format": "csv"})]

    assert [each.status_code for each in answers] == [401, 401]


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """Charlie gets the contacts of his own workspace alone, of which there is none."""
    assert await rows(charlie) == []
    body = {"object_type": "contact", "format": "ndjson", "object_ids": [ada.id]}
    assert (await charlie.post(URL, json=body)).content == b""


async def test_a_scope_is_needed(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Nobody exports what they may not read."""
    key = await create_key(pool, alice.workspace_id, "Contacts alone", ["contacts:read"])
    person = Person(alice.client, alice.workspace_id, key)
    answers = [await person.get(URL, params={"object_type": name}) for name in ("contact", "company")]

    assert [each.status_code for each in answers] == [200, 403]


async def test_names_of_companies_and_tags_need_their_scopes(
    alice: Person, frank: Person, ada: Thing, renewal: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A person who may read contacts alone gets the ids of a company and of tags, as ever, and not their names."""
    await whole(alice, frank, ada, renewal)
    key = await create_key(pool, alice.workspace_id, "Contacts alone", ["contacts:read"])
    person = Person(alice.client, alice.workspace_id, key)

    [row] = await rows(person)
    [line] = (await exported(person, format="ndjson")).text.splitlines()
    cards = (await exported(person, format="vcard-4.0")).text

    assert (bool(row["company_id"]), row["company_name"], row["tags"]) == (True, "", "")
    assert not {"company_name", "tags"} & {*json.loads(line)}
    assert json.loads(line)["tag_ids"] == [renewal.id]
    assert "Sons" not in cards
    assert "CATEGORIES" not in cards


async def test_a_table_has_everything(alice: Person, frank: Person, ada: Thing, renewal: Thing) -> None:
    """A row has each member of a contact under its name, and no cell is a formula."""
    record = await whole(alice, frank, ada, renewal)
    [row] = await rows(alice)

    assert row == {
        "id": ada.id,
        "first_name": "Ada",
        "last_name": record["last_name"],
        "email_1_label": "work",
        "email_1": "ada@a.test",
        "email_2_label": "*",
        "email_2": "ada@b.test",
        "phone_number_1_label": "* mobile",
        "phone_number_1": "'+44 20 7946 0958",
        "company_name": "Engines; & Sons",
        "company_id": record["company"]["id"],
        "description": "'=cmd()",
        "time_zone": "Europe/London",
        "external_id_1": "7",
        "external_id_2": "8",
        "crm_object_id": "1",
        "crm_source": "hubspot",
        "crm_object_type": "contact",
        "tags": "Renewal",
        "fields.address.street": "12 St James's Sq",
        "fields.address.city": "London",
        "fields.address.region": "",
        "fields.address.postal_code": "",
        "fields.address.country": "",
        "fields.birthday": "1815-12-10",
        "fields.job_title": "Countess",
        "fields.tier": "Gold, the best",
        "fields.worth.amount": "12.50",
        "fields.worth.currency": "EUR",
        "note_1": "First\nline",
        "created_at": record["created_at"],
        "updated_at": record["updated_at"],
    }


async def test_a_workbook_has_the_same(alice: Person, frank: Person, ada: Thing, renewal: Thing) -> None:
    """A workbook has the texts of the table, unguarded, because none of its cells is a formula."""
    await whole(alice, frank, ada, renewal)
    [row] = await rows(alice)
    answer = await exported(alice, format="xlsx")
    sheet: Any = CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_name("Contacts").to_python()

    assert sheet == [[*row], [cell.removeprefix("'") if cell[:2] in ("'+", "'=") else cell for cell in row.values()]]


async def _with_notes(person: Person, thing: Thing, many: int, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    insert = """
        insert into contact_note (workspace_id, contact_id, note_id)
        select $1, $2, gen_random_uuid() from generate_series(1, $3)
    """
    await pool.execute(insert, person.workspace_id, thing.uuid, many)


async def test_a_table_cuts_off_no_columns(alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Objects with more notes than an import reads columns are exported as lines."""
    await _with_notes(alice, ada, MAX_COLUMNS, pool)

    refused = [await alice.get(URL, params={"format": name}) for name in ("csv", "xlsx")]
    lines = (await exported(alice, format="ndjson")).text.splitlines()

    assert [(each.status_code, faults(each)) for each in refused] == [(400, [("format", "invalid_choice")])] * 2
    assert len(lines) == 1


async def test_a_table_of_many_columns_can_be_imported(alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """An import reads each table that an export writes."""
    await _with_notes(alice, ada, 3000, pool)
    table = await exported(alice, format="csv")

    job = await upload(alice, table.content)

    assert len(job.targets) > 3000
    assert await job.check() == counts(unchanged=1)


async def test_a_line_has_the_record(alice: Person, frank: Person, ada: Thing, renewal: Thing) -> None:
    """A line of NDJSON is the record, with the names of what it refers to, and its notes."""
    record = await whole(alice, frank, ada, renewal)
    [line] = (await exported(alice, format="ndjson")).text.splitlines()
    added = {"company_name": "Engines; & Sons", "tags": ["Renewal"], "notes": ["First\nline"]}

    assert json.loads(line) == record | added


@pytest.mark.parametrize("version", ["3.0", "4.0"])
async def test_a_card_says_everything(alice: Person, frank: Person, ada: Thing, renewal: Thing, version: str) -> None:
    """A card has what it has a place for, and the rest in properties that herdbook reads back."""
    record = await whole(alice, frank, ada, renewal)
    [card] = read_cards(opened((await exported(alice, format=f"vcard-{version}")).content))
    assert isinstance(card, Card)
    content = content_of(card.properties)

    assert card.version == version
    assert (content.first_name, content.last_name, content.company) == ("Ada", record["last_name"], "Engines; & Sons")
    assert content.emails == (CardItem("ada@a.test", "work"), CardItem("ada@b.test", "", is_primary=True))
    assert content.phone_numbers == (CardItem("+44 20 7946 0958", "mobile", is_primary=True),)
    assert (content.job_title, content.birthday, content.time_zone) == ("Countess", "1815-12-10", "Europe/London")
    assert content.address == {"street": "12 St James's Sq", "city": "London"}
    assert (content.description, content.notes, content.tags) == ("=cmd()", ("First\nline",), ("Renewal",))
    assert {name: json.loads(value) for name, value in content.others.items()} == {
        "fields.tier": "gold",
        "fields.worth": {"amount": "12.50", "currency": "EUR"},
        "external_ids": ["7", "8"],
        "crm_association": record["crm_association"],
    }


@pytest.mark.parametrize("name", FORMULAS)
async def test_a_formula_stays_a_text(alice: Person, name: str) -> None:
    """A cell that a spreadsheet would run has one more apostrophe in front, so that an import can take it away."""
    await alice.post("/api/v2/contacts", json={"first_name": name})
    [row] = await rows(alice)

    assert row["first_name"] == f"'{name}"


async def test_companies_are_exported(alice: Person) -> None:
    """Companies have their domains, the primary one first."""
    domains = [{"domain": "a.test"}, {"domain": "b.test", "is_primary": True}]
    await alice.post("/api/v2/companies", json={"name": "Acme", "domains": domains})
    [row] = await rows(alice, object_type="company")

    assert (row["name"], row["domain_1"], row["domain_2"]) == ("Acme", "b.test", "a.test")


async def test_all_pages_are_in_the_file(alice: Person) -> None:
    """A file has all contacts, each once."""
    names = [f"N{number:04}" for number in range(1203)]
    for start in range(0, len(names), 600):
        operations = [{"action": "create", "contact": {"first_name": name}} for name in names[start : start + 600]]
        assert (await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})).status_code == 200

    assert sorted(row["first_name"] for row in await rows(alice)) == names


@pytest.mark.usefixtures("ada", "grace")
async def test_a_condition_chooses(alice: Person) -> None:
    """A query and a saved view choose what is exported, in their order."""
    where = {"field": "first_name", "op": "one_of", "value": ["Ada", "Grace"]}
    sort = [{"field": "first_name", "direction": "desc"}]
    body = {"object_type": "contact", "format": "csv", "where": where, "sort": sort}
    view = (await alice.post("/api/herdbook/views", json=_view(where, sort))).json()
    answer = await alice.post(URL, json=body)

    assert [row["first_name"] for row in csv.DictReader(io.StringIO(answer.text))] == ["Grace", "Ada"]
    assert [row["first_name"] for row in await rows(alice, view_id=view["id"])] == ["Grace", "Ada"]


def _view(where: Json, sort: Json) -> Json:
    return {"object_type": "contact", "name": "Some", "shared": True, "where": where, "sort": sort}


async def test_some_are_chosen_by_id(alice: Person, ada: Thing, grace: Thing) -> None:
    """Objects are exported by their ids, in that order; a deleted one is left out."""
    await alice.delete(grace.url)
    body = {"object_type": "contact", "format": "ndjson", "object_ids": [grace.id, ada.id]}
    answer = await alice.post(URL, json=body)

    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [ada.id]


@pytest.mark.parametrize("format_", ["csv", "xlsx", "ndjson", "vcard-4.0", "vcard-3.0"])
async def test_what_is_no_id_is_left_out(alice: Person, ada: Thing, format_: str) -> None:
    """Texts that are no ids are left out, also if there are no others."""
    answers = [
        await alice.post(URL, json={"object_type": "contact", "format": format_, "object_ids": given})
        for given in (["x", ""], ["x", ada.id])
    ]

    assert [each.status_code for each in answers] == [200, 200]
    assert len(answers[0].content) < len(answers[1].content)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"object_type": "company", "format": "vcard-4.0"}, "format"),
        ({"object_type": "contact", "format": "csv", "where": {"field": "nothing", "op": "eq", "value": 1}}, "where.field"),
        ({"object_type": "contact", "format": "csv", "object_ids": ["x"], "where": {"and": []}}, "object_ids"),
        ({"object_type": "contact", "format": "pdf"}, "format"),
    ],
)
async def test_bad_requests_name_the_field(alice: Person, body: Json, field: str) -> None:
    """A refusal comes before the file, and names the field."""
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_an_unknown_view_is_not_found(alice: Person) -> None:
    """A view that is not there is not found."""
    assert (await alice.get(URL, params={"view_id": "view_01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ"})).status_code == 404
