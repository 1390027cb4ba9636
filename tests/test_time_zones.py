"""Names of time zones."""

import pytest

from herdbook.time_zones import not_a_time_zone, time_zones
from herdbook.windows_zones import WINDOWS_ZONES


def test_the_names_for_windows_zones_are_known() -> None:
    """Each name that is told for a name of Windows is one that is taken."""
    assert len(WINDOWS_ZONES) > 130
    assert set(WINDOWS_ZONES.values()) - time_zones() == set()


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("India Standard Time", "Asia/Kolkata"),
        ("asia/calcutta", "Asia/Kolkata"),
        ("Europe/kiev", "Europe/Kyiv"),
        ("Eastern Daylight Time", "America/New_York"),
        ("utc", "UTC"),
        ("Coordinated Universal Time", "UTC"),
        ("europe/oslo", "Europe/Oslo"),
        ("america/new york", "America/New_York"),
        ("Argentina Standard Time", "America/Argentina/Buenos_Aires"),
    ],
)
def test_the_present_name_is_told(sent: str, name: str) -> None:
    """A name of Windows and another spelling are answered with the name that the place has now."""
    assert not_a_time_zone(sent).endswith(f"Send `{name}`.")
