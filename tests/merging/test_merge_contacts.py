"""POST /herdbook/contacts/{contact_id}/merge."""

from asyncio import gather
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, cast
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.db.pool import Executor
from herdbook.engagements.commands import CreateEngagement
from herdbook.engagements.model import EngagementCreate, Participant
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.merging.commands import Merge, MoveReferences
from herdbook.merging.store import CONTACT_MERGE, MAX_MOVED
from herdbook.workspaces.store import set_region
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import addresses, delete, numbers, result, results, upsert
from tests.engagements.calls import Made
from tests.merging.merges import CONTACTS, contact, engage, engaged, merge, merged, titles, url_of
from tests.merging.tables import assert_agreement, everything

NOBODY: Final = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
HUBSPOT: Final = {"object_type": "contact", "crm_object_id": "12345", "source": "hubspot"}


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing, grace: Thing) -> None:
    """Without a credential the answer is 401, with a challenge."""
    response = await client.post(url_of(ada), json={"from": [grace.id]})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing, grace: Thing) -> None:
    """Contacts of another workspace are not found, neither as target nor as source."""
    eve = Thing(await charlie.post(CONTACTS, json={}))
    into = await merge(charlie, ada, eve)
    of = await merge(charlie, eve, grace)

    assert (into.status_code, of.status_code) == (404, 422)
    assert faults(of) == [("from[0]", "not_found")]
    assert [(await alice.get(each.url)).json() for each in (ada, grace)] == [ada.json, grace.json]


async def test_bob_is_refused(bob: Person, alice: Person, ada: Thing, grace: Thing) -> None:
    """A read-only credential merges nothing, not even in a dry run."""
    responses = [await merge(bob, ada, grace, params=params) for params in ({}, {"dry_run": "true"})]

    assert [response.status_code for response in responses] == [403, 403]
    assert (await alice.get(grace.url)).json() == grace.json


