-- The time of the last entry that was trimmed; of an older release's trimming there is none. An older release that trims on
-- moves `seq` alone, so the time holds only where `at_seq` is `seq`.
alter table change_trimmed add column at_seq bigint;
alter table change_trimmed add column at timestamptz;

-- The engagements of each tag. What an older release tags while it still serves beside this one is not noted here.
create table engagement_tag (
    workspace_id uuid not null,
    tag_id text collate "C" not null,
    engagement_id uuid not null,
    primary key (workspace_id, tag_id, engagement_id)
);

insert into engagement_tag (workspace_id, tag_id, engagement_id)
select e.workspace_id, of_it.tag_id, e.id
from engagement e cross join lateral json_array_elements_text(e.details -> 'tag_ids') as of_it(tag_id)
where e.deleted_at is null and e.details -> 'tag_ids' is not null
on conflict do nothing;
