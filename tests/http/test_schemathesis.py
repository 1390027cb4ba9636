"""The server against its own document and the vendor's: Schemathesis generates the requests.

Each run makes the same few requests, and sends the bounds and the faults of a parameter or a body to the first operation that
takes it. With HERDBOOK_TEST_DEEP in the environment, it makes new ones, and many, and all of that for each operation.
"""

# Schemathesis leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

import asyncio
import json
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote
from uuid import uuid4

import httpx
import hypothesis
import pytest
import pytest_asyncio
import requests
import schemathesis
import uvicorn
import yaml
from hypothesis import HealthCheck
from schemathesis.checks import CheckContext
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from herdbook import ids
from herdbook.app import OPERATIONS, create_app
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.db.pool import connect
from herdbook.engagements.model import EngagementCreate
from herdbook.first_start import create_owned_workspace
from herdbook.http.openapi import document
from herdbook.http.page import CRM
from herdbook.settings import Settings
from herdbook.transcript_comments.model import TranscriptCommentCreate
from herdbook.users.model import InvitationCreate
from herdbook.users.store import all_users
from tests.http.test_formats import parts
from tests.repeats import DEEP

Check = Callable[[CheckContext, schemathesis.Response, schemathesis.Case[Any]], bool | None]

SEED: Final = yaml.safe_load((Path(__file__).parents[1] / "contract" / "update-contact.openapi.yaml").read_text("utf-8"))

# All checks run; each exception from their defaults has a reason here.
CHECKS: Final[dict[str, Any]] = {
    # Replaced by the check below, which knows the legitimate refusals. 412 is always legitimate, because nobody can predict
    # which version If-Match must name.
    "positive_data_acceptance": {
        "enabled": False,
        "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "412", "429", "5xx"],
    },
    # Too much of something may exceed the size limit.
    "negative_data_rejection": {
        "expected-statuses": ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"],
    },
}
# The vendor's document has one method of its path, and the server has more.
CHECKS_OF_THE_PUBLISHED: Final = CHECKS | {
    "allow_header_conformance": {"enabled": False},
    "unsupported_method": {"enabled": False},
}
# A story may restore an object that it deleted, or undo the deletion, and find it again.
CHECKS_OF_STORIES: Final = CHECKS | {"use_after_free": {"enabled": False}}
# No HTTP header can hold these: the server refuses them before the application sees them.
CONTROL_CHARACTERS: Final = "".join(map(chr, (*range(9), *range(10, 32), 127)))

# Refusals of requests that match the document: two parts conflict, or a schema cannot express the rule.
BEYOND_ANY_SCHEMA: Final = {"already_in_use", "duplicate", "invalid_format", "multiple_primary", "reserved"}
# The vendor's document gives no maximum lengths and allows other fields; the vendor's page does not.
BEYOND_THE_SEED: Final = BEYOND_ANY_SCHEMA | {"blank", "invalid_characters", "too_long", "too_short", "unknown_field"}


# Characters.
LONG: Final = 5_000
# The target of webhooks: nothing listens there.
NOBODY_LISTENS: Final = "http://127.0.0.1:2/"
# One object of each kind, for requests that need one.
FIRST_OBJECTS: Final[dict[str, dict[str, Any]]] = {
    "/herdbook/webhooks": {"url": NOBODY_LISTENS},
    "/v2/companies": {"domains": [{"domain": "engine.test"}]},
    "/v2/contacts": {"first_name": "Ada"},
    "/v2/tags": {"name": "First"},
    "/herdbook/contacts/{contact_id}/notes": {"text": "Met at the fair."},
    "/herdbook/views": {"object_type": "contact", "name": "First", "shared": True},
    "/herdbook/fields": {"object_type": "contact", "key": "first", "label": "First", "kind": "text"},
    "/herdbook/invitations": InvitationCreate.example,
    "/v2/engagements": EngagementCreate.example,
    "/v2/engagements/{engagement_id}/transcript_comments": TranscriptCommentCreate.example,
}


# The file of an import, and one whose run is not at its end by the next request.
FILE: Final = b"Name,E-mail\nAda Lovelace,ada@import.test\n"
LONG_FILE: Final = b"First name\n" + b"".join(b"First%d\n" % number for number in range(2000))


