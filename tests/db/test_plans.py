"""The plans of the statements that run all day: each finds its rows by an index, whatever else the tables hold.

PostgreSQL itself logs how it ran each statement (https://www.postgresql.org/docs/current/auto-explain.html). The tests thus
see the program's real statements with their real plans: planned once for any parameters, before or after PostgreSQL knew how
much the tables hold.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, LiteralString, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_key, create_workspace, find_access_token, find_key, note_use
from herdbook.companies import store as companies
from herdbook.companies.commands import RELEASE_CONTACTS, DeleteCompany, ReleaseContacts
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest
from herdbook.companies.store import COMPANY
from herdbook.contacts import store as contacts
from herdbook.contacts.commands import ContactsOfCompany, UpsertContact
from herdbook.contacts.model import ContactCrmAssociation, ContactSort, ContactUpsert
from herdbook.contacts.query_store import QUERIED_CONTACTS
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.model import blank
from herdbook.db.database import Database
from herdbook.db.migrate import migrate
from herdbook.db.paging import CrmRecord, CursorPosition, PageQuery
from herdbook.db.pool import PagePool, Pool, open_pool
from herdbook.db.survivors import survivors
from herdbook.engagements import store
from herdbook.engagements.commands import CreateEngagement
from herdbook.engagements.model import EngagementCreate, Participant
from herdbook.engagements.store import ENGAGEMENT
from herdbook.feed import store as feed
from herdbook.history import store as history
from herdbook.history.commands import Reversal, UndoReversals
from herdbook.history.store import MAX_COMPANY_CONTACTS
from herdbook.ledger.commands import Create, Delete, SetCrmAssociation
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.retention import SLICE, ledgers_with_old_entries, trim_slice
from herdbook.ledger.unfinished import finish
from herdbook.merging.commands import Merge, MoveReferences
from herdbook.merging.store import COMPANY_MERGE, CONTACT_MERGE
from herdbook.notes.store import NOTE
from herdbook.object_types import OBJECT_TYPES
from herdbook.querying import store as query_store
from herdbook.shared_schemas import shown_time
from herdbook.tags import store as tags
from herdbook.tags.store import TAG
from herdbook.transcript_comments import store as comments
from herdbook.users import store as users
from herdbook.webhook_endpoints import store as webhook_endpoints
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhooks import store as webhooks
from herdbook.webhooks.events import sends_event
from tests.db.conftest import database_on
from tests.ledger.ledger_client import LedgerClient, id_of, items
from tests.repeats import DEEP

Json: TypeAlias = Any

# A search calls a word common once it has counted this many objects.
_COMMON: Final = 5000
_MANY: Final = 1_000_000 if DEEP else _COMMON + 1000
# A word of exactly one object of each kind.
_LAST: Final = str(_MANY - 1)
_NUMBER: Final = _LAST.zfill(7)
# It counts further only if a search has no word with fewer matches.
_RARE: Final = 200
_WATCHED: Final = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_format": "json",
}


class State(Enum):
    """PostgreSQL's knowledge of the tables when it planned."""

    EMPTY = "empty tables"
    UNKNOWN = "nothing"
    KNOWN = "all"
    ONE_BIG_AMONG_MANY_SMALL = "that most workspaces have one contact"


# A user who owns a few engagements, and a company that takes part in all.
BUSY: Final = ids.new_id()


class PlansDatabase(NamedTuple):
    """A database with many contacts, and a client that reads and writes over a single logged connection."""

    ledger_client: LedgerClient
    pool: Pool
    pages: PagePool
    database: Database
    log: Path
    middle: CursorPosition
    ada: UUID
    company_id: UUID
    key_id: UUID
    one: UUID
    neighbour_id: UUID
    state: State


@pytest_asyncio.fixture(scope="module")
async def database(request: pytest.FixtureRequest, embedded_url: str) -> AsyncGenerator[PlansDatabase]:
    """Alice's workspace, with thousands of contacts called Lovelace and one Augusta, beside other workspaces."""
    async with database_on(embedded_url) as url:
        await migrate(url)
        pool = await open_pool(f"{url}&{urlencode(_WATCHED)}", 1)
        pages = await open_pool(f"{url}&{urlencode(_WATCHED)}", 1, planning_once=pool)
        tables: list[str] = [
            record["tablename"] for record in await pool.fetch("select tablename from pg_tables where schemaname = 'public'")
        ]
        for table in tables:
            await pool.execute(cast("LiteralString", f"alter table {table} set (autovacuum_enabled = off)"))
        ledger = Ledger(pool, 10)
        ledger.open()
        ledger_client = LedgerClient(ledger, await create_workspace(pool, "Alice's"))
        neighbour = LedgerClient(ledger, await create_workspace(pool, "Neighbour"))
        ada = [
            id_of(await one.create("augusta@engine.test", first_name="Augusta", last_name="King"))
            for one in (ledger_client, neighbour)
        ]
        created = [
            await one.write(Create(COMPANY, CompanyCreate(domains=(CompanyDomainRequest("engine.test"),))))
            for one in (ledger_client, neighbour)
        ]
        company_id = ids.decoded(ids.COMPANY, json.loads(created[0].body)["id"])
        assert company_id is not None
        api_key = await create_key(pool, ledger_client.workspace_id, "Key", [])
        database = PlansDatabase(
            ledger_client,
            pool,
            pages,
            Database(pool, pages),
            log_of(embedded_url),
            CursorPosition(datetime.now(UTC), 0),
            ada[0],
            company_id,
            api_key.id,
            ada[0],
            neighbour.workspace_id,
            request.param,
        )
        if request.param is State.EMPTY:
            await run_all(database)
        await fill(pool, ledger_client.workspace_id, _MANY)
        await fill(pool, neighbour.workspace_id, _COMMON + 1000)
        await pool.execute(_FILL_TOKENS, ledger_client.workspace_id)
        if request.param is State.ONE_BIG_AMONG_MANY_SMALL:
            await pool.execute(_FILL_SMALL_ONES)
        if request.param in (State.KNOWN, State.ONE_BIG_AMONG_MANY_SMALL):
            for table in tables:
                await pool.execute(cast("LiteralString", f"analyze {table}"))
        if request.param is State.EMPTY:
            # A connection learns how high an index has grown when it uses it. No test must depend on the one before.
            await run_all(database)
            # Only the connection that plans once reads these indexes without a search.
            for table in ("contact", "company"):
                listed = (
                    f"select from {table} where workspace_id = $1 and deleted_at is null order by updated_at desc, version desc"
                )
                await pages.execute(listed, ledger_client.workspace_id)
        middle = await pool.fetchrow(
            "select id, updated_at, version from contact where workspace_id = $1 order by updated_at offset $2 limit 1",
            ledger_client.workspace_id,
            _MANY // 2,
        )
        assert middle is not None
        yield database._replace(middle=CursorPosition(middle["updated_at"], middle["version"]), one=middle["id"])
        await ledger.close()
        await pages.close()
        await pool.close()


