"""The change entries: what changed, from what, to what, when, by whom, in which request."""

from datetime import datetime
from enum import Enum
from typing import Final, LiteralString
from uuid import UUID

import msgspec


class Kind(Enum):
    """What a change is about; one byte in the table, since there are more entries than anything else."""

    CONTACT = "c"
    COMPANY = "o"
    USER = "u"
    TAG = "t"
    ENGAGEMENT = "e"
    TRANSCRIPT = "r"
    TRANSCRIPT_COMMENT = "n"


class Action(Enum):
    """What a change did; one byte in the table."""

    CREATED = "c"
    UPDATED = "u"
    DELETED = "d"


class Change(msgspec.Struct, frozen=True):
    """One entry of a workspace's ledger.

    `seq` is gapless in its workspace, in the order of commits. `object` is the object as the API shows it after the change;
    `previous` holds the old values of the members that an update changed, and is None for the other actions.
    """

    workspace_id: UUID
    seq: int
    at: datetime
    kind: Kind
    object_id: UUID
    action: Action
    request_id: UUID
    credential_id: UUID
    previous: object
    object: object


SAVE_CHANGES: Final[LiteralString] = """
    change_entered as (
        insert into change
            (workspace_id, seq, at, kind, object_id, action, request_id, credential_id, previous, object)
        select r.workspace_id, r.seq, r.at, r.kind, r.object_id, r.action, r.request_id, r.credential_id, r.previous, r.object
        from json_to_recordset($rows) as r(
            workspace_id uuid, seq bigint, at timestamptz, kind "char", object_id uuid, action "char",
            request_id uuid, credential_id uuid, previous json, object json
        )
        join held on held.id = r.workspace_id
    )
"""
