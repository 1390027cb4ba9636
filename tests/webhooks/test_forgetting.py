"""When stored deliveries are deleted."""

from herdbook.webhooks import store
from tests.cast import Person
from tests.webhooks.endpoints import WEBHOOKS, Books, Endpoint, add_contacts


async def test_what_the_ledger_has_forgotten_is_forgotten(alice: Person, endpoint: Endpoint, books: Books) -> None:
    """Deliveries of trimmed entries are deleted, except waiting ones, which the courier gives up itself."""
    await add_contacts(alice, "Ada", "Grace", "Edith", "Kathleen", "Barbara")
    for seq, state in ((2, "delivered"), (3, "failed"), (4, "waiting"), (5, "skipped"), (6, "failed")):
        await books.note(endpoint, seq, state)
    await books.trim(endpoint, 5)
    await store.forget_old_deliveries(books.pool)

    assert [(noted["seq"], noted["state"]) for noted in await books.noted(endpoint)] == [(4, "waiting"), (6, "failed")]


async def test_while_the_ledger_keeps_all_nothing_is_forgotten(alice: Person, endpoint: Endpoint, books: Books) -> None:
    """Deliveries are kept while the ledger keeps their entries, however old they are."""
    await add_contacts(alice, "Ada")
    await books.note(endpoint, 2, "failed")
    await store.forget_old_deliveries(books.pool)

    assert len(await books.noted(endpoint)) == 1


async def test_of_a_deleted_endpoint_all_is_forgotten(alice: Person, endpoint: Endpoint, books: Books) -> None:
    """A deleted endpoint's rows go some time later, when no attempt can be under way; its neighbour's stay."""
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await add_contacts(alice, "Ada")
    for each in (endpoint, other):
        await books.note(each, 3, "waiting")
    await alice.delete(endpoint.url)
    await store.forget_old_deliveries(books.pool)
    kept = len(await books.noted(endpoint))
    await books.age_deletion(endpoint)
    await store.forget_old_deliveries(books.pool)

    assert (kept, len(await books.noted(endpoint)), len(await books.noted(other))) == (1, 0, 1)
    assert not await books.has_reader(endpoint)
    assert await books.has_reader(other)


async def test_much_is_forgotten_in_slices(alice: Person, endpoint: Endpoint, books: Books) -> None:
    """Many deliveries are deleted in slices."""
    await books.note_many(endpoint, 4500)
    await alice.delete(endpoint.url)
    await books.age_deletion(endpoint)
    await store.forget_old_deliveries(books.pool)

    assert await books.noted(endpoint) == []
