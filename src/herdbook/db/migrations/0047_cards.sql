-- The vCards that contacts came from, as far as they have more than the contact. A row is never changed; contacts name theirs.
create table card (
    workspace_id uuid not null,
    id uuid not null,
    -- The contact that it was imported for. A merge lets another contact name it, too.
    contact_id uuid not null,
    -- The properties, one on each line.
    properties text not null,
    -- The members that the contact did not take over.
    left_out text[] not null default '{}',
    primary key (workspace_id, id)
);

create index card_by_contact on card (workspace_id, contact_id);
