-- The erasures, without the persons: what is hashed is the id or an address of an erased contact, with the key in `setting`.
create table erasure (
    workspace_id uuid not null,
    hash text not null,
    at timestamptz not null,
    request_id uuid not null,
    credential_id uuid not null,
    with_engagements boolean not null,
    -- The rows that the erasure found, by table. Null for an address.
    found json,
    primary key (workspace_id, hash)
);

-- The erasures that are under way. A row goes with the last slice of its erasure.
create table erasure_task (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    state json not null,
    primary key (workspace_id, id)
);

insert into setting (name, value)
select 'erasure_key', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
on conflict do nothing;

comment on column change.action is 'c created, u updated, d deleted, r restored, x erased';
comment on column unfinished.task is
    'release (the contacts of a company), move (the engagements of a contact), move_company (the contacts and engagements of a company), erase (a contact, or the entries of a deleted object), uncomment (a deleted engagement)';
