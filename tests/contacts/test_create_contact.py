"""POST /v2/contacts."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from herdbook.ledger.ledger import Ledger, Written
from herdbook.phone_numbers import read_number
from tests.cast import Json, Person, Stored, Thing, faults

URL = "/api/v2/contacts"
UNKNOWN_COMPANY = "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def test_an_unknown_company_comes_before_a_precondition(alice: Person) -> None:
    """422 takes precedence over 412 when creating, too."""
    company = {"company_id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}
    both = await alice.post("/api/v2/contacts", json=company, headers={"If-Match": '"1"'})
    one = await alice.post("/api/v2/contacts", json={}, headers={"If-Match": "*"})

    assert both.status_code == 422
    assert one.status_code == 412


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json={"first_name": "Eve"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing, engine: Thing) -> None:
    """A contact cannot refer to an object of another workspace."""
    response = await charlie.post(URL, json={"company_id": engine.id, "emails": [{"email": "ada@engine.test"}]})

    assert response.status_code == 422
    assert faults(response) == [("company_id", "not_found")]
    assert ada.id not in response.text


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot create anything."""
    response = await bob.post(URL, json={"first_name": "Eve"})

    assert response.status_code == 403
    assert "contacts:write" in response.json()["detail"]
    assert await stored.changes() == []


async def test_dave_needs_no_more_than_the_write_scope(dave: Person) -> None:
    """The write scope is enough to create a contact and to see the result."""
    response = await dave.post(URL, json={"first_name": "Eve"})

    assert response.status_code == 201
    assert response.json()["first_name"] == "Eve"


async def test_everything_that_is_sent_comes_back(alice: Person, engine: Thing) -> None:
    """The response shows the contact as stored."""
    response = await alice.post(
        URL,
        json={
            "first_name": "Ada",
            "last_name": "Lovelace",
            "description": "The first programmer.",
            "company_id": engine.id,
            "emails": [{"email": "ada@engine.test"}, {"email": "Ada@Home.test", "is_primary": True}],
            "phone_numbers": [{"phone_number": "020 7946 0018"}],
            "time_zone": "Europe/London",
        },
    )

    contact = response.json()
    assert response.status_code == 201
    assert re.fullmatch("cnt_[0-9A-HJKMNP-TV-Z]{26}", contact.pop("id"))
    assert contact.pop("created_at") == contact.pop("updated_at")
    assert contact == {
        "object": "contact",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "description": "The first programmer.",
        "company": {"id": engine.id, "object": "company"},
        "emails": [
            {"email": "ada@engine.test", "is_primary": False},
            {"email": "Ada@Home.test", "is_primary": True},
        ],
        "phone_numbers": [{"phone_number": "020 7946 0018", "is_primary": True}],
        "time_zone": "Europe/London",
    }


async def test_what_is_empty_is_null_or_left_out(alice: Person) -> None:
    """Empty names are null, empty lists are shown as such, and other empty members are left out."""
    response = await alice.post(URL, json={})

    contact = response.json()
    assert response.status_code == 201
    assert set(contact) == {
        *("object", "id", "first_name", "last_name", "emails", "phone_numbers", "created_at", "updated_at"),
    }
    assert (contact["first_name"], contact["last_name"], contact["emails"], contact["phone_numbers"]) == (None, None, [], [])


async def test_no_body_is_an_empty_contact(alice: Person) -> None:
    """An absent body means `{}`."""
    response = await alice.post(URL)

    assert response.status_code == 201
    assert response.json()["first_name"] is None


async def test_times_are_in_utc_with_microseconds(ada: Thing) -> None:
    """A time has six fractional digits and a `Z`."""
    times = (ada.json["created_at"], ada.json["updated_at"])

    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)


async def test_it_is_there_at_once(alice: Person, ada: Thing) -> None:
    """A read shows what the response showed, under the same ETag."""
    response = await alice.get(ada.url)

    assert response.json() == ada.json
    assert response.headers["ETag"] == ada.etag


async def test_the_change_is_entered(ada: Thing, stored: Stored) -> None:
    """The ledger has one entry: the new contact, with no previous state."""
    (change,) = await stored.changes()

    assert (change.seq, change.kind, change.action) == (1, "c", "c")
    assert change.previous is None
    assert change.object == ada.json


