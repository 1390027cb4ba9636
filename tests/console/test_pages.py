"""The walk over all pages: as nobody, in each role, and as a member of another workspace."""

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.auth.keys import PREFIX
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import create_key
from herdbook.console import static_files
from herdbook.console import store as console_store
from herdbook.console.page import Page
from herdbook.console.visit import Visit
from herdbook.console_pages import PAGES
from herdbook.custom_fields.model import FieldCreate
from herdbook.engagements.model import EngagementCreate
from herdbook.oauth.store import create_client
from herdbook.users.model import UserRole
from herdbook.webhooks.events import event_id
from tests.cast import Person, Thing
from tests.console.people import People, Visitor
from tests.importing.jobs import upload

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Pages about what the person has done, whose object may be of any workspace. Another person's changes nothing.
OF_PERSONS: Final = {"shut-out-program"}
# Forms that call no operation with a scope of its own, and the scopes that they need nevertheless.
_OF_ANYBODY: Final = (
    *("sign-in", "sign-in-by-passkey", "ask-for-passkey", "open-link", "sign-out", "set-password", "end-sessions", "set-name"),
    *("add-passkey", "ask-for-new-passkey", "remove-passkey", "disconnect-openid", "choose-workspace", "choose-theme", "undo"),
    *("decide-authorization", "shut-out-program", "create-view-by-form", "update-view-by-form", "delete-view-by-form"),
)
_OF_ADMINISTRATORS: Final = (
    *("create-key", "revoke-key", "create-client", "change-client", "replace-client-secret", "revoke-client"),
    *("change-kind-of-field", "download-record"),
)
_OF_CONTACTS: Final = (
    *("change-contact-note", "preview-change-of-contacts", "change-selected-contacts", "receive-import", "change-import"),
    *("take-back-distinct", "merge-all-duplicates"),
)
_OF_COMPANIES: Final = ("change-company-note", "preview-change-of-companies", "change-selected-companies", "edit-company")
WITHOUT_OPERATIONS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_OF_ANYBODY, ()),
    **dict.fromkeys(_OF_ADMINISTRATORS, (ADMIN,)),
    **dict.fromkeys(_OF_CONTACTS, ("contacts:write",)),
    **dict.fromkeys(_OF_COMPANIES, ("companies:write",)),
    "export-contacts": ("contacts:read",),
    "export-companies": ("companies:read",),
    "export-engagements": ("engagements:read",),
    "export-changes": (),
}
# Examples of the parameters of a path that name no object of a workspace. A page with another one adds it here, or, if it names
# an object, to those that are created, and cannot be left out.
EXAMPLES: Final = {"token": "link_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.x", "member": "last_name"}
_READ: Final = {scope for scope in SCOPES if scope.endswith(":read") and ":private:" not in scope}
_WRITTEN: Final = {scope for scope in SCOPES if scope.endswith(":write") and ":private:" not in scope}
ALLOWED: Final = {
    UserRole.OWNER: {*SCOPES},
    UserRole.ADMIN: {*SCOPES},
    UserRole.MEMBER: _READ | _WRITTEN,
    UserRole.VIEWER: _READ,
}
# A page, its styles and its scripts together have no more, compressed.
MOST_BYTES: Final = 60 * 1024
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
WALK: Final = pytest.mark.parametrize("page", [each for each in PAGES if not each.is_for_development], ids=lambda each: each.id)


def _path(page: Page, objects: dict[str, str]) -> str:
    examples = EXAMPLES | objects
    return _PARAMETER.sub(lambda found: examples[found[1]], page.address)


@pytest_asyncio.fixture
async def objects(
    *, ada: Thing, engine: Thing, renewal: Thing, frank: Person, people: People, workspace_id: UUID, pool: Connections
) -> dict[str, str]:
    """An object of each kind in Alice's workspace, by the parameters that name them."""
    engagement = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
    comment = {"body": "A comment."}
    member = await people.member(workspace_id, "Uma Lovelace", UserRole.MEMBER)
    link = await console_store.create_link(pool, workspace_id, member.user_id, is_invitation=True)
    client = await create_client(pool, workspace_id, "Lovelace's program", ["contacts:read"], ["https://app.example/callback"])
    key = await create_key(pool, workspace_id, "Lovelace's key", ["contacts:read"])
    created = {
        "field_id": ("/api/herdbook/fields", FieldCreate.example),
        "note_id": (f"/api/herdbook/contacts/{ada.id}/notes", {"text": "A note on Lovelace."}),
        "transcript_comment_id": (f"/api/v2/engagements/{engagement.id}/transcript_comments", comment),
        "webhook_endpoint_id": ("/api/herdbook/webhooks", {"url": "http://127.0.0.1:9000/lovelace"}),
        "view_id": ("/api/herdbook/views", {"object_type": "contact", "name": "Lovelaces", "shared": True}),
    }
    found: dict[str, str] = {}
    for name, (path, body) in created.items():
        answer = await frank.post(path, json=body)
        assert answer.status_code == 201, answer.text
        found[name] = answer.json()["id"]
    # The endpoint is sent this change.
    changed = await frank.post("/api/v2/tags", json={"name": "Told to the webhook"})
    entry = await pool.fetchrow("select seq, at from change where workspace_id = $1 order by seq desc limit 1", workspace_id)
    assert entry is not None, "the tag was created"
    return found | {
        "contact_id": ada.id,
        "company_id": engine.id,
        "tag_id": renewal.id,
        "engagement_id": engagement.id,
        "user_id": ids.encoded(ids.USER, member.user_id),
        "invitation_id": ids.encoded(ids.SIGN_IN_LINK, link.id),
        "client_id": client.client_id,
        "key_id": ids.encoded(PREFIX, key.id),
        "event_id": event_id(workspace_id, entry["seq"], entry["at"]),
        "request_id": changed.headers["X-Request-Id"],
        "import_id": (await upload(frank, "Name,E-mail\nAda Lovelace,ada@engine.test\n")).id,
    }