async def test_the_others_are_gone(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """The answer is the remaining contact with its ETag, and the ids of the merged ones."""
    response = await merge(alice, ada, grace)
    now = await alice.get(ada.url)

    assert response.status_code == 200
    assert response.json() == {
        "object": "merge",
        "dry_run": False,
        "contact": now.json(),
        "merged": [grace.id],
        "engagements_moved": 0,
        "notes_moved": 0,
    }
    assert response.headers["ETag"] == now.headers["ETag"]
    assert [each["id"] for each in (await alice.get(CONTACTS)).json()["data"]] == [ada.id]
    assert (await stored.row(grace))["merged_into"] == ada.uuid
    assert (await stored.row(grace))["deleted_at"] is not None


async def test_it_keeps_what_it_has(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """Fields that the target has stay as they are; only addresses and numbers are added."""
    full = {"description": "Countess", "company_id": engine.id, "time_zone": "Europe/London"}
    before = (await alice.patch(ada.url, json=full)).json()
    before = (await alice.put(f"{ada.url}/crm_association", json=HUBSPOT)).json()
    await alice.patch(grace.url, json={"description": "Admiral", "time_zone": "America/New_York"})
    await alice.put(f"{grace.url}/crm_association", json={**HUBSPOT, "crm_object_id": "67890"})
    after = await merged(alice, ada, grace)

    assert {**after, "emails": [], "updated_at": ""} == {**before, "emails": [], "updated_at": ""}
    assert addresses(after) == ["ada@engine.test*", "grace@navy.test"]


async def test_it_gets_what_it_lacks_of_the_first_that_has_it(alice: Person, engine: Thing) -> None:
    """Each field that the target lacks comes from the first source that has it; an empty target gets all."""
    target = await contact(alice)
    first = await contact(alice, first_name="Ada", time_zone="Europe/London")
    second = await contact(alice, first_name="Augusta", last_name="King", description="Countess", company_id=engine.id)
    third = await contact(alice, last_name="Lovelace", description="The first programmer", time_zone="GB")
    await alice.put(f"{third.url}/crm_association", json=HUBSPOT)
    after = await merged(alice, target, first, second, third)

    assert after == {
        "object": "contact",
        "id": target.id,
        "first_name": "Ada",
        "last_name": "King",
        "description": "Countess",
        "company": {"id": engine.id, "object": "company"},
        "emails": [],
        "phone_numbers": [],
        "crm_association": HUBSPOT,
        "time_zone": "Europe/London",
        "created_at": target.json["created_at"],
        "updated_at": after["updated_at"],
    }
    assert after["updated_at"] > third.json["updated_at"]


def marked(name: str, *values: str) -> list[Json]:
    """Return items of which the last one is primary."""
    return [{name: value, "is_primary": value == values[-1]} for value in values]


async def test_addresses_and_numbers_are_united(alice: Person, stored: Stored) -> None:
    """The target's addresses and numbers come first, then each source's in order, each once; the target's primary stays."""
    target = await contact(alice, phone_numbers=marked("phone_number", "1", "+44 20 7946 0958"))
    await alice.patch(target.url, json={"emails": marked("email", "a@x.test", "B@x.test")})
    first = await contact(alice, phone_numbers=marked("phone_number", "2", "+442079460958", "3"))
    await alice.patch(first.url, json={"emails": marked("email", "c@x.test", "d@x.test")})
    second = await contact(alice, "e@x.test", phone_numbers=marked("phone_number", "3", "4", "1"))
    after = await merged(alice, target, first, second)

    assert addresses(after) == ["a@x.test", "B@x.test*", "c@x.test", "d@x.test", "e@x.test"]
    assert numbers(after) == ["1", "+44 20 7946 0958*", "2", "3", "4"]
    assert await stored.addresses(target) == {"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"}
    assert await stored.addresses(first) == await stored.addresses(second) == set()


async def test_without_a_primary_address_the_first_sources_is_primary(alice: Person) -> None:
    """A target without addresses gets the primary one of the first source that has any; the same holds for numbers."""
    target, first = await contact(alice), await contact(alice, "a@x.test")
    await alice.patch(first.url, json={"emails": marked("email", "a@x.test", "b@x.test")})
    second = await contact(alice, "c@x.test", phone_numbers=marked("phone_number", "1", "2"))
    third = await contact(alice, "d@x.test", phone_numbers=marked("phone_number", "3", "1"))
    after = await merged(alice, target, first, second, third)

    assert addresses(after) == ["a@x.test", "b@x.test*", "c@x.test", "d@x.test"]
    assert numbers(after) == ["1", "2*", "3"]


async def test_a_merge_unites_numbers_of_the_region(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A national spelling and an international one are the same number, if it is one of the region."""
    await set_region(cast("Executor", pool), alice.workspace_id, "US")
    target = await contact(alice, phone_numbers=marked("phone_number", "(415) 556-1786"))
    source = await contact(alice, phone_numbers=marked("phone_number", "+14155561786", "415-556-1786"))

    assert numbers(await merged(alice, target, source)) == ["(415) 556-1786*"]


@pytest.mark.parametrize("most", [100, 101])
@pytest.mark.parametrize("name", ["emails", "phone_numbers"])
async def test_together_they_may_be_too_many(alice: Person, ada: Thing, name: str, most: int) -> None:
    """A merge into more addresses or numbers than a contact may have is refused, and nothing is done."""
    member = name.removesuffix("s")
    had = len(ada.json[name])
    values = [f"{n}@x.test" if name == "emails" else f"1{n}" for n in range(most - had)]
    halves = [values[:60], values[60:]]
    sources = [await contact(alice, **{name: [{member: value} for value in half]}) for half in halves]
    response = await merge(alice, ada, *sources)

    if most == 100:
        assert len(response.json()["contact"][name]) == 100
    else:
        assert (response.status_code, faults(response)) == (422, [("from", "too_long")])
        assert [(await alice.get(each.url)).json() for each in (ada, *sources)] == [ada.json, *(each.json for each in sources)]


async def test_the_changes_are_entered(
    alice: Person, ada: Thing, grace: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """One request enters the deletions with the target's id, then the target, then the engagements."""
    mary = await contact(alice, "mary@science.test")
    made = await engage(alice, "The engine", grace, mary)
    seq = len(await stored.changes())
    response = await merge(alice, ada, mary, grace)

    changes = (await stored.changes())[seq:]
    records = await pool.fetch(
        "select request_id, credential_id, at, merged_into from change where workspace_id = $1 and seq > $2 order by seq",
        *(alice.workspace_id, seq),
    )
    request_id = ids.decoded(ids.REQUEST, response.headers["X-Request-Id"])
    assert [(each.kind, each.action, each.object["id"]) for each in changes] == [
        ("c", "d", mary.id),
        ("c", "d", grace.id),
        ("c", "u", ada.id),
        ("e", "u", made.id),
    ]
    assert changes[0].object == mary.json
    assert (changes[2].object, changes[2].previous) == (response.json()["contact"], {"emails": ada.json["emails"]})
    assert changes[3].previous["details"]["contact_ids"] == [grace.id, mary.id]
    assert {(record["request_id"], record["credential_id"]) for record in records} == {(request_id, alice.key.id)}
    assert len({record["at"] for record in records}) == 1
    assert [record["merged_into"] for record in records] == [ada.uuid, ada.uuid, None, None]


async def test_a_target_that_gets_nothing_is_not_changed(alice: Person, ada: Thing, stored: Stored) -> None:
    """A target that gains nothing keeps its version and its time."""
    response = await merge(alice, ada, await contact(alice, first_name="Augusta"))

    assert (response.json()["contact"], response.headers["ETag"]) == (ada.json, ada.etag)
    assert [change.action for change in (await stored.changes())[-3:]] == ["c", "c", "d"]


async def test_engagements_name_the_target(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """The target takes the place of the first of its contacts in each engagement, once; companies stay."""
    mary, other = await contact(alice, company_id=engine.id), await contact(alice)
    both = await engage(alice, "Both", other, grace, mary)
    one = await engage(alice, "One", mary)
    with_target = await engage(alice, "With the target", mary, other, ada)
    none = await engage(alice, "None", other)
    response = await merge(alice, ada, mary, grace)

    assert response.json()["engagements_moved"] == 3
    assert [await engaged(alice, each) for each in (both, one, with_target, none)] == [
        [other.id, ada.id],
        [ada.id],
        [ada.id, other.id],
        [other.id],
    ]
    assert await titles(alice, ada) == {"Both", "One", "With the target"}
    assert {each["title"] for each in (await alice.get(f"{engine.url}/engagements")).json()["data"]} == {
        *("Both", "One", "With the target"),
    }


async def test_private_engagements_move_as_well(alice: Person, dave: Person, ada: Thing, grace: Thing) -> None:
    """A private engagement moves even if the caller may not see it, and stays hidden."""
    hidden = await engage(alice, "Hidden", grace, is_private=True)
    response = await merge(dave, ada, grace)

    assert response.status_code == 200
    assert await engaged(alice, hidden) == [ada.id]
    assert hidden.id not in response.text


async def test_chains_lead_on(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """A contact merged earlier still points to its own target, and all engagements move to the last one."""
    mary = await contact(alice, "mary@science.test")
    await engage(alice, "Mary's", mary)
    await engage(alice, "Grace's", grace)
    await merged(alice, grace, mary)
    last = await merged(alice, ada, grace)

    assert (await stored.row(mary))["merged_into"] == grace.uuid
    assert (await stored.row(grace))["merged_into"] == ada.uuid
    assert addresses(last) == ["ada@engine.test*", "grace@navy.test", "mary@science.test"]
    assert await titles(alice, ada) == {"Mary's", "Grace's"}


async def test_what_was_merged_does_not_come_back(alice: Person, ada: Thing, grace: Thing) -> None:
    """An upsert of a source's address updates the target; once the target gives the address up, it creates a new contact."""
    await merge(alice, ada, grace)
    active = await result(alice, upsert("grace@navy.test", last_name="King"))
    await alice.patch(ada.url, json={"emails": [{"email": "ada@engine.test"}]})
    freed = await result(alice, upsert("grace@navy.test"))

    assert (active["result"], active["contact"]["id"]) == ("updated", ada.id)
    assert freed["result"] == "created"
    assert freed["contact"]["id"] not in (ada.id, grace.id)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("from", "required")]),
        ({"from": []}, [("from", "too_short")]),
        ({"from": NOBODY}, [("from", "invalid_type")]),
        ({"from": [NOBODY] * 51}, [("from", "too_long")]),
        ({"from": ["cmp_1", 5]}, [("from[1]", "invalid_type"), ("from[0]", "invalid_format")]),
        ({"from": ["cmp_1", "nobody"]}, [("from[0]", "invalid_format"), ("from[1]", "invalid_format")]),
        ({"from": [NOBODY, NOBODY]}, [("from[1]", "duplicate")]),
        ({"from": [NOBODY], "dry_run": True}, [("dry_run", "unknown_field")]),
    ],
)
async def test_a_wrong_body_is_refused(alice: Person, ada: Thing, body: Json, expected: list[tuple[str, str]]) -> None:
    """The body must name one to fifty contacts, each once."""
    response = await alice.post(url_of(ada), json=body)

    assert (response.status_code, faults(response)) == (422, expected)


@pytest.mark.parametrize("text", ["yes", "", "1", "TRUE"])
async def test_a_wrong_query_is_refused(alice: Person, ada: Thing, grace: Thing, text: str) -> None:
    """A malformed `dry_run` is refused, because a typo must not turn a dry run into a merge."""
    responses = [await merge(alice, ada, grace, params=params) for params in ({"dry_run": text}, {"dryrun": "true"})]

    assert [response.status_code for response in responses] == [400, 400]
    assert faults(responses[0]) == [("dry_run", "invalid_type")]
    assert (await alice.get(grace.url)).json() == grace.json


async def test_sources_must_be_there(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """Unknown, deleted and merged sources are all named, and nothing is done."""
    gone, mary, other = [await contact(alice) for _ in range(3)]
    await alice.delete(gone.url)
    await merge(alice, other, mary)
    seq = len(await stored.changes())
    response = await merge(alice, ada, NOBODY, grace, gone, mary, "cnt_1")

    assert response.status_code == 422
    assert faults(response) == [(f"from[{index}]", "not_found") for index in (0, 2, 3, 4)]
    assert len(await stored.changes()) == seq
    assert (await alice.get(grace.url)).json() == grace.json


async def test_a_contact_is_not_merged_into_itself(alice: Person, ada: Thing, grace: Thing) -> None:
    """The target may not be one of the sources."""
    response = await merge(alice, ada, grace, ada)

    assert (response.status_code, faults(response)) == (422, [("from[1]", "duplicate")])
    assert (await alice.get(grace.url)).json() == grace.json


@pytest.mark.parametrize("contact_id", [NOBODY, "nobody", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_the_target_must_be_there(alice: Person, grace: Thing, contact_id: str) -> None:
    """A missing target is not found, whatever the sources and the version."""
    url = f"/api/herdbook/contacts/{contact_id}/merge"
    responses = [await alice.post(url, json={"from": [source]}, headers={"If-Match": '"7"'}) for source in (grace.id, "cnt_1")]

    assert [response.status_code for response in responses] == [404, 404]
    assert (await alice.get(grace.url)).json() == grace.json


async def test_if_match_is_about_the_target(alice: Person, ada: Thing, grace: Thing) -> None:
    """If-Match concerns the target: a changed target is refused, and changes of sources do not matter."""
    await alice.patch(grace.url, json={"last_name": "Murray"})
    stale = await merge(alice, ada, grace, headers={"If-Match": '"99"'})
    unknown = await merge(alice, ada, "cnt_1", headers={"If-Match": '"99"'})
    fresh = await merge(alice, ada, grace, headers={"If-Match": ada.etag})

    assert (stale.status_code, stale.headers["ETag"]) == (412, ada.etag)
    assert unknown.status_code == 422
    assert fresh.status_code == 200


async def test_a_dry_run_changes_nothing(
    alice: Person, ada: Thing, grace: Thing, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A dry run has the answer and the refusals of a merge, and changes no row."""
    await alice.patch(grace.url, json={"company_id": engine.id, "description": "Admiral"})
    await engage(alice, "The engine", grace)
    headers = {"Idempotency-Key": str(uuid4())}
    before = await everything(pool, alice.workspace_id)
    tried = await merge(alice, ada, grace, params={"dry_run": "true"}, headers=headers)
    stale = await merge(alice, ada, grace, params={"dry_run": "true"}, headers={"If-Match": '"99"'})
    unknown = await merge(alice, ada, NOBODY, params={"dry_run": "true"})
    after = await everything(pool, alice.workspace_id)
    done = await merge(alice, ada, grace, params={"dry_run": "false"}, headers=headers)

    times = [response.json()["contact"].pop("updated_at") for response in (tried, done)]
    contacts = [{**response.json()["contact"], "updated_at": ""} for response in (tried, done)]
    assert tried.status_code == 200
    assert contacts[0] == contacts[1]
    assert {**tried.json(), "contact": {}, "dry_run": False} == {**done.json(), "contact": {}}
    assert "ETag" not in tried.headers
    assert len(times) == 2
    assert (stale.status_code, unknown.status_code) == (412, 422)
    assert before == after
    assert sum(len(rows) for rows in before.values()) > 10


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """A repeat with the same Idempotency-Key gets the first answer; a dry run counts as another request."""
    await engage(alice, "The engine", grace)
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await merge(alice, ada, grace, headers=key) for _ in range(2)]
    seq = len(await stored.changes())
    tried = await merge(alice, ada, grace, params={"dry_run": "true"}, headers=key)

    assert (second.status_code, second.content) == (200, first.content)
    assert (second.headers["Idempotency-Replayed"], second.headers["ETag"]) == ("true", first.headers["ETag"])
    assert (tried.status_code, faults(tried)) == (422, [("Idempotency-Key", "idempotency_key_reused")])
    assert len(await stored.changes()) == seq


async def engage_often(ledger: Ledger, alice: Person, contact: Thing, many: int) -> None:
    """Create many engagements with a contact."""

    def command(number: int) -> CreateEngagement:
        participant = Participant(email=contact.json["emails"][0]["email"])
        fields = EngagementCreate(
            type="CALL", title="Often", source_system="x", external_id=f"{number}", transcript="x", participants=(participant,)
        )
        return CreateEngagement(
            engagement_id=ids.new_id(),
            fields=fields,
            created_by=alice.key.id,
            owner_user_id=None,
        )

    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    for start in range(0, many, 500):
        numbers = range(start, min(many, start + 500))
        await gather(*(ledger.write(alice.workspace_id, command(number), origin) for number in numbers))


async def moved(pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, source: Thing) -> list[tuple[UUID, UUID]]:
    """Return the request and credential of each entry that took a contact from an engagement."""
    records = await pool.fetch(
        """
        select request_id, credential_id from change
        where workspace_id = $1 and kind = 'e' and action = 'u' and previous -> 'details' -> 'contact_ids' ->> 0 = $2
        """,
        *(alice.workspace_id, source.id),
    )
    return [(record["request_id"], record["credential_id"]) for record in records]


@pytest.mark.parametrize("many", [MAX_MOVED - 1, MAX_MOVED, MAX_MOVED + 1, 2 * MAX_MOVED + 100])
async def test_very_many_engagements(
    alice: Person, ada: Thing, grace: Thing, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", many: int
) -> None:
    """Engagements beyond one batch's limit move in slices, each once, under the same request; all are counted."""
    await engage_often(ledger, alice, grace, many)
    tried = await merge(alice, ada, grace, params={"dry_run": "true"})
    key = {"Idempotency-Key": str(uuid4())}
    done, again = [await merge(alice, ada, grace, headers=key) for _ in range(2)]

    request_id = ids.decoded(ids.REQUEST, done.headers["X-Request-Id"])
    named = await pool.fetch(
        "select contact_id, count(*) from engagement_contact where workspace_id = $1 group by 1", alice.workspace_id
    )
    assert tried.json()["engagements_moved"] == done.json()["engagements_moved"] == many
    assert again.content == done.content
    assert await moved(pool, alice, grace) == [(request_id, alice.key.id)] * many
    assert [tuple(record) for record in named] == [(ada.uuid, many)]
    await assert_agreement(pool, alice.workspace_id)


async def interrupted(ledger: Ledger, alice: Person, ada: Thing, grace: Thing) -> Origin:
    """Merge like a process that dies before the second slice; return the command's origin."""
    await engage_often(ledger, alice, grace, MAX_MOVED + 20)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    await ledger.write(alice.workspace_id, Merge(merge_type=CONTACT_MERGE, target_id=ada.uuid, sources=(grace.id,)), origin)
    return origin


async def test_what_was_interrupted_is_finished(
    alice: Person, ada: Thing, grace: Thing, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A later round finishes an interrupted merge, and enters the changes under the original request."""
    origin = await interrupted(ledger, alice, ada, grace)
    before = len(await moved(pool, alice, grace))
    await finish(cast("Executor", pool), ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE))

    assert before == MAX_MOVED
    assert await moved(pool, alice, grace) == [(origin.request_id, origin.credential_id)] * (MAX_MOVED + 20)


async def test_what_is_left_follows_the_chain(
    alice: Person, ada: Thing, grace: Thing, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Engagements left behind move to the end of the chain if the target was merged meanwhile."""
    await interrupted(ledger, alice, ada, grace)
    mary = await contact(alice, "mary@science.test")
    await merge(alice, mary, ada)
    for _ in range(2):
        await finish(cast("Executor", pool), ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE))

    named = await pool.fetch("select distinct contact_id from engagement_contact where workspace_id = $1", alice.workspace_id)
    assert [record["contact_id"] for record in named] == [mary.uuid]
    # The last round finds that the final contact was not merged itself.
    await finish(cast("Executor", pool), ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE))
    assert not await pool.fetch("select from unfinished where workspace_id = $1", alice.workspace_id)


async def test_a_slice_leaves_alone_who_is_there(alice: Person, ada: Thing, grace: Thing, ledger: Ledger) -> None:
    """Only a merged contact loses its engagements; a deleted one keeps them."""
    made = await engage(alice, "The engine", ada, grace)
    await alice.delete(grace.url)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    for each in (ada, grace):
        written = await ledger.write(alice.workspace_id, MoveReferences(CONTACT_MERGE, each.uuid), origin)
        assert written.body == b'{"all":true}'

    assert await engaged(alice, made) == [ada.id]


async def test_what_happens_in_the_same_batch_counts(
    alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Engagements that join or leave a source earlier in the same batch are moved according to that state."""
    comes, leaves = await engage(alice, "Comes"), await engage(alice, "Leaves", grace)

    def naming(engagement: Made, *contacts: Thing) -> Callable[[], Awaitable[Any]]:
        return lambda: alice.put(f"{engagement.url}/contacts", json={"contact_ids": [each.id for each in contacts]})

    # The first write is under way while the others wait, so those share a batch.
    writes = [lambda: alice.post(CONTACTS, json={}), naming(comes, grace), naming(leaves), lambda: merge(alice, ada, grace)]
    *_, response = await gather(*(write() for write in writes))

    assert response.json()["engagements_moved"] == 1
    assert [await engaged(alice, each) for each in (comes, leaves)] == [[ada.id], []]
    await assert_agreement(pool, alice.workspace_id)


async def test_others_can_have_a_part_in_a_bulk(alice: Person, ada: Thing, grace: Thing) -> None:
    """A merged contact is gone for a bulk as well."""
    await merge(alice, ada, grace)
    found = await results(alice, delete(grace.id), upsert("grace@navy.test"))

    assert [each["result"] for each in found] == ["failed", "unchanged"]
