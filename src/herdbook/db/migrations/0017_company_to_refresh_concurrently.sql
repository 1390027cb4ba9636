create index concurrently if not exists company_to_refresh on company (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
