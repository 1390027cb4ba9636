"""The operation /herdbook/contacts/{contact_id}/erase."""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from herdbook.auth.scopes import ADMIN
from herdbook.contacts.store import CONTACT
from herdbook.engagements.store import needing_recordings
from herdbook.erasure.erasing import certificate, command_for, finished, not_found, preview, require_list
from herdbook.erasure.model import Certificate, EraseQuery
from herdbook.errors import NotFound
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.media_sweep import sweep


async def erase_contact(call: Call, contact_id: UUID, query: EraseQuery) -> Answer:
    """Erase a contact, and answer with the certificate."""
    services, workspace_id = call.services, call.caller.workspace_id
    pool = services.database.pool
    command = await command_for(pool, workspace_id, contact_id, with_engagements=query.engagements, if_version=call.if_version)
    if query.dry_run:
        if not command.subject.contact_ids:
            raise await not_found(pool, workspace_id, CONTACT, contact_id)
        return Answer(msgspec.json.encode(preview(command, call.request_id, call.caller.shown_credential_id)))
    await require_list(services.erasures)
    try:
        written = await call.write(command)
    except NotFound:
        raise await not_found(pool, workspace_id, CONTACT, contact_id) from None
    await finished(pool, services.ledger, services.erasures, (workspace_id, [contact_id]))
    if query.engagements:
        await sweep(services.recordings.folder, partial(needing_recordings, pool))
    return Answer(msgspec.json.encode(await certificate(pool, workspace_id, contact_id)), replayed=written.replayed)


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
)
