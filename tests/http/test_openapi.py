"""The OpenAPI document: valid, complete, and a superset of the vendor's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from herdbook import errors
from herdbook.app import OPERATIONS
from herdbook.http.openapi import document, refusals_of
from herdbook.http.operation import Operation
from herdbook.http.problems import PROBLEM_TYPES
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.serving import serving

TYPE_BASE: Final = "https://app.askelephant.ai/errors/"
OURS: Final = document(OPERATIONS, TYPE_BASE)
CONTRACT: Final = Path(__file__).parents[1] / "contract"
SEED: Final = yaml.safe_load((CONTRACT / "update-contact.openapi.yaml").read_text("utf-8"))


def differences(published: Any, ours: Any, place: str = "") -> Iterator[str]:
    """Return the parts of the published document that ours lacks or changes; additions do not count."""
    if place.endswith("/parameters"):
        named = {(each["in"], each["name"]): each for each in ours}
        for each in published:
            yield from differences(each, named.get((each["in"], each["name"])), f"{place}/{each['name']}")
    elif isinstance(published, dict) and isinstance(ours, dict):
        parts, our_parts = cast("dict[str, Any]", published), cast("dict[str, Any]", ours)
        for name, part in parts.items():
            if name in our_parts:
                yield from differences(part, our_parts[name], f"{place}/{name}")
            else:
                yield f"{place}/{name} is missing"
    elif published != ours:
        yield f"{place} is {ours}, not {published}"


def references(part: Any) -> Iterator[str]:
    """Return all references within the document, and those that a discriminator maps to."""
    if isinstance(part, dict):
        part = list(cast("dict[str, Any]", part).values())
    if isinstance(part, list):
        for each in cast("list[Any]", part):
            yield from references(each)
    elif isinstance(part, str) and part.startswith("#/"):
        yield part


def resolved(response: Any) -> Any:
    """Return a response of an operation, or the shared one that it refers to."""
    return OURS["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def test_it_is_valid() -> None:
    """The document is valid OpenAPI 3.1."""
    assert list(OpenAPIV31SpecValidator(OURS).iter_errors()) == []


def test_a_refusal_is_described_once() -> None:
    """Operations share the description of a refusal, because a document without that is three times as long.

    Only the published one has its refusals in their places, as the vendor's document has them.
    """
    described = [operation for methods in OURS["paths"].values() for operation in methods.values()]
    answers = [
        each
        for operation in described
        for each in operation["responses"].values()
        if operation["operationId"] != "update-contact"
    ]
    shared: dict[str, Any] = OURS["components"]["responses"]

    assert [each for each in answers if "application/problem+json" in each.get("content", {})] == []
    assert {each["$ref"].rpartition("/")[2] for each in answers if "$ref" in each} == set(shared)
    assert len({json.dumps(each) for each in shared.values()}) == len(shared)


def test_each_reference_leads_to_a_component() -> None:
    """No reference dangles, as it would if two structs had the same name in Python."""
    known = {f"#/components/{kind}/{name}" for kind, components in OURS["components"].items() for name in components}
    found = set(references(OURS))

    assert len(found) > 100
    assert sorted(found - known) == []


def test_everything_that_is_published_is_in_it() -> None:
    """Each part of the vendor's document is in ours, equal where references are followed, with three exceptions.

    The servers are ours: a tool that uses this document must reach this server, never the vendor's data. OpenAPI 3.1 ignores a
    parameter for `Authorization`, and generators of clients do not. Answers may have addresses that only some validators of
    the format take.
    """
    published = {name: part for name, part in SEED.items() if name != "servers"}
    update = published["paths"]["/v2/contacts/{contact_id}"]["patch"]
    [ignored] = [parameter for parameter in update["parameters"] if parameter["name"] == "Authorization"]

    assert list(differences(published, OURS)) == [
        f"/paths//v2/contacts/{{contact_id}}/patch/parameters/Authorization is None, not {ignored}",
        "/components/schemas/ContactEmailsItems/properties/email/format is missing",
    ]


def test_no_parameter_is_one_that_would_be_ignored() -> None:
    """No parameter has a name that OpenAPI 3.1 ignores, and each is declared by a schema, which generators can encode."""
    described = [operation for methods in OURS["paths"].values() for operation in methods.values()]
    parameters = [parameter for operation in described for parameter in operation["parameters"]]

    assert {parameter["name"].lower() for parameter in parameters} & {"authorization", "accept", "content-type"} == set()
    assert [parameter["name"] for parameter in parameters if "schema" not in parameter] == []


@pytest.mark.parametrize(
    ("public_url", "server"),
    [
        (None, "/api"),
        ("https://crm.example", "https://crm.example/api"),
        ("https://crm.example/herd/", "https://crm.example/herd/api"),
    ],
)
async def test_its_server_is_the_public_address(database_url: str, public_url: str | None, server: str) -> None:
    """The document names the public address as its server, and without one its own."""
    async with serving(Settings(public_url=public_url), database_url) as client:
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": server}]


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ({"type": "string"}, {}),
        ({"type": "string"}, {"type": "integer"}),
        ({"required": ["id"]}, {"required": ["id", "name"]}),
        ({"parameters": [{"in": "path", "name": "id"}]}, {"parameters": [{"in": "query", "name": "id"}]}),
    ],
)
def test_a_difference_is_seen(published: Any, ours: Any) -> None:
    """The comparison above finds differences."""
    assert list(differences(published, ours))


def test_it_has_each_operation_and_nothing_else() -> None:
    """The document has exactly the operations that are served."""
    listed = {
        (method.upper(), path): each["operationId"]
        for path, methods in OURS["paths"].items()
        for method, each in methods.items()
    }

    assert listed == {(operation.method, operation.path): operation.id for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_refusal_is_declared_with_an_example(operation: Operation) -> None:
    """Every refusal that an operation can make is declared under its status, with an example of this status."""
    responses = OURS["paths"][operation.path][operation.method.lower()]["responses"]

    for refusal in refusals_of(operation):
        kind = PROBLEM_TYPES[refusal]
        response = resolved(responses[str(kind.status)])
        assert kind.name in response["content"]["application/problem+json"]["examples"]
        example = OURS["components"]["examples"][kind.name]["value"]
        assert (example["status"], example["type"]) == (kind.status, TYPE_BASE + kind.name)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_its_scopes_are_in_its_description(operation: Operation) -> None:
    """A description names each scope that its operation needs, and says whether the vendor has the operation."""
    description = OURS["paths"][operation.path][operation.method.lower()]["description"]

    assert [scope for scope in operation.scopes or () if f"`{scope}`" not in description] == []
    assert ("Not part of the vendor's API." in description) == operation.path.startswith("/herdbook/")


@pytest.mark.parametrize(
    ("operation_id", "refusals"),
    [
        ("list-contacts", {errors.InvalidQuery}),
        ("create-contact", {errors.Taken, errors.Stale, errors.Invalid, errors.KeyReused}),
        ("get-contact-by-id", {errors.NotFound}),
        ("get-engagement-by-id", {errors.NotFound, errors.InvalidQuery}),
        ("delete-contact", {errors.NotFound, errors.Stale, errors.Invalid, errors.KeyReused}),
        ("test-webhook-endpoint", {errors.NotFound, errors.Invalid, errors.InvalidQuery}),
        ("get-webhook-secret", {errors.NotFound, errors.Invalid, errors.InvalidQuery}),
        ("oauth-token", set[type[errors.Refusal]]()),
    ],
)
def test_refusals_follow_from_the_declaration(operation_id: str, refusals: set[type[errors.Refusal]]) -> None:
    """The refusals of writes, of ids in the path, of queries and of bodies follow from what an operation declares.

    Our own operations refuse a body and query parameters that they do not take.
    """
    [operation] = [each for each in OPERATIONS if each.id == operation_id]

    decided = {errors.Taken, errors.Stale, errors.Invalid, errors.KeyReused, errors.NotFound, errors.InvalidQuery}
    assert decided.intersection(refusals_of(operation)) == refusals


def test_every_kind_of_refusal_is_possible_somewhere() -> None:
    """Every kind of refusal appears in the document, except those of requests that reach no operation."""
    possible = {refusal for operation in OPERATIONS for refusal in refusals_of(operation)}

    protocol = {errors.Malformed, errors.InvalidHeader, errors.HeadTooLarge, errors.TooSlow}
    of_pages = {errors.FromElsewhere}
    assert set(PROBLEM_TYPES) - possible == {errors.NoRoute, errors.MethodNotAllowed, *protocol, *of_pages}


def test_a_body_may_be_left_out_only_where_nothing_would_be_missing() -> None:
    """A body is required exactly if its schema requires a field."""
    for path, methods in OURS["paths"].items():
        for method, operation in methods.items():
            if (body := operation.get("requestBody")) is not None:
                [content] = body["content"].values()
                if content["schema"].get("format") == "binary":
                    # A file is no schema, and is never left out.
                    assert body["required"]
                    continue
                name = content["schema"]["$ref"].rpartition("/")[2]
                assert body.get("required", False) == ("required" in OURS["components"]["schemas"][name]), (method, path)


@pytest.mark.parametrize("path", ["/openapi.json", "/api/openapi.json"])
async def test_it_is_served(client: httpx.AsyncClient, path: str) -> None:
    """The document is served without a credential."""
    response = await client.get(path)

    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == OURS


async def test_its_problem_types_are_those_of_the_answers(alice: Person, ada: Thing) -> None:
    """A real problem has the type and title of the document's example."""
    answered = (await alice.patch(ada.url, json={"name": "Ada"})).json()

    example = OURS["components"]["examples"]["validation_failed"]["value"]
    assert (answered["type"], answered["title"]) == (example["type"], example["title"])


