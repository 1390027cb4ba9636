-- The request that noted a task last, which its slices are recorded under. Null if an earlier release has noted it.
alter table unfinished add column request_id uuid;
alter table unfinished add column credential_id uuid;

-- The lists that a field was: of each, the entries from which and before which it was one, and the labels of its options then.
-- Null if it was none.
alter table field add column former json;
