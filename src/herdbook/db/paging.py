"""Pages of a list, in the order of updates, or of another time.

A workspace's times strictly increase with its versions, so the order by (updated_at, version) is the order by version, and a
place in it stays what it is when the row there is changed or deleted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from herdbook.db.pool import Pool
from herdbook.search_text import searched, words

Bound: TypeAlias = Literal["gt", "gte", "lt", "lte"]
TimeColumn: TypeAlias = Literal["updated_at", "start_at"]

_PARAMETERS: Final[tuple[LiteralString, ...]] = (
    *("$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$16"),
    *("$17", "$18", "$19", "$20", "$21", "$22", "$23", "$24", "$25", "$26", "$27", "$28", "$29", "$30", "$31", "$32"),
)
_COMPARISONS: Final[dict[Bound, LiteralString]] = {"gt": " > ", "gte": " >= ", "lt": " < ", "lte": " <= "}
_TIMES: Final[dict[TimeColumn, LiteralString]] = {"updated_at": "c.updated_at", "start_at": "c.start_at"}
# By which columns a list is sorted: the time, and what tells rows of one time apart.
_ORDERS: Final[dict[TimeColumn, tuple[LiteralString, LiteralString]]] = {
    "updated_at": ("c.updated_at", "c.version"),
    "start_at": ("c.start_at", "c.id"),
}

# What more rows than this match is looked for on the way through the rows in their order, where it should be met soon.
_COMMON: Final = 5000
# And so far.
_WALKED: Final = 20_000
_LAST_CHARACTER: Final = "\U0010ffff"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the time that the list is sorted by, and what tells rows of one time apart."""

    at: datetime
    tie: int | UUID


class CrmRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record of a CRM, as a filter names it."""

    id: str
    object_type: str


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks of a list. `after` is where the last page ended; `filters` are the values that will do, by name."""

    limit: int = 25
    order: TimeColumn = "updated_at"
    descending: bool = True
    times: Mapping[TimeColumn, Mapping[Bound, datetime]] = {}
    search: str | None = None
    crm_records: tuple[CrmRecord, ...] | None = None
    filters: Mapping[str, tuple[str, ...]] = {}
    expand: tuple[str, ...] = ()
    after: Place | None = None


class Listed(NamedTuple):
    """An object on a page: its place, what the API shows of it, and what else the list's statement selects."""

    place: Place
    body: bytes
    more: Sequence[Any] = ()


class Searched(NamedTuple):
    """A table whose rows are searched: it has a column `search`, and in `found_by_word` the ids by words."""

    table: LiteralString
    found_by_word: LiteralString


class _Common(NamedTuple):
    """A word that many objects have, and the statement that finds them."""

    word: str
    found_by_word: LiteralString


class Conditions:
    """The conditions of a page's statement, over the table that it calls `c`, and their parameters.

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
        """Return the placeholder of a new parameter."""
        self._values.append(value)
        return _PARAMETERS[len(self._values) - 1]

    def require(self, condition: LiteralString) -> None:
        """Require a condition."""
        self._sql += " and " + condition

    def add(self, condition: LiteralString, value: Any) -> None:
        """Require a condition on `$value`."""
        self.require(condition.replace("$value", self.parameter(value)))

    def require_crm_records(self, table: LiteralString) -> None:
        """Require a link to one of the records of a CRM that the query names, if any."""
        if self._query.crm_records is not None:
            crm_ids = self.parameter([record.id for record in self._query.crm_records])
            found: LiteralString = "select f.id from " + table + " f where f.workspace_id = $1 and f.deleted_at is null"
            self.require_few(found + " and f.crm_object_id = any(" + crm_ids + ")")

    async def search(self, pool: Pool, within: Searched) -> None:
        """Require what the query searches for, if anything."""
        if self._query.search is None:
            return
        terms = searched(self._query.search)
        if not terms:
            self.require("false")
            return
        # Nothing is required after this but what the search itself requires.
        self._asked_before_search = len(self._values)
        patterns = self.parameter([f"%{_like_escaped(term)}%" for term in terms])
        # The planner takes `like` for rare, and would sort all rows for the few. Of what `coalesce` hides it thinks that half
        # fit, and walks through them in their order until the page is full.
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
        """Require an id that a statement selects, of which there are not many."""
        found: LiteralString = "c.id = any(array(" + select + "))"
        if self._few is None:
            self._few = found
        else:
            self.require(found)

    async def fetch(self, pool: Pool, table: LiteralString, more: LiteralString = "") -> list[Listed]:
        """Return the rows of a table that fit, in the page's order; one more than the page holds, if there is.

        `more` are other columns to select, each behind a comma.
        """
        time, tie = _ORDERS[self._query.order]
        direction: LiteralString = " desc" if self._query.descending else " asc"
        order: LiteralString = " order by " + time + direction + ", " + tie + direction
        select: LiteralString = "select " + time + ", " + tie + ", c.object" + more + " from "
        if self._common is not None and self._few is None:
            # What is common is met soon on the way through the rows in their order; else it is among those that have the word.
            walked = "(select * from " + table + " c" + self._sql + order + " limit 20000) c"
            listed = await self._listed(pool, select + walked, order)
            if len(listed) > self._query.limit or await self._is_walked_to_the_end(pool, table, order):
                return listed
            self.require_few(self._found(*self._common))
        source: LiteralString = table
        if self._few is not None:
            # The few are taken by their keys before anything else is asked of them: behind the offset, the planner cannot walk
            # through all rows in their order instead, and look for each among the few, as it would where it knows nothing yet.
            source = "(select * from " + table + " c where c.workspace_id = $1 and " + self._few + " offset 0)"
        return await self._listed(pool, select + source + " c", order)

    async def _is_walked_to_the_end(self, pool: Pool, table: LiteralString, order: LiteralString) -> bool:
        count: int = await pool.fetchval(
            "select count(*) from (select from " + table + " c" + self._sql + order + " limit greatest($2, 20000)) as walked",
            *self._values[: self._asked_before_search],
        )
        return count < _WALKED

    async def _listed(self, pool: Pool, select: LiteralString, order: LiteralString) -> list[Listed]:
        conditions: LiteralString = self._sql if self._searched is None else self._sql + " and " + self._searched
        records = await pool.fetch(select + conditions + order + " limit $2", *self._values)
        return [Listed(Place(record[0], record[1]), record[2], record[3:]) for record in records]


async def is_common(pool: Pool, ids: LiteralString, *values: Any) -> bool:
    """Whether a select of ids finds too many to look at each; it reads no more of them than it takes to know."""
    count: int = await pool.fetchval("select count(*) from (" + ids + " limit 5000) as few", *values)
    return count >= _COMMON


_COUNT_WORDS: Final[LiteralString] = """
    select asked.word, (select count(*) from ($found limit $4) as few) as matches
    from unnest($2::text[]) as asked(word)
    order by matches
    limit 1
"""


async def _rarest_word(pool: Pool, workspace_id: UUID, candidates: list[str], found_by_word: LiteralString) -> tuple[str, bool]:
    """Return the word that the fewest objects have at the start of one of theirs, and whether it is common all the same.

    It reads no more than `_COMMON` entries a word, however many there are.
    """
    found = found_by_word.replace("$least", "asked.word").replace("$most", "asked.word || $3")
    record = await pool.fetchrow(_COUNT_WORDS.replace("$found", found), workspace_id, candidates, _LAST_CHARACTER, _COMMON)
    assert record is not None, "there is a candidate"
    return record["word"], record["matches"] >= _COMMON


def _like_escaped(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
