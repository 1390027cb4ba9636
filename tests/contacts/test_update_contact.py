"""PATCH /v2/contacts/{contact_id}."""

from asyncio import TaskGroup
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults

UNKNOWN = "/api/v2/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
UNKNOWN_COMPANY = "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not found."""
    response = await charlie.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 404


async def test_bob_is_refused(bob: Person, alice: Person, ada: Thing) -> None:
    """A read-only credential cannot change anything."""
    response = await bob.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 403
    assert (await alice.get(ada.url)).json() == ada.json


async def test_absent_leaves_alone(alice: Person, ada: Thing) -> None:
    """A patch leaves absent fields alone and advances `updated_at`."""
    response = await alice.patch(ada.url, json={"last_name": "King"})

    contact = response.json()
    assert response.status_code == 200
    assert contact == {**ada.json, "last_name": "King", "updated_at": contact["updated_at"]}
    assert contact["updated_at"] > ada.json["updated_at"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("description", "The first programmer."), ("time_zone", "Europe/London")],
)
async def test_null_clears(alice: Person, ada: Thing, member: str, value: str) -> None:
    """A field set to null is cleared and left out of the answer."""
    given = await alice.patch(ada.url, json={member: value})
    cleared = await alice.patch(ada.url, json={member: None})

    assert given.json()[member] == value
    assert member not in cleared.json()


async def test_null_clears_names(alice: Person, ada: Thing) -> None:
    """A cleared name is shown as null."""
    response = await alice.patch(ada.url, json={"first_name": None, "last_name": None})

    assert (response.json()["first_name"], response.json()["last_name"]) == (None, None)


async def test_null_clears_the_company(alice: Person, ada: Thing, engine: Thing, stored: Stored) -> None:
    """A null `company_id` removes a contact's company."""
    given = await alice.patch(ada.url, json={"company_id": engine.id})
    cleared = await alice.patch(ada.url, json={"company_id": None})

    assert given.json()["company"] == {"id": engine.id, "object": "company"}
    assert "company" not in cleared.json()
    assert (await stored.row(ada))["company_id"] is None


@pytest.mark.parametrize("name", ["emails", "phone_numbers"])
async def test_null_is_no_array(alice: Person, ada: Thing, name: str) -> None:
    """Null is refused for an array; an empty array clears it."""
    response = await alice.patch(ada.url, json={name: None})

    assert response.status_code == 422
    assert faults(response) == [(name, "invalid_type")]


async def test_an_array_replaces_the_array(alice: Person, ada: Thing, stored: Stored) -> None:
    """The addresses of a patch replace all addresses of the contact."""
    response = await alice.patch(ada.url, json={"emails": [{"email": "ada@home.test"}, {"email": "ada@work.test"}]})

    assert response.json()["emails"] == [
        {"email": "ada@home.test", "is_primary": True},
        {"email": "ada@work.test", "is_primary": False},
    ]
    assert await stored.addresses(ada) == {"ada@home.test", "ada@work.test"}


async def test_an_empty_array_empties(alice: Person, ada: Thing, stored: Stored) -> None:
    """An empty array removes all addresses, and they are free."""
    response = await alice.patch(ada.url, json={"emails": []})

    assert response.json()["emails"] == []
    assert await stored.addresses(ada) == set()


async def test_the_change_is_entered(alice: Person, ada: Thing, stored: Stored) -> None:
    """The ledger entry has the contact, and the old values of the members that changed, null for none."""
    response = await alice.patch(ada.url, json={"first_name": "Ada", "last_name": "King", "description": "Countess"})
    change = (await stored.changes())[-1]

    assert (change.seq, change.kind, change.action) == (2, "c", "u")
    assert change.previous == {"last_name": "Lovelace", "description": None}
    assert change.object == response.json()


async def test_the_row_is_what_was_answered(alice: Person, ada: Thing, stored: Stored) -> None:
    """The row and the ETag have the number of the change as version, and the row has the contact's time."""
    response = await alice.patch(ada.url, json={"last_name": "King"})
    row = await stored.row(ada)

    assert (row["version"], response.headers["ETag"]) == (2, '"2"')
    assert row["updated_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ") == response.json()["updated_at"]
    assert row["last_name_word"] == "king"


