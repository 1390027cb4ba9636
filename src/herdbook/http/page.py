"""Lists in the API: query parameters, cursors, and the envelope."""

import functools
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from itsdangerous import BadData, Signer, URLSafeSerializer

from herdbook import fields
from herdbook.db.paging import Bound, CrmRecord, ListRow, PageQuery, TimeColumn
from herdbook.errors import MAX_ERRORS, FieldError, quoted
from herdbook.http.body import unknown_parameter
from herdbook.http.operation import Answer, Filter, ListOf
from herdbook.http.query import invalid_query, pairs

QueryT = TypeVar("QueryT", bound=msgspec.Struct)

MAX_PAGE_SIZE: Final = 100
DEFAULT_LIMIT: Final = 25
MAX_CRM_ASSOCIATIONS: Final = 20
MAX_SEARCH_LENGTH: Final = 255
CRM: Final = "filter[crm_associations][eq]"
EXPAND: Final = "expand"
_STANDARD_ORDER: Final = "updated_at:desc"
_BOUNDS: Final[tuple[Bound, ...]] = ("gt", "gte", "lt", "lte")
_MAX_CRM_ID_LENGTH: Final = 255
# Lists whose cursors were made lately: some have one for each object, or for each query.
_MAX_SERIALIZERS: Final = 1000
_CRM_INDEXED: Final = re.compile(r"filter\[crm_associations\]\[eq\]\[(\d{1,3})\]\[(id|object_type)\]")


@functools.cache
def time_parameters(list_of: ListOf) -> Mapping[str, tuple[TimeColumn, Bound]]:
    """Return the parameters that filter a list by time."""
    return {f"filter[{time}][{bound}]": (time, bound) for time in list_of.times for bound in _BOUNDS}


@functools.cache
def filter_parameters(list_of: ListOf) -> Mapping[str, tuple[Filter, bool]]:
    """Return the parameters of the other filters: the filter, and whether it accepts several values."""
    parameters: dict[str, tuple[Filter, bool]] = {}
    for each in list_of.filters:
        parameters[f"filter[{each.name}][eq]"] = (each, False)
        if each.most > 1:
            parameters[f"filter[{each.name}][in]"] = (each, True)
    return parameters


@functools.cache
def orders(list_of: ListOf) -> Mapping[str, tuple[TimeColumn, bool]]:
    """Return the sort orders of a list: the time, and whether the latest is first."""
    return {f"{time}:{way}": (time, way == "desc") for time in list_of.times for way in ("desc", "asc")}


def not_this_cursor(member: str = "next_cursor") -> FieldError:
    """Return the error for a cursor that does not belong to the list; `member` of a page has the right one."""
    message = f"`cursor` does not belong to this list. Send `{member}` of the last page unchanged."
    return FieldError("cursor", "invalid_cursor", message)


def not_with_cursor(name: str) -> FieldError:
    """Return the error for a parameter that differs from its value in the cursor."""
    message = f"`cursor` belongs to another `{name}`. Leave out either `{name}` or `cursor`."
    return FieldError(name, "not_with_cursor", message)


class _Json:
    """The JSON of cursors."""

    dumps = staticmethod(msgspec.json.encode)
    loads = staticmethod(msgspec.json.decode)


