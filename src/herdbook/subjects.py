"""All kinds of objects, as the ledger stores them."""

from typing import Any, Final

from herdbook.companies.actions import COMPANY
from herdbook.contacts.actions import CONTACT
from herdbook.engagements.actions import ENGAGEMENT, TRANSCRIPT
from herdbook.ledger.changes import Kind
from herdbook.ledger.objects import Subject
from herdbook.tags.actions import TAG
from herdbook.transcript_comments.actions import TRANSCRIPT_COMMENT
from herdbook.users.actions import USER
from herdbook.webhooks.actions import WEBHOOK_ENDPOINT

SUBJECTS: Final[dict[Kind, Subject[Any, Any]]] = {
    subject.kind: subject
    for subject in (CONTACT, COMPANY, USER, TAG, ENGAGEMENT, TRANSCRIPT, TRANSCRIPT_COMMENT, WEBHOOK_ENDPOINT)
}
