"""POST /herdbook/companies/bulk: operations on companies. The rest of a bulk is the same as that of contacts."""

from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.companies.commands import DeleteCompany, ReleaseContacts
from herdbook.contacts import commands as contact_commands
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts import bulks
from tests.contacts.bulks import both_forms, verdicts
from tests.custom_fields.definitions import define
from tests.history.consistency import assert_consistent
from tests.history.requests import company_named, undo

BULK: Final = "/api/herdbook/companies/bulk"
COMPANIES: Final = "/api/v2/companies"
write = partial(bulks.write, url=BULK)
results = partial(bulks.results, url=BULK)
UNKNOWN: Final = "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
LINK: Final = {"object_type": "company", "crm_object_id": "17", "source": "hubspot"}


def create(*domains: str, **members: Any) -> Json:
    """Return an operation that creates a company with these domains."""
    return {"action": "create", "company": {"domains": [{"domain": each} for each in domains], **members}}


def update(company_id: str, **members: Any) -> Json:
    """Return an operation that updates a company."""
    return {"action": "update", "id": company_id, "company": members}


def delete(company_id: str) -> Json:
    """Return an operation that deletes a company."""
    return {"action": "delete", "id": company_id}


def upsert(*domains: str, primary: str | None = None, **members: Any) -> Json:
    """Return an operation that upserts a company with these domains, one of which may be marked."""
    items = [{"domain": each} | ({"is_primary": True} if each == primary else {}) for each in domains]
    return {"action": "upsert", "company": {**({"domains": items} if items else {}), **members}}


