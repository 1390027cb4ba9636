"""GET /herdbook/companies/{company_id}/contacts."""

import httpx

from tests.cast import Person, Thing
from tests.history.requests import company_named, person_named


def url_of(company: Thing) -> str:
    """Return the URL of a company's contacts."""
    return f"/api/herdbook/companies/{company.id}/contacts"


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(url_of(engine))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, engine: Thing) -> None:
    """A company of another workspace is not found."""
    assert (await charlie.get(url_of(engine))).status_code == 404


async def test_dave_is_refused(dave: Person, engine: Thing) -> None:
    """A write-only credential cannot read anything."""
    assert (await dave.get(url_of(engine))).status_code == 403


async def test_it_has_the_contacts_of_the_company(alice: Person, bob: Person, engine: Thing, ada: Thing) -> None:
    """The list has the active contacts of the company, in the order of other lists, and no others."""
    first, second = [await person_named(alice, first_name=name, company_id=engine.id) for name in ("Mary", "Grace")]
    gone = await person_named(alice, company_id=engine.id)
    await alice.delete(gone.url)
    listed = (await bob.get(url_of(engine))).json()

    assert [each["id"] for each in listed["data"]] == [second.id, first.id]
    assert ada.id not in str(listed)


async def test_it_comes_in_pages_and_takes_the_parameters_of_contacts(alice: Person, engine: Thing) -> None:
    """Order, search, limit and cursor work as in the list of all contacts."""
    people = [await person_named(alice, first_name=f"Mary {number}", company_id=engine.id) for number in range(3)]
    await person_named(alice, first_name="Grace", company_id=engine.id)
    page = (await alice.get(url_of(engine), params={"search": "mary", "order_by": "updated_at:asc", "limit": 2})).json()
    rest = (await alice.get(url_of(engine), params={"cursor": page["next_cursor"]})).json()

    assert [each["id"] for each in page["data"] + rest["data"]] == [each.id for each in people]
    assert rest["has_more"] is False


async def test_a_cursor_belongs_to_one_company(alice: Person, engine: Thing) -> None:
    """The cursor of one company's list is refused for another company."""
    mill = await company_named(alice, "mill.test")
    for _ in range(2):
        await person_named(alice, company_id=engine.id)
    cursor = (await alice.get(url_of(engine), params={"limit": 1})).json()["next_cursor"]

    assert (await alice.get(url_of(mill), params={"cursor": cursor})).status_code == 400


async def test_a_company_that_is_gone_has_no_list(alice: Person, engine: Thing) -> None:
    """The contacts of a deleted company are not found; those of a merged one name the company that replaces it."""
    mill, last = await company_named(alice, "mill.test"), await company_named(alice, "last.test")
    await alice.post(f"/api/herdbook/companies/{last.id}/merge", json={"from": [mill.id]})
    await alice.delete(engine.url)
    of_deleted, of_merged = await alice.get(url_of(engine)), await alice.get(url_of(mill))

    assert (of_deleted.status_code, of_merged.status_code) == (404, 404)
    assert "merged_into" not in of_deleted.json()
    assert of_merged.json()["merged_into"] == last.id


async def test_a_filter_by_another_company_leaves_nobody(alice: Person, engine: Thing) -> None:
    """A filter narrows the list; it adds no contacts of other companies."""
    other = await company_named(alice)
    for company in (engine, other):
        await person_named(alice, company_id=company.id)
    listed = (await alice.get(url_of(engine), params={"filter[company_id][eq]": other.id})).json()

    assert listed["data"] == []
