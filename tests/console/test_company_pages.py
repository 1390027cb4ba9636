"""The pages of companies, and references, without a browser."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY


async def test_list_finds_companies(olga: Visitor, engine: Thing) -> None:
    """The list of companies searches as the API does."""
    assert f'href="/console/companies/{engine.id}"' in (await olga.get("/companies?search=analyt")).text
    assert "Nothing found" in (await olga.get("/companies?search=nothing")).text


async def test_company_shows_its_contacts(olga: Visitor, alice: Person, engine: Thing, ada: Thing, grace: Thing) -> None:
    """A company's page leads to its contacts, and to no others."""
    await alice.patch(ada.url, json={"company_id": engine.id})

    page = (await olga.get(f"/companies/{engine.id}")).text

    assert f'href="/console/contacts/{ada.id}"' in page
    assert grace.id not in page


@pytest.mark.parametrize(
    ("member", "form", "expected"),
    [
        ("name", {"value": "Difference Engines"}, {"name": "Difference Engines"}),
        ("description", {"value": ""}, {"description": None}),
        ("fields.founded", {"value": "1837-12-01"}, {"fields": {"founded": "1837-12-01"}}),
        (
            "domains",
            {"value": ["engine.test", "engines.test", ""], "primary": "1"},
            {"domains": [{"domain": "engine.test", "is_primary": False}, {"domain": "engines.test", "is_primary": True}]},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_member_is_edited(
    frank: Person, people: Any, engine: Thing, member: str, form: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Members of a company are edited in place like those of a contact."""
    definition = {"object_type": "company", "key": "founded", "label": "Founded", "kind": "date"}
    await frank.post("/api/herdbook/fields", json=definition)
    olga = await people.join(frank.workspace_id, "Olga")

    answer = await olga.post(f"/companies/{engine.id}/edit/{member}", {**form, "version": engine.etag.strip('"')})

    assert answer.status_code == 303, answer.text
    record = (await frank.get(f"/api/herdbook/companies/{engine.id}/record")).json()
    assert {name: record.get(name) for name in expected} == expected


async def test_domain_of_another_company_leads_to_it(olga: Visitor, alice: Person, engine: Thing) -> None:
    """A conflict names the company that has the domain, at an edit and in the form of a new one."""
    other = Thing(await alice.post("/api/v2/companies", json={"name": "Looms", "domains": [{"domain": "looms.test"}]}))

    edited = await olga.post(
        f"/companies/{other.id}/edit/domains", {"value": ["engine.test"], "version": other.etag.strip('"')}
    )
    created = await olga.post("/companies/new", {"name": "Again", "domain": "engine.test"})

    for answer in (edited, created):
        assert answer.status_code == 409
        assert f'href="/console/companies/{engine.id}"' in answer.text
    assert 'value="Again"' in created.text


async def test_company_is_created_and_deleted(olga: Visitor, alice: Person) -> None:
    """A form creates a company, another one deletes it, and the undo brings it back."""
    created = await olga.post("/companies/new", {"name": "Looms", "domain": "looms.test"})
    path = urlsplit(created.headers["Location"]).path.removeprefix("/console")
    deleted = await olga.post(f"{path}/delete")
    assert (await alice.get(f"/api/v2{path}")).status_code == 404

    notice = (await olga.client.get(deleted.headers["Location"])).text
    request_id = notice.split('name="request_id" value="')[1].split('"')[0]
    await olga.post("/undo", {"request_id": request_id, "back": f"/console{path}"})

    assert (await alice.get(f"/api/v2{path}")).json()["name"] == "Looms"


async def test_note_of_a_company_is_added(olga: Visitor, engine: Thing) -> None:
    """A note stands on the page of its company."""
    await olga.post(f"/companies/{engine.id}/notes", {"text": "Ships **weekly**."})

    assert "<strong>weekly</strong>" in (await olga.get(f"/companies/{engine.id}")).text


async def test_tag_without_a_colour_is_shown(olga: Visitor, alice: Person, engine: Thing) -> None:
    """A tag need not have a colour."""
    tag = Thing(await alice.post("/api/v2/tags", json={"name": "Plain"}))
    await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json={"tag_ids": [tag.id]})

    for path in ("/companies", f"/companies/{engine.id}"):
        assert "Plain" in (await olga.get(path)).text


@pytest.mark.parametrize("kind", ["user", "contact", "company"])
async def test_reference_is_chosen_by_search(frank: Person, people: Any, ada: Thing, engine: Thing, kind: str) -> None:
    """A field that names a user, a contact or a company offers those that a search finds, and shows the name."""
    definition = {"object_type": "company", "key": "known", "label": "Known", "kind": kind}
    await frank.post("/api/herdbook/fields", json=definition)
    member = await people.member(frank.workspace_id, "Olga")
    olga = await people.visiting(member)
    users = (await frank.get("/api/v2/users", params={"search": "olga"})).json()["data"]
    wanted, name = {
        "user": (users[0]["id"], "Olga"),
        "contact": (ada.id, "Ada Lovelace"),
        "company": (engine.id, "Analytical Engine"),
    }[kind]

    form = (await olga.get(f"/companies/{engine.id}?edit=fields.known&find={name[:4]}")).text
    await olga.post(f"/companies/{engine.id}/edit/fields.known", {"value": wanted, "version": engine.etag.strip('"')})

    assert f'name="value" data-found value="{wanted}">{name}' in form
    page = (await olga.get(f"/companies/{engine.id}")).text
    shown = page.split('id="member-fields.known"')[1].split("</dd>")[0]
    assert name in shown
    assert "<code>" not in shown


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, alice: Person, ada: Thing, text: str) -> None:
    """Nothing in a value of a company is taken for a part of a page, nor on the page of its contact."""
    sent: dict[str, Any] = {"name": text, "description": text, "domains": []}
    company = Thing(await alice.post("/api/v2/companies", json=sent))
    await alice.patch(ada.url, json={"company_id": company.id})

    for path in ("/companies", f"/companies/{company.id}", f"/companies/{company.id}?edit=name", f"/contacts/{ada.id}"):
        page = (await olga.get(path)).text
        assert str(escape(text)) in page
        assert "<img" not in page
