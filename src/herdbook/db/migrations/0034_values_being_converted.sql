-- The entry of a field's definition since which its values are being converted, and the request that this takes back, if any.
-- Null if none are.
alter table field add column converting json;
