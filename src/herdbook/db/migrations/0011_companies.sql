-- The company that replaces this one, if it was merged. An older release merges no companies, and leaves the column alone.
alter table company add column merged_into uuid;

comment on column unfinished.task is
    'release (the contacts of a company), move (the engagements of a contact), move_company (the contacts and engagements of a company)';