def domains(company: Json) -> list[str]:
    """Return the domains of a company; a star marks the primary one."""
    return [item["domain"] + "*" * item["is_primary"] for item in company["domains"]]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(BULK, json={"operations": [create()]})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot write anything."""
    response = await write(bob, create())

    assert response.status_code == 403
    assert await stored.changes() == []


@both_forms
async def test_charlie_is_refused(charlie: Person, alice: Person, engine: Thing, *, atomic: bool) -> None:
    """A company of another workspace is not found, its domain means nothing to others, and it stays."""
    response = await write(charlie, update(engine.id, name="Evil"), delete(engine.id), atomic=atomic)
    own = await results(charlie, upsert("engine.test", name="Evil"), atomic=atomic)

    assert response.status_code == (422 if atomic else 200)
    assert "not_found" in response.text
    assert verdicts(own) == ["created"]
    assert (await alice.get(engine.url)).json() == engine.json


@both_forms
async def test_dave_reads_nothing_by_writing(dave: Person, engine: Thing, *, atomic: bool) -> None:
    """A credential that may not read companies gets the id and the times of a company, as in a bulk of contacts."""
    (found,) = await results(dave, upsert("engine.test", description="Brass."), atomic=atomic)

    assert found["company"].keys() == {"object", "id", "created_at", "updated_at"}
    assert found["company"]["id"] == engine.id


@both_forms
async def test_each_kind_of_operation(
    alice: Person, frank: Person, renewal: Thing, engine: Thing, stored: Stored, *, atomic: bool
) -> None:
    """Companies are created, updated, upserted and deleted with all that a record has. Results show record and version."""
    await define(frank, "founded", "date", "company")
    await define(frank, "tier", "text", "company", default="new")
    looms = Thing(await alice.post(COMPANIES, json={"name": "Looms", "domains": []}))
    own = {"crm_association": LINK, "fields": {"founded": "1837-12-01"}, "tag_ids": [renewal.id]}
    before = len(await stored.changes())
    found = await results(
        alice,
        create("mills.test", name="Mills", **own),
        update(engine.id, fields={"founded": "1833-06-05"}),
        upsert("engine.test", "www.babbage.test", description="Brass.", fields={"tier": "old"}, tag_ids=[renewal.id]),
        delete(looms.id),
        update(engine.id, fields={"founded": "1833-06-05"}),
        upsert("looms.test", name="New looms"),
        atomic=atomic,
    )

    assert verdicts(found) == ["created", "updated", "updated", "deleted", "unchanged", "created"]
    mills = await alice.get(f"/api/herdbook/companies/{found[0]['company']['id']}/record")
    now = await alice.get(f"/api/herdbook/companies/{engine.id}/record")
    assert (found[0]["company"], found[4]["company"]) == (mills.json(), now.json())
    assert mills.json().items() >= {**own, "fields": {"founded": "1837-12-01", "tier": "new"}}.items()
    assert now.json()["fields"] == {"founded": "1833-06-05", "tier": "old"}
    assert (domains(now.json()), now.json()["tag_ids"]) == (["engine.test*", "babbage.test"], [renewal.id])
    assert found[3] == {"index": 3, "result": "deleted", "version": before + 4, "id": looms.id}
    assert [each["version"] for each in found] == [before + 1, before + 2, before + 3, before + 4, before + 3, before + 5]
    assert now.headers["ETag"].startswith(f'"{before + 3}')
    assert (await alice.get(looms.url)).status_code == 404


# A refused operation, and the equivalent single request with the same refusal.
REFUSED: Final = {
    "a body": (create("no domain", name="", tag_ids=["tag"]), "POST", "/api/herdbook/companies"),
    "a field": (create(nane="Looms"), "POST", "/api/herdbook/companies"),
    "a value": (create(fields={"unknown": 1}), "POST", "/api/herdbook/companies"),
    "a patch": (update("{engine}", domains=[{}], name=5), "PATCH", "/api/herdbook/companies/{engine}/record"),
    "a domain": (create("new.test", "ENGINE.test"), "POST", "/api/herdbook/companies"),
    "a giver": (create(take_from=UNKNOWN), "POST", "/api/herdbook/companies"),
    "a company": (update(UNKNOWN, name="Looms"), "PATCH", f"{COMPANIES}/{UNKNOWN}"),
    "no id": (delete("nobody"), "DELETE", f"{COMPANIES}/nobody"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_is_refused_as_by_itself(alice: Person, engine: Thing, refused: tuple[Json, str, str]) -> None:
    """A refused operation has its single request's problem, with its path before each field. The others are applied."""
    operation, method, path = refused
    operation = {**operation, "id": operation["id"].format(engine=engine.id)} if "id" in operation else operation
    single = await alice.request(method, path.format(engine=engine.id), json=operation.get("company"))
    response = await write(alice, create(), operation, create())

    problem = response.json()["results"][1]["problem"]
    expected = [(f"operations[1].company.{each['field']}", each["code"]) for each in single.json().get("errors", ())]
    assert not single.is_success
    assert verdicts(response.json()["results"]) == ["created", "failed", "created"]
    assert (problem["status"], problem.get("conflict")) == (single.status_code, single.json().get("conflict"))
    assert [(each["field"], each["code"]) for each in problem.get("errors", ())] == expected
    assert all("`operations[1].company." in each["message"] for each in problem.get("errors", ()))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            {"action": "create", "contact": {}},
            [("operations[1].company", "required"), ("operations[1].contact", "unknown_field")],
        ),
        (upsert(name="Looms"), [("operations[1].company.domains", "required")]),
        ({"action": "upsert", "company": {"domains": []}}, [("operations[1].company.domains", "too_short")]),
        (upsert("x.test", match_by="crm_association"), [("operations[1].company.crm_association", "required")]),
        (upsert("x.test", match_by="name"), [("operations[1].company.match_by", "invalid_choice")]),
        (upsert("x.test", take_from=UNKNOWN), [("operations[1].company.take_from", "unknown_field")]),
        (update(UNKNOWN, name="Looms"), [("operations[1].id", "not_found")]),
    ],
)
async def test_all_or_none_is_none(alice: Person, stored: Stored, operation: Json, expected: list[tuple[str, str]]) -> None:
    """One refused operation refuses an atomic bulk, with its path, and nothing is written."""
    response = await write(alice, create("looms.test"), operation, atomic=True)

    assert (response.status_code, sorted(faults(response))) == (422, sorted(expected))
    assert await stored.changes() == []


@both_forms
async def test_an_upsert_finds_what_the_bulk_has_made(alice: Person, *, atomic: bool) -> None:
    """By a domain or a link, an upsert updates the company that an earlier operation created."""
    found = await results(
        alice,
        upsert("looms.test", name="Looms"),
        upsert("WWW.Looms.test", "mills.test", description="Weavers."),
        upsert(match_by="crm_association", crm_association=LINK, name="Mills"),
        upsert(match_by="crm_association", crm_association=LINK, name="Mills Ltd"),
        atomic=atomic,
    )

    assert verdicts(found) == ["created", "updated", "created", "updated"]
    assert found[0]["company"]["id"] == found[1]["company"]["id"]
    assert found[2]["company"]["id"] == found[3]["company"]["id"]
    assert (found[1]["company"]["name"], domains(found[1]["company"])) == ("Looms", ["looms.test*", "mills.test"])


