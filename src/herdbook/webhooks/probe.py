"""Checks of a target from the server's own process: whether it is allowed, and how it handles an example event.

Imported on first use: an HTTP client takes a third of a second to import, and most servers need none.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import httpx

from herdbook.errors import FieldError
from herdbook.outgoing import TargetRefused, Targets, TargetUnknown
from herdbook.settings import TargetRules
from herdbook.webhooks.events import Event
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import Address, Sender

_PATIENCE_SECONDS: Final = 5.0


async def faults(rules: TargetRules, url: str) -> tuple[FieldError, ...]:
    """Return the errors of a target: it cannot be resolved, or the rules do not allow it."""
    try:
        address = Address.of(url)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await _targets(rules).resolve(address.host, address.port)
    except TargetRefused as refused:
        return (FieldError("url", "target_not_allowed", f"`url` is not an allowed target: {refused}."),)
    except TimeoutError:
        return (_unresolvable("resolving its host name took too long"),)
    except (TargetUnknown, httpx.InvalidURL) as error:
        return (_unresolvable(str(error)),)
    return ()


async def attempt(rules: TargetRules, url: str, signing_secrets: Sequence[str], told: Event) -> Attempt:
    """Send an event at once, and return the attempt."""
    return await _sender(rules).attempt(url, signing_secrets, told.id, told.body)


def _unresolvable(why: str) -> FieldError:
    return FieldError("url", "unresolvable", f"`url` cannot be reached: {why.rstrip('.')}. Check the host name.")


@lru_cache
def _targets(rules: TargetRules) -> Targets:
    return Targets(rules.allowed, allows_loopback=rules.allows_loopback, allows_private=rules.allows_private)


@lru_cache
def _sender(rules: TargetRules) -> Sender:
    return Sender(_targets(rules))