async def run_all(database: PlansDatabase) -> None:
    """Run all statements."""
    for statement, _ in _STATEMENTS.values():
        await statement(database)


def log_of(embedded_url: str) -> Path:
    """Return the log file of the embedded PostgreSQL."""
    [host] = parse_qs(urlsplit(embedded_url).query)["host"]
    return Path(host).resolve().parent / "postgres.log"


async def fill(pool: Pool, workspace_id: UUID, contacts: int) -> None:
    """Insert contacts without the ledger, which is fast; only the tables that the statements read are filled."""
    for first in range(0, contacts, 20_000):
        await pool.execute(_FILL, workspace_id, first, BUSY, min(first + 20_000, contacts))
    await pool.execute("update workspace set seq = $2 + 100, last_at = now() where id = $1", workspace_id, contacts)


_FILL: Final = """
    with one as (
        insert into contact (
            workspace_id, id, version, updated_at, crm_object_id, search, first_name_word, last_name_word, own, object
        )
        select $1, gen_random_uuid(), n + 100, now() + n * interval '1 millisecond', case when n < 4 then '7' end,
            format(
                E'\\x1fada \\x1f%s\n\\x1flovelace\x1e\\x1fada%s@\\x1fx.\\x1ftest\n\\x1fN49%s \\x1fR%s\n\\x1f王\\x1f%s\x1e',
                n, n, lpad(n::text, 7, '0'), reverse('49' || lpad(n::text, 7, '0')),
                chr((19968 + n % 20000)::int)
            ),
            'ada', 'lovelace', format('{"fields": {"badge": "%s", "tier": "%s"}}', n, n % 2)::json,
            '{"object": "contact", "id": "", "last_name": "Lovelace", "created_at": "", "updated_at": ""}'
        from generate_series($2::int + 1, $4::int) as n
        returning workspace_id, id, version - 100 as n
    ), words as (
        insert into contact_word (workspace_id, word, contact_id)
        select workspace_id, word, id from one, unnest(array[
            'ada' || n, n::text, 'x', 'test', 'N49' || lpad(n::text, 7, '0'),
            'R' || reverse('49' || lpad(n::text, 7, '0')),
            '王' || chr((19968 + n % 20000)::int), chr((19968 + n % 20000)::int)
        ]) as word
    ), values_of_fields as (
        insert into contact_field (workspace_id, key, contact_id)
        select workspace_id, key, id from one, unnest(array['badge=' || n, 'tier=' || n % 2]) as key
    ), emails as (
        insert into contact_email (workspace_id, address, contact_id)
        select workspace_id, format('ada%s@x.test', n), id from one
    ), former_emails as (
        insert into contact_former_email (workspace_id, address, contact_id)
        select workspace_id, format('augusta%s@x.test', n), id from one
    ), contact_external_ids as (
        insert into contact_external_id (workspace_id, external_id, contact_id)
        select workspace_id, format('row %s', n), id from one
    ), former_external_ids as (
        insert into contact_former_external_id (workspace_id, external_id, contact_id)
        select workspace_id, format('former row %s', n), id from one
    ), keys as (
        insert into idempotency_record (workspace_id, credential_id, key, fingerprint, at, version, answer)
        select workspace_id, gen_random_uuid(), 'key', 'a fingerprint', now(), 1, '{}' from one
    ), company as (
        insert into company (workspace_id, id, version, updated_at, crm_object_id, search, object)
        select workspace_id, id, n + 100, now() + n * interval '1 millisecond', case when n < 4 then '7' end,
            format(E'\\x1fengine \\x1f%s', n), '{}'
        from one
    ), company_words as (
        insert into company_word (workspace_id, word, company_id)
        select workspace_id, word, id from one, unnest(array['engine', n::text]) as word
    ), engagement as (
        insert into engagement (
            workspace_id, id, version, updated_at, engagement_type, processing_status, is_private, start_at, owner_user_id,
            contact_ids, company_ids, search, details, object
        )
        select workspace_id, id, n + 100, now() + n * interval '1 millisecond', case when n < 4 then 'NOTE' else 'CALL' end,
            case when n between 5 and 7 then 'PENDING' else 'COMPLETED' end, n % 10 = 0, now() - n * interval '1 minute',
            case when n < 4 then $3::uuid end, array[id], array[id, $3::uuid], format(E'\\x1ftalk \\x1f%s', n),
            '{"source_system": "", "external_id": "", "created_by": ""}', '{}'
        from one
    ), engagement_words as (
        insert into engagement_word (workspace_id, word, engagement_id)
        select workspace_id, word, id from one, unnest(array['talk', n::text]) as word
    ), engagement_contacts as (
        insert into engagement_contact (workspace_id, contact_id, engagement_id) select workspace_id, id, id from one
    ), company_contacts as (
        insert into company_contact (workspace_id, company_id, contact_id) select workspace_id, id, id from one
    ), engagement_companies as (
        insert into engagement_company (workspace_id, company_id, engagement_id)
        select workspace_id, company_id, id from one, unnest(array[id, $3::uuid]) as company_id
    ), external_ids as (
        insert into engagement_external_id (workspace_id, external_id, engagement_id) select workspace_id, n::text, id from one
    ), transcripts as (
        insert into transcript (workspace_id, id, version, updated_at, text) select workspace_id, id, n, now(), '' from one
    ), comments as (
        insert into transcript_comment (workspace_id, id, version, updated_at, engagement_id, object)
        select workspace_id, id, n, now() + n * interval '1 millisecond', id, '{}' from one
    ), users as (
        insert into workspace_user (workspace_id, id, version, updated_at, is_active, search, object)
        select workspace_id, id, n, now() + n * interval '1 millisecond', true, format(E'\\x1fuser \\x1f%s', n),
            '{"object": "user", "id": "", "role": "MEMBER", "created_at": "", "updated_at": ""}'
        from one
    ), user_words as (
        insert into user_word (workspace_id, word, user_id)
        select workspace_id, word, id from one, unnest(array['user', n::text]) as word
    ), handles as (
        insert into user_handle (workspace_id, handle, user_id) select workspace_id, n || '@user.test', id from one
    ), tags as (
        insert into tag (workspace_id, id, version, updated_at, object)
        select workspace_id, id, n, now() + n * interval '1 millisecond', '{}' from one
    ), domains as (
        insert into company_domain (workspace_id, domain, company_id)
        select workspace_id, n || '.test', id from one
    ), endpoints as (
        insert into webhook_endpoint (workspace_id, id, version, updated_at, secret, object)
        select workspace_id, case when n = 1 then $3 else id end, n, now() + n * interval '1 millisecond', 'whsec_',
            '{"object": "webhook_endpoint", "id": "", "url": "x", "is_enabled": false, "created_at": "", "updated_at": ""}'
        from one
    ), readers as (
        insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position)
        select workspace_id, $3, false, 1 from one where n = 1
    ), deliveries as (
        insert into webhook_delivery
            (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
        select workspace_id, endpoint_id, n + 100, 'v1.contact.created', now(),
            case when n % 2000 = 0 then 'waiting' when n % 2 = 0 then 'delivered' else 'failed' end, 1,
            case when n % 2000 = 0 then now() end, '[]'
        from one, unnest(array[id, $3::uuid]) as endpoint_id
    )
    insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
    select workspace_id, n + 100, now(), id, id, id, 'c', 'c', '{}' from one
"""
_FILL_TOKENS: Final = """
    with client as (
        insert into oauth_client (id, workspace_id, name, scopes, redirect_uris, secret_hash)
        select gen_random_uuid(), $1, 'Client', '{}', '{}', '' from generate_series(1, 5000) returning id
    ), granted as (
        insert into oauth_grant (id, client_id, user_id, scopes, redirect_uri, code_challenge, secret_hash, ends_at)
        select id, id, id, '{}', '', '', '', now() from client returning id
    )
    insert into oauth_access_token (id, client_id, grant_id, scopes, secret_hash, expires_at)
    select id, id, id, '{}', '', now() from granted
"""
_FILL_SMALL_ONES: Final = """
    with small as (
        insert into workspace (id, name) select gen_random_uuid(), 'Small' from generate_series(1, 3000) returning id
    ), one as (
        insert into contact (workspace_id, id, version, updated_at, search, first_name_word, last_name_word, object)
        select id, id, 1, now(), E'\\x1fada\n\\x1flovelace', 'ada', 'lovelace', '{}' from small
    ), words as (
        insert into contact_word (workspace_id, word, contact_id) select id, 'x', id from small
    ), emails as (
        insert into contact_email (workspace_id, address, contact_id) select id, 'ada@x.test', id from small
    ), external_ids as (
        insert into contact_external_id (workspace_id, external_id, contact_id) select id, 'row 1', id from small
    ), company as (
        insert into company (workspace_id, id, version, updated_at, search, object)
        select id, id, 1, now(), E'\\x1fengine', '{}' from small
    ), engagement as (
        insert into engagement (
            workspace_id, id, version, updated_at, engagement_type, processing_status, is_private, start_at,
            contact_ids, company_ids, search, details, object
        )
        select id, id, 1, now(), 'CALL', 'COMPLETED', false, now(), array[id], array[id], E'\\x1ftalk', '{}', '{}' from small
    ), engagement_contacts as (
        insert into engagement_contact (workspace_id, contact_id, engagement_id) select id, id, id from small
    ), engagement_companies as (
        insert into engagement_company (workspace_id, company_id, engagement_id) select id, id, id from small
    )
    insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
    select id, 1, now(), id, id, id, 'c', 'c', '{}' from small
"""