# The operations of which one successful request was made again with a wrong key and with none, and then refused. The operation
# needs the key, whatever the request, so that once is enough.
ASKED_WITHOUT_KEY: Final[set[str]] = set()
# Connections that are kept. The variables of the environment that name proxies and passwords would be read for each request.
SESSION: Final = requests.Session()
SESSION.trust_env = False
# The number of requests by operation and status.
ANSWERED: Final[Counter[str]] = Counter()


class Served(NamedTuple):
    """A server, its database, a key, and the id of one object of each kind that the key can read and change."""

    url: str
    database_url: str
    headers: dict[str, str]
    ids: dict[str, str]


def accepted_or_refused_for(codes: set[str]) -> Check:
    """Return a check that a request which matches the document is accepted, or refused for these reasons only."""

    def acceptance(context: CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]) -> bool | None:
        # Nobody can guess a secret or a token.
        if "/oauth/" in case.operation.path:
            return None
        # Sometimes, Schemathesis leaves out a body that the document requires, and calls that valid.
        if isinstance(case.body, NotSet) and any(body.is_required for body in case.operation.body):
            return None
        if (
            response.status_code in (400, 422)
            and {
                error["code"]
                for error in response.json()["errors"]
                # The document of all workspaces does not know the fields of this one.
                if ".fields." not in f".{error.get('field', '')}"
            }
            <= codes
        ):
            return None
        return positive_data_acceptance(context, response, case)

    return acceptance


async def new_workspace(database_url: str) -> dict[str, str]:
    """Create a workspace; return headers that may read and write everything in it."""
    connection = await connect(database_url)
    try:
        workspace_id = await create_owned_workspace(database_url, connection, "Schemathesis's workspace")
        # The key is of a user, so that it may have views of its own.
        user_id = ids.decoded(ids.USER, (await all_users(connection, workspace_id))[0].id)
        key = await create_key(connection, workspace_id, "Schemathesis", [ADMIN], user_id=user_id)
        return {"Authorization": str(key)}
    finally:
        await connection.close()


