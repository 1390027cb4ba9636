"""Recordings: POST /v2/engagements with `media_url`. How they are fetched, kept and served, and which addresses are refused."""

import time
from asyncio import gather
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
import trustme
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from herdbook.media import PATH, VALID_SECONDS
from herdbook.outgoing import TargetRefused, Targets
from tests.cast import Json, Person, Stored, faults
from tests.engagements.calls import LISTING, TIMELINE, URL, Made, expanded
from tests.engagements.labs import MAX_BYTES, WAV, Lab, certificate, lab, recorded
from tests.engagements.media_server import SECONDS, MediaServer, answer, media_server, redirect, unending

WORKSPACE_ID = uuid4()
METADATA = "https://169.254.169.254/latest/meta-data/"


@pytest_asyncio.fixture(scope="module")
async def far(database_url: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Lab]:
    """An application that may fetch only from public addresses, the default."""
    assert authority, "it is trusted"
    async with lab(database_url, tmp_path_factory.mktemp("far")) as made:
        yield made


@pytest_asyncio.fixture
async def alice(near: Lab, alice: Person) -> Person:
    """Alice, as a client of the application that may fetch from 127.0.0.1."""
    return near.person(alice)


async def refused(lab: Lab, person: Person, body: Json) -> list[tuple[str, str]]:
    """Return why an engagement is refused; assert that neither a file nor an engagement is left."""
    response = await person.post(URL, json=body)
    assert response.status_code == 422, response.text
    assert lab.kept(person) == []
    assert await LISTING.listed(person) == []
    return faults(response)


# Fetching and serving


async def test_a_recording_is_kept_as_it_is(alice: Person, near: Lab, media: MediaServer, stored: Stored) -> None:
    """A recording is fetched whole during the request. Its duration is known, but not its transcript."""
    media_url = media.puts("/call.wav", answer(WAV))
    created = Made(await alice.post(URL, json=recorded(media_url, start_at="2026-03-01T12:00:00Z")))

    (file,) = near.kept(alice)
    assert file.read_bytes() == WAV
    assert file.stat().st_mode & 0o777 == 0o600
    assert (created.json["processing_status"], created.json["duration_seconds"]) == ("PENDING", SECONDS)
    assert created.json["end_at"] == "2026-03-01T12:00:02.000000Z"
    assert (await stored.changes())[-1].object["details"]["media"] == {"content_type": "audio/wav", "size": len(WAV)}


async def test_a_recording_is_given_out_to_whom_the_address_is_given(alice: Person, near: Lab, media: MediaServer) -> None:
    """`media_url` needs no credential and returns the fetched bytes."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    address = await expanded(alice, created, "media_url")
    response = await near.client.get(address)

    assert address.startswith(f"http://herdbook.test{PATH}")
    assert response.status_code == 200
    assert response.content == WAV
    assert response.headers["Content-Type"] == "audio/wav"


async def test_a_player_may_ask_for_a_part(alice: Person, near: Lab, media: MediaServer) -> None:
    """A range request gets that range (RFC 9110, section 14.2), and one beyond the end is refused."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    address = await expanded(alice, created, "media_url")
    part = await near.client.get(address, headers={"Range": "bytes=100-199"})
    end = await near.client.get(address, headers={"Range": "bytes=-10"})
    beyond = await near.client.get(address, headers={"Range": f"bytes={len(WAV)}-"})

    assert (part.status_code, part.content) == (206, WAV[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(WAV)}"
    assert (end.status_code, end.content) == (206, WAV[-10:])
    assert beyond.status_code == 416


async def test_what_was_fetched_runs_nothing(alice: Person, near: Lab, media: MediaServer) -> None:
    """A browser never treats foreign content as a page of this server, whatever its type."""
    page = b"<script>alert(1)</script>"
    created = Made(await alice.post(URL, json=recorded(media.puts("/page", answer(page)))))
    response = await near.client.get(await expanded(alice, created, "media_url"))

    assert response.content == page
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("Audio/WAV", "audio/wav"), ("video/mp4; codecs=avc1", "video/mp4"), ("audio/x-m4a ;a=b", "audio/x-m4a")],
)
async def test_the_type_is_what_the_server_said(
    alice: Person, near: Lab, media: MediaServer, content_type: str, expected: str
) -> None:
    """The media type is the server's, in lower case and without parameters, of audio or video."""
    media_url = media.puts("/call", answer(WAV, content_type=content_type))
    created = Made(await alice.post(URL, json=recorded(media_url)))

    assert (await near.client.get(await expanded(alice, created, "media_url"))).headers["Content-Type"] == expected


