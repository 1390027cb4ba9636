"""Random contacts and random patches, checked against a small model of the rules of PATCH."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.cast import Json, Person, Thing, faults
from tests.contacts.patch_model import ENGINE, PATCHES, UNKNOWN_COMPANY, after, conflicts_of, faults_of
from tests.repeats import repeats

URL = "/api/v2/contacts"

by_chance = settings(
    max_examples=repeats(400),
    deadline=None,
    derandomize=True,
    # All examples share one workspace, so each cleans up after itself.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest_asyncio.fixture
async def holder(alice: Person) -> Thing:
    """A contact with the address that the model calls taken."""
    return Thing(await alice.post(URL, json={"emails": [{"email": "TAKEN@x.test"}]}))


def expected(body: Mapping[str, Any], *, creating: bool = False) -> tuple[int, list[tuple[str, str]]]:
    """Return the status and the faults that the rules demand for an existing contact."""
    if wrong := faults_of(body, creating=creating):
        return 422, wrong
    if body.get("company_id") == UNKNOWN_COMPANY:
        return 422, [("company_id", "not_found")]
    if conflicts := conflicts_of(body):
        return 409, conflicts
    return (201 if creating else 200), []


def answered(response: httpx.Response) -> tuple[int, list[tuple[str, str]]]:
    """Return the status and the faults of an answer."""
    return response.status_code, [] if response.is_success else sorted(faults(response))


def members(contact: Json) -> Json:
    """Return a contact without `updated_at`."""
    return {name: value for name, value in contact.items() if name != "updated_at"}


def sent(body: Mapping[str, Any], engine: Thing) -> Json:
    """Return a body with the id of the existing company."""
    return {**body, "company_id": engine.id} if body.get("company_id") == ENGINE else body


async def follow(alice: Person, before: httpx.Response, patch: Mapping[str, Any], engine: Thing) -> httpx.Response:
    """Patch a contact; compare the answer with the model; return the patched contact."""
    url = f"{URL}/{before.json()['id']}"
    response = await alice.patch(url, json=sent(patch, engine))
    now = await alice.get(url)
    contact = after(members(before.json()), sent(patch, engine)) if response.is_success else members(before.json())
    changed = contact != members(before.json())

    assert answered(response) == expected(patch)
    assert members(now.json()) == contact
    assert (now.json()["updated_at"] > before.json()["updated_at"]) == changed
    assert (int(now.headers["ETag"].strip('"')) > int(before.headers["ETag"].strip('"'))) == changed
    if response.is_success:
        assert (response.content, response.headers["ETag"]) == (now.content, now.headers["ETag"])
    event(f"{response.status_code}, {'changed' if changed else 'as it was'}")
    return now


@by_chance
@given(patches=st.lists(PATCHES, min_size=1, max_size=4))
@pytest.mark.usefixtures("holder")
async def test_contacts_follow_the_model(alice: Person, engine: Thing, patches: Sequence[Mapping[str, Any]]) -> None:
    """Status, codes, the contact, its ETag and its times follow the rules, patch by patch."""
    contact = await alice.post(URL, json={})
    try:
        for patch in patches:
            contact = await follow(alice, contact, patch, engine)
    finally:
        await alice.delete(f"{URL}/{contact.json()['id']}")


@by_chance
@given(body=PATCHES)
@pytest.mark.usefixtures("holder")
async def test_new_contacts_follow_the_model(alice: Person, engine: Thing, body: Mapping[str, Any]) -> None:
    """A contact is created by the rules for patching an empty one, except that null is refused."""
    response = await alice.post(URL, json=sent(body, engine))
    if response.is_success:
        await alice.delete(f"{URL}/{response.json()['id']}")
        blank: Json = {"object": "contact", "first_name": None, "last_name": None, "emails": [], "phone_numbers": []}
        contact = {name: value for name, value in members(response.json()).items() if name not in ("id", "created_at")}
        assert contact == after(blank, sent(body, engine))

    assert answered(response) == expected(body, creating=True)
