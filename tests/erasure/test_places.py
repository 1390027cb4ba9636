"""An erasure empties every place that is declared."""

import asyncio
from collections import Counter
from pathlib import Path

from herdbook import ids
from herdbook.db.pool import open_pool
from herdbook.erasure.model import Subject
from herdbook.erasure.places import PLACES, Place
from herdbook.subject_access.store import rows_of, subject_with_address
from tests.cli.programs import Running, herdbook, serving
from tests.erasure.planting import ADDRESS, echo, plant
from tests.subject_access.test_subject_access import plant_former, plant_links, url_of
from tests.waiting import until

__all__ = ["echo"]


async def _rows(server: Running, subject: Subject | None = None) -> tuple[Subject, Counter[Place]]:
    """Return the person with the address or a known one, and how many rows each place has of it."""
    workspace_id = ids.decoded(ids.WORKSPACE, server.get("/api/herdbook/workspace").json()["id"])
    assert workspace_id is not None
    pool = await open_pool(url_of(server), 1)
    try:
        subject = subject or await subject_with_address(pool, workspace_id, ADDRESS)
        return subject, Counter([place async for place, _ in rows_of(pool, workspace_id, subject)])
    finally:
        await pool.close()


def test_every_place_is_emptied(tmp_path: Path, echo: str) -> None:
    """Each place has rows of a person who is planted everywhere, and none after the erasure with engagements."""
    with serving(tmp_path) as server:
        plant_former(server)
        plant_links(server, plant(server, echo))
        endpoint = server.get("/api/herdbook/webhooks").json()["data"][0]["id"]
        deliveries = f"/api/herdbook/webhooks/{endpoint}/deliveries"

        def tried() -> set[str]:
            return {each["type"] for each in server.get(f"{deliveries}?limit=100").json()["data"] if each["attempts"]}

        asyncio.run(until(lambda: tried() >= {"v1.engagement.created", "v1.engagement.transcript_timeline.completed"}))
        subject, before = asyncio.run(_rows(server))

        erased = herdbook("erase", ADDRESS, "--engagements", "--yes", folder=tmp_path)

        _, after = asyncio.run(_rows(server, subject))
        assert erased.status == 0, erased.complained
        assert [place.table for place in PLACES if not before[place]] == ["erasure_task"]
        assert {place.table: many for place, many in after.items()} == {}
