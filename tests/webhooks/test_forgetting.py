"""When stored deliveries are deleted."""

from herdbook.webhooks import store
from tests.cast import Person
from tests.ledger.test_retention import statements_of
from tests.webhooks.endpoints import WEBHOOKS, DeliveryTables, Endpoint, add_contacts


async def test_what_the_ledger_has_forgotten_is_forgotten(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """Deliveries of trimmed entries are deleted, except waiting ones, which the courier gives up itself."""
    await add_contacts(alice, "Ada", "Grace", "Edith", "Kathleen", "Barbara")
    for seq, state in ((2, "delivered"), (3, "failed"), (4, "waiting"), (5, "skipped"), (6, "failed")):
        await delivery_tables.note(endpoint, seq, state)
    await delivery_tables.trim(endpoint, 5)
    await store.forget_old_deliveries(delivery_tables.pool)

    assert [(noted["seq"], noted["state"]) for noted in await delivery_tables.noted(endpoint)] == [
        (4, "waiting"),
        (6, "failed"),
    ]


async def test_answers_go_with_the_entry(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A delivery that outlives its entry has no answers of the receiver, because no erasure would find them; others have."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    for seq, state in ((2, "expired"), (3, "waiting"), (4, "expired")):
        await delivery_tables.note(endpoint, seq, state)
    await endpoint.post("disable")
    await delivery_tables.trim(endpoint, 3)

    await store.forget_old_deliveries(delivery_tables.pool)

    left = {noted["seq"]: noted["attempts"] for noted in await delivery_tables.noted(endpoint)}
    assert (left[2], left[3]) == ("[]", "[]")
    assert "Oh no" in left[4]


async def test_while_the_ledger_keeps_all_nothing_is_forgotten(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """Deliveries are kept while the ledger keeps their entries, however old they are."""
    await add_contacts(alice, "Ada")
    await delivery_tables.note(endpoint, 2, "failed")
    await store.forget_old_deliveries(delivery_tables.pool)

    assert len(await delivery_tables.noted(endpoint)) == 1


async def test_endpoints_with_nothing_to_forget_cost_nothing_each(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """A run takes as many statements for many endpoints as for one, if there is nothing to delete."""
    assert endpoint, "there is one"
    counts: list[int] = []
    async with delivery_tables.pool.acquire() as connection:
        for _ in range(2):
            counts.append(await statements_of(connection, store.forget_old_deliveries(connection)))
            for _ in range(5):
                await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"})

    assert counts[0] == counts[1]


async def test_of_a_deleted_endpoint_all_is_forgotten(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """A deleted endpoint's rows go some time later, when no attempt can be under way; its neighbour's stay."""
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await add_contacts(alice, "Ada")
    for each in (endpoint, other):
        await delivery_tables.note(each, 3, "waiting")
    await alice.delete(endpoint.url)
    await store.forget_old_deliveries(delivery_tables.pool)
    kept = len(await delivery_tables.noted(endpoint))
    await delivery_tables.age_deletion(endpoint)
    await store.forget_old_deliveries(delivery_tables.pool)

    assert (kept, len(await delivery_tables.noted(endpoint)), len(await delivery_tables.noted(other))) == (1, 0, 1)
    assert not await delivery_tables.has_reader(endpoint)
    assert await delivery_tables.has_reader(other)


async def test_much_is_forgotten_in_slices(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Many deliveries are deleted in slices."""
    await delivery_tables.note_many(endpoint, 4500)
    await alice.delete(endpoint.url)
    await delivery_tables.age_deletion(endpoint)
    await store.forget_old_deliveries(delivery_tables.pool)

    assert await delivery_tables.noted(endpoint) == []
