"""The ledger's invariants for a workspace, checked in the tables, whatever was written or broke before."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from evidence.rows import differing

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record


async def kept_promises(pool: Pool, workspace_id: UUID) -> dict[int, Record]:
    """Check all invariants of a workspace; return its changes by number."""
    head = await pool.fetchrow("select seq, last_at from workspace where id = $1", workspace_id)
    changes = await pool.fetch(
        """
        select seq, at, kind::text, action::text, object_id, request_id, previous, object, xmin::text as transaction
        from change where workspace_id = $1 order by seq
        """,
        workspace_id,
    )
    assert head is not None
    assert [change["seq"] for change in changes] == list(range(1, head["seq"] + 1)), "the numbers are gapless"
    assert all(change["at"] <= head["last_at"] for change in changes)
    _assert_times_increase(changes)
    # A workspace gets its usual fields all at once.
    commanded = [change for change in changes if change["kind"] != "f"]
    assert len({change["request_id"] for change in commanded}) == len(commanded), "no command is carried out twice"

    stored_object = _replayed([change for change in changes if change["kind"] == "c"])
    contacts = await pool.fetch("select * from contact where workspace_id = $1", workspace_id)
    assert {row["id"] for row in contacts if row["deleted_at"] is None} == stored_object.keys()
    for row in contacts:
        if (change := stored_object.get(row["id"])) is not None:
            _assert_row_is(row, change)
        else:
            version: int = row["version"]
            last = changes[version - 1]
            assert (last["object_id"], last["action"], last["at"]) == (row["id"], "d", row["deleted_at"])
            assert last["object"] == _whole(row)

    assert await differing(pool, workspace_id) == []
    return {change["seq"]: change for change in changes}


def _assert_times_increase(changes: Sequence[Record]) -> None:
    """Check that a transaction has one time, and that the next one's is later."""
    for earlier, later in pairwise(changes):
        if earlier["transaction"] == later["transaction"]:
            assert earlier["at"] == later["at"]
        else:
            assert earlier["at"] < later["at"], (earlier["seq"], later["seq"])


def _replayed(changes: Sequence[Record]) -> dict[UUID, Record]:
    """Replay the changes in order; return the last change of each contact that still exists."""
    stored_object: dict[UUID, Record] = {}
    for change in changes:
        before = stored_object.pop(change["object_id"], None)
        if change["action"] == "c":
            assert before is None
            assert change["previous"] is None
        else:
            assert before is not None
            old, new = json.loads(before["object"]), json.loads(change["object"])
            if change["action"] == "u":
                assert json.loads(change["previous"]) == _difference(old, new)
            else:
                assert change["previous"] is None
                assert new == old
        if change["action"] != "d":
            stored_object[change["object_id"]] = change
            assert json.loads(change["object"])["updated_at"] == f"{change['at']:%Y-%m-%dT%H:%M:%S.%fZ}"
    return stored_object


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    names = (old.keys() | new.keys()) - {"updated_at"}
    difference = {name: old.get(name) for name in names if old.get(name) != new.get(name)}
    assert difference, "an update without a change enters nothing"
    return difference


def _whole(row: Record) -> str:
    """Return a row's contact with its own members."""
    shown, own = row["object"], row["own"]
    return shown if own is None else f"{shown[:-1]},{own[1:]}"


def _assert_row_is(row: Record, change: Record) -> None:
    """Check that a row equals its change byte for byte."""
    assert _whole(row) == change["object"]
    assert (row["version"], row["updated_at"]) == (change["seq"], change["at"])