async def test_the_words_follow_the_contact(alice: Person, ada: Thing, stored: Stored) -> None:
    """A word is removed when no name or address has it any more. Names are sorted as a whole."""
    await alice.patch(ada.url, json={"first_name": "Engine No. 1", "emails": [{"email": "ada@home.test"}]})
    row = await stored.row(ada)

    assert (row["first_name_word"], row["last_name_word"]) == ("engine no. 1", "lovelace")
    assert await stored.words(ada) == {"no", "1", "ada", "home", "test"}


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"first_name": "Ada"},
        {"description": None, "time_zone": None, "company_id": None},
        {"emails": [{"email": "ada@engine.test"}]},
        {"emails": [{"email": " ada@engine.test\t", "is_primary": True}]},
        {"emails": [{"email": "ada@engine.test", "is_primary": False}], "phone_numbers": []},
    ],
)
async def test_what_changes_nothing_writes_nothing(alice: Person, ada: Thing, stored: Stored, patch: Json) -> None:
    """A request that changes nothing keeps `updated_at` and the ETag, and adds no ledger entry."""
    response = await alice.patch(ada.url, json=patch)

    assert response.status_code == 200
    assert response.json() == ada.json
    assert response.headers["ETag"] == ada.etag
    assert len(await stored.changes()) == 1


async def test_no_body_changes_nothing(alice: Person, ada: Thing, stored: Stored) -> None:
    """An absent body means `{}`."""
    response = await alice.patch(ada.url)

    assert response.json() == ada.json
    assert len(await stored.changes()) == 1


async def test_another_spelling_is_a_change(alice: Person, ada: Thing, stored: Stored) -> None:
    """Another spelling of an address is a change, because addresses are compared without case but kept as sent."""
    response = await alice.patch(ada.url, json={"emails": [{"email": "Ada@Engine.test"}]})

    assert response.json()["emails"] == [{"email": "Ada@Engine.test", "is_primary": True}]
    assert (await stored.changes())[-1].previous == {"emails": [{"email": "ada@engine.test", "is_primary": True}]}
    assert await stored.addresses(ada) == {"ada@engine.test"}


async def test_the_order_of_an_array_is_a_change(alice: Person, ada: Thing) -> None:
    """Another order of an array is a change."""
    emails = [{"email": "a@x.test", "is_primary": True}, {"email": "b@x.test", "is_primary": False}]
    first = await alice.patch(ada.url, json={"emails": emails})
    second = await alice.patch(ada.url, json={"emails": emails[::-1]})

    assert second.json()["emails"] == emails[::-1]
    assert second.headers["ETag"] != first.headers["ETag"]


EMAILS = [{"email": "a@x.test", "is_primary": False}, {"email": "b@x.test", "is_primary": True}]


@pytest.mark.parametrize(
    ("emails", "primary"),
    [
        ([{"email": "a@x.test"}, {"email": "B@X.test"}], "B@X.test"),
        ([{"email": "a@x.test"}, {"email": "b@x.test", "is_primary": False}], "b@x.test"),
        ([{"email": "a@x.test", "is_primary": True}, {"email": "b@x.test"}], "a@x.test"),
        ([{"email": "c@x.test"}, {"email": "a@x.test"}], "c@x.test"),
    ],
)
async def test_the_primary_address(alice: Person, ada: Thing, emails: list[dict[str, Any]], primary: str) -> None:
    """The primary address is the marked one, else the previous one if it is still listed, else the first."""
    await alice.patch(ada.url, json={"emails": EMAILS})
    response = await alice.patch(ada.url, json={"emails": emails})

    assert [item["email"] for item in response.json()["emails"] if item["is_primary"]] == [primary]


PHONES = [{"phone_number": "+44 20 7946 0018"}, {"phone_number": "+442079460018", "is_primary": True}]


@pytest.mark.parametrize(
    ("numbers", "primary"),
    [
        (["+44 20 7946 0018", "+442079460018"], 1),
        (["0800", "+44 (0)20 7946 0018"], 1),
        (["0800", "0801"], 0),
        (["+442079460018", "+442079460018"], 0),
    ],
)
async def test_the_primary_number(alice: Person, ada: Thing, numbers: list[str], primary: int) -> None:
    """The same rule holds for phone numbers, matched by spelling first, then by the number they spell."""
    await alice.patch(ada.url, json={"phone_numbers": PHONES})
    response = await alice.patch(ada.url, json={"phone_numbers": [{"phone_number": number} for number in numbers]})

    marks = [item["is_primary"] for item in response.json()["phone_numbers"]]
    assert marks == [index == primary for index in range(len(numbers))]


