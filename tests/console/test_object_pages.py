"""Activity, the bin, engagements, tags, users, definitions of fields, and erasure, without a browser."""

import html
import io
import re
import zipfile
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from markupsafe import escape

from herdbook.engagements.model import EngagementCreate
from herdbook.history.deeds import with_article
from tests.cast import Person, Thing
from tests.console.people import People, Visitor
from tests.custom_fields.definitions import define
from tests.importing.jobs import upload

NASTY = ['"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202egnp.exe", "x" * 255]
FIELDS = "/api/herdbook/fields"


def _main(text: str) -> str:
    return text.split("<main", 1)[1]


# The activity.


async def test_changes_of_a_request_are_together(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """The activity tells who changed what in one request, from what to what, with links to the objects."""
    operations = [{"action": "update", "id": each.id, "contact": {"time_zone": "Europe/London"}} for each in (ada, grace)]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})

    group = _main((await olga.get("/activity")).text).split("<article")[1]

    assert "changed 2 contacts" in group
    assert f'href="/console/contacts/{ada.id}">Ada Lovelace</a>' in group
    assert group.count("<ins>Europe/London</ins>") == 2


def _heads(page: str) -> list[str]:
    """Return what each group of an activity says at its head."""
    heads = [each.split("<p>")[1].split("</p>")[0] for each in _main(page).split('<div class="author-line">')[1:]]
    texts = [re.sub(r"<time.*?</time>|<[^>]+>", "", each).strip().removesuffix("Request") for each in heads]
    return [" ".join(each.split()) for each in texts]


async def test_activity_is_told_in_sentences(olga: Visitor, anna: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """Each entry says who did what to which object by name, with links; merges and undos are called so."""
    note = (await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Likes tea."})).json()
    merge = await alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]})
    assert merge.status_code == 200, merge.text
    undo = await alice.post("/api/herdbook/undo", json={"request_id": merge.headers["X-Request-Id"]})
    assert undo.json()["kept"] == []
    await alice.patch(f"/api/herdbook/notes/{note['id']}", json={"is_pinned": True})

    page = (await olga.get("/activity")).text

    heads = _heads(page)
    assert heads[0] == "Alice changed a note on the contact Ada Lovelace"
    assert heads[1].startswith("Alice undid the request of Alice, ")
    assert "created a note on the contact Ada Lovelace" in heads[3]
    assert "Alice created the contact Grace Hopper" in heads
    text = " ".join(re.sub(r"<[^>]+>", "", _main(page)).split())
    assert "merged the contact Grace Hopper into the contact Ada Lovelace" in text
    assert "separated the contact Grace Hopper from the contact Ada Lovelace" in text
    assert "gave back the former values of the contact Ada Lovelace" in text
    assert f'href="/console/contacts/{ada.id}">Ada Lovelace</a>' in page
    # An administrator is led to the requests.
    assert f"/console/requests/{merge.headers['X-Request-Id']}" in (await anna.get("/activity")).text
    assert "herdbook created the user Olga" in heads


async def test_undo_is_offered_only_where_it_can_work(
    anna: Visitor, olga: Visitor, victor: Visitor, frank: Person, grace: Thing
) -> None:
    """Not for an erasure, nor for what an erasure has emptied, nor for users, nor to somebody who may not write."""
    await frank.post(f"/api/herdbook/contacts/{grace.id}/erase")

    erasure = (await anna.get("/activity?types=contact")).text
    users = (await anna.get("/activity?types=user")).text
    await frank.post("/api/v2/tags", json={"name": "Renewal"})
    tags = [(await each.get("/activity?types=tag")).text for each in (olga, victor)]

    assert _heads(erasure)[0].endswith("erased a contact")
    assert _heads(erasure)[1].endswith("created a contact")
    assert "/console/undo" not in erasure
    assert "/console/undo" not in users
    assert ["/console/undo" in each for each in tags] == [True, False]


