-- The companies that were merged into another one; an undo asks for them.
create index concurrently if not exists company_merged on company (workspace_id, merged_into) where merged_into is not null;
