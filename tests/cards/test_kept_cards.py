"""A card has more than its contact; the rest is kept beside the contact, and comes out again."""

import re
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from herdbook.formats.cards import MAX_KEPT_BYTES, Card, Property, read_cards, written
from tests.cards.generated import cards_of
from tests.cast import Json, Person, Stored
from tests.custom_fields.definitions import define
from tests.exports.test_export import exported
from tests.formats.cards import CARDS, opened
from tests.importing.jobs import Job, counts, upload

CARD: Final = """BEGIN:VCARD
VERSION:3.0
N:Lovelace;Ada;;Countess;
FN:Countess Ada Lovelace
item1.EMAIL;TYPE=INTERNET;X-EXTRA=yes:ada@engine.test
item1.X-ABLabel:Study
TEL;TYPE=CELL;TYPE=VOICE:+44 20 7946 0958
item2.X-ABRELATEDNAMES:Byron
item2.X-ABLabel:Father
NOTE;LANGUAGE=en:Likes engines
PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD=
X-SKYPE:ada.l
END:VCARD
"""
_USUAL: Final = (
    *(("department", "text"), ("job_title", "text"), ("birthday", "date"), ("address", "address"), ("website", "link")),
    ("profile_links", "long_text"),
)


async def with_usual_fields(person: Person) -> None:
    """Define the usual fields that a card has a place for."""
    for key, kind in _USUAL:
        await define(person, key, kind=kind)


async def imported(person: Person, cards: str | bytes, **mapping: Any) -> Job:
    """Import cards, each of which becomes a contact."""
    job = await upload(person, cards, "people.vcf")
    if mapping:
        await job.map(**mapping)
    await job.run()
    return job


def read(content: str | bytes) -> list[Card]:
    """Return the cards of a file."""
    cards = [*read_cards(opened(content.encode() if isinstance(content, str) else content))]
    found = [card for card in cards if isinstance(card, Card)]
    assert len(found) == len(cards), cards
    return found


async def cards(person: Person, version: str = "3.0") -> list[Card]:
    """Return the cards of a person's contacts."""
    return read((await exported(person, format=f"vcard-{version}")).content)


def lost(before: Card, after: Card) -> Counter[Property]:
    """Return the properties of a card that another one lacks."""
    return Counter(before.properties) - Counter(after.properties)


async def contact_of(person: Person) -> Json:
    """Return the only contact of a workspace."""
    [contact] = (await person.get("/api/v2/contacts")).json()["data"]
    return (await person.get(f"/api/herdbook/contacts/{contact['id']}/record")).json()


@pytest.mark.parametrize("has_fields", [True, False], ids=["with fields", "without fields"])
async def test_the_cards_of_other_programs_come_out_again(frank: Person, *, has_fields: bool) -> None:
    """Each property of the cards that other programs write is in the card of the contact, whatever fields there are."""
    if has_fields:
        await with_usual_fields(frank)
    for name, (source, _) in CARDS.items():
        [before] = read(source)
        job = await imported(frank, source)
        assert job.shown["result"] == counts(create=1), (name, await job.rows())
        [row] = await job.rows()
        version = "4.0" if before.version == "4.0" else "3.0"
        answer = await frank.post(
            "/api/herdbook/exports",
            json={"object_type": "contact", "format": f"vcard-{version}", "object_ids": [row["id"]]},
        )
        [after] = read(answer.content)
        # Version 3.0 writes some of version 2.1 otherwise.
        [expected] = read(written(before.properties, version))
        assert not lost(expected, after), name
        await frank.delete(f"/api/v2/contacts/{row['id']}")


@pytest.mark.parametrize("version", ["3.0", "4.0"])
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    # Each try is an import, so that it would take minutes to find the least one.
    phases=[Phase.reuse, Phase.generate],
)
@given(data=st.data())
async def test_any_card_comes_out_again(frank: Person, version: str, data: st.DataObject) -> None:
    """A card of any properties that the format allows loses none on its way through a contact."""
    sources = data.draw(cards_of(version))
    before = read("".join(written(properties, version) for properties in sources))
    job = await imported(frank, "".join(written(properties, version) for properties in sources), match_by="never")
    assert job.shown["result"]["create"] == len(before), await job.rows(verdict="problem")
    rows = await job.rows()
    try:
        answer = await frank.post(
            "/api/herdbook/exports",
            json={"object_type": "contact", "format": f"vcard-{version}", "object_ids": [row["id"] for row in rows]},
        )
        after = read(answer.content)
        for one, other in zip(before, after, strict=True):
            assert not lost(one, other)
            assert [each for each in other.properties if each in one.properties] == [*one.properties]
    finally:
        await frank.post("/api/herdbook/undo", json={"request_id": job.shown["request_id"]})