async def test_activity_of_a_key_is_chosen_by_its_name(olga: Visitor, anna: Visitor, bob: Person, ada: Thing) -> None:
    """The filter lists the keys of the changes that are shown and, for an administrator, all keys."""
    assert [ada.id, bob.key]

    mine, hers = (await olga.get("/activity")).text, (await anna.get("/activity")).text

    chosen = re.search(r'<option value="(apik_\w+)">Alice</option>', mine)
    assert chosen is not None
    assert ["Bob</option>" in mine, "Bob</option>" in hers] == [False, True]
    shown = (await olga.get(f"/activity?credential_id={chosen[1]}")).text
    assert f'value="{chosen[1]}" selected' in shown
    assert {each.split(" ")[0] for each in _heads(shown)} == {"Alice"}


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("contact", "a contact"),
        ("user", "a user"),
        ("engagement", "an engagement"),
        ("erasure", "an erasure"),
        ("undo", "an undo"),
    ],
)
def test_article_is_right(noun: str, expected: str) -> None:
    """The article follows the sound."""
    assert with_article(noun) == expected


async def test_activity_is_filtered(olga: Visitor, alice: Person, ada: Thing, engine: Thing) -> None:
    """By the kind of objects, the user, or the key; a filter that is none is refused on the page."""
    await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": ada.etag.strip('"')})
    me = next(each for each in (await alice.get("/api/v2/users")).json()["data"] if each["first_name"] == "Olga")

    companies = _main((await olga.get("/activity?types=company")).text)
    mine = _main((await olga.get(f"/activity?user_id={me['id']}")).text)
    wrong = await olga.get("/activity?types=shoe")
    none = _main((await olga.get("/activity?types=tag")).text)

    assert engine.json["name"] in companies
    assert "Byron" not in companies
    assert "<ins>Byron</ins>" in mine
    assert "created a contact" not in mine
    assert wrong.status_code == 400
    assert "No change is like that" in none


