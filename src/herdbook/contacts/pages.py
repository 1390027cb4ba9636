"""The pages of contacts: the list, a contact, and the forms that change one."""

from functools import partial
from typing import Final

from herdbook.console.page import MenuItem, Page
from herdbook.contacts.model import ContactQueryPage, LabelledContactRecord
from herdbook.custom_fields.creating import create_record, show_new
from herdbook.custom_fields.forms import CRM_PARTS, Member
from herdbook.custom_fields.lists import show_records
from herdbook.custom_fields.pages import RecordPages, bring_back, delete_record, edit_record, show_record, show_then
from herdbook.custom_fields.selecting import apply, preview, show_selected
from herdbook.tags.pages import find_tags

CONTACTS: Final = RecordPages(
    name="contact",
    plural="contacts",
    record=LabelledContactRecord,
    query_page=ContactQueryPage,
    members=(
        Member("first_name", "First name", "text"),
        Member("last_name", "Last name", "text"),
        Member("company_id", "Company", "reference", refers_to="company"),
        Member("emails", "E-mail", "email"),
        Member("phone_numbers", "Phone", "phone_number"),
        Member("time_zone", "Time zone", "time_zone"),
        Member("tag_ids", "Tags", "tags"),
        Member("description", "Description", "long_text"),
        Member("external_ids", "External ids", "lines"),
        Member("crm_association", "CRM record", "parts", parts=CRM_PARTS, fixed=(("object_type", "contact"),)),
    ),
    hidden=("first_name", "last_name"),
    columns=("company_id", "emails", "phone_numbers", "updated_at"),
    searched=("first_name", "last_name", "emails", "phone_numbers"),
    unlisted=("tag_ids", "external_ids"),
    find_tags=find_tags,
)


_READ: Final = ("contacts:read",)
_WRITE: Final = ("contacts:write",)

PAGES: Final = (
    Page(
        method="GET",
        path="/contacts/selected",
        id="show-selected-contacts",
        scopes=_WRITE,
        handler=partial(show_selected, CONTACTS),
        template="custom_fields/selected.html",
    ),
    Page(
        method="POST",
        path="/contacts/selected",
        id="preview-change-of-contacts",
        scopes=_WRITE,
        handler=partial(preview, CONTACTS),
        template="custom_fields/selected.html",
    ),
    Page(
        method="POST",
        path="/contacts/selected/apply",
        id="change-selected-contacts",
        scopes=_WRITE,
        handler=partial(apply, CONTACTS),
        template="custom_fields/selected.html",
    ),
    Page(
        method="GET",
        path="/contacts",
        id="show-contacts",
        scopes=_READ,
        handler=partial(show_records, CONTACTS),
        template="custom_fields/list.html",
        menu=MenuItem("Contacts", "people", "c"),
    ),
    Page(
        method="GET",
        path="/contacts/new",
        id="show-new-contact",
        scopes=_WRITE,
        handler=partial(show_new, CONTACTS),
        template="custom_fields/new.html",
        action="New contact",
    ),
    Page(
        method="POST",
        path="/contacts/new",
        id="create-contact-by-form",
        scopes=_WRITE,
        handler=partial(create_record, CONTACTS),
        template="custom_fields/new.html",
    ),
    Page(
        method="GET",
        path="/contacts/{contact_id}",
        id="show-contact",
        scopes=_READ,
        handler=partial(show_record, CONTACTS),
        template="custom_fields/record.html",
    ),
    Page(
        method="POST",
        path="/contacts/{contact_id}/edit/{member}",
        id="edit-contact",
        scopes=_WRITE,
        handler=partial(edit_record, CONTACTS),
        template="custom_fields/record.html",
    ),
    Page(
        method="GET",
        path="/contacts/{contact_id}/then",
        id="show-contact-then",
        scopes=_READ,
        handler=partial(show_then, CONTACTS),
        template="custom_fields/then.html",
    ),
    Page(
        method="POST",
        path="/contacts/{contact_id}/then",
        id="bring-contact-back",
        scopes=_WRITE,
        handler=partial(bring_back, CONTACTS),
        template="custom_fields/then.html",
    ),
    Page(
        method="POST",
        path="/contacts/{contact_id}/delete",
        id="delete-contact-by-form",
        scopes=_WRITE,
        handler=partial(delete_record, CONTACTS),
        template="custom_fields/record.html",
    ),
)
