"""Pages of a list, sorted by `updated_at` or by another time.

A workspace's times strictly increase with its versions, so the order by (updated_at, version) is the order by version. A cursor
into that order stays valid when its row is changed or deleted.
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from herdbook.addresses import addresses_in
from herdbook.db.placeholders import placeholder
from herdbook.db.pool import PATIENCE_SECONDS, PagePool, Pool
from herdbook.search_text import lookups, pattern, readings

Bound: TypeAlias = Literal["gt", "gte", "lt", "lte"]
TimeColumn: TypeAlias = Literal["updated_at", "start_at"]

_COMPARISONS: Final[dict[Bound, LiteralString]] = {"gt": " > ", "gte": " >= ", "lt": " < ", "lte": " <= "}
_TIMES: Final[dict[TimeColumn, LiteralString]] = {"updated_at": "c.updated_at", "start_at": "c.start_at"}
# A list is sorted by two columns: the time, and a tie-breaker for rows of the same time.
_ORDERS: Final[dict[TimeColumn, tuple[LiteralString, LiteralString]]] = {
    "updated_at": ("c.updated_at", "c.version"),
    "start_at": ("c.start_at", "c.id"),
}

# A word with at least this many matches is common: scan the rows in list order, where a match should come soon.
_COMMON: Final = 5000
# A word with fewer matches is rare enough: no other one is counted further.
_RARE: Final = 200
# Stop that scan after this many rows.
_WALKED: Final = 20_000


class CursorPosition(msgspec.Struct, frozen=True, array_like=True):
    """The end of a page: the time that the list is sorted by, and the tie-breaker for rows of the same time.

    `ahead` are the ids of the objects that the list began with, out of order. Without a time, the page ended with these.
    """

    at: datetime | None
    tie: int | UUID
    ahead: tuple[UUID, ...] = ()


class CrmRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CRM record in a filter."""

    id: str
    object_type: str


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's query of a list. `after` is the end of the last page; `filters` maps each filter to its accepted values."""

    limit: int = 25
    order: TimeColumn = "updated_at"
    descending: bool = True
    times: Mapping[TimeColumn, Mapping[Bound, datetime]] = {}
    search: str | None = None
    crm_records: tuple[CrmRecord, ...] | None = None
    filters: Mapping[str, tuple[str, ...]] = {}
    expand: tuple[str, ...] = ()
    after: CursorPosition | None = None


class ListRow(NamedTuple):
    """An object on a page: its place in the order, its JSON for the API, and the other columns that the list selects."""

    place: CursorPosition
    body: bytes
    more: Sequence[Any] = ()


class SearchIndex(NamedTuple):
    """A table to search: it has a column `search`, and `found_by_word` selects ids by word.

    `holders` selects the ids of the objects that have one of the e-mail addresses `$2`; they come first in a search for one.
    """

    table: LiteralString
    found_by_word: LiteralString
    holders: LiteralString | None = None


