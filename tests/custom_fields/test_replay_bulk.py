"""Random bulks of contacts and companies, with conversions that wait, undos, merges, restores: entries rebuild all rows."""

from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.http.call import Call
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import whole
from herdbook.ledger.unfinished import Task
from tests.cast import Json, Person
from tests.custom_fields.claims import assert_claimed, convert
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.repeats import repeats

_KEYS: Final = ("a", "b")
_PLURALS: Final = {"contact": "contacts", "company": "companies"}
# The letters of the types in the ledger.
_KINDS: Final = {"contact": "c", "company": "o"}
_OPTIONS: Final = [{"id": "gold", "label": "7"}, {"id": "silver", "label": "8"}, {"id": "x", "label": "9"}]
_VALUES: Final[list[Json]] = ["7", " 7", "7.0", "gold", "silver", "x", 7, 8, 9, "8", "9", "8.0", None]
_ACTIONS: Final = ["create", "update", "update", "update", "delete", "upsert", "upsert"]
_PLACES: Final = st.integers(0, 5)
_OPERATIONS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(_ACTIONS),
            "place": _PLACES,
            "other": _PLACES,
            "key": st.sampled_from(_KEYS),
            "value": st.sampled_from(_VALUES),
            "takes": st.booleans(),
            "handle": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=5,
)
_BULKS: Final = st.tuples(st.just("bulk"), _OPERATIONS, st.booleans())
_WISHES: Final = st.lists(
    st.one_of(
        _BULKS,
        _BULKS,
        st.tuples(
            st.just("redefine"),
            st.sampled_from(_KEYS),
            st.sampled_from(["text", "integer", "decimal", "one_of", "text", "integer"]),
            st.booleans(),
        ),
        st.tuples(st.just("archive"), st.sampled_from(_KEYS), st.booleans()),
        st.tuples(st.just("undo"), st.integers(0, 6)),
        st.tuples(st.just("merge"), _PLACES, _PLACES),
        st.tuples(st.just("restore"), _PLACES),
        st.tuples(st.just("convert")),
    ),
    min_size=8,
    max_size=25,
)


class Story:
    """The objects and the requests of a workspace so far."""

    def __init__(self, frank: Person, object_type: str) -> None:
        self._frank = frank
        self._type = object_type
        self._url = f"/api/herdbook/{_PLURALS[object_type]}"
        self._objects: list[str] = []
        self._fields: dict[str, str] = {}
        self._requests: list[str] = []

    async def begin(self) -> None:
        """Define the fields. One is unique."""
        for key in _KEYS:
            field = {"object_type": self._type, "key": key, "label": key, "kind": "text", "unique": key == "b"}
            self._fields[key] = (await self._frank.post("/api/herdbook/fields", json=field)).json()["id"]

    async def act(self, wish: tuple[Any, ...]) -> None:
        """Make a request, which may be refused."""
        asked = self._asked(wish)
        if asked is None:
            return
        response = await self._frank.request(asked[0], asked[1], json=asked[2])
        event(f"{wish[0]}: {response.status_code}")
        assert response.status_code < 500, response.text
        if response.status_code >= 300:
            return
        self._requests.append(response.headers["X-Request-Id"])
        for result in response.json()["results"] if wish[0] == "bulk" else ():
            event(f"an operation: {result['result']}")
            assert result.get("problem", {}).get("status", 0) < 500, result
            if result["result"] == "created":
                self._objects.append(result[self._type]["id"])

    def _asked(self, wish: tuple[Any, ...]) -> tuple[str, str, Json] | None:
        asked: tuple[str, str, Json] | None = None
        match wish:
            case ("bulk", operations, atomic):
                sent = [self._operation(each) for each in operations]
                asked = "POST", f"{self._url}/bulk", {"atomic": atomic, "operations": sent}
            case ("redefine", key, "one_of", _):
                asked = "PATCH", self._field(key), {"kind": "one_of", "options": _OPTIONS, "unique": False}
            case ("redefine", key, kind, unique):
                asked = "PATCH", self._field(key), {"kind": kind, "unique": unique}
            case ("archive", key, archived):
                asked = "PATCH", self._field(key), {"archived": archived}
            case ("undo", back) if self._requests:
                asked = "POST", "/api/herdbook/undo", {"request_id": self._request(back)}
            case ("merge", target, source) if len(self._objects) > 1:
                asked = "POST", f"{self._url}/{self._object(target)}/merge", {"from": [self._object(source)]}
            case ("restore", place) if self._objects:
                asked = "POST", f"{self._url}/{self._object(place)}/restore", None
            case _:
                pass
        return asked

    def _operation(self, wish: dict[str, Any]) -> Json:
        action: str = wish["action"]
        members: Json = {"fields": {wish["key"]: wish["value"]}}
        if wish["takes"] and self._objects and action in ("create", "update"):
            members["take_from"] = self._object(wish["other"])
        if action in ("create", "upsert") or wish["handle"] == 0:
            handle = f"h{wish['handle']}.test"
            members |= {"emails": [{"email": f"a@{handle}"}]} if self._type == "contact" else {"domains": [{"domain": handle}]}
        named: Json = {"id": self._object(wish["place"])} if action in ("update", "delete") else {}
        return {"action": action, **named, **({} if action == "delete" else {self._type: members})}

    def _request(self, back: int) -> str:
        return self._requests[-1 - back % len(self._requests)]

    def _object(self, place: int) -> str:
        return self._objects[place % len(self._objects)] if self._objects else "cnt_x"

    def _field(self, key: str) -> str:
        return f"/api/herdbook/fields/{self._fields[key]}"


