"""Tags are chosen in the same way wherever they are chosen: of all of them, by a search, without losing what is chosen."""

from typing import Final

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


async def test_search_in_a_selection_keeps_what_is_done_with_the_tags(olga: Visitor, frank: Person, ada: Thing) -> None:
    """The choice to remove tags stays."""
    tag = (await frank.post("/api/v2/tags", json={"name": "Patron"})).json()["id"]

    page = await _found(olga, "selection", ada, "patron", tag)

    assert 'name="mode" value="remove" checked' in page
    assert 'name="mode" value="add" checked' not in page
