"""How persons are erased: on request, again after a backup was restored, and deleted objects after some days."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.contacts.store import CONTACT
from herdbook.db.distribution import each_part
from herdbook.db.pool import Executor, Pool
from herdbook.db.survivors import survivors
from herdbook.erasure import again_store, store
from herdbook.erasure.commands import EraseAddress, EraseContact, EraseSlice, Expirable, ExpireObjects, RemoveImports
from herdbook.erasure.model import Certificate, erased_address, in_words, keyed_hash
from herdbook.erasure.store import Credential
from herdbook.erasure_list import ErasureList, ErasureListInvalid, ListedErasure
from herdbook.errors import NotFound, Refusal, Unavailable
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unfinished import SliceDone, finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.media_sweep import files_of_workspace, sweep
from herdbook.shared_schemas import shown_time

T = TypeVar("T")
_CONTACTS: Final = 2000
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


async def command_for_address(
    statements: Executor, workspace_id: UUID, address: str, *, at: datetime | None = None, is_of_contact: bool = False
) -> EraseAddress:
    """Return the command that erases what an address alone names, with what is found of it now."""
    subject = await store.subject_with_address(statements, workspace_id, address)
    found = await store.count(statements, workspace_id, subject, with_engagements=False)
    return EraseAddress(address=address, subject=subject, found=found, at=at, is_of_contact=is_of_contact)


async def preview(statements: Executor, command: EraseContact | EraseAddress, origin: Origin) -> Certificate:
    """Return the expected certificate of an erasure that is not carried out."""
    is_of_contact = isinstance(command, EraseContact)
    credential = await store.credential(statements, origin.credential_id)
    return Certificate(
        object="erasure_certificate",
        dry_run=True,
        contact_id=ids.encoded(ids.CONTACT, command.contact_id) if is_of_contact else None,
        erased_at=None,
        request_id=ids.encoded(ids.REQUEST, origin.request_id),
        credential_id=_shown_credential(origin.credential_id, credential),
        credential_name=credential.name,
        finished=False,
        engagements=is_of_contact and command.with_engagements,
        engagement_ids=await _shown_engagements(command.found.engagement_ids),
        kept_engagement_ids=await _shown_engagements(command.found.kept_engagement_ids),
        imports=[*command.found.imports],
        others=[*command.found.others],
        rows=command.found.rows,
        kept=command.found.kept,
        in_words=in_words(command.found),
    )


def _shown_credential(credential_id: UUID, credential: Credential) -> str | None:
    prefix = CLIENT_PREFIX if credential.is_client else ids.CREDENTIAL
    return None if credential_id == ids.NIL else ids.encoded(prefix, credential_id)


async def require_list(erasures: ErasureList) -> None:
    """Refuse an erasure that a restored database could not learn of. Refusal: Unavailable."""
    if not await _are_listed(erasures, ()):
        raise Unavailable("The server cannot read or write its list of erasures. Nothing was erased. Tell its operator.")


async def finished(pool: Pool, ledger: Ledger, erasures: ErasureList, these: tuple[UUID, Sequence[UUID]] | None = None) -> bool:
    """Finish erasures that were begun, all or those of some contacts, and add them to the list outside of the database.

    Return whether the list has them. If it cannot be written now, the next call adds them.
    """
    await finish(pool, ledger, store.ERASE, EraseSlice, these)
    recent = await store.listed(pool, days=1)
    return not recent or await _are_listed(erasures, recent)


async def _are_listed(erasures: ErasureList, these: Sequence[ListedErasure]) -> bool:
    """Add erasures to the list outside of the database. Return whether it has them, and can be written."""
    try:
        await asyncio.to_thread(erasures.add, these)
    except (OSError, ErasureListInvalid) as error:
        # A server of an external database may have another data folder than the one whose list has them.
        _log.error("the list of erasures cannot be read or written", extra={"error": str(error)})  # the error says all
        return False
    return True


async def sweep_uploads(statements: Executor, folder: Path, workspace_id: UUID | None = None) -> None:
    """Remove the files in the folder of uploads, of all workspaces or one, whose imports are gone."""
    files = None if workspace_id is None else files_of_workspace(folder, workspace_id)
    await sweep(folder, partial(store.needing_uploads, statements), files)


async def finish_address(
    pool: Pool, ledger: Ledger, erasures: ErasureList, workspace_id: UUID, task_id: UUID, origin: Origin
) -> bool:
    """Finish the erasure of an address under the request that asked for it. Return what `finished` does."""
    done = SliceDone(all=False)
    with contextlib.suppress(Refusal):
        while not done.all:
            done = msgspec.json.decode((await ledger.write(workspace_id, EraseSlice(task_id), origin)).body, type=SliceDone)
    return await finished(pool, ledger, erasures, (workspace_id, [task_id]))


async def certificate(
    statements: Executor, workspace_id: UUID, contact_id: UUID, *, is_listed: bool = True
) -> Certificate | None:
    """Return the certificate of a contact's erasure, or None if it was not erased.

    An erasure is not finished before the list outside of the database has it.
    """
    kept = await store.erasure_of(statements, workspace_id, contact_id)
    return None if kept is None else await _shown(statements, kept, ids.encoded(ids.CONTACT, contact_id), is_listed=is_listed)


async def certificate_of_address(
    statements: Executor, workspace_id: UUID, address: str, *, is_listed: bool = True
) -> Certificate | None:
    """Return the certificate of an erasure by address as `certificate` does, or None if there was none."""
    kept = await store.erasure_of_address(statements, workspace_id, address)
    return None if kept is None else await _shown(statements, kept, None, is_listed=is_listed)


async def _shown(statements: Executor, kept: store.KeptErasure, contact_id: str | None, *, is_listed: bool) -> Certificate:
    credential = await store.credential(statements, kept.credential_id)
    return Certificate(
        object="erasure_certificate",
        dry_run=False,
        contact_id=contact_id,
        erased_at=shown_time(kept.at),
        request_id=ids.encoded(ids.REQUEST, kept.request_id),
        credential_id=_shown_credential(kept.credential_id, credential),
        credential_name=credential.name,
        finished=kept.is_finished and is_listed,
        engagements=kept.with_engagements,
        engagement_ids=await _shown_engagements(kept.found.engagement_ids),
        kept_engagement_ids=await _shown_engagements(kept.found.kept_engagement_ids),
        imports=[*kept.found.imports],
        others=[*kept.found.others],
        rows=kept.found.rows,
        kept=kept.found.kept,
        in_words=in_words(kept.found),
    )


async def _shown_engagements(engagement_ids: Sequence[UUID]) -> list[str]:
    """Return the ids of engagements, as the API shows them. Others have their turn meanwhile."""
    shown: list[str] = []
    for start in range(0, len(engagement_ids), _SHOWN_IDS):
        shown += [ids.encoded(ids.ENGAGEMENT, each) for each in engagement_ids[start : start + _SHOWN_IDS]]
        await asyncio.sleep(0)
    return shown


async def not_found(statements: Executor, workspace_id: UUID, object_type: ObjectType[Any, Any], object_id: UUID) -> NotFound:
    """Return the refusal for an object that is not there. It says so if the object was erased."""
    if object_type is CONTACT and await store.erasure_of(statements, workspace_id, object_id) is not None:
        return NotFound("contact", "It cannot come back.", fault="This contact was erased.")
    if await store.has_erased_entry(statements, object_type, workspace_id, object_id):
        fault = f"This {object_type.noun} was erased, or was deleted too long ago."
        return NotFound(object_type.noun, "It cannot come back.", fault=fault)
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

    All that an address alone names goes, too, and so do imports. `others` are further erasures. A contact that was created
    after an erasure is another matter, and stays. One that is refused, or fails, is left for the next time, and does not hold
    up the others. Return how many contacts were erased.
    """
    known = {(each.workspace_id, each.hash): each.at for each in await store.listed(pool)}
    listed = [*await asyncio.to_thread(erasures.read), *others]
    new = [each for each in listed if known.get((each.workspace_id, each.hash), _NEVER) < each.at]
    many, refused = 0, set[ListedErasure]()
    for workspace_id in {each.workspace_id for each in new}:
        of_workspace = [each for each in new if each.workspace_id == workspace_id]
        found = await _tried(pool, _meant(pool, workspace_id, of_workspace))
        meant, doubtful = found or ({}, [])
        for contact_id, by in meant.items():
            outcome = await _tried(pool, _erased_again(pool, ledger, workspace_id, contact_id, by))
            many += outcome is True
            refused.update(by if outcome is None else ())
        # These take along what names them, and leave little to be looked for by address.
        await finish(pool, ledger, store.ERASE, EraseSlice)
        addresses = await _tried(pool, _addresses_meant(pool, workspace_id, of_workspace))
        for address, by in (addresses or {}).items():
            refused.update(() if await _tried(pool, _erased_by_address(pool, ledger, workspace_id, address, by)) else by)
        is_done = await _tried(pool, _imports_removed(pool, ledger, workspace_id, of_workspace[-1]))
        if not is_done or found is None or addresses is None:
            refused.update(of_workspace)
        if left := await store.stored(pool, workspace_id, doubtful):
            shown = [ids.encoded(ids.CONTACT, each) for each in left]
            _log.warning("contacts have the address of an erased person: erase them if they are the same", extra={"ids": shown})
    if new:
        await store.note(pool, [each for each in new if each not in refused])
    if many:
        _log.warning("persons were erased again, because the database was restored", extra={"contacts": many})
    await finish(pool, ledger, store.ERASE, EraseSlice)
    if all_listed := await store.listed(pool):
        await _are_listed(erasures, all_listed)
    return many


