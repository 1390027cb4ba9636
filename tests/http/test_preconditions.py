"""If-None-Match on writes, and malformed preconditions."""

import pytest

from tests.cast import Person, Thing


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("tag", ["*", "own", 'W/own, "1"'])
async def test_what_is_there_is_not_written_over(alice: Person, ada: Thing, method: str, tag: str) -> None:
    """A named version is not overwritten: the answer is 412 with the current ETag (RFC 9110, section 13.1.2)."""
    headers = {"If-None-Match": tag.replace("own", ada.etag)}
    response = await alice.request(method, ada.url, headers=headers)

    assert response.status_code == 412
    assert response.headers["ETag"] == ada.etag
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


async def test_another_version_may_be_written_over(alice: Person, ada: Thing) -> None:
    """A version that the header does not name is overwritten."""
    response = await alice.patch(ada.url, json={"first_name": "Augusta"}, headers={"If-None-Match": '"900", "x"'})

    assert response.status_code == 200


async def test_what_is_not_there_is_made(alice: Person) -> None:
    """Creation passes If-None-Match, because a new object has no earlier version."""
    assert (await alice.post("/api/v2/contacts", json={}, headers={"If-None-Match": "*"})).status_code == 201


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("rubbish", ["'own'", "own x", "x own", "own own", "7"])
async def test_rubbish_around_a_tag_names_no_version(alice: Person, ada: Thing, method: str, rubbish: str) -> None:
    """A malformed If-Match is never met: the answer is 412, and nothing is written."""
    response = await alice.request(method, ada.url, headers={"If-Match": rubbish.replace("own", ada.etag)})

    assert response.status_code == 412
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag
