"""Changes as people read them: members by their labels, options by theirs, and objects and users by their names."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.auth.store import credential_changes
from herdbook.console.page import Redirect, isolated, path_of
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.defined import defined
from herdbook.custom_fields.model import LISTS, REFERENCES, Field, FieldKind
from herdbook.custom_fields.naming import Named, name_of
from herdbook.fields import parsed_time
from herdbook.ledger.changes import same
from herdbook.shared_schemas import shown_time

# The types of objects that have names, by their plural in operations and paths.
PLURALS: Final = {"user": "users", "contact": "contacts", "company": "companies", "tag": "tags"}
_BY_PREFIX: Final = {
    ids.USER: "user",
    ids.CONTACT: "contact",
    ids.COMPANY: "company",
    ids.TAG: "tag",
    ids.ENGAGEMENT: "engagement",
}
_LABELS: Final = {
    "emails": "E-mail",
    "phone_numbers": "Phone",
    "domains": "Domains",
    "tag_ids": "Tags",
    "contact_ids": "Contacts",
    "company_ids": "Companies",
    "company_id": "Company",
    "contact_id": "Contact",
    "owner_user_id": "Owner",
    "host_user_id": "Host",
    "created_by": "Author",
    "crm_association": "CRM record",
    "redirect_uris": "Redirect addresses",
    "scopes": "May ask for",
    "external_ids": "External ids",
    "card_ids": "vCards",
    "hex_color": "Colour",
    "is_pinned": "Pinned",
    "is_private": "Private",
}
# Members that say nothing that others do not say.
_UNTOLD: Final = frozenset({"unique_values"})
# Members that consist of values under keys, each of which is told as a change of its own.
_KEYED: Final = frozenset({"fields", "labels"})
_CONSOLE: Final = "Console"
# The types of objects that no operation tells the history of, but that of the workspace.
_IN_ACTIVITY: Final = ("transcript_comment", "webhook_endpoint")
# The latest changes that the page of a conflict tells.
_MAX_SINCE: Final = 10


async def names_of(visit: Visit, object_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the objects with these ids that the person may read, by their ids."""
    by_type: dict[str, list[str]] = {}
    for object_id in dict.fromkeys(object_ids):
        if (name := _BY_PREFIX.get(object_id.partition("_")[0] + "_")) is not None:
            by_type.setdefault(name, []).append(object_id)
    found = await asyncio.gather(*(visit.each(f"get-{name}-by-id", Named, some) for name, some in by_type.items()))
    return {key: name_of(value) for each in found for key, value in each.items()}


async def credential_history(visit: Visit, credential_id: UUID, before: UUID | None, limit: int) -> list["ToldEntry"]:
    """Return what was done to an API key or an OAuth client, the latest first. The version of an entry is its id."""
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    found = await credential_changes(pool, workspace_id, credential_id, before, limit)
    entries = [
        {
            "version": each.id.hex,
            "action": each.action,
            "at": shown_time(each.at),
            "request_id": None if each.request_id is None else ids.encoded(ids.REQUEST, each.request_id),
            "by": {
                "user_id": None if each.user_id is None else ids.encoded(ids.USER, each.user_id),
                "credential_id": None,
                "credential_name": None,
            },
            "changes": msgspec.json.decode(each.changes),
        }
        for each in found
    ]
    return await told(visit, entries, lambda _: "credential")


async def deletion_of(visit: Visit, object_type: str, object_id: str) -> Mapping[str, Any] | None:
    """Return the entry of the deletion of an object, or None if it is not deleted."""
    try:
        found = await visit.call(f"get-{object_type}-history", Listed[dict[str, Any]], object_id, query={"limit": "1"})
    except Refused:
        return None
    return next((entry for entry in found.value.data if entry["action"] == "deleted"), None)


async def changed_since(
    visit: Visit, object_type: str, object_id: str, *, version: str = "", seen: str = ""
) -> list["ToldEntry"]:
    """Return what was done to an object since a version or a time, the latest first; nothing if no history can be read."""
    try:
        if object_type in _IN_ACTIVITY:
            query = {"types": object_type, "limit": "100"}
            listed = (await visit.call("list-activity", Listed[dict[str, Any]], query=query)).value.data
            entries = [each for each in listed if each["object_id"] == object_id]
        else:
            query = {"limit": str(_MAX_SINCE)}
            found = await visit.call(f"get-{object_type}-history", Listed[dict[str, Any]], object_id, query=query)
            entries = [*found.value.data]
    except Refused:
        return []
    return await told(visit, newer(entries, version=version, seen=seen), lambda _: object_type)


def newer(entries: Iterable[Mapping[str, Any]], *, version: str = "", seen: str = "") -> list[Mapping[str, Any]]:
    """Return the entries after a version or, without one, after a time. The text of a form may be neither; then none are."""
    if version.isascii() and version.isdecimal():
        return [each for each in entries if each["version"] > int(version)]
    return [each for each in entries if each["at"] > seen] if parsed_time(seen) else []


async def instead(visit: Visit, object_type: str, object_id: str, refused: Refused) -> Redirect:
    """Lead from the page of a deleted object to its history. Raise the refusal again if there is no such object."""
    path = path_of(object_type, object_id)
    if refused.problem.status != 404 or path is None or await deletion_of(visit, object_type, object_id) is None:
        raise refused
    return visit.onward(f"{path}/history")


class When(NamedTuple):
    """A day, or a time with its day, which readers see in their own format."""

    when: str


class Told(NamedTuple):
    """A changed member: its label, and its values before and after; None if it had none."""

    label: str
    before: str | When | None
    after: str | When | None


