"""Tags of contacts and companies: where they are shown, what finds them, and what keeps them."""

from typing import Any, Final

import asyncpg
import httpx
import pytest

from tests.cast import Json, Person, Thing, faults
from tests.contacts.bulks import result, upsert
from tests.history.consistency import assert_consistent
from tests.history.requests import company_named, restore, undo
from tests.merging.merges import contact

NEVER_GIVEN: Final = "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


def record_of(target: Thing) -> str:
    """Return the URL of the whole of a contact or a company."""
    return f"{target.url.replace('/v2/', '/herdbook/')}/record"


async def tag(person: Person, target: Thing, *tags: Thing | str) -> httpx.Response:
    """Give a contact or a company these tags."""
    body = {"tag_ids": [each if isinstance(each, str) else each.id for each in tags]}
    return await person.patch(record_of(target), json=body)


async def tags_of(person: Person, target: Thing) -> list[str]:
    """Return the ids of the tags of a contact or a company."""
    response = await person.get(record_of(target))
    assert response.status_code == 200, response.text
    return response.json().get("tag_ids", [])


async def found(person: Person, plural: str, *tags: Thing) -> list[str]:
    """Return the ids of the contacts or companies that have any of these tags."""
    params = {"filter[tag_ids][in]": ",".join(each.id for each in tags)}
    return [each["id"] for each in (await person.get(f"/api/v2/{plural}", params=params)).json()["data"]]


async def new_tag(person: Person, name: str) -> Thing:
    """Create a tag."""
    return Thing(await person.post("/api/v2/tags", json={"name": name}))


