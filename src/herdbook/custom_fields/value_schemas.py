"""JSON Schemas of the values of fields, for the OpenAPI document of a workspace."""

from collections.abc import Iterable
from typing import Final

from herdbook import fields, ids
from herdbook.custom_fields.model import LISTS, MAX_OPTIONS, REFERENCES, Field, FieldKind, FieldObjectType
from herdbook.custom_fields.values import (
    ADDRESS_PARTS,
    CURRENCY_PATTERN,
    DECIMAL_PATTERN,
    MAX_INTEGER,
    MAX_LINK,
    MAX_LONG_TEXT,
    MAX_TEXT,
)
from herdbook.http.schemas import PLACE, Json

_TEXT: Final[Json] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, **fields.TEXT_SCHEMA}
_DECIMAL: Final[Json] = {"type": "string", "format": "decimal", "pattern": f"^{DECIMAL_PATTERN}$"}
# Kinds whose schema does not depend on the field.
_PLAIN: Final[dict[FieldKind, Json]] = {
    FieldKind.TEXT: _TEXT,
    FieldKind.LONG_TEXT: _TEXT | {"maxLength": MAX_LONG_TEXT},
    FieldKind.INTEGER: {"type": "integer", "format": "int64", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
    FieldKind.DECIMAL: _DECIMAL,
    FieldKind.DATE: {"type": "string", "format": "date"},
    FieldKind.DATE_TIME: {"type": "string", "format": "date-time"},
    FieldKind.YES_NO: {"type": "boolean"},
    FieldKind.LINK: {"type": "string", "format": "iri", "minLength": 1, "maxLength": MAX_LINK},
    FieldKind.EMAIL: {"type": "string", "format": "idn-email", "minLength": 1, "maxLength": MAX_LINK},
    FieldKind.PHONE: {"type": "string", "format": "phone", "minLength": 1, "maxLength": MAX_TEXT},
    FieldKind.ADDRESS: {"$ref": PLACE + "field_address"},
    FieldKind.MONEY: {"$ref": PLACE + "field_money"},
    **{
        kind: {"type": "string", "pattern": fields.id_pattern(prefix), "examples": [ids.example(prefix)]}
        for kind, prefix in REFERENCES.items()
    },
}
_ASKED_ADDRESS: Final[Json] = {"$ref": PLACE + "field_address_update"}
_SHARED: Final[dict[str, Json]] = {
    "field_address": {
        "title": "field_address",
        "description": "A postal address: at least one of its parts.",
        "type": "object",
        "properties": dict.fromkeys(ADDRESS_PARTS, _TEXT),
        "minProperties": 1,
        "additionalProperties": False,
    },
    "field_address_update": {
        "title": "field_address_update",
        "description": "A postal address to give: at least one of its parts. A part that is null counts as left out.",
        "type": "object",
        "properties": dict.fromkeys(ADDRESS_PARTS, _TEXT | {"type": ["string", "null"]}),
        "minProperties": 1,
        "additionalProperties": False,
    },
    "field_money": {
        "title": "field_money",
        "description": "An amount in a currency (ISO 4217).",
        "type": "object",
        "properties": {"amount": _DECIMAL, "currency": {"type": "string", "pattern": f"^{CURRENCY_PATTERN}$"}},
        "required": ["amount", "currency"],
        "additionalProperties": False,
    },
}


def value_schemas(definitions: Iterable[Field]) -> dict[str, Json]:
    """Return the schemas of the values that objects have in a workspace, by their names in its document.

    `contact_fields` is the schema of `fields` in an answer, `contact_fields_create` and `contact_fields_update` are those in
    requests, and `contact_field_tier` is that of the options of the list `tier`. Those of companies are alike. Archived fields
    are left out. Archived options are there, because values have them.
    """
    schemas = dict(_SHARED)
    active = sorted((field for field in definitions if not field.archived), key=lambda field: (field.order, field.key))
    for object_type in FieldObjectType:
        name = object_type.value
        defined = [field for field in active if field.object_type is object_type]
        schemas |= {_options_name(field): _options(field) for field in defined if field.kind in LISTS}
        schemas[f"{name}_fields"] = _object(
            f"{name}_fields",
            f"The values of the workspace's own fields that a {name} has. One that was deleted before a field got another kind "
            "may have come back with a value that has no form of that kind: it is shown as it was.",
            {field.key: _described(field, _value(field)) for field in defined},
        )
        schemas[f"{name}_fields_update"] = _object(
            f"{name}_fields_update",
            f"Values to give a {name}. Absent leaves a value alone; null clears it.",
            {field.key: _described(field, _asked(field)) for field in defined},
        ) | {"additionalProperties": False}
        required = [field.key for field in defined if field.required and field.default is None]
        schemas[f"{name}_fields_create"] = (
            _object(
                f"{name}_fields_create",
                f"Values to give a new {name}. Absent gives it the default, if the field has one.",
                {field.key: _described(field, _asked(field)) | _default(field) for field in defined},
            )
            | {"additionalProperties": False}
            | ({"required": required} if required else {})
        )
    return schemas


def condition_value(field: Field) -> Json:
    """Return the schema of a value that a condition of a query compares with a field."""
    # Each list would need a schema of its own conditions, and a workspace may have hundreds.
    return {"type": "string"} if field.kind in LISTS else _PLAIN[field.kind]


def _object(name: str, description: str, properties: Json) -> Json:
    return {"title": name, "description": description, "type": "object", "properties": properties}


def _options_name(field: Field) -> str:
    return f"{field.object_type.value}_field_{field.key}"


def _options(field: Field) -> Json:
    """Return the schema of the options of a list. All languages tell its members apart from those of other lists."""
    name = _options_name(field)
    archived = ", ".join(f"`{option.id}`" for option in field.options if option.archived)
    about = f"The options of `{field.key}`."
    return {
        "title": name,
        "description": f"{about} No other value gets one that is archived: {archived}." if archived else about,
        "type": "string",
        "enum": [option.id for option in field.options],
        "x-enum-varnames": [f"{name}_{option.id}".upper() for option in field.options],
        "x-enum-descriptions": [option.label for option in field.options],
    }


def _value(field: Field) -> Json:
    """Return the schema of a value as answers show it."""
    if field.kind is FieldKind.ONE_OF:
        return {"$ref": PLACE + _options_name(field)}
    if field.kind is FieldKind.SEVERAL_OF:
        return {"type": "array", "items": {"$ref": PLACE + _options_name(field)}, "maxItems": MAX_OPTIONS, "uniqueItems": True}
    return _PLAIN[field.kind]


def _asked(field: Field) -> Json:
    """Return the schema of a value in a request: null clears it, unless the field is required."""
    value = _ASKED_ADDRESS if field.kind is FieldKind.ADDRESS else _value(field)
    if field.required:
        return value
    return {"anyOf": [value, {"type": "null"}]} if "$ref" in value else value | {"type": [value["type"], "null"]}


def _described(field: Field, schema: Json) -> Json:
    sentences = [field.help] if field.help else []
    if field.unique:
        sentences.append(f"At most one {field.object_type.value} has each value.")
    return {**schema, "title": field.label, **({"description": " ".join(sentences)} if sentences else {})}


def _default(field: Field) -> Json:
    return {} if field.default is None else {"default": field.default}
