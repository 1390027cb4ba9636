"""Lists on the wire: their query parameters, their cursors, their envelope."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from herdbook.db.paging import Bound, Listed, PageQuery
from herdbook.errors import FieldError, InvalidQuery
from herdbook.http.operation import Answer, ListOf

MOST: Final = 100
DEFAULT_LIMIT: Final = 25
MOST_CRM_ASSOCIATIONS: Final = 20
LONGEST_SEARCH: Final = 255
BOUNDS: Final[Mapping[str, Bound]] = {
    "filter[updated_at][gt]": "gt",
    "filter[updated_at][gte]": "gte",
    "filter[updated_at][lt]": "lt",
    "filter[updated_at][lte]": "lte",
}
CRM: Final = "filter[crm_associations][eq]"
# A query of nothing but mistakes must not keep the server busy with naming them.
_MOST_ERRORS: Final = 100
_CRM_INDEXED: Final = re.compile(r"filter\[crm_associations\]\[eq\]\[(\d{1,3})\]\[(id|object_type)\]")
ORDERS: Final = {"updated_at:desc": True, "updated_at:asc": False}


class _CrmItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    object_type: str


class CursorSigner:
    """Makes and reads cursors: a page's query and where it ended, signed, so that nobody makes their own."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def cursor(self, query: PageQuery, salt: str) -> str:
        """Return the cursor of the page after the one that ended at `query.after`."""
        token: str | bytes = self._serializer(salt).dumps(msgspec.to_builtins(query))
        return token.decode() if isinstance(token, bytes) else token

    def read(self, cursor: str, salt: str) -> PageQuery | None:
        """Return the query of a cursor that was made for the same list of the same workspace, else None."""
        try:
            return msgspec.convert(self._serializer(salt).loads(cursor), PageQuery)
        except (BadData, msgspec.ValidationError):
            return None

    def _serializer(self, salt: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret, salt=salt)


