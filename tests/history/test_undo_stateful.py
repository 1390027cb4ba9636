"""Undo against a small model: after any series of requests, an undone one is reverted and the rest is untouched."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

import asyncpg
import httpx
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.companies.commands import RELEASE_CONTACTS, ReleaseContacts
from herdbook.contacts.commands import ContactsOfCompany
from herdbook.db.pool import Executor
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.merging.commands import MoveReferences
from herdbook.merging.store import CONTACT_MERGE
from tests.cast import Json, Person
from tests.engagements.calls import TIMELINE, timed
from tests.engagements.calls import URL as CALLS
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import COMPANIES, CONTACTS, UNDO
from tests.repeats import DEEP

_ADDRESSES: Final = ("a@x.test", "b@x.test", "c@x.test", "d@x.test")
_EXTERNAL_IDS: Final = ("1", "2", "3")
_DOMAINS: Final = ("x.test", "y.test")
_PREFIXES: Final = {
    "contact": ids.CONTACT,
    "company": ids.COMPANY,
    "engagement": ids.ENGAGEMENT,
    "transcript": ids.ENGAGEMENT,
    "transcript_comment": ids.TRANSCRIPT_COMMENT,
    "note": ids.NOTE,
    "tag": ids.TAG,
}
Place: TypeAlias = tuple[str, str]


class Wish(NamedTuple):
    """A random request: its kind, its objects among all that ever existed, and its values."""

    kind: str
    place: int
    other: int
    members: Mapping[str, Any]


class State(NamedTuple):
    """An object's version, contents and merge target; None if it does not exist."""

    version: int
    says: Json
    merged_into: UUID | None


Snapshot: TypeAlias = dict[Place, State]


class Request(NamedTuple):
    """A request that has changed something: the states before and after it, and the request that it undid, if any."""

    id: str
    before: Snapshot
    after: Snapshot
    undoes: str | None = None


@dataclass
class Story:
    """The history so far: all objects that ever existed, and each request that has changed something."""

    person: Person
    pool: "asyncpg.Pool[asyncpg.Record]"
    ledger: Ledger
    contacts: list[str] = field(default_factory=list[str])
    companies: list[str] = field(default_factory=list[str])
    calls: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    tags: list[str] = field(default_factory=list[str])
    requests: list[Request] = field(default_factory=list[Request])
    engagements: int = 0

    async def snapshot(self) -> Snapshot:
        """Return the current state of all objects."""
        found: Snapshot = {}
        for kind, columns in (
            ("contact", "json_build_object('object', object, 'own', own), merged_into"),
            ("company", "json_build_object('object', object, 'own', own), null"),
            ("engagement", "json_build_object('object', object, 'details', details), null"),
            ("transcript", "json_build_object('text', text, 'timeline', object, 'id', timeline_id), null"),
            ("transcript_comment", "to_json(object), null"),
            ("note", "to_json(object), null"),
            ("tag", "to_json(object), null"),
        ):
            query = f"select id, version, deleted_at, {columns} from {kind} where workspace_id = $1"
            for object_id, version, deleted_at, says, merged_into in await self.pool.fetch(query, self.person.workspace_id):
                shown = None if deleted_at else without_times(json.loads(says))
                found[kind, ids.encoded(_PREFIXES[kind], object_id)] = State(version, shown, merged_into)
        return found

    def known(self, kind: str) -> list[str]:
        """Return the objects of a kind that ever existed; those of other kinds are not kept."""
        kept = {"contact": self.contacts, "company": self.companies, "engagement": self.calls}
        return {**kept, "note": self.notes, "tag": self.tags}.get(kind, [])

    def contact(self, place: int) -> str:
        """Return one of the contacts that ever existed."""
        return self.contacts[place % len(self.contacts)] if self.contacts else "cnt_"

    def company(self, place: int) -> str:
        """Return one of the companies that ever existed."""
        return self.companies[place % len(self.companies)] if self.companies else "cmp_"

    def call(self, place: int) -> str:
        """Return one of the engagements that ever existed."""
        return self.calls[place % len(self.calls)] if self.calls else "ngmt_"

    def note(self, place: int) -> str:
        """Return one of the notes that ever existed."""
        return self.notes[place % len(self.notes)] if self.notes else "note_"

    def tag(self, place: int) -> str:
        """Return one of the tags that ever existed."""
        return self.tags[place % len(self.tags)] if self.tags else "tag_"

    async def work_through_chores(self) -> None:
        """Finish the background work."""
        statements = cast("Executor", self.pool)
        await finish(statements, self.ledger, RELEASE_CONTACTS, partial(ReleaseContacts, contacts=ContactsOfCompany()))
        await finish(statements, self.ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE))

    def contact_members(self, wish: Wish) -> Json:
        """Return the fields of a contact for a body."""
        members = dict(wish.members)
        if "company" in members:
            members["company_id"] = self.company(wish.other) if members.pop("company") else None
        if "emails" in members:
            members["emails"] = [{"email": address} for address in members["emails"]]
        return members


