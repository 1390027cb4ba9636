"""The pages of imports, without a browser: the file, the columns, the dry run, the run, and what came of it."""

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest
from markupsafe import escape

from herdbook.app import create_app
from herdbook.importing import pages
from herdbook.ledger.ledger import Ledger
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.console.people import ORIGIN, People, Visitor
from tests.console.test_contact_pages import NASTY
from tests.custom_fields.definitions import define
from tests.importing.jobs import URL, upload
from tests.importing.test_sheets import FIRMS, workbook
from tests.importing.test_sheets import PEOPLE as PEOPLE_ROWS

PEOPLE: Final = (
    "First name;Last name;E-mail;Tier\n"
    "Ada;Lovelace;ada@engine.test;gold\n"
    "Grace;Hopper;grace@navy.test;silver\n"
    "Alan;Turing;not an address;gold\n"
    "Grace;Hopper;grace@navy.test;silver\n"
)
_PATIENCE: Final = 90.0


async def _sent(visitor: Visitor, content: str | bytes = PEOPLE, name: str = "people.csv") -> str:
    """Send a file, and return the path of its import."""
    answer = await visitor.send_file(name, content)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


class _Forms(HTMLParser):
    """Collects what each form of a page would send, without its buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[dict[str, Any]] = [{}]
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, or a value of one."""
        sent = dict(attrs)
        name, value = sent.get("name") or "", sent.get("value") or ""
        if tag == "form":
            self.all.append({})
        elif tag == "select":
            self._select = name
            self.all[-1].setdefault(name, []).append(None)
        elif tag == "option" and self._select:
            values = self.all[-1][self._select]
            if values[-1] is None or "selected" in sent:
                values[-1] = value
        elif tag == "input" and name and (sent.get("type") != "checkbox" or "checked" in sent):
            self.all[-1].setdefault(name, []).append(value)

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a list to choose from."""
        if tag == "select":
            self._select = ""


def _form(page: str) -> dict[str, Any]:
    """Return what the form of the columns would send."""
    (form,) = [each for each in _Forms(page).all if "start" in each]
    form.pop("form_token")
    return form


async def _done(visitor: Visitor, path: str) -> str:
    """Return the page of an import once no server works on it."""
    async with asyncio.timeout(_PATIENCE):
        while "data-watch" in (page := (await visitor.get(path)).text):  # noqa: ASYNC110  # the server sets no event
            await asyncio.sleep(0.02)
    return page


async def _checked(visitor: Visitor, path: str, **changes: Any) -> str:
    """Send the form of the columns with some changes, and return the page of the dry run."""
    form = _form((await visitor.get(path)).text) | {"do": "check"} | changes
    answer = await visitor.post(path, form)
    assert answer.status_code == 303, answer.text
    return await _done(visitor, path)


async def _run(visitor: Visitor, path: str) -> str:
    answer = await visitor.post(path, {"do": "run"})
    assert answer.status_code == 303, answer.text
    return await _done(visitor, path)


def _rows(page: str) -> list[list[str]]:
    """Return the cells of the table of rows, as people read them."""
    table = page.split("rows-table")[1].split("</table>", maxsplit=1)[0] if "rows-table" in page else ""
    return [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]
    ]


async def test_file_leads_to_what_was_found_in_it(olga: Visitor) -> None:
    """The page says the form of the file, and shows each column with samples, a target and how sure that is."""
    page = (await olga.get(await _sent(olga))).text

    assert "4 rows with 4 columns: values with semicolons between them, in UTF-8." in page
    assert _form(page)["to_0"] == ["first_name"]
    assert _form(page)["to_2"] == ["email"]
    assert _form(page)["to_3"] == ["ignore"]
    assert "ada@engine.test" in page.split('aria-label="E-mail fills"')[0]
    assert re.findall(r'<span class="badge[^"]*">([^<]+)</span></td>', page)[0] == "90\N{NO-BREAK SPACE}% sure"
    assert "not known" in page


async def test_preset_is_named(olga: Visitor) -> None:
    """The export of a known program is called so."""
    page = (
        await olga.get(await _sent(olga, "Name,Given Name,Family Name,E-mail 1 - Label,E-mail 1 - Value\nA B,A,B,,a@x.test\n"))
    ).text

    assert "It looks like an export of Google Contacts." in page


async def test_dry_run_says_what_would_come_of_each_row(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The table has the verdict, the values and the reason of each row, and nothing is written."""
    page = await _checked(olga, path := await _sent(olga, PEOPLE.replace("Lovelace", "Byron")), existing="overwrite")

    assert "Nothing is written yet" in page
    rows = _rows(page)
    assert rows[0][:2] == ["2", "Update"]
    assert "Ada Lovelace : Last name" in rows[0][3]
    assert rows[1][:3] == ["3", "Create", "Grace · Hopper · grace@navy.test"]
    assert rows[2][:2] == ["4", "Problem"]
    assert rows[2][3].startswith("E-mail: This is not an e-mail address")
    assert rows[3][:2] == ["5", "Duplicate"]
    assert rows[3][3] == "means the same as row 3"
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag
    assert [each[0] for each in _rows((await olga.get(f"{path}?verdict=create")).text)] == ["3"]
    assert len((await alice.get("/api/v2/contacts")).json()["data"]) == 1