async def test_activity_goes_on_by_cursor(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A link leads to earlier changes, until the first one."""
    operations = [{"action": "create", "contact": {"first_name": f"N{number}"}} for number in range(60)]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})

    first = (await olga.get("/activity")).text
    following = re.search(r'rel="next" href="/console([^"]+)"', first)
    assert following is not None
    second = (await olga.get(following[1].replace("&amp;", "&"))).text

    assert ada.id not in first
    assert ada.id in second


async def test_undo_is_previewed(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """Before an undo, the page says what is taken back and what would stay, and why. Nothing has changed by then."""
    operations = [{"action": "update", "id": each.id, "contact": {"last_name": "King"}} for each in (ada, grace)]
    changed = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    await alice.patch(grace.url, json={"last_name": "Queen"})
    request_id = changed.headers["X-Request-Id"]

    page = _main((await olga.get(f"/undo?request_id={request_id}&back=/console/activity")).text)

    reverted, kept = page.split('id="kept"')
    assert f'href="/console/contacts/{ada.id}">Ada King</a>' in reverted
    assert "gets back its former values" in reverted
    assert f'href="/console/contacts/{grace.id}">Grace Queen</a>' in kept
    assert "It was changed since" in kept
    assert (await alice.get(ada.url)).json()["last_name"] == "King"
    done = await olga.post("/undo", {"request_id": request_id, "back": "/console/activity"})
    assert "Undone in part" in done.text
    assert (await alice.get(ada.url)).json()["last_name"] == "Lovelace"


@pytest.mark.parametrize("path", ["contacts", "companies", "keys", "webhooks", "clients"])
async def test_empty_list_has_one_button_that_creates(anna: Visitor, path: str) -> None:
    """The button is at the top, where it is when the list has something in it."""
    assert (await anna.get(f"/{path}")).text.count(f'href="/console/{path}/new"') == 1


# The bin.


async def test_deleted_objects_are_in_the_bin_and_come_back(olga: Visitor, alice: Person, ada: Thing, renewal: Thing) -> None:
    """Each kind of object has its part of the bin, with who deleted it and when."""
    note = Thing(await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Prefers nine."}))
    for thing, plural, name in (
        (note, "notes", "Prefers nine."),
        (renewal, "tags", "Renewal"),
        (ada, "contacts", "Ada Lovelace"),
    ):
        await alice.delete(thing.url)
        assert name in _main((await olga.get(f"/bin?type={plural}")).text)

    for thing, plural in ((ada, "contacts"), (renewal, "tags"), (note, "notes")):
        restored = await olga.post(f"/{plural}/{thing.id}/restore")
        assert restored.status_code == 303, restored.text
        assert (await alice.get(thing.url)).status_code == 200
        assert thing.id not in (await olga.get(f"/bin?type={plural}")).text
    assert urlsplit(restored.headers["Location"]).path == f"/console/contacts/{ada.id}"


async def test_bin_says_what_is_in_the_way(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """A contact whose address another one has stays in the bin, and the page names the other one."""
    await alice.delete(ada.url)
    await alice.patch(grace.url, json={"emails": [{"email": "ada@engine.test"}]})

    answer = await olga.post(f"/contacts/{ada.id}/restore")

    assert answer.status_code == 409
    assert f'href="/console/contacts/{grace.id}">Grace Hopper</a> has it.' in answer.text
    assert f'action="/console/contacts/{ada.id}/restore"' in answer.text


async def test_deleted_engagement_comes_back_by_the_undo_of_its_deletion(olga: Visitor, frank: Person, pool: Any) -> None:
    """The bin leads to the undo of the request that deleted an engagement."""
    assert pool
    engagement = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
    await olga.post(f"/engagements/{engagement.id}/delete")
    page = (await olga.get("/bin?type=engagements")).text
    undo = re.search(r'href="/console(/undo\?request_id=[^"]+)"', page)
    assert undo is not None

    preview = (await olga.get(undo[1].replace("&amp;", "&"))).text

    assert "comes back" in preview


# Engagements.


async def engagement_of(frank: Person, **members: Any) -> Thing:
    """Create the example of an engagement."""
    body = EngagementCreate.example | members
    return Thing(await frank.post("/api/v2/engagements", json=body))


async def test_engagement_shows_its_lines_and_people(olga: Visitor, frank: Person) -> None:
    """The page of an engagement has its transcript with times, and links to its participants; theirs lead back."""
    engagement = await engagement_of(frank)
    (contact,) = (await frank.get(f"{engagement.url}?expand=contacts")).json()["contacts"]

    page = (await olga.get(f"/engagements/{engagement.id}")).text

    assert "Shall we begin?" in page
    assert re.findall(r'class="line-time"[^>]*>([^<]+)<', page) == ["0:00", "0:02"]
    assert f'href="/console/contacts/{contact["id"]}"' in page
    assert f'href="/console/engagements/{engagement.id}"' in (await olga.get(f"/contacts/{contact['id']}")).text
    title = escape(engagement.json["title"])
    assert title in (await olga.get(f"/contacts/{contact['id']}/engagements")).text
    assert title in (await olga.get("/engagements?search=engine")).text


async def test_comment_is_added_resolved_and_deleted(olga: Visitor, frank: Person) -> None:
    """A comment stands on a line, with its author; a deleted one comes back by an undo."""
    engagement = await engagement_of(frank)
    path, url = f"/engagements/{engagement.id}", f"{engagement.url}/transcript_comments"
    assert "On the line at 0:02" in (await olga.get(f"{path}?line=1")).text

    await olga.post(f"{path}/comments", {"text": "Is that so?", "line": "1"})
    page = (await olga.get(path)).text
    (comment,) = (await frank.get(url)).json()["data"]
    await olga.post(f"{path}/comments/{comment['id']}", {"act": "resolve"})
    resolved = (await frank.get(url)).json()["data"][0]["status"]
    deleted = await olga.post(f"{path}/comments/{comment['id']}", {"act": "delete"})
    left = (await frank.get(url)).json()["data"]
    request_id = (await olga.client.get(deleted.headers["Location"])).text.split('name="request_id" value="')[1].split('"')[0]
    await olga.post("/undo", {"request_id": request_id, "back": "/console"})

    assert "Is that so?" in page
    assert "Olga" in page.split('id="comments"')[1]
    assert comment["anchor"] == {"entry_index": 1}
    assert (resolved, left) == ("RESOLVED", [])
    assert (await frank.get(url)).json()["data"][0]["body"] == "Is that so?"


async def test_refused_comment_is_shown_again(olga: Visitor, frank: Person) -> None:
    """A comment without text is refused where it was typed."""
    engagement = await engagement_of(frank)

    answer = await olga.post(f"/engagements/{engagement.id}/comments", {"text": "  "})

    assert answer.status_code == 422
    assert 'id="comment-error"' in answer.text


async def test_private_engagement_is_for_those_who_may_see_it(olga: Visitor, anna: Visitor, frank: Person) -> None:
    """A member sees no page of a private engagement; an administrator does."""
    engagement = await engagement_of(frank, is_private=True)

    assert (await olga.get(f"/engagements/{engagement.id}")).status_code == 404
    assert (await anna.get(f"/engagements/{engagement.id}")).status_code == 200


# Tags and users.


async def test_tag_is_created_renamed_and_deleted(olga: Visitor, alice: Person, ada: Thing) -> None:
    """The pages of tags create one, show who has it, rename it, and delete it; an undo gives it back."""
    created = await olga.post("/tags", {"name": "Analyst", "hex_color": "#1F6FEB"})
    path = urlsplit(created.headers["Location"]).path.removeprefix("/console")
    tag_id = path.rpartition("/")[2]
    await alice.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"tag_ids": [tag_id]})

    page = (await olga.get(path)).text
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version is not None
    form = {"name": "Engineer", "version": version[1]}
    renamed = await olga.post(path, form)
    late = await olga.post(path, {**form, "name": "Late"})
    deleted = await olga.post(f"{path}/delete")

    assert "Ada Lovelace" in page
    assert (renamed.status_code, late.status_code) == (303, 412)
    assert (await alice.get(f"/api/v2{path}")).status_code == 404
    request_id = (await olga.client.get(deleted.headers["Location"])).text.split('name="request_id" value="')[1].split('"')[0]
    await olga.post("/undo", {"request_id": request_id, "back": "/console"})
    assert (await alice.get(f"/api/v2{path}")).json()["name"] == "Engineer"
    assert (await alice.get(f"/api/herdbook/contacts/{ada.id}/record")).json()["tag_ids"] == [tag_id]


@pytest.mark.parametrize("form", [{"name": "Renewal"}, {"name": "New", "hex_color": "blue"}, {"name": ""}])
async def test_refused_tag_is_shown_again(olga: Visitor, renewal: Thing, form: dict[str, str]) -> None:
    """A name that is taken, a colour that is none, and no name are refused where they were typed."""
    assert renewal.id
    answer = await olga.post("/tags", form)

    assert answer.status_code in (409, 422)
    assert 'id="tag-error"' in answer.text
    assert f'value="{form["name"]}"' in answer.text


async def test_users_have_pages(olga: Visitor, alice: Person) -> None:
    """The team lists the users, and a user's page leads to what the user did."""
    me = next(each for each in (await alice.get("/api/v2/users")).json()["data"] if each["first_name"] == "Olga")

    assert f'href="/console/users/{me["id"]}"' in (await olga.get("/users?search=olg")).text
    page = (await olga.get(f"/users/{me['id']}")).text
    assert "olga@team.test" in page
    assert f'href="/console/activity?user_id={me["id"]}"' in page


# Definitions of fields.


async def _field(frank: Person, **members: Any) -> dict[str, Any]:
    body = {"object_type": "contact", "key": "own", "label": "My own", "kind": "text"} | members
    answer = await frank.post(FIELDS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _read(frank: Person, field: dict[str, Any]) -> dict[str, Any]:
    return (await frank.get(f"{FIELDS}/{field['id']}")).json()


async def test_field_is_defined_with_a_key_from_its_label(anna: Visitor, frank: Person, ada: Thing) -> None:
    """A label and a list of options are enough: keys follow from them. The field is on the page of each contact."""
    form = {"object_type": "contact", "label": "Größe (EU)", "kind": "one_of", "options": "Klein\r\n\r\nSehr groß\r\nklein!"}

    created = await anna.post("/fields/new", form)

    assert created.status_code == 303, created.text
    field_id = urlsplit(created.headers["Location"]).path.rpartition("/")[2]
    field = (await frank.get(f"{FIELDS}/{field_id}")).json()
    assert field["key"] == "grosse_eu"
    assert [each["id"] for each in field["options"]] == ["klein", "sehr_gross", "klein_2"]
    assert "Größe (EU)" in (await anna.get(f"/contacts/{ada.id}?edit=fields.grosse_eu")).text


async def test_refused_field_is_shown_again(anna: Visitor) -> None:
    """A list without options is refused, and what was typed stays."""
    answer = await anna.post("/fields/new", {"object_type": "company", "label": "Tier", "kind": "one_of"})

    assert answer.status_code == 422
    assert 'value="Tier"' in answer.text
    assert '<option value="one_of" selected>' in answer.text


async def test_field_is_changed(anna: Visitor, frank: Person) -> None:
    """Label, help, options, default and rules are changed in one form, by the version that it was shown for."""
    options = [{"id": "gold", "label": "Gold"}, {"id": "silver", "label": "Silver"}]
    field = await _field(frank, kind="one_of", options=options)
    path = f"/fields/{field['id']}"
    version = re.findall(r'name="version" value="(\d+)"', (await anna.get(path)).text)[0]
    form = {
        "label": "Tier",
        "help": "As agreed.",
        "required": "yes",
        "value": "silver",
        "option_id": ["silver", "gold", ""],
        "option_label": ["Argent", "Gold", "Bronze"],
        "option_archived": ["", "yes", ""],
        "version": version,
    }

    arranged = (await anna.post(path, {**form, "arrange": "up 2"})).text
    saved = await anna.post(path, form)
    late = await anna.post(path, form)

    assert re.findall(r'name="option_label" value="([^"]*)"', arranged) == ["Argent", "Bronze", "Gold"]
    assert saved.status_code == 303, saved.text
    assert late.status_code == 412
    after = await _read(frank, field)
    assert (after["label"], after["help"], after["required"], after["default"]) == ("Tier", "As agreed.", True, "silver")
    assert [(each["id"], each["label"], each["archived"]) for each in after["options"]] == [
        ("silver", "Argent", False),
        ("gold", "Gold", True),
        ("bronze", "Bronze", False),
    ]


async def test_field_is_archived_and_brought_back(anna: Visitor, frank: Person, ada: Thing) -> None:
    """An archived field is on no page, and its values come back with it."""
    field = await _field(frank)
    await frank.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"fields": {"own": "Countess"}})

    await anna.post(f"/fields/{field['id']}/archive")
    without = (await anna.get(f"/contacts/{ada.id}?edit=none")).text.split('class="members"')[1].split("</dl>")[0]
    archived = (await anna.get("/fields")).text.split('id="archived"')[1]
    await anna.post(f"/fields/{field['id']}/archive", {"act": "bring_back"})

    assert "Countess" not in without
    assert "My own" in archived
    assert "Countess" in (await anna.get(f"/contacts/{ada.id}")).text