class ListReader:
    """Reads the query parameters of one list in one workspace."""

    def __init__(self, signer: CursorSigner, operation_id: str, list_of: ListOf, workspace_id: UUID) -> None:
        self._signer = signer
        self._salt = f"{operation_id}:{workspace_id}"
        self._crm_type = list_of.crm_type
        self._known = ["limit", "cursor", "order_by", *BOUNDS]
        if list_of.search is not None:
            self._known.append("search")
        if list_of.crm_type is not None:
            self._known.append(CRM)

    def read(self, query_string: bytes) -> PageQuery:
        """Return what is asked. Refusal: InvalidQuery, with all that is wrong."""
        errors: list[FieldError] = []
        given: dict[str, str] = {}
        crm: dict[int, dict[str, str]] = {}
        seen: set[str] = set()
        for name, value in _pairs(query_string, errors):
            indexed = None if self._crm_type is None else _CRM_INDEXED.fullmatch(name)
            if name in seen:
                errors.append(FieldError(name, "duplicate", f"`{name}` is given twice. Give it once."))
            elif indexed is not None:
                crm.setdefault(int(indexed[1]), {})[indexed[2]] = value
            elif name not in self._known:
                errors.append(self._unknown(name))
            else:
                given[name] = value
            seen.add(name)
            if len(errors) == _MOST_ERRORS:
                break
        begin = self._continued if "cursor" in given else self._begun
        query = begin(given, crm, errors)
        if errors:
            raise InvalidQuery(errors)
        return query

    def answer(self, rows: Sequence[Listed], query: PageQuery) -> Answer:
        """Return the envelope around a page; a row beyond the limit says that there are more."""
        shown = rows[: query.limit]
        cursor = b"null"
        if len(rows) > query.limit:
            continued = msgspec.structs.replace(query, after=shown[-1].place)
            cursor = b'"%s"' % self._signer.cursor(continued, self._salt).encode()
        more = b"true" if len(rows) > query.limit else b"false"
        data = b",".join(row.body for row in shown)
        return Answer(b'{"object":"list","data":[' + data + b'],"has_more":' + more + b',"next_cursor":' + cursor + b"}")

    def _unknown(self, name: str) -> FieldError:
        near = difflib.get_close_matches(name, self._known, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"It takes {', '.join(f'`{known}`' for known in self._known)}."
        return FieldError(name, "unknown_parameter", f"There is no query parameter `{name}`. {hint}")

    def _continued(self, given: Mapping[str, str], crm: Mapping[int, Mapping[str, str]], errors: list[FieldError]) -> PageQuery:
        others = [name for name in given if name not in ("cursor", "limit")] + ([CRM] if crm else [])
        for name in others:
            message = f"The cursor carries search, filters and order already. Leave `{name}` out, or the cursor."
            errors.append(FieldError(name, "not_with_cursor", message))
        query = self._signer.read(given["cursor"], self._salt)
        if query is None:
            message = "This cursor was not given out for this list. Take `next_cursor` of the last page as it is."
            errors.append(FieldError("cursor", "invalid_cursor", message))
            query = PageQuery()
        limit = _limit(given, errors)
        return query if limit is None else msgspec.structs.replace(query, limit=limit)

    def _begun(self, given: Mapping[str, str], crm: Mapping[int, Mapping[str, str]], errors: list[FieldError]) -> PageQuery:
        limit = _limit(given, errors)
        order = given.get("order_by", "updated_at:desc")
        if order not in ORDERS:
            choices = " or ".join(f"`{choice}`" for choice in ORDERS)
            errors.append(FieldError("order_by", "invalid_choice", f"`order_by` must be {choices}."))
        bounds: dict[Bound, datetime] = {}
        for name, bound in BOUNDS.items():
            if name in given:
                time = _time(given[name])
                if time is None:
                    message = f"`{name}` is not a time. Send ISO 8601 in UTC, such as `2026-03-01T12:00:00Z`."
                    errors.append(FieldError(name, "invalid_format", message))
                else:
                    bounds[bound] = time
        return PageQuery(
            limit=DEFAULT_LIMIT if limit is None else limit,
            descending=ORDERS.get(order, True),
            updated_at=bounds,
            search=_search(given, errors),
            crm_object_ids=self._crm_ids(given.get(CRM), crm, errors),
        )

    def _crm_ids(
        self, encoded: str | None, indexed: Mapping[int, Mapping[str, str]], errors: list[FieldError]
    ) -> tuple[str, ...] | None:
        if encoded is None and not indexed:
            return None
        if encoded is not None and indexed:
            errors.append(FieldError(CRM, "duplicate", f"`{CRM}` is given in both encodings. Give it in one."))
            return None
        try:
            items = (
                msgspec.json.decode(encoded, type=list[_CrmItem])
                if encoded is not None
                else msgspec.convert([indexed[index] for index in sorted(indexed)], list[_CrmItem])
            )
        except msgspec.DecodeError as error:
            message = f"`{CRM}` is not a list of objects with `id` and `object_type`: {error}."
            errors.append(FieldError(CRM, "invalid_format", message))
            return None
        if not 1 <= len(items) <= MOST_CRM_ASSOCIATIONS:
            message = f"`{CRM}` has {len(items)} objects. Send 1 to {MOST_CRM_ASSOCIATIONS}."
            errors.append(FieldError(CRM, "invalid_range", message))
        for item in items:
            if item.object_type != self._crm_type:
                message = f"`{CRM}` must have `object_type` `{self._crm_type}` here, not `{item.object_type}`."
                errors.append(FieldError(CRM, "invalid_choice", message))
            if "\0" in item.id:
                errors.append(FieldError(CRM, "invalid_characters", f"`{CRM}` holds a NUL character. Leave it out."))
        return tuple(item.id for item in items)


def _pairs(query_string: bytes, errors: list[FieldError]) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        errors.append(FieldError("", "invalid_encoding", "The query string is not percent-encoded UTF-8 (RFC 3986)."))


def _limit(given: Mapping[str, str], errors: list[FieldError]) -> int | None:
    text = given.get("limit")
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST:
        return int(text)
    errors.append(FieldError("limit", "invalid_range", f"`limit` must be a whole number from 1 to {MOST}."))
    return None


def _search(given: Mapping[str, str], errors: list[FieldError]) -> str | None:
    text = given.get("search")
    if text is None:
        return None
    if "\0" in text:
        errors.append(FieldError("search", "invalid_characters", "`search` holds a NUL character. Leave it out."))
    elif len(text) > LONGEST_SEARCH:
        message = f"`search` has {len(text)} characters. Send {LONGEST_SEARCH} at most."
        errors.append(FieldError("search", "too_long", message))
    return text or None


def _time(text: str) -> datetime | None:
    # A plus sign that was not encoded arrives as a space.
    try:
        time = msgspec.convert(text.replace(" ", "+"), datetime)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None
