"""The looks of a courier: where it is told that a ledger has moved, where something fell due, and at all endpoints."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest_asyncio

from herdbook import ids
from tests.cast import Person
from tests.webhooks.receiver import TAKEN, Receiver, answer
from tests.webhooks.webhook_app import WebhookApp, subscribe, uuid_of, write_contact


@pytest_asyncio.fixture
async def looked(post: WebhookApp) -> AsyncGenerator[WebhookApp]:
    """An office whose courier has looked at all endpoints."""
    await post.deliver()
    yield post


async def _look(post: WebhookApp) -> None:
    await post.courier.look_at_some()
    await post.courier.settled()


async def test_a_new_endpoint_is_found_when_its_workspace_moves(looked: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A courier that is told of a change delivers to an endpoint that was not there when it looked at all."""
    await subscribe(owner, receiver.url)
    await write_contact(owner)
    looked.courier.moved([owner.workspace_id])
    await looked.courier.settled()

    assert len(receiver.requests) == 1


async def test_a_change_that_nobody_told_is_found(looked: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A notification may be lost: the look that comes each second finds the workspaces of the latest changes."""
    await subscribe(owner, receiver.url)
    await write_contact(owner)
    await _look(looked)

    assert len(receiver.requests) == 1


async def test_a_retry_is_found_when_it_falls_due(looked: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A retry is made once its time has come, although its workspace has not moved since."""
    await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500, b"") if len(receiver.requests) == 1 else TAKEN
    await write_contact(owner)
    await _look(looked)
    # As if the change and its failure were long past.
    await looked.pool.execute("update change set request_id = '01000000-0000-0000-0000-000000000000'")
    await looked.pool.execute("update webhook_reader set failing_since = null")
    await _look(looked)
    before = len(receiver.requests)
    looked.clock.go(timedelta(seconds=10))
    await _look(looked)

    assert (before, len(receiver.requests)) == (1, 2)


async def test_a_retry_that_was_committed_late_is_found(looked: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A retry that was asked for just before the last look, and committed after it, is made."""
    endpoint = await subscribe(owner, receiver.url)
    await write_contact(owner)
    await _look(looked)
    await looked.pool.execute("update change set request_id = '01000000-0000-0000-0000-000000000000'")
    entry = await looked.pool.fetchrow(
        "select seq, at from change where workspace_id = $1 and kind = 'c' order by seq desc limit 1", owner.workspace_id
    )
    assert entry is not None
    await looked.pool.execute(
        """
        insert into webhook_delivery
            (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts, is_resend)
        select workspace_id, endpoint_id, $2, 'v1.contact.created', $3, 'waiting', 0, $4, '[]', true
        from webhook_reader where endpoint_id = $1
        """,
        uuid_of(endpoint),
        entry["seq"],
        entry["at"],
        looked.clock.now - timedelta(seconds=3),
    )
    await _look(looked)

    assert len(receiver.requests) == 2


async def test_a_lease_that_ended_is_taken_over(looked: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """When the courier that has an endpoint dies, another one takes over, although the workspace has not moved since."""
    await subscribe(owner, receiver.url)
    await write_contact(owner)
    await looked.pool.execute(
        """
        update webhook_reader set lease_holder = $1, leased_until = now() - interval '1 second'
        where is_enabled
        """,
        ids.new_id(),
    )
    await looked.pool.execute("update change set request_id = '01000000-0000-0000-0000-000000000000'")
    await _look(looked)

    assert len(receiver.requests) == 1


async def test_notifications_that_were_missed_lead_to_a_look_at_all(
    looked: WebhookApp, owner: Person, receiver: Receiver
) -> None:
    """A courier that could not listen for a time looks at all endpoints; until then, it finds nothing of long ago."""
    await subscribe(owner, receiver.url)
    await write_contact(owner)
    await looked.pool.execute("update change set request_id = '01000000-0000-0000-0000-000000000000'")
    running = asyncio.create_task(looked.courier.run())
    await _look(looked)
    before = len(receiver.requests)
    looked.courier.missed()
    await receiver.wait_for(1)
    await looked.courier.stop()
    await running

    assert before == 0
