-- Tables beside the data of workspaces.

create table setting (
    name text primary key,
    value text not null
);

create table workspace (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null default now(),
    -- The ledger's head: the number of the last change, and the time of the last batch.
    seq bigint not null default 0,
    last_at timestamptz not null default 'epoch',
    -- The country whose phone numbers need no country code, as two letters (ISO 3166-1).
    region text,
    -- Whether the workspace has been given the usual fields. It may have archived them since.
    has_usual_fields boolean not null default false
) with (fillfactor = 50);

create table credential (
    id uuid primary key,
    workspace_id uuid not null,
    name text not null,
    scopes text[] not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    -- The user that a key acts for; null: the first active user of the workspace.
    user_id uuid
) with (fillfactor = 80);

-- The changes of API keys and OAuth clients, which are in no ledger.
create table credential_change (
    workspace_id uuid not null,
    credential_id uuid not null,
    id uuid not null,
    at timestamptz not null default now(),
    -- The user who did it in the console; null: an operator, by the command line.
    user_id uuid,
    request_id uuid,
    action text not null,
    -- The values of changed members before and after, as the history of an object has them.
    changes jsonb not null default '{}',
    constraint credential_change_pkey primary key (workspace_id, credential_id, id)
);

-- The ledger.

create table change (
    workspace_id uuid not null,
    seq bigint not null,
    at timestamptz not null,
    object_id uuid not null,
    request_id uuid not null,
    credential_id uuid not null,
    kind "char" not null,
    action "char" not null,
    previous json,
    object json not null,
    -- The entries of an object are a chain, from the version in its row back to the first one.
    previous_version bigint,
    -- The object that replaces this one, in entries that delete an object by merging or restore it afterwards.
    merged_into uuid,
    primary key (workspace_id, seq)
);

comment on column change.kind is 'The letter of an object type: `kind` in the declaration of each `ObjectType`.';
comment on column change.action is 'c created, u updated, d deleted, r restored, x erased';

-- For undo: the changes of a request. Ids of requests ascend with time, so entries are added at the end of the index.
create index change_by_request on change (request_id);

-- For history and restoration: whether an object that is not there was erased.
create index change_erased on change (workspace_id, object_id) where action = 'x';

-- The requests that have undone others. The ledger alone does not tell an undo from other changes.
create table undone_request (
    workspace_id uuid not null,
    -- The request that was an undo.
    request_id uuid not null,
    undone_id uuid not null,
    primary key (workspace_id, request_id)
);
create index undone_request_undone on undone_request (workspace_id, undone_id);

-- The last trimmed entry of each workspace's ledger; all entries before it are gone, too.
create table change_trimmed (
    workspace_id uuid primary key,
    seq bigint not null,
    -- The time of the entry `seq`; it is valid only if `at_seq` equals `seq`.
    at_seq bigint,
    at timestamptz
);

-- The head of each ledger at a time, noted once a day. Entries that a wrong clock dated ahead count as old when a later mark is
-- old.
create table change_mark (
    workspace_id uuid not null,
    at timestamptz not null,
    seq bigint not null,
    primary key (workspace_id, at)
);

create table idempotency_record (
    workspace_id uuid not null,
    credential_id uuid not null,
    key text not null,
    fingerprint text not null,
    at timestamptz not null,
    version bigint not null,
    answer json not null,
    canonical_fingerprint text,
    primary key (workspace_id, credential_id, key)
);

-- The deletion of old records in slices finds them by time.
create index idempotency_record_by_time on idempotency_record (at);

-- Unfinished tasks, which are finished later in slices: clearing a deleted company from its contacts, moving to another one
-- the engagements of a merged contact, or the contacts and engagements of a merged company, erasing a person, and deleting the comments on an engagement. The table is nearly always empty, so finding them costs nothing.
create table unfinished (
    workspace_id uuid not null,
    task text not null,
    object_id uuid not null,
    -- The request that noted the task last, which its slices are recorded under. Null if an earlier release has noted it.
    request_id uuid,
    credential_id uuid,
    primary key (workspace_id, task, object_id)
);