async def test_rows_come_in_pages(olga: Visitor) -> None:
    """A page has fifty rows, and leads to the next ones and back."""
    content = "E-mail\n" + "".join(f"p{number}@x.test\n" for number in range(70))
    page = await _checked(olga, await _sent(olga, content))

    following = re.search(r'href="([^"]+)"[^>]*>Further rows', page)
    assert following is not None
    second = (await olga.get(following[1].replace("&amp;", "&"))).text

    assert [len(_rows(page)), len(_rows(second))] == [50, 20]
    assert _rows(second)[0][0] == "52"
    assert "First rows" in second
    assert "Further rows" not in second


async def test_import_runs_and_is_undone_whole(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The result has counts, a file of the rows that failed, and an undo, which names what somebody has changed since."""
    path = await _sent(olga)
    await _checked(olga, path, existing="overwrite", tags='Fair, "Spring, 2026"')
    page = await _run(olga, path)

    assert "4 rows: 1 new here, 1 changed, 1 changed nothing and 1 not imported." in page
    failed = await olga.get(f"{path}/problems")
    assert failed.headers["Content-Disposition"] == 'attachment; filename="people-problems.csv"'
    assert failed.text.splitlines()[1].startswith("Alan;Turing;not an address;gold;")
    contacts = (await alice.get("/api/v2/contacts")).json()["data"]
    grace = next(each for each in contacts if each["first_name"] == "Grace")
    assert len((await alice.get(f"/api/herdbook/contacts/{grace['id']}/record")).json()["tag_ids"]) == 2
    await alice.patch(f"/api/v2/contacts/{grace['id']}", json={"description": "A note of a person."})

    undo = re.search(r'href="([^"]+)"[^>]*>(?:(?!</a>).)*Undo the whole import', page, re.DOTALL)
    assert undo is not None
    preview = (await olga.get(undo[1])).text
    assert "This would stay as it is" in preview
    assert "Grace Hopper" in preview.split('id="kept"')[1]
    await olga.post(path, {"do": "undo"})
    undone = await _done(olga, path)
    assert "The import was undone" in undone
    assert re.search(r"<p>Olga undid it .*: 1 taken back, 3 kept\.", undone) is not None
    assert "Grace Hopper" in undone.split('id="kept"')[1]
    assert "Undo the whole import" not in undone
    assert re.search(r'class="badge">undone<', (await olga.get("/imports")).text) is not None
    assert "tag_ids" not in (await alice.get(f"/api/herdbook/contacts/{ada.id}/record")).json()


async def test_another_sheet_is_read(olga: Visitor, tmp_path: Path) -> None:
    """The page lists the sheets of a workbook, and reads the one that is chosen."""
    book = workbook(tmp_path, People=PEOPLE_ROWS, Firms=FIRMS)
    path = await _sent(olga, book, "book.xlsx")
    page = (await olga.get(path)).text
    assert re.findall(r"<option( selected)?>(\w+)</option>", page.split('id="sheet"')[1].split("</select>")[0]) == [
        (" selected", "People"),
        ("", "Firms"),
    ]

    await olga.post(path, {"do": "sheet", "sheet": "Firms"})

    page = (await olga.get(path)).text
    assert '<th scope="row">Domain</th>' in page
    assert "1 row with 2 columns" in page


async def test_kept_objects_come_in_pages(olga: Visitor, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo of many rows begins without a preview, and its page lists what is kept page by page."""
    monkeypatch.setattr(pages, "_ROWS_TRIED", 2)
    monkeypatch.setattr(pages, "_ROWS_SHOWN", 2)
    path = await _sent(olga, "First name\nAda\nGrace\nMary\n")
    await _checked(olga, path)
    await _run(olga, path)
    for each in (await alice.get("/api/v2/contacts")).json()["data"]:
        await alice.patch(f"/api/v2/contacts/{each['id']}", json={"description": "Edited."})

    asked = (await olga.get(f"{path}?step=undo")).text
    await olga.post(path, {"do": "undo"})
    first = await _done(olga, path)
    following = re.search(r'href="([^"]+)"[^>]*>Further ones', first)
    assert following is not None
    second = (await olga.get(following[1].replace("&amp;", "&"))).text

    assert "The page lists it afterwards." in asked
    assert [page.count("It was changed since.") for page in (first, second)] == [2, 1]
    assert "First ones" in second
    assert "Further ones" not in second


async def test_same_file_again_changes_nothing_and_says_so(olga: Visitor) -> None:
    """The dry run of a file that is imported already says that all of it is here."""
    content = "E-mail\nada@engine.test\n"
    first = await _sent(olga, content)
    await _checked(olga, first)
    await _run(olga, first)

    page = await _checked(olga, await _sent(olga, content))

    assert "The file changes nothing" in page
    assert "Everything in it is here already." in page


async def test_column_becomes_a_new_field(anna: Visitor, frank: Person) -> None:
    """An administrator lets a column define a field of the guessed kind. An undo takes the field back, too."""
    path = await _sent(anna)
    page = (await anna.get(path)).text
    assert "New: Tier (text)" in page

    await _checked(anna, path, to_3="new")
    await _run(anna, path)

    (field,) = (await frank.get("/api/herdbook/fields")).json()["data"]
    assert (field["key"], field["kind"], field["label"]) == ("tier", "text", "Tier")


async def test_member_is_offered_no_new_field(olga: Visitor) -> None:
    """Only administrators define fields, so others are not offered one."""
    assert "New: Tier" not in (await olga.get(await _sent(olga))).text


async def test_own_fields_are_offered(olga: Visitor, frank: Person) -> None:
    """A column fills a field of the workspace, a value with parts part by part."""
    await define(frank, "tier", "text")
    await define(frank, "office", "address")

    page = (await olga.get(await _sent(olga))).text

    assert _form(page)["to_3"] == ["field:tier"]
    assert '<option value="field:office.city">' in page


async def test_mapping_is_saved_and_used_again(olga: Visitor) -> None:
    """A mapping under a name is used for the next file with these columns, and can be chosen for it."""
    path = await _sent(olga)
    form = _form((await olga.get(path)).text) | {"do": "save", "to_3": "tags", "save_as": "Fair"}
    assert (await olga.post(path, form)).status_code == 303

    page = (await olga.get(again := await _sent(olga))).text
    assert "The mapping “Fair” fits, and is used." in page
    assert _form(page)["to_3"] == ["tags"]
    await olga.post(again, _form(page) | {"do": "save", "to_3": "ignore"})
    assert _form((await olga.get(again)).text)["to_3"] == ["ignore"]
    await olga.post(again, {"do": "use", "name": "Fair"})
    assert _form((await olga.get(again)).text)["to_3"] == ["tags"]


async def test_rows_may_be_companies(olga: Visitor, alice: Person) -> None:
    """The other type of objects has its own targets, and its own way to match."""
    path = await _sent(olga, "Name,Domain\nEngines,engines.test\n")
    for name, expected in (("contact", ["full_name"]), ("company", ["name"])):
        await olga.post(path, {"do": "type", "type": name})
        assert _form((await olga.get(path)).text)["to_0"] == expected

    await _checked(olga, path)
    await _run(olga, path)

    assert [each["name"] for each in (await alice.get("/api/v2/companies")).json()["data"]] == ["Engines"]


async def test_first_row_may_be_a_row_like_the_others(olga: Visitor) -> None:
    """A file without a header is read again with its first row as one of a person, and back."""
    path = await _sent(olga, "E-mail\nada@engine.test\n")

    await olga.post(path, {"do": "header"})
    without = (await olga.get(path)).text
    await olga.post(path, {"do": "header", "has_header": "1"})

    assert "2 rows" in without
    assert "1 row with" in (await olga.get(path)).text


async def test_fixed_values_regions_and_systems_are_kept(olga: Visitor, alice: Person) -> None:
    """The values that all rows have are in the form again, and in each row that is imported."""
    path = await _sent(olga, "E-mail,Phone,Id\nada@engine.test,030 123456,77\n")
    fixed = {"fixed_to": ["description"], "fixed_value": ["From the fair"]}
    await _checked(olga, path, region="de", crm_source="legacy", to_2="crm_id", **fixed)

    page = (await olga.get(f"{path}?step=columns")).text
    assert 'value="DE"' in page
    assert 'value="legacy"' in page
    assert 'value="From the fair"' in page
    await _run(olga, path)

    (contact,) = (await alice.get("/api/v2/contacts")).json()["data"]
    assert contact["description"] == "From the fair"
    assert contact["crm_association"]["source"] == "legacy"


async def test_refusal_names_the_columns(olga: Visitor) -> None:
    """Two columns for one member are refused by their names, and the form keeps what was sent."""
    path = await _sent(olga)

    answer = await olga.post(path, _form((await olga.get(path)).text) | {"do": "save", "to_3": "last_name"})

    assert answer.status_code == 422
    assert "“Tier” is the same member as “Last name”." in answer.text
    assert _form(answer.text)["to_3"] == ["last_name"]


async def test_many_columns_come_in_pages(olga: Visitor) -> None:
    """A form has fifty columns; those of its other pages keep what they were given."""
    names = ["E-mail", *(f"Column {number}" for number in range(2, 61))]
    path = await _sent(olga, f"{','.join(names)}\n{','.join(['a@x.test', *'x' * 59])}\n")
    first = _form((await olga.get(path)).text)
    moved = await olga.post(path, first | {"do": "forth", "to_1": "description"})
    second = (await olga.get(moved.headers["Location"])).text

    assert "to_49" in first
    assert "to_50" not in first
    assert 'name="to_50"' in second
    await olga.post(path, _form(second) | {"do": "save", "start": "50", "to_50": "note"})
    assert _form((await olga.get(path)).text)["to_1"] == ["description"]
    assert _form((await olga.get(f"{path}?start=50")).text)["to_50"] == ["note"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x00\x01\x02 binary", "byte 0 is zero"), ("E-mail\n", "no record"), ("", "empty")],
    ids=["binary", "header alone", "empty"],
)
async def test_unreadable_file_is_refused_by_a_sentence(olga: Visitor, content: str | bytes, reason: str) -> None:
    """A file that cannot be read is refused in the form, and nothing is kept."""
    answer = await olga.send_file("people.csv", content)

    assert answer.status_code == 422
    assert reason in answer.text.split('id="file-said"')[1].split("</p>")[0].lower()
    assert "No imports yet" in answer.text


async def test_form_without_a_file_asks_for_one(olga: Visitor) -> None:
    """A browser sends an empty file if nobody has chosen one."""
    answer = await olga.send_file("", "")

    assert answer.status_code == 422
    assert "Choose a file first." in answer.text


async def test_file_larger_than_the_limit_is_refused(
    database_url: str, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID, tmp_path: Path
) -> None:
    """The form tells the limit, and a larger file is refused as it comes."""
    app = create_app(Settings(rate_limit=0, data_dir=tmp_path, import_limit=1000), database_url)
    async with app.running():
        olga = await People(ledger, pool, httpx.ASGITransport(app)).join(workspace_id, "Olga")
        page = (await olga.get("/imports")).text

        answer = await olga.send_file("people.csv", "E-mail\n" + "ada@engine.test\n" * 1000)

    assert "At most 1000 Bytes." in page
    assert answer.status_code == 413
    assert "The file is larger than that." in answer.text.split('id="file-said"')[1]
    assert "No imports yet" in answer.text
    assert [*(tmp_path / "imports").rglob("*")] == [tmp_path / "imports" / workspace_id.hex]


async def test_file_of_a_stolen_form_is_refused(olga: Visitor, alice: Person) -> None:
    """A file is taken only with a token of the session, and only from the console's own pages."""
    files = {"file": ("people.csv", PEOPLE)}
    token = await olga.token()
    stolen = await olga.client.post("/console/imports", data={"form_token": "stolen"}, files=files, headers={"Origin": ORIGIN})
    behind = await olga.client.post(
        "/console/imports", files=[*files.items(), ("form_token", (None, token))], headers={"Origin": ORIGIN}
    )
    elsewhere = await olga.client.post(
        "/console/imports", data={"form_token": token}, files=files, headers={"Origin": "https://evil.test"}
    )

    assert [each.status_code for each in (stolen, behind, elsewhere)] == [422, 422, 403]
    assert (await alice.get(URL)).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"--x\r\nnonsense", b'--x\r\nContent-Disposition: form-data; name="form_token"\r\n\r\nhalf', b"\xff" * 100],
    ids=["empty", "malformed", "half", "binary"],
)
async def test_malformed_form_is_refused(olga: Visitor, body: bytes) -> None:
    """A form that ends too early, or is none, is refused with a sentence."""
    headers = {"Origin": ORIGIN, "Content-Type": "multipart/form-data; boundary=x"}

    answer = await olga.client.post("/console/imports", content=body, headers=headers)

    assert answer.status_code == 422


