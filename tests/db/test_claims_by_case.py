"""Migration 0008: unique keys by case folding become unique keys without case."""

import json
from collections.abc import Iterable
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.db.claims_by_case import ClaimedTwice
from herdbook.db.migrate import migrate
from tests.db.conftest import NewDatabase

Rows = list[tuple[str, UUID]]


def _emails(emails: Iterable[str]) -> str:
    # The migration looks for letters beyond ASCII, which this would escape.
    return json.dumps({"emails": [{"email": email} for email in emails]}, ensure_ascii=False)


class Before:
    """A database as the last release left it, without this migration."""

    def __init__(self, url: str, connection: "asyncpg.Connection[asyncpg.Record]", workspace_id: UUID) -> None:
        self.url = url
        self.connection = connection
        self.workspace_id = workspace_id

    @classmethod
    async def of(cls, url: str) -> "Before":
        """Create the database."""
        await migrate(url)
        connection = await asyncpg.connect(url)
        await connection.execute("delete from migration where name = '0008_claims_by_case'")
        return cls(url, connection, await create_workspace(connection, "Alice's workspace"))

    async def contact(self, *emails: str, is_deleted: bool = False) -> UUID:
        """Store a contact without its unique keys."""
        contact_id = ids.new_id()
        await self.connection.execute(
            """
            insert into contact (workspace_id, id, version, updated_at, deleted_at, search, object)
            values ($1, $2, 1, now(), case when $3 then now() end, '', $4)
            """,
            *(self.workspace_id, contact_id, is_deleted, _emails(emails)),
        )
        return contact_id

    async def user(self, email: str, phone_number: str) -> UUID:
        """Store a user without its unique keys."""
        user_id = ids.new_id()
        await self.connection.execute(
            """
            insert into workspace_user (workspace_id, id, version, updated_at, is_active, phone_number_e164, search, object)
            values ($1, $2, 1, now(), true, $4, '',
                json_build_object('emails', json_build_array(json_build_object('email', $3::text))))
            """,
            *(self.workspace_id, user_id, email, phone_number),
        )
        return user_id

    async def tag(self, name: str) -> UUID:
        """Store a tag without its unique key."""
        tag_id = ids.new_id()
        await self.connection.execute(
            "insert into tag (workspace_id, id, version, updated_at, object) "
            "values ($1, $2, 1, now(), json_build_object('name', $3::text))",
            *(self.workspace_id, tag_id, name),
        )
        return tag_id

    async def hold(self, table: str, *rows: tuple[str, UUID]) -> None:
        """Store unique keys with their holders."""
        key, holder = KEYS[table]
        for held, object_id in rows:
            await self.connection.execute(
                f'insert into "{table}" (workspace_id, {key}, {holder}) values ($1, $2, $3)', self.workspace_id, held, object_id
            )

    async def held(self, table: str) -> Rows:
        """Return the unique keys with their holders."""
        key, holder = KEYS[table]
        return [tuple(row) for row in await self.connection.fetch(f'select {key}, {holder} from "{table}" order by 1, 2')]


KEYS = {
    "contact_email": ("address", "contact_id"),
    "contact_former_email": ("address", "contact_id"),
    "user_handle": ("handle", "user_id"),
    "tag_name": ("name", "tag_id"),
}


@pytest_asyncio.fixture
async def before(new_database: NewDatabase) -> Before:
    """A database for the test, as the last release left it."""
    return await Before.of(await new_database())


async def test_each_is_held_by_its_own_letters(before: Before) -> None:
    """Keys by case folding become keys without case: addresses of contacts, deleted ones too, and of users; names of tags."""
    anna = await before.contact("Groß@x.test", "anna@x.test", "ana@faß.test")
    bob = await before.contact("bob@x.test")
    gone = await before.contact("ﬁne@x.test", is_deleted=True)
    edith = await before.user("groß@x.test", "+442079460018")
    street = await before.tag(" Straße ")
    await before.hold(
        "contact_email", ("gross@x.test", anna), ("anna@x.test", anna), ("ana@xn--fa-hia.test", anna), ("bob@x.test", bob)
    )
    await before.hold("contact_former_email", ("fine@x.test", gone))
    await before.hold("user_handle", ("gross@x.test", edith), ("+442079460018", edith))
    await before.hold("tag_name", ("strasse", street))

    assert await migrate(before.url) == ["0008_claims_by_case"]
    assert await before.held("contact_email") == [
        *(("ana@xn--fa-hia.test", anna), ("anna@x.test", anna), ("bob@x.test", bob), ("groß@x.test", anna))
    ]
    assert await before.held("contact_former_email") == [("ﬁne@x.test", gone)]
    assert await before.held("user_handle") == [("+442079460018", edith), ("groß@x.test", edith)]
    assert await before.held("tag_name") == [("straße", street)]


async def test_what_two_would_hold_is_told(before: Before) -> None:
    """Nothing is migrated if two objects would share a key. The refusal names them, their workspace and the remedy."""
    one, other = await before.contact("\u1fbc\u0342@x.test"), await before.contact("\u1fb7@x.test")
    held: Rows = [("\u03b1\u1fd6@x.test", one), ("\u1fb6\u03b9@x.test", other)]
    await before.hold("contact_email", *held)
    with pytest.raises(ClaimedTwice) as refused:
        await migrate(before.url)
    told = str(refused.value)

    assert all(ids.encoded(ids.CONTACT, contact_id) in told for contact_id in (one, other))
    assert ids.encoded(ids.WORKSPACE, before.workspace_id) in told
    assert "Change or delete one of each two with the release that was installed before, then upgrade again." in told
    assert sorted(await before.held("contact_email")) == sorted(held)
    await before.connection.execute("update contact set deleted_at = now() where id = $1", one)
    await before.connection.execute("delete from contact_email where contact_id = $1", one)
    assert await migrate(before.url) == ["0008_claims_by_case"]
    assert await before.held("contact_email") == [("\u1fb7@x.test", other)]