class ListQuery:
    """The conditions of a page's statement, on the table with the alias `c`, and their parameters.

    `$1` is the workspace, `$2` the number of rows to return.
    """

    def __init__(self, workspace_id: UUID, query: PageQuery) -> None:
        self._query = query
        self._workspace_id = workspace_id
        self._values: list[Any] = [workspace_id, query.limit + 1]
        self._searched: LiteralString | None = None
        self._few: LiteralString | None = None
        # Whether the few rows are those of rare words, which any plan finds by these words.
        self._reads_few_words = False
        # The words of a search that many objects contain, and the statement that finds them.
        self._common: tuple[list[str], LiteralString] | None = None
        self._asked_before_search = 0
        self._ahead: tuple[UUID, ...] = () if query.after is None else query.after.ahead
        self._among_ahead: LiteralString | None = None
        self._is_ahead: LiteralString | None = None
        self._asked_in_search = 0
        self._sql: LiteralString = " where c.workspace_id = $1 and c.deleted_at is null /* here */"
        for column, bounds in query.times.items():
            for bound, time in bounds.items():
                self.add(_TIMES[column] + _COMPARISONS[bound] + "$value", time)
        # Whether the rows are a range of the order's index, which every plan reads.
        self._is_range = query.times.keys() <= {query.order}
        if self._ahead:
            self.add("c.id <> all($value::uuid[])", list(self._ahead))
        if query.after is not None and query.after.at is not None:
            time_column, tie_column = _ORDERS[query.order]
            comparison: LiteralString = "<" if query.descending else ">"
            at, tie = self.parameter(query.after.at), self.parameter(query.after.tie)
            self._sql += " and (" + time_column + ", " + tie_column + ") " + comparison + " (" + at + ", " + tie + ")"

    def parameter(self, value: Any) -> LiteralString:
        """Add a parameter; return its placeholder."""
        self._values.append(value)
        return placeholder(len(self._values))

    def require(self, condition: LiteralString) -> None:
        """Add a condition."""
        self._is_range = False
        self._sql += " and " + condition

    def add(self, condition: LiteralString, value: Any) -> None:
        """Add a condition on `$value`."""
        self.require(condition.replace("$value", self.parameter(value)))

    def require_crm_records(self, table: LiteralString) -> None:
        """Require a link to one of the CRM records that the query names, if any."""
        if self._query.crm_records is not None:
            crm_ids = self.parameter([record.id for record in self._query.crm_records])
            found: LiteralString = "select f.id from " + table + " f where f.workspace_id = $1 and f.deleted_at is null"
            self.require_few(found + " and f.crm_object_id = any(" + crm_ids + ")")

    async def search(self, pool: PagePool, within: SearchIndex, others: Sequence[str] = ()) -> None:
        """Require the query's search terms, if any, or one of some other terms that the query stands for."""
        if self._query.search is None:
            return
        found = list(map(list, dict.fromkeys(map(tuple, [*readings(self._query.search), *([term] for term in others)]))))
        if not found:
            self.require("false")
            return
        candidates = [[words for term in terms for words in lookups(term)] for terms in found]
        rarest, count = await _rarest_words(pool, self._workspace_id, candidates, within.found_by_word)
        is_common = count >= _COMMON
        addresses = addresses_in(self._query.search) if within.holders is not None and self._query.after is None else []
        if within.holders is not None and addresses and is_common:
            records = await pool.fetch(within.holders, self._workspace_id, addresses)
            self._begin_with([record[0] for record in records[: self._query.limit]])
        # The search comes last: later conditions are its own.
        self._asked_before_search = len(self._values)
        # The planner expects few matches of `like`, and would sort all rows for them. It expects `coalesce` to match half of
        # the rows, so it scans in list order until the page is full.
        single = [f"%{_like_escaped(terms[0])}%" for terms in found if len(terms) == 1 and pattern(terms[0]) is None]
        way: LiteralString = "c.search like any(" + self.parameter(single) + ")"
        ways: list[LiteralString] = [self._matches(terms) for terms in found if len(terms) > 1 or pattern(terms[0]) is not None]
        ways.append(way)
        searched: LiteralString = " or ".join(ways)
        self._searched = "coalesce(" + searched + ", false)"
        self._asked_in_search = len(self._values)
        if is_common:
            self._common = rarest, within.found_by_word
            return
        self._reads_few_words = count < _RARE and self._few is None
        self.require_few(self._found(rarest, within.found_by_word))
        if within.holders is not None and addresses:
            # The holders are among the few rows: sorting these needs no statement of its own.
            self._is_ahead = "c.id = any(array(" + within.holders.replace("$2", self.parameter(addresses)) + "))"

    def _matches(self, terms: list[str]) -> LiteralString:
        """Return the condition that a searchable text has all terms."""
        expressions = [expression for term in terms if (expression := pattern(term)) is not None]
        others = [f"%{_like_escaped(term)}%" for term in terms if pattern(term) is None]
        matches: LiteralString = "c.search like all(" + self.parameter(others) + ")"
        return matches if not expressions else matches + " and c.search ~ all(" + self.parameter(expressions) + ")"

    def _begin_with(self, ahead: list[UUID]) -> None:
        """Let the list begin with these objects, if they match, and leave them out of its order."""
        if ahead:
            self._ahead = tuple(ahead)
            first = self.parameter(ahead)
            among: LiteralString = "c.id = any(" + first + "::uuid[])"
            few = among if self._few is None else among + " and " + self._few
            self._among_ahead = _fenced("$table", few) + self._sql
            self.require("c.id <> all(" + first + "::uuid[])")

    def _found(self, rarest: list[str], found_by_word: LiteralString) -> LiteralString:
        asked: LiteralString = "unnest(" + self.parameter(rarest) + "::text[]) as asked(word)"
        # `offset 0` is a fence here, too: each word is looked up by itself, even in a plan that was made for an empty table.
        return "select found.id from " + asked + " cross join lateral (" + _of_asked(found_by_word) + " offset 0) as found(id)"

    def require_few(self, select: LiteralString) -> None:
        """Require an id that the statement selects; it must select few."""
        found: LiteralString = "c.id = any(array(" + select + "))"
        if self._few is None:
            self._few = found
        else:
            self.require(found)

    async def require_links(
        self, pool: Pool, linked: LiteralString, holds: LiteralString, wanted: Sequence[UUID] | Sequence[str]
    ) -> None:
        """Require a link to one of these objects or keys. `linked` selects rows by `$ids`; `holds` checks one for `$value`."""
        if await _is_common(pool, linked.replace("$ids", "$2"), self._workspace_id, wanted):
            self.add(holds, wanted)
        else:
            self.require_few(linked.replace("$ids", self.parameter(wanted)))

    async def fetch(self, pool: PagePool, table: LiteralString, more: LiteralString = "") -> list[ListRow]:
        """Return the matching rows of a table in the page's order, and one more than the page holds, if there is one.

        `more` are other columns to select, each with a comma before it.
        """
        time, tie = _ORDERS[self._query.order]
        direction: LiteralString = " desc" if self._query.descending else " asc"
        order: LiteralString = " order by " + time + direction + ", " + tie + direction
        is_ahead: LiteralString = "false" if self._is_ahead is None else self._is_ahead
        select: LiteralString = "select " + time + ", " + tie + ", c.object" + more + ", c.id, " + is_ahead + " from "
        ahead: list[ListRow] = []
        if self._among_ahead is not None and self._searched is not None:
            records = await pool.fetch(
                select + self._among_ahead.replace("$table", table) + " and " + self._searched + order + " limit $2",
                *self._values[: self._asked_in_search],
            )
            ahead = [ListRow(CursorPosition(None, 0, self._ahead), record[2], record[3:-2]) for record in records]
        if self._common is not None and self._few is None:
            # A scan in list order meets a common word soon. If it does not fill the page, look among the rows with the word.
            walked = "(select * from " + table + " c" + self._sql + order + " limit 20000) c"
            listed = await self._listed(pool, select + walked, order)
            if len(listed) > self._query.limit or await self._is_walked_to_the_end(pool, table, order):
                return ahead + listed
            self.require_few(self._found(*self._common))
        source: LiteralString = table + " c" if self._few is None else _fenced(table, self._few)
        if self._is_ahead is not None:
            order = " order by " + is_ahead + " desc, " + time + direction + ", " + tie + direction
        if self._reads_few_words or (self._is_range and self._few is None and self._searched is None):
            async with asyncio.timeout(PATIENCE_SECONDS), pool.turns:
                return ahead + await self._listed(pool.planning_once, select + source, order)
        return ahead + await self._listed(pool, select + source, order)

    async def _is_walked_to_the_end(self, pool: Pool, table: LiteralString, order: LiteralString) -> bool:
        count: int = await pool.fetchval(
            "select count(*) from (select from " + table + " c" + self._sql + order + " limit greatest($2, 20000)) as walked",
            *self._values[: self._asked_before_search],
        )
        return count < _WALKED

    async def _listed(self, pool: Pool, select: LiteralString, order: LiteralString) -> list[ListRow]:
        conditions: LiteralString = self._sql if self._searched is None else self._sql + " and " + self._searched
        records = await pool.fetch(select + conditions + order + " limit $2", *self._values)
        ahead = self._ahead or tuple(record[-2] for record in records[: self._query.limit] if record[-1])
        return [
            ListRow(CursorPosition(None, 0, ahead) if is_ahead else CursorPosition(at, tie, ahead), body, more)
            for at, tie, body, *more, _, is_ahead in records
        ]


