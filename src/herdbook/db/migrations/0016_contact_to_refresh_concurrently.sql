-- Rows whose searchable text is of a release before this one; a chore brings it up to date.
create index concurrently if not exists contact_to_refresh on contact (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
