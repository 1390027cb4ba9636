"""The pages of the definitions of fields: the list, a new one, and the forms that change one, for administrators."""

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from unicodedata import normalize

import msgspec

from herdbook.auth.scopes import ADMIN
from herdbook.console.conflicts import Theirs, theirs
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Refused, Visit
from herdbook.custom_fields.defined import definitions
from herdbook.custom_fields.forms import own_member
from herdbook.custom_fields.model import LISTS, REFERENCES, UNIQUE_KINDS, Field, FieldChange, FieldConversion, FieldKind, blank
from herdbook.custom_fields.telling import PLURALS, changed_since, names_of
from herdbook.http.problems import Problem

_FIELDS: Final = f"{BASE}/fields"
_TYPES: Final = ("contact", "company")
KIND_WORDS: Final[Mapping[str, str]] = {
    "text": "Text of one line",
    "long_text": "Text of several lines",
    "integer": "Whole number",
    "decimal": "Decimal number",
    "date": "Day",
    "date_time": "Day and time",
    "yes_no": "Yes or no",
    "one_of": "One of a list",
    "several_of": "Several of a list",
    "link": "Link to a web page",
    "email": "E-mail address",
    "phone": "Phone number",
    "address": "Postal address",
    "user": "User",
    "contact": "Contact",
    "company": "Company",
    "money": "Amount of money",
}
_NO_KEY: Final = re.compile("[^a-z0-9]+")
_MAX_KEY: Final = 50
_STEP: Final = 10


class OptionRow(NamedTuple):
    """An option in its form. A new one has no id yet."""

    id: str
    label: str
    archived: bool


def key_of(label: str, taken: Sequence[str] = ()) -> str:
    """Return a key for a label: its letters and digits in lower case, and a number if another one has that key."""
    plain = normalize("NFKD", label.casefold()).encode("ascii", "ignore").decode()
    key = _NO_KEY.sub("_", plain).strip("_")[: _MAX_KEY - 4]
    key = key if key[:1].isalpha() else f"o_{key}".strip("_")
    return next(each for each in (key, *(f"{key}_{number}" for number in range(2, 1000))) if each not in taken)


async def show_fields(visit: Visit, problem: Problem | None = None) -> PageAnswer:
    """Show the fields of contacts or companies in their order, and the archived ones."""
    object_type = _type(visit)
    found = sorted(await definitions(visit, object_type), key=lambda field: (field.order, field.key))
    context: dict[str, Any] = {
        "object_type": object_type,
        "types": _TYPES,
        "plurals": PLURALS,
        "active": [field for field in found if not field.archived],
        "archived": [field for field in found if field.archived],
        "words": KIND_WORDS,
        "problem": problem,
        "moved": visit.query.get("moved", ""),
        "is_down": visit.query.get("act") == "down",
    }
    return Shown(context, 200 if problem is None else problem.status)


def _type(visit: Visit) -> str:
    asked = visit.field("object_type") or visit.query.get("type", "")
    return asked if asked in _TYPES else _TYPES[0]


