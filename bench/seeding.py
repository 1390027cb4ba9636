"""Contacts by the hundred thousand, written directly into herdbook's tables as if the ledger had entered each."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.contacts.model import Contact, ContactEmail, ContactObject, ContactPhoneNumber, search_entry
from herdbook.shared_schemas import ResourceRef

# Ids follow from a number, here and in pgbench: a ULID's milliseconds, then digits that look random.
FIRST_MILLISECOND = 1_750_000_000_000
STARTED = datetime.fromtimestamp(FIRST_MILLISECOND / 1000, UTC)
COLUMNS = (
    *("workspace_id", "id", "version", "updated_at", "company_id", "phone_numbers_e164"),
    *("search", "first_name_word", "last_name_word", "object"),
)

encoder = msgspec.json.Encoder()


def contact_id(number: int) -> UUID:
    return UUID(hex=f"{FIRST_MILLISECOND + number:012x}{hashlib.md5(str(number).encode()).hexdigest()[:20]}")


def contact_path(number: int) -> str:
    return f"/api/v2/contacts/{ids.encoded(ids.CONTACT, contact_id(number))}"


def connect(folder: Path) -> Any:
    return asyncpg.connect(host=str(folder / "data" / "postgres"), user="postgres", database="herdbook")


def contact_row(workspace_id: UUID, head: int, number: int) -> tuple[object, ...]:
    """Return a row of COLUMNS. Its company exists only as a reference, because nothing measured looks it up."""
    at = STARTED + timedelta(milliseconds=number)
    company_id = UUID(int=number % 1000)
    written = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    phone_number = f"+4930{number:07d}"
    contact = Contact(
        object=ContactObject.CONTACT,
        id=ids.encoded(ids.CONTACT, contact_id(number)),
        first_name=f"Ada{number:06d}",
        last_name=f"Byron{number:06d}",
        description="Met at the fair; asked for a quote.",
        company=ResourceRef(ids.encoded(ids.COMPANY, company_id), "company"),
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
            company_id,
            [phone_number],
            search.text,
            search.first_name_word,
            search.last_name_word,
            encoder.encode(contact).decode(),
        ),
    )


def contact_rows(heads: Mapping[UUID, int], size: int) -> Iterator[tuple[object, ...]]:
    return (contact_row(workspace_id, head, number) for workspace_id, head in heads.items() for number in range(1, size + 1))


async def fill(folder: Path, workspace_ids: list[UUID], size: int) -> None:
    """Give each workspace a number of contacts with their history, addresses and search words."""
    connection = await connect(folder)
    try:
        await connection.execute("set synchronous_commit = off; set work_mem = '256MB'")
        await connection.executemany(
            "insert into workspace (id, name, has_usual_fields) values ($1, 'Bench', true) on conflict do nothing",
            [(workspace_id,) for workspace_id in workspace_ids],
        )
        # A workspace begins with the changes of its first user and its usual fields.
        heads = dict(await connection.fetch("select id, seq from workspace where id = any($1::uuid[])", workspace_ids))
        rows = contact_rows(heads, size)
        await connection.copy_records_to_table("contact", records=rows, columns=COLUMNS)
        for statement in DERIVED:
            await connection.execute(statement, workspace_ids)
        await connection.execute("vacuum (analyze)")
        # A pending checkpoint would fall into the first minutes of load.
        await connection.execute("checkpoint")
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
    """update workspace w set (seq, last_at) = (
           select max(version), max(updated_at) from contact where workspace_id = w.id
       ) where id = any($1::uuid[])""",
)
