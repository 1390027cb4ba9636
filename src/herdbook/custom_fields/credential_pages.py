"""The page of what was done to an API key or an OAuth client, which are in no ledger."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook.console.page import Shown
from herdbook.console.visit import Visit
from herdbook.custom_fields.telling import credential_history

LIMIT: Final = 50
TEMPLATE: Final = "history/history.html"


class CredentialType(NamedTuple):
    """A type of credentials, as the page of its history calls one."""

    name: str
    noun: str


async def show_credential_history(visit: Visit, object_type: CredentialType, credential_id: UUID, back: str) -> Shown:
    """Show what was done to a credential that is there, revoked or not."""
    found = await credential_history(visit, credential_id, _uuid(visit.query.get("cursor", "")), LIMIT + 1)
    shown, following = found[:LIMIT], found[LIMIT:]
    context: dict[str, Any] = {
        "object_type": object_type,
        "history": shown,
        "has_more": bool(following),
        "back": back,
        "is_there": True,
        "has_moments": False,
        "may_write": False,
        "why_none": f"This {object_type.noun} is older than the first release that kept who did what to keys and clients.",
        "next": visit.next_page(shown[-1].entry["version"] if following else None),
    }
    return Shown(context)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(hex=text)
    except ValueError:
        return None
