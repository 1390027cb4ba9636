-- A second fingerprint, of the request in its canonical form. `fingerprint` is of the request as it was sent, which an older release
-- stores and compares, so that a retry finds its first answer whichever release gets it.
alter table idempotency_record add column canonical_fingerprint text;
