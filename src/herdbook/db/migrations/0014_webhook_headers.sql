-- The own headers of an endpoint, as they are sent.
alter table webhook_endpoint add column own_headers text;
