"""The bodies of events, made from real entries of the ledger."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.engagements.store import ENGAGEMENT, ENGAGEMENTS
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import current, deleted
from herdbook.ledger.unit_of_work import Need, Origin, Result, UnitOfWork
from herdbook.object_types import OBJECT_TYPES
from herdbook.webhook_endpoints.model import EventType
from herdbook.webhooks.events import EventEntry, event_id, event_type, kind_actions, seq_of, to_event
from tests.cast import Json, Person
from tests.engagements.calls import call, timed

ORIGIN = Origin(request_id=ids.new_id(), credential_id=ids.NIL)


class DeleteEngagement(msgspec.Struct, frozen=True):
    """Delete an engagement, for which there is no operation."""

    engagement_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(ENGAGEMENTS, self.engagement_id)

    def apply(self, work: UnitOfWork) -> Result:
        return deleted(work, ENGAGEMENT, current(work, ENGAGEMENTS, self.engagement_id, None, "engagement"))


class Event(NamedTuple):
    """The event of an entry."""

    type: str
    json: Json

    @property
    def object(self) -> Json:
        """The event's object."""
        return self.json["data"]["object"]

    @property
    def previous(self) -> Json:
        """The changed fields with their old values, or None if the event has none."""
        return self.json["data"].get("previous_attributes")


class WorkspaceEvents:
    """All events of Alice's workspace."""

    def __init__(self, alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger) -> None:
        self.alice = alice
        self._pool = pool
        self._ledger = ledger

    async def write(self, method: str, path: str, body: Json = None) -> Json:
        """Make a request that succeeds."""
        response = await self.alice.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    async def delete_engagement(self, engagement: Json) -> None:
        """Delete an engagement."""
        engagement_id = ids.decoded(ids.ENGAGEMENT, engagement["id"])
        assert engagement_id is not None
        await self._ledger.write(self.alice.workspace_id, DeleteEngagement(engagement_id), ORIGIN)

    async def entries(self) -> list[asyncpg.Record]:
        """Return the ledger's entries."""
        return await self._pool.fetch(
            """
            select seq, at, kind::text || action::text as kind_action, object::text, previous::text
            from change where workspace_id = $1 order by seq
            """,
            self.alice.workspace_id,
        )

    async def events(self) -> list[Event]:
        """Return the events of all entries, in order."""
        events: list[Event] = []
        for seq, at, kind_action, object_, previous in await self.entries():
            event = to_event(
                OBJECT_TYPES,
                self.alice.workspace_id,
                EventEntry(seq, at, kind_action, object_.encode(), previous and previous.encode()),
            )
            if event is not None:
                body = json.loads(event.body)
                assert (body["id"], body["type"]) == (event.id, event.type)
                events.append(Event(event.type, body))
        return events


@pytest.fixture
def workspace(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger) -> WorkspaceEvents:
    """The events of Alice's workspace."""
    return WorkspaceEvents(alice, pool, ledger)


async def test_the_envelope_is_whole(workspace: WorkspaceEvents) -> None:
    """Each event has its id, type, API version, time, workspace and data."""
    contact = await workspace.write("POST", "/api/v2/contacts", {"first_name": "Zoë"})
    (event,) = await workspace.events()
    (entry,) = await workspace.entries()

    assert event.json == {
        "id": event_id(workspace.alice.workspace_id, 1, entry["at"]),
        "type": "v1.contact.created",
        "api_version": "v1",
        "created_at": contact["created_at"],
        "workspace_id": ids.encoded(ids.WORKSPACE, workspace.alice.workspace_id),
        "data": {"object": contact},
    }


@pytest.mark.parametrize(
    ("kind", "path", "body", "patch", "previous"),
    [
        (
            *("contact", "/api/v2/contacts", {"first_name": "Ada", "description": "One", "emails": [{"email": "a@b.test"}]}),
            {"last_name": "Lovelace", "description": None, "emails": []},
            {"last_name": None, "description": "One", "emails": [{"email": "a@b.test", "is_primary": True}]},
        ),
        (
            *("company", "/api/v2/companies", {"name": "Engine", "domains": [{"domain": "engine.test"}]}),
            {"name": "Analytical Engine"},
            {"name": "Engine"},
        ),
        (
            *("tag", "/api/v2/tags", {"name": "Renewal", "hex_color": "#1F6FEB"}),
            {"hex_color": None, "description": "Soon", "name": "Renewal"},
            {"hex_color": "#1F6FEB", "description": None},
        ),
    ],
)
async def test_objects_are_told_as_the_api_shows_them(
    workspace: WorkspaceEvents, kind: str, path: str, body: Json, patch: Json, previous: Json
) -> None:
    """An event shows the object as created, updated or last seen, and the old values of an update."""
    created = await workspace.write("POST", path, body)
    updated = await workspace.write("PATCH", f"{path}/{created['id']}", patch)
    await workspace.write("DELETE", f"{path}/{created['id']}")

    events = await workspace.events()
    assert [event.type for event in events] == [f"v1.{kind}.{action}" for action in ("created", "updated", "deleted")]
    assert [event.object for event in events] == [created, updated, updated]
    assert [event.previous for event in events] == [None, previous, None]


