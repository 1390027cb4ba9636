"""The pages of companies: the list, a company, and the forms that change one."""

from functools import partial
from typing import Any, Final

from herdbook.companies.model import CompanyQueryPage, CompanyRecord
from herdbook.console.page import MenuItem, Page
from herdbook.console.visit import Listed, Visit
from herdbook.custom_fields.creating import create_record, show_new
from herdbook.custom_fields.forms import CRM_PARTS, Member
from herdbook.custom_fields.lists import show_records
from herdbook.custom_fields.naming import Named
from herdbook.custom_fields.pages import RecordPages, bring_back, delete_record, edit_record, show_record, show_then
from herdbook.custom_fields.selecting import apply, preview, show_selected
from herdbook.tags.pages import find_tags

_MAX_CONTACTS: Final = 20


async def _more(visit: Visit, company_id: str) -> dict[str, Any]:
    """Return the first contacts of a company, for those who may read contacts."""
    if not visit.session.may("contacts:read"):
        return {"contacts": None}
    cursor = visit.query.get("contacts_cursor")
    query = {"limit": str(_MAX_CONTACTS)} | ({"cursor": cursor} if cursor else {})
    listed = (await visit.call("list-company-contacts", Listed[Named], company_id, query=query)).value
    following = None if listed.next_cursor is None else f"?contacts_cursor={listed.next_cursor}#contacts"
    return {"contacts": listed.data, "following_contacts": following}


COMPANIES: Final = RecordPages(
    name="company",
    plural="companies",
    record=CompanyRecord,
    query_page=CompanyQueryPage,
    members=(
        Member("name", "Name", "text"),
        Member("domains", "Domains", "domain"),
        Member("tag_ids", "Tags", "tags"),
        Member("description", "Description", "long_text"),
        Member("crm_association", "CRM record", "parts", parts=CRM_PARTS, fixed=(("object_type", "company"),)),
    ),
    hidden=("name",),
    columns=("domains", "tag_ids", "updated_at"),
    searched=("name", "domains"),
    unlisted=("tag_ids",),
    find_tags=find_tags,
    more=_more,
)


_READ: Final = ("companies:read",)
_WRITE: Final = ("companies:write",)

PAGES: Final = (
    Page(
        method="GET",
        path="/companies/selected",
        id="show-selected-companies",
        scopes=_WRITE,
        handler=partial(show_selected, COMPANIES),
        template="custom_fields/selected.html",
    ),
    Page(
        method="POST",
        path="/companies/selected",
        id="preview-change-of-companies",
        scopes=_WRITE,
        handler=partial(preview, COMPANIES),
        template="custom_fields/selected.html",
    ),
    Page(
        method="POST",
        path="/companies/selected/apply",
        id="change-selected-companies",
        scopes=_WRITE,
        handler=partial(apply, COMPANIES),
        template="custom_fields/selected.html",
    ),
    Page(
        method="GET",
        path="/companies",
        id="show-companies",
        scopes=_READ,
        handler=partial(show_records, COMPANIES),
        template="custom_fields/list.html",
        menu=MenuItem("Companies", "company", "o"),
    ),
    Page(
        method="GET",
        path="/companies/new",
        id="show-new-company",
        scopes=_WRITE,
        handler=partial(show_new, COMPANIES),
        template="custom_fields/new.html",
        action="New company",
    ),
    Page(
        method="POST",
        path="/companies/new",
        id="create-company-by-form",
        scopes=_WRITE,
        handler=partial(create_record, COMPANIES),
        template="custom_fields/new.html",
    ),
    Page(
        method="GET",
        path="/companies/{company_id}",
        id="show-company",
        scopes=_READ,
        handler=partial(show_record, COMPANIES),
        template="companies/company.html",
    ),
    Page(
        method="POST",
        path="/companies/{company_id}/edit/{member}",
        id="edit-company",
        scopes=_WRITE,
        handler=partial(edit_record, COMPANIES),
        template="companies/company.html",
    ),
    Page(
        method="GET",
        path="/companies/{company_id}/then",
        id="show-company-then",
        scopes=_READ,
        handler=partial(show_then, COMPANIES),
        template="custom_fields/then.html",
    ),
    Page(
        method="POST",
        path="/companies/{company_id}/then",
        id="bring-company-back",
        scopes=_WRITE,
        handler=partial(bring_back, COMPANIES),
        template="custom_fields/then.html",
    ),
    Page(
        method="POST",
        path="/companies/{company_id}/delete",
        id="delete-company-by-form",
        scopes=_WRITE,
        handler=partial(delete_record, COMPANIES),
        template="companies/company.html",
    ),
)
