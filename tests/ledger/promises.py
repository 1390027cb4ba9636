"""The ledger's invariants for a workspace, checked in the tables, whatever was written or broke before."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.contacts.model import Contact, ContactRecord, search_entry
from herdbook.phone_numbers import e164

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

    contacts_now = {contact_id: _contact(change) for contact_id, change in stored_object.items()}
    emails = await pool.fetch("select address, contact_id from contact_email where workspace_id = $1", workspace_id)
    claimed = [
        (comparable_address(email.email), contact_id)
        for contact_id, contact in contacts_now.items()
        for email in contact.emails
    ]
    assert sorted(map(tuple, emails)) == sorted(claimed), "each address is claimed by the contact that lists it"
    external_ids = await pool.fetch(
        "select external_id, contact_id from contact_external_id where workspace_id = $1", workspace_id
    )
    known_as = [(each, contact_id) for contact_id, contact in contacts_now.items() for each in contact.external_ids or ()]
    assert sorted(map(tuple, external_ids)) == sorted(known_as), "each external id is claimed by the contact that lists it"
    found_by = await pool.fetch("select word, contact_id from contact_word where workspace_id = $1", workspace_id)
    words = [
        (word, contact_id)
        for contact_id, contact in contacts_now.items()
        for word in search_entry(contact).other_words.union(_numbers(contact))
    ]
    assert sorted(map(tuple, found_by)) == sorted(words)
    staff = await pool.fetch("select company_id, contact_id from company_contact where workspace_id = $1", workspace_id)
    companies = [
        (ids.decoded(ids.COMPANY, contact.company.id), contact_id)
        for contact_id, contact in contacts_now.items()
        if contact.company
    ]
    assert set(map(tuple, staff)) == set(companies)
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


def _contact(change: Record) -> ContactRecord:
    return msgspec.json.decode(change["object"], type=ContactRecord)


def _whole(row: Record) -> str:
    """Return a row's contact with its own members."""
    shown, own = row["object"], row["own"]
    return shown if own is None else f"{shown[:-1]},{own[1:]}"


def _assert_row_is(row: Record, change: Record) -> None:
    """Check that a row equals its change byte for byte, and that its other columns derive from it."""
    assert _whole(row) == change["object"]
    assert (row["version"], row["updated_at"]) == (change["seq"], change["at"])
    contact = _contact(change)
    assert ids.decoded(ids.CONTACT, contact.id) == row["id"]
    entry = search_entry(contact)
    assert (row["search"], row["first_name_word"], row["last_name_word"]) == msgspec.structs.astuple(entry)
    company = contact.company
    assert row["company_id"] == (ids.decoded(ids.COMPANY, company.id) if company else None)
    crm = contact.crm_association
    assert row["crm_object_id"] == (crm.crm_object_id if crm else None)
    assert (row["phone_numbers_e164"] or []) == _numbers(contact)


def _numbers(contact: Contact) -> list[str]:
    return [number for item in contact.phone_numbers if (number := e164(item.phone_number))]
