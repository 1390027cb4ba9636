"""All kinds of objects. The feed, histories and webhooks read this list."""

from typing import Final

from herdbook.business_types import BUSINESS_TYPES
from herdbook.ledger.object_types import ObjectTypes
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT

OBJECT_TYPES: Final = ObjectTypes(*BUSINESS_TYPES, WEBHOOK_ENDPOINT)
