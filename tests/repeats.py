"""How often a property is tried: the more often, the rarer the faults that it finds."""

import os
from typing import Final

DEEP: Final = "HERDBOOK_TEST_DEEP" in os.environ


def repeats(many: int) -> int:
    """Return the number of examples: as many in `make deep`, a third of them in `make test`."""
    return many if DEEP else many // 3