def crm(object_id: str) -> ContactCrmAssociation:
    """Return a link to a CRM."""
    return ContactCrmAssociation(object_type="contact", crm_object_id=object_id, source="test")


def page(**asked: Any) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of contacts."""
    return lambda database: contacts.page(database.pages, database.ledger_client.workspace_id, PageQuery(**asked))


def rows(read: Callable[..., Awaitable[Any]], *further: Any, **asked: Any) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of other objects."""
    return lambda database: read(database.pages, database.ledger_client.workspace_id, PageQuery(**asked), *further)


def engagements(
    *, within: str | None = None, sees_private: bool = True, after_middle: bool = False, **asked: Any
) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of engagements."""

    def read(database: PlansDatabase) -> Awaitable[Any]:
        filters = {
            name: tuple(shown(database, name, value) for value in values) for name, values in asked.items() if "_" in name
        }
        query: dict[str, Any] = {name: value for name, value in asked.items() if "_" not in name}
        query |= {"crm_records": query.pop("records")} if "records" in query else {}
        if after_middle:
            query["after"] = database.middle
        return store.page(
            database.pages,
            database.ledger_client.workspace_id,
            PageQuery(filters=filters, **query),
            sees_private=sees_private,
            within=store.Within(within, database.one) if within else None,
        )

    return read


def shown(database: PlansDatabase, name: str, value: str) -> str:
    """Return an id as the API shows it if the filter takes ids, else the value itself."""
    prefix = {"company_ids": ids.COMPANY, "contact_ids": ids.CONTACT, "owner_ids": ids.USER}.get(name)
    known = {"busy": BUSY, "one": database.one}
    return value if prefix is None else ids.encoded(prefix, known[value])


def records(object_type: str, *crm_ids: str) -> tuple[CrmRecord, ...]:
    """Return records of a CRM."""
    return tuple(CrmRecord(crm_id, object_type) for crm_id in crm_ids)


def contacts_of_one(database: PlansDatabase) -> Awaitable[Any]:
    """Read the contacts of a company with one contact."""
    return page(filters={"company_id": (ids.encoded(ids.COMPANY, database.one),)})(database)


def query(
    condition: Json = None, sort: str = "updated_at", direction: Literal["asc", "desc"] = "desc", *, is_next: bool = False
) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of a query of contacts, or the next one."""

    async def read(database: PlansDatabase) -> list[UUID]:
        definitions = [msgspec.structs.replace(blank("", ""), key=key) for key in ("badge", "tier")]
        reader = QUERIED_CONTACTS.reader(definitions, None)
        where = None if condition is None else reader.where(condition)
        asked = query_store.Query(where, reader.sort([ContactSort(sort, direction)]), 25)
        if is_next:
            key = {"updated_at": shown_time(datetime.now(UTC)), "created_at": ""}.get(sort, "tier=1")
            asked = asked._replace(after=query_store.QueryPlace((key,), database.one, _MANY))
        found = await query_store.page(
            database.pages, database.ledger_client.workspace_id, QUERIED_CONTACTS, asked, partial(asyncio.sleep, 0)
        )
        return found.object_ids

    return read


