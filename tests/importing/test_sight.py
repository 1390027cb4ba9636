"""The samples, rows and names of an import, for credentials that may not read all that the file names."""

import asyncpg
import pytest

from herdbook.auth.store import create_key
from tests.cast import Json, Person
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
