"""The operations that erase persons."""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from herdbook.addresses import comparable_address
from herdbook.auth.scopes import ADMIN
from herdbook.engagements.store import needing_recordings
from herdbook.erasure.commands import AddressErased
from herdbook.erasure.erasing import (
    certificate,
    certificate_of_address,
    command_for,
    command_for_address,
    finish_address,
    finished,
    not_erasable,
    preview,
    require_list,
    sweep_uploads,
)
from herdbook.erasure.model import Certificate, EraseParticipantsQuery, EraseParticipantsRequest, EraseQuery
from herdbook.erasure.store import version_of
from herdbook.errors import FieldError, Invalid, NotFound, Stale
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.media_sweep import files_of, sweep


async def erase_contact(call: Call, contact_id: UUID, query: EraseQuery) -> Answer:
    """Erase a contact, and answer with the certificate."""
    services, workspace_id = call.services, call.caller.workspace_id
    pool = services.database.pool
    command = await command_for(pool, workspace_id, contact_id, with_engagements=query.engagements, if_version=call.if_version)
    if query.dry_run:
        if (refusal := await not_erasable(pool, workspace_id, command)) is not None:
            raise refusal
        version = await version_of(pool, workspace_id, contact_id)
        if call.if_version is not None and version not in call.if_version:
            raise Stale(version)
        return Answer(msgspec.json.encode(await preview(pool, command, call.origin)))
    await require_list(services.erasures)
    try:
        written = await call.write(command)
    except NotFound as error:
        raise await not_erasable(pool, workspace_id, command) or error from None
    is_listed = await finished(pool, services.ledger, services.erasures, (workspace_id, [contact_id]))
    if query.engagements:
        folder = services.recordings.folder
        files = files_of(folder, workspace_id, command.found.engagement_ids)
        await sweep(folder, partial(needing_recordings, pool), files)
    await sweep_uploads(pool, services.uploads.folder, workspace_id)
    done = await certificate(pool, workspace_id, contact_id, is_listed=is_listed)
    return Answer(msgspec.json.encode(done), replayed=written.replayed)


async def erase_participants(call: Call, body: EraseParticipantsRequest, query: EraseParticipantsQuery) -> Answer:
    """Erase the participants with an address, and answer with the certificate."""
    services, workspace_id = call.services, call.caller.workspace_id
    pool, address = services.database.pool, comparable_address(body.email.strip())
    command = await command_for_address(pool, workspace_id, address)
    # A contact may have got the address since a request that is repeated.
    if address in command.subject.held and (query.dry_run or await call.first_answer() is None):
        message = "`email` is the address of a contact. Erase the contact: its participation goes with it."
        raise Invalid([FieldError("email", "already_in_use", message)])
    if query.dry_run:
        return Answer(msgspec.json.encode(await preview(pool, command, call.origin)))
    await require_list(services.erasures)
    written = await call.write(command)
    task_id = msgspec.json.decode(written.body, type=AddressErased).task_id
    is_listed = await finish_address(pool, services.ledger, services.erasures, workspace_id, task_id, call.origin)
    await sweep_uploads(pool, services.uploads.folder, workspace_id)
    done = await certificate_of_address(pool, workspace_id, address, is_listed=is_listed)
    return Answer(msgspec.json.encode(done), replayed=written.replayed)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/herdbook/contacts/{contact_id}/erase",
        id="erase-contact",
        summary="Erase contact",
        description="Erases a contact for good, deleted or not, with all contacts that were merged into it: rows, addresses, "
        "history, kept answers and deliveries, and the participation in engagements. The changes stay in the feed as empty "
        "entries, and `contact.erased` tells the id alone. The answer certifies what was erased.",
        tag="subpackage_contacts",
        scopes=(ADMIN,),
        handler=erase_contact,
        query=EraseQuery,
        answer=Certificate,
        answer_description="The certificate of the erasure or, for a dry run, what would be erased.",
    ),
    Operation(
        method="POST",
        path="/herdbook/participants/erase",
        id="erase-participants",
        summary="Erase participants",
        description="Erases the participants of engagements who have an address that is no contact's, from the engagements, "
        "their history and kept answers. The engagements stay. The answer certifies what was erased.",
        tag="subpackage_contacts",
        scopes=(ADMIN,),
        handler=erase_participants,
        body=EraseParticipantsRequest,
        query=EraseParticipantsQuery,
        answer=Certificate,
        answer_description="The certificate of the erasure or, for a dry run, what would be erased.",
    ),
)
