"""Members of a contact that only herdbook's own operations show: no event tells of them."""

from tests.cast import Person
from tests.contacts.records import change, known_as
from tests.webhooks.endpoints import Endpoint


async def test_vendor_webhooks_tell_nothing_of_them(alice: Person, endpoint: Endpoint) -> None:
    """Events show neither the ids nor their former values, and a change of the ids alone sends none and is listed nowhere."""
    ada = await known_as(alice, "1", first_name="Ada")
    await change(alice, ada, external_ids=["2"])
    renamed = await change(alice, ada, external_ids=["3"], first_name="Augusta")
    await alice.delete(ada.url)
    bodies = [(await endpoint.read(f"deliveries/{event}"))["request_body"] for event in await endpoint.event_ids()]

    assert [each for each, _ in await endpoint.deliveries()] == ["contact.deleted", "contact.updated", "contact.created"]
    assert not any("external_ids" in body for body in bodies)
    assert '"previous_attributes":{"first_name":"Ada"}' in bodies[1]
    assert renamed.json()["external_ids"] == ["3"]
