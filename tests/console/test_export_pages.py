"""The exports of lists and of what is selected in them, without a browser."""

import asyncio
import csv
import io
from typing import Any, Final

import httpx
import pytest

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import call, create
from tests.importing.jobs import upload

FORMATS: Final = {
    "csv": ("contacts.csv", "text/csv"),
    "xlsx": ("contacts.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "ndjson": ("contacts.ndjson", "application/x-ndjson"),
    "vcard-4.0": ("contacts.vcf", "text/vcard"),
    "vcard-3.0": ("contacts.vcf", "text/vcard"),
}


async def _named(alice: Person, *names: str) -> dict[str, Thing]:
    """Create contacts with these first names."""
    return {name: Thing(await alice.post("/api/v2/contacts", json={"first_name": name})) for name in names}


def _names(answer: httpx.Response, column: str = "first_name") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row[column] for row in csv.DictReader(io.StringIO(answer.text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")))]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_list_is_exported_under_a_name_for_its_format(olga: Visitor, ada: Thing, file_format: str) -> None:
    """A download has the name and the media type of its format, and the contacts in it."""
    answer = await olga.post("/contacts/export", {"format": file_format})

    name, media_type = FORMATS[file_format]
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    assert ada.id
    assert file_format == "xlsx" or "Lovelace" in answer.text


async def test_export_has_what_filters_show(olga: Visitor, alice: Person) -> None:
    """Filters, a search among what they find, and the order are those of the list."""
    await _named(alice, "Joanna", "Anna", "Bela", "Annette")
    form = {"filter": "first_name:contains:nn", "sort": "first_name:asc"}
    offered = (await olga.get("/contacts", params=form)).text.split('id="export"')[1]

    assert 'name="filter" value="first_name:contains:nn"' in offered
    assert _names(await olga.post("/contacts/export", form)) == ["Anna", "Annette", "Joanna"]
    assert _names(await olga.post("/contacts/export", form | {"search": "ette"})) == ["Annette"]


async def test_export_has_what_a_search_finds(olga: Visitor, alice: Person) -> None:
    """A search finds the beginnings of words, and so does its export."""
    await _named(alice, "Joanna", "Anna", "Bela")

    assert _names(await olga.post("/contacts/export", {"search": "ann"})) == ["Anna"]


async def test_search_that_finds_nothing_exports_nothing(olga: Visitor, ada: Thing) -> None:
    """No file with everybody comes of a list with nobody."""
    answer = await olga.post("/contacts/export", {"search": "nobody"})

    assert ada.id
    assert answer.status_code == 303
    assert "Nothing was exported: the list is empty." in (await olga.client.get(answer.headers["Location"])).text


async def test_search_that_finds_too_much_is_refused(olga: Visitor, alice: Person) -> None:
    """A search is exported by what it finds, so it may not find too much; without it, all are exported, part by part."""
    job = await upload(alice, "First name,E-mail\n" + "".join(f"Ada,p{number}@x.test\n" for number in range(1001)))
    await job.run()

    refused = await olga.post("/contacts/export", {"search": "ada"})
    every = await olga.post("/contacts/export")

    assert refused.status_code == 422
    assert "The search finds more than 1,000." in refused.text
    assert len(_names(every)) == 1001


async def test_selected_ones_are_exported(olga: Visitor, alice: Person) -> None:
    """The page of a selection exports it, and nobody else."""
    made = await _named(alice, "Anna", "Bela", "Carla")
    chosen = [made["Carla"].id, made["Anna"].id]
    page = (await olga.get(f"/contacts/selected?id={chosen[0]}&id={chosen[1]}")).text
    form = page.split('aria-labelledby="export"')[1]

    assert f'name="ids" value="{",".join(chosen)}"' in form
    assert sorted(_names(await olga.post("/contacts/export", {"ids": ",".join(chosen)}))) == ["Anna", "Carla"]
    assert _names(await olga.post("/contacts/export", {"ids": ""})) == []


async def test_companies_are_exported_as_no_cards(olga: Visitor, engine: Thing) -> None:
    """A company is no person, so it has no card."""
    page = (await olga.get("/companies")).text.split('id="export"')[1]
    answer = await olga.post("/companies/export", {"format": "csv"})
    card = await olga.post("/companies/export", {"format": "vcard-4.0"})

    assert "vCard" not in page
    assert answer.headers["Content-Disposition"] == 'attachment; filename="companies.csv"'
    assert _names(answer, "name") == [engine.json["name"]]
    assert card.status_code == 422
    assert "a company is no person" in card.text


async def test_engagements_are_exported(olga: Visitor, frank: Person) -> None:
    """The list of engagements exports all of them, or what its search finds, and no file of nothing."""
    await create(frank, "First call", "Second call")
    page = (await olga.get("/engagements", params={"search": "second"})).text.split('id="export"')[1]
    every = await olga.post("/engagements/export", {"format": "csv"})
    found = await olga.post("/engagements/export", {"search": "second"})
    nothing = await olga.post("/engagements/export", {"search": "third"})

    assert "vCard" not in page
    assert 'name="search" value="second"' in page
    assert every.headers["Content-Disposition"] == 'attachment; filename="engagements.csv"'
    assert _names(every, "title") == ["First call", "Second call"]
    assert _names(found, "title") == ["Second call"]
    assert nothing.status_code == 303


async def test_search_of_engagements_has_no_bound(olga: Visitor, frank: Person) -> None:
    """All that a search of engagements finds is exported, however much that is."""
    bodies = [call(f"call-{number}", title=f"Call {number}") for number in range(1001)]
    for start in range(0, len(bodies), 60):
        await asyncio.gather(*(frank.post(ENGAGEMENTS, json=body) for body in bodies[start : start + 60]))
    found = await olga.post("/engagements/export", {"search": "call"})

    assert len({*_names(found, "title")}) == 1001


async def test_changes_are_exported(olga: Visitor, ada: Thing, renewal: Thing) -> None:
    """The page of the activity exports the changes that are kept, or those of a kind."""
    page = (await olga.get("/activity")).text.split('id="export"')[1]
    every = await olga.post("/activity/export", {"types": ""})
    tags = await olga.post("/activity/export", {"types": "tag", "format": "csv"})

    assert "vCard" not in page
    assert {ada.id, renewal.id} <= {*_names(every, "object_id")}
    assert _names(tags, "object_id") == [renewal.id]
    assert tags.headers["Content-Disposition"] == 'attachment; filename="changes.csv"'


async def test_viewer_exports(victor: Visitor, ada: Thing) -> None:
    """Everyone who may read may take along all that there is to read."""
    assert ada.id
    assert "Export" in (await victor.get("/contacts")).text
    assert _names(await victor.post("/contacts/export")) == ["Ada"]


@pytest.mark.parametrize("form", [{"filter": "emails:eq:nonsense@"}, {"format": "pdf"}, {"sort": "nothing:asc"}])
async def test_export_that_makes_no_sense_is_refused(olga: Visitor, ada: Thing, form: dict[str, Any]) -> None:
    """A form from elsewhere gets a sentence, and no file."""
    answer = await olga.post("/contacts/export", form)

    assert answer.status_code == 422
    assert "Content-Disposition" not in answer.headers
    assert ada.json["last_name"] not in answer.text


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_file_has_each_text_as_it_is(olga: Visitor, alice: Person, text: str) -> None:
    """A value goes into the file, and the name of the format into no header."""
    await _named(alice, text, "Other")

    assert _names(await olga.post("/contacts/export", {"filter": f"first_name:eq:{text}"})) == [text]
    assert "filename" not in str((await olga.post("/contacts/export", {"format": text})).headers)
