"""`herdbook duplicates`: who is there twice, and one merge of all who surely are, at a running server or in a data folder."""

import asyncio
from functools import partial
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar
from uuid import UUID

import httpx
import msgspec
from cyclopts import Parameter

from herdbook import ids
from herdbook.cli.database import database as open_database
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, CommandIncomplete, environment
from herdbook.cli.progress import counted
from herdbook.cli.requests import at_server, refusal_of
from herdbook.cli.tables import new_table, show
from herdbook.counts import number_of
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.duplicates.grouping import FoundGroup, groups
from herdbook.duplicates.model import LEAST_SCORE, DuplicateGroup, DuplicateList, DuplicateMerge
from herdbook.duplicates.searching import KINDS, Place, is_behind, search_state, take_step
from herdbook.duplicates.store import Pair
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from herdbook.merging.commands import Merge, MoveReferences
from herdbook.settings import DatabaseSettings

_PAGE: Final = 100
_PATH: Final = "/api/herdbook/duplicates"
_LOOK_SECONDS: Final = 0.25
T = TypeVar("T")


class _Line(msgspec.Struct, frozen=True):
    """A group, as a line of JSON."""

    score: float
    ids: list[str]
    names: list[str]
    reasons: list[str]
    merged: bool = False
    problem: str | None = None


class _Asked(NamedTuple):
    """The groups that a command is about, and whether it merges them."""

    min_score: float
    merges: bool


class _Outcome(NamedTuple):
    """The groups that were found or merged, and the requests that merged them."""

    lines: list[_Line]
    request_ids: list[str]