class ToldEntry(NamedTuple):
    """An entry of a history: the entry itself, the name of its author, the key that the author used, and its changes."""

    entry: Mapping[str, Any]
    author: str
    key: str
    changes: Sequence[Told]

    @property
    def labels(self) -> str:
        """The labels of the changed members."""
        return ", ".join(dict.fromkeys(isolated(change.label) for change in self.changes)) or "it"


async def told(
    visit: Visit, entries: Sequence[Mapping[str, Any]], type_of: Callable[[Mapping[str, Any]], str]
) -> list[ToldEntry]:
    """Return the entries of histories as people read them. `type_of` returns the type of the object of an entry.

    Only updates are told by their changes: a creation and a deletion change all members.
    """
    updates = [entry for entry in entries if entry["action"] == "updated"]
    holders = {type_of(entry) for entry in updates if "fields" in entry["changes"]}
    found = await asyncio.gather(*(defined(visit, holder) for holder in sorted(holders)))
    teller = _Teller({(field.object_type.value, field.key): field for some in found for field in some.fields})
    # The first time finds the ids, and the second time they are told by their names.
    for entry in updates:
        teller.changes(type_of(entry), entry["changes"])
    authors = [entry["by"]["user_id"] for entry in entries if entry["by"]["user_id"] is not None]
    teller.names = await names_of(visit, [*teller.wanted, *authors])
    return [
        ToldEntry(
            entry,
            *author_of(entry["by"], teller.names),
            teller.changes(type_of(entry), entry["changes"]) if entry["action"] == "updated" else (),
        )
        for entry in entries
    ]


def author_of(by: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of an author, and that of the key that the author used, if it is not the console's."""
    key = by["credential_name"] or ""
    if by["user_id"] is None:
        return key or "herdbook", ""
    return names.get(by["user_id"], "Somebody"), "" if key == _CONSOLE else key


class _Teller:
    """Tells values, and notes the ids of objects whose names it lacks."""

    def __init__(self, fields: Mapping[tuple[str, str], Field]) -> None:
        self.names: dict[str, str] = {}
        self.wanted: set[str] = set()
        self._fields = fields

    def changes(self, object_type: str, changes: Mapping[str, Mapping[str, Any]]) -> list[Told]:
        """Return the changes of an object of a type."""
        return [
            told
            for name, change in changes.items()
            if name not in _UNTOLD
            for told in self._changes(object_type, name, change["from"], change["to"])
        ]

    def _changes(self, object_type: str, name: str, before: Any, after: Any) -> list[Told]:
        """Return the changes of a member: one, or one for each value under a key."""
        if name not in _KEYED:
            told = Told(_label(name), self._member(name, before), self._member(name, after))
            return [] if told.before == told.after else [told]
        before, after = before or {}, after or {}
        keys = [key for key in {**before, **after} if not same(before.get(key), after.get(key))]
        if name == "labels":
            return [Told(f"{_label(key)} labels", self._text(before.get(key)), self._text(after.get(key))) for key in keys]
        return [self._field(self._fields.get((object_type, key)), key, before.get(key), after.get(key)) for key in keys]

    def _field(self, field: Field | None, key: str, before: Any, after: Any) -> Told:
        if field is None:
            return Told(_label(key), self._text(before), self._text(after))
        return Told(field.label, self._value(field, before), self._value(field, after))

    def _value(self, field: Field, value: Any) -> str | When | None:
        if field.kind in (FieldKind.DATE, FieldKind.DATE_TIME) and isinstance(value, str):
            return When(value)
        if field.kind in LISTS and value is not None:
            labels = {option.id: option.label for option in field.options}
            return self._text([labels.get(each, each) for each in (value if _is_list(value) else [value])])
        if field.kind in REFERENCES and isinstance(value, str):
            return self._named(value)
        if field.kind is FieldKind.MONEY and _is_object(value):
            return f"{value.get('amount')} {value.get('currency')}"
        if field.kind is FieldKind.ADDRESS and _is_object(value):
            return self._text([*value.values()])
        return self._text(value)

    def _member(self, name: str, value: Any) -> str | When | None:
        if name.endswith("_at") and isinstance(value, str):
            return When(value)
        if isinstance(value, str) and (name.endswith("_id") or name == "created_by"):
            return self._named(value)
        if name.endswith("_ids") and name != "external_ids" and _is_list(value):
            return self._text([self._named(each) for each in value])
        return self._text(value)

    def _named(self, object_id: str) -> str:
        self.wanted.add(object_id)
        return self.names.get(object_id, object_id)

    def _text(self, value: Any) -> str | None:
        if value is None or value in ("", []):
            return None
        if _is_list(value):
            return ", ".join(isolated(self._text(each) or "nothing") for each in value)
        if _is_object(value):
            return self._object(value)
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    def _object(self, value: Mapping[str, Any]) -> str | None:
        if "id" in value and "object" in value:
            return value.get("name") or self._named(value["id"])
        if "crm_object_id" in value:
            return f"{isolated(value['crm_object_id'])} in {isolated(value.get('source') or '')}"
        shown = next((value[name] for name in ("email", "phone_number", "domain") if name in value), None)
        if shown is not None:
            return f"{isolated(shown)} (primary)" if value.get("is_primary") else str(shown)
        return ", ".join(f"{_spoken(name)}: {isolated(self._text(each) or 'nothing')}" for name, each in value.items()) or None


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _label(name: str) -> str:
    return _LABELS.get(name) or _spoken(name).capitalize()


def _spoken(name: str) -> str:
    return name.replace("_", " ")
