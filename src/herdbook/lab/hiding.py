"""The journal without secrets: a credential is shown by its id and a mark, so that the same one is seen to be the same."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, PREFIX
from herdbook.oauth.model import CLIENT_SECRET_PREFIX, CODE_PREFIX, REFRESH_TOKEN_PREFIX

# Headers of which the whole value is a secret, after the name of a scheme.
_HIDDEN: Final = frozenset({"authorization", "x-api-key", "cookie", "set-cookie", "proxy-authorization"})
_SCHEMES: Final = ("bearer", "basic")
_PREFIXES: Final = "|".join(map(re.escape, (PREFIX, ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX, CODE_PREFIX)))
# A key or a token has an id before its secret; that of a client has none.
_TOKENS: Final = re.compile(rf"((?:{_PREFIXES})[0-9A-Za-z]+\.|{re.escape(CLIENT_SECRET_PREFIX)})([0-9A-Za-z]+)")
# A secret in the form of a request for tokens, also one that is none.
_IN_FORMS: Final = re.compile(r"(?:(?<=^)|(?<=&))((?:client_secret|code|code_verifier|refresh_token|token)=)([^&]+)")
_OF_CLIENTS: Final = frozenset({"oauth-token", "revoke-oauth-token", "introspect-oauth-token"})


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers without secrets. Their names are in lower case."""
    return {name: shown_header(name, value) for name, value in headers.items()}


def shown_header(name: str, value: str) -> str:
    """Return the value of a header as the journal has it. The name is in lower case."""
    if name not in _HIDDEN:
        return value
    scheme, space, rest = value.partition(" ")
    lead, secret = (scheme + space, rest) if scheme.lower() in _SCHEMES else ("", value)
    shown = shown_text(secret)
    return lead + (shown if shown != secret else _mark(secret))


def shown_text(text: str) -> str:
    """Return a text without the secrets of keys and tokens."""
    return _TOKENS.sub(_hidden, text)


def shown_body(operation: str, text: str) -> str:
    """Return the body of a request or an answer of an operation without secrets."""
    if operation in _OF_CLIENTS:
        text = _IN_FORMS.sub(_in_form, text)
    return shown_text(text)


def _in_form(found: re.Match[str]) -> str:
    shown = shown_text(found[2])
    return found[1] + (shown if shown != found[2] else _mark(found[2]))


def _hidden(found: re.Match[str]) -> str:
    return found[1] + _mark(found[2])


def _mark(secret: str) -> str:
    """Return a mark that is the same for the same secret, and does not reveal it."""
    return f"(hidden-{hashlib.sha256(secret.encode()).hexdigest()[:8]})"