async def test_the_same_card_again_changes_nothing(alice: Person, stored: Stored) -> None:
    """A second import of a card finds all of it there."""
    await imported(alice, CARD)
    before = await stored.changes()
    job = await imported(alice, CARD)

    assert job.shown["result"] == counts(unchanged=1)
    assert await stored.changes() == before


async def test_a_contact_that_has_all_keeps_no_card(alice: Person) -> None:
    """Nothing is kept of a card that the contact would write again."""
    await imported(alice, "BEGIN:VCARD\nVERSION:4.0\nN:Lovelace;Ada;;;\nFN:Ada Lovelace\nEMAIL:ada@engine.test\nEND:VCARD\n")

    assert "card_ids" not in await contact_of(alice)


async def test_a_card_says_what_the_contact_says_now(alice: Person) -> None:
    """The card has each change of the contact once, and the rest is as it was."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    body = {
        "last_name": "King",
        "phone_numbers": [{"phone_number": "+44 20 7946 0111", "label": "work"}],
        "emails": [{"email": "ada@engine.test", "label": "home"}, {"email": "ada@king.test", "is_primary": True}],
    }
    response = await alice.patch(f"/api/herdbook/contacts/{contact['id']}/record", json=body)
    assert response.status_code == 200
    text = (await exported(alice, format="vcard-3.0")).text

    assert "7946 0958" not in text
    assert text.count("EMAIL") == 2
    assert "EMAIL;TYPE=home;TYPE=INTERNET;X-EXTRA=yes:ada@engine.test" in text
    assert "Study" not in text
    assert "N:King;Ada;;Countess;" in text
    [card] = read(text)
    assert not lost(read(CARD)[0], card)[Property("X-SKYPE", "ada.l")]
    assert {"PHOTO", "X-SKYPE", "X-ABRELATEDNAMES", "NOTE"} <= {each.name for each in card.properties}
    assert (await alice.patch(f"/api/v2/contacts/{contact['id']}", json={"phone_numbers": []})).status_code == 200
    assert "TEL" not in (await exported(alice, format="vcard-3.0")).text


@pytest.mark.parametrize("format", ["vcard-3.0", "vcard-4.0"])
async def test_addresses_and_numbers_keep_their_order(alice: Person, charlie: Person, format: str) -> None:  # noqa: A002
    """The primary one is marked, wherever it stands."""
    emails = [{"email": "ada@engine.test", "label": "home"}, {"email": "ada@king.test", "is_primary": True}]
    numbers = [{"phone_number": "+44 20 7946 0111"}, {"phone_number": "+44 20 7946 0112", "label": "work", "is_primary": True}]
    body = {"first_name": "Ada", "emails": emails, "phone_numbers": numbers}
    made = await alice.post("/api/v2/contacts", json=body)

    await imported(charlie, (await exported(alice, format=format)).text)

    contact, before = await contact_of(charlie), made.json()
    assert [(each["email"], each["is_primary"]) for each in contact["emails"]] == [
        (each["email"], each["is_primary"]) for each in before["emails"]
    ]
    assert [(each["phone_number"], each["is_primary"]) for each in contact["phone_numbers"]] == [
        (each["phone_number"], each["is_primary"]) for each in before["phone_numbers"]
    ]


async def test_members_that_were_not_taken_over_stay(alice: Person) -> None:
    """A column that is ignored stays in the card, until the contact says something of its own."""
    job = await upload(alice, CARD, "people.vcf")
    places = zip(job.targets, [*job.targets[1:], ""], strict=True)
    await job.map(["ignore" if "phone" in (to, after if to == "label" else "") or to == "note" else to for to, after in places])
    await job.run()
    contact = await contact_of(alice)
    assert contact["phone_numbers"] == []
    [card] = await cards(alice)
    assert not lost(read(CARD)[0], card)
    await alice.patch(f"/api/v2/contacts/{contact['id']}", json={"phone_numbers": [{"phone_number": "112"}]})
    [card] = await cards(alice)

    assert [each.value for each in card.properties if each.name == "TEL"] == ["112"]


@pytest.mark.parametrize(("existing", "skype"), [("fill", "ada.l"), ("overwrite", "ada.king")])
async def test_a_second_card_adds_to_the_first(alice: Person, existing: str, skype: str) -> None:
    """Another card of the same person adds what the first has not; if it overwrites, its own properties come first."""
    await imported(alice, CARD)
    other = CARD.replace("ada.l", "ada.king").replace("END:", "item1.X-ABDATE:1835-07-08\nitem1.X-ABLabel:Wedding\nEND:")
    job = await imported(alice, other.replace("item1.EMAIL", "EMAIL").replace("item1.X-ABLabel:Study\n", ""), existing=existing)
    assert job.shown["result"] == counts(update=1)
    [card] = await cards(alice)
    dates = [each for each in card.properties if each.name == "X-ABDATE"]

    assert [each.value for each in card.properties if each.name == "X-SKYPE"] == [skype]
    assert [each.value for each in dates] == ["1835-07-08"]
    assert [each.value for each in card.properties if each.group == dates[0].group] == ["1835-07-08", "Wedding"]
    assert [each.name for each in card.properties].count("PHOTO") == 1


async def test_an_undo_takes_the_card_back(alice: Person) -> None:
    """An undo of the second import leaves the card of the first, and history shows what it was."""
    await imported(alice, CARD)
    second = await imported(alice, CARD.replace("ada.l", "ada.king"), existing="overwrite")
    await alice.post("/api/herdbook/undo", json={"request_id": second.shown["request_id"]})
    [card] = await cards(alice)
    contact = await contact_of(alice)
    history = (await alice.get(f"/api/herdbook/contacts/{contact['id']}/history")).json()["data"]

    assert not lost(read(CARD)[0], card)
    assert "card_ids" in str(history[0])


async def test_a_merge_keeps_both_cards(alice: Person) -> None:
    """The contact that remains has the properties of both cards, its own first; an undo parts them again."""
    await imported(alice, CARD)
    survivor = await contact_of(alice)
    other = CARD.replace("ada@engine.test", "ada@king.test").replace("ada.l", "ada.king").replace("Byron", "Annabella")
    job = await imported(alice, other.replace("/9j/", "/0j/"), match_by="email")
    [row] = await job.rows()
    merge = await alice.post(f"/api/herdbook/contacts/{survivor['id']}/merge", json={"from": [row["id"]]})
    assert len(merge.json()["contact"]["card_ids"]) == 2
    [card] = await cards(alice)

    assert [each.value for each in card.properties if each.name == "X-SKYPE"] == ["ada.l", "ada.king"]
    assert [each.value for each in card.properties if each.name == "X-ABRELATEDNAMES"] == ["Byron", "Annabella"]
    assert [each.value[:4] for each in card.properties if each.name == "PHOTO"] == ["/9j/"]
    await alice.post("/api/herdbook/undo", json={"request_id": merge.headers["x-request-id"]})
    assert len(await cards(alice)) == 2


async def test_a_huge_picture_is_left_out_and_told(alice: Person) -> None:
    """A property that is too large to be kept is named in the outcome of its row, and the others are kept."""
    job = await imported(alice, CARD.replace("/9j/4AAQ", "/9j/" + "A" * MAX_KEPT_BYTES))
    [row] = await job.rows()
    [card] = await cards(alice)

    assert row["left_out"] == ["PHOTO"]
    assert [each.name for each in lost(read(CARD)[0], card)] == ["PHOTO"]


async def test_a_large_picture_comes_out_again(alice: Person) -> None:
    """A picture that is longer than a value of a table may be is kept whole."""
    source = CARD.replace("/9j/4AAQ", "/9j/" + "A" * (MAX_KEPT_BYTES - 5000))
    await imported(alice, source)
    [card] = await cards(alice)

    assert not lost(read(source)[0], card)


async def test_a_card_of_a_table_is_checked(alice: Person) -> None:
    """A line that is no property is a problem of its row, so that no card has lines that somebody has slipped in."""
    job = await upload(alice, 'Name,Card\nAda Lovelace,"X-A:1\nno property"\n')
    await job.map(["full_name", "card"])

    assert await job.run() == counts(problem=1)
    [row] = await job.rows()
    assert "The vCard has a line that is no property" in row["faults"][0]["message"]
    assert row["faults"][0]["column"] == 1


async def test_a_card_of_a_table_ends_no_other(alice: Person) -> None:
    """The lines around a card are no part of it, so that an export has one card for each contact."""
    job = await upload(alice, 'Name,Card\nAda Lovelace,"X-A:1\nEND:VCARD\nBEGIN:VCARD\nVERSION:2.1\nX-B:2"\n')
    await job.map(["full_name", "card"])
    assert await job.run() == counts(create=1)
    [card] = await cards(alice)

    assert {"X-A", "X-B"} <= {each.name for each in card.properties}


async def test_no_read_of_a_contact_loads_its_card(alice: Person) -> None:
    """The answers of the vendor's operations say nothing of cards."""
    await imported(alice, CARD)
    contact = await contact_of(alice)
    answer = await alice.get(f"/api/v2/contacts/{contact['id']}")

    assert re.fullmatch("card_[0-9A-Z]{26}", contact["card_ids"][0])
    assert "card" not in answer.text


