"""Somebody else has changed an object since its page was opened: the page says who, when and what, and deletes nothing."""

import re
from typing import Any, NamedTuple

import httpx
import pytest

from herdbook.engagements.model import EngagementCreate
from tests.cast import Person, Thing
from tests.console.people import Visitor


def _hidden(page: str, form: str, name: str) -> str:
    """Return a hidden value of the form of a page that is sent to an address."""
    # The page of a record has the version of its deletion beside the name.
    apart = re.search(rf'name="{name}" value="([^"]+)" form="delete"', page) if form.endswith("/delete") else None
    found = apart or re.search(rf'action="[^"]*{re.escape(form)}".*?name="{name}" value="([^"]+)"', page, re.DOTALL)
    assert found is not None, (form, name)
    return found[1]


def _told(answer: httpx.Response) -> str:
    """Return what the box of a conflict says, without its markup."""
    assert answer.status_code == 412, answer.text
    box = answer.text.split('<div class="conflict" role="alert">')[1].split("</div>\n")[0].split("</form>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", box).split())


def _when(answer: httpx.Response) -> str:
    found = re.search(r'class="conflict".*?<time datetime="([^"]+)"', answer.text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("member", ["last_name", "description"])
async def test_conflict_names_who_changed_the_member_and_when(
    olga: Visitor, anna: Visitor, alice: Person, ada: Thing, member: str
) -> None:
    """If there were several changes, the box tells the one of the member that is edited."""
    page = (await olga.get(f"/contacts/{ada.id}?edit={member}")).text
    mine = {name: _hidden(page, f"/edit/{member}", name) for name in ("version", "seen")}
    changed = await anna.post(f"/contacts/{ada.id}/edit/{member}", {**mine, "value": "Theirs"})
    assert changed.status_code == 303
    at = (await alice.get(ada.url)).json()["updated_at"]
    await alice.patch(ada.url, json={"first_name": "Augusta"})

    late = await olga.post(f"/contacts/{ada.id}/edit/{member}", {**mine, "value": "Mine"})

    assert _told(late).startswith("Anna has changed this contact since you opened it")
    assert _when(late) == at


async def test_conflict_of_a_field_names_who_changed_it(anna: Visitor, frank: Person) -> None:
    """The definition of a field has a history, and so has its conflict."""
    field_id = (await frank.post("/api/herdbook/fields", json=_FIELD)).json()["id"]
    page = (await anna.get(f"/fields/{field_id}")).text
    version = _hidden(page, f"/fields/{field_id}", "version")
    await frank.patch(f"/api/herdbook/fields/{field_id}", json={"label": "Theirs"})

    late = await anna.post(f"/fields/{field_id}", {"label": "Mine", "version": version})

    assert re.match(r"\S.* has changed this field since you opened it", _told(late))
    assert "Somebody" not in _told(late)


async def test_conflict_of_a_webhook_names_who_changed_it(anna: Visitor, frank: Person) -> None:
    """A webhook has no history of its own; the workspace's activity knows."""
    webhook_id = await _webhook(frank)
    version = _hidden((await anna.get(f"/webhooks/{webhook_id}/edit")).text, "/edit", "version")
    await frank.patch(f"/api/herdbook/webhooks/{webhook_id}", json={"description": "Theirs"})
    form = {"url": "http://127.0.0.1:9000/mine", "events": "all", "version": version}

    late = await anna.post(f"/webhooks/{webhook_id}/edit", form)

    assert "Somebody" not in _told(late)
    assert "has changed this webhook since you opened it" in _told(late)


class Deletion(NamedTuple):
    """A deletion by a form: the page of the object, the form and what it sends, and another change of the object by the API."""

    page: str
    form: str
    url: str
    change: dict[str, Any]
    sent: dict[str, str]
    method: str = "PATCH"
    told: str = "Theirs"


async def _deletion(noun: str, frank: Person, ada: Thing, renewal: Thing) -> Deletion:
    match noun:
        case "contact":
            path = f"/contacts/{ada.id}"
            return Deletion(path, f"{path}/delete", ada.url, {"last_name": "Theirs"}, {})
        case "tag":
            path = f"/tags/{renewal.id}"
            return Deletion(path, f"{path}/delete", renewal.url, {"name": "Theirs"}, {})
        case "webhook":
            path = f"/webhooks/{await _webhook(frank)}"
            return Deletion(path, f"{path}/delete", f"/api/herdbook{path}", {"description": "Theirs"}, {})
        case _:
            engagement = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
            path = f"/engagements/{engagement.id}"
            if noun == "engagement":
                change = {"contact_ids": [ada.id]}
                return Deletion(path, f"{path}/delete", f"{engagement.url}/contacts", change, {}, "PUT", "Ada Lovelace")
            comment = (await frank.post(f"{engagement.url}/transcript_comments", json={"body": "Mine."})).json()
            url = f"/api/v2/transcript_comments/{comment['id']}"
            return Deletion(path, f"{path}/comments/{comment['id']}", url, {"body": "Theirs"}, {"act": "delete"})


@pytest.mark.parametrize("noun", ["contact", "tag", "webhook", "engagement", "comment"])
async def test_deletion_from_a_stale_page_tells_what_has_changed(
    anna: Visitor, frank: Person, ada: Thing, renewal: Thing, noun: str
) -> None:
    """It is refused with who changed what; the page that says so deletes what it shows."""
    deletion = await _deletion(noun, frank, ada, renewal)
    name = "seen" if noun == "comment" else "version"
    mine = {name: _hidden((await anna.get(deletion.page)).text, deletion.form, name), **deletion.sent}
    assert (await frank.request(deletion.method, deletion.url, json=deletion.change)).status_code == 200

    late = await anna.post(deletion.form, mine)

    said = _told(late)
    assert f"has changed this {noun} since you opened it" in said
    assert "so it was not deleted" in said
    assert deletion.told in said
    url = deletion.url.removesuffix("/contacts")
    assert (await frank.get(url)).status_code == 200
    again = await anna.post(deletion.form, {name: _hidden(late.text, deletion.form, name), **deletion.sent})
    assert again.status_code == 303
    assert (await frank.get(url)).status_code == 404


async def test_late_deletion_of_a_note_names_who_changed_it(olga: Visitor, alice: Person, ada: Thing) -> None:
    """A note has been changed since it was read: it stays, and the page says by whom."""
    note = (await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Mine."})).json()
    await alice.patch(f"/api/herdbook/notes/{note['id']}", json={"text": "Theirs."})

    late = await olga.post(f"/contacts/{ada.id}/notes/{note['id']}", {"act": "delete", "seen": note["updated_at"]})

    assert "has changed this note since you opened it" in _told(late)
    assert "Somebody" not in _told(late)


_FIELD: Any = {"object_type": "contact", "key": "tier", "label": "Tier", "kind": "text"}


async def _webhook(frank: Person) -> str:
    """Create a webhook, and return its id."""
    made = await frank.post("/api/herdbook/webhooks", json={"url": "http://127.0.0.1:9000/webhooks"})
    assert made.status_code == 201, made.text
    return made.json()["id"]
