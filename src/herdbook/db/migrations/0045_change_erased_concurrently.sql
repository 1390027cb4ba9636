-- Whether an object that is not there was erased, for history and restoration. An erased object has one such entry.
create index concurrently if not exists change_erased on change (workspace_id, object_id) where action = 'x';
