"""The pages of duplicates, without a browser."""

import re
from typing import Final

import httpx
import pytest

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.duplicates.listed import contact, groups, phone

NUMBER: Final = phone("+44 20 7946 0000")


async def _two(alice: Person) -> tuple[Thing, Thing]:
    """Create two contacts that may be the same; the first is to be kept."""
    first = await contact(alice, "Jonathan", "Smith", "jonathan@engine.test", phone_numbers=NUMBER, description="Met in May.")
    return first, await contact(alice, "Jon", "Smith", "jon@engine.test", phone_numbers=phone("0044 20 79460000"))


async def _followed(visitor: Visitor, answer: httpx.Response) -> str:
    assert answer.status_code == 303, answer.text
    return (await visitor.client.get(answer.headers["Location"])).text


def _undo(page: str) -> str:
    """Return the request that the line about the last one takes back."""
    return page.split('id="notice"')[1].split('name="request_id" value="')[1].split('"', maxsplit=1)[0]


async def test_groups_are_listed_with_reasons(olga: Visitor, alice: Person) -> None:
    """The list has the names, the score and the reasons of each group."""
    await _two(alice)

    page = (await olga.get("/duplicates")).text

    assert "Jonathan Smith, Jon Smith" in page
    assert "same phone +44 20 7946 0000" in page
    assert "99\N{NO-BREAK SPACE}%" in page


async def test_nobody_is_there_twice(olga: Visitor, ada: Thing) -> None:
    """Without duplicates, the page says so."""
    page = (await olga.get("/duplicates")).text

    assert ada.json["object"] == "contact"
    assert "Nobody is there twice" in page


async def test_two_stand_side_by_side(olga: Visitor, alice: Person) -> None:
    """The page of a group has a column for each record, and marks the fields that differ."""
    first, second = await _two(alice)

    page = (await olga.get(f"/duplicates/compare?type=contacts&id={second.id}")).text

    rows = {each.split("<")[0].strip(): each for each in page.split('<th scope="row">')[1:]}
    assert "differs" in rows["First name"]
    assert "differs" in rows["E-mail"]
    assert "differs" not in rows["Phone"]
    assert "differs" not in rows["Last name"]
    assert "differs" not in rows["Description"]
    assert re.findall(r'name="keep" value="([^"]+)"( checked)?', page) == [(first.id, " checked"), (second.id, "")]


async def test_merge_is_undone(olga: Visitor, alice: Person) -> None:
    """A merge leads back to the list, where its undo is."""
    first, second = await _two(alice)
    form = {"type": "contacts", "do": "merge", "keep": first.id, "id": [first.id, second.id]}

    page = await _followed(olga, await olga.post("/duplicates/compare", form | {f"version:{first.id}": first.etag.strip('"')}))

    assert len((await alice.get(first.url)).json()["emails"]) == 2
    assert "Nobody is there twice" in page
    await olga.post("/undo", {"request_id": _undo(page), "back": "/console/duplicates"})
    assert await groups(alice) == [{first.id, second.id}]


async def test_merge_of_a_record_that_has_changed_is_shown_again(olga: Visitor, alice: Person) -> None:
    """If the record to keep has changed since the page was shown, nothing is merged, and the page says so."""
    first, second = await _two(alice)
    await alice.patch(first.url, json={"description": "Met in June."})
    form = {"type": "contacts", "do": "merge", "keep": first.id, "id": [first.id, second.id]}

    answer = await olga.post("/duplicates/compare", form | {f"version:{first.id}": first.etag.strip('"')})

    assert answer.status_code == 412
    assert 'role="alert"' in answer.text
    assert "Met in June." in answer.text
    assert (await alice.get(second.url)).status_code == 200


async def test_nothing_is_merged_into_a_record_that_is_not_included(olga: Visitor, alice: Person) -> None:
    """The page of the group comes again, and says so."""
    first, second = await _two(alice)
    form = {"type": "contacts", "do": "merge", "keep": first.id, "id": [second.id]}

    page = await _followed(olga, await olga.post("/duplicates/compare", form | {f"version:{first.id}": first.etag.strip('"')}))

    assert "the one to keep was not included" in page
    assert "side by side" in page
    assert (await alice.get(second.url)).status_code == 200


