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

-- For the programs that a user has let in.
create index oauth_grant_by_user on oauth_grant (user_id);
