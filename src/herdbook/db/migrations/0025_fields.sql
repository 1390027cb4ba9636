-- The members of a company that only herdbook's own operations show; null if it has none. An older release that still serves
-- beside this one leaves the column alone, but its entries are without these members, and a deletion frees no unique value.
alter table company add column own json;

-- The workspace's own fields of contacts and companies.
create table field (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    object_type text not null,
    key text not null,
    is_archived boolean not null,
    -- The last object of which the value has its present form, while a change of that form is carried out.
    converted_to uuid,
    object json not null,
    primary key (workspace_id, id)
);

create index field_by_update on field (workspace_id, updated_at, version) where deleted_at is null;

-- A key follows the type of the objects that have the field, and a point. Archived fields keep theirs.
create table field_key (
    workspace_id uuid not null,
    key text not null,
    field_id uuid not null,
    primary key (workspace_id, key)
);

-- The values of fields in active contacts: the key of a field, and a text of the value.
create table contact_field (
    workspace_id uuid not null,
    key text collate "C" not null,
    contact_id uuid not null,
    primary key (workspace_id, key, contact_id)
);

-- The values of unique fields in active contacts, each behind the key of its field.
create table contact_field_value (
    workspace_id uuid not null,
    value text not null,
    contact_id uuid not null,
    primary key (workspace_id, value)
);

create table company_field (
    workspace_id uuid not null,
    key text collate "C" not null,
    company_id uuid not null,
    primary key (workspace_id, key, company_id)
);

create table company_field_value (
    workspace_id uuid not null,
    value text not null,
    company_id uuid not null,
    primary key (workspace_id, value)
);

-- Whether the workspace has been given the usual fields. It may have archived them since.
alter table workspace add column has_usual_fields boolean not null default false;
