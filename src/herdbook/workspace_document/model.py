"""The OpenAPI document of a workspace: that of all workspaces, with the workspace's own fields in it."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook.companies.query_store import QUERIED_COMPANIES
from herdbook.contacts.query_store import QUERIED_CONTACTS
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.value_schemas import value_schemas
from herdbook.http.schemas import PLACE, Json
from herdbook.querying.store import QueriedType

_RECORDS: Final = {"contact": "contact_record", "company": "company_record"}
_QUERIED: Final = (QUERIED_CONTACTS, QUERIED_COMPANIES)
# An ETag is a number below 2^63.
_HASHES: Final = 2**20
_DEFINITION_VERSIONS: Final = 2**42


class WorkspaceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAPI document, with the fields of one workspace."""

    schema_name: ClassVar[str] = "openapi_document"

    openapi: Literal["3.1.0"]
    info: dict[str, Any]
    servers: tuple[dict[str, Any], ...]
    tags: tuple[dict[str, Any], ...]
    paths: Annotated[dict[str, Any], Meta(description="The operations, by path and method.")]
    components: Annotated[dict[str, Any], Meta(description="The schemas, among them those of the workspace's fields.")]


class DocumentWriter:
    """Writes the documents of workspaces. `document` is that of all workspaces, as JSON."""

    def __init__(self, document: bytes) -> None:
        members: Json = msgspec.json.decode(document)
        components: dict[str, Any] = members.pop("components")
        schemas: dict[str, Json] = components.pop("schemas")
        self._holders = {name: schema for name, schema in schemas.items() if _holds_values(schema)}
        self._queries = {name: schemas[name] for each in _QUERIED for name in _query_names(each)}
        past = {f"past_{name}": schemas[name] | {"title": f"past_{name}"} for name in _RECORDS.values()}
        self._others = _encoded({name: schema for name, schema in schemas.items() if name not in self._holders} | past)
        # No part but the schemas depends on the workspace, and all others together are large.
        members["paths"] = {path: _of_any_fields(path, item) for path, item in members["paths"].items()}
        self._members, self._components = _encoded(members), _encoded(components)
        self._hash = zlib.crc32(document)

    def version(self, workspace_id: UUID, of_definitions: int) -> int:
        """Return the version of a workspace's document, given that of its definitions.

        Another release, and another workspace, has another version, because a client may keep documents by their URL.
        """
        return (zlib.crc32(workspace_id.bytes, self._hash) % _HASHES + 1) * _DEFINITION_VERSIONS + of_definitions

    def written(self, definitions: Sequence[Field]) -> bytes:
        """Return the document of a workspace that has these fields, archived ones included."""
        schemas: dict[str, Any] = {**self._others, **value_schemas(definitions), **self._of_queries(definitions)}
        for name, schema in self._holders.items():
            schemas[name] = _with_member(schema, "fields", {"$ref": PLACE + _values_name(name)})
        components = {**self._components, "schemas": dict(sorted(schemas.items()))}
        return msgspec.json.encode({**self._members, "components": components})

    def _of_queries(self, definitions: Sequence[Field]) -> dict[str, Json]:
        """Return the schemas of queries, with those of their conditions."""
        schemas: dict[str, Json] = {}
        for queried in _QUERIED:
            name = queried.object_type.name
            reader = queried.reader([field for field in definitions if field.object_type.value == name], None)
            where = {"anyOf": [{"$ref": f"{PLACE}{name}_condition"}, {"type": "null"}]}
            request, sort = _query_names(queried)
            schemas |= reader.schemas(name)
            schemas[request] = _with_member(self._queries[request], "where", where)
            schemas[sort] = _with_member(self._queries[sort], "field", {"type": "string", "enum": reader.sortable})
        return schemas


def _query_names(queried: QueriedType) -> tuple[str, str]:
    """Return the names of the schemas of a query and of its sort."""
    return f"{queried.object_type.name}_query_request", f"{queried.object_type.name}_sort"


def _encoded(parts: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(part)) for name, part in parts.items()}


def _holds_values(schema: Json) -> bool:
    return schema.get("properties", {}).get("fields", {}).get("type") == "object"


def _values_name(name: str) -> str:
    """Return the name of the schema of the values in a schema with a member `fields`."""
    object_type = next(object_type for object_type in _RECORDS if object_type in name)
    if name.endswith("_create_request"):
        return f"{object_type}_fields_create"
    return f"{object_type}_fields_update" if name.endswith("_request") else f"{object_type}_fields"


def _with_member(schema: Json, name: str, member: Json) -> Json:
    """Return a schema in which a member has another schema, and the same description."""
    about = {"description": schema["properties"][name]["description"]}
    return {**schema, "properties": {**schema["properties"], name: member | about}}


def _of_any_fields(path: str, item: Json) -> Json:
    """Return the operations on a path without examples that a workspace may have no fields for.

    A history shows an object as it was at some time. It may have values of fields that are of another kind by now, so these are
    not typed.
    """
    for described in item.values():
        contents = [described.get("requestBody", {}), *described["responses"].values()]
        for content in (each for part in contents for each in part.get("content", {}).values()):
            if b'"fields' in msgspec.json.encode(content.get("example")):
                del content["example"]
            if path.endswith("/history"):
                content["schema"] = _past(content["schema"])
    return item


def _past(schema: Json) -> Json:
    text = msgspec.json.encode(schema)
    for name in _RECORDS.values():
        text = text.replace(f'"{PLACE}{name}"'.encode(), f'"{PLACE}past_{name}"'.encode())
    return msgspec.json.decode(text)
