"""`herdbook export`: contacts, companies, engagements or changes as a file, from a running server or a data folder."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import httpx
import msgspec
from cyclopts import Parameter
from msgspec import UNSET

from herdbook.cli.database import database as open_database
from herdbook.cli.database import workspace_called
from herdbook.cli.environment import CommandFailed, environment
from herdbook.cli.progress import step
from herdbook.cli.requests import at_server, refusal_of
from herdbook.db.pool import open_pool
from herdbook.errors import Refusal
from herdbook.exports import streams
from herdbook.exports.files import Source
from herdbook.exports.model import (
    PLURALS,
    SUFFIXES,
    EngagementFilter,
    ExportFormat,
    ExportType,
    ObjectExportRequest,
)
from herdbook.feed.store import View
from herdbook.object_types import OBJECT_TYPES
from herdbook.settings import DatabaseSettings

_CONNECTIONS: Final = 2
# An export names these beside its own objects, for those who may read them.
_NAMED: Final[dict[ExportType, tuple[str, ...]]] = {"contact": ("companies", "tags"), "company": ("tags",)}
# The first format with an ending is the usual one.
_BY_SUFFIX: Final[dict[str, ExportFormat]] = {suffix: form for form, suffix in reversed(SUFFIXES.items())}


def export_file(  # noqa: PLR0913  # the options of one command
    file: Path,
    *,
    format: ExportFormat | None = None,  # noqa: A002  # the name of the option
    objects: Literal["contacts", "companies", "engagements", "changes"] = "contacts",
    where: str | None = None,
    filter: str | None = None,  # noqa: A002  # the name of the option
    search: str | None = None,
    server: str | None = None,
    api_key: str | None = None,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Export contacts, companies, engagements or changes to a file.

    Parameters
    ----------
    file
        The file to write. It must not exist yet, and only its owner may read it.
    format
        `csv`, `xlsx`, `ndjson`, or of contacts `vcard-4.0` or `vcard-3.0`. Default: what the name of the file ends with.
    objects
        Whether contacts, companies, engagements or changes are exported. Names of companies and of tags are in the file if the
        key may read these.
    where
        A condition on contacts or companies as a query takes it, in JSON. Default: all.
    filter
        The filters of engagements in JSON, such as `{"engagement_type": ["CALL"]}`. Default: all.
    search
        Words in the titles of engagements.
    server
        The URL of a running server. Default: the data folder, whether or not a server runs on it.
    api_key
        A key for that server. The environment variable keeps it out of the list of processes.
    workspace
        The workspace's id in a data folder; not needed if there is only one.

    """
    if file.exists():
        raise CommandFailed(f"`{file}` exists. Choose another name.")
    if not file.parent.is_dir():
        raise CommandFailed(f"There is no folder `{file.parent}`. Create it, or name another one.")
    form = format or _BY_SUFFIX.get(file.suffix.removeprefix("."))
    if form is None:
        raise CommandFailed(f"`{file}` ends with the name of no format. Choose one with --format.")
    condition = _decoded("--where", where, Any, None)
    chosen = _decoded("--filter", filter, EngagementFilter, UNSET)
    object_type: ExportType = next(name for name, plural in PLURALS.items() if plural == objects)
    asked = ObjectExportRequest(object_type=object_type, format=form, where=condition, filter=chosen, search=search or "")
    # It is on the same file system as the target, so that this appears as a whole.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as scratch:
        draft = Path(scratch) / "export"
        with draft.open("xb") as opened:
            if server is not None:
                at_server(server, api_key, lambda client: _from_server(client, asked, opened))
            else:
                with open_database(database) as url:
                    asyncio.run(_from_folder(url, workspace, asked, opened))
        draft.chmod(0o600)
        draft.rename(file)
    environment.say(f"`{file}` has the {objects}.")


def _decoded(option: str, text: str | None, type_: Any, absent: Any) -> Any:
    """Return what an option says in JSON. Refusal: CommandFailed."""
    try:
        return absent if text is None else msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError as error:
        raise CommandFailed(f"{option} is not what a request takes: {error}.") from None
    except msgspec.DecodeError:
        raise CommandFailed(
            f"{option} is no JSON. Put it between single quotes, so that the shell leaves its quotes."
        ) from None


async def _from_server(client: httpx.AsyncClient, asked: ObjectExportRequest, draft: BinaryIO) -> None:
    for plural in _NAMED.get(asked.object_type, ()):
        answer = await client.get(f"/api/v2/{plural}", params={"limit": "1"})
        if answer.status_code == HTTPStatus.FORBIDDEN:
            environment.complain(f"The key lacks the scope `{plural}:read`, so the file will have no names of {plural}.")
    headers = {"Content-Type": "application/json"}
    async with client.stream("POST", "/api/herdbook/exports", content=msgspec.json.encode(asked), headers=headers) as answer:
        if not answer.is_success:
            await answer.aread()
            raise refusal_of(answer)
        await _written(answer.aiter_bytes(), draft)


async def _from_folder(url: str, workspace: str | None, asked: ObjectExportRequest, draft: BinaryIO) -> None:
    pool = await open_pool(url, _CONNECTIONS)
    try:
        async with pool.acquire() as connection:
            workspace_id = await workspace_called(connection, workspace)
        feed = View(tuple(OBJECT_TYPES), sees_private=True, sees_details=True)
        source = Source(pool, workspace_id, _no_turn, _no_turn, _may, feed)
        async with aclosing(await streams.export(source, asked)) as parts:
            await _written(parts, draft)
    except Refusal as refusal:
        raise CommandFailed(refusal.detail) from None
    finally:
        await pool.close()


async def _no_turn() -> None:
    """Do nothing: this process has nobody else to serve, and nobody to ask."""


def _may(_: str) -> bool:
    """Allow all: who has the folder has everything in it."""
    return True


async def _written(parts: AsyncIterator[bytes], draft: BinaryIO) -> None:
    with step("Exporting", None) as advance:
        async for part in parts:
            draft.write(part)
            advance(len(part))