async def test_half_a_file_is_not_kept(olga: Visitor, alice: Person) -> None:
    """A form that ends within its file leaves nothing."""
    token = await olga.token()
    body = (
        f'--x\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n{token}\r\n--x\r\n'
        'Content-Disposition: form-data; name="file"; filename="people.csv"\r\n\r\nE-mail\nada@engine.test\n'
    )
    headers = {"Origin": ORIGIN, "Content-Type": "multipart/form-data; boundary=x"}

    answer = await olga.client.post("/console/imports", content=body.encode(), headers=headers)

    assert answer.status_code == 422
    assert (await alice.get(URL)).json()["data"] == []


async def test_viewer_imports_nothing(victor: Visitor, frank: Person) -> None:
    """A viewer has no menu entry, no page and no form."""
    job = await upload(frank, PEOPLE)

    answers = [
        await victor.get("/imports"),
        await victor.send_file("people.csv", PEOPLE),
        await victor.get(f"/imports/{job.id}"),
        await victor.post(f"/imports/{job.id}", {"do": "run"}),
        await victor.get(f"/imports/{job.id}/problems"),
    ]

    assert [each.status_code for each in answers] == [403] * 5
    assert "/console/imports" not in (await victor.get("/contacts")).text
    assert (await job.read())["state"] == "uploaded"


