"""The forms of new contacts and companies, without a browser."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.console.test_filters import VALUES
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
    assert f'name="company_id" value="{engine.id}" checked' in page.text
    assert "Analytical Engine" in page.text
    assert (await frank.get("/api/v2/contacts")).json()["data"] == []


@KINDS
async def test_refused_record_is_not_there(olga: Visitor, frank: Person, plural: str, name: str) -> None:
    """A value that another one has is refused at its field, and nothing is left of what was begun."""
    await define(frank, "code", "text", _object_type(plural), unique=True)
    await olga.post(f"/{plural}/new", {name: "First", "fields.code": "A"})

    refused = await olga.post(f"/{plural}/new", {name: "Second", "fields.code": "A"})

    assert refused.status_code == 409
    assert 'id="error-fields.code"' in refused.text
    assert f"Open the {_object_type(plural)} that has it" in refused.text
    assert [each.get("first_name") or each.get("name") for each in (await frank.get(f"/api/v2/{plural}")).json()["data"]] == [
        "First"
    ]


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
