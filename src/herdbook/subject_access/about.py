"""The facts about a record: when it was made, and which keys, programs and webhooks may have received the data."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import list_keys
from herdbook.db.pool import Executor
from herdbook.erasure.model import Subject
from herdbook.erasure.store import imports_of
from herdbook.oauth.store import list_clients
from herdbook.shared_schemas import shown_time
from herdbook.subject_access.others import host_of
from herdbook.subject_access.page import About, Receiver, Source
from herdbook.subject_access.store import Endpoint, endpoints_of, workspace_now

# A scope for writing is enough, because the answer to a write has the object.
_TELLING: Final = ("contacts:", "engagements:", "transcript_timelines:", "transcript_comments:", ADMIN)


class Retention(NamedTuple):
    """The settings of the server that say for how many days data are kept; 0: for ever."""

    history_days: int
    deleted_days: int


async def about_record(
    statements: Executor, workspace_id: UUID, subject: Subject, asked_for: str, retention: Retention
) -> About:
    """Return the facts about the record of a person."""
    workspace = await workspace_now(statements, workspace_id)
    keys = [each for each in await list_keys(statements, workspace_id) if _is_told(each.scopes)]
    clients = [each for each in await list_clients(statements, workspace_id) if _is_told(each.scopes)]
    return About(
        asked_for=asked_for,
        made_at=shown_time(workspace.now),
        workspace=workspace.name,
        contact_ids=tuple(ids.encoded(ids.CONTACT, each) for each in sorted(subject.contact_ids)),
        engagement_ids=tuple(ids.encoded(ids.ENGAGEMENT, each) for each in sorted(subject.engagement_ids)),
        history_days=retention.history_days,
        deleted_days=retention.deleted_days,
        credentials=(
            *(
                Source(
                    credential_id=key.id,
                    shown_id=ids.encoded(ids.CREDENTIAL, key.id),
                    name=key.name,
                    scopes=tuple(key.scopes),
                    last_used_at=_shown(key.last_used_at),
                    ended_at=_shown(key.revoked_at or key.expires_at),
                )
                for key in keys
            ),
            *(
                Source(
                    credential_id=client.id,
                    shown_id=ids.encoded(CLIENT_PREFIX, client.id),
                    name=client.name,
                    scopes=tuple(client.scopes),
                    last_used_at=_shown(client.last_used_at),
                    ended_at=_shown(client.revoked_at),
                )
                for client in clients
            ),
        ),
        webhook_endpoints=tuple(_receiver(each) for each in await endpoints_of(statements, workspace_id)),
        unread_imports=tuple(each.id for each in await imports_of(statements, workspace_id)),
    )


def _receiver(endpoint: Endpoint) -> Receiver:
    return Receiver(
        shown_id=ids.encoded(ids.WEBHOOK_ENDPOINT, endpoint.id),
        host=host_of(endpoint.url),
        event_types=None if endpoint.event_types is None else tuple(endpoint.event_types),
        deleted_at=_shown(endpoint.deleted_at),
    )


def _is_told(scopes: Sequence[str]) -> bool:
    return any(scope.startswith(_TELLING) for scope in scopes)


def _shown(time: datetime | None) -> str | None:
    return None if time is None else shown_time(time)
