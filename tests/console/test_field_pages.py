"""The pages of the definitions of fields, without a browser."""

import re
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from herdbook import ids
from herdbook.custom_fields.commands import UpdateField
from herdbook.custom_fields.model import REFERENCES, UNIQUE_KINDS, FieldKind, FieldUpdate
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.contacts.records import change
from tests.custom_fields.claims import convert
from tests.custom_fields.definitions import define, half_converted

_FOCUSED: Final = re.compile(r"<(?:input|button)[^>]* autofocus[^>]*>")
_LABEL: Final = re.compile(r'aria-label="([^"]+)"')
# The form of a default for each kind that has one, and what it stands for.
_DEFAULTS: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    "text": ({"value": "Blue"}, "Blue"),
    "long_text": ({"value": "Blue\r\nor green"}, "Blue\nor green"),
    "integer": ({"value": "12"}, 12),
    "decimal": ({"value": "12.5"}, "12.5"),
    "date": ({"value": "2026-03-01"}, "2026-03-01"),
    "date_time": ({"value": "2026-03-01T12:00:00.000000Z"}, "2026-03-01T12:00:00.000000Z"),
    "yes_no": ({"value": "yes"}, True),
    "one_of": ({"options": "Gold\nSilver", "value": "Silver"}, "silver"),
    "several_of": ({"options": "Gold\nSilver", "value": "Silver\nGold"}, ["silver", "gold"]),
    "link": ({"value": "https://a.test"}, "https://a.test"),
    "email": ({"value": "a@b.test"}, "a@b.test"),
    "phone": ({"value": "+44 20 7946 0958"}, "+442079460958"),
    "money": ({"amount": "1.50", "currency": "EUR"}, {"amount": "1.50", "currency": "EUR"}),
    "address": ({"city": "Berlin", "street": ""}, {"city": "Berlin"}),
}


def test_each_kind_that_may_have_a_default_is_tried() -> None:
    """The kinds without one are references."""
    assert {each.value for each in FieldKind} == _DEFAULTS.keys() | {each.value for each in REFERENCES}


@pytest.mark.parametrize("kind", FieldKind, ids=lambda kind: kind.value)
async def test_forms_ask_for_what_the_kind_may_have(anna: Visitor, frank: Person, kind: FieldKind) -> None:
    """The forms of a new field and of one that is there offer uniqueness, options and a default only where there may be one."""
    field = await define(frank, "extra", kind.value)

    new = (await anna.get(f"/fields/new?type=contact&kind={kind.value}")).text
    present = (await anna.get(f"/fields/{field.json['id']}")).text

    for page in (new, present):
        assert ('name="unique"' in page) == (kind in UNIQUE_KINDS)
        assert all((f'name="{name}"' in page) for name in _DEFAULTS.get(kind.value, ({}, None))[0] if name != "options")
        assert ("Default" in page) == (kind not in REFERENCES)
    assert ('name="options"' in new) == (kind in (FieldKind.ONE_OF, FieldKind.SEVERAL_OF))


@pytest.mark.parametrize("kind", _DEFAULTS)
async def test_new_field_has_its_default(anna: Visitor, frank: Person, kind: str) -> None:
    """The default that the form has is the one of the field."""
    form, default = _DEFAULTS[kind]

    created = await anna.post("/fields/new", {"object_type": "contact", "label": "Extra", "kind": kind, **form})

    assert created.status_code == 303, created.text
    fields = (await frank.get("/api/herdbook/fields")).json()["data"]
    assert next(each["default"] for each in fields if each["key"] == "extra") == default


async def test_default_that_is_no_option_is_refused_with_all_that_was_typed(anna: Visitor) -> None:
    """The form is shown again, as it was sent."""
    form = {"object_type": "contact", "label": "Tier", "kind": "one_of", "options": "Gold", "value": "Bronze", "help": "Which?"}

    refused = await anna.post("/fields/new", form)

    assert refused.status_code == 422
    assert all(text in refused.text for text in ("Tier", "Gold", "Bronze", "Which?"))
    assert 'value="one_of" selected' in refused.text


async def _focused(anna: Visitor, path: str, form: dict[str, Any]) -> str:
    """Send a form, and return the label of what has the focus then."""
    answer = await anna.post(path, form)
    if answer.status_code == 303:
        answer = await anna.client.get(answer.headers["Location"])
    (element,) = _FOCUSED.findall(answer.text)
    found = _LABEL.search(element)
    assert found is not None, element
    return found[1]