async def show_new_field(visit: Visit, problem: Problem | None = None) -> PageAnswer:
    """Show the form of a new field, with what a field of the chosen kind may have."""
    asked = visit.field("kind") or visit.query.get("kind", "")
    kind = FieldKind(asked) if asked in KIND_WORDS else FieldKind.TEXT
    field = msgspec.structs.replace(blank("", ""), kind=kind)
    context: dict[str, Any] = {
        "object_type": _type(visit),
        "types": _TYPES,
        "plurals": PLURALS,
        "words": KIND_WORDS,
        "problem": problem,
        "kind": kind.value,
        "is_list": kind in LISTS,
        "has_several": kind is FieldKind.SEVERAL_OF,
        "may_be_unique": kind in UNIQUE_KINDS,
        # The options of a list are still to be written, so its default is, too.
        "member": None if kind in REFERENCES or kind in LISTS else own_member(field),
        "holder": SimpleNamespace(fields={}),
        "text": visit.field,
        "sent": visit.fields if visit.form else None,
        "arrangement": "",
        "labels": (),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def create_field(visit: Visit) -> PageAnswer:
    """Define a field. Its key follows from its label unless one is sent."""
    label = visit.field("label").strip()
    existing = await definitions(visit, _type(visit))
    options = _options_of(visit.field("options"))
    body: dict[str, Any] = {
        "object_type": _type(visit),
        "label": label,
        "key": visit.field("key").strip() or key_of(label, [field.key for field in existing]),
        "kind": visit.field("kind"),
        "order": max((field.order for field in existing), default=0) + _STEP,
        "required": bool(visit.field("required")),
        "unique": bool(visit.field("unique")),
    }
    if text := visit.field("help").strip():
        body["help"] = text.replace("\r\n", "\n")
    if options:
        body["options"] = options
    if (default := _default_of(visit, options)) is not None:
        body["default"] = default
    try:
        created = (await visit.call("create-field", Field, body=body)).value
    except Refused as refused:
        if refused.problem.status not in (409, 422):
            raise
        return await show_new_field(visit, refused.problem)
    return visit.redirect(f"{_FIELDS}/{created.id}", "Defined.", undoes=True)


def _default_of(visit: Visit, options: Sequence[Mapping[str, str]]) -> Any:
    """Return the default that the form of a new field has, or None. That of a list is written in the labels of its options."""
    kind = visit.field("kind")
    if kind not in KIND_WORDS or FieldKind(kind) in REFERENCES:
        return None
    if FieldKind(kind) not in LISTS:
        member = own_member(msgspec.structs.replace(blank("", ""), kind=FieldKind(kind)))
        return member.patch(visit.fields)["fields"][""]
    by_label = {each["label"]: each["id"] for each in options}
    labels = [label.strip() for label in visit.field("value").splitlines() if label.strip()]
    # A label that no option has is refused by the operation.
    found = [by_label.get(label, label) for label in labels]
    return (found if FieldKind(kind) is FieldKind.SEVERAL_OF else found[0]) if found else None


def _options_of(text: str) -> list[dict[str, str]]:
    """Return the options of a text with one label in each line."""
    options: list[dict[str, str]] = []
    for line in text.splitlines():
        if label := line.strip():
            options.append({"id": key_of(label, [option["id"] for option in options]), "label": label})
    return options


async def show_field(visit: Visit, field_id: str, problem: Problem | None = None, arrangement: str = "") -> PageAnswer:
    """Show the form of a field, as it is or as it was sent."""
    found = await visit.call("get-field-by-id", Field, field_id)
    field = found.value
    is_sent = problem is not None or bool(arrangement)
    conversion = await _conversion(visit, field_id)
    doubled = [each for example in conversion.examples for each in (example.id, example.holder) if each is not None]
    context: dict[str, Any] = {
        "field": field,
        "version": found.version if (problem is not None and problem.status == 412) or not is_sent else visit.field("version"),
        "theirs": _theirs(visit, field),
        "since": await changed_since(visit, "field", field_id, version=visit.field("version")) if problem else (),
        "words": KIND_WORDS,
        "problem": problem,
        "sent_form": visit.field if is_sent else None,
        "is_list": field.kind in LISTS,
        "plurals": PLURALS,
        "options": _arranged(visit, arrangement) if is_sent else [OptionRow(*_parts(each)) for each in field.options],
        "member": None if field.unique or field.kind in REFERENCES else own_member(field),
        "holder": SimpleNamespace(fields={field.key: field.default}),
        "sent": visit.fields if is_sent else None,
        "arranged": arrangement,
        "arrangement": "",
        "labels": (),
        "may_be_unique": field.kind in UNIQUE_KINDS,
        "conversion": conversion,
        "names": await names_of(visit, doubled),
    }
    return Shown(context, 200 if problem is None else problem.status)


def _theirs(visit: Visit, field: Field) -> list[Theirs]:
    """Return what is stored of a field and differs from the form."""
    said = {True: "yes", False: "no"}
    options = [each.label for each in field.options if not each.archived]
    sent_options = [each.label.strip() for each in _arranged(visit, "") if not each.archived]
    return theirs(
        (
            ("Label", field.label, visit.field("label").strip()),
            ("Help", field.help or None, visit.field("help").strip().replace("\r\n", "\n")),
            ("Options", ", ".join(options), ", ".join(sent_options)),
            ("Required", said[field.required], said[bool(visit.field("required"))]),
            ("Unique", said[field.unique], said[bool(visit.field("unique"))]),
        )
    )


async def _conversion(visit: Visit, field_id: str) -> FieldConversion:
    return (await visit.call("get-field-conversion", FieldConversion, field_id)).value


def _parts(option: Any) -> tuple[str, str, bool]:
    return option.id, option.label, option.archived


def _arranged(visit: Visit, arrangement: str) -> list[OptionRow]:
    """Return the options as they were sent, with one of them moved, archived, brought back, removed or added."""
    sent = zip(visit.fields("option_id"), visit.fields("option_label"), visit.fields("option_archived"), strict=False)
    rows = [OptionRow(each_id, label, bool(archived)) for each_id, label, archived in sent]
    action, _, number = arrangement.partition(" ")
    index = int(number) if number.isascii() and number.isdecimal() and len(number) < 4 else -1
    if action == "add":
        rows.append(OptionRow("", "", archived=False))
    elif 0 <= index < len(rows):
        match action:
            case "remove" if not rows[index].id:
                del rows[index]
            case "archive" | "unarchive":
                rows[index] = rows[index]._replace(archived=action == "archive")
            case "up" if index > 0:
                rows[index - 1 : index + 1] = [rows[index], rows[index - 1]]
            case _:
                pass
    return rows


async def change_field(visit: Visit, field_id: str) -> PageAnswer:
    """Change the definition of a field but for its kind, unless somebody else has changed it meanwhile."""
    if arrangement := visit.field("arrange"):
        return await show_field(visit, field_id, arrangement=arrangement)
    field = (await visit.call("get-field-by-id", Field, field_id)).value
    patch: dict[str, Any] = {
        "label": visit.field("label").strip(),
        "help": visit.field("help").strip().replace("\r\n", "\n") or None,
        "required": bool(visit.field("required")),
    }
    if bool(visit.field("unique")) != field.unique:
        patch["unique"] = bool(visit.field("unique"))
    if field.kind in LISTS:
        patch["options"] = _with_ids(_arranged(visit, ""))
    if field.kind not in REFERENCES and not field.unique:
        patch["default"] = own_member(field).patch(visit.fields)["fields"][field.key]
    try:
        await visit.call("update-field", Field, field_id, body=patch, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_field(visit, field_id, refused.problem)
    return visit.redirect(f"{_FIELDS}/{field_id}", "Saved.", undoes=True)


def _with_ids(rows: Sequence[OptionRow]) -> list[dict[str, Any]]:
    """Return options as the API takes them. New ones get ids, and those without a label are left out."""
    taken = [row.id for row in rows if row.id]
    options: list[dict[str, Any]] = []
    for row in rows:
        if not row.label.strip() and not row.id:
            continue
        option_id = row.id or key_of(row.label, taken)
        taken.append(option_id)
        options.append({"id": option_id, "label": row.label.strip(), "archived": row.archived})
    return options


async def archive_field(visit: Visit, field_id: str) -> PageAnswer:
    """Archive a field, or bring it back."""
    is_archived = visit.field("act") != "bring_back"
    field = (await visit.call("update-field", Field, field_id, body={"archived": is_archived})).value
    done = "Archived. Its values stay, and come back with it." if is_archived else "The field is back."
    return visit.redirect(f"{_FIELDS}?type={field.object_type.value}", done, undoes=True)


async def move_field(visit: Visit, field_id: str) -> PageAnswer:
    """Move a field before the one above it, or behind the one below it."""
    field = (await visit.call("get-field-by-id", Field, field_id)).value
    found = await definitions(visit, field.object_type.value)
    fields = sorted((each for each in found if not each.archived), key=lambda each: (each.order, each.key))
    place = next((index for index, each in enumerate(fields) if each.id == field_id), 0)
    act = "down" if visit.field("act") == "down" else "up"
    other = place + (1 if act == "down" else -1)
    if 0 <= other < len(fields):
        fields[place], fields[other] = fields[other], fields[place]
    for number, each in enumerate(fields, start=1):
        if each.order != number * _STEP:
            await visit.call("update-field", Field, each.id, body={"order": number * _STEP})
    return visit.redirect(f"{_FIELDS}?type={field.object_type.value}&moved={field_id}&act={act}", "Moved.", undoes=True)


async def show_kind(visit: Visit, field_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show what another kind of a field would do to its values."""
    found = await visit.call("get-field-by-id", Field, field_id)
    field, kind = found.value, visit.field("kind") or visit.query.get("kind", "")
    options = visit.field("options") or visit.query.get("options", "")
    effect: FieldChange | None = None
    if kind in KIND_WORDS and problem is None and (FieldKind(kind) not in LISTS or _options_of(options) or field.options):
        try:
            body = _kind_patch(field, kind, options)
            effect = (await visit.call("update-field", FieldChange, field_id, query={"dry_run": "true"}, body=body)).value
        except Refused as refused:
            if refused.problem.status not in (409, 422):
                raise
            problem = refused.problem
    context: dict[str, Any] = {
        "field": field,
        "version": found.version,
        "kind": kind,
        "options": options,
        "needs_options": kind in ("one_of", "several_of"),
        "words": KIND_WORDS,
        "effect": effect,
        "names": await names_of(visit, [each.id for each in effect.examples]) if effect else {},
        "plural": PLURALS[field.object_type.value],
        "problem": problem,
        "conversion": await _conversion(visit, field_id),
    }
    return Shown(context, 200 if problem is None else problem.status)


def _kind_patch(field: Field, kind: str, options: str) -> dict[str, Any]:
    patch: dict[str, Any] = {"kind": kind}
    if FieldKind(kind) in LISTS and (sent := _options_of(options)):
        patch["options"] = sent
    # A default of the former kind would be none of the new one.
    if field.default is not None:
        patch["default"] = None
    return patch


async def change_kind(visit: Visit, field_id: str) -> PageAnswer:
    """Change the kind of a field, and convert its values, unless some of them do not fit."""
    field = (await visit.call("get-field-by-id", Field, field_id)).value
    kind = visit.field("kind")
    if kind not in KIND_WORDS:
        return await show_kind(visit, field_id)
    try:
        patch = _kind_patch(field, kind, visit.field("options"))
        await visit.call("update-field", Field, field_id, body=patch, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status not in (409, 412, 422):
            raise
        return await show_kind(visit, field_id, refused.problem)
    return visit.redirect(f"{_FIELDS}/{field_id}", "The kind is changed, and the values are converted.", undoes=True)


_ADMIN: Final = (ADMIN,)

PAGES: Final = (
    Page(
        method="GET",
        path="/fields",
        id="show-fields",
        scopes=_ADMIN,
        handler=show_fields,
        template="custom_fields/definitions.html",
        menu=MenuItem("Fields", "sliders"),
    ),
    *(
        Page(
            method=method,
            path=f"/fields{path}",
            id=page_id,
            scopes=_ADMIN,
            handler=handler,
            template=None if template is None else f"custom_fields/{template}.html",
        )
        for method, path, page_id, handler, template in (
            ("GET", "/new", "show-new-field", show_new_field, "new_definition"),
            ("POST", "/new", "create-field-by-form", create_field, "new_definition"),
            ("GET", "/{field_id}", "show-field", show_field, "definition"),
            ("POST", "/{field_id}", "change-field", change_field, "definition"),
            ("POST", "/{field_id}/archive", "archive-field", archive_field, None),
            ("POST", "/{field_id}/move", "move-field", move_field, None),
            ("GET", "/{field_id}/kind", "show-kind-of-field", show_kind, "kind"),
            ("POST", "/{field_id}/kind", "change-kind-of-field", change_kind, "kind"),
        )
    ),
)