async def test_fields_are_moved(anna: Visitor, frank: Person) -> None:
    """A field goes up or down among the others, in one request that an undo takes back."""
    for key in ("one", "two", "three"):
        await _field(frank, key=key, label=key, object_type="company")
    three = (await frank.get(f"{FIELDS}?filter[object_type][eq]=company")).json()["data"][0]

    def order(page: str) -> list[str]:
        return re.findall(r'class="strong" href="[^"]+">(\w+)<', page)

    before = order((await anna.get("/fields?type=company")).text)
    await anna.post(f"/fields/{three['id']}/move", {"act": "up"})
    after = order((await anna.get("/fields?type=company")).text)

    place = before.index(three["label"])
    expected = [*before]
    expected[place - 1 : place + 1] = [expected[place], expected[place - 1]]
    assert place > 0
    assert after == expected


async def test_change_of_kind_is_previewed(anna: Visitor, frank: Person, ada: Thing, grace: Thing) -> None:
    """Before another kind, the page says how many values stay, are converted, and do not fit, with examples."""
    field = await _field(frank)
    for contact, value in ((ada, "42"), (grace, "many")):
        await frank.patch(f"/api/herdbook/contacts/{contact.id}/record", json={"fields": {"own": value}})
    path = f"/fields/{field['id']}/kind"

    page = _main((await anna.get(f"{path}?kind=integer")).text)
    refused = await anna.post(path, {"kind": "integer"})
    await frank.patch(f"/api/herdbook/contacts/{grace.id}/record", json={"fields": {"own": "7"}})
    changed = await anna.post(path, {"kind": "integer"})

    assert re.findall(r"<dt>([^<]+)</dt><dd>(\d+)</dd>", page) == [
        ("Stay as they are", "0"),
        ("Are converted", "1"),
        ("Do not fit", "1"),
    ]
    assert f'href="/console/contacts/{grace.id}">Grace Hopper</a><div>many</div>' in page
    assert refused.status_code == 422
    assert changed.status_code == 303, changed.text
    assert (await frank.get(f"/api/herdbook/contacts/{ada.id}/record")).json()["fields"]["own"] == 42


