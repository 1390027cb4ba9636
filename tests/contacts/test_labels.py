"""Labels of a contact's addresses and numbers: where they are shown, and what keeps them."""

from typing import Any, Final

import asyncpg
import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import result
from tests.contacts.records import change, read, record_of
from tests.history.consistency import assert_consistent
from tests.history.requests import restore, undo
from tests.merging.merges import contact, merge, merged

ADDRESS: Final = "ada@engine.test"


def labels(record: Json) -> dict[str, str | None]:
    """Return the labels in the record of a contact, by address and number."""
    items = [*record["emails"], *record["phone_numbers"]]
    return {item.get("email") or item["phone_number"]: item.get("label") for item in items}


async def labelled(person: Person, target: Thing) -> dict[str, str | None]:
    """Return the labels of a contact."""
    return labels(await read(person, target))


async def label(person: Person, target: Thing, value: str | None = "work") -> httpx.Response:
    """Label Ada's address."""
    return await change(person, target, emails=[{"email": ADDRESS, "label": value}])


async def test_a_label_stands_beside_its_address(alice: Person, ada: Thing, stored: Stored) -> None:
    """The record has each label beside its address or number, and the ledger has them by these."""
    numbers = [{"phone_number": "+44 20 7946 0958", "label": " her club "}, {"phone_number": "112"}]
    response = await change(alice, ada, emails=[{"email": "Ada@Engine.test", "label": "work"}], phone_numbers=numbers)
    entry = (await stored.changes())[-1]

    assert response.json() == await read(alice, ada)
    assert labels(response.json()) == {"Ada@Engine.test": "work", "+44 20 7946 0958": "her club", "112": None}
    assert "labels" not in response.json()
    assert entry.object["labels"] == {"emails": {ADDRESS: "work"}, "phone_numbers": {"+442079460958": "her club"}}
    assert entry.previous["labels"] is None


@pytest.mark.parametrize("number", ["123456", "12 34-56", "R654321", "extension"])
async def test_the_label_of_a_number_without_a_country_is_told_by_it(
    alice: Person, ada: Thing, stored: Stored, number: str
) -> None:
    """The ledger, and so the feed, has the label of a number without a country code by the number as it was sent."""
    await change(alice, ada, phone_numbers=[{"phone_number": number, "label": "desk"}])
    entry = (await stored.changes())[-1]

    key = "654321" if number == "R654321" else number
    assert entry.object["labels"] == {"phone_numbers": {key: "desk"}}
    assert (await labelled(alice, ada))[number] == "desk"


async def test_a_label_of_an_earlier_release_is_known(
    alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]", stored: Stored
) -> None:
    """Earlier releases had labels by digits from the last to the first: they are shown, kept, merged, replaced and cleared."""
    await change(alice, ada, phone_numbers=[{"phone_number": "123456", "label": "desk"}])
    set_key = """update contact set own = replace(own::text, '"123456"', '"R654321"')::json where id = $1"""
    await pool.execute(set_key, ada.uuid)
    shown, etag = await labelled(alice, ada), (await alice.get(record_of(ada))).headers["ETag"]
    again = await change(alice, ada, phone_numbers=[{"phone_number": "123456", "label": "desk"}])
    await change(alice, ada, phone_numbers=[{"phone_number": "12 34 56"}, {"phone_number": "112"}])
    respelled = await labelled(alice, ada)
    await merge(alice, grace, ada)
    merged_label = (await labelled(alice, grace))["12 34 56"]
    await change(alice, grace, phone_numbers=[{"phone_number": "12 34 56", "label": "lab"}])
    entry = (await stored.changes())[-1]
    cleared = await change(alice, grace, phone_numbers=[{"phone_number": "123456", "label": None}])

    assert (shown["123456"], respelled["12 34 56"], merged_label) == ("desk",) * 3
    assert again.headers["ETag"] == etag
    assert entry.object["labels"] == {"phone_numbers": {"12 34 56": "lab"}}
    assert labels(cleared.json())["123456"] is None