def without_times(says: Json) -> Json:
    """Return an object without its times."""
    if "object" in says and isinstance(says["object"], dict):
        return {**says, "object": without_times(says["object"])}
    return {name: value for name, value in says.items() if name != "updated_at"}


_MEMBERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "first_name": st.sampled_from(["Ada", "Grace"]),
        "emails": st.lists(st.sampled_from(_ADDRESSES), unique=True, max_size=2),
        "company": st.booleans(),
        "external_ids": st.lists(st.sampled_from(_EXTERNAL_IDS), unique=True, max_size=2),
    },
)
_SIMPLE: Final = (
    *("create", "update", "update", "rename", "delete", "restore"),
    *("hire", "fire", "reopen", "move", "merge", "engage"),
)
_LINKED: Final = ("engage", "link", "link", "comment", "time", "merge", "note", "note", "file", "tear")
_TAGGED: Final = ("coin", "mark", "mark", "mark", "brand", "scrap")
wishes: Final = st.builds(
    Wish,
    kind=st.sampled_from(
        [*_SIMPLE, *_LINKED, *_TAGGED, "bulk", "bulk", "pass on", "pass on", "undo", "undo", "undo", "undo last"]
    ),
    place=st.integers(0, 7),
    other=st.integers(0, 7),
    members=_MEMBERS,
)
stories: Final = st.lists(wishes, min_size=3, max_size=14)


