"""Every SQL statement about people, their sessions, and the links that let them in."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.auth.keys import Token, new_token, secret_hash
from herdbook.console.model import (
    IDLE_DAYS,
    INVITATION_DAYS,
    LINK_MINUTES,
    LINK_PREFIX,
    MAX_DAYS,
    SESSION_PREFIX,
    ListedSession,
    Membership,
    Person,
    StoredLink,
    StoredSession,
)
from herdbook.db.pool import Executor, Pool
from herdbook.db.slices import SLICE, each_slice

_IDLE: Final = timedelta(days=IDLE_DAYS)
_MAX_AGE: Final = timedelta(days=MAX_DAYS)
_NAME: Final[LiteralString] = (
    "coalesce(nullif(concat_ws(' ', u.object ->> 'first_name', u.object ->> 'last_name'), ''), 'A user')"
)
# A session is noted as used at most this often.
_SEEN_EVERY: Final = timedelta(minutes=1)
CONSOLE: Final = "Console"


async def find_session(statements: Executor, session_id: UUID) -> StoredSession | None:
    """Return a session that is not over, and whose person is still active in the chosen workspace. Note that it was used."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        with seen as (
            update console_session set seen_at = now() where id = $1 and seen_at < now() - $4::interval
                and seen_at > now() - $2::interval
        )
        select s.id, s.secret_hash, s.person_id, s.workspace_id, s.user_id, m.credential_id, s.is_by_link, p.address,
            p.password_hash is not null, u.object ->> 'role', """
        + _NAME
        + """, w.name
        from console_session s
        join person p on p.id = s.person_id
        join person_user m on m.workspace_id = s.workspace_id and m.user_id = s.user_id and m.person_id = s.person_id
        join workspace_user u on u.workspace_id = s.workspace_id and u.id = s.user_id
        join workspace w on w.id = s.workspace_id
        where s.id = $1 and s.seen_at > now() - $2::interval and s.created_at > now() - $3::interval
            and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
        """,
        session_id,
        _IDLE,
        _MAX_AGE,
        _SEEN_EVERY,
    )
    return None if record is None else StoredSession(*record)


async def create_session(  # noqa: PLR0913  # the parts of a row
    statements: Executor,
    person_id: UUID,
    workspace_id: UUID,
    user_id: UUID,
    *,
    is_by_link: bool,
    address: str,
    browser: str,
) -> Token:
    """Begin a session; return the value of its cookie."""
    token = new_token(SESSION_PREFIX)
    await statements.execute(
        """
        insert into console_session (id, person_id, workspace_id, user_id, secret_hash, is_by_link, address, browser)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        token.id,
        person_id,
        workspace_id,
        user_id,
        secret_hash(token.secret),
        is_by_link,
        address,
        browser,
    )
    return token


async def sessions_of(statements: Executor, person_id: UUID) -> Sequence[ListedSession]:
    """Return the sessions of a person that are not over, the latest used first."""
    records = await statements.fetch(
        """
        select id, created_at, seen_at, address, browser from console_session
        where person_id = $1 and seen_at > now() - $2::interval and created_at > now() - $3::interval
        order by seen_at desc, id
        """,
        person_id,
        _IDLE,
        _MAX_AGE,
    )
    return [ListedSession(*record) for record in records]


async def end_session(statements: Executor, person_id: UUID, session_id: UUID) -> None:
    """End a session of a person."""
    await statements.execute("delete from console_session where person_id = $1 and id = $2", person_id, session_id)


async def end_other_sessions(statements: Executor, person_id: UUID, session_id: UUID) -> None:
    """End all sessions of a person but one."""
    await statements.execute("delete from console_session where person_id = $1 and id <> $2", person_id, session_id)


async def choose_workspace(statements: Executor, session_id: UUID, workspace_id: UUID) -> bool:
    """Let a session go on in another workspace of its person; return whether the person belongs to it."""
    done = await statements.execute(
        """
        update console_session s set workspace_id = m.workspace_id, user_id = m.user_id
        from person_user m where s.id = $1 and m.person_id = s.person_id and m.workspace_id = $2
        """,
        session_id,
        workspace_id,
    )
    return done == "UPDATE 1"


async def create_link(statements: Executor, workspace_id: UUID, user_id: UUID, *, is_invitation: bool = False) -> Token:
    """Make a link that signs a user in, once. It may set a password, so only operators may make one for others.

    An invitation, which an administrator of the workspace may make, lets nobody in who has signed in before.
    """
    link = new_token(LINK_PREFIX)
    await statements.execute(
        """
        insert into sign_in_link (id, workspace_id, user_id, secret_hash, expires_at, is_invitation)
        values ($1, $2, $3, $4, now() + $5::interval, $6)
        """,
        link.id,
        workspace_id,
        user_id,
        secret_hash(link.secret),
        timedelta(days=INVITATION_DAYS) if is_invitation else timedelta(minutes=LINK_MINUTES),
        is_invitation,
    )
    return link


async def find_link(statements: Executor, link_id: UUID) -> StoredLink | None:
    """Return a link that still works, if its user is active."""
    record: asyncpg.Record | None = await statements.fetchrow(
        "select l.id, l.secret_hash, l.workspace_id, l.user_id, w.name, "
        + _NAME
        + """, l.is_invitation
        from sign_in_link l
        join workspace_user u on u.workspace_id = l.workspace_id and u.id = l.user_id
        join workspace w on w.id = l.workspace_id
        where l.id = $1 and l.expires_at > now() and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
            and not (l.is_invitation and exists (
                select from person_user m where m.workspace_id = l.workspace_id and m.user_id = l.user_id
            ))
        """,
        link_id,
    )
    return None if record is None else StoredLink(*record)