comment on column unfinished.task is
    'release (the contacts of a company), move (the engagements of a contact), move_company (the contacts and engagements of a company), erase (a contact, or the entries of a deleted object), uncomment (a deleted engagement)';

-- The erasures, without the persons: what is hashed is the id or an address of an erased contact, with the key in `setting`.
create table erasure (
    workspace_id uuid not null,
    hash text not null,
    at timestamptz not null,
    request_id uuid not null,
    credential_id uuid not null,
    with_engagements boolean not null,
    -- The rows that the erasure found, by table. Null for an address.
    found json,
    primary key (workspace_id, hash)
);

-- The latest erasures, which the list outside of the database may still lack.
create index erasure_by_time on erasure (at);

-- The erasures that are under way. A row goes with the last slice of its erasure.
create table erasure_task (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    state json not null,
    primary key (workspace_id, id)
);

-- Companies.

create table company (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    object json not null,
    name text generated always as (object ->> 'name') virtual,
    crm_object_id text,
    search text not null default '',
    -- The company that replaces this one, if it was deleted by merging.
    merged_into uuid,
    -- The members that only herdbook's own operations show; null if it has none.
    own json,
    primary key (workspace_id, id)
) with (fillfactor = 85);

create index company_by_update on company (workspace_id, updated_at, version) where deleted_at is null;
create index company_by_crm_object on company (workspace_id, crm_object_id)
    where crm_object_id is not null and deleted_at is null;
-- Deleted companies, whose contacts may still have to be released.
create index company_deleted on company (workspace_id, id) where deleted_at is not null;
-- The deleted companies that can come back.
create index company_bin on company (workspace_id, version)
    where deleted_at is not null and merged_into is null;
create index company_merged on company (workspace_id, merged_into) where merged_into is not null;
-- A company that is active was merged into no other. The release before restores merged companies, and leaves the column alone.
create function clear_merged_into() returns trigger language plpgsql as $$
begin
    new.merged_into := null;
    return new;
end
$$;
create trigger company_not_merged before update on company for each row
when (new.deleted_at is null and new.merged_into is not null) execute function clear_merged_into();
-- The names of companies, in the form in which a search compares them.
create index company_by_name on company (workspace_id, md5(search)) where deleted_at is null;

-- The domains of deleted companies.
create table company_former_domain (
    workspace_id uuid not null,
    domain text not null,
    company_id uuid not null,
    primary key (workspace_id, domain, company_id)
);

create table company_word (
    workspace_id uuid not null,
    word text collate "C" not null,
    company_id uuid not null,
    primary key (workspace_id, word, company_id)
);

create table company_domain (
    workspace_id uuid not null,
    domain text not null,
    company_id uuid not null,
    primary key (workspace_id, domain)
);

-- Contacts. `object` is the contact as the vendor's API shows it, and `own` has the members that only herdbook's own operations
-- show; the other columns are for look-ups.

create table contact (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    company_id uuid,
    crm_object_id text,
    phone_numbers_e164 text[],
    search text not null,
    first_name_word text collate "C",
    last_name_word text collate "C",
    object json not null,
    first_name text generated always as (object ->> 'first_name') virtual,
    last_name text generated always as (object ->> 'last_name') virtual,
    description text generated always as (object ->> 'description') virtual,
    emails json generated always as (object -> 'emails') virtual,
    phone_numbers json generated always as (object -> 'phone_numbers') virtual,
    time_zone text generated always as (object ->> 'time_zone') virtual,
    -- The contact that replaces this one, if it was deleted by merging.
    merged_into uuid,
    own json,
    primary key (workspace_id, id)
) with (fillfactor = 85);

