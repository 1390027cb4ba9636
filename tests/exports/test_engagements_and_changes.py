"""Exports of engagements and of changes."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec
import pytest
from python_calamine import CalamineWorkbook

from herdbook.auth.store import create_key
from herdbook.db.pool import open_pool
from herdbook.engagements.api import LIST_OF
from herdbook.exports import engagements
from herdbook.exports.files import Source
from herdbook.exports.model import EngagementFilter, ObjectExportRequest
from herdbook.exports.streams import export
from herdbook.feed.store import View
from herdbook.http.page import filter_parameters
from herdbook.ledger.retention import trim_ledgers
from herdbook.object_types import OBJECT_TYPES
from tests.cast import Json, Person, Thing
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import Made, call
from tests.exports.test_export import URL, exported, rows

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
_ADA: Final = {"name": "Ada Lovelace", "email": "ada@engines.test"}
NOBODY: Final = "usr_01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ"
_ALL: Final = ("engagements:read", "contacts:read", "companies:read", "users:read")


async def _with(frank: Person, pool: Connections, *scopes: str) -> Person:
    return Person(frank.client, frank.workspace_id, await create_key(pool, frank.workspace_id, "Some", list(scopes)))


async def _lines(person: Person, **query: str) -> list[Json]:
    answer = await exported(person, format="ndjson", **query)
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_table_of_engagements_has_who_took_part_and_what_was_said(frank: Person, engine: Thing) -> None:
    """A row has the members, the names of contacts and companies beside their ids, the tags, and the transcript."""
    contact = {"first_name": "Ada", "last_name": "Lovelace", "emails": [{"email": "ada@engines.test"}], "company_id": engine.id}
    ada = Thing(await frank.post("/api/v2/contacts", json=contact))
    tag = Thing(await frank.post("/api/v2/tags", json={"name": "One, two"}))
    step = Made(await frank.post(ENGAGEMENTS, json=call(participants=[_ADA], transcript="=Shall\nwe?")))
    await frank.put(f"{step.url}/tags", json={"tag_ids": [tag.id]})
    [row] = await rows(frank, object_type="engagement")
    shown = (await frank.get(step.url)).json()

    assert row == {
        "id": step.id,
        "title": "The next step",
        "engagement_type": "CALL",
        "processing_status": "COMPLETED",
        "is_private": "false",
        "start_at": shown.get("start_at", ""),
        "end_at": "",
        "duration_seconds": "",
        "description": "",
        "data_source": "dialer",
        "external_id": "call-1842",
        "external_url": "",
        "meeting_url": "",
        "owner_user_id": shown.get("owner_user_id", ""),
        "owner_name": row["owner_name"],
        "contact_ids": ada.id,
        "contact_names": "Ada Lovelace",
        "company_ids": engine.id,
        "company_names": engine.json["name"],
        "tags": '"One, two"',
        "transcript": "'=Shall\nwe?",
        "created_at": shown["created_at"],
        "updated_at": shown["updated_at"],
    }


async def test_a_line_of_an_engagement_has_the_same(frank: Person) -> None:
    """A line has the engagement as the API shows it, its external id, who took part, and the transcript."""
    step = Made(await frank.post(ENGAGEMENTS, json=call(participants=[_ADA])))
    [line] = await _lines(frank, object_type="engagement")
    shown = (await frank.get(step.url)).json()
    [contact] = (await frank.get("/api/v2/contacts")).json()["data"]

    assert line.items() >= shown.items()
    assert (line["external_id"], line["transcript"]) == ("call-1842", "Shall we begin?")
    assert line["contacts"] == [{"id": contact["id"], "name": "Ada Lovelace"}]
    assert [each["email"] for each in line["participants"]] == ["ada@engines.test"]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_private_engagements_need_their_scope(frank: Person, pool: Connections, form: str) -> None:
    """A private engagement is only in the file of a credential that may see private ones, also if its id is named."""
    secret = Made(await frank.post(ENGAGEMENTS, json=call("s", title="A secret", is_private=True, transcript="Hush.")))
    step = Made(await frank.post(ENGAGEMENTS, json=call()))
    several = await _with(frank, pool, *_ALL)
    one = await _with(frank, pool, *_ALL, "engagements:private:read")
    body = {"object_type": "engagement", "format": form, "object_ids": [secret.id, step.id]}
    for person, sees in ((several, False), (one, True)):
        every = (await exported(person, format=form, object_type="engagement")).text
        named = (await person.post(URL, json=body)).text

        assert [step.id in text for text in (every, named)] == [True, True]
        assert [secret.id in text or "Hush" in text for text in (every, named)] == [sees, sees]


async def test_names_need_the_scopes_of_what_they_name(frank: Person, pool: Connections) -> None:
    """Without the scopes to read contacts, companies and users, nothing of them is in the file."""
    await frank.post(ENGAGEMENTS, json=call(participants=[_ADA]))
    person = await _with(frank, pool, "engagements:read")
    [row] = await rows(person, object_type="engagement")
    [line] = await _lines(person, object_type="engagement")

    assert not {"external_id", "contact_ids", "contact_names", "company_ids", "company_names", "owner_name"} & {*row}
    assert not {"external_id", "participants", "contacts", "companies", "owner_name"} & {*line}
    assert "Lovelace" not in json.dumps([row, line])


async def test_a_deleted_contact_is_not_named(frank: Person) -> None:
    """A contact that is deleted is named in no file, as it is expanded in no answer."""
    await frank.post(ENGAGEMENTS, json=call(participants=[_ADA]))
    [contact] = (await frank.get("/api/v2/contacts")).json()["data"]
    await frank.delete(f"/api/v2/contacts/{contact['id']}")
    [row] = await rows(frank, object_type="engagement")

    assert (row["contact_ids"], row["contact_names"]) == ("", "")


async def test_all_engagements_are_in_the_file(frank: Person) -> None:
    """A file has all engagements, each once and the first one first, with more than a page holds of them and of their texts."""
    text = "word " * 24_000
    for number in range(203):
        body = call(f"c{number}", title=f"Call {number:03}", **({"transcript": text} if number < 50 else {}))
        assert (await frank.post(ENGAGEMENTS, json=body)).status_code == 201
    found = await rows(frank, object_type="engagement")

    assert [row["title"] for row in found] == [f"Call {number:03}" for number in range(203)]
    assert {row["transcript"].strip() for row in found[:50]} == {text.strip()}


async def _several(frank: Person, engine: Thing) -> Json:
    """Create engagements of each kind that filters tell apart; return ids to filter by."""
    contact = {"first_name": "Ada", "emails": [{"email": "ada@engines.test"}], "company_id": engine.id}
    ada = Thing(await frank.post("/api/v2/contacts", json=contact))
    link = {"object_type": "contact", "crm_object_id": "c-1", "source": "hubspot"}
    await frank.put(f"{ada.url}/crm_association", json=link)
    for number, (title, members) in enumerate(
        {
            "Renewal call": {"participants": [_ADA]},
            "Kick-off": {"type": "MEETING", "participants": [_ADA]},
            "Renewal, again": {"type": "MEETING"},
            "Small talk": {},
        }.items()
    ):
        body = call(f"f{number}", title=title, start_at=f"2026-0{number + 1}-01T12:00:00Z", **members)
        assert (await frank.post(ENGAGEMENTS, json=body)).status_code == 201
    return {"contact": ada.id, "company": engine.id}


@pytest.mark.parametrize(
    ("parameters", "chosen", "titles"),
    [
        ({"filter[engagement_type][eq]": "MEETING"}, {"engagement_type": ["MEETING"]}, ["Kick-off", "Renewal, again"]),
        (
            {"filter[engagement_type][in]": "CALL,MEETING", "filter[start_at][lt]": "2026-02-15T00:00:00Z"},
            {"engagement_type": ["CALL", "MEETING"], "start_at": {"lt": "2026-02-15T00:00:00Z"}},
            ["Renewal call", "Kick-off"],
        ),
        ({"filter[processing_status][eq]": "FAILED"}, {"processing_status": ["FAILED"]}, []),
        ({"filter[contact_ids][eq]": "{contact}"}, {"contact_ids": ["{contact}"]}, ["Renewal call", "Kick-off"]),
        ({"filter[company_ids][in]": "{company}"}, {"company_ids": ["{company}"]}, ["Renewal call", "Kick-off"]),
        ({"filter[owner_ids][eq]": NOBODY}, {"owner_ids": [NOBODY]}, []),
        (
            {"filter[updated_at][gte]": "2026-01-01T00:00:00Z"},
            {"updated_at": {"gte": "2026-01-01T00:00:00Z"}},
            ["Renewal call", "Kick-off", "Renewal, again", "Small talk"],
        ),
        (
            {"filter[crm_associations][eq]": '[{"id":"c-1","object_type":"contact"}]'},
            {"crm_associations": [{"id": "c-1", "object_type": "contact"}]},
            ["Renewal call", "Kick-off"],
        ),
        (
            {"filter[crm_associations][eq][0][id]": "c-1", "filter[crm_associations][eq][0][object_type]": "company"},
            {"crm_associations": [{"id": "c-1", "object_type": "company"}]},
            [],
        ),
        ({"search": "renew"}, {}, ["Renewal call", "Renewal, again"]),
        (
            {"search": "renew", "filter[engagement_type][eq]": "CALL"},
            {"engagement_type": ["CALL"]},
            ["Renewal call"],
        ),
    ],
)
async def test_the_filters_of_the_list_choose(
    frank: Person, engine: Thing, parameters: Json, chosen: Json, titles: list[str]
) -> None:
    """An export has what the list finds by the same filters and search, in its query or in its body, the earliest first."""
    named = await _several(frank, engine)
    query = {name: _named(text, named) for name, text in parameters.items()}
    body = {"object_type": "engagement", "format": "ndjson", "search": parameters.get("search", "")}
    if chosen:
        body["filter"] = json.loads(_named(json.dumps(chosen), named))
    listed = (await frank.get(ENGAGEMENTS, params=query | {"order_by": "start_at:asc"})).json()["data"]
    posted = [json.loads(line) for line in (await frank.post(URL, json=body)).text.splitlines()]

    assert [each["title"] for each in listed] == titles
    assert [each["title"] for each in await _lines(frank, object_type="engagement", **query)] == titles
    assert [each["title"] for each in posted] == titles


def _named(text: str, named: Json) -> str:
    """Return a text with ids in place of their names."""
    for name, value in named.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def test_a_body_has_each_filter_of_the_list() -> None:
    """A filter that the list gets is one of exports, too."""
    names = {each.name for each, _ in filter_parameters(LIST_OF).values()} | {*LIST_OF.times, "crm_associations"}

    assert {field.name for field in msgspec.structs.fields(EngagementFilter)} == names


async def test_filters_show_nothing_private(frank: Person, pool: Connections) -> None:
    """A filter or a search that only a private engagement meets finds nothing for a credential that may not see it."""
    secret = Made(await frank.post(ENGAGEMENTS, json=call("s", title="A secret", type="MEETING", is_private=True)))
    several = await _with(frank, pool, *_ALL)
    body = {"object_type": "engagement", "format": "ndjson", "search": "secret", "filter": {"engagement_type": ["MEETING"]}}

    assert secret.id in (await frank.post(URL, json=body)).text
    assert (await several.post(URL, json=body)).content == b""
    assert await _lines(several, object_type="engagement", search="secret") == []


async def test_all_that_a_search_finds_is_in_the_file(frank: Person) -> None:
    """A search finds more than one page of engagements, of which the file has each once."""
    bodies = [call(f"c{number}", title=f"{'Call' if number % 2 else 'Talk'} {number:03}") for number in range(420)]
    for start in range(0, len(bodies), 60):
        made = await asyncio.gather(*(frank.post(ENGAGEMENTS, json=body) for body in bodies[start : start + 60]))
        assert {each.status_code for each in made} == {201}
    found = await _lines(frank, object_type="engagement", search="call")

    assert sorted(each["title"] for each in found) == [f"Call {number:03}" for number in range(1, 420, 2)]


async def test_what_changes_meanwhile_is_passed_over_by_no_export(
    frank: Person, renewal: Thing, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engagement that somebody changes while earlier ones are read is still in the file, and once."""
    monkeypatch.setattr(engagements, "_PAGE", 1)
    made = [Made(await frank.post(ENGAGEMENTS, json=call(f"m{number}", title=f"Call {number}"))) for number in range(4)]
    pool = await open_pool(database_url, 2)

    async def change() -> None:
        for each in (made[0], made[3]):
            assert (await frank.put(f"{each.url}/tags", json={"tag_ids": [renewal.id]})).status_code == 200

    async def nothing() -> None:
        pass

    def may(_: str) -> bool:
        return True

    feed = View((), sees_private=True, sees_details=True)
    source = Source(pool, frank.workspace_id, nothing, change, may, feed)
    asked = ObjectExportRequest(object_type="engagement", format="ndjson", search="call")
    text = b"".join([part async for part in await export(source, asked)])
    await pool.close()

    assert [json.loads(line)["title"] for line in text.splitlines()] == [f"Call {number}" for number in range(4)]


