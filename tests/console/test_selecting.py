"""Many contacts or companies are changed at once, without a browser."""

import asyncio
import re
from typing import Any, Final

import httpx
import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.custom_fields.definitions import define

KINDS: Final = pytest.mark.parametrize("plural", ["contacts", "companies"])


async def _three(alice: Person, plural: str, **members: Any) -> list[Thing]:
    """Create three contacts or companies."""
    made: list[Thing] = []
    for number in range(3):
        body: dict[str, Any] = (
            {"first_name": f"Nr {number}"} if plural == "contacts" else {"name": f"Nr {number}", "domains": []}
        )
        made.append(Thing(await alice.post(f"/api/v2/{plural}", json=body | members)))
    return made


def _form(things: list[Thing], plural: str, **members: str) -> dict[str, str]:
    return {"ids": ",".join(each.id for each in things), "back": f"/console/{plural}?sort=created_at", **members}


async def _applied(visitor: Visitor, plural: str, form: dict[str, str]) -> httpx.Response:
    """Look at the preview of a change, and carry it out."""
    preview = (await visitor.post(f"/{plural}/selected", form | {"ready": "1"})).text
    return await visitor.post(f"/{plural}/selected/apply", form | _seen(preview))


def _seen(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(seen)" value="([^"]+)"', page))


async def _undone(visitor: Visitor, answer: httpx.Response) -> None:
    """Press "Undo" on the page that a form leads to."""
    assert answer.status_code == 303, answer.text
    page = (await visitor.client.get(answer.headers["Location"])).text
    request_id = page.split('id="notice"')[1].split('name="request_id" value="')[1].split('"')[0]
    undone = await visitor.post("/undo", {"request_id": request_id, "back": "/console"})
    assert undone.status_code == 303, undone.text


async def _records(alice: Person, things: list[Thing], plural: str) -> list[Any]:
    return [(await alice.get(f"/api/herdbook/{plural}/{each.id}/record")).json() for each in things]


@KINDS
async def test_field_of_many_is_edited_and_undone(olga: Visitor, alice: Person, plural: str) -> None:
    """The preview says how many change and shows some. One undo takes all changes back."""
    things = await _three(alice, plural)
    await alice.patch(things[0].url, json={"description": "The same."})
    before = await _records(alice, things, plural)
    form = _form(things, plural, do="edit", member="description", value="The same.")
    asked = (await olga.post(f"/{plural}/selected", {key: form[key] for key in ("ids", "back", "do", "member")})).text

    preview = (await olga.post(f"/{plural}/selected", form | {"ready": "1"})).text
    unchanged = await _records(alice, things, plural)
    changed = await _applied(olga, plural, form)
    after = await _records(alice, things, plural)

    noun = "company" if plural == "companies" else "contact"
    assert 'name="value"' in asked
    assert f"Description of 2 {plural} will change" in preview
    assert f"1 {noun} has this value already" in preview
    assert re.findall(r"<ins>(.*?)</ins>", preview) == ["The same."] * 2
    assert unchanged == before
    assert [each["description"] for each in after] == ["The same."] * 3
    assert after[0]["updated_at"] == before[0]["updated_at"]
    assert changed.headers["Location"].startswith(f"/console/{plural}?sort=created_at&")
    await _undone(olga, changed)
    again = await _records(alice, things, plural)
    assert [each.get("description") for each in again] == ["The same.", None, None]


@KINDS
async def test_many_are_deleted_and_come_back(olga: Visitor, alice: Person, plural: str) -> None:
    """A deletion of many says how many first, and one undo brings all of them back."""
    things = await _three(alice, plural)
    form = _form(things, plural, do="delete")
    preview = (await olga.post(f"/{plural}/selected", form)).text
    there = [(await alice.get(each.url)).status_code for each in things]

    deleted = await _applied(olga, plural, form)

    assert f"3 {plural} will be deleted" in preview
    assert there == [200] * 3
    assert [(await alice.get(each.url)).status_code for each in things] == [404] * 3
    await _undone(olga, deleted)
    assert [(await alice.get(each.url)).status_code for each in things] == [200] * 3


@KINDS
@pytest.mark.parametrize(("mode", "expected"), [("add", [2, 1, 1]), ("remove", [1, 0, 0]), ("set", [1, 1, 1])])
async def test_tags_are_added_or_removed(olga: Visitor, alice: Person, plural: str, mode: str, expected: list[int]) -> None:
    """Tags of many are added to those that each has, removed from them, or put in their place."""
    things = await _three(alice, plural)
    old, new = [Thing(await alice.post("/api/v2/tags", json={"name": name})) for name in ("Old", "New")]
    start = {"tag_ids": [old.id]} if mode != "remove" else {"tag_ids": [old.id, new.id]}
    await alice.patch(f"/api/herdbook/{plural}/{things[0].id}/record", json=start)

    form = _form(things, plural, do="edit", member="tag_ids", value=new.id, mode=mode)
    offered = (await olga.post(f"/{plural}/selected", {**form, "value": ""})).text
    answer = await _applied(olga, plural, form)

    assert answer.status_code == 303, answer.text
    assert "Remove these" in offered
    assert [len(each.get("tag_ids", [])) for each in await _records(alice, things, plural)] == expected


@KINDS
async def test_own_field_of_many_is_set_and_cleared(olga: Visitor, frank: Person, alice: Person, plural: str) -> None:
    """A field of one's own gets a value of its kind, and none by an empty form."""
    object_type = "company" if plural == "companies" else "contact"
    await define(frank, "seats", "integer", object_type)
    await define(frank, "number", "text", object_type, unique=True)
    things = await _three(alice, plural)
    offered = (await olga.get(f"/{plural}/selected?id={things[0].id}")).text
    form = _form(things, plural, do="edit", member="fields.seats", value="7")

    await _applied(olga, plural, form)
    records = await _records(alice, things, plural)
    await _applied(olga, plural, form | {"value": ""})

    assert [each["fields"] for each in records] == [{"seats": 7}] * 3
    assert ["fields" in each for each in await _records(alice, things, plural)] == [False] * 3
    assert 'value="fields.seats"' in offered
    # No two may have the same one, and an address belongs to one contact.
    for name in ("fields.number", "emails", "phone_numbers", "domains"):
        assert f'value="{name}"' not in offered


@KINDS
async def test_refused_value_is_refused_for_each(olga: Visitor, frank: Person, alice: Person, plural: str) -> None:
    """Those that stay as they are are named with the reason, and nothing says that they changed."""
    await define(frank, "seats", "integer", "company" if plural == "companies" else "contact")
    things = await _three(alice, plural)

    form = _form(things, plural, do="edit", member="fields.seats", value="many")
    answer = await _applied(olga, plural, form)

    assert answer.status_code == 422
    assert f"0 {plural} changed." in answer.text
    assert f"3 {plural} could not be changed" in answer.text
    assert "must be a whole number" in answer.text
    assert "Undo" not in answer.text.split("<main")[1]


@KINDS
async def test_what_has_gone_is_told(olga: Visitor, alice: Person, plural: str) -> None:
    """One that was deleted meanwhile is counted, and the others change."""
    things = await _three(alice, plural)
    await alice.delete(things[1].url)
    form = _form(things, plural, do="edit", member="description", value="New.")

    preview = (await olga.post(f"/{plural}/selected", form | {"ready": "1"})).text
    answer = await _applied(olga, plural, form)

    assert f"1 {'company' if plural == 'companies' else 'contact'} has gone meanwhile" in preview
    assert answer.status_code == 303
    assert [(await alice.get(each.url)).json().get("description") for each in things[::2]] == ["New.", "New."]


async def test_company_of_many_contacts_is_chosen(olga: Visitor, alice: Person, engine: Thing) -> None:
    """A reference is searched for, and its preview shows the name."""
    things = await _three(alice, "contacts")
    form = _form(things, "contacts", do="edit", member="company_id")

    found = (await olga.post("/contacts/selected", form | {"find": "anal"})).text
    preview = (await olga.post("/contacts/selected", form | {"value": engine.id, "ready": "1"})).text
    await _applied(olga, "contacts", form | {"value": engine.id})

    assert f'value="{engine.id}">Analytical Engine' in found
    assert "<ins>Analytical Engine</ins>" in preview
    assert [each["company"]["id"] for each in await _records(alice, things, "contacts")] == [engine.id] * 3


@KINDS
async def test_all_that_fit_are_selected(olga: Visitor, alice: Person, plural: str) -> None:
    """The whole list is selected by its filters and search, other pages of it included."""
    things = await _three(alice, plural, description="Blue.")
    other = (await _three(alice, plural))[0]

    page = (await olga.get(f"/{plural}/selected?all=1&filter=description:is_set:&search=nr")).text

    assert f"3 {plural} selected" in page
    ids = page.split('name="ids" value="')[1].split('"')[0].split(",")
    assert sorted(ids) == sorted(each.id for each in things)
    assert other.id not in page
    assert f'href="/console/{plural}?filter=description%3Ais_set%3A&amp;search=nr"' in page


@KINDS
async def test_many_are_merged(olga: Visitor, alice: Person, plural: str) -> None:
    """A selection leads to the preview of a merge of all, which one of them survives, and an undo separates."""
    things = await _three(alice, plural)
    chosen = await olga.post(f"/{plural}/selected", _form(things, plural, do="merge"))
    assert chosen.status_code == 303
    preview = (await olga.client.get(chosen.headers["Location"])).text
    sources = re.findall(r'name="from" value="([^"]+)"', preview)
    version = preview.split('name="version" value="')[1].split('"')[0]

    merged = await olga.post(f"/{plural}/{things[0].id}/merge", {"from": sources, "version": version})

    assert f"Merge 3 {plural}" in preview
    assert preview.count("Keep it instead") == 2
    assert sources == [each.id for each in things[1:]]
    assert [(await alice.get(each.url)).status_code for each in things] == [200, 308, 308]
    await _undone(olga, merged)
    assert [(await alice.get(each.url)).status_code for each in things] == [200] * 3


async def test_nothing_is_selected(olga: Visitor) -> None:
    """Without a selection the page says how to make one, and too many are refused."""
    many = ",".join(f"cnt_01HQXVB4Y9Y0Q6P0QH5G{number:06}" for number in range(1001))

    assert "Nothing is selected" in (await olga.get("/contacts/selected")).text
    refused = await olga.post("/contacts/selected", {"ids": many, "do": "delete"})
    assert refused.status_code == 422
    assert "Select at most 1,000 at once." in refused.text


async def test_others_are_out_of_reach(carla: Visitor, alice: Person, ada: Thing) -> None:
    """Ids of another workspace are as those of nobody."""
    form = _form([ada], "contacts", do="delete")

    assert "1 contact has gone meanwhile" in (await carla.post("/contacts/selected", form)).text
    await _applied(carla, "contacts", form)

    assert (await alice.get(ada.url)).status_code == 200


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, alice: Person, text: str) -> None:
    """Nothing in a name or a value is taken for a part of the page."""
    things = await _three(alice, "contacts", last_name=text)
    form = _form(things, "contacts", do="edit", member="description", value=text, ready="1")

    for page in (
        await olga.get(f"/contacts/selected?id={things[0].id}&id={text}&search={text}"),
        await olga.post("/contacts/selected", form),
        await olga.post("/contacts/selected", form | {"do": "delete"}),
    ):
        assert page.status_code == 200
        assert str(escape(text)) in page.text
        assert "<img" not in page.text


@KINDS
async def test_items_that_others_add_meanwhile_stay(olga: Visitor, alice: Person, frank: Person, plural: str) -> None:
    """Two persons add different tags, or other options of a list, to the same records at once. None is lost."""
    await define(frank, "level", "several_of", "contact" if plural == "contacts" else "company")
    things = await _three(alice, plural)
    tags = [Thing(await alice.post("/api/v2/tags", json={"name": each})).id for each in ("one", "other", "third")]
    edits = [("tag_ids", each) for each in tags] + [("fields.level", each) for each in ("gold", "silver", "bronze")]
    answers = await asyncio.gather(
        *(
            olga.post(f"/{plural}/selected/apply", _form(things, plural, do="edit", member=member, value=value, mode="add"))
            for member, value in edits
        )
    )

    assert {each.status_code for each in answers} == {303}
    for each in things:
        record = (await alice.get(f"/api/herdbook/{plural}/{each.id}/record")).json()
        assert sorted(record["tag_ids"]) == sorted(tags)
        assert sorted(record["fields"]["level"]) == ["bronze", "gold", "silver"]


@KINDS
async def test_what_nobody_has_seen_is_not_overwritten(olga: Visitor, alice: Person, plural: str) -> None:
    """A value that somebody gave after the preview stays, and is told; a change of something else is no obstacle."""
    things = await _three(alice, plural)
    form = _form(things, plural, do="edit", member="description", value="Mine.")
    preview = (await olga.post(f"/{plural}/selected", form | {"ready": "1"})).text
    await alice.patch(things[0].url, json={"description": "Theirs, meanwhile."})
    await alice.patch(things[1].url, json={"last_name" if plural == "contacts" else "name": "Other"})

    answer = await olga.post(f"/{plural}/selected/apply", form | _seen(preview))

    assert answer.status_code == 412
    assert "Somebody has changed it since you saw what would change" in answer.text
    found = [each["description"] for each in await _records(alice, things, plural)]
    assert found == ["Theirs, meanwhile.", "Mine.", "Mine."]


@KINDS
async def test_one_that_was_changed_meanwhile_is_not_deleted(olga: Visitor, alice: Person, plural: str) -> None:
    """One that somebody has worked on since the preview stays, and the others are deleted."""
    things = await _three(alice, plural)
    form = _form(things, plural, do="delete")
    preview = (await olga.post(f"/{plural}/selected", form)).text
    await alice.patch(things[0].url, json={"description": "Contract signed."})

    answer = await olga.post(f"/{plural}/selected/apply", form | _seen(preview))

    assert answer.status_code == 412
    assert [(await alice.get(each.url)).status_code for each in things] == [200, 404, 404]


@KINDS
async def test_nothing_changes_without_a_preview(olga: Visitor, alice: Person, plural: str) -> None:
    """A form that was never shown with its effect shows it."""
    things = await _three(alice, plural)

    answer = await olga.post(f"/{plural}/selected/apply", _form(things, plural, do="delete"))

    assert f"3 {plural} will be deleted" in answer.text
    assert [(await alice.get(each.url)).status_code for each in things] == [200] * 3
