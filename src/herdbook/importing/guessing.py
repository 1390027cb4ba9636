"""The mapping that the columns of a file suggest: by their names, and by what is in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET, UnsetType

from herdbook.custom_fields.model import Field, FieldKind, FieldObjectType
from herdbook.formats.days import is_day
from herdbook.formats.model import Column
from herdbook.importing.headers import COMPANY_HEADERS, CONTACT_HEADERS, PRESETS, Preset
from herdbook.importing.model import IGNORE, LABEL, REPEATED, Existing, MappedColumn, MatchBy, NewField
from herdbook.importing.model import Mapping as ImportMapping
from herdbook.search_text import folded

_NOT_LETTERS: Final = re.compile(r"[\W_]+")
_NUMBER_WITHIN: Final = re.compile(r"\d+")
_IS_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+").fullmatch
_IS_PHONE: Final = re.compile(r"[+(]?[\d][\d\s()./-]{5,20}").fullmatch
_IS_LINK: Final = re.compile(r"https?://\S+").fullmatch
_is_iso_day: Final = re.compile(r"\d{4}-\d\d-\d\d").fullmatch
_KINDS: Final[tuple[tuple[FieldKind, Callable[[str], Any]], ...]] = (
    (FieldKind.YES_NO, re.compile(r"yes|no|true|false", re.IGNORECASE).fullmatch),
    (FieldKind.INTEGER, re.compile(r"-?(?:0|[1-9]\d{0,14})").fullmatch),
    (FieldKind.DECIMAL, re.compile(r"-?\d{1,15}\.\d{1,10}").fullmatch),
    (FieldKind.DATE, lambda text: _is_iso_day(text) or is_day(text)),
    (FieldKind.DATE_TIME, re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*").fullmatch),
    (FieldKind.EMAIL, _IS_EMAIL),
    (FieldKind.LINK, _IS_LINK),
    (FieldKind.PHONE, _IS_PHONE),
)
# Digits alone may as well be the number of an order.
_IS_WRITTEN_AS_PHONE: Final = re.compile(r"(?!\d{4}-\d\d-\d\d)(?=[+(0]|\d+[\s()./-])[+(]?\d[\d\s()./-]{5,20}").fullmatch
# An export of herdbook calls the values of a field so.
_OWN_FIELD: Final = "fields."
_BY_SAMPLES: Final = (("email", _IS_EMAIL, 0.7), ("phone", _IS_WRITTEN_AS_PHONE, 0.5))
# How sure a guess is: by the columns of a known program, by the name, by a name that the samples contradict, by nothing.
_PRESET, _NAMED, _DOUBTED, _UNKNOWN = 0.99, 0.9, 0.4, 0.2


class Guess(NamedTuple):
    """A suggested mapping, and the program whose export the file is, if that is known."""

    mapping: ImportMapping
    preset: str | None


class _Found(NamedTuple):
    target: str
    sure: float


def guess(columns: Sequence[Column], defined: Iterable[Field], chosen: FieldObjectType | None = None) -> Guess:
    """Return the mapping that columns suggest. `defined` are the fields of the workspace, `chosen` the type of the objects."""
    preset = _preset_of(columns, chosen)
    object_type = chosen or (FieldObjectType(preset.object_type) if preset is not None else _type_of(columns))
    known = [each for each in defined if each.object_type is object_type and not each.archived]
    own: dict[str, Field] = {}
    for each in known:
        own.setdefault(comparable_header(each.label), each)
        own.setdefault(comparable_header(each.key), each)
    found = [_target(column, object_type, preset, known, own) for column in columns]
    targets = {each.target.partition(":")[0] for each in found}
    if {"first_name", "last_name"} & targets:
        found = [_Found(IGNORE, each.sure) if each.target == "full_name" else each for each in found]
    mapped: list[MappedColumn] = []
    seen: set[str] = set()
    for column, (target, sure) in zip(columns, found, strict=True):
        to, _, label = (target, "", "") if target.startswith("field:") else target.partition(":")
        if to not in REPEATED and to in seen:
            to, label = IGNORE, ""
        seen.add(to)
        suggested = _suggested(column, to, known)
        days = column.days if may_have_days(to, suggested, known) else UNSET
        mapped.append(MappedColumn(to=to, label=label or UNSET, sure=sure, field=suggested, days=days))
    mapped = with_sound_labels(mapped)
    source = "import" if preset is None else preset.source
    mapping = ImportMapping(
        object_type=object_type,
        columns=tuple(mapped),
        match_by=_match_by(object_type, {each.to for each in mapped}),
        existing=_FILL,
        crm_source=source,
    )
    return Guess(mapping, None if preset is None else preset.name)


def hints(columns: Sequence[Column]) -> list[set[str]]:
    """Return the members that the name or the samples of each column suggest, of contacts and of companies.

    Several columns may suggest the same. A column that means nothing here, such as the time of an export, suggests `ignore`,
    and one that nothing knows has no hint.
    """
    found: list[set[str]] = [set() for _ in columns]
    for object_type in FieldObjectType:
        preset = _preset_of(columns, object_type)
        for column, known in zip(columns, found, strict=True):
            target, sure = _target(column, object_type, preset, (), {})
            if sure > _UNKNOWN:
                known.add(target.partition(":")[0])
    return found


def mapping_of(members: Mapping[str, Any]) -> ImportMapping:
    """Return the mapping of a file of objects that has this one."""
    is_company = members.get("object") == "company" or ("name" in members and "emails" not in members)
    object_type = FieldObjectType.COMPANY if is_company else FieldObjectType.CONTACT
    return ImportMapping(object_type=object_type, match_by="domain" if is_company else "email")


_FILL: Final[Existing] = "fill"


def _match_by(object_type: FieldObjectType, targets: set[str]) -> MatchBy:
    if object_type is FieldObjectType.COMPANY:
        return "domain" if "domain" in targets else "crm_id" if "crm_id" in targets else "name"
    if "email" in targets or not columns_identify(targets):
        return "email"
    return "external_id" if "external_id" in targets else "crm_id" if "crm_id" in targets else "name_and_company"


def columns_identify(targets: set[str]) -> bool:
    """Whether columns say who a contact is."""
    return bool(targets & {"first_name", "last_name", "full_name", "external_id", "crm_id"})


def with_sound_labels(columns: Sequence[MappedColumn]) -> list[MappedColumn]:
    """Return the columns without labels of what is neither an address nor a number."""
    following = [*(each.to for each in columns), IGNORE][1:]
    return [
        MappedColumn(to=IGNORE, sure=each.sure) if each.to == LABEL and then not in ("email", "phone") else each
        for each, then in zip(columns, following, strict=True)
    ]


def comparable_header(name: str) -> str:
    """Return the form of a column's name in which names are compared."""
    return _NOT_LETTERS.sub("", folded(name)).rstrip("0123456789")


