"""The ledger against a small model: random batches of commands, each outcome predicted down to its number."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.contacts.commands import CreateContact, UpdateContact, UpdateContactRecord
from herdbook.contacts.model import ContactCrmAssociation, ContactRecordUpdate, ContactUpdate
from herdbook.contacts.store import CONTACT
from herdbook.errors import KeyReused, NotFound, Stale, Taken
from herdbook.ledger.commands import Delete, SetCrmAssociation
from herdbook.ledger.idempotency import IdempotencyKey
from herdbook.ledger.ledger import Ledger, Written
from tests.ledger.ledger_client import ChangedMind, LedgerClient, ThinkTwice, Unprepared, creation, items, unstorable
from tests.ledger.promises import Pool, kept_promises
from tests.repeats import repeats

Json: TypeAlias = Any

_ADDRESSES: Final = ("a@x.test", "b@x.test", "c@x.test")
_GONE: Final = UUID(int=0)


@dataclass(frozen=True)
class Wish:
    """A random command: its kind, and its contact as an index into all that ever existed."""

    kind: str
    place: int
    members: Mapping[str, Any]
    version: str
    key: str | None
    workspace: int
    is_prepared: bool


@dataclass
class Model:
    """The expected state of one workspace."""

    seq: int = 0
    contacts: dict[UUID, tuple[int, Json]] = field(default_factory=dict[UUID, tuple[int, Json]])
    keys: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    ever: list[UUID] = field(default_factory=list[UUID])


wishes: Final = st.builds(
    Wish,
    kind=st.sampled_from(["create", "create", "update", "update", "update", "delete", "link", "think twice", "unstorable"]),
    place=st.integers(0, 5),
    members=st.fixed_dictionaries(
        {},
        optional={
            "first_name": st.sampled_from(["Ada", "Grace", "Zoë K", None]),
            "last_name": st.sampled_from(["Lovelace", "O'Neil", None]),
            "emails": st.lists(st.sampled_from(_ADDRESSES), unique=True, max_size=2),
            "external_ids": st.lists(st.sampled_from("123"), unique=True, max_size=2).map(tuple),
        },
    ),
    version=st.sampled_from(["any", "any", "current", "old"]),
    key=st.sampled_from([None, None, None, "k", "l"]),
    workspace=st.sampled_from([0, 0, 1]),
    is_prepared=st.booleans(),
)
programs: Final = st.lists(st.lists(wishes, min_size=1, max_size=8), min_size=1, max_size=12)


@given(programs)
@settings(
    max_examples=repeats(120),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_ledger_does_as_its_model(ledger: Ledger, pool: Pool, program: list[list[Wish]]) -> None:
    """Each command of a batch has the outcome that it would have alone, in its turn."""
    models = [Model(), Model()]
    ledger_clients = [LedgerClient(ledger, await create_workspace(pool, f"Workspace {number}")) for number in range(2)]
    for batch in program:
        asked: list[tuple[Wish, Any, IdempotencyKey | None]] = []
        for wish in batch:
            command = command_of(models[wish.workspace], wish)
            fingerprint = repr(replace(wish, workspace=0))
            asked.append((wish, command, None if wish.key is None else IdempotencyKey(wish.key, fingerprint)))
        outcomes = await asyncio.gather(
            *(
                ledger_clients[wish.workspace].write(command if wish.is_prepared else Unprepared(command), key)
                for wish, command, key in asked
            ),
            return_exceptions=True,
        )
        for (wish, command, key), outcome in zip(asked, outcomes, strict=True):
            assert_foretold(models[wish.workspace], command, key, outcome)
            event(f"{wish.kind}: {type(outcome).__name__}")

    for ledger_client, model in zip(ledger_clients, models, strict=True):
        changes = await kept_promises(pool, ledger_client.workspace_id)
        assert len(changes) == model.seq
        rows = await pool.fetch(
            "select id, version from contact where workspace_id = $1 and deleted_at is null", ledger_client.workspace_id
        )
        assert {row["id"]: row["version"] for row in rows} == {
            contact_id: version for contact_id, (version, _) in model.contacts.items()
        }


def command_of(model: Model, wish: Wish) -> Any:
    """Return the command for a wish, as a caller sends it who knows the model's current state."""
    members = dict(wish.members)
    contact_id = model.ever[wish.place % len(model.ever)] if model.ever else _GONE
    known, _ = model.contacts.get(contact_id, (7, None))
    if_version = {"any": None, "current": frozenset({known}), "old": frozenset({known - 1, 0})}[wish.version]
    addresses: list[str] | None = members.pop("emails", None)
    if wish.kind == "create":
        return creation(*(addresses or ()), **{name: value for name, value in members.items() if value is not None})
    if addresses is not None:
        members["emails"] = items(*addresses)
    update = (
        UpdateContactRecord(contact_id, ContactRecordUpdate(**members), if_version)
        if "external_ids" in members
        else UpdateContact(contact_id, ContactUpdate(**members), if_version)
    )
    link = ContactCrmAssociation(object_type="contact", crm_object_id="7", source="test") if wish.place % 2 else None
    return {
        "update": update,
        "delete": Delete(CONTACT, contact_id, if_version),
        "link": SetCrmAssociation(CONTACT, contact_id, link, if_version),
        "think twice": ThinkTwice(update),
        "unstorable": unstorable(),
    }[wish.kind]


