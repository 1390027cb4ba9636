"""GET /herdbook/openapi.json."""

import json
from typing import Any, Final

import httpx
import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV31SpecValidator

from herdbook.app import OPERATIONS
from herdbook.custom_fields.model import FieldKind
from tests.cast import Json, Person, Thing
from tests.contacts.bulks import create, write
from tests.contacts.records import change, record_of
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import ask, where
from tests.custom_fields.test_record_values import BAD, GOOD
from tests.serving import serving_operations

URL: Final = "/api/herdbook/openapi.json"
# Faults that no schema expresses: the object of a reference, and formats that validators do not know.
_BEYOND: Final = {"nobody", "no link", "no phone"}


async def document_of(person: Person) -> Json:
    """Return the document of a person's workspace."""
    response = await person.get(URL)
    assert response.status_code == 200, response.text
    return response.json()


def schemas_of(document: Json) -> dict[str, Any]:
    """Return the schemas in a document."""
    return document["components"]["schemas"]


def faults_of(document: Json, schema: str, value: Json) -> list[str]:
    """Return the places of a value that do not fit a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    validator: Any = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.json_path for error in validator.iter_errors(value)]


async def define_all(person: Person, object_type: str = "contact") -> None:
    """Define a field of each kind, with the kind as its key."""
    for kind in FieldKind:
        await define(person, f"a_{kind.value}", kind.value, object_type)


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_only_his_own(bob: Person, charlie: Person, frank: Person) -> None:
    """Two workspaces with fields of the same key and other kinds have other documents, with other ETags."""
    await define(frank, "tier", "one_of", help="How much we care.")
    await define(charlie, "tier", "integer")
    responses = [await bob.get(URL), await charlie.get(URL)]
    theirs, his = (schemas_of(response.json()) for response in responses)

    assert theirs["contact_fields"]["properties"]["tier"] == {
        "$ref": "#/components/schemas/contact_field_tier",
        "title": "Tier",
        "description": "How much we care.",
    }
    assert theirs["contact_field_tier"]["enum"] == ["gold", "silver", "bronze"]
    assert his["contact_fields"]["properties"]["tier"]["type"] == "integer"
    assert "contact_field_tier" not in his
    assert responses[0].headers["ETag"] != responses[1].headers["ETag"]


async def test_it_is_valid(bob: Person, frank: Person) -> None:
    """The document is valid OpenAPI 3.1 and has all operations, each schema is valid, and no reference leads nowhere."""
    await define_all(frank)
    await define_all(frank, "company")
    document = await document_of(bob)

    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        (each.method, each.path) for each in OPERATIONS
    }
    for schema in schemas_of(document).values():
        validator_for(schema, Draft202012Validator).check_schema(schema)


async def test_each_schema_with_values_is_typed(bob: Person, client: httpx.AsyncClient) -> None:
    """Each schema of the common document that takes or gives values of fields refers to their schema."""
    common = (await client.get("/openapi.json")).json()
    untyped = {
        name for name, each in schemas_of(common).items() if "maxProperties" in each.get("properties", {}).get("fields", {})
    }
    typed = {name: schemas_of(await document_of(bob))[name]["properties"]["fields"]["$ref"] for name in sorted(untyped)}

    assert {name: reference.rpartition("/")[2] for name, reference in typed.items()} == {
        "company_record": "company_fields",
        "company_record_create_request": "company_fields_create",
        "company_record_update_request": "company_fields_update",
        "company_upsert_request": "company_fields_update",
        "contact_create_request": "contact_fields_create",
        "contact_record": "contact_fields",
        "contact_record_update_request": "contact_fields_update",
        "contact_upsert_request": "contact_fields_update",
        "labelled_contact_record": "contact_fields",
    }


async def test_real_answers_fit(  # noqa: PLR0917  # the fixtures of one test
    alice: Person, bob: Person, frank: Person, edith: Thing, ada: Thing, grace: Thing, engine: Thing
) -> None:
    """Answers with a value of each kind fit their schemas: records, queries, bulks. Values can be sent as they were read."""
    await define_all(frank)
    await define_all(frank, "company")
    values = {f"a_{kind}": sent for kind, (sent, _) in GOOD.items()}
    values |= {"a_user": edith.id, "a_contact": grace.id, "a_company": engine.id}
    changed = (await change(alice, ada, fields=values)).json()
    companys = await alice.patch(f"/api/herdbook/companies/{engine.id}/record", json={"fields": values})
    page = await ask(bob, where=where("fields.a_integer", "lt", 0))
    bulk = (await write(alice, create("ada@example.com", fields=values))).json()
    document = await document_of(bob)

    assert len(changed["fields"]) == len(page["data"][0]["fields"]) == len(FieldKind)
    assert faults_of(document, "labelled_contact_record", changed) == []
    assert faults_of(document, "company_record", companys.json()) == []
    assert faults_of(document, "contact_query_page", page) == []
    assert faults_of(document, "contact_bulk_result", bulk) == []
    assert faults_of(document, "contact_record_update_request", {"fields": changed["fields"]}) == []


@pytest.mark.parametrize("bad", [each for name, each in BAD.items() if name not in _BEYOND])
async def test_a_value_that_is_refused_does_not_fit(bob: Person, frank: Person, bad: tuple[str, Json, str, str]) -> None:
    """A value that the server refuses is one that the schema does not allow."""
    kind, value, _, _ = bad
    await define(frank, "own", kind)

    assert faults_of(await document_of(bob), "contact_record_update_request", {"fields": {"own": value}}) != []


# A time may be in forms of ISO 8601, too, but the format `date-time` is that of RFC 3339 alone.
@pytest.mark.parametrize("kind", [kind for kind in GOOD if kind != "date_time"])
async def test_a_value_that_is_accepted_fits(alice: Person, frank: Person, ada: Thing, kind: str) -> None:
    """A value that the server accepts is one that the schemas of requests allow, such as an address with a null part."""
    await define(frank, "own", kind)
    sent = {"fields": {"own": GOOD[kind][0]}}
    document = await document_of(alice)

    assert (await alice.patch(record_of(ada), json=sent)).status_code == 200
    for request in ("contact_record_update_request", "contact_create_request", "contact_upsert_request"):
        assert faults_of(document, request, sent) == []


async def test_an_address_that_is_shown_has_no_null(bob: Person, frank: Person) -> None:
    """The schema of answers allows no null part of an address, because no answer has one."""
    await define(frank, "own", "address")
    document = await document_of(bob)

    assert faults_of(document, "contact_fields", {"own": {"city": "London"}}) == []
    assert faults_of(document, "contact_fields", {"own": {"city": None}}) == ["$.own.city"]


async def test_what_is_required(bob: Person, frank: Person) -> None:
    """A required field must be in a creation unless it has a default, and cannot be cleared; others can."""
    await define(frank, "job_title")
    await define(frank, "tier", required=True)
    await define(frank, "region", required=True, default="North")
    document = await document_of(bob)

    def fits(request: str, fields: Json) -> bool:
        return not faults_of(document, request, {"fields": fields})

    for sent, may_create, may_update in (
        ({"tier": "A", "job_title": None}, True, True),
        ({}, False, True),
        ({"tier": None}, False, False),
    ):
        assert (fits("contact_create_request", sent), fits("contact_upsert_request", sent)) == (may_create, may_update)
    assert schemas_of(document)["contact_fields_create"]["properties"]["region"]["default"] == "North"
    assert faults_of(document, "contact_upsert_request", {"fields": {"unknown": "A"}}) != []


async def test_archived_ones(alice: Person, bob: Person, frank: Person, ada: Thing) -> None:
    """An archived field is left out; an archived option stays, because values have it, and is named as one."""
    field, tier = await define(frank, "secret"), await define(frank, "tier", "one_of")
    await change(alice, ada, fields={"tier": "silver"})
    await frank.patch(field.url, json={"archived": True})
    await frank.patch(tier.url, json={"options": [{"id": "gold", "label": "Gold"}]})
    document = await document_of(bob)

    assert "secret" not in schemas_of(document)["contact_fields"]["properties"]
    assert "`silver`, `bronze`" in schemas_of(document)["contact_field_tier"]["description"]
    assert faults_of(document, "labelled_contact_record", (await alice.get(record_of(ada))).json()) == []


async def test_conditions_are_typed(bob: Person, frank: Person) -> None:
    """A condition names a member of contacts or a field, with an operator and a value of its kind."""
    await define(frank, "seats", "integer")
    await define(frank, "tier", "one_of")
    await define(frank, "home", "address")
    document = await document_of(bob)
    good: list[Json] = [
        where("fields.seats", "gt", 5),
        where("fields.seats", "one_of", [1, 2]),
        where("fields.tier", "eq", "gold"),
        where("emails", "contains", "@example.com"),
        {"field": "fields.home", "op": "is_set"},
        {"and": [{"not": where("fields.seats", "lt", 1)}, {"or": [where("created_at", "after", "2026-01-01T00:00:00Z")]}]},
    ]
    bad: list[Json] = [
        where("fields.seats", "gt", "5"),
        where("fields.seats", "contains", 5),
        where("fields.none", "eq", 5),
        where("fields.home", "eq", "London"),
        {"and": {}},
        {"and": [where("fields.seats", "gt", 5)], "or": []},
    ]

    assert [each for each in good if faults_of(document, "contact_query_request", {"where": each})] == []
    assert [each for each in bad if not faults_of(document, "contact_query_request", {"where": each})] == []
    for each in good:
        await ask(bob, where=each)
    for each in bad:
        assert (await bob.post("/api/herdbook/contacts/query", json={"where": each})).status_code == 422
    assert "fields.seats" in schemas_of(document)["contact_sort"]["properties"]["field"]["enum"]


async def test_a_history_is_not_typed(bob: Person) -> None:
    """A contact as it was may have values of another kind, so the schema of histories takes any."""
    document = await document_of(bob)
    answer = document["paths"]["/herdbook/contacts/{contact_id}/history"]["get"]["responses"]["200"]

    assert answer["content"]["application/json"]["schema"]["anyOf"][1] == {"$ref": "#/components/schemas/past_contact_record"}
    assert "$ref" not in schemas_of(document)["past_contact_record"]["properties"]["fields"]


async def test_no_example_has_values(bob: Person) -> None:
    """No operation has an example with values of fields, because the workspace may lack these fields."""
    paths = (await document_of(bob))["paths"]

    assert paths["/v2/contacts"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert "Countess" not in json.dumps(paths)
    assert "fields.birthday" not in json.dumps(paths)


async def test_it_is_cached_by_its_etag(bob: Person, frank: Person) -> None:
    """A client that has the current document gets 304; a change of any definition makes another one."""
    field = await define(frank, "tier")
    etag = (await bob.get(URL)).headers["ETag"]
    same = await bob.get(URL, headers={"If-None-Match": etag})
    await frank.patch(field.url, json={"label": "Level"})
    other = await bob.get(URL, headers={"If-None-Match": etag})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    assert other.status_code == 200
    assert other.headers["ETag"] != etag
    assert schemas_of(other.json())["contact_fields"]["properties"]["tier"]["title"] == "Level"


async def test_many_fields_cost_two_statements(
    client: httpx.AsyncClient, bob: Person, frank: Person, database_url: str
) -> None:
    """A document with 200 fields is read by two statements, one that is current by one, and a list names its options once."""
    for number in range(200):
        await define(frank, f"own_{number}", "one_of", options=[{"id": f"only_here_{number}", "label": "x"}])
    common = (await client.get("/openapi.json")).content
    async with serving_operations(OPERATIONS, database_url, common) as served:
        headers = {"Authorization": str(bob.key)}
        await served.client.get("/api/v2/contacts", headers=headers)
        served.statements.clear()
        response = await served.client.get("/api/herdbook/openapi.json", headers=headers)
        full = len(served.statements)
        await served.client.get("/api/herdbook/openapi.json", headers=headers | {"If-None-Match": response.headers["ETag"]})

    assert (full, len(served.statements) - full) == (2, 1)
    assert response.text.count('"only_here_7"') == 1
