"""The page that finds pages, actions and records, which the command menu shows in a dialog; and the page of the keys."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from herdbook.console.page import BASE, Page, PageAnswer, Shown
from herdbook.console.shortcuts import JUMP, SHORTCUTS
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.pages import Named, name_of
from herdbook.search_text import folded

# Among so many found records, those with the words in their names are shown first.
_LIMIT: Final = "30"
_SHOWN: Final = 6


class Found(NamedTuple):
    """A thing to go to: its name, a second line to tell it from others, its path, and its icon."""

    name: str
    path: str
    icon: str
    hint: str = ""


class _Kind(NamedTuple):
    """A kind of record that is found, with its icon."""

    label: str
    plural: str
    icon: str


_KINDS: Final = (_Kind("Contacts", "contacts", "person"), _Kind("Companies", "companies", "company"))


async def show_found(visit: Visit) -> PageAnswer:
    """Show the pages, actions and records that have the searched words."""
    search = visit.query.get("search", "").strip()
    kinds = [each for each in _KINDS if visit.session.may(f"{each.plural}:read")] if search else []
    records = await asyncio.gather(*(_records(visit, each, search) for each in kinds))
    listed = sorted(zip(kinds, records, strict=True), key=lambda each: not _is_of_names(each[1], search))
    found = {each.label: some for each, some in listed}
    return Shown({"search": search, "found": {"Pages": _pages(visit, search), "Actions": _actions(visit, search)} | found})


def _pages(visit: Visit, search: str) -> list[Found]:
    items = [(each.menu, each.path) for each in visit.pages if each.menu is not None]
    return [Found(menu.label, BASE + path, menu.icon) for menu, path in items if _has_words(menu.label, search)]


def _actions(visit: Visit, search: str) -> list[Found]:
    named = [each for each in visit.pages if each.action and _has_words(each.action, search)]
    return [Found(each.action, BASE + each.path, "plus" if each.path.endswith("/new") else "chevron") for each in named]


def _has_words(name: str, search: str) -> bool:
    """Whether each searched word begins a word of a name."""
    words = folded(name).split()
    return all(any(word.startswith(sought) for word in words) for sought in folded(search).split())


async def _records(visit: Visit, kind: _Kind, search: str) -> Sequence[Found]:
    try:
        listed = await visit.call(f"list-{kind.plural}", Listed[Named], query={"search": search, "limit": _LIMIT})
    except Refused as refused:
        # No record has a text that is no search.
        if refused.problem.status != 400:
            raise
        return ()
    # The latest first, as listed, but those with the words in their names before those with them in an address.
    by_name = sorted(listed.value.data, key=lambda each: not _has_words(name_of(each), search))
    some = by_name[:_SHOWN]
    return [Found(name_of(each), f"{BASE}/{kind.plural}/{each.id}", kind.icon, _hint(each)) for each in some]


def _is_of_names(found: Sequence[Found], search: str) -> bool:
    """Whether the first of some records has the words in its name."""
    return any(_has_words(each.name, search) for each in found[:1])


def _hint(record: Named) -> str:
    """Return an address or domain, which tells a record from others of its name."""
    texts = [*(each.email for each in record.emails), *(each.domain for each in record.domains)]
    return next((text for text in texts if text != name_of(record)), "")


async def show_keys_help(_: Visit) -> PageAnswer:
    """Show the keys of the console."""
    return Shown({"shortcuts": SHORTCUTS, "jump": JUMP})


PAGES: Final = (
    Page(method="GET", path="/find", id="find", scopes=(), handler=show_found, template="finding/found.html"),
    Page(
        method="GET",
        path="/help",
        id="show-keyboard-help",
        scopes=(),
        handler=show_keys_help,
        template="finding/help.html",
        action="Keyboard shortcuts",
    ),
)
