"""The protection of pages: their headers, the session's cookie, and the check that a form was sent by a page of the console."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

# The time in which a sign-in comes back from elsewhere, or a page shows the secret that a form has made.
_CHALLENGE_SECONDS: Final = 600
HEADERS: Final = (
    (
        b"content-security-policy",
        b"; ".join(
            (
                *(b"default-src 'none'", b"script-src 'self'", b"style-src 'self'", b"img-src 'self'", b"media-src 'self'"),
                *(b"connect-src 'self'", b"form-action 'self'", b"frame-ancestors 'none'", b"base-uri 'none'"),
            )
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    # `no-referrer` would make the Origin of forms `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def origin_of(scope: Scope, headers: Headers, public_url: str | None) -> str:
    """Return the origin under which a browser sees the console."""
    server: tuple[str, int | None] = scope.get("server") or ("", None)
    # A trusted proxy names the host; otherwise the browser does. A page of another origin cannot choose that of its request.
    host = server[0] if server[1] is None and server[0] else headers.get("host", "")
    if public_url is not None and urlsplit(public_url).netloc == host:
        return f"{urlsplit(public_url).scheme}://{host}"
    return f"{scope['scheme']}://{host}"


def is_from_console(headers: Headers, origin: str) -> bool:
    """Whether a form was sent by a page of the console itself. All browsers send one of the two headers."""
    site = headers.get("sec-fetch-site")
    return headers.get("origin") == origin if site is None else site == "same-origin"


def cookie_name(origin: str) -> str:
    """Return the name of the session's cookie. With TLS, no other host can set it, and none of it goes without TLS."""
    return "__Host-herdbook" if origin.startswith("https:") else "herdbook"


def set_cookie(origin: str, value: str, max_age: int) -> tuple[bytes, bytes]:
    """Return the header that sets the session's cookie; an empty value removes it."""
    return _set_cookie(cookie_name(origin), origin, value, max_age)


def challenge_cookie_name(origin: str) -> str:
    """Return the name of the cookie of a sign-in that is under way at an OpenID provider."""
    return f"{cookie_name(origin)}-challenge"


def set_challenge_cookie(origin: str, value: str) -> tuple[bytes, bytes]:
    """Return the header that sets this cookie; an empty value removes it."""
    return _set_cookie(challenge_cookie_name(origin), origin, value, _CHALLENGE_SECONDS)


def secret_cookie_name(origin: str) -> str:
    """Return the name of the cookie that lets the next page show a new secret. It has no secret itself."""
    return f"{cookie_name(origin)}-secret"


def set_secret_cookie(origin: str, value: str) -> tuple[bytes, bytes]:
    """Return the header that sets this cookie; an empty value removes it."""
    return _set_cookie(secret_cookie_name(origin), origin, value, _CHALLENGE_SECONDS)


def _set_cookie(name: str, origin: str, value: str, max_age: int) -> tuple[bytes, bytes]:
    secure = "; Secure" if origin.startswith("https:") else ""
    cookie = f"{name}={value}; Path=/; Max-Age={max_age if value else 0}; HttpOnly; SameSite=Lax{secure}"
    return b"set-cookie", cookie.encode()
