-- A client that sends a refresh token again soon, or whose answer was lost, gets the same next one.
alter table oauth_refresh_token add column successor_id uuid;
alter table oauth_refresh_token add column successor_salt bytea;
alter table oauth_refresh_token add column received_at timestamptz;
alter table oauth_access_token add column refresh_token_id uuid;
