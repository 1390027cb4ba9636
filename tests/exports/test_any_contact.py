"""Any contact comes back from any format as it was."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cast import Json, Person
from tests.custom_fields.definitions import define
from tests.exports.generated import FIELDS, contacts
from tests.importing.jobs import upload

URL: Final = "/api/herdbook/exports"
# Each workspace gives its own of these.
_OWN: Final = ("id", "created_at", "updated_at", "company", "tag_ids")


async def made(person: Person, body: Json) -> str:
    """Create a contact with its notes, its tags and its company; return its id."""
    more, asked = body["more"], {name: value for name, value in body.items() if name != "more"}
    if "company" in more:
        company = await person.post("/api/v2/companies", json={"name": more["company"], "domains": []})
        asked["company_id"] = company.json()["id"]
    asked["tag_ids"] = [await _tag(person, name) for name in more.get("tags", ())]
    asked["tag_ids"] = [*dict.fromkeys(asked["tag_ids"])]
    response = await person.post("/api/herdbook/contacts", json=asked)
    assert response.status_code == 201, response.text
    for text in more.get("notes", ()):
        note = await person.post(f"/api/herdbook/contacts/{response.json()['id']}/notes", json={"text": text})
        assert note.status_code == 201, note.text
    return response.json()["id"]


async def _tag(person: Person, name: str) -> str:
    created = await person.post("/api/v2/tags", json={"name": name})
    if created.status_code == 201:
        return created.json()["id"]
    return created.json()["conflict"]["id"]


async def told(person: Person, contact_ids: list[str]) -> list[Json]:
    """Return contacts as NDJSON, without what each workspace has its own of."""
    body = {"object_type": "contact", "format": "ndjson", "object_ids": contact_ids}
    lines = (await person.post(URL, json=body)).text.splitlines()
    return [_sorted({name: value for name, value in json.loads(line).items() if name not in _OWN}) for line in lines]


def _sorted(contact: Json) -> Json:
    # The primary one comes first in a card, and a contact has one note with the same text.
    for name, key in (("emails", "email"), ("phone_numbers", "phone_number")):
        contact[name] = sorted(contact[name], key=lambda item: item[key])
    if "notes" in contact:
        contact["notes"] = [*dict.fromkeys(contact["notes"])]
    return contact


def _differences(before: list[Json], after: list[Json]) -> Iterator[tuple[str, Any, Any]]:
    for one, other in zip(before, after, strict=True):
        flat, other_flat = ({**each, **each.get("fields", {}), "fields": None} for each in (one, other))
        for name in {*flat, *other_flat}:
            if flat.get(name) != other_flat.get(name):
                yield name, flat.get(name), other_flat.get(name)


@pytest.mark.parametrize("form", ["csv", "xlsx", "ndjson", "vcard-4.0"])
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    # Each try is an import, so that it would take minutes to find the least one.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
async def test_any_contact_comes_back(frank: Person, charlie: Person, form: str, data: st.DataObject) -> None:
    """Contacts of any members are the same in another workspace that has the fields, after an export and an import.

    A card keeps no spaces around a value, and has a usual label in small letters.
    """
    for person in (frank, charlie):
        if not (await person.get("/api/herdbook/fields")).json()["data"]:
            for key, (members, _) in FIELDS.items():
                await define(person, key, **members)
    bodies: list[Any] = data.draw(contacts(of_cards=form.startswith("vcard")))
    contact_ids = [await made(frank, body) for body in bodies]
    before = await told(frank, contact_ids)
    content = (await frank.post(URL, json={"object_type": "contact", "format": form, "object_ids": contact_ids})).content
    job = await upload(charlie, content, "people.vcf" if form.startswith("vcard") else "people")
    try:
        await job.map(crm_source="hubspot", match_by="never")
        assert (await job.run())["create"] == len(bodies), await job.rows()
        after = await told(charlie, [row["id"] for row in await job.rows()])

        assert not [*_differences(before, after)], str([*_differences(before, after)])
    finally:
        await charlie.post("/api/herdbook/undo", json={"request_id": job.shown["request_id"]})
        for contact_id in contact_ids:
            await frank.delete(f"/api/v2/contacts/{contact_id}")