class CursorSigner:
    """Makes and reads cursors: a page's query and its end, signed so that clients cannot forge them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        # To make one takes longer than to sign with it.
        self._serializer = functools.lru_cache(_MAX_SERIALIZERS)(self._new_serializer)

    def cursor(self, query: msgspec.Struct, salt: str) -> str:
        """Return the cursor for a query, whose `after` or `below` is where the last page ended."""
        token: str | bytes = self._serializer(salt).dumps(query)
        return token.decode() if isinstance(token, bytes) else token

    def read(self, cursor: str, salt: str, query: type[QueryT]) -> QueryT | None:
        """Return the query in a cursor that was made for the same list and workspace, otherwise None."""
        try:
            return msgspec.convert(self._serializer(salt).loads(cursor), query)
        except (BadData, msgspec.ValidationError):
            return None

    def _new_serializer(self, salt: str) -> URLSafeSerializer:
        # It would derive the key anew for each cursor.
        key = Signer(self._secret, salt=salt).derive_key()
        return URLSafeSerializer(key, salt=salt, serializer=_Json, signer_kwargs={"key_derivation": "none"})


class FilterReader:
    """Reads the filters and the search of a list."""

    def __init__(self, list_of: ListOf) -> None:
        self._list_of = list_of
        self._times = time_parameters(list_of)
        self._filters = filter_parameters(list_of)
        # Maps each parameter to the member of the query that it sets.
        self._members: dict[str, str] = dict.fromkeys(self._times, "times") | dict.fromkeys(self._filters, "filters")
        if list_of.search is not None:
            self._members["search"] = "search"
        if list_of.crm_types:
            self._members[CRM] = "crm_records"

    def read(self, sent: Iterable[tuple[str, str]], errors: list[FieldError]) -> PageQuery:
        """Return the query that parameters are. Refusal: InvalidQuery, with all errors, or the first of very many."""
        given: dict[str, str] = {}
        crm: dict[int, dict[str, str]] = {}
        seen: set[str] = set()
        for name, value in sent:
            indexed = _CRM_INDEXED.fullmatch(name) if self._list_of.crm_types else None
            if name in given and self._takes_several(name):
                # Some clients send a list as repeated parameters.
                given[name] += "," + value
            elif name in seen:
                message = f"`{quoted(name)}` is sent twice. Send it once."
                errors.append(FieldError(quoted(name), "duplicate", message))
            elif indexed is not None:
                crm.setdefault(int(indexed[1]), {})[indexed[2]] = value
            elif name not in self._members:
                errors.append(unknown_parameter(name, self._members))
            else:
                given[name] = value
            seen.add(name)
            if len(errors) > MAX_ERRORS:
                break
        query = self._asked(given, crm, errors)
        if errors:
            raise invalid_query(errors)
        return query

    def _takes_several(self, name: str) -> bool:
        return name in self._filters and self._filters[name][1]

    def _asked(self, given: Mapping[str, str], crm: Mapping[int, Mapping[str, str]], errors: list[FieldError]) -> PageQuery:
        return PageQuery(
            times=self._time_bounds(given, errors),
            search=_search(given, errors),
            crm_records=self._crm_records(given.get(CRM), crm, errors),
            filters=self._filter_values(given, errors),
        )

    def _time_bounds(self, given: Mapping[str, str], errors: list[FieldError]) -> dict[TimeColumn, dict[Bound, datetime]]:
        bounds: dict[TimeColumn, dict[Bound, datetime]] = {}
        for name, (column, bound) in self._times.items():
            if name not in given:
                continue
            if (time := fields.parsed_time(given[name])) is not None:
                bounds.setdefault(column, {})[bound] = time
            errors += fields.time(given[name], name)
        return bounds

    def _filter_values(self, given: Mapping[str, str], errors: list[FieldError]) -> dict[str, tuple[str, ...]]:
        filters: dict[str, tuple[str, ...]] = {}
        for name, (each, takes_several) in self._filters.items():
            if name not in given:
                continue
            if each.name in filters:
                message = f"`filter[{each.name}]` is sent both as `[eq]` and as `[in]`. Send one of them."
                errors.append(FieldError(name, "duplicate", message))
                continue
            texts = [text.strip() for text in given[name].split(",")] if takes_several else [given[name]]
            if len(texts) > each.most:
                message = f"`{name}` has {len(texts)} values. Send at most {each.most}."
                errors.append(FieldError(name, "invalid_range", message))
                continue
            filters[each.name] = tuple(_filter_values(name, each, texts, errors))
        return filters

    def _crm_records(
        self, encoded: str | None, indexed: Mapping[int, Mapping[str, str]], errors: list[FieldError]
    ) -> tuple[CrmRecord, ...] | None:
        if encoded is None and not indexed:
            return None
        if encoded is not None and indexed:
            errors.append(FieldError(CRM, "duplicate", f"`{CRM}` is sent in both encodings. Send it in one."))
            return None
        try:
            items = (
                msgspec.json.decode(encoded, type=list[CrmRecord])
                if encoded is not None
                else msgspec.convert([indexed[index] for index in sorted(indexed)], list[CrmRecord])
            )
        except msgspec.DecodeError as error:
            message = f"`{CRM}` is not a list of objects with `id` and `object_type`: {error}."
            errors.append(FieldError(CRM, "invalid_format", message))
            return None
        if not 1 <= len(items) <= MAX_CRM_ASSOCIATIONS:
            message = f"`{CRM}` has {len(items)} objects. Send 1 to {MAX_CRM_ASSOCIATIONS}."
            errors.append(FieldError(CRM, "invalid_range", message))
        types = self._list_of.crm_types
        for item in items[:MAX_CRM_ASSOCIATIONS]:
            if item.object_type not in types:
                choices = " or ".join(f"`{choice}`" for choice in types)
                message = f"`{CRM}` must have `object_type` {choices} here, not `{quoted(item.object_type)}`."
                errors.append(FieldError(CRM, "invalid_choice", message))
            if not 1 <= len(item.id) <= _MAX_CRM_ID_LENGTH:
                message = f"`{CRM}` has an `id` of {len(item.id)} characters. Send 1 to {_MAX_CRM_ID_LENGTH}."
                errors.append(FieldError(CRM, "invalid_format", message))
            if "\0" in item.id:
                errors.append(FieldError(CRM, "invalid_characters", f"`{CRM}` holds a NUL character. Leave it out."))
        return tuple(items)


class ListReader(FilterReader):
    """Reads the query parameters of one operation in one workspace: those of a list, if it is one, and `expand`."""

    def __init__(self, signer: CursorSigner, salt: str, list_of: ListOf | None, expand: Collection[str]) -> None:
        super().__init__(list_of or _NO_LIST)
        self._signer = signer
        # A cursor is valid only for its own list: one operation, one workspace, one path.
        self._salt = salt
        self._expand = expand
        if list_of is not None:
            self._members = {"limit": "limit", "cursor": "after", "order_by": "order"} | self._members
        if expand:
            self._members[EXPAND] = "expand"

    def read_query(self, query_string: bytes) -> PageQuery:
        """Return the query. Refusal: InvalidQuery, with all errors, or the first of very many."""
        errors: list[FieldError] = []
        return self.read(pairs(query_string, errors), errors)

    def answer(self, rows: Sequence[ListRow], query: PageQuery, count: int | None = None) -> Answer:
        """Return the envelope of a page: as many rows as the query allows, or `count`. Further rows mean that more follow."""
        shown = rows[: query.limit if count is None else count]
        cursor = b"null"
        if len(rows) > len(shown):
            continued = msgspec.structs.replace(query, after=shown[-1].place)
            cursor = b'"%s"' % self._signer.cursor(continued, self._salt).encode()
        more = b"true" if len(rows) > len(shown) else b"false"
        data = b",".join(row.body for row in shown)
        return Answer(b'{"object":"list","data":[' + data + b'],"has_more":' + more + b',"next_cursor":' + cursor + b"}")

    def _takes_several(self, name: str) -> bool:
        return name == EXPAND or super()._takes_several(name)

    def _continued(self, asked: PageQuery, given: Mapping[str, str], errors: list[FieldError]) -> PageQuery:
        """Return the query in a cursor. Parameters sent with it must have the same values."""
        query = self._signer.read(given["cursor"], self._salt, PageQuery)
        if query is None:
            errors.append(not_this_cursor())
            return asked
        for name, value in given.items():
            # Clients generated from the document always send the default order.
            if name in ("cursor", "limit") or (name == "order_by" and value == _STANDARD_ORDER):
                continue
            members = ("order", "descending") if name == "order_by" else (self._members[name],)
            if any(getattr(asked, each) != getattr(query, each) for each in members):
                errors.append(not_with_cursor(name))
        return msgspec.structs.replace(query, limit=asked.limit if "limit" in given else query.limit)

    def _asked(self, given: Mapping[str, str], crm: Mapping[int, Mapping[str, str]], errors: list[FieldError]) -> PageQuery:
        limit = _limit(given, errors)
        known = orders(self._list_of)
        order = given.get("order_by", _STANDARD_ORDER)
        if "order_by" in given and order not in known:
            choices = " or ".join(f"`{choice}`" for choice in known)
            errors.append(FieldError("order_by", "invalid_choice", f"`order_by` must be {choices}."))
        time, descending = known.get(order, ("updated_at", True))
        query = msgspec.structs.replace(
            super()._asked(given, crm, errors),
            limit=DEFAULT_LIMIT if limit is None else limit,
            order=time,
            descending=descending,
            expand=self._expanded(given.get(EXPAND), errors),
        )
        # Some programs send it empty with the first page.
        return self._continued(query, {**given, **({CRM: ""} if crm else {})}, errors) if given.get("cursor") else query

    def _expanded(self, text: str | None, errors: list[FieldError]) -> tuple[str, ...]:
        if not text:
            return ()
        names = [name.strip() for name in text.split(",")]
        choices = ", ".join(f"`{choice}`" for choice in self._expand)
        for name in itertools.islice((name for name in names if name not in self._expand), MAX_ERRORS + 1):
            message = f"`{quoted(name)}` cannot be expanded. Choose from {choices}."
            errors.append(FieldError(EXPAND, "invalid_choice", message))
        return tuple(name for name in self._expand if name in names)


_NO_LIST: Final = ListOf(times=())


def _filter_values(name: str, each: Filter, texts: Sequence[str], errors: list[FieldError]) -> Iterator[str]:
    for text in texts:
        if "\0" in text:
            errors.append(FieldError(name, "invalid_characters", f"`{name}` holds a NUL character. Leave it out."))
            continue
        try:
            yield each.read(text)
        except ValueError as error:
            errors.append(
                FieldError(name, "invalid_format", f"`{name}` cannot be `{quoted(text)}`: {str(error).removesuffix('.')}.")
            )


def _limit(given: Mapping[str, str], errors: list[FieldError]) -> int | None:
    text = given.get("limit")
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE_SIZE:
        return int(text)
    errors.append(FieldError("limit", "invalid_range", f"`limit` must be a whole number from 1 to {MAX_PAGE_SIZE}."))
    return None


def _search(given: Mapping[str, str], errors: list[FieldError]) -> str | None:
    text = given.get("search")
    if text is None:
        return None
    if "\0" in text:
        errors.append(FieldError("search", "invalid_characters", "`search` holds a NUL character. Leave it out."))
    elif len(text) > MAX_SEARCH_LENGTH:
        message = f"`search` has {len(text)} characters. Send at most {MAX_SEARCH_LENGTH}."
        errors.append(FieldError("search", "too_long", message))
    return text or None
