"""Signatures as defined by Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks)."""

import base64
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from standardwebhooks import Webhook

from herdbook import sources

_BYTES = 32
_signer = lru_cache(maxsize=1024)(Webhook)


def new_secret() -> str:
    """Return a new secret: `whsec_`, and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(sources.random_bytes(_BYTES)).decode()


def signing_secrets(secret: str, former: str | None, former_until: datetime | None, now: datetime) -> list[str]:
    """Return the secrets to sign with at a time: for a while after a rotation, the former one as well."""
    if former is None or former_until is None or former_until <= now:
        return [secret]
    return [secret, former]


def signed_headers(secrets_: Sequence[str], event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that authenticate an event, under both names: the standard's and those on the vendor's page.

    Every secret signs, so that receivers that know only one of them can verify.
    """
    text = body.decode()
    signature = " ".join(_signer(secret).sign(event_id, at, text) for secret in secrets_)
    values = {"id": event_id, "timestamp": str(int(at.timestamp())), "signature": signature}
    return {f"{dialect}-{name}": value for dialect in ("webhook", "svix") for name, value in values.items()}
