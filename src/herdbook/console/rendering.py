"""The templates of all pages, and what each of them may use."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup, escape
from msgspec import UNSET

from herdbook import fields
from herdbook.console import static_files
from herdbook.console.page import BASE, isolated, moment_of, path_of
from herdbook.console.wording import unquoted
from herdbook.time_zones import present_zones

# The long choices that are kept, of some ten kilobytes each: of the lists that are looked at.
_KEPT_CHOICES: Final = 32


class Templates:
    """Renders templates: `contacts/list.html` is `list.html` in the templates of the domain `contacts`."""

    def __init__(self, names: Iterable[str]) -> None:
        domains = {name.partition("/")[0] for name in names} | {"console"}
        # The types of its names are too narrow.
        environment: Any = Environment(
            loader=PrefixLoader({domain: PackageLoader(f"herdbook.{domain}") for domain in sorted(domains)}),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        # A macro that needs no more than these is imported without the context of a page, and thus made once.
        environment.globals |= {"base": BASE, "path_of": path_of, "static": static_files.address_of, "zones": present_zones}
        # A page shows hundreds.
        environment.globals["icon"] = cache(environment.get_template("console/icons.html").module.icon)
        choices = environment.get_template("console/choices.html").module
        environment.globals["options"] = lru_cache(_KEPT_CHOICES)(choices.options)
        environment.globals["boxes"] = lru_cache(_KEPT_CHOICES)(choices.boxes)
        environment.filters |= {
            "given": _given,
            "initials": _initials,
            "isolated": isolated,
            "time": _time,
            "when": _when,
            "unquoted": unquoted,
            "moment": _moment,
            "moment_of": moment_of,
        }
        environment.tests |= {"given": _is_given}
        self._environment: Environment = environment

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """Return a page."""
        return self._environment.get_template(template).render(context)


def _is_given(value: Any) -> bool:
    return value is not UNSET and value is not None


def _given(value: Any, otherwise: Any = "") -> Any:
    """Return a value, or another one if it is absent or null."""
    return value if _is_given(value) else otherwise


def _initials(name: str) -> str:
    """Return the first letters of the first and the last word of a name."""
    words = name.split()
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words[:1])).upper() or "?"


def _moment(time: str) -> str:
    """Return a time in full, for papers."""
    parsed = fields.parsed_time(time)
    return time if parsed is None else f"{parsed.day} {parsed:%B %Y, %H:%M:%S} UTC"


def _time(time: str | datetime) -> Markup:
    """Return a time for readers without JavaScript; with it, they see it in their own zone."""
    parsed = fields.parsed_time(time) if isinstance(time, str) else time.astimezone(UTC)
    written = time if isinstance(time, str) else time.isoformat()
    shown = written if parsed is None else f"{parsed.day} {parsed:%b %Y, %H:%M} UTC"
    return Markup(f'<time datetime="{escape(written)}">{escape(shown)}</time>')  # noqa: S704  # both are escaped


def _when(value: str) -> Markup:
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
