"""The pages of API keys: create one with scopes and an expiry, call the API with it, see its last use, revoke it."""

import re
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from herdbook.auth.store import create_key
from herdbook.users.model import UserRole
from tests.cast import Person, Thing
from tests.console.people import ORIGIN, People, Visitor

NEW = {"name": "Nightly import", "scope": ["contacts:read"]}


async def _created(visitor: Visitor) -> str:
    """Create a key, and return it as the page after the form shows it."""
    answer = await visitor.post("/keys/new", NEW)
    return _key_in((await visitor.get(answer.headers["Location"])).text)


def _key_in(text: str) -> str:
    found = re.search(r'value="(sk-apik_[^"]+)" readonly', text)
    assert found is not None, "the key is shown"
    return found[1]


async def _status(visitor: Visitor, key: str, method: str = "GET") -> int:
    """Return the status of a request to the API with a key."""
    sent = {"Authorization": f"Bearer {key}"}
    return (
        await visitor.client.request(method, "/api/v2/contacts", headers=sent, json={} if method == "POST" else None)
    ).status_code


async def test_key_is_shown_once_and_works_within_its_scopes(anna: Visitor) -> None:
    """The page after the form shows the key; the list shows its name, but no secret."""
    key = await _created(anna)

    assert await _status(anna, key) == 200
    assert await _status(anna, key, "POST") == 403
    listed = (await anna.get("/keys")).text
    assert "Nightly import" in listed
    assert key.partition(".")[0] in listed
    assert key.partition(".")[2] not in listed


async def test_form_that_is_sent_twice_makes_one_key(anna: Visitor) -> None:
    """A double click makes one key, which is shown whichever answer the browser follows; another name makes another key."""
    token = await anna.token()
    first, second = [await anna.post("/keys/new", NEW, token=token) for _ in range(2)]
    await anna.post("/keys/new", {**NEW, "name": "Daily import"}, token=token)

    assert first.headers["Location"] == second.headers["Location"]
    listed = (await anna.get("/keys")).text
    assert listed.count("<strong>Nightly import</strong>") == 1
    assert listed.count("<strong>Daily import</strong>") == 1


async def test_page_that_shows_a_key_shows_it_once(anna: Visitor, people: People, workspace_id: UUID) -> None:
    """A page that is loaded again makes no other key and shows none, and nobody else sees the key."""
    path = (await anna.post("/keys/new", NEW)).headers["Location"]
    other = await people.join(workspace_id, "Nosy", UserRole.ADMIN)
    other.client.cookies.set("herdbook-secret", anna.client.cookies["herdbook-secret"], domain="herdbook.test")

    assert "was shown once" in (await other.get(path)).text
    assert await _status(anna, _key_in((await anna.get(path)).text)) == 200
    again = await anna.get(path)
    assert "was shown once" in again.text
    assert "readonly" not in again.text


async def test_key_has_its_expiry_and_its_user(anna: Visitor) -> None:
    """A key may stop at a date, and act for its creator."""
    await anna.post("/keys/new", {**NEW, "expires": "2199-01-31", "user": "me"})

    assert "works until <time" in (await anna.get("/keys")).text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": " "}, "1 to 255 printable characters"),
        ({"scope": []}, "A key needs a scope"),
        ({"scope": ["contacts:steal"]}, "There is no scope contacts:steal"),
        ({"expires": "2020-01-31"}, "This is in the past"),
        ({"expires": "soon"}, "This is not a date"),
    ],
    ids=["no name", "no scope", "unknown scope", "past", "no date"],
)
async def test_form_with_a_fault_is_shown_again(anna: Visitor, form: dict[str, object], said: str) -> None:
    """The fault is said, no key is created, and the rest of the form is still there."""
    answer = await anna.post("/keys/new", {**NEW, **form})

    assert answer.status_code == 422
    assert said in answer.text
    assert 'name="name"' in answer.text
    assert "Nightly import" not in (await anna.get("/keys")).text


async def test_revoked_key_is_refused(anna: Visitor) -> None:
    """A key that was revoked before it was used is refused at once, and the list says so."""
    key = await _created(anna)

    answer = await anna.post(f"/keys/{key.partition('.')[0]}/revoke")

    assert answer.status_code == 303
    assert await _status(anna, key) == 401
    assert '<span class="badge">revoked</span>' in (await anna.get("/keys")).text


async def test_key_of_another_workspace_is_neither_seen_nor_revoked(carla: Visitor, alice: Person, ada: Thing) -> None:
    """Carla's workspace has no key of Alice's, and Alice's key still works after Carla has named it."""
    answer = await carla.post(f"/keys/{str(alice.key).partition('.')[0]}/revoke")

    assert answer.status_code == 404
    assert str(alice.key).partition(".")[0] not in (await carla.get("/keys")).text
    assert (await alice.get(ada.url)).status_code == 200


async def test_member_makes_no_key(olga: Visitor) -> None:
    """Keys are for administrators, and the menu does not offer them to others."""
    assert (await olga.post("/keys/new", NEW)).status_code == 403
    assert "/console/keys" not in (await olga.get("/account")).text


async def test_name_is_shown_as_text(anna: Visitor, pool: object, workspace_id: UUID) -> None:
    """A name with markup is a name."""
    await create_key(pool, workspace_id, "<img src=x>", ["contacts:read"])  # pyright: ignore[reportArgumentType]

    assert "<img" not in (await anna.get("/keys")).text


@pytest.mark.parametrize(("scope", "path"), [("companies:read", "/api/v2/companies"), ("workspace:admin", "/api/v2/contacts")])
async def test_key_is_tried_with_what_it_may(anna: Visitor, client: httpx.AsyncClient, scope: str, path: str) -> None:
    """The command beside a new key is one that its scopes allow; a key that reads no list has none."""
    made = await anna.post("/keys/new", {"name": "Nightly", "scope": scope})
    page = (await anna.client.get(ORIGIN + made.headers["location"])).text
    found = re.search(r"Bearer (\S+)&#39; \S+?(/api/\S+)</pre>", page) or re.search(r"Bearer (\S+)' \S+?(/api/\S+)</pre>", page)
    assert found is not None
    assert found[2] == path
    assert (await client.get(path, headers={"Authorization": f"Bearer {found[1]}"})).status_code == 200

    made = await anna.post("/keys/new", {"name": "Writer", "scope": "contacts:write"})
    assert "Try it" not in (await anna.client.get(ORIGIN + made.headers["location"])).text


async def test_key_works_on_its_last_day(anna: Visitor) -> None:
    """A key that works until today works today."""
    today = datetime.now(UTC).date().isoformat()
    assert (await anna.post("/keys/new", {"name": "Today", "scope": "contacts:read", "expires": today})).status_code == 303
