-- Addresses, and the names of tags, are compared by case and normal form and no more: `groß@x.test` is not `gross@x.test`. The
-- keys are made anew of what the objects say, by `db/claims_by_case.py`: no SQL gives the very keys that the program compares.
lock table contact_email, contact_former_email, user_handle, tag_name in share row exclusive mode;
