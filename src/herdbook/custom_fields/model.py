"""The definition of a field as clients see it, and the rules that need nothing but the definition itself."""

from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids, shared_schemas
from herdbook.errors import FieldError
from herdbook.search_text import folded
from herdbook.shared_schemas import Time

MAX_OPTIONS: Final = 200
# Limits the definitions of one type of objects, archived ones included. A command that sets values reads all of them.
MAX_DEFINITIONS: Final = 300
# Limits the objects that a conversion notes because their unique value was claimed by another one before it came to them.
MAX_UNCLAIMED: Final = 500
_KEY_PATTERN: Final = "^[a-z][a-z0-9_]{0,49}$"
_Key: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": _KEY_PATTERN})]
_Order: TypeAlias = Annotated[
    int, Meta(ge=0, le=1_000_000, description="The place among the fields, for people: the least comes first.")
]


class FieldObjectType(Enum):
    """The type of objects that have a field."""

    CONTACT = "contact"
    COMPANY = "company"


class FieldKind(Enum):
    """The kind of a field, which decides the form of its values."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    DATE_TIME = "date_time"
    YES_NO = "yes_no"
    ONE_OF = "one_of"
    SEVERAL_OF = "several_of"
    LINK = "link"
    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address"
    USER = "user"
    CONTACT = "contact"
    COMPANY = "company"
    MONEY = "money"


LISTS: Final = frozenset({FieldKind.ONE_OF, FieldKind.SEVERAL_OF})
REFERENCES: Final = {FieldKind.USER: ids.USER, FieldKind.CONTACT: ids.CONTACT, FieldKind.COMPANY: ids.COMPANY}
UNIQUE_KINDS: Final = frozenset(
    {
        *(FieldKind.TEXT, FieldKind.INTEGER, FieldKind.DECIMAL, FieldKind.DATE, FieldKind.DATE_TIME),
        *(FieldKind.EMAIL, FieldKind.PHONE),
    }
)


class FieldOption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An option of a list."""

    schema_name: ClassVar[str] = "field_option"

    id: Annotated[_Key, Meta(description="The option as values name it, which never changes.")]
    label: Annotated[fields.Name, Meta(description="The option as people see it.")]
    archived: Annotated[bool, Meta(description="Whether no further value may have the option. Values that have it stay.")] = (
        False
    )


def _options(items: Sequence[FieldOption | None], path: str) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if item is None:
            continue
        place = f"{path}[{index}]"
        yield from _is_key(item.id, f"{place}.id")
        yield from fields.text(item.label, f"{place}.label")
        if (first := seen.setdefault(item.id, index)) != index:
            yield FieldError(
                f"{place}.id", "duplicate", f"`{place}.id` is the same option as `{path}[{first}].id`. Send each option once."
            )


_is_key: Final = fields.matching(_KEY_PATTERN, "1 to 50 lower-case letters, digits and underscores that begin with a letter")
_Options: TypeAlias = Annotated[tuple[FieldOption, ...], Meta(max_length=MAX_OPTIONS)]
_RULES: Final[dict[str, fields.Rule]] = {"label": fields.text, "help": fields.text, "options": _options}
_EXAMPLE: Final = {
    "object_type": "contact",
    "key": "tier",
    "label": "Tier",
    "kind": "one_of",
    "options": [{"id": "gold", "label": "Gold", "archived": False}, {"id": "silver", "label": "Silver", "archived": False}],
}


class FieldCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for defining a field."""

    schema_name: ClassVar[str] = "field_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES | {"key": _is_key}
    example: ClassVar[dict[str, Any]] = _EXAMPLE

    object_type: FieldObjectType
    key: _Key
    label: fields.Name
    kind: FieldKind
    help: fields.Description | UnsetType = UNSET
    options: _Options | UnsetType = UNSET
    required: bool | UnsetType = UNSET
    unique: bool | UnsetType = UNSET
    default: Any = UNSET
    order: _Order | UnsetType = UNSET


class FieldUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing the definition of a field."""

    schema_name: ClassVar[str] = "field_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"label": "Customer tier", "archived": False}

    label: fields.Name | UnsetType = UNSET
    kind: FieldKind | UnsetType = UNSET
    unique: bool | UnsetType = UNSET
    help: fields.Description | None | UnsetType = UNSET
    options: _Options | UnsetType = UNSET
    required: bool | UnsetType = UNSET
    default: Any = UNSET
    order: _Order | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class FieldUpdateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a change of a definition."""

    schema_name: ClassVar[str] = "field_update_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return only what the change does to values, and change nothing.")] = (
        False
    )


class FieldObject(Enum):
    """Resource discriminator for field payloads."""

    FIELD = "field"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """The definition of a field of contacts or companies."""

    schema_name: ClassVar[str] = "field"
    example: ClassVar[dict[str, Any]] = {
        "object": "field",
        "id": ids.example(ids.FIELD),
        "help": None,
        "required": False,
        "unique": False,
        "default": None,
        "order": 0,
        "archived": False,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    } | _EXAMPLE

    object: FieldObject
    id: Annotated[str, fields.id_schema(ids.FIELD)]
    object_type: FieldObjectType
    key: Annotated[_Key, Meta(description="The name of the field in `fields`. It never changes, and stays taken.")]
    label: str
    kind: FieldKind
    created_at: Time
    updated_at: Time
    help: str | None = None
    options: Annotated[tuple[FieldOption, ...], Meta(description="The options of a list.")] = ()
    required: Annotated[
        bool, Meta(description="Whether a write that names `fields` may neither clear it nor create without it.")
    ] = False
    unique: Annotated[bool, Meta(description="Whether at most one active object may have each value.")] = False
    default: Annotated[Any, Meta(description="The value of an object that is created with `fields`, if none is sent.")] = None
    order: _Order = 0
    archived: Annotated[
        bool, Meta(description="Whether no object shows the field. Its values stay, and come back with it.")
    ] = False

    @property
    def active_options(self) -> list[str]:
        """The ids of the options that a value may have."""
        return [option.id for option in self.options if not option.archived]


def _usual(key: str, label: str, kind: FieldKind, order: int, **members: Any) -> FieldCreate:
    return FieldCreate(object_type=FieldObjectType.CONTACT, key=key, label=label, kind=kind, order=order, **members)


# The fields that a workspace begins with.
USUAL_FIELDS: Final = (
    _usual("job_title", "Job title", FieldKind.TEXT, 10),
    _usual("department", "Department", FieldKind.TEXT, 20),
    _usual("address", "Address", FieldKind.ADDRESS, 30),
    _usual("birthday", "Birthday", FieldKind.DATE, 40),
    _usual("website", "Website", FieldKind.LINK, 50),
    _usual("profile_links", "Profile links", FieldKind.LONG_TEXT, 60, help="One link in each line."),
    _usual("owner", "Owner", FieldKind.USER, 70, help="The user who looks after the contact."),
    _usual(
        "source",
        "Source",
        FieldKind.ONE_OF,
        80,
        help="How the contact was found.",
        options=tuple(
            FieldOption(id=each, label=each.capitalize()) for each in ("website", "referral", "event", "import", "other")
        ),
    ),
)


def blank(field_id: str, time: str) -> Field:
    """Return a definition of which nothing is stated yet."""
    return Field(
        object=FieldObject.FIELD,
        id=field_id,
        object_type=FieldObjectType.CONTACT,
        key="",
        label="",
        kind=FieldKind.TEXT,
        created_at=time,
        updated_at=time,
    )


def patched(before: Field, patch: FieldCreate | FieldUpdate) -> Field:
    """Return the definition with the patch applied. An option that is left out is archived, because values may have it."""
    others: dict[str, Any] = {}
    is_no_list = patch.kind is not UNSET and patch.kind not in LISTS
    if patch.options is not UNSET or is_no_list:
        others["options"] = _with_gone(patch.options or (), before.options)
    return shared_schemas.patched(before, patch, others)


def _with_gone(options: Sequence[FieldOption], present: Sequence[FieldOption]) -> tuple[FieldOption, ...]:
    """Return options with those of the present ones that they lack, as archived ones."""
    sent = {option.id for option in options}
    return (*options, *(msgspec.structs.replace(option, archived=True) for option in present if option.id not in sent))


def given_back(before: Field, present: Field) -> Field:
    """Return an earlier definition as it comes back. A list has the options of the present one, because values may have them.

    Those that it lacks are archived.
    """
    if before.kind not in LISTS:
        return before
    return msgspec.structs.replace(before, options=_with_gone(before.options, present.options))


def unsound(field: Field, unsent: Collection[str] = ()) -> Iterator[FieldError]:
    """Yield the errors of members that do not go together, except those of the default's value.

    `unsent` are the members that the request did not name, which can only be at fault because others change.
    """
    without_default = "Send `default` as null, too." if "default" in unsent else "Leave it out."
    if field.kind in LISTS and not field.active_options:
        fault = "is missing, and a list needs at least one. Send them."
        if field.options:
            fault = "has archived ones alone. A list needs another: send one that is not archived."
        yield FieldError("options", "required", f"`options` {fault}")
    if field.kind not in LISTS and field.active_options:
        message = f"`options` belongs to lists, and this field is of the kind `{field.kind.value}`. Leave it out."
        yield FieldError("options", "not_allowed", message)
    if len(field.options) > MAX_OPTIONS:
        message = f"`options` would have {len(field.options)} items, with those that are archived. {MAX_OPTIONS} is the limit."
        yield FieldError("options", "too_long", message)
    if field.unique and field.kind not in UNIQUE_KINDS:
        kinds = ", ".join(sorted(f"`{kind.value}`" for kind in UNIQUE_KINDS))
        remedy = "Send it as false, too" if "unique" in unsent else "Leave it out"
        message = f"`unique` is not for fields of the kind `{field.kind.value}`. {remedy}, or choose one of {kinds}."
        yield FieldError("unique", "not_allowed", message)
    if field.default is not None and field.unique:
        message = f"`default` is not for unique fields, because only one object could have it. {without_default}"
        yield FieldError("default", "not_allowed", message)
    if field.default is not None and field.kind in REFERENCES:
        message = f"`default` is not for references, because their object may be deleted. {without_default}"
        yield FieldError("default", "not_allowed", message)


def labelled_alike(field: Field, before: Field | None = None) -> Iterator[FieldError]:
    """Yield the errors of options that may be chosen and have the label of another one but for case, accents and outer space.

    Those that have it already may keep it, because an earlier release let them have it.
    """
    known = {} if before is None else _active_labels(before)
    first_with: dict[str, int] = {}
    for index, option in enumerate(field.options):
        if option.archived:
            continue
        label = _compared_label(option)
        first = first_with.setdefault(label, index)
        if first != index and not {option.id, field.options[first].id} <= known.get(label, set()):
            message = (
                f"`options[{index}].label` is the label of `options[{first}]`, too, so a text could not tell which is meant. "
                "Choose another label, or archive one of them."
            )
            yield FieldError(f"options[{index}].label", "duplicate", message)


def _active_labels(field: Field) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for option in field.options:
        if not option.archived:
            found.setdefault(_compared_label(option), set()).add(option.id)
    return found


def _compared_label(option: FieldOption) -> str:
    """Return the label as texts name it."""
    return folded(option.label.strip())


class UnclaimedValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a unique field that a conversion has left without a claim, because another object had claimed it."""

    schema_name: ClassVar[str] = "field_unclaimed_value"

    id: Annotated[str, Meta(description="The object that has the value without a claim.")]
    value: Any
    holder: Annotated[str | None, Meta(description="The object that holds the value, or null if none does any more.")]


