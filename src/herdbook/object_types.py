"""All kinds of objects, as the ledger stores them."""

from typing import Any, Final

from herdbook.companies.commands import COMPANY
from herdbook.contacts.commands import CONTACT
from herdbook.engagements.commands import ENGAGEMENT, TRANSCRIPT
from herdbook.ledger.changes import Kind
from herdbook.ledger.object_types import ObjectType
from herdbook.tags.commands import TAG
from herdbook.transcript_comments.commands import TRANSCRIPT_COMMENT
from herdbook.users.commands import USER
from herdbook.webhooks.commands import WEBHOOK_ENDPOINT

OBJECT_TYPES: Final[dict[Kind, ObjectType[Any, Any]]] = {
    object_type.kind: object_type
    for object_type in (CONTACT, COMPANY, USER, TAG, ENGAGEMENT, TRANSCRIPT, TRANSCRIPT_COMMENT, WEBHOOK_ENDPOINT)
}
