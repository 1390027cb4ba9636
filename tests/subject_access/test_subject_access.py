"""`herdbook subject-access`: a person who is planted everywhere is found everywhere, and nothing of a neighbour's is."""

import asyncio
import html
import json
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import pytest
import requests

from herdbook.embedded import running
from herdbook.erasure.places import PLACES
from tests.cast import Json
from tests.cli.programs import Finished, Running, herdbook, serving
from tests.engagements.calls import TIMELINE, timed
from tests.erasure.planting import ADDRESS, MARKER, plant
from tests.waiting import until

# The neighbour's name may be told, because both took part in a call; nothing else may.
NEIGHBOUR: Final = "Quixote"
SECRETS: Final = ("bob@neighbour.test", "5556677", "Nzyqo")
MARKUP: Final = "<script>alert('1')</script>"


class Planted(NamedTuple):
    """A server with the person in every place, the rows of the database with the marker, and what the command wrote then."""

    server: Running
    contact_id: str
    rows: dict[str, list[Json]]
    record: Path
    done: Finished

    @property
    def data(self) -> Json:
        """The record for programs."""
        return json.loads((self.record / "data.json").read_text())


def made(server: Running, path: str, body: Json, method: str = "POST", **headers: str) -> Json:
    """Create or change an object, and return it."""
    sent = {"Authorization": server.key, **headers}
    response = requests.request(method, server.url + path, json=body, headers=sent, timeout=90)
    assert response.status_code in (200, 201), response.text
    return response.json()


def plant_neighbour(server: Running, contact_id: str) -> None:
    """Make a neighbour, who shares a call and a request with the person, and has another call alone."""
    bob = {"email": SECRETS[0], "phone": f"+1202{SECRETS[1]}", "name": NEIGHBOUR}
    contact = {
        "first_name": NEIGHBOUR,
        "description": SECRETS[2],
        "emails": [{"email": SECRETS[0]}],
        "phone_numbers": [{"phone_number": f"+1202{SECRETS[1]}"}],
    }
    own = {"action": "update", "id": contact_id, "contact": {"last_name": f"{MARKER} in bulk"}}
    operations = [{"action": "create", "contact": contact}, own]
    made(server, "/api/herdbook/contacts/bulk", {"operations": operations}, **{"Idempotency-Key": "bulk"})
    speakers = [{"name": MARKER, "email": ADDRESS}, {"name": NEIGHBOUR, "email": SECRETS[0]}]
    shared = timed("shared", participants=[{"email": ADDRESS, "name": MARKER}, bob], title=f"{MARKER} and another")
    made(server, "/api/v2/engagements", shared | {"transcript_timeline": {**TIMELINE, "speakers": speakers}})
    alone = timed("alone", participants=[bob], title=SECRETS[2])
    made(server, "/api/v2/engagements", alone, **{"Idempotency-Key": "alone"})


def plant_former(server: Running) -> None:
    """Make and delete a contact that had the person's address."""
    former_contact = {"first_name": MARKER, "emails": [{"email": ADDRESS}], "external_ids": ["crm-former"]}
    former = made(server, "/api/v2/contacts", former_contact)
    made(server, f"/api/v2/contacts/{former['id']}", None, "DELETE")


def plant_links(server: Running, contact_id: str) -> None:
    """Give the person a company, a tag, a note, a merged contact, and a call with a tag."""
    company = made(server, "/api/v2/companies", {"name": "Engines", "domains": [{"domain": "engines.test"}]})
    tag = made(server, "/api/v2/tags", {"name": "Important"})
    earlier = made(server, "/api/v2/contacts", {"first_name": MARKER, "emails": [{"email": f"earlier.{ADDRESS}"}]})
    made(server, f"/api/herdbook/contacts/{contact_id}/merge", {"from": [earlier["id"]]})
    field = {"object_type": "contact", "key": "nickname", "label": "Nickname", "kind": "text", "unique": True}
    made(server, "/api/herdbook/fields", field)
    links = {
        "company_id": company["id"],
        "external_ids": ["crm-1842"],
        "fields": {"nickname": MARKER},
        "tag_ids": [tag["id"]],
    }
    made(server, f"/api/herdbook/contacts/{contact_id}/record", links, "PATCH")
    plant_twin(server, contact_id)
    made(server, f"/api/herdbook/contacts/{contact_id}/notes", {"text": MARKER})
    engagement = made(server, "/api/v2/engagements", timed("linked", participants=[{"email": ADDRESS}]))
    made(server, f"/api/v2/engagements/{engagement['id']}/tags", {"tag_ids": [tag["id"]]}, "PUT")


