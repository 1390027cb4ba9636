"""The short form of values, for cells of lists. A list has hundreds, and a macro would take five times as long for each."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from markupsafe import Markup, escape

from herdbook.console.page import isolated
from herdbook.console.shown import shown_day, tag_mark
from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.model import Field, FieldKind

_NOTHING: Final = Markup('<span class="muted" aria-hidden="true">\N{EN DASH}</span>')
_MORE: Final = Markup('{} <span class="muted">+{}</span>')
_LINE: Final = Markup("<bdi>{}</bdi>")


class Cells(NamedTuple):
    """Shows values in short, with the names of the objects, and the tags, that they refer to."""

    names: Mapping[str, str]
    tags: Mapping[str, Any]

    def plain(self, record: Any, member: Member) -> Markup:
        """Return the value that a record has of a member, in short."""
        it = member.value(record)
        return _NOTHING if it is None else _SHOWN.get(member.kind, _text)(self, it, member)


def _text(_cells: Cells, it: Any, _member: Member) -> Markup:
    return escape(it)


def _reference(cells: Cells, it: str, _member: Member) -> Markup:
    return escape(cells.names.get(it, it))


def _first_row(_cells: Cells, it: Any, member: Member) -> Markup:
    first = escape(isolated(getattr(it[0], member.kind)))
    return first if len(it) == 1 else _MORE.format(first, len(it) - 1)


def _tags(cells: Cells, it: Any, _member: Member) -> Markup:
    return Markup().join(tag_mark(cells.tags[each].name, cells.tags[each].hex_color) for each in it if each in cells.tags)


def _several_of(_cells: Cells, it: Any, member: Member) -> Markup:
    return escape(", ".join(isolated(_label(member.field, each)) for each in it))


def _one_of(_cells: Cells, it: str, member: Member) -> Markup:
    return escape(_label(member.field, it))


def _label(field: Field | None, option_id: str) -> str:
    options = () if field is None else field.options
    return next((each.label for each in options if each.id == option_id), option_id)


def _day(_cells: Cells, it: str, _member: Member) -> Markup:
    return shown_day(it)


def _parts(_cells: Cells, it: Any, member: Member) -> Markup:
    joint = " " if member.field is not None and member.field.kind is FieldKind.MONEY else ", "
    return escape(joint.join(isolated(text) for part in member.parts if (text := member.part_of(it, part.name))))


def _lines(_cells: Cells, it: Any, _member: Member) -> Markup:
    return Markup(", ").join(_LINE.format(each) for each in it)


def _yes_no(_cells: Cells, it: bool, _member: Member) -> Markup:  # noqa: FBT001  # a value of this kind
    return escape("yes" if it else "no")


_SHOWN: Final[Mapping[str, Callable[[Cells, Any, Member], Markup]]] = {
    "reference": _reference,
    "email": _first_row,
    "phone_number": _first_row,
    "domain": _first_row,
    "tags": _tags,
    "several_of": _several_of,
    "one_of": _one_of,
    "date": _day,
    "date_time": _day,
    "parts": _parts,
    "lines": _lines,
    "yes_no": _yes_no,
}
