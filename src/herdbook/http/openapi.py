"""The OpenAPI document, generated from the declarations of the operations alone."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from herdbook import errors, ids
from herdbook.fields import NO_NUL_SCHEMA
from herdbook.http.call import MAX_KEY_LENGTH
from herdbook.http.operation import Filter, ListOf, Operation
from herdbook.http.page import (
    CRM,
    DEFAULT_LIMIT,
    EXPAND,
    MAX_CRM_ASSOCIATIONS,
    MAX_PAGE_SIZE,
    MAX_SEARCH_LENGTH,
    filter_parameters,
    orders,
    time_parameters,
)
from herdbook.http.problems import INTERNAL_ERROR, PROBLEM_TYPES, Problem, ProblemType, problem_of
from herdbook.http.schemas import PLACE, Json, schema_name, schema_ref, schemas_of
from herdbook.http.unread import WrittenObject, needs_other_schema
from herdbook.shared_schemas import Deleted

_MEDIA_TYPES_OF_PROBLEMS: Final = ("application/json", "application/problem+json")
# The vendor has published its document, with all responses in their places, so tools may compare the texts.
_PUBLISHED: Final = "update-contact"
_EXAMPLE_REQUEST_ID: Final = ids.example(ids.REQUEST)
_ABOUT: Final = """\
Every request must authenticate: `Authorization: Bearer <token>`, or an API key as the whole value of that header.
Every error is a problem (RFC 9457) with a stable `type`; quote its `request_id` when you ask for help.

**Lists** come in pages: until `has_more` is false, send `next_cursor` as `cursor`, optionally with a `limit`, and nothing else.
To copy everything, begin with `order_by=updated_at:asc`: in the default order, an object that is updated meanwhile moves to the
pages that you have already read, and you miss it.

**Retries** are safe with an `Idempotency-Key`: a repeated write returns the first answer and changes nothing.

**Concurrent edits** of one object are safe with `If-Match`: send the `ETag` that you have read, and 412 tells you that the
object has changed since.
"""

_TO_COPY: Final = (
    "To copy a whole list, use `order_by=updated_at:asc`: in the default order, an object that is updated while you read moves "
    "to the beginning, and you miss it."
)
_UPDATED_AFTER: Final = "filter[updated_at][gt]"
_SAME_TIME: Final = " Objects of one bulk share a time: go on with `gte` the latest that you have, not with `gt`."

# One instance of each refusal: the examples are made from them, so that they look like real ones.
_SAMPLES: Final[tuple[Exception, ...]] = (
    errors.Unauthenticated("No credential. Send `Authorization: Bearer <token>` or an API key as its value."),
    errors.Forbidden("contacts:write"),
    errors.RateLimited(1),
    errors.Busy(1000),
    errors.TooManyFollowers(1000),
    errors.Invalid([errors.FieldError("name", "too_long", "`name` has 256 characters. Send 255 at most.")]),
    errors.KeyReused(),
    errors.AnswerErased(),
    errors.InvalidQuery(
        [errors.FieldError("limit", "invalid_range", f"`limit` must be a whole number from 1 to {MAX_PAGE_SIZE}.")]
    ),
    errors.NotFound("object"),
    errors.Stale(1842),
    errors.Taken(
        [errors.FieldError("name", "already_in_use", "`name` belongs to another object. Choose another.")],
        [("object", "obj_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")],
        "",
    ),
    errors.Unavailable("The database cannot be reached. Nothing was done. Try again shortly."),
    errors.NoLongerKept("Position 17 is older than 4711, the oldest that is kept.", 4711, 9001),
    errors.OutcomeUnknown(),
    errors.TooLarge(8_388_608),
    errors.UnsupportedMediaType("text/plain"),
    errors.UnsupportedCoding("gzip"),
    Exception(),
)

_HEADERS: Final[dict[str, Json]] = {
    "X-Api-Version": {"required": True, "description": "Version of the API.", "schema": {"type": "string"}},
    "X-Request-Id": {
        "required": True,
        "description": "Correlation identifier for support and debugging.",
        "schema": {"type": "string", "pattern": f"^{ids.REQUEST}[0-9A-Z]{{26}}$"},
    },
    "ETag": {"required": True, "description": "Version of the object.", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
    "ETagOfObject": {
        "description": "Version of the object, if the answer is an object.",
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "ETagOfRecord": {
        "required": True,
        "description": "Version of the object, and what is shown of the parts that may be hidden.",
        "schema": {"type": "string", "pattern": r'^"[0-9]+(\.[0-9a-f]{16})?"$'},
    },
    "Location": {"required": True, "description": "Address of the object.", "schema": {"type": "string"}},
    "CurrentETag": {"description": "Current version of the object.", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
    "Idempotency-Replayed": {
        "description": "Present if this repeats the answer to an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit": {"description": "`r` requests are left; the full quota is back in `t` seconds.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "The limit: `q` requests in `w` seconds.", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "Maximum number of requests at once.", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Remaining requests.", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {"description": "Seconds until the full quota is back.", "schema": {"type": "integer"}},
    "Retry-After": {"required": True, "description": "Seconds to wait before trying again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"required": True, "description": "How to authenticate.", "schema": {"type": "string"}},
}
_EVERYWHERE: Final = ("X-Api-Version", "X-Request-Id")
_QUOTA: Final = ("RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_OF_STATUS: Final[dict[int, dict[str, str]]] = {
    401: {"WWW-Authenticate": "WWW-Authenticate"},
    412: {"ETag": "CurrentETag"},
    429: {"Retry-After": "Retry-After"},
    503: {"Retry-After": "Retry-After"},
}


def document(operations: Sequence[Operation], problem_type_base: str, server: str = "/api") -> Json:
    """Return the OpenAPI document of operations that are served below a server's path or URL."""
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, operations)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AskElephant Public API", "version": "1.0.0", "description": _ABOUT},
        "servers": [{"url": server}],
        "tags": [{"name": tag, "x-displayName": tag_title(tag)} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": _shared_responses(operations),
            "headers": _HEADERS,
            "examples": _problem_examples(problem_type_base),
            "securitySchemes": {
                "BearerAuth": {"type": "http", "scheme": "bearer"},
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The key is the whole value: `Authorization: sk-apik_<id>.<secret>`.",
                },
                "OlderApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Api-Key",
                    "description": "Only of the older export.",
                },
            },
        },
    }


