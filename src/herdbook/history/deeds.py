"""The activity in sentences: who did what to which object, by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from herdbook.auth.scopes import ADMIN
from herdbook.console.page import path_of
from herdbook.console.visit import Visit
from herdbook.custom_fields.telling import ToldEntry, names_of
from herdbook.object_types import OBJECT_TYPES

# The types of the objects whose pages show them after a deletion, too, at least in a history.
_WITH_HISTORY: Final = ("contact", "company", "tag", "engagement", "webhook_endpoint")
# The types of objects whose pages are for administrators.
_OF_ADMINS: Final = frozenset({"field", "webhook_endpoint"})
_VERBS: Final = {"created": "created", "updated": "changed", "deleted": "deleted", "restored": "restored", "erased": "erased"}
# An undo makes the same changes as other requests do, for another reason.
_VERBS_OF_UNDO: Final = _VERBS | {"updated": "gave back the former values of", "restored": "brought back"}
# An `a` before these would be wrong. A `u` as in `user` is spoken like a consonant.
_takes_an: Final = re.compile(r"[aeio]|u(?!s|ni)").match


def with_article(noun: str) -> str:
    """Return a noun with its indefinite article."""
    return f"an {noun}" if _takes_an(noun) else f"a {noun}"


class Thing(NamedTuple):
    """An object in a sentence: its kind with an article, its name, and the path of its page, if it has them."""

    kind: str
    name: str = ""
    path: str | None = None


class Deed(NamedTuple):
    """An entry as a sentence without its author, such as: merged, the contact Jon, into, the contact Jonathan."""

    told: ToldEntry
    verb: str
    thing: Thing
    preposition: str = ""
    other: Thing | None = None

    @property
    def shows_changes(self) -> bool:
        """Whether the changed members say more than the sentence."""
        return self.told.entry["action"] == "updated"


async def deeds(visit: Visit, told: Sequence[ToldEntry]) -> list[Deed]:
    """Return entries of the activity as sentences."""
    others = [other for each in told if (other := _other(each.entry)[1]) is not None]
    names = await names_of(visit, others)
    found = [_deed(each, names) for each in told]
    return found if visit.session.may(ADMIN) else [*map(_without_pages_of_admins, found)]


def _without_pages_of_admins(deed: Deed) -> Deed:
    """Return a sentence without a link to a page that only administrators may open."""
    is_theirs = deed.told.entry["object_type"] in _OF_ADMINS
    return deed._replace(thing=deed.thing._replace(path=None)) if is_theirs else deed


def _deed(told: ToldEntry, names: Mapping[str, str]) -> Deed:
    entry = told.entry
    preposition, other_id = _other(entry)
    other = None if other_id is None else _thing_called(other_id, names)
    thing = _thing(entry)
    if entry.get("merged_into"):
        return Deed(told, "merged" if entry["action"] == "deleted" else "separated", thing, preposition, other)
    return Deed(told, _verbs(entry)[entry["action"]], thing, preposition, other)


def _verbs(entry: Mapping[str, Any]) -> Mapping[str, str]:
    return _VERBS_OF_UNDO if entry.get("undoes") else _VERBS


def _other(entry: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the id of the other object that an entry is about, with the word that leads to it."""
    if merged_into := entry.get("merged_into"):
        return "into" if entry["action"] == "deleted" else "from", merged_into
    return "of" if entry["object_type"] == "transcript" else "on", entry["part_of"]


def _thing(entry: Mapping[str, Any]) -> Thing:
    name, noun = entry["object_type"], OBJECT_TYPES.named(entry["object_type"]).noun
    if is_erased(entry):
        return Thing(with_article(noun))
    if name == "transcript":
        return Thing("the transcript")
    path = path_of(name, entry["object_id"])
    if path is not None and entry["action"] == "deleted":
        path = f"{path}/history" if name in _WITH_HISTORY else None
    if entry["name"] is None:
        return Thing(with_article(noun), "", path)
    return Thing(f"the {noun}", entry["name"], path)


def _thing_called(object_id: str, names: Mapping[str, str]) -> Thing:
    """Return an object that an entry names by its id alone. One that is gone, or hidden, has no name."""
    object_type = next(each for each in OBJECT_TYPES if object_id.startswith(each.prefix))
    if object_id not in names:
        return Thing(with_article(object_type.noun))
    return Thing(f"the {object_type.noun}", names[object_id], path_of(object_type.name, object_id))


def is_erased(entry: Mapping[str, Any]) -> bool:
    """Whether the object of an entry is erased, so that the entry has neither a name nor values, and no undo takes it back."""
    return entry["action"] == "erased" or "erased" in (entry["changes"] or {})


def can_be_undone(object_type: str, may: Callable[[str], bool]) -> bool:
    """Whether somebody with these scopes can take back changes of a type of objects."""
    scopes = OBJECT_TYPES.named(object_type).write_scopes
    return bool(scopes) and all(map(may, scopes))


class RequestGroup(NamedTuple):
    """The changes of one request on a page of the activity."""

    request_id: str
    author: str
    key: str
    by: Mapping[str, Any]
    at: str
    undoes: str | None
    deeds: Sequence[Deed]
    may_undo: bool

    @property
    def summary(self) -> str:
        """The number of objects that the request created, changed and so on."""
        counted: dict[tuple[str, str], set[str]] = {}
        for each in self.deeds:
            entry = each.told.entry
            counted.setdefault((each.verb, entry["object_type"]), set()).add(entry["object_id"])
        return ", ".join(f"{verb} {_many(len(found), name)}" for (verb, name), found in counted.items())


def _many(count: int, name: str) -> str:
    object_type = OBJECT_TYPES.named(name)
    return with_article(object_type.noun) if count == 1 else f"{count} {object_type.plural.replace('_', ' ')}"


def group_of(request_id: str, some: Sequence[Deed], may: Callable[[str], bool]) -> RequestGroup:
    """Return the group of a request with these deeds."""
    first = some[0].told
    entries = [each.told.entry for each in some]
    may_undo = any(can_be_undone(each["object_type"], may) and not is_erased(each) for each in entries)
    by, at = first.entry["by"], first.entry["at"]
    return RequestGroup(request_id, first.author, first.key, by, at, first.entry.get("undoes"), some, may_undo)
