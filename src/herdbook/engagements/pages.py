"""The pages of engagements: the lists, and an engagement with its recording, its transcript and its comments."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.naming import Named, name_of
from herdbook.custom_fields.telling import ToldEntry, changed_since, instead, names_of
from herdbook.engagements.model import Engagement, EngagementType, Timeline
from herdbook.http.problems import Problem
from herdbook.shared_schemas import Deleted

_LIMIT: Final = 50
_ENGAGEMENTS: Final = f"{BASE}/engagements"
# Members that a page shows, and the scope that each needs.
_EXPANDED: Final = {
    "companies": "companies:read",
    "contacts": "contacts:read",
    "owner": "users:read",
    "tags": "tags:read",
    "media_url": "engagements:read",
    "transcript": "transcript_timelines:read",
}


class Line(NamedTuple):
    """A line of a transcript: its position, its speaker, its time, and what was said."""

    position: int
    speaker: str
    seconds: float
    text: str
    goes_on: bool

    @property
    def clock(self) -> str:
        """The time as a player shows it."""
        return clock(self.seconds)


def clock(seconds: float) -> str:
    """Return a time or a duration as a player shows it, such as 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Late(NamedTuple):
    """An object that was to be deleted, and the changes of it since its page was shown, the latest first."""

    noun: str
    since: Sequence[ToldEntry]


class _Comment(msgspec.Struct):
    """A comment, as the page shows it."""

    id: str
    body: str
    status: str
    created_at: str
    updated_at: str
    created_by: str | None = None
    anchor: dict[str, Any] = {}


async def show_engagements(visit: Visit) -> PageAnswer:
    """Show the engagements of the workspace: those that a search finds, or all, the latest first."""
    search, cursor = visit.query.get("search", "").strip(), visit.query.get("cursor")
    query = {"limit": str(_LIMIT)} | (
        {"cursor": cursor} if cursor else {"order_by": "start_at:desc"} | ({"search": search} if search else {})
    )
    listed = (await visit.call("list-engagements", Listed[Engagement], query=query)).value
    return Shown({"holder": None, "search": search, **_listed(visit, listed)})


async def show_engagements_of(name: str, plural: str, visit: Visit, holder_id: str) -> PageAnswer:
    """Show the engagements of a contact or a company, the latest first."""
    holder = (await visit.call(f"get-{name}-by-id", Named, holder_id)).value
    cursor = visit.query.get("cursor")
    query = {"limit": str(_LIMIT)} | ({"cursor": cursor} if cursor else {"order_by": "start_at:desc"})
    listed = (await visit.call(f"list-{name}-engagements", Listed[Engagement], holder_id, query=query)).value
    holder_link = {"path": f"{BASE}/{plural}/{holder_id}", "name": name_of(holder)}
    return Shown({"holder": holder_link, "search": "", **_listed(visit, listed)})


def _listed(visit: Visit, listed: Listed[Engagement]) -> dict[str, Any]:
    return {
        "engagements": listed.data,
        "next": visit.next_page(listed.next_cursor),
        "has_more": listed.has_more,
        "is_first": not visit.query.get("cursor"),
        "clock": clock,
    }


async def show_engagement(
    visit: Visit, engagement_id: str, problem: Problem | None = None, late: Late | None = None
) -> PageAnswer:
    """Show an engagement: who took part, its recording, its transcript beside it, and the comments.

    Show the history of a deleted one. `late` is what was to be deleted, and was changed meanwhile.
    """
    expand = ",".join(name for name, scope in _EXPANDED.items() if visit.session.may(scope))
    try:
        engagement = (await visit.call("get-engagement-by-id", Engagement, engagement_id, query={"expand": expand})).value
    except Refused as refused:
        return await instead(visit, "engagement", engagement_id, refused)
    # An expanded answer has no version.
    version = (await visit.call("get-engagement-by-id", Engagement, engagement_id)).version
    timeline = await _timeline(visit, engagement_id)
    comments, earlier = await _comments(visit, engagement_id)
    names = await names_of(visit, [each.created_by for each in comments if each.created_by])
    began_at = visit.query.get("t", "")
    context: dict[str, Any] = {
        "engagement": engagement,
        "version": version,
        "late": late,
        "lines": [] if timeline is None else _lines(timeline),
        "recording": _recording(engagement, began_at),
        "is_call": engagement.engagement_type is EngagementType.CALL,
        "began_at": began_at if began_at.isdecimal() else "",
        "comments": comments,
        "earlier_comments": None if earlier is None else visit.here(without=("line", "t"), comments_cursor=earlier),
        "is_first_of_comments": not visit.query.get("comments_cursor"),
        "names": names,
        "commented": visit.query.get("line", "") or visit.field("line"),
        "problem": problem,
        "sent": visit.field,
        "name_of": name_of,
        "clock": clock,
        "may_write": visit.session.may("engagements:write"),
        "may_comment": visit.session.may("transcript_comments:write"),
    }
    return Shown(context, 412 if late else 200 if problem is None else problem.status)


async def _timeline(visit: Visit, engagement_id: str) -> Timeline | None:
    if not visit.session.may("transcript_timelines:read"):
        return None
    try:
        return (await visit.call("get-engagement-transcript-timeline", Timeline, engagement_id)).value
    except Refused as refused:
        if refused.problem.status != 404:
            raise
        return None