def page_after_middle(**asked: Any) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read the page after the contact in the middle."""
    return lambda database: page(after=database.middle, **asked)(database)


def page_of_an_instant(**asked: Any) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read the page of contacts with the time of the one in the middle."""

    def read(database: PlansDatabase) -> Awaitable[Any]:
        at, moment = database.middle.at, timedelta(microseconds=1)
        assert at is not None
        return page(times={"updated_at": {"gt": at - moment, "lt": at + moment}}, **asked)(database)

    return read


def changes(object_type: ObjectType[Any, Any]) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read changes of a kind from the middle of a ledger."""
    view = feed.View((object_type,), sees_private=False, sees_details=False)
    return lambda database: feed.page(database.pool, database.ledger_client.workspace_id, _MANY // 2, view, 100)


def activity(object_type: ObjectType[Any, Any]) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of the activity that has one kind."""
    view = history.ActivityView((object_type,), sees_private=False)
    return lambda database: history.activity(database.pages, database.ledger_client.workspace_id, view, _MANY // 2, 51)


def deleted_ones(object_type: ObjectType[Any, Any]) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read a page of the deleted objects of a kind."""
    return lambda database: history.deleted_objects(
        database.pages, object_type, database.ledger_client.workspace_id, None, 51, sees_private=False
    )


def place(database: PlansDatabase, endpoint_id: UUID) -> EndpointKey:
    """Return the key of an endpoint."""
    return EndpointKey(database.ledger_client.workspace_id, endpoint_id)


def wanted(state: str | None, kind_actions: Sequence[str]) -> webhooks.DeliveryFilter:
    """Return the filter for deliveries, from the newest six thousand entries on."""
    return webhooks.DeliveryFilter(_MANY - _COMMON, _MANY + 101, ["v1.contact.created"], kind_actions, state)


def deliveries(kind_action: str | None, state: str | None = None) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read deliveries of a kind by the ledger."""
    asked = wanted(state, ["cc"] if kind_action is None else [kind_action])
    told = webhooks.ToldEntries(asked.kind_actions, sends_event(OBJECT_TYPES, with_own=False))
    return lambda database: webhooks.deliveries(database.pool, place(database, BUSY), asked, told, _MANY + 100, 26)


def deliveries_noted(state: str) -> Callable[[PlansDatabase], Awaitable[Any]]:
    """Read deliveries in a state by the stored delivery rows."""
    asked = wanted(state, ["cc"])._replace(behind=0)
    return lambda database: webhooks.deliveries_noted(database.pool, place(database, BUSY), asked, 26)


async def send_again(database: PlansDatabase) -> None:
    """Restart one delivery, and all failed ones of a new endpoint."""
    noted = webhooks.DeliveryRow(50, datetime.now(UTC), None, None, None, None, None, None, None)
    await webhooks.send_again(database.pool, place(database, BUSY), noted, "v1.contact.created")
    await webhooks.send_failed_again(database.pool, place(database, database.neighbour_id), datetime.now(UTC))


async def write_all_there_is(database: PlansDatabase) -> None:
    """Create, update, link and delete a contact, with a key; have one write refused."""
    ledger_client = database.ledger_client
    created = await ledger_client.create("b@x.test", first_name="Grace", key=IdempotencyKey(str(ids.new_id()), ""))
    contact_id = id_of(created)
    await ledger_client.update(contact_id, emails=items("b@x.test", "c@x.test"), first_name="Grace Brewster")
    await ledger_client.write(SetCrmAssociation(CONTACT, contact_id, crm("8")))
    await ledger_client.delete(contact_id)
    await asyncio.gather(
        ledger_client.create("augusta@engine.test"), ledger_client.update(database.ada, if_version=7), return_exceptions=True
    )


async def delete_a_company(database: PlansDatabase) -> None:
    """Delete a company, release its contacts, and look for unfinished work."""
    ledger_client, staff = database.ledger_client, ContactsOfCompany()
    written = await ledger_client.write(Create(COMPANY, CompanyCreate(domains=(), name="The Mill")))
    shown: str = json.loads(written.body)["id"]
    company_id = ids.decoded(ids.COMPANY, shown)
    assert company_id is not None
    for name in ("Grace", "Mary"):
        await ledger_client.create(first_name=name, company_id=shown)
    await ledger_client.write(DeleteCompany(company_id, staff))
    await ledger_client.write(ReleaseContacts(company_id, staff))
    these = (ledger_client.workspace_id, [company_id])
    await finish(database.pool, ledger_client.ledger, RELEASE_CONTACTS, partial(ReleaseContacts, contacts=staff), these)


async def upsert_all_there_is(database: PlansDatabase) -> None:
    """Upsert a new contact, an existing one, and a deleted one."""
    for last_name in ("King", "Byron"):
        fields = ContactUpsert(last_name=last_name, emails=items("d@x.test", "e@x.test"))
        written = await database.ledger_client.write(UpsertContact(fields))
    await database.ledger_client.delete(id_of(written))
    await database.ledger_client.delete(id_of(await database.ledger_client.write(UpsertContact(fields))))


async def upsert_by_external_id(database: PlansDatabase) -> None:
    """Upsert a new contact by an external id, an existing one, and a deleted one."""
    command = UpsertContact(ContactUpsert(match_by="external_ids", external_ids=("a row", "another row")))
    await database.ledger_client.write(command)
    for _ in range(2):
        await database.ledger_client.delete(id_of(await database.ledger_client.write(command)))


async def merge_all_there_is(database: PlansDatabase) -> None:
    """Merge two contacts into a third, and look for engagements that still belong to them."""
    target, *sources = [id_of(await database.ledger_client.create(first_name=name)) for name in ("Ada", "Augusta", "King")]
    shown = tuple(ids.encoded(ids.CONTACT, source) for source in sources)
    await database.ledger_client.write(Merge(merge_type=CONTACT_MERGE, target_id=target, sources=shown))
    these = (database.ledger_client.workspace_id, sources)
    await finish(
        database.pool, database.ledger_client.ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE), these
    )


