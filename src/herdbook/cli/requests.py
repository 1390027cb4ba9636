"""Commands that are requests to a running server."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import msgspec

from herdbook.cli.environment import CommandFailed
from herdbook.http.problems import Problem

ResultT = TypeVar("ResultT")


def at_server(server: str, api_key: str | None, act: Callable[[httpx.AsyncClient], Awaitable[ResultT]]) -> ResultT:
    """Act with a client of a server. Refusals: CommandFailed, without a key, or if the server cannot be reached."""
    if api_key is None:
        raise CommandFailed("A server needs a key. Set HERDBOOK_API_KEY, or use --api-key.")
    if not api_key.strip():
        raise CommandFailed("The key is empty. Set HERDBOOK_API_KEY, or use --api-key, with one that the server knows.")
    if not (api_key.isascii() and api_key.isprintable()):
        raise CommandFailed("The key has a character that no key has. Copy it again, without line breaks.")

    async def acting() -> ResultT:
        url, headers = httpx.URL(server.rstrip("/")), {"Authorization": api_key}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, verify=trusted_by(url)) as client:
            return await act(client)

    try:
        return asyncio.run(acting())
    except httpx.TransportError as error:
        raise CommandFailed(f"The server `{server}` cannot be reached: {error}. Start it, or correct --server.") from None


def trusted_by(url: httpx.URL) -> ssl.SSLContext | bool:
    """Return the `verify` of a client for an address: without TLS, it trusts nobody.

    To read the certificates of all authorities takes longer than most requests.
    """
    return url.scheme != "http" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def refusal_of(answer: httpx.Response) -> CommandFailed:
    """Return the refusal of an answer, in the words of the server."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        return CommandFailed(f"The server answered with status {answer.status_code}. Correct --server.")
    return CommandFailed(problem.detail)
