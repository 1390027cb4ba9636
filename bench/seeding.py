"""Contacts by the hundred thousand, written directly into herdbook's tables as if the ledger had entered each."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.companies.model import CompanyObject, CompanyRecord
from herdbook.contacts.model import Contact, ContactEmail, ContactObject, ContactPhoneNumber, search_entry
from herdbook.custom_fields.values import index_keys
from herdbook.search_text import END, searchable_name
from herdbook.shared_schemas import ResourceRef

# Ids follow from a number, here and in pgbench: a ULID's milliseconds, then digits that look random.
FIRST_MILLISECOND = 1_750_000_000_000
STARTED = datetime.fromtimestamp(FIRST_MILLISECOND / 1000, UTC)
COLUMNS = (
    *("workspace_id", "id", "version", "updated_at", "company_id", "phone_numbers_e164"),
    *("search", "first_name_word", "last_name_word", "object", "own"),
)
COMPANIES = 1000
# Returns the values of a contact's own fields, by their keys.
Values = Callable[[int], Mapping[str, Any]]

encoder = msgspec.json.Encoder()


def contact_id(number: int) -> UUID:
    return UUID(hex=f"{FIRST_MILLISECOND + number:012x}{hashlib.md5(str(number).encode()).hexdigest()[:20]}")


def contact_path(number: int) -> str:
    return f"/api/v2/contacts/{ids.encoded(ids.CONTACT, contact_id(number))}"


def connect(folder: Path) -> Any:
    return asyncpg.connect(host=str(folder / "data" / "postgres"), user="postgres", database="herdbook")


def company_id(number: int) -> UUID:
    return UUID(int=number % COMPANIES + 1)


def shown_time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def contact_row(workspace_id: UUID, head: int, number: int, name: int, values: Values) -> tuple[object, ...]:
    """Return a row of COLUMNS. `name` is the number in its last name."""
    at = STARTED + timedelta(milliseconds=number)
    company, own = company_id(number), values(number)
    written = shown_time(at)
    phone_number = f"+4930{number:07d}"
    contact = Contact(
        object=ContactObject.CONTACT,
        id=ids.encoded(ids.CONTACT, contact_id(number)),
        first_name=f"Ada{number:06d}",
        last_name=f"Byron{name:06d}",
        description="Met at the fair; asked for a quote.",
        company=ResourceRef(ids.encoded(ids.COMPANY, company), "company"),
        emails=(ContactEmail(f"person{number}@example.test", is_primary=True),),
        phone_numbers=(ContactPhoneNumber(phone_number, is_primary=True),),
        time_zone="Europe/Berlin",
        created_at=written,
        updated_at=written,
    )
    search = search_entry(contact)
    return (
        *(workspace_id, contact_id(number), head + number, at),
        *(
            company,
            [phone_number],
            search.text,
            search.first_name_word,
            search.last_name_word,
            encoder.encode(contact).decode(),
            encoder.encode({"fields": own}).decode() if own else None,
        ),
    )


def no_values(_: int) -> Mapping[str, Any]:
    return {}


def own_number(number: int) -> int:
    return number


async def fill(
    folder: Path,
    workspace_ids: list[UUID],
    size: int,
    *,
    name: Callable[[int], int] = own_number,
    values: Values = no_values,
) -> None:
    """Give each workspace a number of contacts with their history, addresses and search words.

    Their companies exist only as references, unless `add_companies` has added them. `name` returns the number in the last name
    of a contact, and `values` the values of its fields.
    """
    connection = await connect(folder)
    try:
        await connection.execute("set synchronous_commit = off; set work_mem = '256MB'")
        await connection.executemany(
            "insert into workspace (id, name, has_usual_fields) values ($1, 'Bench', true) on conflict do nothing",
            [(workspace_id,) for workspace_id in workspace_ids],
        )
        # A workspace begins with the changes of its first user and its usual fields.
        heads = dict(await connection.fetch("select id, seq from workspace where id = any($1::uuid[])", workspace_ids))
        numbers = range(1, size + 1)
        rows = (contact_row(each, head, number, name(number), values) for each, head in heads.items() for number in numbers)
        await connection.copy_records_to_table("contact", records=rows, columns=COLUMNS)
        await add_field_entries(connection, workspace_ids, size, values)
        for statement in DERIVED:
            await connection.execute(statement, workspace_ids)
        await connection.execute("vacuum (analyze)")
        # A pending checkpoint would fall into the first minutes of load.
        await connection.execute("checkpoint")
    finally:
        await connection.close()


async def add_field_entries(connection: Any, workspace_ids: list[UUID], size: int, values: Values) -> None:
    """Enter the values of fields into their index."""
    await connection.execute('create temp table sent (key text collate "C", contact_id uuid)')
    rows = ((key, contact_id(number)) for number in range(1, size + 1) for key in index_keys(values(number)))
    await connection.copy_records_to_table("sent", records=rows)
    await connection.execute(
        """insert into contact_field (workspace_id, key, contact_id)
           select asked, key, contact_id from unnest($1::uuid[]) as asked, sent order by 1, 2, 3""",
        workspace_ids,
    )
    await connection.execute("drop table sent")


async def add_companies(folder: Path, workspace_id: UUID) -> None:
    """Add the companies that contacts name, with their history and search words."""
    connection = await connect(folder)
    try:
        head = await connection.fetchval("select seq from workspace where id = $1", workspace_id)
        rows: list[tuple[object, ...]] = []
        for number in range(COMPANIES):
            at = STARTED + timedelta(microseconds=number)
            written, name = shown_time(at), f"Engine Works {number:04d}"
            company = CompanyRecord(
                object=CompanyObject.COMPANY,
                id=ids.encoded(ids.COMPANY, company_id(number)),
                name=name,
                created_at=written,
                updated_at=written,
            )
            text = searchable_name(name) + END
            version = head + number + 1
            rows.append((workspace_id, company_id(number), version, at, text, encoder.encode(company).decode()))
        columns = ("workspace_id", "id", "version", "updated_at", "search", "object")
        await connection.copy_records_to_table("company", records=rows, columns=columns)
        for statement in DERIVED_OF_COMPANIES:
            await connection.execute(statement, workspace_id)
    finally:
        await connection.close()


async def execute(folder: Path, statement: str) -> None:
    connection = await connect(folder)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def make_keys(folder: Path, workspace_ids: list[UUID]) -> list[str]:
    """Enter an API key for each workspace, and return their texts."""
    connection = await connect(folder)
    try:
        return [str(await create_key(connection, workspace_id, "bench", [ADMIN])) for workspace_id in workspace_ids]
    finally:
        await connection.close()


# Rows come in the order of their keys, which fills the indexes several times faster.
DERIVED = (
    """insert into contact_email (workspace_id, address, contact_id)
       select workspace_id, object -> 'emails' -> 0 ->> 'email', id from contact
       where workspace_id = any($1::uuid[]) order by 1, 2""",
    r"""insert into contact_word (workspace_id, word, contact_id)
       select distinct workspace_id, found[1], id
       from contact, regexp_matches(search, '\x1f([[:alnum:]]+)', 'g') as found
       where workspace_id = any($1::uuid[]) and found[1] not in (first_name_word, last_name_word) order by 1, 2, 3""",
    """insert into contact_word (workspace_id, word, contact_id)
       select workspace_id, number, id from contact, unnest(phone_numbers_e164) as number
       where workspace_id = any($1::uuid[]) order by 1, 2, 3""",
    """insert into company_contact (workspace_id, company_id, contact_id)
       select workspace_id, company_id, id from contact where workspace_id = any($1::uuid[]) order by 1, 2, 3""",
    """insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
       select workspace_id, version, updated_at, id, id, id, 'c', 'c', object from contact
       where workspace_id = any($1::uuid[]) order by 1, 2""",
    """update workspace w set seq = newest.seq, last_at = newest.at
       from (
           select workspace_id, max(version) as seq, max(updated_at) as at
           from contact where workspace_id = any($1::uuid[]) group by 1
       ) as newest
       where w.id = newest.workspace_id""",
)
DERIVED_OF_COMPANIES = (
    r"""insert into company_word (workspace_id, word, company_id)
        select distinct workspace_id, found[1], id
        from company, regexp_matches(search, '\x1f([[:alnum:]]+)', 'g') as found
        where workspace_id = $1 order by 1, 2, 3""",
    """insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
       select workspace_id, version, updated_at, id, id, id, 'o', 'c', object from company where workspace_id = $1""",
    """update workspace w set (seq, last_at) = (
           select max(version), max(updated_at) from company where workspace_id = w.id
       ) where id = $1""",
)
