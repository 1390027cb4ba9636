"""Alice's workspace with engagements, as in their own tests, and with comments on them."""

import pytest_asyncio

from tests.cast import Person
from tests.engagements.calls import URL, Made, timed
from tests.engagements.conftest import alice, bob, dave, erin, keys, owner, secret, step, waiting, workspace_id

__all__ = ["alice", "bob", "dave", "erin", "keys", "owner", "secret", "step", "waiting", "workspace_id"]


@pytest_asyncio.fixture
async def talk(alice: Person) -> Made:
    """An engagement in Alice's workspace, with a timeline of two entries."""
    return Made(await alice.post(URL, json=timed("talk", title="A talk")))


@pytest_asyncio.fixture
async def whisper(alice: Person) -> Made:
    """A private engagement in Alice's workspace, with a timeline."""
    return Made(await alice.post(URL, json=timed("whisper", title="A whisper", is_private=True)))


@pytest_asyncio.fixture
async def promise(alice: Person, talk: Made) -> Made:
    """A comment of Alice's on the talk."""
    comment = {"body": "Is that a promise?", "anchor": {"entry_index": 1}}
    return Made(await alice.post(f"{talk.url}/transcript_comments", json=comment))


@pytest_asyncio.fixture
async def hush(alice: Person, whisper: Made) -> Made:
    """A comment of Alice's on a private engagement."""
    return Made(await alice.post(f"{whisper.url}/transcript_comments", json={"body": "Hush."}))
