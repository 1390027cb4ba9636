-- The saved views of lists: what they filter, and how they show it. A change of one is no entry of the ledger.
create table saved_view (
    workspace_id uuid not null,
    id uuid not null,
    object_type text not null,
    -- Null if a credential that acts for no user has made it.
    owner_id uuid,
    name text not null,
    is_shared boolean not null,
    -- The condition, the search, the order and the columns. A condition may name a person.
    content json not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (workspace_id, id)
);
