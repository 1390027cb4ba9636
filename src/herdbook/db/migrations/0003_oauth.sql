-- OAuth: programs of other people, what users have granted them, and the tokens they have for it.

create table oauth_client (
    id uuid primary key,
    workspace_id uuid not null references workspace,
    name text not null,
    scopes text[] not null,
    redirect_uris text[] not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint oauth_client_is_no_administrator check (not scopes @> '{workspace:admin}')
) with (fillfactor = 80);

-- What a user has granted a client. It begins as a code, and its hash is the code's; `ends_at` is when the code expires or, once
-- that was used, when the last refresh token does. To revoke it is to revoke every token that came from it.
create table oauth_grant (
    id uuid primary key,
    client_id uuid not null,
    user_id uuid not null,
    scopes text[] not null,
    redirect_uri text not null,
    code_challenge text not null,
    secret_hash bytea not null,
    ends_at timestamptz not null,
    used_at timestamptz,
    revoked_at timestamptz
) with (fillfactor = 80);

create index oauth_grant_by_end on oauth_grant (ends_at);

-- Used ones are kept until they expire, so that one that comes back gives away whoever has stolen it.
create table oauth_refresh_token (
    id uuid primary key,
    grant_id uuid not null,
    secret_hash bytea not null,
    expires_at timestamptz not null,
    used_at timestamptz
) with (fillfactor = 80);

create index oauth_refresh_token_by_expiry on oauth_refresh_token (expires_at);

-- Without a grant, it is the client's own.
create table oauth_access_token (
    id uuid primary key,
    client_id uuid not null,
    grant_id uuid,
    scopes text[] not null,
    secret_hash bytea not null,
    expires_at timestamptz not null
);

create index oauth_access_token_by_expiry on oauth_access_token (expires_at);
