"""GET /herdbook/contacts/{contact_id}/notes, and of companies."""

import httpx
import pytest

from herdbook.notes import api
from tests.cast import Person, Thing, faults
from tests.engagements.conftest import Keys
from tests.merging.merges import merged
from tests.notes.notes import listed, noted, notes_of, texts


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    for place in (ada, engine):
        response = await client.get(notes_of(place))

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing, engine: Thing) -> None:
    """The notes on an object of another workspace are not found."""
    assert [(await charlie.get(notes_of(place))).status_code for place in (ada, engine)] == [404, 404]


async def test_the_scope_is_that_of_the_object(keys: Keys, ada: Thing, engine: Thing) -> None:
    """The notes on a contact take `contacts:read`, and those on a company `companies:read`."""
    for place, mine, other in ((ada, "contacts:read", "companies:read"), (engine, "companies:read", "contacts:read")):
        done = await (await keys.holder(mine)).get(notes_of(place))
        refused = await (await keys.holder(other)).get(notes_of(place))

        assert (done.status_code, refused.status_code) == (200, 403)


async def test_it_has_the_notes_on_the_object(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """The list has the active notes on one object, the last changed first."""
    first, second, gone = [await noted(alice, ada, text) for text in ("first", "second", "gone")]
    await alice.delete(gone.url)
    await noted(alice, grace, "hers")
    await noted(alice, engine, "its")

    assert [each["id"] for each in (await listed(alice, ada))["data"]] == [second.id, first.id]
    assert (await texts(alice, grace), await texts(alice, engine)) == (["hers"], ["its"])


async def test_pinned_ones_can_be_asked_for(alice: Person, ada: Thing) -> None:
    """A filter lists the pinned notes, or the others."""
    for text, is_pinned in (("a", True), ("b", False), ("c", True)):
        await noted(alice, ada, text, is_pinned=is_pinned)
    wrong = await alice.get(notes_of(ada), params={"filter[is_pinned][eq]": "yes"})

    assert await texts(alice, ada, **{"filter[is_pinned][eq]": "true"}) == ["c", "a"]
    assert await texts(alice, ada, **{"filter[is_pinned][eq]": "false"}) == ["b"]
    assert (wrong.status_code, faults(wrong)) == (400, [("filter[is_pinned][eq]", "invalid_format")])


async def test_it_comes_in_pages(alice: Person, ada: Thing) -> None:
    """A cursor continues where the page ended, though notes are pinned and deleted meanwhile."""
    notes = [await noted(alice, ada, str(number)) for number in range(4)]
    page = await listed(alice, ada, limit=2, order_by="updated_at:asc")
    await alice.delete(notes[1].url)
    await alice.patch(notes[2].url, json={"is_pinned": True})
    rest = await listed(alice, ada, cursor=page["next_cursor"])

    assert [each["text"] for each in page["data"] + rest["data"]] == ["0", "1", "3", "2"]
    assert rest["has_more"] is False


async def test_a_cursor_belongs_to_one_object(alice: Person, ada: Thing, grace: Thing) -> None:
    """The cursor of one contact's notes is refused for another contact."""
    for text in ("a", "b"):
        await noted(alice, ada, text)
    cursor = (await listed(alice, ada, limit=1))["next_cursor"]

    assert (await alice.get(notes_of(grace), params={"cursor": cursor})).status_code == 400


async def test_html_comes_on_request(alice: Person, ada: Thing) -> None:
    """With `expand=html` each note has its HTML."""
    for text in ("*a*", "b"):
        await noted(alice, ada, text)
    page = await listed(alice, ada, expand="html")

    assert [each["html"] for each in page["data"]] == ["<p>b</p>\n", "<p><em>a</em></p>\n"]


async def test_a_page_with_html_ends_early(alice: Person, ada: Thing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with HTML ends once its texts are long together; the next one goes on, and none is missing."""
    monkeypatch.setattr(api, "MAX_RENDERED_BYTES", 1000)
    for number in range(5):
        await noted(alice, ada, str(number) * 500)
    page = await listed(alice, ada, expand="html")
    pages = [page]
    while page["has_more"]:
        page = await listed(alice, ada, cursor=page["next_cursor"])
        pages.append(page)

    assert [len(each["data"]) for each in pages] == [2, 2, 1]
    assert [each["html"][3] for page in pages for each in page["data"]] == ["4", "3", "2", "1", "0"]


async def test_what_is_gone_has_no_list(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """The notes on a deleted object are not found, and the refusal names what replaces a merged one."""
    await merged(alice, ada, grace)
    await alice.delete(engine.url)
    responses = [await alice.get(notes_of(place)) for place in (grace, engine)]

    assert [response.status_code for response in responses] == [404, 404]
    assert ada.id in responses[0].json()["detail"]
