"""The pages of changes, as the feed has them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from herdbook.errors import NoLongerKept
from herdbook.exports.files import Exporting, Source
from herdbook.exports.model import ObjectExportRequest
from herdbook.feed import store
from herdbook.feed.telling import EncodedChange, encoded_change
from herdbook.formats.lists import joined

_PAGE: Final = 500
# Changes that are encoded before others have their turn.
_AT_ONCE: Final = 50
_HEADER: Final = (
    *("position", "type", "at", "object_id", "request_id", "credential_id", "merged_into"),
    *("changed", "previous_attributes", "object"),
)


class _Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw | UnsetType = UNSET


class _Change(msgspec.Struct):
    """A change whose objects stay JSON."""

    position: int
    type: str
    at: str
    object_id: str
    request_id: str
    credential_id: str | None
    data: _Data
    merged_into: str = ""


async def exporting(source: Source, asked: ObjectExportRequest) -> Exporting:
    """Return an export of the changes after a position, up to the last one that there is now."""
    head = await store.read_head(source.pool, source.workspace_id)
    return Exporting("Changes", _pages(source, asked.after, head), _HEADER, _row, _lines)


async def _pages(source: Source, after: int, head: int) -> AsyncGenerator[Sequence[EncodedChange]]:
    """Yield the changes. Without a position, they begin with the first that is kept. Refusal: NoLongerKept."""
    begins = after == 0
    position = after
    while position < head:
        page = await store.page(source.pool, source.workspace_id, position, source.feed, _PAGE)
        if position < page.trimmed:
            if not begins:
                message = f"Changes up to {page.trimmed} are no longer kept, so some after {position} are missing. Begin again."
                raise NoLongerKept(message, page.trimmed, page.head)
            position = page.trimmed
            continue
        begins = False
        position = page.position
        changes: list[EncodedChange] = []
        for start in range(0, len(page.entries), _AT_ONCE):
            some = page.entries[start : start + _AT_ONCE]
            changes += [encoded_change(entry, source.feed) for entry in some if entry.seq <= head]
            await source.breathe()
        yield changes
        await source.check()


def _lines(page: Sequence[EncodedChange]) -> bytes:
    return b"".join(change.body + b"\n" for change in page)


def _row(change: EncodedChange) -> list[str]:
    told = msgspec.json.decode(change.body, type=_Change)
    previous: dict[str, Any] = {}
    if told.data.previous_attributes is not UNSET:
        previous = msgspec.json.decode(told.data.previous_attributes, type=dict[str, msgspec.Raw])
    return [
        *(str(told.position), told.type, told.at, told.object_id, told.request_id, told.credential_id or "", told.merged_into),
        joined(previous),
        "" if told.data.previous_attributes is UNSET else bytes(told.data.previous_attributes).decode(),
        bytes(told.data.object).decode(),
    ]
