"""The mapping of an import: guessed, changed, refused, and kept by a name."""

import asyncpg
import pytest

from herdbook.auth.store import create_key
from herdbook.custom_fields.model import MAX_DEFINITIONS, FieldKind
from herdbook.formats.model import Column
from herdbook.importing import api
from herdbook.importing.guessing import guess, kind_of
from tests.cast import Json, Person, faults
from tests.custom_fields.definitions import define
from tests.importing.jobs import URL, counts, upload


def mapped(names: str, *samples: str) -> list[str]:
    """Return what columns are guessed to fill, with the labels."""
    columns = [Column(name=name, samples=samples) for name in names.split(",")]
    found = guess(columns, ()).mapping.columns
    return [each.to + (f":{each.label}" if each.label else "") for each in found]


@pytest.mark.parametrize(
    "header",
    [
        "First Name,LAST_NAME,E-Mail,Mobile Phone,Company",
        "Vorname,Nachname,E-Mail-Adresse,Handy,Firma",
        "Prénom,Nom,Adresse e-mail,Portable,Société",
        "Nombre,Apellidos,Correo electrónico,Móvil,Empresa",
        "Имя,Фамилия,Электронная почта,Мобильный телефон,Компания",
        "Imię,Nazwisko,Adres e-mail,Telefon komórkowy,Firma",
    ],
)
def test_headers_are_known_in_several_languages(header: str) -> None:
    """Case, accents, spaces and punctuation of a name do not matter."""
    assert mapped(header) == ["first_name", "last_name", "email", "phone:mobile", "company_name"]


@pytest.mark.parametrize(
    ("header", "preset"),
    [
        ("Name,Given Name,Family Name,E-mail 1 - Type,E-mail 1 - Value,Phone 1 - Type,Phone 1 - Value", "Google Contacts"),
        ("First Name,Middle Name,Last Name,E-mail Address,Business Phone,Company", "Outlook"),
        ("First name,Last name,E-mail (work),Phone (mobile)", "Apple Contacts"),
        ("Record ID,First Name,Last Name,Email,Phone Number,Lifecycle Stage", "HubSpot"),
        ("Record ID,Company name,Company Domain Name,Phone Number", "HubSpot"),
        ("Contact ID,First Name,Last Name,Account Name,Email", "Salesforce"),
        ("Person - Name,Person - Email - Work,Person - Phone - Work,Person - Organization", "Pipedrive"),
        ("id,first_name,last_name,emails,phone_numbers,company", "AskElephant"),
    ],
)
def test_exports_of_programs_are_known(header: str, preset: str) -> None:
    """An export is known by its columns."""
    assert guess([Column(name=name) for name in header.split(",")], ()).preset == preset


async def test_google_labels_are_kept(alice: Person) -> None:
    """The column before an address has its label, and a star marks the primary one."""
    header = "Given Name,Family Name,E-mail 1 - Type,E-mail 1 - Value,E-mail 2 - Type,E-mail 2 - Value,Group Membership"
    job = await upload(alice, f"{header}\nAda,Lovelace,Home,ada@home.test,* Lab,ada@lab.test,* myContacts ::: Friends\n")

    await job.run()

    found = (await alice.get("/api/v2/contacts")).json()["data"][0]
    emails = (await alice.get(f"/api/herdbook/contacts/{found['id']}/record")).json()["emails"]
    assert [(each["email"], each["label"], each["is_primary"]) for each in emails] == [
        ("ada@home.test", "home", False),
        ("ada@lab.test", "Lab", True),
    ]


@pytest.mark.parametrize("samples", [("2020-01-02",), ("2021-05-06", "2022-05-06"), ("4920171234",), ("31.12.2020",)])
def test_other_numbers_are_no_phone_numbers(samples: tuple[str, ...]) -> None:
    """A column whose name tells nothing is no phone number because it has days, or digits alone."""
    assert mapped("Member since", *samples) == ["ignore"]


@pytest.mark.parametrize("sample", ["+44 20 7946 0958", "020 7946 0958", "(212) 555-0100", "212-555-0100", "02079460958"])
def test_phone_numbers_are_known_by_their_form(sample: str) -> None:
    """A column whose name tells nothing has phone numbers if they are written like that."""
    assert mapped("Reach me at", sample) == ["phone"]


