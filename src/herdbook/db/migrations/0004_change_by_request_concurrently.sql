-- What a request did, for undo. Requests' ids are in the order of time, so an entry is added at the index's end.
create index concurrently if not exists change_by_request on change (request_id);
