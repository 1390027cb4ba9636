"""Pages of a list, in the order of updates.

A workspace's times strictly increase with its versions, so the order by (updated_at, version) is the order by version, and a
place in it stays what it is when the row there is changed or deleted.
"""

from datetime import datetime
from typing import Any, Final, Literal, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from herdbook.db.pool import Pool

Bound: TypeAlias = Literal["gt", "gte", "lt", "lte"]

_PARAMETERS: Final[tuple[LiteralString, ...]] = (
    *("$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8"),
    *("$9", "$10", "$11", "$12", "$13", "$14", "$15", "$16"),
)
_BOUNDS: Final[dict[Bound, LiteralString]] = {
    "gt": "c.updated_at > $value",
    "gte": "c.updated_at >= $value",
    "lt": "c.updated_at < $value",
    "lte": "c.updated_at <= $value",
}


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended."""

    updated_at: datetime
    version: int


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks of a list. `after` is where the last page ended."""

    limit: int = 25
    descending: bool = True
    updated_at: dict[Bound, datetime] = {}
    search: str | None = None
    crm_object_ids: tuple[str, ...] | None = None
    after: Place | None = None


class Listed(NamedTuple):
    """An object on a page: its place, and what the API shows of it."""

    place: Place
    body: bytes


class Conditions:
    """The conditions of a page's statement, over the table that it calls `c`, and their parameters; `$1` is the workspace."""

    def __init__(self, workspace_id: UUID, query: PageQuery) -> None:
        self._query = query
        self._values: list[Any] = [workspace_id]
        self._sql: LiteralString = " where c.workspace_id = $1 and c.deleted_at is null"
        for bound, time in query.updated_at.items():
            self.add(_BOUNDS[bound], time)
        if query.after is not None:
            comparison: LiteralString = "<" if query.descending else ">"
            updated_at = self.parameter(query.after.updated_at)
            version = self.parameter(query.after.version)
            self._sql += " and (c.updated_at, c.version) " + comparison + " (" + updated_at + ", " + version + ")"

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

    async def fetch(self, pool: Pool, select: LiteralString) -> list[Listed]:
        """Run a select of version, updated_at and object, in the page's order; a row more than the page holds, if there is."""
        direction: LiteralString = "desc" if self._query.descending else "asc"
        order = " order by c.updated_at " + direction + ", c.version " + direction
        limit = " limit " + self.parameter(self._query.limit + 1)
        records = await pool.fetch(select + self._sql + order + limit, *self._values)
        return [Listed(Place(record[1], record[0]), record[2]) for record in records]