@pytest.mark.parametrize("body", [b"RIFF", WAV[:40], b"\x00" * 5000, b"ID3" + b"\xff" * 100, b"OggS" + b"\x00" * 100])
async def test_how_long_it_lasts_may_not_be_known(alice: Person, near: Lab, media: MediaServer, body: bytes) -> None:
    """A recording in an unknown format, or cut off, is kept like any other."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call", answer(body)))))

    assert created.json["processing_status"] == "PENDING"
    assert created.json.get("duration_seconds", 0) == 0
    assert (await near.client.get(await expanded(alice, created, "media_url"))).content == body


async def test_a_recording_may_come_with_what_was_said(alice: Person, media: MediaServer) -> None:
    """An engagement with recording and transcript is complete, and the recording determines the duration."""
    media_url = media.puts("/call.wav", answer(WAV))
    created = Made(await alice.post(URL, json=recorded(media_url, transcript_timeline=TIMELINE)))

    assert (created.json["processing_status"], created.json["duration_seconds"]) == ("COMPLETED", SECONDS)


async def test_a_recording_may_be_as_large_as_the_setting_says(alice: Person, near: Lab, media: MediaServer) -> None:
    """A recording of exactly the limit is accepted, with or without a declared length."""
    body = WAV + bytes(MAX_BYTES - len(WAV))
    for path, given in (("/told", answer(body)), ("/untold", unending(body))):
        assert (await alice.post(URL, json=recorded(media.puts(path, given), path))).status_code == 201

    assert [file.stat().st_size for file in near.kept(alice)] == [MAX_BYTES] * 2


async def test_a_redirect_is_followed(alice: Person, near: Lab, media: MediaServer) -> None:
    """Redirects are followed, relative or not, as long as every step is allowed."""
    media.puts("/call.wav", answer(WAV))
    media.puts("/there", redirect(media.url("/call.wav")))
    response = await alice.post(URL, json=recorded(media.puts("/here", redirect("/there"))))

    assert response.status_code == 201
    assert [file.read_bytes() for file in near.kept(alice)] == [WAV]


async def test_what_was_created_is_not_fetched_again(alice: Person, near: Lab, media: MediaServer) -> None:
    """A repeated external id fetches nothing, with the same Idempotency-Key or without one."""
    body = recorded(media.puts("/once.wav", answer(WAV)))
    key = {"Idempotency-Key": str(uuid4())}
    created = await alice.post(URL, json=body, headers=key)
    replayed, repeated = await alice.post(URL, json=body, headers=key), await alice.post(URL, json=body)

    assert [created.status_code, replayed.status_code, repeated.status_code] == [201, 201, 200]
    assert created.content == replayed.content == repeated.content
    assert sum("/once.wav" in request for request in media.requests) == 1
    assert len(near.kept(alice)) == 1


@pytest.mark.parametrize("with_key", [False, True])
async def test_of_many_at_once_one_recording_is_left(alice: Person, near: Lab, media: MediaServer, *, with_key: bool) -> None:
    """Simultaneous requests may all fetch the recording, but only that of the created engagement is kept."""
    body = recorded(media.puts("/call.wav", answer(WAV)))
    key = {"Idempotency-Key": str(uuid4())} if with_key else {}
    answers = await gather(*(alice.post(URL, json=body, headers=key) for _ in range(20)))

    created = [each for each in answers if each.status_code == 201 and "Idempotency-Replayed" not in each.headers]
    assert len(created) == 1
    assert {each.json()["id"] for each in answers} == {created[0].json()["id"]}
    assert [file.name for file in near.kept(alice)] == [Made(created[0]).uuid.hex]
    assert (await near.client.get(await expanded(alice, Made(created[0]), "media_url"))).content == WAV


@pytest.mark.parametrize(
    ("members", "headers", "status"),
    [
        ({}, {"If-Match": "*"}, 412),
        ({}, {"Idempotency-Key": "k" * 256}, 422),
        ({"participants": [{"email": "nobody@grid.test", "is_owner": True}]}, {}, 422),
    ],
)
async def test_a_refusal_of_another_reason_leaves_no_recording(
    alice: Person, near: Lab, media: MediaServer, members: Json, headers: dict[str, str], status: int
) -> None:
    """No recording is kept if the engagement is refused."""
    response = await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)), **members), headers=headers)

    assert response.status_code == status
    assert near.kept(alice) == []


async def test_the_addresses_are_those_that_clients_reach(
    alice: Person, near: Lab, media: MediaServer, database_url: str, tmp_path: Path
) -> None:
    """Addresses begin with the public URL if a setting names one."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    async with lab(database_url, tmp_path, public_url="https://herdbook.example.com") as public:
        address = await expanded(public.person(alice), created, "media_url")

    assert address.startswith(f"https://herdbook.example.com{PATH}")
    assert (await near.client.get(address.removeprefix("https://herdbook.example.com"))).content == WAV