class FieldConversion(msgspec.Struct, frozen=True, kw_only=True):
    """How far the conversion of a field's values is."""

    schema_name: ClassVar[str] = "field_conversion"
    example: ClassVar[dict[str, Any]] = {
        "object": "field_conversion",
        "finished": False,
        "done": 118_500,
        "total": 1_000_000,
        "unclaimed": 1,
        "examples": [{"id": ids.example(ids.CONTACT), "value": "2026-W09-7T12", "holder": None}],
    }

    object: Annotated[str, Meta(description="Resource discriminator.")]
    finished: Annotated[bool, Meta(description="Whether all values have the form that the definition gives them.")]
    done: Annotated[int, Meta(description="The number of objects that were looked through for values, deleted ones included.")]
    total: Annotated[int, Meta(description="The number of objects to look through. Both are 0 once it is finished.")]
    unclaimed: Annotated[
        int,
        Meta(
            description="The number of values of a unique field that are without a claim, because another object claimed them "
            f"before the conversion came to them. {MAX_UNCLAIMED} means as many or more."
        ),
    ]
    examples: Annotated[
        tuple[UnclaimedValue, ...],
        Meta(description="The first of these values, for callers who may read the objects that have them."),
    ]


class ValueExample(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a change of a definition concerns."""

    schema_name: ClassVar[str] = "field_value_example"

    id: Annotated[str, Meta(description="The object that has the value.")]
    value: Any
    same_as: (
        Annotated[str, Meta(description="Another object with the same value, if the field would be unique.")] | UnsetType
    ) = UNSET


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """The effect that a change of a definition would have on values."""

    schema_name: ClassVar[str] = "field_change"
    example: ClassVar[dict[str, Any]] = {
        "object": "field_change",
        "dry_run": True,
        "field": Field.example,
        "kept": 118,
        "exact": True,
        "converted": 2,
        "refused": 1,
        "examples": [{"id": ids.example(ids.CONTACT), "value": "Platinum"}],
    }

    object: Annotated[str, Meta(description="Resource discriminator.")]
    dry_run: bool
    field: Annotated[Field, Meta(description="The definition after the change.")]
    kept: Annotated[int, Meta(description="The number of values that stay as they are.")]
    exact: Annotated[
        bool,
        Meta(
            description="Whether these are all. If the change leaves all values as they are, and these have more than 100,000 "
            "entries in the index, `kept` is only a lower bound."
        ),
    ]
    converted: Annotated[int, Meta(description="The number of values that get another form.")]
    refused: Annotated[int, Meta(description="The number of values that have no such form, or that another object has, too.")]
    examples: Annotated[tuple[ValueExample, ...], Meta(description="Some of the refused values.")]
