"""A rolling upgrade: the release before this one and this one serve a database together, and both write.

The release before comes from the project's history. A shallow clone has none of it: these tests are skipped there, and fail in
CI.
"""

import asyncio
import os
import random
import subprocess
import tarfile
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httpx
import pytest
import pytest_asyncio

from evidence.rows import stored
from herdbook import ids
from tests.cast import Json, Person
from tests.cli.programs import PATIENCE, Running, serving
from tests.db.conftest import database_on
from tests.feed.test_rebuild import Life, Replica
from tests.history.consistency import assert_consistent
from tests.waiting import until
from tests.webhooks.receiver import Receiver, receiving

# The last commit before the first migration that came after 0.1.0. Each release names the commit of the one before it here.
PREVIOUS_RELEASE: Final = "536a134653a222409b9d1da16336184575146a31"
_ROOT: Final = Path(__file__).parents[2]
_CONTACTS: Final = "/api/v2/contacts"
_COMPANIES: Final = "/api/v2/companies"
_BULK: Final = "/api/herdbook/contacts/bulk"
_OUTDATED: Final = " union all ".join(
    f"select true from {table} where deleted_at is null and strpos(search, chr(30)) = 0"
    for table in ("contact", "company", "workspace_user", "engagement")
)


class Shared(NamedTuple):
    """A database, and what servers of both releases need to serve it."""

    url: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    folder: Path
    source: Path

    @contextmanager
    def before(self) -> Generator[Running]:
        """Run the release before while the block lasts."""
        with self._served("before", PYTHONPATH=str(self.source), HERDBOOK_ALLOW_NEWER_SCHEMA="1") as server:
            yield server

    @contextmanager
    def now(self) -> Generator[Running]:
        """Run this release while the block lasts."""
        with self._served("now") as server:
            yield server

    @contextmanager
    def _served(self, name: str, **variables: str) -> Generator[Running]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        settings = {"DATABASE_URL": self.url, "ALLOWED_TARGETS": "127.0.0.1", "RATE_LIMIT": "0", "LOG_LEVEL": "warning"}
        named = {f"HERDBOOK_{each}": value for each, value in settings.items()}
        with serving(folder, stderr=None, **named, **variables) as server:
            yield server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the release before."""
    packed = subprocess.run(["git", "archive", PREVIOUS_RELEASE, "src"], cwd=_ROOT, capture_output=True, check=False)
    if packed.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"the release before, commit {PREVIOUS_RELEASE}, is not in the history of this clone")
    assert packed.returncode == 0, packed.stderr
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


@pytest_asyncio.fixture
async def shared(source: Path, database_url: str, tmp_path: Path) -> AsyncGenerator[Shared]:
    """A new database."""
    async with database_on(database_url) as url, asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        yield Shared(url, pool, tmp_path, source)


@asynccontextmanager
async def owner_at(server: Running, key: Any, pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncGenerator[Person]:
    """Yield the owner of the first workspace, as a client of this server."""
    workspace_id = await pool.fetchval("select id from workspace")
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        yield Person(client, workspace_id, key)


@pytest_asyncio.fixture
async def both(shared: Shared) -> AsyncGenerator[tuple[Person, Person]]:
    """The owner at the release before, and at this one, which has been started beside it."""
    with shared.before() as before, shared.now() as now:
        async with owner_at(before, before.key, shared.pool) as one, owner_at(now, before.key, shared.pool) as other:
            yield one, other


async def test_both_write(shared: Shared) -> None:
    """All kinds of writes at both, and then at the release before alone, lose nothing and leave the ledger whole."""
    pool, dice = shared.pool, [random.Random(seed) for seed in (1, 2)]  # noqa: S311  # repeatable on purpose
    async with receiving() as receiver:
        with ExitStack() as servers:
            before, now = servers.enter_context(shared.before()), servers.enter_context(shared.now())
            async with owner_at(before, before.key, pool) as one, owner_at(now, before.key, pool) as other:
                endpoint = await one.post("/api/herdbook/webhooks", json={"url": receiver.url})
                assert endpoint.status_code == 201, endpoint.text
                first, second = (
                    Life(each, one_dice, is_of_both_releases=True) for each, one_dice in zip((one, other), dice, strict=True)
                )
                # Each writes what the other has created.
                for names in ("contacts", "companies", "tags", "engagements", "comments", "requests"):
                    setattr(second, names, getattr(first, names))
                await asyncio.gather(first.live(150), second.live(150))
        with shared.before() as again:
            async with owner_at(again, before.key, pool) as one:
                first.person = one
                await first.live(40)
                # For this release, a domain with `www.` is the same as without.
                await one.post(_COMPANIES, json={"name": "Only", "domains": [{"domain": "www.only.test"}]})
        with shared.now() as later:
            async with owner_at(later, before.key, pool) as other:
                await refreshed(pool)
                await assert_promises(other, pool)
                taken = await other.post(_COMPANIES, json={"name": "Another", "domains": [{"domain": "only.test"}]})
                told = await events(pool)
                await until(lambda: received(receiver) == told, PATIENCE)

    assert taken.status_code == 409
    entered = {ids.encoded(ids.REQUEST, each[0]) for each in await pool.fetch("select request_id from change")}
    for life in (first, second):
        assert {"merge", "bulk", "undo", "restore", "change_engagement"} <= life.done.keys()
        # A request that changes nothing enters nothing.
        assert len(entered.intersection(life.requests)) > 0.7 * len(life.requests)


async def test_a_merge_that_the_release_before_undoes_is_undone(shared: Shared, both: tuple[Person, Person]) -> None:
    """A company that this release has merged and the one before has brought back is an ordinary one, even when deleted."""
    before, now = both
    target, source = [
        (await now.post(_COMPANIES, json={"domains": [{"domain": each}]})).json()["id"] for each in ("a.test", "b.test")
    ]
    merged = await now.post(f"/api/herdbook/companies/{target}/merge", json={"from": [source]})
    restored = await before.post("/api/herdbook/undo", json={"request_id": merged.headers["X-Request-Id"]})
    deleted = await before.delete(f"{_COMPANIES}/{source}")
    replica = Replica(now.workspace_id)
    await replica.follow(now)
    gone = (await now.get("/api/herdbook/companies/deleted")).json()["data"]

    assert [each.status_code for each in (merged, restored, deleted)] == [200, 200, 200]
    assert [each["id"] for each in gone] == [source]
    assert replica.rows == await stored(shared.pool, now.workspace_id)


def received(receiver: Receiver) -> "Counter[str]":
    """Count the received events but for those of timelines, each once."""
    types = {request.headers["webhook-id"]: request.event["type"] for request in receiver.requests}
    return Counter(type_ for type_ in types.values() if "timeline" not in type_)


async def events(pool: "asyncpg.Pool[asyncpg.Record]") -> "Counter[str]":
    """Count the events of all changes of contacts, companies, engagements and tags."""
    names = {"c": "contact", "o": "company", "e": "engagement", "t": "tag"}
    actions = {"c": "created", "r": "created", "u": "updated", "d": "deleted"}
    changes = await pool.fetch("select kind::text, action::text from change where kind::text = any($1)", list(names))
    return Counter(f"v1.{names[kind]}.{actions[action]}" for kind, action in changes if (kind, action) != ("t", "u"))


async def refreshed(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Wait until no row has the search data of the release before."""
    async with asyncio.timeout(PATIENCE):
        while await pool.fetchval(f"select exists ({_OUTDATED})"):  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.05)
    # The other form of a key stays, too: nobody looks for it any more.
    await pool.execute("delete from company_domain where domain = 'www.only.test'")
    # The release before does not know these indexes: it deletes companies, and changes an engagement's tags, without them.
    await pool.execute("delete from company_former_domain")
    await pool.execute(
        """
        insert into company_former_domain (workspace_id, domain, company_id)
        select distinct workspace_id, regexp_replace(item ->> 'domain', '^(www\\.)+(?=[^.]+\\.)', ''), id
        from company cross join lateral json_array_elements(object -> 'domains') as item
        where deleted_at is not null and merged_into is null
        """
    )
    await pool.execute("delete from engagement_tag")
    await pool.execute(
        """
        insert into engagement_tag (workspace_id, tag_id, engagement_id)
        select distinct workspace_id, tag_id, id
        from engagement cross join lateral json_array_elements_text(details -> 'tag_ids') as of_it(tag_id)
        where deleted_at is null
        """
    )


