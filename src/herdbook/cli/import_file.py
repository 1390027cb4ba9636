"""`herdbook import`: a file of contacts or companies, into a running server or a data folder."""

import asyncio
import dataclasses
import os
import re
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import httpx
import msgspec
from cyclopts import Parameter
from msgspec import UNSET

from herdbook.app import Herdbook
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, revoke_key
from herdbook.cli.database import database as open_database
from herdbook.cli.database import workspace_called
from herdbook.cli.environment import CommandFailed, CommandIncomplete, environment
from herdbook.cli.progress import Unit, step
from herdbook.cli.requests import at_server, refusal_of
from herdbook.cli.tables import new_table, show
from herdbook.counts import number_of
from herdbook.db.pool import connect
from herdbook.history.model import Kept, Undo
from herdbook.importing.guessing import with_sound_labels
from herdbook.importing.model import (
    IGNORE,
    LABEL,
    REPEATED,
    WORKING,
    Counts,
    Existing,
    Import,
    ImportRows,
    ImportState,
    KeptObjects,
    MappedColumn,
    MatchBy,
    targets_of,
)
from herdbook.importing.model import Mapping as ImportMapping
from herdbook.logs import configure_logs
from herdbook.settings import DatabaseSettings, Settings

_LOOK_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 1
_PIECE_BYTES: Final = 262_144
_PROBLEMS_SHOWN: Final = 20
_COLUMNS_SHOWN: Final = 50
_PATH: Final = "/api/herdbook/imports"


class _Choices(NamedTuple):
    """The parts of the mapping that options choose, None for those that stay as they are guessed."""

    match_by: MatchBy | None
    existing: Existing | None
    region: str | None
    targets: Mapping[str, str]

    def mapping(self, job: Import) -> ImportMapping:
        """Return the mapping of an import with what is chosen. Refusal: CommandFailed."""
        chosen = {
            name: value
            for name, value in (("match_by", self.match_by), ("existing", self.existing), ("region", self.region))
            if value is not None
        }
        return msgspec.structs.replace(job.mapping, columns=_mapped(job, self.targets), **chosen)


class _Source(NamedTuple):
    """The file of an import and, of a workbook, the sheet; empty for the first that has values."""

    file: Path
    sheet: str


