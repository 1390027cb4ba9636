"""How persons are erased: on request, again after a backup was restored, and deleted objects after some days."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Executor, Pool
from herdbook.db.survivors import survivors
from herdbook.erasure import store
from herdbook.erasure.commands import EraseAddress, EraseContact, EraseSlice, Expirable, ExpireObjects
from herdbook.erasure.model import Certificate, Found, erased_address, keyed_hash
from herdbook.erasure.store import KnownContact, KnownParticipants
from herdbook.erasure_list import ErasureList, ErasureListInvalid, ListedErasure
from herdbook.errors import NotFound, Refusal, Unavailable
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unfinished import SliceDone, finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.shared_schemas import shown_time

_CONTACTS: Final = 2000
_ENGAGEMENTS: Final = 500
# Limits how many ids are encoded before others have their turn.
_SHOWN_IDS: Final = 1000
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
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


async def command_for_address(statements: Executor, workspace_id: UUID, address: str) -> EraseAddress:
    """Return the command that erases the participants with an address, with what is found of them now."""
    subject = await store.subject_with_address(statements, workspace_id, address)
    found = await store.count(statements, workspace_id, subject, with_engagements=False)
    return EraseAddress(address=address, subject=subject, found=found)


async def preview(command: EraseContact | EraseAddress, request_id: UUID, shown_credential_id: str | None) -> Certificate:
    """Return the expected certificate of an erasure that is not carried out."""
    is_of_contact = isinstance(command, EraseContact)
    return Certificate(
        object="erasure_certificate",
        dry_run=True,
        contact_id=ids.encoded(ids.CONTACT, command.contact_id) if is_of_contact else None,
        erased_at=None,
        request_id=ids.encoded(ids.REQUEST, request_id),
        credential_id=shown_credential_id,
        finished=False,
        engagements=is_of_contact and command.with_engagements,
        engagement_ids=await _shown_engagements(command.found),
        rows=command.found.rows,
        kept=command.found.kept,
    )


async def require_list(erasures: ErasureList) -> None:
    """Refuse an erasure that a restored database could not learn of. Refusal: Unavailable."""
    try:
        await asyncio.to_thread(erasures.check)
    except (OSError, ErasureListInvalid) as error:
        _log.error("the list of erasures cannot be written", extra={"error": str(error)})
        raise Unavailable("The server cannot write its list of erasures. Nothing was erased. Tell its operator.") from None


async def finished(pool: Pool, ledger: Ledger, erasures: ErasureList, these: tuple[UUID, Sequence[UUID]] | None = None) -> None:
    """Finish erasures that were begun, all or those of some contacts, and add them to the list outside of the database."""
    await finish(pool, ledger, store.ERASE, EraseSlice, these)
    if recent := await store.listed(pool, days=1):
        await asyncio.to_thread(erasures.add, recent)


async def finish_address(
    pool: Pool, ledger: Ledger, erasures: ErasureList, workspace_id: UUID, task_id: UUID, origin: Origin
) -> None:
    """Finish the erasure of an address under the request that asked for it, and add it to the list outside of the database."""
    done = SliceDone(all=False)
    with contextlib.suppress(Refusal):
        while not done.all:
            done = msgspec.json.decode((await ledger.write(workspace_id, EraseSlice(task_id), origin)).body, type=SliceDone)
    await finished(pool, ledger, erasures, (workspace_id, [task_id]))


async def certificate(statements: Executor, workspace_id: UUID, contact_id: UUID) -> Certificate | None:
    """Return the certificate of a contact's erasure, or None if it was not erased."""
    kept = await store.erasure_of(statements, workspace_id, contact_id)
    return None if kept is None else await _shown(kept, ids.encoded(ids.CONTACT, contact_id))


async def certificate_of_address(statements: Executor, workspace_id: UUID, address: str) -> Certificate | None:
    """Return the certificate of an erasure by address, or None if there was none."""
    kept = await store.erasure_of_address(statements, workspace_id, address)
    return None if kept is None else await _shown(kept, None)