@pytest.mark.parametrize(("name", "member"), [("emails", "email"), ("phone_numbers", "phone_number")])
async def test_two_primaries_are_refused(alice: Person, ada: Thing, name: str, member: str) -> None:
    """At most one item is primary, and each further one is reported."""
    items = [{member: f"{index}@x.test", "is_primary": index > 0} for index in range(4)]
    response = await alice.patch(ada.url, json={name: items})

    assert response.status_code == 422
    assert faults(response) == [
        (f"{name}[2].is_primary", "multiple_primary"),
        (f"{name}[3].is_primary", "multiple_primary"),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ada@home.test", "ADA@HOME.TEST"),
        ("ada@home.test", " ada@home.test"),
        ("ada@home.test", '"ada"@home.test'),
        ("ada@münchen.test", "ada@xn--mnchen-3ya.test"),
        ("ädä@home.test", "Ädä@home.test"),
        ("a\u0301da@home.test", "\u00e1da@home.test"),
    ],
)
async def test_the_same_address_twice_is_refused(alice: Person, ada: Thing, first: str, second: str) -> None:
    """Two spellings of one address are duplicates."""
    response = await alice.patch(ada.url, json={"emails": [{"email": first}, {"email": second}]})

    assert response.status_code == 422
    assert faults(response) == [("emails[1].email", "duplicate")]


async def test_a_number_may_stand_there_twice(alice: Person, ada: Thing) -> None:
    """Duplicate phone numbers are kept, as the source system has them."""
    response = await alice.patch(ada.url, json={"phone_numbers": [{"phone_number": "0800"}, {"phone_number": "0800"}]})

    assert [item["is_primary"] for item in response.json()["phone_numbers"]] == [True, False]


async def test_email_of_another_contact_is_refused(alice: Person, grace: Thing, ada: Thing) -> None:
    """An address belongs to one active contact of a workspace."""
    response = await alice.patch(grace.url, json={"emails": [{"email": "ADA@engine.test"}]})

    assert response.status_code == 409
    assert response.json()["errors"][0]["field"] == "emails[0].email"
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}


async def test_a_conflict_changes_nothing(alice: Person, grace: Thing, ada: Thing, stored: Stored) -> None:
    """A refused patch is not applied even in part."""
    emails = [{"email": "new@navy.test"}, {"email": "ada@engine.test"}]
    await alice.patch(grace.url, json={"last_name": "Murray", "emails": emails})

    assert (await alice.get(grace.url)).json() == grace.json
    assert await stored.addresses(grace) == {"grace@navy.test"}
    assert await stored.addresses(ada) == {"ada@engine.test"}
    assert len(await stored.changes()) == 2


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, grace: Thing, ada: Thing) -> None:
    """A caller without the read scope learns that the address is taken, but not by whom."""
    response = await dave.patch(grace.url, json={"emails": [{"email": "ada@engine.test"}]})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert ada.id not in response.text


async def test_an_address_that_was_given_up_is_free(alice: Person, grace: Thing, ada: Thing, stored: Stored) -> None:
    """Two contacts can swap addresses step by step."""
    await alice.patch(ada.url, json={"emails": []})
    await alice.patch(grace.url, json={"emails": ada.json["emails"]})
    response = await alice.patch(ada.url, json={"emails": grace.json["emails"]})

    assert response.json()["emails"] == grace.json["emails"]
    assert await stored.addresses(grace) == {"ada@engine.test"}
    assert await stored.addresses(ada) == {"grace@navy.test"}


@pytest.mark.usefixtures("ada")
async def test_a_deleted_contact_blocks_nothing(alice: Person, grace: Thing, ada: Thing, stored: Stored) -> None:
    """The addresses of a deleted contact are free."""
    await alice.delete(ada.url)
    response = await alice.patch(grace.url, json={"emails": [{"email": "ada@engine.test"}]})

    assert response.status_code == 200
    assert await stored.addresses(grace) == {"ada@engine.test"}


