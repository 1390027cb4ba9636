"""Names of time zones."""

from functools import cache
from importlib import resources

from herdbook.windows_zones import WINDOWS_ZONES


@cache
def time_zones() -> frozenset[str]:
    """Return the names in IANA's time zone database, aliases included."""
    names = resources.files("tzdata").joinpath("zones").read_text("utf-8").split()
    # This is the zone of a machine whose zone was never set.
    return frozenset(names) - {"Factory"}


def not_a_time_zone(name: str) -> str:
    """Return what to say of a name that is not in the database: the name there, if it is another spelling or Windows' name."""
    known = _by_spelling().get(_spelling(name))
    right = "one such as `Europe/London`" if known is None else f"`{known}`"
    return f"is not a name in IANA's time zone database. Send {right}."


@cache
def _by_spelling() -> dict[str, str]:
    windows = {_spelling(name): zone for name, zone in WINDOWS_ZONES.items()}
    return windows | {_spelling(zone): zone for zone in sorted(time_zones())}


def _spelling(name: str) -> str:
    return "_".join(name.casefold().replace("_", " ").split())
