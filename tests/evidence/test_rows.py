"""All tables that follow from the feed are compared with it, and each difference is found."""

from uuid import uuid4

import asyncpg
import pytest_asyncio

from evidence.rows import INDEXES, KEYS, differing
from herdbook.object_types import OBJECT_TYPES
from herdbook.users.model import NewUser
from tests.cast import Json, Person, Team, Thing
from tests.engagements.calls import timed

PAIRS = {query.rpartition(" ")[2]: query for query in (*KEYS.values(), *INDEXES.values())}
NOT_FOLLOWING = {
    "change": "the feed itself",
    **dict.fromkeys(("change_trimmed", "change_mark", "workspace"), "how far it goes"),
    **dict.fromkeys(("setting", "migration", "credential", "credential_change", "idempotency_record"), "of no object"),
    **dict.fromkeys(
        (
            "console_session",
            "sign_in_link",
            "person",
            "person_user",
            "saved_view",
            "passkey",
            "person_openid",
            "undone_request",
            "sign_in_challenge",
            "request_log",
            "import_job",
            "import_slice",
            "import_mapping",
        ),
        "of no object",
    ),
    **dict.fromkeys(("duplicate_search", "duplicate_object", "duplicate_key", "duplicate_pair"), "made anew by a search"),
    "distinct_pair": "what people have said",
    "card": "written once by an import, and never changed",
    **dict.fromkeys(("unfinished", "erasure", "erasure_task"), "what is under way, and hashes of what is gone"),
    **dict.fromkeys(("webhook_reader", "webhook_delivery"), "how far deliveries are"),
    **dict.fromkeys(("oauth_client", "oauth_grant", "oauth_refresh_token", "oauth_access_token"), "of no object"),
}
# The feed is compared with the bytes of those in the first line, and those in the second line follow from no object.
COMPARED = {
    *("workspace_id", "id", "version", "updated_at", "deleted_at", "object", "details", "own", "merged_into", "timeline_id"),
    *(
        "secret",
        "former_secret",
        "former_secret_until",
        "own_headers",
        "phone_number_e164",
        "converted_to",
        "converting",
        "unclaimed",
        "former",
    ),
}
OTHER = {
    "text": "'other'",
    "boolean": "not {}",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "now()",
    "uuid[]": "array[gen_random_uuid()]",
    "text[]": "'{{other}}'",
}
"""Other values for the columns of a type."""
OF_IDS = {"company_contact", "engagement_contact", "engagement_company", "contact_note", "company_note"}


@pytest_asyncio.fixture
async def administrator(frank: Person, team: Team, engine: Thing, renewal: Thing) -> Person:
    """The administrator of a workspace that has a row in each table that follows from the feed."""

    async def made(path: str, body: Json, method: str = "POST") -> Json:
        answer = await frank.request(method, path, body)
        assert answer.is_success, answer.text
        return answer.json()

    await team.join(NewUser("Edith", "Clarke", ("edith@grid.test",), phone_number="+49301234567"))
    for object_type in ("contact", "company"):
        field = {"object_type": object_type, "key": "badge", "label": "Badge", "kind": "text", "unique": True}
        await made("/api/herdbook/fields", field)
    own = {"fields": {"badge": "1842"}, "tag_ids": [renewal.id]}
    await made(f"/api/herdbook/companies/{engine.id}/record", own, "PATCH")
    for name in ("ada", "charles"):
        contact = {"first_name": name, "emails": [{"email": f"{name}@engine.test"}], "company_id": engine.id}
        contact_id = (await made("/api/v2/contacts", contact))["id"]
        numbers = {"phone_numbers": [{"phone_number": "+49301234567"}], "external_ids": [f"crm {name}"]}
        await made(f"/api/herdbook/contacts/{contact_id}/record", numbers | own, "PATCH")
        await made(f"/api/herdbook/contacts/{contact_id}/notes", {"text": "Well."})
        if name == "ada":
            await made(f"/api/v2/contacts/{contact_id}", None, "DELETE")
    gone = await made("/api/v2/companies", {"domains": [{"domain": "gone.test"}]})
    await made(f"/api/v2/companies/{gone['id']}", None, "DELETE")
    await made(f"/api/herdbook/companies/{engine.id}/notes", {"text": "Well."})
    call = timed("call", participants=[{"email": "charles@engine.test"}])
    engagement_id = (await made("/api/v2/engagements", call))["id"]
    await made(f"/api/v2/engagements/{engagement_id}/tags", {"tag_ids": [renewal.id]}, "PUT")
    await made(f"/api/v2/engagements/{engagement_id}/transcript_comments", {"body": "Well."})
    return frank


async def test_every_table_is_compared(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Each table has rows of objects, follows from them, or is named here with the reason why not."""
    tables = {name for (name,) in await pool.fetch("select tablename from pg_tables where schemaname = 'public'")}

    assert tables == {each.table.name for each in OBJECT_TYPES} | PAIRS.keys() | NOT_FOLLOWING.keys()


async def test_a_key_that_differs(pool: "asyncpg.Pool[asyncpg.Record]", administrator: Person) -> None:
    """A key or an index entry that is missing is found, as is one too many."""
    workspace_id = administrator.workspace_id
    unfound: list[str] = []
    async with pool.acquire() as connection:
        for table, query in PAIRS.items():
            key, object_id = query.removeprefix("select ").partition(" from ")[0].split(", ")
            more = f"insert into {table} (workspace_id, {key}, {object_id}) values ($1, $2, $3)"
            for statement, *values in (
                (more, uuid4() if table in OF_IDS else "other", uuid4()),
                (f"delete from {table} where workspace_id = $1",),
            ):
                await connection.execute("begin")
                await connection.execute(statement, workspace_id, *values)
                found = await differing(connection, workspace_id)
                await connection.execute("rollback")
                if not found or not all(each.startswith(f"{table}: ") for each in found):
                    unfound.append(statement)

    assert unfound == []
    assert await differing(pool, workspace_id) == []


async def test_a_column_that_differs(pool: "asyncpg.Pool[asyncpg.Record]", administrator: Person) -> None:
    """A column that does not follow from the object is found."""
    unfound: list[str] = []
    async with pool.acquire() as connection:
        for object_type in OBJECT_TYPES:
            table, names = object_type.table.name, set(object_type.table.row.__struct_fields__) - COMPARED
            columns = await pool.fetch(
                "select attname, format_type(atttypid, null) from pg_attribute where attrelid = $1::text::regclass", table
            )
            for column, kind in columns:
                if column not in names or (table, column) == ("transcript", "text"):
                    continue
                await connection.execute("begin")
                await connection.execute(f"update {table} set {column} = {OTHER[kind].format(column)}")
                found = await differing(connection, administrator.workspace_id)
                await connection.execute("rollback")
                if not any(each.startswith(f"{column} of {object_type.name} ") for each in found):
                    unfound.append(f"{table}.{column}")

    assert unfound == []
