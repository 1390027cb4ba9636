"""The list of contacts or companies: its search, filters, order and columns, all of which are in its address."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup
from msgspec import UNSET
from starlette.datastructures import QueryParams

from herdbook.console.conflicts import state_of
from herdbook.console.page import PageAnswer, Redirect, Shown
from herdbook.console.shown import shown_time
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields import filters
from herdbook.custom_fields.filters import Filter
from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.naming import Named, name_of
from herdbook.custom_fields.pages import RecordPages, ShownTag, choices, members_of, related, tag_choices
from herdbook.custom_fields.telling import PLURALS
from herdbook.http.problems import ErrorItem, Problem

LIMIT: Final = 50
DEFAULT_SORT: Final = "updated_at:desc"
_UNSORTED: Final = frozenset({"email", "phone_number", "domain", "tags", "lines", "several_of", "parts"})
_is_id: Final = re.compile(r"[a-z]+_[0-9A-Z]{26}").fullmatch
# The parameters of an address that say which list it is. Others say which page of it, or which form is open.
STATE: Final = ("search", "filter", "sort", "columns", "view")


# The parts of a list, by the members of a query that say them. The words of a search are conditions beside the filters.
_NOUNS: Final = {"sort": "The list's order", "search": "The search", "where": "The search"}


class Column(NamedTuple):
    """A column of the list beside the name; `sort` is the member to sort by, if there is one."""

    name: str
    label: str
    sort: str
    member: Member | None


class Page(NamedTuple):
    """A page of the records that a list has. It may have none although more follow."""

    records: Sequence[Any]
    next_cursor: str | None


class Row(NamedTuple):
    """A record in the list: its id, its name, and its cells, ready to be shown."""

    id: str
    name: str
    cells: Sequence[Markup]


class Chip(NamedTuple):
    """A filter as people see it: the parts of its sentence, its problem, and the address of the list without it."""

    label: str
    comparison: str
    value: str
    is_time: bool
    is_alternative: bool
    problem: str
    removal: str


class SavedSort(msgspec.Struct):
    """A member that a view is sorted by."""

    field: str
    direction: str = "asc"


class SavedView(msgspec.Struct):
    """A saved view, as the API answers it."""

    id: str
    object_type: str
    name: str
    owner_id: str | None
    shared: bool
    where: Any
    search: str | None
    sort: tuple[SavedSort, ...]
    columns: tuple[str, ...]


class ShownView(NamedTuple):
    """A saved view in the list of views: the address of its list, and whether the list of this page is that one."""

    view: SavedView
    address: str
    is_chosen: bool

    @property
    def state(self) -> str:
        """A text that is another one once somebody has changed the view."""
        return state_of(self.view)


class Place:
    """The address of a list, with all that makes it this list."""

    def __init__(self, path: str, query: QueryParams) -> None:
        self.path = path
        self.pairs = [(name, value) for name, value in query.multi_items() if name in STATE and value]
        self.search = query.get("search", "").strip()
        self.sort = query.get("sort", "") or DEFAULT_SORT
        self.filters = filters.read(self.all("filter"))
        # The form of the columns sends each by itself.
        self.columns = [name for text in self.all("columns") for name in text.split(",")]

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for key, value in self.pairs if key == name]

    def without(self, *names: str) -> list[tuple[str, str]]:
        """Return the parameters but some, for the form that sets these."""
        return [(name, value) for name, value in self.pairs if name not in names]

    def at(self, path: str | None = None, **changes: str | Iterable[object] | None) -> str:
        """Return the address of the list, or of another page about it, with some parameters changed or removed."""
        pairs = self.without(*changes)
        for name, value in changes.items():
            several = [value] if isinstance(value, str) else value or ()
            pairs += [(name, str(each)) for each in several]
        return (path or self.path) + (f"?{urlencode(pairs)}" if pairs else "")


def address_of(kind: RecordPages, view: SavedView, by_name: Mapping[str, Member]) -> str:
    """Return the address of the list of a view."""
    pairs: list[tuple[str, str]] = [("view", view.id)]
    pairs += [("search", view.search)] if view.search else []
    pairs += [("filter", str(each)) for each in filters.filters_of(view.where, by_name)]
    # The list is sorted by one member.
    pairs += [("sort", f"{each.field}:{each.direction}") for each in view.sort[:1]]
    pairs += [("columns", ",".join(view.columns))] if view.columns else []
    return Place(kind.path, QueryParams(pairs)).at()


def _same(address: str) -> list[tuple[str, str]]:
    """Return what an address says, in whatever order it says it."""
    place = Place("", QueryParams(address.partition("?")[2]))
    return sorted((*place.without("columns"), ("columns", ",".join(place.columns))))


def filterable(members: Iterable[Member]) -> dict[str, Member]:
    """Return the members that filters may name."""
    return {each.name: each for each in (*members, *filters.FURTHER)}


async def show_records(kind: RecordPages, visit: Visit) -> PageAnswer:
    """Show the list: those that a search and filters find, in some order. With `add` and `op`, add a filter to its address."""
    place = Place(kind.path, visit.query)
    known = asyncio.ensure_future(members_of(kind, visit))
    members, saved, (page, problem) = await asyncio.gather(
        known,
        visit.call("list-views", Listed[SavedView], query={"object_type": kind.name}),
        _read(kind, visit, place, known),
    )
    by_name = filterable(members)
    adding, op = by_name.get(visit.query.get("add", "")), visit.query.get("op", "")
    if adding is not None and op:
        values = visit.query.getlist("value")
        more = filters.added(adding, op, values, is_alternative="or" in visit.query)
        if more:
            return Redirect(place.at(filter=[*place.filters, *more]))
    columns = _columns(kind, members)
    chosen = [each for name in place.columns or kind.columns for each in columns if each.name == name]
    chips, shown, building = await asyncio.gather(
        _chips(visit, place, by_name, problem),
        related(visit, [each.member for each in chosen if each.member], page.records),
        _building(kind, visit, adding),
    )
    chosen_ids = place.all("view")
    views = [ShownView(each, address_of(kind, each, by_name), each.id in chosen_ids) for each in saved.value.data]
    view = next((each for each in views if each.is_chosen), None)
    is_gone = bool(chosen_ids) and view is None
    if is_gone:
        # The list without the conditions of the view is another one, which nobody has asked for.
        page = Page((), None)
    context: dict[str, Any] = {
        "kind": kind,
        "place": place,
        "is_gone": is_gone,
        "rows": [_row(each, chosen, shown["plain"]) for each in page.records],
        "next": visit.next_page(page.next_cursor),
        "has_more": page.next_cursor is not None,
        "is_first": not visit.query.get("cursor"),
        "search": place.search,
        "sort": place.sort,
        "offered_columns": tuple((each.name, each.label) for each in columns),
        "chosen_columns": tuple(each.name for each in chosen),
        "chosen": chosen,
        "problem": problem,
        "faults": ["This view is gone."] if is_gone else _faults(problem, place.filters, by_name),
        "chips": chips,
        "filterable": tuple((each.name, each.label) for each in by_name.values()),
        "lacks_value": adding is not None and bool(op),
        "views": views,
        "view": view,
        "is_as_saved": view is None or _same(view.address) == _same(place.at()),
        "may_write": visit.session.may(f"{kind.plural}:write"),
        **building,
        **shown,
    }
    return Shown(context, 404 if is_gone else 200 if problem is None else problem.status)


async def _read(kind: RecordPages, visit: Visit, place: Place, members: Awaitable[list[Member]]) -> tuple[Page, Problem | None]:
    """Return the page of a list, or the problem for which there is none."""
    # Without filters, it is read at the same time as the members, because only these are about members.
    by_name = filterable(await members) if place.filters else {}
    try:
        return await page_of(kind, visit, place, by_name, limit=LIMIT, cursor=visit.query.get("cursor")), None
    except Refused as refused:
        if refused.problem.status not in (400, 422):
            raise
        return Page((), None), refused.problem


async def page_of(  # the parts of a query
    kind: RecordPages, visit: Visit, place: Place, by_name: Mapping[str, Member], *, limit: int, cursor: str | None
) -> Page:
    """Return a page of a list. Refusal: Refused."""
    if place.search and not place.filters:
        return await _searched(kind, visit, place, limit, cursor)
    field, _, direction = place.sort.partition(":")
    body = {
        "where": where_of(kind, place, by_name),
        "sort": [{"field": field, "direction": direction or "asc"}],
        "limit": limit,
        "cursor": cursor or None,
    }
    page = (await visit.call(f"query-{kind.plural}", kind.query_page, body=body)).value
    return Page(page.data, page.next_cursor)


def where_of(kind: RecordPages, place: Place, by_name: Mapping[str, Member]) -> Any:
    """Return the condition of a list with filters, or of all records, as a query takes it."""
    conditions = filters.condition(place.filters, by_name)
    # A search of the API takes no filters. These look for its words anywhere in the same members.
    conditions += [
        {"or": [{"field": name, "op": "contains", "value": word} for name in kind.searched]} for word in place.search.split()
    ]
    return {"and": conditions} if conditions else None


async def _searched(kind: RecordPages, visit: Visit, place: Place, limit: int, cursor: str | None) -> Page:
    """Return a page of the records that have the words; whole ones, if a column shows what the API's list leaves out."""
    order = place.sort if place.sort in (DEFAULT_SORT, "updated_at:asc") else DEFAULT_SORT
    query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {"search": place.search, "order_by": order})
    listed: Listed[Any] = (await visit.call(f"list-{kind.plural}", Listed[kind.record], query=query)).value
    if not any(each in kind.unlisted or each.startswith("fields.") for each in place.columns or kind.columns):
        return Page(listed.data, listed.next_cursor)
    records: Mapping[str, Any] = await visit.each(f"get-{kind.name}-record", kind.record, [each.id for each in listed.data])
    return Page([*records.values()], listed.next_cursor)


