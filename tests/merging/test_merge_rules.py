"""Invariants of merging, tested by random stories."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Final

import asyncpg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook.contacts.model import ContactRecord
from herdbook.contacts.store import ContactRow
from tests.cast import Json, Person, Stored, Thing
from tests.contacts.bulks import result, upsert
from tests.custom_fields.definitions import define
from tests.engagements.calls import Made
from tests.importing.jobs import upload
from tests.merging.merges import contact, engage, merge
from tests.merging.tables import assert_agreement
from tests.repeats import repeats

_RUNS: Final = count()
# The steps: create a contact, create an engagement of several, merge several into one, or upsert.
_PLACES: Final = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)
_STEPS: Final = st.one_of(
    st.tuples(st.just("create"), st.lists(st.integers(0, 3), max_size=3, unique=True)),
    st.tuples(st.just("engage"), _PLACES),
    st.tuples(st.just("merge"), _PLACES),
    st.tuples(st.just("merge"), _PLACES),
    st.tuples(st.just("upsert"), _PLACES),
)


class Story:
    """One example: its objects, with addresses that no other example uses."""

    def __init__(self, alice: Person, engine: Thing) -> None:
        self.alice = alice
        self.engine = engine
        self.contacts: list[Thing] = []
        self.engagements: list[Made] = []
        self._run = f"run{next(_RUNS)}x"

    def some(self, places: Sequence[int]) -> list[Thing]:
        """Return the contacts at these places, each once."""
        wanted = dict.fromkeys(place % len(self.contacts) for place in places)
        return [self.contacts[place] for place in wanted]

    async def go_on(self, step: str, places: Sequence[int]) -> None:
        """Take a step."""
        if step == "create":
            mark = f"{self._run}.{len(self.contacts)}"
            members: Json = {"phone_numbers": [{"phone_number": f"+44 20 7946 095{place}"} for place in places]}
            members |= {"first_name": f"Ada {mark}"} if len(places) % 2 else {"company_id": self.engine.id}
            self.contacts.append(await contact(self.alice, *(f"{mark}.{place}@x.test" for place in places), **members))
        elif step == "engage":
            self.engagements.append(await engage(self.alice, f"{self._run}.{len(self.engagements)}", *self.some(places)))
        elif step == "upsert":
            items = [item["email"] for each in self.some(places) for item in each.json["emails"]]
            if items:
                await result(self.alice, upsert(items[0], f"{self._run}.new@x.test"))
        else:
            target, *sources = self.some(places)
            await self._merge(target, sources)

    async def _merge(self, target: Thing, sources: Sequence[Thing]) -> None:
        before = await self._held()
        response = await merge(self.alice, target, *sources)
        event(f"merge: {response.status_code}")
        assert response.status_code in (200, 404, 422)
        assert await self._held() == before
        if response.is_success:
            gone = {source.id for source in sources}
            for engagement in self.engagements:
                shown = await self.alice.get(engagement.url, params={"expand": "contacts"})
                assert gone.isdisjoint(each["id"] for each in shown.json()["contacts"])

    async def _held(self) -> list[str]:
        """Return the addresses that contacts of this example hold."""
        found = (await self.alice.get("/api/v2/contacts", params={"limit": 100, "search": self._run})).json()["data"]
        return sorted(item["email"] for each in found for item in each["emails"] if item["email"].startswith(f"{self._run}."))


@settings(
    max_examples=repeats(60),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, min_size=1, max_size=10))
async def test_nothing_is_lost_and_all_agrees(
    alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]", steps: Sequence[tuple[str, Sequence[int]]]
) -> None:
    """A merge loses and doubles no address, no engagement names a merged contact, and all tables stay consistent."""
    story = Story(alice, engine)
    for step, places in [("create", [0]), ("create", [1, 2]), ("create", []), *steps]:
        await story.go_on(step, places)
    await assert_agreement(pool, alice.workspace_id)


# The members that tell which contact it is, since when, and whether it is there. A merge takes all others.
_OF_ITSELF: Final = frozenset(
    {"object", "id", "created_at", "updated_at", "workspace_id", "version", "deleted_at", "merged_into"}
)


async def test_every_member_is_taken(alice: Person, frank: Person, engine: Thing, stored: Stored) -> None:
    """A contact without data gets every member of the merged one, and its row every column, so no new field is forgotten."""
    numbers, crm = [{"phone_number": "+44 20 7946 0958"}], {"object_type": "contact", "crm_object_id": "1", "source": "hubspot"}
    members: Json = {"first_name": "Ada", "last_name": "King", "description": "Countess", "time_zone": "Europe/London"}
    members |= {"company_id": engine.id, "phone_numbers": numbers, "crm_association": crm, "external_ids": ["1"]}
    await define(frank, "badge", unique=True)
    tag = (await alice.post("/api/v2/tags", json={"name": "Renewal"})).json()["id"]
    members |= {"fields": {"badge": "7"}, "tag_ids": [tag]}
    source = await contact(alice, "ada@x.test", **members)
    labelled = [{"email": "ada@x.test", "label": "work"}]
    await alice.patch(f"/api/herdbook/contacts/{source.id}/record", json={"emails": labelled})
    job = await upload(alice, "E-mail,Card\nada@x.test,X-SKYPE:ada\n")
    await job.map(["email", "card"])
    await job.run()
    full_row = await stored.row(source)
    full: Json = json.loads(full_row["object"]) | json.loads(full_row["own"])
    target = await contact(alice)
    response = await merge(alice, target, source)
    shown, row = response.json()["contact"], await stored.row(target)
    of_contact, of_row = [{*struct.__struct_fields__} - _OF_ITSELF for struct in (ContactRecord, ContactRow)]

    assert all(full.get(name) for name in of_contact), "the test fills every member"
    assert all(full_row[name] for name in of_row), "the test fills every column"
    assert {name: shown.get(name) for name in of_contact} == {name: full[name] for name in of_contact}
    assert {name: row[name] for name in of_row} == {name: full_row[name] for name in of_row}
    assert all(shown[name] == target.json[name] for name in ("object", "id", "created_at"))
