-- An object's entries are a chain, from the version that its row has to the first.
alter table change add column previous_version bigint;
-- The contact that goes on in this one's place: of entries that delete a contact by merging, and that bring it back.
alter table change add column merged_into uuid;
comment on column change.action is 'c created, u updated, d deleted, r restored';
comment on column change.kind is
    'c contact, o company, u user, t tag, e engagement, r transcript, n transcript comment, w webhook endpoint';

alter table contact add column merged_into uuid;
create index contact_merged on contact (workspace_id, merged_into) where merged_into is not null;

-- The addresses that deleted contacts had.
create table contact_former_email (
    workspace_id uuid not null,
    address text not null,
    contact_id uuid not null,
    primary key (workspace_id, address, contact_id)
);

-- Up to which entry, it included, each workspace's ledger has been trimmed.
create table change_trimmed (
    workspace_id uuid primary key,
    seq bigint not null
);

create table webhook_endpoint (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    secret text not null,
    former_secret text,
    former_secret_until timestamptz,
    object json not null,
    primary key (workspace_id, id)
);

create index webhook_endpoint_by_update on webhook_endpoint (workspace_id, updated_at, version) where deleted_at is null;

-- How far an endpoint has read its workspace's ledger: all up to the position is delivered, is of no interest to it, or stands in
-- `webhook_delivery`. Who holds the lease reads on.
create table webhook_reader (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    is_enabled boolean not null,
    position bigint not null,
    -- From which positions on it is told of which events: what is not told of is no delivery.
    told json not null default '[]',
    failing_since timestamptz,
    failures_in_a_row integer not null default 0,
    paused_until timestamptz,
    delivered bigint not null default 0,
    failed bigint not null default 0,
    lease_holder uuid,
    leased_until timestamptz,
    primary key (workspace_id, endpoint_id)
) with (fillfactor = 50);

-- What was not delivered at the first attempt, or was sent again. `seq` is the entry of the ledger.
create table webhook_delivery (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    seq bigint not null,
    event_type text not null,
    created_at timestamptz not null,
    state text not null,
    attempt_count integer not null,
    next_attempt_at timestamptz,
    attempts json not null,
    primary key (workspace_id, endpoint_id, seq)
) with (fillfactor = 70);

comment on column webhook_delivery.state is 'waiting (for its next attempt), delivered, failed (for good) or skipped';

create index webhook_delivery_due on webhook_delivery (workspace_id, endpoint_id, next_attempt_at)
    where next_attempt_at is not null;
create index webhook_delivery_by_state on webhook_delivery (workspace_id, endpoint_id, state, seq);
