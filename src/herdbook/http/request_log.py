"""Requests on their way to the request log: collected in memory, so that no request waits for the database."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import metrics
from herdbook.http.operation import Operation

# A worker keeps at most so many of all workspaces, and of one, until they are written, once a second. Successful reads fill no
# more than a part of the room of their workspace, so that changes and refusals are kept. To write 500 takes 5 ms of processors.
_MOST: Final = 2000
_MOST_OF_ONE: Final = 500
_MOST_READS_OF_ONE: Final = 200


class AnsweredRequest(NamedTuple):
    """An answered request of a known caller. `operation` is None for a page of the console.

    `path` is that of the operation or the page, with `parameters` in braces.
    """

    workspace_id: UUID
    id: UUID
    credential_id: UUID
    name: str
    method: str
    path: str
    parameters: Sequence[str]
    query_string: bytes
    operation: Operation | None
    status: int
    seconds: float


class RequestLog:
    """Requests that are not written yet. Those for which there is no room are dropped and counted."""

    def __init__(self) -> None:
        self._waiting: list[AnsweredRequest] = []
        # By the ids as they are shown, because texts are found sooner than ids are.
        self._of_workspaces: dict[str, int] = {}
        self._dropped = 0
        self._grown: set[UUID] = set()

    def has_room(self, workspace_id: str, *, is_good_read: bool) -> bool:
        """Whether there is room for a request; one without is counted as dropped."""
        most = _MOST_READS_OF_ONE if is_good_read else _MOST_OF_ONE
        if self._of_workspaces.get(workspace_id, 0) < most and len(self._waiting) < _MOST:
            return True
        self._dropped += 1
        return False

    def add(self, workspace_id: str, request: AnsweredRequest) -> None:
        """Add a request for which there is room."""
        self._waiting.append(request)
        self._of_workspaces[workspace_id] = self._of_workspaces.get(workspace_id, 0) + 1

    def take(self) -> list[AnsweredRequest]:
        """Return the requests that were added since the last call."""
        taken, self._waiting = self._waiting, []
        self._grown.update(each.workspace_id for each in taken)
        self._of_workspaces = {}
        if self._dropped:
            metrics.REQUESTS_NOT_LOGGED.inc(self._dropped)
            self._dropped = 0
        return taken

    def take_grown(self) -> set[UUID]:
        """Return the workspaces of which requests were taken since the last call."""
        grown, self._grown = self._grown, set()
        return grown