def plant_twin(server: Running, contact_id: str) -> None:
    """Make a contact that may be the same, and say that it is not."""
    link = {"object_type": "contact", "crm_object_id": "77", "source": "hubspot"}
    made(server, f"/api/v2/contacts/{contact_id}/crm_association", link, "PUT")
    twin = made(server, "/api/v2/contacts", {"crm_association": link})["id"]
    found = server.get("/api/herdbook/duplicates").json()
    assert {each["id"] for group in found["data"] for each in group["objects"]} == {contact_id, twin}
    made(server, "/api/herdbook/duplicates/distinct", {"object_type": "contact", "ids": [contact_id, twin]})


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, echo: str) -> Generator[Planted]:
    """A person in every place, and the record of this person."""
    folder = tmp_path_factory.mktemp("planted")
    with serving(folder) as server:
        plant_former(server)
        contact_id = plant(server, echo)
        plant_neighbour(server, contact_id)
        plant_links(server, contact_id)
        endpoint = server.get("/api/herdbook/webhooks").json()["data"][0]["id"]
        deliveries = f"/api/herdbook/webhooks/{endpoint}/deliveries?limit=100"
        asyncio.run(until(lambda: any(each["attempts"] for each in server.get(deliveries).json()["data"])))
        rows = asyncio.run(marked_rows(url_of(server)))
        done = herdbook("subject-access", ADDRESS, "record", folder=folder)
        assert done.status == 0, done.complained
        yield Planted(server, contact_id, rows, folder / "record", done)


@pytest.fixture
def planted_stopped(tmp_path: Path) -> Path:
    """A folder of a stopped server with the person."""
    with serving(tmp_path) as server:
        plant_former(server)
    return tmp_path


def url_of(server: Running) -> str:
    """Return the address of a server's database."""
    url = running(server.folder / "herdbook-data")
    assert url is not None
    return url


async def marked_rows(url: str) -> dict[str, list[Json]]:
    """Return all rows of the database that have the marker, by table."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
        found: dict[str, list[Json]] = {}
        for (table,) in tables:
            rows = await connection.fetch(f"select to_json(t)::text from {table} t where t::text ilike $1", f"%{MARKER}%")
            if rows:
                found[table] = [json.loads(row[0]) for row in rows]
        return found
    finally:
        await connection.close()


def scalars(row: Json) -> dict[str, Any]:
    """Return the members of a row that are neither lists nor objects, without those that the next attempt changes."""
    changing = {"state", "attempt_count", "next_attempt_at"}
    return {name: value for name, value in row.items() if name not in changing and not isinstance(value, (dict, list))}


def test_every_place_has_the_person(planted: Planted) -> None:
    """Each place has rows in the record, except the one of an erasure under way."""
    assert planted.data["places"].keys() == {place.table for place in PLACES} - {"erasure_task"}


def test_no_row_is_missing(planted: Planted) -> None:
    """Each row of the database with the marker is in the record, whatever its table."""
    rows = planted.rows
    kept = {table: [scalars(row) for row in rows] for table, rows in planted.data["places"].items()}
    missing = [(table, row) for table, some in rows.items() for row in some if scalars(row) not in kept.get(table, [])]

    assert missing == []
    assert rows.keys() >= {"contact", "change", "webhook_delivery", "idempotency_record", "transcript", "transcript_comment"}


def test_merged_and_former_contacts_are_in(planted: Planted) -> None:
    """Contacts that were merged into the person, or deleted with the address, are in; a receiver's answer is, too."""
    contacts = planted.data["places"]["contact"]
    answers = [attempt.get("answer", "") for row in planted.data["places"]["webhook_delivery"] for attempt in row["attempts"]]

    assert sorted((row["merged_into"] is None, row["deleted_at"] is None) for row in contacts) == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert {row["address"] for row in planted.data["places"]["contact_email"]} == {ADDRESS, f"earlier.{ADDRESS}"}
    assert any(MARKER in answer for answer in answers)


