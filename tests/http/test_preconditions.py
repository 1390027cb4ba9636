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


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"If-Match": '"9999"'}, "`If-Match` does not name the current version"),
        ({"If-Match": ""}, "`If-Match` does not name the current version"),
        ({"If-Match": '"9999"', "If-None-Match": "own"}, "`If-Match` does not name the current version"),
        ({"If-Match": "own", "If-None-Match": "own"}, "`If-None-Match` excludes the current version"),
        ({"If-Match": "*", "If-None-Match": "own"}, "`If-None-Match` excludes the current version"),
        ({"If-None-Match": "*"}, "`If-None-Match: *` excludes every object that exists"),
    ],
)
async def test_the_header_that_fails_is_named(alice: Person, ada: Thing, headers: dict[str, str], fault: str) -> None:
    """A 412 begins with the header that is not met, and shows the current ETag."""
    sent = {name: value.replace("own", ada.etag) for name, value in headers.items()}
    response = await alice.patch(ada.url, json={"first_name": "Augusta"}, headers=sent)

    assert response.status_code == 412
    assert response.json()["detail"].startswith(fault)
    assert f"`{ada.etag}`" in response.json()["detail"]


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
    """A malformed If-Match is never met: the answer is 412, which asks for quotes, and nothing is written."""
    response = await alice.request(method, ada.url, headers={"If-Match": rubbish.replace("own", ada.etag)})

    assert response.status_code == 412
    assert "`If-Match` is not a list of ETags. Send an ETag as it was returned, in double quotes" in response.json()["detail"]
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("suffix", ["-gzip", "--gzip", ";gzip", "-br"])
async def test_a_tag_that_a_proxy_extended_is_the_tag(alice: Person, ada: Thing, method: str, suffix: str) -> None:
    """Proxies that compress an answer append the coding to its tag; both headers compare the tag that was issued."""
    tag = ada.etag[:-1] + suffix + '"'
    unchanged = await alice.get(ada.url, headers={"If-None-Match": tag})
    refused = await alice.request(method, ada.url, headers={"If-None-Match": tag})
    done = await alice.request(method, ada.url, headers={"If-Match": tag})

    assert (unchanged.status_code, refused.status_code, done.status_code) == (304, 412, 200)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("more", ["", "-gzip"])
async def test_a_weak_tag_is_told_why_it_never_matches(alice: Person, ada: Thing, method: str, more: str) -> None:
    """If-Match compares strongly, so a weak tag never matches (RFC 9110, section 13.1.1); the refusal says so."""
    weak = f'W/{ada.etag[:-1]}{more}"'
    response = await alice.request(method, ada.url, headers={"If-Match": weak})
    stale = await alice.request(method, ada.url, headers={"If-Match": '"9999"'})

    assert (response.status_code, stale.status_code) == (412, 412)
    assert "without `W/`" in response.json()["detail"]
    assert "`W/`" not in stale.json()["detail"]
