"""The Python step of migration 0008: unique keys of addresses and tag names ignore case, and nothing else.

The old keys came from case folding, which turns `ß` into `ss`. The step recomputes them from the text that the objects hold, as
it was sent. Only non-ASCII text can get another key.
"""

import unicodedata
from collections.abc import Callable, Collection
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.db.pool import Executor
from herdbook.faults import OperatorFault
from herdbook.letter_case import without_case

_MAX_NAMED: Final = 20


class ClaimedTwice(OperatorFault):
    """Two active objects would hold the same key; the message names them and the remedy."""

    def __init__(self, pairs: list[str]) -> None:
        others = f" And {len(pairs) - _MAX_NAMED} more." if len(pairs) > _MAX_NAMED else ""
        super().__init__(
            "Migration 0008 was not applied, because two objects would hold the same address or name:\n"
            + "\n".join(pairs[:_MAX_NAMED])
            + f"{others}\nChange or delete one of each two with the release that was installed before, then upgrade again."
        )


class _Table(NamedTuple):
    """A table of keys, the objects to look at, and how their keys are made.

    `told` selects the workspace, the object, the texts that its keys are made from, and its keys that come from elsewhere.
    """

    table: LiteralString
    key: LiteralString
    holder: LiteralString
    kind: str
    prefix: str
    comparable: Callable[[str], str]
    told: LiteralString
    is_exclusive: bool = True


class _Place(NamedTuple):
    """An object and a key that it holds, in the order of the table's columns."""

    workspace_id: UUID
    object_id: UUID
    key: str


_NOT_ASCII: Final[LiteralString] = "octet_length($text::text) > char_length($text::text)"
_EMAILS: Final[LiteralString] = "array(select item ->> 'email' from json_array_elements($emails) as item)"
_CONTACTS: Final[LiteralString] = (
    "select workspace_id, id, "
    + _EMAILS.replace("$emails", "emails")
    + ", '{}'::text[] from contact where "
    + _NOT_ASCII.replace("$text", "emails")
)


def _tag_name(name: str) -> str:
    return without_case(unicodedata.normalize("NFKC", name)).strip()


_TABLES: Final = (
    _Table(
        *("contact_email", "address", "contact_id", "contact", ids.CONTACT, comparable_address),
        told=_CONTACTS + " and deleted_at is null",
    ),
    _Table(
        *("contact_former_email", "address", "contact_id", "contact", ids.CONTACT, comparable_address),
        told=_CONTACTS + " and deleted_at is not null and merged_into is null",
        is_exclusive=False,
    ),
    _Table(
        *("user_handle", "handle", "user_id", "user", ids.USER, comparable_address),
        told="select workspace_id, id, "
        + _EMAILS.replace("$emails", "object -> 'emails'")
        + ", array[phone_number_e164] from workspace_user where deleted_at is null and "
        + _NOT_ASCII.replace("$text", "(object -> 'emails')"),
    ),
    _Table(
        *("tag_name", "name", "tag_id", "tag", ids.TAG, _tag_name),
        told="select workspace_id, id, array[object ->> 'name'], '{}'::text[] from tag where deleted_at is null and "
        + _NOT_ASCII.replace("$text", "(object ->> 'name')"),
    ),
)
_HELD: Final[LiteralString] = """
    select t.workspace_id, t.$holder, t.$key from $table t
    join unnest($1::uuid[], $2::uuid[]) as asked(workspace_id, id)
        on t.workspace_id = asked.workspace_id and t.$holder = asked.id
"""
_FREE: Final[LiteralString] = """
    delete from $table t using unnest($1::uuid[], $2::uuid[], $3::text[]) as wrong(workspace_id, id, key)
    where t.workspace_id = wrong.workspace_id and t.$key = wrong.key and t.$holder = wrong.id
"""
_CLAIM: Final[LiteralString] = """
    insert into $table (workspace_id, $holder, $key) select * from unnest($1::uuid[], $2::uuid[], $3::text[])
    on conflict do nothing
"""
_HELD_BY_OTHERS: Final[LiteralString] = """
    select lacking.workspace_id, lacking.key, lacking.id, t.$holder
    from unnest($1::uuid[], $2::uuid[], $3::text[]) as lacking(workspace_id, id, key)
    join $table t on t.workspace_id = lacking.workspace_id and t.$key = lacking.key and t.$holder <> lacking.id
    order by 1, 2
"""


async def claim_by_case(statements: Executor) -> None:
    """Recompute the keys of all tables. Refusal: ClaimedTwice."""
    pairs: list[str] = []
    for table in _TABLES:
        pairs += await _claim_anew(statements, table)
    if pairs:
        raise ClaimedTwice(pairs)


async def _claim_anew(statements: Executor, table: _Table) -> list[str]:
    """Recompute the keys of a table; describe each two objects that would hold the same one."""

    def on(sql: LiteralString) -> LiteralString:
        return sql.replace("$table", table.table).replace("$key", table.key).replace("$holder", table.holder)

    told = await statements.fetch(table.told)
    said = {_Place(each[0], each[1], table.comparable(text)) for each in told for text in each[2]}
    others = {_Place(each[0], each[1], text) for each in told for text in each[3]}
    asked = [each[0] for each in told], [each[1] for each in told]
    held = {_Place(*record) for record in await statements.fetch(on(_HELD), *asked)}
    await statements.execute(on(_FREE), *_columns(held - said - others))
    await statements.execute(on(_CLAIM), *_columns(said - held))
    if not table.is_exclusive:
        return []
    return [
        f"- workspace {ids.encoded(ids.WORKSPACE, workspace_id)}, {table.kind}s {ids.encoded(table.prefix, one)} and "
        f"{ids.encoded(table.prefix, other)}: `{key}`"
        for workspace_id, key, one, other in await statements.fetch(on(_HELD_BY_OTHERS), *_columns(said - held))
    ]


def _columns(places: Collection[_Place]) -> tuple[list[UUID], list[UUID], list[str]]:
    """Return the places as columns, for the array parameters of a statement."""
    return [each[0] for each in places], [each[1] for each in places], [each[2] for each in places]