create index contact_by_update on contact (workspace_id, updated_at, version) where deleted_at is null;
create index contact_by_crm_object on contact (workspace_id, crm_object_id)
    where crm_object_id is not null and deleted_at is null;

-- The deleted contacts that can come back.
create index contact_bin on contact (workspace_id, version)
    where deleted_at is not null and merged_into is null;
create index contact_merged on contact (workspace_id, merged_into) where merged_into is not null;

-- The words by which a search finds a contact. Each name from its first word on is here, where a change of name costs only one index
-- entry, and which sorts contacts, too; all other words are in their own table.
create index contact_by_first_name_word on contact (workspace_id, first_name_word)
    where first_name_word is not null and deleted_at is null;
create index contact_by_last_name_word on contact (workspace_id, last_name_word)
    where last_name_word is not null and deleted_at is null;

create table contact_word (
    workspace_id uuid not null,
    word text collate "C" not null,
    contact_id uuid not null,
    primary key (workspace_id, word, contact_id)
);

-- An address belongs to at most one active contact of a workspace; the primary key guarantees it.
create table contact_email (
    workspace_id uuid not null,
    address text not null,
    contact_id uuid not null,
    primary key (workspace_id, address)
);

-- The addresses of deleted contacts.
create table contact_former_email (
    workspace_id uuid not null,
    address text not null,
    contact_id uuid not null,
    primary key (workspace_id, address, contact_id)
);

-- The ids of their own that callers gave the active contacts of a workspace; the primary key guarantees that each is of one contact.
create table contact_external_id (
    workspace_id uuid not null,
    external_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, external_id)
);

-- The external ids of deleted contacts.
create table contact_former_external_id (
    workspace_id uuid not null,
    external_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, external_id, contact_id)
);

-- The active contacts of each company.

create table company_contact (
    workspace_id uuid not null,
    company_id uuid not null,
    contact_id uuid not null,
    primary key (workspace_id, company_id, contact_id)
);

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

-- The unique keys of users: e-mail addresses and phone numbers.
create table user_handle (
    workspace_id uuid not null,
    handle text not null,
    user_id uuid not null,
    primary key (workspace_id, handle)
);

-- The users with an address, whatever their workspace, for a sign-in that proves the address.
create index user_handle_by_handle on user_handle (handle);

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

-- The workspace's own fields of contacts and companies.
create table field (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    object_type text not null,
    key text not null,
    is_archived boolean not null,
    -- The last object of which the value has its present form, while a change of that form is carried out.
    converted_to uuid,
    object json not null,
    -- The lists that a field was: of each, the entries from which and before which it was one, and the labels of its options
    -- then. Null if it was none.
    former json,
    -- The entry of the definition since which values are being converted, and the request that this takes back, if any. Null if
    -- none are.
    converting json,
    -- The objects whose value of a unique field a conversion has left without a claim, because another object had claimed it. Null
    -- if there are none.
    unclaimed json,
    primary key (workspace_id, id)
);

create index field_by_update on field (workspace_id, updated_at, version) where deleted_at is null;

-- A key follows the type of the objects that have the field, and a point. Archived fields keep theirs.
create table field_key (
    workspace_id uuid not null,
    key text not null,
    field_id uuid not null,
    primary key (workspace_id, key)
);

-- The values of fields in active contacts: the key of a field, and a text of the value.
create table contact_field (
    workspace_id uuid not null,
    key text collate "C" not null,
    contact_id uuid not null,
    primary key (workspace_id, key, contact_id)
);

-- The values of unique fields in active contacts, each behind the key of its field.
create table contact_field_value (
    workspace_id uuid not null,
    value text not null,
    contact_id uuid not null,
    primary key (workspace_id, value)
);

create table company_field (
    workspace_id uuid not null,
    key text collate "C" not null,
    company_id uuid not null,
    primary key (workspace_id, key, company_id)
);

create table company_field_value (
    workspace_id uuid not null,
    value text not null,
    company_id uuid not null,
    primary key (workspace_id, value)
);