async def test_cards_are_counted_from_one(alice: Person) -> None:
    """The number of a row is that of its card: a table has a header, and a file of cards has none."""
    cards = "".join(f"BEGIN:VCARD\nVERSION:4.0\nFN:{name}\nTZ:{name}\nEND:VCARD\n" for name in ("Ada", "x" * 300, "Grace"))
    job = await upload(alice, cards.replace("FN:xxx", "NOTE:xxx"), "people.vcf")
    await job.check()

    assert [(row["row"], row["verdict"]) for row in await job.rows("check")] == [(1, "create"), (2, "problem"), (3, "create")]
    assert [row["row"] for row in await job.rows("check", after=1)] == [2, 3]
    problems = (await alice.get(f"{job.url}/problems")).text
    assert problems.count("neither a name nor an address") == 1
    refused = await alice.patch(job.url, json={"has_header": False})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "has_header")


async def test_a_text_that_is_no_number_stays_in_the_card(alice: Person) -> None:
    """A number without a digit is no number of the contact, and comes out again."""
    card = "BEGIN:VCARD\nVERSION:4.0\nFN:Ada Lovelace\nTEL:ask Bob\nTEL:+44 20 7946 0958\nEND:VCARD\n"
    await imported(alice, card)

    assert [each["phone_number"] for each in (await contact_of(alice))["phone_numbers"]] == ["+44 20 7946 0958"]
    assert "TEL:ask Bob" in (await exported(alice, format="vcard-4.0")).text