async def test_the_version_is_the_ledgers_number(ada: Thing, grace: Thing, stored: Stored) -> None:
    """The ETag is the number of the ledger entry, and the numbers of a workspace have no gaps."""
    assert (ada.etag, grace.etag) == ('"1"', '"2"')
    assert [change.seq for change in await stored.changes()] == [1, 2]


async def test_the_address_is_claimed_in_the_form_that_is_compared(alice: Person, stored: Stored) -> None:
    """An address is stored as sent in the contact, and in comparable form beside it."""
    contact = Thing(await alice.post(URL, json={"emails": [{"email": " ADA@München.test "}]}))

    assert contact.json["emails"][0]["email"] == "ADA@München.test"
    assert await stored.addresses(contact) == {"ada@xn--mnchen-3ya.test"}


async def test_the_words_are_entered(ada: Thing, stored: Stored) -> None:
    """A search finds the contact by the words of names and addresses. The first word of either name is in the row."""
    row = await stored.row(ada)

    assert (row["first_name_word"], row["last_name_word"]) == ("ada", "lovelace")
    assert await stored.words(ada) == {"engine", "test"}


async def test_phone_numbers_have_an_e164_form_beside_them(alice: Person, stored: Stored) -> None:
    """Numbers are kept as sent; those with a country code are also stored in E.164 form."""
    numbers = [{"phone_number": "+44 (0)20 7946-0018"}, {"phone_number": "ask reception"}]
    contact = Thing(await alice.post(URL, json={"phone_numbers": numbers}))

    assert contact.json["phone_numbers"][0]["phone_number"] == "+44 (0)20 7946-0018"
    assert (await stored.row(contact))["phone_numbers_e164"] == ["+442079460018"]


async def test_two_contacts_may_share_a_phone_number(alice: Person) -> None:
    """A phone number never conflicts."""
    contact = {"phone_numbers": [{"phone_number": "+442079460018"}]}
    responses = [await alice.post(URL, json=contact) for _ in range(2)]

    assert [response.status_code for response in responses] == [201, 201]


async def test_an_address_that_is_taken_is_refused(alice: Person, ada: Thing, stored: Stored) -> None:
    """An address belongs to one active contact of a workspace, in any spelling."""
    response = await alice.post(URL, json={"emails": [{"email": "eve@engine.test"}, {"email": '"Ada"@ENGINE.test'}]})

    assert response.status_code == 409
    assert faults(response) == [("emails[1].email", "already_in_use")]
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}
    assert len(await stored.changes()) == 1


async def test_every_address_that_is_taken_is_named(alice: Person, ada: Thing, grace: Thing) -> None:
    """All conflicts are listed; the named holder is that of the first."""
    response = await alice.post(URL, json={"emails": [{"email": "grace@navy.test"}, {"email": "ada@engine.test"}]})

    assert faults(response) == [("emails[0].email", "already_in_use"), ("emails[1].email", "already_in_use")]
    assert response.json()["conflict"] == {"object": "contact", "id": grace.id}
    assert ada.id not in response.text


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, ada: Thing) -> None:
    """A caller without the read scope learns that the address is taken, but not by whom."""
    response = await dave.post(URL, json={"emails": [{"email": "ada@engine.test"}]})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert ada.id not in response.text


async def test_a_deleted_contact_blocks_nothing(alice: Person, ada: Thing, stored: Stored) -> None:
    """The addresses of a deleted contact are free."""
    await alice.delete(ada.url)
    heir = Thing(await alice.post(URL, json={"emails": [{"email": "ada@engine.test"}]}))

    assert await stored.addresses(heir) == {"ada@engine.test"}


async def test_another_workspace_blocks_nothing(charlie: Person, ada: Thing) -> None:
    """Each workspace has its own addresses."""
    response = await charlie.post(URL, json={"emails": ada.json["emails"]})

    assert response.status_code == 201


