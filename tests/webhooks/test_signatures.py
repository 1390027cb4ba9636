"""Signatures, verified by the libraries that integrators use, in Python and in JavaScript, in both dialects."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import standardwebhooks
import svix

from herdbook.webhook_endpoints.signing import new_secret, signed_headers
from tests.cast import Json, Person
from tests.webhooks.endpoints import WEBHOOKS, Endpoint
from tests.webhooks.receiver import Receiver

FOLDER: Final = Path(__file__).parent / "javascript"
BODY: Final = '{"name":"Zoë \\u2603","list":[1, 2]}'
LIBRARIES: Final = ("svix", "standardwebhooks")
REFUSED: Final = "refused: "


def judged_in_python(cases: list[Json]) -> list[Json]:
    """Return the verdicts of the Python libraries on requests."""
    said: list[Json] = []
    for case in cases:
        libraries: dict[str, Any] = {"svix": svix.Webhook, "standardwebhooks": standardwebhooks.Webhook}
        try:
            libraries[case["library"]](case["secret"]).verify(case["body"], case["headers"])
        except (svix.WebhookVerificationError, standardwebhooks.WebhookVerificationError) as error:
            said.append(f"{REFUSED}{error}")
        else:
            said.append(json.loads(case["body"]))
    return said


def judged_in_javascript(cases: list[Json]) -> list[Json]:
    """Return the verdicts of the JavaScript libraries on requests."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (FOLDER / "node_modules").is_dir():
        pytest.skip(f"run `npm ci` in {FOLDER}: what verifies there is not installed")
    command = [node, str(FOLDER / "verify.mjs")]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


in_both_languages = pytest.mark.parametrize("judged", [judged_in_python, judged_in_javascript], ids=["Python", "JavaScript"])


def signed(secrets: list[str], at: datetime | None = None, dialect: str = "") -> dict[str, str]:
    """Return headers that sign a body in one dialect or in both."""
    headers = signed_headers(secrets, "evt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", at or datetime.now(UTC), BODY.encode())
    return {name: value for name, value in headers.items() if name.startswith(dialect)}


def case(library: str, secret: str, headers: dict[str, str], body: str = BODY) -> Json:
    """Return a request for a library to verify."""
    return {"library": library, "secret": secret, "headers": headers, "body": body}


@in_both_languages
def test_what_is_signed_is_known(judged: Any) -> None:
    """Each library verifies its own dialect, and Svix's both, with header names in any case."""
    secret = new_secret()
    headers = signed([secret])
    cases = [
        case("svix", secret, signed([secret], dialect="svix-")),
        case("svix", secret, signed([secret], dialect="webhook-")),
        case("standardwebhooks", secret, signed([secret], dialect="webhook-")),
        *(case(library, secret, headers) for library in LIBRARIES),
        *(case(library, secret, {name.title(): value for name, value in headers.items()}) for library in LIBRARIES),
    ]

    assert judged(cases) == [json.loads(BODY)] * len(cases)


@in_both_languages
def test_after_a_rotation_both_secrets_are_known(judged: Any) -> None:
    """Either secret verifies a request during a rotation."""
    secrets = [new_secret(), new_secret()]
    cases = [case(library, secret, signed(secrets)) for library in LIBRARIES for secret in secrets]

    assert judged(cases) == [json.loads(BODY)] * 4


@in_both_languages
@pytest.mark.parametrize(("library", "dialect"), [("svix", "svix-"), ("standardwebhooks", "webhook-")])
def test_nothing_else_is_known(judged: Any, library: str, dialect: str) -> None:
    """Another body, secret or id is rejected, and so is a time far in the past or future."""
    secret, now = new_secret(), datetime.now(UTC)
    headers = signed([secret], now, dialect)
    spoilt = [
        case(library, secret, headers, BODY + " "),
        case(library, secret, headers, BODY.replace("Zoë", "Zoe")),
        case(library, new_secret(), headers),
        case(library, secret, headers | {f"{dialect}id": "evt_01HQXVB4Y9Y0Q6P0QH5GX2CT7V"}),
        case(library, secret, headers | {f"{dialect}timestamp": str(int(now.timestamp()) + 1)}),
        *(case(library, secret, {name: headers[name] for name in headers if name != lost}) for lost in headers),
        case(library, secret, signed([secret], now - timedelta(minutes=6), dialect)),
        case(library, secret, signed([secret], now + timedelta(minutes=6), dialect)),
    ]

    assert [each for each in judged(spoilt) if not str(each).startswith(REFUSED)] == []
    assert judged([case(library, secret, headers)]) == [json.loads(BODY)]


@in_both_languages
async def test_what_arrives_is_known(alice: Person, receiver: Receiver, judged: Any) -> None:
    """A request that was received over the network is verified."""
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": receiver.url}))
    await endpoint.post("rotate_secret", {"overlap_seconds": 60})
    secret = (await endpoint.read("secret"))["secret"]
    await endpoint.post("test", {"type": "v1.tag.created"})
    (request,) = receiver.requests
    cases = [
        case(library, each, request.headers, request.body.decode())
        for library in LIBRARIES
        for each in (secret, endpoint.secret)
    ]

    assert judged(cases) == [request.event] * 4


def test_a_secret_is_one_that_others_could_have_made() -> None:
    """A secret is `whsec_` and 32 random bytes in base64, as Svix makes them."""
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(len(secret) == 50 and secret.startswith("whsec_") for secret in secrets)


def test_the_lock_names_packages_alone() -> None:
    """The lock file names packages without URLs, because everybody chooses a registry of their own."""
    assert "://" not in (FOLDER / "package-lock.json").read_text()
