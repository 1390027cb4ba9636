"""The walk over all pages: as nobody, in each role, and as a member of another workspace."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.app import OPERATIONS, Herdbook
from herdbook.auth.keys import PREFIX
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import create_key, create_workspace
from herdbook.console import static_files
from herdbook.console import store as console_store
from herdbook.console.page import Page
from herdbook.console.visit import Visit
from herdbook.console_pages import PAGES
from herdbook.custom_fields.model import FieldCreate
from herdbook.engagements.model import EngagementCreate
from herdbook.ledger.ledger import Ledger
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
    *("decide-about-duplicates", "take-back-distinct", "merge-all-duplicates"),
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


class Filled(NamedTuple):
    """A workspace with an object of each kind, by the parameters that name them; its administrator, and one of its contacts."""

    workspace_id: UUID
    frank: Person
    ada: Thing
    objects: dict[str, str]


async def _fill(client: httpx.AsyncClient, people: People, pool: Connections) -> Filled:
    """Make a workspace with an object of each kind."""
    workspace_id = await create_workspace(pool, "Lovelace's workspace")
    frank = Person(client, workspace_id, await create_key(pool, workspace_id, "Frank", [ADMIN]))
    contact = {"first_name": "Ada", "last_name": "Lovelace", "emails": [{"email": "ada@engine.test"}]}
    ada = Thing(await frank.post("/api/v2/contacts", json=contact))
    engine = Thing(await frank.post("/api/v2/companies", json={"name": "Engine", "domains": [{"domain": "engine.test"}]}))
    engagement = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
    member = await people.member(workspace_id, "Uma Lovelace", UserRole.MEMBER)
    link = await console_store.create_link(pool, workspace_id, member.user_id, is_invitation=True)
    program = await create_client(pool, workspace_id, "Lovelace's program", ["contacts:read"], ["https://app.example/callback"])
    key = await create_key(pool, workspace_id, "Lovelace's key", ["contacts:read"])
    created = {
        "tag_id": ("/api/v2/tags", {"name": "Renewal"}),
        "field_id": ("/api/herdbook/fields", FieldCreate.example),
        "note_id": (f"/api/herdbook/contacts/{ada.id}/notes", {"text": "A note on Lovelace."}),
        "transcript_comment_id": (f"/api/v2/engagements/{engagement.id}/transcript_comments", {"body": "A comment."}),
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
    found |= {
        "contact_id": ada.id,
        "company_id": engine.id,
        "engagement_id": engagement.id,
        "user_id": ids.encoded(ids.USER, member.user_id),
        "invitation_id": ids.encoded(ids.SIGN_IN_LINK, link.id),
        "client_id": program.client_id,
        "key_id": ids.encoded(PREFIX, key.id),
        "event_id": event_id(workspace_id, entry["seq"], entry["at"]),
        "request_id": changed.headers["X-Request-Id"],
        "import_id": (await upload(frank, "Name,E-mail\nAda Lovelace,ada@engine.test\n")).id,
    }
    return Filled(workspace_id, frank, ada, found)


@pytest.fixture(scope="module")
def people(app: Herdbook, ledger: Ledger, pool: Connections) -> People:
    """The people who use the console."""
    return People(ledger, pool, httpx.ASGITransport(app))


@pytest_asyncio.fixture
async def filled(client: httpx.AsyncClient, people: People, pool: Connections) -> Filled:
    """A workspace for the test."""
    return await _fill(client, people, pool)


@pytest_asyncio.fixture(scope="module")
async def shared(client: httpx.AsyncClient, people: People, pool: Connections) -> Filled:
    """A workspace for all tests that change nothing."""
    return await _fill(client, people, pool)


@pytest_asyncio.fixture(scope="module")
async def visitors(shared: Filled, people: People) -> dict[UserRole, Visitor]:
    """Somebody in each role in that workspace."""
    return {role: await people.join(shared.workspace_id, "Somebody", role) for role in UserRole if role.is_active}


@pytest_asyncio.fixture(scope="module")
async def carla(people: People, pool: Connections) -> Visitor:
    """Carla, who administers another workspace, and has signed in to the console."""
    return await people.join(await create_workspace(pool, "Charlie's workspace"), "Carla", UserRole.ADMIN)


# The tables in which visits themselves leave something, and the one of the marks that the server sets by itself.
_TRACES: Final = {"console_session", "request_log", "person_user", "idempotency_record", "change_mark"}


async def _rows(pool: Connections, workspace_id: UUID) -> dict[str, str]:
    """Return what each table has of a workspace."""
    tables = await pool.fetch(
        """
        select c.table_name from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and c.column_name = 'workspace_id' and t.table_type = 'BASE TABLE'
        """
    )
    # The keys of others may be noted as used meanwhile.
    row = "(to_jsonb(t) - 'last_used_at')::text"
    rows = f"md5(coalesce(string_agg({row}, ' ' order by {row}), ''))"
    each = [f"select '{name}', {rows} from {name} t where workspace_id = $1" for (name,) in tables if name not in _TRACES]
    return {record[0]: record[1] for record in await pool.fetch(" union all ".join(each), workspace_id)}


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
    page: Page, people: People, carla: Visitor, shared: Filled, pool: Connections
) -> None:
    """Without a session, a page leads to the sign-in, and a form is refused.

    A page of an object of another workspace is not there, and no page shows or changes what is in it.
    """
    workspace_id, objects = shared.workspace_id, shared.objects
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
    page: Page, people: People, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form is for those whom the API lets write: its scopes are those of the operations, or are listed here."""
    called: set[str] = set()
    call, operations = Visit.call, {each.id: each for each in OPERATIONS}

    async def noted(visit: Visit, operation_id: str, *args: Any, **options: Any) -> Any:
        called.add(operation_id)
        return await call(visit, operation_id, *args, **options)

    monkeypatch.setattr(Visit, "call", noted)
    await _visited(await people.join(filled.workspace_id, "Orla", UserRole.OWNER), page, filled.objects)

    written = [operations[each] for each in called if operations[each].method != "GET"]
    needed = {scope for each in written for scope in each.scopes or ()}
    assert needed <= {*(page.scopes or ())}
    if not needed:
        assert {*(page.scopes or ())} == {*WITHOUT_OPERATIONS[page.id]}