def duplicates(  # noqa: PLR0913  # one argument per option
    *,
    object_type: Annotated[Literal["contact", "company"], Parameter(name="--type")] = "contact",
    min_score: float = LEAST_SCORE,
    merge_above: float | None = None,
    dry_run: bool = False,
    json: bool = False,
    server: str | None = None,
    api_key: str | None = None,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """List who is there twice, the most likely first, or merge all from a score on.

    Parameters
    ----------
    object_type
        Contacts or companies.
    min_score
        The least score of the groups: the probability that they are the same.
    merge_above
        Merge all groups from this score on, and print the request to undo. A server merges 100 groups in each request.
    dry_run
        With --merge-above: show the groups, and merge none.
    json
        Print a line of JSON for each group.
    server
        The URL of a running server. Default: the data folder, whether or not a server runs on it.
    api_key
        A key for that server. The environment variable keeps it out of the list of processes.
    workspace
        The workspace's id in a data folder; not needed if there is only one.

    """
    for name, given in (("--min-score", min_score), ("--merge-above", merge_above)):
        if given is not None and not LEAST_SCORE <= given <= 1:
            raise CommandFailed(f"{name} must be from {LEAST_SCORE} to 1, such as 0.95.")
    if dry_run and merge_above is None:
        raise CommandFailed(
            "--dry-run shows what a merge would do. Give the score from which on it merges: --merge-above 0.95."
        )
    asked = _Asked(min_score if merge_above is None else merge_above, merge_above is not None and not dry_run)

    if server is not None:
        found = at_server(server, api_key, partial(_at_server, object_type, asked))
    else:
        found = _in_folder(database, workspace, object_type, asked)
    _print(found.lines, as_json=json)
    refused = sum(line.problem is not None for line in found.lines)
    if merged := sum(line.merged for line in found.lines):
        requests = (
            f"request {found.request_ids[0]}" if len(found.request_ids) == 1 else f"requests {', '.join(found.request_ids)}"
        )
        environment.complain(f"Merged {number_of(merged, 'group')}. To separate them again, undo the {requests}.")
    if refused:
        one, several = "group was not merged; its line says why", "groups were not merged; their lines say why"
        raise CommandIncomplete(f"{number_of(refused, one, several)}.")


def _in_folder(database: DatabaseSettings, workspace: str | None, object_type: str, asked: _Asked) -> _Outcome:
    async def meant(connection: Connection) -> UUID:
        return await workspace_called(connection, workspace)

    with open_database(database) as url:
        workspace_id = with_connection(DatabaseSettings(database_url=url), meant)
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        lines = asyncio.run(_found(url, workspace_id, object_type, asked, origin))
    return _Outcome(lines, [ids.encoded(ids.REQUEST, origin.request_id)])


async def _at_server(object_type: str, asked: _Asked, client: httpx.AsyncClient) -> _Outcome:
    """List the groups of a server, and merge them if that is asked for, as many in each request as one may."""
    query = {"object_type": object_type, "min_score": str(asked.min_score), "limit": str(_PAGE)}
    # Each look takes in what is new, and the server goes on meanwhile.
    with counted(f"Comparing {KINDS[object_type].object_type.plural}"):
        while True:
            page = _read(await client.get(_PATH, params=query), DuplicateList)
            if page.complete:
                break
            await asyncio.sleep(_LOOK_SECONDS)
    lines = {_ids_of(each): _line_of(each) for each in page.data}
    while page.next_cursor is not None:
        page = _read(await client.get(_PATH, params=query | {"cursor": page.next_cursor}), DuplicateList)
        lines |= {_ids_of(each): _line_of(each) for each in page.data}
    if not asked.merges:
        return _Outcome([*lines.values()], [])
    request_ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = msgspec.json.encode({"object_type": object_type, "min_score": asked.min_score, "cursor": cursor})
        answer = await client.post(f"{_PATH}/merge", content=body, headers={"Content-Type": "application/json"})
        done = _read(answer, DuplicateMerge)
        has_merged = False
        for each in done.groups:
            key = (each.id, *each.merged)
            known = lines.get(key, _Line(score=each.score, ids=[*key], names=[], reasons=[]))
            problem = None if each.problem is None else each.problem.detail
            lines[key] = msgspec.structs.replace(known, merged=problem is None, problem=problem)
            has_merged |= problem is None
        if has_merged:
            request_ids.append(done.request_id)
        cursor = done.next_cursor
    return _Outcome([*lines.values()], request_ids)


def _read(answer: httpx.Response, expected: type[T]) -> T:
    """Return an answer of the server. Refusal: CommandFailed, with its words."""
    if answer.is_success:
        return msgspec.json.decode(answer.content, type=expected)
    raise refusal_of(answer)


def _ids_of(group: DuplicateGroup) -> tuple[str, ...]:
    return tuple(each.id for each in group.objects)


def _line_of(group: DuplicateGroup) -> _Line:
    return _Line(
        score=group.score,
        ids=[*_ids_of(group)],
        names=[each.name for each in group.objects],
        reasons=[*dict.fromkeys(reason for pair in group.pairs for reason in pair.reasons)],
    )


async def _found(url: str, workspace_id: UUID, object_type: str, asked: _Asked, origin: Origin) -> list[_Line]:
    pool = await open_pool(url, size=2)
    ledger = Ledger(pool, queue_limit=1)
    ledger.open()
    place = Place(pool, workspace_id, KINDS[object_type])
    try:
        await _search(place)
        search = await search_state(place)
        found: list[_Line] = []
        after: Pair | None = None
        while True:
            page = await groups(place, search, round(asked.min_score * 1000), after, _PAGE)
            for group in page.groups:
                problem = await _merged(pool, ledger, place, group, search.region, origin) if asked.merges else None
                found.append(_line(place, group, problem, is_merged=asked.merges and problem is None))
            after = page.after
            if after is None:
                return found
    finally:
        await ledger.close()
        await pool.close()


async def _search(place: Place) -> None:
    """Take in all that is new, and show how far it has come."""
    with counted(f"Comparing {place.kind.object_type.plural}") as advance:
        while is_behind(search := await search_state(place)):
            advance(await take_step(place, search) or 0)


async def _merged(
    pool: Pool, ledger: Ledger, place: Place, group: FoundGroup, region: str | None, origin: Origin
) -> str | None:
    """Merge a group into its first object. Return why not, if it is refused."""
    merge_type = place.kind.merge_type
    target_id, *source_ids = group.object_ids
    sources = tuple(ids.encoded(place.kind.object_type.prefix, each) for each in source_ids)
    command = Merge(merge_type=merge_type, target_id=target_id, sources=sources, region=region)
    try:
        await ledger.write(place.workspace_id, command, origin)
    except Refusal as refusal:
        return refusal.detail
    await finish(pool, ledger, merge_type.task, partial(MoveReferences, merge_type), (place.workspace_id, source_ids))
    return None


def _line(place: Place, group: FoundGroup, problem: str | None, *, is_merged: bool) -> _Line:
    return _Line(
        score=group.score / 1000,
        ids=[ids.encoded(place.kind.object_type.prefix, each) for each in group.object_ids],
        names=[name for _, name in group.members],
        reasons=[*dict.fromkeys(reason for pair in group.pairs for reason in pair.reasons)],
        merged=is_merged,
        problem=problem,
    )


def _print(lines: list[_Line], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            environment.say(msgspec.json.encode(line).decode())
        return
    if not lines:
        environment.say("Nobody is there twice.")
        return
    table = new_table("score", "names", "reasons", "ids")
    for line in lines:
        told: Any = line.problem or "; ".join(line.reasons)
        table.add_row(f"{line.score:.3f}", ", ".join(dict.fromkeys(line.names)), told, " ".join(line.ids))
    show(table)