async def test_an_upsert_keeps_the_primary_domain_unless_another_is_marked(alice: Person, engine: Thing) -> None:
    """The primary domain stays so beside new ones. A marked one becomes it, also one that the company has."""
    kept, moved, back = await results(
        alice,
        upsert("engine.test", "a.test"),
        upsert("a.test", "b.test", primary="a.test"),
        upsert("b.test", "engine.test", primary="engine.test"),
    )

    assert kept["company"]["id"] == moved["company"]["id"] == back["company"]["id"] == engine.id
    assert domains(kept["company"]) == ["engine.test*", "a.test"]
    assert domains(moved["company"]) == ["engine.test", "a.test*", "b.test"]
    assert domains(back["company"]) == ["engine.test*", "a.test", "b.test"]


async def test_an_upsert_takes_no_domain_from_another(alice: Person, engine: Thing) -> None:
    """A domain that another company has is named where the request has it, with its holder."""
    (looms,) = await results(alice, create("looms.test", "mills.test"))
    (found,) = await results(alice, upsert("looms.test", "new.test", "engine.test", "mills.test"))

    assert found["result"] == "failed"
    assert [each["field"] for each in found["problem"]["errors"]] == ["operations[0].company.domains[2].domain"]
    assert found["problem"]["conflict"] == {"object": "company", "id": engine.id}
    assert domains((await alice.get(f"{COMPANIES}/{looms['company']['id']}")).json()) == ["looms.test*", "mills.test"]


async def test_an_upsert_adds_no_more_than_a_company_may_have(alice: Person) -> None:
    """Past a hundred domains, an upsert is refused with the number that there would be."""
    await results(alice, create(*(f"d{n}.test" for n in range(99))))
    (found,) = await results(alice, upsert("d0.test", "more.test", "evenmore.test"))

    assert [each["field"] for each in found["problem"]["errors"]] == ["operations[0].company.domains"]
    assert "101 items" in found["problem"]["detail"]


async def test_a_deleted_company_comes_back(alice: Person, engine: Thing) -> None:
    """An upsert restores the company that was deleted last with the domain, without what others have taken since."""
    await write(alice, update(engine.id, domains=[{"domain": "www.engine.test"}, {"domain": "taken.test"}]))
    await alice.delete(engine.url)
    await write(alice, create("taken.test"))
    (found,) = await results(alice, upsert("engine.test", description="Weaves."))
    (again,) = await results(alice, upsert("engine.test", description="Weaves."))

    assert (found["result"], found["company"]["id"]) == ("restored", engine.id)
    assert [each["domain"] for each in found["company"]["domains"]] == ["engine.test"]
    assert again["result"] == "unchanged"


async def test_a_merged_company_does_not_come_back(alice: Person, engine: Thing) -> None:
    """An upsert by a domain that a merged company had finds the company that has it now."""
    other = await company_named(alice, "other.test")
    await alice.post(f"/api/herdbook/companies/{other.id}/merge", json={"from": [engine.id]})
    (found,) = await results(alice, upsert("engine.test", name="Both"))

    assert (found["result"], found["company"]["id"]) == ("updated", other.id)


async def test_a_company_that_the_same_bulk_has_deleted_comes_back(alice: Person, engine: Thing) -> None:
    """An upsert restores a company that an operation before it has deleted, and cleared from all its contacts."""
    gone, back = await results(alice, delete(engine.id), upsert("engine.test"))

    assert (gone["result"], back["result"], back["company"]["id"]) == ("deleted", "restored", engine.id)


@both_forms
async def test_a_company_comes_back_without_contacts(
    alice: Person,
    engine: Thing,
    pool: "asyncpg.Pool[asyncpg.Record]",
    workspace_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    *,
    atomic: bool,
) -> None:
    """An upsert makes a new company while contacts still have the deleted one, as in the bulk that deletes it."""
    monkeypatch.setattr(contact_commands, "MAX_RELEASED_CONTACTS", 2)
    people = [Thing(await alice.post("/api/v2/contacts", json={"company_id": engine.id})) for _ in range(5)]
    found = await results(alice, delete(engine.id), upsert("engine.test"), atomic=atomic)
    (again,) = await results(alice, upsert("engine.test"))

    assert verdicts([*found, again]) == ["deleted", "created", "unchanged"]
    assert (await alice.get(engine.url)).status_code == 404
    assert ["company" in (await alice.get(each.url)).json() for each in people] == [False] * 5
    await assert_consistent(pool, workspace_id)


