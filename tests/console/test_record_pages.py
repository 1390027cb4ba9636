"""Each member of a contact or a company by its control, conflicts about values, and the moments of a record."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor

OPTIONS = [{"id": "gold", "label": "Gold customer"}, {"id": "silver", "label": "Silver customer"}]
KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({"value": "Countess"}, "Countess"),
    "long_text": ({"value": "One\r\ntwo"}, "One\ntwo"),
    "integer": ({"value": "42"}, 42),
    "decimal": ({"value": "12.50"}, "12.50"),
    "date": ({"value": "1815-12-10"}, "1815-12-10"),
    "date_time": ({"value": "2026-03-01T12:00"}, "2026-03-01T12:00:00.000000Z"),
    "yes_no": ({"value": "no"}, False),
    "one_of": ({"value": "gold"}, "gold"),
    "several_of": ({"value": ["gold", "silver"]}, ["gold", "silver"]),
    "link": ({"value": "https://engine.test/ada"}, "https://engine.test/ada"),
    "email": ({"value": "ada@home.test"}, "ada@home.test"),
    "phone": ({"value": "+44 20 7946 0958"}, "+442079460958"),
    "address": ({"street": "12 St James's Square", "city": "London"}, {"street": "12 St James's Square", "city": "London"}),
    "money": ({"amount": "12.50", "currency": "GBP"}, {"amount": "12.50", "currency": "GBP"}),
}


async def _defined(frank: Person, kind: str, object_type: str = "contact", **members: Any) -> None:
    """Define the field `own` of a kind."""
    definition = {"object_type": object_type, "key": "own", "label": "My own", "kind": kind, **members}
    if kind in ("one_of", "several_of"):
        definition["options"] = OPTIONS
    answer = await frank.post("/api/herdbook/fields", json=definition)
    assert answer.status_code == 201, answer.text


async def _seen(visitor: Visitor, path: str, member: str) -> dict[str, str]:
    """Open the form of a member, and return its hidden fields."""
    page = (await visitor.get(f"{path}?edit={member}")).text
    return dict(re.findall(r'name="(version|seen)" value="([^"]+)"', page))


@pytest.mark.parametrize("kind", KINDS)
async def test_field_of_each_kind_is_edited_and_cleared(frank: Person, olga: Visitor, ada: Thing, kind: str) -> None:
    """The form of each kind sets the value, shows it again, and clears it when it is empty."""
    await _defined(frank, kind)
    form, expected = KINDS[kind]
    path = f"/contacts/{ada.id}"

    set_ = await olga.post(f"{path}/edit/fields.own", {**form, **await _seen(olga, path, "fields.own")})
    record = (await frank.get(f"/api/herdbook{path}/record")).json()
    shown = (await olga.get(f"{path}?edit=fields.own")).text
    empty = dict.fromkeys(form, "")
    cleared = await olga.post(f"{path}/edit/fields.own", {**empty, **await _seen(olga, path, "fields.own")})

    assert set_.status_code == 303, set_.text
    assert record["fields"]["own"] == expected
    assert shown.count("My own") > 0
    if isinstance(form.get("value"), str) and kind not in ("yes_no", "one_of", "long_text"):
        assert f'value="{expected if kind == "phone" else form["value"]}' in shown
    assert cleared.status_code == 303, cleared.text
    assert "own" not in (await frank.get(f"/api/herdbook{path}/record")).json().get("fields", {})


async def test_crm_record_is_linked(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The link to a record of a CRM system is edited like other members with parts."""
    form = {"source": "hubspot", "crm_object_id": "4711", **await _seen(olga, f"/contacts/{ada.id}", "crm_association")}

    await olga.post(f"/contacts/{ada.id}/edit/crm_association", form)

    linked = (await alice.get(ada.url)).json()["crm_association"]
    assert linked == {"object_type": "contact", "crm_object_id": "4711", "source": "hubspot"}


