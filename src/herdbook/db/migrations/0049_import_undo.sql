-- A server undoes imports in the background, and notes the objects that stay as they are.
alter table import_slice add column is_undo boolean not null default false;
alter table import_slice drop constraint import_slice_pkey;
alter table import_slice add primary key (workspace_id, job_id, is_check, is_undo, last_row);
drop index import_job_at_work;
create index import_job_at_work on import_job (workspace_id, id) where state in ('checking', 'running', 'undoing');

-- For imports: whether the request of all their changes was undone.
create index undone_request_undone on undone_request (workspace_id, undone_id);
