"""The test of an endpoint from the server's own process: how it handles an example event.

Imported on first use: an HTTP client takes a third of a second to import, and most servers need none.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from herdbook.settings import TargetRules
from herdbook.webhook_endpoints.targets import allowed_by
from herdbook.webhooks.events import Event
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import Sender


async def attempt(rules: TargetRules, url: str, workspace_id: UUID, signing_secrets: Sequence[str], told: Event) -> Attempt:
    """Send an event at once, and return the attempt."""
    return await _sender(rules).attempt(url, workspace_id, signing_secrets, told.id, told.body)


@lru_cache
def _sender(rules: TargetRules) -> Sender:
    return Sender(allowed_by(rules))