async def merge_companies(database: PlansDatabase) -> None:
    """Merge two companies with contacts into a third, and look for contacts that still belong to them."""
    ledger_client, workspace_id = database.ledger_client, database.ledger_client.workspace_id
    created = [await ledger_client.write(Create(COMPANY, CompanyCreate(domains=()))) for _ in range(3)]
    target, *sources = [ids.decoded(ids.COMPANY, json.loads(written.body)["id"]) or ids.NIL for written in created]
    shown = tuple(ids.encoded(ids.COMPANY, source) for source in sources)
    for company_id in shown:
        await ledger_client.create(company_id=company_id)
    await ledger_client.write(Merge(merge_type=COMPANY_MERGE, target_id=target, sources=shown))
    these = (workspace_id, sources)
    await finish(database.pool, ledger_client.ledger, COMPANY_MERGE.task, partial(MoveReferences, COMPANY_MERGE), these)
    await survivors(database.pool, "company", workspace_id, sources)


async def engage(database: PlansDatabase) -> None:
    """Create an engagement with a user, a contact by address, one by number, and an unknown person."""
    people: tuple[dict[str, Any], ...] = (
        {"email": "17@user.test"},
        {"email": "augusta@engine.test"},
        {"phone": "+442079460958"},
        {"email": "new@x.test"},
    )
    fields = EngagementCreate(
        type="CALL",
        title="Talk",
        source_system="test",
        external_id=str(ids.new_id()),
        transcript="Talk.",
        participants=tuple(Participant(**each) for each in people),
    )
    command = CreateEngagement(engagement_id=ids.new_id(), fields=fields, created_by=database.key_id, owner_user_id=None)
    await database.ledger_client.write(command)


