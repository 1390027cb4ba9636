"""Checks of the address of an endpoint: whether it can be resolved, and the rules allow it.

Imported on first use: an HTTP client takes a third of a second to import, and most servers need none.
"""

import asyncio
from functools import lru_cache
from typing import Final
from uuid import UUID

import httpx

from herdbook.errors import FieldError
from herdbook.outgoing import TargetRefused, Targets, TargetUnknown
from herdbook.settings import TargetRules

_PATIENCE_SECONDS: Final = 5.0


async def faults(rules: TargetRules, url: str, workspace_id: UUID) -> tuple[FieldError, ...]:
    """Return the errors of a target: it cannot be resolved, or the rules do not allow it."""
    try:
        parsed = httpx.URL(url)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await allowed_by(rules).resolve(parsed.raw_host.decode("ascii"), port, workspace_id)
    except TargetRefused as refused:
        return (FieldError("url", "target_not_allowed", f"`url` is not an allowed target: {refused}."),)
    except TimeoutError:
        return (_unresolvable("resolving its host name took too long"),)
    except (TargetUnknown, httpx.InvalidURL) as error:
        return (_unresolvable(str(error)),)
    return ()


@lru_cache
def allowed_by(rules: TargetRules) -> Targets:
    """Return the targets that these rules allow."""
    return Targets(rules.allowed, allows_loopback=rules.allows_loopback, allows_private=rules.allows_private)


def _unresolvable(why: str) -> FieldError:
    return FieldError("url", "unresolvable", f"`url` cannot be reached: {why.rstrip('.')}. Check the host name.")
