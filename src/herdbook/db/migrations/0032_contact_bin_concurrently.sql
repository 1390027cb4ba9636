-- The deleted contacts that can come back, the latest first.
create index concurrently if not exists contact_bin on contact (workspace_id, version)
    where deleted_at is not null and merged_into is null;