async def test_one_of_many_gets_the_address(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """Only one of several simultaneous claims on an address succeeds; the others get a conflict."""
    patch = {"emails": [{"email": "both@x.test"}]}
    async with TaskGroup() as tasks:
        writes = [tasks.create_task(alice.patch(thing.url, json=patch)) for thing in (ada, grace)]

    assert sorted(write.result().status_code for write in writes) == [200, 409]
    assert len(await stored.addresses(ada) | await stored.addresses(grace)) == 2
    assert len(await stored.changes()) == 3


@pytest.mark.parametrize(
    ("company_id", "code"),
    [
        ("engine", "invalid_format"),
        ("CMP_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "invalid_format"),
        ("cmp_ü", "invalid_format"),
        ("cmp_1", "not_found"),
        (UNKNOWN_COMPANY, "not_found"),
    ],
)
async def test_a_company_that_is_not_there_is_refused(alice: Person, ada: Thing, company_id: str, code: str) -> None:
    """A malformed company id is told apart from an unknown one."""
    response = await alice.patch(ada.url, json={"company_id": company_id})

    assert response.status_code == 422
    assert faults(response) == [("company_id", code)]


async def test_a_company_of_another_workspace_is_refused(alice: Person, charlie: Person, ada: Thing) -> None:
    """A company of another workspace is refused as unknown."""
    company = Thing(await charlie.post("/api/v2/companies", json={"domains": []}))
    response = await alice.patch(ada.url, json={"company_id": company.id})

    assert response.status_code == 422
    assert faults(response) == [("company_id", "not_found")]


@pytest.mark.parametrize("time_zone", ["Europe/London", "UTC", "Asia/Calcutta", "GB", "America/Argentina/Buenos_Aires"])
async def test_time_zones_are_those_of_iana(alice: Person, ada: Thing, time_zone: str) -> None:
    """A name in IANA's database is accepted and kept as sent, aliases included."""
    response = await alice.patch(ada.url, json={"time_zone": time_zone})

    assert response.status_code == 200
    assert response.json()["time_zone"] == time_zone


@pytest.mark.parametrize("time_zone", ["Mars/Olympus", "europe/london", " UTC", "UTC\n", "+01:00", "../../etc/passwd", "zones"])
async def test_other_time_zones_are_refused(alice: Person, ada: Thing, time_zone: str) -> None:
    """Any other name or spelling is refused as a time zone."""
    response = await alice.patch(ada.url, json={"time_zone": time_zone})

    assert response.status_code == 422
    assert faults(response) == [("time_zone", "unknown_time_zone")]


@pytest.mark.parametrize(
    ("sent", "right"),
    [
        *(("W. Europe Standard Time", "Europe/Berlin"), ("w. europe standard time", "Europe/Berlin"), ("utc", "UTC")),
        *(("Eastern Standard Time", "America/New_York"), ("China Standard Time", "Asia/Shanghai"), ("gmt", "GMT")),
        *(
            ("europe/berlin", "Europe/Berlin"),
            ("EUROPE/LONDON", "Europe/London"),
            (" UTC", "UTC"),
            ("gb-eire", "Europe/London"),
        ),
        *(("america/new york", "America/New_York"), ("America/New York", "America/New_York")),
        *(("UTC-02", "Etc/GMT+2"), ("AUS Eastern  Standard Time", "Australia/Sydney"), ("Factory", "Europe/London")),
        *(("Mars/Olympus", "Europe/London"), ("+01:00", "Europe/London")),
    ],
)
async def test_the_name_of_a_time_zone_is_told(alice: Person, ada: Thing, sent: str, right: str) -> None:
    """Names of Windows and other spellings are refused with the name in IANA's database, and others with an example."""
    response = await alice.patch(ada.url, json={"time_zone": sent})

    assert faults(response) == [("time_zone", "unknown_time_zone")]
    assert f"`{right}`" in response.json()["detail"]


@pytest.mark.parametrize(
    ("contact", "remedy"),
    [
        ({"first_name": ""}, "eave the field out"),
        ({"description": ""}, "eave the field out"),
        ({"time_zone": ""}, "eave the field out"),
        ({"emails": [{"email": ""}]}, "eave the item out"),
        ({"emails": [{"email": " "}]}, "eave the item out"),
        ({"phone_numbers": [{"phone_number": ""}]}, "eave the item out"),
    ],
)
async def test_what_a_form_sends_for_nothing_is_refused_with_the_remedy(
    alice: Person, ada: Thing, contact: Json, remedy: str
) -> None:
    """An empty text is no value; whether it means "nothing" or "clear" is the client's to say, and the refusal says how."""
    for response in (await alice.patch(ada.url, json=contact), await alice.post("/api/v2/contacts", json=contact)):
        assert response.status_code == 422
        assert remedy in response.json()["detail"]


@pytest.mark.parametrize(("name", "most"), [("first_name", 255), ("last_name", 255), ("description", 2000)])
async def test_text_of_the_greatest_length_is_kept(alice: Person, ada: Thing, name: str, most: int) -> None:
    """Lengths count characters, not bytes."""
    text = "\U0001f600" * most
    response = await alice.patch(ada.url, json={name: text})

    assert response.status_code == 200
    assert response.json()[name] == text


@pytest.mark.parametrize(("name", "most"), [("first_name", 255), ("last_name", 255), ("description", 2000), ("time_zone", 255)])
async def test_text_that_is_too_long_is_refused(alice: Person, ada: Thing, name: str, most: int) -> None:
    """Text one character too long is refused."""
    response = await alice.patch(ada.url, json={name: "x" * (most + 1)})

    assert response.status_code == 422
    assert faults(response) == [(name, "too_long")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "too_short"),
        (" ", "blank"),
        ("\u200b", "blank"),
        ("\u3164", "blank"),
        ("\u2800 \ufe0f", "blank"),
        ("\u2066\u00ad\u200d", "blank"),
        ("\U000e0041", "blank"),
        ("\t\n\u00a0\u2003\u3000", "blank"),
        ("\u0000", "invalid_characters"),
        ("a\u0000b", "invalid_characters"),
        (5, "invalid_type"),
        (True, "invalid_type"),
        (["Ada"], "invalid_type"),
        ({"first": "Ada"}, "invalid_type"),
    ],
)
@pytest.mark.parametrize("name", ["first_name", "description"])
async def test_text_that_is_none_is_refused(alice: Person, ada: Thing, name: str, text: Json, code: str) -> None:
    """Text must not be empty or contain NUL, which PostgreSQL cannot store."""
    response = await alice.patch(ada.url, json={name: text})

    assert response.status_code == 422
    assert faults(response) == [(name, code)]