async def test_a_cell_of_a_workbook_says_that_it_is_cut(frank: Person) -> None:
    """A workbook has no room for a long transcript: it has the beginning, and says how much there is."""
    await frank.post(ENGAGEMENTS, json=call(transcript="x" * 40_000))
    answer = await exported(frank, format="xlsx", object_type="engagement")
    sheet: Any = CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_name("Engagements").to_python()
    [cell] = [cell for name, cell in zip(*sheet, strict=True) if name == "transcript"]

    assert len(cell) == 32_767
    assert cell.endswith("x [... a cell has no room for all 40,000 characters; CSV and NDJSON have them]")


async def test_changes_are_those_of_the_feed(frank: Person, ada: Thing, renewal: Thing) -> None:
    """A line is a change as the feed has it, and a row has its parts."""
    await frank.patch(ada.url, json={"first_name": "Augusta"})
    fed = (await frank.get("/api/herdbook/changes")).json()["data"]
    found = await rows(frank, object_type="change")
    last = fed[-1]

    assert await _lines(frank, object_type="change") == fed
    assert await _lines(frank, object_type="change", types="tag") == [each for each in fed if each["object_id"] == renewal.id]
    assert await _lines(frank, object_type="change", after=str(fed[0]["position"])) == fed[1:]
    assert {name: found[-1][name] for name in ("position", "type", "at", "object_id", "request_id", "credential_id")} == {
        name: str(last[name]) for name in ("position", "type", "at", "object_id", "request_id", "credential_id")
    }
    assert found[-1]["changed"].startswith("first_name")
    assert json.loads(found[-1]["previous_attributes"]) == last["data"]["previous_attributes"]
    assert json.loads(found[-1]["object"]) == last["data"]["object"]


