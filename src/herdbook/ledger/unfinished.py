"""Tasks that touch too many objects for one transaction, such as clearing a deleted company from all its contacts.

The command that begins a task does a first slice, and notes the task as unfinished. Further commands do the rest in slices, so
that other writes do not wait for all of it. If a slice fails, or this process dies, a later round finishes the task. The ledger
records all slices under the request that noted the task last. A table lists unfinished tasks, so nobody must search all
objects.
"""

import logging
from collections.abc import Callable, Collection
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.distribution import fetch_everywhere
from herdbook.db.pool import Executor
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin, Table, UnitOfWork


class UnfinishedTask(msgspec.Struct, frozen=True):
    """Whether a task for an object is unfinished, and the request that noted it."""

    workspace_id: UUID
    task: str
    object_id: UUID
    is_there: bool
    request_id: UUID
    credential_id: UUID


UNFINISHED: Final = Table(
    row=UnfinishedTask,
    key=lambda noted: (noted.task, noted.object_id),
    # An earlier release has noted no request.
    load="""
        select u.workspace_id, u.task, u.object_id, true as is_there,
            coalesce(u.request_id, '00000000-0000-0000-0000-000000000000') as request_id,
            coalesce(u.credential_id, '00000000-0000-0000-0000-000000000000') as credential_id
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        join unfinished u on u.workspace_id = asked.workspace_id and u.task = asked.key ->> 0
            and u.object_id = (asked.key ->> 1)::uuid
    """,
    save="""
        unfinished_noted as (
            select r.* from json_to_recordset($rows) as r(
                workspace_id uuid, task text, object_id uuid, is_there boolean, request_id uuid, credential_id uuid
            )
            join held on held.id = r.workspace_id
        ), unfinished_forgotten as (
            delete from unfinished u using unfinished_noted r
            where u.workspace_id = r.workspace_id and u.task = r.task and u.object_id = r.object_id and not r.is_there
        ), unfinished_learned as (
            insert into unfinished (workspace_id, task, object_id, request_id, credential_id)
            select workspace_id, task, object_id, request_id, credential_id from unfinished_noted where is_there
            on conflict (workspace_id, task, object_id) do update
            set request_id = excluded.request_id, credential_id = excluded.credential_id
        )
    """,
)
_log: Final = logging.getLogger("herdbook.ledger")
# An earlier release has noted no origin. The object's last change then stands for the one that asked for the task.
_ORIGINS: Final[LiteralString] = """
    select u.workspace_id, u.object_id, coalesce(u.request_id, e.request_id), coalesce(u.credential_id, e.credential_id)
    from unfinished u
    left join lateral (
        select e.request_id, e.credential_id
        from $table c join change e on e.workspace_id = c.workspace_id and e.seq = c.version
        where c.workspace_id = u.workspace_id and c.id = u.object_id and u.request_id is null limit 1
    ) as e on true
    where u.task = $1
"""
_OF_THESE: Final[LiteralString] = " and u.workspace_id = $2 and u.object_id = any($3)"


class Task(NamedTuple):
    """A task that may be left unfinished: its name, and the table of the objects that it is about."""

    name: str
    table: LiteralString


class SliceDone(msgspec.Struct, frozen=True):
    """The answer to a command that does a slice of a task: whether the task is finished."""

    all: bool


def note(work: UnitOfWork, task: Task, object_id: UUID, *, is_finished: bool) -> None:
    """Note whether a task for an object is finished, or must be continued later."""
    origin = work.origin
    noted = UnfinishedTask(work.workspace_id, task.name, object_id, not is_finished, origin.request_id, origin.credential_id)
    work.put(UNFINISHED, noted)


def is_due(work: UnitOfWork, task: Task, object_id: UUID) -> bool:
    """Whether a task is unfinished, and the current command's request noted it last. Another one has slices of its own."""
    noted = work.get(UNFINISHED, (task.name, object_id))
    return noted is not None and noted.is_there and noted.request_id in (work.origin.request_id, ids.NIL)


async def finish(
    statements: Executor,
    ledger: Ledger,
    task: Task,
    next_slice: Callable[[UUID], Command],
    these: tuple[UUID, Collection[UUID]] | None = None,
) -> None:
    """Finish a task wherever any process left it unfinished, or for these objects of a workspace.

    If a slice is refused, or fails, the object is left for a later round.
    """
    statement = _ORIGINS.replace("$table", task.table)
    if these is None:
        records = (await fetch_everywhere(statements, statement, task.name)).records
    else:
        records = await statements.fetch(statement + _OF_THESE, task.name, *these)
    for workspace_id, object_id, request_id, credential_id in records:
        # The origin is unknown if the entry is no longer kept.
        origin = Origin(request_id or ids.new_id(), credential_id or ids.NIL)
        try:
            done = SliceDone(all=False)
            while not done.all:
                written = await ledger.write(workspace_id, next_slice(object_id), origin)
                done = msgspec.json.decode(written.body, type=SliceDone)
        except Refusal as refusal:
            _log.warning("a task is left unfinished for now", extra={"task": task.name, "error": type(refusal).__name__})
        except Exception:
            _log.exception("a task failed, and is left unfinished for now", extra={"task": task.name})
