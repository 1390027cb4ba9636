"""The list, a contact's page, and its forms, without a browser: what browsers without JavaScript get."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import escape

from tests.cast import Person, Thing
from tests.console.people import Visitor

NASTY = ['"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202egnp.exe", "x" * 255]


def _rows(text: str) -> list[str]:
    """Return the names in a list, in order."""
    return re.findall(r'class="row-link"[^>]*>.*?</span><span>([^<]*)</span>', text)


async def test_list_shows_the_contacts_that_were_changed_last_first(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """By default, the contact that was changed last is first."""
    assert ada.etag != grace.etag

    assert _rows((await olga.get("/contacts")).text) == ["Grace Hopper", "Ada Lovelace"]


async def test_search_finds_by_the_beginnings_of_words(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """The search of the list is that of the API."""
    assert ada.etag != grace.etag

    assert _rows((await olga.get("/contacts?search=lov")).text) == ["Ada Lovelace"]
    assert "Nobody found" in (await olga.get("/contacts?search=nobody")).text


@pytest.mark.parametrize(("sort", "first"), [("first_name:asc", "Ada Lovelace"), ("first_name:desc", "Grace Hopper")])
async def test_list_is_sorted(olga: Visitor, ada: Thing, grace: Thing, sort: str, first: str) -> None:
    """The address has the sort."""
    assert ada.etag != grace.etag

    assert _rows((await olga.get(f"/contacts?sort={sort}")).text)[0] == first


async def test_unknown_sort_is_refused_on_the_page(olga: Visitor) -> None:
    """A sort that does not exist is named, and the list offers its others."""
    page = await olga.get("/contacts?sort=shoe_size")

    assert page.status_code == 422
    assert "names no field of contacts" in page.text


async def test_columns_are_those_of_the_address(olga: Visitor, alice: Person, ada: Thing) -> None:
    """Columns may be fields of one's own; each is asked for once."""
    await alice.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"external_ids": ["crm-1842"]})

    page = (await olga.get("/contacts?columns=external_ids&columns=created_at")).text

    assert "crm-1842" in page
    assert "ada@engine.test" not in page


async def test_pages_of_a_list_follow_each_other(olga: Visitor, alice: Person) -> None:
    """A list shows fifty contacts, and a link leads to the others."""
    operations = [{"action": "create", "contact": {"first_name": f"N{number:02}"}} for number in range(60)]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    first = (await olga.get("/contacts?sort=first_name:asc")).text
    following = re.search(r'rel="next" href="/console([^"]+)"', first)
    assert following is not None

    second = (await olga.get(following[1].replace("&amp;", "&"))).text

    assert [*_rows(first), *_rows(second)] == [f"N{number:02}" for number in range(60)]