def test_a_name_that_the_values_contradict_is_less_sure() -> None:
    """A column called for addresses, which has none, is in doubt."""
    certain, doubtful = (
        guess([Column(name="E-mail", samples=(sample,))], ()).mapping.columns[0].sure or 0 for sample in ("a@b.test", "none")
    )

    assert certain > doubtful


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        (["12", "7"], FieldKind.INTEGER),
        (["1.5"], FieldKind.DECIMAL),
        (["2026-03-01"], FieldKind.DATE),
        (["yes", "No"], FieldKind.YES_NO),
        (["https://engine.test"], FieldKind.LINK),
        (["gold", "12"], FieldKind.TEXT),
    ],
)
def test_the_kind_of_a_field_is_guessed(samples: list[str], kind: FieldKind) -> None:
    """A new field gets the kind that all values fit."""
    assert kind_of(samples) is kind


async def test_fields_are_filled_and_defined(frank: Person) -> None:
    """Values go to fields that are there and to new ones, and an undo takes the new definition back."""
    for key, label, kind in (("job_title", "Job title", "text"), ("birthday", "Birthday", "date")):
        await frank.post("/api/herdbook/fields", json={"object_type": "contact", "key": key, "label": label, "kind": kind})
    job = await upload(frank, "First name,Job title,Birthday,Points\nAda,Countess,10.12.1815,42\n")
    assert job.targets == ["first_name", "field:job_title", "field:birthday", "ignore"]
    suggested = job.shown["mapping"]["columns"][3]["field"]
    assert suggested == {"key": "points", "label": "Points", "kind": "integer"}
    await job.map([*job.targets[:3], {"to": "field:points", "field": suggested}])

    assert await job.check() == counts(create=1)
    assert "points" not in (await frank.get("/api/herdbook/fields", params={"limit": 100})).text
    assert await job.run() == counts(create=1)

    found = (await frank.get("/api/v2/contacts")).json()["data"][0]
    record = (await frank.get(f"/api/herdbook/contacts/{found['id']}/record")).json()
    assert record["fields"] == {"job_title": "Countess", "birthday": "1815-12-10", "points": 42}
    undone = (await frank.post("/api/herdbook/undo", json={"request_id": job.shown["request_id"]})).json()
    assert {each["object"] for each in undone["reverted"]} == {"contact", "field"}


async def test_only_the_administrator_defines_fields(alice: Person) -> None:
    """Another credential is refused before anything is written."""
    job = await upload(alice, "First name,Points\nAda,42\n")
    columns = [{"to": "first_name"}, {"to": "field:points", "field": job.shown["mapping"]["columns"][1]["field"]}]

    assert (await alice.patch(job.url, json={"mapping": job.shown["mapping"] | {"columns": columns}})).status_code == 403


async def test_a_dry_run_says_which_field_cannot_be_defined(frank: Person) -> None:
    """A workspace with as many fields as it may have gets no further one, and the import says so."""
    for number in range(MAX_DEFINITIONS):
        await define(frank, f"field_{number}", kind="text")
    job = await upload(frank, "First name,Points\nAda,42\n")
    await job.map(["first_name", {"to": "field:points", "field": job.shown["mapping"]["columns"][1]["field"]}])

    failed = await job.finished("check", "failed")

    assert "That is the limit" in failed["error"]