def tag_title(tag: str) -> str:
    """Return the display name of a tag, such as "Transcript comments" for `subpackage_transcriptComments`."""
    return re.sub("(?=[A-Z])", " ", tag.removeprefix("subpackage_")).capitalize()


def refusals_of(operation: Operation) -> tuple[type[errors.Refusal], ...]:
    """Return all refusals of an operation: those that it declares, and those that follow from its declaration."""
    found: list[type[errors.Refusal]] = [*operation.refusals, errors.Unavailable]
    if operation.scopes is not None:
        found += (errors.Unauthenticated, errors.Forbidden, errors.RateLimited)
    if operation.path_parameters:
        found.append(errors.NotFound)
    if operation.is_strict or not operation.takes_no_query:
        found.append(errors.InvalidQuery)
    if operation.is_write:
        found += (errors.Stale, errors.Invalid, errors.KeyReused, errors.AnswerErased, errors.Busy, errors.OutcomeUnknown)
    if operation.is_strict or not operation.takes_no_body:
        found += (errors.TooLarge, errors.UnsupportedCoding)
    if operation.body is not None or (operation.is_strict and operation.takes_no_body):
        found += (errors.Invalid, errors.UnsupportedMediaType)
    return tuple(dict.fromkeys(found))


def _operation(operation: Operation, operations: Sequence[Operation]) -> Json:
    described: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "security": [{name: list(operation.scopes)} for name in _schemes(operation)] if operation.scopes is not None else [],
        "parameters": _parameters(operation, operations),
        "responses": _responses(operation, operations),
    }
    if operation.body is not None:
        # A missing body is read as `{}`, so it is optional where `{}` is valid.
        required = any(field.required for field in msgspec.structs.fields(operation.body))
        content = _content(schema_ref(operation.body), _example(operation.body))
        described["requestBody"] = {"content": content} | ({"required": True} if required else {})
    elif operation.form is not None:
        content = _content(schema_ref(operation.form), _example(operation.form), "application/x-www-form-urlencoded")
        described["requestBody"] = {"content": content, "required": True}
    elif operation.takes_file:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        described["requestBody"] = {"content": content, "required": True}
    return described


def _schemes(operation: Operation) -> tuple[str, ...]:
    return ("BearerAuth", "ApiKey", "OlderApiKey") if operation.is_older else ("BearerAuth", "ApiKey")


def _description(operation: Operation) -> str:
    """Return the description, with the scopes that the operation needs."""
    sentences = [operation.description]
    if operation.scopes:
        named = " and ".join(f"`{scope}`" for scope in operation.scopes)
        sentences.append(f"Requires the {named} scope{'s' if len(operation.scopes) > 1 else ''}.")
    if operation.is_own:
        sentences.append("Not part of the vendor's API.")
    return " ".join(sentences)


