"""The walk over all pages: as nobody, as one who may only read, and as a member of another workspace."""

import re
from typing import Final

import httpx
import pytest

from herdbook.app import PAGES
from herdbook.console.page import Page
from tests.cast import Person, Thing
from tests.console.people import People, Visitor

# An example for each parameter of a path. A page with another one adds it here, and cannot be left out.
EXAMPLES: Final = {
    "token": "link_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.x",
    "member": "last_name",
    "user_id": "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "key_id": "sk-apik_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "webhook_endpoint_id": "whep_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "event_id": "evt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
WALK: Final = pytest.mark.parametrize("page", [each for each in PAGES if not each.is_for_development], ids=lambda each: each.id)


def _path(page: Page, objects: dict[str, str]) -> str:
    examples = EXAMPLES | objects
    return _PARAMETER.sub(lambda found: examples[found[1]], page.path)


@pytest.fixture
def objects(ada: Thing, engine: Thing) -> dict[str, str]:
    """The objects of Alice's workspace, by the parameters that name them."""
    return {"contact_id": ada.id, "company_id": engine.id}


async def _visited(visitor: Visitor, page: Page, objects: dict[str, str]) -> httpx.Response:
    path = _path(page, objects)
    return await (visitor.get(path) if page.method == "GET" else visitor.post(path, {"value": "Byron", "text": "A note."}))


def test_every_page_has_a_name_of_its_own() -> None:
    """The ids of pages are those of no other page, so that logs and metrics tell them apart."""
    assert len({page.id for page in PAGES}) == len(PAGES)


@WALK
async def test_nobody_sees_a_page_that_needs_a_session(page: Page, people: People, objects: dict[str, str]) -> None:
    """Without a session, a page leads to the sign-in, and a form is refused."""
    answer = await _visited(people.visitor(), page, objects)

    if page.scopes is None:
        assert answer.status_code in (200, 404, 422)
    elif page.method == "GET":
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/console/sign-in?")
    else:
        assert answer.status_code == 401
    assert "Lovelace" not in answer.text


@WALK
async def test_viewer_changes_nothing(page: Page, victor: Visitor, objects: dict[str, str], ada: Thing, alice: Person) -> None:
    """A viewer sees the pages that need no more than reading, is refused the others, and changes no contact."""
    answer = await _visited(victor, page, objects)

    is_refused = any(scope.endswith(":write") or scope == "workspace:admin" for scope in page.scopes or ())
    assert (answer.status_code == 403) == is_refused
    assert answer.status_code < 500
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


@WALK
async def test_member_of_another_workspace_sees_and_changes_nothing(
    page: Page, carla: Visitor, objects: dict[str, str], ada: Thing, alice: Person
) -> None:
    """A page of an object of another workspace is not there, and no page shows or changes what is in it."""
    answer = await _visited(carla, page, objects)

    if any(f"{{{name}}}" in page.path for name in objects):
        assert answer.status_code == 404
    assert "Lovelace" not in answer.text
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


@WALK
async def test_page_is_protected(page: Page, olga: Visitor, objects: dict[str, str]) -> None:
    """Each answer forbids scripts and styles of others, frames, guesses of the type, and copies in caches."""
    answer = await _visited(olga, page, objects)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
