"""Requests on their way to the request log: collected in memory, so that no request waits for the database."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import metrics
from herdbook.http.operation import Operation

# A worker keeps at most so many of all workspaces, and of one, until they are written, once a second. Successful reads fill no
# more than half of the room of their workspace, so that changes and refusals are kept.
_MOST: Final = 4000
_MOST_OF_ONE: Final = 1000
_MOST_READS_OF_ONE: Final = 500


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
        self._of_workspaces: dict[UUID, int] = {}
        self._dropped = 0

    def has_room(self, workspace_id: UUID, *, is_good_read: bool) -> bool:
        """Whether there is room for a request; one without is counted as dropped."""
        most = _MOST_READS_OF_ONE if is_good_read else _MOST_OF_ONE
        if self._of_workspaces.get(workspace_id, 0) < most and len(self._waiting) < _MOST:
            return True
        self._dropped += 1
        return False

    def add(self, request: AnsweredRequest) -> None:
        """Add a request for which there is room."""
        self._waiting.append(request)
        self._of_workspaces[request.workspace_id] = self._of_workspaces.get(request.workspace_id, 0) + 1

    def take(self) -> list[AnsweredRequest]:
        """Return the requests that were added since the last call."""
        taken, self._waiting = self._waiting, []
        self._of_workspaces = {}
        if self._dropped:
            metrics.REQUESTS_NOT_LOGGED.inc(self._dropped)
            self._dropped = 0
        return taken
