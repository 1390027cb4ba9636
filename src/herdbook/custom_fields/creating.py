"""The form of a new contact or company, with the fields of one's own."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from msgspec import UNSET

from herdbook.console.page import PageAnswer, Shown, isolated
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.forms import Member, Texts
from herdbook.custom_fields.pages import MAX_CHOICES, PLURALS, Named, RecordPages, ShownTag, members_of, name_of, tag_choices
from herdbook.errors import FieldError, Invalid
from herdbook.http.problems import ErrorItem, Problem, problem_of

# Members with rows begin with one, whose name in the form is their kind.
_ROWS: Final = ("email", "phone_number", "domain")
# The members that come first in the form, in this order.
_FIRST: Final = ("first_name", "last_name", "name", "emails", "phone_numbers", "domains", "description")


class Asked(NamedTuple):
    """A member that the form of a new record asks for, and what it has: `texts` by the part of the name behind the colon.

    `found` are the ids that its search has found. `is_sought` says that this search is what the form was sent for.
    """

    member: Member
    texts: Mapping[str, Sequence[str]]
    find: str = ""
    choices: Mapping[str, str] | None = None
    all_tags: Sequence[ShownTag] = ()
    found: Collection[str] = ()
    is_sought: bool = False

    @property
    def name(self) -> str:
        """The name of its input."""
        return _input_name(self.member)

    @property
    def values(self) -> Sequence[str]:
        """The values of its inputs."""
        return self.texts.get("", ())

    @property
    def value(self) -> str:
        """The value of its only input."""
        return next(iter(self.values), "")

    @property
    def is_required(self) -> bool:
        """Whether nothing is created without it."""
        return self.member.field is not None and self.member.field.required

    def part(self, name: str) -> str:
        """Return a part of the value."""
        return next(iter(self.texts.get(name, ())), "")

    def errors(self, problem: Problem | None) -> list[ErrorItem]:
        """Return what is wrong with it."""
        errors = () if problem is None or problem.errors is UNSET else problem.errors
        name = self.member.name
        return [each for each in errors if each.field == name or each.field.startswith((f"{name}.", f"{name}["))]


class Holder(NamedTuple):
    """A record that has a value which only one can have, and what becomes of the form if its rest is added to that one.

    `added` has the labels of the members that it gets. `kept` has those of which it keeps another value than that of the form.
    """

    id: str
    name: str
    added: Sequence[str]
    kept: Sequence[str]


def _input_name(member: Member) -> str:
    return member.kind if member.kind in _ROWS else member.name


async def _form(kind: RecordPages, visit: Visit) -> list[Member]:
    """Return the members in the order of the form."""
    members = await members_of(kind, visit)
    first = [each for name in _FIRST for each in members if each.name == name]
    return [*first, *(each for each in members if each not in first)]


async def show_new(kind: RecordPages, visit: Visit, problem: Problem | None = None) -> Shown:
    """Show the form of a new record: with the defaults, or as it was sent."""
    members = await _form(kind, visit)
    asked = await asyncio.gather(*(_asked(kind, visit, each, problem) for each in members))
    taken = [each.member.name for each in asked if any(error.code == "already_in_use" for error in each.errors(problem))]
    context: dict[str, Any] = {
        "kind": kind,
        "asked": asked,
        "problem": problem,
        "holder": await _holder(kind, visit, members, problem),
        "held": next(iter(taken), ""),
        "told_at_fields": any(each.errors(problem) for each in asked),
        "is_sought": any(each.is_sought for each in asked),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _holder(kind: RecordPages, visit: Visit, members: Sequence[Member], problem: Problem | None) -> Holder | None:
    """Return the record that has a value of the form, if the form was refused for that."""
    if problem is None or problem.conflict is UNSET or problem.conflict.object != kind.name:
        return None
    found = await visit.each(f"get-{kind.name}-record", kind.record, [problem.conflict.id])
    if (record := found.get(problem.conflict.id)) is None:
        return None
    added = [each.label for each in members if each.united(record, _texts(visit, each)) is not None]
    kept = [
        each.label
        for each in members
        if each.label not in added and each.value(record) is not None and _differs(each, record, _texts(visit, each))
    ]
    return Holder(record.id, name_of(record), added, kept)


def _differs(member: Member, record: Any, texts: Texts) -> bool:
    """Whether a form has a value of a member, and the record another one. All of a list that was sent is in the record."""
    if isinstance(member.value(record), list | tuple):
        return False
    sent = next(iter(member.patch(texts).values()))
    value = sent[member.field.key] if member.field is not None else sent
    return value is not None and value != member.value(record)


async def _asked(kind: RecordPages, visit: Visit, member: Member, problem: Problem | None) -> Asked:
    name = _input_name(member)
    texts = {"": visit.fields(name)} | {part.name: visit.fields(f"{name}:{part.name}") for part in member.parts}
    if not visit.form and member.field is not None and member.field.default is not None:
        texts |= _texts_of(member.field.default)
    search = visit.field(f"{name}:find").strip()
    is_sought = problem is None and (visit.field("find") == member.name or _is_unsearched(visit, member))
    if member.kind == "tags":
        found = await tag_choices(kind, visit, texts[""], search)
        return Asked(member, texts, search, all_tags=found["all_tags"], found=found["found_tags"], is_sought=is_sought)
    if not member.refers_to:
        return Asked(member, texts)
    chosen = [each for each in texts[""] if each]
    known = await visit.each(f"get-{member.refers_to}-by-id", Named, chosen)
    found = {key: name_of(value) for key, value in known.items()}
    listed: tuple[Named, ...] = ()
    if search or visit.field("find") == member.name:
        query = {"limit": str(MAX_CHOICES)} | ({"search": search} if search else {})
        listed = (await visit.call(f"list-{PLURALS[member.refers_to]}", Listed[Named], query=query)).value.data
        found |= {each.id: name_of(each) for each in listed}
    return Asked(member, texts, search, found, found=[each.id for each in listed], is_sought=is_sought)


def _is_unsearched(visit: Visit, member: Member) -> bool:
    """Whether a form has words for the search of a member that it was not shown the result of."""
    name = _input_name(member)
    search = visit.field(f"{name}:find").strip()
    return bool(search) and search != visit.field(f"{name}:found").strip()


def _texts_of(value: Any) -> dict[str, Sequence[str]]:
    """Return the texts of a default."""
    if isinstance(value, bool):
        return {"": ["yes" if value else "no"]}
    if isinstance(value, dict):
        return {name: [part] for name, part in cast("dict[str, str]", value).items()}
    return {"": [*map(str, cast("list[Any]", value))] if isinstance(value, list) else [str(value)]}


async def create_record(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Create a record with all that the form has, or show the form again: as it was refused, or with what a search found.

    Enter in a search sends the form, too. It then searches, and nothing is created.
    """
    members = await _form(kind, visit)
    if visit.field("find") or any(_is_unsearched(visit, each) for each in members):
        return await show_new(kind, visit)
    if holder_id := visit.field("add_to"):
        return await _add_to(kind, visit, members, holder_id)
    if not any(_is_filled_in(visit, each) for each in members):
        message = f"Nothing is filled in. Give the {kind.name} at least a name."
        empty = Invalid([FieldError(kind.hidden[0], "required", message)])
        return await show_new(kind, visit, problem_of(empty, visit.shown_request_id, ""))
    try:
        created = await visit.call(f"create-{kind.name}-record", Named, body=_body(visit, members))
    except Refused as refused:
        return await show_new(kind, visit, refused.problem)
    return visit.redirect(f"{kind.path}/{created.value.id}", "Created.", undoes=True)