async def test_the_vendors_operations_show_none(alice: Person, ada: Thing) -> None:
    """The vendor's operations and lists show a contact as if it had no labels."""
    await label(alice, ada)
    shown = (await alice.get(ada.url)).json()

    assert shown == {**ada.json, "updated_at": shown["updated_at"]}
    assert (await alice.get("/api/v2/contacts")).json()["data"] == [shown]


async def test_the_vendors_update_takes_none(alice: Person, ada: Thing) -> None:
    """The vendor's update refuses a label by name."""
    response = await alice.patch(ada.url, json={"emails": [{"email": ADDRESS, "label": "work"}]})

    assert (response.status_code, faults(response)) == (422, [("emails[0].label", "unknown_field")])


async def test_a_label_follows_its_address(alice: Person, ada: Thing) -> None:
    """An update that keeps an address keeps its label, in any spelling and order; one that removes it removes the label."""
    await label(alice, ada)
    await alice.patch(ada.url, json={"emails": [{"email": "new@engine.test"}, {"email": "ADA@engine.test"}]})
    kept = await labelled(alice, ada)
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    still = await labelled(alice, ada)
    removed = await alice.patch(ada.url, json={"emails": [{"email": "new@engine.test"}]})
    gone = await labelled(alice, ada)
    await undo(alice, removed)

    assert kept == still == {"new@engine.test": None, "ADA@engine.test": "work"}
    assert gone == {"new@engine.test": None}
    assert await labelled(alice, ada) == kept


async def test_null_clears_a_label(alice: Person, ada: Thing, stored: Stored) -> None:
    """Absent leaves a label alone, and null clears it; without labels the contact is what it was before."""
    await label(alice, ada)
    await change(alice, ada, emails=[{"email": ADDRESS}])
    assert await labelled(alice, ada) == {ADDRESS: "work"}
    await label(alice, ada, None)

    assert await labelled(alice, ada) == {ADDRESS: None}
    assert (await stored.row(ada))["own"] is None


SPELLINGS: Final = ["0049 30 901820", "030 901820", "+49 (0)30 90-18-20"]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_label_follows_its_number(alice: Person, frank: Person, ada: Thing, spelling: str) -> None:
    """A number in another spelling keeps its label, by the record, the vendor's update and an upsert, there and back."""
    await frank.patch("/api/herdbook/workspace", json={"region": "DE"})
    number = "+49 30 901820"
    await change(alice, ada, phone_numbers=[{"phone_number": number, "label": "work"}, {"phone_number": "112", "label": "x"}])
    await change(alice, ada, phone_numbers=[{"phone_number": "110"}, {"phone_number": spelling}])
    there = await labelled(alice, ada)
    await alice.patch(ada.url, json={"phone_numbers": [{"phone_number": number}]})
    back = await labelled(alice, ada)
    sent: list[Json] = [{"phone_number": spelling, "label": "home"}]
    await result(alice, {"action": "upsert", "contact": {"match_by": "phone_numbers", "phone_numbers": sent}})

    assert there == {ADDRESS: None, "110": None, spelling: "work"}
    assert back == {ADDRESS: None, number: "work"}
    assert await labelled(alice, ada) == {ADDRESS: None, number: "home"}
    sent[0]["label"] = None
    await result(alice, {"action": "upsert", "contact": {"match_by": "phone_numbers", "phone_numbers": sent}})
    assert await labelled(alice, ada) == {ADDRESS: None, number: None}


async def test_spellings_beside_each_other_have_their_own_labels(alice: Person, ada: Thing) -> None:
    """Two spellings of one number may have a label each, and keep it when other numbers and members change."""
    numbers = [{"phone_number": "+49 30 901820", "label": "work"}, {"phone_number": "0049 30 901820", "label": "home"}]
    await change(alice, ada, phone_numbers=numbers)
    await change(alice, ada, first_name="Augusta")
    await change(alice, ada, phone_numbers=[{"phone_number": "112"}, *({"phone_number": n["phone_number"]} for n in numbers)])

    assert await labelled(alice, ada) == {ADDRESS: None, "112": None, "+49 30 901820": "work", "0049 30 901820": "home"}