async def test_not_the_same_is_taken_back(olga: Visitor, alice: Person) -> None:
    """Two that are not the same leave the list of groups, and a button brings them back."""
    first, second = await _two(alice)
    form = {"type": "contacts", "id": [first.id, second.id]}

    page = await _followed(olga, await olga.post("/duplicates/compare", form | {"do": "distinct", "keep": first.id}))
    assert "Nobody is there twice" in page
    assert page.split('id="distinct"')[1].count("Smith</a>") == 2
    assert await groups(alice) == []

    page = await _followed(olga, await olga.post("/duplicates/take-back", form))
    assert "Jonathan Smith, Jon Smith" in page


async def test_one_alone_is_refused_on_the_page(olga: Visitor, alice: Person) -> None:
    """A decision about one record alone is refused with the reason, and the page stays."""
    first, _ = await _two(alice)

    for do in ("merge", "distinct"):
        answer = await olga.post("/duplicates/compare", {"type": "contacts", "do": do, "keep": first.id, "id": first.id})
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert "side by side" in answer.text


async def test_all_are_merged_after_a_preview(olga: Visitor, alice: Person) -> None:
    """The preview names each group; the merge is one request, which one undo takes back."""
    first, second = await _two(alice)
    grace = [await contact(alice, "Grace", "Hopper", phone_numbers=phone("+1 202 555 0143")) for _ in range(2)]

    preview = (await olga.get("/duplicates/all?type=contacts&min_score=0.95")).text
    assert "2 groups are merged" in preview
    assert len(await groups(alice)) == 2

    page = await _followed(olga, await olga.post("/duplicates/all", {"type": "contacts", "min_score": "0.95"}))
    assert "Merged 2 groups." in page
    assert await groups(alice) == []
    await olga.post("/undo", {"request_id": _undo(page), "back": "/console/duplicates"})
    assert sorted(map(sorted, await groups(alice))) == sorted(
        [sorted([first.id, second.id]), sorted(each.id for each in grace)]
    )


async def test_viewer_has_no_buttons(victor: Visitor, alice: Person) -> None:
    """A person who may only read sees the groups, and nothing to decide."""
    first, _ = await _two(alice)

    listed = (await victor.get("/duplicates")).text
    compared = (await victor.get(f"/duplicates/compare?type=contacts&id={first.id}")).text

    assert "Jonathan Smith" in listed
    assert "Jonathan" in compared
    assert "Merge all" not in listed
    assert 'name="keep"' not in compared
    assert "Not the same" not in compared


async def test_a_group_that_is_gone_leads_to_the_list(olga: Visitor, ada: Thing) -> None:
    """A record without duplicates, or none, leads back to the list, which says so."""
    for query in (f"type=contacts&id={ada.id}", "type=contacts&id=nonsense", ""):
        page = await _followed(olga, await olga.get(f"/duplicates/compare?{query}"))
        assert "They are no duplicates, or no longer." in page


@pytest.mark.parametrize("query", ["type=users", "min_score=high", "min_score=0.1"])
async def test_an_address_that_makes_no_sense(olga: Visitor, query: str) -> None:
    """An address from elsewhere gets a refusal, and no error."""
    answer = await olga.get(f"/duplicates/all?{query}")

    assert answer.status_code in (404, 422)


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, alice: Person, text: str) -> None:
    """Nothing in a value is taken for a part of a page."""
    two = [await contact(alice, text, text, phone_numbers=phone("+44 20 7946 0000", text)) for _ in range(2)]

    pages = [
        await olga.get(path)
        for path in ("/duplicates", f"/duplicates/compare?type=contacts&id={two[0].id}", "/duplicates/all?min_score=0.5")
    ]

    assert [each.status_code for each in pages] == [200, 200, 200]
    assert not any("<img src=x" in each.text or ">49<" in each.text for each in pages)


async def test_all_that_is_distinct_can_be_taken_back(olga: Visitor, alice: Person) -> None:
    """Each pair that is said not to be the same is on the page, or on the next one."""
    ids = [(await alice.post("/api/v2/contacts", json={"first_name": f"Ada {number}"})).json()["id"] for number in range(52)]
    for one, other in zip(ids[::2], ids[1::2], strict=True):
        assert (await olga.post("/duplicates/compare", {"type": "contacts", "do": "distinct", "id": [one, other]})).is_redirect

    page = (await olga.get("/duplicates?type=contacts")).text
    more = re.search(r'<a href="([^"]+)">More that are not the same</a>', page)
    assert more is not None
    following = (await olga.client.get(more[1].replace("&amp;", "&"))).text

    assert [each.count("/duplicates/take-back") for each in (page, following)] == [25, 1]
