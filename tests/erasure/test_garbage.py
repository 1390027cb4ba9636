"""Commands that miss rows leave nothing to the garbage collector: a collection of many holds the event loop for 70 ms."""

from collections.abc import Callable

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.erasure.commands import EraseSlice
from herdbook.erasure.erasing import command_for
from herdbook.erasure.steps import MAX_ENGAGEMENTS
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person
from tests.erasure.test_erase_contact import marked
from tests.erasure.test_slices import engage
from tests.http.test_garbage import collects

__all__ = ["collects"]


async def test_a_slice_leaves_no_garbage(alice: Person, ledger: Ledger, own_pool: Pool, collects: Callable[[], int]) -> None:
    """The slices of an erasure leave no cycle of references, though each is applied again for rows that it missed."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 8 * MAX_ENGAGEMENTS)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=True)
    await ledger.write(alice.workspace_id, command, origin)
    # The first slices of each kind make decoders.
    for _ in range(6):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)
    collects()
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)

    assert collects() == 0


async def test_a_known_participant_leaves_no_garbage(alice: Person, ledger: Ledger, collects: Callable[[], int]) -> None:
    """An engagement whose participant is a known contact leaves no cycle, though its address was tried for a new one."""
    await marked(alice)
    await engage(ledger, alice, 0, 5)
    collects()
    await engage(ledger, alice, 5, 5)

    assert collects() == 0
