"""Requests with more than an operation takes: our own operations refuse them, so that nothing happens unasked."""

from typing import Final

import pytest

from herdbook.app import OPERATIONS
from herdbook.errors import InvalidQuery
from herdbook.http.openapi import refusals_of
from herdbook.http.operation import Operation
from tests.cast import Person, Stored, Thing, faults
from tests.http.test_routes import NEVER_GIVEN, path_with

# Those with a form ignore what they do not know, as RFC 6749, 7009 and 7662 say.
FORMS: Final = {"oauth-token", "revoke-oauth-token", "introspect-oauth-token"}
OWN: Final = [each for each in OPERATIONS if each.path.startswith("/herdbook/") and each.id not in FORMS]
WITHOUT_BODY: Final = [each for each in OWN if each.body is None and not each.takes_file]


@pytest.mark.parametrize("operation", OWN, ids=lambda operation: operation.id)
async def test_an_unknown_query_parameter_is_refused(frank: Person, operation: Operation) -> None:
    """Each of our own operations refuses a query parameter that it does not take, and its document lists the refusal."""
    body = getattr(operation.body, "example", None)
    path = path_with(operation, f"*{NEVER_GIVEN}") + "?colour=red"
    response = await frank.request(operation.method, path, json=body)

    assert response.status_code == 400
    assert faults(response) == [("colour", "unknown_parameter")]
    assert InvalidQuery in refusals_of(operation)


@pytest.mark.parametrize("operation", WITHOUT_BODY, ids=lambda operation: operation.id)
async def test_a_body_that_an_operation_does_not_take_is_refused(frank: Person, operation: Operation) -> None:
    """An operation without a body refuses one with fields, and one that is not JSON."""
    path = path_with(operation, f"*{NEVER_GIVEN}")
    with_field = await frank.request(operation.method, path, json={"colour": "red"})
    malformed = await frank.request(operation.method, path, content=b"{", headers={"Content-Type": "application/json"})
    form = await frank.request(operation.method, path, data={"colour": "red"})

    assert (with_field.status_code, faults(with_field)) == (422, [("colour", "unknown_field")])
    assert with_field.json()["errors"][0]["message"] == "There is no field `colour`. This operation takes none."
    assert (malformed.status_code, faults(malformed)) == (422, [("", "invalid_json")])
    assert form.status_code == 415


@pytest.mark.parametrize("operation", WITHOUT_BODY, ids=lambda operation: operation.id)
async def test_an_empty_object_says_the_same_as_no_body(frank: Person, operation: Operation) -> None:
    """Clients that always send JSON may send an empty object where no body is taken."""
    path = path_with(operation, f"*{NEVER_GIVEN}")
    without = await frank.request(operation.method, path)
    empty = await frank.request(operation.method, path, json={})

    assert empty.status_code == without.status_code != 422


async def test_a_dry_run_in_the_body_erases_nobody(frank: Person, ada: Thing, stored: Stored) -> None:
    """A query parameter that is sent in the body is refused with the way to send it, and nothing happens."""
    response = await frank.post(f"/api/herdbook/contacts/{ada.id}/erase", json={"dry_run": True})

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {
            "field": "dry_run",
            "code": "unknown_field",
            "message": "There is no field `dry_run`. Send it as a query parameter, as in `?dry_run=...`.",
        }
    ]
    assert (await frank.get(ada.url)).status_code == 200
    assert len(await stored.changes()) == 1


async def test_a_query_parameter_in_a_body_with_fields_is_named(frank: Person) -> None:
    """An operation with fields of its own says the same of its query parameters."""
    body = {"request_id": "rid_01M8J0S33C0VZ5ENSAP4CJ9SNH", "dry_run": True}
    response = await frank.post("/api/herdbook/undo", json=body)

    assert faults(response) == [("dry_run", "unknown_field")]
    assert "as in `?dry_run=...`" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("sent", [{"json": {"colour": "red"}}, {"params": {"colour": "red"}}])
async def test_operations_of_the_vendor_ignore_what_they_do_not_take(
    frank: Person, ada: Thing, sent: dict[str, dict[str, str]]
) -> None:
    """The vendor's documentation refuses neither, so its clients may send them."""
    response = await frank.delete(ada.url, **sent)

    assert response.status_code == 200