def _field(key: str, label: str) -> Json:
    return {"key": key, "label": label, "kind": "text"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"columns": [{"to": "email"}]}, ("mapping.columns", "invalid_length")),
        ({"columns": [{"to": "first_name"}, {"to": "first_name"}]}, ("mapping.columns[1].to", "duplicate")),
        ({"columns": [{"to": "nonsense"}, {"to": "email"}]}, ("mapping.columns[0].to", "invalid_choice")),
        ({"columns": [{"to": "field:nonsense"}, {"to": "email"}]}, ("mapping.columns[0].to", "not_found")),
        ({"columns": [{"to": "email"}, {"to": "label"}]}, ("mapping.columns[1].to", "not_allowed")),
        ({"match_by": "domain"}, ("mapping.match_by", "invalid_choice")),
        ({"region": "XX"}, ("mapping.region", "invalid_choice")),
        ({"tags": ["Pioneer", "a\0"]}, ("mapping.tags[1]", "invalid_characters")),
        ({"crm_source": "\u200b"}, ("mapping.crm_source", "blank")),
        ({"fixed": [{"to": "note", "value": "\0"}]}, ("mapping.fixed[0].value", "invalid_characters")),
        ({"columns": [{"to": "ignore"}, {"to": "email", "label": "\0"}]}, ("mapping.columns[1].label", "invalid_characters")),
        ({"columns": [{"to": "ignore", "field": _field("A", "A")}]}, ("mapping.columns[0].field.key", "invalid_format")),
        (
            {"columns": [{"to": "field:a", "field": _field("a", "A")}, {"to": "field:a.city"}]},
            ("mapping.columns[1].to", "conflict"),
        ),
        (
            {
                "columns": [{"to": "field:a", "field": _field("a", "A")}, {"to": "email"}],
                "fixed": [{"to": "field:a.city", "value": "A"}],
            },
            ("mapping.fixed[0].to", "conflict"),
        ),
        ({"columns": [{"to": "ignore", "field": _field("a", "\0")}]}, ("mapping.columns[0].field.label", "invalid_characters")),
    ],
)
async def test_a_mapping_that_does_not_fit_is_refused(alice: Person, change: Json, fault: tuple[str, str]) -> None:
    """The refusal names the part of the mapping."""
    job = await upload(alice, "First name,E-mail\nAda,ada@engine.test\n")

    refused = await alice.patch(job.url, json={"mapping": job.shown["mapping"] | change})

    assert (refused.status_code, faults(refused)) == (422, [fault])


async def test_a_saved_mapping_is_suggested(alice: Person, charlie: Person) -> None:
    """A file with the same columns gets the mapping, in their order; another workspace does not see it."""
    job = await upload(alice, "Who,Where\nAda,ada@engine.test\n")
    mapping = job.shown["mapping"] | {"columns": [{"to": "last_name"}, {"to": "email"}], "existing": "overwrite"}
    saved = await alice.patch(job.url, json={"mapping": mapping, "save_as": "List"})
    assert saved.status_code == 200, saved.text

    again = await upload(alice, "Where,Who\nada@engine.test,Ada\n")
    elsewhere = await upload(charlie, "Where,Who\nada@engine.test,Ada\n")

    assert (again.targets, again.shown["mapping"]["existing"]) == (["email", "last_name"], "overwrite")
    assert again.shown["file"]["saved_mapping"] == "List"
    assert elsewhere.shown["file"]["saved_mapping"] is None
    assert [each["name"] for each in (await alice.get("/api/herdbook/import_mappings")).json()["data"]] == ["List"]


