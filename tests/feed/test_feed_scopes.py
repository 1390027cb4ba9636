"""A credential receives the changes of the objects that it may read."""

from typing import Any, Final

import pytest

from herdbook.auth.scopes import SCOPES
from herdbook.object_types import OBJECT_TYPES
from tests.cast import Json, Person, Thing
from tests.engagements.calls import Made
from tests.engagements.conftest import Keys
from tests.feed.feed import URL, now, read, told

KINDS: Final = {object_type.name: object_type for object_type in OBJECT_TYPES}
PRIVATE: Final = "engagements:private:read"


async def changes_of(person: Person, **params: Any) -> list[Json]:
    """Return the changes that a caller receives."""
    return (await read(person, **params))["data"]


@pytest.mark.parametrize("name", KINDS)
async def test_a_kind_takes_its_own_scopes(keys: Keys, name: str) -> None:
    """The scope that reads a kind of object also reads its changes."""
    person = await keys.holder(*KINDS[name].read_scopes)
    response = await person.get(URL, params={"types": name})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("name", "needed"),
    [(name, scope) for name, each in KINDS.items() if not each.one_scope_reads for scope in each.read_scopes],
)
async def test_no_other_scope_will_do(keys: Keys, name: str, needed: str) -> None:
    """A request for a kind is refused without one of its read scopes, and the refusal names the missing scope."""
    person = await keys.holder(*(scope for scope in SCOPES if scope not in (needed, "workspace:admin")))
    response = await person.get(URL, params={"types": f"tag,{name}"})

    assert response.status_code == 403
    assert f"`{needed}`" in response.json()["detail"]


@pytest.mark.usefixtures("ada", "renewal")
async def test_without_types_it_is_all_that_may_be_read(keys: Keys, alice: Person) -> None:
    """Without `types`, the feed leaves out what the caller may not read, and the position moves past it."""
    person = await keys.holder("tags:read")
    page = await read(person)

    assert [change["type"] for change in page["data"]] == ["tag.created"]
    assert page["position"] == page["head"] == await now(alice)


async def test_who_may_read_nothing_is_refused(keys: Keys) -> None:
    """A credential with only write scopes is refused."""
    person = await keys.holder("contacts:write", PRIVATE)
    response = await person.get(URL)

    assert response.status_code == 403


async def test_private_engagements_are_left_out(
    keys: Keys, talk: Made, promise: Made, whisper: Made, hush: Made, secret: Made
) -> None:
    """Private engagements, with their transcripts and comments, are left out for callers who may not read them."""
    scopes = ["engagements:read", "transcript_timelines:read", "transcript_comments:read"]
    types = "engagement,transcript,transcript_comment"
    anybody = await changes_of(await keys.holder(*scopes), types=types)
    insider = await changes_of(await keys.holder(*scopes, PRIVATE), types=types)

    assert [change["type"] for change in anybody] == [
        "engagement.created",
        "transcript.created",
        "transcript_comment.created",
    ]
    assert [change["data"]["object"].get("id") for change in anybody] == [talk.id, None, promise.id]
    assert [change["data"]["object"].get("id") for change in insider] == [
        *(talk.id, None, promise.id, whisper.id, None, hush.id, secret.id, None)
    ]


async def test_changes_of_private_engagements_are_left_out(alice: Person, keys: Keys, hush: Made, renewal: Thing) -> None:
    """Updates and deletions in private engagements are left out as well."""
    position = await now(alice)
    await alice.patch(hush.url, json={"body": "Hush!"})
    await alice.delete(hush.url)
    await alice.put(f"/api/v2/engagements/{hush.json['engagement_id']}/tags", json={"tag_ids": [renewal.id]})
    scopes = ["engagements:read", "transcript_timelines:read", "transcript_comments:read"]

    assert await told(await keys.holder(*scopes), after=position) == []
    assert await told(await keys.holder(*scopes, PRIVATE), after=position) == [
        *("transcript_comment.updated", "transcript_comment.deleted", "engagement.updated")
    ]


async def test_who_takes_part_is_for_those_who_read_contacts(alice: Person, keys: Keys, step: Made, ada: Thing) -> None:
    """Callers without `contacts:read` get engagements as the API shows them: without details, before and after."""
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    outsider = await changes_of(await keys.holder("engagements:read"), types="engagement")
    insider = await changes_of(await keys.holder("engagements:read", "contacts:read"), types="engagement")

    assert [change["type"] for change in outsider] == ["engagement.created", "engagement.updated"]
    assert outsider[0]["data"]["object"] == step.json
    assert outsider[1]["data"]["previous_attributes"] == {}
    assert insider[1]["data"]["object"].pop("details")["contact_ids"] == [ada.id]
    assert insider[1]["data"]["object"] == outsider[1]["data"]["object"]
    assert insider[1]["data"]["previous_attributes"].keys() == {"details"}
