"""GET /herdbook/notes/{note_id}."""

import httpx
import pytest

from tests.cast import Person, Thing, faults
from tests.engagements.conftest import Keys
from tests.history.requests import restore
from tests.notes.notes import Parsed, noted


async def test_anonymous_is_refused(client: httpx.AsyncClient, habit: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(habit.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, habit: Thing) -> None:
    """A note of another workspace is not found."""
    assert (await charlie.get(habit.url)).status_code == 404


async def test_a_note_is_read_with_the_scope_of_its_object(keys: Keys, habit: Thing, budget: Thing) -> None:
    """A note on a contact takes `contacts:read`, and one on a company `companies:read`."""
    for note, mine, other in ((habit, "contacts:read", "companies:read"), (budget, "companies:read", "contacts:read")):
        done = await (await keys.holder(mine)).get(note.url)
        refused = await (await keys.holder(other)).get(note.url)

        assert (done.json(), done.headers["ETag"]) == (note.json, note.etag)
        assert refused.status_code == 403
        assert mine in refused.json()["detail"]
        assert note.json["text"] not in refused.text


async def test_html_comes_on_request(alice: Person, habit: Thing) -> None:
    """With `expand=html` the answer also has the text as HTML."""
    note = (await alice.get(habit.url, params={"expand": "html"})).json()

    assert note == {**habit.json, "html": "<p>Prefers to be called <strong>before</strong> nine.</p>\n"}


async def test_nothing_else_is_expanded(alice: Person, habit: Thing) -> None:
    """An unknown expansion is refused by name."""
    response = await alice.get(habit.url, params={"expand": "markdown"})

    assert (response.status_code, faults(response)) == (400, [("expand", "invalid_choice")])


ATTACKS = {
    "script": "<script>alert(1)</script>",
    "handler": '<img src=x onerror="alert(1)">',
    "link": "[here](javascript:alert(1))",
    "coded link": "[here](&#x6A;avascript:alert(1))",
    "data": "[here](data:text/html;base64,PHNjcmlwdD4=)",
    "reference": "[here][a]\n\n[a]: vbscript:alert(1)",
    "style": '<p style="background:url(//evil.test)">a</p>',
    "image": "![a](https://evil.test/pixel.png)",
    "frame": "<iframe src=https://evil.test></iframe>",
    "svg": "<svg/onload=alert(1)>",
    "title": '[a](https://a.test "\\" onclick=\\"alert(1)")',
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
async def test_html_runs_and_loads_nothing(alice: Person, ada: Thing, text: str) -> None:
    """The HTML has no element or attribute that runs a script, loads something or changes the page; a link leads to the web."""
    note = await noted(alice, ada, text)
    html = (await alice.get(note.url, params={"expand": "html"})).json()["html"]
    parsed = Parsed(html)

    assert parsed.tags <= {"p", "a"}
    assert {name for name, _ in parsed.attributes} <= {"href", "title", "rel"}
    assert all((value or "").startswith("https://") for name, value in parsed.attributes if name == "href")


async def test_html_leads_to_other_sites_only(alice: Person, ada: Thing) -> None:
    """A link without a scheme of its own would lead into the site of the page. The text of an image remains."""
    text = "[a](//evil.test) [b](/console/) [c](?q=1) [d](#x) [e](ftp://a.test) ![alt <b>](https://x.test) [f](tel:+44)"
    note = await noted(alice, ada, text)
    html = (await alice.get(note.url, params={"expand": "html"})).json()["html"]

    assert [value for name, value in Parsed(html).attributes if name == "href"] == ["tel:+44"]
    assert "alt &lt;b&gt;" in html


async def test_html_has_tables_and_links(alice: Person, ada: Thing) -> None:
    """Tables, lists and links are shown; a link does not tell its target where the reader comes from."""
    note = await noted(alice, ada, "| a |\n|---|\n| ~~b~~ |\n\n1. [c](https://c.test)\n")
    parsed = Parsed((await alice.get(note.url, params={"expand": "html"})).json()["html"])

    assert parsed.tags == {"table", "thead", "tbody", "tr", "th", "td", "s", "ol", "li", "a"}
    assert set(parsed.attributes) == {("href", "https://c.test"), ("rel", "noopener noreferrer nofollow")}


@pytest.mark.parametrize("note_id", ["note", "note_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, note_id: str) -> None:
    """A malformed or unknown id is not found."""
    assert (await alice.get(f"/api/herdbook/notes/{note_id}")).status_code == 404


async def test_a_note_is_hidden_with_its_object(alice: Person, ada: Thing, engine: Thing, habit: Thing, budget: Thing) -> None:
    """While its contact or company is deleted, a note is not found; then it is as it was."""
    for place, note in ((ada, habit), (engine, budget)):
        await alice.delete(place.url)
        hidden = [await alice.get(note.url), await alice.patch(note.url, json={"text": "a"}), await alice.delete(note.url)]
        await restore(alice, place)
        back = await alice.get(note.url)

        assert [response.status_code for response in hidden] == [404, 404, 404]
        assert (back.json(), back.headers["ETag"]) == (note.json, note.etag)
