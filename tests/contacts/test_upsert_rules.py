"""Random bulks of upserts, checked against a small model of the rules."""

import copy
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.cast import Json, Person, faults
from tests.contacts.bulks import delete, upsert, write
from tests.contacts.upsert_model import BULKS, Bulk, Delete, Known, Upsert, World, carried_out
from tests.repeats import repeats

_RUNS: Final = count()


class Run:
    """One example: the contacts in the model and on the server, with addresses that no other example uses."""

    def __init__(self, alice: Person) -> None:
        self.alice = alice
        self.world = World()
        self.ids: list[str] = []
        self._domain = f"run{next(_RUNS)}.test"

    async def follow(self, bulk: Bulk) -> None:
        """Run a bulk; compare its answer and the stored contacts with the model."""
        operations = [each for each in bulk.operations if self.ids or isinstance(each, Upsert)]
        if not operations:
            return
        sent = [self._sent(each) for each in operations]
        before = await self.seen()
        trial = copy.deepcopy(self.world)
        verdicts = carried_out(trial, operations)
        response = await write(self.alice, *sent, atomic=bulk.atomic)
        if bulk.atomic and "failed" in verdicts:
            failing = [f"operations[{index}]" for index, verdict in enumerate(verdicts) if verdict == "failed"]
            assert list(dict.fromkeys(field.partition(".")[0] for field, _ in faults(response))) == failing
        else:
            self.world = trial
            results = response.json()["results"]
            assert [each["result"] for each in results] == verdicts
            self.ids += [each["contact"]["id"] for each in results if each["result"] == "created"]
        now = await self.seen()
        assert now == [self._shown(contact) for contact in self.world.contacts]
        if not any(isinstance(each, Delete) for each in operations):
            assert_nothing_is_lost(before, now)
        for verdict in verdicts:
            event(f"{'all' if bulk.atomic else 'each'}: {verdict}")

    async def seen(self) -> list[Json]:
        """Return the contacts as a read of the whole shows them, None for those that were deleted."""
        answers = [await self.alice.get(f"/api/herdbook/contacts/{contact_id}/record") for contact_id in self.ids]
        contacts = [answer.json() if answer.is_success else None for answer in answers]
        names = ("first_name", "emails", "external_ids")
        return [contact and {name: contact.get(name) for name in names} for contact in contacts]

    def _sent(self, operation: Upsert | Delete) -> Json:
        if isinstance(operation, Delete):
            return delete(self.ids[operation.place % len(self.ids)])
        addresses = [f"{spelling}@{self._domain}" for spelling in operation.spellings]
        members: Json = {} if operation.first_name is None else {"first_name": operation.first_name}
        if operation.external_ids:
            members["external_ids"] = [f"{each} {self._domain}" for each in operation.external_ids]
        if operation.by_id:
            members["match_by"] = "external_ids"
        return upsert(*addresses, primary=None if operation.marked is None else addresses[operation.marked], **members)

    def _shown(self, contact: Known) -> Json:
        if contact.deleted is not None:
            return None
        emails = [
            {"email": f"{spelling}@{self._domain}", "is_primary": address == contact.primary}
            for address, spelling in contact.spelled.items()
        ]
        external_ids = [f"{each} {self._domain}" for each in contact.external_ids] or None
        return {"first_name": contact.first_name, "emails": emails, "external_ids": external_ids}


def assert_nothing_is_lost(before: Sequence[Mapping[str, Json] | None], now: Sequence[Mapping[str, Json] | None]) -> None:
    """Assert that each holder still has all its addresses, and all its external ids."""
    for old, new in zip(before, now, strict=False):
        if old is not None:
            assert new is not None
            assert {each["email"] for each in old["emails"]} <= {each["email"] for each in new["emails"]}
            assert {*(old["external_ids"] or ())} <= {*(new["external_ids"] or ())}


@settings(
    max_examples=repeats(300),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bulks=st.lists(BULKS, min_size=1, max_size=4))
async def test_upserts_follow_the_model(alice: Person, bulks: Sequence[Bulk]) -> None:
    """Verdicts and contacts follow the rules: no upsert drops an address or takes one from another contact."""
    run = Run(alice)
    for bulk in bulks:
        await run.follow(bulk)