async def test_a_company_comes_back_when_its_contacts_are_released(
    alice: Person, engine: Thing, ledger: Ledger, workspace_id: UUID
) -> None:
    """A company whose deletion has more slices is restored after the last one, and not between them."""
    await write(alice, update(engine.id, domains=[{"domain": "engine.test"}, {"domain": "looms.test"}]))
    many = contact_commands.MAX_RELEASED_CONTACTS
    contacts = [{"action": "create", "contact": {"company_id": engine.id}} for _ in range(many)]
    await alice.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": contacts})
    released = contact_commands.ContactsOfCompany()
    origin = Origin(ids.new_id(), alice.key.id)
    await ledger.write(workspace_id, DeleteCompany(engine.uuid, released), origin)
    (between,) = await results(alice, upsert("looms.test"))
    await ledger.write(workspace_id, ReleaseContacts(engine.uuid, released), origin)
    (after,) = await results(alice, upsert("engine.test"))

    assert between["result"] == "created"
    assert (after["result"], after["company"]["id"]) == ("restored", engine.id)


async def test_a_company_that_has_lost_a_domain_does_not_come_back(
    alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """An upsert restores no deleted company that an index names for a domain which it does not have."""
    await alice.delete(engine.url)
    await pool.execute("insert into company_former_domain values ($1, 'old.test', $2)", alice.workspace_id, engine.uuid)
    (found,) = await results(alice, upsert("old.test"))

    assert (found["result"], domains(found["company"])) == ("created", ["old.test*"])


@both_forms
async def test_a_deletion_clears_the_contacts(
    alice: Person,
    engine: Thing,
    pool: "asyncpg.Pool[asyncpg.Record]",
    workspace_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    *,
    atomic: bool,
) -> None:
    """A deleted company is gone from all its contacts with the answer, also past one slice. An undo links them again."""
    monkeypatch.setattr(contact_commands, "MAX_RELEASED_CONTACTS", 2)
    people = [Thing(await alice.post("/api/v2/contacts", json={"company_id": engine.id})) for _ in range(5)]
    response = await write(alice, delete(engine.id), create("engine.test"), atomic=atomic)

    assert verdicts(response.json()["results"]) == ["deleted", "created"]
    assert ["company" in (await alice.get(each.url)).json() for each in people] == [False] * 5
    await undo(alice, response.headers["X-Request-Id"])
    assert [(await alice.get(each.url)).json()["company"]["id"] for each in people] == [engine.id] * 5
    await assert_consistent(pool, workspace_id)


async def test_a_creation_takes_a_domain(alice: Person, engine: Thing) -> None:
    """With `take_from`, another company gives up the domain in the same change."""
    (found,) = await results(alice, create("engine.test", take_from=engine.id))

    assert (found["result"], domains(found["company"])) == ("created", ["engine.test*"])
    assert (await alice.get(engine.url)).json()["domains"] == []


@both_forms
async def test_a_retry_gets_the_first_answer(alice: Person, engine: Thing, stored: Stored, *, atomic: bool) -> None:
    """A retry with the same Idempotency-Key gets the first answer and writes nothing; another bulk with it is refused."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await write(alice, create("a.test"), delete(engine.id), atomic=atomic, headers=key) for _ in range(2)]
    other = await write(alice, create("b.test"), atomic=atomic, headers=key)

    assert (second.status_code, second.json()) == (200, first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert faults(other) == [("Idempotency-Key", "idempotency_key_reused")]
    assert len(await stored.changes()) == 3


async def test_domains_are_limited_together(alice: Person, stored: Stored) -> None:
    """A bulk has at most five thousand domains, and If-Match never matches."""
    many = await write(alice, *(create(*(f"d{n}-{m}.test" for m in range(100))) for n in range(51)))
    matched = await write(alice, create(), headers={"If-Match": "*"})

    assert faults(many) == [("operations", "too_long")]
    assert "5100 domains in total. 5000 is the limit" in many.json()["detail"]
    assert matched.status_code == 412
    assert await stored.changes() == []
