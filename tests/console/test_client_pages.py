"""The pages of OAuth clients: create one, change it, replace its secret, revoke it; and a person's own programs."""

import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from herdbook.oauth.store import NewClient
from tests.cast import Person
from tests.console.people import People, Visitor
from tests.console.test_consent import PAGE, answer_in, decided, request_of
from tests.oauth.conftest import CALLBACK, Connections, Program

NEW: dict[str, Any] = {"name": "Calendar", "scope": ["contacts:read", "contacts:write"], "redirect_uri": CALLBACK}


class Clients:
    """Makes programs by the form of the console."""

    def __init__(self, anna: Visitor, client: httpx.AsyncClient, pool: Connections) -> None:
        self._anna = anna
        self._http = client
        self._pool = pool

    async def create(self, **changes: Any) -> Program:
        """Create a client, and return it with what the page shows."""
        return await self.shown(await self._anna.post("/clients/new", {**NEW, **changes}))

    async def shown(self, answer: httpx.Response) -> Program:
        """Return the program whose credentials the page after a form shows."""
        assert answer.status_code == 303, answer.text
        page = await self._anna.get(answer.headers["Location"])
        assert page.status_code == 200, page.text
        found = dict(re.findall(r'id="client-(id|secret)" value="([^"]+)"', page.text))
        return Program(self._http, self._pool, NewClient(found["id"], found.get("secret", "")), UUID(int=0))


@pytest.fixture
def clients(anna: Visitor, client: httpx.AsyncClient, pool: Connections) -> Clients:
    """The clients that Anna makes."""
    return Clients(anna, client, pool)


async def let_in(visitor: Visitor, program: Program, scope: str = "contacts:read contacts:write") -> dict[str, str]:
    """Let a program in, and return its tokens."""
    page = await visitor.client.get(PAGE, params=request_of(program, scope=scope))
    answer = await program.exchange(answer_in(await decided(visitor, page))["code"])
    assert answer.status_code == 200, answer.text
    return answer.json()


async def status(client: httpx.AsyncClient, tokens: dict[str, str], method: str = "GET") -> int:
    """Return the status of a request to the API with an access token."""
    sent = {"Authorization": f"Bearer {tokens['access_token']}"}
    json = {"first_name": "Ada"} if method == "POST" else None
    return (await client.request(method, "/api/v2/contacts", headers=sent, json=json)).status_code


async def test_secret_is_shown_once_and_works(anna: Visitor, clients: Clients) -> None:
    """The page after the form shows the client's secret; neither the list nor the client's page does."""
    program = await clients.create()

    assert (await program.ask("client_credentials")).status_code == 200
    for path in ("/clients", f"/clients/{program.id}"):
        shown = (await anna.get(path)).text
        assert "Calendar" in shown
        assert program.id in shown
        assert program.secret not in shown


