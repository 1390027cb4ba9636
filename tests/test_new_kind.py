"""A new kind of object needs one declaration: here a toy, on a private list, with its own table."""

import dataclasses
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.db.pool import Pool, open_pool
from herdbook.feed import api as feed_api
from herdbook.first_start import prepare
from herdbook.history import api as history_api
from herdbook.history.model import KeptReason
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.commands import Create, Delete, Update
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import (
    Events,
    HistoryNotes,
    ObjectRow,
    ObjectType,
    ObjectTypes,
    object_table,
)
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.object_types import OBJECT_TYPES
from herdbook.outgoing import Targets
from herdbook.tags.store import TAG
from herdbook.webhook_endpoints.commands import CreateEndpoint
from herdbook.webhook_endpoints.model import WebhookEndpointCreate
from herdbook.webhooks.courier import Courier
from herdbook.webhooks.delivery import DeliveryContext
from herdbook.webhooks.sender import Sender
from tests.cast import Json, Person
from tests.db.conftest import database_on
from tests.serving import answering, client_of
from tests.webhooks.receiver import receiving

_PREFIX: Final = "toy_"
_TABLES: Final = """
    create table toy (
        workspace_id uuid not null, id uuid not null, version bigint not null, updated_at timestamptz not null,
        deleted_at timestamptz, object json not null, primary key (workspace_id, id)
    );
    create table toy_color (
        workspace_id uuid not null, color text not null, toy_id uuid not null, primary key (workspace_id, color, toy_id)
    );
    create table toy_name (
        workspace_id uuid not null, name text not null, toy_id uuid not null, primary key (workspace_id, name)
    )
"""


