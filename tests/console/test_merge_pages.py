"""The pages that merge, without a browser."""

import pytest

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY


async def test_preview_shows_each_field_and_changes_nothing(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """Before a merge, a page shows the values of both and of the result, and only those that change are marked."""
    await alice.patch(grace.url, json={"description": "Compilers."})

    page = (await olga.get(f"/contacts/{ada.id}/merge?from={grace.id}")).text

    rows = {each.split("</th>")[0]: each for each in page.split('<th scope="row">')[1:]}
    assert rows["E-mail"].split("<ins>")[1].count("grace@navy.test") >= 1
    assert "<ins>" in rows["Description"]
    assert "<ins>" not in rows["Last name"]
    assert "Hopper" in rows["Last name"]
    assert (await alice.get(grace.url)).status_code == 200


async def test_merge_is_undone(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """The merge makes one contact of two, and its undo two of one."""
    merged = await olga.post(f"/contacts/{ada.id}/merge", {"from": grace.id, "version": ada.etag.strip('"')})
    assert merged.status_code == 303, merged.text
    emails = [each["email"] for each in (await alice.get(ada.url)).json()["emails"]]
    notice = (await olga.client.get(merged.headers["Location"])).text
    request_id = notice.split('id="notice"')[1].split('name="request_id" value="')[1].split('"')[0]

    await olga.post("/undo", {"request_id": request_id, "back": "/console"})

    assert emails == ["ada@engine.test", "grace@navy.test"]
    assert (await alice.get(grace.url)).json()["emails"][0]["email"] == "grace@navy.test"
    assert len((await alice.get(ada.url)).json()["emails"]) == 1


async def test_merge_of_a_contact_that_has_changed_is_shown_again(
    olga: Visitor, alice: Person, ada: Thing, grace: Thing
) -> None:
    """A preview that is no longer right is shown anew instead of being carried out."""
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    answer = await olga.post(f"/contacts/{ada.id}/merge", {"from": grace.id, "version": ada.etag.strip('"')})

    assert answer.status_code == 412
    assert "Augusta" in answer.text
    assert (await alice.get(grace.url)).status_code == 200


@pytest.mark.parametrize("source", ["itself", "nonsense"])
async def test_impossible_merge_is_refused_on_the_page(olga: Visitor, ada: Thing, source: str) -> None:
    """A contact that cannot be merged is refused with the choice of others."""
    answer = await olga.get(f"/contacts/{ada.id}/merge?from={ada.id if source == 'itself' else source}")

    assert answer.status_code in (404, 422)
    assert "Find a contact" in answer.text
    assert 'role="alert"' in answer.text


async def test_conflict_offers_to_merge(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """The refusal of an address that another contact has leads to the merge of the two."""
    form = {"value": ["grace@navy.test"], "label": [""], "version": ada.etag.strip('"')}

    answer = await olga.post(f"/contacts/{ada.id}/edit/emails", form)

    assert f'href="/console/contacts/{ada.id}/merge?from={grace.id}"' in answer.text


async def test_companies_are_merged(olga: Visitor, alice: Person, engine: Thing, ada: Thing) -> None:
    """A merge of companies brings the contacts along."""
    other = Thing(await alice.post("/api/v2/companies", json={"name": "Looms", "domains": [{"domain": "looms.test"}]}))
    await alice.patch(ada.url, json={"company_id": other.id})
    preview = (await olga.get(f"/companies/{engine.id}/merge?from={other.id}")).text

    await olga.post(f"/companies/{engine.id}/merge", {"from": other.id, "version": engine.etag.strip('"')})

    assert "1 contact." in preview
    assert (await alice.get(ada.url)).json()["company"]["id"] == engine.id


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, alice: Person, ada: Thing, text: str) -> None:
    """Nothing in a value is taken for a part of the preview, or of the choice."""
    other = Thing(await alice.post("/api/v2/contacts", json={"first_name": text, "description": text}))

    for path in (f"/contacts/{ada.id}/merge", f"/contacts/{ada.id}/merge?from={other.id}"):
        assert "<img" not in (await olga.get(path)).text