async def test_addresses_of_numbers_are_texts_in_version_3(alice: Person, charlie: Person) -> None:
    """No version before 4.0 has a number as an address; such a card comes back as the same of version 4.0."""
    card = (
        "BEGIN:VCARD\nVERSION:4.0\nN:Lovelace;Ada;;;\nFN:Ada Lovelace\nTEL;VALUE=uri;TYPE=work:tel:+44-20-7946-0958;ext=12\n"
        "TEL;VALUE=uri:tel:7042;phone-context=engine.test\nTEL:tel:+1-202-555-0143\nGEO:geo:51.5,-0.12\nEND:VCARD\n"
    )
    await imported(alice, card)
    old = (await exported(alice, format="vcard-3.0")).text.replace("\r\n", "\n")
    await imported(charlie, old)

    assert "TEL;X-HERDBOOK=uri;TYPE=work:+44-20-7946-0958 ext. 12\n" in old
    assert "TEL;X-HERDBOOK=uri:7042;phone-context=engine.test\n" in old
    assert "TEL;X-HERDBOOK=bare:+1-202-555-0143\n" in old
    assert "GEO:51.5;-0.12\n" in old
    assert not [each for each in ("tel:", "VALUE=uri", "geo:") if each in old]
    assert (await exported(charlie, format="vcard-4.0")).text == (await exported(alice, format="vcard-4.0")).text
    assert [each["phone_number"] for each in (await contact_of(charlie))["phone_numbers"]] == [
        each["phone_number"] for each in (await contact_of(alice))["phone_numbers"]
    ]


async def test_each_middle_name_of_a_card_is_kept(alice: Person) -> None:
    """Several additional names, with commas between them, go with the first one."""
    await imported(alice, "BEGIN:VCARD\nVERSION:4.0\nN:Lovelace;Ada;Augusta,King;;\nFN:Ada Lovelace\nEND:VCARD\n")

    assert (await contact_of(alice))["first_name"] == "Ada Augusta King"
