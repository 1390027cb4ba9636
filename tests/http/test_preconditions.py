"""If-None-Match on writes, and malformed preconditions."""

import pytest

from tests.cast import Person, Thing, faults


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


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE", "GET"])
async def test_a_precondition_that_is_none_is_refused(alice: Person, ada: Thing, method: str, header: str) -> None:
    """A malformed precondition gets a 400 that names the header, because it cannot be honoured."""
    response = await alice.request(method, ada.url, headers={header: f"'{ada.etag}'"})

    assert response.status_code == 400
    assert faults(response) == [(header, "invalid_format")]