@pytest.mark.parametrize("do", ["check", "save", "header", "type", "use", "run", "pause", "cancel", "delete", "nonsense"])
async def test_another_workspace_steers_nothing(carla: Visitor, frank: Person, do: str) -> None:
    """An import of another workspace is not there for any form."""
    job = await upload(frank, PEOPLE)

    answer = await carla.post(f"/imports/{job.id}", {"do": do, "start": "0"})

    assert answer.status_code == 404
    assert (await job.read())["state"] == "uploaded"


async def test_import_is_stopped_and_goes_on(olga: Visitor) -> None:
    """A run is paused, goes on, and ends; what cannot be done in a state is refused on the page."""
    path = await _sent(olga, "E-mail\n" + "".join(f"p{number}@x.test\n" for number in range(3000)))
    await olga.post(path, _form((await olga.get(path)).text) | {"do": "save"})
    await olga.post(path, {"do": "run"})

    paused = await olga.client.get((await olga.post(path, {"do": "pause"})).headers["Location"])
    shown = paused.text
    too_late = await olga.post(path, {"do": "pause"})
    await olga.post(path, {"do": "run"})

    assert "The import is paused" in shown
    assert "Go on" in shown
    assert too_late.status_code == 422
    assert "3,000 rows: 3,000 new here." in await _done(olga, path)


