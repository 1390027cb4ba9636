"""Names of time zones."""

from herdbook.time_zones import time_zones
from herdbook.windows_zones import WINDOWS_ZONES


def test_the_names_for_windows_zones_are_known() -> None:
    """Each name that is told for a name of Windows is one that is taken."""
    assert len(WINDOWS_ZONES) > 130
    assert set(WINDOWS_ZONES.values()) - time_zones() == set()
