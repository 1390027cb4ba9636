-- Imports of files. The work of one is in its progress, which each slice of rows changes together with what the rows become.
create table import_job (
    workspace_id uuid not null,
    id uuid not null,
    created_at timestamptz not null default now(),
    -- When the file and the outcome of the rows are deleted.
    expires_at timestamptz not null,
    state text not null,
    progress json not null,
    -- The columns with samples, the mapping, and the request and the credential of all changes.
    content json not null,
    primary key (workspace_id, id)
);
create index import_job_at_work on import_job (workspace_id, id) where state in ('checking', 'running');

-- The outcome of the rows, or the one that a dry run found: some hundred rows in each.
create table import_slice (
    workspace_id uuid not null,
    job_id uuid not null,
    is_check boolean not null,
    -- The number of its last row in the file.
    last_row bigint not null,
    -- The verdicts that the slice has.
    verdicts text[] not null,
    rows json not null,
    primary key (workspace_id, job_id, is_check, last_row)
);

-- Mappings that are kept by a name, with the columns that they are for.
create table import_mapping (
    workspace_id uuid not null,
    name text not null,
    columns json not null,
    mapping json not null,
    updated_at timestamptz not null default now(),
    primary key (workspace_id, name)
);
