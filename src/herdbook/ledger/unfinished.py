"""Unfinished tasks, which are finished later in slices. Their table lists them, so that nobody must search all objects."""

from enum import Enum
from typing import Final
from uuid import UUID

from herdbook.ledger.book import Book
from herdbook.ledger.links import Link, link_shelf

UNFINISHED: Final = link_shelf("unfinished", "task", "text", "object_id")


class Task(Enum):
    """A task that may be left unfinished."""

    RELEASE_CONTACTS = "release"
    MOVE_ENGAGEMENTS = "move"


def note(book: Book, task: Task, object_id: UUID, *, is_finished: bool) -> None:
    """Note whether a task for an object is finished, or must be continued later."""
    book.put(UNFINISHED, Link(book.workspace_id, task.value, object_id, is_there=not is_finished))
