"""Tags are chosen in the same way wherever they are chosen: of all of them, by a search, without losing what is chosen."""

from typing import Final
from urllib.parse import quote

import pytest

from tests.cast import Person, Thing
from tests.console.people import Visitor

_MANY: Final = 120
_WAYS: Final = pytest.mark.parametrize("way", ["record", "filter", "selection", "new"])


async def _tags(frank: Person) -> list[str]:
    """Create more tags than a form shows, or a page of the API has, and return their ids."""
    made = [await frank.post("/api/v2/tags", json={"name": f"Tag {number:03}"}) for number in range(_MANY)]
    return [each.json()["id"] for each in made]


async def _found(olga: Visitor, way: str, contact: Thing, find: str, chosen: str) -> str:
    """Search for tags in a form, with one that is chosen, and return the page."""
    match way:
        case "record":
            answer = await olga.get(f"/contacts/{contact.id}?edit=tag_ids&find={find}")
        case "filter":
            answer = await olga.get(f"/contacts?add=tag_ids&find={find}&value={chosen}")
        case "selection":
            form = {"ids": contact.id, "back": "/console/contacts", "do": "edit", "member": "tag_ids", "mode": "remove"}
            answer = await olga.post("/contacts/selected", {**form, "ready": "1", "seeks": "1", "find": find, "value": chosen})
        case _:
            form = {"first_name": "Mary", "find": "tag_ids", "tag_ids:find": find, "tag_ids": chosen}
            answer = await olga.post("/contacts/new", form)
    assert answer.status_code == 200, answer.text
    return answer.text


@_WAYS
async def test_every_tag_is_found(olga: Visitor, frank: Person, ada: Thing, way: str) -> None:
    """A tag that the form does not show at first is found by the words of its name; the chosen one stays chosen."""
    tags = await _tags(frank)
    await frank.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"tag_ids": [tags[0]]})

    page = await _found(olga, way, ada, "119", tags[0])

    assert f'value="{tags[119]}">' in page
    assert f'value="{tags[0]}" checked' in page
    assert tags[60] not in page
    assert "No tag has these words." not in page


@_WAYS
async def test_form_says_that_no_tag_is_found(olga: Visitor, frank: Person, ada: Thing, way: str) -> None:
    """A search without a match says so."""
    await frank.post("/api/v2/tags", json={"name": "Patron"})

    assert "No tag has these words." in await _found(olga, way, ada, "nothing", "")


@pytest.mark.parametrize("find", ["cafe", "CAFÉ", "afé klub", "klub ca"])
async def test_tag_is_found_by_parts_of_its_words(olga: Visitor, frank: Person, ada: Thing, find: str) -> None:
    """Neither case nor accents nor the order of words matter, and a part of a word is enough."""
    tag = (await frank.post("/api/v2/tags", json={"name": "Café Klub"})).json()["id"]
    await frank.post("/api/v2/tags", json={"name": "Cafeteria"})

    page = await _found(olga, "record", ada, find, "")

    assert f'data-found value="{tag}"' in page


@pytest.mark.parametrize(("find", "is_offered"), [("Patron", False), (" pATRON ", False), ("Patro", True), ("100%_", True)])
async def test_new_tag_is_offered_unless_one_has_the_name(
    olga: Visitor, frank: Person, ada: Thing, find: str, *, is_offered: bool
) -> None:
    """A name that a tag has is not that of a new one; the beginning of a name is."""
    await frank.post("/api/v2/tags", json={"name": "Patron"})

    page = await _found(olga, "record", ada, quote(find), "")

    assert ('name="new_tag"' in page) is is_offered


async def test_tags_of_another_workspace_are_not_found(carla: Visitor, charlie: Person, frank: Person) -> None:
    """Carla finds her workspace's tags alone, and may create one with a name that another workspace has."""
    tag = (await frank.post("/api/v2/tags", json={"name": "Patron"})).json()["id"]
    contact = Thing(await charlie.post("/api/v2/contacts", json={"first_name": "Charles"}))

    page = await _found(carla, "record", contact, "patron", "")

    assert tag not in page
    assert 'name="new_tag"' in page


async def test_search_in_a_selection_keeps_what_is_done_with_the_tags(olga: Visitor, frank: Person, ada: Thing) -> None:
    """The choice to remove tags stays."""
    tag = (await frank.post("/api/v2/tags", json={"name": "Patron"})).json()["id"]

    page = await _found(olga, "selection", ada, "patron", tag)

    assert 'name="mode" value="remove" checked' in page
    assert 'name="mode" value="add" checked' not in page
