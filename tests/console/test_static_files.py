"""Styles and scripts: small, kept by browsers, and found under the addresses that pages name."""

import re

import pytest

from herdbook.console import static_files
from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_pages import MOST_BYTES
from tests.custom_fields.definitions import define


async def test_pages_with_much_in_them_are_small(olga: Visitor, frank: Person, alice: Person, ada: Thing) -> None:
    """A page has at most 60 KB with all styles and scripts, compressed, even with a hundred fields defined."""
    for number in range(100):
        await define(frank, key=f"field{number}")
    contact = {"first_name": "Maximiliana", "description": "Runs the purchasing team."}
    operations = [{"action": "create", "contact": {**contact, "last_name": f"Number {number}"}} for number in range(60)]
    await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    files = sum(len(file.compressed) for file in static_files.files().values())

    for path in ("/contacts", f"/contacts/{ada.id}", "/account"):
        answer = await olga.get(path)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert int(answer.headers["Content-Length"]) + files < MOST_BYTES


async def test_files_are_kept_for_ever(olga: Visitor) -> None:
    """A browser asks for a file once, because its address changes with it."""
    page = (await olga.get("/account")).text
    addresses = re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page)
    assert len(addresses) == 5

    for address in addresses:
        answer = await olga.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_file_of_another_release_is_not_kept(olga: Visitor) -> None:
    """A server that does not have the file of a page's release sends its own, which nobody keeps under that address."""
    answer = await olga.client.get("/console/static/0123456789abcdef/console.js")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["nothing.css", "../console_app.py", "%2e%2e/pages.py", ""])
async def test_other_files_are_not_there(olga: Visitor, name: str) -> None:
    """Nothing but the files themselves is served."""
    assert (await olga.client.get(f"/console/static/x/{name}")).status_code == 404


async def test_scripts_import_what_is_there() -> None:
    """Each module that a script imports is a file beside it."""
    scripts = {name: file.content.decode() for name, file in static_files.files().items() if name.endswith(".js")}
    imported = {name for text in scripts.values() for name in re.findall(r'import .*?"\./([\w.]+)"', text)}

    assert imported | {"console.js"} == set(scripts)
