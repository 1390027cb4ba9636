"""The saved views of lists, by their forms, without a browser."""

import html
import re
from typing import Any, Final

import httpx
import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import ORIGIN, Visitor
from tests.console.test_contact_pages import NASTY
from tests.custom_fields.definitions import define

LIST: Final = {
    "object_type": "contact",
    "filter": ["last_name:contains:love", "or:last_name:one_of:hopper, nobody"],
    "sort": "last_name:asc",
    "columns": "emails,created_at",
    "search": "a",
}


async def _followed(visitor: Visitor, answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 303, answer.text
    return await visitor.client.get(answer.headers["Location"])


def _rows(text: str) -> list[str]:
    return re.findall(r'class="row-link"[^>]*>.*?</span><span>([^<]*)</span>', text)


def _view_id(page: httpx.Response) -> str:
    return page.url.params["view"]


def _seen(page: str) -> dict[str, str]:
    """Return what the forms of a view's list say of the view that they have seen."""
    return dict(re.findall(r'name="(seen)" value="([^"]+)"', page))


def _menu(text: str) -> dict[str, str]:
    """Return the addresses of the views in the menu of a list, by their names."""
    menu = text.split('id="views-button"')[1].split("</details>", maxsplit=1)[0]
    found: list[tuple[str, str]] = re.findall(r'class="row-name" href="([^"]+)"[^>]*><span>([^<]*)', menu)
    return {name: html.unescape(address) for address, name in found}


async def test_view_is_saved_and_opened_again(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """A view keeps search, filters, order and columns. Its address leads to the same list."""
    assert ada.etag != grace.etag
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Pioneers"}))

    again = await _followed(olga, await olga.get(f"/views/{_view_id(page)}"))

    assert '<h1 id="list-title">Pioneers</h1>' in page.text
    assert _rows(page.text) == _rows(again.text) == ["Grace Hopper", "Ada Lovelace"]
    assert again.url.params.get_list("filter") == LIST["filter"]
    assert {name: again.url.params[name] for name in ("sort", "columns", "search")} == {
        name: LIST[name] for name in ("sort", "columns", "search")
    }
    other = (await olga.get("/contacts")).text
    assert _menu(other)["Pioneers"] == again.url.raw_path.decode()
    assert "Pioneers" not in (await olga.get("/companies")).text


async def test_list_that_differs_from_its_view_says_so(olga: Visitor, ada: Thing) -> None:
    """A view that was opened and changed is saved anew, or left as it is."""
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Pioneers"}))
    view_id = _view_id(page)
    changed = (await olga.get(f"/contacts?view={view_id}&filter=last_name:contains:love")).text

    content = {"do": "content", "filter": "last_name:contains:love", "sort": "first_name:desc"}
    await olga.post(f"/views/{view_id}", content | _seen(changed))

    opened = await _followed(olga, await olga.get(f"/views/{view_id}"))
    assert "changed</span>" not in page.text
    assert "changed</span></h1>" in changed
    assert "Save this list in it" in changed
    assert sorted(opened.url.params.multi_items()) == sorted(
        {"view": view_id, "filter": "last_name:contains:love", "sort": "first_name:desc"}.items()
    )
    assert ada.id in opened.text


async def test_view_is_renamed_shared_and_deleted(olga: Visitor, anna: Visitor) -> None:
    """Others see a view once it is shared, under its new name, and until it is deleted."""
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Mine"}))
    view_id, before = _view_id(page), _menu((await anna.get("/contacts")).text)

    await olga.post(f"/views/{view_id}", {"name": "Ours", "shared": "1"} | _seen(page.text))
    shared = _menu((await anna.get("/contacts")).text)
    seen = _seen((await _followed(anna, await anna.get(f"/views/{view_id}"))).text)
    left = await _followed(anna, await anna.post(f"/views/{view_id}/delete", {"filter": "last_name:is_set:"} | seen))

    assert ("Mine" in before, "Ours" in shared) == (False, True)
    assert left.url.params["filter"] == "last_name:is_set:"
    assert "Ours" not in _menu((await olga.get("/contacts")).text)


async def test_viewer_keeps_views_alone(victor: Visitor, olga: Visitor) -> None:
    """A person who may only read saves private views, and is not offered to change or share those of the team."""
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Ours", "shared": "1"}))
    shared = _view_id(page)
    own = await _followed(victor, await victor.post("/views", LIST | {"name": "Mine"}))
    opened = await _followed(victor, await victor.get(f"/views/{shared}"))

    assert "The team sees it" not in own.text
    assert "Delete this view" in own.text
    assert "Delete this view" not in opened.text
    refused = [
        await victor.post(f"/views/{shared}/delete", _seen(page.text)),
        await victor.post("/views", LIST | {"name": "X", "shared": "1"}),
    ]
    assert [each.status_code for each in refused] == [403, 403]


async def test_private_view_of_another_is_not_there(olga: Visitor, anna: Visitor, carla: Visitor) -> None:
    """The address of a private view leads nobody else to its list, nor that of a view of another workspace."""
    private = _view_id(await _followed(olga, await olga.post("/views", LIST | {"name": "Mine"})))
    shared = _view_id(await _followed(olga, await olga.post("/views", LIST | {"name": "Ours", "shared": "1"})))

    assert (await anna.get(f"/views/{private}")).status_code == 404
    for view_id in (private, shared):
        answers = [await carla.get(f"/views/{view_id}"), await carla.post(f"/views/{view_id}", {"name": "Theirs"})]
        assert [each.status_code for each in answers] == [404, 404]
    assert {"Mine", "Ours"} <= _menu((await olga.get("/contacts")).text).keys()


async def test_view_without_a_name_is_refused(olga: Visitor) -> None:
    """A view needs a name, and a list that makes no sense is no view."""
    nameless = await olga.post("/views", LIST | {"name": " "})
    senseless = await olga.post("/views", LIST | {"name": "Wrong", "filter": "emails:eq:nonsense@"})

    assert (nameless.status_code, senseless.status_code) == (422, 422)
    assert "Wrong" not in (await olga.get("/contacts")).text
    assert (await olga.post("/views", {"name": "X", "object_type": "tag"})).status_code == 404


async def test_view_of_any_condition_is_opened(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """A view that a program saved, with any condition, leads to its list, too."""
    where: Any = {"not": {"or": [{"field": "last_name", "op": "eq", "value": "hopper"}]}}
    view = (
        await alice.post(
            "/api/herdbook/views", json={"object_type": "contact", "name": "Others", "shared": True, "where": where}
        )
    ).json()

    page = await _followed(olga, await olga.get(f"/views/{view['id']}"))

    assert _rows(page.text) == ["Ada Lovelace"]
    assert ada.etag != grace.etag
    assert "changed</span>" not in page.text


async def test_view_of_companies_has_fields_of_ones_own(olga: Visitor, frank: Person, engine: Thing) -> None:
    """A view of companies filters by a field of one's own, whose values keep their kinds."""
    await define(frank, "seats", "integer", "company")
    await define(frank, "listed", "yes_no", "company")
    values = {"fields": {"seats": 7, "listed": True}}
    await frank.patch(f"/api/herdbook/companies/{engine.id}/record", json=values)
    form = {"object_type": "company", "name": "Big", "filter": ["fields.seats:gte:5", "fields.listed:eq:yes"]}

    page = await _followed(olga, await olga.post("/views", form))

    assert _rows(page.text) == ["Analytical Engine"]
    assert page.url.params.get_list("filter") == form["filter"]


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_name_is_shown_as_text(olga: Visitor, text: str) -> None:
    """Nothing in the name or the filters of a view is taken for a part of the page."""
    form = {"object_type": "contact", "name": text, "filter": f"last_name:contains:{text}", "columns": text}

    saved = await _followed(olga, await olga.post("/views", form))

    for page in (saved, await olga.get("/contacts"), await _followed(olga, await olga.get(f"/views/{_view_id(saved)}"))):
        assert page.status_code == 200
        assert str(escape(text)) in page.text
        assert "<img" not in page.text


async def test_view_that_somebody_has_changed_is_not_overwritten(olga: Visitor, anna: Visitor) -> None:
    """An open page with an older version of a view of the team neither changes nor deletes it unseen."""
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Ours", "shared": "1"}))
    path = f"/views/{_view_id(page)}"
    first = await anna.post(path, {"name": "Theirs", "shared": "1"} | _seen(page.text))

    late = [
        await olga.post(f"{path}{act}", {"do": "content", "columns": "emails"} | _seen(page.text)) for act in ("", "/delete")
    ]

    assert [first.status_code, *(each.status_code for each in late)] == [303, 412, 412]
    assert "Anna has changed the view “Theirs”" in late[0].text
    opened = await _followed(olga, await olga.get(path))
    assert opened.url.params["columns"] == LIST["columns"]
    assert (await olga.post(path, {"name": "Mine", "shared": "1"} | _seen(opened.text))).status_code == 303


async def test_refused_form_leads_back_to_its_list(olga: Visitor, anna: Visitor) -> None:
    """A list that could not be saved in its view is one click away, with all that it has; a page elsewhere is not."""
    page = await _followed(olga, await olga.post("/views", LIST | {"name": "Ours", "shared": "1"}))
    path = f"/views/{_view_id(page)}"
    await anna.post(path, {"name": "Theirs", "shared": "1"} | _seen(page.text))
    form = {"do": "content", "search": "Ada"} | _seen(page.text)

    late, elsewhere = [
        await olga.post(path, form, {"Referer": f"{origin}/console/contacts?search=Ada&view=x"})
        for origin in (ORIGIN, "https://elsewhere.example")
    ]

    assert 'href="/console/contacts?search=Ada&amp;view=x">Back to the page</a>' in late.text
    assert "Back to the page" not in elsewhere.text
