"""The token endpoint: its parameters, and the authentication of clients."""

import base64
from collections.abc import Callable
from urllib.parse import quote, urlencode

import httpx
import pytest

from herdbook.oauth.store import revoke_client
from herdbook.settings import Settings
from tests.cast import Person
from tests.oauth.conftest import TOKEN_URL, Connections, Program, refused

FORM = "application/x-www-form-urlencoded"


def basic(client_id: str, client_secret: str) -> str:
    """Return the Basic header of a client."""
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


async def ask_with(http: httpx.AsyncClient, authorization: str | bytes, **form: str) -> httpx.Response:
    """Request a token with an Authorization header."""
    value = authorization.encode() if isinstance(authorization, str) else authorization
    return await http.post(TOKEN_URL, data={"grant_type": "client_credentials", **form}, headers={b"Authorization": value})


async def send(http: httpx.AsyncClient, body: str | bytes, content_type: str = FORM) -> httpx.Response:
    """Send a body unchanged."""
    return await http.post(TOKEN_URL, content=body, headers={"Content-Type": content_type})


def whole(program: Program) -> str:
    """Return a complete, valid form."""
    return urlencode({"grant_type": "client_credentials", "client_id": program.id, "client_secret": program.secret})


@pytest.mark.parametrize("path", ["/api/v1/oauth/token", "/v1/oauth/token"])
async def test_both_base_paths_answer(client: httpx.AsyncClient, program: Program, path: str) -> None:
    """`/v1/...` answers as `/api/v1/...` does, with the headers of every operation."""
    response = await client.post(path, content=whole(program), headers={"Content-Type": FORM})

    assert response.status_code == 200
    assert response.headers["X-Request-Id"].startswith("rid_")


async def test_another_method_is_refused(client: httpx.AsyncClient) -> None:
    """Only POST issues tokens (RFC 6749, section 3.2)."""
    response = await client.get(TOKEN_URL)

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


async def test_a_client_authenticates_by_basic(client: httpx.AsyncClient, program: Program) -> None:
    """Id and secret in the header suffice; the scheme is case-insensitive, and the form may repeat the client id."""
    header = basic(program.id, program.secret)
    responses = [
        await ask_with(client, header),
        await ask_with(client, header.replace("Basic", "bAsic")),
        await ask_with(client, header, client_id=program.id),
        await ask_with(client, basic(quote(program.id).replace("_", "%5F"), program.secret)),
    ]

    assert [response.status_code for response in responses] == [200, 200, 200, 200]


WRONG: dict[str, Callable[[Program], str | bytes]] = {
    "wrong secret": lambda program: basic(program.id, program.secret[:-1]),
    "no secret": lambda program: basic(program.id, ""),
    "no colon": lambda program: "Basic " + base64.b64encode(program.id.encode()).decode(),
    "unknown": lambda program: basic(program.id[:-1] + ("A" if program.id[-1] != "A" else "B"), program.secret),
    "nobody": lambda program: basic("nobody", program.secret),
    "other scheme": lambda program: basic(program.id, program.secret).replace("Basic", "Bearer"),
    "no base64": lambda _: "Basic ???",
    "no UTF-8": lambda _: "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    "no escape": lambda _: "Basic " + base64.b64encode(b"%ff:%ff").decode(),
    "no ASCII": lambda _: b"Basic \xff\xfe",
    "empty": lambda _: "",
    "secret alone": lambda program: program.secret,
}


@pytest.mark.parametrize("how", WRONG)
async def test_who_is_no_client_is_refused(client: httpx.AsyncClient, program: Program, how: str) -> None:
    """A wrong client gets 401 with a challenge, and the same words whatever is wrong."""
    response = await ask_with(client, WRONG[how](program))

    assert refused(response) == (401, "invalid_client")
    assert response.json()["error_description"].startswith("The client is unknown, or its secret is wrong.")
    assert program.secret not in response.text