@pytest_asyncio.fixture(scope="session")
async def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The application behind a socket, in its own thread, because Schemathesis blocks until it gets an answer."""
    headers = await new_workspace(database_url)
    settings = Settings(rate_limit=0, log_level="error", data_dir=tmp_path_factory.mktemp("data"))
    server = uvicorn.Server(uvicorn.Config(create_app(settings, database_url), log_config=None))
    # Early clients wait in the socket's queue until the server is ready.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            async with httpx.AsyncClient(headers=headers, timeout=90) as client:
                made = {"user_id": (await client.get(url + "/v2/users")).json()["data"][0]["id"]}
                for path, body in FIRST_OBJECTS.items():
                    answer = await client.post(url + path.format(**made), json=body)
                    created = answer.json()
                    made[f"{created['object']}_id"] = created["id"]
                    made["request_id"] = answer.headers["X-Request-Id"]
                    # The workspace must keep its owner, so requests are about the invited user.
                    made["user_id"] = created.get("user_id", made["user_id"])
                made["import_id"] = (await client.post(url + "/herdbook/imports", content=FILE)).json()["id"]
                deliveries = await client.get(f"{url}/herdbook/webhooks/{made['webhook_endpoint_id']}/deliveries")
                made["event_id"] = deliveries.json()["data"][0]["id"]
            await read_all_there_is(database_url, made["webhook_endpoint_id"])
            yield Served(url, database_url, headers, made)
        finally:
            server.should_exit = True
            thread.join()


async def read_all_there_is(database_url: str, endpoint_id: str) -> None:
    """Mark everything as read by an endpoint, so that later changes of its types leave that as it is."""
    connection = await connect(database_url)
    await connection.execute(
        "update webhook_reader r set position = w.seq from workspace w where w.id = r.workspace_id and r.endpoint_id = $1",
        ids.decoded(ids.WEBHOOK_ENDPOINT, endpoint_id),
    )
    await connection.close()


@schemathesis.hook
def after_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response) -> None:
    """Count answered requests."""
    ANSWERED[f"{case.method} {case.operation.path} {response.status_code}"] += 1


@schemathesis.hook
def filter_headers(_: schemathesis.HookContext, headers: dict[str, str] | None) -> bool:
    """Drop requests with control characters in headers; the setting above does not reach all deliberately invalid ones."""
    return not any(character in CONTROL_CHARACTERS for value in (headers or {}).values() for character in str(value))


@schemathesis.hook
def filter_query(_: schemathesis.HookContext, query: dict[str, Any] | None) -> bool:
    """Drop requests with a parameter that leaves no trace in the URL, because the server cannot see what is wrong with it."""
    nothing = ("", None, [], {})
    return not any(
        value == {}
        or (isinstance(value, list) and all(item in nothing for item in cast("list[Any]", value)))
        # An empty `expand` requests nothing.
        or (name == "expand" and value in nothing)
        for name, value in (query or {}).items()
    )


def must_succeed(case: schemathesis.Case[Any]) -> bool:
    """Whether a request matches the document."""
    return case.meta is not None and case.meta.generation.mode.is_positive


def make_possible(case: schemathesis.Case[Any]) -> None:
    """Replace values that no schema can rule out, in a request that must succeed."""
    if not must_succeed(case):
        return
    case.query.pop("cursor", None)
    if CRM in case.query:
        of_contacts = case.operation.path.endswith("/contacts")
        case.query[CRM] = json.dumps([{"id": "12345", "object_type": "contact" if of_contacts else "company"}])
    # Most positions are not reached yet, and the tests have no time to wait.
    after = "2026-01-01T00:00:00Z" if case.operation.path.endswith("/deliveries") else "0"
    case.query |= {name: value for name, value in (("after", after), ("wait", 0)) if name in case.query}
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())
    if case.headers.get("If-Match") == "":
        case.headers["If-Match"] = "*"
    if isinstance(case.body, dict):
        body = cast("dict[str, Any]", case.body)
        # To JSON Schema, 53.0 is an integer.
        body |= {name: int(value) for name, value in body.items() if isinstance(value, float) and value.is_integer()}
        make_contact_possible(body)
        for operation in body.get("operations", ()):
            make_contact_possible(operation.get("contact", {}))
            if "id" in operation:
                # The contact may not exist by then.
                body["atomic"] = False
        for item in body.get("domains") or ():
            if item["domain"] == "example.com" or "." not in item["domain"]:
                item["domain"] = f"{uuid4().hex}.example"
        make_engagement_possible(body)
        make_field_possible(body)
        make_role_possible(case.operation.path, body)
        body |= {name: NOBODY_LISTENS for name in ("url",) if isinstance(body.get(name), str)}


def make_role_possible(path: str, body: dict[str, Any]) -> None:
    """Replace the role and the address of a user: only an owner makes owners, and an address belongs to one user."""
    if path.endswith("/invitations") or "/herdbook/users/" in path:
        body |= {"role": "VIEWER"} | ({"email": f"{uuid4().hex}@example.com"} if "email" in body else {})


def make_contact_possible(body: dict[str, Any]) -> None:
    """Replace values of a contact that no schema can rule out."""
    # The document knows neither the fields nor the objects of a workspace.
    body.pop("fields", None)
    body.pop("take_from", None)
    if isinstance(body.get("time_zone"), str):
        body["time_zone"] = "Europe/London"
    for item in body.get("emails", ()):
        # Many requests use these: the document's example and the shortest address.
        if item["email"] in ("ada@example.com", "0@0.com"):
            item["email"] = f"{uuid4().hex}@example.com"


def client_of(url: str, headers: dict[str, str]) -> httpx.Client:
    """Return a client. It has no certificates, which take long to read, because nothing here speaks TLS."""
    return httpx.Client(base_url=url, headers=headers, timeout=90, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def make_merging_possible(case: schemathesis.Case[Any], url: str, headers: dict[str, str]) -> None:
    """Create what a request that must succeed merges or tells apart, because a merge deletes it."""
    path = case.operation.path
    if not (path.endswith(("/merge", "/distinct")) and must_succeed(case) and isinstance(case.body, dict)):
        return
    body = cast("dict[str, Any]", case.body)
    if path == "/herdbook/duplicates/merge":
        # Otherwise it would merge away what later requests need.
        body["min_score"] = 1
        return
    of_companies = "/companies/" in path or body.get("object_type") == "company"
    plural, empty = ("companies", dict[str, Any](domains=[])) if of_companies else ("contacts", dict[str, Any]())
    with client_of(url, headers) as client:
        made = [client.post(f"/v2/{plural}", json=empty).json()["id"] for _ in range(2)]
    body["ids" if path == "/herdbook/duplicates/distinct" else "from"] = made


def make_import_possible(case: schemathesis.Case[Any], url: str, headers: dict[str, str]) -> None:
    """Give an import that must succeed a readable file and a mapping that fits it, and a step the import that it is for."""
    path = case.operation.path
    if not (path.startswith("/herdbook/imports") and must_succeed(case)):
        return
    step = path.rpartition("/")[2]
    with client_of(url, headers) as client:
        if path == "/herdbook/imports" and case.method == "POST":
            make_room_for_imports(client)
            case.body = FILE
        elif step == "undo":
            make_room_for_imports(client)
            # It must have changed something: it has a person whom no earlier one has, and columns of no saved mapping.
            file = f"First name,E-mail\nAda,{uuid4()}@import.test\n".encode()
            import_id = client.post("/herdbook/imports", content=file).json()["id"]
            client.post(f"/herdbook/imports/{import_id}/run")
            client.get(f"/herdbook/imports/{import_id}?state=running&wait=30", timeout=90)
            case.path_parameters["import_id"] = import_id
        elif step in ("check", "run", "pause", "cancel"):
            make_room_for_imports(client)
            file = LONG_FILE if step in ("pause", "cancel") else FILE
            import_id = client.post("/herdbook/imports", content=file).json()["id"]
            case.path_parameters["import_id"] = import_id
            if file is LONG_FILE:
                client.post(f"/herdbook/imports/{import_id}/run")
        elif "import_id" in case.path_parameters:
            import_id = quote(case.path_parameters["import_id"], safe="")
            shown = client.get(f"/herdbook/imports/{import_id}").json()
            is_changed = case.method in ("PATCH", "DELETE")
            if "state" not in shown or (is_changed and shown["state"] not in ("uploaded", "checked")):
                # An erasure has removed it, or an earlier step of a story ran it.
                shown = client.post("/herdbook/imports", content=FILE).json()
                case.path_parameters["import_id"] = shown["id"]
            if isinstance(case.body, dict):
                make_mapping_possible(cast("dict[str, Any]", case.body), shown)


def make_mapping_possible(body: dict[str, Any], import_job: dict[str, Any]) -> None:
    """Give a change of an import a mapping that fits its file."""
    file = import_job.get("file", {"bytes": 0, "columns": []})
    # Only a workbook has sheets to choose from.
    body.pop("sheet", None)
    if file["bytes"] != len(FILE):
        # It is made up, so that the other reading may find no record.
        body.pop("has_header", None)
    if "save_as" in body:
        # A workspace keeps only so many.
        body["save_as"] = "First"
    if "mapping" in body:
        kept = {name: value for name, value in body["mapping"].items() if name in ("object_type", "existing", "tags")}
        body["mapping"] = kept | {"columns": [{"to": "ignore"}] * len(file["columns"]), "match_by": "never"}


def make_room_for_imports(client: httpx.Client) -> None:
    """Delete all imports but the first one, if there are many, because a workspace has only so many."""
    listed = client.get("/herdbook/imports").json()["data"]
    for each in listed[:-1] if len(listed) > 100 else ():
        client.delete(f"/herdbook/imports/{each['id']}")


def make_engagement_possible(body: dict[str, Any]) -> None:
    """Replace combinations of an engagement, timeline or comment that are not allowed together."""
    if "source_system" in body:
        # These tests fetch nothing from anywhere.
        body.pop("media_url", None)
        body.setdefault("transcript", "Shall we begin?")
        for participant in body.get("participants") or ():
            participant["is_owner"] = False
            if all(participant.get(name) is None for name in ("name", "email", "phone")):
                participant["name"] = "Ada"
        if body.get("external_url", "").startswith(("javascript:", "data:", "vbscript:", "blob:", "file:")):
            del body["external_url"]
    for entry in (body.get("transcript_timeline") or body).get("entries", ()):
        entry["speaker_index"] = 0
        entry["start_seconds"] = min(entry["start_seconds"], entry["end_seconds"])
    for speaker in (body.get("transcript_timeline") or body).get("speakers", ()):
        if isinstance(speaker.get("email"), str):
            speaker["email"] = "ada@example.com"
    body.pop("transcript_timeline_id", None)
    if isinstance(body.get("anchor"), dict):
        body["anchor"] = {"quote": "ready"}


def make_field_possible(body: dict[str, Any]) -> None:
    """Leave out the parts of a field that only go together with some kinds."""
    for name in ("default", "options", "unique"):
        body.pop(name, None)
    if body.get("kind") in ("one_of", "several_of"):
        body["kind"] = "text"
    if "key" in body:
        body["key"] = f"key_{uuid4().hex}"


def make_query_possible(case: schemathesis.Case[Any]) -> None:
    """Leave out the conditions and the sort of a query or a view that must succeed: no schema expresses which go together.

    A request for changes waits a second at most, because nobody writes meanwhile.
    """
    if not must_succeed(case):
        return
    if "wait" in case.query:
        case.query["wait"] = min(case.query["wait"], 1)
    paths_of_queries = r"/query$|/views\b|/herdbook/exports$|/duplicates/merge$"
    if re.search(paths_of_queries, case.operation.path) and isinstance(case.body, dict):
        for name in ("where", "sort", "cursor"):
            case.body.pop(name, None)
    if case.operation.path == "/herdbook/exports":
        # An export does not know the search that a view may have.
        case.query.pop("view_id", None)
        asked = case.body if isinstance(case.body, dict) else case.query
        if str(asked.get("format")).startswith("vcard"):
            # Nothing else is a person.
            asked["object_type"] = "contact"
        object_type = asked.get("object_type", "contact")
        filters = [str(name) for name in asked if str(name).startswith("filter") or name == "search"]
        of_type = {"change": ("object_ids", "after", *filters), "engagement": ("object_ids", "after", "types")}
        for name in of_type.get(str(object_type), ("after", "types", *filters)):
            asked.pop(name, None)


def point_at_what_exists(case: schemathesis.Case[Any], served: Served) -> None:
    """Use the ids of existing objects, except to delete or erase them, or in a request that must fail."""
    erases = case.operation.path.endswith("/erase") and str(case.query.get("dry_run")).lower() != "true"
    if case.method != "DELETE" and not erases:
        case.path_parameters |= {name: served.ids[name] for name in case.path_parameters}
    if isinstance(case.body, dict) and must_succeed(case):
        body = cast("dict[str, Any]", case.body)
        for each in (
            body,
            *(operation.get("contact", operation.get("company", {})) for operation in body.get("operations", ())),
        ):
            if isinstance(each.get("company_id"), str):
                each["company_id"] = served.ids["company_id"]
            for name in ("contact_ids", "tag_ids"):
                if each.get(name):
                    each[name] = [served.ids[name.removesuffix("s")]]


# A bulk reports the errors of its operations in the answer.
_BULK: Final = {
    "include-operation-id": ["bulk-write-contacts", "bulk-write-companies"],
    "checks": {"negative_data_rejection": {"expected-statuses": ["200", "401", "403", "405", "412", "415", "422", "429"]}},
}


def with_nothing_new(document: dict[str, Any]) -> list[str]:
    """Return the ids of the operations that take no parameter and no body but those of operations before them.

    Code that they share reads these, so that each of their faults and bounds is sent to one operation. Ids in paths are alike.
    """
    known: set[str] = set()
    found: list[str] = []
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        taken = {json.dumps([each["name"], each["schema"]]) for each in operation["parameters"] if each["in"] != "path"}
        contents = operation.get("requestBody", {"content": {}})["content"].values()
        taken |= {json.dumps(each["schema"]) for each in contents}
        if taken <= known:
            found.append(operation["operationId"])
        known |= taken
    return found


def without_long_texts(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the maximum lengths of long texts, unless the tests are deep: to make such texts takes long."""
    for part in [] if DEEP else parts(document["components"]["schemas"]):
        if part.get("maxLength", 0) > LONG:
            del part["maxLength"]
    return document