@pytest.mark.parametrize("text", [" Ada ", "Ada\n", "\u200fعدا", "A\u0301da", "\\u0000", "<b>'\"&%_\\", "\x1f\x01", "\ufffe"])
async def test_text_is_kept_as_sent(alice: Person, ada: Thing, text: str) -> None:
    """Text is not trimmed, normalized or escaped."""
    response = await alice.patch(ada.url, json={"first_name": text, "description": text})

    contact = (await alice.get(ada.url)).json()
    assert response.status_code == 200
    assert (contact["first_name"], contact["description"]) == (text, text)


@pytest.mark.parametrize(
    ("number", "code"),
    [("", "too_short"), ("x" * 256, "too_long"), (" ", "blank"), ("1\u00002", "invalid_characters"), (1, "invalid_type")],
)
async def test_a_number_that_is_none_is_refused(alice: Person, ada: Thing, number: Json, code: str) -> None:
    """A phone number has 1 to 255 characters."""
    response = await alice.patch(ada.url, json={"phone_numbers": [{"phone_number": "0800"}, {"phone_number": number}]})

    assert response.status_code == 422
    assert faults(response) == [("phone_numbers[1].phone_number", code)]


@pytest.mark.parametrize(("name", "member"), [("emails", "email"), ("phone_numbers", "phone_number")])
async def test_a_hundred_items_are_the_most(alice: Person, ada: Thing, name: str, member: str) -> None:
    """An array takes at most 100 items."""
    items = [{member: f"{index}@x.test"} for index in range(101)]
    refused = await alice.patch(ada.url, json={name: items})
    taken = await alice.patch(ada.url, json={name: items[:100]})

    assert (refused.status_code, taken.status_code) == (422, 200)
    assert faults(refused) == [(name, "too_long")]
    assert len(taken.json()[name]) == 100