# Erasure and subject access.


async def test_imports_that_go_with_an_erasure_are_named_by_their_files(anna: Visitor, frank: Person, ada: Thing) -> None:
    """Before an erasure, its imports are links with the names of their files; the certificate keeps no such name."""
    imported = await upload(frank, "Name,E-mail\nAda Lovelace,ada@engine.test\n")
    name = (await frank.get(f"/api/herdbook/imports/{imported.id}")).json()["file"]["name"]
    path = f"/contacts/{ada.id}/erase"

    page = (await anna.get(path)).text
    erased = await anna.post(path, {"name": "Ada Lovelace"})
    certificate = (await anna.client.get(erased.headers["Location"])).text

    assert f'<a href="/console/imports/{imported.id}">{name}</a>' in page
    assert f"<code>{imported.id}</code>" in certificate
    assert name not in certificate


async def test_contact_is_erased_once_its_name_is_typed(anna: Visitor, frank: Person, ada: Thing) -> None:
    """The page says what goes, and from whose fields; a wrong name erases nothing; the certificate can be read again."""
    path = f"/contacts/{ada.id}/erase"
    await define(frank, "knows", "contact")
    other = Thing(await frank.post("/api/v2/contacts", json={"fields": {"knows": ada.id}}))
    page = _main((await anna.get(path)).text)
    wrong = await anna.post(path, {"name": "Ada"})
    assert wrong.status_code == 422
    assert (await frank.get(ada.url)).status_code == 200

    erased = await anna.post(path, {"name": "Ada Lovelace"})

    assert "<dt>Contacts</dt><dd>1</dd>" in page
    assert "<dt>E-mail addresses</dt>" in page
    assert f'/contacts/{other.id}"' in page
    assert erased.status_code == 303, erased.text
    certificate = (await anna.client.get(erased.headers["Location"])).text
    assert "Certificate of an erasure" in certificate
    assert ada.id in certificate
    assert "Complete" in certificate
    assert f'/contacts/{other.id}"' in certificate
    assert "<dt>Entries of the history of others</dt><dd>1</dd>" in certificate
    assert "<dt>Asked for by</dt><dd>Anna</dd>" in certificate
    assert re.search(r"<dt>Erased</dt><dd>\d+ \w+ \d{4}, \d\d:\d\d:\d\d UTC</dd>", certificate)
    assert "apik_" not in certificate
    assert not re.search(r"<dt>[a-z_]+</dt>", certificate)
    assert "Lovelace" not in certificate
    assert (await frank.get(ada.url)).status_code == 404
    assert "Certificate of an erasure" in (await anna.get(path)).text


