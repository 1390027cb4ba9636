"""The documentation page: the OpenAPI document as one HTML file that needs no script and no network."""

import functools
import json
import shlex
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from herdbook.fields import NO_NUL_SCHEMA, TEXT_SCHEMA
from herdbook.http.schemas import Json

# The page loads no resources and must not be framed.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False})
_WORDS_FOR_PATTERNS: Final = {
    NO_NUL_SCHEMA["pattern"]: "no NUL",
    TEXT_SCHEMA["pattern"]: "not only white space",
    "^[ -~]+$": "printable ASCII",
}


class Field(NamedTuple):
    """A parameter, or a field of a body. A nested field's name is a path such as `emails[].email`."""

    name: str
    type: str
    required: bool
    limits: tuple[str, ...]
    description: str
    where: str = ""


class Refused(NamedTuple):
    """A possible refusal of an operation."""

    status: str
    kinds: tuple[str, ...]
    description: str


class Shown(NamedTuple):
    """An operation as the page shows it."""

    id: str
    method: str
    path: str
    example_path: str
    summary: str
    description: str
    scopes: tuple[str, ...] | None
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    body_example: Json
    is_form: bool
    status: str
    answer_description: str
    answer: tuple[Field, ...]
    answer_example: str
    refusals: tuple[Refused, ...]


class DocsPage:
    """Renders an OpenAPI document."""

    def __init__(self, document: Json) -> None:
        environment = Environment(
            loader=PackageLoader("herdbook.http"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"markdown": _markdown, "inline": _markdown_in_line}
        self._template = environment.get_template("docs.html")
        self._document = document
        self._groups = [
            (tag["x-displayName"], [shown for shown, tags in _shown(document) if tag["name"] in tags])
            for tag in document["tags"]
        ]
        # A server has few addresses, and to make a page takes long.
        self.get = functools.lru_cache(maxsize=8)(self._made)

    def _made(self, base_url: str) -> Response:
        """Return the page, whose commands use the document's server, as a reader at this address sees it."""
        server = urljoin(base_url, self._document["servers"][0]["url"])
        page = self._template.render(
            info=self._document["info"],
            groups=self._groups,
            server=server,
            prefix=urlsplit(server).path,
            curl=functools.partial(curl, server=server),
        )
        return HTMLResponse(page, headers=_HEADERS)


def _markdown(text: str) -> Markup:
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the renderer escapes HTML in the text.


def _markdown_in_line(text: str) -> Markup:
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704 - as above.


def curl(shown: Shown, server: str) -> str:
    """Return the shell command for an operation; it takes the key from the environment."""
    method = [] if shown.method == "GET" else ["-X", shown.method]
    lines = [" ".join(["curl", *method, shlex.quote(server + shown.example_path)])]
    if shown.scopes is not None:
        lines.append('-H "Authorization: $HERDBOOK_API_KEY"')
    if shown.is_form:
        lines.append(f"-d {shlex.quote(urlencode(shown.body_example))}")
    elif shown.body:
        lines += ("-H 'Content-Type: application/json'", f"-d {shlex.quote(_pretty(shown.body_example))}")
    return " \\\n  ".join(lines)


def _shown(document: Json) -> Iterator[tuple[Shown, list[str]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            request = operation.get("requestBody", {})
            body = _content(request)
            successes = {status: each for status, each in operation["responses"].items() if status < "300"}
            # A 200 beside a 201 means that the object already existed.
            status = "201" if "201" in successes else next(iter(successes))
            success = successes[status]
            answer = _content(success)
            example_path = path
            for parameter in operation["parameters"]:
                example_path = example_path.replace(f"{{{parameter['name']}}}", parameter.get("example", "ID"))
            shown = Shown(
                id=operation["operationId"],
                method=method.upper(),
                path=path,
                example_path=example_path,
                summary=operation["summary"],
                description=operation["description"],
                scopes=next((tuple(scheme["BearerAuth"]) for scheme in operation["security"]), None),
                parameters=tuple(_parameters(operation, document)),
                body=tuple(_fields(body.get("schema", {}), document, "")),
                body_example=body.get("example", {}),
                is_form="application/x-www-form-urlencoded" in request.get("content", {}),
                status=status,
                answer_description=success["description"],
                answer=tuple(_fields(answer["schema"], document, "")),
                answer_example=_pretty(answer.get("example", {})),
                refusals=tuple(_refusals(operation, document)),
            )
            yield shown, operation["tags"]


def _content(holder: Json) -> Json:
    contents: dict[str, Json] = holder.get("content", {})
    nothing: Json = {}
    return contents.get("application/json") or next(iter(contents.values()), nothing)


def _pretty(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def _refusals(operation: Json, document: Json) -> Iterator[Refused]:
    for status, declared in operation["responses"].items():
        if status >= "300":
            response = _resolved(declared, document)
            kinds = _content(response).get("examples", {})
            yield Refused(status, tuple(kinds), response["description"])


def _parameters(operation: Json, document: Json) -> Iterator[Field]:
    for parameter in operation["parameters"]:
        field = _field(parameter["name"], parameter["schema"], document, required=parameter["required"])
        yield field._replace(description=parameter["description"], where=parameter["in"])


def _fields(schema: Json, document: Json, path: str) -> Iterator[Field]:
    """Yield the members of an object, nested ones too, and for a union those of each alternative."""
    resolved = _resolved(schema, document)
    for option in resolved.get("oneOf", ()):
        yield _field(path, option, document, required=True)
        yield from _fields(option, document, path)
    required = resolved.get("required", ())
    for name, member in resolved.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        inner = _resolved(member, document)
        yield _field(place, member, document, required=name in required)
        if "items" in inner:
            yield from _fields(inner["items"], document, f"{place}[]")
        else:
            yield from _fields(inner, document, place)


def _field(name: str, schema: Json, document: Json, *, required: bool) -> Field:
    resolved = _resolved(schema, document)
    # A description beside a reference explains its role here; the referenced one explains the object in general.
    description = schema.get("description") or resolved.get("description", "")
    return Field(name, _type(resolved, document), required, tuple(_limits(resolved)), description)


def _type(schema: Json, document: Json) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(choice) for choice in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(_type(_resolved(option, document), document) for option in schema["oneOf"]))
    if "type" not in schema:
        return "any value"
    types: list[str] = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    named = [
        f"array of {_type(_resolved(schema['items'], document), document)}s" if each == "array" else each for each in types
    ]
    return " or ".join(named)


def _limits(schema: Json) -> Iterator[str]:
    for least, most, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minimum", "maximum", ""),
    ):
        if least in schema and most in schema:
            yield f"{schema[least]} to {schema[most]} {unit}".strip()
        elif most in schema:
            yield f"at most {schema[most]} {unit}".strip()
    if "format" in schema:
        yield schema["format"]
    pattern: str = schema.get("pattern", "")
    if words := _WORDS_FOR_PATTERNS.get(pattern, pattern):
        yield words
    if "default" in schema:
        yield f"default {schema['default']}"


def _resolved(schema: Json, document: Json) -> Json:
    if "anyOf" in schema:
        found = _resolved(schema["anyOf"][0], document)
        return found | {"type": [found["type"], "null"]}
    if "$ref" not in schema:
        return schema
    found = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found
