create index concurrently if not exists workspace_user_to_refresh on workspace_user (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
