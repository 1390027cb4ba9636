-- Rows of which the columns `..._name_word` have the first word of a name alone, as a release before this one writes them; a chore
-- brings them up to date.
create index concurrently if not exists contact_to_sort on contact (workspace_id, id)
    where deleted_at is null and (
        first_name_word <> left(replace(substr(
            split_part(search, chr(10), 1), strpos(split_part(search, chr(10), 1), chr(31))
        ), chr(31), ''), 200)
        or last_name_word <> left(replace(substr(
            split_part(split_part(search, chr(30), 1), chr(10), 2),
            strpos(split_part(split_part(search, chr(30), 1), chr(10), 2), chr(31))
        ), chr(31), ''), 200)
    );