@given(stories)
@settings(
    max_examples=2000 if DEEP else 33,
    deadline=None,
    derandomize=not DEEP,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_undoing_does_as_its_model(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, wanted: list[Wish]
) -> None:
    """An undo reverts each object that was not changed since and can be reverted; undoing it gives the state back."""
    workspace_id = await create_workspace(pool, "A story's workspace")
    story = Story(Person(client, workspace_id, await create_key(pool, workspace_id, "Somebody", [ADMIN])), pool, ledger)
    # Objects to begin with.
    for kind in ("hire", "create", "create"):
        await act(story, Wish(kind, 0, 0, {"emails": [_ADDRESSES[len(story.contacts)]], "company": True}))
    for wish in wanted:
        if wish.kind.startswith("undo"):
            await undo_and_redo(story, wish)
        elif wish.kind == "pass on":
            await pass_on(story, wish)
        else:
            await act(story, wish)
        await assert_consistent(pool, workspace_id)
    await assert_chained(pool, workspace_id)


async def act(story: Story, wish: Wish) -> None:
    """Make a random request and record its effect."""
    before = await story.snapshot()
    response = await asked(story, wish)
    event(f"{wish.kind}: {response.status_code}")
    assert response.status_code < 500, response.text
    if response.status_code in (200, 201):
        after = await story.snapshot()
        for kind, shown_id in sorted(after.keys() - before.keys()):
            {
                "contact": story.contacts,
                "company": story.companies,
                "engagement": story.calls,
                "note": story.notes,
                "tag": story.tags,
            }.get(kind, []).append(shown_id)
        if before != after:
            story.requests.append(Request(response.headers["X-Request-Id"], before, after))


async def pass_on(story: Story, wish: Wish) -> None:
    """Move a contact's addresses to another one, in two requests."""
    contact = (await story.snapshot()).get(("contact", story.contact(wish.place)))
    if contact is not None and contact.says is not None:
        addresses = [email["email"] for email in contact.says["object"]["emails"]]
        await act(story, Wish("update", wish.place, wish.other, {"emails": []}))
        await act(story, Wish("update", wish.other, wish.place, {"emails": addresses}))


async def asked(story: Story, wish: Wish) -> httpx.Response:
    """Make a request."""
    contact, company = story.contact(wish.place), story.company(wish.other)
    members = story.contact_members(wish)
    given = {name: value for name, value in members.items() if value is not None}
    domains = {"domains": [{"domain": _DOMAINS[wish.place % 2]}]}
    story.engagements += 1
    known = [{"email": address} for address in wish.members.get("emails", ())]
    marks = {"tag_ids": [] if wish.place == wish.other else [story.tag(wish.other)]}
    requests: Mapping[str, tuple[str, str, Json]] = {
        "create": ("POST", CONTACTS, given),
        "update": ("PATCH", f"/api/herdbook/contacts/{contact}/record", labelled(members, wish)),
        "rename": ("PATCH", f"{CONTACTS}/{contact}", vendors(members)),
        "delete": ("DELETE", f"{CONTACTS}/{contact}", None),
        "restore": ("POST", f"/api/herdbook/contacts/{contact}/restore", None),
        "hire": ("POST", COMPANIES, domains),
        "fire": ("DELETE", f"{COMPANIES}/{company}", None),
        "reopen": ("POST", f"/api/herdbook/companies/{company}/restore", None),
        "move": ("PATCH", f"{COMPANIES}/{company}", domains),
        "merge": ("POST", f"/api/herdbook/contacts/{contact}/merge", {"from": [story.contact(wish.other)]}),
        "engage": ("POST", CALLS, timed(f"call {story.engagements % 3}", participants=known)),
        "link": ("PUT", f"{CALLS}/{story.call(wish.other)}/contacts", {"contact_ids": [contact] if wish.members else []}),
        "comment": ("POST", f"{CALLS}/{story.call(wish.place)}/transcript_comments", {"body": "Is it?"}),
        "coin": ("POST", "/api/v2/tags", {"name": f"Tag {story.engagements}"}),
        "scrap": ("DELETE", f"/api/v2/tags/{story.tag(wish.place)}", None),
        "mark": ("PATCH", f"/api/herdbook/contacts/{contact}/record", marks),
        "brand": ("PATCH", f"/api/herdbook/companies/{company}/record", marks),
        "note": ("POST", f"/api/herdbook/contacts/{contact}/notes", {"text": "Well."}),
        "file": ("POST", f"/api/herdbook/companies/{company}/notes", {"text": "Well."}),
        "tear": ("DELETE", f"/api/herdbook/notes/{story.note(wish.place)}", None),
        "time": ("PUT", f"/api/herdbook/engagements/{story.call(wish.place)}/transcript_timeline", TIMELINE),
        "bulk": ("POST", "/api/herdbook/contacts/bulk", bulk(story, wish, members)),
    }
    method, path, body = requests[wish.kind]
    return await story.person.request(method, path, json=body)


def labelled(members: Json, wish: Wish) -> Json:
    """Return the members of a contact with a label of each address, or none."""
    label = "work" if wish.place % 2 else None
    return {**members, "emails": [{**each, "label": label} for each in members["emails"]]} if "emails" in members else members


def vendors(members: Json) -> Json:
    """Return the members of a contact that the vendor's update takes."""
    return {name: value for name, value in members.items() if name != "external_ids"}


def bulk(story: Story, wish: Wish, members: Json) -> Json:
    """Return the body of a bulk in which one contact gets the address of another."""
    one, other = story.contact(wish.place), story.contact(wish.other)
    operations: Sequence[Json] = [
        {"action": "update", "id": other, "contact": {"emails": []}},
        {"action": "update", "id": one, "contact": vendors(members)},
        {"action": "upsert", "contact": {"emails": [{"email": _ADDRESSES[wish.place % 4]}], "last_name": "Upserted"}},
        {"action": "create", "contact": {"emails": [{"email": _ADDRESSES[wish.other % 4]}]}},
        {"action": "delete", "id": one if wish.place % 2 else other},
    ]
    return {"operations": operations[wish.place % 3 : wish.place % 3 + 3]}


async def undo_and_redo(story: Story, wish: Wish) -> None:
    """Undo a request, undo the undo, and perhaps undo it once more; check each object after each step."""
    if not story.requests:
        return
    is_last = wish.kind == "undo last"
    place = -1 if is_last else -1 - wish.place % len(story.requests)
    now = await story.snapshot()
    undone = await undo(story, place)
    kept = {each["reason"] for each in undone["kept"]}
    event(f"{wish.kind}: {'some' if undone['reverted'] else 'nothing'} undone, kept for {sorted(kept)}")
    if is_last:
        assert not kept
    if not undone["reverted"]:
        return
    redone = await undo(story, -1)
    assert not redone["kept"]
    assert said(await story.snapshot()) == said(now)
    if wish.other % 2:
        assert not (await undo(story, -1))["kept"]


async def undo(story: Story, place: int) -> Json:
    """Undo a request and check the outcome."""
    request_id, before, after, _ = story.requests[place]
    now = await story.snapshot()
    tried = await story.person.post(UNDO, json={"request_id": request_id}, params={"dry_run": "true"})
    assert await story.snapshot() == now
    response = await story.person.post(UNDO, json={"request_id": request_id})
    assert response.status_code == 200, response.text
    assert tried.json() == {**response.json(), "dry_run": True}
    answer, then = response.json(), await story.snapshot()
    reverted: dict[Place, str] = {(each["object"], each["id"]): each["action"] for each in answer["reverted"]}
    kept: dict[Place, str] = {(each["object"], each["id"]): each["reason"] for each in answer["kept"]}
    changed = {each for each, state in after.items() if before.get(each) != state}
    fates = {each: fate(story.requests, request_id, each) for each in changed}
    untouched = {each for each, fate in fates.items() if fate == "same"}

    nothing = State(0, None, None)
    reasons = ("changed_since", "already_undone")
    assert {each: reason for each, reason in kept.items() if reason in reasons} == {
        each: fate for each, fate in fates.items() if fate in reasons
    }
    assert reverted.keys() | kept.keys() == (changed - untouched) | {
        each for each in untouched if before.get(each, nothing).says != after[each].says
    }
    for each, state in then.items():
        if each in reverted:
            was = before.get(each, nothing)
            assert state.says == was.says
            assert state.merged_into == (None if was.says is not None else was.merged_into)
            assert reverted[each] == action(now[each], was)
        else:
            assert state == now[each]
    assert is_possible(said(then))
    # Dangling references are only those that existed after the request or before it.
    assert dangling(then) <= dangling(now) | dangling(before)
    await story.work_through_chores()
    assert await story.snapshot() == then
    named = {place for place, state in then.items() for place in names(place, state)}
    for each, reason in kept.items():
        if reason == "in_use":
            assert each in named or (each[0] == "engagement" and ("transcript", each[1]) in named | then.keys()), each
        # A note on an object that is gone is possible: it is hidden.
        if reason == "conflict" or (reason == "company_not_found" and each[0] != "note"):
            assert not is_possible({**said(then), each: before.get(each, nothing).says}), (each, reason)
    if reverted:
        story.requests.append(Request(response.headers["X-Request-Id"], now, then, request_id))
    return answer


def fate(requests: Sequence[Request], request_id: str, place: Place) -> str:
    """Return whether an object is the `same` as after a request, or the reason why the request is not undone there.

    A change no longer counts once an undo has taken it back, unless that undo was undone. An undo is no change of its own.
    """
    changes = [each for each in requests if each.before.get(place) != each.after.get(place)]

    def counts(change: Request) -> bool:
        return not any(each.undoes == change.id and counts(each) for each in changes)

    mine = next(index for index, each in enumerate(changes) if each.id == request_id)
    last = max((index for index, each in enumerate(changes) if each.undoes is None and counts(each)), default=-1)
    if mine in (last, len(changes) - 1):
        return "same"
    is_undone = any(each.undoes == request_id and counts(each) for each in changes[last + 1 :])
    return "already_undone" if is_undone else "changed_since"


def names(place: Place, state: State) -> set[Place]:  # noqa: PLR0911  # one for each kind
    """Return the ids that an object names."""
    kind, shown_id = place
    if state.says is None:
        return set() if state.merged_into is None else {("contact", ids.encoded(ids.CONTACT, state.merged_into))}
    match kind:
        case "contact" | "company":
            shown: Json = state.says["object"]
            own: Json = state.says["own"] or {}
            companies = {("company", shown["company"]["id"])} if "company" in shown else set[Place]()
            return companies | {("tag", each) for each in own.get("tag_ids", ())}
        case "engagement":
            details = state.says["details"]
            contacts, companies = details.get("contact_ids", ()), details.get("company_ids", ())
            return {*(("contact", each) for each in contacts), *(("company", each) for each in companies)}
        case "transcript":
            return {("engagement", shown_id)}
        case "transcript_comment":
            call = state.says["engagement_id"]
            return {("engagement", call), ("transcript", call)}
        case "note":
            return {(kind, state.says[f"{kind}_id"]) for kind in ("contact", "company") if f"{kind}_id" in state.says}
        case _:
            return set()


def dangling(snapshot: Snapshot) -> set[tuple[Place, Place]]:
    """Return the pairs of objects and the missing objects that they name."""
    there = {place for place, state in snapshot.items() if state.says is not None}
    return {(place, each) for place, state in snapshot.items() for each in names(place, state) if each not in there}


def action(now: State, was: State) -> str:
    """Return the action that brings an object back to a state."""
    if was.says is None:
        return "deleted"
    return "restored" if now.says is None else "updated"


def said(snapshot: Snapshot) -> dict[Place, Json]:
    """Return the contents of each object."""
    return {place: state.says for place, state in snapshot.items()}


def is_possible(saying: Mapping[Place, Json]) -> bool:
    """Whether these states can coexist: no address or external id is held twice, and no company is missing."""
    there = {place: says for place, says in saying.items() if says is not None}
    held: list[tuple[str, str]] = []
    for (kind, _), says in there.items():
        if kind == "contact":
            shown: Json = says["object"]
            own: Json = says["own"] or {}
            held += [(kind, email["email"]) for email in shown["emails"]]
            held += [("external id", each) for each in (own.get("external_ids", ()))]
            if "company" in shown and ("company", shown["company"]["id"]) not in there:
                return False
        elif kind == "company":
            held += [(kind, domain["domain"]) for domain in says["object"]["domains"]]
        elif kind == "engagement":
            held.append((kind, says["details"]["external_id"]))
    return len(held) == len(set(held))
