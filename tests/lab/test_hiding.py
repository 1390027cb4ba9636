"""The journal without secrets."""

import json
from typing import Final

from tests.lab.conftest import NEW_YEAR, Bench

FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


async def test_the_journal_has_no_secret(bench: Bench) -> None:
    """Keys, tokens and the secrets of clients are shown by their ids and a mark, in headers and in bodies."""
    desk = await bench.workspace(clock=NEW_YEAR)
    client = await desk.command("POST", "/clients", json={"scopes": ["contacts:read"]})
    secret, key = client["client_secret"], desk.made["api_key"]
    form = {"grant_type": "client_credentials", "client_id": client["client_id"], "client_secret": secret}
    token = (await bench.client.post("/api/v1/oauth/token", data=form)).json()["access_token"]
    await bench.client.post("/api/v1/oauth/token", data=form | {"client_secret": "a-word-that-i-use-elsewhere"})
    auth = (client["client_id"], secret)
    await bench.client.post("/api/herdbook/oauth/introspect", data={"token": token}, auth=auth)
    for value in (f"Bearer {token}", key, f"Bearer {key}"):
        await bench.client.get("/api/v2/contacts", headers={"Authorization": value, "Cookie": "session=sweet-secret"})
    await bench.client.get("/api/v2/contacts", headers={"X-Api-Key": key})
    other_secret = f"{key.partition('.')[0]}.wrong-wrong"
    await bench.client.get("/api/v2/contacts", headers={"Authorization": other_secret})

    journal = await desk.command("GET", "/journal")
    entries = journal["entries"]
    secrets = [each.partition(".")[2] for each in (token, key)] + [secret.removeprefix("ocs_"), "elsewhere", "sweet", "wrong-"]

    assert len(entries) == 8
    assert [each for each in secrets if each in json.dumps(journal)] == []
    assert "grant_type=client_credentials" in entries[0]["request"]["body"]
    assert json.loads(entries[0]["answer"]["body"])["access_token"].startswith(token.partition(".")[0] + ".(hidden-")
    sent = [each["request"]["headers"].get("authorization", "") for each in entries]
    assert sent[3].startswith(f"Bearer {token.partition('.')[0]}.(hidden-")
    assert sent[4] == sent[5].removeprefix("Bearer ")
    assert sent[7] not in ("", sent[4])


async def test_a_header_with_a_secret_can_be_expected(bench: Bench) -> None:
    """The value that a client has sent is compared, though the journal does not have it."""
    desk = await bench.workspace()
    await desk.ask("GET", "/api/v2/contacts")
    key = desk.made["api_key"]
    expectations = [{"headers": {"Authorization": key}, "times": 1}, {"headers": {"Authorization": key + "x"}, "never": True}]

    assert (await desk.command("POST", "/verify", json={"expectations": expectations}))["holds"]


async def test_a_credential_that_is_sent_again_is_seen(bench: Bench) -> None:
    """The habits tell one credential from another one of the same id."""
    desk = await bench.workspace()
    key = desk.made["api_key"]
    for sent in (key + "x", key + "y"):
        await bench.client.get("/api/v2/contacts", headers={"Authorization": sent})
    before = await desk.command("POST", "/verify", json={"no_habits": True})
    await bench.client.get("/api/v2/contacts", headers={"Authorization": key + "y"})
    after = await desk.command("POST", "/verify", json={"no_habits": True})

    assert before["habits"] == []
    assert [each["habit"] for each in after["habits"]] == ["retries_401"]
