"""The page of a record, for the person: one HTML file that needs no script and no network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook import ids
from herdbook.markdown import safe_html
from herdbook.subject_access.words import Told, Words, name_of, referred_to, shown_time, told

# Plain words for the tables.
_WORDS: Final = {
    "contact": "the entries of you as a contact",
    "contact_email": "your addresses, for look-up",
    "contact_former_email": "your addresses in deleted or merged entries",
    "contact_external_id": "ids that other systems gave you",
    "contact_field": "your data in fields of this team",
    "contact_field_value": "your data in fields of this team that must differ",
    "contact_former_external_id": "ids that other systems gave your deleted or merged entries",
    "contact_word": "words by which a search finds you",
    "contact_tag": "the tags that you have, for look-up",
    "card": "cards with your data that the team has imported",
    "note": "notes of the team about you",
    "contact_note": "links from you to these notes",
    "company_contact": "the company that you are listed with",
    "duplicate_object": "keys by which this server finds out whether you are there twice",
    "duplicate_key": "the same keys, for look-up",
    "duplicate_pair": "how likely another entry is yours, too",
    "distinct_pair": "that another entry is not yours, as somebody of the team has said",
    "engagement_contact": "links from you to calls and meetings",
    "engagement": "calls and meetings in which you took part",
    "change": "earlier and present versions of these data (the history)",
    "webhook_delivery": "failed or repeated attempts to tell other programs about a change",
    "idempotency_record": "answers that are kept so that a repeated request is not carried out twice",
    "saved_view": "lists that somebody of the team has saved, with you in their filters",
    "import_job": "files that the team has imported, which have you in their first rows",
    "import_slice": "what came of your row in such a file",
    "import_mapping": "how the team reads such files, with you in a fixed value",
    "erasure_task": "an erasure of your data that is under way",
    "transcript": "transcripts of these calls and meetings",
    "transcript_comment": "comments of the team on these transcripts",
    "engagement_word": "words of titles, for search",
    "engagement_company": "companies of these calls and meetings",
    "engagement_tag": "tags of these calls and meetings",
    "engagement_external_id": "numbers of these calls and meetings in other systems",
}
_ACTIONS: Final = {"c": "created", "u": "changed", "d": "deleted", "r": "restored", "x": "erased"}
_KINDS: Final = {"c": "contact", "e": "call or meeting", "r": "transcript", "n": "comment", "m": "note"}
# Plain words for members whose names do not say it.
_MEMBERS: Final = {
    "emails": "e-mail addresses",
    "crm_association": "record in a CRM",
    "external_ids": "ids in other systems",
    "fields": "fields of this team",
    "unique_values": "fields of this team that must differ",
    "labels": "labels of addresses and numbers",
    "tag_ids": "tags",
    "card_ids": "cards with your data that the team has imported",
    "contact_ids": "contacts",
    "company_ids": "companies",
    "is_pinned": "whether it is pinned",
}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A key or a program that may read or write data of the person. `credential_id` is the id in the rows of changes."""

    credential_id: UUID
    shown_id: str
    name: str
    scopes: tuple[str, ...]
    last_used_at: str | None
    ended_at: Annotated[str | None, Meta(description="The time at which it was revoked or expires.")]


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint: a program that is told of changes. `event_types` is null if it is told of all."""

    shown_id: str
    host: str
    event_types: tuple[str, ...] | None
    deleted_at: str | None


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The record itself: for which request it was made, when, and who may have received the data."""

    asked_for: str
    made_at: str
    workspace: str
    contact_ids: tuple[str, ...]
    engagement_ids: tuple[str, ...]
    history_days: int
    deleted_days: int
    credentials: tuple[Source, ...]
    webhook_endpoints: tuple[Receiver, ...]
    unread_imports: Annotated[
        tuple[str, ...],
        Meta(description="Imports whose files are kept. They are not searched: any row of them may be about the person, too."),
    ]
    withheld: str = (
        "Addresses, phone numbers and contact entries of other persons, what saved lists and imports say of others, what "
        "receivers answered to events about calls and meetings, and secrets of receivers (GDPR, article 15 (4))."
    )