-- Engagements. `object` has the members that the API always shows, `details` those that it shows on demand or never.

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

create index engagement_bin on engagement (workspace_id, version)
    where deleted_at is not null;

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

create table engagement_tag (
    workspace_id uuid not null,
    tag_id text collate "C" not null,
    engagement_id uuid not null,
    primary key (workspace_id, tag_id, engagement_id)
);

create table engagement_external_id (
    workspace_id uuid not null,
    external_id text not null,
    engagement_id uuid not null,
    primary key (workspace_id, external_id)
);

-- The transcript of an engagement, under the engagement's id: plain text, and a timeline if there is one.

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

create index transcript_comment_deleted on transcript_comment (workspace_id, engagement_id)
    where deleted_at is not null;

-- The notes on contacts and companies. One of the two ids is null.
create table note (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    contact_id uuid,
    company_id uuid,
    is_pinned boolean not null,
    object json not null,
    primary key (workspace_id, id)
);

create index note_by_contact on note (workspace_id, contact_id, updated_at, version)
    where contact_id is not null;
create index note_by_company on note (workspace_id, company_id, updated_at, version)
    where company_id is not null;
create index note_bin on note (workspace_id, version)
    where deleted_at is not null;

-- The active notes on a contact or a company, for commands.
create table contact_note (
    workspace_id uuid not null,
    contact_id uuid not null,
    note_id uuid not null,
    primary key (workspace_id, contact_id, note_id)
);

create table company_note (
    workspace_id uuid not null,
    company_id uuid not null,
    note_id uuid not null,
    primary key (workspace_id, company_id, note_id)
);

-- The vCards that contacts came from, as far as they have more than the contact. A row is never changed; contacts name theirs.
create table card (
    workspace_id uuid not null,
    id uuid not null,
    -- The contact that it was imported for. A merge lets another contact name it, too.
    contact_id uuid not null,
    -- The properties, one on each line.
    properties text not null,
    -- The members that the contact did not take over.
    left_out text[] not null default '{}',
    primary key (workspace_id, id)
);

create index card_by_contact on card (workspace_id, contact_id);

-- The tags of active contacts and companies, by their ids as the API shows them.
create table contact_tag (
    workspace_id uuid not null,
    tag_id text not null,
    contact_id uuid not null,
    primary key (workspace_id, tag_id, contact_id)
);

create table company_tag (
    workspace_id uuid not null,
    tag_id text not null,
    company_id uuid not null,
    primary key (workspace_id, tag_id, company_id)
);

-- OAuth: programs of third parties, the grants of users to them, and their tokens.

create table oauth_client (
    id uuid primary key,
    workspace_id uuid not null,
    name text not null,
    scopes text[] not null,
    redirect_uris text[] not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint oauth_client_is_no_administrator check (not scopes @> '{workspace:admin}')
) with (fillfactor = 80);

-- Grants of users to clients. A grant begins as a code, and `secret_hash` is the hash of that code. `ends_at` is the expiry of
-- the code or, once the code was used, of the last refresh token. Revoking a grant revokes all its tokens.
create table oauth_grant (
    id uuid primary key,
    client_id uuid not null,
    user_id uuid not null,
    scopes text[] not null,
    redirect_uri text not null,
    code_challenge text not null,
    secret_hash bytea not null,
    ends_at timestamptz not null,
    used_at timestamptz,
    revoked_at timestamptz
) with (fillfactor = 80);

create index oauth_grant_by_end on oauth_grant (ends_at);
-- For the programs that a user has let in.
create index oauth_grant_by_user on oauth_grant (user_id);

-- Used tokens are kept until they expire, so that a second use reveals a theft. The secret of the successor follows from that of
-- the used token and a salt, so that a refresh that is sent again gets the same one. `received_at` is the time of the first use
-- of this token or of an access token that was issued with it.
create table oauth_refresh_token (
    id uuid primary key,
    grant_id uuid not null,
    secret_hash bytea not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    successor_id uuid,
    successor_salt bytea,
    received_at timestamptz
) with (fillfactor = 80);