def _parameters(operation: Operation, operations: Sequence[Operation]) -> list[Json]:
    parameters = [_path_parameter(kind, operations) for kind in operation.path_parameters]
    if operation.scopes is None:
        return parameters
    if operation.list_of is not None:
        parameters += _list_parameters(operation.list_of)
    if operation.query is not None:
        parameters += _query_parameters(operation.query)
    if operation.filters_of is not None:
        parameters += _filter_parameters(operation.filters_of)
    if operation.expand is not None:
        parameters.append(_expand_parameter(operation.expand))
    if operation.event_stream is not None and "after" in getattr(operation.query, "__struct_fields__", ()):
        about = "The `id` of the last event; an event stream resumes after it. It takes precedence over `after`."
        parameters.append(_header_parameter("Last-Event-ID", about, {"type": "string"}))
    if operation.shows_version and not operation.is_write:
        about = "The `ETag` of your copy: the answer is 304, without a body, if it is still current."
        parameters.append(_header_parameter("If-None-Match", about, {"type": "string"}))
    if operation.is_write:
        if operation.path_parameters:
            about = "The `ETag` that you have read: if it is no longer current, the answer is 412 and nothing is changed."
            parameters.append(_header_parameter("If-Match", about, {"type": "string"}))
        about = "Makes the write safe to repeat for 24 hours: choose a new key for each write, such as a UUID."
        schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[ -~]+$"}
        parameters.append(_header_parameter("Idempotency-Key", about, schema))
    return parameters


def _path_parameter(kind: str, operations: Sequence[Operation]) -> Json:
    about = f"Identifier of the {kind.replace('_', ' ')}."
    parameter = {"name": f"{kind}_id", "in": "path", "required": True, "description": about, "schema": {"type": "string"}}
    example = _example_of(kind, operations)
    return parameter | ({"example": example["id"]} if example else {})


def _example_of(kind: str, operations: Sequence[Operation]) -> Json | None:
    """Return an example of the objects of a kind, such as `contact`."""
    examples = (_example(each.answer) for each in operations if schema_name(each.answer) == kind)
    return next((example for example in examples if example), None)


def _header_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _list_parameters(list_of: ListOf) -> list[Json]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_LIMIT}
    known = list(orders(list_of))
    order = {"type": "string", "enum": known, "default": known[0]}
    return [
        _query_parameter("limit", "Maximum number of objects on a page.", limit),
        _query_parameter(
            "cursor",
            "The `next_cursor` of the last page, unchanged. It contains search, filters, order and `expand`: leave them out, "
            "or send them with the same values. " + _TO_COPY,
            {"type": "string"},
        ),
        _query_parameter("order_by", "The order of the objects. " + _TO_COPY, order),
        *_filter_parameters(list_of),
    ]


def _filter_parameters(list_of: ListOf) -> list[Json]:
    text: Json = {"type": "string", "maxLength": MAX_SEARCH_LENGTH, **NO_NUL_SCHEMA}
    time = {"type": "string", "format": "date-time"}
    when = {"gt": "after", "gte": "at or after", "lt": "before", "lte": "at or before"}
    parameters = [
        _query_parameter(
            name,
            f"Only objects with an `{column}` {when[bound]} this time.{_SAME_TIME if name == _UPDATED_AFTER else ''}",
            time,
        )
        for name, (column, bound) in time_parameters(list_of).items()
    ]
    if list_of.search is not None:
        parameters.append(_query_parameter("search", list_of.search, text))
    parameters += [
        _filter_parameter(name, each, takes_several=several) for name, (each, several) in filter_parameters(list_of).items()
    ]
    if list_of.crm_types:
        parameters.append(_crm_parameter(list_of.crm_types))
    return parameters


def _query_parameters(query: type[msgspec.Struct]) -> Iterator[Json]:
    for name, schema in schemas_of([query])[schema_name(query)]["properties"].items():
        about = schema.pop("description", "")
        parameter = _comma_separated if schema.get("type") == "array" else _query_parameter
        yield parameter(name, about, schema)


def _filter_parameter(name: str, each: Filter, *, takes_several: bool) -> Json:
    if not takes_several:
        return _query_parameter(name, each.description, each.schema)
    schema = {"type": "array", "items": each.schema, "minItems": 1, "maxItems": each.most}
    return _comma_separated(name, f"{each.description} Several values match any of them.", schema)


