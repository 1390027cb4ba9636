-- Imports find companies by their names, in the form in which a search compares them.
create index concurrently if not exists company_by_name on company (workspace_id, md5(search)) where deleted_at is null;
