-- Duplicates. All but `distinct_pair` follows from the contacts and companies, and is made anew when it is missing.

-- How far the search for duplicates among the contacts or the companies of a workspace has come. There is a row once somebody has
-- asked for duplicates.
create table duplicate_search (
    workspace_id uuid not null,
    object_type text not null,
    -- All changes up to this one are taken in.
    seq bigint not null,
    -- The last object that the first pass over all has looked at; null once it has looked at all.
    scanned_to uuid,
    -- How objects were read: the form of the keys, the workspace's region, and the fields that are compared. If that changes, the
    -- pass begins again.
    reading text not null,
    -- Values that so many have that nobody is compared by them, in words.
    too_common text[] not null default '{}',
    primary key (workspace_id, object_type)
) with (fillfactor = 50);

-- The objects that have been looked at, and the keys of each: hashes of names, addresses and the like.
create table duplicate_object (
    workspace_id uuid not null,
    id uuid not null,
    keys bigint[] not null,
    primary key (workspace_id, id)
);

create table duplicate_key (
    workspace_id uuid not null,
    key bigint not null,
    object_id uuid not null,
    primary key (workspace_id, key, object_id)
);

-- Pairs of active objects that may be the same. `one_id` is the lesser id.
create table duplicate_pair (
    workspace_id uuid not null,
    one_id uuid not null,
    other_id uuid not null,
    object_type text not null,
    -- The probability that they are the same, of a thousand.
    score smallint not null,
    primary key (workspace_id, one_id, other_id)
);

create index duplicate_pair_by_other on duplicate_pair (workspace_id, other_id, one_id);
create index duplicate_pair_by_score on duplicate_pair (workspace_id, object_type, score desc, one_id, other_id);

-- Pairs of which somebody has said that they are not the same. `one_id` is the lesser id.
create table distinct_pair (
    workspace_id uuid not null,
    one_id uuid not null,
    other_id uuid not null,
    object_type text not null,
    at timestamptz not null default now(),
    credential_id uuid not null,
    primary key (workspace_id, one_id, other_id)
);

create index distinct_pair_by_other on distinct_pair (workspace_id, other_id, one_id);