async def test_import_is_cancelled(olga: Visitor) -> None:
    """A run that is stopped keeps what is done, and says how much that is."""
    path = await _sent(olga, "E-mail\n" + "".join(f"p{number}@x.test\n" for number in range(3000)))
    await olga.post(path, {"do": "run"})

    await olga.post(path, {"do": "cancel"})

    page = (await olga.get(path)).text
    assert "The import was stopped" in page
    assert re.search(r"3,000 rows: ([\d,]+ new here|none is done)\.", page)


async def test_import_is_deleted(olga: Visitor, alice: Person) -> None:
    """A deletion takes the import and its file, and leads to the list."""
    path = await _sent(olga)

    answer = await olga.post(path, {"do": "delete"})

    assert answer.headers["Location"].startswith("/console/imports?")
    assert (await alice.get(URL)).json()["data"] == []
    assert (await olga.get(path)).status_code == 404


async def test_activity_calls_an_import_so(olga: Visitor, victor: Visitor) -> None:
    """The activity names the file of an import, and of its undo. A viewer gets no link."""
    path = await _sent(olga, "First name\nAda\n", 'my "people".csv')
    await olga.post(path, {"do": "run"})
    page = await _done(olga, path)

    activity = (await olga.get("/activity")).text
    assert f'imported <a class="strong" href="{path}">my &#34;people&#34;.csv</a>: created the contact' in " ".join(
        activity.split()
    )
    assert "imported <strong>my &#34;people&#34;.csv</strong>" in (await victor.get("/activity")).text
    assert "Undo the whole import" in page
    await olga.post(path, {"do": "undo"})
    await _done(olga, path)
    assert "undid the import of" in (await olga.get("/activity")).text


