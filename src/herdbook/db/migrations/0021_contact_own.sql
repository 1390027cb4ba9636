-- The members of a contact that only herdbook's own operations show; null if it has none. An older release that still serves beside
-- this one leaves the column alone, but its entries are without these members, and a deletion frees none of the external ids.
alter table contact add column own json;

-- The ids of their own that callers gave the active contacts of a workspace.
create table contact_external_id (
    workspace_id uuid not null,
    external_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, external_id)
);

-- The external ids of deleted contacts.
create table contact_former_external_id (
    workspace_id uuid not null,
    external_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, external_id, contact_id)
);