def assert_foretold(model: Model, command: Any, key: IdempotencyKey | None, outcome: Any) -> None:
    """Check an outcome against the model, and advance the model."""
    if key is not None and key.key in model.keys:
        fingerprint, version = model.keys[key.key]
        if fingerprint != key.fingerprint:
            assert type(outcome) is KeyReused
        else:
            assert type(outcome) is Written
            assert (outcome.version, outcome.replayed) == (version, True)
        return
    expected = refusal_of(model, command)
    if expected is not None:
        assert type(outcome) is expected, repr(outcome)
        return
    assert type(outcome) is Written, repr(outcome)
    assert not outcome.replayed
    body = json.loads(outcome.body)
    contact_id = ids.decoded(ids.CONTACT, body["id"])
    assert contact_id is not None
    version, before = model.contacts.get(contact_id, (0, blank()))
    after = None if isinstance(command, Delete) else applied(before, command)
    if after != before or isinstance(command, CreateContact):
        model.seq += 1
        version = model.seq
    if after is None:
        del model.contacts[contact_id]
    else:
        if contact_id not in model.contacts:
            model.ever.append(contact_id)
        model.contacts[contact_id] = (version, after)
        # Only the update of the whole shows the external ids; the tables have them in any case.
        names = blank().keys() if isinstance(command, UpdateContactRecord) else blank().keys() - {"external_ids"}
        assert {name: body.get(name) for name in names} == {name: after[name] for name in names}
    assert outcome.version == version
    if key is not None:
        model.keys[key.key] = (key.fingerprint, version)


def refusal_of(model: Model, command: Any) -> type[Exception] | None:
    """Return the refusal that a command meets, if any."""
    if command == unstorable():
        return asyncpg.UntranslatableCharacterError
    if isinstance(command, ThinkTwice):
        return refusal_of(model, command.first) or ChangedMind
    contact_id = None
    if not isinstance(command, CreateContact):
        is_update = isinstance(command, UpdateContact | UpdateContactRecord)
        contact_id = command.contact_id if is_update else command.object_id
        if contact_id not in model.contacts:
            return NotFound
        if command.if_version is not None and model.contacts[contact_id][0] not in command.if_version:
            return Stale
    if isinstance(command, (CreateContact, UpdateContact, UpdateContactRecord)):
        others = [one for other, (_, one) in model.contacts.items() if other != contact_id]
        taken = {email["email"] for one in others for email in one["emails"]}
        known_as = {each for one in others for each in one["external_ids"] or ()}
        if taken.intersection(addresses_in(command) or ()) or known_as.intersection(external_ids_in(command) or ()):
            return Taken
    return None


def blank() -> Json:
    """Return a new contact without any field set."""
    return {"first_name": None, "last_name": None, "emails": [], "crm_association": None, "external_ids": None}


def applied(before: Json, command: Any) -> Json:
    """Return a contact after a command."""
    if isinstance(command, SetCrmAssociation):
        one = command.association
        link = None
        if one is not None:
            link = {"object_type": one.object_type, "crm_object_id": one.crm_object_id, "source": one.source}
        return {**before, "crm_association": link}
    patch = command.fields if isinstance(command, CreateContact) else command.patch
    after = {**before}
    for name in ("first_name", "last_name"):
        if isinstance(value := getattr(patch, name), (str, type(None))):
            after[name] = value
    if (addresses := addresses_in(command)) is not None:
        primary = next((email["email"] for email in before["emails"] if email["is_primary"]), None)
        if primary not in addresses:
            primary = next(iter(addresses), None)
        after["emails"] = [{"email": address, "is_primary": address == primary} for address in addresses]
    if (external_ids := external_ids_in(command)) is not None:
        after["external_ids"] = external_ids or None
    return after


def external_ids_in(command: CreateContact | UpdateContact | UpdateContactRecord) -> list[str] | None:
    """Return the external ids that a command sets, or None if it leaves them alone."""
    if isinstance(command, UpdateContact):
        return None
    external_ids = command.fields.external_ids if isinstance(command, CreateContact) else command.patch.external_ids
    return [*external_ids] if isinstance(external_ids, tuple) else None


def addresses_in(command: CreateContact | UpdateContact | UpdateContactRecord) -> list[str] | None:
    """Return the addresses that a command sets, or None if it leaves them alone."""
    emails = command.fields.emails if isinstance(command, CreateContact) else command.patch.emails
    return [item.email for item in emails] if isinstance(emails, tuple) else None