async def test_tags_are_given_and_taken(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """The record of a contact or a company takes and shows its tags, each once; the list finds it; null takes them away."""
    other = await new_tag(alice, "Other")
    for target, plural in ((ada, "contacts"), (engine, "companies")):
        done = await tag(alice, target, renewal, other, renewal)

        assert done.json()["tag_ids"] == await tags_of(alice, target) == [renewal.id, other.id]
        assert await found(alice, plural, renewal) == await found(alice, plural, other, renewal) == [target.id]
        await tag(alice, target, other)
        assert await found(alice, plural, renewal) == []
        cleared = await alice.patch(record_of(target), json={"tag_ids": None})
        assert "tag_ids" not in cleared.json()


async def test_a_common_tag_is_found_in_the_order_of_the_list(
    alice: Person, ada: Thing, grace: Thing, engine: Thing, renewal: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag that very many have is looked for in the rows instead of the index, with the same result."""
    monkeypatch.setattr("herdbook.db.paging._COMMON", 1)
    for target in (ada, engine):
        await tag(alice, target, renewal)

    assert await found(alice, "contacts", renewal) == [ada.id]
    assert await found(alice, "companies", renewal) == [engine.id]
    assert grace.id not in await found(alice, "contacts", renewal)


async def test_the_vendors_operations_show_none(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """The vendor's operations neither show, nor take, nor change tags of contacts and companies."""
    for target in (ada, engine):
        await tag(alice, target, renewal)
        shown = (await alice.patch(target.url, json={"description": "Well."})).json()
        refused = await alice.patch(target.url, json={"tag_ids": []})

        assert shown == {**target.json, "description": "Well.", "updated_at": shown["updated_at"]}
        assert faults(refused) == [("tag_ids", "unknown_field")]
        assert await tags_of(alice, target) == [renewal.id]


BAD: Final[dict[str, tuple[Any, str, str]]] = {
    "no list": ("a", "tag_ids", "invalid_type"),
    "no id": (["a"], "tag_ids[0]", "invalid_format"),
    "null within": ([None], "tag_ids[0]", "invalid_type"),
    "unknown": ([NEVER_GIVEN], "tag_ids[0]", "not_found"),
    "too many": ([NEVER_GIVEN] * 101, "tag_ids", "too_long"),
}


@pytest.mark.parametrize(("value", "field", "code"), BAD.values(), ids=BAD.keys())
async def test_bad_tags_are_named(alice: Person, ada: Thing, engine: Thing, value: Json, field: str, code: str) -> None:
    """Tags that do not exist are refused by name, and nothing is changed."""
    for target in (ada, engine):
        response = await alice.patch(record_of(target), json={"tag_ids": value, "description": "Well."})

        assert (response.status_code, faults(response)) == (422, [(field, code)])
        assert (await alice.get(target.url)).json() == target.json


async def test_a_deleted_tag_is_hidden(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """A deleted tag is not shown and cannot be given; once it is restored, its contacts and companies have it again."""
    other = await new_tag(alice, "Other")
    for target in (ada, engine):
        await tag(alice, target, renewal, other)
    await alice.delete(renewal.url)
    hidden = [await tags_of(alice, target) for target in (ada, engine)]
    changed = await alice.patch(record_of(ada), json={"description": "Well."})
    refused = await tag(alice, ada, renewal)
    await restore(alice, renewal)

    assert hidden == [[other.id], [other.id]]
    assert changed.json()["tag_ids"] == [other.id]
    assert faults(refused) == [("tag_ids[0]", "not_found")]
    assert [await tags_of(alice, target) for target in (ada, engine)] == [[renewal.id, other.id]] * 2


async def test_a_record_that_is_sent_as_it_was_read_keeps_deleted_tags(
    alice: Person, ada: Thing, engine: Thing, renewal: Thing
) -> None:
    """A record that is sent back without its deleted tags is not written, and has them again once they are restored."""
    other = await new_tag(alice, "Other")
    for target in (ada, engine):
        await tag(alice, target, renewal, other)
    await alice.delete(renewal.url)
    read = [await alice.get(record_of(target)) for target in (ada, engine)]
    sent = [await tag(alice, target, other) for target in (ada, engine)]
    await restore(alice, renewal)

    assert [each.headers["ETag"] for each in sent] == [each.headers["ETag"] for each in read]
    assert [await tags_of(alice, target) for target in (ada, engine)] == [[renewal.id, other.id]] * 2


@pytest.mark.parametrize("left", ["another", "none", "null"])
async def test_other_tags_do_not_take_deleted_ones_away(
    alice: Person, ada: Thing, engine: Thing, renewal: Thing, left: str
) -> None:
    """Tags that a request leaves out are taken away, but not those that were deleted, because no answer showed them."""
    other, third = await new_tag(alice, "Other"), await new_tag(alice, "Third")
    value: Json = {"another": [third.id], "none": [], "null": None}[left]
    for target in (ada, engine):
        await tag(alice, target, renewal, other)
    await alice.delete(renewal.url)
    sent = [await alice.patch(record_of(target), json={"tag_ids": value}) for target in (ada, engine)]
    await restore(alice, renewal)

    assert [each.json().get("tag_ids", []) for each in sent] == [value or []] * 2
    assert [await tags_of(alice, target) for target in (ada, engine)] == [[*(value or []), renewal.id]] * 2


async def test_deleted_tags_count(alice: Person, ada: Thing, renewal: Thing) -> None:
    """An object has at most a hundred tags, with the deleted ones that it has again once they are restored."""
    created = [await new_tag(alice, str(number)) for number in range(100)]
    await tag(alice, ada, renewal)
    await alice.delete(renewal.url)
    refused = await tag(alice, ada, *created)

    assert faults(refused) == [("tag_ids", "too_long")]
    assert (await tag(alice, ada, *created[1:])).status_code == 200


@pytest.mark.parametrize("atomic", [False, True], ids=["each", "all"])
async def test_a_bulk_hides_a_deleted_tag(alice: Person, ada: Thing, engine: Thing, renewal: Thing, *, atomic: bool) -> None:
    """The answer of a bulk shows no deleted tag, though its objects keep it. An upsert adds tags to those that they have."""
    other, third = await new_tag(alice, "Other"), await new_tag(alice, "Third")
    for target in (ada, engine):
        kind = target.json["object"]
        await tag(alice, target, renewal, other)
        await alice.delete(renewal.url)
        handles = {"emails": ada.json["emails"]} if kind == "contact" else {"domains": engine.json["domains"]}
        operations = [
            {"action": "update", "id": target.id, kind: {"description": "Well."}},
            {"action": "upsert", kind: {**handles, "tag_ids": [third.id]}},
            {"action": "upsert", kind: handles},
        ]
        body = {"atomic": atomic, "operations": operations}
        done = await alice.post(f"{target.url.rpartition('/')[0].replace('/v2/', '/herdbook/')}/bulk", json=body)
        await restore(alice, renewal)

        assert done.status_code == 200, done.text
        assert [each["result"] for each in done.json()["results"]] == ["updated", "updated", "unchanged"]
        assert [each[kind]["tag_ids"] for each in done.json()["results"]] == [[other.id]] + [[other.id, third.id]] * 2
        assert [each["index"] for each in done.json()["results"]] == [0, 1, 2]
        assert await tags_of(alice, target) == [renewal.id, other.id, third.id]


async def test_a_merge_and_the_bin_hide_a_deleted_tag(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """Neither the preview of a merge, nor its answer, nor the bin shows a deleted tag. An object has it once it is restored."""
    for target, source in ((ada, await contact(alice)), (engine, await company_named(alice, "mill.test"))):
        kind = target.json["object"]
        other = await new_tag(alice, f"Other {kind}")
        await tag(alice, target, renewal)
        await tag(alice, source, renewal, other)
        await alice.delete(renewal.url)
        path = target.url.replace("/v2/", "/herdbook/")
        preview = await alice.post(f"{path}/merge", json={"from": [source.id]}, params={"dry_run": "true"})
        done = await alice.post(f"{path}/merge", json={"from": [source.id]})
        await alice.delete(target.url)
        binned = (await alice.get(f"{path.rpartition('/')[0]}/deleted")).json()["data"][0]
        await restore(alice, renewal)

        assert preview.json()[kind]["tag_ids"] == done.json()[kind]["tag_ids"] == [other.id]
        assert (binned["id"], binned["data"]["tag_ids"]) == (target.id, [other.id])
        assert (await restore(alice, target)).json()["tag_ids"] == [renewal.id, other.id]


async def test_a_creation_and_an_upsert_give_tags(alice: Person, renewal: Thing) -> None:
    """A new contact may have tags, and an upsert adds some to those that the contact has."""
    other = await new_tag(alice, "Other")
    made = await alice.post("/api/v2/contacts", json={"emails": [{"email": "x@x.test"}], "tag_ids": [renewal.id]})
    await result(alice, upsert("x@x.test", tag_ids=[other.id, renewal.id]))

    assert "tag_ids" not in made.json()
    assert await tags_of(alice, Thing(made)) == [renewal.id, other.id]


async def test_a_merge_unites_tags(alice: Person, engine: Thing, renewal: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A merge gives the target all tags, its own first; its undo takes them back."""
    other = await new_tag(alice, "Other")
    for target, source in (
        (await contact(alice), await contact(alice)),
        (engine, await company_named(alice, "mill.test")),
    ):
        await tag(alice, target, renewal)
        await tag(alice, source, other, renewal)
        path = f"{target.url.replace('/v2/', '/herdbook/')}/merge"
        preview = await alice.post(path, json={"from": [source.id]}, params={"dry_run": "true"})
        done = await alice.post(path, json={"from": [source.id]})
        united = await tags_of(alice, target)
        await undo(alice, done)

        assert preview.json()[target.json["object"]]["tag_ids"] == united == [renewal.id, other.id]
        assert (await tags_of(alice, target), await tags_of(alice, source)) == ([renewal.id], [other.id, renewal.id])
    await assert_consistent(pool, alice.workspace_id)


async def test_an_undo_needs_the_tag(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """Tags that were taken away do not come back while they are deleted."""
    for target in (ada, engine):
        await tag(alice, target, renewal)
        taken = await tag(alice, target)
        await alice.delete(renewal.url)

        assert (await undo(alice, taken)).kept == {target.id: "tag_not_found"}
        await restore(alice, renewal)
        assert (await undo(alice, taken)).reverted == {target.id: "updated"}
        assert await tags_of(alice, target) == [renewal.id]


async def test_a_deleted_tag_hinders_no_other_undo(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """A contact or company that has a deleted tag gets back its earlier state all the same."""
    for target in (ada, engine):
        await tag(alice, target, renewal)
    changed = [await alice.patch(target.url, json={"description": "Well."}) for target in (ada, engine)]
    await alice.delete(renewal.url)

    assert [(await undo(alice, each)).kept for each in changed] == [{}, {}]


async def test_a_tag_in_use_stays(alice: Person, ada: Thing, engine: Thing) -> None:
    """The creation of a tag is not undone while a contact or a company has it."""
    for number, target in enumerate((ada, engine)):
        made = await alice.post("/api/v2/tags", json={"name": f"Tag {number}"})
        new = Thing(made)
        await tag(alice, target, new)

        assert (await undo(alice, made)).kept == {new.id: "in_use"}
        await tag(alice, target)
        assert (await undo(alice, made)).reverted == {new.id: "deleted"}
