create index concurrently if not exists engagement_to_refresh on engagement (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