def _expand_parameter(expand: Mapping[str, str | None]) -> Json:
    scopes = ", ".join(f"`{name}` needs the scope `{scope}`" for name, scope in expand.items() if scope)
    about = f"Additional members of the answer; {scopes}."
    return _comma_separated(EXPAND, about, {"type": "array", "items": {"type": "string", "enum": list(expand)}})


def _comma_separated(name: str, description: str, schema: Json) -> Json:
    return _query_parameter(name, description, schema) | {"style": "form", "explode": False}


def _query_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _crm_parameter(crm_types: Sequence[str]) -> Json:
    choices = " or ".join(f"`{crm_type}`" for crm_type in crm_types)
    about = (
        f"Only objects linked to one of these CRM records: a JSON array of 1 to {MAX_CRM_ASSOCIATIONS} objects with `id` and "
        f"`object_type` ({choices}), as a string. `{CRM}[0][id]` and `{CRM}[0][object_type]`, and so on by index, are an "
        "alternative."
    )
    example = json.dumps([{"id": "12345", "object_type": crm_types[0]}])
    # A string, because few generators of clients can encode a parameter that is declared by its `content`.
    return _query_parameter(CRM, about, {"type": "string"}) | {"example": example}


def _responses(operation: Operation, operations: Sequence[Operation]) -> Json:
    responses = {operation.status: _success(operation, operations)}
    if operation.method == "GET" and operation.shows_version:
        headers = _headers((*_EVERYWHERE, "ETag", *_QUOTA)) | _etag_of_record(operation)
        responses[304] = {"description": "If-None-Match names the current version.", "headers": headers}
    refusal = _refusal if operation.id == _PUBLISHED else _shared_refusal
    responses |= {kinds[0].status: refusal(kinds) for kinds in _refusals_by_status(operation)}
    for status, other in (operation.other_answers or {}).items():
        headers = _headers((*_EVERYWHERE, *other.headers))
        responses[status] = {
            "description": other.description,
            "headers": headers,
            "content": _content(_reference(operation, status, other.struct), _example(other.struct)),
        }
    return {str(status): responses[status] for status in sorted(responses)}


def _reference(operation: Operation, status: int, answer: type[msgspec.Struct]) -> Json:
    """Refer to the schema of an answer, and to that of what is left for those who may not read it, where that is another."""
    reference = schema_ref(answer)
    if operation.narrows(status) and needs_other_schema(answer):
        return {"anyOf": [reference, schema_ref(WrittenObject)]}
    return reference


def _success(operation: Operation, operations: Sequence[Operation]) -> Json:
    example = _example(operation.answer)
    reference = _reference(operation, operation.status, operation.answer)
    names = _EVERYWHERE
    if operation.list_of is not None:
        reference = {"$ref": PLACE + _list_name(operation)}
        example = example and {"object": "list", "data": [example], "has_more": False, "next_cursor": None}
    elif operation.answer is Deleted:
        object_ = _example_of(operation.path_parameters[-1], operations)
        example = object_ and {"id": object_["id"], "object": object_["object"], "deleted": True}
    elif operation.scopes is not None and operation.shows_version:
        names = (*names, "ETag")
    if operation.is_write:
        names = (*names, "Idempotency-Replayed")
    if operation.scopes is not None:
        names = (*names, *_QUOTA)
    if operation.or_answer is not None:
        reference = {"anyOf": [reference, schema_ref(operation.or_answer)]}
    headers = _headers(names) | _etag_of_record(operation)
    response: Json = {"description": operation.answer_description, "headers": headers}
    if operation.or_answer is not None:
        response["headers"] |= _header_references({"ETag": "ETagOfObject"})
    response["content"] = _files(operation, reference) or _content(reference, example)
    if operation.event_stream is not None:
        response["content"] |= _content({"type": "string", "description": operation.event_stream}, None, "text/event-stream")
    if operation.status == 201:
        response["links"] = _links(operation, operations)
    return response


def _etag_of_record(operation: Operation) -> Json:
    return _header_references({"ETag": "ETagOfRecord"}) if operation.has_variants else {}


def _files(operation: Operation, line: Json) -> Json:
    """Return the contents of an answer that is a file; `line` is the schema of a line as NDJSON."""
    file = {"type": "string"}
    return {each: {"schema": line if each.endswith("ndjson") else file} for each in operation.files}


def _shared_responses(operations: Iterable[Operation]) -> Json:
    """Return the refusals of all operations by name: most operations have them in common, so that each is described once."""
    responses = {_refusal_name(kinds): _refusal(kinds) for operation in operations for kinds in _refusals_by_status(operation)}
    return dict(sorted(responses.items()))


