-- The country whose phone numbers need no country code, as two letters (ISO 3166-1).
alter table workspace add column region text;
