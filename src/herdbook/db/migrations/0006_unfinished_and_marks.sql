-- What was begun and is still to be finished, in slices: contacts of a company that was deleted to be cleared of it, engagements
-- of a contact that was merged to name another one. It is empty nearly always, so nobody looks through what is done.
create table unfinished (
    workspace_id uuid not null,
    task text not null,
    object_id uuid not null,
    primary key (workspace_id, task, object_id)
);

comment on column unfinished.task is 'release (the contacts of a company), move (the engagements of a contact)';

insert into unfinished (workspace_id, task, object_id)
select c.workspace_id, 'release', c.id from company c
where c.deleted_at is not null
    and exists (select from company_contact l where l.workspace_id = c.workspace_id and l.company_id = c.id);

insert into unfinished (workspace_id, task, object_id)
select c.workspace_id, 'move', c.id from contact c
where c.merged_into is not null
    and exists (select from engagement_contact l where l.workspace_id = c.workspace_id and l.contact_id = c.id);

-- Up to which entry each ledger went at a time, noted once a day: so entries that a clock which was ahead has dated are known to
-- be old in the end.
create table change_mark (
    workspace_id uuid not null,
    at timestamptz not null,
    seq bigint not null,
    primary key (workspace_id, at)
);