# The tables in which visits themselves leave something.
_TRACES: Final = {"console_session", "request_log", "person_user", "idempotency_record"}


async def _rows(pool: Connections, workspace_id: UUID) -> dict[str, str]:
    """Return what each table has of a workspace."""
    tables = await pool.fetch(
        """
        select c.table_name from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and c.column_name = 'workspace_id' and t.table_type = 'BASE TABLE'
        """
    )
    found: dict[str, str] = {}
    for (table,) in tables:
        if table not in _TRACES:
            # The keys of others may be noted as used meanwhile.
            row = "(to_jsonb(t) - 'last_used_at')::text"
            query = f"select md5(coalesce(string_agg({row}, ' ' order by {row}), '')) from {table} t where workspace_id = $1"
            found[table] = await pool.fetchval(query, workspace_id)
    return found


async def _visited(visitor: Visitor, page: Page, objects: dict[str, str]) -> httpx.Response:
    path = _path(page, objects)
    return await (
        visitor.get(path)
        if page.method == "GET"
        else visitor.post(path, {"value": "Byron", "first_name": "Ada", "name": "Engine", "text": "A note.", "role": "VIEWER"})
    )


def test_every_page_has_a_name_of_its_own() -> None:
    """The ids of pages are those of no other page, so that logs and metrics tell them apart."""
    assert len({page.id for page in PAGES}) == len(PAGES)


@WALK
async def test_page_is_closed_to_strangers(
    *, page: Page, people: People, carla: Visitor, objects: dict[str, str], pool: Connections, workspace_id: UUID
) -> None:
    """Without a session, a page leads to the sign-in, and a form is refused.

    A page of an object of another workspace is not there, and no page shows or changes what is in it.
    """
    before = await _rows(pool, workspace_id)
    nobodys = await _visited(people.visitor(), page, objects)
    carlas = await _visited(carla, page, objects)

    if page.scopes is None:
        assert nobodys.status_code in (200, 400, 404, 422)
    elif page.method == "GET":
        assert nobodys.status_code == 303
        assert nobodys.headers["Location"].startswith("/console/sign-in?")
    else:
        assert nobodys.status_code == 401
    if any(f"{{{name}}}" in page.path for name in objects) and page.id not in OF_PERSONS:
        assert carlas.status_code == 404
    assert "Lovelace" not in nobodys.text + carlas.text
    assert await _rows(pool, workspace_id) == before


@pytest.mark.parametrize("page", [each for each in PAGES if each.method == "POST"], ids=lambda each: each.id)
async def test_page_declares_what_its_operations_need(
    page: Page, people: People, workspace_id: UUID, objects: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form is for those whom the API lets write: its scopes are those of the operations, or are listed here."""
    called: set[str] = set()
    call, operations = Visit.call, {each.id: each for each in OPERATIONS}

    async def noted(visit: Visit, operation_id: str, *args: Any, **options: Any) -> Any:
        called.add(operation_id)
        return await call(visit, operation_id, *args, **options)

    monkeypatch.setattr(Visit, "call", noted)
    await _visited(await people.join(workspace_id, "Orla", UserRole.OWNER), page, objects)

    written = [operations[each] for each in called if operations[each].method != "GET"]
    needed = {scope for each in written for scope in each.scopes or ()}
    assert needed <= {*(page.scopes or ())}
    if not needed:
        assert {*(page.scopes or ())} == {*WITHOUT_OPERATIONS[page.id]}


def _may(role: UserRole, page: Page) -> bool:
    return {*(page.scopes or ())} <= ALLOWED[role]


def _visits() -> Iterator[tuple[Page, list[UserRole]]]:
    """Yield each page with roles that visit the same objects: whoever changes some is the last."""
    roles = [role for role in UserRole if role.is_active]
    for page in PAGES:
        if page.is_for_development:
            continue
        if page.method == "GET":
            yield page, roles
            continue
        first, *others = [role for role in roles if _may(role, page)]
        yield page, [*(role for role in roles if not _may(role, page)), first]
        yield from ((page, [role]) for role in others)


@pytest.mark.parametrize(
    ("page", "roles"),
    list(_visits()),
    ids=lambda each: each.id if isinstance(each, Page) else "+".join(role.value for role in each),
)
async def test_page_is_for_those_whose_role_allows_it(
    *, page: Page, roles: list[UserRole], people: People, workspace_id: UUID, objects: dict[str, str], ada: Thing, alice: Person
) -> None:
    """A person sees the pages that the role allows and is refused all others. A viewer changes no contact.

    Each answer and each refusal forbids scripts and styles of others, frames, guesses of the type, and copies in caches.
    """
    for role in roles:
        answer = await _visited(await people.join(workspace_id, "Somebody", role), page, objects)

        assert (answer.status_code == 403) == (not _may(role, page))
        assert answer.status_code < 500
        assert role is not UserRole.VIEWER or (await alice.get(ada.url)).headers["ETag"] == ada.etag
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "page", [each for each in PAGES if each.method == "GET" and not each.is_for_development], ids=lambda each: each.id
)
async def test_page_is_small(page: Page, anna: Visitor, objects: dict[str, str]) -> None:
    """A page with all styles and scripts has at most 60 KB, compressed."""
    answer = await _visited(anna, page, objects)

    files = sum(len(file.compressed) for file in static_files.files().values())
    assert int(answer.headers.get("Content-Length", 0)) + files < MOST_BYTES
