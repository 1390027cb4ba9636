"""POST /herdbook/companies/{company_id}/merge."""

from functools import partial
from typing import Any, Final, cast
from uuid import uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.companies.commands import RELEASE_CONTACTS, ReleaseContacts
from herdbook.companies.model import CompanyCreate
from herdbook.companies.store import COMPANY
from herdbook.contacts.commands import ContactsOfCompany
from herdbook.db.pool import Executor
from herdbook.ledger.commands import Create
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.merging.commands import Merge, MoveReferences
from herdbook.merging.store import COMPANY_MERGE, MAX_MOVED
from tests.cast import Json, Person, Stored, Thing, faults
from tests.custom_fields.definitions import define
from tests.engagements.calls import Made
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import company_named, now, person_named, restore, undo
from tests.history.test_undo_many import hire, staff
from tests.merging.merges import engage
from tests.merging.tables import everything

NOBODY: Final = "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
HUBSPOT: Final = {"object_type": "company", "crm_object_id": "12345", "source": "hubspot"}


async def merge(person: Person, target: Thing, *sources: Thing | str, **options: Any) -> httpx.Response:
    """Merge companies into another one."""
    body = {"from": [source if isinstance(source, str) else source.id for source in sources]}
    return await person.post(f"/api/herdbook/companies/{target.id}/merge", json=body, **options)


async def merged(person: Person, target: Thing, *sources: Thing, **options: Any) -> Json:
    """Merge companies into another one; return the answer."""
    response = await merge(person, target, *sources, **options)
    assert response.status_code == 200, response.text
    return response.json()


async def companies_of(person: Person, engagement: Made) -> list[str]:
    """Return an engagement's companies."""
    response = await person.get(engagement.url, params={"expand": "companies"})
    return [each["id"] for each in response.json()["companies"]]


def domains(company: Json) -> list[str]:
    """Return a company's domains, with a star behind the primary one."""
    return [item["domain"] + ("*" if item["is_primary"] else "") for item in company["domains"]]


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """Without a credential the answer is 401, with a challenge."""
    response = await client.post(f"/api/herdbook/companies/{engine.id}/merge", json={"from": [NOBODY]})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, engine: Thing) -> None:
    """Companies of another workspace are not found, neither as target nor as source."""
    mill = await company_named(charlie, "mill.test")
    into, of = await merge(charlie, engine, mill), await merge(charlie, mill, engine)

    assert (into.status_code, of.status_code) == (404, 422)
    assert faults(of) == [("from[0]", "not_found")]
    assert (await alice.get(engine.url)).json() == engine.json


async def test_bob_is_refused(bob: Person, alice: Person, engine: Thing) -> None:
    """A read-only credential merges nothing, not even in a dry run."""
    mill = await company_named(alice, "mill.test")
    responses = [await merge(bob, engine, mill, params=params) for params in ({}, {"dry_run": "true"})]

    assert [response.status_code for response in responses] == [403, 403]


