-- The deleted companies that can come back, the latest first.
create index concurrently if not exists company_bin on company (workspace_id, version)
    where deleted_at is not null and merged_into is null;
