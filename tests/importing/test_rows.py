"""The way of a row: how it finds what is there, who wins, and what is wrong with it."""

import csv
import json
from typing import Final

import msgspec
import pytest

from herdbook.app import OPERATIONS
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.records import change
from tests.importing.jobs import counts, upload

WITHOUT_NUMBERS: Final = (
    '{"first_name":"Ada","phone_numbers":[{"phone_number":"+44 20 7946 0958"},{"phone_number":"ask Bob"}]}\n'
    '{"first_name":"Grace","phone_numbers":[{"phone_number":"-"}]}\n'
)
HEADER: Final = "First name,Last name,E-mail,Phone,Company,Description\n"


async def record(person: Person, thing: Thing) -> Json:
    return (await person.get(f"/api/herdbook/contacts/{thing.id}/record")).json()


async def test_empty_members_are_filled(alice: Person, ada: Thing) -> None:
    """Members that the contact has stay, those that it lacks are set, and numbers are added."""
    job = await upload(alice, HEADER + "Augusta,King,ADA@engine.test,+44 20 7946 0958,Engines,Countess\n")

    assert await job.run() == counts(update=1)

    found = await record(alice, ada)
    assert (found["first_name"], found["description"]) == ("Ada", "Countess")
    assert [each["phone_number"] for each in found["phone_numbers"]] == ["+44 20 7946 0958"]
    assert (await job.rows())[0]["changed"] == ["description", "company", "phone_numbers"]


async def test_members_are_overwritten(alice: Person, ada: Thing) -> None:
    """All members of the row are set; what the row lacks stays."""
    job = await upload(alice, HEADER + "Augusta,,ada@engine.test,,,\n")
    await job.map(existing="overwrite")

    assert await job.run() == counts(update=1)
    found = await record(alice, ada)
    assert (found["first_name"], found["last_name"]) == ("Augusta", "Lovelace")


async def test_what_is_there_is_skipped(alice: Person, ada: Thing) -> None:
    """Nothing becomes of a row whose contact is there."""
    job = await upload(alice, HEADER + "Augusta,King,ada@engine.test,,,\nAlan,Turing,alan@bletchley.test,,,\n")
    await job.map(existing="skip")

    assert await job.run() == counts(create=1, skip=1)
    assert (await alice.get(ada.url)).json() == ada.json


