"""Migration 0011: a domain with `www.` is the same as without."""

from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.db.migrate import migrate
from herdbook.first_start import prepare
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.db.conftest import NewDatabase
from tests.serving import serving

URL = "/api/v2/companies"
MIGRATIONS = ["0011_companies", "0012_company_merged_concurrently"]


class Upgrade:
    """A database with companies, which goes back to the last release, and a person who uses the present one."""

    def __init__(self, url: str, person: Person, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.url = url
        self.person = person
        self.connection = connection

    async def company(self, domain: str) -> Thing:
        """Create a company with a domain."""
        return Thing(await self.person.post(URL, json={"domains": [{"domain": domain}]}))

    async def go_back(self, **stored: Thing) -> None:
        """Bring the database to the last release's schema. The domains of these companies begin with `www.` there."""
        await self.connection.execute("alter table company drop column merged_into cascade")
        await self.connection.execute("delete from migration where name = any($1)", MIGRATIONS)
        for company in stored.values():
            domain = company.json["domains"][0]["domain"]
            for table, column in (("company", "object"), ("change", "object")):
                await self.connection.execute(
                    f"update {table} set {column} = replace({column}::text, $1::text, $2::text)::json "
                    f"where {column} ->> 'id' = $3",
                    *(f'"{domain}"', f'"www.{domain.removeprefix("other.")}"', company.id),
                )
            await self.connection.execute(
                "update company_domain set domain = $1 where company_id = $2",
                *(f"www.{domain.removeprefix('other.')}", company.uuid),
            )

    async def domains(self) -> list[tuple[str, str]]:
        """Return the domains with their holders."""
        records = await self.connection.fetch("select domain, company_id from company_domain order by 1")
        return [(domain, ids.encoded(ids.COMPANY, holder)) for domain, holder in records]


@pytest_asyncio.fixture
async def upgrade(new_database: NewDatabase, tmp_path: Path) -> AsyncGenerator[Upgrade]:
    """A served database of its own."""
    url = await new_database()
    prepared = await prepare(url)
    assert prepared.api_key is not None
    connection = await asyncpg.connect(url)
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), url) as client:
        yield Upgrade(url, Person(client, prepared.workspace_id, prepared.api_key), connection)
    await connection.close()


async def test_a_stored_domain_is_the_one_without_www(upgrade: Upgrade) -> None:
    """A company that was stored with `www.` has the domain without it, for searches and for others who ask for it."""
    alice, engine = upgrade.person, await upgrade.company("engine.test")
    other = await upgrade.company("www.com")
    await upgrade.go_back(engine=engine)

    assert await migrate(upgrade.url) == MIGRATIONS
    assert await upgrade.domains() == [("engine.test", engine.id), ("www.com", other.id)]
    found = (await alice.get(URL, params={"filter[domain][eq]": "www.engine.test"})).json()["data"]
    refused = await alice.post(URL, json={"domains": [{"domain": "engine.test"}]})
    same = await alice.patch(engine.url, json={"domains": found[0]["domains"], "name": "Engine"})
    assert [each["id"] for each in found] == [engine.id]
    assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, engine.id)
    assert (same.status_code, same.json()["domains"]) == (200, [{"domain": "engine.test", "is_primary": True}])


async def test_what_was_deleted_before_comes_back_only_if_the_domain_is_free(upgrade: Upgrade) -> None:
    """A company that was deleted with `www.` is not restored beside one that has the domain without it."""
    alice, engine = upgrade.person, await upgrade.company("engine.test")
    deletion = await alice.delete(engine.url)
    await upgrade.go_back(engine=engine)
    await migrate(upgrade.url)
    other = await upgrade.company("engine.test")
    restored = await alice.post(f"/api/herdbook/companies/{engine.id}/restore")
    undone = await alice.post("/api/herdbook/undo", json={"request_id": deletion.headers["X-Request-Id"]})

    assert (restored.status_code, restored.json()["conflict"]["id"]) == (409, other.id)
    assert [kept["reason"] for kept in undone.json()["kept"]] == ["conflict"]


async def test_two_companies_with_one_domain_are_told(upgrade: Upgrade, caplog: pytest.LogCaptureFixture) -> None:
    """If two companies would hold one domain, the log names both, and the one that had it without `www.` holds it."""
    with_www, without = await upgrade.company("other.acme.test"), await upgrade.company("acme.test")
    await upgrade.go_back(with_www=with_www)
    await migrate(upgrade.url)
    (told,) = [record.getMessage() for record in caplog.records if record.name == "herdbook.db"]

    assert await upgrade.domains() == [("acme.test", without.id)]
    assert all(each in told for each in (with_www.id, without.id, f"/api/herdbook/companies/{without.id}/merge"))


async def test_two_companies_with_one_domain_stay_usable(upgrade: Upgrade) -> None:
    """Each of two companies with one domain can be read, changed and deleted, and takes nothing from the other."""
    alice = upgrade.person
    with_www, without = await upgrade.company("other.acme.test"), await upgrade.company("acme.test")
    await upgrade.go_back(with_www=with_www)
    await migrate(upgrade.url)
    shown = (await alice.get(with_www.url)).json()["domains"]
    changed = await alice.patch(with_www.url, json={"name": "Acme", "domains": [*shown, {"domain": "acme.example"}]})

    assert shown == [{"domain": "www.acme.test", "is_primary": True}]
    assert (changed.status_code, changed.json()["domains"][1]["domain"]) == (200, "acme.example")
    assert (await alice.delete(with_www.url)).status_code == 200
    assert await upgrade.domains() == [("acme.test", without.id)]
    assert (await alice.patch(without.url, json={"domains": []})).status_code == 200
    assert await upgrade.domains() == []
