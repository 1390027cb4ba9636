"""What was begun and is still to be finished, in slices; the table says so, so nobody looks through all that was ever done."""

from enum import Enum
from typing import Final
from uuid import UUID

from herdbook.ledger.book import Book
from herdbook.ledger.links import Link, link_shelf

UNFINISHED: Final = link_shelf("unfinished", "task", "text", "object_id")


class Task(Enum):
    """What is to be finished."""

    RELEASE_CONTACTS = "release"
    MOVE_ENGAGEMENTS = "move"


def note(book: Book, task: Task, object_id: UUID, *, is_finished: bool) -> None:
    """Note whether something is to be finished later."""
    book.put(UNFINISHED, Link(book.workspace_id, task.value, object_id, is_there=not is_finished))