class SignInFirst(Exception):
    """A link is of an address that a person has already, who must sign in before it connects its user to this person."""


async def use_link(pool: Pool, link: StoredLink, present_person_id: UUID | None = None) -> UUID | None:
    """Use a link up; return its person, who is created or found by the address. None: another request has used it.

    An operator vouches for the addresses of users, an administrator of a workspace does not. Raise SignInFirst, and leave the
    link as it is, if only the latter says that a person with an account is meant, and that person has not signed in.
    """
    async with pool.acquire() as connection, connection.transaction():
        used = await connection.fetchval("delete from sign_in_link where id = $1 returning true", link.id)
        if used is None:
            return None
        known: UUID | None = await connection.fetchval(
            "select person_id from person_user where workspace_id = $1 and user_id = $2", link.workspace_id, link.user_id
        )
        if known is not None and link.is_invitation:
            return None
        return known or await _new_person(connection, link, present_person_id)


async def _new_person(statements: Executor, link: StoredLink, present_person_id: UUID | None) -> UUID:
    """Create the person of a link, or find the one with the user's address, and connect the person to the user."""
    email: str | None = await statements.fetchval(
        "select u.object -> 'emails' -> 0 ->> 'email' from workspace_user u where u.workspace_id = $1 and u.id = $2",
        link.workspace_id,
        link.user_id,
    )
    found = await statements.fetchrow(
        """
        insert into person (id, address, is_vouched) values ($1, $2, $3)
        on conflict (address) do update set address = excluded.address
        returning id, id = $1 as is_new, is_vouched
        """,
        ids.new_id(),
        None if email is None else comparable_address(email),
        not link.is_invitation,
    )
    assert found is not None, "it is there now"
    person_id: UUID = found["id"]
    is_other = not found["is_new"] and person_id != present_person_id
    if is_other and (link.is_invitation or not found["is_vouched"]):
        raise SignInFirst
    await connect(statements, person_id, link.workspace_id, link.user_id)
    return person_id


async def connect(statements: Executor, person_id: UUID, workspace_id: UUID, user_id: UUID) -> None:
    """Let a person be a user of a workspace."""
    credential_id = ids.new_id()
    # Nothing has this hash.
    await statements.execute(
        "insert into credential (id, workspace_id, name, scopes, secret_hash, user_id) values ($1, $2, $3, '{}', '', $4)",
        credential_id,
        workspace_id,
        CONSOLE,
        user_id,
    )
    await statements.execute(
        "insert into person_user (workspace_id, user_id, person_id, credential_id) values ($1, $2, $3, $4)",
        workspace_id,
        user_id,
        person_id,
        credential_id,
    )


async def users_with_accounts(statements: Executor, workspace_id: UUID) -> set[UUID]:
    """Return the users of a workspace who have signed in before."""
    records = await statements.fetch("select user_id from person_user where workspace_id = $1", workspace_id)
    return {record["user_id"] for record in records}


async def end_sessions_of_user(statements: Executor, workspace_id: UUID, user_id: UUID) -> None:
    """End the sessions in which a person works in a workspace as this user, and the links that would begin one."""
    await statements.execute("delete from console_session where workspace_id = $1 and user_id = $2", workspace_id, user_id)
    await statements.execute("delete from sign_in_link where workspace_id = $1 and user_id = $2", workspace_id, user_id)


async def memberships(statements: Executor, person_id: UUID) -> Sequence[Membership]:
    """Return the workspaces in which a person is active, the oldest first."""
    records = await statements.fetch(
        """
        select m.workspace_id, m.user_id, w.name, u.object ->> 'role'
        from person_user m
        join workspace w on w.id = m.workspace_id
        join workspace_user u on u.workspace_id = m.workspace_id and u.id = m.user_id
        where m.person_id = $1 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
        order by m.workspace_id
        """,
        person_id,
    )
    return [Membership(*record) for record in records]


async def person_with(statements: Executor, address: str) -> Person | None:
    """Return the person with an address, in the form in which addresses are compared."""
    record = await statements.fetchrow("select id, password_hash from person where address = $1", address)
    if record is None:
        return None
    return Person(record["id"], record["password_hash"], await memberships(statements, record["id"]))


async def password_of(statements: Executor, person_id: UUID) -> str | None:
    """Return the hash of a person's password, if the person has set one."""
    found: str | None = await statements.fetchval("select password_hash from person where id = $1", person_id)
    return found


async def set_password(statements: Executor, person_id: UUID, address: str, password_hash: str) -> bool:
    """Set the address and the password of a person; return whether nobody else has the address."""
    try:
        await statements.execute(
            """
            update person set address = $2, password_hash = $3, is_vouched = is_vouched and address is not distinct from $2
            where id = $1
            """,
            person_id,
            address,
            password_hash,
        )
    except asyncpg.UniqueViolationError:
        return False
    return True


_OLD_LINKS: Final[LiteralString] = """
    with old as (delete from sign_in_link where id in (
        select id from sign_in_link where expires_at < now() order by expires_at limit $1
    ) returning 1)
    select count(*) from old
"""
_OLD_SESSIONS: Final[LiteralString] = """
    with old as (delete from console_session where id in (
        select id from console_session where created_at < now() - $2::interval order by created_at limit $1
    ) returning 1)
    select count(*) from old
"""


async def forget_old_sessions(pool: Pool) -> None:
    """Delete the links and the sessions that are over by their age."""
    await each_slice(lambda: pool.fetchval(_OLD_LINKS, SLICE))
    await each_slice(lambda: pool.fetchval(_OLD_SESSIONS, SLICE, _MAX_AGE))
