"""Refusals in words for people: no page of the console names parameters of the API, ids or headers."""

import re

import pytest

from tests.cast import Thing
from tests.console.people import Visitor

NOWHERE = "01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
_OF_PROGRAMS = re.compile(
    r"`|\b(If-Match|ETag|next_cursor|min_score|request_id|cursor|a string|API|GET /|POST /|/v2/|api/herdbook|"
    r"Validation Failed|Invalid Request|Bad Request|letters and digits|[a-z]+_id|id)\b"
)


def _main(page: str) -> str:
    """Return the words of a page's content."""
    content = page.partition("<main")[2].partition(">")[2].partition("</main")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"/contacts/cnt_{NOWHERE}", "There is no such contact in this workspace."),
        ("/contacts/nonsense", "There is no such contact in this workspace."),
        ("/views/nonsense", "There is no such view in this workspace."),
        ("/imports/nonsense", "There is no such import in this workspace."),
        ("/imports/nonsense/problems", "There is no such import in this workspace."),
        ("/webhooks/nonsense", "There is no such webhook"),
        ("/requests/nonsense", "There is no such request"),
        ("/contacts/{ada}/merge?from=nonsense", "There is no such contact in this workspace."),
        ("/undo?request_id=nonsense", "There is no such request"),
        (f"/undo?request_id=rid_{NOWHERE}", "There is no such request in this workspace."),
        ("/activity?user_id=x", "There is no such user."),
        ("/contacts/{ada}/then?at=yesterday", "is no time. Give a day"),
        ("/duplicates/all?min_score=x", "score"),
        *(
            (f"/{each}cursor=bad", "This page of the list is no longer there. Begin with the first page.")
            for each in (
                *(
                    "contacts?",
                    "companies?",
                    "users?",
                    "engagements?",
                    "tags?",
                    "bin?",
                    "activity?",
                    "requests?",
                    "duplicates?",
                ),
                *("contacts/{ada}/history?", "contacts?search=ada&", "contacts?filter=first_name:eq:Ada&"),
            )
        ),
    ],
)
async def test_refusal_is_in_plain_words(anna: Visitor, ada: Thing, path: str, said: str) -> None:
    """A refused page says what is wrong without the names that programs use."""
    page = await anna.get(path.replace("{ada}", ada.id))
    told = _main(page.text)
    assert 400 <= page.status_code < 500
    assert said in told
    # The log of requests names them, and the labels of fields may have these words.
    told = told.partition("Request rid_")[0].replace("Id of the CRM record", "").replace("External ids", "")
    assert "The contacts that were here have gone" not in told
    assert _OF_PROGRAMS.search(told) is None


@pytest.mark.parametrize("filters", ["", "&filter=first_name:eq:Ada"])
async def test_long_search_is_told(olga: Visitor, ada: Thing, filters: str) -> None:
    """A search that is too long is named as the search, and nobody is said to be looked for in vain."""
    page = await olga.get(f"/contacts?search={'x' * 3000}{filters}")
    assert page.status_code in (400, 422)
    assert "The search has 3000 characters" in page.text
    assert "The list has" not in page.text
    assert "Nobody found" not in page.text
    assert ada.id not in page.text


async def test_unknown_field_of_a_filter_is_told(olga: Visitor) -> None:
    """A filter of a field that is not there is told in words."""
    page = await olga.get("/contacts?filter=zzz")
    assert page.status_code == 422
    assert "`" not in _main(page.text)


async def test_selection_that_is_too_large_is_told(olga: Visitor) -> None:
    """Nobody reads of ids who has selected too many records."""
    some = ",".join(f"cnt_01HQXVB4Y9Y0Q6P0QH5GX{number:05}" for number in range(1001))
    page = await olga.post("/contacts/selected", {"ids": some, "do": "delete"})
    assert page.status_code == 422
    assert "You have selected 1,001 records. Select at most 1,000 at once." in page.text
    assert "This cannot be done" in page.text


@pytest.mark.parametrize("view", ["nonsense", f"view_{NOWHERE}"])
async def test_view_that_is_gone_shows_no_list(olga: Visitor, ada: Thing, view: str) -> None:
    """An address with a deleted view shows nothing to change, and leads to the whole list."""
    page = await olga.get(f"/contacts?view={view}")
    assert page.status_code == 404
    assert "This view is gone." in page.text
    assert ada.id not in page.text
    assert 'id="change-selected"' not in page.text
    assert ">Show all contacts<" in page.text


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html"])
async def test_address_of_the_server_leads_to_the_console(olga: Visitor, accept: str) -> None:
    """Somebody who types only the name of the server gets to the console."""
    answer = await olga.client.get("/", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_program_learns_there_what_server_it_is(olga: Visitor, accept: str) -> None:
    """A program that asks for the server's first path learns that no tests command this server."""
    answer = await olga.client.get("/", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.json()["mode"] == "production"