async def test_a_merge_takes_the_label_of_another_spelling(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A number of the target gets the label that a merged contact has for it in another spelling."""
    await frank.patch("/api/herdbook/workspace", json={"region": "DE"})
    await change(alice, ada, phone_numbers=[{"phone_number": "+49 30 901820"}])
    await change(alice, grace, phone_numbers=[{"phone_number": "030 901820", "label": "work"}])
    await merge(alice, ada, grace)

    assert (await labelled(alice, ada))["+49 30 901820"] == "work"


async def test_the_same_label_writes_nothing(alice: Person, ada: Thing) -> None:
    """A label that is there already changes nothing."""
    first = await label(alice, ada)

    assert (await label(alice, ada)).headers["ETag"] == first.headers["ETag"]


BAD: Final[dict[str, tuple[Any, str]]] = {
    "a number": (1, "invalid_type"),
    "empty": ("", "too_short"),
    "blank": (" \u200b", "blank"),
    "NUL": ("a\u0000", "invalid_characters"),
    "too long": ("x" * 51, "too_long"),
}


@pytest.mark.parametrize(("value", "code"), BAD.values(), ids=BAD.keys())
async def test_bad_labels_are_named(alice: Person, ada: Thing, value: Any, code: str) -> None:
    """A label that is no text of 1 to 50 characters is refused, of an address and of a number."""
    of_address = await alice.patch(record_of(ada), json={"emails": [{"email": ADDRESS, "label": value}]})
    of_number = await alice.patch(record_of(ada), json={"phone_numbers": [{"phone_number": "112", "label": value}]})

    assert (of_address.status_code, faults(of_address)) == (422, [("emails[0].label", code)])
    assert (of_number.status_code, faults(of_number)) == (422, [("phone_numbers[0].label", code)])


async def test_an_upsert_sets_labels(alice: Person, ada: Thing) -> None:
    """An upsert labels the address by which it finds the contact, and those that it adds; others keep their labels."""
    await change(alice, ada, phone_numbers=[{"phone_number": "112", "label": "home"}])
    emails = [{"email": ADDRESS, "label": "work"}, {"email": "ada@home.test", "label": "home"}]
    await result(alice, {"action": "upsert", "contact": {"emails": emails}})

    assert await labelled(alice, ada) == {ADDRESS: "work", "ada@home.test": "home", "112": "home"}


async def test_a_merge_unites_labels(alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A merged contact brings the labels of its addresses and numbers; the target's own go before; an undo takes them back."""
    await change(alice, ada, phone_numbers=[{"phone_number": "+4930123456", "label": "work"}])
    numbers = [{"phone_number": "+49 30 123456", "label": "home"}, {"phone_number": "112", "label": "other"}]
    await change(alice, grace, emails=[{"email": "grace@navy.test", "label": "navy"}], phone_numbers=numbers)
    done = await merge(alice, ada, grace)
    united = await labelled(alice, ada)
    await undo(alice, done)

    assert united == {ADDRESS: None, "grace@navy.test": "navy", "+4930123456": "work", "112": "other"}
    assert await labelled(alice, ada) == {ADDRESS: None, "+4930123456": "work"}
    assert await labelled(alice, grace) == {"grace@navy.test": "navy", "+49 30 123456": "home", "112": "other"}
    await assert_consistent(pool, alice.workspace_id)


async def test_a_restored_contact_has_its_labels(alice: Person, ada: Thing) -> None:
    """A contact comes back with its labels."""
    await label(alice, ada)
    await alice.delete(ada.url)
    await restore(alice, ada)

    assert await labelled(alice, ada) == {ADDRESS: "work"}


async def test_a_target_without_labels_gets_those_of_the_others(alice: Person, ada: Thing) -> None:
    """A merge into a contact without labels keeps those of the merged one."""
    await label(alice, ada)
    target = await contact(alice)
    await merged(alice, target, ada)

    assert await labelled(alice, target) == {ADDRESS: "work"}