async def test_an_engagement_is_told_as_the_api_shows_it(workspace: WorkspaceEvents) -> None:
    """An engagement's event leaves out the internal source, participants and recording."""
    body = timed("call", participants=[{"name": "Ada Lovelace", "email": "ada@engine.test"}])
    engagement = await workspace.write("POST", "/api/v2/engagements", body)
    events = await workspace.events()

    assert [event.type for event in events] == [
        *("v1.contact.created", "v1.engagement.created", "v1.engagement.transcript_timeline.completed"),
    ]
    assert [event.object for event in events[1:]] == [engagement, engagement]
    assert [event.previous for event in events] == [None, None, None]


async def test_whom_an_engagement_is_with_is_told_in_ids(workspace: WorkspaceEvents) -> None:
    """Changed links of an engagement appear as ids, because its object shows them only on request."""
    contact = await workspace.write("POST", "/api/v2/contacts", {"first_name": "Ada"})
    tag = await workspace.write("POST", "/api/v2/tags", {"name": "Renewal"})
    engagement = await workspace.write("POST", "/api/v2/engagements", call())
    url = f"/api/v2/engagements/{engagement['id']}"
    await workspace.write("PUT", f"{url}/contacts", {"contact_ids": [contact["id"]]})
    await workspace.write("PUT", f"{url}/tags", {"tag_ids": [tag["id"]]})
    await workspace.write("PUT", f"{url}/tags", {"tag_ids": []})
    updates = [event for event in await workspace.events() if event.type == "v1.engagement.updated"]

    assert [event.previous for event in updates] == [{"contact_ids": []}, {"tag_ids": []}, {"tag_ids": [tag["id"]]}]
    assert all("details" not in event.object for event in updates)
    assert {event.object["id"] for event in updates} == {engagement["id"]}


async def test_a_timeline_that_comes_late_is_told_with_the_engagement(workspace: WorkspaceEvents) -> None:
    """A later timeline sends the whole current engagement, and the update of the engagement is an event of its own."""
    engagement = await workspace.write("POST", "/api/v2/engagements", call())
    url = f"/api/herdbook/engagements/{engagement['id']}/transcript_timeline"
    await workspace.write("PUT", url, {key: timed()["transcript_timeline"][key] for key in ("speakers", "entries")})
    events = await workspace.events()
    now = (await workspace.alice.get(f"/api/v2/engagements/{engagement['id']}")).json()

    assert [event.type for event in events] == [
        *("v1.engagement.created", "v1.engagement.updated", "v1.engagement.transcript_timeline.completed"),
    ]
    assert events[1].object == events[2].object == now
    assert events[1].previous == {"end_at": None, "duration_seconds": None}
    assert events[2].previous is None


async def test_text_alone_completes_no_timeline(workspace: WorkspaceEvents) -> None:
    """Text without a timeline sends no timeline event."""
    await workspace.write("POST", "/api/v2/engagements", call())

    assert [event.type for event in await workspace.events()] == ["v1.engagement.created"]


async def test_a_private_engagement_is_told(workspace: WorkspaceEvents) -> None:
    """Private engagements are sent, because only an administrator, who may read them, has endpoints."""
    engagement = await workspace.write("POST", "/api/v2/engagements", call(is_private=True))
    (event,) = await workspace.events()

    assert (event.object, event.object["is_private"]) == (engagement, True)


async def test_a_deleted_engagement_is_told_as_it_was(workspace: WorkspaceEvents) -> None:
    """A deleted engagement is sent in its last state, as other objects are."""
    engagement = await workspace.write("POST", "/api/v2/engagements", call())
    await workspace.delete_engagement(engagement)
    *_, event = await workspace.events()

    assert (event.type, event.object, event.previous) == ("v1.engagement.deleted", engagement, None)


