-- The notes on contacts and companies. One of the two ids is null.
create table note (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    contact_id uuid,
    company_id uuid,
    is_pinned boolean not null,
    object json not null,
    primary key (workspace_id, id)
);

create index note_by_contact on note (workspace_id, contact_id, updated_at, version)
    where contact_id is not null;
create index note_by_company on note (workspace_id, company_id, updated_at, version)
    where company_id is not null;

-- The active notes on a contact or a company, for commands.
create table contact_note (
    workspace_id uuid not null,
    contact_id uuid not null,
    note_id uuid not null,
    primary key (workspace_id, contact_id, note_id)
);

create table company_note (
    workspace_id uuid not null,
    company_id uuid not null,
    note_id uuid not null,
    primary key (workspace_id, company_id, note_id)
);

-- The tags of active contacts and companies, by their ids as the API shows them.
create table contact_tag (
    workspace_id uuid not null,
    tag_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, tag_id, contact_id)
);

create table company_tag (
    workspace_id uuid not null,
    tag_id text not null,
    company_id uuid not null,
    primary key (workspace_id, tag_id, company_id)
);
