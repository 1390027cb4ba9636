"""The test of an endpoint from the server's own process: how it handles an example event.

Imported on first use: an HTTP client takes a third of a second to import, and most servers need none.
"""

from functools import lru_cache
from uuid import UUID

from herdbook.settings import TargetRules
from herdbook.webhook_endpoints.store import EndpointState
from herdbook.webhook_endpoints.targets import allowed_by
from herdbook.webhooks.events import Event
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import Sender


async def attempt(rules: TargetRules, workspace_id: UUID, state: EndpointState, told: Event) -> Attempt:
    """Send an event at once to an endpoint, and return the attempt."""
    url = state.endpoint.url
    return await _sender(rules).attempt(url, workspace_id, state.signing_secrets, told.id, told.body, state.own_headers)


@lru_cache
def _sender(rules: TargetRules) -> Sender:
    return Sender(allowed_by(rules))
