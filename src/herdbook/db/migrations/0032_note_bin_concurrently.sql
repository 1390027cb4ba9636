-- The deleted notes that can come back, the latest first.
create index concurrently if not exists note_bin on note (workspace_id, version)
    where deleted_at is not null;
