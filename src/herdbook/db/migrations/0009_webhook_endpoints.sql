-- With which version of the endpoint the lease's holder begins attempts; null: it begins none.
alter table webhook_reader add column sends_as bigint;
-- The last failed attempt since the last success, and for how long attempts have failed.
alter table webhook_reader add column failed_at timestamptz;
alter table webhook_reader add column failing_seconds double precision not null default 0;
-- While the endpoint was disabled, the entries from one to the other went without being told to it.
alter table webhook_reader add column missed_from bigint;
alter table webhook_reader add column missed_to bigint;

update webhook_reader r set missed_from = r.position + 1, missed_to = t.seq
from change_trimmed t where t.workspace_id = r.workspace_id and not r.is_enabled and r.position < t.seq;

-- Somebody asked for it, so it is sent whether the endpoint is told of such events by now or not.
alter table webhook_delivery add column is_resend boolean not null default false;
comment on column webhook_delivery.state is
    'waiting (for its next attempt), delivered, failed (for good), skipped, or expired (its entry is no longer kept)';