# Invalid addresses


def signed_earlier(secret: str, seconds: float, named: Json, salt: str = "media") -> str:
    """Return the address of a recording as signed some time ago."""

    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - seconds)

    token: Any = URLSafeTimedSerializer(secret, salt=salt, signer=Earlier).dumps(named)
    return f"{PATH}{token}"


@pytest_asyncio.fixture
async def signing_secret(pool: "asyncpg.Pool[asyncpg.Record]") -> str:
    """Return the server's signing secret."""
    secret: str = await pool.fetchval("select value from setting where name = 'cursor_secret'")
    return secret


async def test_an_address_expires(alice: Person, near: Lab, media: MediaServer, signing_secret: str) -> None:
    """An address is invalid after a quarter of an hour, and so is one from the future."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    token = (await expanded(alice, created, "media_url")).rpartition("/")[2]
    named = URLSafeTimedSerializer(signing_secret, salt="media").loads(token)
    ages = (0, VALID_SECONDS - 60, VALID_SECONDS + 2, 10 * VALID_SECONDS, -60)
    answers = [await near.client.get(signed_earlier(signing_secret, age, named)) for age in ages]

    assert VALID_SECONDS == 900
    assert [each.status_code for each in answers] == [200, 200, 404, 404, 404]
    assert all(WAV not in each.content for each in answers[2:])


SPOILT: dict[str, Callable[[str], str]] = {
    "cut off": lambda token: token[:-1],
    "longer": lambda token: token + "A",
    "another beginning": lambda token: ("a" if token[0] != "a" else "b") + token[1:],
    "without its signature": lambda token: token.rpartition(".")[0],
    "without its time": lambda token: token.split(".")[0] + "." + token.split(".")[2],
    "empty": lambda _: "",
    "a path": lambda _: "..%2F..%2Fpostgres",
    "no ASCII": lambda _: "%C3%A9%00",
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_spoilt_address_is_refused(alice: Person, near: Lab, media: MediaServer, how: str) -> None:
    """An altered address is refused."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    token = (await expanded(alice, created, "media_url")).rpartition("/")[2]
    response = await near.client.get(PATH + SPOILT[how](token))

    assert response.status_code == 404
    assert WAV not in response.content


