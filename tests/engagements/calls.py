"""Helpers that create engagements and read lists of them."""

from typing import Any, Final

import httpx

from tests.cast import Json, Person, Thing
from tests.listing import Listing

URL: Final = "/api/v2/engagements"
LISTING: Final = Listing(URL, "title")
TIMELINE: Final = {
    "speakers": [{"name": "Ada Lovelace", "sentiment": 0.5}, {"email": "babbage@engine.test", "sentiment": -0.25}],
    "entries": [
        {"speaker_index": 0, "start_seconds": 0, "end_seconds": 2.5, "text": "Shall we begin?"},
        {"speaker_index": 1, "start_seconds": 2.8, "end_seconds": 4.5, "text": "The engine is ready."},
    ],
}
_PATHS: Final = {"engagement": f"{URL}/", "transcript_comment": "/api/v2/transcript_comments/"}


class Made(Thing):
    """An engagement, or a comment on one, that a test has created."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == (201 if response.request.method == "POST" else 200), response.text
        self.json: Json = response.json()
        self.id: str = self.json["id"]
        self.etag = response.headers["ETag"]
        self.url = _PATHS[self.json["object"]] + self.id

    @property
    def timeline_url(self) -> str:
        """The path for reading an engagement's timeline."""
        return f"{self.url}/transcript_timeline"

    @property
    def set_timeline_url(self) -> str:
        """The path for setting an engagement's timeline."""
        return f"/api/herdbook/engagements/{self.id}/transcript_timeline"


def call(external_id: str = "call-1842", **members: Any) -> Json:
    """Return the body that creates a call with a text transcript."""
    body = {"type": "CALL", "title": "The next step", "source_system": "dialer", "external_id": external_id}
    return {**body, "transcript": "Shall we begin?", **members}


def timed(external_id: str = "call-1842", **members: Any) -> Json:
    """Return the body that creates a call with a timeline."""
    body = call(external_id, **{"transcript_timeline": TIMELINE, **members})
    del body["transcript"]
    return body


async def create(person: Person, *titles: str, **members: Any) -> list[Made]:
    """Create calls with these titles, in order."""
    return [Made(await person.post(URL, json=call(title, title=title, **members))) for title in titles]


async def expanded(person: Person, engagement: Made, name: str) -> Json:
    """Return a member of an engagement that needs `expand`."""
    response = await person.get(engagement.url, params={"expand": name})
    assert response.status_code == 200, response.text
    return response.json()[name]