def _refusals_by_status(operation: Operation) -> list[list[ProblemType]]:
    """Return the kinds of an operation's refusals, those of each status together, sorted by name."""
    by_name = {kind.name: kind for kind in (INTERNAL_ERROR, *(PROBLEM_TYPES[refusal] for refusal in refusals_of(operation)))}
    by_status: dict[int, list[ProblemType]] = {}
    for _, kind in sorted(by_name.items()):
        by_status.setdefault(kind.status, []).append(kind)
    return list(by_status.values())


def _shared_refusal(kinds: Iterable[ProblemType]) -> Json:
    return {"$ref": f"#/components/responses/{_refusal_name(kinds)}"}


def _refusal_name(kinds: Iterable[ProblemType]) -> str:
    return "_or_".join(kind.name for kind in kinds)


def _refusal(kinds: Sequence[ProblemType]) -> Json:
    status = kinds[0].status
    quota = () if status == 401 else _QUOTA
    content = {
        "schema": schema_ref(Problem),
        "examples": {kind.name: {"$ref": f"#/components/examples/{kind.name}"} for kind in kinds},
    }
    return {
        "description": " ".join(dict.fromkeys(kind.description for kind in kinds)),
        "headers": _headers((*_EVERYWHERE, *quota)) | _header_references(_OF_STATUS.get(status, {})),
        "content": dict.fromkeys(_MEDIA_TYPES_OF_PROBLEMS, content),
    }


def _headers(names: Iterable[str]) -> Json:
    return _header_references({name: name for name in names})


def _header_references(headers: dict[str, str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{component}"} for name, component in headers.items()}


def _links(operation: Operation, operations: Sequence[Operation]) -> Json:
    """Return links to the operations on a newly created object."""
    below = re.compile(re.escape(operation.path) + r"/\{(\w+)\}")
    found = ((each, below.match(each.path)) for each in operations)
    return {
        each.id: {"operationId": each.id, "parameters": {match[1]: "$response.body#/id"}}
        for each, match in found
        if match is not None
    }


def _content(schema: Json, example: Any, media_type: str = "application/json") -> Json:
    return {media_type: {"schema": schema} | ({"example": example} if example else {})}


def _example(struct: type[msgspec.Struct]) -> Json | None:
    return getattr(struct, "example", None)


def _list_name(operation: Operation) -> str:
    return f"{schema_name(operation.answer)}_list"


def _schemas(operations: Iterable[Operation]) -> dict[str, Json]:
    structs: dict[type[msgspec.Struct], None] = {Problem: None, WrittenObject: None}
    lists: dict[str, Json] = {}
    for operation in operations:
        structs[operation.answer] = None
        if operation.or_answer is not None:
            structs[operation.or_answer] = None
        structs |= dict.fromkeys(other.struct for other in (operation.other_answers or {}).values())
        structs |= dict.fromkeys(each for each in (operation.body, operation.form) if each is not None)
        if operation.list_of is not None:
            lists[_list_name(operation)] = _list_schema(operation)
    schemas = schemas_of(structs) | lists
    _name_members_apart(schemas)
    return dict(sorted(schemas.items()))


def _name_members_apart(schemas: dict[str, Json]) -> None:
    """Name the members of enums that share one after their enum, because Go and others declare all members side by side."""
    enums = {name: schema for name, schema in schemas.items() if "enum" in schema}
    shared = Counter(value.lower() for schema in enums.values() for value in schema["enum"])
    for name, schema in enums.items():
        if any(shared[value.lower()] > 1 for value in schema["enum"]):
            prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", name)
            schema["x-enum-varnames"] = [f"{prefix}_{value}".upper() for value in schema["enum"]]


def _list_schema(operation: Operation) -> Json:
    return {
        "title": _list_name(operation),
        "description": "A page of a list.",
        "type": "object",
        "properties": {
            "object": {"type": "string", "enum": ["list"]},
            "data": {"type": "array", "items": schema_ref(operation.answer), "description": "The objects of this page."},
            "has_more": {"type": "boolean", "description": "Whether another page follows."},
            "next_cursor": {"type": ["string", "null"], "description": f"The `cursor` of the next page. {_TO_COPY}"},
        },
        "required": ["object", "data", "has_more", "next_cursor"],
    }


def _problem_examples(type_base: str) -> Json:
    examples: Json = {}
    for sample in _SAMPLES:
        problem = problem_of(sample, _EXAMPLE_REQUEST_ID, type_base, may=lambda _: True)
        name = problem.type.removeprefix(type_base)
        examples[name] = {"summary": problem.title, "value": msgspec.json.decode(msgspec.json.encode(problem))}
    return examples