async def _comments(visit: Visit, engagement_id: str) -> tuple[list[_Comment], str | None]:
    """Return the comments that were changed last, in the order in which they were made, and the cursor of those before."""
    if not visit.session.may("transcript_comments:read"):
        return [], None
    cursor = visit.query.get("comments_cursor")
    query = {"limit": "100"} | ({"cursor": cursor} if cursor else {"order_by": "updated_at:desc"})
    listed = (await visit.call("list-engagement-transcript-comments", Listed[_Comment], engagement_id, query=query)).value
    return sorted(listed.data, key=lambda each: each.created_at), listed.next_cursor


def _lines(timeline: Timeline) -> list[Line]:
    speakers = [speaker.name or f"Speaker {place}" for place, speaker in enumerate(timeline.speakers, start=1)]
    last = None
    lines: list[Line] = []
    for index, entry in enumerate(timeline.entries):
        goes_on = entry.speaker_index == last
        lines.append(Line(index, speakers[entry.speaker_index], entry.start_seconds, entry.text, goes_on))
        last = entry.speaker_index
    return lines


def _recording(engagement: Engagement, began_at: str) -> str:
    """Return the address of a recording on this server, which begins at a second; empty if there is none."""
    # The API names the server by its own address; a browser may know it by another one.
    path = urlsplit(engagement.media_url or "").path
    return f"{path}#t={began_at}" if path and began_at.isdecimal() else path


async def add_comment(visit: Visit, engagement_id: str) -> PageAnswer:
    """Comment on an engagement, or on one line of its transcript."""
    body: dict[str, Any] = {"body": visit.field("text").replace("\r\n", "\n")}
    if (line := visit.field("line")).isdecimal() and len(line) < 5:
        body["anchor"] = {"entry_index": int(line)}
    try:
        await visit.call("create-engagement-transcript-comment", dict[str, Any], engagement_id, body=body)
    except Refused as refused:
        if refused.problem.status != 422:
            raise
        return await show_engagement(visit, engagement_id, refused.problem)
    return visit.redirect(f"{_ENGAGEMENTS}/{engagement_id}", "Comment added.", undoes=True)


async def change_comment(visit: Visit, engagement_id: str, comment_id: str) -> PageAnswer:
    """Resolve a comment, open it again, or delete it, unless somebody has changed it since the page was shown."""
    match visit.field("act"):
        case "delete":
            comment = await visit.call("get-transcript-comment", _Comment, comment_id)
            seen = visit.field("seen") or comment.value.updated_at
            try:
                # No version is zero: the text that was seen is not there any more.
                if_version = comment.version if comment.value.updated_at == seen else 0
                await visit.call("delete-transcript-comment", Deleted, comment_id, if_version=if_version)
            except Refused as refused:
                if refused.problem.status != 412:
                    raise
                since = await changed_since(visit, "transcript_comment", comment_id, seen=seen)
                return await show_engagement(visit, engagement_id, late=Late("comment", since))
            done = "Comment deleted."
        case act:
            status = "OPEN" if act == "reopen" else "RESOLVED"
            await visit.call("update-transcript-comment", dict[str, Any], comment_id, body={"status": status})
            done = "Comment open again." if act == "reopen" else "Comment resolved."
    return visit.redirect(f"{_ENGAGEMENTS}/{engagement_id}", done, undoes=True)


async def delete_engagement(visit: Visit, engagement_id: str) -> PageAnswer:
    """Delete an engagement with its transcript and its comments, unless somebody has changed it since the page was shown.

    An undo brings all of it back.
    """
    version = visit.field("version")
    try:
        await visit.call("delete-engagement", Deleted, engagement_id, if_version=version or None)
    except Refused as refused:
        if refused.problem.status != 412:
            raise
        since = await changed_since(visit, "engagement", engagement_id, version=version)
        return await show_engagement(visit, engagement_id, late=Late("engagement", since))
    return visit.redirect(_ENGAGEMENTS, "The engagement was deleted.", undoes=True)


_READ: Final = ("engagements:read",)
_COMMENT: Final = ("engagements:read", "transcript_comments:write")

PAGES: Final = (
    Page(
        method="GET",
        path="/engagements",
        id="show-engagements",
        scopes=_READ,
        handler=show_engagements,
        template="engagements/list.html",
        menu=MenuItem("Engagements", "call"),
    ),
    *(
        Page(
            method="GET",
            path=f"/{plural}/{{{name}_id}}/engagements",
            id=f"show-{name}-engagements",
            scopes=(*_READ, f"{plural}:read"),
            handler=partial(show_engagements_of, name, plural),
            template="engagements/list.html",
        )
        for name, plural in (("contact", "contacts"), ("company", "companies"))
    ),
    Page(
        method="GET",
        path="/engagements/{engagement_id}",
        id="show-engagement",
        scopes=_READ,
        handler=show_engagement,
        template="engagements/engagement.html",
    ),
    Page(
        method="POST",
        path="/engagements/{engagement_id}/comments",
        id="add-comment",
        scopes=_COMMENT,
        handler=add_comment,
        template="engagements/engagement.html",
    ),
    Page(
        method="POST",
        path="/engagements/{engagement_id}/comments/{transcript_comment_id}",
        id="change-comment",
        scopes=_COMMENT,
        handler=change_comment,
        template="engagements/engagement.html",
    ),
    Page(
        method="POST",
        path="/engagements/{engagement_id}/delete",
        id="delete-engagement-by-form",
        scopes=("engagements:write",),
        handler=delete_engagement,
        template="engagements/engagement.html",
    ),
)
