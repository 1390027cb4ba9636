"""The form of a new contact or company, with the fields of one's own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from msgspec import UNSET

from herdbook.console.page import PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.model import FieldKind
from herdbook.custom_fields.pages import MAX_CHOICES, PLURALS, Named, RecordPages, ShownTag, members_of, name_of
from herdbook.errors import FieldError, Invalid
from herdbook.http.problems import ErrorItem, Problem, problem_of
from herdbook.shared_schemas import Deleted

# Members with rows begin with one, whose name in the form is their kind.
_ROWS: Final = ("email", "phone_number", "domain")
_PARTS: Final[Mapping[FieldKind, Mapping[str, str]]] = {
    FieldKind.MONEY: {"amount": "Amount", "currency": "Currency, such as EUR"},
    FieldKind.ADDRESS: {
        "street": "Street",
        "city": "City",
        "region": "Region",
        "postal_code": "Postal code",
        "country": "Country",
    },
}
# The members that come first in the form, in this order.
_FIRST: Final = ("first_name", "last_name", "name", "emails", "phone_numbers", "domains", "description")


class Asked(NamedTuple):
    """A member that the form of a new record asks for, and what it has: `texts` by the part of the name behind the colon."""

    member: Member
    texts: Mapping[str, Sequence[str]]
    find: str = ""
    choices: Mapping[str, str] | None = None

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
    def parts(self) -> Mapping[str, str]:
        """The labels of the parts of its value, by their names."""
        return _parts(self.member)

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


def _input_name(member: Member) -> str:
    return member.kind if member.kind in _ROWS else member.name


def _parts(member: Member) -> Mapping[str, str]:
    return {} if member.field is None else _PARTS.get(member.field.kind, {})


async def _form(kind: RecordPages, visit: Visit) -> list[Member]:
    """Return the members in the order of the form."""
    members = await members_of(kind, visit)
    first = [each for name in _FIRST for each in members if each.name == name]
    return [*first, *(each for each in members if each not in first)]


async def show_new(kind: RecordPages, visit: Visit, problem: Problem | None = None) -> Shown:
    """Show the form of a new record: with the defaults, or as it was sent."""
    asked = await asyncio.gather(*(_asked(visit, each) for each in await _form(kind, visit)))
    tags = (await visit.call("list-tags", Listed[ShownTag], query={"limit": "100"})).value.data
    context: dict[str, Any] = {
        "kind": kind,
        "asked": asked,
        "all_tags": tags,
        "problem": problem,
        "told_at_fields": any(each.errors(problem) for each in asked),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _asked(visit: Visit, member: Member) -> Asked:
    name = _input_name(member)
    texts = {"": visit.fields(name)} | {part: visit.fields(f"{name}:{part}") for part in _parts(member)}
    if not visit.form and member.field is not None and member.field.default is not None:
        texts |= _texts_of(member.field.default)
    if not member.refers_to:
        return Asked(member, texts)
    search = visit.field(f"{name}:find").strip()
    chosen = [each for each in texts[""] if each]
    known = await visit.each(f"get-{member.refers_to}-by-id", Named, chosen)
    found = {key: name_of(value) for key, value in known.items()}
    if search or visit.field("find") == member.name:
        query = {"limit": str(MAX_CHOICES)} | ({"search": search} if search else {})
        listed = (await visit.call(f"list-{PLURALS[member.refers_to]}", Listed[Named], query=query)).value
        found |= {each.id: name_of(each) for each in listed.data}
    return Asked(member, texts, search, found)


def _texts_of(value: Any) -> dict[str, Sequence[str]]:
    """Return the texts of a default."""
    if isinstance(value, bool):
        return {"": ["yes" if value else "no"]}
    if isinstance(value, dict):
        return {name: [part] for name, part in cast("dict[str, str]", value).items()}
    return {"": [*map(str, cast("list[Any]", value))] if isinstance(value, list) else [str(value)]}


async def create_record(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Create a record with all that the form has, or show the form again: as it was refused, or with what a search found."""
    if visit.field("find"):
        return await show_new(kind, visit)
    members = await _form(kind, visit)
    body: dict[str, Any] = {}
    for member in members:
        body |= _sent(visit, member)
    # Without them, nothing would say which are required.
    if own := [each for each in members if each.field is not None]:
        body["fields"] = {key: value for each in own for key, value in _own(visit, each).items()}
    first = {name: value for name, value in body.items() if name in kind.created_with}
    rest = {name: value for name, value in body.items() if name not in kind.created_with}
    if missing := [] if "fields" in kind.created_with else _missing(own, rest.get("fields", {})):
        problem = problem_of(Invalid(missing), visit.shown_request_id, "", may_name_holder=False)
        return await show_new(kind, visit, problem)
    record_id = None
    try:
        record_id = (await visit.call(f"create-{kind.name}", Named, body=first)).value.id
        if rest:
            await visit.call(f"update-{kind.name}-record", kind.record, record_id, body=rest)
    except Refused as refused:
        if record_id is not None:
            # Nothing is created in part.
            await visit.call(f"delete-{kind.name}", Deleted, record_id)
        return await show_new(kind, visit, refused.problem)
    return visit.redirect(f"{kind.path}/{record_id}", "Created.", undoes=True)


def _missing(own: Sequence[Member], values: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors of required fields without a value, which an update does not ask for."""
    fields = [each.field for each in own if each.field is not None and each.field.required]
    return [
        FieldError(f"fields.{each.key}", "required", f"`fields.{each.key}` is missing. Send it.")
        for each in fields
        if each.key not in values
    ]


def _sent(visit: Visit, member: Member) -> dict[str, Any]:
    """Return a member of the record as the operation takes it, or nothing if the form has no value of it."""
    if member.field is not None:
        return {}
    patch = member.patch(lambda name: visit.fields(_input_name(member)) if name == "value" else [])
    return {name: value for name, value in patch.items() if value is not None}


def _own(visit: Visit, member: Member) -> dict[str, Any]:
    """Return the value of a field of one's own. Nothing stands for none, but null does where there would be a default."""
    field = member.field
    assert field is not None, "it is one of one's own"
    name = _input_name(member)
    if parts := _parts(member):
        value: Any = {part: text for part in parts if (text := visit.field(f"{name}:{part}").strip())} or None
    else:
        value = member.patch(lambda part: visit.fields(name) if part == "value" else [])["fields"][field.key]
    return {} if value is None and (field.default is None or field.required) else {field.key: value}
