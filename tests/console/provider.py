"""A small OpenID provider on the loopback, which says whatever a test asks it to."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT_ID = "herdbook client"
SECRET = "a secret: 100%"  # noqa: S105  # it is for tests alone


class Provider:
    """The provider. `claims` go into the token, over the right ones; `key` signs it, and `published` is the one it shows."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.algorithm = "ES256"
        self.key: Any = ECKey.generate_key("P-256", {"kid": "first"})
        self.published = self.key
        self.codes: dict[str, Mapping[str, str]] = {}
        self.metadata: dict[str, str] = {}
        self.subject = secrets.token_hex(8)
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                described = provider.described() if self.path.startswith("/.well-known/") else provider.keys()
                self.answer(200, described)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                token = provider.exchanged(form, self.headers["Authorization"] or "")
                self.answer(200 if token else 400, {"id_token": token} if token else {"error": "invalid_grant"})

            def answer(self, status: int, body: Any) -> None:
                encoded = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the parent class
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop the provider."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def described(self) -> dict[str, str]:
        """Return what the provider says of itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        } | self.metadata

    def keys(self) -> dict[str, Any]:
        """Return the keys of the provider."""
        return {"keys": [self.published.as_dict(private=False)]}

    def let_in(self, address: str) -> str:
        """Let somebody in who was sent to an address of the provider; return the query to come back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT_ID
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"code={code}&state={asked['state']}"

    def exchanged(self, form: Mapping[str, str], authorization: str) -> str | None:
        """Return the token of a code, once, to the client whose verifier it was asked for with."""
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or authorization != "Basic " + base64.b64encode(b"herdbook+client:a+secret%3A+100%25").decode():
            return None
        challenge = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": self.subject,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        }
        claims |= {"email_verified": True, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.published.kid}
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])