def test_nothing_of_the_neighbour(planted: Planted) -> None:
    """No file has the address, number, notes or calls of somebody else; the name is there, because of the common call."""
    files = [path for path in planted.record.rglob("*") if path.is_file()]
    texts = [path.read_text() for path in files]

    assert [secret for secret in SECRETS if any(secret in text for text in texts)] == []
    assert any(NEIGHBOUR in text for text in texts)


def test_the_page_explains(planted: Planted) -> None:
    """The page tells names, sources, recipients and periods, and has neither script nor foreign resource."""
    page = (planted.record / "index.html").read_text()

    assert f"{MARKER} in bulk" in page
    assert "127.0.0.1" in page
    assert "90 days" in page
    assert "crm-1842" in page
    assert "<script" not in page
    assert "src=" not in page
    assert "/hook" not in page
    for link in ("data.json", *planted_files(planted)):
        assert f'href="{link}"' in page


def planted_files(planted: Planted) -> list[str]:
    """Return the transcripts and recordings of the record."""
    return [str(path.relative_to(planted.record)) for path in planted.record.glob("*/*")]


def test_recordings_and_transcripts_are_files(planted: Planted) -> None:
    """A recording is there byte for byte, and so is each transcript."""
    recordings = [*planted.record.glob("recordings/*")]

    assert [path.read_bytes() for path in recordings] == [MARKER.encode() * 1000]
    assert len([*planted.record.glob("transcripts/*")]) == 3


def test_only_the_owner_may_read(planted: Planted) -> None:
    """Folders have mode 0700, files 0600."""
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (planted.record, *planted.record.rglob("*"))}

    assert modes == {(True, 0o700), (False, 0o600)}


def seq_of(change: Json) -> int:
    """Return the number of a change."""
    return change["seq"]


