-- A company that is active was merged into no other. The release before restores companies that this one has merged, and leaves
-- a column alone that it does not know: without this, such a company would count as merged once it is deleted again.
create function clear_merged_into() returns trigger language plpgsql as $$
begin
    new.merged_into := null;
    return new;
end
$$;

create trigger company_not_merged before update on company for each row
when (new.deleted_at is null and new.merged_into is not null) execute function clear_merged_into();

-- Some that were restored before may have been deleted again, by an entry that names no other company.
update company c set merged_into = null
from change e
where c.merged_into is not null and e.workspace_id = c.workspace_id and e.seq = c.version and e.kind::text = 'o'
    and (c.deleted_at is null or (e.action::text = 'd' and e.merged_into is null));

-- The domains of deleted companies, so that an upsert restores the company that had the domain last. The release before adds none.
create table company_former_domain (
    workspace_id uuid not null,
    domain text not null,
    company_id uuid not null,
    primary key (workspace_id, domain, company_id)
);

insert into company_former_domain (workspace_id, domain, company_id)
select distinct c.workspace_id, regexp_replace(item ->> 'domain', '^(www\.)+(?=[^.]+\.)', ''), c.id
from company c cross join lateral json_array_elements(c.object -> 'domains') as item
where c.deleted_at is not null and c.merged_into is null;
