"""All duplicates among many contacts, and those of a new one: `python -m bench.duplicates [CONTACTS]`.

The contacts are written directly into the table, as `bench/seeding.py` does. One in twenty is there twice: with a short, a
misspelt or a turned name, and with only some of the first one's telephone, address and company. It prints how long the first
pass takes, how many of the planted pairs are found, and how long the candidates of a new contact take.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import psutil
from msgspec import UNSET

from bench.seeding import STARTED, contact_id, encoder
from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.contacts.model import Contact, ContactEmail, ContactObject, ContactPhoneNumber
from herdbook.db.migrate import migrate
from herdbook.db.pool import open_pool
from herdbook.duplicates.searching import CONTACTS, Place, candidates_of, is_behind, search_state, take_step
from herdbook.embedded import EmbeddedPostgres
from herdbook.shared_schemas import ResourceRef

COLUMNS = ("workspace_id", "id", "version", "updated_at", "company_id", "phone_numbers_e164", "search", "object")
TWINS = 0.05
NEW = 200
_SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeiou"]
_NAMES = """
anna maria peter john james mary robert michael william david richard joseph thomas charles susan jessica sarah karen
lisa nancy daniel matthew anthony mark donald steven paul andrew joshua kenneth kevin brian george edward ronald timothy
jason elizabeth jennifer barbara margaret katherine helen sandra laura emily michelle amanda melissa deborah stephanie
rebecca alexander benjamin samuel gregory alexandra christina victoria patricia theresa francis ferdinand friedrich
giovanni pierre
"""
_GIVEN = _NAMES.split()
_SHORT = {
    "john": "jack",
    "william": "bill",
    "robert": "bob",
    "elizabeth": "liz",
    "michael": "mike",
    "james": "jim",
    "thomas": "tom",
}


class Herd:
    """Contacts made up by dice: whoever asks for the same number gets the same contact."""

    def __init__(self, many: int) -> None:
        self._many = many
        self.originals = round(many * (1 - TWINS))
        dice = random.Random(7)
        self._family = [
            "".join(dice.choices(_SYLLABLES, k=dice.choice((2, 3, 3, 4)))) + dice.choice("nrstlk ").strip()
            for _ in range(40_000)
        ]
        # Few family names are common, and most are rare.
        self._weights = [1 / (rank + 20) for rank in range(len(self._family))]
        dice = random.Random(8)
        self._families = dice.choices(range(len(self._family)), self._weights, k=self.originals)

    def of(self, number: int) -> Contact:
        """Return a contact: an original or, from the last of these on, the twin of one."""
        if number < self.originals:
            return self._original(number)
        return self._twin(number)

    def original_of(self, number: int) -> int:
        """Return the number of the original of a twin."""
        return (number - self.originals) * 17 % self.originals

    def _original(self, number: int, shown_as: int | None = None) -> Contact:
        dice = random.Random(number)
        given, family = dice.choice(_GIVEN), self._family[self._families[number]]
        company = dice.randrange(max(1, self._many // 12)) if dice.random() < 0.7 else None
        emails: tuple[ContactEmail, ...] = ()
        if dice.random() < 0.75:
            domain = f"company{company}.test" if company is not None else dice.choice(("gmail.com", "outlook.com", "web.de"))
            emails = (ContactEmail(f"{given}.{family}{number}@{domain}", is_primary=True),)
        numbers: tuple[ContactPhoneNumber, ...] = ()
        if dice.random() < 0.6:
            # Every tenth has the switchboard of the company, or of all.
            line = f"{10_000_000 + number}" if dice.random() < 0.9 else f"{1_000_000 + (company or 0)}0"
            numbers = (ContactPhoneNumber(f"+4930{line}", is_primary=True),)
        at = STARTED.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return Contact(
            object=ContactObject.CONTACT,
            id=ids.encoded(ids.CONTACT, contact_id(number if shown_as is None else shown_as)),
            first_name=given.capitalize(),
            last_name=family.capitalize(),
            company=ResourceRef(ids.encoded(ids.COMPANY, UUID(int=company + 1)), "company") if company is not None else UNSET,
            emails=emails,
            phone_numbers=numbers,
            created_at=at,
            updated_at=at,
        )

    def _twin(self, number: int) -> Contact:
        dice = random.Random(-number)
        original = self._original(self.original_of(number), number)
        changes: dict[str, Any] = {"emails": ()}
        given, family = original.first_name or "", original.last_name or ""
        match dice.randrange(4):
            case 0:
                changes["first_name"] = _SHORT.get(given.lower(), given).capitalize()
            case 1:
                place = dice.randrange(1, len(family))
                changes["last_name"] = family[:place] + family[place + 1 :]
            case 2:
                changes |= {"first_name": family, "last_name": given}
            case _:
                pass
        if original.emails and dice.random() < 0.5:
            local, _, domain = original.emails[0].email.partition("@")
            changes["emails"] = (ContactEmail(f"{local[0]}.{local.partition('.')[2]}@{domain}", is_primary=True),)
        if original.phone_numbers and dice.random() < 0.3 and (original.company is not UNSET or changes["emails"]):
            changes["phone_numbers"] = ()
        return msgspec.structs.replace(original, **changes)

    def rows(self, workspace_id: UUID) -> Iterator[tuple[object, ...]]:
        """Yield the rows of all."""
        for number in range(self._many):
            contact = self.of(number)
            company_id = None if contact.company is UNSET else ids.decoded(ids.COMPANY, contact.company.id)
            body = encoder.encode(contact).decode()
            numbers = [item.phone_number for item in contact.phone_numbers]
            yield (workspace_id, contact_id(number), number, STARTED, company_id, numbers, "", body)


def _processor_seconds(backend: int) -> list[float]:
    """Return the processor time of this process and of a connection of PostgreSQL."""
    times = (psutil.Process(process).cpu_times() for process in (None, backend))
    return [each.user + each.system for each in times]


async def measure(url: str, many: int) -> None:
    """Fill a workspace, search it, and print the figures."""
    await migrate(url)
    connection: Any = await asyncpg.connect(url)
    workspace_id = await create_workspace(connection, "Bench")
    herd = Herd(many)
    await connection.copy_records_to_table("contact", records=herd.rows(workspace_id), columns=COLUMNS)
    await connection.execute("analyze contact")
    pool = await open_pool(url, 1)
    place = Place(pool, workspace_id, CONTACTS)
    backend: int = await pool.fetchval("select pg_backend_pid()")
    used, began, done = _processor_seconds(backend), time.perf_counter(), 0
    while is_behind(search := await search_state(place)):
        done += await take_step(place, search) or 0
        if done % 50_000 == 0:
            print(f"{done:,} after {time.perf_counter() - began:.0f} s", flush=True)
    seconds = time.perf_counter() - began
    used = [after - before for before, after in zip(used, _processor_seconds(backend), strict=True)]
    pairs = {
        (each[0], each[1])
        for each in await connection.fetch("select one_id, other_id from duplicate_pair where workspace_id = $1", workspace_id)
    }
    planted = {
        tuple(sorted((contact_id(number), contact_id(herd.original_of(number))))) for number in range(herd.originals, many)
    }
    size: int = await connection.fetchval(
        "select sum(pg_total_relation_size(t::regclass)) from unnest($1::text[]) as t",
        ["duplicate_key", "duplicate_object", "duplicate_pair"],
    )
    print(f"contacts {many:,}: all pairs in {seconds:.0f} s, {many / seconds:,.0f} a second")
    print(f"processor seconds: {used[0]:.0f} in Python, {used[1]:.0f} in PostgreSQL")
    print(f"pairs found {len(pairs):,}; of {len(planted):,} planted {len(planted & pairs) / max(1, len(planted)):.3f}")
    print(f"tables {size / many:.0f} bytes a contact; memory {psutil.Process().memory_info().rss / 2**20:.0f} MB")
    rows = await place.objects([contact_id(number) for number in random.Random(1).sample(range(many), min(NEW, many))])
    waits: list[float] = []
    for row in rows:
        began = time.perf_counter()
        await candidates_of(place, search, row)
        waits.append((time.perf_counter() - began) * 1000)
    print(
        f"candidates of one: median {statistics.median(waits):.1f} ms, p99 {sorted(waits)[int(len(waits) * 0.99) - 1]:.1f} ms"
    )
    await pool.close()
    await connection.close()


def main() -> None:
    """Measure on a database of its own."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        try:
            asyncio.run(measure(server.start(), many))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