async def test_what_else_is_signed_is_no_address(alice: Person, near: Lab, media: MediaServer, signing_secret: str) -> None:
    """A guessed secret, or a signature for another purpose, opens nothing."""
    created = Made(await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)))))
    named = [alice.workspace_id.hex, created.uuid.hex, "audio/wav"]
    right, guess, purpose = [
        await near.client.get(address)
        for address in (
            signed_earlier(signing_secret, 0, named),
            signed_earlier("guess", 0, named),
            signed_earlier(signing_secret, 0, named, salt="list-contacts"),
        )
    ]

    assert [right.status_code, guess.status_code, purpose.status_code] == [200, 404, 404]


async def test_a_recording_that_is_not_there_is_not_found(near: Lab, signing_secret: str) -> None:
    """A valid address gets 404 if the file is gone."""
    named = [uuid4().hex, uuid4().hex, "audio/wav"]

    assert (await near.client.get(signed_earlier(signing_secret, 0, named))).status_code == 404


# Failed fetches


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (answer(WAV, "404 Not Found"), "unreachable"),
        (answer(WAV, "500 Oh No"), "unreachable"),
        (answer(WAV, "304 Not Modified"), "unreachable"),
        (answer(WAV, content_type="text/html"), "unsupported_media_type"),
        (answer(WAV, content_type="application/octet-stream"), "unsupported_media_type"),
        (answer(WAV, content_type="audiobook/wav"), "unsupported_media_type"),
        (answer(WAV, content_type="audio/"), "unsupported_media_type"),
        (answer(WAV, content_type="audio/\xe2\x98\x83"), "unsupported_media_type"),
        (answer(WAV, content_type='audio/<"'), "unsupported_media_type"),
        (answer(WAV, content_type=""), "unsupported_media_type"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF", "unsupported_media_type"),
        (answer(bytes(MAX_BYTES + 1)), "too_large"),
        (unending(bytes(MAX_BYTES + 1)), "too_large"),
        (unending(bytes(100 * MAX_BYTES)), "too_large"),
        (answer(b""), "unreachable"),
        (unending(b""), "unreachable"),
        (answer(WAV, content_length=str(len(WAV) + 1), connection="close"), "unreachable"),
        (answer(WAV, content_encoding="gzip"), "unreachable"),
        (b"RIFF\r\n\r\n", "unreachable"),
        (answer(status="302 Found", connection="close"), "unreachable"),
        (redirect("/given"), "unreachable"),
        (redirect("https://xn--.test/"), "unreachable"),
        (redirect("https://a..b/"), "unreachable"),
        (redirect("https://[::1/"), "unreachable"),
        (redirect("http://127.0.0.1/"), "forbidden_target"),
        (redirect("ftp://127.0.0.1/"), "forbidden_target"),
        (redirect("file:///etc/passwd"), "forbidden_target"),
        (redirect("https://127.0.0.2/"), "forbidden_target"),
        (redirect("https://[::1]/"), "forbidden_target"),
        (redirect("//10.0.0.1/"), "forbidden_target"),
        (redirect(METADATA), "forbidden_target"),
    ],
)
async def test_what_cannot_be_fetched_is_refused(alice: Person, near: Lab, media: MediaServer, given: bytes, code: str) -> None:
    """The refusal names the field and the reason; neither a file nor an engagement is left."""
    assert await refused(near, alice, recorded(media.puts("/given", given))) == [("media_url", code)]


async def test_a_redirect_to_plain_http_is_not_followed(alice: Person, near: Lab, media: MediaServer) -> None:
    """A redirect to plain HTTP is refused, even to an allowed address that answers."""
    media.puts("/plain.wav", answer(WAV))
    media_url = media.puts("/given", redirect(media.url("/plain.wav", "http")))

    assert await refused(near, alice, recorded(media_url)) == [("media_url", "forbidden_target")]


