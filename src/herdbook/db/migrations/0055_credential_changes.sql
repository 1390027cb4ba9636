-- The changes of API keys and OAuth clients, which are in no ledger.
create table credential_change (
    workspace_id uuid not null,
    credential_id uuid not null,
    id uuid not null,
    at timestamptz not null default now(),
    -- The user who did it in the console; null: an operator, by the command line.
    user_id uuid,
    request_id uuid,
    action text not null,
    -- The values of changed members before and after, as the history of an object has them.
    changes jsonb not null default '{}',
    constraint credential_change_pkey primary key (workspace_id, credential_id, id)
);

-- The user who changed a view last.
alter table saved_view add column updated_by uuid;
