"""Applications for single tests that fetch recordings and keep them in the test's folder."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import trustme

from herdbook.settings import Settings
from tests.cast import Json, Person
from tests.engagements.calls import call
from tests.engagements.media_server import sound
from tests.serving import serving

WAV = sound()
MAX_BYTES = 100_000


def recorded(media_url: str | None, external_id: str = "call-1842", **members: Any) -> Json:
    """Return the body that creates a call with a recording and these members."""
    body = call(external_id, media_url=media_url, **members)
    if "transcript" not in members:
        del body["transcript"]
    return body


def certificate(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return a server certificate for a name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # only partly annotated
    return context


class Lab(NamedTuple):
    """An application that may or may not fetch from this machine, and its folder of recordings."""

    client: httpx.AsyncClient
    folder: Path

    def person(self, somebody: Person) -> Person:
        """Return a person as a client of this application."""
        return Person(self.client, somebody.workspace_id, somebody.key)

    def kept(self, somebody: Person) -> list[Path]:
        """Return all files kept for the person's workspace, complete or not."""
        return [path for path in (self.folder / somebody.workspace_id.hex).rglob("*") if path.is_file()]


@asynccontextmanager
async def lab(database_url: str, data_dir: Path, media_limit: int = MAX_BYTES, **settings: Any) -> AsyncGenerator[Lab]:
    """Run an application for the test."""
    made = Settings(rate_limit=0, data_dir=data_dir, database_connections=5, media_limit=media_limit, **settings)
    async with serving(made, database_url) as client:
        yield Lab(client, data_dir / "media")
