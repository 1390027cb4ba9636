"""Statements that write one row, beside those that write all rows of a batch. Both are made from one description.

A distributed database brings a statement for a single row of the workspace `$1` to its node without a plan of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, LiteralString, NamedTuple, TypeAlias

# Types by name, of the columns of a table.
Columns: TypeAlias = dict[LiteralString, LiteralString]


class RowStatement(NamedTuple):
    """A statement that writes the row `$2`, a JSON object, of the workspace `$1`. `takes` tells for which rows it is."""

    sql: LiteralString
    takes: Callable[[Any], bool] = lambda _: True


def of_row(name: LiteralString, column_type: LiteralString) -> LiteralString:
    """Return the value that the row of a row statement has in a column."""
    text: LiteralString = "$2::json ->> '" + name + "'"
    if column_type == "json":
        # The null of JSON is none of SQL.
        return "case when (" + text + ") is not null then $2::json -> '" + name + "' end"
    return "(" + text + ")::" + column_type


def insertion(
    name: LiteralString,
    table: LiteralString,
    columns: Columns,
    conflict: LiteralString = "",
    computed: Columns | None = None,
) -> tuple[LiteralString, Sequence[RowStatement]]:
    """Return what inserts rows into a table: the `save` of its rows, called `name` there, and the statements for one row.

    `columns` are those behind the workspace, and `computed` others with an expression for each.
    """
    others = computed or {}
    into: LiteralString = "insert into " + table + " (" + ", ".join(["workspace_id", *columns, *others]) + ") "
    typed: list[LiteralString] = [each + " " + columns[each] for each in columns]
    read: list[LiteralString] = ["r." + each for each in columns]
    many: LiteralString = (
        name
        + " as ("
        + into
        + "select "
        + ", ".join(["r.workspace_id", *read, *others.values()])
        + " from json_to_recordset($rows) as r("
        + ", ".join(["workspace_id uuid", *typed])
        + ") join held on held.id = r.workspace_id "
        + conflict
        + ")"
    )
    if any(each.endswith("[]") for each in columns.values()):
        # No expression makes an array of one in JSON. The row of the workspace says which node the statement is for.
        one: LiteralString = (
            into
            + "select "
            + ", ".join(["$1", *read, *others.values()])
            + " from workspace w cross join json_to_record($2) as r("
            + ", ".join(typed)
            + ") where w.id = $1 "
            + conflict
        )
        return many, (RowStatement(one),)
    values: list[LiteralString] = [of_row(each, columns[each]) for each in columns]
    return many, (RowStatement(into + "values (" + ", ".join(["$1", *values, *others.values()]) + ") " + conflict),)
