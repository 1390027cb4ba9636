-- Old records are deleted in slices, each found by its time.
create index concurrently if not exists idempotency_record_by_time on idempotency_record (at);
