"""Every SQL statement about people, their sessions, and the links that let them in."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.auth.keys import Token, new_token, secret_hash
from herdbook.console.model import (
    IDLE_DAYS,
    INVITATION_DAYS,
    LINK_MINUTES,
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


_SESSION: Final[LiteralString] = """
    select s.id, s.secret_hash, s.person_id, s.workspace_id, s.user_id, m.credential_id, s.is_by_link, p.address,
        p.password_hash is not null
    from console_session s
    join person p on p.id = s.person_id
    join person_user m on m.workspace_id = s.workspace_id and m.user_id = s.user_id and m.person_id = s.person_id
    where s.id = $1 and s.seen_at > now() - $2::interval and s.created_at > now() - $3::interval
    """
_USER: Final[LiteralString] = (
    "select u.object ->> 'role', "
    + _NAME
    + """, w.name
    from workspace_user u join workspace w on w.id = $1
    where u.workspace_id = $1 and u.id = $2 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
    """
)


async def find_session(statements: Executor, session_id: UUID) -> StoredSession | None:
    """Return a session that is not over, and whose person is still active in the chosen workspace. Note that it was used."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        with seen as (
            update console_session set seen_at = now() where id = $1 and seen_at < now() - $4::interval
                and seen_at > now() - $2::interval
        )
        """
        + _SESSION,
        session_id,
        _IDLE,
        _MAX_AGE,
        _SEEN_EVERY,
    )
    return await _with_user(statements, record)


async def look_at_session(statements: Executor, session_id: UUID) -> StoredSession | None:
    """Return a session like find_session, for a request that a script makes by itself: nobody has used the session."""
    return await _with_user(statements, await statements.fetchrow(_SESSION, session_id, _IDLE, _MAX_AGE))


async def _with_user(statements: Executor, record: asyncpg.Record | None) -> StoredSession | None:
    """Return a session, if its user is active in the chosen workspace."""
    if record is None:
        return None
    user = await statements.fetchrow(_USER, record["workspace_id"], record["user_id"])
    return None if user is None else StoredSession(*record, *user)


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
    """Begin a session in a workspace, in which the person's next one begins, too; return the value of its cookie."""
    token = new_token(SESSION_PREFIX)
    await statements.execute(
        """
        with chosen as (update person set last_workspace_id = $3 where id = $2 and last_workspace_id is distinct from $3)
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
    """Let a session, and the next ones, go on in another workspace of its person; return whether the person belongs to it."""
    users = await statements.fetch(
        """
        select m.user_id from console_session s join person_user m on m.person_id = s.person_id
        where s.id = $1 and m.workspace_id = $2 order by m.user_id
        """,
        session_id,
        workspace_id,
    )
    for (user_id,) in users:
        if await statements.fetchrow(_USER, workspace_id, user_id) is not None:
            break
    else:
        return False
    done = await statements.execute(
        """
        with remembered as (
            update person p set last_workspace_id = $2 from console_session s where s.id = $1 and p.id = s.person_id
        )
        update console_session set workspace_id = $2, user_id = $3 where id = $1
        """,
        session_id,
        workspace_id,
        user_id,
    )
    return done == "UPDATE 1"


async def create_link(statements: Executor, workspace_id: UUID, user_id: UUID, *, is_invitation: bool = False) -> Token:
    """Make a link that signs a user in, once. It may set a password, so only operators may make one for others.

    An invitation, which an administrator of the workspace may make, lets nobody in who has signed in before.
    """
    link = new_token(ids.SIGN_IN_LINK)
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


class InvitationRow(NamedTuple):
    """An invitation that still works."""

    id: UUID
    user_id: UUID
    expires_at: datetime


async def invitations(statements: Executor, workspace_id: UUID, user_id: UUID | None = None) -> Sequence[InvitationRow]:
    """Return the invitations of a workspace, or of one of its users, that still work, the oldest first."""
    records = await statements.fetch(
        """
        select l.id, l.user_id, l.expires_at from sign_in_link l
        join workspace_user u on u.workspace_id = l.workspace_id and u.id = l.user_id
        where l.workspace_id = $1 and ($2::uuid is null or l.user_id = $2) and l.is_invitation and l.expires_at > now()
            and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
            and not exists (select from person_user m where m.workspace_id = l.workspace_id and m.user_id = l.user_id)
        order by l.id
        """,
        workspace_id,
        user_id,
    )
    return [InvitationRow(*record) for record in records]


async def revoke_invitation(statements: Executor, workspace_id: UUID, link_id: UUID) -> bool:
    """Delete an invitation of a workspace; return whether it was there."""
    done = await statements.execute(
        "delete from sign_in_link where workspace_id = $1 and id = $2 and is_invitation and expires_at > now()",
        workspace_id,
        link_id,
    )
    return done == "DELETE 1"


async def find_link(statements: Executor, link_id: UUID) -> StoredLink | None:
    """Return a link that still works, if its user is active."""
    record: asyncpg.Record | None = await statements.fetchrow(
        "select l.id, l.secret_hash, l.workspace_id, l.user_id, w.name, "
        + _NAME
        + """, l.is_invitation
        from sign_in_link l
        join workspace_user u on u.workspace_id = l.workspace_id and u.id = l.user_id
        join workspace w on w.id = u.workspace_id
        where l.id = $1 and l.expires_at > now() and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
            and not (l.is_invitation and exists (
                select from person_user m where m.workspace_id = l.workspace_id and m.user_id = l.user_id
            ))
        """,
        link_id,
    )
    return None if record is None else StoredLink(*record)


class SignInFirst(Exception):
    """An invitation is of an address that another person has, who must sign in before it connects its user to this person.

    If nobody has vouched for that person's address, the one who was invited may go on as a person apart.
    """

    def __init__(self, *, may_be_apart: bool) -> None:
        super().__init__(may_be_apart)
        self.may_be_apart = may_be_apart


async def use_link(
    pool: Pool, link: StoredLink, present_person_id: UUID | None = None, *, is_apart: bool = False
) -> UUID | None:
    """Use a link up; return its person, who is created or found by the address. None: another request has used it.

    An operator vouches for the addresses of users, so the link of one proves the address; an administrator of a workspace does
    not. Raise SignInFirst, and leave an invitation as it is, if another person has the address; `is_apart` makes a person
    without an address instead, unless somebody has vouched for the other one.
    """
    async with pool.acquire() as connection, connection.transaction():
        # Two links of one user that are used at once wait for each other, so that the second finds the person of the first.
        await connection.execute(
            """
            select from sign_in_link where workspace_id = $1 and user_id = $2 order by id for update
            """,
            link.workspace_id,
            link.user_id,
        )
        used = await connection.fetchval("delete from sign_in_link where id = $1 returning true", link.id)
        if used is None:
            return None
        known: UUID | None = await connection.fetchval(
            "select person_id from person_user where workspace_id = $1 and user_id = $2", link.workspace_id, link.user_id
        )
        email: str | None = await connection.fetchval(
            "select u.object -> 'emails' -> 0 ->> 'email' from workspace_user u where u.workspace_id = $1 and u.id = $2",
            link.workspace_id,
            link.user_id,
        )
        address = None if email is None else comparable_address(email)
        if not link.is_invitation:
            return await _vouched_person(connection, link, known, address)
        if known is not None:
            return None
        return await _invited_person(connection, link, address, present_person_id, is_apart=is_apart)


async def _vouched_person(statements: Executor, link: StoredLink, known: UUID | None, address: str | None) -> UUID:
    """Return the person of an operator's link, which proves the user's address."""
    if known is not None:
        present: str | None = await statements.fetchval("select address from person where id = $1", known)
        if address is None or present not in (None, address):
            return known
    owner = None if address is None else await prove_address(statements, address)
    if owner is None and known is not None:
        assert address is not None, "a known person is returned without one"
        await statements.execute("update person set address = $2 where id = $1", known, address)
        owner = await prove_address(statements, address)
    if owner is None:
        owner = await _new_person(statements, address, is_vouched=True)
    if owner is None:
        assert address is not None, "another person has taken it meanwhile"
        owner = await prove_address(statements, address)
    assert owner is not None, "it is there now"
    if known is None:
        await connect(statements, owner, link.workspace_id, link.user_id)
    elif known != owner:
        await statements.execute(
            "update person_user set person_id = $3 where workspace_id = $1 and user_id = $2",
            link.workspace_id,
            link.user_id,
            owner,
        )
    return owner


async def _invited_person(
    statements: Executor, link: StoredLink, address: str | None, present_person_id: UUID | None, *, is_apart: bool
) -> UUID:
    """Return the person of an invitation to a user who has none. Raise SignInFirst."""
    person_id = await _new_person(statements, address, is_vouched=False)
    if person_id is None:
        owner = await statements.fetchrow("select id, is_vouched from person where address = $1", address)
        assert owner is not None, "the address is taken"
        person_id = owner["id"]
        if person_id != present_person_id:
            if owner["is_vouched"] or not is_apart:
                raise SignInFirst(may_be_apart=not owner["is_vouched"])
            person_id = await _new_person(statements, None, is_vouched=False)
            assert person_id is not None, "nobody else has no address"
    await connect(statements, person_id, link.workspace_id, link.user_id)
    return person_id


async def _new_person(statements: Executor, address: str | None, *, is_vouched: bool) -> UUID | None:
    """Create a person, or return None if another one has the address."""
    person_id: UUID | None = await statements.fetchval(
        "insert into person (id, address, is_vouched) values ($1, $2, $3) on conflict (address) do nothing returning id",
        ids.new_id(),
        address,
        is_vouched,
    )
    return person_id


async def prove_address(statements: Executor, address: str, keeps_issuer: str | None = None) -> UUID | None:
    """Give an account to whoever has proven that its address is theirs; return its person, or None if nobody has the address.

    Perhaps nothing but an invitation, or the person, has said so far that the address is the person's. Somebody else may then
    have come by it: the password, the passkeys, the sessions, and the accounts at OpenID providers but one end. Users without
    the address remain those of somebody else.
    """
    record = await statements.fetchrow("select id, is_vouched from person where address = $1 for update", address)
    if record is None:
        return None
    person_id: UUID = record["id"]
    if not record["is_vouched"]:
        await statements.execute("update person set is_vouched = true, password_hash = null where id = $1", person_id)
        await statements.execute("delete from passkey where person_id = $1", person_id)
        await statements.execute("delete from console_session where person_id = $1", person_id)
        await statements.execute(
            "delete from person_openid where person_id = $1 and issuer is distinct from $2", person_id, keeps_issuer
        )
        await _part_from_others(statements, person_id, address)
    return person_id


async def _part_from_others(statements: Executor, person_id: UUID, address: str) -> None:
    """Give the users of a person that have not this address to a new person without one."""
    # A distributed database does not look for rows that are on all nodes beside others in one statement.
    having = await statements.fetch("select workspace_id, user_id from user_handle where handle = $1", address)
    others = await _users_of(statements, person_id) - _pairs(having)
    if not others:
        return
    other_id = ids.new_id()
    await statements.execute("insert into person (id, is_vouched) values ($1, false)", other_id)
    for workspace_id, user_id in others:
        await statements.execute(
            "update person_user set person_id = $3 where workspace_id = $1 and user_id = $2", workspace_id, user_id, other_id
        )


async def _users_of(statements: Executor, person_id: UUID) -> set[tuple[UUID, UUID]]:
    """Return the workspaces and ids of the users that a person is."""
    records = await statements.fetch("select workspace_id, user_id from person_user where person_id = $1", person_id)
    return _pairs(records)


def _pairs(records: Iterable[asyncpg.Record]) -> set[tuple[UUID, UUID]]:
    return {(record[0], record[1]) for record in records}


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


async def users_with_accounts(statements: Executor, workspace_id: UUID, user_ids: Collection[UUID]) -> set[UUID]:
    """Return those of some users of a workspace who have signed in before."""
    records = await statements.fetch(
        "select user_id from person_user where workspace_id = $1 and user_id = any($2)", workspace_id, user_ids
    )
    return {record["user_id"] for record in records}


async def end_sessions_of_user(statements: Executor, workspace_id: UUID, user_id: UUID) -> None:
    """End the sessions in which a person works in a workspace as this user, and the links that would begin one."""
    await statements.execute("delete from console_session where workspace_id = $1 and user_id = $2", workspace_id, user_id)
    await statements.execute("delete from sign_in_link where workspace_id = $1 and user_id = $2", workspace_id, user_id)


async def memberships(statements: Executor, person_id: UUID) -> Sequence[Membership]:
    """Return the workspaces in which a person is active: the one that was chosen last, then the others, the oldest first."""
    records = await statements.fetch(
        """
        select m.workspace_id, m.user_id, w.name, u.object ->> 'role'
        from person_user m
        join workspace_user u on u.workspace_id = m.workspace_id and u.id = m.user_id
        join workspace w on w.id = u.workspace_id
        join person p on p.id = m.person_id
        where m.person_id = $1 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
        order by p.last_workspace_id is distinct from m.workspace_id, m.workspace_id
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


async def set_password(pool: Pool, person_id: UUID, address: str, password_hash: str) -> bool:
    """Set the address and the password of a person; return whether the address is nobody else's.

    From then on, no session may change the password without it, and no link that was made before lets anybody in.
    """
    try:
        async with pool.acquire() as connection, connection.transaction():
            person = await connection.fetchrow("select address from person where id = $1 for update", person_id)
            if person is None or (address != person["address"] and await _is_of_another(connection, person_id, address)):
                return False
            await connection.execute(
                """
                update person set address = $2, password_hash = $3, is_vouched = is_vouched and address is not distinct from $2
                where id = $1
                """,
                person_id,
                address,
                password_hash,
            )
            await connection.execute("update console_session set is_by_link = false where person_id = $1", person_id)
            await connection.execute(
                """
                delete from sign_in_link l using person_user m
                where m.person_id = $1 and l.workspace_id = m.workspace_id and l.user_id = m.user_id
                """,
                person_id,
            )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def _is_of_another(statements: Executor, person_id: UUID, address: str) -> bool:
    """Whether an active user whom the person is not has an address."""
    having = await statements.fetch(
        """
        select h.workspace_id, h.user_id from user_handle h
        join workspace_user u on u.workspace_id = h.workspace_id and u.id = h.user_id
        where h.handle = $1 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
        """,
        address,
    )
    return bool(having) and not _pairs(having) <= await _users_of(statements, person_id)


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
