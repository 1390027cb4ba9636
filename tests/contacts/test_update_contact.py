"""PATCH /v2/contacts/{contact_id}."""

import httpx

from tests.cast import Person, Thing


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """Without a credential the answer is 401, with a challenge."""
    response = await client.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not there."""
    response = await charlie.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 404


async def test_email_of_another_contact_is_refused(alice: Person, grace: Thing, ada: Thing) -> None:
    """An address belongs to one active contact of a workspace."""
    response = await alice.patch(grace.url, json={"emails": [{"email": "ADA@engine.test"}]})

    assert response.status_code == 409
    assert response.json()["errors"][0]["field"] == "emails[0].email"
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}
