"""The kinds of business objects: all kinds but webhook endpoints, whose types of events follow from this list."""

from typing import Final

from herdbook.companies.store import COMPANY
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.store import FIELD
from herdbook.engagements.store import ENGAGEMENT, TRANSCRIPT
from herdbook.notes.store import NOTE
from herdbook.tags.store import TAG
from herdbook.transcript_comments.store import TRANSCRIPT_COMMENT
from herdbook.users.store import USER

BUSINESS_TYPES: Final = (CONTACT, COMPANY, USER, TAG, FIELD, ENGAGEMENT, TRANSCRIPT, TRANSCRIPT_COMMENT, NOTE)