def _may(role: UserRole, page: Page) -> bool:
    return {*(page.scopes or ())} <= ALLOWED[role]


def _visits() -> Iterator[tuple[Page, list[UserRole]]]:
    """Yield each form with roles that visit the same objects: whoever changes some is the last."""
    roles = [role for role in UserRole if role.is_active]
    for page in PAGES:
        if page.method == "GET" or page.is_for_development:
            continue
        first, *others = [role for role in roles if _may(role, page)]
        yield page, [*(role for role in roles if not _may(role, page)), first]
        yield from ((page, [role]) for role in others)


def _assert_answered(answer: httpx.Response, role: UserRole, page: Page) -> None:
    """Each answer and each refusal forbids scripts and styles of others, frames, guesses of the type, and copies in caches."""
    assert (answer.status_code == 403) == (not _may(role, page))
    assert answer.status_code < 500
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("page", "roles"),
    list(_visits()),
    ids=lambda each: each.id if isinstance(each, Page) else "+".join(role.value for role in each),
)
async def test_form_is_for_those_whose_role_allows_it(
    page: Page, roles: list[UserRole], people: People, filled: Filled
) -> None:
    """A person sends the forms that the role allows and is refused all others. A viewer changes no contact."""
    for role in roles:
        answer = await _visited(await people.join(filled.workspace_id, "Somebody", role), page, filled.objects)

        _assert_answered(answer, role, page)
        assert role is not UserRole.VIEWER or (await filled.frank.get(filled.ada.url)).headers["ETag"] == filled.ada.etag


@pytest.mark.parametrize(
    "page", [each for each in PAGES if each.method == "GET" and not each.is_for_development], ids=lambda each: each.id
)
async def test_page_is_for_those_whose_role_allows_it(page: Page, visitors: dict[UserRole, Visitor], shared: Filled) -> None:
    """A person sees the pages that the role allows. Each has at most 60 KB, compressed, with all styles and scripts."""
    files = sum(len(file.compressed) for file in static_files.files().values())
    for role, visitor in visitors.items():
        answer = await _visited(visitor, page, shared.objects)

        _assert_answered(answer, role, page)
        assert int(answer.headers.get("Content-Length", 0)) + files < MOST_BYTES
