"""Unfinished tasks, which are finished later in slices. Their table lists them, so that nobody must search all objects."""

from enum import Enum
from typing import Final
from uuid import UUID

from herdbook.ledger.index_entries import IndexEntry, index_table
from herdbook.ledger.unit_of_work import UnitOfWork

UNFINISHED: Final = index_table("unfinished", "task", "text", "object_id")


class Task(Enum):
    """A task that may be left unfinished."""

    RELEASE_CONTACTS = "release"
    MOVE_ENGAGEMENTS = "move"
    MOVE_OF_COMPANY = "move_company"


def note(work: UnitOfWork, task: Task, object_id: UUID, *, is_finished: bool) -> None:
    """Note whether a task for an object is finished, or must be continued later."""
    work.put(UNFINISHED, IndexEntry(work.workspace_id, task.value, object_id, is_there=not is_finished))