async def test_who_does_not_answer_is_told(alice: Person, near: Lab, authority: trustme.CA) -> None:
    """A server that is gone is reported as unreachable."""
    async with media_server(certificate(authority)) as gone:
        media_url = gone.url("/call.wav")

    assert await refused(near, alice, recorded(media_url)) == [("media_url", "unreachable")]


async def test_a_server_must_be_who_it_says_it_is(alice: Person, near: Lab, media: MediaServer) -> None:
    """The certificate must match the name in the address, even on the same server."""
    media.puts("/call.wav", answer(WAV))
    media_url = media.url("/call.wav", host="localhost")

    assert await refused(near, alice, recorded(media_url)) == [("media_url", "unreachable")]


async def test_a_server_must_say_so_each_time(alice: Person, near: Lab, media: MediaServer) -> None:
    """A connection for one name is not reused for another name at the same address."""
    first = await alice.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)), "first"))
    second = await alice.post(URL, json=recorded(media.url("/call.wav", host="localhost"), "second"))

    assert (first.status_code, second.status_code) == (201, 422)
    assert len(near.kept(alice)) == 1


async def test_a_name_is_sent_as_it_was_asked_for(
    alice: Person, database_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    """Certificate and `Host` use the name, although the connection goes to the address that was checked."""
    async with (
        media_server(certificate(authority, "localhost")) as named,
        lab(database_url, tmp_path, allowed_targets="LocalHost") as made,
    ):
        named.puts("/call.wav", answer(WAV))
        response = await made.person(alice).post(URL, json=recorded(named.url("/call.wav", host="localhost")))

    assert response.status_code == 201
    assert f"\r\nHost: localhost:{named.port}\r\n" in named.requests[0]


async def test_a_stranger_vouches_for_nobody(alice: Person, near: Lab) -> None:
    """A certificate of an untrusted authority is refused."""
    async with media_server(certificate(trustme.CA())) as impostor:
        media_url = impostor.puts("/call.wav", answer(WAV))
        assert await refused(near, alice, recorded(media_url)) == [("media_url", "unreachable")]

    assert impostor.requests == []


async def test_nothing_is_remembered_from_one_fetch_to_the_next(alice: Person, media: MediaServer) -> None:
    """A server's cookie is not sent with the next recording, which may be another caller's."""
    await alice.post(URL, json=recorded(media.puts("/a.wav", answer(WAV, set_cookie="session=alice; Path=/")), "a"))
    await alice.post(URL, json=recorded(media.puts("/b.wav", answer(WAV)), "b"))

    assert "/b.wav" in media.requests[-1]
    assert "cookie" not in media.requests[-1].lower()


@pytest.mark.parametrize(
    "media_url",
    [
        *("http://media.test/call.wav", "ftp://media.test/call.wav", "file:///etc/passwd", "media.test/call.wav", "", "https:"),
        *("https://", "https:///call.wav", "//media.test/call.wav", "https://media.test:0/", "https://media.test:99999/"),
        *(
            "https://media .test/",
            "https://media.test/a b",
            "https://media.test/\n",
            "https://[::1/",
            "https://media.test\u0000/",
        ),
    ],
)
async def test_what_is_no_address_of_a_recording_is_refused(alice: Person, near: Lab, media_url: str) -> None:
    """A recording must have an HTTPS address."""
    ((field, code),) = await refused(near, alice, recorded(media_url))

    assert (field, code) == ("media_url", "invalid_format" if media_url else "too_short")


@pytest.mark.parametrize("media_url", [None, 5, "https://media.test/" + "x" * 2048])
async def test_what_is_no_text_for_an_address_is_refused(alice: Person, near: Lab, media_url: Json) -> None:
    """The rules of the body apply first."""
    ((field, code),) = await refused(near, alice, recorded(media_url))

    assert (field, code) == ("media_url", "too_long" if isinstance(media_url, str) else "invalid_type")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f.1", "127.1", "0.0.0.0"),  # noqa: S104
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "user:password@127.0.0.1"),
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "[fe80::1]", "[fd00::1]"),
    ],
)
async def test_nobody_is_led_to_where_the_public_is_not(far: Lab, media: MediaServer, alice: Person, host: str) -> None:
    """By default the application connects only to public addresses, in whatever form one is named."""
    asked = len(media.requests)
    media.puts("/call.wav", answer(WAV))

    person = far.person(alice)
    assert await refused(far, person, recorded(media.url("/call.wav", host=host))) == [("media_url", "forbidden_target")]
    assert len(media.requests) == asked


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64 + ".test", "a..test", ".test", "xn--.test", "ü" * 300 + ".test"])
async def test_a_name_that_leads_nowhere_is_refused(far: Lab, alice: Person, host: str) -> None:
    """A name that is invalid or cannot be resolved is the caller's fault."""
    ((field, _),) = await refused(far, far.person(alice), recorded(f"https://{host}/call.wav"))

    assert field == "media_url"


