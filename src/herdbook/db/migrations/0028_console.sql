-- The console: the people who sign in, their sessions, and the links that let them in.

-- The address and the password are null until the person sets them.
create table person (
    id uuid primary key,
    address text unique,
    password_hash text,
    created_at timestamptz not null default now()
);

-- The users that a person is, one in each workspace. The ledger records the person's changes under the credential, which has no
-- secret.
create table person_user (
    workspace_id uuid not null,
    user_id uuid not null,
    person_id uuid not null references person,
    credential_id uuid not null references credential,
    primary key (workspace_id, user_id)
);

create index person_user_by_person on person_user (person_id);

-- Each link signs a user in once.
create table sign_in_link (
    id uuid primary key,
    workspace_id uuid not null,
    user_id uuid not null,
    secret_hash bytea not null,
    expires_at timestamptz not null
);

create index sign_in_link_by_expiry on sign_in_link (expires_at);

create table console_session (
    id uuid primary key,
    person_id uuid not null references person,
    -- The workspace and the user that the person has chosen.
    workspace_id uuid not null,
    user_id uuid not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    -- A session that a link opened may set a new password without the old one.
    is_by_link boolean not null,
    address text not null,
    browser text not null
) with (fillfactor = 80);

create index console_session_by_person on console_session (person_id);
create index console_session_by_start on console_session (created_at);