class Toy(msgspec.Struct, frozen=True, kw_only=True):
    """A toy."""

    example: ClassVar[dict[str, Any]] = {"object": "toy", "id": "toy_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "color": "red"}

    object: str = "toy"
    id: str
    color: str
    name: str = ""
    created_at: str
    updated_at: str


class ToyRow(ObjectRow, frozen=True, kw_only=True):
    """A toy's row."""

    object: Toy


TOY: Final = ObjectType(
    kind="y",
    name="toy",
    plural="toys",
    prefix=_PREFIX,
    table=object_table(ToyRow, "toy", {}),
    entry=Toy,
    example=Toy.example,
    indexes=(
        Index[ToyRow](
            index_table("toy_color", "color", "text", "toy_id"), lambda toy: toy.object.color, lambda toy: {toy.object.color}
        ),
    ),
    unique_keys=(
        UniqueKey(claim_table("toy_name", "name", "toy_id"), lambda toy: [toy.name] if toy.name else [], lambda _, __: "name"),
    ),
    refers_to=(TAG,),
    read_scopes=("tags:read",),
    write_scopes=("tags:write",),
    blank=lambda toy_id, time: Toy(id=toy_id, color="", created_at=time, updated_at=time),
    events=Events.of_changes("toy"),
    history=HistoryNotes(restoring="It has its colour again."),
)
_LIST: Final = ObjectTypes(*OBJECT_TYPES, TOY)


class Paint(msgspec.Struct, frozen=True):
    """The body of a request for a toy, or for another colour of it."""

    color: str


class Christen(msgspec.Struct, frozen=True):
    """The body of a request for a toy with a name, or for another name of it."""

    name: str


@dataclass
class Shop:
    """An application that knows toys, its administrator, and its ledger."""

    pool: Pool
    ledger: Ledger
    owner: Person
    toy_id: UUID = ids.NIL

    @property
    def url(self) -> str:
        """The URL of the toy."""
        return f"/api/herdbook/toys/{ids.encoded(_PREFIX, self.toy_id)}"

    async def write(self, command: Command) -> tuple[str, Json]:
        """Carry out a command; return the id of its request, and the answer."""
        request_id = ids.new_id()
        written = await self.ledger.write(self.owner.workspace_id, command, Origin(request_id, self.owner.key.id))
        return ids.encoded(ids.REQUEST, request_id), msgspec.json.decode(written.body)

    async def create(self, color: str) -> str:
        """Create the toy; return the id of the request."""
        request_id, toy = await self.write(Create(TOY, Paint(color)))
        self.toy_id = ids.decoded(_PREFIX, toy["id"]) or ids.NIL
        return request_id

    async def paint(self, color: str) -> str:
        """Change the toy's colour; return the id of the request."""
        return (await self.write(Update(TOY, self.toy_id, Paint(color))))[0]

    async def undo(self, request_id: str) -> Json:
        """Undo a request; return the answer."""
        response = await self.owner.post("/api/herdbook/undo", json={"request_id": request_id})
        assert response.status_code == 200, response.text
        return response.json()

    async def colors(self) -> list[str]:
        """Return the colours in the index of toys."""
        return [record["color"] for record in await self.pool.fetch("select color from toy_color order by color")]


@pytest_asyncio.fixture
async def shop(database_url: str) -> AsyncGenerator[Shop]:
    """An application that knows toys."""
    operations = (
        *feed_api.OPERATIONS,
        *history_api.OPERATIONS,
        *history_api.history_of(TOY),
    )
    async with database_on(database_url) as url:
        workspace_id = (await prepare(url)).workspace_id
        pool = await open_pool(url, 4)
        await pool.execute(_TABLES)
        ledger = Ledger(pool, 1000)
        ledger.open()
        async with client_of(answering(operations, pool, ledger, _LIST)) as client:
            key = await create_key(pool, workspace_id, "Administrator", [ADMIN])
            yield Shop(pool, ledger, Person(client, workspace_id, key))
        await ledger.close()
        await pool.close()


async def test_the_feed_tells_of_it(shop: Shop) -> None:
    """Changes of a new kind are in the feed, with its name and its ids."""
    await shop.create("red")
    await shop.paint("blue")
    changes = (await shop.owner.get("/api/herdbook/changes")).json()["data"]

    assert [(change["type"], change["object_id"], change["data"]["object"]["color"]) for change in changes[-2:]] == [
        ("toy.created", ids.encoded(_PREFIX, shop.toy_id), "red"),
        ("toy.updated", ids.encoded(_PREFIX, shop.toy_id), "blue"),
    ]


async def test_it_has_a_history(shop: Shop) -> None:
    """The history of an object of a new kind tells each change of a field."""
    await shop.create("red")
    await shop.paint("blue")
    page = (await shop.owner.get(f"{shop.url}/history")).json()

    assert [entry["changes"]["color"] for entry in page["data"]] == [
        {"from": "red", "to": "blue"},
        {"from": None, "to": "red"},
    ]


async def test_an_undo_takes_it_back(shop: Shop) -> None:
    """An undo reverts a change of a new kind, and its creation, and a restoration brings it back; the index follows."""
    made, changed = await shop.create("red"), await shop.paint("blue")
    assert await shop.colors() == ["blue"]

    assert [each["action"] for each in (await shop.undo(changed))["reverted"]] == ["updated"]
    assert await shop.colors() == ["red"]
    assert [each["action"] for each in (await shop.undo(made))["reverted"]] == ["deleted"]
    assert (await shop.owner.get(f"{shop.url}/history")).json()["complete"]


async def test_an_undo_deletes_what_the_request_created(shop: Shop) -> None:
    """An undo deletes an object of a new kind that the request created; it can be restored, and the index follows."""
    made = await shop.create("red")

    assert [each["action"] for each in (await shop.undo(made))["reverted"]] == ["deleted"]
    assert await shop.colors() == []
    assert (await shop.owner.post(f"{shop.url}/restore")).json()["color"] == "red"
    assert await shop.colors() == ["red"]


async def test_an_undo_keeps_what_would_share_a_unique_key(shop: Shop) -> None:
    """An undo does not give back a unique key of a new kind that another object has by now, and names that one."""
    _, first = await shop.write(Create(TOY, Christen("Bear")))
    toy_id = ids.decoded(_PREFIX, first["id"]) or ids.NIL
    renamed, _ = await shop.write(Update(TOY, toy_id, Christen("Lion")))
    _, second = await shop.write(Create(TOY, Christen("Bear")))
    (kept,) = (await shop.undo(renamed))["kept"]
    await shop.write(Delete(TOY, ids.decoded(_PREFIX, second["id"]) or ids.NIL))
    (reverted,) = (await shop.undo(renamed))["reverted"]

    assert (kept["reason"], kept["conflict"]) == ("conflict", {"object": "toy", "id": second["id"]})
    assert (reverted["id"], reverted["action"]) == (first["id"], "updated")
    assert [record["name"] for record in await shop.pool.fetch("select name from toy_name")] == ["Bear"]


async def test_it_is_deleted(shop: Shop) -> None:
    """An object of a new kind can be deleted, and the index follows."""
    await shop.create("red")
    await shop.write(Delete(TOY, shop.toy_id))
    changes = (await shop.owner.get("/api/herdbook/changes")).json()["data"]

    assert changes[-1]["type"] == "toy.deleted"
    assert await shop.colors() == []


async def test_webhooks_send_its_events(shop: Shop) -> None:
    """An endpoint that receives all types is sent the events of a new kind."""
    async with receiving() as receiver:
        await shop.write(CreateEndpoint(WebhookEndpointCreate(url=receiver.url)))
        await shop.create("red")
        courier = Courier(
            DeliveryContext(
                shop.pool, shop.ledger, Sender(Targets(("127.0.0.0/8",))), ids.new_id(), linger_seconds=0.0, object_types=_LIST
            )
        )
        await courier.look()
        await courier.settled()

    assert [(request.event["type"], request.event["data"]["object"]["color"]) for request in receiver.requests] == [
        ("v1.toy.created", "red")
    ]


@pytest.mark.parametrize("changes", [{"kind": "t"}, {"name": "tag"}], ids=["letter", "name"])
def test_two_kinds_cannot_share_a_letter_or_a_name(changes: dict[str, Any]) -> None:
    """A list in which two kinds have the same letter or name is refused at once."""
    with pytest.raises(AssertionError):
        ObjectTypes(*OBJECT_TYPES, dataclasses.replace(TOY, **changes))


def test_each_kind_comes_after_those_that_it_refers_to() -> None:
    """An undo brings objects back after those that they refer to."""
    assert all(target.undo_order < each.undo_order for each in _LIST for target in each.refers_to)


def test_each_kind_that_others_refer_to_may_be_missing() -> None:
    """An undo has a reason to keep an object whose reference leads nowhere, whatever kind is missing."""
    targets = {target.name.upper() for each in _LIST for target in each.refers_to}

    assert {f"{name}_NOT_FOUND" for name in targets} <= set(KeptReason.__members__)
