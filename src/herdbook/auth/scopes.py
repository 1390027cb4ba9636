"""The scopes of credentials."""

from typing import Final

ADMIN: Final = "workspace:admin"

SCOPES: Final[dict[str, str]] = {
    "companies:read": "List and read companies.",
    "companies:write": "Create, update and delete companies, and manage their CRM association.",
    "contacts:read": "List and read contacts.",
    "contacts:write": "Create, update and delete contacts, and manage their CRM association.",
    "engagements:read": "List and read engagements that are not private.",
    "engagements:write": "Create engagements, and replace their contacts and tags.",
    "engagements:private:read": "Read private engagements too; needs `engagements:read` as well.",
    "engagements:private:write": "Change private engagements too; needs `engagements:write` as well.",
    "tags:read": "List and read tags.",
    "tags:write": "Create, update and delete tags.",
    "transcript_timelines:read": "Read the transcript timelines of engagements.",
    "transcript_comments:read": "Read transcript comments.",
    "transcript_comments:write": "Write transcript comments.",
    "users:read": "List and read users.",
    ADMIN: "Everything.",
}
