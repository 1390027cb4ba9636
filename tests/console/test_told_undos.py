"""Undos as pages tell them: in histories, in the activity, in the line after one, and of objects that are gone."""

import re
from html import unescape

from tests.cast import Person, Thing
from tests.console.people import ORIGIN, Visitor


def _words(text: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


async def _undo(visitor: Visitor, request_id: str, **form: str) -> str:
    """Undo a request. Return the page after it."""
    answer = await visitor.post("/undo", {"request_id": request_id, "back": "/console/contacts", **form})
    assert answer.status_code == 303, answer.text
    return (await visitor.client.get(ORIGIN + answer.headers["location"])).text


async def test_history_tells_an_undo(olga: Visitor, alice: Person, ada: Thing) -> None:
    """An undo is no change like others in the history of its object, and says who made it."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await _undo(olga, changed.headers["X-Request-Id"])

    for path in (f"/contacts/{ada.id}", f"/contacts/{ada.id}/history"):
        assert "Olga undid a request: gave back First name" in _words((await olga.get(path)).text)


async def test_activity_says_what_an_undo_took_back(olga: Visitor, alice: Person, ada: Thing) -> None:
    """An undo in the activity leads to the request that it has taken back, which has the name of its author."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await _undo(olga, changed.headers["X-Request-Id"])

    page = (await olga.get("/activity")).text
    assert f'href="#{changed.headers["X-Request-Id"]}"' in page
    assert f'id="{changed.headers["X-Request-Id"]}"' in page
    assert "Olga undid the request of Alice, " in _words(page)


async def test_undo_is_redone(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The line after an undo offers to do the request again, and the one after that to undo it."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    undone = (await _undo(olga, changed.headers["X-Request-Id"])).split('id="notice"')[1]
    assert "Undone." in undone
    assert re.search(r"</svg>\s*Redo</button>", undone)
    (request_id,) = re.findall(r'name="request_id" value="([^"]+)"', undone.split("</form>")[0])

    again = (await _undo(olga, request_id, again="1")).split('id="notice"')[1]
    assert "Done again." in again
    assert re.search(r"</svg>\s*Undo</button>", again)
    assert (await alice.get(ada.url)).json()["first_name"] == "Augusta"


async def test_deleted_objects_have_names(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A page of an undo names what has been deleted, and shows no id to people."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await alice.delete(ada.url)

    page = (await olga.get(f"/undo?request_id={changed.headers['X-Request-Id']}")).text
    assert "Contact Augusta Lovelace" in _words(page)
    assert f">{ada.id}<" not in page


async def test_merged_contact_names_the_one_it_was_merged_into(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """The page of what is left of a contact says whether it was merged, and into whom, or deleted."""
    await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    assert "This contact was merged into Grace Hopper." in _words(
        (await olga.get(f"/contacts/{ada.id}/then?at={ada.json['created_at']}")).text
    )

    await alice.delete(grace.url)
    assert "This contact was deleted." in _words(
        (await olga.get(f"/contacts/{grace.id}/then?at={grace.json['created_at']}")).text
    )


async def test_nobody_is_led_to_a_page_of_administrators(anna: Visitor, victor: Visitor, frank: Person) -> None:
    """The activity links a field for an administrator, and names it alone for others."""
    field = {"object_type": "contact", "key": "rank", "label": "Rank", "kind": "text"}
    created = (await frank.post("/api/herdbook/fields", json=field)).json()

    assert f'href="/console/fields/{created["id"]}"' in (await anna.get("/activity")).text
    page = (await victor.get("/activity")).text
    assert "Rank" in page
    assert f"/console/fields/{created['id']}" not in page


async def test_viewer_is_asked_for_nothing_that_is_refused(victor: Visitor, olga: Visitor) -> None:
    """The empty list of tags does not ask a viewer to create one."""
    assert "Create the first one here" in (await olga.get("/tags")).text
    assert "Create the first one here" not in (await victor.get("/tags")).text


async def test_name_of_the_workspace_leads_to_others(olga: Visitor) -> None:
    """The name of the workspace, on every page, leads to where a person goes from one to another."""
    assert 'class="workspace-name" href="/console/account#workspaces"' in (await olga.get("/contacts")).text
