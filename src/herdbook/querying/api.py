"""The answer to a query, the same for all types of objects."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from herdbook.errors import FieldError, Invalid, bounded
from herdbook.http.body import LONG_BODY
from herdbook.http.call import Call
from herdbook.http.operation import Answer
from herdbook.http.page import not_this_cursor
from herdbook.querying import store
from herdbook.querying.model import Query, QueryPage, Sort
from herdbook.querying.store import QueriedType

PageT = TypeVar("PageT", bound=QueryPage)
_LATEST_FIRST: Final = (Sort("updated_at", "desc"),)
_OTHER_CURSOR: Final = (
    "`cursor` does not belong to this query. Send `next_cursor` of the last page unchanged, with the same `where` and `sort`."
)


# It marks the kind of a field whose values are being converted.
_MOVING: Final = "~"


class _Conditions(msgspec.Struct):
    """The condition and the sort of a body, whatever its other members are."""

    where: msgspec.Raw = msgspec.Raw()
    sort: msgspec.Raw = msgspec.Raw()


_CONDITIONS: Final = msgspec.json.Decoder(_Conditions)


async def further_errors_of_query(
    queried: QueriedType, call: Call, body: bytes, errors: Sequence[FieldError]
) -> Sequence[FieldError]:
    """Return the errors of the condition and the sort in a query that was refused for other members."""
    where: Any = None
    sort: tuple[Sort, ...] = ()
    at_fault = {error.field.partition("[")[0] for error in errors}
    try:
        asked = _CONDITIONS.decode(body)
        if 0 < len(bytes(asked.where)) <= LONG_BODY and "where" not in at_fault:
            where = msgspec.json.decode(asked.where)
        if bytes(asked.sort) and "sort" not in at_fault:
            sort = msgspec.json.decode(asked.sort, type=tuple[Sort, ...])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    defined = await store.definitions(call.services.database.pages, call.caller.workspace_id, queried)
    reader = queried.reader(defined.fields, None)
    if where is not None:
        reader.where(where)
    reader.sort(sort)
    return bounded(reader.errors, "where")


async def answer_query(call: Call, queried: QueriedType, asked: Query, region: str | None, page: type[PageT]) -> Answer:
    """Find objects by conditions over all members. `region` is the workspace's default region for numbers. Refusal: Invalid."""
    pool, workspace_id = call.services.database.pages, call.caller.workspace_id
    defined = await store.definitions(pool, workspace_id, queried)
    reader = queried.reader(defined.fields, region)
    query = store.Query(
        None if asked.where is None else reader.where(asked.where),
        reader.sort(asked.sort or _LATEST_FIRST),
        asked.limit,
    )
    reader.refuse()
    # A cursor is valid for the same condition and sort alone.
    sent = msgspec.json.encode([asked.where, asked.sort], order="deterministic")
    salt = f"{call.cursor_salt}:{hashlib.sha256(sent).hexdigest()}"
    if asked.cursor:
        after = call.services.cursors.read(asked.cursor, salt, store.QueryPlace)
        if after is None or len(after.keys) != len(query.sort):
            raise Invalid([not_this_cursor()._replace(message=_OTHER_CURSOR)])
        _require_same_order(query, after, defined)
        query = query._replace(after=after)
    found = await store.page(pool, workspace_id, queried, query, call.time_slice)
    if query.after is not None and any(key.member.field_key for key in query.sort):
        # Values may have moved while the page was read.
        _require_same_order(query, query.after, await store.definitions(pool, workspace_id, queried))
    shown_fields = {field.key for field in defined.fields if not field.archived}
    place = None if found.next_place is None else msgspec.structs.replace(found.next_place, forms=_forms(query, defined))
    answer = page(
        object="list",
        data=await store.shown(pool, workspace_id, queried, found, shown_fields),
        has_more=place is not None,
        next_cursor=None if place is None else call.services.cursors.cursor(place, salt),
    )
    if asked.count:
        counted = await store.count(pool, workspace_id, queried, query, call.time_slice)
        answer = msgspec.structs.replace(answer, count=counted.matches, count_is_exact=counted.is_exact)
    return Answer(msgspec.json.encode(answer))


def _forms(query: store.Query, defined: store.Definitions) -> tuple[str, ...]:
    """Return the form that each member of a sort has: the kind of a field, with a mark while its values are converted."""
    kinds = {field.key: field.kind.value for field in defined.fields}
    keys = [key.member.field_key for key in query.sort]
    return tuple(kinds.get(key, "") + (_MOVING if key in defined.moving else "") for key in keys)


def _require_same_order(query: store.Query, after: store.QueryPlace, defined: store.Definitions) -> None:
    """Require that values are in the order in which they were when a cursor was made. Refusal: Invalid."""
    forms = _forms(query, defined)
    for key, was, form in zip(query.sort, after.forms or forms, forms, strict=True):
        message = f"`cursor` is sorted by `{key.member.name}`, whose values "
        if form.endswith(_MOVING):
            field_id = next(field.id for field in defined.fields if field.key == key.member.field_key)
            message += "are being converted. Begin again with the first page when "
            message += f"`GET /api/herdbook/fields/{field_id}/conversion` says `finished`, or sort by another member."
        elif was != form:
            message += "were converted since. Begin again with the first page."
        else:
            continue
        raise Invalid([FieldError("cursor", "invalid_cursor", message)])
