"""The saves of tables whose rows are inserted, made from the columns."""

from typing import LiteralString, TypeAlias

# Types by name, of the columns of a table.
Columns: TypeAlias = dict[LiteralString, LiteralString]


def insertion(
    name: LiteralString,
    table: LiteralString,
    columns: Columns,
    conflict: LiteralString = "",
    computed: Columns | None = None,
) -> LiteralString:
    """Return what inserts rows into a table, the `save` of its rows, called `name` there.

    `columns` are those behind the workspace, and `computed` others with an expression for each. In `conflict`, the row that is
    there already is `stored`, because the table has another name in a shard.
    """
    others = computed or {}
    into: LiteralString = "insert into " + table + " as stored (" + ", ".join(["workspace_id", *columns, *others]) + ") "
    typed: list[LiteralString] = [each + " " + columns[each] for each in columns]
    read: list[LiteralString] = ["r." + each for each in columns]
    return (
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
