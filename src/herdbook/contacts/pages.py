"""The pages of contacts: the list, a contact, and the forms that change one."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from herdbook.companies.model import Company
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.contacts.forms import LABELS, Member, members_of
from herdbook.contacts.model import Contact, ContactQueryPage, LabelledContactRecord
from herdbook.custom_fields.model import Field
from herdbook.errors import NotFound
from herdbook.http.problems import Problem
from herdbook.shared_schemas import Deleted
from herdbook.tags.model import Tag
from herdbook.users.model import User

CONTACTS: Final = f"{BASE}/contacts"
LIMIT: Final = 50
_DEFAULT_SORT: Final = "updated_at:desc"
_DEFAULT_COLUMNS: Final = ("company_id", "emails", "phone_numbers", "updated_at")
_MAX_COMPANIES: Final = 8


class Column(NamedTuple):
    """A column of the list beside the name; `sort` is the member to sort by, if there is one."""

    name: str
    label: str
    sort: str
    member: Member | None


class _Found(NamedTuple):
    """A page of the list."""

    contacts: Sequence[LabelledContactRecord]
    next_cursor: str | None


async def show_contacts(visit: Visit, problem: Problem | None = None) -> PageAnswer:
    """Show the list: those that a search finds, or all in some order."""
    definitions = await _definitions(visit)
    columns = _columns(definitions)
    chosen = [each for name in _chosen(visit) for each in columns if each.name == name]
    search = visit.query.get("search", "").strip()
    sort = visit.query.get("sort", _DEFAULT_SORT)
    found = _Found((), None)
    try:
        found = await (_searched(visit, search, sort) if search else _sorted(visit, sort))
    except Refused as refused:
        if refused.problem.status not in (400, 422):
            raise
        problem = problem or refused.problem
    context: dict[str, Any] = {
        "contacts": found.contacts,
        "next": visit.here(cursor=found.next_cursor),
        "has_more": found.next_cursor is not None,
        "is_first": not visit.query.get("cursor"),
        "search": search,
        "sort": sort,
        "columns": columns,
        "chosen": chosen,
        "problem": problem,
        "may_write": visit.session.may("contacts:write"),
        **await _related(visit, found.contacts),
    }
    return Shown(context, 200 if problem is None else problem.status)


async def _searched(visit: Visit, search: str, sort: str) -> _Found:
    """Return a page of the contacts that have the words, with what is shown of them beyond the API's list."""
    cursor = visit.query.get("cursor")
    order = sort if sort in (_DEFAULT_SORT, "updated_at:asc") else _DEFAULT_SORT
    query = {"limit": str(LIMIT)} | ({"cursor": cursor} if cursor else {"search": search, "order_by": order})
    listed = (await visit.call("list-contacts", Listed[Contact], query=query)).value
    records = await visit.each("get-contact-record", LabelledContactRecord, [each.id for each in listed.data])
    return _Found([*records.values()], listed.next_cursor)


async def _sorted(visit: Visit, sort: str) -> _Found:
    field, _, direction = sort.partition(":")
    body = {
        "sort": [{"field": field, "direction": direction or "asc"}],
        "limit": LIMIT,
        "cursor": visit.query.get("cursor") or None,
    }
    page = (await visit.call("query-contacts", ContactQueryPage, body=body)).value
    return _Found(page.data, page.next_cursor)


async def _related(visit: Visit, contacts: Sequence[LabelledContactRecord]) -> dict[str, Any]:
    """Return the companies and the tags of contacts, by their ids."""
    company_ids = [each.company.id for each in contacts if each.company is not UNSET]
    tag_ids = [tag_id for each in contacts for tag_id in each.tag_ids or ()]
    companies, tags = await asyncio.gather(
        visit.each("get-company-by-id", Company, company_ids), visit.each("get-tag-by-id", Tag, tag_ids)
    )
    return {"companies": companies, "tags": tags}


def _columns(definitions: Sequence[Field]) -> list[Column]:
    """Return the columns that a list may have. Members with several values are in no order."""
    several = ("emails", "phone_numbers", "tag_ids", "external_ids")
    members = [each for each in members_of(definitions) if each.name not in ("first_name", "last_name")]
    return [
        *(
            Column(each.name, each.label, "" if each.name in several or each.kind == "several_of" else each.name, each)
            for each in members
        ),
        Column("created_at", "Created", "created_at", None),
        Column("updated_at", "Changed", "updated_at", None),
    ]


def _chosen(visit: Visit) -> Sequence[str]:
    """Return the names of the columns to show. The form of the columns sends each by itself."""
    sent = visit.query.getlist("columns")
    return [name for text in sent for name in text.split(",")] if sent else _DEFAULT_COLUMNS


async def _definitions(visit: Visit) -> list[Field]:
    """Return the definitions of the fields of contacts."""
    definitions: list[Field] = []
    query = {"filter[object_type][eq]": "contact", "limit": "100"}
    while True:
        listed = (await visit.call("list-fields", Listed[Field], query=query)).value
        definitions += listed.data
        if listed.next_cursor is None:
            return definitions
        query = {"cursor": listed.next_cursor}


async def show_new_contact(_: Visit, values: dict[str, str] | None = None, problem: Problem | None = None) -> Shown:
    """Show the form of a new contact."""
    return Shown({"values": values or {}, "problem": problem}, 200 if problem is None else problem.status)


