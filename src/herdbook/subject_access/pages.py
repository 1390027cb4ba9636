"""The download of everything that is kept about a contact, for the person."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.console.page import Download, Page, PageAnswer
from herdbook.console.visit import Visit
from herdbook.contacts.store import CONTACT
from herdbook.erasure.erasing import not_found
from herdbook.errors import NotFound
from herdbook.subject_access import store
from herdbook.subject_access.about import Retention, about_record
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.record import Record, zipped

_CHUNK_BYTES: Final = 65_536


async def download_record(visit: Visit, contact_id: str) -> PageAnswer:
    """Send everything that is kept about a person: the data, and a page to read them. It changes nothing."""
    decoded = ids.decoded(ids.CONTACT, contact_id)
    if decoded is None:
        raise NotFound(CONTACT.noun)
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="herdbook-record-"))
    try:
        file = await _written(visit, contact_id, decoded, scratch)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        raise
    return Download(f"{contact_id}.zip", "application/zip", _chunks(file, scratch))


async def _written(visit: Visit, shown_id: str, contact_id: UUID, scratch: Path) -> Path:
    """Write the record of a contact into a folder, and return the file of all of it. Refusal: NotFound."""
    services, workspace_id = visit.services, visit.session.stored.workspace_id
    folder, target = scratch / "record", scratch / "record.zip"
    folder.mkdir(mode=0o700)
    async with services.database.pool.acquire() as connection, store.snapshot(connection):
        subject = await store.subject_with_contact(connection, workspace_id, contact_id)
        if not subject.contact_ids:
            raise await not_found(connection, workspace_id, CONTACT, contact_id)
        about = await about_record(connection, workspace_id, subject, shown_id, Retention(*services.retention_days))
        record = Record(folder, services.recordings.folder / workspace_id.hex)
        rows = store.rows_of(connection, workspace_id, subject)
        await record.write(about, rows, Withholder(subject), partial(store.words_of, connection, workspace_id))
    await asyncio.to_thread(zipped, folder, target)
    return target


async def _chunks(file: Path, scratch: Path) -> AsyncGenerator[bytes]:
    """Yield the parts of a file, and remove its folder afterwards."""
    try:
        with file.open("rb") as opened:
            while chunk := await asyncio.to_thread(opened.read, _CHUNK_BYTES):
                yield chunk
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


PAGES: Final = (
    Page(
        method="POST",
        path="/contacts/{contact_id}/record",
        id="download-record",
        scopes=(ADMIN,),
        handler=download_record,
    ),
)
