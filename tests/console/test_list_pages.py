"""The pages of a list: the next one, the one before, and the first."""

import re
from html import unescape

import pytest

from herdbook.console.visit import MAX_EARLIER
from herdbook.custom_fields import lists
from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.custom_fields.definitions import define


def _link(page: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return None if found is None else unescape(found[1])


@pytest.mark.parametrize("query", ["", "sort=first_name:asc&", "search=ada&"])
async def test_list_is_read_forwards_and_back(
    olga: Visitor, alice: Person, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The link to the previous page leads through the same pages in the other direction, in the same order and search."""
    monkeypatch.setattr(lists, "LIMIT", 2)
    for number in range(7):
        await alice.post("/api/v2/contacts", json={"first_name": "Ada", "last_name": f"Number {number}"})

    seen: list[list[str]] = []
    path: str | None = f"/contacts?{query}"
    last = ""
    while path is not None:
        page = (await olga.get(path)).text
        seen.append(re.findall(r"Number \d", page.split("<tbody>")[1].split("</tbody>")[0]))
        path, last = _link(page, "next"), page
    assert len(seen) == 4
    for expected in seen[-2::-1]:
        path = _link(last, "prev")
        assert path is not None
        assert "sort" in path or "sort" not in query
        last = (await olga.get(path)).text
        assert re.findall(r"Number \d", last.split("<tbody>")[1].split("</tbody>")[0]) == expected
    assert _link(last, "prev") is None


@pytest.mark.parametrize("path", ["contacts", "companies"])
async def test_search_shows_what_the_list_shows(olga: Visitor, frank: Person, renewal: Thing, path: str) -> None:
    """Each column has the same in a search as without one, also what the API's list leaves out."""
    values = {"description": "Writes.", "tag_ids": [renewal.id]}
    crm = {"crm_association": {"object_type": path.replace("ies", "y").rstrip("s"), "crm_object_id": "7", "source": "hubspot"}}
    if path == "contacts":
        await define(frank, "job_title", "text")
        values |= {"external_ids": ["crm-1"], "time_zone": "Europe/London", "fields": {"job_title": "Countess"}}
        values |= {"first_name": "Adelaide", "emails": [{"email": "adelaide@engine.test", "label": "work"}]}
        values |= {"phone_numbers": [{"phone_number": "+44 20 7946 0000"}]}
    else:
        values |= {"name": "Adelaide", "domains": [{"domain": "adelaide.test"}]}
    made = await frank.post(f"/api/herdbook/{path}", json=values | crm)
    assert made.status_code == 201, made.text
    page = (await olga.get(f"/{path}")).text
    columns = re.findall(r'name="columns" value="([^"]+)"', page)
    assert "tag_ids" in columns

    for column in columns:
        rows = [
            (await olga.get(f"/{path}?columns={column}{search}")).text.split("<tbody>")[1].split("</tbody>")[0]
            for search in ("", "&search=adelaide")
        ]
        cells = [re.search(r"Adelaide</span></a></th>\s*(<td>.*?</td>)</tr>", each, re.DOTALL) for each in rows]
        assert cells[0] is not None
        assert cells[1] is not None
        assert cells[0][1] == cells[1][1], column


async def test_address_does_not_grow_for_ever(olga: Visitor, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the nearest pages before this one are in its address."""
    monkeypatch.setattr(lists, "LIMIT", 1)
    for number in range(MAX_EARLIER + 4):
        await alice.post("/api/v2/contacts", json={"first_name": f"Number {number}"})

    path, longest = "/contacts", 0
    while (following := _link((await olga.get(path)).text, "next")) is not None:
        path, longest = following, max(longest, following.count("earlier="))
    assert longest == MAX_EARLIER


async def test_cells_show_values_in_short(olga: Visitor, frank: Person) -> None:
    """A value with parts is one text, one of several has the number of the others, and nothing runs."""
    await define(frank, key="budget", kind="money")
    await define(frank, key="home", kind="address")
    emails = [{"email": "ada@herd.test"}, {"email": "second@herd.test"}]
    fields = {"budget": {"amount": "12.50", "currency": "EUR"}, "home": {"city": "<b>Bath</b>", "country": "GB"}}
    await frank.post("/api/herdbook/contacts", json={"first_name": "Ada", "emails": emails, "fields": fields})

    page = (await olga.get("/contacts?columns=fields.budget,fields.home,emails,time_zone")).text

    cells = re.findall(r"<td>(.*?)</td>", page.split("<tbody>")[1])
    assert cells == [
        "12.50 EUR",
        "&lt;b&gt;Bath&lt;/b&gt;, GB",
        'ada@herd.test <span class="muted">+1</span>',
        '<span class="muted" aria-hidden="true">\u2013</span>',
    ]


async def test_fields_are_as_they_are_defined_now(olga: Visitor, carla: Visitor, frank: Person, ada: Thing) -> None:
    """A field that was defined, renamed or archived a moment ago is so on the next page, and in no other workspace."""
    assert "Shoe size" not in (await olga.get(f"/contacts/{ada.id}")).text
    field = await define(frank, key="shoe_size", label="Shoe size")
    assert ">Shoe size<" in (await olga.get(f"/contacts/{ada.id}")).text
    await frank.patch(field.url, json={"label": "Size of shoes"})
    assert ">Size of shoes<" in (await olga.get("/contacts?add=fields.shoe_size")).text
    assert "Size of shoes" not in (await carla.get("/contacts")).text

    await frank.patch(field.url, json={"archived": True})

    assert "Size of shoes" not in (await olga.get(f"/contacts/{ada.id}")).text


async def test_avatars_have_letters(olga: Visitor, alice: Person) -> None:
    """Marks before a letter, such as those of direction, do not stand for a name; a picture does."""
    for name in ("\u202eAda\u202c \u2066Lovelace", '"><img> <b>', "\N{FOX FACE}"):
        await alice.post("/api/v2/contacts", json={"first_name": name})

    page = (await olga.get("/contacts")).text

    assert re.findall(r'class="avatar small"[^>]*>([^<]*)<', page.partition("<tbody")[2]) == ["\N{FOX FACE}", "IB", "AL"]
