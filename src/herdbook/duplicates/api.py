"""The operations of /herdbook/duplicates. The ledger has no entry of what people say of pairs, but it has all merges."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial, wraps
from itertools import combinations
from typing import Any, Final
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.custom_fields.naming import Named, name_of
from herdbook.duplicates import store
from herdbook.duplicates.comparison import reasons_of
from herdbook.duplicates.grouping import FoundGroup, FoundPage, groups, groups_with
from herdbook.duplicates.model import (
    MAX_MERGED,
    Candidate,
    Candidates,
    Distinct,
    DistinctCursor,
    DistinctList,
    DistinctQuery,
    DistinctRequest,
    Duplicate,
    DuplicateGroup,
    DuplicateList,
    DuplicateMerge,
    DuplicateMergeQuery,
    DuplicateMergeRequest,
    DuplicatePair,
    DuplicatesCursor,
    DuplicatesQuery,
    MergedGroup,
)
from herdbook.duplicates.searching import KINDS, DuplicateKind, Place, candidates_of, follow, is_behind
from herdbook.duplicates.store import DistinctPair, Pair
from herdbook.errors import FieldError, Invalid, InvalidQuery, Refusal
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import not_this_cursor, not_with_cursor
from herdbook.http.query import pairs
from herdbook.merging.commands import Merge, MoveReferences

# A request takes in what is new in so many steps, and leaves more to the background.
_STEPS: Final = 2
_MAX_CANDIDATES: Final = 10


def _place(call: Call, object_type: str) -> Place:
    """Return where to look. Refusal: Forbidden."""
    kind = KINDS[object_type]
    for scope in kind.object_type.read_scopes:
        call.caller.require(scope)
    return Place(call.services.database.pool, call.caller.workspace_id, kind)


def _shown(kind: DuplicateKind[Any], object_id: UUID) -> str:
    return ids.encoded(kind.object_type.prefix, object_id)


async def list_duplicates(call: Call, query: DuplicatesQuery) -> Answer:
    """Return the groups of objects that may be the same, the most likely first. Refusals: Forbidden, InvalidQuery."""
    place = _place(call, query.object_type)
    after = _after(call, query)
    search = await follow(place, _STEPS)
    least = round(query.min_score * 1000)
    if query.id:
        object_id = ids.decoded(place.kind.object_type.prefix, query.id) or ids.NIL
        page = FoundPage(await groups_with(place, search, least, object_id), None)
    else:
        page = await groups(place, search, least, after, query.limit)
    cursor = _cursor(call, query, page)
    listed = DuplicateList(
        object="list",
        data=tuple(_group(place.kind, query, each) for each in page.groups),
        has_more=cursor is not None,
        next_cursor=cursor,
        complete=not is_behind(search),
        too_common=tuple(search.too_common.values()),
    )
    return Answer(msgspec.json.encode(listed))


def _cursor(call: Call, asked: DuplicatesQuery | DuplicateMergeRequest, page: FoundPage) -> str | None:
    """Return the cursor of the next page, if there is one."""
    if page.after is None:
        return None
    last = DuplicatesCursor(asked.object_type, asked.min_score, *page.after)
    return call.services.cursors.cursor(last, call.cursor_salt)


def _after(call: Call, asked: DuplicatesQuery | DuplicateMergeRequest) -> Pair | None:
    """Return the pair in a cursor, if there is one. Refusal: InvalidQuery."""
    if not asked.cursor:
        return None
    cursor = call.services.cursors.read(asked.cursor, call.cursor_salt, DuplicatesCursor)
    if cursor is None:
        raise InvalidQuery([not_this_cursor()])
    for name in ("object_type", "min_score"):
        if getattr(cursor, name) != getattr(asked, name):
            raise InvalidQuery([not_with_cursor(name)])
    return Pair(cursor.score, cursor.one_id, cursor.other_id)


def _group(kind: DuplicateKind[Any], query: DuplicatesQuery, found: FoundGroup) -> DuplicateGroup:
    return DuplicateGroup(
        object="duplicate_group",
        object_type=query.object_type,
        score=found.score / 1000,
        objects=tuple(Duplicate(id=_shown(kind, object_id), name=name) for object_id, name in found.members),
        pairs=tuple(
            DuplicatePair(
                ids=(_shown(kind, pair.one_id), _shown(kind, pair.other_id)), score=pair.score / 1000, reasons=tuple(reasons)
            )
            for pair, reasons in found.pairs
        ),
    )


async def list_distinct(call: Call, query: DistinctQuery) -> Answer:
    """Return the pairs that are not the same, the last that was said first. Refusals: Forbidden, InvalidQuery."""
    place = _place(call, query.object_type)
    after = None
    if query.cursor:
        cursor = call.services.cursors.read(query.cursor, call.cursor_salt, DistinctCursor)
        if cursor is None:
            raise InvalidQuery([not_this_cursor()])
        if cursor.object_type != query.object_type:
            raise InvalidQuery([not_with_cursor("object_type")])
        after = DistinctPair(cursor.at, cursor.one_id, cursor.other_id)
    table = place.kind.object_type.table.name
    found = await store.distinct_pairs(place.statements, table, place.workspace_id, place.name, after, query.limit + 1)
    shown = found[: query.limit]
    next_cursor = None
    if len(found) > len(shown):
        next_cursor = call.services.cursors.cursor(DistinctCursor(query.object_type, *shown[-1]), call.cursor_salt)
    listed = DistinctList(
        object="list",
        data=tuple(
            Distinct(
                object="distinct",
                object_type=query.object_type,
                ids=(_shown(place.kind, each.one_id), _shown(place.kind, each.other_id)),
                distinct=True,
            )
            for each in shown
        ),
        has_more=next_cursor is not None,
        next_cursor=next_cursor,
    )
    return Answer(msgspec.json.encode(listed))


async def set_distinct(call: Call, asked: DistinctRequest) -> Answer:
    """Remember that objects are not the same, or forget it. Refusals: Forbidden, Invalid."""
    place = _place(call, asked.object_type)
    _require_write(call, place.kind)
    object_ids = await _active(place, asked.ids)
    statements, workspace_id, kind = place
    if asked.distinct:
        apart = [*combinations(sorted(object_ids), 2)]
        await store.set_distinct(statements, workspace_id, place.name, apart, call.caller.credential_id)
    else:
        await store.forget_distinct(statements, kind.object_type.table.name, workspace_id, object_ids)
    distinct = Distinct(object="distinct", object_type=asked.object_type, ids=asked.ids, distinct=asked.distinct)
    return Answer(msgspec.json.encode(distinct))


def _require_write(call: Call, kind: DuplicateKind[Any]) -> None:
    for scope in kind.object_type.write_scopes:
        call.caller.require(scope)


async def _active(place: Place, texts: Sequence[str]) -> list[UUID]:
    """Return the ids of active objects. Refusal: Invalid."""
    object_type = place.kind.object_type
    object_ids = [ids.decoded(object_type.prefix, text) for text in texts]
    found = {row.id for row in await place.objects([each for each in object_ids if each is not None])}
    errors: list[FieldError] = []
    for index, (text, object_id) in enumerate(zip(texts, object_ids, strict=True)):
        if text in texts[:index]:
            message = f"`ids[{index}]` is the same {object_type.name} as `ids[{texts.index(text)}]`. Send each once."
            errors.append(FieldError(f"ids[{index}]", "duplicate", message))
        elif object_id not in found:
            message = f"`ids[{index}]` names no {object_type.name} of this workspace. Leave it out."
            errors.append(FieldError(f"ids[{index}]", "not_found", message, text))
    if errors:
        raise Invalid(errors)
    return [each for each in object_ids if each is not None]


async def merge_duplicates(call: Call, asked: DuplicateMergeRequest, query: DuplicateMergeQuery) -> Answer:
    """Merge all groups from a score on. Refusals: Forbidden, Invalid."""
    place = _place(call, asked.object_type)
    _require_write(call, place.kind)
    try:
        after = _after(call, asked)
    except InvalidQuery as refusal:
        raise Invalid(refusal.errors) from None
    search = await follow(place, _STEPS)
    page = await groups(place, search, round(asked.min_score * 1000), after, MAX_MERGED)
    merged: list[MergedGroup] = []
    for each in page.groups:
        target_id, *source_ids = each.object_ids
        sources = tuple(_shown(place.kind, source_id) for source_id in source_ids)
        group = MergedGroup(id=_shown(place.kind, target_id), merged=sources, score=each.score / 1000)
        if not query.dry_run:
            try:
                await _merge(call, place.kind, target_id, sources, search.region)
            except Refusal as refusal:
                group = msgspec.structs.replace(group, problem=await call.problem_of(refusal))
        merged.append(group)
    answer = DuplicateMerge(
        object="duplicate_merge",
        dry_run=query.dry_run,
        object_type=asked.object_type,
        groups=tuple(merged),
        has_more=page.after is not None,
        next_cursor=_cursor(call, asked, page),
        request_id=ids.encoded(ids.REQUEST, call.request_id),
    )
    return Answer(msgspec.json.encode(answer))


async def _merge(call: Call, kind: DuplicateKind[Any], target_id: UUID, sources: tuple[str, ...], region: str | None) -> None:
    command = Merge(merge_type=kind.merge_type, target_id=target_id, sources=sources, region=region)
    # An Idempotency-Key would be of the whole request, which merges nothing more when it is sent again.
    await call.services.ledger.write(call.caller.workspace_id, command, call.origin)
    call.has_written = True
    await call.finish(kind.merge_type.task, partial(MoveReferences, kind.merge_type), command.source_ids)


def reporting(operation: Operation) -> Operation:
    """Return an operation that, if it creates contacts or companies, can report which others may be the same.

    It does so for `on_duplicate=report`. The document does not name this parameter, because the vendor's operation has none.
    """
    kind = _CREATING.get(operation.id)
    if kind is None:
        return operation

    @wraps(operation.handler)
    async def create(call: Call, asked: Any) -> Answer:
        if not call.query_string or not _asks_for_report(call.query_string):
            return await operation.handler(call, asked)
        place = _place(call, kind.object_type.name)
        answer: Answer = await operation.handler(call, asked)
        object_id = ids.decoded(kind.object_type.prefix, msgspec.json.decode(answer.body, type=Named).id)
        assert object_id is not None, "it was created"
        return answer._replace(body=answer.body[:-1] + b',"duplicates":' + await _candidates(place, object_id) + b"}")

    return replace(operation, handler=create)


_CREATING: Final = {"create-contact": KINDS["contact"], "create-company": KINDS["company"]}


def _asks_for_report(query_string: bytes) -> bool:
    """Whether a query asks for a report. Other parameters are ignored, as ever. Refusal: InvalidQuery."""
    errors: list[FieldError] = []
    asked = [text for name, text in pairs(query_string, errors) if name == "on_duplicate"]
    if len(asked) > 1:
        errors.append(FieldError("on_duplicate", "duplicate", "`on_duplicate` is sent twice. Send it once."))
    elif asked and asked[0] != "report":
        message = "`on_duplicate` must be `report`. Leave it out to create without looking for duplicates."
        errors.append(FieldError("on_duplicate", "invalid_choice", message))
    if asked and errors:
        raise InvalidQuery(errors)
    return bool(asked)


async def _candidates(place: Place, object_id: UUID) -> bytes:
    """Return the objects that may be the same as a new one, as JSON."""
    search = await follow(place, 1)
    # The search has found the pairs of the new object, too, unless it has not come so far yet.
    rows = await place.objects([object_id])
    found = [each for row in rows for each in await candidates_of(place, search, row)][:_MAX_CANDIDATES]
    others = {row.id: row for row in await place.objects([each.object_id for each in found])}
    candidates = Candidates(
        data=tuple(
            Candidate(
                id=_shown(place.kind, each.object_id),
                name=name_of(msgspec.json.decode(others[each.object_id].object, type=Named)),
                score=round(each.score, 3),
                reasons=tuple(reasons_of(each.evidence)),
            )
            for each in found
            if each.object_id in others
        ),
        complete=not is_behind(search),
    )
    return msgspec.json.encode(candidates)


_TAG: Final = "subpackage_duplicates"
_SCOPES: Final = "It needs the scope to read these objects"

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/herdbook/duplicates",
        id="list-duplicates",
        summary="List duplicates",
        description="Lists groups of contacts or companies that may be the same, with the probability and the reasons. The "
        f"first request begins the search; it then follows every change. {_SCOPES}.",
        tag=_TAG,
        scopes=(),
        handler=list_duplicates,
        query=DuplicatesQuery,
        answer=DuplicateList,
        answer_description="Duplicate list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path="/herdbook/duplicates/distinct",
        id="list-distinct",
        summary="List objects that are not the same",
        description="Lists pairs of contacts or companies of which somebody has said that they are not the same, the last "
        f"that was said first. {_SCOPES}.",
        tag=_TAG,
        scopes=(),
        handler=list_distinct,
        query=DistinctQuery,
        answer=DistinctList,
        answer_description="Distinct list response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/duplicates/distinct",
        id="set-distinct",
        summary="Say that objects are not the same",
        description="Remembers that contacts or companies are not the same, so that they are in no group together, also after "
        f"others were merged into them; or forgets it. {_SCOPES}, and to write them.",
        tag=_TAG,
        scopes=(),
        handler=set_distinct,
        body=DistinctRequest,
        answer=Distinct,
        answer_description="What is remembered now.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path="/herdbook/duplicates/merge",
        id="merge-duplicates",
        summary="Merge duplicates",
        description="Merges each group from a score on into its first object, as the merge of contacts or companies does. All "
        f"merges are of this request, so one undo takes them back. `next_cursor` leads to the groups behind these, also if all "
        f"of these were refused. {_SCOPES}, and to write them.",
        tag=_TAG,
        scopes=(),
        handler=merge_duplicates,
        body=DuplicateMergeRequest,
        query=DuplicateMergeQuery,
        answer=DuplicateMerge,
        answer_description="The groups that were merged or, for a dry run, that would be.",
        bypasses_ledger=True,
    ),
)
