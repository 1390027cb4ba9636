"""The pages beside the API: health, readiness, documentation and recordings."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from herdbook.console.page import BASE
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.disk import DiskWatch
from herdbook.engagements import store as engagements_store
from herdbook.http.call import Services, address_of
from herdbook.http.schemas import Json
from herdbook.ledger.readiness import NOT_READY, Readiness
from herdbook.media import PATH
from herdbook.oauth.api import METADATA_PATH, metadata


class Pages:
    """The pages of a running server."""

    def __init__(
        self,
        document: Callable[[], Json],
        services: Services,
        readiness: Readiness,
        disk: DiskWatch,
        *,
        of_lab: Services | None = None,
    ) -> None:
        self._document = document
        self._of_lab = of_lab
        self._services = services
        self._readiness = readiness
        self._disk = disk
        self._making_page = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the paths of the pages."""
        return [
            Route("/", self._first),
            Route("/healthz", _healthz),
            Route("/readyz", self._readyz),
            Route("/docs", self._docs),
            Route("/openapi.json", self._openapi),
            Route("/api/openapi.json", self._openapi),
            Route(METADATA_PATH + "{path:path}", self._authorization_server),
            Route(PATH + "{token}", self._recording),
        ]

    @cached_property
    def _docs_page(self) -> Callable[[str], Response]:
        # Import it for the first reader: it is a fifth of the imports of a start, and programs do not read the page.
        from herdbook.http.docs_page import DocsPage  # noqa: PLC0415

        return DocsPage(self._document()).get

    async def _docs(self, request: Request) -> Response:
        # In a thread, one after the other, because anybody may ask for it.
        async with self._making_page:
            return await asyncio.to_thread(lambda: self._docs_page(address_of(request.scope)))

    async def _first(self, request: Request) -> Response:
        """Lead a browser to the console, and tell a program whether tests command this server."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(BASE, 303, {"Vary": "Accept", "Cache-Control": "no-store"})
        return JSONResponse({"name": "herdbook", "mode": "lab" if self._of_lab else "production", "documentation": "/docs"})

    async def _openapi(self, _: Request) -> Response:
        async with self._making_page:
            document = await asyncio.to_thread(self._services.document)
        return Response(document, media_type="application/json")

    async def _authorization_server(self, request: Request) -> Response:
        issuer = self._services.public_url or address_of(request.scope)
        # A server below a path of its host has the path behind the name (RFC 8414, section 3.1).
        if request.path_params["path"].rstrip("/") not in ("", urlsplit(issuer).path):
            return Response("There is no authorization server here.\n", 404)
        return JSONResponse(metadata(issuer))

    async def _recording(self, request: Request) -> Response:
        services, token = self._services, request.path_params["token"]
        found = services.recordings.find(token)
        if found is None and self._of_lab is not None:
            services = self._of_lab
            found = services.recordings.find(token)
        try:
            is_there = found and await engagements_store.find(services.database, found.workspace_id, found.recording_id)
        except (*CONNECTION_ERRORS, asyncpg.PostgresError):
            return Response("The database cannot be reached. Try again shortly.\n", 503)
        if found is None or is_there is None:
            return Response("This address is invalid or has expired. Read the engagement again to get a new one.\n", 404)
        # The browser must neither guess another type nor run anything.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "private"}
        return FileResponse(found.path, media_type=found.content_type, headers=headers)

    async def _readyz(self, _: Request) -> Response:
        try:
            schema = await self._readiness.schema()
        except NOT_READY as error:
            return JSONResponse({"ready": False, "database": _said_of_database(error)}, 503)
        found: dict[str, Any] = {"missing_migrations": schema.missing}
        if (failing := self._readiness.failing_writes()) is not None:
            found["writes_fail"] = "The last write failed, because the database is away or accepts no writes. The log says why."
        if self._disk.is_full:
            found["disk"] = "The disk is almost full, so writes are refused."
        is_ready = not schema.missing and failing is None and not self._disk.is_full
        if schema.unknown:
            # This is no fault: a newer release keeps the schema usable for this one, so that servers can be replaced in turn.
            found["unknown_migrations"] = schema.unknown
        return JSONResponse({"ready": is_ready, **found}, 200 if is_ready else 503)


async def _healthz(_: Request) -> Response:
    return JSONResponse({"alive": True})


def _said_of_database(error: Exception) -> str:
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return "It is read-only."
    if isinstance(error, CONNECTION_ERRORS):
        return "It cannot be reached."
    return f"It reports an error ({type(error).__name__})."
