"""GET /v2/contacts/{contact_id} for a contact that was merged into another one."""

import asyncpg

from tests.cast import Person, Thing
from tests.history.requests import person_named, restore, undo


async def merge(person: Person, target: Thing, *sources: Thing) -> None:
    """Merge contacts into another one."""
    body = {"from": [source.id for source in sources]}
    response = await person.post(f"/api/herdbook/contacts/{target.id}/merge", json=body)
    assert response.status_code == 200, response.text


async def test_it_is_told_where_it_went(alice: Person, bob: Person, ada: Thing, grace: Thing) -> None:
    """The answer redirects to the contact that replaces it, under the request's own base path."""
    await merge(alice, grace, ada)

    for prefix in ("/api/v2/contacts/", "/v2/contacts/"):
        response = await bob.get(prefix + ada.id)
        assert response.status_code == 308
        assert response.headers["Location"] == prefix + grace.id
        assert response.json() == {"object": "contact", "id": ada.id, "merged_into": grace.id}
        assert "ETag" not in response.headers
    followed = await bob.get(ada.url, follow_redirects=True)
    assert followed.json() == (await bob.get(grace.url)).json()


async def test_it_is_followed_to_the_end(alice: Person, ada: Thing, grace: Thing) -> None:
    """The redirect leads to the end of a chain of merges."""
    last = await person_named(alice, "mary@x.test")
    await merge(alice, grace, ada)
    await merge(alice, last, grace)

    assert (await alice.get(ada.url)).headers["Location"] == last.url
    assert (await alice.get(grace.url)).headers["Location"] == last.url


async def test_what_leads_nowhere_is_not_found(alice: Person, ada: Thing, grace: Thing) -> None:
    """A chain that ends at a deleted contact is not found; once that contact is restored, the redirect works again."""
    await merge(alice, grace, ada)
    await alice.delete(grace.url)
    gone = await alice.get(ada.url)
    await restore(alice, grace)

    assert gone.status_code == 404
    assert (await alice.get(ada.url)).status_code == 308


async def test_a_circle_leads_nowhere(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Contacts that were merged into one another by an undo are not found, and the request ends."""
    one, other = await person_named(alice, first_name="One"), await person_named(alice, first_name="Other")
    await merge(alice, one, other)
    await pool.execute("update contact set merged_into = $1, deleted_at = now() where id = $2", other.uuid, one.uuid)

    assert [(await alice.get(each.url)).status_code for each in (one, other)] == [404, 404]
    assert (await restore(alice, other)).status_code == 200
    assert (await alice.get(one.url)).headers["Location"] == other.url


async def test_a_contact_into_which_others_were_merged_since_stays(alice: Person) -> None:
    """A restoration cannot be undone if it would leave two contacts merged into one another."""
    one, other = await person_named(alice, "one@x.test", first_name="One"), await person_named(alice, first_name="Other")
    await merge(alice, other, one)
    await alice.patch(other.url, json={"emails": []})
    restored = await restore(alice, one)
    await merge(alice, one, other)
    undone = await undo(alice, restored)

    assert (undone.reverted, undone.kept) == ({}, {one.id: "in_use"})
    assert (await alice.get(other.url)).headers["Location"] == one.url


async def test_a_stranger_is_not_led_anywhere(charlie: Person, alice: Person, ada: Thing, grace: Thing) -> None:
    """A merged contact of another workspace is not found."""
    await merge(alice, grace, ada)

    assert (await charlie.get(ada.url)).status_code == 404


async def test_changing_it_is_refused(alice: Person, ada: Thing, grace: Thing) -> None:
    """Only reads are redirected: a write to a merged contact is refused."""
    await merge(alice, grace, ada)

    assert (await alice.patch(ada.url, json={"first_name": "Ada"})).status_code == 404
    assert (await alice.delete(ada.url)).status_code == 404