async def test_what_a_deletion_changes_elsewhere_is_told(workspace: WorkspaceEvents) -> None:
    """The contacts of a deleted company are sent as updated."""
    company = await workspace.write("POST", "/api/v2/companies", {"name": "Engine", "domains": []})
    await workspace.write("POST", "/api/v2/contacts", {"first_name": "Ada", "company_id": company["id"]})
    await workspace.write("DELETE", f"/api/v2/companies/{company['id']}")
    updates = [event for event in await workspace.events() if event.type == "v1.contact.updated"]

    assert [event.previous for event in updates] == [{"company": {"id": company["id"], "object": "company"}}]
    assert "company" not in updates[0].object


async def test_users_comments_and_endpoints_are_told_of_nowhere(workspace: WorkspaceEvents) -> None:
    """Users, comments and endpoints have no events."""
    endpoint = await workspace.write("POST", "/api/herdbook/webhooks", {"url": "http://127.0.0.1/"})
    await workspace.write("PATCH", f"/api/herdbook/webhooks/{endpoint['id']}", {"description": "Other words."})
    engagement = await workspace.write("POST", "/api/v2/engagements", timed())
    await workspace.write("POST", f"/api/v2/engagements/{engagement['id']}/transcript_comments", {"body": "Yes!"})

    assert [event.type for event in await workspace.events()] == [
        *("v1.engagement.created", "v1.engagement.transcript_timeline.completed"),
    ]


async def test_what_changes_nothing_is_no_event(workspace: WorkspaceEvents) -> None:
    """An update without a change sends no event."""
    contact = await workspace.write("POST", "/api/v2/contacts", {"first_name": "Ada"})
    await workspace.write("PATCH", f"/api/v2/contacts/{contact['id']}", {"first_name": "Ada"})

    assert len(await workspace.events()) == 1


async def test_an_event_is_the_same_each_time(workspace: WorkspaceEvents) -> None:
    """An event is the same byte for byte each time, including its id, so that receivers recognise repeats."""
    await workspace.write("POST", "/api/v2/contacts", {"first_name": "Ada"})
    ((seq, at, kind_action, object_, _),) = await workspace.entries()
    first, second = [
        to_event(OBJECT_TYPES, workspace.alice.workspace_id, EventEntry(seq, at, kind_action, object_.encode(), None))
        for _ in range(2)
    ]

    assert first == second


def test_what_is_restored_is_created_again() -> None:
    """A restored object is sent as created, because receivers have deleted their copy."""
    assert event_type(OBJECT_TYPES, "cr") == event_type(OBJECT_TYPES, "cc") == "v1.contact.created"


def test_each_type_has_its_entries() -> None:
    """Each of the fifteen types selects its own entries only."""
    assert {event_type(OBJECT_TYPES, each) for each in kind_actions(OBJECT_TYPES, None)} == set(EventType)
    assert len(EventType) == 15
    assert kind_actions(OBJECT_TYPES, ["v1.tag.deleted"]) == ["td"]
    assert kind_actions(OBJECT_TYPES, ["v1.contact.created"]) == ["cc", "cr"]
    assert kind_actions(OBJECT_TYPES, ["v1.engagement.transcript_timeline.completed"]) == ["rc", "ru"]
    assert [event_type(OBJECT_TYPES, each) for each in ("uc", "nc", "wu")] == [None, None, None]


@pytest.mark.parametrize("seq", [1, 2, 4711, 2**40, 2**48 - 1])
def test_an_id_leads_back_to_its_entry(seq: int) -> None:
    """An event's id contains the entry's number; it is a ULID of its time, and differs between workspaces."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    one, other = [event_id(UUID(int=workspace), seq, at) for workspace in (1, 2)]
    decoded = ids.decoded(ids.EVENT, one)

    assert seq_of(one) == seq_of(other) == seq
    assert one != other
    assert decoded is not None
    assert decoded.int >> 80 == at.timestamp() * 1000
    assert one < event_id(UUID(int=1), seq, at.replace(second=1))


@pytest.mark.parametrize("text", ["", "evt_", "evt_x", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "evt_01hqxvb4y9y0q6p0qh5gx2ct7t"])
def test_what_is_no_id_leads_nowhere(text: str) -> None:
    """An event's id has only one spelling."""
    assert seq_of(text) is None
