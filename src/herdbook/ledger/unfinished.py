"""Tasks that touch too many objects for one transaction, such as clearing a deleted company from all its contacts.

The command that begins a task does a first slice, and notes the task as unfinished. Further commands do the rest in slices, so
that other writes do not wait for all of it. If a slice fails, or this process dies, a later round finishes the task. The ledger
records all slices under the request that began the task. A table lists unfinished tasks, so nobody must search all objects.
"""

import logging
from collections.abc import Callable, Collection
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.pool import Executor
from herdbook.errors import Refusal
from herdbook.ledger.index_entries import IndexEntry, index_table
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin, UnitOfWork

UNFINISHED: Final = index_table("unfinished", "task", "text", "object_id")
_log: Final = logging.getLogger("herdbook.ledger")
_ORIGINS: Final[LiteralString] = """
    select u.workspace_id, u.object_id, e.request_id, e.credential_id
    from unfinished u
    left join lateral (
        select e.request_id, e.credential_id
        from $table c join change e on e.workspace_id = c.workspace_id and e.seq = c.version
        where c.workspace_id = u.workspace_id and c.id = u.object_id limit 1
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
    work.put(UNFINISHED, IndexEntry(work.workspace_id, task.name, object_id, is_there=not is_finished))


async def finish(
    statements: Executor,
    ledger: Ledger,
    task: Task,
    next_slice: Callable[[UUID], Command],
    these: tuple[UUID, Collection[UUID]] | None = None,
) -> None:
    """Finish a task wherever any process left it unfinished, or for these objects of a workspace.

    If a slice is refused, the object is left for a later round.
    """
    statement = _ORIGINS.replace("$table", task.table)
    records = await statements.fetch(statement if these is None else statement + _OF_THESE, task.name, *(these or ()))
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
