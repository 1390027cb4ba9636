-- The users with an address, whatever their workspace, for a sign-in that proves the address.
create index concurrently if not exists user_handle_by_handle on user_handle (handle);
