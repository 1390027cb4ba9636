"""Entries of the ledger as changes, in JSON, and the part of them that a caller may see."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import UnsetType

from herdbook import ids
from herdbook.auth.authenticate import Caller
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.contacts.store import CONTACT
from herdbook.engagements.commands import PRIVATE_READ
from herdbook.engagements.store import ENGAGEMENT
from herdbook.feed.store import FeedEntry, View
from herdbook.ledger.object_types import ObjectTypes
from herdbook.object_types import readable_types
from herdbook.shared_schemas import shown_time


class EncodedChange(NamedTuple):
    """A change ready to send: its position, its type, and its JSON."""

    position: int
    type: str
    body: bytes


def view_of(caller: Caller, object_types: ObjectTypes, names: Iterable[str] | UnsetType) -> View:
    """Return the part of the feed that a caller may see. Refusal: Forbidden, if that is nothing or less than these types."""
    shown = readable_types(caller, object_types, names)
    return View(tuple(shown), caller.may(PRIVATE_READ), all(caller.may(scope) for scope in CONTACT.read_scopes))


def encoded_change(entry: FeedEntry, view: View) -> EncodedChange:
    """Return an entry as the JSON of a change, with the parts of it that a view has."""
    object_, previous, object_type = entry.object, entry.previous, entry.object_type
    if object_type is ENGAGEMENT and not view.sees_details:
        object_, previous = _without_details(object_), previous and _without_details(previous)
    type_ = f"{object_type.name}.{entry.action.name.lower()}"
    head = (
        f'{{"object":"change","position":{entry.seq},"type":"{type_}","at":"{shown_time(entry.at)}",'
        f'"object_id":"{ids.encoded(object_type.prefix, entry.object_id)}",'
        f'"request_id":"{ids.encoded(ids.REQUEST, entry.request_id)}","credential_id":{_credential(entry)},"data":{{"object":'
    )
    body = [head.encode(), object_]
    if previous is not None:
        body += (b',"previous_attributes":', previous)
    body.append(b"}")
    if entry.merged_into is not None:
        body.append(f',"merged_into":"{ids.encoded(object_type.prefix, entry.merged_into)}"'.encode())
    return EncodedChange(entry.seq, type_, b"".join((*body, b"}")))


def _credential(entry: FeedEntry) -> str:
    """Return a credential id as JSON: null for changes from the command line."""
    if entry.credential_id == ids.NIL:
        return "null"
    return f'"{ids.encoded(CLIENT_PREFIX if entry.is_client else ids.CREDENTIAL, entry.credential_id)}"'


def _without_details(engagement: bytes) -> bytes:
    """Return an engagement without the details of its contacts. The rest stays the same, byte for byte."""
    members = msgspec.json.decode(engagement, type=dict[str, msgspec.Raw])
    members.pop("details", None)
    return msgspec.json.encode(members)