create index oauth_refresh_token_by_expiry on oauth_refresh_token (expires_at);

-- A token without a grant belongs to the client itself.
create table oauth_access_token (
    id uuid primary key,
    client_id uuid not null,
    grant_id uuid,
    scopes text[] not null,
    secret_hash bytea not null,
    expires_at timestamptz not null,
    refresh_token_id uuid
);

create index oauth_access_token_by_expiry on oauth_access_token (expires_at);

-- The console: the people who sign in, their sessions, and the links that let them in.

-- The address and the password are null until the person sets them.
create table person (
    id uuid primary key,
    address text unique,
    password_hash text,
    created_at timestamptz not null default now(),
    -- Nothing but an invitation, or the person, says that the address is the person's. Somebody who has it elsewhere on this server
    -- must therefore not become the same person without a sign-in.
    is_vouched boolean not null default true,
    -- The workspace that the person has chosen last, in which the next session begins.
    last_workspace_id uuid
);

-- The users that a person is, one in each workspace. The ledger records the person's changes under the credential, which has no
-- secret.
create table person_user (
    workspace_id uuid not null,
    user_id uuid not null,
    person_id uuid not null references person,
    credential_id uuid not null references credential,
    primary key (workspace_id, user_id)
);

create index person_user_by_person on person_user (person_id);

-- Each link signs a user in once.
create table sign_in_link (
    id uuid primary key,
    workspace_id uuid not null,
    user_id uuid not null,
    secret_hash bytea not null,
    expires_at timestamptz not null,
    -- An invitation is made by an administrator of the workspace. It lets nobody in who has signed in before.
    is_invitation boolean not null default false
);

create index sign_in_link_by_expiry on sign_in_link (expires_at);

create table console_session (
    id uuid primary key,
    person_id uuid not null references person,
    -- The workspace and the user that the person has chosen.
    workspace_id uuid not null,
    user_id uuid not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    -- A session that a link opened may set a new password without the old one.
    is_by_link boolean not null,
    address text not null,
    browser text not null
) with (fillfactor = 80);

create index console_session_by_person on console_session (person_id);
create index console_session_by_start on console_session (created_at);

create table passkey (
    id uuid primary key,
    person_id uuid not null references person,
    credential_id bytea not null unique,
    public_key bytea not null,
    sign_count bigint not null,
    name text not null,
    created_at timestamptz not null default now(),
    used_at timestamptz
);

create index passkey_by_person on passkey (person_id);

-- The accounts of people at OpenID providers. An address may be given to somebody else there, a subject never is (OpenID Connect
-- Core 1.0, section 5.7).
create table person_openid (
    issuer text not null,
    subject text not null,
    person_id uuid not null references person,
    created_at timestamptz not null default now(),
    primary key (issuer, subject)
);

create unique index person_openid_by_person on person_openid (person_id, issuer);

-- A passkey or an OpenID provider is asked with a challenge, and each answer to it counts once.
create table sign_in_challenge (
    id uuid primary key,
    secret_hash bytea not null,
    content jsonb not null,
    expires_at timestamptz not null
);

create index sign_in_challenge_by_expiry on sign_in_challenge (expires_at);

-- Webhooks.

create table webhook_endpoint (
    workspace_id uuid not null,
    id uuid not null,
    version bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    secret text not null,
    former_secret text,
    former_secret_until timestamptz,
    object json not null,
    own_headers text,
    primary key (workspace_id, id)
);

create index webhook_endpoint_by_update on webhook_endpoint (workspace_id, updated_at, version) where deleted_at is null;

