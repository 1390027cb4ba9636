"""The forms of new contacts and companies, without a browser."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from markupsafe import escape

from tests.cast import Person, Stored, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.console.test_filters import VALUES
from tests.console.test_object_pages import engagement_of
from tests.custom_fields.definitions import define

KINDS: Final = pytest.mark.parametrize(("plural", "name"), [("contacts", "first_name"), ("companies", "name")])
# The fields of the form of each kind of field, with the value that they stand for.
_FORMS: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    **{kind.value: ({"": typed}, stored) for kind, (typed, stored) in VALUES.items()},
    "text": ({"": "Blue"}, "Blue"),
    "long_text": ({"": "Blue"}, "Blue"),
    "date_time": ({"": "2026-03-01T12:00:00.000000Z"}, "2026-03-01T12:00:00.000000Z"),
    "several_of": ({"": ["gold", "silver"]}, ["gold", "silver"]),
    "money": ({":amount": "12.50", ":currency": "EUR"}, {"amount": "12.50", "currency": "EUR"}),
    "address": ({":city": "Berlin", ":street": ""}, {"city": "Berlin"}),
}


async def _created(frank: Person, plural: str, answer: httpx.Response) -> Any:
    """Return the record that a form has created."""
    assert answer.status_code == 303, answer.text
    path = urlsplit(answer.headers["Location"]).path.removeprefix("/console")
    return (await frank.get(f"/api/herdbook{path}/record")).json() | {"plural": plural}


def _object_type(plural: str) -> str:
    return "contact" if plural == "contacts" else "company"


@KINDS
@pytest.mark.parametrize("kind", _FORMS)
async def test_field_of_ones_own_is_set_at_creation(olga: Visitor, frank: Person, plural: str, name: str, kind: str) -> None:
    """Each kind of field has inputs in the form, and what they have becomes its value."""
    await define(frank, "extra", kind, _object_type(plural))
    sent, stored = _FORMS[kind]
    form = (await olga.get(f"/{plural}/new")).text

    created = await olga.post(f"/{plural}/new", {name: "Mary", **{f"fields.extra{key}": text for key, text in sent.items()}})

    assert set(re.findall(r'name="fields\.extra(:\w+|)"', form)) >= sent.keys()
    assert (await _created(frank, plural, created))["fields"] == {"extra": stored}


@KINDS
async def test_required_field_and_default(olga: Visitor, frank: Person, plural: str, name: str) -> None:
    """Nothing is created without a required field, and the form begins with the defaults, which can be cleared."""
    await define(frank, "code", "text", _object_type(plural), required=True)
    await define(frank, "tier", "one_of", _object_type(plural), default="silver")
    form = (await olga.get(f"/{plural}/new")).text

    refused = await olga.post(f"/{plural}/new", {name: "Mary", "fields.tier": "gold"})
    listed = (await frank.get(f"/api/v2/{plural}")).json()["data"]
    record = await _created(frank, plural, await olga.post(f"/{plural}/new", {name: "Mary", "fields.code": "A"}))

    assert 'name="fields.code" value="" autocomplete="off" required' in form
    assert '<option value="silver" selected>' in form
    assert refused.status_code == 422
    assert 'value="Mary"' in refused.text
    assert '<option value="gold" selected>' in refused.text
    assert 'id="error-fields.code"' in refused.text
    assert listed == []
    assert record["fields"] == {"code": "A"}


async def test_contact_has_all_that_the_form_has(olga: Visitor, frank: Person, engine: Thing) -> None:
    """Company, tags, ids and time zone are set at once, by one change."""
    tag = Thing(await frank.post("/api/v2/tags", json={"name": "Patron"}))
    form = {
        "first_name": "Mary",
        "email": "mary@engine.test",
        "phone_number": "+44 20 7946 0958",
        "company_id": engine.id,
        "tag_ids": tag.id,
        "time_zone": "Europe/London",
        "external_ids": "crm-1\r\ncrm-2",
        "description": "Wrote\r\nbooks.",
    }

    record = await _created(frank, "contacts", await olga.post("/contacts/new", form))
    history = (await frank.get(f"/api/herdbook/contacts/{record['id']}/history")).json()["data"]

    assert record["company"]["id"] == engine.id
    assert record["tag_ids"] == [tag.id]
    assert record["external_ids"] == ["crm-1", "crm-2"]
    assert (record["time_zone"], record["description"]) == ("Europe/London", "Wrote\nbooks.")
    assert [each["action"] for each in history] == ["created"]


async def test_reference_is_searched_for_within_the_form(olga: Visitor, frank: Person, engine: Thing) -> None:
    """A search for a company keeps what was typed, and what was chosen."""
    form = {"first_name": "Mary", "company_id:find": "anal", "find": "company_id", "company_id": engine.id}

    page = await olga.post("/contacts/new", form)

    assert page.status_code == 200
    assert 'value="Mary"' in page.text
    assert f'name="company_id" data-found value="{engine.id}" checked' in page.text
    assert "Analytical Engine" in page.text
    assert (await frank.get("/api/v2/contacts")).json()["data"] == []


@KINDS
async def test_refused_record_is_not_there(olga: Visitor, frank: Person, stored: Stored, plural: str, name: str) -> None:
    """A value that another one has is refused at its field, and nothing was written. A record is created by one change."""
    await define(frank, "code", "text", _object_type(plural), unique=True)
    before = len(await stored.changes())
    await olga.post(f"/{plural}/new", {name: "First", "fields.code": "A"})
    created = (await stored.changes())[before:]

    refused = await olga.post(f"/{plural}/new", {name: "Second", "fields.code": "A"})

    assert refused.status_code == 409
    assert 'id="error-fields.code"' in refused.text
    assert "First</a> has it." in refused.text
    assert [(each.action, each.object["fields"]) for each in created] == [("c", {"code": "A"})]
    assert len(await stored.changes()) == before + 1
    assert [each.get("first_name") or each.get("name") for each in (await frank.get(f"/api/v2/{plural}")).json()["data"]] == [
        "First"
    ]


async def _refused_for_a_taken_value(olga: Visitor, plural: str, form: dict[str, str]) -> str:
    refused = await olga.post(f"/{plural}/new", form)
    assert refused.status_code == 409, refused.text
    return refused.text


_TYPED: Final[dict[str, dict[str, str]]] = {
    "contacts": {"first_name": "Mary", "email": "TAKEN@engine.test", "phone_number": "+1 202 555 0143", "description": "Typed"},
    "companies": {"name": "Mary's", "domain": "taken.test", "description": "Typed"},
}
_THERE: Final[dict[str, dict[str, Any]]] = {
    "contacts": {"first_name": "Grace", "emails": [{"email": "taken@engine.test"}, {"email": "g@navy.test"}]},
    "companies": {"name": "Navy", "domains": [{"domain": "taken.test"}, {"domain": "navy.test"}]},
}


@pytest.mark.parametrize("plural", _TYPED)
async def test_taken_value_leads_to_three_ways_out(olga: Visitor, alice: Person, plural: str) -> None:
    """The form names who has the value, moves the value over, or adds the rest there, and keeps all that was typed."""
    there = Thing(await alice.post(f"/api/v2/{plural}", json=_THERE[plural]))

    page = await _refused_for_a_taken_value(olga, plural, _TYPED[plural])

    name = "Grace" if plural == "contacts" else "Navy"
    added = "Phone, Description" if plural == "contacts" else "Description"
    assert f'<a href="/console/{plural}/{there.id}" target="_blank" rel="noopener">{name}</a> has it.' in page
    assert f"You can add the rest to that {_object_type(plural)}: {added}." in page
    assert f"What it has already stays there: {'First name' if plural == 'contacts' else 'Name'}." in page
    assert f'name="take" value="{there.id}"' in page
    assert f'name="add_to" value="{there.id}"' in page
    assert all(str(escape(text)) in page for text in _TYPED[plural].values())


@pytest.mark.parametrize("plural", _TYPED)
async def test_taken_value_moves_to_the_new_record(olga: Visitor, alice: Person, plural: str) -> None:
    """The new record has the value, the other one keeps what it has beside it, and one undo takes both back."""
    there = Thing(await alice.post(f"/api/v2/{plural}", json=_THERE[plural]))

    created = await olga.post(f"/{plural}/new", {**_TYPED[plural], "take": there.id})

    record = await _created(alice, plural, created)
    rows, part = ("emails", "email") if plural == "contacts" else ("domains", "domain")
    assert [each[part] for each in record[rows]] == [_TYPED[plural][part]]
    assert [each[part] for each in (await alice.get(there.url)).json()[rows]] == [_THERE[plural][rows][1][part]]
    history = (await alice.get(f"/api/herdbook/{plural}/{record['id']}/history")).json()["data"]
    undone = await olga.post("/undo", {"request_id": history[0]["request_id"], "back": "/console"})
    assert undone.status_code == 303, undone.text
    assert (await alice.get(f"/api/v2/{plural}/{record['id']}")).status_code == 404
    assert (await alice.get(there.url)).json()[rows] == there.json[rows]


@pytest.mark.parametrize("plural", _TYPED)
async def test_rest_is_added_to_the_record_that_is_there(olga: Visitor, alice: Person, plural: str) -> None:
    """It gets what it lacks and keeps what it has, nothing is created, and one undo takes it back."""
    there = Thing(await alice.post(f"/api/v2/{plural}", json=_THERE[plural]))

    added = await olga.post(f"/{plural}/new", {**_TYPED[plural], "add_to": there.id})

    record = await _created(alice, plural, added)
    rows = "emails" if plural == "contacts" else "domains"
    assert record["id"] == there.id
    assert record["description"] == "Typed"
    assert record[rows] == there.json[rows]
    assert record.get("first_name", record.get("name")) in ("Grace", "Navy")
    assert [each["phone_number"] for each in record.get("phone_numbers", [])] == (
        ["+1 202 555 0143"] if plural == "contacts" else []
    )
    assert len((await alice.get(f"/api/v2/{plural}")).json()["data"]) == 1
    history = (await alice.get(f"/api/herdbook/{plural}/{there.id}/history")).json()["data"]
    await olga.post("/undo", {"request_id": history[0]["request_id"], "back": "/console"})
    assert "description" not in (await alice.get(there.url)).json()


async def test_form_has_all_parts_of_a_crm_record(olga: Visitor, frank: Person) -> None:
    """The system and the id of a CRM record are asked for as on the page of a contact."""
    form = {"first_name": "Mary", "crm_association:source": "hubspot", "crm_association:crm_object_id": "17"}
    page = (await olga.get("/contacts/new")).text

    record = await _created(frank, "contacts", await olga.post("/contacts/new", form))

    assert all(f'name="{name}"' in page for name in form)
    assert record["crm_association"] == {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}


@KINDS
@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, frank: Person, plural: str, name: str, text: str) -> None:
    """Nothing that was typed, no label and no help is taken for a part of the form."""
    object_type = _object_type(plural)
    await frank.post(
        "/api/herdbook/fields",
        json={"object_type": object_type, "key": "extra", "label": text, "kind": "integer", "help": text},
    )

    refused = await olga.post(f"/{plural}/new", {name: text, "fields.extra": text, "description": text, "find": ""})

    assert refused.status_code == 422
    assert refused.text.count(str(escape(text))) >= 5
    assert "<img" not in refused.text


async def test_form_that_is_sent_twice_creates_one_contact(olga: Visitor, alice: Person) -> None:
    """A double click creates once, and what it says is the same but for the undo, which belongs to the first answer."""
    token = await olga.token()
    first, second = [await olga.post("/contacts/new", {"first_name": "Double"}, token=token) for _ in range(2)]
    await olga.post("/contacts/new", {"first_name": "Other"}, token=token)

    assert len((await alice.get("/api/v2/contacts")).json()["data"]) == 2
    assert first.headers["Location"].partition("?")[0] == second.headers["Location"].partition("?")[0]
    undo = '<button class="button quiet" data-key="z">'
    assert undo in (await olga.get(first.headers["Location"])).text
    assert undo not in (await olga.get(second.headers["Location"])).text


@pytest.mark.parametrize(
    ("path", "form", "listed"),
    [
        ("/companies/new", {"name": "Double"}, "/api/v2/companies"),
        ("/contacts/{contact}/notes", {"text": "Double"}, "/api/herdbook/contacts/{contact}/notes"),
        ("/tags", {"name": "Double"}, "/api/v2/tags"),
        (
            "/engagements/{engagement}/comments",
            {"text": "Double"},
            "/api/v2/engagements/{engagement}/transcript_comments",
        ),
        ("/webhooks/new", {"url": "http://127.0.0.1:9000/double", "events": "all"}, "/api/herdbook/webhooks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_form_that_is_sent_twice_creates_one(
    *, anna: Visitor, frank: Person, ada: Thing, path: str, form: dict[str, str], listed: str
) -> None:
    """Each form that creates something does so once."""
    engagement = await engagement_of(frank)
    token = await anna.token()
    for _ in range(2):
        answer = await anna.post(path.format(contact=ada.id, engagement=engagement.id), form, token=token)
        assert answer.status_code in (200, 303), answer.text

    found = (await frank.get(listed.format(contact=ada.id, engagement=engagement.id))).json()["data"]
    assert len(found) == 1
