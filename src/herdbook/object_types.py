"""All kinds of objects. The feed, histories and webhooks read this list."""

from typing import Final

from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.ledger.object_types import ObjectTypes
from herdbook.tags.store import TAG
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT
from herdbook.users.store import USER
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT

OBJECT_TYPES: Final = ObjectTypes(CONTACT, COMPANY, USER, TAG, ENGAGEMENT, TRANSCRIPT, TRANSCRIPT_COMMENT, WEBHOOK_ENDPOINT)