async def test_the_first_address_is_primary_where_none_is_marked(alice: Person) -> None:
    """The first of several addresses is primary if none is marked, or all are marked as not primary."""
    emails = [{"email": "a@x.test", "is_primary": False}, {"email": "b@x.test"}]
    response = await alice.post(URL, json={"emails": emails})

    assert [item["is_primary"] for item in response.json()["emails"]] == [True, False]


async def test_a_company_of_this_workspace_is_taken(alice: Person, engine: Thing, stored: Stored) -> None:
    """The contact refers to its company, in the response and in its row."""
    contact = Thing(await alice.post(URL, json={"company_id": engine.id}))

    assert contact.json["company"] == {"id": engine.id, "object": "company"}
    assert (await stored.row(contact))["company_id"] == engine.uuid


@pytest.mark.parametrize(
    ("company_id", "code"),
    [
        ("engine", "invalid_format"),
        ("", "invalid_format"),
        ("cmp_", "invalid_format"),
        ("cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "invalid_format"),
        ("cmp_01HQ-XVB", "invalid_format"),
        ("cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T\n", "invalid_format"),
        ("cmp_1", "not_found"),
        (UNKNOWN_COMPANY, "not_found"),
        (UNKNOWN_COMPANY.replace("HQX", "hqx"), "not_found"),
    ],
)
async def test_a_company_that_is_not_there_is_refused(alice: Person, company_id: str, code: str) -> None:
    """A malformed company id is told apart from an unknown one, and an id has only one spelling."""
    response = await alice.post(URL, json={"company_id": company_id})

    assert response.status_code == 422
    assert faults(response) == [("company_id", code)]


@pytest.mark.parametrize(
    "name", ["first_name", "last_name", "description", "company_id", "time_zone", "emails", "phone_numbers"]
)
async def test_null_is_refused(alice: Person, name: str) -> None:
    """A new contact has nothing to clear, so null is refused."""
    response = await alice.post(URL, json={name: None})

    assert response.status_code == 422
    assert faults(response) == [(name, "invalid_type")]


async def test_everything_that_is_wrong_is_told_at_once(alice: Person, stored: Stored) -> None:
    """All faults are reported at once, even within one array."""
    body: Json = {
        "first_name": "",
        "last_name": 5,
        "frist_name": "Ada",
        "company_id": "engine",
        "emails": [{"email": "nobody"}, {"email": "a@x.test", "is_primry": True}, {}, {"email": "A@X.test"}],
        "phone_numbers": [{"phone_number": "\u0000"}, {"phone_number": None}],
        "time_zone": "Mars/Olympus",
    }
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert sorted(faults(response)) == [
        ("company_id", "invalid_format"),
        ("emails[0].email", "invalid_format"),
        ("emails[1].is_primry", "unknown_field"),
        ("emails[2].email", "required"),
        ("first_name", "too_short"),
        ("frist_name", "unknown_field"),
        ("last_name", "invalid_type"),
        ("phone_numbers[0].phone_number", "invalid_characters"),
        ("phone_numbers[1].phone_number", "invalid_type"),
        ("time_zone", "unknown_time_zone"),
    ]
    assert await stored.changes() == []


async def test_a_refusal_is_a_problem(alice: Person) -> None:
    """A refusal has the members of a problem, and its text names the remedy."""
    response = await alice.post(URL, json={"frist_name": "Ada"})

    problem = response.json()
    assert problem["type"] == "https://app.askelephant.ai/errors/validation_failed"
    assert (problem["title"], problem["status"]) == ("Validation Failed", 422)
    assert "Did you mean `first_name`?" in problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]


async def test_if_match_is_refused(alice: Person, stored: Stored) -> None:
    """A new object has no version that If-Match could match, not even `*`."""
    response = await alice.post(URL, json={}, headers={"If-Match": "*"})

    assert response.status_code == 412
    assert "ETag" not in response.headers
    assert await stored.changes() == []


