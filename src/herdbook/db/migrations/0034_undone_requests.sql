-- The requests that have undone others. The ledger alone does not tell an undo from other changes.
create table undone_request (
    workspace_id uuid not null,
    -- The request that was an undo.
    request_id uuid not null,
    undone_id uuid not null,
    primary key (workspace_id, request_id)
);

-- The accounts of people at OpenID providers. An address may be given to somebody else there, a subject never is (OpenID Connect
-- Core 1.0, section 5.7).
create table person_openid (
    issuer text not null,
    subject text not null,
    person_id uuid not null references person,
    created_at timestamptz not null default now(),
    primary key (issuer, subject)
);

create unique index person_openid_by_person on person_openid (person_id, issuer);
