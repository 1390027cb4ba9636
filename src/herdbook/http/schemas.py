"""JSON Schemas of the API's structs, in the style of the vendor's published document."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args, get_type_hints

import msgspec

Json = dict[str, Any]

PLACE: Final = "#/components/schemas/"


def schema_name(struct: type[msgspec.Struct]) -> str:
    """Return the name of a struct's schema in the document."""
    return getattr(struct, "schema_name", struct.__name__)


def schema_ref(struct: type[msgspec.Struct]) -> Json:
    """Return a reference to a struct's schema."""
    return {"$ref": PLACE + schema_name(struct)}


def schemas_of(structs: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    """Return the schemas of structs and of everything they contain, by name."""
    structs = list(structs)
    _, components = msgspec.json.schema_components(structs, ref_template=PLACE + "{name}")
    names = {struct.__name__: schema_name(struct) for struct in _with_contained(structs)}
    return {
        names.get(name, name): {**_restated(schema, names), "title": names.get(name, name)}
        for name, schema in sorted(components.items(), key=lambda item: names.get(item[0], item[0]))
    }


def _with_contained(types: Iterable[Any]) -> Iterator[type[msgspec.Struct]]:
    for each in types:
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            yield each
            hints = get_type_hints(each)
            yield from _with_contained(hints[name] for name in each.__struct_fields__)
        yield from _with_contained(get_args(each))


def _restated(schema: Json, names: dict[str, str]) -> Json:
    """Rewrite a schema of msgspec in the style of the vendor's document."""
    stated: Json = {}
    for key, value in schema.items():
        if key == "anyOf":
            stated |= _choice(value, names)
        elif key == "discriminator":
            mapping = {tag: _restated({"$ref": ref}, names)["$ref"] for tag, ref in value["mapping"].items()}
            stated[key] = {**value, "mapping": mapping}
        elif key == "properties":
            stated[key] = {name: _restated(member, names) for name, member in value.items()}
        elif key in ("items", "additionalProperties") and value not in (True, False):
            stated[key] = _restated(value, names)
        elif key == "$ref":
            name: str = value.removeprefix(PLACE)
            stated[key] = PLACE + names.get(name, name)
        elif key == "enum":
            # All our enums are strings; the vendor's document also states the type.
            stated |= {"type": "string", key: value}
        elif key != "default" and value != []:
            # Leave out defaults: they are internal, and an absent member is not filled in for the client.
            stated[key] = value
    return stated


def _choice(options: list[Json], names: dict[str, str]) -> Json:
    """Return "this or null" as a list of types for a plain type, and as a choice for a reference or several types."""
    option, *others = (option for option in options if option != {"type": "null"})
    stated = _restated(option, names)
    if others:
        return {"oneOf": [stated, *(_restated(other, names) for other in others)]}
    if "type" not in stated:
        return {"anyOf": [stated, {"type": "null"}]}
    return {**stated, "type": [stated["type"], "null"]}
