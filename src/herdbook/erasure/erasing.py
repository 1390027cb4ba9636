"""How persons are erased: on request, again after a backup was restored, and deleted objects after some days."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Executor, Pool
from herdbook.erasure import store
from herdbook.erasure.commands import EraseContact, EraseSlice, Expirable, ExpireObjects
from herdbook.erasure.model import Certificate, keyed_hash
from herdbook.erasure_list import ErasureList, ListedErasure
from herdbook.errors import NotFound, Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.shared_schemas import shown_time

_CONTACTS: Final = 2000
_log: Final = logging.getLogger("herdbook.app")


async def command_for(
    statements: Executor,
    workspace_id: UUID,
    contact_id: UUID,
    *,
    with_engagements: bool,
    if_version: frozenset[int] | None = None,
) -> EraseContact:
    """Return the command that erases a contact, with what is found of the person now."""
    subject = await store.subject_of(statements, workspace_id, [contact_id])
    return EraseContact(
        contact_id=contact_id,
        subject=subject,
        with_engagements=with_engagements,
        found=await store.count(statements, workspace_id, subject, with_engagements=with_engagements),
        if_version=if_version,
    )


def preview(command: EraseContact, request_id: UUID, shown_credential_id: str | None) -> Certificate:
    """Return the expected certificate of an erasure that is not carried out."""
    return Certificate(
        object="erasure_certificate",
        dry_run=True,
        contact_id=ids.encoded(ids.CONTACT, command.contact_id),
        erased_at=None,
        request_id=ids.encoded(ids.REQUEST, request_id),
        credential_id=shown_credential_id,
        finished=False,
        engagements=command.with_engagements,
        rows=command.found.rows,
        kept=command.found.kept,
    )


async def finished(pool: Pool, ledger: Ledger, erasures: ErasureList, these: tuple[UUID, Sequence[UUID]] | None = None) -> None:
    """Finish erasures that were begun, all or those of some contacts, and add them to the list outside of the database."""
    await finish(pool, ledger, store.ERASE, EraseSlice, these)
    await asyncio.to_thread(erasures.add, await store.listed(pool))


async def certificate(statements: Executor, workspace_id: UUID, contact_id: UUID) -> Certificate | None:
    """Return the certificate of a contact's erasure, or None if it was not erased."""
    kept = await store.erasure_of(statements, workspace_id, contact_id)
    if kept is None:
        return None
    prefix = CLIENT_PREFIX if kept.is_client else ids.CREDENTIAL
    return Certificate(
        object="erasure_certificate",
        dry_run=False,
        contact_id=ids.encoded(ids.CONTACT, contact_id),
        erased_at=shown_time(kept.at),
        request_id=ids.encoded(ids.REQUEST, kept.request_id),
        credential_id=None if kept.credential_id == ids.NIL else ids.encoded(prefix, kept.credential_id),
        finished=kept.is_finished,
        engagements=kept.with_engagements,
        rows=kept.found.rows,
        kept=kept.found.kept,
    )


async def not_found(statements: Executor, workspace_id: UUID, object_type: ObjectType[Any, Any], object_id: UUID) -> NotFound:
    """Return the refusal for an object that is not there. It says so if the object was erased."""
    if object_type is CONTACT and await store.erasure_of(statements, workspace_id, object_id) is not None:
        return NotFound("contact", "It cannot come back.", fault="This contact was erased.")
    return NotFound(object_type.noun, object_id=object_id)


async def erase_again(pool: Pool, ledger: Ledger, erasures: ErasureList, others: Iterable[ListedErasure] = ()) -> int:
    """Erase the persons whom the list outside of the database has and the database does not, because it was restored.

    `others` are further erasures. A contact that was created after an erasure is another matter, and stays. Return how many
    contacts were erased.
    """
    known = {(each.workspace_id, each.hash) for each in await store.listed(pool)}
    listed = [*await asyncio.to_thread(erasures.read), *others]
    new = [each for each in listed if (each.workspace_id, each.hash) not in known]
    many = 0
    for workspace_id in {each.workspace_id for each in new}:
        of_workspace = [each for each in new if each.workspace_id == workspace_id]
        for contact_id, erasure in (await _matching(pool, workspace_id, of_workspace)).items():
            origin = Origin(erasure.request_id, erasure.credential_id)
            command = await command_for(pool, workspace_id, contact_id, with_engagements=erasure.with_engagements)
            try:
                await ledger.write(workspace_id, command, origin)
            except NotFound:
                # Another process has erased it, or it was merged into one that is erased.
                continue
            many += 1
    if new:
        await finished(pool, ledger, erasures)
        await store.note(pool, new)
        _log.warning("persons were erased again, because the database was restored", extra={"contacts": many})
    return many


async def _matching(pool: Pool, workspace_id: UUID, erasures: Sequence[ListedErasure]) -> dict[UUID, ListedErasure]:
    """Return the contacts that are meant by erasures, each with its erasure."""
    found: dict[UUID, ListedErasure] = {}
    by_key = {each.key: {other.hash: other for other in erasures if other.key == each.key} for each in erasures}
    after = ids.NIL
    while contacts := await store.contacts_after(pool, workspace_id, after, _CONTACTS):
        for contact in contacts:
            for key, by_hash in by_key.items():
                for value in (ids.encoded(ids.CONTACT, contact.id), *contact.addresses):
                    erasure = by_hash.get(keyed_hash(key, workspace_id, value))
                    if erasure is not None and contact.created_at < erasure.at:
                        found[contact.id] = erasure
        after = contacts[-1].id
        await asyncio.sleep(0)
    return found


async def expire(pool: Pool, ledger: Ledger, object_types: Iterable[ObjectType[Any, Any]], days: int) -> None:
    """Remove objects that were deleted more than this many days ago. Stop early if a slice is refused."""
    for object_type in object_types:
        try:
            place: tuple[UUID, UUID] | None = (ids.NIL, ids.NIL)
            while place is not None:
                place = await _expire_slice(pool, ledger, object_type, days, place)
        except Refusal as refusal:
            _log.warning("deleted objects stay for now", extra={"error": type(refusal).__name__})


async def _expire_slice(
    pool: Pool, ledger: Ledger, object_type: ObjectType[Any, Any], days: int, after: tuple[UUID, UUID]
) -> tuple[UUID, UUID] | None:
    """Remove some objects after a place. Return the place after them, or None at the end."""
    began = time.monotonic()
    found, place = await store.expirable(pool, object_type.table.name, days, after)
    for workspace_id, objects in found.items():
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        command = ExpireObjects(object_type, tuple(Expirable(*each) for each in objects))
        await ledger.write(workspace_id, command, origin)
    # Leave four fifths of the time to others, however much there is to remove.
    await asyncio.sleep(4 * (time.monotonic() - began))
    return place
