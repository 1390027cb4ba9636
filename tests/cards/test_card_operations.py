"""GET and DELETE /herdbook/contacts/{contact_id}/cards."""

from typing import Final

import asyncpg
import httpx
import pytest

from herdbook.auth.store import create_key
from tests.cards.test_kept_cards import CARD, cards, contact_of, imported
from tests.cast import Json, Person, Thing
from tests.importing.jobs import upload

UNKNOWN: Final = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


def url(contact_id: str) -> str:
    """Return the path of the cards of a contact."""
    return f"/api/herdbook/contacts/{contact_id}/cards"


async def kept(person: Person, contact_id: str) -> list[Json]:
    """Return the cards that are kept beside a contact."""
    response = await person.get(url(contact_id))
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    assert [(await client.request(method, url(UNKNOWN))).status_code for method in ("GET", "DELETE")] == [401, 401]


async def test_charlie_is_refused(alice: Person, charlie: Person) -> None:
    """Charlie neither sees nor removes the cards of another workspace's contact."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    answers = [await charlie.get(url(contact["id"])), await charlie.delete(url(contact["id"]))]

    assert [each.status_code for each in answers] == [404, 404]
    assert len(await kept(alice, contact["id"])) == 1


async def test_scopes_are_needed(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Cards are read by those who may read contacts, and removed by those who may write them."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    reader = Person(alice.client, alice.workspace_id, await create_key(pool, alice.workspace_id, "R", ["contacts:read"]))
    other = Person(alice.client, alice.workspace_id, await create_key(pool, alice.workspace_id, "C", ["companies:read"]))

    assert (await other.get(url(contact["id"]))).status_code == 403
    assert (await reader.delete(url(contact["id"]))).status_code == 403
    assert len(await kept(reader, contact["id"])) == 1


async def test_companies_and_tags_in_cards_need_their_scopes(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Neither is in the cards of a contact, nor in its export, for those who may read contacts alone, taken over or not."""
    named = "item3.ORG:Secret Engines;Brass\nX-PHONETIC-ORG:Secret\nLOGO:https://secret.test/a.png\nCATEGORIES:Hidden tag\nEND"
    job = await upload(alice, CARD.replace("END", named), "people.vcf")
    await job.map([each if each not in ("company_name", "tags") else "ignore" for each in job.targets])
    await job.run()
    contact = await contact_of(alice)
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read"])
    erin = Person(alice.client, alice.workspace_id, key)
    [card] = await kept(erin, contact["id"])
    exported = [
        await erin.get("/api/herdbook/exports", params={"object_type": "contact", "format": f"vcard-{version}"})
        for version in ("3.0", "4.0")
    ]

    assert (await kept(alice, contact["id"]))[0]["properties"][-4:] == [
        *("item3.ORG:Secret Engines;Brass", "X-PHONETIC-ORG:Secret", "LOGO:https://secret.test/a.png"),
        "CATEGORIES:Hidden tag",
    ]
    assert card["properties"][-1] == "X-SKYPE:ada.l"
    for text in (str(card["properties"]), *(each.text for each in exported)):
        assert "X-SKYPE" in text
        assert "secret" not in text.lower()
        assert "Hidden" not in text


async def test_the_card_of_a_company_does_not_name_it(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A card that shows a company in place of a person shows no name without the scope to read companies."""
    card = "BEGIN:VCARD\nVERSION:3.0\nFN:Secret Engines\nORG:Secret Engines\nEMAIL:ask@engine.test\nX-SKYPE:ada.l\nEND:VCARD\n"
    await imported(alice, card)
    contact = await contact_of(alice)
    key = await create_key(pool, alice.workspace_id, "Erin", ["contacts:read"])
    erin = Person(alice.client, alice.workspace_id, key)

    [shown] = await kept(erin, contact["id"])
    exported = await erin.get("/api/herdbook/exports", params={"object_type": "contact", "format": "vcard-3.0"})

    assert shown["properties"] == ["EMAIL:ask@engine.test", "X-SKYPE:ada.l"]
    assert "FN:Secret Engines" in (await kept(alice, contact["id"]))[0]["properties"]
    assert "Secret" not in exported.text


async def test_cards_are_shown(alice: Person, grace: Thing) -> None:
    """A card has its properties as lines, in their order; a contact without one has none."""
    await imported(alice, CARD)
    [contact] = [each for each in (await alice.get("/api/v2/contacts")).json()["data"] if each["id"] != grace.id]
    [card] = await kept(alice, contact["id"])
    record = (await alice.get(f"/api/herdbook/contacts/{contact['id']}/record")).json()

    assert [card["id"]] == record["card_ids"]
    assert card["properties"][0] == "N:Lovelace;Ada;;Countess;"
    assert card["properties"][-1] == "X-SKYPE:ada.l"
    assert 'item1.EMAIL;TYPE="INTERNET";X-EXTRA="yes":ada@engine.test' in card["properties"]
    assert await kept(alice, grace.id) == []


async def test_a_removal_is_a_change_that_an_undo_takes_back(alice: Person) -> None:
    """A removal is in the history of the contact, its card says no more than the contact, and an undo brings it back."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    before = await kept(alice, contact["id"])
    removed = await alice.delete(url(contact["id"]))
    [card] = await cards(alice)
    entry = (await alice.get(f"/api/herdbook/contacts/{contact['id']}/history")).json()["data"][0]

    assert "card_ids" not in removed.json()
    assert removed.json()["id"] == contact["id"]
    assert await kept(alice, contact["id"]) == []
    assert "X-SKYPE" not in {each.name for each in card.properties}
    assert entry["changes"] == {"card_ids": {"from": contact["card_ids"], "to": None}}
    undone = await alice.post("/api/herdbook/undo", json={"request_id": removed.headers["X-Request-Id"]})
    assert undone.status_code == 200
    assert await kept(alice, contact["id"]) == before


async def test_one_of_several_is_removed(alice: Person) -> None:
    """A contact that others were merged into has all their cards, of which one goes; another contact's is not found."""
    await imported(alice, CARD)
    survivor = await contact_of(alice)
    other = CARD.replace("ada@engine.test", "ada@king.test").replace("ada.l", "ada.king")
    [row] = await (await imported(alice, other, match_by="email")).rows()
    await alice.post(f"/api/herdbook/contacts/{survivor['id']}/merge", json={"from": [row["id"]]})
    first, second = await kept(alice, survivor["id"])
    removed = await alice.delete(url(survivor["id"]), params={"card_id": first["id"]})
    again = await alice.delete(url(survivor["id"]), params={"card_id": first["id"]})

    assert removed.json()["card_ids"] == [second["id"]]
    assert await kept(alice, survivor["id"]) == [second]
    assert (again.status_code, "keeps no such card" in again.text) == (404, True)


async def test_a_removal_needs_the_version_that_it_names(alice: Person) -> None:
    """If-Match is compared with the contact's version; without cards, a removal changes nothing."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    read = await alice.get(f"/api/v2/contacts/{contact['id']}")
    stale = await alice.delete(url(contact["id"]), headers={"If-Match": '"7"'})
    done = await alice.delete(url(contact["id"]), headers={"If-Match": read.headers["ETag"]})
    again = await alice.delete(url(contact["id"]))

    assert [each.status_code for each in (stale, done, again)] == [412, 200, 200]
    assert done.json()["updated_at"] == again.json()["updated_at"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_contact_is_not_found(alice: Person, method: str) -> None:
    """Cards of a contact that is not there are not found."""
    assert (await alice.request(method, url(UNKNOWN))).status_code == 404
