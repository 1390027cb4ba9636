"""The samples, rows and names of an import, for credentials that may not read all that the file names."""

import json

import asyncpg
import pytest

from herdbook.auth.store import create_key
from tests.cast import Json, Person, Thing
from tests.importing.jobs import URL, Job, upload

FILE = "First name,Company,Tags,E-mail\nAda,Secret Engines,Hidden tag,ada@engine.test\nGrace,Secret Navy,,no address\n"
LINES = '{"first_name":"Ada","company_name":"Secret Engines","emails":[{"email":"no address"}]}\n'
_WORDS = ("Secret", "Hidden")


@pytest.fixture
async def erin(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> Person:
    """A person with a key for contacts alone."""
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read", "contacts:write"])
    return Person(alice.client, alice.workspace_id, key)


def _shows(text: str) -> bool:
    return any(word in text for word in _WORDS)


async def _refusals(person: Person, job: Job) -> list[tuple[int, bool]]:
    """Return the answers to all requests for what is in the file: the status, and whether the scope is named."""
    paths = (f"{job.url}/rows", f"{job.url}/rows?of=check&verdict=problem", f"{job.url}/problems", f"{job.url}/kept")
    answers = [await person.get(path) for path in paths]
    answers.append(await person.patch(job.url, json={"mapping": job.shown["mapping"]}))
    assert not _shows("".join(each.text for each in answers))
    return [(each.status_code, "companies:read" in each.text) for each in answers]


@pytest.mark.parametrize(("content", "name"), [(FILE, "people.csv"), (LINES, "people.ndjson")], ids=["csv", "ndjson"])
async def test_others_see_how_far_an_import_is_and_nothing_of_its_file(
    alice: Person, erin: Person, content: str, name: str
) -> None:
    """Without the scope to read companies, an import of somebody else has counts, and neither samples nor rows."""
    job = await upload(alice, content, name)
    await job.check()

    shown = await erin.get(job.url)
    listed = await erin.get(URL)
    events = await erin.get(job.url, headers={"Accept": "text/event-stream"})

    assert (shown.status_code, shown.json()["checked"]["problem"]) == (200, 1)
    assert not _shows(shown.text + listed.text + events.text)
    assert await _refusals(erin, job) == [(403, True)] * 5
    assert (await erin.post(f"{job.url}/cancel")).status_code in (200, 422)


async def test_a_mapping_that_ignores_companies_shows_none(alice: Person, erin: Person) -> None:
    """The names of columns count, whatever becomes of these."""
    job = await upload(alice, FILE)
    await job.map(["first_name", "ignore", "ignore", "email"])
    await job.check()

    assert not _shows((await erin.get(job.url)).text)
    assert await _refusals(erin, job) == [(403, True)] * 5


async def test_people_in_a_file_of_companies_need_their_scope(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The same is true the other way round."""
    key = await create_key(pool, alice.workspace_id, "Frances", ["companies:read", "companies:write"])
    frances = Person(alice.client, alice.workspace_id, key)
    of_people = await upload(alice, "Company name,Domain,Email\nEngines,engine.test,secret@ada.test\n")
    await of_people.map(["name", "domain", "ignore"], object_type="company", match_by="domain")
    of_companies = await upload(alice, "Name,Domain\nEngines,engine.test\n")

    assert "secret" not in (await frances.get(of_people.url)).text
    assert (await frances.get(f"{of_people.url}/rows")).status_code == 403
    assert "engine.test" in (await frances.get(of_companies.url)).text


@pytest.mark.parametrize(
    "file",
    [
        "Company name,Domain,Full name\nEngines,engine.test,Secret Ada\n",
        "Company name,Domain,Middle name\nEngines,engine.test,Secret\n",
        "Name,Domain,Contact person,Person\nEngines,engine.test,Ada,Secret Ada\n",
        # The company has one name.
        "Company name,Domain,Name\nEngines,engine.test,Secret Ada\n",
        "Firma,Domäne,Nom\nEngines,engine.test,Secret\n",
        "Company name,Domain,Phone\nEngines,engine.test,Secret 020 7946 0958\n",
        "Company name,Domain,Reach at\nEngines,engine.test,020 7946 0958\n",
    ],
)
async def test_all_that_names_people_needs_their_scope(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", file: str) -> None:
    """Names of people, whole or in parts, and numbers are theirs in a file of companies, though the mapping ignores them."""
    key = await create_key(pool, alice.workspace_id, "Frances", ["companies:read", "companies:write", "tags:read"])
    frances = Person(alice.client, alice.workspace_id, key)
    job = await upload(alice, file)
    ignored = ["ignore"] * (file.partition("\n")[0].count(",") - 1)
    await job.map(["name", "domain", *ignored], object_type="company", match_by="domain")

    shown = (await frances.get(job.url)).text
    refused = await frances.get(f"{job.url}/rows")

    assert not _shows(shown)
    assert "7946" not in shown
    assert (refused.status_code, "contacts:read" in refused.text) == (403, True)


@pytest.mark.parametrize(
    "header",
    [
        "Name,Domain",
        "Nom,Domaine",
        "Nombre,Dominio",
        "Organization - Name,Organization - ID",
        "id,name,domain_1,crm_object_type,created_at",
    ],
)
async def test_companies_alone_need_no_further_scope(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", header: str) -> None:
    """The only name in a file of companies is theirs, and columns of a known program that mean nothing here hide nothing."""
    key = await create_key(pool, alice.workspace_id, "Frances", ["companies:read", "companies:write"])
    frances = Person(alice.client, alice.workspace_id, key)
    job = await upload(alice, f"{header}\n" + ",".join(f"engine{place}" for place in range(header.count(",") + 1)) + "\n")
    targets = [each if each in ("name", "domain", "crm_id") else "ignore" for each in job.targets]
    if "name" not in targets:
        targets[:2] = "name", "domain"
    await job.map(targets, object_type="company", match_by="name")

    assert "engine1" in (await frances.get(job.url)).text
    assert (await frances.get(f"{job.url}/rows")).status_code == 200


@pytest.mark.parametrize("scope", ["companies:read", "contacts:read", "tags:read"])
async def test_a_table_that_does_not_tell_what_it_has_needs_all(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", scope: str
) -> None:
    """Without a header, or with a column that nothing knows and that fills nothing, a file may have anything."""
    others = sorted({"companies:read", "contacts:read", "tags:read", "contacts:write", "companies:write"} - {scope})
    key = await create_key(pool, alice.workspace_id, "Erin", others)
    erin = Person(alice.client, alice.workspace_id, key)
    object_type = "company" if scope == "contacts:read" else "contact"
    values = "Secret Ada,Secret Engines,Hidden tag\n1,2,3\n"
    unmapped = await upload(alice, values)
    without = await upload(alice, f"First name,Company,Tags\n{values}")
    changed = await alice.patch(without.url, json={"has_header": False})
    assert changed.status_code == 200, changed.text
    unknown = await upload(alice, "Name,Sobriquet\nEngines,Hidden\n")
    jobs = [unmapped, without, unknown]
    await alice.patch(unmapped.url, json={"has_header": False})
    for job in jobs:
        await job.read()
        await job.map(["ignore"] * len(job.targets), object_type=object_type, match_by="crm_id")

    shown = [(await erin.get(job.url)).text for job in jobs]
    refused = [await erin.get(f"{job.url}/rows") for job in jobs]

    assert [_shows(json.dumps(json.loads(each)["file"]["columns"])) for each in shown] == [False] * 3
    assert [(each.status_code, scope in each.text) for each in refused] == [(403, True)] * 3


async def test_a_column_that_is_mapped_tells_what_it_has(alice: Person, erin: Person) -> None:
    """A name that nothing knows is no matter once a person has said which member of the contact the column fills."""
    job = await upload(alice, "First name,Sobriquet\nAda,Enchantress\n")
    await job.map(["first_name", "description"])

    assert "Enchantress" in (await erin.get(job.url)).text


@pytest.mark.parametrize(
    "members",
    [
        {"first_name": "Ada", "companyName": "Secret Engines"},
        {"first_name": "Ada", "organization": {"name": "Secret Engines"}},
        {"first_name": "Ada", "Company": "Secret Engines"},
        {"emails": [], "name": "Secret Engines"},
        {"first_name": "Ada", "domains": [{"domain": "secret.test"}]},
        {"first_name": "Ada", "website": "secret.test"},
        {"first_name": "Ada", "company": "Secret Engines"},
    ],
)
async def test_members_that_no_contact_has_need_all(alice: Person, erin: Person, members: Json) -> None:
    """Objects in JSON may have anything in a member that their type has not; the file of problems would show it."""
    job = await upload(alice, json.dumps(members) + "\n", "people.ndjson")
    await job.map(object_type="contact")
    await job.check()

    assert await _refusals(erin, job) == [(403, True)] * 5


async def test_objects_as_the_operations_show_them_need_no_further_scope(alice: Person, erin: Person, ada: Thing) -> None:
    """All members of a contact, and the notes that an export adds, are known."""
    record = (await alice.get(f"/api/herdbook/contacts/{ada.id}/record")).json()
    whole = record | {"middle_name": "Augusta", "notes": ["Enchantress"], "time_zone": "Europe/London", "labels": {"a": 1}}
    job = await upload(
        alice, json.dumps({name: value for name, value in whole.items() if name != "company"}) + "\n", "a.ndjson"
    )
    await job.check()

    assert (await erin.get(f"{job.url}/problems")).status_code == 200


async def test_names_in_a_mapping_need_their_scopes(alice: Person, erin: Person) -> None:
    """Tags and fixed values of a mapping, also of one that is kept by a name, are for those who may read these."""
    job = await upload(alice, "First name\nAda\n")
    mapping = job.shown["mapping"] | {"tags": ["Hidden tag"], "fixed": [{"to": "company_name", "value": "Secret Engines"}]}
    saved = await alice.patch(job.url, json={"mapping": mapping, "save_as": "List"})
    assert saved.status_code == 200, saved.text

    again = await upload(erin, "First name\nGrace\n")
    texts = [(await erin.get(path)).text for path in (job.url, URL, "/api/herdbook/import_mappings")]

    assert not _shows("".join(texts) + str(again.shown))
    assert "Hidden tag" in (await alice.get("/api/herdbook/import_mappings")).text


async def test_who_has_sent_a_file_sees_it(erin: Person, alice: Person) -> None:
    """A key sees what it has uploaded itself, and so does one that may read all that is named."""
    job = await upload(erin, FILE)
    samples = [column["samples"] for column in job.shown["file"]["columns"]]
    await job.map(["first_name", "ignore", "ignore", "email"])
    await job.check()

    assert samples[1] == ["Secret Engines", "Secret Navy"]
    assert len(await job.rows("check")) == 2
    assert "Secret Navy" in (await erin.get(f"{job.url}/problems")).text
    assert "Secret Engines" in (await alice.get(job.url)).text


async def test_a_list_has_nothing_that_grows_with_the_files(alice: Person) -> None:
    """An import by its id has the columns of its file, and the list has none."""
    job = await upload(alice, FILE)
    lines = await upload(alice, '{"a\\u0000b": 1, "first_name": "Ada"}\n', "people.ndjson")

    listed: list[Json] = (await alice.get(URL)).json()["data"]

    assert [each["id"] for each in listed] == [lines.id, job.id]
    assert [(each["file"]["columns"], each["file"]["members"], each["mapping"]["columns"]) for each in listed] == [
        ([], [], [])
    ] * 2
    assert (listed[1]["file"]["name"], listed[1]["file"]["rows"], listed[1]["mapping"]["object_type"]) == (
        "people.csv",
        2,
        "contact",
    )
    assert len((await alice.get(job.url)).json()["file"]["columns"]) == 4
    assert lines.shown["file"]["members"] == ["ab", "first_name"]


async def test_members_with_nul_characters_of_an_earlier_release_do_no_harm(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """An import that an earlier release has stored is listed, read and changed. Text that only looks so stays as it is."""
    job = await upload(alice, '{"ab": 1, "c\\\\u0000": 2, "first_name": "Ada"}\n', "a\\u0000.ndjson")
    changed = await pool.fetchval(
        """
        update import_job set content = replace(content::text, '"ab"', '"a\\u0000b"')::json
        where workspace_id = $1 and id = $2 returning content::text
        """,
        alice.workspace_id,
        job.uuid,
    )
    assert "a\\u0000b" in changed

    listed = await alice.get(URL)
    patched = await alice.patch(job.url, json={"mapping": job.shown["mapping"] | {"region": "GB"}})

    assert [each["file"]["name"] for each in listed.json()["data"]] == ["a\\u0000.ndjson"]
    assert (patched.status_code, patched.json()["file"]["members"]) == (200, ["ab", "c\\u0000", "first_name"])
