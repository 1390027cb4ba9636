"""The files of a record are written while others work."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from herdbook import ids
from herdbook.erasure.model import Subject
from herdbook.erasure.places import PLACES, Place
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.page import About
from herdbook.subject_access.record import Record
from herdbook.subject_access.words import Words

_SECONDS: Final = 5.0


async def test_others_work_while_a_recording_is_copied(tmp_path: Path) -> None:
    """The loop answers while a record copies a recording whose end has not come yet."""
    engagement_id, loop = ids.new_id(), asyncio.get_running_loop()
    source, folder = tmp_path / engagement_id.hex, tmp_path / "record"
    os.mkfifo(source)
    folder.mkdir()
    answered, in_time = threading.Event(), list[bool]()

    def play() -> None:
        # It is opened once the record reads it.
        with source.open("wb") as file:
            loop.call_soon_threadsafe(answered.set)
            in_time.append(answered.wait(_SECONDS))
            file.write(b"RIFF")

    engagement = next(place for place in PLACES if place.table == "engagement")
    row = {"id": str(engagement_id), "start_at": "", "deleted_at": None, "object": {}, "details": {"media": None}}

    async def rows() -> AsyncGenerator[tuple[Place, bytes]]:
        yield engagement, msgspec.json.encode(row)

    async def words(_: Collection[str]) -> Words:
        return Words({}, {})

    player = threading.Thread(target=play)
    player.start()
    await Record(folder, tmp_path).write(_about(), rows(), Withholder(Subject()), words)
    player.join()

    assert in_time == [True]
    assert (folder / "recordings" / ids.encoded(ids.ENGAGEMENT, engagement_id)).read_bytes() == b"RIFF"


def _about() -> About:
    members: dict[str, Any] = {"asked_for": "", "made_at": "2026-11-29T00:00:00.000000Z", "workspace": ""}
    return About(
        **members,
        contact_ids=(),
        engagement_ids=(),
        history_days=90,
        deleted_days=90,
        credentials=(),
        webhook_endpoints=(),
        unread_imports=(),
    )
