"""Random definitions and values, changed, merged, undone and restored: the entries of the ledger rebuild all rows."""

from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import httpx
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import whole
from tests.cast import Json, Person
from tests.custom_fields.claims import assert_claimed, convert
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.repeats import repeats

_OPTIONS: Final = [{"id": each, "label": each} for each in ("gold", "silver")]
_KINDS: Final = [
    *["text", "text", "integer", "decimal", "integer", "decimal", "date"],
    *["one_of", "several_of", "money", "address", "email", "yes_no"],
]
_VALUES: Final[list[Json]] = [
    *["7", "7", " 7", "7.0", "A@x.test"],
    *["gold", "7", 7, "7.50", "2026-03-01", ["gold", "silver"], ["silver"], True, "Ädä", "a@x.test", None],
    *[False, 0, 1, "0", "1"],
    {"amount": "7", "currency": "EUR"},
    {"city": "London", "street": "1 Road"},
]
_KEYS: Final = ["a", "ab"]
_ACTIONS: Final = [
    *["define", "convert", "unique", "archive", "come back", "come back", "set", "set", "set", "create", "label", "tag"],
    *["note", "patch", "merge", "delete", "delete", "restore", "restore", "unique", "unique", "undo", "undo", "undo"],
]


class Wish(NamedTuple):
    """A random request."""

    action: str
    place: int
    other: int
    key: str
    kind: str
    value: Json


_WISHES: Final = st.lists(
    st.builds(
        Wish,
        st.sampled_from(_ACTIONS),
        st.integers(0, 4),
        st.integers(0, 20),
        st.sampled_from(_KEYS),
        st.sampled_from(_KINDS),
        st.sampled_from(_VALUES),
    ),
    min_size=15,
    max_size=40,
)


class Story:
    """The objects and the requests of a workspace so far."""

    def __init__(self, frank: Person) -> None:
        self._frank = frank
        self._contacts: list[str] = []
        self._fields: dict[str, str] = {}
        self._requests: list[str] = []
        self._tag = ""

    async def begin(self) -> None:
        """Create a tag, fields, and contacts with values of them."""
        self._tag = (await self._frank.post("/api/v2/tags", json={"name": str(ids.new_id())})).json()["id"]
        for key in _KEYS:
            await self.act(Wish("define", 0, 0, key, "text", None))
        await self.act(Wish("unique", 0, 0, "ab", "text", None))
        for number in range(4):
            await self.act(Wish("create", number, number, "a", "text", "7"))
            await self.act(Wish("set", number, number, "ab", "text", str(number + 5)))

    async def act(self, wish: Wish) -> None:
        """Make a request, which may be refused."""
        response = await self._asked(wish)
        event(f"{wish.action}: {response.status_code}")
        assert response.status_code < 500, response.text
        if response.status_code < 300:
            self._requests.append(response.headers["X-Request-Id"])
            shown = response.json()
            if wish.action == "create":
                self._contacts.append(shown["id"])
            if wish.action == "define":
                self._fields[wish.key] = shown["id"]

    async def _asked(self, wish: Wish) -> httpx.Response:
        frank, contacts = self._frank, self._contacts or ["cnt_"]
        contact, other = contacts[wish.place % len(contacts)], contacts[wish.other % len(contacts)]
        record = f"/api/herdbook/contacts/{contact}/record"
        field = f"/api/herdbook/fields/{self._fields.get(wish.key)}"
        options = {"options": _OPTIONS} if wish.kind in ("one_of", "several_of") else {}
        number = f"+4420794609{wish.place:02}"
        defined = {"object_type": "contact", "key": wish.key, "label": wish.key, "kind": wish.kind, **options}
        members: Json = {"fields": {wish.key: wish.value}}
        if wish.place % 2:
            members |= {"first_name": str(wish.other)}
        label: Json = {"phone_numbers": [{"phone_number": number, "label": wish.kind}]}
        asked: dict[str, tuple[str, str, Json]] = {
            "define": ("POST", "/api/herdbook/fields", defined),
            "convert": ("PATCH", field, {"kind": wish.kind, **options}),
            "unique": ("PATCH", field, {"unique": wish.other % 2 == 0}),
            "archive": ("PATCH", field, {"archived": True}),
            "come back": ("PATCH", field, {"archived": False}),
            "set": ("PATCH", record, members),
            "create": ("POST", "/api/v2/contacts", {"first_name": f"n{wish.other}", "fields": {wish.key: wish.value}}),
            "label": ("PATCH", record, label),
            "tag": ("PATCH", record, {"tag_ids": [self._tag] if wish.other % 2 else []}),
            "note": ("POST", f"/api/herdbook/contacts/{contact}/notes", {"text": str(wish.value)}),
            "patch": ("PATCH", f"/api/v2/contacts/{contact}", {"last_name": f"l{wish.other}"}),
            "merge": ("POST", f"/api/herdbook/contacts/{contact}/merge", {"from": [other]}),
            "delete": ("DELETE", f"/api/v2/contacts/{contact}", None),
            "restore": ("POST", f"/api/herdbook/contacts/{contact}/restore", None),
            "undo": ("POST", "/api/herdbook/undo", {"request_id": self._requests[-1 - wish.other % len(self._requests)]})
            if self._requests
            else ("POST", "/api/herdbook/undo", {"request_id": ""}),
        }
        method, path, body = asked[wish.action]
        return await frank.request(method, path, json=body)


async def assert_rebuilt(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that the last entry of each active contact is its row, byte for byte."""
    entries: dict[UUID, Any] = {}
    for entry in await pool.fetch(
        "select object_id, object::text from change where workspace_id = $1 and kind = 'c' order by seq", workspace_id
    ):
        entries[entry[0]] = entry[1].encode()
    rows = await pool.fetch("select id, object::text, own::text, deleted_at from contact where workspace_id = $1", workspace_id)
    for contact_id, shown, own, deleted_at in rows:
        if deleted_at is None:
            assert whole(shown.encode(), None if own is None else own.encode()) == entries[contact_id]


@settings(
    max_examples=repeats(36),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wishes=_WISHES)
async def test_the_ledger_rebuilds_fields_and_values(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, wishes: list[Wish]
) -> None:
    """Entries, rows, claims and index entries agree after any definitions, values, conversions, merges, undos and restores.

    Once values are converted, the claims of unique values are those that rows and definitions imply. An undo leaves values to a
    later round, and other requests may come before that.
    """
    workspace_id = await create_workspace(pool, "Frank's workspace")
    story = Story(Person(client, workspace_id, await create_key(pool, workspace_id, "Frank", [ADMIN])))
    await story.begin()
    for wish in wishes:
        await story.act(wish)
        if wish.other % 3:
            await convert(pool, ledger)
            await assert_claimed(pool, workspace_id)
    await convert(pool, ledger)
    await assert_claimed(pool, workspace_id)

    await assert_rebuilt(pool, workspace_id)
    await assert_chained(pool, workspace_id)
    await assert_consistent(pool, workspace_id)
