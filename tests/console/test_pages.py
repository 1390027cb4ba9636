"""The walk over all pages: as nobody, in each role, and as a member of another workspace."""

import re
from typing import Final
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from herdbook.app import PAGES
from herdbook.auth.scopes import SCOPES
from herdbook.console.page import Page
from herdbook.custom_fields.model import FieldCreate
from herdbook.engagements.model import EngagementCreate
from herdbook.users.model import UserRole
from tests.cast import Person, Thing
from tests.console.people import People, Visitor

# An example for each parameter of a path. A page with another one adds it here, and cannot be left out.
EXAMPLES: Final = {
    "token": "link_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.x",
    "member": "last_name",
    "note_id": "note_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "user_id": "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "transcript_comment_id": "tano_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "key_id": "sk-apik_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "webhook_endpoint_id": "whep_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "view_id": "view_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "request_id": "rid_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    "event_id": "evt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
}
_READ: Final = {scope for scope in SCOPES if scope.endswith(":read") and ":private:" not in scope}
_WRITTEN: Final = {scope for scope in SCOPES if scope.endswith(":write") and ":private:" not in scope}
ALLOWED: Final = {
    UserRole.OWNER: {*SCOPES},
    UserRole.ADMIN: {*SCOPES},
    UserRole.MEMBER: _READ | _WRITTEN,
    UserRole.VIEWER: _READ,
}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
WALK: Final = pytest.mark.parametrize("page", [each for each in PAGES if not each.is_for_development], ids=lambda each: each.id)


def _path(page: Page, objects: dict[str, str]) -> str:
    examples = EXAMPLES | objects
    return _PARAMETER.sub(lambda found: examples[found[1]], page.address)


@pytest_asyncio.fixture
async def objects(ada: Thing, engine: Thing, renewal: Thing, frank: Person) -> dict[str, str]:
    """The objects of Alice's workspace, by the parameters that name them."""
    field = Thing(await frank.post("/api/herdbook/fields", json=FieldCreate.example))
    engagement = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
    return {
        "contact_id": ada.id,
        "company_id": engine.id,
        "tag_id": renewal.id,
        "engagement_id": engagement.id,
        "field_id": field.id,
    }


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
        assert answer.status_code in (200, 400, 404, 422)
    elif page.method == "GET":
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/console/sign-in?")
    else:
        assert answer.status_code == 401
    assert "Lovelace" not in answer.text


@WALK
@pytest.mark.parametrize("role", [role for role in UserRole if role.is_active], ids=lambda role: role.value)
async def test_page_is_for_those_whose_role_allows_it(
    *, page: Page, role: UserRole, people: People, workspace_id: UUID, objects: dict[str, str], ada: Thing, alice: Person
) -> None:
    """A person sees the pages that the role allows and is refused all others. A viewer changes no contact."""
    answer = await _visited(await people.join(workspace_id, "Somebody", role), page, objects)

    needed, allowed = set(page.scopes or ()), ALLOWED[role]
    assert (answer.status_code == 403) == (not needed <= allowed)
    assert answer.status_code < 500
    assert role is not UserRole.VIEWER or (await alice.get(ada.url)).headers["ETag"] == ada.etag


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
@pytest.mark.parametrize("who", ["anna", "olga"])
async def test_page_is_protected(page: Page, who: str, anna: Visitor, olga: Visitor, objects: dict[str, str]) -> None:
    """Each answer and each refusal forbids scripts and styles of others, frames, guesses of the type, and copies in caches."""
    answer = await _visited({"anna": anna, "olga": olga}[who], page, objects)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
