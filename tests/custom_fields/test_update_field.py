"""PATCH /herdbook/fields/{field_id}."""

import json
from typing import Final

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.custom_fields import commands
from herdbook.custom_fields.store import FIELD
from herdbook.ledger.commands import Delete
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change, read, record_of
from tests.custom_fields.definitions import URL, define
from tests.history.requests import undo


async def test_anonymous_is_refused(client: httpx.AsyncClient, frank: Person) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch((await define(frank, "tier")).url, json={"label": "Level"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, frank: Person) -> None:
    """A field of another workspace is not found."""
    assert (await charlie.patch((await define(frank, "tier")).url, json={"label": "Level"})).status_code == 404


async def test_who_does_not_administer_is_refused(alice: Person, frank: Person) -> None:
    """A credential that may write contacts cannot change fields."""
    assert (await alice.patch((await define(frank, "tier")).url, json={"label": "Level"})).status_code == 403


async def test_sent_members_change(frank: Person) -> None:
    """Members that are sent change, null clears them, and the others stay."""
    field = await define(frank, "tier", help="Of the contract.", default="none")
    changed = (await frank.patch(field.url, json={"label": "Level", "help": None, "default": None})).json()

    assert changed == {**field.json, "label": "Level", "help": None, "default": None, "updated_at": changed["updated_at"]}
    assert (await frank.get(field.url)).json() == changed


async def test_an_option_is_archived_not_removed(alice: Person, frank: Person, ada: Thing) -> None:
    """An option that is left out is archived: the value stays and can be sent again, and no other object gets it."""
    field = await define(frank, "tier", "one_of")
    await change(alice, ada, fields={"tier": "gold"})
    options: Json = [{"id": "silver", "label": "Silver"}]
    changed = (await frank.patch(field.url, json={"options": options})).json()
    other = await alice.post("/api/v2/contacts", json={"fields": {"tier": "gold"}})

    assert [(each["id"], each["archived"]) for each in changed["options"]] == [
        ("silver", False),
        ("gold", True),
        ("bronze", True),
    ]
    assert (await change(alice, ada, fields={"tier": "gold"}, last_name="King")).json()["fields"] == {"tier": "gold"}
    assert faults(other) == [("fields.tier", "invalid_choice")]


KINDS: Final[dict[str, tuple[str, Json, Json, Json]]] = {
    "a number": ("text", "12", {"kind": "integer"}, 12),
    "a text": ("integer", 12, {"kind": "text"}, "12"),
    "a day": ("text", " 2026-03-01", {"kind": "date"}, "2026-03-01"),
    "an option": ("text", "Gold", {"kind": "one_of", "options": [{"id": "gold", "label": "gold"}]}, "gold"),
    "options": ("one_of", "gold", {"kind": "several_of", "options": [{"id": "gold", "label": "Gold"}]}, ["gold"]),
    "a label": ("one_of", "gold", {"kind": "text"}, "Gold"),
}


@pytest.mark.parametrize(("kind", "default", "patch", "kept"), KINDS.values(), ids=KINDS.keys())
async def test_a_default_gets_the_form_of_another_kind(
    frank: Person, kind: str, default: Json, patch: Json, kept: Json
) -> None:
    """A default that a change of kind does not name is converted as values are."""
    field = await define(frank, "own", kind, default=default)
    dry = await frank.patch(field.url, json=patch, params={"dry_run": "true"})
    changed = await frank.patch(field.url, json=patch)

    assert (dry.json()["field"]["default"], changed.json()["default"]) == (kept, kept)


MISFITS: Final[dict[str, tuple[str, Json, Json, str, str]]] = {
    "a number": (
        "text",
        {"default": "abc"},
        {"kind": "integer"},
        "default",
        "`default` is `abc`, which does not fit the change. Send another one, too, or null.",
    ),
    "an option that goes": (
        "several_of",
        {"default": ["gold", "silver"]},
        {"options": [{"id": "gold", "label": "Gold"}]},
        "default",
        '`default` is `["gold","silver"]`, which does not fit the change. Send another one, too, or null.',
    ),
    "a reference": (
        "text",
        {"default": "abc"},
        {"kind": "user"},
        "default",
        "`default` is not for references, because their object may be deleted. Send `default` as null, too.",
    ),
    "unique values": (
        "text",
        {"default": "abc"},
        {"unique": True},
        "default",
        "`default` is not for unique fields, because only one object could have it. Send `default` as null, too.",
    ),
    "a kind that is not unique": (
        "text",
        {"unique": True},
        {"kind": "yes_no"},
        "unique",
        (
            "`unique` is not for fields of the kind `yes_no`. Send it as false, too, or choose one of `date_time`, `date`, "
            "`decimal`, `email`, `integer`, `phone`, `text`."
        ),
    ),
}


@pytest.mark.parametrize(("kind", "members", "patch", "fault", "message"), MISFITS.values(), ids=MISFITS.keys())
async def test_a_member_that_a_change_does_not_fit_is_told(
    frank: Person, kind: str, members: Json, patch: Json, fault: str, message: str
) -> None:
    """A change that does not fit a member which it does not name is refused with the remedy, and changes nothing."""
    field = await define(frank, "own", kind, **members)
    refused = await frank.patch(field.url, json=patch)

    assert (refused.status_code, [each["field"] for each in refused.json()["errors"]]) == (422, [fault])
    assert refused.json()["detail"] == message
    assert (await frank.get(field.url)).json() == field.json


@pytest.mark.parametrize("value", [["silver"], ["gold", "silver", "bronze"], ["bronze", "silver"], ["silver", "gold"]])
async def test_a_value_with_an_archived_option_can_change(alice: Person, frank: Person, ada: Thing, value: list[str]) -> None:
    """A value that has an archived option may keep it beside others, and gives up the others without it."""
    field = await define(frank, "tiers", "several_of")
    await change(alice, ada, fields={"tiers": ["gold", "silver"]})
    options: Json = [{"id": each, "label": each} for each in ("gold", "bronze")]
    await frank.patch(field.url, json={"options": options})

    assert (await change(alice, ada, fields={"tiers": value})).json()["fields"] == {"tiers": value}


async def test_an_archived_option_is_told(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """The refusal of an archived option says that it is archived, and names those that can be sent."""
    field = await define(frank, "tiers", "several_of")
    await change(alice, ada, fields={"tiers": ["gold", "silver"]})
    await frank.patch(field.url, json={"options": [{"id": "gold", "label": "Gold"}]})
    refused = [
        await alice.patch(record_of(ada), json={"fields": {"tiers": ["gold", "silver", "bronze"]}}),
        await alice.patch(record_of(grace), json={"fields": {"tiers": ["silver"]}}),
    ]

    assert [faults(each) for each in refused] == [
        [("fields.tiers[2]", "invalid_choice")],
        [("fields.tiers[0]", "invalid_choice")],
    ]
    assert [each.json()["detail"] for each in refused] == [
        "`fields.tiers[2]` is an archived option, which only values that have it keep. Send one of `gold`, `silver`.",
        "`fields.tiers[0]` is an archived option, which only values that have it keep. Send one of `gold`.",
    ]


@pytest.mark.parametrize("member", ["key", "object_type"])
async def test_the_form_of_values_stays(frank: Person, member: str) -> None:
    """A member on which the values depend cannot change."""
    field = await define(frank, "tier")
    response = await frank.patch(field.url, json={member: field.json[member]})

    assert (response.status_code, faults(response)) == (422, [(member, "unknown_field")])


async def test_a_label_is_of_one_option(pool: "asyncpg.Pool[asyncpg.Record]", frank: Person) -> None:
    """An option gets no label that another active one has, but those that have the same since an earlier release keep it."""
    gold, silver = {"id": "gold", "label": "Gold"}, {"id": "silver", "label": "Silver"}
    field = await define(frank, "tier", "one_of", options=[gold, silver])
    third = {"id": "third", "label": "GOLD "}
    refused = await frank.patch(field.url, json={"options": [gold, silver, third]})
    archived = await frank.patch(field.url, json={"options": [silver, third]})
    again = await frank.patch(field.url, json={"options": [gold, silver, third]})
    alike = [{**gold, "archived": False}, {**gold, "id": "other", "archived": False}]
    await pool.execute(
        "update field set object = jsonb_set(object::jsonb, '{options}', $2)::json where workspace_id = $1 and key = 'tier'",
        *(frank.workspace_id, json.dumps(alike)),
    )
    renamed = await frank.patch(field.url, json={"label": "Level", "required": True})
    kept = await frank.patch(field.url, json={"options": [*alike, silver], "kind": "several_of"})
    more = await frank.patch(field.url, json={"options": [*alike, {"id": "more", "label": "gold"}]})

    assert (refused.status_code, faults(refused)) == (422, [("options[2].label", "duplicate")])
    assert "options[0]" in refused.json()["detail"]
    assert (archived.status_code, again.status_code, faults(again)) == (200, 422, [("options[2].label", "duplicate")])
    assert (renamed.status_code, kept.status_code) == (200, 200), kept.text
    assert (more.status_code, faults(more)) == (422, [("options[2].label", "duplicate")])


async def test_an_undo_takes_it_back(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of the request that archived a field brings it back."""
    field = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    archived = await frank.patch(field.url, json={"archived": True})
    refused = await alice.patch(record_of(ada), json={"fields": {"tier": "y"}})
    await frank.post("/api/herdbook/undo", json={"request_id": archived.headers["X-Request-Id"]})

    assert faults(refused) == [("fields.tier", "archived")]
    assert (await read(alice, ada))["fields"] == {"tier": "x"}


async def test_an_undo_keeps_an_option_that_values_have(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of the request that added an option archives it, so a value that has it stays sound, and keeps its label."""
    gold, vip = {"id": "gold", "label": "Gold"}, {"id": "vip", "label": "Very important"}
    field = await define(frank, "tier", "several_of", options=[gold])
    added = await frank.patch(field.url, json={"options": [gold, vip]})
    await change(alice, ada, fields={"tier": ["gold", "vip"]})
    undone = await undo(frank, added)
    options = (await frank.get(field.url)).json()["options"]
    asked = {"where": {"field": "fields.tier", "op": "eq", "value": "vip"}}
    found = await alice.post("/api/herdbook/contacts/query", json=asked)
    sent = await alice.patch(record_of(ada), json={"fields": {"tier": ["vip", "gold"]}})
    as_text = await frank.patch(field.url, json={"kind": "text"})
    text = (await read(alice, ada))["fields"]["tier"]
    back = await undo(frank, as_text)

    assert (undone.kept, undone.reverted) == ({}, {field.json["id"]: "updated"})
    assert options == [{**gold, "archived": False}, {**vip, "archived": True}]
    assert [each["id"] for each in found.json()["data"]] == [ada.id]
    assert (sent.status_code, text) == (200, "Very important, Gold")
    assert (back.kept, (await frank.get(field.url)).json()["options"]) == ({}, options)
    assert (await read(alice, ada))["fields"]["tier"] == ["vip", "gold"]


async def test_an_undo_of_that_undo_brings_the_option_back(frank: Person) -> None:
    """The undo of an added option can be undone: the option is there for all values again."""
    gold, vip = ({"id": each, "label": each, "archived": False} for each in ("gold", "vip"))
    field = await define(frank, "tier", "one_of", options=[gold])
    added = await frank.patch(field.url, json={"options": [vip, gold]})
    undone = await undo(frank, added)
    options = (await frank.get(field.url)).json()["options"]
    back = await undo(frank, undone)

    assert options == [gold, {**vip, "archived": True}]
    assert (back.kept, (await frank.get(field.url)).json()["options"]) == ({}, [vip, gold])


async def test_an_undo_of_another_kind_keeps_an_option_that_values_have(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of a change of kind fits a value whose option the same request added, and keeps the option."""
    gold, vip = {"id": "gold", "label": "Gold"}, {"id": "vip", "label": "Very important"}
    field = await define(frank, "tier", "one_of", options=[gold])
    changed = await frank.patch(field.url, json={"kind": "several_of", "options": [gold, vip]})
    await change(alice, ada, fields={"tier": ["vip"]})
    preview = await undo(frank, changed, params={"dry_run": "true"})
    undone = await undo(frank, changed)

    assert preview.kept == undone.kept == {}
    assert (await frank.get(field.url)).json()["options"] == [{**gold, "archived": False}, {**vip, "archived": True}]


async def test_a_definition_that_was_undone_comes_back(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of a definition archives it, which keeps its key and hides its values; bringing it back shows them again."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    undone = await undo(frank, made.request_id)
    hidden = await read(alice, ada)
    again = await frank.post(URL, json={"object_type": "contact", "key": "tier", "label": "Tier", "kind": "integer"})
    archived = (await frank.get(made.url)).json()["archived"]
    await frank.patch(made.url, json={"archived": False})

    assert (undone.reverted, undone.kept) == ({made.json["id"]: "updated"}, {})
    assert "fields" not in hidden
    assert archived is True
    assert (again.status_code, again.json()["conflict"]["id"]) == (409, made.json["id"])
    assert (await read(alice, ada))["fields"] == {"tier": "x"}


async def test_an_undo_of_that_undo_brings_it_back(alice: Person, frank: Person, ada: Thing) -> None:
    """The undo of a definition can be undone, and the undo of that archives it again."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    undone = await undo(frank, made.request_id)
    back = await undo(frank, undone)
    shown = await read(alice, ada)
    await undo(frank, back)

    assert shown["fields"] == {"tier": "x"}
    assert "fields" not in await read(alice, ada)


async def test_a_key_that_an_earlier_release_has_freed_stays_with_its_values(
    alice: Person, frank: Person, ada: Thing, ledger: Ledger
) -> None:
    """A field that an earlier release has deleted can be restored with its values, and no other field gets its key."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    field_id = ids.decoded(ids.FIELD, made.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, Delete(FIELD, field_id), Origin(ids.new_id(), ids.NIL))
    hidden = await read(alice, ada)
    again = await frank.post(URL, json={"object_type": "contact", "key": "tier", "label": "Tier", "kind": "integer"})
    usual = await frank.post(URL, json={"object_type": "company", "key": "tier", "label": "Tier", "kind": "integer"})
    restored = await frank.post(f"/api/herdbook/fields/{made.json['id']}/restore")

    assert "fields" not in hidden
    assert (again.status_code, faults(again), again.json()["conflict"]["id"]) == (
        *(409, [("key", "already_in_use")]),
        made.json["id"],
    )
    assert (usual.status_code, restored.status_code) == (201, 200)
    assert (await read(alice, ada))["fields"] == {"tier": "x"}


async def test_a_restore_past_the_limit_is_refused(frank: Person, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that an earlier release has deleted comes back only if the type has room for it."""
    made = await define(frank, "tier")
    field_id = ids.decoded(ids.FIELD, made.json["id"]) or ids.NIL
    await ledger.write(frank.workspace_id, Delete(FIELD, field_id), Origin(ids.new_id(), ids.NIL))
    await define(frank, "other")
    monkeypatch.setattr(commands, "MAX_DEFINITIONS", 1)
    refused = await frank.post(f"/api/herdbook/fields/{made.json['id']}/restore")
    monkeypatch.setattr(commands, "MAX_DEFINITIONS", 2)
    restored = await frank.post(f"/api/herdbook/fields/{made.json['id']}/restore")

    assert (refused.status_code, faults(refused)) == (422, [("object_type", "too_long")])
    assert restored.status_code == 200, restored.text


@pytest.mark.parametrize("patch", [{"label": "Level"}, {"kind": "integer"}, {"unique": True}], ids=str)
async def test_a_retry_gets_the_first_answer(alice: Person, frank: Person, ada: Thing, grace: Thing, patch: Json) -> None:
    """A retry with the same key gets the first answer, whatever If-Match and the values that are there would say by then."""
    field = await define(frank, "tier")
    sent = {"json": patch, "headers": {"Idempotency-Key": "7", "If-Match": f'"{await version_of(frank, field.url)}"'}}
    first = await frank.patch(field.url, **sent)
    await frank.patch(field.url, json={"kind": "text", "unique": False})
    for contact in (ada, grace):
        await change(alice, contact, fields={"tier": "the same"})
    second = await frank.patch(field.url, **sent)
    other = await frank.patch(field.url, **{**sent, "json": {"help": "Another request."}})

    assert (first.status_code, second.status_code) == (200, 200), second.text
    assert (second.content, second.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert (await frank.get(field.url)).json()["kind"] == "text"
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (422, "idempotency_key_reused")


async def version_of(person: Person, url: str) -> int:
    """Return the version of a field."""
    return int((await person.get(url)).headers["ETag"].strip('"'))
