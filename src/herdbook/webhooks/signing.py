"""Signatures, as Standard Webhooks has them (https://github.com/standard-webhooks/standard-webhooks)."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from standardwebhooks import Webhook

_BYTES = 32
_signer = lru_cache(maxsize=1024)(Webhook)


def new_secret() -> str:
    """Return a new secret: `whsec_`, and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signing_secrets(secret: str, former: str | None, former_until: datetime | None, now: datetime) -> list[str]:
    """Return the secrets that sign at a time: for a while after a rotation, the former one, too."""
    if former is None or former_until is None or former_until <= now:
        return [secret]
    return [secret, former]


def signed_headers(secrets_: Sequence[str], event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that prove who sends an event, in both dialects: the standard's, and that of the vendor's page.

    Each secret signs, so that receivers who know only one of them are content.
    """
    text = body.decode()
    signature = " ".join(_signer(secret).sign(event_id, at, text) for secret in secrets_)
    values = {"id": event_id, "timestamp": str(int(at.timestamp())), "signature": signature}
    return {f"{dialect}-{name}": value for dialect in ("webhook", "svix") for name, value in values.items()}