async def test_changes_need_what_the_feed_needs(frank: Person, pool: Connections, ada: Thing) -> None:
    """A credential gets the changes of what it may read, and none of private engagements, nor details of engagements."""
    step = Made(await frank.post(ENGAGEMENTS, json=call(participants=[_ADA])))
    secret = Made(await frank.post(ENGAGEMENTS, json=call("s", title="A secret", is_private=True)))
    person = await _with(frank, pool, "engagements:read")
    nobody = await _with(frank, pool, "contacts:write")
    lines = await _lines(person, object_type="change")

    assert step.id in {line["object_id"] for line in lines}
    assert not {ada.id, secret.id} & {line["object_id"] for line in lines}
    assert not [line for line in lines if "details" in line["data"]["object"]]
    assert [
        (await person.get(URL, params={"object_type": "change", "types": "contact"})).status_code,
        (await nobody.get(URL, params={"object_type": "change"})).status_code,
        (await nobody.get(URL, params={"object_type": "engagement"})).status_code,
    ] == [403, 403, 403]


async def test_changes_begin_with_the_first_that_is_kept(
    frank: Person, ada: Thing, grace: Thing, pool: Connections, database_url: str
) -> None:
    """An export has what is kept; one after a position that is no longer kept is refused, because some would be missing."""
    assert (await frank.patch(ada.url, json={"first_name": "Augusta"})).status_code == 200
    first = int(grace.etag.strip('"'))
    old = datetime.now(UTC) - timedelta(days=365)
    await pool.execute("update change set at = $3 where workspace_id = $1 and seq <= $2", frank.workspace_id, first, old)
    connections = await open_pool(database_url, 1)
    await trim_ledgers(connections, 90)
    await connections.close()
    refused = await frank.get(URL, params={"object_type": "change", "format": "ndjson", "after": str(first - 1)})

    assert [line["object_id"] for line in await _lines(frank, object_type="change")] == [ada.id]
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (
        (410, "no_longer_kept") if first > 1 else (200, "")
    )