async def look_back(database: PlansDatabase) -> None:
    """Read a contact's history, from its end and at a certain time."""
    pool, workspace_id = database.pool, database.ledger_client.workspace_id
    contact_id = id_of(await database.ledger_client.create(first_name="Ada"))
    for name in ("Augusta", "A.", "Ada"):
        await database.ledger_client.update(contact_id, first_name=name)
    row = await history.stored_object(pool, CONTACT, workspace_id, contact_id)
    assert row is not None
    found = await history.entries(pool, CONTACT, workspace_id, contact_id, row.version, 3)
    assert len(found) == 3
    assert await history.entry_at(pool, CONTACT, workspace_id, row, found[-1].at) is not None
    await history.ledger_range(pool, workspace_id)
    await survivors(pool, "contact", workspace_id, [contact_id])


async def take_back(database: PlansDatabase) -> None:
    """Read the changes of a request, and undo it as far as possible."""
    pool, workspace_id, request_id = database.pool, database.ledger_client.workspace_id, ids.new_id()
    contact_id = id_of(await database.ledger_client.create("f@x.test"))
    await database.ledger_client.write(Delete(CONTACT, contact_id), request_id=request_id)
    (touched,) = await history.touched(pool, OBJECT_TYPES, workspace_id, request_id)
    await history.may_be_cut(pool, workspace_id, request_id)
    await history.first_entries(pool, workspace_id, [touched.first])
    await history.private_ones(pool, workspace_id, [database.one], [database.one])
    reversals = (
        Reversal(object_type=CONTACT, object_id=contact_id, version=touched.last, before=None),
        Reversal(object_type=COMPANY, object_id=database.company_id, version=touched.last, before=None),
    )
    await database.ledger_client.write(
        UndoReversals(
            request_id=ids.encoded(ids.REQUEST, request_id),
            reversals=reversals,
            object_types=OBJECT_TYPES,
            may_name=frozenset(),
        )
    )