def loaded(document: dict[str, Any], checks: dict[str, Any], uncovered: Sequence[str] = ()) -> OpenApiSchema:
    """Return a document as Schemathesis loads it, without all bounds and faults for the operations with the uncovered ids."""
    generation = {
        "max-examples": 700 if DEEP else 8,
        "database": "none",
        "exclude-header-characters": CONTROL_CHARACTERS,
    }
    config: dict[str, Any] = {"generation": generation, "checks": checks, "operations": [_BULK]}
    if not DEEP:
        config["seed"] = 1
        if uncovered:
            without = {"include-operation-id": [*uncovered], "phases": {"coverage": {"enabled": False}}}
            config["operations"].append(without)
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))


def without_references(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without references, because Schemathesis starts no stories from those."""
    schemas = document["components"]["schemas"]
    companies = ("company_record_create_request", "company_record_update_request", "company_upsert_request")
    contacts = ("contact_create_request", "contact_update_request", "contact_upsert_request", "contact_record_update_request")
    for name in (*contacts, *companies):
        for member in ("company_id", "tag_ids"):
            schemas[name]["properties"].pop(member, None)
    for name, member in (("engagement_contacts_request", "contact_ids"), ("engagement_tags_request", "tag_ids")):
        schemas[name]["properties"][member]["maxItems"] = 0
    return document


TYPE_BASE: Final = Settings().problem_type_base
OURS: Final = without_long_texts(document(OPERATIONS, TYPE_BASE))
ours = loaded(OURS, CHECKS, with_nothing_new(OURS))
ours_for_stories = loaded(without_references(without_long_texts(document(OPERATIONS, TYPE_BASE))), CHECKS_OF_STORIES)
# No test may ever send a request to the vendor.
published = loaded(SEED | {"servers": [{"url": "/api"}]}, CHECKS_OF_THE_PUBLISHED)


@ours.parametrize()
def test_the_server_is_as_its_document_says(case: schemathesis.Case[Any], served: Served) -> None:
    """Every answer matches our document, whatever is sent to an operation."""
    make_possible(case)
    point_at_what_exists(case, served)
    make_merging_possible(case, served.url, served.headers)
    make_import_possible(case, served.url, served.headers)
    make_query_possible(case)
    response = case.call_and_validate(
        base_url=served.url,
        headers=served.headers,
        additional_checks=[accepted_or_refused_for(BEYOND_ANY_SCHEMA)],
        excluded_checks=[ignored_auth] if case.operation.label in ASKED_WITHOUT_KEY else [],
        session=SESSION,
    )
    if 200 <= response.status_code < 300:
        ASKED_WITHOUT_KEY.add(case.operation.label)


@published.parametrize()
def test_the_server_is_as_the_vendor_says(case: schemathesis.Case[Any], served: Served) -> None:
    """Every answer of the vendor's published operation matches the vendor's document, whatever is sent."""
    make_possible(case)
    point_at_what_exists(case, served)
    case.call_and_validate(
        base_url=served.url,
        headers=served.headers,
        additional_checks=[accepted_or_refused_for(BEYOND_THE_SEED)],
        session=SESSION,
    )


def test_stories(served: Served) -> None:
    """In any sequence of requests, each answer matches our document, and a deleted object is gone."""

    class Story(ours_for_stories.as_state_machine()):
        def setup(self) -> None:
            # A new workspace, because leftovers of one story must not influence the next.
            loop = asyncio.new_event_loop()
            self.headers = loop.run_until_complete(new_workspace(served.database_url))
            loop.close()

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            make_possible(case)
            make_merging_possible(case, served.url, self.headers)
            make_import_possible(case, served.url, self.headers)
            make_query_possible(case)
            if "/herdbook/users/" in case.operation.path and isinstance(case.body, dict) and must_succeed(case):
                # The workspace has one user, who stays its owner.
                case.body["role"] = "OWNER"

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:  # noqa: ARG002 - the interface is theirs.
            return {"base_url": served.url, "headers": self.headers, "session": SESSION}

        def validate_response(
            self,
            response: schemathesis.Response,
            case: schemathesis.Case[Any],
            additional_checks: list[Check] | None = None,
            **options: Any,
        ) -> None:
            checks = [*(additional_checks or ()), accepted_or_refused_for(BEYOND_ANY_SCHEMA)]
            super().validate_response(response, case, additional_checks=checks, **options)

    settings = hypothesis.settings(
        max_examples=500 if DEEP else 6,
        derandomize=not DEEP,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    Story.run(settings=settings)


def test_there_were_many_requests() -> None:
    """The tests above got enough answers, and each operation succeeded at least once."""
    succeeded = {answered.rpartition(" ")[0] for answered in ANSWERED if " 2" in answered[-4:]}
    # Nobody can guess a secret or the id of a request, and deletions rarely meet an existing object.
    expected = [each for each in OPERATIONS if each.scopes is not None and each.method != "DELETE"]

    assert ANSWERED.total() >= (20_000 if DEEP else 1_000)
    assert {f"{each.method} {each.path}" for each in expected} - succeeded == {"POST /herdbook/undo"}
