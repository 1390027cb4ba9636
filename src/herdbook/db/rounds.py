"""Rounds over all workspaces. Their cost grows with the workspaces, so all servers together make each of them once an hour."""

from collections.abc import Awaitable, Callable
from typing import Final

from herdbook import sources
from herdbook.db.pool import Executor

_HOUR_SECONDS: Final = 3600


async def once_an_hour(statements: Executor, name: str, make_round: Callable[[], Awaitable[object]]) -> None:
    """Make a round, unless a process has begun one of this name within the hour. One that fails counts as not begun.

    If a process dies during its round, another one follows within the hour.
    """
    now = int(sources.now().timestamp())
    setting = f"round {name}"
    # The times are whole numbers, and parameters, because a distributed database takes no other ones here. A clock that was
    # ahead must not hold up the rounds.
    begins = await statements.fetchval(
        """
        insert into setting as s (name, value) values ($1, $2)
        on conflict (name) do update set value = excluded.value
        where s.value::bigint <= $3 or s.value::bigint > $4
        returning true
        """,
        setting,
        str(now),
        now - _HOUR_SECONDS,
        now + _HOUR_SECONDS,
    )
    if not begins:
        return
    try:
        await make_round()
    except Exception:
        await statements.execute("delete from setting where name = $1 and value = $2", setting, str(now))
        raise
