"""An export of herdbook is imported into another workspace, and people are the same there."""

# XlsxWriter has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import io
import json
from typing import Any, Final

import pytest
import xlsxwriter

from tests.cast import Json, Person, Thing
from tests.contacts.records import change
from tests.custom_fields.definitions import define
from tests.exports.test_export import exported, whole
from tests.importing.jobs import counts, upload

_FIELDS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("job_title", {"kind": "text"}),
    ("birthday", {"kind": "date"}),
    ("address", {"kind": "address"}),
    ("worth", {"kind": "money"}),
    ("tier", {"kind": "one_of", "options": [{"id": "gold", "label": "Gold, the best"}]}),
)
# Each workspace gives its own of these.
_OWN: Final = ("id", "created_at", "updated_at", "company", "tag_ids")


async def told(person: Person) -> Json:
    """Return the only contact of a workspace as NDJSON, without what each workspace has its own of."""
    [line] = (await exported(person, format="ndjson")).text.splitlines()
    return {name: value for name, value in json.loads(line).items() if name not in _OWN}


async def imported(charlie: Person, content: bytes, **mapping: Any) -> Json:
    """Import a file of one contact into Charlie's workspace; return the contact."""
    job = await upload(charlie, content)
    if mapping:
        await job.map(**mapping)
    assert await job.run() == counts(create=1), await job.rows()
    return await told(charlie)


@pytest.mark.parametrize("form", ["csv", "xlsx", "ndjson"])
async def test_a_table_comes_back(alice: Person, frank: Person, charlie: Person, ada: Thing, renewal: Thing, form: str) -> None:
    """All of a contact comes back from a table or from a line of JSON: fields, labels, tags and notes as well."""
    await whole(alice, frank, ada, renewal)
    tag = (await alice.post("/api/v2/tags", json={"name": 'One, two; "three"'})).json()["id"]
    await change(alice, ada, tag_ids=[renewal.id, tag])
    await alice.post(f"{ada.url.replace('/v2/', '/herdbook/')}/notes", json={"text": "Second"})
    before = await told(alice)
    for key, members in _FIELDS:
        await define(charlie, key, **members)
    after = await imported(charlie, (await exported(alice, format=form)).content, crm_source="hubspot")

    assert after == before


@pytest.mark.parametrize("version", ["3.0", "4.0"])
async def test_a_card_comes_back(
    alice: Person, frank: Person, charlie: Person, ada: Thing, renewal: Thing, version: str
) -> None:
    """All of a contact comes back from its card, and no card is kept, because it has no more than the contact."""
    await whole(alice, frank, ada, renewal)
    before = await told(alice)
    for key, members in _FIELDS:
        await define(charlie, key, **members)
    cards = (await exported(alice, format=f"vcard-{version}")).content
    after = await imported(charlie, cards, crm_source="hubspot")
    # The primary address comes first in a table.
    for contact in (before, after):
        contact["emails"] = sorted(contact["emails"], key=lambda item: item["email"])

    assert after == before


async def test_a_sheet_is_chosen(charlie: Person) -> None:
    """A workbook is read at its first sheet with values, or at the one that is named; days and numbers are texts."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        book.add_worksheet("Empty")
        for name in ("People", "Others"):
            day = book.add_format({"num_format": "yyyy-mm-dd"})
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["First name", "Phone", "Joined"])
            sheet.write_row(1, 0, [name, 442079460958])
            # A spreadsheet counts days.
            sheet.write_number(1, 2, 46082, day)
    first = await upload(charlie, file.getvalue())
    other = await upload(charlie, file.getvalue(), sheet="Others")

    assert [column["samples"] for column in first.shown["file"]["columns"]] == [["People"], ["442079460958"], ["2026-03-01"]]
    assert other.shown["file"]["columns"][0]["samples"] == ["Others"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and nothing behind it", "cannot be read as one"),
        (b"BEGIN:VCARD\nVERSION:4.0\nFN:Ada\n", "Line 1: The card that begins here does not end."),
        (b"BEGIN:VCARD\nVERSION:4.0\nno colon\nEND:VCARD\n", "Line 3: `no colon` is no property of a card"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused(charlie: Person, content: bytes, words: str) -> None:
    """The refusal says what is wrong, and where."""
    response = await charlie.post("/api/herdbook/imports", content=content)

    assert response.status_code == 422
    assert words in response.json()["errors"][0]["message"]