async def _is_common(pool: Pool, ids: LiteralString, *values: Any) -> bool:
    """Whether a select finds too many ids to look at each; it reads at most 5,000 of them."""
    count: int = await pool.fetchval("select count(*) from (" + ids + " limit 5000) as few where true /* here */", *values)
    return count >= _COMMON


_COUNT_WORDS: Final[LiteralString] = """
    select asked.word, counted.matches
    from unnest($2::text[]) as asked(word)
    cross join lateral (select count(*) as matches from ($found limit $3) as few) as counted
    where true /* here */
"""


async def _rarest_words(
    pool: PagePool, workspace_id: UUID, candidates: list[list[list[str]]], found_by_word: LiteralString
) -> tuple[list[str], int]:
    """Return of each reading the words of the candidate that the fewest objects have, and how many have these, up to `_COMMON`.

    It reads few index entries if each reading has a rare candidate, otherwise up to `_COMMON` for each word.
    """
    statement = _COUNT_WORDS.replace("$found", _of_asked(found_by_word))
    asked = sorted({word for reading in candidates for some in reading for word in some})
    rarest: list[str] = []
    count = 0
    # Planning costs as much as the first count. The second one may take long, so it waits for a connection for lists.
    for limit, connections in ((_RARE, pool.planning_once), (_COMMON, pool)):
        records = await connections.fetch(statement, workspace_id, asked, limit)
        counts: dict[str, int] = {record["word"]: record["matches"] for record in records}
        chosen = [min(reading, key=functools.partial(_total, counts)) for reading in candidates]
        rarest = sorted({word for some in chosen for word in some})
        count = _total(counts, rarest)
        if all(counts[word] < limit for word in rarest):
            break
    return rarest, count


def _total(counts: Mapping[str, int], words: list[str]) -> int:
    return sum(counts[word] for word in words)


def _fenced(table: LiteralString, few: LiteralString) -> LiteralString:
    # Fetch the few rows by key before any other condition applies. `offset 0` is a fence: without it, a planner that has no
    # statistics yet scans all rows in list order, and checks each against the few.
    return "(select * from " + table + " c where c.workspace_id = $1 and " + few + " offset 0) c"


def _of_asked(found_by_word: LiteralString) -> LiteralString:
    return found_by_word.replace("$least", "asked.word").replace("$most", "asked.word || chr(1114111)")


def _like_escaped(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