def import_file(  # noqa: C901, PLR0913  # the options of one command
    file: Path | None = None,
    *,
    undo: str | None = None,
    dry_run: bool = False,
    json: bool = False,
    sheet: str | None = None,
    match_by: MatchBy | None = None,
    existing: Existing | None = None,
    region: str | None = None,
    column: list[str] | None = None,
    problems: Path | None = None,
    server: str | None = None,
    api_key: str | None = None,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Import contacts or companies from a file, or take an import back. Status 3: some rows had problems, or something is kept.

    Parameters
    ----------
    file
        A CSV file with any usual delimiter and encoding, a workbook (XLSX, ODS, XLS), vCards, or JSON: a list of
        objects of the API, or one of them in each line.
    undo
        The id of an import to take back, in place of a file. It leaves and lists all that somebody has changed since.
    dry_run
        Whether to tell what would come of each row, or of an undo, and write nothing.
    json
        Whether to print the result as JSON.
    sheet
        The sheet of a workbook to read, by its name. Default: the first that has values.
    match_by
        How a row finds what is there already. Default: as the saved mapping says that fits the file, or by e-mail, or what the
        columns suggest.
    existing
        Whether to `fill` empty members of what is there already, `overwrite` them, or `skip` the row. Default: as the saved
        mapping says that fits the file, or fill.
    region
        The country of phone numbers without a country code, such as `GB`. Default: that of the workspace.
    column
        The field that a column fills, in place of the guess, as in `--column "Mobile=phone"`; `ignore` leaves the column out.
        Repeat it for several columns.
    problems
        A file to write with the rows that had problems, each with its reasons. It must not exist yet.
    server
        The URL of a running server. Default: the data folder, whether or not a server runs on it.
    api_key
        A key for that server. The environment variable keeps it out of the list of processes.
    workspace
        The workspace's id in a data folder; not needed if there is only one.

    """
    if (file is None) == (undo is None):
        raise CommandFailed("Give the file to import, or the import to take back with --undo.")
    if file is not None and not file.is_file():
        raise CommandFailed(f"There is no file `{file}`.")
    if problems is not None and problems.exists():
        raise CommandFailed(f"`{problems}` exists. Choose another name for the rows with problems.")
    if file is None and sheet is not None:
        raise CommandFailed("--sheet is for a file to import. Leave it out of an undo.")
    if file is None and column:
        raise CommandFailed("--column is for a file to import. Leave it out of an undo.")
    choices = _Choices(match_by, existing, region, _targets(column or []))

    async def done_with(client: httpx.AsyncClient) -> Import | Undo:
        if file is None:
            return await _undone(client, undo or "", is_dry_run=dry_run, shows=not json)
        return await _imported(client, _Source(file, sheet or ""), choices, is_check=dry_run, shows=not json, problems=problems)

    if server is not None:
        done = at_server(server, api_key, done_with)
    else:
        with open_database(database) as url:
            done = asyncio.run(_in_folder(url, database, workspace, done_with))
    if json:
        environment.say(msgspec.json.format(msgspec.json.encode(done), indent=2).decode())
    if isinstance(done, Undo) or undo is not None:
        _end_undo(done, shows=not json)
    else:
        _end(done, is_check=dry_run, shows=not json)


async def _in_folder(
    url: str, database: DatabaseSettings, workspace: str | None, work: Callable[[httpx.AsyncClient], Awaitable[Import | Undo]]
) -> Import | Undo:
    """Serve the data folder within this process, with a key that ends with the command."""
    settings = Settings(**dataclasses.asdict(database), rate_limit=0, log_level="error")
    configure_logs("error", lambda: None)
    app = Herdbook(settings, url)
    async with app.running():
        connection = await connect(url)
        key = None
        try:
            workspace_id = await workspace_called(connection, workspace)
            expires_at = datetime.now(UTC) + timedelta(days=1)
            key = await create_key(connection, workspace_id, "herdbook import", [ADMIN], expires_at)
            transport = httpx.ASGITransport(app)
            headers = {"Authorization": str(key)}
            async with httpx.AsyncClient(transport=transport, base_url="http://herdbook", headers=headers) as client:
                return await work(client)
        finally:
            if key is not None:
                await revoke_key(connection, key.id)
            await connection.close()


async def _imported(
    client: httpx.AsyncClient, source: _Source, choices: _Choices, *, is_check: bool, problems: Path | None, shows: bool
) -> Import:
    """Upload a file, and run its import or its dry run to the end."""
    size = (await asyncio.to_thread(source.file.stat)).st_size
    query = {"name": source.file.name[:255], "sheet": source.sheet}
    with step("Uploading", size, shows=shows) as advance:
        answer = await client.post(_PATH, params=query, content=_pieces(source.file, advance))
    job = _shown(answer)
    path = f"{_PATH}/{job.id}"
    async with _deleted_if_refused(client, path):
        if (mapping := choices.mapping(job)) != job.mapping:
            body = msgspec.json.encode({"mapping": mapping})
            answer = await client.patch(path, content=body, headers={"Content-Type": "application/json"})
            job = _accepted(answer, job, mapping)
    if shows:
        _show_mapping(job)
    with step("Checking" if is_check else "Importing", job.file.rows, unit=Unit.ROWS, shows=shows) as advance:
        done = 0
        try:
            async with _deleted_if_refused(client, path):
                job = _accepted(await client.post(f"{path}/{'check' if is_check else 'run'}"), job, job.mapping)
            while job.state in WORKING:
                await asyncio.sleep(_LOOK_SECONDS)
                job = _shown(await client.get(path))
                advance(job.progress.done - done)
                done = job.progress.done
        except asyncio.CancelledError:
            # Somebody has pressed Ctrl-C. The rows that are done stay.
            answer = await client.post(f"{path}/cancel")
            if answer.is_success and not is_check:
                rows = number_of(_shown(answer).progress.done, "row, which stays", "rows, which stay")
                environment.complain(f"Stopped after {rows}. To take it back: herdbook import --undo {job.id}")
            raise
    if shows:
        await _show_problems(client, job, is_check=is_check)
    if problems is not None:
        await _write_problems(client, f"{path}/problems", problems)
    return job


@asynccontextmanager
async def _deleted_if_refused(client: httpx.AsyncClient, path: str) -> AsyncGenerator[None]:
    """Delete an import if it is refused before it begins, because nobody will go on with it."""
    try:
        yield
    except CommandFailed:
        await client.delete(path)
        raise


async def _write_problems(client: httpx.AsyncClient, path: str, problems: Path) -> None:
    """Write the rows with problems into a file that only its owner may read. Refusal: CommandFailed."""
    async with client.stream("GET", path) as answer:
        if not answer.is_success:
            await answer.aread()
            raise refusal_of(answer)
        with os.fdopen(os.open(problems, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            async for part in answer.aiter_bytes():
                file.write(part)


async def _undone(client: httpx.AsyncClient, import_id: str, *, is_dry_run: bool, shows: bool) -> Import | Undo:
    """Take an import back to the end, or ask what that would do."""
    path = f"{_PATH}/{import_id}"
    answer = await client.post(f"{path}/undo", params={"dry_run": "true"} if is_dry_run else {})
    if is_dry_run and answer.is_success:
        return msgspec.json.decode(answer.content, type=Undo)
    job = _shown(answer)
    total = job.undo.progress.total if job.undo and job.undo.progress else 0
    with step("Undoing", total, unit=Unit.CHANGES, shows=shows) as advance:
        done = 0
        while job.state in WORKING:
            job = _shown(await client.get(path, params={"wait": str(_WAIT_SECONDS)}))
            if job.undo and job.undo.progress:
                advance(job.undo.progress.done - done)
                done = job.undo.progress.done
    if shows and job.undo and job.undo.kept:
        found = await client.get(f"{path}/kept", params={"limit": str(_PROBLEMS_SHOWN)})
        listed = msgspec.json.decode(found.content, type=KeptObjects)
        for each in listed.data:
            _complain_of(each.kept)
        if listed.has_more:
            environment.complain(f"More is kept: GET {path}/kept lists all of it.")
    return job


async def _pieces(file: Path, advance: Callable[[int], None]) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            advance(len(piece))
            yield piece


def _shown(answer: httpx.Response) -> Import:
    """Return the import of an answer. Refusal: CommandFailed, with the words of the server."""
    if answer.is_success:
        return msgspec.json.decode(answer.content, type=Import)
    raise refusal_of(answer)


def _accepted(answer: httpx.Response, job: Import, mapping: ImportMapping) -> Import:
    """Return the import of an answer. Refusal: CommandFailed, with the names of columns, and what to do without a scope."""
    if answer.is_success:
        return _shown(answer)
    said = _PLACE.sub(lambda place: _quoted(job.file.columns[int(place[1])].name), str(refusal_of(answer)))
    if answer.status_code == HTTPStatus.FORBIDDEN:
        needed = next((targets for scope, targets in _NEEDING.items() if f"`{scope}:" in said), frozenset[str]())
        named = [each.name for each, to in zip(job.file.columns, mapping.columns, strict=True) if to.to in needed]
        if named:
            options = " ".join(shlex.join(["--column", f"{name}=ignore"]) for name in dict.fromkeys(named))
            said += f" To leave these columns out: {options}"
        elif needed & set(job.file.members):
            said += f" To do without it, leave {' and '.join(sorted(needed & set(job.file.members)))} out of the file."
    raise CommandFailed(said)


def _targets(chosen: Iterable[str]) -> dict[str, str]:
    """Return what columns fill, by their names, as the options say it. Refusal: CommandFailed."""
    found: dict[str, str] = {}
    for each in chosen:
        name, equals, to = each.rpartition("=")
        if not (equals and name and to):
            raise CommandFailed(f'--column {each} has no field. Write it as in `--column "Mobile=phone"`.')
        if found.setdefault(name, to) != to:
            raise CommandFailed(f"--column says two things of {_quoted(name)}. Keep one of them.")
    return found


def _mapped(job: Import, targets: Mapping[str, str]) -> tuple[MappedColumn, ...]:
    """Return the columns of a mapping with those targets that are chosen. Refusal: CommandFailed."""
    names = [each.name for each in job.file.columns]
    known = targets_of(job.mapping.object_type)
    for name, to in targets.items():
        if name not in names:
            shown = ", ".join(map(_quoted, names[:_COLUMNS_SHOWN])) + (", ..." if len(names) > _COLUMNS_SHOWN else "")
            listed = f"It has {shown}." if names else "Its objects name their members themselves."
            raise CommandFailed(f"--column names {_quoted(name)}, and the file has no such column. {listed}")
        if to not in (*known, IGNORE, LABEL) and not to.startswith("field:"):
            raise CommandFailed(
                f"--column {name}={to} names no field. Choose one of {', '.join(known)}, `field:` and the key of a field of "
                "the workspace, label, or ignore."
            )
    # A guess gives way to a choice.
    taken = {*targets.values()} - REPEATED
    mapped: list[MappedColumn] = []
    for column, guessed in zip(job.file.columns, job.mapping.columns, strict=True):
        to = targets.get(column.name)
        if to is None:
            mapped.append(MappedColumn(to=IGNORE) if guessed.to in taken else guessed)
        elif to == guessed.to:
            mapped.append(guessed)
        else:
            suggested = guessed.field if guessed.field is not UNSET and to == f"field:{guessed.field.key}" else UNSET
            mapped.append(MappedColumn(to=to, field=suggested, days=column.days if to.startswith("field:") else UNSET))
    # Nor has a guessed label a meaning before a column that is chosen to be no address.
    sound = zip(job.file.columns, mapped, with_sound_labels(mapped), strict=True)
    return tuple(each if column.name in targets else guessed for column, each, guessed in sound)


def _quoted(name: str) -> str:
    return f'"{name}"'


# A refusal names a column so. These targets need scopes beside those of contacts.
_PLACE: Final = re.compile(r"`?mapping\.columns\[(\d+)\](?:\.\w+)?`?")
_NEEDING: Final = {"companies": frozenset({"company_name", "company_domain"}), "tags": frozenset({"tags"})}


def _show_mapping(job: Import) -> None:
    if not job.file.columns:
        return
    if job.file.preset is not None:
        environment.say(f"The file is an export of {job.file.preset}.")
    if job.file.saved_mapping is not None:
        environment.say(f"The saved mapping {_quoted(job.file.saved_mapping)} fits, and is used: {_told(job.mapping)}.")
    table = new_table("Column", "Becomes", "Sure", "Sample")
    for column, mapped in zip(job.file.columns, job.mapping.columns, strict=True):
        label = "" if mapped.label is UNSET else f" ({mapped.label})"
        sure = "" if mapped.sure is UNSET else f"{mapped.sure:.0%}"
        table.add_row(column.name, mapped.to + label, sure, next(iter(column.samples), ""))
    show(table)


def _told(mapping: ImportMapping) -> str:
    """Return what a mapping sets beside its columns, in words."""
    told = [f"match by {mapping.match_by}", f"existing: {mapping.existing}"]
    if mapping.region is not None:
        told.append(f"region {mapping.region}")
    if mapping.tags:
        told.append(f"tags for all rows: {', '.join(map(_quoted, mapping.tags))}")
    told += [f"{each.to} of all rows: {_quoted(each.value)}" for each in mapping.fixed]
    return "; ".join(told)


async def _show_problems(client: httpx.AsyncClient, job: Import, *, is_check: bool) -> None:
    params = {"of": "check" if is_check else "run", "verdict": "problem", "limit": str(_PROBLEMS_SHOWN)}
    answer = await client.get(f"{_PATH}/{job.id}/rows", params=params)
    found = msgspec.json.decode(answer.content, type=ImportRows)
    for row in found.data:
        for fault in row.faults:
            place = "" if fault.column is UNSET else f", {job.file.columns[fault.column].name}"
            environment.complain(f"{job.file.layout.row.capitalize()} {row.row}{place}: {fault.message}")
    if found.has_more:
        environment.complain(f"More {job.file.layout.row}s have problems: --problems FILE writes all of them.")


def _end(job: Import, *, is_check: bool, shows: bool) -> None:
    """Tell what came of the rows. Refusals: CommandFailed; CommandIncomplete, if some had problems."""
    counts = (job.checked if is_check else job.result) or Counts()
    told = [f"{words} {many:,}" for name, words in _OUTCOMES.items() if (many := getattr(counts, name))]
    if shows:
        environment.say(", ".join(told) + ("." if told else "No row."))
    if shows and not is_check and counts.create + counts.update + counts.restore:
        environment.say(f"To take it back: herdbook import --undo {job.id}")
    if job.state is ImportState.FAILED:
        raise CommandFailed(job.error or "The import failed.")
    if job.state is ImportState.CANCELLED:
        rows = number_of(job.progress.done, "row, which stays", "rows, which stay")
        raise CommandIncomplete(f"The import was cancelled after {rows}.")
    if counts.problem:
        rows = number_of(counts.problem, "row has a problem. Correct it", "rows have problems. Correct them")
        raise CommandIncomplete(f"{rows}, and import the file again.")


def _complain_of(kept: Kept) -> None:
    environment.complain(f"Kept {kept.object} {kept.id or ''}: {kept.message}")


def _end_undo(done: Import | Undo, *, shows: bool) -> None:
    """Tell what came of an undo. Refusals: CommandFailed; CommandIncomplete, if something is kept."""
    if isinstance(done, Undo):
        reverted, kept = len(done.reverted), len(done.kept)
        if shows:
            for each in done.kept[:_PROBLEMS_SHOWN]:
                _complain_of(each)
    else:
        undo = done.undo or None
        if undo is None or undo.error:
            raise CommandFailed((undo and undo.error) or "The import is gone: somebody has deleted it meanwhile.")
        reverted, kept = undo.reverted or 0, undo.kept or 0
    if shows:
        environment.say(f"taken back: {reverted:,}, kept: {kept:,}.")
    if kept:
        objects = number_of(kept, "object stays as it is. Change it", "objects stay as they are. Change them")
        raise CommandIncomplete(f"{objects} by hand, if an undo should have done it.")


_OUTCOMES: Final = {
    "create": "new:",
    "update": "changed:",
    "unchanged": "unchanged:",
    "restore": "restored:",
    "skip": "skipped:",
    "duplicate": "twice in the file:",
    "problem": "with problems:",
}