# The statements, each with the greatest number of table rows that it may read.
_STATEMENTS: Final[dict[str, tuple[Callable[[PlansDatabase], Awaitable[Any]], int]]] = {
    "write": (write_all_there_is, 40),
    "upsert": (upsert_all_there_is, 80),
    "upsert by external id": (upsert_by_external_id, 80),
    "delete company": (delete_a_company, 120),
    "merge": (merge_all_there_is, 40),
    "merge companies": (merge_companies, 60),
    "history": (look_back, 60),
    "undo": (take_back, MAX_COMPANY_CONTACTS + 60),
    "find": (lambda database: contacts.find(database.database, database.ledger_client.workspace_id, database.ada), 1),
    "find company": (
        lambda database: companies.find(database.database, database.ledger_client.workspace_id, database.company_id),
        1,
    ),
    "find key": (lambda database: find_key(database.pool, database.key_id), 2),
    "find access token": (lambda database: find_access_token(database.pool, database.key_id), 2),
    "note use": (lambda database: note_use(database.pool, [database.key_id], datetime.now(UTC)), 1),
    "newest": (page(), 26),
    "oldest": (page(descending=False), 26),
    "newest after": (page_after_middle(), 26),
    "oldest after": (page_after_middle(descending=False), 26),
    "newest between": (page_of_an_instant(), 1),
    "oldest between": (page_of_an_instant(descending=False), 1),
    "newest with link": (page(crm_records=records("contact", "7", "none")), 6),
    "oldest with link": (page(crm_records=records("contact", "7"), descending=False), 6),
    "rare first name": (page(search="augusta"), 10),
    "rare last name": (page(search="kin", descending=False), 10),
    "rare word": (page(search=f"ada{_LAST}"), 10),
    "rare with an apostrophe": (page(search=f"o'ada{_LAST}"), 10),
    "common with a hyphen": (page(search="love-lace"), 2 * (_COMMON + _RARE) + 40),
    "rare and common": (page(search=f"lovelace ada{_LAST}"), _COMMON + _RARE + 400),
    "unknown": (page(search="babbage"), 0),
    # The contacts that the statements before have written are newer, and not called so.
    "common": (page(search="lovelace"), _COMMON + _RARE + 60),
    "common after": (page_after_middle(search="lovelace", descending=False), _COMMON + _RARE + 30),
    # This word has eleven thousand matches in a million, none of them among the newest.
    "common among the old": (page(search="17"), _COMMON + _RARE + 2 * 20_000 + 4 * 11_111),
    "phone number": (page(search=f"+49 {_NUMBER[:3]} {_NUMBER[3:]}"), 4 * _RARE + 10),
    "end of a phone number": (page(search=_NUMBER[1:]), 4 * _RARE + 10),
    "common beginning of phone numbers": (page(search="+490"), 2 * _COMMON + 30),
    "Chinese name": (page(search="王" + chr(19968 + (_MANY - 1) % 20000)), _RARE + 4 * (_MANY // 20000 + 1)),
    "address": (page(search=f"ada{_LAST}@x.test"), 3 * _RARE + 20),
    "query": (query(), 100),
    "query, oldest change": (query(direction="asc"), 100),
    "query, next page": (query(is_next=True), 100),
    "query by age": (query(sort="created_at"), 100),
    "query by age, next page": (query(sort="created_at", is_next=True), 200),
    "query by a field": (query(sort="fields.tier"), 200),
    "query by a field, next page": (query(sort="fields.tier", is_next=True), 700),
    "query of a rare value": (query({"field": "fields.badge", "op": "eq", "value": _LAST}), 3),
    "query of a common value": (query({"field": "fields.tier", "op": "eq", "value": "1"}), 2 * query_store.MAX_KEPT + 300),
    "query of a range of values": (
        query({"field": "fields.badge", "op": "gte", "value": _LAST}),
        2 * query_store.MAX_KEPT + 300,
    ),
    "query by name": (query(sort="last_name", direction="asc"), query_store.MAX_KEPT + 600),
    "query by company": (query(sort="company_id"), 100),
    "query of an address": (query({"field": "emails", "op": "eq", "value": f"ada{_LAST}@x.test"}), 3),
    "query of a common name": (query({"field": "last_name", "op": "eq", "value": "Lovelace"}), 2 * query_store.MAX_KEPT + 300),
    "contact of an address": (page(filters={"email": (f"ada{_LAST}@x.test",)}), 3),
    "contact of an external id": (page(filters={"external_id": (f"row {_LAST}",)}), 3),
    "contacts of a number": (page(filters={"phone_number": (f"49{_NUMBER}",)}), 5),
    "contacts of a company": (contacts_of_one, 6),
    "linked and searched": (page(search="lovelace", crm_records=records("contact", "7")), _COMMON + _RARE + 6),
    "companies": (rows(companies.page), 26),
    "company of a domain": (rows(companies.page, filters={"domain": ("17.test",)}), 3),
    "company with link": (rows(companies.page, crm_records=records("company", "7")), 6),
    "company with rare word": (rows(companies.page, search=_LAST), 10),
    "company with common word": (rows(companies.page, search="engine"), _COMMON + _RARE + 30),
    "contacts within a company": (
        lambda database: contacts.page(
            database.pages, database.ledger_client.workspace_id, PageQuery(), company_id=database.company_id
        ),
        _COMMON + _RARE + 30,
    ),
    "users": (rows(users.page), 26),
    "user with rare word": (rows(users.page, search=_LAST), 10),
    "tags": (rows(tags.page), 26),
    "comments": (lambda database: rows(comments.page, database.one)(database), 1),
    "engagements": (engagements(), 26),
    "engagements after": (engagements(after_middle=True, descending=False), 26),
    "engagements not private": (engagements(sees_private=False), 26),
    "engagements by start": (engagements(order="start_at"), 26),
    "engagements of a rare type": (engagements(engagement_type=("NOTE", "TASK")), 3),
    "engagements of a common type": (engagements(engagement_type=("CALL",), descending=False), 60),
    "engagements with a rare status": (engagements(processing_status=("PENDING", "FAILED")), 3),
    "engagements of an owner": (engagements(owner_ids=("busy",)), 3),
    "engagements of a company": (engagements(company_ids=("one",)), 6),
    "engagements within a company": (engagements(within="company_ids", sees_private=False), 6),
    "engagements of a busy company": (engagements(company_ids=("busy",)), _COMMON + 30),
    "engagements of a contact": (engagements(contact_ids=("one",), search="talk"), _COMMON + _RARE + 10),
    "engagements of a contact by link": (engagements(records=records("contact", "7")), 12),
    "engagement with rare word": (engagements(search=_LAST), 10),
    "engagement with common word": (engagements(search="talk"), _COMMON + _RARE + 30),
    "find engagement": (lambda database: store.find(database.database, database.ledger_client.workspace_id, database.one), 1),
    "find timeline": (
        lambda database: store.find_timeline(database.database, database.ledger_client.workspace_id, database.one),
        1,
    ),
    "create an engagement": (engage, 40),
    "needed recordings": (
        lambda database: store.needing_recordings(
            database.pool, [database.ledger_client.workspace_id] * 2, [database.one, ids.new_id()]
        ),
        2,
    ),
    "expanded contacts": (
        lambda database: store.objects(database.pool, database.ledger_client.workspace_id, "contacts", [database.one]),
        1,
    ),
    "expanded tags": (
        lambda database: store.objects(database.pool, database.ledger_client.workspace_id, "tags", [database.one]),
        1,
    ),
    "expanded companies": (
        lambda database: store.objects(database.pool, database.ledger_client.workspace_id, "companies", [database.one]),
        1,
    ),
    "expanded owner": (
        lambda database: store.objects(database.pool, database.ledger_client.workspace_id, "owner", [database.one]),
        1,
    ),
    "changes": (changes(CONTACT), 101),
    "changes of a rare kind": (changes(TAG), feed.LOOKED_AT),
    "activity of a common kind": (activity(CONTACT), 200),
    "activity of a rare kind": (activity(TAG), history.LOOKED_AT),
    "deleted contacts": (deleted_ones(CONTACT), 200),
    "deleted companies": (deleted_ones(COMPANY), 200),
    "deleted engagements": (deleted_ones(ENGAGEMENT), 200),
    "deleted notes": (deleted_ones(NOTE), 200),
    "end of the changes": (lambda database: feed.read_head(database.pool, database.ledger_client.workspace_id), 0),
    "nothing to forget": (lambda database: trim_slice(database.pool, database.ledger_client.workspace_id, 90), 2),
    "ledgers with old entries": (
        lambda database: ledgers_with_old_entries(
            database.pool, [database.ledger_client.workspace_id, database.neighbour_id], 90
        ),
        6,
    ),
    "endpoints with old deliveries": (
        lambda database: webhooks.endpoints_with_old_deliveries(
            database.pool, [database.ledger_client.workspace_id, database.neighbour_id]
        ),
        10,
    ),
    "much to forget": (lambda database: trim_slice(database.pool, database.neighbour_id, 0), 2 * SLICE + 2),
    "webhook endpoints": (rows(webhook_endpoints.page), 26),
    "webhook endpoint's reading": (lambda database: webhook_endpoints.read(database.pool, place(database, BUSY)), 2),
    "webhook deliveries that wait": (
        lambda database: webhooks.count_waiting(database.pool, place(database, BUSY)),
        _MANY // 2000 + 1,
    ),
    "webhook delivery": (
        lambda database: webhooks.find_delivery(
            database.pool, place(database, BUSY), 200, sends_event(OBJECT_TYPES, with_own=False)
        ),
        2,
    ),
    "webhook deliveries": (deliveries(None), 2 * 26),
    "webhook deliveries of a rare kind": (deliveries("td"), _COMMON + 1000),
    "webhook deliveries that are queued": (deliveries(None, "queued"), 4 * (_COMMON + 1000)),
    "webhook deliveries that failed": (deliveries_noted("failed"), 2 * 26),
    "webhook deliveries that wait, with times": (deliveries_noted("waiting"), 2 * 26),
    "webhook deliveries since a time": (
        lambda database: webhooks.last_before(
            database.pool, database.ledger_client.workspace_id, datetime.now(UTC), included=True
        ),
        30,
    ),
    "send a webhook again": (send_again, 2),
    "skip a webhook": (lambda database: webhooks.skip(database.pool, place(database, BUSY), 204), 1),
    "expanded transcript": (
        lambda database: store.texts(database.pool, database.ledger_client.workspace_id, [database.one], 1),
        1,
    ),
}


# A plan that finds nothing would show nothing about these.
_FINDING: Final = {
    "phone number",
    "end of a phone number",
    "Chinese name",
    "address",
    "contact of an address",
    "contacts of a number",
    "query, oldest change",
    "query by age",
    "contacts of a company",
}
# PostgreSQL learns how rare a value is only when it analyzes the table, which takes seconds even with autovacuum on. Before,
# these statements read all engagements of their workspace, and only in these states.
_UNTIL_ANALYZED: Final = {
    "engagements of a rare type": (State.EMPTY, State.UNKNOWN),
    "engagements with a rare status": (State.EMPTY, State.UNKNOWN),
}
# With a million rows only the analyzed state matters, because filling the tables takes long.
_STATES: Final = [State.KNOWN] if DEEP else list(State)


@pytest.mark.parametrize("database", _STATES, ids=lambda state: f"knew {state.value}", indirect=True, scope="module")
@pytest.mark.parametrize("name", _STATEMENTS)
async def test_rows_are_taken_by_an_index(database: PlansDatabase, name: str, request: pytest.FixtureRequest) -> None:
    """No statement scans a whole table, reads another workspace's rows, or reads many more rows than it needs."""
    if database.state in _UNTIL_ANALYZED.get(name, ()):
        request.applymarker(pytest.mark.xfail(strict=True, reason="until the table is analyzed"))
    statement, most_rows = _STATEMENTS[name]
    found, plans = await plans_of(database, statement)

    assert plans
    assert found or name not in _FINDING
    scans = [scan for plan in plans for scan in scans_of(plan["Plan"])]
    for scan in scans:
        # Both tables may be read whole: a small table of workspaces is, and unfinished work is always little.
        if scan["Relation Name"] in ("workspace", "unfinished"):
            continue
        assert scan["Node Type"] in ("Index Scan", "Index Only Scan"), scan
        assert re.search(r"\b(workspace_id|request_id|id) = ", scan.get("Index Cond", "")), scan
    looked_at = sum(rows_of(scan) for scan in scans if scan["Relation Name"] != "workspace")
    assert looked_at <= most_rows, [(scan["Relation Name"], scan["Index Name"], rows_of(scan)) for scan in scans]


@pytest.mark.parametrize("database", _STATES, ids=lambda state: f"knew {state.value}", indirect=True, scope="module")
@pytest.mark.parametrize(
    ("name", "count"), [("phone number", 3), ("end of a phone number", 2), ("Chinese name", 2), ("address", 2)]
)
async def test_a_search_for_few_contacts_is_planned_once(database: PlansDatabase, name: str, count: int) -> None:
    """A search for a number, a Chinese name or an address takes two statements or three, whose plans serve every workspace."""
    _, plans = await plans_of(database, _STATEMENTS[name][0])

    assert len(plans) == count
    assert not [plan for plan in plans if str(database.ledger_client.workspace_id) in json.dumps(plan["Plan"])]


async def plans_of(database: PlansDatabase, statement: Callable[[PlansDatabase], Awaitable[Any]]) -> tuple[Any, list[Json]]:
    """Run statements; return their result, and the plans with which PostgreSQL ran them."""
    begin = database.log.stat().st_size
    found = await statement(database)
    return found, [plan for plan in logged_plans(database.log, begin) if " pg_catalog." not in plan["Query Text"]]


def logged_plans(log: Path, begin: int) -> list[Json]:
    """Return the plans in the log after this offset."""
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode()
    return [json.loads(plan) for plan in re.findall(r"  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)", text)]


def scans_of(node: Json) -> Iterator[Json]:
    """Yield the parts of a plan that read a table."""
    if "Scan" in node["Node Type"] and "Relation Name" in node:
        yield node
    for part in node.get("Plans", ()):
        yield from scans_of(part)


def rows_of(scan: Json) -> int:
    """Return how many rows a scan has read."""
    each = scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    return round(each * scan["Actual Loops"])