async def test_focus_stays_on_a_field_that_is_moved(anna: Visitor, frank: Person) -> None:
    """It is on the same button, or on the other one where that has gone."""
    # They are in the order of their keys, so the second one is the last.
    fields = [(await define(frank, key, object_type="company")).json["id"] for key in ("one", "two", "three")]

    assert await _focused(anna, f"/fields/{fields[1]}/move", {"act": "up"}) == "Move Two up"
    assert await _focused(anna, f"/fields/{fields[1]}/move", {"act": "up"}) == "Move Two down"
    assert await _focused(anna, f"/fields/{fields[1]}/move", {"act": "down"}) == "Move Two down"
    assert await _focused(anna, f"/fields/{fields[1]}/move", {"act": "down"}) == "Move Two up"


async def test_focus_stays_on_an_option_that_is_arranged(anna: Visitor, frank: Person) -> None:
    """It is on the same button of the option, or in its text where that button has gone."""
    path = f"/fields/{(await define(frank, 'tier', 'one_of')).json['id']}"
    form = {
        "label": "Tier",
        "option_id": ["gold", "silver", "bronze", ""],
        "option_label": ["Gold", "Silver", "Bronze", "Tin"],
        "option_archived": ["", "", "yes", ""],
    }

    assert await _focused(anna, path, {**form, "arrange": "up 2"}) == "Move option 2 up"
    assert await _focused(anna, path, {**form, "arrange": "up 1"}) == "Option 1"
    assert await _focused(anna, path, {**form, "arrange": "archive 0"}) == "Bring back option 1"
    assert await _focused(anna, path, {**form, "arrange": "unarchive 2"}) == "Archive option 3"
    assert await _focused(anna, path, {**form, "arrange": "remove 3"}) == "Option 3"
    assert await _focused(anna, path, {**form, "arrange": "add"}) == "Option 5"


async def test_page_of_a_field_shows_how_far_a_conversion_is(
    anna: Visitor, frank: Person, ledger: Ledger, workspace_id: UUID, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """The page says how many are done, and asks again as long as the conversion goes on."""
    field = await half_converted(frank, ledger, workspace_id)
    path, done = f"/fields/{field.json['id']}", (await frank.get(f"{field.url}/conversion")).json()["done"]

    pages = [(await anna.get(path)).text, (await anna.get(f"{path}/kind")).text]

    assert all(f"{done} of 300 contacts are done." in page for page in pages)
    assert all(f'data-watch="/console{path}"' in page for page in pages)
    await convert(pool, ledger)
    assert "data-watch=" not in (await anna.get(path)).text


async def test_page_of_a_field_shows_values_that_are_not_unique(
    anna: Visitor,
    alice: Person,
    frank: Person,
    ledger: Ledger,
    *,
    pool: "asyncpg.Pool[asyncpg.Record]",
    ada: Thing,
    grace: Thing,
) -> None:
    """The page leads to a contact whose value another one took while the field became unique, and to that one."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "\tSeven"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, UpdateField(field_id, FieldUpdate(unique=True)), Origin(ids.new_id(), ids.NIL))
    await change(alice, grace, fields={"own": "Seven"})
    await convert(pool, ledger)

    page = (await anna.get(f"/fields/{field.json['id']}")).text

    assert "1 value is not unique" in page
    assert all(f'href="/console/contacts/{each.id}"' in page for each in (ada, grace))


async def test_second_editor_of_a_field_sees_both_and_chooses(anna: Visitor, frank: Person) -> None:
    """A definition that somebody has changed is shown beside one's own values, which can then be saved."""
    field = await define(frank, "level", "one_of", options=[{"id": "gold", "label": "Gold"}])
    page = (await anna.get(f"/fields/{field.json['id']}")).text
    version = page.split('name="version" value="')[1].split('"')[0]
    changed = {"label": "Theirs", "options": [{"id": "gold", "label": "Gold"}, {"id": "silver", "label": "Silver"}]}
    await frank.patch(f"/api/herdbook/fields/{field.json['id']}", json=changed)
    form = {"label": "Mine", "option_id": ["gold"], "option_label": ["Gold"], "option_archived": [""], "version": version}

    late = await anna.post(f"/fields/{field.json['id']}", form)

    assert late.status_code == 412
    shown = late.text.split('class="conflict"')[1].split("</dl>")[0]
    assert "<dd>Theirs</dd>" in shown
    assert "<dd>Gold, Silver</dd>" in shown
    again = late.text.split('name="version" value="')[1].split('"')[0]
    assert again != version