class ToldNote(msgspec.Struct, frozen=True, kw_only=True):
    """A note on a contact."""

    text: Annotated[str, Meta(description="Markdown.")]
    is_pinned: bool
    created_at: str
    updated_at: str
    deleted_at: str | None

    @property
    def html(self) -> str:
        """The text as safe HTML."""
        return safe_html(self.text)


class ToldContact(msgspec.Struct, frozen=True, kw_only=True):
    """A contact in plain words. `replaced` if it was merged into another one."""

    id: str
    name: str
    replaced: bool
    deleted_at: str | None
    created_at: str
    updated_at: str
    members: tuple[Told, ...]
    notes: tuple[ToldNote, ...]


@dataclass(frozen=True, kw_only=True)
class Digest:
    """The part of the rows that the page shows."""

    rows: dict[str, int]
    contacts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    changes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: dict[str, list[ToldNote]] = field(default_factory=dict[str, list[ToldNote]])
    referred: set[str] = field(default_factory=set[str])
    engagements: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    comments: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    transcripts: dict[str, str] = field(default_factory=dict[str, str])
    recordings: dict[str, str] = field(default_factory=dict[str, str])
    missing_recordings: list[str] = field(default_factory=list[str])

    def note(self, table: str, row: dict[str, Any]) -> None:
        """Note a row of a table."""
        self.rows[table] += 1
        if table == "contact":
            self.contacts.append({name: row[name] for name in ("id", "object", "own", "deleted_at", "merged_into")})
            self.referred.update(referred_to(row))
        elif table == "note":
            told_note = msgspec.convert({**row["object"], "deleted_at": row["deleted_at"]}, ToldNote)
            self.notes.setdefault(row["contact_id"], []).append(told_note)
        elif table == "change":
            changed = sorted(row["previous"] or ()) if row["action"] == "u" else []
            names = ("at", "action", "kind", "credential_id", "request_id")
            self.changes.append({name: row[name] for name in names} | {"changed": changed})
        elif table == "engagement":
            told = {name: row["object"].get(name) for name in ("id", "title", "engagement_type")}
            participants = row["details"].get("participants", [])
            names = [each.get("name") or each.get("email") or each.get("phone") for each in participants]
            more = {"key": row["id"], "start_at": row["start_at"], "deleted_at": row["deleted_at"], "participants": names}
            self.engagements.append(told | more)
        elif table == "transcript_comment":
            self.comments.setdefault(row["engagement_id"], []).append(row["object"].get("body", ""))

    def in_words(self, words: Words) -> list[ToldContact]:
        """Return the contacts in plain words, with their notes."""
        return [
            ToldContact(
                id=row["object"]["id"],
                name=name_of(row["object"]),
                replaced=row["merged_into"] is not None,
                deleted_at=row["deleted_at"],
                created_at=row["object"]["created_at"],
                updated_at=row["object"]["updated_at"],
                members=tuple(told(row, words)),
                notes=tuple(sorted(self.notes.get(row["id"], ()), key=lambda note: note.created_at)),
            )
            for row in self.contacts
        ]


def rendered(about: About, digest: Digest, contacts: Sequence[ToldContact]) -> Iterator[str]:
    """Yield the page in parts."""
    # A server starts sooner without its import, and few need it.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("herdbook.subject_access"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"date": shown_time, "member": _member, "shown_request": _shown_request}
    sources = {str(each.credential_id): each for each in about.credentials}
    changes = sorted(digest.changes, key=lambda change: change["at"])
    return environment.get_template("record.html").generate(
        about=about,
        digest=digest,
        contacts=contacts,
        changes=changes,
        sources=sources,
        words=_WORDS,
        actions=_ACTIONS,
        kinds=_KINDS,
        nobody=str(ids.NIL),
    )


def _member(name: str) -> str:
    """Return the plain name of a member."""
    return _MEMBERS.get(name, name.replace("_", " "))


def _shown_request(request_id: str) -> str:
    return ids.encoded(ids.REQUEST, UUID(request_id))