MISTAKES: list[tuple[Json, tuple[str, str]]] = [
    ({"emails": {}}, ("emails", "invalid_type")),
    ({"emails": ["ada@x.test"]}, ("emails[0]", "invalid_type")),
    ({"emails": [None]}, ("emails[0]", "invalid_type")),
    ({"emails": [{}]}, ("emails[0].email", "required")),
    ({"emails": [{"email": None}]}, ("emails[0].email", "invalid_type")),
    ({"emails": [{"email": ""}]}, ("emails[0].email", "invalid_format")),
    ({"emails": [{"email": "a@x.test", "is_primary": 1}]}, ("emails[0].is_primary", "invalid_type")),
    ({"emails": [{"email": "a@x.test", "is_primary": None}]}, ("emails[0].is_primary", "invalid_type")),
    ({"phone_numbers": [{"number": "1"}]}, ("phone_numbers[0].number", "unknown_field")),
    ({"id": "cnt_1"}, ("id", "unknown_field")),
    ({"object": "contact"}, ("object", "unknown_field")),
    ({"updated_at": "2026-03-01T12:00:00Z"}, ("updated_at", "unknown_field")),
    ({"company": None}, ("company", "unknown_field")),
    ({"": 1}, ("", "unknown_field")),
]


@pytest.mark.parametrize(("body", "fault"), MISTAKES)
async def test_the_place_of_a_mistake_is_named(alice: Person, ada: Thing, body: Json, fault: tuple[str, str]) -> None:
    """`field` is the path to the fault."""
    response = await alice.patch(ada.url, json=body)

    assert response.status_code == 422
    assert fault in faults(response)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("frist_name", "first_name"), ("firstName", "first_name"), ("timezone", "time_zone"), ("email", "emails")],
)
async def test_a_typo_is_told_with_the_nearest_name(alice: Person, ada: Thing, name: str, nearest: str) -> None:
    """An unknown field is refused, and the message suggests the nearest name."""
    response = await alice.patch(ada.url, json={name: "Ada", "last_name": "King"})

    assert response.status_code == 422
    assert faults(response) == [(name, "unknown_field")]
    assert f"Did you mean `{nearest}`?" in response.json()["detail"]
    assert (await alice.get(ada.url)).json() == ada.json


async def test_a_name_like_no_other_is_told_what_there_is(alice: Person, ada: Thing) -> None:
    """The message lists all names if none is near."""
    response = await alice.patch(ada.url, json={"zzz": 1})

    assert "`first_name`, `last_name`, `description`" in response.json()["detail"]


async def test_all_mistakes_are_told(alice: Person, ada: Thing) -> None:
    """Faults of type, rule and name are reported together."""
    body: Json = {"last_name": "", "time_zone": "Nowhere", "emails": [{"email": 1}, {"email": "x"}], "nick": "Ada"}
    response = await alice.patch(ada.url, json=body)

    assert sorted(faults(response)) == [
        ("emails[0].email", "invalid_type"),
        ("emails[1].email", "invalid_format"),
        ("last_name", "too_short"),
        ("nick", "unknown_field"),
        ("time_zone", "unknown_time_zone"),
    ]


async def test_if_match_lets_the_current_version_through(alice: Person, ada: Thing) -> None:
    """A patch with the current ETag is applied."""
    response = await alice.patch(ada.url, json={"last_name": "King"}, headers={"If-Match": ada.etag})

    assert response.status_code == 200
    assert response.headers["ETag"] != ada.etag


@pytest.mark.parametrize("tags", ["*", '"0", "1"', '"1","7"', 'W/"2", "1"'])
async def test_if_match_may_name_several(alice: Person, ada: Thing, tags: str) -> None:
    """`*` matches any version, and one match in a list is enough."""
    response = await alice.patch(ada.url, json={"last_name": "King"}, headers={"If-Match": tags})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "tags", ['"2"', '"0"', 'W/"1"', "1", '"01"', '"1 "', '"+1"', '"\u0661"', "", '"x", "y"', f'"{"9" * 5000}"']
)
async def test_if_match_stops_other_versions(alice: Person, ada: Thing, stored: Stored, tags: str) -> None:
    """If-Match compares strongly, and 412 shows the current ETag."""
    response = await alice.patch(ada.url, json={"last_name": "King"}, headers={"If-Match": tags})

    assert response.status_code == 412
    assert response.headers["ETag"] == ada.etag == '"1"'
    assert response.json()["type"].endswith("/precondition_failed")
    assert len(await stored.changes()) == 1