async def test_certificate_names_the_key(anna: Visitor, frank: Person, grace: Thing) -> None:
    """An erasure by a program names its key."""
    await frank.post(f"/api/herdbook/contacts/{grace.id}/erase")

    certificate = (await anna.get(f"/contacts/{grace.id}/erase")).text

    assert "<dt>Asked for by</dt><dd>Frank</dd>" in certificate


async def test_member_neither_erases_nor_downloads(olga: Visitor, ada: Thing) -> None:
    """Both are for administrators, and a member is not offered them."""
    assert "Erase for good" not in (await olga.get(f"/contacts/{ada.id}")).text
    assert (await olga.post(f"/contacts/{ada.id}/erase", {"name": "Ada Lovelace"})).status_code == 403
    assert (await olga.post(f"/contacts/{ada.id}/record")).status_code == 403


async def test_record_of_a_person_is_downloaded(anna: Visitor, ada: Thing, grace: Thing) -> None:
    """The download has the data and a page about this person, and nothing of others."""
    answer = await anna.post(f"/contacts/{ada.id}/record")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="{ada.id}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"data.json", "index.html"} <= set(archive.namelist())
        data = archive.read("data.json").decode()
    assert "Lovelace" in data
    assert grace.id not in data


# Hostile values.


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_text_is_shown_as_text(anna: Visitor, frank: Person, ada: Thing, text: str) -> None:
    """No value on these pages is taken for a part of the page."""
    tag = Thing(await frank.post("/api/v2/tags", json={"name": text, "description": text}))
    timeline = {
        "speakers": [{"name": text}],
        "entries": [{"speaker_index": 0, "start_seconds": 0, "end_seconds": 1, "text": text}],
    }
    engagement = await engagement_of(
        frank, title=text, source_system=text[:100], participants=[{"name": text}], transcript_timeline=timeline
    )
    await frank.post(f"{engagement.url}/transcript_comments", json={"body": text})
    field = await _field(frank, label=text, help=text, kind="one_of", options=[{"id": "a", "label": text}])
    await frank.patch(ada.url, json={"first_name": text, "last_name": text})
    note = Thing(await frank.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": text}))
    paths = [
        f"/tags/{tag.id}",
        "/tags",
        f"/tags/{tag.id}/history",
        "/engagements",
        f"/engagements/{engagement.id}",
        f"/engagements/{engagement.id}/history",
        "/fields",
        f"/fields/{field['id']}",
        f"/fields/{field['id']}/kind?kind=text",
        f"/fields/{field['id']}/history",
        "/activity",
        f"/contacts/{ada.id}/erase",
        f"/contacts/{ada.id}/then",
    ]
    pages = {path: (await anna.get(path)).text for path in paths}
    for thing in (tag, note, ada):
        await frank.delete(thing.url)
    pages |= {path: (await anna.get(path)).text for path in ("/bin?type=contacts", "/bin?type=tags", "/bin?type=notes")}

    for path, page in pages.items():
        assert str(escape(text))[:100] in page or path.endswith("/history"), path
        assert "<img" not in page, path
        assert text != "{{7*7}}" or ">49<" not in page, path


async def test_colour_of_a_tag_is_chosen_by_its_name(olga: Visitor, alice: Person) -> None:
    """Colours have names to choose from; another one is typed, and an edit keeps the one that is there."""
    created = await olga.post("/tags", {"name": "Analyst", "swatch": "#D1242F", "hex_color": ""})
    path = created.headers["location"].partition("?")[0]
    tag_id = path.rpartition("/")[2]
    assert (await alice.get(f"/api/v2/tags/{tag_id}")).json()["hex_color"] == "#D1242F"

    page = (await olga.get(path)).text
    assert re.search(r'value="#D1242F">[^\n]*\n?.*Red', page)
    assert 'name="swatch" value="" checked' in page
    await olga.post(path, {"name": "Analyst", "swatch": "", "hex_color": "#123456"})
    assert (await alice.get(f"/api/v2/tags/{tag_id}")).json()["hex_color"] == "#123456"


async def test_second_editor_of_a_tag_sees_both_and_chooses(olga: Visitor, alice: Person) -> None:
    """A tag that somebody has changed is shown beside one's own values, which can then be saved."""
    tag = Thing(await alice.post("/api/v2/tags", json={"name": "Old"}))
    await alice.patch(f"/api/v2/tags/{tag.id}", json={"name": "Theirs", "description": "Meanwhile."})

    late = await olga.post(f"/tags/{tag.id}", {"name": "Mine", "version": tag.etag.strip('"')})

    assert late.status_code == 412
    shown = late.text.split('class="conflict"')[1].split("</dl>")[0]
    assert "<dt>Name: theirs, now stored</dt><dd>Theirs</dd>" in shown
    assert "<dd>Meanwhile.</dd>" in shown
    again = late.text.split('name="version" value="')[1].split('"')[0]
    assert (await olga.post(f"/tags/{tag.id}", {"name": "Mine", "version": again})).status_code == 303


async def test_every_comment_can_be_read(olga: Visitor, frank: Person) -> None:
    """The latest comments are on the page, and the earlier ones on the page before."""
    engagement = await engagement_of(frank)
    url = f"/api/v2/engagements/{engagement.id}/transcript_comments"
    for number in range(101):
        assert (await frank.post(url, json={"body": f"Comment {number:03}."})).status_code == 201

    page = (await olga.get(f"/engagements/{engagement.id}")).text
    earlier = (await olga.client.get(html.unescape(_link(page, "Earlier comments")))).text

    assert "Comment 100." in page
    assert "Comment 000." not in page
    assert "Comment 000." in earlier
    assert "The latest comments" in earlier


def _link(page: str, text: str) -> str:
    found = re.search(rf'<a href="([^"]+)"[^>]*>{text}</a>', page)
    assert found is not None, page
    return found[1]


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("Ada  Augusta", "Ada Augusta"),
        ("Ada\u200e", "Ada"),
        ("\u2067Ada\u2069", "Ada"),
        ("Ada\u00a0Augusta", "Ada Augusta"),
        ("Zoe\u0308", "Zo\u00eb"),
    ],
    ids=["two spaces", "mark", "isolates", "no-break space", "decomposed"],
)
async def test_name_is_confirmed_as_it_is_shown(anna: Visitor, alice: Person, stored: str, typed: str) -> None:
    """Nobody can type what a page does not show, or shows otherwise; another name is no confirmation."""
    contact = Thing(await alice.post("/api/v2/contacts", json={"first_name": stored, "last_name": "King"}))

    assert (await anna.post(f"/contacts/{contact.id}/erase", {"name": f"{typed}King"})).status_code == 422
    assert (await anna.post(f"/contacts/{contact.id}/erase", {"name": f"{typed} King"})).status_code == 303


async def test_activity_is_narrowed_to_any_user_by_a_search(anna: Visitor, people: People, workspace_id: UUID) -> None:
    """The page offers a few users, however many there are; a search finds each, and the address keeps the other filters."""
    for number in range(30):
        await people.member(workspace_id, f"User {number:03}")
    found = re.search(r'value="(usr_\w+)">User 003<', (await anna.get("/activity?find=003&types=tag")).text)
    assert found is not None

    offered = (await anna.get("/activity?types=tag")).text
    chosen = (await anna.get(f"/activity?user_id={found[1]}&find=007")).text

    assert offered.count('type="radio" name="user_id"') < 15
    assert '<details class="popover" id="by">' in offered
    assert offered.split('id="by-choices"')[0].count('name="types" value="tag"') == 2
    assert '<details class="popover" id="by" open>' in chosen
    assert f'value="{found[1]}" checked>User 003<' in chosen
    assert ">User 007<" in chosen
    assert "By User 003" in chosen
    assert (await anna.get("/activity?user_id=usr_nonsense")).status_code == 200