def _table(headers: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for target, names in headers.items():
        for name in names.split(", "):
            found.setdefault(comparable_header(name), target)
    return found


_TABLES: Final = {FieldObjectType.CONTACT: _table(CONTACT_HEADERS), FieldObjectType.COMPANY: _table(COMPANY_HEADERS)}


def _preset_of(columns: Sequence[Column], chosen: FieldObjectType | None) -> Preset | None:
    """Return the known program whose export has these columns, if there is one for the type of objects."""
    names = {column.name for column in columns}
    presets = [each for each in PRESETS if each.known_by <= names and chosen in (None, FieldObjectType(each.object_type))]
    return max(presets, key=lambda each: len(names & each.targets.keys()), default=None)


def _type_of(columns: Sequence[Column]) -> FieldObjectType:
    contact = {_TABLES[FieldObjectType.CONTACT].get(comparable_header(each.name), "") for each in columns}
    company = {_TABLES[FieldObjectType.COMPANY].get(comparable_header(each.name), "") for each in columns}
    people = {"first_name", "last_name", "email", "phone:mobile", "phone:home", "field:birthday", "field:job_title"}
    is_company = {"name", "domain"} <= company and not contact & people and not any(_are(_IS_EMAIL, each) for each in columns)
    return FieldObjectType.COMPANY if is_company else FieldObjectType.CONTACT


def _are(matches: Callable[[str], Any], column: Column) -> bool:
    """Whether most of a column's samples have a form."""
    return bool(column.samples) and sum(bool(matches(each)) for each in column.samples) * 5 >= len(column.samples) * 4


def _target(
    column: Column,
    object_type: FieldObjectType,
    preset: Preset | None,
    known: Sequence[Field],
    fields_by_name: Mapping[str, Field],
) -> _Found:
    if column.name.startswith(_OWN_FIELD):
        return _Found(_possible(f"field:{column.name.removeprefix(_OWN_FIELD)}", known), _PRESET)
    if preset is not None:
        # The second address of a contact has the columns of the first one, with its number.
        numbered = _NUMBER_WITHIN.sub("1", column.name, count=1)
        target = preset.targets.get(column.name, preset.targets.get(numbered))
        if target is not None:
            return _Found(_possible(target, known) if column.name == numbered or target in REPEATED else IGNORE, _PRESET)
    header = comparable_header(column.name)
    own = fields_by_name.get(header)
    target = _TABLES[object_type].get(header)
    if target is not None and not (own is not None and target == IGNORE):
        is_email = target.startswith("email")
        is_doubted = is_email and bool(column.samples) and not _are(_IS_EMAIL, column)
        return _Found(_possible(target, known), _DOUBTED if is_doubted else _NAMED)
    if own is not None:
        return _Found(f"field:{own.key}", _NAMED)
    for target, matches, sure in _BY_SAMPLES:
        if object_type is FieldObjectType.CONTACT and _are(matches, column) and not _are(is_day, column):
            return _Found(target, sure)
    return _Found(IGNORE, _UNKNOWN)


def _possible(target: str, known: Sequence[Field]) -> str:
    """Return a target, or none if it is a field that the workspace does not have."""
    key = target.removeprefix("field:").partition(".")[0]
    return target if not target.startswith("field:") or any(each.key == key for each in known) else IGNORE


def may_have_days(to: str, new: NewField | UnsetType, known: Iterable[Field]) -> bool:
    """Whether a column fills a field of days, or suggests one."""
    if new is not UNSET and to in (IGNORE, f"field:{new.key}"):
        return new.kind is FieldKind.DATE
    return any(f"field:{each.key}" == to and each.kind is FieldKind.DATE for each in known)


def _suggested(column: Column, to: str, known: Sequence[Field]) -> NewField | UnsetType:
    """Return the field that would be defined for a column that fills nothing."""
    key = _NOT_LETTERS.sub("_", folded(column.name.removeprefix(_OWN_FIELD))).strip("_")
    key = re.sub(r"[^a-z0-9_]", "", key)[:50]
    if to != IGNORE or not column.samples or not key[:1].isalpha() or any(each.key == key for each in known):
        return UNSET
    return NewField(key=key, label=column.name, kind=kind_of(column.samples))


def kind_of(samples: Sequence[str]) -> FieldKind:
    """Return the kind of field that all of these values fit."""
    for kind, matches in _KINDS:
        if all(map(matches, samples)):
            return kind
    return FieldKind.LONG_TEXT if any(len(each) >= 100 or "\n" in each for each in samples) else FieldKind.TEXT