def test_a_zip_file(planted: Planted) -> None:
    """A target that ends with `.zip` is one file of mode 0600 with the same data; nothing else is left beside it."""
    folder = planted.server.folder
    before = {path.name for path in folder.iterdir()}
    done = herdbook("subject-access", ADDRESS, "record.zip", folder=folder)

    assert done.status == 0, done.complained
    assert (folder / "record.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(folder / "record.zip") as archive:
        changes = json.loads(archive.read("data.json"))["places"]["change"]
        assert sorted(changes, key=seq_of) == sorted(planted.data["places"]["change"], key=seq_of)
        assert "index.html" in archive.namelist()
    assert {path.name for path in folder.iterdir()} == before | {"record.zip"}


def test_markup_is_escaped(planted: Planted) -> None:
    """Markup in names, notes, titles and comments is shown as text."""
    server = planted.server
    person = {"first_name": MARKUP, "description": MARKUP, "emails": [{"email": "markup@x.test"}]}
    made(server, "/api/v2/contacts", person)
    participants = [{"email": "markup@x.test", "name": MARKUP}]
    engagement = made(server, "/api/v2/engagements", timed("markup", title=MARKUP, participants=participants))
    made(server, f"/api/v2/engagements/{engagement['id']}/transcript_comments", {"body": MARKUP})

    done = herdbook("subject-access", "Markup@x.test", "markup", folder=server.folder)

    page = (server.folder / "markup" / "index.html").read_text()
    assert done.status == 0, done.complained
    assert MARKUP not in page
    assert page.count(html.escape(MARKUP).replace("&#x27;", "&#39;")) == 6


def plant_fields(server: Running) -> None:
    """Make a contact with labels, tags, a company, notes, and a value of each kind that people read in other words."""
    options = [{"id": "o1", "label": "Gold"}, {"id": "o2", "label": "Silver"}]
    kinds: dict[str, Json] = {
        "tier": {"kind": "one_of", "options": options},
        "likes": {"kind": "several_of", "options": options},
        "home": {"kind": "address"},
        "fee": {"kind": "money"},
        "agreed": {"kind": "yes_no"},
        "seen_at": {"kind": "date_time"},
        "mentor": {"kind": "contact"},
        "looked_after_by": {"kind": "user"},
        "former": {"kind": "text"},
    }
    fields = {
        key: made(server, "/api/herdbook/fields", {"object_type": "contact", "key": key, "label": f"Its {key}!", **more})
        for key, more in kinds.items()
    }
    company = made(server, "/api/v2/companies", {"name": "Looms & Sons", "domains": []})
    tag = made(server, "/api/v2/tags", {"name": "Prefers tea"})
    mentor = made(server, "/api/v2/contacts", {"first_name": "Mary", "last_name": "Mentor"})
    user = herdbook("users", "create", "Otto", "Overseer", "--email=otto@x.test", "--role=MEMBER", folder=server.folder)
    assert user.status == 0, user.complained
    (user_id,) = (each["id"] for each in server.get("/api/v2/users").json()["data"] if each["last_name"] == "Overseer")
    contact = {
        "first_name": "Fields",
        "company_id": company["id"],
        "emails": [{"email": "fields@x.test", "label": "work"}, {"email": "other@x.test", "label": "choir"}],
        "phone_numbers": [{"phone_number": "+49 30 901820", "label": "mobile"}],
        "crm_association": {"object_type": "contact", "crm_object_id": "777", "source": "hubspot"},
        "tag_ids": [tag["id"]],
        "fields": {
            "tier": "o1",
            "likes": ["o2", "o1"],
            "home": {"street": "1 Mill Lane", "city": "Leeds"},
            "fee": {"amount": "12.50", "currency": "EUR"},
            "agreed": True,
            "seen_at": "2026-03-01T12:00:00Z",
            "mentor": mentor["id"],
            "looked_after_by": user_id,
            "former": "kept",
        },
    }
    contact_id = made(server, "/api/v2/contacts", contact)["id"]
    made(server, f"/api/herdbook/contacts/{contact_id}/notes", {"text": "Calls **late**.", "is_pinned": True})
    made(server, f"/api/herdbook/fields/{fields['former']['id']}", {"archived": True}, "PATCH")


def test_all_of_it_is_in_plain_words(planted: Planted) -> None:
    """Page and data have fields, options, labels and tags by their names, references by those of their objects, and notes."""
    plant_fields(planted.server)
    done = herdbook("subject-access", "fields@x.test", "fields", folder=planted.server.folder)
    assert done.status == 0, done.complained
    page = (planted.server.folder / "fields" / "index.html").read_text()
    (told,) = json.loads((planted.server.folder / "fields" / "data.json").read_text())["in_words"]
    members = [(each["name"], each["value"]) for each in told["members"]]

    assert members == [
        ("First name", "Fields"),
        ("E-mail (work, primary)", "fields@x.test"),
        ("E-mail (choir)", "other@x.test"),
        ("Phone (mobile)", "+49 30 901820"),
        ("Company", "Looms & Sons"),
        ("Record in a CRM", "777 (hubspot)"),
        ("Its agreed!", "Yes"),
        ("Its fee!", "12.50 EUR"),
        ("Its home!", "1 Mill Lane\nLeeds"),
        ("Its likes!", "Silver, Gold"),
        ("Its looked_after_by!", "Otto Overseer"),
        ("Its mentor!", "Mary Mentor"),
        ("Its seen_at!", "2026-03-01 12:00:00 UTC"),
        ("Its tier!", "Gold"),
        ("Its former! (no longer used)", "kept"),
        ("Tags", "Prefers tea"),
    ]
    for name, value in members:
        assert f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" in page
    assert [(note["text"], note["is_pinned"]) for note in told["notes"]] == [("Calls **late**.", True)]
    assert "<p>Calls <strong>late</strong>.</p>" in page
    assert "phone_numbers" not in page.partition("Categories of data")[0]


def test_tables_and_members_have_plain_names(planted: Planted) -> None:
    """The page names tables and changed members in words, and a note's entries as such."""
    page = (planted.record / "index.html").read_text()
    sources = page.partition("Where the data came from")[2].partition("Who may have received")[0]

    assert "<td>notes of the team about you</td>" in page
    assert "<td>note created</td>" in sources
    assert "fields of this team" in sources
    assert [word for word in ("unique_values", "tag_ids", "external_ids", "phone_numbers") if word in sources] == []


def test_a_participant_without_a_contact(planted: Planted) -> None:
    """An address that no contact has is known if a participant of a call has it, here a user of the team."""
    server = planted.server
    user = herdbook("users", "create", "Pat", "Passing", "--email=passing@x.test", "--role=MEMBER", folder=server.folder)
    assert user.status == 0, user.complained
    engagement = made(server, "/api/v2/engagements", timed("passing", participants=[{"email": "passing@x.test"}]))

    done = herdbook("subject-access", "passing@x.test", "passing", folder=server.folder)

    assert done.status == 0, done.complained
    data = json.loads((server.folder / "passing" / "data.json").read_text())
    assert data["about"]["contact_ids"] == []
    assert data["about"]["engagement_ids"] == [engagement["id"]]


def test_without_a_server(planted_stopped: Path) -> None:
    """The command starts the database itself if no server runs."""
    done = herdbook("subject-access", ADDRESS, "alone", folder=planted_stopped)

    assert done.status == 0, done.complained
    assert (planted_stopped / "alone" / "index.html").exists()


def test_an_external_database(planted: Planted) -> None:
    """With --database-url the data come from there, and recordings from the data folder; one that is not there is named."""
    folder = planted.server.folder
    done = herdbook("subject-access", ADDRESS, "external", f"--database-url={url_of(planted.server)}", folder=folder)

    assert done.status == 0, done.complained
    assert (folder / "external" / "recordings").exists()


def test_one_contact(planted: Planted) -> None:
    """The id of a merged contact means the contact that replaces it, and not another one with the same address."""
    merged_id = next(each["object"]["id"] for each in planted.data["places"]["contact"] if each["merged_into"] is not None)
    done = herdbook("subject-access", merged_id, "one", folder=planted.server.folder)

    assert done.status == 0, done.complained
    about = json.loads((planted.server.folder / "one" / "data.json").read_text())["about"]
    assert sorted(about["contact_ids"]) == sorted([merged_id, planted.contact_id])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody@x.test", "other"), "Nothing is kept about the address"),
        (("cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "other"), "no such contact"),
        (("nobody", "other"), "neither the id of a contact nor an e-mail address"),
        ((ADDRESS, "record"), "exists"),
        ((ADDRESS, "missing/record"), "There is no folder"),
        ((ADDRESS, "/proc/record"), "The folder `/proc` cannot be written: No such file or directory. Name another one."),
    ],
)
def test_refusals(planted: Planted, arguments: tuple[str, ...], words: str) -> None:
    """An unknown person, and a target that cannot be written, end with status 1, a reason, and no files."""
    done = herdbook("subject-access", *arguments, folder=planted.server.folder)

    assert done.status == 1
    assert words in done.complained
    assert not (planted.server.folder / "other").exists()
