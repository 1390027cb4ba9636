"""An undo requires the scopes that write the objects, and reveals nothing private."""

from uuid import UUID

import asyncpg

from herdbook import ids
from tests.cast import Person, Thing
from tests.engagements.calls import TIMELINE, Made, call, timed
from tests.engagements.conftest import Keys
from tests.history.requests import NEVER_MADE, ask_to_undo, history, undo


async def test_who_may_write_nothing_is_refused(bob: Person) -> None:
    """A caller without any write scope is refused before anything is read."""
    response = await ask_to_undo(bob, NEVER_MADE)

    assert response.status_code == 403


async def test_each_kind_takes_its_scope(alice: Person, keys: Keys, ada: Thing, engine: Thing) -> None:
    """The refusal names the missing scope, and nothing is done."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.delete(engine.url)
    for scopes, missing in (
        (("companies:write",), "contacts:write"),
        (("contacts:write",), "companies:write"),
        (("tags:write",), "companies:write"),
    ):
        refused = await ask_to_undo(await keys.holder(*scopes), response)
        assert refused.status_code == 403
        assert f"`{missing}`" in refused.json()["detail"]
    somebody = await keys.holder("companies:write", "contacts:write")
    assert (await undo(somebody, response)).reverted == {engine.id: "restored", ada.id: "updated"}


async def test_what_is_not_supported_takes_its_scope_to_read(
    keys: Keys, alice: Person, owner: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Users are reported only to callers who may read users."""
    request_id: UUID = await pool.fetchval(
        "select request_id from change where workspace_id = $1 and object_id = $2", alice.workspace_id, owner.uuid
    )
    refused = await ask_to_undo(await keys.holder("contacts:write"), ids.encoded(ids.REQUEST, request_id))

    assert refused.status_code == 403
    assert "`users:read`" in refused.json()["detail"]


async def test_what_is_private_alone_is_as_nothing(alice: Person, dave: Person, secret: Made) -> None:
    """A request that changed only private objects is not found for callers who may not see them."""
    commented = await alice.put(f"{secret.url}/tags", json={"tag_ids": []})
    created = await history(alice, secret)
    refused = await ask_to_undo(dave, created["data"][0]["request_id"])

    assert commented.status_code == 200
    assert refused.status_code == 404


async def test_who_may_read_it_is_told(erin: Person, alice: Person, secret: Made) -> None:
    """Callers who may see a private engagement but not change it get it reported as kept."""
    created = (await history(alice, secret))["data"][0]["request_id"]
    undone = await undo(erin, created)

    assert (undone.reverted, undone.kept) == ({}, {secret.id: "private"})
    assert (await alice.get(secret.url)).status_code == 200


async def test_what_is_beside_it_goes_back(alice: Person, keys: Keys, ada: Thing, grace: Thing) -> None:
    """Private objects stay and are not named; the rest is reverted."""
    made = Made(await alice.post("/api/v2/engagements", json=call("secret", is_private=True)))
    await alice.put(f"{made.url}/contacts", json={"contact_ids": [ada.id]})
    merged = await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    somebody = await keys.holder("contacts:write")
    response = await ask_to_undo(somebody, merged)

    assert response.status_code == 200
    assert made.id not in response.text
    assert [(each["object"], each["reason"]) for each in response.json()["kept"]] == [("engagement", "private")]
    assert {each["id"] for each in response.json()["reverted"]} == {ada.id, grace.id}
    assert (await undo(alice, merged)).reverted == {made.id: "updated"}


async def test_comments_and_transcripts_belong_to_it(alice: Person, dave: Person, erin: Person) -> None:
    """Transcripts and comments of private engagements are private too, even deleted ones."""
    created = await alice.post("/api/v2/engagements", json=timed("said", is_private=True))
    made = Made(created)
    said = await alice.put(made.set_timeline_url, json={**TIMELINE, "entries": TIMELINE["entries"][:1]})
    comment = await alice.post(f"{made.url}/transcript_comments", json={"body": "Is it?"})
    deleted = await alice.delete(Made(comment).url)

    for response in (created, said, comment, deleted):
        assert response.status_code < 300
        assert (await ask_to_undo(dave, response)).status_code == 404
        assert {each["reason"] for each in (await undo(erin, response)).json["kept"]} == {"private"}


async def test_who_holds_an_external_id_is_not_named(alice: Person, dave: Person, keys: Keys) -> None:
    """A private engagement that holds the external id by now is not revealed."""
    undone = await undo(alice, await alice.post("/api/v2/engagements", json=call("once")))
    holder = Made(await alice.post("/api/v2/engagements", json=call("once", is_private=True)))
    somebody = await keys.holder("engagements:read", "engagements:write")
    response = await ask_to_undo(somebody, undone.response)

    assert [each["reason"] for each in response.json()["kept"]] == ["engagement_not_found", "conflict"]
    assert holder.id not in response.text
    assert holder.id in (await ask_to_undo(alice, undone.response)).text
    assert (await ask_to_undo(dave, undone.response)).json()["reverted"] == []