async def _shown(kept: store.KeptErasure, contact_id: str | None) -> Certificate:
    prefix = CLIENT_PREFIX if kept.is_client else ids.CREDENTIAL
    return Certificate(
        object="erasure_certificate",
        dry_run=False,
        contact_id=contact_id,
        erased_at=shown_time(kept.at),
        request_id=ids.encoded(ids.REQUEST, kept.request_id),
        credential_id=None if kept.credential_id == ids.NIL else ids.encoded(prefix, kept.credential_id),
        finished=kept.is_finished,
        engagements=kept.with_engagements,
        engagement_ids=await _shown_engagements(kept.found),
        rows=kept.found.rows,
        kept=kept.found.kept,
    )


async def _shown_engagements(found: Found) -> list[str]:
    """Return the ids of the engagements that go, as the API shows them. Others have their turn meanwhile."""
    shown: list[str] = []
    for start in range(0, len(found.engagement_ids), _SHOWN_IDS):
        shown += [ids.encoded(ids.ENGAGEMENT, each) for each in found.engagement_ids[start : start + _SHOWN_IDS]]
        await asyncio.sleep(0)
    return shown


async def not_found(statements: Executor, workspace_id: UUID, object_type: ObjectType[Any, Any], object_id: UUID) -> NotFound:
    """Return the refusal for an object that is not there. It says so if the object was erased."""
    if object_type is CONTACT and await store.erasure_of(statements, workspace_id, object_id) is not None:
        return NotFound("contact", "It cannot come back.", fault="This contact was erased.")
    return NotFound(object_type.noun, object_id=object_id)


async def not_erasable(statements: Executor, workspace_id: UUID, command: EraseContact) -> NotFound | None:
    """Return why a contact cannot be erased, for a caller who may read it: it is not there, or another one replaces it."""
    replacing = await survivors(statements, "contact", workspace_id, [command.contact_id])
    if command.contact_id in replacing:
        survivor = ids.encoded(ids.CONTACT, replacing[command.contact_id])
        return NotFound("contact", f"It was merged into `{survivor}`. Use that one.", command.contact_id, survivor)
    if command.subject.contact_ids:
        return None
    if await store.erasure_of(statements, workspace_id, command.contact_id) is not None:
        return await not_found(statements, workspace_id, CONTACT, command.contact_id)
    return NotFound("contact", "Check the id.")


async def erase_again(pool: Pool, ledger: Ledger, erasures: ErasureList, others: Iterable[ListedErasure] = ()) -> int:
    """Erase the persons whom the list outside of the database has and the database does not, because it was restored.

    `others` are further erasures. A contact that was created after an erasure is another matter, and stays. One that is refused
    is left for the next time. Return how many contacts were erased.
    """
    known = {(each.workspace_id, each.hash): each.at for each in await store.listed(pool)}
    listed = [*await asyncio.to_thread(erasures.read), *others]
    new = [each for each in listed if known.get((each.workspace_id, each.hash), _NEVER) < each.at]
    many, refused = 0, set[ListedErasure]()
    for workspace_id in {each.workspace_id for each in new}:
        of_workspace = [each for each in new if each.workspace_id == workspace_id]
        meant, doubtful = await _meant(pool, workspace_id, of_workspace)
        for contact_id, by in meant.items():
            outcome = await _erased_again(pool, ledger, workspace_id, contact_id, by)
            many += outcome is True
            refused.update(by if outcome is None else ())
        for address, by in (await _addresses_meant(pool, workspace_id, of_workspace)).items():
            command = await command_for_address(pool, workspace_id, address)
            try:
                await ledger.write(workspace_id, command, Origin(by.request_id, by.credential_id))
            except Refusal as refusal:
                _log.exception("participants are not erased again yet", extra={"error": type(refusal).__name__})
                refused.add(by)
        if left := await store.stored(pool, workspace_id, doubtful):
            shown = [ids.encoded(ids.CONTACT, each) for each in left]
            _log.warning("contacts have the address of an erased person: erase them if they are the same", extra={"ids": shown})
    if new:
        await store.note(pool, [each for each in new if each not in refused])
        _log.warning("persons were erased again, because the database was restored", extra={"contacts": many})
    await finish(pool, ledger, store.ERASE, EraseSlice)
    if all_listed := await store.listed(pool):
        try:
            await asyncio.to_thread(erasures.add, all_listed)
        except OSError as error:
            # A server of an external database may have another data folder than the one whose list has them.
            _log.error("the list of erasures cannot be written", extra={"error": str(error)})  # the error says all
    return many