# Permitted targets of callers' requests


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),  # noqa: S104
        *("192.168.1.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255", "192.0.0.1", "198.18.0.1"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::a9fe:a9fe"),
        *(
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ),
        *("2001::1", "100::1", "4000::1"),
    ],
)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Loopback, private, link-local, shared, multicast and reserved targets are refused, in IPv6 too. The setting is named."""
    with pytest.raises(TargetRefused, match="allowed_targets"):
        await Targets([]).resolve(address, 443, WORKSPACE_ID)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "172.15.0.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:2800:220:1::1",
        "64:ff9b::5db8:d822",
        "2002:5db8:d822::1",
    ],
)
async def test_an_address_that_is_public_is_connected_to(address: str) -> None:
    """All other addresses are allowed."""
    assert await Targets([]).resolve(address, 443, WORKSPACE_ID) == address


@pytest.mark.parametrize(
    ("allowed", "host", "expected"),
    [
        (["127.0.0.1"], "127.0.0.1", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.2", None),
        (["10.1.0.0/16"], "10.1.2.3", "10.1.2.3"),
        (["10.1.0.0/16"], "10.2.2.3", None),
        (["10.1.0.0/16"], "::ffff:10.1.2.3", "::ffff:10.1.2.3"),
        (["fd00::/8"], "fd00::1", "fd00::1"),
        (["fd00::/8"], "fc00::1", None),
        (["::1", "media.lab"], "::1", "::1"),
        (["media.lab", "192.168.0.0/24"], "192.168.0.9", "192.168.0.9"),
        (["media.lab"], "127.0.0.1", None),
    ],
)
async def test_an_operator_may_allow_more(allowed: list[str], host: str, expected: str | None) -> None:
    """An operator may allow networks and single addresses."""
    targets = Targets(allowed)
    if expected is None:
        with pytest.raises(TargetRefused):
            await targets.resolve(host, 443, WORKSPACE_ID)
    else:
        assert await targets.resolve(host, 443, WORKSPACE_ID) == expected


async def test_an_operator_may_allow_a_name() -> None:
    """An allowed host may have any address, in any case of its name; other names of that address stay refused."""
    assert await Targets(["LocalHost"]).resolve("localHOST", 443, WORKSPACE_ID) in ("127.0.0.1", "::1")
    with pytest.raises(TargetRefused):
        await Targets(["localhost.test"]).resolve("localhost", 443, WORKSPACE_ID)


async def test_a_refusal_does_not_tell_what_is_there() -> None:
    """A refusal does not reveal the address of a name."""
    with pytest.raises(TargetRefused) as refusal:
        await Targets([]).resolve("localhost", 443, WORKSPACE_ID)

    assert "127.0.0.1" not in str(refusal.value)
    assert "::1" not in str(refusal.value)
