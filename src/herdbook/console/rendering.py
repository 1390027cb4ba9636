"""The templates of all pages, and what each of them may use."""

import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, lru_cache, partial
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, PrefixLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape
from msgspec import UNSET

from herdbook import fields
from herdbook.console import static_files
from herdbook.console.page import BASE, isolated, moment_of, path_of
from herdbook.console.shown import shown_day, shown_time, tag_mark
from herdbook.console.wording import unquoted
from herdbook.time_zones import present_zones

# The long choices that are kept, of some ten kilobytes each: of the lists that are looked at.
_KEPT_CHOICES: Final = 32
# The members without a value that are kept, of some 600 bytes each.
_KEPT_MEMBERS: Final = 1000
_MODULE: Final = Path(__file__)
# The folder in which Python keeps this module.
_FOLDER: Final = Path(cache_from_source(__file__)).parent
# Stands for the path of a record in what is the same for all records. No text that is shown has it.
_PATH: Final = "\0"


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates, kept as Python keeps compiled modules: beside them, and not at all where it cannot write.

    To compile those of the first page takes 150 ms and 1.8 MB, which stay with the process.
    """

    def __init__(self) -> None:
        super().__init__(str(_FOLDER), f"template-%s.{sys.implementation.cache_tag}.cache")
        # Another Jinja, or other settings of this module, compile the same template to something else.
        self._compiler = version("jinja2") + _MODULE.read_text()

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(self._compiler + source)

    def load_bytecode(self, bucket: Bucket) -> None:
        # A file that a loss of power has cut is compiled again.
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                _FOLDER.mkdir(parents=True, exist_ok=True)
                super().dump_bytecode(bucket)
                # They are as open as this module: herdbook is often installed by root, and run by another user.
                (_FOLDER / (self.pattern % bucket.key)).chmod(_MODULE.stat().st_mode & 0o666)


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
            bytecode_cache=_Compiled(),
        )
        # A macro that needs no more than these is imported without the context of a page, and thus made once.
        environment.globals |= {"base": BASE, "path_of": path_of, "static": static_files.address_of, "zones": present_zones}
        # A page shows hundreds.
        environment.globals["icon"] = cache(environment.get_template("console/icons.html").module.icon)
        choices = environment.get_template("console/choices.html").module
        environment.globals["options"] = lru_cache(_KEPT_CHOICES)(choices.options)
        environment.globals["boxes"] = lru_cache(_KEPT_CHOICES)(choices.boxes)
        environment.globals["unset_members"] = partial(_unset_members, lru_cache(_KEPT_MEMBERS)(choices.unset))
        environment.globals["tag_mark"] = tag_mark
        environment.filters |= {
            "given": _given,
            "initials": _initials,
            "isolated": isolated,
            "time": shown_time,
            "when": shown_day,
            "unquoted": unquoted,
            "moment": _moment,
            "moment_of": moment_of,
        }
        environment.tests |= {"given": _is_given}
        self._environment: Environment = environment

    def compile(self) -> None:
        """Compile all templates, for a program that is installed where it cannot write later."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """Return a page."""
        return self._environment.get_template(template).render(context)


def _unset_members(unset: Callable[[str, str, bool], str], members: Iterable[Any], path: str, *, may_write: bool) -> Markup:
    """Return the members of a record that have no value, which are the same for all records but for its path."""
    shown = "".join(unset(each.name, each.label, may_write) for each in members)
    return Markup(shown.replace(_PATH, escape(path)))  # noqa: S704  # a template has escaped it


def _is_given(value: Any) -> bool:
    return value is not UNSET and value is not None


def _given(value: Any, otherwise: Any = "") -> Any:
    """Return a value, or another one if it is absent or null."""
    return value if _is_given(value) else otherwise


def _initials(name: str) -> str:
    """Return the first letters of the first and the last word of a name, not the marks before them."""
    words = ["".join(filter(str.isalnum, word)) or word for word in name.split()]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words[:1])).upper() or "?"


def _moment(time: str) -> str:
    """Return a time in full, for papers."""
    parsed = fields.parsed_time(time)
    return time if parsed is None else f"{parsed.day} {parsed:%B %Y, %H:%M:%S} UTC"