async def _erased_again(
    pool: Pool, ledger: Ledger, workspace_id: UUID, contact_id: UUID, by: Sequence[ListedErasure]
) -> bool | None:
    """Erase a contact again, or the one that replaced it. Return whether it was still there, or None if that is refused."""
    replacing = await survivors(pool, "contact", workspace_id, [contact_id])
    with_engagements = any(each.with_engagements for each in by)
    replaced_by = replacing.get(contact_id, contact_id)
    command = await command_for(pool, workspace_id, replaced_by, with_engagements=with_engagements)
    try:
        await ledger.write(workspace_id, command, Origin(by[0].request_id, by[0].credential_id))
    except Refusal as refusal:
        # Another process has erased it, or it went with another one.
        if not await store.stored(pool, workspace_id, [contact_id]):
            return False
        shown = ids.encoded(ids.CONTACT, contact_id)
        _log.error(
            "a person is not erased again yet: restart the server, or erase the contact",
            extra={"contact_id": shown, "error": type(refusal).__name__},
        )
        return None
    return True


async def _meant(
    pool: Pool, workspace_id: UUID, erasures: Sequence[ListedErasure]
) -> tuple[dict[UUID, list[ListedErasure]], list[UUID]]:
    """Return the contacts that erasures mean, each with these, and further ones that have an address of an erased contact.

    The id alone tells that a contact is the one that was erased: an address may have belonged to somebody else before. An
    erasure that was asked for by address means every contact that has it.
    """
    found, doubtful = dict[UUID, list[ListedErasure]](), list[UUID]()
    by_key = {each.key: {other.hash: other for other in erasures if other.key == each.key} for each in erasures}
    after = ids.NIL
    while contacts := await store.contacts_after(pool, workspace_id, after, _CONTACTS):
        for contact in contacts:
            for key, by_hash in by_key.items():
                meant = (ids.encoded(ids.CONTACT, contact.id), *map(erased_address, contact.addresses))
                if by := _listed(by_hash, key, workspace_id, contact, meant):
                    found.setdefault(contact.id, []).extend(by)
                elif _listed(by_hash, key, workspace_id, contact, contact.addresses):
                    doubtful.append(contact.id)
        after = contacts[-1].id
        await asyncio.sleep(0)
    return found, [each for each in doubtful if each not in found]


async def _addresses_meant(pool: Pool, workspace_id: UUID, erasures: Sequence[ListedErasure]) -> dict[str, ListedErasure]:
    """Return the addresses of participants that erasures mean: one of an erased contact, too, if no contact has it now."""
    found: dict[str, ListedErasure] = {}
    by_key = {each.key: {other.hash: other for other in erasures if other.key == each.key} for each in erasures}
    after = ids.NIL
    while engagements := await store.participants_after(pool, workspace_id, after, _ENGAGEMENTS):
        for engagement in engagements:
            for address in engagement.addresses - found.keys():
                for key, by_hash in by_key.items():
                    for each in _listed(by_hash, key, workspace_id, engagement, (address, erased_address(address))):
                        found[address] = each
        after = engagements[-1].id
        await asyncio.sleep(0)
    return found


def _listed(
    by_hash: dict[str, ListedErasure],
    key: str,
    workspace_id: UUID,
    known: KnownContact | KnownParticipants,
    values: Iterable[str],
) -> list[ListedErasure]:
    """Return the erasures of any of these values that are later than what is known."""
    found = (by_hash.get(keyed_hash(key, workspace_id, value)) for value in values)
    return [each for each in found if each is not None and known.created_at < each.at]


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
