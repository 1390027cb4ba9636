-- The deleted engagements that can come back, the latest first.
create index concurrently if not exists engagement_bin on engagement (workspace_id, version)
    where deleted_at is not null;
