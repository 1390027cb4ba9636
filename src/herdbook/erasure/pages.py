"""The page that erases a contact: what goes and what stays, the confirmation, and the certificate."""

from typing import Any, Final
from unicodedata import category, normalize

import msgspec

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.console.page import Page, PageAnswer, Shown
from herdbook.console.visit import MergedInto, Refused, Visit
from herdbook.custom_fields.naming import Named, name_of
from herdbook.erasure.erasing import certificate
from herdbook.erasure.model import Certificate
from herdbook.http.problems import Problem

# Marks of direction, joiners and the like.
_FORMAT: Final = "Cf"


async def show_erase(visit: Visit, contact_id: str, problem: Problem | None = None, error: str = "") -> PageAnswer:
    """Show what an erasure would take and keep, and the form that confirms it. Once it is done, show the certificate."""
    with_engagements = bool(visit.field("engagements") or visit.query.get("engagements"))
    query = {"dry_run": "true"} | ({"engagements": "true"} if with_engagements else {})
    try:
        expected = (await visit.call("erase-contact", Certificate, contact_id, query=query)).value
    except Refused as refused:
        if (done := await _certificate(visit, contact_id)) is None:
            raise
        if refused.problem.status not in (404, 410):
            raise
        return _shown(contact_id, done, name="")
    shown = _shown(contact_id, expected, name=await _name(visit, contact_id))
    files = await _files(visit) if expected.imports else {}
    context = dict(shown.context) | {"problem": problem, "error": error, "with_engagements": with_engagements, "files": files}
    return Shown(context, 422 if error else 200 if problem is None else problem.status)


def _shown(contact_id: str, shown: Certificate, name: str) -> Shown:
    context: dict[str, Any] = {
        "contact_id": contact_id,
        "certificate": shown,
        "name": name,
        "problem": None,
        "error": "",
        "with_engagements": shown.engagements,
        # The name of a file may be that of the person, so a certificate has none.
        "files": {},
    }
    return Shown(context)


class _File(msgspec.Struct):
    """The file of an import."""

    name: str


class _Import(msgspec.Struct):
    """An import, by the name of its file."""

    id: str
    file: _File


class _Imports(msgspec.Struct):
    """The imports of a workspace."""

    data: tuple[_Import, ...]


async def _files(visit: Visit) -> dict[str, str]:
    """Return the names of the files of imports, by the ids of the imports."""
    return {each.id: each.file.name for each in (await visit.call("list-imports", _Imports)).value.data}


async def _certificate(visit: Visit, contact_id: str) -> Certificate | None:
    decoded = ids.decoded(ids.CONTACT, contact_id)
    if decoded is None:
        return None
    return await certificate(visit.services.database.pool, visit.session.stored.workspace_id, decoded)


async def _name(visit: Visit, contact_id: str) -> str:
    """Return the text that confirms an erasure: the name of a contact, or the id of one that is deleted."""
    try:
        return name_of((await visit.call("get-contact-by-id", Named, contact_id)).value)
    except (Refused, MergedInto):
        return contact_id


async def erase(visit: Visit, contact_id: str) -> PageAnswer:
    """Erase a contact, if its name was typed, and show the certificate."""
    if _as_seen(visit.field("name")) != _as_seen(await _name(visit, contact_id)):
        return await show_erase(visit, contact_id, error="This is not the name above. Type it as it is written there.")
    query = {"engagements": "true"} if visit.field("engagements") else {}
    try:
        await visit.call("erase-contact", Certificate, contact_id, query=query)
    except Refused as refused:
        if refused.problem.status not in (409, 422):
            raise
        return await show_erase(visit, contact_id, refused.problem)
    return visit.redirect(f"/console/contacts/{contact_id}/erase", "Erased.")


def _as_seen(name: str) -> str:
    """Return a name as people see and type it: in one spelling of its letters, without invisible marks, with single spaces."""
    visible = "".join(each for each in normalize("NFC", name) if category(each) != _FORMAT)
    return " ".join(visible.split())


_ADMIN: Final = (ADMIN,)

PAGES: Final = tuple(
    Page(
        method=method,
        path="/contacts/{contact_id}/erase",
        id=page_id,
        scopes=_ADMIN,
        handler=handler,
        template="erasure/erase.html",
    )
    for method, page_id, handler in (("GET", "show-erase", show_erase), ("POST", "erase-contact-by-form", erase))
)