async def test_if_match_stops_what_would_change_nothing(alice: Person, ada: Thing) -> None:
    """A stale version is refused even if the patch would change nothing."""
    response = await alice.patch(ada.url, json={}, headers={"If-Match": '"7"'})

    assert response.status_code == 412


async def test_one_of_many_edits_passes(alice: Person, ada: Thing) -> None:
    """Only one of several simultaneous edits of one version succeeds."""
    async with TaskGroup() as tasks:
        edits = [
            tasks.create_task(alice.patch(ada.url, json={"last_name": name}, headers={"If-Match": ada.etag}))
            for name in ("King", "Byron", "Noel")
        ]

    assert sorted(edit.result().status_code for edit in edits) == [200, 412, 412]


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, even if the contact has changed since."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.patch(ada.url, json={"last_name": "King"}, headers=key)
    await alice.patch(ada.url, json={"last_name": "Byron"})
    second = await alice.patch(ada.url, json={"last_name": "King"}, headers=key)

    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 3


async def test_a_retry_passes_its_own_if_match(alice: Person, ada: Thing) -> None:
    """A retry gets the first answer even though the first attempt made its If-Match stale."""
    headers = {"Idempotency-Key": str(uuid4()), "If-Match": ada.etag}
    first, second = [await alice.patch(ada.url, json={"last_name": "King"}, headers=headers) for _ in range(2)]

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_retries_at_the_same_time_write_once(alice: Person, ada: Thing, stored: Stored) -> None:
    """Simultaneous retries get the same answer and write once."""
    key = {"Idempotency-Key": str(uuid4())}
    async with TaskGroup() as tasks:
        writes = [tasks.create_task(alice.patch(ada.url, json={"last_name": "King"}, headers=key)) for _ in range(5)]

    assert len({write.result().content for write in writes}) == 1
    assert len(await stored.changes()) == 2


@pytest.mark.parametrize("other", ["body", "contact", "precondition", "operation"])
async def test_a_key_with_another_request_is_refused(
    alice: Person, ada: Thing, grace: Thing, stored: Stored, other: str
) -> None:
    """A request with another body, contact, precondition or operation is a different request."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.patch(ada.url, json={"last_name": "King"}, headers=key)
    response = await alice.request(
        "DELETE" if other == "operation" else "PATCH",
        grace.url if other == "contact" else ada.url,
        json={"last_name": "Byron" if other == "body" else "King"},
        headers={**key, "If-Match": "*"} if other == "precondition" else key,
    )

    assert response.status_code == 422
    assert faults(response) == [("Idempotency-Key", "idempotency_key_reused")]
    assert len(await stored.changes()) == 3


async def test_a_key_of_what_changed_nothing_is_kept(alice: Person, ada: Thing) -> None:
    """A retry gets the first answer even if the first request changed nothing and would change something now."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.patch(ada.url, json={"last_name": "Lovelace"}, headers=key)
    await alice.patch(ada.url, json={"last_name": "King"})
    response = await alice.patch(ada.url, json={"last_name": "Lovelace"}, headers=key)

    assert response.json() == ada.json
    assert response.headers["Idempotency-Replayed"] == "true"


async def test_a_refusal_is_not_kept(alice: Person, ada: Thing, grace: Thing) -> None:
    """A key may be used again after a refusal, because nothing happened."""
    key = {"Idempotency-Key": str(uuid4())}
    patch = {"emails": [{"email": "ada@engine.test"}]}
    refused = await alice.patch(grace.url, json=patch, headers=key)
    await alice.delete(ada.url)
    response = await alice.patch(grace.url, json=patch, headers=key)

    assert (refused.status_code, response.status_code) == (409, 200)
    assert "Idempotency-Replayed" not in response.headers


async def test_scope_comes_before_body(bob: Person, ada: Thing) -> None:
    """403 takes precedence over 422."""
    response = await bob.patch(ada.url, json={"first_name": ""})

    assert response.status_code == 403


async def test_scope_comes_before_object(bob: Person) -> None:
    """403 takes precedence over 404."""
    response = await bob.patch(UNKNOWN, json={})

    assert response.status_code == 403