@pytest.mark.parametrize(
    ("arrange", "values", "primary"),
    [
        ("up 1", ["b@x.test", "a@x.test"], "0"),
        ("remove 0", ["b@x.test"], "0"),
        ("add", ["a@x.test", "b@x.test", ""], "1"),
        ("up 99", ["a@x.test", "b@x.test"], "1"),
        ("up x", ["a@x.test", "b@x.test"], "1"),
    ],
)
async def test_rows_are_arranged_before_they_are_saved(
    olga: Visitor, alice: Person, ada: Thing, arrange: str, values: list[str], primary: str
) -> None:
    """Buttons move, remove and add rows of the form. The primary address stays the primary one, and nothing is saved yet."""
    form = {"value": ["a@x.test", "b@x.test"], "label": ["work", "home"], "primary": "1", "arrange": arrange}

    page = (await olga.post(f"/contacts/{ada.id}/edit/emails", {**form, "version": ada.etag.strip('"')})).text

    assert re.findall(r'name="value" value="([^"]*)"', page) == values
    assert re.findall(r'name="primary" value="(\d)" checked', page) == [primary]
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


async def test_required_field_is_refused_at_its_place(frank: Person, olga: Visitor, ada: Thing) -> None:
    """A required field cannot be cleared, and its form says so."""
    await _defined(frank, "text", required=True)
    path = f"/contacts/{ada.id}"
    await olga.post(f"{path}/edit/fields.own", {"value": "x", **await _seen(olga, path, "fields.own")})

    answer = await olga.post(f"{path}/edit/fields.own", {"value": "", **await _seen(olga, path, "fields.own")})

    assert answer.status_code == 422
    assert 'id="field-error"' in answer.text.split('id="member-fields.own"')[1]