def _columns(kind: RecordPages, members: Iterable[Member]) -> list[Column]:
    """Return the columns that a list may have. Members with several values are in no order."""
    return [
        *(
            Column(each.name, each.label, "" if each.kind in _UNSORTED else each.name, each)
            for each in members
            if each.name not in kind.hidden
        ),
        Column("created_at", "Created", "created_at", None),
        Column("updated_at", "Changed", "updated_at", None),
    ]


def _row(record: Any, columns: Iterable[Column], plain: Callable[[Any, Member], Markup]) -> Row:
    cells = [plain(record, each.member) if each.member else _muted(shown_time(getattr(record, each.name))) for each in columns]
    return Row(record.id, name_of(record), cells)


def _muted(text: Markup) -> Markup:
    return Markup(f'<span class="muted">{text}</span>')  # noqa: S704  # it is escaped


async def _building(kind: RecordPages, visit: Visit, adding: Member | None) -> dict[str, Any]:
    """Return what the form of a new filter shows: the comparisons of its member, and the values to choose from."""
    if adding is None:
        return {"adding": None}
    form = filters.form_of(adding)
    shown: dict[str, Any] = {
        "adding": adding,
        "form": form,
        "ops": {op: filters.label_of(op, adding) for op in filters.OFFERED[form]},
    }
    if form == "tags":
        shown |= await tag_choices(kind, visit, visit.query.getlist("value"), visit.query.get("find", ""))
    if form == "reference":
        shown |= await choices(visit, PLURALS[adding.refers_to])
    return shown


