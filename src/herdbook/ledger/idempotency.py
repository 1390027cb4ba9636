"""The idempotency records: the first answer to each Idempotency-Key, kept for a day and saved with its change."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook.db.distribution import each_part
from herdbook.db.pool import Executor, Pool
from herdbook.db.slices import SLICE, each_slice
from herdbook.errors import Refusal
from herdbook.ledger.insertion import insertion
from herdbook.ledger.unit_of_work import Need, Result, Table, UnitOfWork

# The answer once it was erased, because it had personal data.
ERASED_ANSWER: Final = msgspec.Raw(b'{"erased":true}')


class IdempotencyRecord(msgspec.Struct, frozen=True):
    """The answer to the first request with a key, and the fingerprints of that request.

    A release that knows no canonical form compares `fingerprint`, and stores no other.
    """

    workspace_id: UUID
    credential_id: UUID
    key: str
    fingerprint: str
    at: datetime
    version: int
    answer: msgspec.Raw
    canonical_fingerprint: str | None

    @property
    def is_erased(self) -> bool:
        """Whether the answer was erased."""
        return bytes(self.answer) == bytes(ERASED_ANSWER)

    def is_of(self, key: "IdempotencyKey") -> bool:
        """Whether the key came with the same request."""
        same_form = self.canonical_fingerprint is not None and self.canonical_fingerprint == key.canonical_fingerprint
        return same_form or self.fingerprint == key.fingerprint


class IdempotencyKey(msgspec.Struct, frozen=True):
    """The Idempotency-Key of a request, and the fingerprints of its content: as it was sent, and in its canonical form."""

    key: str
    fingerprint: str
    canonical_fingerprint: str | None = None

    def part(self, number: int) -> "IdempotencyKey":
        """Return the key of one of several commands of the request. No caller can send it: headers have no line breaks."""
        return IdempotencyKey(f"{self.key}\n{number}", self.fingerprint, self.canonical_fingerprint)


class NotDoneYet(Refusal):
    """No request with the Idempotency-Key was carried out."""

    def __init__(self) -> None:
        super().__init__("No request with this `Idempotency-Key` was carried out.")


class FirstAnswer(msgspec.Struct, frozen=True):
    """Do nothing: the ledger answers it as the first request with its Idempotency-Key. Refusal: NotDoneYet, without one."""

    def needs(self) -> Iterator[Need]:
        yield from ()

    def apply(self, work: UnitOfWork) -> Result:  # noqa: ARG002  # as of all commands
        raise NotDoneYet


_SAVE: Final = insertion(
    "idempotency_kept",
    "idempotency_record",
    {
        "credential_id": "uuid",
        "key": "text",
        "fingerprint": "text",
        "version": "bigint",
        "answer": "json",
        "canonical_fingerprint": "text",
    },
    """
    on conflict (workspace_id, credential_id, key) do update
    set fingerprint = excluded.fingerprint, at = excluded.at, version = excluded.version, answer = excluded.answer,
        canonical_fingerprint = excluded.canonical_fingerprint
    """,
    {"at": "now()"},
)
# `coalesce` rules out the index by time, so the planner uses the primary key.
IDEMPOTENCY_RECORDS: Final = Table(
    row=IdempotencyRecord,
    key=lambda record: f"{record.credential_id}:{record.key}",
    load="""
        select i.workspace_id, i.credential_id, i.key, i.fingerprint, i.at, i.version, i.answer, i.canonical_fingerprint
        from json_to_recordset($rows) as asked(workspace_id uuid, key text)
        join idempotency_record i
            on i.workspace_id = asked.workspace_id
            and i.credential_id = left(asked.key, 36)::uuid
            and i.key = substr(asked.key, 38)
        where coalesce(i.at, 'infinity') > now() - interval '24 hours'
    """,
    save=_SAVE,
)


async def forget_old_records(pool: Pool) -> None:
    """Delete records older than a day, and those that a wrong clock has dated more than a day ahead."""

    async def forget(part: Executor) -> None:
        await _forget(part, "-infinity", "-24 hours")
        await _forget(part, "24 hours", "infinity")

    await each_part(pool, forget)


async def _forget(statements: Executor, since: str, until: str) -> None:
    """Delete the records of all workspaces between two times, given as intervals from now."""
    # Each slice begins at the end of the last one, so that none scans rows that are already deleted.
    place: datetime | None = None

    async def delete() -> int:
        nonlocal place
        record = await statements.fetchrow(
            """
            with old as (
                delete from idempotency_record i
                using (
                    select workspace_id, credential_id, key from idempotency_record
                    where at >= coalesce($1, now() + $2::text::interval) and at < now() + $3::text::interval
                    order by at limit $4
                ) as each
                where i.workspace_id = each.workspace_id and i.credential_id = each.credential_id and i.key = each.key
                    /* held */
                returning i.at
            )
            select count(*), max(at) from old
            """,
            place,
            since,
            until,
            SLICE,
        )
        assert record is not None, "`count` always returns a row"
        count, place = record
        return count

    await each_slice(delete)
