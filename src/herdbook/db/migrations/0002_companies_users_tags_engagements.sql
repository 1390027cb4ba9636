comment on column change.kind is
    'c contact, o company, u user, t tag, e engagement, r transcript, n transcript comment';

-- Companies: found by CRM record, and by the words of their name.

alter table company add column crm_object_id text;
-- The default rewrites nothing, and lets the last release create companies still. What was there before gets its words below, and
-- all of them at its next change.
alter table company add column search text not null default '';

create table company_word (
    workspace_id uuid not null,
    word text collate "C" not null,
    company_id uuid not null,
    primary key (workspace_id, word, company_id)
);

update company set search = regexp_replace(
    regexp_replace(lower(normalize(object ->> 'name', nfkd)), '[\u0300-\u036f]', '', 'g'), '([[:alnum:]]+)', chr(31) || '\1', 'g'
)
where object ->> 'name' is not null;

insert into company_word (workspace_id, word, company_id)
select distinct workspace_id, word[1], id
from company, regexp_matches(search, chr(31) || '([[:alnum:]]+)', 'g') as word
where deleted_at is null;

create index company_by_update on company (workspace_id, updated_at, version) where deleted_at is null;
create index company_by_crm_object on company (workspace_id, crm_object_id)
    where crm_object_id is not null and deleted_at is null;
-- Those that may have contacts to be released from them.
create index company_deleted on company (workspace_id, id) where deleted_at is not null;

-- The active contacts of each company.

create table company_contact (
    workspace_id uuid not null,
    company_id uuid not null,
    contact_id uuid not null,
    primary key (workspace_id, company_id, contact_id)
);

insert into company_contact (workspace_id, company_id, contact_id)
select workspace_id, company_id, id from contact where company_id is not null and deleted_at is null;

-- A contact is found by its phone numbers where it is found by words: the plus sign sets them apart.
insert into contact_word (workspace_id, word, contact_id)
select workspace_id, number, id from contact, unnest(phone_numbers_e164) as number where deleted_at is null
on conflict do nothing;

-- Users.

create table workspace_user (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    is_active boolean not null,
    phone_number_e164 text,
    search text not null,
    object json not null,
    primary key (workspace_id, id)
);

create index workspace_user_by_update on workspace_user (workspace_id, updated_at, version) where deleted_at is null;

create table user_word (
    workspace_id uuid not null,
    word text collate "C" not null,
    user_id uuid not null,
    primary key (workspace_id, word, user_id)
);

-- What a user is known by: e-mail addresses, and a phone number.
create table user_handle (
    workspace_id uuid not null,
    handle text not null,
    user_id uuid not null,
    primary key (workspace_id, handle)
);

-- The user that a key acts for; the first of the workspace, where none is named.
alter table credential add column user_id uuid;

-- Tags.

create table tag (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    object json not null,
    primary key (workspace_id, id)
);

create index tag_by_update on tag (workspace_id, updated_at, version) where deleted_at is null;

create table tag_name (
    workspace_id uuid not null,
    name text not null,
    tag_id uuid not null,
    primary key (workspace_id, name)
);

-- Engagements. `object` is what the API always shows, `details` what it shows on demand or not at all.

create table engagement (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    engagement_type text not null,
    processing_status text not null,
    is_private boolean not null,
    start_at timestamptz not null,
    owner_user_id uuid,
    contact_ids uuid[] not null,
    company_ids uuid[] not null,
    search text not null,
    details json not null,
    object json not null,
    primary key (workspace_id, id)
);

create index engagement_by_update on engagement (workspace_id, updated_at, version) where deleted_at is null;
create index engagement_by_update_not_private on engagement (workspace_id, updated_at, version)
    where deleted_at is null and not is_private;
create index engagement_by_start on engagement (workspace_id, start_at, id) where deleted_at is null;
create index engagement_by_type on engagement (workspace_id, engagement_type, processing_status, updated_at, version)
    where deleted_at is null;
create index engagement_by_owner on engagement (workspace_id, owner_user_id, updated_at, version)
    where owner_user_id is not null and deleted_at is null;

create table engagement_word (
    workspace_id uuid not null,
    word text collate "C" not null,
    engagement_id uuid not null,
    primary key (workspace_id, word, engagement_id)
);

create table engagement_contact (
    workspace_id uuid not null,
    contact_id uuid not null,
    engagement_id uuid not null,
    primary key (workspace_id, contact_id, engagement_id)
);

create table engagement_company (
    workspace_id uuid not null,
    company_id uuid not null,
    engagement_id uuid not null,
    primary key (workspace_id, company_id, engagement_id)
);

create table engagement_external_id (
    workspace_id uuid not null,
    external_id text not null,
    engagement_id uuid not null,
    primary key (workspace_id, external_id)
);

-- What was said in an engagement, under the engagement's id: plain text, and the timeline where there is one.

create table transcript (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    timeline_id uuid,
    text text not null,
    object json,
    primary key (workspace_id, id)
);

create table transcript_comment (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    engagement_id uuid not null,
    object json not null,
    primary key (workspace_id, id)
);

create index transcript_comment_by_engagement on transcript_comment (workspace_id, engagement_id, updated_at, version)
    where deleted_at is null;