async def _chips(visit: Visit, place: Place, by_name: Mapping[str, Member], problem: Problem | None) -> list[Chip]:
    """Return the filters as people see them, with the names of what they refer to."""
    names = await _names(visit, place.filters, by_name)
    told = _problems(problem, place.filters)
    chips: list[Chip] = []
    for index, each in enumerate(place.filters):
        member = by_name.get(each.name)
        removal = place.at(filter=filters.without(place.filters, index))
        is_time = member is not None and filters.form_of(member) in ("date", "date_time", "time") and each.op != "one_of"
        if each.is_other:
            chips.append(Chip("Condition", "", each.name, is_time, each.is_alternative, told.get(index, ""), removal))
            continue
        values = each.values if each.op == "one_of" else [each.value]
        shown = ", ".join(_shown(member, value, names) for value in values) if filters.needs_value(each.op) else ""
        label = each.name if member is None else member.label
        comparison = filters.label_of(each.op, member)
        chips.append(Chip(label, comparison, shown, is_time, each.is_alternative, told.get(index, ""), removal))
    return chips


def _shown(member: Member | None, value: str, names: Mapping[str, str]) -> str:
    if member is not None and member.field is not None and member.field.options:
        return next((option.label for option in member.field.options if option.id == value), value)
    return names.get(value, value)


async def _names(visit: Visit, asked: Iterable[Filter], by_name: Mapping[str, Member]) -> dict[str, str]:
    """Return the names of the tags and objects that filters refer to, by their ids."""
    ids_of: dict[str, list[str]] = {}
    for each in asked:
        member = by_name.get(each.name)
        if member is not None and (member.refers_to or member.kind == "tags"):
            ids_of.setdefault(member.refers_to or "tag", []).extend([each.value, *each.values])
    found = await asyncio.gather(
        *(
            visit.each(f"get-{name}-by-id", ShownTag if name == "tag" else Named, filter(_is_id, object_ids))
            for name, object_ids in ids_of.items()
        )
    )
    return {key: name_of(value) for each in found for key, value in each.items()}


def _errors(problem: Problem | None) -> Sequence[ErrorItem]:
    return () if problem is None or problem.errors is UNSET else problem.errors


def _problems(problem: Problem | None, asked: Sequence[Filter]) -> dict[int, str]:
    """Return what is wrong with filters, by their indexes."""
    found: dict[int, str] = {}
    places = filters.paths(asked)
    for error in _errors(problem):
        # The longest one, because one with alternatives has the beginning of each of them.
        matching = [path for path in places if error.field == path or error.field.startswith((f"{path}.", f"{path}["))]
        if matching:
            noun = {"field": "The name", "op": "The comparison"}.get(error.field.rpartition(".")[2], "The value")
            message = error.message.replace(f"`{error.field}`", noun).replace("`", "")
            found.setdefault(places[max(matching, key=len)], message)
    return found


def _faults(problem: Problem | None, asked: Sequence[Filter], by_name: Mapping[str, Member]) -> list[str]:
    """Return the sentences that say why there is no list."""
    if problem is None:
        return []
    told = _problems(problem, asked)
    named = [by_name.get(asked[index].name) for index in told]
    of_filters = [
        f"{'A filter' if member is None else f'The filter of {member.label}'}: {message}"
        for member, message in zip(named, told.values(), strict=True)
    ]
    places = tuple(filters.paths(asked))
    others = [
        error.message.replace(f"`{error.field}`", _NOUNS.get(re.split(r"\W", error.field)[0], "The list"))
        for error in _errors(problem)
        if not error.field.startswith(places or ("\0",))
    ]
    return [text.replace("`", "") for text in (*of_filters, *others)] or [problem.detail]