async def assert_promises(person: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Check that the feed is gapless, that it rebuilds each row, and that keys and index entries are those of the rows."""
    replica = Replica(person.workspace_id)
    await replica.follow(person)
    head = await pool.fetchval("select seq from workspace")
    numbers = await pool.fetch("select seq from change order by seq")
    assert [each["seq"] for each in numbers] == list(range(1, head + 1))
    rows = await stored(pool, person.workspace_id)
    assert replica.rows.keys() == rows.keys()
    for place, row in rows.items():
        assert replica.rows[place] == row, place
    await assert_consistent(pool, person.workspace_id)


async def test_a_retry_finds_its_answer_at_the_other_one(both: tuple[Person, Person]) -> None:
    """A request that is sent again with its Idempotency-Key gets the first answer, whichever release gave that."""
    for number, (first, second) in enumerate([both, both[::-1]]):
        created = await first.post(_CONTACTS, json={"first_name": "Someone"})
        path = f"{_CONTACTS}/{created.json()['id']}"
        ada = {"last_name": "Lovelace", "first_name": "Ada", "emails": [{"email": f"ada{number}@engine.test"}]}
        some = [{"contact": {"first_name": "Eve"}, "action": "create"}, {"contact": ada, "action": "upsert"}]
        requests: list[tuple[str, str, Json, dict[str, str]]] = [
            ("POST", _CONTACTS, ada, {}),
            ("PATCH", path, {"last_name": "Byron", "first_name": "Augusta"}, {"If-Match": created.headers["ETag"]}),
            *(("POST", _BULK, {"operations": some, "atomic": atomic}, {}) for atomic in (False, True)),
            ("DELETE", path, None, {}),
        ]
        for place, (method, url, body, precondition) in enumerate(requests):
            headers = {**precondition, "Idempotency-Key": f"key {number} {place}"}
            answer, again = [await person.request(method, url, body, headers) for person in (first, second)]
            reused = await second.request("POST", _CONTACTS, {"first_name": "Another"}, headers)

            assert answer.is_success, answer.text
            assert (again.status_code, again.content) == (answer.status_code, answer.content), (number, method, url)
            assert "bulk" in url or reused.status_code == 422, reused.text


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (_CONTACTS, {"emails": [{"email": "Ada@engine.test"}]}, {"emails": [{"email": "ada@ENGINE.test"}]}),
        (
            _COMPANIES,
            {"name": "A", "domains": [{"domain": "X.test"}]},
            {"name": "B", "domains": [{"domain": "x.test"}]},
        ),
        ("/api/v2/tags", {"name": "Renewal"}, {"name": "renewal "}),
    ],
)
async def test_a_key_is_unique_across_both(both: tuple[Person, Person], path: str, one: Json, other: Json) -> None:
    """A key that an object holds at one release is taken at the other, and is free there once the object is deleted."""
    for first, second in (both, both[::-1]):
        created = await first.post(path, json=one)
        taken = await second.post(path, json=other)
        deleted = await second.delete(f"{path}/{created.json()['id']}")
        free = await first.post(path, json=other)
        again = await first.delete(f"{path}/{free.json()['id']}")

        assert [each.status_code for each in (created, taken, deleted, free, again)] == [201, 409, 200, 201, 200]