async def create_contact(visit: Visit) -> PageAnswer:
    """Create a contact."""
    values = {name: visit.field(name) for name in ("first_name", "last_name", "email", "phone_number", "description")}
    body: dict[str, Any] = {
        name: values[name].strip().replace("\r\n", "\n")
        for name in ("first_name", "last_name", "description")
        if values[name].strip()
    }
    if values["email"].strip():
        body["emails"] = [{"email": values["email"]}]
    if values["phone_number"].strip():
        body["phone_numbers"] = [{"phone_number": values["phone_number"]}]
    try:
        created = await visit.call("create-contact", Contact, body=body)
    except Refused as refused:
        return await show_new_contact(visit, values, refused.problem)
    return visit.redirect(f"{CONTACTS}/{created.value.id}", "Created.", undoes=True)


class Editing(NamedTuple):
    """The form that a contact's page shows: its member, what was sent, and why that was refused."""

    name: str
    problem: Problem | None = None
    is_sent: bool = False


async def show_contact(visit: Visit, contact_id: str, editing: Editing | None = None) -> PageAnswer:
    """Show a contact, with the form of one member if one is asked for."""
    contact, definitions = await asyncio.gather(
        visit.call("get-contact-record", LabelledContactRecord, contact_id), _definitions(visit)
    )
    notes, history = await asyncio.gather(
        visit.call("list-contact-notes", Listed[dict[str, Any]], contact_id, query={"limit": "50", "expand": "html"}),
        visit.call("get-contact-history", Listed[dict[str, Any]], contact_id, query={"limit": "10"}),
    )
    editing = editing or Editing(visit.query.get("edit", ""))
    members = members_of(definitions)
    related = await _related(visit, [contact.value])
    authors = [each["created_by"] for each in notes.value.data if "created_by" in each]
    authors += [each["by"]["user_id"] for each in history.value.data if each["by"]["user_id"] is not None]
    edited = next((each for each in members if each.name == editing.name), None)
    context: dict[str, Any] = {
        "contact": contact.value,
        "version": contact.version,
        "members": members,
        "edited": edited,
        "problem": editing.problem,
        "sent": visit.fields if editing.is_sent else None,
        "notes": notes.value.data,
        "history": history.value,
        "authors": await visit.each("get-user-by-id", User, authors),
        "labels": LABELS,
        "may_write": visit.session.may("contacts:write"),
        **related,
    }
    if edited is not None and edited.kind == "tags":
        context["all_tags"] = (await visit.call("list-tags", Listed[Tag], query={"limit": "100"})).value.data
    if edited is not None and edited.kind == "company":
        context |= await _found_companies(visit)
    return Shown(context, 200 if editing.problem is None else editing.problem.status)


async def _found_companies(visit: Visit) -> dict[str, Any]:
    """Return the companies to choose from: those that a search finds, or the ones that were changed last."""
    search = visit.query.get("company", "").strip()
    query = {"limit": str(_MAX_COMPANIES)} | ({"search": search} if search else {})
    listed = (await visit.call("list-companies", Listed[Company], query=query)).value
    return {"found_companies": listed.data, "company_search": search}


async def edit_contact(visit: Visit, contact_id: str, name: str) -> PageAnswer:
    """Change one member of a contact, unless it was changed since the form was shown."""
    member = next((each for each in members_of(await _definitions(visit)) if each.name == name), None)
    if member is None:
        raise NotFound("field", "Open the contact again.")
    try:
        await visit.call(
            "update-contact-record",
            LabelledContactRecord,
            contact_id,
            body=member.patch(visit.fields),
            if_version=visit.field("version"),
        )
    except Refused as refused:
        if refused.problem.status in (409, 412, 422):
            return await show_contact(visit, contact_id, Editing(name, refused.problem, is_sent=True))
        raise
    return visit.redirect(f"{CONTACTS}/{contact_id}", f"{member.label} saved.", undoes=True)


async def delete_contact(visit: Visit, contact_id: str) -> PageAnswer:
    """Delete a contact. Its history stays, and an undo brings it back."""
    await visit.call("delete-contact", Deleted, contact_id)
    return visit.redirect(CONTACTS, "The contact was deleted.", undoes=True)


_READ: Final = ("contacts:read",)
_WRITE: Final = ("contacts:write",)

PAGES: Final = (
    Page(
        method="GET",
        path="/contacts",
        id="show-contacts",
        scopes=_READ,
        handler=show_contacts,
        template="contacts/list.html",
        menu=MenuItem("Contacts", "people"),
    ),
    Page(
        method="GET",
        path="/contacts/new",
        id="show-new-contact",
        scopes=_WRITE,
        handler=show_new_contact,
        template="contacts/new.html",
    ),
    Page(
        method="POST",
        path="/contacts/new",
        id="create-contact-by-form",
        scopes=_WRITE,
        handler=create_contact,
        template="contacts/new.html",
    ),
    Page(
        method="GET",
        path="/contacts/{contact_id}",
        id="show-contact",
        scopes=_READ,
        handler=show_contact,
        template="contacts/contact.html",
    ),
    Page(
        method="POST",
        path="/contacts/{contact_id}/edit/{member}",
        id="edit-contact",
        scopes=_WRITE,
        handler=edit_contact,
        template="contacts/contact.html",
    ),
    Page(
        method="POST", path="/contacts/{contact_id}/delete", id="delete-contact-by-form", scopes=_WRITE, handler=delete_contact
    ),
)