async def _tried(pool: Pool, work: Awaitable[T]) -> T | None:
    """Return the outcome of some work, or None if it fails by itself. An outage ends all, because all else would fail."""
    try:
        return await work
    except asyncpg.LockNotAvailableError:
        # A migration may have locked a table, for all.
        raise
    except Exception:
        # A statement that takes too long looks like an outage. In a real one this fails, too.
        await store.read_key(pool)
        _log.exception("an erasure failed, and is not carried out again yet")
        return None


async def _erased_again(
    pool: Pool, ledger: Ledger, workspace_id: UUID, contact_id: UUID, by: Sequence[ListedErasure]
) -> bool | None:
    """Erase a contact again, or the one that replaced it. Return whether it was still there, or None if that is refused."""
    replacing = await survivors(pool, "contact", workspace_id, [contact_id])
    with_engagements = any(each.with_engagements for each in by)
    replaced_by = replacing.get(contact_id, contact_id)
    # Contacts that were created since the erasure are others, at the next time, too.
    at = max(each.at for each in by)
    command = await command_for(pool, workspace_id, replaced_by, with_engagements=with_engagements)
    # The list gets nothing new by a restore, because a later one may be of a time at which it would be wrong.
    shown = ids.encoded(ids.CONTACT, replaced_by)
    is_kept = any(each.hash == keyed_hash(each.key, workspace_id, shown) for each in by)
    command = msgspec.structs.replace(command, at=at, is_kept=is_kept)
    try:
        await ledger.write(workspace_id, command, Origin(by[0].request_id, by[0].credential_id))
    except Refusal as refusal:
        # Another process has erased it, or it went with another one.
        if not await store.stored(pool, workspace_id, [contact_id]):
            return False
        _log.error(
            "a person is not erased again yet: restart the server, or erase the contact",
            extra={"contact_id": ids.encoded(ids.CONTACT, contact_id), "error": type(refusal).__name__},
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
    by_key = _by_key(erasures)
    after: UUID | None = ids.NIL
    while after is not None:
        contacts = await store.contacts_after(pool, workspace_id, after, _CONTACTS)
        for contact in contacts:
            meant = (ids.encoded(ids.CONTACT, contact.id), *map(erased_address, contact.addresses))
            if by := _later(_listed(by_key, workspace_id, meant), contact.created_at):
                found[contact.id] = by
            elif _later(_listed(by_key, workspace_id, contact.addresses), contact.created_at):
                doubtful.append(contact.id)
        # A page that is not full is the last one, though others may add contacts meanwhile.
        after = contacts[-1].id if len(contacts) == _CONTACTS else None
        await asyncio.sleep(0)
    return found, doubtful


async def _erased_by_address(pool: Pool, ledger: Ledger, workspace_id: UUID, address: str, by: Sequence[ListedErasure]) -> bool:
    """Erase what an address alone names again, unless a contact has the address. Return whether that was not refused."""
    last = max(by, key=lambda each: each.at)
    is_asked_for = any(each.hash == keyed_hash(each.key, workspace_id, erased_address(address)) for each in by)
    command = await command_for_address(pool, workspace_id, address, at=last.at, is_of_contact=not is_asked_for)
    if command.subject.held:
        return True
    try:
        await ledger.write(workspace_id, command, Origin(last.request_id, last.credential_id))
    except Refusal as refusal:
        _log.exception("an address is not erased again yet", extra={"error": type(refusal).__name__})
        return False
    return True


async def _imports_removed(pool: Pool, ledger: Ledger, workspace_id: UUID, by: ListedErasure) -> bool:
    """Remove the imports that came back, because any row may be about an erased person. Return whether that was not refused."""
    if not await again_store.has_imports(pool, workspace_id):
        return True
    origin = Origin(by.request_id, by.credential_id)
    try:
        await ledger.write(workspace_id, RemoveImports(), origin)
        done = SliceDone(all=False)
        while not done.all:
            done = msgspec.json.decode((await ledger.write(workspace_id, RemoveImports(), origin)).body, type=SliceDone)
    except Refusal as refusal:
        _log.exception("imports are not removed again yet", extra={"error": type(refusal).__name__})
        return False
    return True


async def _addresses_meant(pool: Pool, workspace_id: UUID, erasures: Sequence[ListedErasure]) -> dict[str, list[ListedErasure]]:
    """Return the addresses that erasures mean, of those that anything older mentions: that of an erased contact, too."""
    meant, found = dict[str, list[ListedErasure]](), dict[str, list[ListedErasure]]()
    by_key = _by_key(erasures)
    async for mention in again_store.mentions(pool, workspace_id):
        for address in mention.addresses - found.keys():
            if address not in meant:
                meant[address] = _listed(by_key, workspace_id, (address, erased_address(address)))
            if by := _later(meant[address], mention.created_at):
                found[address] = by
    return found


_ByKey: TypeAlias = Mapping[str, Mapping[str, ListedErasure]]


def _by_key(erasures: Sequence[ListedErasure]) -> _ByKey:
    """Return erasures by the keys of their hashes, and by these."""
    return {key: {each.hash: each for each in erasures if each.key == key} for key in {each.key for each in erasures}}


def _listed(by_key: _ByKey, workspace_id: UUID, values: Iterable[str]) -> list[ListedErasure]:
    """Return the erasures of any of these values."""
    hashes = ((by_hash, keyed_hash(key, workspace_id, value)) for value in values for key, by_hash in by_key.items())
    return [by_hash[hashed] for by_hash, hashed in hashes if hashed in by_hash]


def _later(erasures: Sequence[ListedErasure], time: datetime) -> list[ListedErasure]:
    return [each for each in erasures if time < each.at]


async def expire(
    pool: Pool, ledger: Ledger, object_types: Iterable[ObjectType[Any, Any]], days: int, only: UUID | None = None
) -> None:
    """Remove objects that were deleted more than this many days ago, `only` those of a workspace, if it is named.

    Stop early if a slice is refused.
    """
    types = [*object_types]

    async def expire_in(part: Executor) -> None:
        for object_type in types:
            try:
                place: tuple[UUID, UUID] | None = (only or ids.NIL, ids.NIL)
                while place is not None and only in (None, place[0]):
                    place = await _expire_slice(part, ledger, object_type, days, place, only)
            except Refusal as refusal:
                _log.warning("deleted objects stay for now", extra={"error": type(refusal).__name__})

    await each_part(pool, expire_in)


async def _expire_slice(
    statements: Executor,
    ledger: Ledger,
    object_type: ObjectType[Any, Any],
    days: int,
    after: tuple[UUID, UUID],
    only: UUID | None,
) -> tuple[UUID, UUID] | None:
    """Remove some objects after a place. Return the place after them, or None at the end."""
    began = time.monotonic()
    found, place = await store.expirable(statements, object_type.table.name, days, after)
    for workspace_id, objects in found.items():
        if only not in (None, workspace_id):
            continue
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        command = ExpireObjects(object_type, tuple(Expirable(*each) for each in objects))
        await ledger.write(workspace_id, command, origin)
    # Leave four fifths of the time to others, however much there is to remove.
    await asyncio.sleep(4 * (time.monotonic() - began))
    return place