async def test_an_export_of_changes_ends(frank: Person, ada: Thing, database_url: str) -> None:
    """An export ends with the last change that there was at its beginning, however many are made meanwhile."""
    pool = await open_pool(database_url, 2)

    async def write() -> None:
        assert (await frank.patch(ada.url, json={"description": "Again."})).status_code == 200

    async def nothing() -> None:
        pass

    def may(_: str) -> bool:
        return True

    feed = View(tuple(OBJECT_TYPES), sees_private=True, sees_details=True)
    source = Source(pool, frank.workspace_id, write, nothing, may, feed)
    parts = await export(source, ObjectExportRequest(object_type="change", format="ndjson"))
    text = b"".join([part async for part in parts])
    await pool.close()

    assert [json.loads(line)["type"] for line in text.splitlines()] == ["contact.created"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"object_type": "engagement", "format": "vcard-4.0"}, ["format"]),
        ({"object_type": "change", "format": "vcard-3.0"}, ["format"]),
        ({"object_type": "change", "format": "csv", "object_ids": ["x"]}, ["object_ids"]),
        ({"object_type": "engagement", "format": "csv", "where": {"and": []}, "after": 1}, ["where", "after"]),
        ({"object_type": "contact", "format": "csv", "types": ["tag"]}, ["types"]),
        ({"object_type": "change", "format": "csv", "types": ["car"]}, ["types"]),
        ({"object_type": "contact", "format": "csv", "filter": {}, "search": "x"}, ["filter", "search"]),
        ({"object_type": "engagement", "format": "csv", "filter": {}, "object_ids": ["x"]}, ["object_ids"]),
        ({"object_type": "engagement", "format": "csv", "filter": {"engagement_type": ["CAR"]}}, ["filter.engagement_type[0]"]),
        ({"object_type": "engagement", "format": "csv", "filter": {"owner_ids": ["x"]}}, ["filter.owner_ids"]),
        ({"object_type": "engagement", "format": "csv", "filter": {"start_at": {"gt": "now"}}}, ["filter.start_at.gt"]),
        ({"object_type": "engagement", "format": "csv", "filter": {"title": "x"}}, ["filter.title"]),
        ({"object_type": "engagement", "format": "csv", "search": "x" * 256}, ["search"]),
        (
            {"object_type": "engagement", "format": "csv", "filter": {"crm_associations": [{"id": "", "object_type": "deal"}]}},
            ["filter.crm_associations"],
        ),
    ],
)
async def test_bad_requests_name_the_field(frank: Person, body: Json, fields: list[str]) -> None:
    """A refusal names each member that does not go with the kind of objects, and no person is made of a call."""
    response = await frank.post(URL, json=body)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == fields
    assert "vcard" not in body["format"] or "is no person" in response.text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"object_type": "engagement", "filter[engagement_type][eq]": "CAR"}, "filter[engagement_type][eq]"),
        ({"object_type": "engagement", "filter[start_at][gt]": "now"}, "filter[start_at][gt]"),
        ({"object_type": "engagement", "filter[title][eq]": "x"}, "filter[title][eq]"),
        ({"object_type": "contact", "filter[engagement_type][eq]": "CALL"}, "filter[engagement_type][eq]"),
        ({"object_type": "change", "search": "x"}, "search"),
        ({"object_type": "engagement", "order_by": "start_at:asc"}, "order_by"),
    ],
)
async def test_a_bad_query_names_the_parameter(frank: Person, query: dict[str, str], field: str) -> None:
    """A filter that is none of the list's, or has no sense, is refused by its name."""
    response = await frank.get(URL, params=query)

    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_charlie_is_refused(frank: Person, charlie: Person, ada: Thing) -> None:
    """Charlie gets the engagements and changes of his own workspace alone, of which there are none."""
    step = Made(await frank.post(ENGAGEMENTS, json=call()))
    body = {"object_type": "engagement", "format": "ndjson", "object_ids": [step.id]}
    texts = [(await charlie.post(URL, json=body)).text]
    texts += [(await exported(charlie, format="ndjson", object_type=name)).text for name in ("engagement", "change")]

    assert texts == ["", "", ""]
    assert ada.id
