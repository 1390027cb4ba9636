-- Passkeys, and invitations by an administrator of a workspace.

-- Nothing but an invitation, or the person, says that the address is the person's. Somebody who has it elsewhere on this server must
-- therefore not become the same person without a sign-in.
alter table person add column is_vouched boolean not null default true;

-- An invitation is made by an administrator of the workspace. It lets nobody in who has signed in before.
alter table sign_in_link add column is_invitation boolean not null default false;

create table passkey (
    id uuid primary key,
    person_id uuid not null references person,
    credential_id bytea not null unique,
    public_key bytea not null,
    sign_count bigint not null,
    name text not null,
    created_at timestamptz not null default now(),
    used_at timestamptz
);

create index passkey_by_person on passkey (person_id);

-- A passkey or an OpenID provider is asked with a challenge, and each answer to it counts once.
create table sign_in_challenge (
    id uuid primary key,
    secret_hash bytea not null,
    content jsonb not null,
    expires_at timestamptz not null
);

create index sign_in_challenge_by_expiry on sign_in_challenge (expires_at);
