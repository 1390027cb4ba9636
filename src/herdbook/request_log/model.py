"""A request as it is kept, and as the console shows it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.http.operation import Operation
from herdbook.http.page import filter_parameters, time_parameters
from herdbook.http.request_log import AnsweredRequest

# More are deleted, the oldest first.
MOST_REQUESTS: Final = 100_000
_ID: Final = re.compile(r"[a-z][a-z-]*_[0-9A-HJKMNP-TV-Z]{26}")
_PARAMETER: Final = re.compile(r"\{\w+\}")
_OF_LISTS: Final = ("limit", "cursor", "order_by", "search")


class KeptRequest(msgspec.Struct, frozen=True):
    """A request as it is written."""

    workspace_id: UUID
    id: UUID
    credential_id: UUID
    operation: str
    method: str
    path: str
    query: str | None
    status: int
    milliseconds: float


class RequestFilter(NamedTuple):
    """The wanted requests: those of a credential, with a text in their paths, with a status from one to another."""

    credential_id: UUID | None = None
    path: str | None = None
    statuses: tuple[int, int] = (0, 999)


class LoggedRequest(NamedTuple):
    """A request with the name of its credential; `user_id` is the user for whom it acts."""

    id: UUID
    credential_id: UUID
    operation: str
    method: str
    path: str
    query: str | None
    status: int
    milliseconds: float
    credential_name: str | None
    user_id: UUID | None
    is_client: bool

    @property
    def shown_id(self) -> str:
        """The id that the answer named."""
        return ids.encoded(ids.REQUEST, self.id)

    @property
    def shown_credential_id(self) -> str:
        """The id of the key or the OAuth client."""
        return ids.encoded(CLIENT_PREFIX if self.is_client else ids.CREDENTIAL, self.credential_id)

    @property
    def shown_user_id(self) -> str | None:
        """The id of the user for whom it acts."""
        return None if self.user_id is None else ids.encoded(ids.USER, self.user_id)

    @property
    def at(self) -> datetime:
        """The time of its arrival, which its id begins with."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.id.int >> 80)


class MadeChange(NamedTuple):
    """A change that a request made. `kind_action` holds the letters of its kind and action."""

    seq: int
    at: datetime
    kind_action: str
    object_id: UUID


def kept(request: AnsweredRequest) -> KeptRequest:
    """Return a request as it is written: without any text that its sender has chosen."""
    path = request.path if request.operation is None else "/api" + request.path
    if request.parameters:
        path = _filled(path, request.parameters)
    query = None
    if request.query_string and request.operation is not None:
        query = "&".join(_names(request.query_string, request.operation)) or None
    return KeptRequest(
        request.workspace_id,
        request.id,
        request.credential_id,
        request.name,
        request.method,
        path,
        query,
        request.status,
        round(request.seconds * 1000, 2),
    )


def first_id(after: datetime) -> UUID:
    """Return the least id of a request that arrived after a time."""
    return UUID(int=int(after.timestamp() * 1000) << 80)


def _filled(path: str, parameters: Sequence[str]) -> str:
    """Return a path with its ids. Any other parameter may be a name or a secret, so it is left out."""
    following = iter(parameters)

    def fill(found: re.Match[str]) -> str:
        parameter = next(following, "")
        return parameter if _ID.fullmatch(parameter) else found[0]

    return _PARAMETER.sub(fill, path)


def _names(query_string: bytes, operation: Operation) -> Iterator[str]:
    """Yield the names of the parameters that an operation knows."""
    known: set[str] = set()
    if operation.list_of is not None:
        known |= {*_OF_LISTS} | time_parameters(operation.list_of).keys() | filter_parameters(operation.list_of).keys()
    if operation.query is not None:
        known |= {field.encode_name for field in msgspec.structs.fields(operation.query)}
    if operation.expand is not None:
        known.add("expand")
    sent = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    return (name for name, _ in sent if name in known)
