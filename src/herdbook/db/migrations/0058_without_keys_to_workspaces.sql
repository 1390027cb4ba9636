-- A database that keeps workspaces on several nodes, and credentials on all, can have no keys between them. Workspaces are never
-- deleted, so nothing is lost.
alter table credential drop constraint credential_workspace_id_fkey;
alter table oauth_client drop constraint oauth_client_workspace_id_fkey;