async def test_saved_mappings_have_room_together(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of them has a limited size, whatever files they are for. One that is there may be replaced."""
    monkeypatch.setattr(api, "MAX_MAPPING_BYTES", 400)
    job = await upload(alice, "First name\nAda\n")
    saved = [await alice.patch(job.url, json={"mapping": job.shown["mapping"], "save_as": name}) for name in ("A", "B", "A")]

    changed = await alice.patch(job.url, json={"mapping": job.shown["mapping"] | {"existing": "skip"}, "save_as": "B"})

    assert [each.status_code for each in (*saved, changed)] == [200, 422, 200, 422], saved[0].text
    assert faults(saved[1]) == [("save_as", "too_long")]
    assert (await job.read())["mapping"]["existing"] == "fill"
    assert [each["name"] for each in (await alice.get("/api/herdbook/import_mappings")).json()["data"]] == ["A"]


async def test_a_mapping_is_saved_only_if_the_import_is_changed(alice: Person) -> None:
    """A change that is refused, as that of a finished import, leaves no mapping."""
    job = await upload(alice, "First name,E-mail\nAda,ada@engine.test\n")
    await job.run()

    refused = await alice.patch(job.url, json={"mapping": job.shown["mapping"], "save_as": "Late"})

    assert (refused.status_code, faults(refused)) == (422, [("state", "not_allowed")])
    assert (await alice.get("/api/herdbook/import_mappings")).json()["data"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"tags": ["Hidden tag"]},
        {"fixed": [{"to": "company_name", "value": "Engines"}]},
        {"object_type": "company", "columns": [{"to": "name"}], "match_by": "name"},
    ],
)
async def test_a_mapping_that_is_not_seen_is_not_replaced(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", change: Json
) -> None:
    """The name of a mapping that the caller's scopes do not show is taken, and nothing is changed; other names are free."""
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read", "contacts:write"])
    erin = Person(alice.client, alice.workspace_id, key)
    job = await upload(alice, "First name\nAda\n")
    saved = await alice.patch(job.url, json={"mapping": job.shown["mapping"] | change, "save_as": "List"})
    assert saved.status_code == 200, saved.text
    before = (await alice.get("/api/herdbook/import_mappings")).json()
    again = await upload(erin, "First name\nGrace\n")

    mapping = again.shown["mapping"] | {"existing": "skip"}
    refused = await erin.patch(again.url, json={"mapping": mapping, "save_as": "List"})

    assert (refused.status_code, faults(refused)) == (422, [("save_as", "already_in_use")])
    assert "Hidden" not in refused.text
    assert (await alice.get("/api/herdbook/import_mappings")).json() == before
    assert (await again.read())["mapping"]["existing"] == "fill"
    assert (await erin.patch(again.url, json={"mapping": mapping, "save_as": "Other"})).status_code == 200
    assert (await erin.patch(again.url, json={"mapping": mapping, "save_as": "Other"})).status_code == 200


async def test_companies_and_tags_need_their_scopes(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A credential that may write contacts alone neither creates companies nor gives tags."""
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read", "contacts:write"])
    erin = Person(alice.client, alice.workspace_id, key)
    job = await upload(erin, "First name,Company,Tags\nAda,Engines,Old\n")

    assert (await erin.post(f"{job.url}/run")).status_code == 403
    await job.map(["first_name", "ignore", "ignore"])
    assert await job.run() == counts(create=1)


async def test_a_saved_mapping_tells_columns_of_one_name_by_their_order(alice: Person) -> None:
    """A file with two columns of one name gets what the mapping says of each."""
    job = await upload(alice, "Where,Who,Where\nada@engine.test,Ada,London\n")
    mapping = job.shown["mapping"] | {"columns": [{"to": "email"}, {"to": "first_name"}, {"to": "description"}]}
    saved = await alice.patch(job.url, json={"mapping": mapping, "save_as": "Twice"})
    assert saved.status_code == 200, saved.text

    again = await upload(alice, "Who,Where,Where\nGrace,grace@navy.test,New York\n")

    assert again.targets == ["first_name", "email", "description"]


async def test_objects_need_the_scopes_of_all_that_they_make(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Objects in JSON create companies and tags only by a credential that may, and a file of others is refused as a whole."""
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read", "contacts:write"])
    erin = Person(alice.client, alice.workspace_id, key)
    refused: list[int] = []
    for member in ('"company_name":"Engines"', '"company_domain":"engine.test"', '"tags":["Old"]'):
        job = await upload(erin, f'{{"first_name":"Ada"}}\n{{"first_name":"Grace",{member}}}\n', "a.ndjson")
        refused.append((await erin.post(f"{job.url}/run")).status_code)
    of_companies = await erin.post(URL, params={"name": "a.ndjson"}, content=b'{"name":"Engines","domains":[]}\n')
    plain = await upload(erin, '{"first_name":"Ada","company_name":"","tags":[]}\n', "a.ndjson")

    assert (refused, of_companies.status_code) == ([403, 403, 403], 403)
    assert await plain.run() == counts(create=1)
    assert len((await alice.get(URL)).json()["data"]) == 4


async def test_a_file_is_read_as_objects_that_the_caller_may_write(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A person who may write contacts alone gets no mapping for companies, neither a guess nor one that others have saved."""
    file = "Name,Domain\nEngines,engine.test\n"
    job = await upload(alice, file)
    assert job.shown["mapping"]["object_type"] == "company"
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read", "contacts:write"])
    erin = Person(alice.client, alice.workspace_id, key)
    guessed = await upload(erin, file)
    saved = await alice.patch(job.url, json={"mapping": job.shown["mapping"], "save_as": "Companies"})
    assert saved.status_code == 200, saved.text

    again = await upload(erin, file)

    assert [each.shown["mapping"]["object_type"] for each in (guessed, again)] == ["contact", "contact"]
    assert (await upload(alice, file)).shown["file"]["saved_mapping"] == "Companies"


async def test_the_header_can_be_a_row(alice: Person) -> None:
    """A first row that looked like a header is imported if a person says that it is none."""
    job = await upload(alice, "Ada,Lovelace\nGrace,Hopper\n")
    assert job.shown["file"]["rows"] == 1

    response = await alice.patch(job.url, json={"has_header": False})

    assert response.json()["file"]["rows"] == 2
    job.shown = response.json()
    await job.map(["first_name", "last_name"])
    assert await job.run() == counts(create=2)
