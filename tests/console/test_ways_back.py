"""Deleted objects in the console: no link to one ends nowhere, and a refusal to bring one back names what is in the way."""

import re
from typing import Any, Final
from urllib.parse import quote

import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_object_pages import engagement_of
from tests.history.requests import restore

_LINK: Final = re.compile(r'href="(/console/[^"#]*)')
KINDS: Final = pytest.mark.parametrize("kind", ["contact", "company", "tag", "engagement"])


@pytest.fixture
def things(ada: Thing, engine: Thing, renewal: Thing) -> dict[str, Thing]:
    """An object of each kind whose page has a history."""
    return {"contact": ada, "company": engine, "tag": renewal}


async def _deleted(anna: Visitor, frank: Person, things: dict[str, Thing], kind: str) -> tuple[str, str]:
    """Delete an object of a kind. Return the path of its page, and the request that deleted it."""
    thing = things.get(kind) or await engagement_of(frank)
    path = thing.url.replace("/api/v2/", "/console/")
    deleted = await anna.post(f"{path}/delete")
    assert deleted.status_code == 303, deleted.text
    history = await frank.get(path.replace("/console/", "/api/herdbook/") + "/history")
    return path, history.json()["data"][0]["request_id"]


@KINDS
async def test_no_link_on_the_history_of_a_deleted_object_ends_nowhere(
    anna: Visitor, frank: Person, things: dict[str, Thing], kind: str
) -> None:
    """Each link of the history, of the bin, and of the request that deleted it leads to a page."""
    path, request_id = await _deleted(anna, frank, things, kind)
    pages = [
        f"{path}/history",
        f"/console/bin?type={path.split('/')[2]}",
        f"/console/requests/{request_id}",
        f"/console/undo?request_id={request_id}",
    ]
    found = {page: _LINK.findall((await anna.get(page)).text) for page in pages}

    links = {link for some in found.values() for link in some}

    assert path in links
    assert pages[1] in found[pages[0]]
    answers = {link: (await anna.client.get(link.replace("&amp;", "&"), follow_redirects=True)).status_code for link in links}
    assert {link: status for link, status in answers.items() if status >= 400} == {}


@KINDS
async def test_page_of_a_deleted_object_leads_to_what_is_left_of_it(
    anna: Visitor, frank: Person, things: dict[str, Thing], kind: str
) -> None:
    """A contact or a company is shown as it was last, with a way to restore it; anything else has its history."""
    path, _ = await _deleted(anna, frank, things, kind)

    answer = await anna.get(path, follow_redirects=True)

    assert answer.status_code == 200
    assert answer.url.path.endswith("/then" if kind in ("contact", "company") else "/history")
    assert (f"Restore this {kind}" in answer.text) == (kind in ("contact", "company"))


async def test_undone_creation_says_so_on_the_page_that_is_left(olga: Visitor) -> None:
    """The undo of a creation leads to what was created as it was, where the line says that it is undone."""
    created = await olga.post("/contacts/new", {"first_name": "Mary"})
    page = (await olga.client.get(created.headers["Location"])).text
    request_id = page.split('name="request_id" value="')[1].split('"')[0]
    back = page.split('name="back" value="')[1].split('"')[0]

    undone = await olga.client.get(
        (await olga.post("/undo", {"request_id": request_id, "back": back})).headers["Location"], follow_redirects=True
    )

    assert undone.status_code == 200
    assert "Undone." in undone.text


_TAKEN: Final[dict[str, tuple[Any, str]]] = {
    "contact": ({"emails": [{"email": "ada@engine.test"}]}, "ada@engine.test"),
    "company": ({"domains": [{"domain": "engine.test"}]}, "engine.test"),
    "tag": ({"name": "Renewal"}, "Renewal"),
}


@pytest.mark.parametrize("kind", _TAKEN)
async def test_refused_restoration_names_the_value_and_leads_to_its_holder(
    olga: Visitor, alice: Person, things: dict[str, Thing], kind: str
) -> None:
    """The bin says which value another object has by now, and links that one; the undo of the deletion says the same."""
    body, value = _TAKEN[kind]
    thing = things[kind]
    deleted = await alice.delete(thing.url)
    holder = Thing(await alice.post(thing.url.rpartition("/")[0], json=body))
    path = thing.url.replace("/api/v2/", "/")

    refused = await olga.post(f"{path}/restore")
    kept = await olga.post("/undo", {"request_id": deleted.headers["X-Request-Id"], "back": "/console"})

    assert refused.status_code == 409
    assert kept.status_code == 200
    for page in (refused.text, kept.text):
        assert f"The value {escape(value)} now belongs to another active {kind}." in page
        assert f'href="/console{path.rpartition("/")[0]}/{holder.id}"' in page


async def test_restoration_of_a_contact_with_notes_is_undone(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The notes of before do not stand in the way of the undo."""
    await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Of before."})
    await alice.delete(ada.url)
    restored = await restore(alice, ada)

    undone = await olga.post(
        "/undo", {"request_id": restored.headers["X-Request-Id"], "back": f"/console/bin?{quote('type')}=contacts"}
    )

    assert undone.status_code == 303
    assert (await alice.get(ada.url)).status_code == 404
