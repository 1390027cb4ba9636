"""Pages of a list, sorted by `updated_at` or by another time.

A workspace's times strictly increase with its versions, so the order by (updated_at, version) is the order by version. A cursor
into that order stays valid when its row is changed or deleted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from herdbook.db.placeholders import placeholder
from herdbook.db.pool import Pool
from herdbook.search_text import searched, words

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
# Stop that scan after this many rows.
_WALKED: Final = 20_000
_LAST_CHARACTER: Final = "\U0010ffff"


class CursorPosition(msgspec.Struct, frozen=True, array_like=True):
    """The end of a page: the time that the list is sorted by, and the tie-breaker for rows of the same time."""

    at: datetime
    tie: int | UUID


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
    """A table to search: it has a column `search`, and `found_by_word` selects ids by word."""

    table: LiteralString
    found_by_word: LiteralString


class _Common(NamedTuple):
    """A word that many objects contain, and the statement that finds them."""

    word: str
    found_by_word: LiteralString


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
        self._common: _Common | None = None
        self._asked_before_search = 0
        self._sql: LiteralString = " where c.workspace_id = $1 and c.deleted_at is null"
        for column, bounds in query.times.items():
            for bound, time in bounds.items():
                self.add(_TIMES[column] + _COMPARISONS[bound] + "$value", time)
        if query.after is not None:
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

    async def search(self, pool: Pool, within: SearchIndex) -> None:
        """Require the query's search terms, if any."""
        if self._query.search is None:
            return
        terms = searched(self._query.search)
        if not terms:
            self.require("false")
            return
        # The search comes last: later conditions are its own.
        self._asked_before_search = len(self._values)
        patterns = self.parameter([f"%{_like_escaped(term)}%" for term in terms])
        # The planner expects few matches of `like`, and would sort all rows for them. It expects `coalesce` to match half of
        # the rows, so it scans in list order until the page is full.
        self._searched = "coalesce(c.search like all(" + patterns + "), false)"
        candidates = sorted({word for term in terms for word in words(term)})
        word, is_common = await _rarest_word(pool, self._workspace_id, candidates, within.found_by_word)
        if is_common:
            self._common = _Common(word, within.found_by_word)
        else:
            self.require_few(self._found(word, within.found_by_word))

    def _found(self, word: str, found_by_word: LiteralString) -> LiteralString:
        least, most = self.parameter(word), self.parameter(word + _LAST_CHARACTER)
        return found_by_word.replace("$least", least).replace("$most", most)

    def require_few(self, select: LiteralString) -> None:
        """Require an id that the statement selects; it must select few."""
        found: LiteralString = "c.id = any(array(" + select + "))"
        if self._few is None:
            self._few = found
        else:
            self.require(found)

    async def fetch(self, pool: Pool, table: LiteralString, more: LiteralString = "") -> list[ListRow]:
        """Return the matching rows of a table in the page's order, and one more than the page holds, if there is one.

        `more` are other columns to select, each with a comma before it.
        """
        time, tie = _ORDERS[self._query.order]
        direction: LiteralString = " desc" if self._query.descending else " asc"
        order: LiteralString = " order by " + time + direction + ", " + tie + direction
        select: LiteralString = "select " + time + ", " + tie + ", c.object" + more + " from "
        if self._common is not None and self._few is None:
            # A scan in list order meets a common word soon. If it does not fill the page, look among the rows with the word.
            walked = "(select * from " + table + " c" + self._sql + order + " limit 20000) c"
            listed = await self._listed(pool, select + walked, order)
            if len(listed) > self._query.limit or await self._is_walked_to_the_end(pool, table, order):
                return listed
            self.require_few(self._found(*self._common))
        source: LiteralString = table
        if self._few is not None:
            # Fetch the few rows by key before any other condition applies. `offset 0` is a fence: without it, a planner that
            # has no statistics yet scans all rows in list order, and checks each against the few.
            source = "(select * from " + table + " c where c.workspace_id = $1 and " + self._few + " offset 0)"
        return await self._listed(pool, select + source + " c", order)

    async def _is_walked_to_the_end(self, pool: Pool, table: LiteralString, order: LiteralString) -> bool:
        count: int = await pool.fetchval(
            "select count(*) from (select from " + table + " c" + self._sql + order + " limit greatest($2, 20000)) as walked",
            *self._values[: self._asked_before_search],
        )
        return count < _WALKED

    async def _listed(self, pool: Pool, select: LiteralString, order: LiteralString) -> list[ListRow]:
        conditions: LiteralString = self._sql if self._searched is None else self._sql + " and " + self._searched
        records = await pool.fetch(select + conditions + order + " limit $2", *self._values)
        return [ListRow(CursorPosition(record[0], record[1]), record[2], record[3:]) for record in records]


async def is_common(pool: Pool, ids: LiteralString, *values: Any) -> bool:
    """Whether a select finds too many ids to look at each; it reads at most 5,000 of them."""
    count: int = await pool.fetchval("select count(*) from (" + ids + " limit 5000) as few", *values)
    return count >= _COMMON


_COUNT_WORDS: Final[LiteralString] = """
    select asked.word, (select count(*) from ($found limit $4) as few) as matches
    from unnest($2::text[]) as asked(word)
    order by matches
    limit 1
"""


async def _rarest_word(pool: Pool, workspace_id: UUID, candidates: list[str], found_by_word: LiteralString) -> tuple[str, bool]:
    """Return the candidate that is a prefix of a word in the fewest objects, and whether even that one is common.

    It reads at most `_COMMON` index entries for each candidate.
    """
    found = found_by_word.replace("$least", "asked.word").replace("$most", "asked.word || $3")
    record = await pool.fetchrow(_COUNT_WORDS.replace("$found", found), workspace_id, candidates, _LAST_CHARACTER, _COMMON)
    assert record is not None, "there is a candidate"
    return record["word"], record["matches"] >= _COMMON


def _like_escaped(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