def test_what_the_vendor_documents_is_there() -> None:
    """Each operation of the vendor has its method, path, name and scopes; our own operations have paths of their own.

    Programs that call the vendor's older export are the only source about it.
    """
    documented = set((CONTRACT / "operations.txt").read_text("utf-8").splitlines())
    ours = {" ".join([each.method, each.path, each.id, *(each.scopes or ["none"])]) for each in OPERATIONS}

    assert len(documented) == 35
    assert documented - ours == set()
    assert all(operation.split()[1].startswith(("/herdbook/", "/v1/meetings/export")) for operation in ours - documented)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.list_of is not None], ids=lambda each: each.id)
def test_each_list_says_how_to_copy_it(operation: Operation) -> None:
    """The order for a full copy is named beside `cursor` and `order_by` and in `next_cursor`, and `gte` beside `gt`."""
    declared = OURS["paths"][operation.path][operation.method.lower()]
    about = {each["name"]: each["description"] for each in declared["parameters"] if each["in"] == "query"}
    schema = declared["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    next_cursor = OURS["components"]["schemas"][schema]["properties"]["next_cursor"]["description"]

    assert all("use `order_by=updated_at:asc`" in each for each in (about["cursor"], about["order_by"], next_cursor))
    assert "go on with `gte`" in about["filter[updated_at][gt]"]