def _is_filled_in(visit: Visit, member: Member) -> bool:
    """Whether a form has a value of a member that is not its default."""
    patch = member.patch(_texts(visit, member))
    if member.field is None:
        return any(patch.values())
    value = patch["fields"][member.field.key]
    return value is not None and value != member.field.default


def _body(visit: Visit, members: Sequence[Member]) -> dict[str, Any]:
    """Return what a creation takes of the form."""
    body: dict[str, Any] = {}
    for member in members:
        body |= _sent(visit, member)
    # Without them, nothing would say which are required.
    if own := [each for each in members if each.field is not None]:
        body["fields"] = {key: value for each in own for key, value in _own(visit, each).items()}
    if giver_id := visit.field("take"):
        body["take_from"] = giver_id
    return body


async def _add_to(kind: RecordPages, visit: Visit, members: Sequence[Member], record_id: str) -> PageAnswer:
    """Add what the form has to a record that is there, which keeps all that it has."""
    found = await visit.call(f"get-{kind.name}-record", kind.record, record_id)
    patch: dict[str, Any] = {"fields": {}}
    for member in members:
        if (value := member.united(found.value, _texts(visit, member))) is not None:
            change = member.patch_to(value)
            patch["fields"] |= change.pop("fields", {})
            patch |= change
    if not patch["fields"]:
        del patch["fields"]
    try:
        await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=patch, if_version=found.version)
    except Refused as refused:
        return await show_new(kind, visit, refused.problem)
    return visit.redirect(f"{kind.path}/{record_id}", f"Added to {isolated(name_of(found.value))}.", undoes=True)


def _texts(visit: Visit, member: Member) -> Texts:
    """Return what the form has of a member, by the names that the form of one member gives to its inputs."""
    name = _input_name(member)
    return lambda part: visit.fields(name if part == "value" else f"{name}:{part}")


def _sent(visit: Visit, member: Member) -> dict[str, Any]:
    """Return a member of the record as the operation takes it, or nothing if the form has no value of it."""
    if member.field is not None:
        return {}
    patch = member.patch(_texts(visit, member))
    return {name: value for name, value in patch.items() if value is not None}


def _own(visit: Visit, member: Member) -> dict[str, Any]:
    """Return the value of a field of one's own. Nothing stands for none, but null does where there would be a default."""
    field = member.field
    assert field is not None, "it is one of one's own"
    value: Any = member.patch(_texts(visit, member))["fields"][field.key]
    return {} if value is None and (field.default is None or field.required) else {field.key: value}
