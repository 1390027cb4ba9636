"""Attempts to sign in by a password: how many may fail, for an account and from an address."""

import time
from collections.abc import Callable
from typing import Final

from herdbook.auth.sign_ins import Buckets, network_of, refuse_after

# Failures at once, and how many more each second. A password of ten characters stands much longer than that.
_ACCOUNT_BURST: Final = 20
_ACCOUNT_RATE: Final = 1 / 30
_ADDRESS_BURST: Final = 40
_ADDRESS_RATE: Final = 1 / 5


class Attempts:
    """Counts failed attempts of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_account: Buckets[str] = Buckets(_ACCOUNT_RATE, _ACCOUNT_BURST, clock)
        self._by_address: Buckets[str] = Buckets(_ADDRESS_RATE, _ADDRESS_BURST, clock)

    def take(self, account: str, address: str) -> None:
        """Count an attempt, before it is known how it ends. Refusal: RateLimited."""
        # An address that may try no more must not use up the attempts of an account.
        refuse_after(self._by_address.take(network_of(address)))
        refuse_after(self._by_account.take(account))

    def take_from(self, address: str) -> None:
        """Count an attempt for which the account is not known yet. Refusal: RateLimited."""
        refuse_after(self._by_address.take(network_of(address)))

    def give_back_from(self, address: str) -> None:
        """Count such an attempt no longer, because it succeeded."""
        self._by_address.give_back(network_of(address))

    def give_back(self, account: str, address: str) -> None:
        """Count an attempt no longer, because it succeeded."""
        self._by_account.give_back(account)
        self._by_address.give_back(network_of(address))