async def test_tag_is_created_where_it_is_given(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The search of tags offers to create one that is not there. One undo takes back the tag and its use."""
    path = f"/contacts/{ada.id}"
    offered = (await olga.get(f"{path}?edit=tag_ids&find=Analyst")).text
    assert "Create the tag “Analyst”" in offered

    saved = await olga.post(f"{path}/edit/tag_ids", {"new_tag": "Analyst", **await _seen(olga, path, "tag_ids")})

    assert saved.status_code == 303, saved.text
    tag_ids = (await alice.get(f"/api/herdbook{path}/record")).json()["tag_ids"]
    (tag,) = (await alice.get("/api/v2/tags")).json()["data"]
    assert (tag["name"], tag_ids) == ("Analyst", [tag["id"]])
    assert "Create the tag" not in (await olga.get(f"{path}?edit=tag_ids&find=analyst")).text
    request_id = (await alice.get(f"/api/herdbook{path}/history")).json()["data"][0]["request_id"]
    await olga.post("/undo", {"request_id": request_id, "back": "/console"})
    assert (await alice.get("/api/v2/tags")).json()["data"] == []
    assert "tag_ids" not in (await alice.get(f"/api/herdbook{path}/record")).json()


async def test_new_tag_goes_again_if_it_cannot_be_given(olga: Visitor, alice: Person, ada: Thing) -> None:
    """If somebody else has changed the tags meanwhile, no tag is left over."""
    path = f"/contacts/{ada.id}"
    seen = await _seen(olga, path, "tag_ids")
    other = Thing(await alice.post("/api/v2/tags", json={"name": "Other"}))
    await alice.patch(f"/api/herdbook{path}/record", json={"tag_ids": [other.id]})

    answer = await olga.post(f"{path}/edit/tag_ids", {"new_tag": "Analyst", **seen})

    assert answer.status_code == 412
    assert [tag["name"] for tag in (await alice.get("/api/v2/tags")).json()["data"]] == ["Other"]


async def test_conflict_names_the_other_contact_and_the_ways_out(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """A taken address leads to its contact by name, to a merge, and to moving the address."""
    form = {"value": ["grace@navy.test"], "label": [""], "version": ada.etag.strip('"')}

    page = (await olga.post(f"/contacts/{ada.id}/edit/emails", form)).text

    assert f'href="/console/contacts/{grace.id}">Grace Hopper</a> has it.' in page
    assert f'name="take" value="{grace.id}">Move it here' in page
    assert f'href="/console/contacts/{ada.id}/merge?from={grace.id}"' in page


async def test_address_moves_over_and_back(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """An address is taken from the contact that has it. The two changes are of one request, which one undo takes back."""
    form = {"value": ["ada@engine.test", "GRACE@navy.test"], "label": ["", ""], "take": grace.id}

    moved = await olga.post(f"/contacts/{ada.id}/edit/emails", {**form, "version": ada.etag.strip('"')})

    assert moved.status_code == 303, moved.text
    assert (await alice.get(grace.url)).json()["emails"] == []
    assert [each["email"] for each in (await alice.get(ada.url)).json()["emails"]] == ["ada@engine.test", "GRACE@navy.test"]
    histories = [(await alice.get(f"/api/herdbook/contacts/{each.id}/history")).json()["data"][0] for each in (ada, grace)]
    assert histories[0]["request_id"] == histories[1]["request_id"]
    undone = await olga.post("/undo", {"request_id": histories[0]["request_id"], "back": "/console"})
    assert undone.status_code == 303, undone.text
    assert (await alice.get(grace.url)).json()["emails"] == grace.json["emails"]
    assert (await alice.get(ada.url)).json()["emails"] == ada.json["emails"]


async def test_address_stays_where_it_is_if_it_cannot_move(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """If another address that was sent is none, the other contact keeps its own."""
    form = {"value": ["grace@navy.test", "nonsense@"], "label": ["", ""], "take": grace.id, "version": ada.etag.strip('"')}

    answer = await olga.post(f"/contacts/{ada.id}/edit/emails", form)

    assert answer.status_code == 422
    assert (await alice.get(grace.url)).json()["emails"] == grace.json["emails"]
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


async def test_unique_value_moves_over(frank: Person, olga: Visitor, ada: Thing, grace: Thing) -> None:
    """A value of a unique field moves like an address."""
    await _defined(frank, "text", unique=True)
    await frank.patch(f"/api/herdbook/contacts/{grace.id}/record", json={"fields": {"own": "B-1"}})
    path = f"/contacts/{ada.id}"
    form = {"value": "B-1", **await _seen(olga, path, "fields.own")}
    refused = await olga.post(f"{path}/edit/fields.own", form)
    assert "Grace Hopper" in refused.text

    moved = await olga.post(f"{path}/edit/fields.own", {**form, "take": grace.id})

    assert moved.status_code == 303, moved.text
    values = [(await frank.get(f"/api/herdbook/contacts/{each.id}/record")).json().get("fields") for each in (ada, grace)]
    assert values == [{"own": "B-1"}, None]


async def test_history_is_told_in_words(frank: Person, olga: Visitor, ada: Thing, engine: Thing) -> None:
    """A history shows labels of fields and options, and the names of references, not keys and ids."""
    await _defined(frank, "one_of")
    definition = {"object_type": "contact", "key": "works_for", "label": "Works for", "kind": "company"}
    await frank.post("/api/herdbook/fields", json=definition)
    await frank.patch(
        f"/api/herdbook/contacts/{ada.id}/record",
        json={"fields": {"own": "gold", "works_for": engine.id}, "company_id": engine.id},
    )

    for path in (f"/contacts/{ada.id}", f"/contacts/{ada.id}/history"):
        history = (await olga.get(path)).text.split('id="history"')[1]
        assert "<dt>My own</dt>" in history
        assert "<ins>Gold customer</ins>" in history
        assert "<dt>Works for</dt>" in history
        assert history.count(f"<ins>{engine.json['name']}</ins>") == 2
        assert engine.id not in history


@pytest.mark.parametrize("kind", ["contacts", "companies"])
async def test_moment_is_looked_at_and_brought_back(
    olga: Visitor, alice: Person, frank: Person, ada: Thing, engine: Thing, kind: str
) -> None:
    """An entry of the history leads to the record as it was then, from where it can be brought back in one change."""
    object_type, thing = ("contact", ada) if kind == "contacts" else ("company", engine)
    await _defined(frank, "text", object_type)
    path = f"/{kind}/{thing.id}"
    await alice.patch(f"/api/herdbook{path}/record", json={"description": "First", "fields": {"own": "one"}})
    before = (await alice.get(f"/api/herdbook{path}/record")).json()
    await alice.patch(f"/api/herdbook{path}/record", json={"description": None, "fields": {"own": "two"}})
    page = (await olga.get(f"{path}/history")).text
    moments = [each.replace("&amp;", "&") for each in re.findall(rf'href="/console({path}/then[^"]+)"', page)]

    then = (await olga.get(moments[1])).text
    back = await olga.post(f"{path}/then", {"at": before["updated_at"]})

    assert "First" in then
    assert "Now: " in then
    assert back.status_code == 303, back.text
    after = (await alice.get(f"/api/herdbook{path}/record")).json()
    assert after | {"updated_at": ""} == before | {"updated_at": ""}


async def test_moment_before_a_deletion_restores(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The entry of a deletion leads to the contact as it was before, and restores it."""
    await alice.delete(ada.url)
    page = (await olga.get(f"/contacts/{ada.id}/history")).text
    moment = re.search(rf'href="/console(/contacts/{ada.id}/then[^"]+)"', page)
    assert moment is not None

    then = await olga.get(moment[1])
    restored = await olga.post(f"/contacts/{ada.id}/then", {"at": "2026-01-01T00:00:00Z"})

    assert "Lovelace" in then.text
    assert "Restore this contact" in then.text
    assert restored.status_code == 303
    assert (await alice.get(ada.url)).json()["last_name"] == "Lovelace"


async def test_moment_that_cannot_come_back_says_why(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """An address of an earlier time may now belong to another contact."""
    await alice.patch(ada.url, json={"emails": []})
    await alice.patch(grace.url, json={"emails": [{"email": "ada@engine.test"}]})

    answer = await olga.post(f"/contacts/{ada.id}/then", {"at": ada.json["updated_at"]})

    assert answer.status_code == 409
    assert grace.id in answer.text


async def test_unknown_moment_is_refused(olga: Visitor, ada: Thing) -> None:
    """A time before the contact, and a text that is no time, are pages that say so."""
    assert (await olga.get(f"/contacts/{ada.id}/then?at={quote('1815-12-10T00:00:00Z')}")).status_code == 404
    assert (await olga.get(f"/contacts/{ada.id}/then?at=yesterday")).status_code == 400


async def _note(olga: Visitor, alice: Person, ada: Thing) -> tuple[str, dict[str, Any]]:
    await olga.post(f"/contacts/{ada.id}/notes", {"text": "Prefers **nine**."})
    (note,) = (await alice.get(f"/api/herdbook/contacts/{ada.id}/notes")).json()["data"]
    return f"/contacts/{ada.id}/notes/{note['id']}", note


async def test_note_is_edited_by_its_version(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A note is edited on the page of its contact. Somebody else's change in between is not overwritten."""
    path, note = await _note(olga, alice, ada)
    form = (await olga.get(f"/contacts/{ada.id}?note={note['id']}")).text
    version = re.search(r'notes/.*?name="version" value="(\d+)"', form, re.DOTALL)
    assert version is not None
    assert "Prefers **nine**.</textarea>" in form

    saved = await olga.post(path, {"text": "Prefers ten.", "version": version[1]})
    late = await olga.post(path, {"text": "Prefers eight.", "version": version[1]})

    assert saved.status_code == 303
    assert late.status_code == 412
    assert "Prefers eight.</textarea>" in late.text
    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).json()["text"] == "Prefers ten."


async def test_note_is_previewed(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A preview shows the text as HTML without scripts, keeps what was typed, and saves nothing."""
    path, note = await _note(olga, alice, ada)

    for place in (path, f"/contacts/{ada.id}/notes"):
        page = (await olga.post(place, {"text": "At *ten* <img src=x>", "act": "preview"})).text
        assert "<em>ten</em>" in page
        assert "<img" not in page
        assert "At *ten* &lt;img src=x&gt;</textarea>" in page
    notes = (await alice.get(f"/api/herdbook/contacts/{ada.id}/notes")).json()["data"]
    assert [each["text"] for each in notes] == [note["text"]]


async def test_pinned_note_is_first(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A pinned note stands above later ones, until it is unpinned."""
    path, _ = await _note(olga, alice, ada)
    await olga.post(f"/contacts/{ada.id}/notes", {"text": "A later one."})

    await olga.post(path, {"act": "pin"})
    pinned = (await olga.get(f"/contacts/{ada.id}")).text
    await olga.post(path, {"act": "unpin"})
    unpinned = (await olga.get(f"/contacts/{ada.id}")).text

    assert pinned.index("<strong>nine</strong>") < pinned.index("A later one.")
    assert unpinned.index("<strong>nine</strong>") > 0
    assert "pinned</span>" not in unpinned


async def test_deleted_note_comes_back(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The line after the deletion of a note offers to undo it, and does."""
    path, note = await _note(olga, alice, ada)

    deleted = await olga.post(path, {"act": "delete", "seen": note["updated_at"]})

    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).status_code == 404
    page = (await olga.client.get(deleted.headers["Location"])).text
    request_id = page.split('id="notice"')[1].split('name="request_id" value="')[1].split('"')[0]
    await olga.post("/undo", {"request_id": request_id, "back": "/console"})
    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).json()["text"] == note["text"]


@pytest.mark.parametrize("text", ['"><img src=x onerror=alert(1)>', "{{1337*1337}}", "\u202egnp.exe", "x" * 255])
async def test_values_of_fields_are_shown_as_text(frank: Person, olga: Visitor, ada: Thing, text: str) -> None:
    """Nothing in a value, a label of a field or an option, or the name of a tag is taken for a part of the page."""
    await frank.post(
        "/api/herdbook/fields",
        json={"object_type": "contact", "key": "own", "label": text, "kind": "one_of", "options": [{"id": "a", "label": text}]},
    )
    await frank.post("/api/herdbook/fields", json={"object_type": "contact", "key": "place", "label": text, "kind": "address"})
    tag = Thing(await frank.post("/api/v2/tags", json={"name": text[:100]}))
    record = f"/api/herdbook/contacts/{ada.id}/record"
    changed = await frank.patch(
        record,
        json={
            "tag_ids": [tag.id],
            "fields": {"own": "a", "place": {"street": text}},
            "crm_association": {"object_type": "contact", "crm_object_id": text, "source": text},
            "emails": [{"email": "ada@engine.test", "label": text[:50]}],
        },
    )
    assert changed.status_code == 200, changed.text
    path = f"/contacts/{ada.id}"
    at = quote(changed.json()["updated_at"])

    for place in (
        "",
        "/history",
        f"/then?at={at}",
        *(f"?edit={each}" for each in ("fields.own", "fields.place", "tag_ids", "emails")),
    ):
        page = (await olga.get(path + place)).text
        assert str(escape(text)) in page, place
        assert "<img" not in page
        assert "1787569" not in page


async def test_second_editor_of_a_note_sees_both_and_chooses(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A note that somebody has changed is shown beside one's own text, which can then be saved."""
    path, note = await _note(olga, alice, ada)
    opened = (await olga.get(f"/contacts/{ada.id}?note={note['id']}")).text
    version = _version_of_note(opened)
    await alice.patch(f"/api/herdbook/notes/{note['id']}", json={"text": "Theirs, **meanwhile**."})

    late = await olga.post(path, {"text": "Mine.", "version": version})

    assert late.status_code == 412
    assert "has changed this note since you opened it" in late.text
    assert "Theirs, <strong>meanwhile</strong>." in late.text
    assert ">Mine.</textarea>" in late.text
    previewed = await olga.post(path, {"text": "Mine.", "version": version, "act": "preview"})
    assert _version_of_note(previewed.text) == version
    assert (await olga.post(path, {"text": "Mine.", "version": _version_of_note(late.text)})).status_code == 303
    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).json()["text"] == "Mine."


async def test_note_that_somebody_has_changed_is_not_deleted(olga: Visitor, alice: Person, ada: Thing) -> None:
    """Nobody deletes a text that was not on the page."""
    path, note = await _note(olga, alice, ada)
    await alice.patch(f"/api/herdbook/notes/{note['id']}", json={"text": "Theirs."})

    answer = await olga.post(path, {"act": "delete", "seen": note["updated_at"]})

    assert answer.status_code == 412
    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).json()["text"] == "Theirs."


async def test_page_whose_note_has_gone_is_shown(olga: Visitor, ada: Thing) -> None:
    """An address with a note that was deleted leads to its contact all the same."""
    answer = await olga.get(f"/contacts/{ada.id}?note=note_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")

    assert answer.status_code == 200
    assert "Add note" in answer.text


@pytest.mark.parametrize("plural", ["contacts", "companies"])
async def test_record_that_somebody_has_changed_is_not_deleted(
    olga: Visitor, alice: Person, ada: Thing, engine: Thing, plural: str
) -> None:
    """A page that shows an older version deletes nothing, and shows what is stored now; after that, it does."""
    thing = ada if plural == "contacts" else engine
    path = f"/{plural}/{thing.id}"
    seen = _deleted_version((await olga.get(path)).text)
    await alice.patch(thing.url, json={"description": "Contract signed."})

    late = await olga.post(f"{path}/delete", {"version": seen})

    assert late.status_code == 412
    assert "so it was not deleted" in late.text
    assert "Contract signed." in late.text
    assert (await olga.post(f"{path}/delete", {"version": _deleted_version(late.text)})).status_code == 303


def _deleted_version(page: str) -> str:
    return page.split('form="delete"', maxsplit=1)[0].rsplit('value="', 1)[1].split('"', maxsplit=1)[0]


def _version_of_note(page: str) -> str:
    found = re.search(r'/notes/note_\w+" class="stack tight note-form".*?name="version" value="(\d+)"', page, re.DOTALL)
    assert found is not None, page
    return found[1]


async def test_state_is_not_brought_back_over_what_nobody_has_seen(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A later change stays; the page shows it, and can then bring the state back."""
    then = (await alice.get(ada.url)).json()["updated_at"]
    await alice.patch(ada.url, json={"description": "Second."})
    path = f"/contacts/{ada.id}/then"
    page = (await olga.get(path, params={"at": then})).text
    seen = page.split('name="version" value="')[1].split('"')[0]
    await alice.patch(ada.url, json={"time_zone": "Europe/Berlin"})

    late = await olga.post(path, {"at": then, "version": seen})

    assert late.status_code == 412
    assert "Europe/Berlin" in late.text
    assert (await alice.get(ada.url)).json()["time_zone"] == "Europe/Berlin"
    again = late.text.split('name="version" value="')[1].split('"')[0]
    assert (await olga.post(path, {"at": then, "version": again})).status_code == 303
    assert "time_zone" not in (await alice.get(ada.url)).json()


async def test_every_note_can_be_read_and_edited(olga: Visitor, alice: Person, ada: Thing) -> None:
    """Notes beyond the first fifty are on the next page, and can be opened there."""
    url = f"/api/herdbook/contacts/{ada.id}/notes"
    for number in range(51):
        assert (await alice.post(url, json={"text": f"Note {number:03}."})).status_code == 201

    page = (await olga.get(f"/contacts/{ada.id}")).text
    more = re.search(r'<a href="([^"]+)#notes"[^>]*>More notes</a>', page)
    assert more is not None
    following = (await olga.client.get(more[1].replace("&amp;", "&"))).text
    shown = {*re.findall(r"Note \d+\.", page.split('id="notes"')[1].split('id="history"')[0])}
    rest = {*re.findall(r"Note \d+\.", following.split('id="notes"')[1].split('id="history"')[0])}
    note_id = re.findall(r'id="note-(note_\w+)"', following)[0]

    assert (len(shown), len(rest), len(shown | rest)) == (50, 1, 51)
    assert f"/notes/{note_id}" in (await olga.get(f"/contacts/{ada.id}?note={note_id}")).text.split("note-form")[0]
