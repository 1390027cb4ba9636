"""POST /v2/tags."""

import re
from asyncio import TaskGroup
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults

URL = "/api/v2/tags"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json={"name": "Renewal"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_has_his_own_names(charlie: Person, renewal: Thing) -> None:
    """A name of one workspace is free in another and reveals nothing there."""
    response = await charlie.post(URL, json={"name": "Renewal"})

    assert response.status_code == 201
    assert renewal.id not in response.text


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot create anything."""
    response = await bob.post(URL, json={"name": "Renewal"})

    assert response.status_code == 403
    assert "tags:write" in response.json()["detail"]
    assert await stored.changes() == []


async def test_everything_that_is_sent_comes_back(alice: Person) -> None:
    """The response shows the tag as stored, each text as sent."""
    sent: Json = {
        "name": " Très Important ",
        "description": "At once.\n",
        "hex_color": "#aBcDeF",
        "auto_tagging_enabled": True,
    }
    response = await alice.post(URL, json=sent)

    tag = response.json()
    assert response.status_code == 201
    assert re.fullmatch("tag_[0-9A-HJKMNP-TV-Z]{26}", tag.pop("id"))
    assert tag.pop("created_at") == tag.pop("updated_at")
    assert tag == {"object": "tag", **sent}


async def test_what_is_empty_is_null(alice: Person) -> None:
    """Absent colour and description are null, and no object gets the tag by itself."""
    response = await alice.post(URL, json={"name": "Renewal"})

    tag = response.json()
    assert set(tag) == {"object", "id", "name", "description", "hex_color", "auto_tagging_enabled", "created_at", "updated_at"}
    assert (tag["description"], tag["hex_color"], tag["auto_tagging_enabled"]) == (None, None, False)


async def test_the_change_is_entered(renewal: Thing, stored: Stored) -> None:
    """The ledger has one entry: the new tag, with no previous state."""
    (change,) = await stored.changes()

    assert (change.seq, change.kind, change.action) == (1, "t", "c")
    assert (change.previous, change.object) == (None, renewal.json)
    assert renewal.etag == '"1"'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Renewal", "Renewal"),
        ("Renewal", "RENEWAL"),
        ("Renewal", "\t renewal "),
        ("straße", "STRAẞE"),
        ("Ｒｅｎｅｗａｌ", "renewal"),
        ("ﬁne", "FINE"),
        ("caf\u00e9", "CAFE\u0301"),
        ("\u0390", "\u0399\u0308\u0301"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
async def test_a_name_that_is_taken_is_refused(alice: Person, stored: Stored, first: str, second: str) -> None:
    """A name belongs to one active tag, regardless of case, width and surrounding white space."""
    tag = Thing(await alice.post(URL, json={"name": first}))
    response = await alice.post(URL, json={"name": second})

    assert response.status_code == 409
    assert faults(response) == [("name", "already_in_use")]
    assert response.json()["conflict"] == {"object": "tag", "id": tag.id}
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize("name", ["Renewals", "Renew al", "Rénewal", "Renewal!"])
@pytest.mark.usefixtures("renewal")
async def test_a_name_like_another_is_not_the_same(alice: Person, name: str) -> None:
    """Accents, punctuation and inner white space distinguish names."""
    response = await alice.post(URL, json={"name": name})

    assert response.status_code == 201


async def test_no_letter_is_two_others(alice: Person) -> None:
    """`Straße` and `Strasse` are two names."""
    responses = [await alice.post(URL, json={"name": name}) for name in ("Straße", "Strasse")]

    assert [response.status_code for response in responses] == [201, 201]


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, renewal: Thing) -> None:
    """A caller without the read scope learns that the name is taken, but not by which tag."""
    response = await dave.post(URL, json={"name": "renewal"})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert renewal.id not in response.text


async def test_one_of_many_gets_the_name(alice: Person, stored: Stored) -> None:
    """Only one of several simultaneous creations with one name succeeds."""
    async with TaskGroup() as tasks:
        writes = [tasks.create_task(alice.post(URL, json={"name": name})) for name in ("Hot", "hot", "HOT", " hot")]

    assert sorted(write.result().status_code for write in writes) == [201, 409, 409, 409]
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("name", "required")]),
        ({"name": None}, [("name", "invalid_type")]),
        ({"name": ""}, [("name", "too_short")]),
        ({"name": "\u2003"}, [("name", "blank")]),
        ({"name": "x" * 256}, [("name", "too_long")]),
        ({"name": "a\u0000"}, [("name", "invalid_characters")]),
        ({"name": "a", "description": None}, [("description", "invalid_type")]),
        ({"name": "a", "description": ""}, [("description", "too_short")]),
        ({"name": "a", "description": "x" * 2001}, [("description", "too_long")]),
        ({"name": "a", "hex_color": None}, [("hex_color", "invalid_type")]),
        ({"name": "a", "auto_tagging_enabled": None}, [("auto_tagging_enabled", "invalid_type")]),
        ({"name": "a", "auto_tagging_enabled": "true"}, [("auto_tagging_enabled", "invalid_type")]),
        ({"name": "a", "color": "#1F6FEB"}, [("color", "unknown_field")]),
        (
            {"name": " ", "hex_color": "red", "id": 1},
            [("name", "blank"), ("hex_color", "invalid_format"), ("id", "unknown_field")],
        ),
    ],
)
async def test_what_is_no_tag_is_refused(alice: Person, stored: Stored, body: Json, expected: list[tuple[str, str]]) -> None:
    """All faults are reported at once, and nothing is created."""
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert faults(response) == expected
    assert await stored.changes() == []


@pytest.mark.parametrize(
    "color", ["", "1F6FEB", "#1F6FE", "#1F6FEB0", "#1F6FEG", "#FFF", " #1F6FEB", "#1F6FEB\n", "#1F6FE１", "blue", "#"]
)
async def test_a_colour_that_is_none_is_refused(alice: Person, color: str) -> None:
    """A colour is `#` and six hexadecimal digits."""
    response = await alice.post(URL, json={"name": "Renewal", "hex_color": color})

    assert response.status_code == 422
    assert faults(response) == [("hex_color", "invalid_format")]


@pytest.mark.parametrize("name", ["x" * 255, "\U0001f3f7" * 255, "ﷺ" * 255, "\u0390" * 255])
async def test_the_longest_names_are_taken(alice: Person, name: str) -> None:
    """A name may have 255 characters, even if each of them becomes several in the comparable form."""
    tag = Thing(await alice.post(URL, json={"name": name}))
    again = await alice.post(URL, json={"name": name})

    assert tag.json["name"] == name
    assert again.status_code == 409


async def test_a_retry_gets_the_first_answer(alice: Person, stored: Stored) -> None:
    """A retry with the same Idempotency-Key creates no second tag, and does not conflict with itself."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.post(URL, json={"name": "Renewal"}, headers=key) for _ in range(2)]

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 1


@pytest.mark.usefixtures("renewal")
async def test_if_match_is_refused(alice: Person) -> None:
    """A new object has no version that If-Match could match, and the 412 takes precedence over 409."""
    response = await alice.post(URL, json={"name": "Renewal"}, headers={"If-Match": "*"})

    assert response.status_code == 412
