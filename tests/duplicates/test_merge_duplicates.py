"""The operation POST /herdbook/duplicates/merge."""

import httpx
import pytest

from herdbook.duplicates import api
from tests.cast import Json, Person
from tests.duplicates.listed import URL, company, contact, groups, phone

MERGE = f"{URL}/merge"


async def plant(alice: Person) -> list[str]:
    """Create three that are surely the same, two that may be, and two that are others. Return the ids of the first three."""
    sure = [
        await contact(alice, "Ada", "Lovelace", f"ada@engine{index}.test", phone_numbers=phone("+44 20 7946 0000"))
        for index in range(3)
    ]
    for index in range(2):
        await contact(alice, "Katherine", "Johnson", f"kj@engine{index}.test")
    await contact(alice, "Grace", "Hopper")
    await contact(alice, "Edith", "Clarke")
    return [each.id for each in sure]


async def merge(person: Person, min_score: float, **options: str) -> Json:
    """Merge all contacts from a score on."""
    response = await person.post(MERGE, json={"object_type": "contact", "min_score": min_score}, params=options)
    assert response.status_code == 200, response.text
    return response.json()


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    assert (await client.post(MERGE, json={"object_type": "contact", "min_score": 0.9})).status_code == 401


async def test_charlie_merges_nothing(charlie: Person, alice: Person) -> None:
    """The contacts of another workspace stay apart."""
    await plant(alice)

    assert (await merge(charlie, 0.5))["groups"] == []
    assert len(await groups(alice)) == 2


async def test_who_may_only_read_is_refused(bob: Person, alice: Person) -> None:
    """It needs the scope to write contacts."""
    await plant(alice)

    response = await bob.post(MERGE, json={"object_type": "contact", "min_score": 0.9})

    assert response.status_code == 403
    assert "contacts:write" in response.json()["detail"]


async def test_a_dry_run_changes_nothing(alice: Person) -> None:
    """A dry run returns the groups that would be merged."""
    sure = await plant(alice)

    expected = await merge(alice, 0.95, dry_run="true")

    (group,) = expected["groups"]
    assert expected["dry_run"]
    assert {group["id"], *group["merged"]} == {*sure}
    assert group["problem"] is None
    assert len(await groups(alice)) == 2


async def test_one_undo_takes_all_back(alice: Person) -> None:
    """All groups from the score on are merged in one request, which one undo takes back."""
    sure = await plant(alice)

    done = await merge(alice, 0.95)
    (group,) = done["groups"]
    kept = (await alice.get(f"/api/v2/contacts/{group['id']}")).json()
    assert {each["email"] for each in kept["emails"]} == {f"ada@engine{index}.test" for index in range(3)}
    assert len(await groups(alice)) == 1

    undone = await alice.post("/api/herdbook/undo", json={"request_id": done["request_id"]})
    assert undone.status_code == 200, undone.text
    assert {*sure} in await groups(alice)


async def test_a_second_request_merges_nothing_more(alice: Person) -> None:
    """The same request again finds nothing to merge."""
    await plant(alice)
    await merge(alice, 0.95)

    assert (await merge(alice, 0.95))["groups"] == []


async def test_a_group_that_cannot_be_merged_says_why(alice: Person) -> None:
    """A group with too many addresses together stays apart, with the reason, and the others are merged."""
    many = [f"ada{index}@engine.test" for index in range(60)], [f"ada{index}@other.test" for index in range(60)]
    for addresses in many:
        await contact(alice, "Ada", "Lovelace", *addresses, phone_numbers=phone("+44 20 7946 0000"))
    for _ in range(2):
        await contact(alice, "Grace", "Hopper", phone_numbers=phone("+1 202 555 0143"))

    done = (await merge(alice, 0.95))["groups"]

    (refused,) = [each for each in done if each["problem"]]
    assert "100 is the limit" in refused["problem"]["errors"][0]["message"]
    assert len(done) == 2
    assert len(await groups(alice)) == 1


async def test_companies(alice: Person) -> None:
    """Companies are merged in the same way."""
    first = await company(alice, "Acme Inc", "acme.test")
    second = await company(alice, "ACME", "acme.example")

    response = await alice.post(MERGE, json={"object_type": "company", "min_score": 0.9})

    (group,) = response.json()["groups"]
    assert {group["id"], *group["merged"]} == {first.id, second.id}
    domains = (await alice.get(f"/api/v2/companies/{group['id']}")).json()["domains"]
    assert {each["domain"] for each in domains} == {"acme.test", "acme.example"}


async def test_groups_behind_those_that_are_refused_are_merged(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor goes on behind the groups of an answer, also if all of these were refused."""
    monkeypatch.setattr(api, "MAX_MERGED", 1)
    for place in ("engine", "other"):
        addresses = [f"ada{index}@{place}.test" for index in range(60)]
        await contact(alice, "Ada", "Lovelace", *addresses, phone_numbers=phone("+44 20 7946 0000", "+44 20 7946 0001"))
    for _ in range(2):
        await contact(alice, "Grace", "Hopper", phone_numbers=phone("+1 202 555 0143"))

    refused = await merge(alice, 0.95)
    behind = await alice.post(MERGE, json={"object_type": "contact", "min_score": 0.95, "cursor": refused["next_cursor"]})
    other = await alice.post(MERGE, json={"object_type": "contact", "min_score": 0.9, "cursor": refused["next_cursor"]})

    assert [bool(each["problem"]) for each in refused["groups"]] == [True]
    assert [each["problem"] for each in behind.json()["groups"]] == [None]
    assert behind.json()["next_cursor"] is None
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "min_score")