async def test_a_retry_gets_the_first_answer(alice: Person, stored: Stored) -> None:
    """A retry with the same Idempotency-Key creates no second contact."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.post(URL, json={"first_name": "Ada"}, headers=key) for _ in range(2)]

    assert second.status_code == 201
    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 1


async def test_a_key_with_another_request_is_refused(alice: Person, stored: Stored) -> None:
    """An Idempotency-Key belongs to one request."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.post(URL, json={"first_name": "Ada"}, headers=key)
    response = await alice.post(URL, json={"first_name": "Grace"}, headers=key)

    assert response.status_code == 422
    assert faults(response) == [("Idempotency-Key", "idempotency_key_reused")]
    assert len(await stored.changes()) == 1


async def test_a_key_is_its_credentials_own(alice: Person, dave: Person) -> None:
    """Two credentials may use the same key."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.post(URL, json={"first_name": "Ada"}, headers=key)
    response = await dave.post(URL, json={"first_name": "Grace"}, headers=key)

    assert response.status_code == 201
    assert response.json()["first_name"] == "Grace"


async def test_a_refusal_is_not_kept(alice: Person, ada: Thing) -> None:
    """A key may be used again after a refusal, because nothing happened."""
    key, contact = {"Idempotency-Key": str(uuid4())}, {"emails": [{"email": "ada@engine.test"}]}
    refused = await alice.post(URL, json=contact, headers=key)
    await alice.delete(ada.url)
    response = await alice.post(URL, json=contact, headers=key)

    assert (refused.status_code, response.status_code) == (409, 201)
    assert "Idempotency-Replayed" not in response.headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "nöt ascii"])
async def test_a_key_that_is_none_is_refused(alice: Person, stored: Stored, key: str) -> None:
    """An Idempotency-Key has 1 to 255 printable ASCII characters."""
    response = await alice.request("POST", URL, json={}, headers={"Idempotency-Key": key})

    assert response.status_code == 422
    assert faults(response) == [("Idempotency-Key", "invalid_format")]
    assert await stored.changes() == []


async def test_the_longest_key_is_taken(alice: Person) -> None:
    """A key of 255 characters is accepted."""
    response = await alice.post(URL, json={}, headers={"Idempotency-Key": "k" * 255})

    assert response.status_code == 201


async def test_scope_comes_before_body(bob: Person) -> None:
    """403 takes precedence over 422."""
    response = await bob.post(URL, json={"first_name": ""})

    assert response.status_code == 403


async def test_body_comes_before_if_match(alice: Person) -> None:
    """422 takes precedence over 412."""
    response = await alice.post(URL, json={"first_name": ""}, headers={"If-Match": '"1"'})

    assert response.status_code == 422


@pytest.mark.usefixtures("ada")
async def test_if_match_comes_before_conflict(alice: Person) -> None:
    """412 takes precedence over 409."""
    response = await alice.post(URL, json={"emails": [{"email": "ada@engine.test"}]}, headers={"If-Match": '"1"'})

    assert response.status_code == 412


@pytest.mark.usefixtures("ada")
async def test_company_comes_before_conflict(alice: Person) -> None:
    """An unknown company is a fault of the body, so its 422 takes precedence over 409."""
    body = {"emails": [{"email": "ada@engine.test"}], "company_id": UNKNOWN_COMPANY}
    response = await alice.post(URL, json=body)

    assert response.status_code == 422


async def test_both_base_paths_are_the_same(alice: Person) -> None:
    """`/v2/...` and `/api/v2/...` give the same answers."""
    response = await alice.post("/v2/contacts", json={"first_name": "Ada"})

    assert response.status_code == 201


async def test_phone_numbers_are_read_before_the_ledger_has_them(
    alice: Person, ada: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of many writes goes on without a pause, so nothing is left there to be read."""
    misses: list[int] = []
    write = Ledger.write

    async def noted(*arguments: Any) -> Written:
        misses.append(read_number.cache_info().misses)
        return await write(*arguments)

    monkeypatch.setattr(Ledger, "write", noted)
    for number in range(2):
        before = read_number.cache_info().misses
        items = [{"phone_number": f"+4420794{number}{each:04}"} for each in range(100)]
        if number:
            response = await alice.patch(ada.url, json={"phone_numbers": items})
        else:
            response = await alice.post(URL, json={"phone_numbers": items})
        assert response.status_code in (200, 201)
        assert misses.pop() == read_number.cache_info().misses == before + 100
