"""Every SQL statement about passkeys, the challenges of sign-ins, and persons whom an OpenID provider knows."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.auth.keys import NotAKey, Token, new_token, read_token, secret_hash
from herdbook.console.model import PASSKEY_PREFIX
from herdbook.console.store import connect, prove_address
from herdbook.db.pool import Executor, Pool
from herdbook.db.slices import SLICE, each_slice

_CHALLENGE_PREFIX: Final = "sgnc_"
_CHALLENGE_LASTS: Final = timedelta(minutes=10)


class Passkey(NamedTuple):
    """A passkey, as its person sees it."""

    id: UUID
    name: str
    created_at: datetime
    used_at: datetime | None

    @property
    def shown_id(self) -> str:
        """The id of the passkey."""
        return ids.encoded(PASSKEY_PREFIX, self.id)


class StoredPasskey(NamedTuple):
    """A passkey that somebody signs in with."""

    id: UUID
    person_id: UUID
    public_key: bytes
    sign_count: int


async def create_challenge(statements: Executor, content: Mapping[str, Any]) -> Token:
    """Keep what an answer is compared with, for a while."""
    token = new_token(_CHALLENGE_PREFIX)
    await statements.execute(
        """
        insert into sign_in_challenge (id, secret_hash, content, expires_at)
        values ($1, $2, $3::text::jsonb, now() + $4::interval)
        """,
        token.id,
        secret_hash(token.secret),
        msgspec.json.encode(content).decode(),
        _CHALLENGE_LASTS,
    )
    return token


async def take_challenge(statements: Executor, text: str) -> dict[str, Any] | None:
    """Return what an answer is compared with, if it is the first answer and in time."""
    try:
        token = read_token(text, _CHALLENGE_PREFIX, "challenge")
    except NotAKey:
        return None
    content: str | None = await statements.fetchval(
        "delete from sign_in_challenge where id = $1 and secret_hash = $2 and expires_at > now() returning content::text",
        token.id,
        secret_hash(token.secret),
    )
    return None if content is None else msgspec.json.decode(content, type=dict[str, Any])


async def passkeys_of(statements: Executor, person_id: UUID) -> Sequence[Passkey]:
    """Return the passkeys of a person, the oldest first."""
    records = await statements.fetch(
        "select id, name, created_at, used_at from passkey where person_id = $1 order by id", person_id
    )
    return [Passkey(*record) for record in records]


async def credential_ids_of(statements: Executor, person_id: UUID) -> Sequence[bytes]:
    """Return the ids by which browsers know the passkeys of a person."""
    records = await statements.fetch("select credential_id from passkey where person_id = $1", person_id)
    return [record["credential_id"] for record in records]


async def add_passkey(
    statements: Executor, person_id: UUID, credential_id: bytes, public_key: bytes, sign_count: int, name: str
) -> bool:
    """Keep a passkey of a person; return whether it is a new one."""
    try:
        await statements.execute(
            """
            insert into passkey (id, person_id, credential_id, public_key, sign_count, name)
            values ($1, $2, $3, $4, $5, $6)
            """,
            ids.new_id(),
            person_id,
            credential_id,
            public_key,
            sign_count,
            name,
        )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def remove_passkey(statements: Executor, person_id: UUID, passkey_id: UUID) -> None:
    """Forget a passkey of a person."""
    await statements.execute("delete from passkey where person_id = $1 and id = $2", person_id, passkey_id)


async def find_passkey(statements: Executor, credential_id: bytes) -> StoredPasskey | None:
    """Return the passkey that a browser knows by this id."""
    record = await statements.fetchrow(
        "select id, person_id, public_key, sign_count from passkey where credential_id = $1", credential_id
    )
    return None if record is None else StoredPasskey(*record)


async def note_passkey_use(statements: Executor, passkey: StoredPasskey, sign_count: int) -> bool:
    """Note that a passkey was used; return whether nobody else has used it since it was read, if it counts its uses."""
    done = await statements.execute(
        "update passkey set used_at = now(), sign_count = $3 where id = $1 and (sign_count = $2 or $3 = 0)",
        passkey.id,
        passkey.sign_count,
        sign_count,
    )
    return done == "UPDATE 1"


_OLD_CHALLENGES: Final[LiteralString] = """
    with old as (delete from sign_in_challenge where id in (
        select id from sign_in_challenge where expires_at < now() order by expires_at limit $1
    ) returning 1)
    select count(*) from old
"""


async def forget_old_challenges(pool: Pool) -> None:
    """Delete the challenges that nobody has answered in time."""
    await each_slice(lambda: pool.fetchval(_OLD_CHALLENGES, SLICE))


class OtherAccount(Exception):
    """The person with an address signs in with another account of the same OpenID provider."""


async def person_with_openid(statements: Executor, issuer: str, subject: str) -> UUID | None:
    """Return the person who has signed in before with an account of an OpenID provider."""
    found: UUID | None = await statements.fetchval(
        "select person_id from person_openid where issuer = $1 and subject = $2", issuer, subject
    )
    return found


async def has_openid(statements: Executor, person_id: UUID, issuer: str) -> bool:
    """Whether a person has signed in with an account of an OpenID provider."""
    found: bool = await statements.fetchval(
        "select exists (select from person_openid where person_id = $1 and issuer = $2)", person_id, issuer
    )
    return found


async def forget_openid(statements: Executor, person_id: UUID, issuer: str) -> None:
    """Forget a person's account at an OpenID provider."""
    await statements.execute("delete from person_openid where person_id = $1 and issuer = $2", person_id, issuer)


async def person_with_proven_address(pool: Pool, address: str, issuer: str, subject: str) -> UUID | None:
    """Return the person of an address that an account of an OpenID provider has, or None if no user has it.

    The account is kept with the person. Raise OtherAccount if the person has another one there: the address may have been given
    to somebody else.

    The sign-in proves the address, so ways in that somebody else may have made for the account end.
    """
    async with pool.acquire() as connection, connection.transaction():
        person_id = await prove_address(connection, address, keeps_issuer=issuer)
        if person_id is not None:
            await _keep_openid(connection, person_id, issuer, subject)
            return person_id
        users = await connection.fetch(
            """
            select h.workspace_id, h.user_id from user_handle h
            join workspace_user u on u.workspace_id = h.workspace_id and u.id = h.user_id
            where h.handle = $1 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active
                and not exists (
                    select from person_user m where m.workspace_id = h.workspace_id and m.user_id = h.user_id
                )
            """,
            address,
        )
        if not users:
            return None
        new_id = ids.new_id()
        await connection.execute("insert into person (id, address) values ($1, $2)", new_id, address)
        await _keep_openid(connection, new_id, issuer, subject)
        for user in users:
            await connect(connection, new_id, user["workspace_id"], user["user_id"])
        return new_id


async def _keep_openid(statements: Executor, person_id: UUID, issuer: str, subject: str) -> None:
    """Keep a person's account at an OpenID provider. Raise OtherAccount if the person has another one there."""
    kept: str | None = await statements.fetchval(
        """
        insert into person_openid (issuer, subject, person_id) values ($1, $2, $3)
        on conflict (person_id, issuer) do update set subject = person_openid.subject returning subject
        """,
        issuer,
        subject,
        person_id,
    )
    if kept != subject:
        raise OtherAccount