async def test_empty_list_leads_to_the_import(olga: Visitor, victor: Visitor) -> None:
    """Somebody without contacts is told how to bring them in, if the role allows it."""
    for plural in ("contacts", "companies"):
        assert 'href="/console/imports">' in (await olga.get(f"/{plural}")).text.split('class="empty"')[1]
        assert "/console/imports" not in (await victor.get(f"/{plural}")).text


async def test_command_menu_finds_the_import(olga: Visitor) -> None:
    """The command menu leads to the page."""
    assert 'href="/console/imports"' in (await olga.get("/find?search=impo")).text.split('id="found"')[1]


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(anna: Visitor, text: str) -> None:
    """Nothing in the name of a file, of a column or of a saved mapping, or in a value, is taken for a part of a page."""
    cell = '"' + text.replace('"', '""') + '"'
    path = await _sent(anna, f"First name,E-mail,{cell}\n{cell},a@x.test,{cell}\nBad,bad,{cell}\n", f"{text}.csv"[-255:])
    form = _form((await anna.get(path)).text) | {"save_as": text, "tags": text.replace(",", ""), "do": "save"}
    saved = await anna.post(path, form)
    assert saved.status_code == 303, saved.text

    pages = [await anna.get("/imports"), await anna.get(path)]
    pages += [await anna.post(path, _form(pages[1].text) | {"do": "save", "to_2": "last_name", "to_0": "last_name"})]
    await _checked(anna, path, to_2="description")
    pages.append(await anna.get(path))
    await _run(anna, path)
    pages += [await anna.get(path), await anna.get("/activity"), await anna.get("/imports")]

    assert all(each.status_code in (200, 303, 422) for each in pages)
    assert not any("<img src=x" in each.text or ">49<" in each.text for each in pages)
    assert str(escape(text[:100])) in pages[1].text
    assert str(escape(text)) in pages[3].text


async def test_file_of_an_old_browser_is_named_without_its_folder(olga: Visitor) -> None:
    """Some browsers send the whole path of a file."""
    page = (await olga.get(await _sent(olga, PEOPLE, "C:\\people\\mine.csv"))).text

    assert "<h1>mine.csv</h1>" in page


@pytest.mark.parametrize("start", ["x", "-1", "\u0663", "9" * 400])
async def test_start_that_is_no_column_begins_at_the_first_one(olga: Visitor, frank: Person, start: str) -> None:
    """A crafted form saves its mapping, and leads back to the first columns."""
    job = await upload(frank, "Name,E-mail\nAda Lovelace,ada@engine.test\n")

    answer = await olga.post(f"/imports/{job.id}", {"do": "save", "start": start})

    assert answer.headers["Location"].startswith(f"/console/imports/{job.id}?start=0&")