async def test_client_is_changed(anna: Visitor, clients: Clients, olga: Visitor, client: httpx.AsyncClient) -> None:
    """A client has another name, other addresses and fewer scopes, and so have the tokens that it has already."""
    program = await clients.create()
    tokens = await let_in(olga, program)
    form = {
        "name": "Diary",
        "scope": ["contacts:read"],
        "redirect_uri": "https://other.example/a\r\n\r\n https://other.example/b ",
    }

    seen = _seen((await anna.get(f"/clients/{program.id}")).text)
    assert (await anna.post(f"/clients/{program.id}", form | seen)).status_code == 303
    shown = (await anna.get(f"/clients/{program.id}")).text
    assert "https://other.example/a\nhttps://other.example/b</textarea>" in shown
    assert "Diary" in (await anna.get("/clients")).text
    assert (await status(client, tokens), await status(client, tokens, "POST")) == (200, 403)
    assert (await program.refresh(tokens["refresh_token"])).json()["scope"] == "contacts:read"
    assert (await olga.client.get(PAGE, params=request_of(program))).status_code == 400


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": " "}, "1 to 255 printable characters"),
        ({"scope": []}, "A client needs a scope"),
        ({"scope": ["workspace:admin"]}, "No client can have the scope workspace:admin"),
        ({"redirect_uri": "http://app.example/"}, "http://app.example/ cannot be a redirect URI"),
        ({"redirect_uri": "", "kind": "public"}, "A public client needs a redirect URI"),
    ],
    ids=["no name", "no scope", "administrator", "without TLS", "public without an address"],
)
async def test_form_with_a_fault_is_shown_again(anna: Visitor, clients: Clients, form: dict[str, Any], said: str) -> None:
    """The fault is said at the field, and nothing is created or changed."""
    program = await clients.create(name="Kept")
    answer = await anna.post("/clients/new", {**NEW, "name": "Faulty", **form})

    assert answer.status_code == 422
    assert said in answer.text
    assert "Faulty" not in (await anna.get("/clients")).text
    if "kind" not in form:
        seen = _seen((await anna.get(f"/clients/{program.id}")).text)
        assert (await anna.post(f"/clients/{program.id}", {**NEW, "name": "Faulty", **form, **seen})).status_code == 422
        assert "Kept" in (await anna.get("/clients")).text


async def test_form_that_is_sent_twice_makes_one_client(anna: Visitor, clients: Clients) -> None:
    """A double click makes one client, whose secret is shown whichever answer the browser follows."""
    token = await anna.token()
    answers = [await anna.post("/clients/new", NEW, token=token) for _ in range(2)]
    program = await clients.shown(answers[1])

    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert (await anna.get("/clients")).text.count(">Calendar</a>") == 1
    assert (await program.ask("client_credentials")).status_code == 200


async def test_second_editor_of_a_client_sees_both_and_chooses(anna: Visitor, clients: Clients) -> None:
    """A client that somebody has changed is shown beside one's own values, which can then be saved."""
    program = await clients.create()
    seen = _seen((await anna.get(f"/clients/{program.id}")).text)
    await anna.post(f"/clients/{program.id}", {**NEW, "redirect_uri": "https://theirs.example/", **seen})

    late = await anna.post(f"/clients/{program.id}", {**NEW, "name": "Mine", **seen})

    assert late.status_code == 412
    assert "<dd>https://theirs.example/</dd>" in late.text
    assert 'value="Mine"' in late.text
    saved = await anna.post(f"/clients/{program.id}", {**NEW, "name": "Mine", **_seen(late.text)})
    assert saved.status_code == 303
    assert "Mine" in (await anna.get("/clients")).text