async def test_values_of_fields_are_combined_by_their_rules(
    alice: Person, frank: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """The target keeps its values and gets those that it lacks, and options are united, as previewed. An undo parts them."""
    for key, kind in (("one", "text"), ("tiers", "several_of"), ("badge", "text")):
        await define(frank, key, kind, "company", unique=key == "badge")
    target, source = await company_named(alice, "acme.test"), await company_named(alice, "acme.org")
    own: dict[Thing, Json] = {
        target: {"one": "1", "tiers": ["gold"]},
        source: {"one": "2", "tiers": ["silver", "gold"], "badge": "7"},
    }
    for company, values in own.items():
        await alice.patch(f"/api/herdbook/companies/{company.id}/record", json={"fields": values})
    preview = (await merge(alice, target, source, params={"dry_run": "true"})).json()["company"]
    merged = await merge(alice, target, source)
    taken = await alice.post("/api/herdbook/companies", json={"domains": [], "fields": {"badge": "7"}})
    undone = await undo(frank, merged)

    assert preview["fields"] == merged.json()["company"]["fields"] == {"one": "1", "tiers": ["gold", "silver"], "badge": "7"}
    assert taken.json()["conflict"]["id"] == target.id
    assert undone.kept == {}
    for company, values in own.items():
        assert (await alice.get(f"/api/herdbook/companies/{company.id}/record")).json()["fields"] == values
    await assert_consistent(pool, alice.workspace_id)


async def test_the_target_gets_domains_fields_contacts_and_engagements(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """The target gets the fields that it lacks, all domains, all contacts and all engagements; the others are gone."""
    target = await company_named(alice, "acme.test", name="Acme")
    first = await company_named(alice, "acme.example", "acme.org", name="ACME Inc.", description="Mills")
    second = await company_named(alice, "acme.net")
    await alice.put(f"{second.url}/crm_association", json=HUBSPOT)
    ada = await person_named(alice, company_id=first.id)
    grace = await person_named(alice, company_id=target.id)
    talk = await engage(alice, "Talk", ada, grace)
    response = await merge(alice, target, first, second)
    after = await alice.get(target.url)

    assert response.json() == {
        "object": "merge",
        "dry_run": False,
        "company": after.json(),
        "merged": [first.id, second.id],
        "contacts_moved": 1,
        "engagements_moved": 1,
        "notes_moved": 0,
    }
    assert response.headers["ETag"] == after.headers["ETag"]
    company = after.json()
    assert (company["name"], company["description"], company["crm_association"]) == ("Acme", "Mills", HUBSPOT)
    assert domains(company) == ["acme.test*", "acme.example", "acme.org", "acme.net"]
    assert (await now(alice, ada))["company"]["id"] == target.id
    assert await companies_of(alice, talk) == [target.id]
    assert [each["id"] for each in (await alice.get("/api/v2/companies")).json()["data"]] == [target.id]
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)


async def test_a_merged_company_leads_to_the_one_that_replaces_it(alice: Person, bob: Person, engine: Thing) -> None:
    """Reading a merged company redirects to the end of the chain of merges."""
    mill, last = await company_named(alice, "mill.test"), await company_named(alice, "last.test")
    await merged(alice, mill, engine)
    await merged(alice, last, mill)
    response = await bob.get(engine.url)

    assert (response.status_code, response.headers["Location"]) == (308, last.url)
    assert response.json() == {"object": "company", "id": engine.id, "merged_into": last.id}


async def test_a_dry_run_writes_nothing(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A dry run answers what the merge would, and leaves every table as it was."""
    mill = await company_named(alice, "mill.test", description="Mills")
    await person_named(alice, company_id=mill.id)
    before = await everything(pool, alice.workspace_id)
    tried = await merged(alice, engine, mill, params={"dry_run": "true"})
    untouched = await everything(pool, alice.workspace_id) == before
    done = await merged(alice, engine, mill)

    assert untouched
    tried["company"]["updated_at"] = done["company"]["updated_at"]
    assert tried == {**done, "dry_run": True}


@pytest.mark.parametrize("many", [2, MAX_MOVED + 100])
async def test_a_merge_is_undone_and_redone(
    alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]", many: int
) -> None:
    """An undo brings back the companies, their domains, contacts and engagements; undoing that merges them again."""
    mill = await company_named(alice, "mill.test", name="Mill")
    await hire(alice, mill, many)
    ada = await person_named(alice, company_id=mill.id)
    talk = await engage(alice, "Talk", ada)
    before = [await now(alice, each) for each in (engine, mill, ada)]
    merging = await merge(alice, engine, mill)
    after = [await now(alice, each) for each in (engine, mill, ada)]
    undone = await undo(alice, merging)
    back = ([await now(alice, each) for each in (engine, mill, ada)], await companies_of(alice, talk), await staff(pool, mill))
    redone = await undo(alice, undone)

    assert (undone.kept, redone.kept) == ({}, {})
    assert back == (before, [mill.id], many + 1)
    assert [await now(alice, each) for each in (engine, mill, ada)] == after
    assert (await companies_of(alice, talk), await staff(pool, engine)) == ([engine.id], many + 1)
    assert (await alice.get(mill.url)).headers["Location"] == engine.url
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)


async def test_a_merged_company_keeps_its_target(alice: Person, engine: Thing) -> None:
    """A company into which others were merged by a later request is not undone away from under them."""
    creation = await alice.post("/api/v2/companies", json={"domains": [{"domain": "mill.test"}]})
    await merged(alice, Thing(creation), engine)

    assert (await undo(alice, creation)).kept == {creation.json()["id"]: "changed_since"}
    plain = await alice.post("/api/v2/companies", json={"domains": []})
    await merged(alice, Thing(plain), await company_named(alice))
    assert (await undo(alice, plain)).kept == {plain.json()["id"]: "in_use"}


async def test_a_merged_company_is_restored_if_its_domains_are_free(alice: Person, engine: Thing) -> None:
    """A merged company comes back once the target gives its domains back, and its contacts stay where they are."""
    mill = await company_named(alice, "mill.test")
    ada = await person_named(alice, company_id=mill.id)
    await merged(alice, engine, mill)
    refused = await restore(alice, mill)
    await alice.patch(engine.url, json={"domains": engine.json["domains"]})
    restored = await restore(alice, mill)

    assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, engine.id)
    assert restored.status_code == 200
    assert (await now(alice, ada))["company"]["id"] == engine.id


@pytest.mark.parametrize(
    ("of", "code"),
    [([], "too_short"), (["cmp_1", "cmp_1"], "duplicate"), (["cnt_1"], "invalid_format"), ([NOBODY], "not_found")],
)
async def test_what_cannot_be_merged_is_refused(alice: Person, engine: Thing, of: list[str], code: str) -> None:
    """A list that is empty, or names a company twice, something else or nobody, is refused."""
    response = await merge(alice, engine, *of)

    assert response.status_code == 422
    assert code in [each for _, each in faults(response)]


async def test_the_target_is_no_source(alice: Person, engine: Thing) -> None:
    """A company is not merged into itself."""
    assert faults(await merge(alice, engine, engine)) == [("from[0]", "duplicate")]


async def test_together_they_may_have_too_many_domains(alice: Person, engine: Thing) -> None:
    """A merge into more domains than a company may have is refused, and nothing is done."""
    other = await company_named(alice, *(f"{number}.test" for number in range(100)))
    response = await merge(alice, engine, other)

    assert (response.status_code, faults(response)) == (422, [("from", "too_long")])
    assert "101 domains" in response.json()["detail"]


async def test_the_version_of_the_target_is_checked(alice: Person, engine: Thing) -> None:
    """`If-Match` applies to the target."""
    mill = await company_named(alice, "mill.test")

    assert (await merge(alice, engine, mill, headers={"If-Match": '"999"'})).status_code == 412
    assert (await merge(alice, engine, mill, headers={"If-Match": engine.etag})).status_code == 200


async def test_a_repeat_gets_the_first_answer(alice: Person, engine: Thing, stored: Stored) -> None:
    """A repeated merge with the same Idempotency-Key is not carried out twice."""
    mill = await company_named(alice, "mill.test")
    key = {"Idempotency-Key": str(uuid4())}
    done, again = [await merge(alice, engine, mill, headers=key) for _ in range(2)]

    assert again.content == done.content
    assert [(change.kind, change.action) for change in (await stored.changes())[-2:]] == [("o", "d"), ("o", "u")]


async def test_dave_sees_no_more_than_he_sent(dave: Person, alice: Person, engine: Thing) -> None:
    """A credential that may not read companies does not see the fields of the merged one."""
    mill = await company_named(alice, "mill.test", description="Mills")
    answer = await merged(dave, engine, mill)

    assert set(answer["company"]) == {"object", "id", "created_at", "updated_at"}


async def interrupted(ledger: Ledger, alice: Person, target: Thing, source: Thing) -> Origin:
    """Merge like a process that dies before the second slice; return the command's origin."""
    await hire(alice, source, MAX_MOVED + 20)
    await engage(alice, "Talk", await person_named(alice, company_id=source.id))
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = Merge(merge_type=COMPANY_MERGE, target_id=target.uuid, sources=(source.id,))
    await ledger.write(alice.workspace_id, command, origin)
    return origin


async def move_rest(statements: Executor, ledger: Ledger) -> None:
    """Finish merges of companies, as the server does every minute."""
    await finish(statements, ledger, COMPANY_MERGE.task, partial(MoveReferences, COMPANY_MERGE))


async def release_rest(statements: Executor, ledger: Ledger) -> None:
    """Finish deletions of companies, as the server does every minute."""
    await finish(statements, ledger, RELEASE_CONTACTS, partial(ReleaseContacts, contacts=ContactsOfCompany()))


async def test_what_was_interrupted_is_finished(
    alice: Person, engine: Thing, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A later round moves the contacts and engagements that were left, under the original request."""
    mill = await company_named(alice, "mill.test")
    origin = await interrupted(ledger, alice, engine, mill)
    moved = await staff(pool, engine)
    for _ in range(2):
        await move_rest(cast("Executor", pool), ledger)
    requests = await pool.fetch(
        "select distinct request_id from change where workspace_id = $1 and action = 'u' and kind in ('c', 'e') "
        "and object ->> 'company' like '%' || $2 || '%'",
        *(alice.workspace_id, engine.id),
    )

    assert moved == MAX_MOVED
    assert (await staff(pool, engine), await staff(pool, mill)) == (MAX_MOVED + 21, 0)
    assert [record["request_id"] for record in requests] == [origin.request_id]
    assert not await pool.fetch("select from engagement_company where company_id = $1", mill.uuid)
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize("is_merged", [True, False])
async def test_what_is_left_when_the_target_goes(
    alice: Person, engine: Thing, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", *, is_merged: bool
) -> None:
    """Contacts left behind go to the end of the chain, or have no company if the target was deleted meanwhile."""
    mill, last = await company_named(alice, "mill.test"), await company_named(alice, "last.test")
    await interrupted(ledger, alice, engine, mill)
    if is_merged:
        await merged(alice, last, engine)
    else:
        await alice.delete(engine.url)
    statements = cast("Executor", pool)
    for _ in range(3):
        await release_rest(statements, ledger)
        await move_rest(statements, ledger)
    await release_rest(statements, ledger)

    assert [await staff(pool, each) for each in (mill, engine, last)] == [0, 0, MAX_MOVED + 21 if is_merged else 0]
    assert not await pool.fetch("select from unfinished where workspace_id = $1", alice.workspace_id)
    await assert_consistent(pool, alice.workspace_id)


async def test_companies_whose_domains_became_one_are_merged(
    alice: Person, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """If two companies list one domain, because `www.` makes no difference any more, the remaining one of a merge holds it."""
    for number in range(2):
        holder = await company_named(alice, f"{number}.acme.test")
        written = await ledger.write(
            alice.workspace_id, Create(COMPANY, CompanyCreate(domains=())), Origin(ids.new_id(), alice.key.id)
        )
        other = Thing(await alice.patch(f"/api/v2/companies/{_id_in(written.body)}", json={"name": "Acme"}))
        listed = f'"domains":[{{"domain":"www.{number}.acme.test","is_primary":true}}]'
        await pool.execute(
            "update company set object = replace(object::text, '\"domains\":[]', $2)::json where id = $1", other.uuid, listed
        )
        target, source = (holder, other) if number else (other, holder)
        answer = await merged(alice, target, source)

        assert domains(answer["company"]) == [f"{number}.acme.test*"]
        assert (
            await pool.fetchval("select company_id from company_domain where domain = $1", f"{number}.acme.test") == target.uuid
        )
    await assert_consistent(pool, alice.workspace_id)


def _id_in(body: bytes) -> str:
    return httpx.Response(200, content=body).json()["id"]
