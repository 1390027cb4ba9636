"""DELETE /herdbook/engagements/{engagement_id}."""

from functools import partial
from typing import Final

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.engagements.commands import REMOVE_COMMENTS, DeleteComments, DeleteEngagement
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.transcript_comments.commands import CommentsOfEngagement
from herdbook.transcript_comments.store import MAX_DELETED_COMMENTS
from tests.cast import Json, Person
from tests.engagements.calls import URL, Made, timed
from tests.history.consistency import assert_consistent

COMMENTS: Final = CommentsOfEngagement()


def url_of(engagement: Made) -> str:
    """Return the URL that deletes an engagement."""
    return f"/api/herdbook/engagements/{engagement.id}"


async def commented(person: Person, many: int = 2, **members: Json) -> Made:
    """Create an engagement with a timeline and comments."""
    engagement = Made(await person.post(URL, json=timed(**members)))
    for number in range(many):
        made = await person.post(f"{engagement.url}/transcript_comments", json={"body": f"Well, {number}."})
        assert made.status_code == 201, made.text
    return engagement


async def test_anonymous_is_refused(client: httpx.AsyncClient, step: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(url_of(step))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, step: Made) -> None:
    """An engagement of another workspace is not found."""
    assert (await charlie.delete(url_of(step))).status_code == 404
    assert (await alice.get(step.url)).status_code == 200


async def test_bob_is_refused(bob: Person, step: Made) -> None:
    """A read-only credential deletes nothing."""
    assert (await bob.delete(url_of(step))).status_code == 403


async def test_a_private_one_needs_its_scope(alice: Person, dave: Person, erin: Person) -> None:
    """A private engagement is not found without a scope for private ones; reading it is not enough."""
    secret = Made(await alice.post(URL, json=timed(is_private=True)))

    assert (await dave.delete(url_of(secret))).status_code == 404
    assert (await erin.delete(url_of(secret))).status_code == 403
    assert (await alice.delete(url_of(secret))).status_code == 200


async def test_all_of_it_is_gone(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The engagement, its transcript and its comments are gone, and its external id is free."""
    engagement = await commented(alice)

    response = await alice.delete(url_of(engagement))

    assert response.json() == {"id": engagement.id, "object": "engagement", "deleted": True}
    paths = (engagement.url, engagement.timeline_url, f"{engagement.url}/transcript_comments")
    assert [(await alice.get(path)).status_code for path in paths] == [404, 404, 404]
    assert (await alice.post(URL, json=timed())).status_code == 201
    await assert_consistent(pool, alice.workspace_id)


async def test_undo_brings_all_of_it_back(alice: Person) -> None:
    """The undo of a deletion restores the engagement, its transcript and its comments."""
    engagement = await commented(alice)
    paths = (engagement.timeline_url, f"{engagement.url}/transcript_comments")
    before = [(await alice.get(path)).json() for path in paths]
    deleted = await alice.delete(url_of(engagement))

    undone = await alice.post("/api/herdbook/undo", json={"request_id": deleted.headers["X-Request-Id"]})

    assert undone.json()["kept"] == []
    assert (await alice.get(engagement.url)).json()["title"] == engagement.json["title"]
    assert (await alice.get(paths[0])).json() == before[0]
    after = (await alice.get(paths[1])).json()["data"]
    assert {each["body"] for each in after} == {each["body"] for each in before[1]["data"]}


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_many_comments_go_in_slices(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, more: int
) -> None:
    """A process that dies after the first slice leaves the rest to a later round, under the same request."""
    engagement = await commented(alice, 1)
    await pool.execute(
        """
        insert into transcript_comment (workspace_id, id, version, updated_at, engagement_id, object)
        select n.workspace_id, gen_random_uuid(), n.version, n.updated_at, n.engagement_id, n.object
        from transcript_comment n, generate_series(2, $2) where n.workspace_id = $1
        """,
        alice.workspace_id,
        MAX_DELETED_COMMENTS + more,
    )
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = DeleteEngagement(
        engagement_id=ids.decoded(ids.ENGAGEMENT, engagement.id) or ids.NIL, comments=COMMENTS, private_scopes=frozenset()
    )
    await ledger.write(alice.workspace_id, command, origin)

    await finish(pool, ledger, REMOVE_COMMENTS, partial(DeleteComments, comments=COMMENTS))

    left = "select from transcript_comment where workspace_id = $1 and deleted_at is null"
    assert not await pool.fetch(left, alice.workspace_id)
    requests = "select distinct request_id from change where workspace_id = $1 and kind = 'n' and action = 'd'"
    assert [record[0] for record in await pool.fetch(requests, alice.workspace_id)] == [origin.request_id]
    assert not await pool.fetch("select from unfinished where workspace_id = $1", alice.workspace_id)
