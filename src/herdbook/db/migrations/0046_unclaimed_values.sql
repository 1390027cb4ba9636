-- The objects whose value of a unique field a conversion has left without a claim, because another object had claimed it. Null if
-- there are none.
alter table field add column unclaimed json;