def _seen(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(seen)" value="([^"]+)"', page))


async def test_secret_is_replaced(anna: Visitor, clients: Clients) -> None:
    """The new secret works, and the former one does not."""
    former = await clients.create()
    program = await clients.shown(await anna.post(f"/clients/{former.id}/secret"))

    assert program.id == former.id
    assert (await program.ask("client_credentials")).status_code == 200
    assert "ocs_" not in (await anna.get(f"/clients/{program.id}/secret")).text
    assert (await former.ask("client_credentials")).status_code == 401


async def test_revoked_client_is_refused(anna: Visitor, clients: Clients, olga: Visitor, client: httpx.AsyncClient) -> None:
    """A revoked client gets no tokens, and none of those that it has works. Its page offers nothing more."""
    program = await clients.create()
    tokens = await let_in(olga, program)

    assert (await anna.post(f"/clients/{program.id}/revoke")).status_code == 303
    assert await status(client, tokens) == 401
    assert (await program.ask("client_credentials")).status_code == 401
    assert '<span class="badge">revoked</span>' in (await anna.get("/clients")).text
    assert (await anna.post(f"/clients/{program.id}", NEW)).status_code == 404
    assert (await anna.post(f"/clients/{program.id}/secret")).status_code == 404


@pytest.mark.parametrize("path", ["", "/secret", "/revoke"])
async def test_client_of_another_workspace_is_not_there(carla: Visitor, clients: Clients, path: str) -> None:
    """Carla neither sees nor changes a client of Alice's workspace."""
    program = await clients.create()

    assert (await carla.post(f"/clients/{program.id}{path}", NEW)).status_code == 404
    assert (await carla.get(f"/clients/{program.id}")).status_code == 404
    assert program.id not in (await carla.get("/clients")).text
    assert (await program.ask("client_credentials")).status_code == 200


async def test_name_is_shown_as_text(anna: Visitor, clients: Clients, olga: Visitor) -> None:
    """A name with markup is a name, on each page that has it."""
    program = await clients.create(name='"><img src=x onerror=alert(1)>{{7*7}}')
    await let_in(olga, program)

    for page in (
        await anna.get("/clients"),
        await anna.get(f"/clients/{program.id}"),
        await olga.get("/programs"),
        await olga.client.get(PAGE, params=request_of(program)),
    ):
        assert "&lt;img src=x onerror=alert(1)&gt;{{7*7}}" in page.text
        assert "<img" not in page.text


async def test_public_client_has_no_secret(anna: Visitor, clients: Clients, olga: Visitor, client: httpx.AsyncClient) -> None:
    """A public client gets tokens for a user by PKCE alone, and each refresh token works once."""
    program = await clients.create(kind="public", redirect_uri=CALLBACK)

    assert program.secret == ""
    tokens = await let_in(olga, program)
    assert await status(client, tokens) == 200
    following = (await program.refresh(tokens["refresh_token"])).json()
    assert await status(client, following) == 200
    assert (await program.reuse(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await anna.post(f"/clients/{program.id}/secret")).status_code == 404


async def test_public_client_does_nothing_in_its_own_name(clients: Clients, client: httpx.AsyncClient) -> None:
    """Anybody can say to be a public client, so that gives no token and no description of one."""
    program = await clients.create(kind="public")

    refusal = await program.ask("client_credentials")
    assert (refusal.status_code, refusal.json()["error"]) == (400, "unauthorized_client")
    asked = {"client_id": program.id, "token": "oat_x"}
    assert (await client.post("/api/herdbook/oauth/introspect", data=asked)).status_code == 401
    assert (await client.post("/api/herdbook/oauth/revoke", data=asked)).status_code == 200


@pytest.mark.parametrize("secret", ["", "x"])
async def test_confidential_client_needs_its_secret(clients: Clients, secret: str) -> None:
    """A client with a secret gets nothing without it; nor does a public one with any."""
    confidential, public = await clients.create(), await clients.create(kind="public")

    assert (await confidential.ask("client_credentials", client_secret=secret)).status_code == 401
    assert (await public.refresh("ort_x", client_secret=secret)).status_code == (401 if secret else 400)


async def test_person_shuts_a_program_out(
    clients: Clients, olga: Visitor, people: People, workspace_id: UUID, client: httpx.AsyncClient
) -> None:
    """A person sees the programs that the person has let in, and ends one of them, for nobody else."""
    program, other = await clients.create(), await clients.create(name="Mail")
    victor = await people.join(workspace_id, "Victor")
    tokens, kept, of_victor = await let_in(olga, program), await let_in(olga, other), await let_in(victor, program)

    assert program.id in (await olga.get("/programs")).text
    assert (await olga.post(f"/programs/{program.id}/shut-out")).status_code == 303
    assert program.id not in (await olga.get("/programs")).text
    assert other.id in (await olga.get("/programs")).text
    assert await status(client, tokens) == 401
    assert (await program.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert [await status(client, each) for each in (kept, of_victor)] == [200, 200]


async def test_programs_of_others_are_not_shown(clients: Clients, olga: Visitor, anna: Visitor, alice: Person) -> None:
    """The programs of one person are not those of another."""
    await let_in(olga, await clients.create())

    assert alice
    assert "No program acts for you" in (await anna.get("/programs")).text
