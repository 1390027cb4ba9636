"""The pages of webhooks: create an endpoint, change it, see a failed delivery and resend it, replace its secret."""

import re

import pytest

from tests.console.people import Visitor

URL = "http://127.0.0.1:9000/webhooks"
NEW = {"url": URL, "events": "some", "event_type": ["v1.contact.created"]}


async def _created(visitor: Visitor) -> str:
    """Create an endpoint by the form; return its path."""
    found = re.search(r"/console(/webhooks/whep_\w+)", (await visitor.post("/webhooks/new", NEW)).text)
    assert found is not None, "the webhook was created"
    return found[1]


async def test_secret_is_shown_when_the_endpoint_is_created(anna: Visitor) -> None:
    """The page after the form has the secret. The list has the address, and no secret."""
    page = (await anna.post("/webhooks/new", NEW)).text

    assert 'value="whsec_' in page
    listed = (await anna.get("/webhooks")).text
    assert URL in listed
    assert "whsec_" not in listed


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"url": "ftp://example.com"}, "This is not a webhook address"),
        ({"event_type": []}, 'class="error-line"'),
        ({"event_type": ["v1.contact.eaten"]}, "This must"),
    ],
    ids=["address", "no type", "unknown type"],
)
async def test_form_with_a_fault_is_shown_again(anna: Visitor, form: dict[str, object], said: str) -> None:
    """A refusal of the API stands in the form, and nothing is created."""
    page = await anna.post("/webhooks/new", {**NEW, **form})

    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert said in page.text
    assert "No webhooks yet" in (await anna.get("/webhooks")).text


async def test_endpoint_is_edited_by_its_version(anna: Visitor) -> None:
    """An edit changes the endpoint that was seen; one of an older version is told so."""
    path = await _created(anna)
    found = re.search(r'name="version" value="(\d+)"', (await anna.get(f"{path}/edit")).text)
    assert found is not None
    form = {**NEW, "description": "The CRM", "version": found[1]}

    assert (await anna.post(f"{path}/edit", form)).status_code == 303
    assert "The CRM" in (await anna.get(path)).text
    stale = await anna.post(f"{path}/edit", {**form, "description": "Another"})
    assert stale.status_code == 412
    assert "has changed this webhook since you opened it" in stale.text


async def test_disabled_endpoint_says_why_and_is_enabled_again(anna: Visitor) -> None:
    """The page of a disabled endpoint gives the reason, and the two ways to go on."""
    path = await _created(anna)
    await anna.post(f"{path}/disable")
    disabled = (await anna.get(path)).text

    await anna.post(f"{path}/enable", {"from": "now"})

    assert "It was disabled by request." in disabled
    assert "This webhook is disabled" not in (await anna.get(path)).text


async def test_secret_is_replaced(anna: Visitor) -> None:
    """The page of the secret shows the new one, and until when the former one signs."""
    path = await _created(anna)
    first = re.search(r"whsec_[^\"]+", (await anna.get(f"{path}/secret")).text)

    await anna.post(f"{path}/secret")

    page = (await anna.get(f"{path}/secret")).text
    assert first is not None
    assert first[0] not in page
    assert "The former secret signs as well until" in page


async def test_endpoint_is_deleted(anna: Visitor) -> None:
    """A deleted endpoint has no page."""
    path = await _created(anna)

    await anna.post(f"{path}/delete")

    assert (await anna.get(path)).status_code == 404


async def test_endpoint_of_another_workspace_is_not_there(anna: Visitor, carla: Visitor) -> None:
    """Carla sees neither the endpoint nor its secret, and cannot delete it."""
    path = await _created(anna)

    assert [(await carla.get(f"{path}{part}")).status_code for part in ("", "/edit", "/secret")] == [404] * 3
    assert (await carla.post(f"{path}/delete")).status_code == 404
    assert (await anna.get(path)).status_code == 200


async def test_second_editor_of_a_webhook_sees_both_and_chooses(anna: Visitor) -> None:
    """A webhook that somebody has changed is shown beside one's own values, which can then be saved."""
    page = (await anna.post("/webhooks/new", {"url": "http://127.0.0.1:9000/first", "events": "all"})).text
    path = re.findall(r'href="/console(/webhooks/whep_\w+)"', page)[0]
    form = (await anna.get(f"{path}/edit")).text
    sent = {"events": "all", "version": form.split('name="version" value="')[1].split('"')[0]}
    await anna.post(f"{path}/edit", {"url": "http://127.0.0.1:9000/theirs", **sent})

    late = await anna.post(f"{path}/edit", {"url": "http://127.0.0.1:9000/mine", **sent})

    assert late.status_code == 412
    assert "<dd>http://127.0.0.1:9000/theirs</dd>" in late.text
    assert 'value="http://127.0.0.1:9000/mine"' in late.text
    again = late.text.split('name="version" value="')[1].split('"')[0]
    saved = await anna.post(f"{path}/edit", {**sent, "url": "http://127.0.0.1:9000/mine", "version": again})
    assert saved.status_code == 303
