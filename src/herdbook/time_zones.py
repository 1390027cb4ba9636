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


@cache
def present_zones() -> tuple[str, ...]:
    """Return the names of the zones of all places, without their former names, and that of UTC, in alphabetical order."""
    return tuple(sorted({"UTC", *(row[2] for row in _places())}))


def not_a_time_zone(name: str) -> str:
    """Return what to say of a name that is not in the database: the name there, if it is another spelling or Windows' name."""
    known = _by_spelling().get(_spelling(name))
    right = "one such as `Europe/London`" if known is None else f"`{known}`"
    return f"is not the name of a place's zone in IANA's time zone database. Send {right}."


@cache
def _by_spelling() -> dict[str, str]:
    present = _present_names()
    windows = {_spelling(name): present.get(zone, zone) for name, zone in WINDOWS_ZONES.items()}
    # Windows shows the name of the season, too.
    windows |= {name.replace("standard_time", "daylight_time"): zone for name, zone in windows.items()}
    windows["coordinated_universal_time"] = "UTC"
    return windows | {_spelling(zone): present.get(zone, zone) for zone in sorted(time_zones())}


def _present_names() -> dict[str, str]:
    """Return the present names of places by their former ones: those that the table of all places no longer has."""
    database = resources.files("tzdata").joinpath("zoneinfo")
    places = {row[2] for row in _places()}
    lines = [line.split() for line in database.joinpath("tzdata.zi").read_text("utf-8").splitlines()]
    links = [(line[2], line[1]) for line in lines if line[0] == "L"]
    return {former: present for former, present in links if former not in places and present in places}


def _places() -> list[list[str]]:
    """Return the rows of the table of all places."""
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    return [row.split("\t") for row in table.splitlines() if row[0] != "#"]


def _spelling(name: str) -> str:
    return "_".join(name.casefold().replace("_", " ").split())
