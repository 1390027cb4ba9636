"""Values as pages show them: times, days and tags."""

import re
from datetime import UTC, date, datetime
from typing import Final

from markupsafe import Markup, escape

from herdbook import fields

# A time as the API shows it, which is what pages show most.
_of_api: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-([0-9]{2})T([0-9]{2}:[0-9]{2}):[0-9]{2}\.[0-9]{6}Z").fullmatch
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TAG: Final = Markup(
    '<span class="tag"><svg class="dot" viewBox="0 0 8 8" aria-hidden="true"><circle cx="4" cy="4" r="4" fill="{}"/></svg>'
    "{}</span>"
)


def tag_mark(name: str, hex_color: str | None) -> Markup:
    """Return a tag. Its colour is one such as `#1F6FEB`, or none."""
    return _TAG.format(hex_color or "currentColor", name)


def shown_time(time: str | datetime) -> Markup:
    """Return a time for readers without JavaScript; with it, they see it in their own zone."""
    if isinstance(time, str) and (found := _of_api(time)) is not None:
        year, month, day, clock = found.groups()
        shown = f"{int(day)} {_MONTHS[int(month) - 1]} {year}, {clock} UTC"
        return Markup(f'<time datetime="{time}">{shown}</time>')  # noqa: S704  # it has digits and marks alone
    parsed = fields.parsed_time(time) if isinstance(time, str) else time.astimezone(UTC)
    written = time if isinstance(time, str) else time.isoformat()
    shown = written if parsed is None else f"{parsed.day} {parsed:%b %Y, %H:%M} UTC"
    return Markup(f'<time datetime="{escape(written)}">{escape(shown)}</time>')  # noqa: S704  # both are escaped


def shown_day(value: str) -> Markup:
    """Return a day, or a time with its day, that somebody has given, in full; with JavaScript, readers see it in their format.

    A day is the same one in all zones.
    """
    if (parsed := fields.parsed_time(value)) is not None:
        shown = f"{parsed.day} {parsed:%b %Y, %H:%M} UTC"
        return Markup(f'<time datetime="{escape(value)}" data-exact>{escape(shown)}</time>')  # noqa: S704  # both are escaped
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return escape(value)
    return Markup(f'<time datetime="{escape(value)}">{day.day} {day:%b} {day.year}</time>')  # noqa: S704  # it is escaped