@pytest.mark.parametrize(
    ("member", "form", "expected"),
    [
        ("last_name", {"value": "Byron"}, {"last_name": "Byron"}),
        ("last_name", {"value": ""}, {"last_name": None}),
        ("description", {"value": "One\r\ntwo"}, {"description": "One\ntwo"}),
        ("time_zone", {"value": "Europe/London"}, {"time_zone": "Europe/London"}),
        ("external_ids", {"value": "a\r\n b \r\n"}, {"external_ids": ["a", "b"]}),
        ("fields.job_title", {"value": "Countess"}, {"fields": {"job_title": "Countess"}}),
        ("fields.birthday", {"value": "1815-12-10"}, {"fields": {"birthday": "1815-12-10"}}),
        (
            "emails",
            {"value": ["ada@engine.test", "a@home.test", ""], "label": ["work", "", ""], "primary": "1"},
            {
                "emails": [
                    {"email": "ada@engine.test", "is_primary": False, "label": "work"},
                    {"email": "a@home.test", "is_primary": True},
                ]
            },
        ),
        (
            "phone_numbers",
            {"value": ["+44 20 7946 0958"], "label": ["home"]},
            {"phone_numbers": [{"phone_number": "+44 20 7946 0958", "is_primary": True, "label": "home"}]},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_member_is_edited(
    frank: Person, people: Any, ada: Thing, member: str, form: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Each edit is one change of one member, by the version that the form was shown for."""
    await frank.post(
        "/api/herdbook/fields", json={"object_type": "contact", "key": "job_title", "label": "Job", "kind": "text"}
    )
    await frank.post(
        "/api/herdbook/fields", json={"object_type": "contact", "key": "birthday", "label": "Born", "kind": "date"}
    )
    olga = await people.join(frank.workspace_id, "Olga")

    answer = await olga.post(f"/contacts/{ada.id}/edit/{member}", {**form, "version": ada.etag.strip('"')})

    assert answer.status_code == 303, answer.text
    record = (await frank.get(f"/api/herdbook/contacts/{ada.id}/record")).json()
    assert {name: record.get(name) for name in expected} == expected
    history = (await frank.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"]
    assert len(history) == 2


async def test_refusal_is_shown_at_the_field_with_what_was_sent(olga: Visitor, ada: Thing) -> None:
    """The API's own message stands at the field, and nothing that was typed is lost."""
    answer = await olga.post(
        f"/contacts/{ada.id}/edit/emails", {"value": ["nonsense@"], "label": [""], "version": ada.etag.strip('"')}
    )

    assert answer.status_code == 422
    assert "This is not an e-mail address" in answer.text
    assert 'value="nonsense@"' in answer.text


async def test_address_of_another_contact_leads_to_it(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """A conflict names the contact that has the address."""
    form = {"value": ["grace@navy.test"], "label": [""], "version": ada.etag.strip('"')}

    answer = await olga.post(f"/contacts/{ada.id}/edit/emails", form)

    assert answer.status_code == 409
    assert f'href="/console/contacts/{grace.id}"' in answer.text


async def _seen(olga: Visitor, contact: Thing, member: str) -> dict[str, str]:
    """Open the form of a member, and return its hidden fields."""
    page = (await olga.get(f"/contacts/{contact.id}?edit={member}")).text
    return dict(re.findall(r'name="(version|seen)" value="([^"]+)"', page))


async def test_second_editor_sees_all_three_values(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The editor of a member that has changed since sees the present value, the first one, and what was typed."""
    seen = await _seen(olga, ada, "last_name")
    await alice.patch(ada.url, json={"last_name": "King"})

    answer = await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", **seen})

    assert answer.status_code == 412
    conflict = answer.text.split('class="conflict"')[1].split("</dl>")[0]
    assert ">King<" in conflict
    assert ">Lovelace " in conflict
    assert 'value="Byron"' in answer.text
    assert (await alice.get(ada.url)).json()["last_name"] == "King"


@pytest.mark.parametrize("choice", ["mine", "first"])
async def test_second_editor_chooses(olga: Visitor, alice: Person, ada: Thing, choice: str) -> None:
    """From a conflict, the editor keeps the typed value, or goes on with the one that both began with."""
    seen = await _seen(olga, ada, "last_name")
    await alice.patch(ada.url, json={"last_name": "King"})
    page = (await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", **seen})).text
    if choice == "first":
        path = re.search(r'href="/console([^"]+&amp;at=[^"]+)"', page)
        assert path is not None
        page = (await olga.get(path[1].replace("&amp;", "&"))).text
    form = dict(re.findall(r'name="(version|seen|value)"[^>]*? value="([^"]+)"', page))

    await olga.post(f"/contacts/{ada.id}/edit/last_name", form)

    assert (await alice.get(ada.url)).json()["last_name"] == ("Byron" if choice == "mine" else "Lovelace")


async def test_edits_of_different_members_do_not_meet(olga: Visitor, alice: Person, ada: Thing) -> None:
    """An edit of one member is saved if somebody has changed only others meanwhile."""
    seen = await _seen(olga, ada, "last_name")
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    answer = await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", **seen})

    assert answer.status_code == 303
    contact = (await alice.get(ada.url)).json()
    assert (contact["first_name"], contact["last_name"]) == ("Augusta", "Byron")


async def test_conflict_over_labels_shows_them(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A label that somebody has added is part of the value that the second editor sees."""
    record = f"/api/herdbook/contacts/{ada.id}/record"
    await alice.patch(record, json={"emails": [{"email": "ada@engine.test", "label": "work"}]})
    seen = await _seen(olga, ada, "emails")
    await alice.patch(record, json={"emails": [{"email": "ada@engine.test", "label": "home"}]})

    answer = await olga.post(f"/contacts/{ada.id}/edit/emails", {"value": ["a@b.test"], "label": [""], **seen})

    assert answer.status_code == 412
    conflict = answer.text.split('class="conflict"')[1].split("</dl>")[0]
    assert ">home<" in conflict
    assert ">work<" in conflict


async def test_edit_is_undone_by_its_notice(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The line after an edit offers to undo it, and does."""
    edited = await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": ada.etag.strip('"')})
    page = (await olga.client.get(edited.headers["Location"])).text
    assert "Last name saved." in page
    request_id = page.split('id="notice"')[1].split('name="request_id" value="')[1].split('"')[0]

    undone = await olga.post("/undo", {"request_id": request_id, "back": f"/console/contacts/{ada.id}"})

    assert urlsplit(undone.headers["Location"]).path == f"/console/contacts/{ada.id}"
    assert (await alice.get(ada.url)).json()["last_name"] == "Lovelace"


async def test_undo_says_what_stays_and_why(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A contact that was changed since stays as it is."""
    first = await alice.patch(ada.url, json={"last_name": "King"})
    await alice.patch(ada.url, json={"last_name": "Byron"})

    answer = await olga.post("/undo", {"request_id": first.headers["X-Request-Id"], "back": "/console"})

    assert "Nothing was undone" in answer.text
    assert "It was changed since" in answer.text


async def test_contact_is_created_and_deleted(olga: Visitor, alice: Person) -> None:
    """A form creates a contact, another one deletes it, and the undo brings it back."""
    created = await olga.post("/contacts/new", {"first_name": "Mary", "email": "mary@engine.test"})
    path = urlsplit(created.headers["Location"]).path.removeprefix("/console")
    deleted = await olga.post(f"{path}/delete")
    assert (await alice.get(f"/api/v2{path}")).status_code == 404

    notice = (await olga.client.get(deleted.headers["Location"])).text
    request_id = notice.split('name="request_id" value="')[1].split('"')[0]
    await olga.post("/undo", {"request_id": request_id, "back": f"/console{path}"})

    assert (await alice.get(f"/api/v2{path}")).json()["first_name"] == "Mary"


async def test_refused_contact_is_shown_again(olga: Visitor) -> None:
    """A form whose address is none keeps what was typed."""
    answer = await olga.post("/contacts/new", {"first_name": "Mary", "email": "mary"})

    assert answer.status_code == 422
    assert 'value="Mary"' in answer.text
    assert "This is not an e-mail address" in answer.text


async def test_note_is_added(olga: Visitor, ada: Thing) -> None:
    """A note stands on the page of its contact, as Markdown without scripts, with its author."""
    text = "Prefers **nine**. <script>alert(1)</script>"

    await olga.post(f"/contacts/{ada.id}/notes", {"text": text})

    page = (await olga.get(f"/contacts/{ada.id}")).text
    assert "<strong>nine</strong>" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(olga: Visitor, alice: Person, text: str) -> None:
    """Nothing in a value is taken for a part of the page."""
    contact = Thing(
        await alice.post(
            "/api/v2/contacts",
            json={
                "first_name": text,
                "last_name": text,
                "description": text,
                "phone_numbers": [{"phone_number": text[:100] + "1"}],
            },
        )
    )

    for path in (
        "/contacts",
        f"/contacts/{contact.id}",
        f"/contacts/{contact.id}?edit=first_name",
        f"/contacts/{contact.id}/history",
    ):
        page = (await olga.get(path)).text
        assert str(escape(text)) in page or path.endswith("/history")
        assert "<img" not in page


async def test_merged_contact_leads_to_its_survivor(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """The address of a contact that was merged leads to the one that replaced it."""
    merged = await alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]})
    assert merged.status_code == 200, merged.text

    assert (await olga.get(f"/contacts/{grace.id}")).headers["Location"] == f"/console/contacts/{ada.id}"


async def test_unknown_page_is_a_page(olga: Visitor) -> None:
    """An address that is no page says so, with the request id."""
    page = await olga.get("/nothing")

    assert page.status_code == 404
    assert "There is no page at this address." in page.text
    assert parse_qs(urlsplit(str(page.url)).query) == {}


async def test_times_say_their_zone(olga: Visitor, ada: Thing) -> None:
    """Without JavaScript, a time is one in UTC, and says so."""
    page = (await olga.get(f"/contacts/{ada.id}")).text

    times = re.findall(r"<time[^>]*>([^<]*)</time>", page)
    assert times
    assert all(each.endswith(" UTC") for each in times)


@pytest.mark.parametrize("path", ["/contacts/{}?edit=time_zone", "/contacts/new"])
async def test_time_zones_are_suggested(olga: Visitor, ada: Thing, path: str) -> None:
    """The field of a zone suggests those of all places by their present names, and UTC."""
    page = (await olga.get(path.format(ada.id))).text

    shown = re.findall(r'<datalist id="zones">(.*?)</datalist>', page)
    assert len(shown) == 1
    zones = re.findall(r'value="([^"]+)"', shown[0])
    assert {"Europe/London", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "UTC"} < {*zones}
    assert "Asia/Calcutta" not in zones
    assert zones == sorted(zones)
    assert 'list="zones"' in page
