"""Databases for single tests, on the server of the session."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

NewDatabase: TypeAlias = Callable[[], Awaitable[str]]


@pytest_asyncio.fixture
async def new_database(database_url: str) -> AsyncGenerator[NewDatabase]:
    """Create an empty database, and return its URL; drop it at the end of the test."""
    async with _creating(database_url) as create:
        yield create


@pytest_asyncio.fixture
async def new_plain_database(embedded_url: str) -> AsyncGenerator[NewDatabase]:
    """Do so on the embedded server, whose databases are empty indeed: others may have extensions."""
    async with _creating(embedded_url) as create:
        yield create


@asynccontextmanager
async def _creating(server_url: str) -> AsyncGenerator[NewDatabase]:
    async with AsyncExitStack() as opened:

        async def create() -> str:
            return await opened.enter_async_context(database_on(server_url))

        yield create


@asynccontextmanager
async def database_on(database_url: str) -> AsyncGenerator[str]:
    """Create an empty database while the block lasts; yield its URL."""
    name = f"test_{secrets.token_hex(4)}"
    await _on_server(database_url, f"create database {name}")
    try:
        yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
    finally:
        # Seen once on PostgreSQL 18: this waited for ever until every process had heard of it, and none was busy.
        try:
            await _on_server(database_url, f"drop database {name} with (force)", seconds=60)
        except TimeoutError:
            await _on_server(database_url, f"drop database if exists {name} with (force)", seconds=60)


async def _on_server(database_url: str, statement: str, seconds: float | None = None) -> None:
    # Not one connection for both: a server may end those that nobody uses for long.
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement, timeout=seconds)
    finally:
        await connection.close()
