"""Limits on what one recording, one workspace and one host may use of the server while recordings are fetched."""

import asyncio
import gzip
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from herdbook import media_fetch
from tests.cast import Json, Person, faults
from tests.engagements.calls import LISTING, URL
from tests.engagements.conftest import Keys
from tests.engagements.labs import MAX_BYTES, WAV, Lab, lab, recorded
from tests.engagements.media_server import MediaServer, answer
from tests.waiting import until

_MB = 1 << 20


def nested(body: bytes, layers: int) -> bytes:
    """Return bytes that this many layers of gzip unpack to."""
    for _ in range(layers):
        body = gzip.compress(body)
    return body


@asynccontextmanager
async def memory() -> AsyncGenerator[Callable[[], int]]:
    """Count the bytes allocated in the block; yield their peak."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Bytes


async def test_a_recording_is_asked_for_as_it_is(near: Lab, alice: Person, media: MediaServer) -> None:
    """The request asks for no content coding."""
    await near.person(alice).post(URL, json=recorded(media.puts("/call.wav", answer(WAV))))

    assert "\r\naccept-encoding: identity\r\n" in media.requests[-1].lower()


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip, gzip", "x-gzip", "identity, gzip"])
async def test_a_content_coding_is_refused(near: Lab, alice: Person, media: MediaServer, coding: str) -> None:
    """Encoded bytes are never unpacked, and the answer says what is wrong with them."""
    layers = coding.lower().count("gzip")
    given = answer(nested(WAV, layers), content_encoding=coding)
    response = await near.person(alice).post(URL, json=recorded(media.puts("/coded", given)))

    assert (response.status_code, faults(response)) == (422, [("media_url", "unreachable")])
    assert "content coding" in response.json()["detail"]
    assert near.kept(alice) == []


async def test_identity_is_no_coding(near: Lab, alice: Person, media: MediaServer) -> None:
    """A server may name the identity coding."""
    given = answer(WAV, content_encoding="identity")

    assert (await near.person(alice).post(URL, json=recorded(media.puts("/plain", given)))).status_code == 201


@pytest.mark.parametrize("where", ["recording", "redirect", "failure"])
async def test_what_unpacks_to_much_is_held_by_nobody(near: Lab, alice: Person, media: MediaServer, where: str) -> None:
    """A few hundred bytes that unpack to 64 MB are never unpacked, in any answer."""
    bomb = nested(bytes(64 * _MB), 3)
    status = {"recording": "200 OK", "redirect": "302 Found", "failure": "500 Internal Server Error"}[where]
    given = answer(bomb, status, content_encoding="gzip, gzip, gzip", location="/coded")
    media_url = media.puts("/coded", given)
    async with memory() as most:
        response = await near.person(alice).post(URL, json=recorded(media_url))
        held = most()

    assert len(bomb) < 1000
    assert response.status_code == 422
    assert held < 16 * _MB


async def test_what_is_declared_too_large_is_not_begun(near: Lab, alice: Person, media: MediaServer) -> None:
    """The declared size is checked before the first byte is read."""
    media_url, _ = media.holds("/large", answer(b"", content_length=str(MAX_BYTES + 1)))
    response = await near.person(alice).post(URL, json=recorded(media_url))

    assert faults(response) == [("media_url", "too_large")]


# Time


async def test_who_sends_too_slowly_is_given_up(
    near: Lab, alice: Person, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that stalls after the head holds a slot only for the first seconds."""
    monkeypatch.setattr(media_fetch, "_FIRST_SECONDS", 0.2)
    media_url, _ = media.holds("/slow", answer(WAV))
    response = await near.person(alice).post(URL, json=recorded(media_url))

    assert faults(response) == [("media_url", "unreachable")]
    assert "too slowly" in response.json()["detail"]
    assert near.kept(alice) == []


async def test_a_duration_is_read_by_another_process(
    alice: Person, media: MediaServer, authority: trustme.CA, database_url: str, tmp_path: Path
) -> None:
    """Four million bytes of sound-like data cost this process almost no CPU time."""
    assert authority, "it is trusted"
    async with lab(database_url, tmp_path, media_limit=8 * _MB, allowed_targets="127.0.0.1") as large:
        person = large.person(alice)
        await person.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)), "first"))
        began = time.process_time()
        response = await person.post(URL, json=recorded(media.puts("/ff", answer(b"\xff" * 4 * _MB)), "second"))
        spent = time.process_time() - began

    assert response.status_code == 201
    assert "duration_seconds" not in response.json()
    assert spent < 1


# Slots


async def asked(person: Person, media_url: str, count: int) -> list["asyncio.Task[httpx.Response]"]:
    """Request recordings, all at once."""
    return [asyncio.create_task(person.post(URL, json=recorded(media_url, f"{number}"))) for number in range(count)]


def under_way(media: MediaServer, path: str) -> int:
    """Return how often a path was requested."""
    return sum(f" {path} " in request for request in media.requests)


async def test_slow_recordings_keep_no_other_workspace_waiting(
    near: Lab, alice: Person, charlie_keys: Keys, media: MediaServer
) -> None:
    """Slow recordings of one workspace do not delay another's, and only four of them are fetched at a time."""
    media_url, released = media.holds("/hold", answer(WAV))
    slow = await asked(near.person(alice), media_url, 30)
    await until(lambda: under_way(media, "/hold") >= 4)
    neighbour = near.person(await charlie_keys.holder("engagements:write"))
    async with asyncio.timeout(60):
        quick = await neighbour.post(URL, json=recorded(media.puts("/quick.wav", answer(WAV))))
    begun, parts = under_way(media, "/hold"), len(near.kept(alice))
    released.set()
    answers = await asyncio.gather(*slow)

    assert quick.status_code == 201
    assert (begun, parts) == (4, 4)
    assert {each.status_code for each in answers} == {201}


async def test_the_queue_has_an_end(near: Lab, alice: Person, media: MediaServer) -> None:
    """A full queue gets 429 with the time to retry, and nothing is written."""
    media_url, released = media.holds("/queue", answer(WAV))
    every = await asked(near.person(alice), media_url, 50)
    await until(lambda: sum(task.done() for task in every) == 14)
    released.set()
    answers = await asyncio.gather(*every)
    refused = [each for each in answers if each.status_code == 429]

    assert [each.headers["Retry-After"] for each in refused] == ["10"] * 14
    assert Counter(each.status_code for each in answers) == {201: 36, 429: 14}
    assert len(near.kept(alice)) == 36


# The disk


async def test_an_error_of_the_disk_is_the_disks(near: Lab, alice: Person, media: MediaServer) -> None:
    """A file in the way is reported as such, not as an unreachable database."""
    near.folder.mkdir(exist_ok=True)
    (near.folder / alice.workspace_id.hex).write_text("In the way.")
    response = await near.person(alice).post(URL, json=recorded(media.puts("/call.wav", answer(WAV))))
    problem: Json = response.json()

    assert response.status_code == 503
    assert "disk" in problem["detail"]
    assert "database" not in problem["detail"]
    assert str(near.folder) not in response.text
    assert await LISTING.listed(alice) == []