async def _assert_rebuilt(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID, object_type: str) -> None:
    """Check that the last entry of each active object is its row, byte for byte."""
    entries = await pool.fetch(
        "select object_id, object::text from change where workspace_id = $1 and kind::text = $2 order by seq",
        workspace_id,
        _KINDS[object_type],
    )
    last = {object_id: text.encode() for object_id, text in entries}
    rows = await pool.fetch(
        """
        select id, object::text, own::text from contact where workspace_id = $1 and deleted_at is null and $2 = 'contact'
        union all
        select id, object::text, own::text from company where workspace_id = $1 and deleted_at is null and $2 = 'company'
        """,
        workspace_id,
        object_type,
    )
    for object_id, shown, own in rows:
        assert whole(shown.encode(), None if own is None else own.encode()) == last[object_id]


@pytest.fixture
def waiting_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that dies after each change of a definition, so that its values wait for a later round."""
    finish = Call.finish

    async def others(call: Call, task: Task, *rest: Any) -> None:
        # Before a change, an earlier conversion is finished, as it would be by another server.
        if task.name != "convert_values" or not call.has_written:
            await finish(call, task, *rest)

    monkeypatch.setattr(Call, "finish", others)


@pytest.mark.usefixtures("waiting_conversions")
@pytest.mark.parametrize("object_type", ["contact", "company"])
@settings(
    max_examples=repeats(36),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wishes=_WISHES)
async def test_the_ledger_rebuilds_what_bulks_write(
    client: httpx.AsyncClient,
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    object_type: str,
    wishes: list[tuple[Any, ...]],
) -> None:
    """Entries, rows, claims and index entries agree after any bulks, also while conversions wait."""
    workspace_id = await create_workspace(pool, "Frank's workspace")
    story = Story(Person(client, workspace_id, await create_key(pool, workspace_id, "Frank", [ADMIN])), object_type)
    await story.begin()
    for wish in wishes:
        if wish == ("convert",):
            await convert(pool, ledger)
            await assert_claimed(pool, workspace_id, object_type)
        else:
            await story.act(wish)
    await convert(pool, ledger)
    await assert_claimed(pool, workspace_id, object_type)

    await _assert_rebuilt(pool, workspace_id, object_type)
    await assert_chained(pool, workspace_id)
    await assert_consistent(pool, workspace_id)