-- The progress of an endpoint in its workspace's ledger: each entry up to `position` is delivered, not subscribed to, or in
-- `webhook_delivery`. The holder of the lease reads on.
create table webhook_reader (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    is_enabled boolean not null,
    position bigint not null,
    -- The subscribed event types, each list with the position from which it applies; other events are not delivered.
    told json not null default '[]',
    failing_since timestamptz,
    failures_in_a_row integer not null default 0,
    paused_until timestamptz,
    delivered bigint not null default 0,
    failed bigint not null default 0,
    lease_holder uuid,
    leased_until timestamptz,
    -- The version of the endpoint with which the lease's holder begins attempts; null: it begins none.
    sends_as bigint,
    -- The last failed attempt since the last success, and how long attempts have been failing.
    failed_at timestamptz,
    failing_seconds double precision not null default 0,
    -- The range of entries that were trimmed undelivered while the endpoint was disabled.
    missed_from bigint,
    missed_to bigint,
    primary key (workspace_id, endpoint_id)
) with (fillfactor = 50);

-- The endpoints that a courier must look at every second: their lease or their pause may end. To renew a lease changes none of
-- these columns, so it touches no index.
create index webhook_reader_at_work on webhook_reader (workspace_id, endpoint_id)
    where is_enabled and (lease_holder is not null or paused_until is not null or failing_since is not null);
create index webhook_reader_enabled on webhook_reader (workspace_id, endpoint_id) where is_enabled;

-- Deliveries that failed at the first attempt or were sent again. `seq` is the entry of the ledger.
create table webhook_delivery (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    seq bigint not null,
    event_type text not null,
    created_at timestamptz not null,
    state text not null,
    attempt_count integer not null,
    next_attempt_at timestamptz,
    attempts json not null,
    -- A user requested it, so it is sent even if the endpoint no longer subscribes to such events.
    is_resend boolean not null default false,
    primary key (workspace_id, endpoint_id, seq)
) with (fillfactor = 70);

comment on column webhook_delivery.state is
    'waiting (for its next attempt), delivered, failed (for good), skipped, or expired (its entry is no longer kept)';

create index webhook_delivery_due on webhook_delivery (workspace_id, endpoint_id, next_attempt_at)
    where next_attempt_at is not null;
-- The retries that have fallen due since the last look, of all endpoints.
create index webhook_delivery_by_attempt on webhook_delivery (next_attempt_at) where next_attempt_at is not null;
create index webhook_delivery_by_state on webhook_delivery (workspace_id, endpoint_id, state, seq);

-- The saved views of lists: what they filter, and how they show it. A change of one is no entry of the ledger.
create table saved_view (
    workspace_id uuid not null,
    id uuid not null,
    object_type text not null,
    -- Null if a credential that acts for no user has made it.
    owner_id uuid,
    name text not null,
    is_shared boolean not null,
    -- The condition, the search, the order and the columns. A condition may name a person.
    content json not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- The user who changed it last.
    updated_by uuid,
    primary key (workspace_id, id)
);

-- Duplicates. All but `distinct_pair` follows from the contacts and companies, and is made anew when it is missing.

-- How far the search for duplicates among the contacts or the companies of a workspace has come. There is a row once somebody has
-- asked for duplicates.
create table duplicate_search (
    workspace_id uuid not null,
    object_type text not null,
    -- All changes up to this one are taken in.
    seq bigint not null,
    -- The last object that the first pass over all has looked at; null once it has looked at all.
    scanned_to uuid,
    -- How objects were read: the form of the keys, the workspace's region, and the fields that are compared. If that changes, the
    -- pass begins again.
    reading text not null,
    -- Values that so many have that nobody is compared by them, in words.
    too_common text[] not null default '{}',
    primary key (workspace_id, object_type)
) with (fillfactor = 50);

create index duplicate_search_first_pass on duplicate_search (workspace_id, object_type) where scanned_to is not null;

-- The objects that have been looked at, and the keys of each: hashes of names, addresses and the like.
create table duplicate_object (
    workspace_id uuid not null,
    id uuid not null,
    keys bigint[] not null,
    primary key (workspace_id, id)
);