async def test_no_address_is_taken_and_no_primary_one_dropped(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """A row that names addresses of two contacts has a problem; one that adds an address leaves the primary one."""
    file = "E-mail,E-mail 2\nada@engine.test,grace@navy.test\ngrace@navy.test,hopper@home.test\n"
    job = await upload(alice, file)

    assert await job.run() == counts(update=1, problem=1)

    (first, _) = await job.rows()
    assert (first["faults"][0]["code"], first["faults"][0]["column"]) == ("already_in_use", 1)
    assert await stored.addresses(ada) == {"ada@engine.test"}
    primary = [each["email"] for each in (await record(alice, grace))["emails"] if each["is_primary"]]
    assert primary == ["grace@navy.test"]


async def test_a_deleted_contact_comes_back(alice: Person, ada: Thing) -> None:
    """The contact that had the address last is restored."""
    await alice.delete(ada.url)
    job = await upload(alice, HEADER + "Ada,Lovelace,ada@engine.test,,,\n")

    assert await job.run() == counts(restore=1)
    assert (await alice.get(ada.url)).status_code == 200


@pytest.mark.parametrize(
    ("match_by", "file"),
    [
        ("phone", "First name,Phone\nAda,020 7946 0958\n"),
        ("name_and_company", "First name,Last name,Company\nÁDA,lovelace,engines\n"),
        ("crm_id", "First name,Record ID\nAda,4711\n"),
        ("external_id", "First name,External ID\nAda,A-1\n"),
    ],
)
async def test_contacts_are_found(alice: Person, match_by: str, file: str) -> None:
    """A row finds its contact by a number in another spelling, by name and company, by a CRM id, or by an id of one's own."""
    whole = "First name,Last name,E-mail,Phone,Company,Record ID,External ID\n"
    whole += "Ada,Lovelace,ada@engine.test,+44 20 7946 0958,Engines,4711,A-1\n"
    assert await (await upload(alice, whole)).run() == counts(create=1)
    job = await upload(alice, file)
    await job.map(match_by=match_by, region="GB")

    done = await job.run()

    assert done["create"] == done["problem"] == 0
    assert len((await alice.get("/api/v2/contacts")).json()["data"]) == 1


async def test_never_creates_all_rows(alice: Person) -> None:
    """Rows that look for nothing become contacts, unless an address belongs to another one."""
    job = await upload(alice, "First name,E-mail\nAda,\nAda,\nAda,ada@engine.test\nAda,ada@engine.test\n")
    await job.map(match_by="never")

    assert await job.run() == counts(create=3, problem=1)


async def test_a_row_that_says_of_nobody_has_a_problem(alice: Person) -> None:
    """A row needs a name, an address, a number or an id; one with too many values is told from others."""
    job = await upload(alice, HEADER + ",,,,Engines,Nobody\nAda,Lovelace,ada@engine.test,,,,more\n")

    assert await job.run() == counts(problem=2)
    assert [row["faults"][0]["code"] for row in await job.rows()] == ["empty", "too_many_values"]


async def test_an_object_with_other_members_is_told_of_them(alice: Person) -> None:
    """A row that seems empty may have its values under names that nobody knows."""
    job = await upload(alice, '[{"firstname": "Ada"}, {"first_name": ""}]', "a.json")

    assert await job.run() == counts(problem=2)
    faults = [[each["message"] for each in row["faults"]] for row in await job.rows()]
    assert "Did you mean `first_name`?" in faults[0][1]
    assert len(faults[1]) == 1


async def test_companies_are_imported(alice: Person, engine: Thing) -> None:
    """A row finds its company by the domain, in any spelling, and adds the others."""
    file = "Name,Domain,Description,Tags\nEngines,https://www.ENGINE.test/about;engine.example,Brass,Old\nNavy,navy.test,,\n"
    job = await upload(alice, file)
    assert job.shown["mapping"]["object_type"] == "company"

    assert await job.run() == counts(create=1, update=1)

    found = (await alice.get(f"/api/herdbook/companies/{engine.id}/record")).json()
    assert (found["name"], found["description"]) == ("Analytical Engine", "Brass")
    assert [(each["domain"], each["is_primary"]) for each in found["domains"]] == [
        ("engine.test", True),
        ("engine.example", False),
    ]
    assert await (await upload(alice, file)).run() == counts(unchanged=2)


async def test_companies_are_found_by_the_link_that_a_row_has_made(alice: Person) -> None:
    """A row finds the company that an earlier row of the same file has created with the same CRM id."""
    job = await upload(alice, "Name,Domain,Record ID\nEngines,engine.test,4711\nEngines Ltd,engine.example,4711\n")
    await job.map(match_by="crm_id")

    assert await job.run() == counts(create=1, update=1)
    (company,) = (await alice.get("/api/v2/companies")).json()["data"]
    assert (company["name"], len(company["domains"])) == ("Engines", 2)


async def test_contacts_find_companies_by_domain_and_name(alice: Person, engine: Thing) -> None:
    """A company is found by its domain or its name, and made once if it is not there."""
    file = "First name,Company,Company domain\nA,,engine.test\nB,analytical ENGINE,\nC,Navy,navy.test\nD,Navy,\n"
    job = await upload(alice, file)

    assert await job.run() == counts(create=4)

    companies = (await alice.get("/api/v2/companies")).json()["data"]
    contacts = {each["first_name"]: each["company"]["id"] for each in (await alice.get("/api/v2/contacts")).json()["data"]}
    assert {each["name"] for each in companies} == {"Analytical Engine", "Navy"}
    assert contacts["A"] == contacts["B"] == engine.id
    assert contacts["C"] == contacts["D"]


async def test_objects_of_the_api_are_imported(alice: Person, ada: Thing) -> None:
    """A contact as the API shows it is a row; read-only members do no harm."""
    shown = (await alice.get(f"/api/herdbook/contacts/{ada.id}/record")).text
    job = await upload(
        alice, shown + '\n{"first_name":"Grace","emails":[{"email":"grace@navy.test","label":"work"}]}\n', "a.ndjson"
    )

    assert await job.run() == counts(create=1, unchanged=1)


@pytest.mark.usefixtures("ada")
async def test_what_the_api_lists_is_imported(alice: Person) -> None:
    """The answer to a list is a file like any other, and its objects are counted from 1."""
    listed = (await alice.get("/api/v2/contacts")).text
    job = await upload(alice, listed + '\n[\n{"first_name": "Grace"},\n{"emails": [{"email": "wrong"}]}\n]', "a.json")

    assert await job.run() == counts(create=1, unchanged=1, problem=1)
    assert [each["row"] for each in await job.rows(verdict="problem")] == [3]


async def test_rows_that_failed_can_be_sent_again(alice: Person) -> None:
    """The file of problems has the rows with their reasons, and is imported once they are corrected."""
    job = await upload(alice, "Name;E-mail\nAda Lovelace;wrong\nGrace Hopper;grace@navy.test\n")
    assert await job.run() == counts(create=1, problem=1)

    file = (await alice.get(f"{job.url}/problems")).content.decode("utf-8-sig")
    assert file.splitlines()[0] == "Name;E-mail;Problem"
    again = await upload(alice, file.replace(";wrong;", ";ada@engine.test;"))

    assert again.targets == ["full_name", "email", "ignore"]
    assert await again.run() == counts(create=1)


async def test_objects_that_failed_can_be_sent_again(alice: Person) -> None:
    """The file of problems has the objects of a file with their reasons, in the form that the document promises."""
    job = await upload(alice, '{"first_name":"Ada","emails":[{"email":"wrong"}]}\n{"first_name":"Grace"}\n', "a.ndjson")
    assert await job.run() == counts(create=1, problem=1)

    answer = await alice.get(f"{job.url}/problems")
    declared = next(each for each in OPERATIONS if each.id == "get-import-problems")
    assert answer.headers["Content-Type"] in declared.files
    (line,) = answer.text.splitlines()
    assert msgspec.json.decode(line, type=declared.answer)
    assert json.loads(line)["emails"] == [{"email": "wrong"}]
    assert json.loads(line)["problem"].startswith("emails[0].email is not an e-mail address")


async def test_a_member_that_is_unknown_is_named(alice: Person) -> None:
    """The file of problems names the member that no contact has, at any depth."""
    job = await upload(alice, '{"first_name":"Ada","companyName":"A","emails":[{"mail":"ada@engine.test"}]}\n', "a.ndjson")
    assert await job.run() == counts(problem=1)

    problem = json.loads((await alice.get(f"{job.url}/problems")).text)["problem"]

    nul = await upload(alice, '{"first_name":"Ada","a\\u0000b":1,"emails":[{"c\\u0000d":1}]}\n', "a.ndjson")
    assert await nul.run() == counts(problem=1)
    (row,) = await nul.rows()
    assert [each["field"] for each in row["faults"] if each["code"] == "unknown_field"] == ["ab", "emails[0].cd"]

    assert "There is no field companyName." in problem
    assert "There is no field emails[0].mail." in problem


async def test_rows_behind_any_number_are_none(alice: Person) -> None:
    """A row behind which there is nothing is no fault, and a number that no row can have is refused by name."""
    job = await upload(alice, "E-mail\nada@engine.test\n")
    assert await job.run() == counts(create=1)

    assert await job.rows(after=2**53 - 1) == []
    refused = await alice.get(f"{job.url}/rows", params={"after": 2**63})
    assert (refused.status_code, faults(refused)) == (400, [("after", "invalid_range")])


async def test_all_faults_of_a_row_are_named(frank: Person) -> None:
    """A row with several faults names each of them at once, also those of fields of one's own, by its columns."""
    for key, kind in (("birthday", "date"), ("points", "integer")):
        await frank.post(
            "/api/herdbook/fields", json={"object_type": "contact", "key": key, "label": key.title(), "kind": kind}
        )
    file = "First name,Mail,Born,Points\nAda,none,10 December,many\nAlan,alan@bletchley.test,1912-06-23,7\n"
    job = await upload(frank, file)
    await job.map(["first_name", "email", "field:birthday", "field:points"])

    assert await job.run() == counts(create=1, problem=1)
    (row, _) = await job.rows()
    assert [each["column"] for each in row["faults"]] == [1, 2, 3]

    lines = [*csv.DictReader((await frank.get(f"{job.url}/problems")).content.decode("utf-8-sig").splitlines())]
    reasons = lines[0]["Problem"]
    assert [reasons.count(name) for name in ("Mail: ", "Born: ", "Points: ")] == [1, 1, 1]
    assert "`" not in reasons
    assert "emails[0]" not in reasons
    assert "Give the year, the month and the day" in reasons


async def test_row_in_wrong_columns_names_that_alone(alice: Person) -> None:
    """Faults that follow from a missing quotation mark are not told."""
    job = await upload(alice, "First name,E-mail\nAda, Countess,ada@engine.test\n")

    assert await job.run() == counts(problem=1)
    ((fault,),) = [row["faults"] for row in await job.rows()]
    assert (fault["code"], "between quotation marks" in fault["message"]) == ("too_many_values", True)


@pytest.mark.parametrize(
    ("to", "text", "field", "code"),
    [
        ("company_name", "x" * 256, "company_name", "too_long"),
        ("company_name", "\u200b", "company_name", "blank"),
        ("tags", f"Old,{'x' * 256}", "tags[1]", "too_long"),
        ("tags", ",".join(map(str, range(101))), "tags", "too_long"),
        ("note", "x" * 65_537, "notes[0]", "too_long"),
    ],
    ids=["company", "invisible", "tag", "tags", "note"],
)
async def test_what_a_row_has_beside_its_object_follows_the_rules(
    alice: Person, to: str, text: str, field: str, code: str
) -> None:
    """A company, a tag or a note that no operation would create is a problem of the row, and of its column."""
    job = await upload(alice, f'First name,Beside\nAda,"{text}"\nGrace,Navy\n')
    await job.map(["first_name", to])

    assert await job.check() == counts(create=1, problem=1)
    assert await job.run() == counts(create=1, problem=1)
    ((fault,),) = [row["faults"] for row in await job.rows(verdict="problem")]
    assert (fault["field"], fault["code"], fault["column"]) == (field, code, 1)


@pytest.mark.parametrize(
    "member",
    [
        {"company_name": 5},
        {"company_name": ["Engines"]},
        {"company_domain": {}},
        {"company": "Engines"},
        {"tags": "Old"},
        {"tags": [5]},
        {"notes": "A note"},
    ],
    ids=str,
)
async def test_a_member_of_another_type_is_a_problem_of_its_row(alice: Person, member: Json) -> None:
    """An object with a member that is none of the API is refused by name, and the others are imported."""
    wrong = json.dumps({"first_name": "Ada", "last_name": "Lovelace", **member})
    job = await upload(alice, f'{wrong}\n{{"first_name":"Grace","last_name":"Hopper"}}\n', "a.ndjson")
    await job.map(match_by="name_and_company")

    assert await job.run() == counts(create=1, problem=1)
    ((fault,),) = [row["faults"] for row in await job.rows(verdict="problem")]
    assert (fault["field"].partition("[")[0], fault["code"]) == (next(iter(member)), "invalid_type")


async def test_values_of_all_rows_are_added_to_those_of_an_object(alice: Person) -> None:
    """A fixed address stands beside those that an object has."""
    job = await upload(alice, '{"first_name":"Ada","emails":[{"email":"ada@engine.test"}],"external_ids":["1"]}\n', "a.ndjson")
    await job.map(fixed=[{"to": "email", "value": "ada@lab.test"}, {"to": "external_id", "value": "2"}])

    assert await job.run() == counts(create=1)
    (found,) = (await alice.get("/api/v2/contacts")).json()["data"]
    whole = (await alice.get(f"/api/herdbook/contacts/{found['id']}/record")).json()
    assert [each["email"] for each in whole["emails"]] == ["ada@engine.test", "ada@lab.test"]
    assert whole["external_ids"] == ["1", "2"]


async def test_namesakes_are_told_by_their_companies(alice: Person) -> None:
    """However many contacts have a name, the same file finds each of them by its company."""
    file = "First name,Last name,Company\n" + "".join(f"John,Smith,Company {n}\n" for n in range(45)) + "John,Smith,\n"
    job = await upload(alice, file)
    assert job.shown["mapping"]["match_by"] == "name_and_company"

    assert await job.run() == counts(create=46)
    assert await (await upload(alice, file)).run() == counts(unchanged=46)


async def test_each_note_is_written_once(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    """Rows of one person have a note each; the same file again writes none of them, however many there are."""
    file = "First name,E-mail,Note\n" + "".join(f"Ada,ada@engine.test,Note {n}\n" for n in range(230))

    assert await (await upload(alice, file)).run() == counts(create=1, update=229)
    assert await (await upload(alice, file)).run() == counts(unchanged=230)
    assert [record.getMessage() for record in caplog.records if record.name == "herdbook.importing"] == []


@pytest.mark.parametrize(("first", "then"), [("\r\n", "\n"), ("\n", "\r\n")])
async def test_line_ends_make_no_other_note(alice: Person, first: str, then: str) -> None:
    """A note comes once, whether its lines end as on Windows or as elsewhere."""
    file = 'First name,E-mail,Note\nAda,ada@engine.test,"One{end}two"\n'

    assert await (await upload(alice, file.format(end=first))).run() == counts(create=1)
    assert await (await upload(alice, file.format(end=then))).run() == counts(unchanged=1)


async def test_a_file_neither_moves_the_primary_address_nor_changes_a_label(alice: Person, ada: Thing) -> None:
    """Only what is empty is filled: an address gets a label that it has not, and stays primary or not."""
    emails = [{"email": "ada@engine.test", "label": "home"}, {"email": "ada@lab.test"}]
    numbers = [{"phone_number": "+44 20 7946 0958", "label": "mobile"}, {"phone_number": "+44 20 7946 0959"}]
    await change(alice, ada, emails=emails, phone_numbers=numbers)
    file = "A,B,C,D,E,F\noffice,ada@engine.test,* lab,ada@lab.test,* office,020 7946 0958\n"
    job = await upload(alice, file)
    await job.map(["label", "email", "label", "email", "label", "phone"], region="GB")

    assert await job.run() == counts(update=1)

    found = await record(alice, ada)
    assert [(each["email"], each["label"], each["is_primary"]) for each in found["emails"]] == [
        ("ada@engine.test", "home", True),
        ("ada@lab.test", "lab", False),
    ]
    assert [(each.get("label"), each["is_primary"]) for each in found["phone_numbers"]] == [("mobile", True), (None, False)]

    again = await upload(alice, file)
    await again.map(["label", "email", "label", "email", "label", "phone"], region="GB", existing="overwrite")
    assert await again.run() == counts(update=1)
    assert [each["label"] for each in (await record(alice, ada))["emails"] if each["is_primary"]] == ["lab"]


async def test_a_file_does_not_move_the_primary_domain(alice: Person, engine: Thing) -> None:
    """A domain that an object marks is added to those of the company, whose primary one stays."""
    domains = [{"domain": "engine.test"}, {"domain": "engine.example", "is_primary": True}]
    job = await upload(alice, json.dumps({"name": "Engines", "domains": domains}) + "\n", "a.ndjson")

    assert await job.run() == counts(update=1)
    found = (await alice.get(f"/api/herdbook/companies/{engine.id}/record")).json()
    assert [each["domain"] for each in found["domains"] if each["is_primary"]] == ["engine.test"]


async def test_the_file_of_problems_loses_nothing(alice: Person) -> None:
    """It has the values that have no column, a column of one's own with its name, and no formula that a spreadsheet runs."""
    job = await upload(alice, "First name,E-mail,Problem\n=1+1,ada@engine.test,Late,King, 7\n")
    await job.map(["first_name", "email", "description"])
    assert await job.check() == counts(problem=1)
    tried = (await alice.get(f"{job.url}/problems")).content.decode("utf-8-sig")
    assert await job.run() == counts(problem=1)

    file = (await alice.get(f"{job.url}/problems")).content.decode("utf-8-sig")

    header, row = csv.reader(file.splitlines())
    assert header == ["First name", "E-mail", "Problem", "Problem"]
    assert (row[:3], row[4:]) == (["'=1+1", "ada@engine.test", "Late"], ["King", " 7"])
    assert tried == file
    again = await upload(alice, file)
    await again.map(["first_name", "email", "description", "ignore"])
    assert await again.run() == counts(problem=1)


@pytest.mark.parametrize("match_by", ["domain", "name", "never"])
async def test_companies_need_no_domain(alice: Person, match_by: str) -> None:
    """A company without a domain is one, too, and is found by its name unless each row makes a new one."""
    file = "Name,Domain,Record ID\nEngines,,\nNavy,navy.test,4711\n"
    job = await upload(alice, file)
    await job.map(match_by=match_by)
    assert await job.run() == counts(create=2)

    again = await upload(alice, file)
    await again.map(match_by=match_by)

    # Nobody else gets the domain.
    assert await again.run() == (counts(create=1, problem=1) if match_by == "never" else counts(unchanged=2))


async def test_a_deleted_contact_is_skipped(alice: Person, ada: Thing) -> None:
    """Contacts that are there already stay as they are, and so do those that were deleted. The row says so."""
    await alice.delete(ada.url)
    job = await upload(alice, HEADER + "Ada,Lovelace,ada@engine.test,,New Engines,\n")
    await job.map(existing="skip")

    tried, done = await job.check(), await job.run()

    (row,) = await job.rows()
    assert tried == done == counts(skip=1)
    assert (row["id"], [fault["code"] for fault in row["faults"]]) == (ada.id, ["deleted"])
    assert "stays so" in row["faults"][0]["message"]
    assert (await alice.get(ada.url)).status_code == 404
    assert (await alice.get("/api/v2/companies", params={"search": "New Engines"})).json()["data"] == []


async def test_a_deleted_company_is_skipped(alice: Person, engine: Thing) -> None:
    """The same is true of companies, those that are there and those that were deleted."""
    domain = engine.json["domains"][0]["domain"]
    for _ in range(2):
        job = await upload(alice, f"Company name,Domain\nEngines,{domain}\n")
        await job.map(existing="skip")

        assert await job.run() == counts(skip=1), await job.rows()
        await alice.delete(engine.url)
    assert (await alice.get(engine.url)).status_code == 404


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("First name,Phone,Mobile\nAda,+44 20 7946 0958,ask Bob\nGrace,-,\n", "people.csv"),
        (WITHOUT_NUMBERS, "people.ndjson"),
    ],
    ids=["csv", "ndjson"],
)
async def test_a_number_without_a_digit_is_a_problem(alice: Person, content: str, name: str) -> None:
    """A text in place of a phone number is named with its row and column, and nothing of the row is imported."""
    job = await upload(alice, content, name)

    assert await job.run() == counts(problem=2)

    rows = await job.rows()
    assert [(each["row"], each["faults"][0]["field"]) for each in rows] == [
        (2 if name.endswith("csv") else 1, "phone_numbers[1].phone_number"),
        (3 if name.endswith("csv") else 2, "phone_numbers[0].phone_number"),
    ]
    assert [each["faults"][0].get("column") for each in rows] == ([2, 1] if name.endswith("csv") else [None, None])
    assert "has no digit" in rows[0]["faults"][0]["message"]


@pytest.mark.parametrize(
    "header",
    [
        "Given Name,Additional Name,Family Name,E-mail 1 - Value",
        "First Name,Middle Name,Last Name,E-mail 1 - Value",
        "First Name,Middle Name,Last Name,E-mail Address,Business Phone",
        "Vorname,Weitere Vornamen,Nachname,E-Mail-Adresse",
    ],
    ids=["old google", "google", "outlook", "german outlook"],
)
async def test_middle_names_are_kept(alice: Person, header: str) -> None:
    """They go with the first name, as those of a card do, and alone they are the first name. The same file changes nothing."""
    file = f"{header}\nAda,Augusta King,Lovelace,ada@engine.test\n,Brewster,Hopper,grace@navy.test\n"
    assert await (await upload(alice, file)).run() == counts(create=2)
    again = await (await upload(alice, file)).run()

    found = (await alice.get("/api/v2/contacts")).json()["data"]
    assert again == counts(unchanged=2)
    assert {(each["first_name"], each["last_name"]) for each in found} == {
        ("Ada Augusta King", "Lovelace"),
        ("Brewster", "Hopper"),
    }
