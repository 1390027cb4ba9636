-- Looks that come more often than once an hour read what is due, and not all endpoints, deliveries, erasures or searches.

-- The updates that renew a lease change none of these columns, so they still touch no index.
create index webhook_reader_at_work on webhook_reader (workspace_id, endpoint_id)
    where is_enabled and (lease_holder is not null or paused_until is not null or failing_since is not null);
create index webhook_reader_enabled on webhook_reader (workspace_id, endpoint_id) where is_enabled;
create index webhook_delivery_by_attempt on webhook_delivery (next_attempt_at) where next_attempt_at is not null;
create index erasure_by_time on erasure (at);
create index duplicate_search_first_pass on duplicate_search (workspace_id, object_type) where scanned_to is not null;
