-- The workspace in which a person's next session begins.
alter table person add column last_workspace_id uuid;
