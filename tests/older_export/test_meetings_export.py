"""GET and POST /v1/meetings/export, as the programs that call them do."""

import httpx
import pytest

from herdbook.app import OPERATIONS
from herdbook.settings import Settings
from tests.cast import Json, Person, faults
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import Made, call, timed
from tests.engagements.conftest import alice, authority, bob, dave, erin, keys, media, near, owner, secret
from tests.engagements.labs import WAV, Lab, recorded
from tests.engagements.media_server import MediaServer, answer
from tests.serving import serving

__all__ = ["alice", "authority", "bob", "dave", "erin", "keys", "media", "near", "owner", "secret"]
URL = "/api/v1/meetings/export"
NOBODY = "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def exported(person: Person, **params: str) -> Json:
    """Return a page of the export, asked for with the key in `X-Api-Key`."""
    response = await person.client.get(URL, params=params, headers={"X-Api-Key": str(person.key)})
    assert response.status_code == 200, response.text
    return response.json()


async def some(person: Person, *shown_ids: str) -> httpx.Response:
    """Export some engagements."""
    return await person.client.post(URL, json={"engagementIds": list(shown_ids)}, headers={"X-Api-Key": str(person.key)})


async def made(person: Person, number: int, **members: Json) -> Made:
    """Create an engagement that starts at some hour."""
    members = {"title": f"Talk {number}", "start_at": f"2026-03-01T{number:02}:00:00Z", **members}
    return Made(await person.post(ENGAGEMENTS, json=call(str(number), **members)))


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential, or with a bad one, gets 401."""
    responses = [
        await client.get(URL),
        await client.post(URL, json={"engagementIds": [NOBODY]}),
        await client.get(URL, headers={"X-Api-Key": "sk-apik_nobody"}),
    ]

    assert [response.status_code for response in responses] == [401, 401, 401]


async def test_charlie_is_refused(charlie: Person, alice: Person) -> None:
    """Engagements of another workspace are missing from the list, and not found."""
    talk = await made(alice, 1)

    assert (await exported(charlie))["engagements"] == []
    assert (await some(charlie, talk.id)).json()["notFoundEngagementIds"] == [talk.id]


async def test_dave_is_refused(dave: Person) -> None:
    """A write-only credential exports nothing."""
    assert (await some(dave, NOBODY)).status_code == 403


async def test_the_key_may_come_in_either_header(alice: Person, client: httpx.AsyncClient) -> None:
    """The key may be sent as the older programs do, or as everywhere; elsewhere `X-Api-Key` is no credential."""
    older = {"X-Api-Key": str(alice.key)}

    assert [(await each).status_code for each in (alice.get(URL), client.get(URL, headers=older))] == [200, 200]
    assert (await client.get("/api/v2/contacts", headers=older)).status_code == 401


async def test_an_engagement_is_shown_in_camel_case(alice: Person) -> None:
    """The export has the members that the programs read."""
    talk = Made(await alice.post(ENGAGEMENTS, json=timed("1", title="Talk", start_at="2026-03-01T12:00:00Z")))
    text = (await alice.get(talk.url, params={"expand": "transcript"})).json()
    page = await exported(alice)

    assert page == {
        "engagements": [
            {
                "engagementId": talk.id,
                "title": "Talk",
                "description": None,
                "engagementType": "CALL",
                "isPrivate": False,
                "transcript": text["transcript"],
                "startAt": "2026-03-01T12:00:00.000000Z",
                "endAt": text["end_at"],
                "durationSeconds": text["duration_seconds"],
                "externalUrl": None,
                "ownerUserId": text.get("owner_user_id"),
                "createdAt": text["created_at"],
                "updatedAt": text["updated_at"],
                "tempMediaDownloadUrl": None,
            }
        ],
        "nextCursor": None,
        "notFoundEngagementIds": [],
    }
    assert page["engagements"][0]["transcript"]


async def test_a_recording_is_downloaded_without_a_credential(alice: Person, near: Lab, media: MediaServer) -> None:
    """`tempMediaDownloadUrl` of a page and of a single export is an address that returns the bytes of the recording."""
    lister = near.person(alice)
    talk = Made(await lister.post(ENGAGEMENTS, json=recorded(media.puts("/call.wav", answer(WAV)))))
    pages = [await exported(lister), (await some(lister, talk.id)).json()]
    downloads = [await near.client.get(page["engagements"][0]["tempMediaDownloadUrl"]) for page in pages]

    assert [(download.status_code, download.content) for download in downloads] == [(200, WAV), (200, WAV)]
    assert {download.headers["Content-Type"] for download in downloads} == {"audio/wav"}


@pytest.mark.parametrize("direction", ["asc", "desc", None])
async def test_pages_follow_the_direction(alice: Person, direction: str | None) -> None:
    """Pages of 20 go by start, the latest first unless asked otherwise; `sortDirection` may be repeated beside the cursor."""
    talks = [(await made(alice, number)).id for number in range(22)]
    params = {} if direction is None else {"sortDirection": direction}
    first = await exported(alice, cursor="", **params)
    second = await exported(alice, cursor=first["nextCursor"], **params)
    got = [each["engagementId"] for page in (first, second) for each in page["engagements"]]

    assert (len(first["engagements"]), second["nextCursor"]) == (20, None)
    assert got == (talks if direction == "asc" else talks[::-1])


@pytest.mark.parametrize("params", [{"sortDirection": "up"}, {"cursor": "x"}, {"limit": "1"}])
async def test_what_is_no_parameter_is_refused(alice: Person, params: dict[str, str]) -> None:
    """An unknown direction, cursor or parameter is refused by name."""
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert [field for field, _ in faults(response)] == list(params)


async def test_a_cursor_keeps_its_direction(alice: Person) -> None:
    """A cursor of one direction is refused with the other one."""
    for number in range(21):
        await made(alice, number)
    cursor = (await exported(alice))["nextCursor"]
    response = await alice.get(URL, params={"cursor": cursor, "sortDirection": "asc"})

    assert faults(response) == [("sortDirection", "not_with_cursor")]


async def test_some_come_by_their_ids(alice: Person) -> None:
    """Engagements come in the order of the ids, each once; the ids of none are listed."""
    one, other = await made(alice, 1), await made(alice, 2)
    response = await some(alice, other.id, NOBODY, "x", one.id, other.id)

    assert response.status_code == 200
    assert [each["engagementId"] for each in response.json()["engagements"]] == [other.id, one.id]
    assert response.json()["notFoundEngagementIds"] == [NOBODY, "x"]


async def test_twenty_long_ones_come_whole(alice: Person) -> None:
    """Twenty engagements come together, however long their transcripts are."""
    text = "word " * 100_000
    talks = [await made(alice, number, transcript=text) for number in range(20)]
    answer = (await some(alice, *(each.id for each in talks))).json()

    assert [each["engagementId"] for each in answer["engagements"]] == [each.id for each in talks]
    assert {each["transcript"] for each in answer["engagements"]} == {text}


async def test_long_pages_end_early(alice: Person) -> None:
    """A page with long transcripts has fewer engagements, and the cursor leads to the rest."""
    for number in range(10):
        await made(alice, number, transcript="word " * 150_000)
    first = await exported(alice, sortDirection="asc")
    second = await exported(alice, cursor=first["nextCursor"])

    assert 1 < len(first["engagements"]) < 10
    assert [each["title"] for page in (first, second) for each in page["engagements"]] == [f"Talk {n}" for n in range(10)]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("engagementIds", "required")),
        ({"engagementIds": []}, ("engagementIds", "too_short")),
        ({"engagementIds": [NOBODY] * 21}, ("engagementIds", "too_long")),
        ({"engagement_ids": [NOBODY]}, ("engagement_ids", "unknown_field")),
    ],
)
async def test_what_asks_for_nothing_is_refused(alice: Person, body: Json, fault: tuple[str, str]) -> None:
    """From one to twenty ids are asked for."""
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert fault in faults(response)


async def test_private_ones_are_left_out(alice: Person, bob: Person) -> None:
    """A credential without the scope for private engagements neither lists nor finds them."""
    talk = await made(alice, 1, is_private=True)

    assert [each["isPrivate"] for each in (await exported(alice))["engagements"]] == [True]
    assert (await exported(bob))["engagements"] == []
    assert (await some(bob, talk.id)).json()["notFoundEngagementIds"] == [talk.id]


async def test_too_many_requests_say_how_long_to_wait(alice: Person, database_url: str) -> None:
    """A 429 has the seconds in its body, too, on these operations alone."""
    async with serving(Settings(rate_limit=1, rate_limit_burst=1), database_url) as client:
        headers = {"X-Api-Key": str(alice.key), "Authorization": str(alice.key)}
        refused = [[await client.get(path, headers=headers) for _ in range(3)][-1] for path in (URL, "/api/v2/engagements")]

    assert [response.status_code for response in refused] == [429, 429]
    assert refused[0].json()["retryAfterSeconds"] == int(refused[0].headers["Retry-After"])
    assert "retryAfterSeconds" not in refused[1].json()


def test_it_is_marked_as_undocumented() -> None:
    """The document says that these operations are read off the programs that call them."""
    older = [each for each in OPERATIONS if each.path == "/v1/meetings/export"]

    assert [each.method for each in older] == ["GET", "POST"]
    assert all("The vendor does not document this operation" in each.description for each in older)