create table duplicate_key (
    workspace_id uuid not null,
    key bigint not null,
    object_id uuid not null,
    primary key (workspace_id, key, object_id)
);

-- Pairs of active objects that may be the same. `one_id` is the lesser id.
create table duplicate_pair (
    workspace_id uuid not null,
    one_id uuid not null,
    other_id uuid not null,
    object_type text not null,
    -- The probability that they are the same, of a thousand.
    score smallint not null,
    primary key (workspace_id, one_id, other_id)
);

create index duplicate_pair_by_other on duplicate_pair (workspace_id, other_id, one_id);
create index duplicate_pair_by_score on duplicate_pair (workspace_id, object_type, score desc, one_id, other_id);

-- Pairs of which somebody has said that they are not the same. `one_id` is the lesser id.
create table distinct_pair (
    workspace_id uuid not null,
    one_id uuid not null,
    other_id uuid not null,
    object_type text not null,
    at timestamptz not null default now(),
    credential_id uuid not null,
    primary key (workspace_id, one_id, other_id)
);

create index distinct_pair_by_other on distinct_pair (workspace_id, other_id, one_id);

-- Rows with the searchable text of an earlier release, without the character that ends its parts. A chore brings them up to date.
create index contact_to_refresh on contact (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
-- The same, where the names from their first words on are the first words alone.
create index contact_to_sort on contact (workspace_id, id)
    where deleted_at is null and (
        first_name_word <> left(replace(substr(
            split_part(search, chr(10), 1), strpos(split_part(search, chr(10), 1), chr(31))
        ), chr(31), ''), 200)
        or last_name_word <> left(replace(substr(
            split_part(split_part(search, chr(30), 1), chr(10), 2),
            strpos(split_part(split_part(search, chr(30), 1), chr(10), 2), chr(31))
        ), chr(31), ''), 200)
    );
create index company_to_refresh on company (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
create index workspace_user_to_refresh on workspace_user (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;
create index engagement_to_refresh on engagement (workspace_id, id)
    where deleted_at is null and strpos(search, chr(30)) = 0;

-- The latest requests of each workspace. Their ids ascend with time. They never hold a body, a secret or the value of a parameter.
create table request_log (
    workspace_id uuid not null,
    id uuid not null,
    credential_id uuid not null,
    operation text not null,
    method text not null,
    path text not null,
    -- The names of its parameters alone, because their values may name people.
    query text,
    status smallint not null,
    milliseconds real not null,
    primary key (workspace_id, id)
);

-- Imports of files. The work of one is in its progress, which each slice of rows changes together with what the rows become.
create table import_job (
    workspace_id uuid not null,
    id uuid not null,
    created_at timestamptz not null default now(),
    -- When the file and the outcome of the rows are deleted.
    expires_at timestamptz not null,
    state text not null,
    progress json not null,
    -- The columns with samples, the mapping, and the request and the credential of all changes.
    content json not null,
    primary key (workspace_id, id)
);
create index import_job_at_work on import_job (workspace_id, id) where state in ('checking', 'running', 'undoing');

-- The outcome of the rows, or the one that a dry run found: some hundred rows in each. Those of an undo are the objects that it
-- has kept.
create table import_slice (
    workspace_id uuid not null,
    job_id uuid not null,
    is_check boolean not null,
    -- The number of its last row in the file, or of its last object among those that an undo has kept.
    last_row bigint not null,
    -- The verdicts that the slice has.
    verdicts text[] not null,
    rows json not null,
    is_undo boolean not null default false,
    primary key (workspace_id, job_id, is_check, is_undo, last_row)
);

-- Mappings that are kept by a name, with the columns that they are for.
create table import_mapping (
    workspace_id uuid not null,
    name text not null,
    columns json not null,
    mapping json not null,
    updated_at timestamptz not null default now(),
    primary key (workspace_id, name)
);