@pytest.mark.parametrize(
    "changes",
    [{"client_secret": "wrong"}, {"client_secret": ""}, {"client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}, {"client_id": ""}],
    ids=str,
)
async def test_who_is_no_client_is_refused_by_form(program: Program, changes: dict[str, str]) -> None:
    """A wrong client in the form gets the same answer as in the header."""
    response = await program.ask("client_credentials", **changes)

    assert refused(response) == (401, "invalid_client")
    assert response.json()["error_description"].startswith("The client is unknown, or its secret is wrong.")


async def test_the_secret_of_another_client_is_refused(program: Program, other_program: Program) -> None:
    """The secret of another client is refused."""
    assert refused(await program.ask("client_credentials", client_secret=other_program.secret)) == (401, "invalid_client")


async def test_an_api_key_is_no_client(client: httpx.AsyncClient, alice: Person) -> None:
    """An API key gets no tokens, in whatever way it is sent."""
    responses = [await ask_with(client, f"{scheme}{alice.key}") for scheme in ("", "Bearer ", "Basic ")]

    assert {refused(response) for response in responses} == {(401, "invalid_client")}


async def test_a_revoked_client_is_refused(pool: Connections, program: Program) -> None:
    """A revoked client is refused at once, whatever it presents."""
    tokens, code = await program.tokens(), await program.code()
    revoked = await revoke_client(pool, program.uuid)
    responses = [
        await program.ask("client_credentials"),
        await program.exchange(code),
        await program.refresh(tokens["refresh_token"]),
    ]

    assert revoked
    assert [refused(response) for response in responses] == [(401, "invalid_client")] * 3


async def test_two_ways_at_once_are_refused(client: httpx.AsyncClient, program: Program) -> None:
    """Two ways of authentication in one request are refused, even if both are right (RFC 6749, section 2.3)."""
    header = basic(program.id, program.secret)
    response = await ask_with(client, header, client_id=program.id, client_secret=program.secret)

    assert refused(response) == (400, "invalid_request")
    assert "two ways" in response.json()["error_description"]


async def test_two_clients_at_once_are_refused(client: httpx.AsyncClient, program: Program, other_program: Program) -> None:
    """The form may not name another client than the header does."""
    response = await ask_with(client, basic(program.id, program.secret), client_id=other_program.id)

    assert refused(response) == (400, "invalid_request")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "", FORM + "x"])
async def test_what_is_no_form_is_refused(client: httpx.AsyncClient, program: Program, content_type: str) -> None:
    """A body of another media type is refused, even if it contains a form."""
    response = await send(client, whole(program), content_type)

    assert refused(response) == (400, "invalid_request")
    assert FORM in response.json()["error_description"]


async def test_a_body_without_a_type_is_refused(client: httpx.AsyncClient, program: Program) -> None:
    """A body without a media type is refused."""
    request = client.build_request("POST", TOKEN_URL, content=whole(program))
    assert "Content-Type" not in request.headers

    assert refused(await client.send(request)) == (400, "invalid_request")


async def test_a_form_may_have_a_charset(client: httpx.AsyncClient, program: Program) -> None:
    """The case and parameters of the media type do not matter."""
    response = await send(client, whole(program), "Application/X-WWW-Form-Urlencoded; charset=UTF-8")

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "unknown"])
@pytest.mark.parametrize("value", ["", "same"])
async def test_a_repeated_parameter_is_refused(client: httpx.AsyncClient, program: Program, name: str, value: str) -> None:
    """A repeated parameter is refused, even an unknown, equal or empty one (RFC 6749, section 3.2)."""
    once = f"{whole(program)}&scope=contacts:read&unknown=x"
    again = dict(pair.split("=") for pair in once.split("&"))[name] if value else ""
    response = await send(client, f"{once}&{name}={again}")

    assert (await send(client, once)).status_code == 200
    assert refused(response) == (400, "invalid_request")
    assert "more than once" in response.json()["error_description"]


@pytest.mark.parametrize(
    "body", [b"\xff", b"a=%ff", b"&".join(b"a%d=" % n for n in range(101))], ids=["raw", "escaped", "many"]
)
async def test_what_cannot_be_read_is_refused(client: httpx.AsyncClient, program: Program, body: bytes) -> None:
    """Invalid text and too many parameters are refused."""
    response = await send(client, whole(program).encode() + b"&" + body)

    assert refused(response) == (400, "invalid_request")


@pytest.mark.parametrize("body", ["", "grant_type=", "scope=contacts:read"])
async def test_a_missing_grant_type_is_refused(client: httpx.AsyncClient, body: str) -> None:
    """A parameter without a value counts as missing (RFC 6749, section 3.2)."""
    assert refused(await send(client, body)) == (400, "invalid_request")


@pytest.mark.parametrize("grant_type", ["password", "implicit", "Client_Credentials", "client_credentials ", 'é"\\\n'])
async def test_another_grant_type_is_refused(program: Program, grant_type: str) -> None:
    """The refusal lists the three supported grant types, and does not echo the one sent."""
    response = await program.ask(grant_type)

    assert refused(response) == (400, "unsupported_grant_type")
    assert "client_credentials" in response.json()["error_description"]
    assert response.json()["error_description"].isascii()


async def test_credentials_in_the_query_are_not_read(client: httpx.AsyncClient, program: Program) -> None:
    """A secret in the query is ignored, because queries are logged everywhere (RFC 6749, section 2.3.1)."""
    response = await client.post(f"{TOKEN_URL}?{whole(program)}", data={"grant_type": "client_credentials"})

    assert refused(response) == (401, "invalid_client")


async def test_a_large_body_is_refused(client: httpx.AsyncClient) -> None:
    """A large body gets the same problem as on every operation."""
    response = await send(client, b"a=" + b"a" * Settings().body_limit)

    assert response.status_code == 413
