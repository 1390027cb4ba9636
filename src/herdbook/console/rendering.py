"""The templates of all pages, and what each of them may use."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from msgspec import UNSET

from herdbook import fields


class Templates:
    """Renders templates: `contacts/list.html` is `list.html` in the templates of the domain `contacts`."""

    def __init__(self, names: Iterable[str]) -> None:
        domains = {name.partition("/")[0] for name in names} | {"console"}
        self._environment = Environment(
            loader=PrefixLoader({domain: PackageLoader(f"herdbook.{domain}") for domain in sorted(domains)}),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {"given": _given, "initials": _initials, "day": _day}
        self._environment.tests |= {"given": _is_given}

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


def _day(time: str | datetime) -> str:
    """Return the day of a time, for readers without JavaScript; with it, they see it in their own zone."""
    parsed = fields.parsed_time(time) if isinstance(time, str) else time.astimezone(UTC)
    return str(time) if parsed is None else f"{parsed.day} {parsed:%b %Y, %H:%M}"