@pytest.mark.parametrize("url", [UNKNOWN, "/api/v2/contacts/nobody"])
@pytest.mark.parametrize("body", [{"first_name": ""}, {"company_id": UNKNOWN_COMPANY}])
async def test_body_comes_before_object(alice: Person, url: str, body: Json) -> None:
    """422 takes precedence over 404, whatever the faults are."""
    response = await alice.patch(url, json=body)

    assert response.status_code == 422


async def test_key_comes_before_object(alice: Person) -> None:
    """An invalid Idempotency-Key takes precedence over 404, too."""
    response = await alice.patch("/api/v2/contacts/nobody", json={}, headers={"Idempotency-Key": ""})

    assert response.status_code == 422


@pytest.mark.parametrize("body", [{"first_name": ""}, {"company_id": UNKNOWN_COMPANY}])
async def test_body_comes_before_if_match(alice: Person, ada: Thing, body: Json) -> None:
    """422 takes precedence over 412."""
    response = await alice.patch(ada.url, json=body, headers={"If-Match": '"7"'})

    assert response.status_code == 422


@pytest.mark.usefixtures("ada")
async def test_body_comes_before_conflict(alice: Person, grace: Thing) -> None:
    """422 takes precedence over 409."""
    body = {"emails": [{"email": "ada@engine.test"}], "company_id": UNKNOWN_COMPANY}
    response = await alice.patch(grace.url, json=body)

    assert response.status_code == 422


async def test_object_comes_before_if_match(alice: Person) -> None:
    """404 takes precedence over 412."""
    response = await alice.patch(UNKNOWN, json={}, headers={"If-Match": '"7"'})

    assert response.status_code == 404


@pytest.mark.usefixtures("ada")
async def test_object_comes_before_conflict(alice: Person) -> None:
    """404 takes precedence over 409."""
    response = await alice.patch(UNKNOWN, json={"emails": [{"email": "ada@engine.test"}]})

    assert response.status_code == 404


@pytest.mark.usefixtures("ada")
async def test_if_match_comes_before_conflict(alice: Person, grace: Thing) -> None:
    """412 takes precedence over 409."""
    patch = {"emails": [{"email": "ada@engine.test"}]}
    response = await alice.patch(grace.url, json=patch, headers={"If-Match": '"7"'})

    assert response.status_code == 412


@pytest.mark.parametrize("contact_id", ["nobody", "cnt_", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, stored: Stored, contact_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.patch(f"/api/v2/contacts/{contact_id}", json={"first_name": "Eve"})

    assert response.status_code == 404
    assert await stored.changes() == []


async def test_a_deleted_contact_is_not_found(alice: Person, ada: Thing) -> None:
    """A patch cannot revive a deleted contact."""
    await alice.delete(ada.url)
    response = await alice.patch(ada.url, json={"first_name": "Eve"})

    assert response.status_code == 404


async def test_a_deleted_company_is_refused(
    alice: Person, ada: Thing, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A contact cannot refer to a deleted company."""
    await pool.execute("update company set deleted_at = now() where id = $1", engine.uuid)
    response = await alice.patch(ada.url, json={"company_id": engine.id})

    assert response.status_code == 422
    assert faults(response) == [("company_id", "not_found")]


async def test_a_key_is_kept_for_a_day(alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A key is forgotten after 24 hours, and not before."""
    key = {"Idempotency-Key": str(uuid4())}
    aged = "update idempotency_record set at = (at at time zone 'UTC' - $2::interval) at time zone 'UTC' where key = $1"
    await alice.patch(ada.url, json={"last_name": "King"}, headers=key)
    await pool.execute(aged, key["Idempotency-Key"], timedelta(hours=23, minutes=59))
    replayed = await alice.patch(ada.url, json={"last_name": "King"}, headers=key)
    await pool.execute(aged, key["Idempotency-Key"], timedelta(minutes=2))
    written = await alice.patch(ada.url, json={"last_name": "Byron"}, headers=key)

    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in written.headers
    assert written.json()["last_name"] == "Byron"


async def test_a_retry_by_the_other_base_path_is_one(alice: Person, ada: Thing) -> None:
    """`/v2/...` and `/api/v2/...` are the same request for a retry."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.patch(ada.url, json={"last_name": "King"}, headers=key)
    second = await alice.patch(ada.url.removeprefix("/api"), json={"last_name": "King"}, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
