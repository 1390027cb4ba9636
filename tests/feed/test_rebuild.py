"""A follower that reads the feed from its beginning has every row, byte for byte."""

import random
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from evidence.changes import Change
from evidence.checks import Replay
from evidence.rows import Place, Row, stored
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.db.pool import connect
from herdbook.first_start import create_owned_workspace
from tests.cast import Json, Person
from tests.engagements.calls import TIMELINE, call
from tests.feed.feed import URL
from tests.history.consistency import assert_consistent
from tests.repeats import DEEP

_CONTACTS = "/api/v2/contacts"
_KINDS = ("text", "integer", "several_of", "money", "contact")


class Page(msgspec.Struct):
    """A page of the feed."""

    data: list[Change]
    has_more: bool


class Replica:
    """Rows that are rebuilt from the feed alone."""

    def __init__(self, workspace_id: UUID) -> None:
        self._replay = Replay(workspace_id)

    @property
    def rows(self) -> dict[Place, Row]:
        """The rows by the type and the id of the object."""
        return self._replay.rows

    async def follow(self, person: Person) -> None:
        """Read to the end."""
        page = Page([], has_more=True)
        while page.has_more:
            response = await person.get(URL, params={"after": self._replay.position, "limit": 1000})
            assert response.status_code == 200, response.text
            page = msgspec.json.decode(response.content, type=Page)
            assert self._replay.take(page.data) == []


class Life:
    """A random series of all kinds of writes in a workspace, or of those that the release before knows, too."""

    def __init__(self, person: Person, dice: random.Random, *, is_of_both_releases: bool = False) -> None:
        self.person = person
        self.dice = dice
        self.is_of_both_releases = is_of_both_releases
        self.contacts: list[str] = []
        self.companies: list[str] = []
        self.tags: list[str] = []
        self.engagements: list[str] = []
        self.comments: list[str] = []
        self.notes: list[str] = []
        self.requests: list[str] = []
        self.fields: dict[str, list[tuple[str, str, str]]] = {"contact": [], "company": []}
        self.done: dict[str, int] = {}

    async def live(self, steps: int) -> None:
        """Make a number of writes."""
        deeds: list[Any] = [
            *(self.create_contact, self.create_contact, self.update_contact, self.update_contact, self.delete_contact),
            *(self.update_record, self.update_record, self.update_record, self.change_engagement),
            *(self.define, self.define, self.redefine, self.update_company_record),
            *(self.create_company, self.change_company, self.tag, self.engage, self.engage, self.change_engagement),
            *(self.comment, self.note, self.note, self.note, self.bulk, self.merge, self.merge_companies, self.restore),
            *(self.undo, self.undo, self.undo),
        ]
        if self.is_of_both_releases:
            new = (self.update_record, self.define, self.redefine, self.update_company_record, self.note, self.merge_companies)
            deeds = [deed for deed in deeds if deed not in new]
        for _ in range(steps):
            deed = self.dice.choice(deeds)
            response = await deed()
            if response is None:
                continue
            assert response.status_code < 500, response.text
            if response.status_code < 300:
                self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
                self.requests.append(response.headers["X-Request-Id"])

    def some(self, known: list[str]) -> str:
        """Return the id of an object that exists or existed."""
        return self.dice.choice(known) if known else "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"

    def contact(self) -> Json:
        """Return the fields of a contact; some addresses may be taken."""
        dice = self.dice
        members: Json = {"first_name": dice.choice(["Ada", "Grace", "Zoë"]), "last_name": f"N{dice.randrange(99)}"}
        if dice.random() < 0.7:
            members["emails"] = [{"email": f"{name}@x.test"} for name in dice.sample("abcdefghij", dice.randrange(1, 4))]
        if self.companies and dice.random() < 0.4:
            members["company_id"] = self.some(self.companies)
        if dice.random() < 0.3:
            members["phone_numbers"] = [{"phone_number": f"+4930{dice.randrange(10**6):07d}"}]
        return members

    def record(self) -> Json:
        """Return the fields of a contact with some of herdbook's own; some external ids may be taken."""
        if self.is_of_both_releases:
            return self.contact()
        ids_ = {"external_ids": [f"id {name}" for name in self.dice.sample("abcdefghij", self.dice.randrange(3))]}
        values = {"fields": self.values("contact")} if self.dice.random() < 0.6 else {}
        return self.contact() | (ids_ if self.dice.random() < 0.6 else {}) | values

    def values(self, object_type: str) -> Json:
        """Return values of fields; some may be taken, archived or cleared."""
        known = self.fields[object_type]
        found: Json = {}
        for _, key, kind in self.dice.sample(known, min(len(known), self.dice.randrange(3))):
            made: Json = {
                "text": f"T{self.dice.randrange(4)}",
                "integer": self.dice.randrange(-9, 9),
                "several_of": self.dice.sample(["gold", "silver", "bronze"], self.dice.randrange(3)),
                "money": {"amount": f"{self.dice.randrange(99)}.50", "currency": "EUR"},
                "contact": self.some(self.contacts),
            }
            found[key] = None if self.dice.random() < 0.15 else made[kind]
        return found

    async def define(self) -> Any:
        """Define a field of contacts or companies; some keys are taken."""
        object_type, kind = self.dice.choice(["contact", "company"]), self.dice.choice([*_KINDS])
        key = f"f{self.dice.randrange(12)}"
        options = [{"id": each, "label": each} for each in ("gold", "silver", "bronze")] if kind == "several_of" else []
        unique = kind == "text" and self.dice.random() < 0.5
        field: Json = {"object_type": object_type, "key": key, "label": key, "kind": kind, "options": options, "unique": unique}
        response = await self.person.post("/api/herdbook/fields", json=field)
        if response.status_code == 201:
            known = [each for each in self.fields[object_type] if each[1] != key]
            self.fields[object_type] = [*known, (response.json()["id"], key, kind)]
        return response

    async def redefine(self) -> Any:
        """Archive a field or bring it back, or convert its values."""
        known = self.fields[self.dice.choice(["contact", "company"])]
        if not known:
            return None
        place = self.dice.randrange(len(known))
        field_id, key, kind = known[place]
        members: Json = {"archived": self.dice.random() < 0.4, "label": f"L{self.dice.randrange(9)}"}
        if self.dice.random() < 0.3:
            kind = "text"
            members = {"kind": "text", "unique": self.dice.random() < 0.5}
        response = await self.person.patch(f"/api/herdbook/fields/{field_id}", json=members)
        if response.status_code == 200:
            known[place] = field_id, key, kind
        return response

    async def update_company_record(self) -> Any:
        """Change the values of a company."""
        path = f"/api/herdbook/companies/{self.some(self.companies[-2:])}/record"
        return await self.person.patch(path, json={"fields": self.values("company")} | self.tagged())

    def tagged(self) -> Json:
        """Return the tags of a contact or a company, or no change of them; some tags may be deleted."""
        if not self.tags or self.dice.random() < 0.6:
            return {}
        return {"tag_ids": self.dice.sample(self.tags[-3:], self.dice.randrange(min(len(self.tags), 3)))}

    async def create_contact(self) -> Any:
        """Create a contact."""
        response = await self.person.post(_CONTACTS, json=self.record())
        if response.status_code == 201:
            self.contacts.append(response.json()["id"])
        return response

    async def update_contact(self) -> Any:
        """Change a contact, or clear a part of it."""
        members = self.contact()
        if self.dice.random() < 0.3:
            members |= {"company_id": None, "last_name": None}
        return await self.person.patch(f"{_CONTACTS}/{self.some(self.contacts)}", json=members)

    async def update_record(self) -> Any:
        """Change the whole of a contact, or clear a part of it."""
        members: Json = self.record() if self.dice.random() < 0.5 else {"external_ids": [f"id {self.dice.randrange(99)}"]}
        if self.dice.random() < 0.2:
            members["external_ids"] = None
        for item in members.get("emails", ()):
            item["label"] = self.dice.choice(["work", "home", None])
        members |= self.tagged()
        # An earlier contact may be deleted.
        return await self.person.patch(f"/api/herdbook/contacts/{self.some(self.contacts[-2:])}/record", json=members)

    async def delete_contact(self) -> Any:
        """Delete a contact."""
        return await self.person.delete(f"{_CONTACTS}/{self.some(self.contacts)}")

    async def create_company(self) -> Any:
        """Create a company."""
        company = {"name": f"C{len(self.companies)}", "domains": [{"domain": f"{self.dice.choice('abcdef')}.test"}]}
        response = await self.person.post("/api/v2/companies", json=company)
        if response.status_code == 201:
            self.companies.append(response.json()["id"])
        return response

    async def change_company(self) -> Any:
        """Rename or delete a company."""
        path = f"/api/v2/companies/{self.some(self.companies)}"
        if self.dice.random() < 0.5:
            return await self.person.delete(path)
        return await self.person.patch(path, json={"name": f"D{self.dice.randrange(99)}"})

    async def tag(self) -> Any:
        """Create or delete a tag."""
        if self.tags and self.dice.random() < 0.3:
            return await self.person.delete(f"/api/v2/tags/{self.some(self.tags)}")
        response = await self.person.post("/api/v2/tags", json={"name": f"T{self.dice.randrange(20)}"})
        if response.status_code == 201:
            self.tags.append(response.json()["id"])
        return response

    async def engage(self) -> Any:
        """Create an engagement; some of its participants are new."""
        names = self.dice.sample("abcdefghijkl", 2)
        participants = [{"name": f"P {name}", "email": f"{name}@x.test"} for name in names]
        body = call(f"call-{len(self.engagements)}", participants=participants, is_private=self.dice.random() < 0.3)
        response = await self.person.post("/api/v2/engagements", json=body)
        if response.status_code == 201:
            self.engagements.append(response.json()["id"])
        return response

    async def change_engagement(self) -> Any:
        """Set the contacts, the tags or the timeline of an engagement."""
        engagement_id = self.some(self.engagements)
        path = f"/api/v2/engagements/{engagement_id}"
        match self.dice.randrange(3):
            case 0:
                return await self.person.put(f"{path}/contacts", json={"contact_ids": [self.some(self.contacts)]})
            case 1:
                return await self.person.put(f"{path}/tags", json={"tag_ids": [self.some(self.tags)]})
            case _:
                path = f"/api/herdbook/engagements/{engagement_id}/transcript_timeline"
                return await self.person.put(path, json=TIMELINE)

    async def comment(self) -> Any:
        """Create or delete a comment."""
        if self.comments and self.dice.random() < 0.3:
            return await self.person.delete(f"/api/v2/transcript_comments/{self.some(self.comments)}")
        path = f"/api/v2/engagements/{self.some(self.engagements)}/transcript_comments"
        response = await self.person.post(path, json={"body": "Well."})
        if response.status_code == 201:
            self.comments.append(response.json()["id"])
        return response

    async def note(self) -> Any:
        """Write a note on a contact or a company, or change or delete one."""
        dice = self.dice
        if self.notes and dice.random() < 0.4:
            path = f"/api/herdbook/notes/{self.some(self.notes)}"
            return await (self.person.delete(path) if dice.random() < 0.4 else self.person.patch(path, json={"text": "So?"}))
        plural, known = dice.choice([("contacts", self.contacts[-2:]), ("companies", self.companies[-2:])])
        body = {"text": "Well.", "is_pinned": dice.random() < 0.5}
        response = await self.person.post(f"/api/herdbook/{plural}/{self.some(known)}/notes", json=body)
        if response.status_code == 201:
            self.notes.append(response.json()["id"])
        return response

    async def bulk(self) -> Any:
        """Write several contacts in bulk."""
        dice = self.dice
        operations: list[Json] = []
        for _ in range(dice.randrange(1, 8)):
            action = dice.choice(["create", "update", "delete", "upsert", "upsert"])
            operation: Json = {"action": action}
            if action in ("update", "delete"):
                operation["id"] = self.some(self.contacts)
            if action != "delete":
                operation["contact"] = self.contact() if action == "update" else self.record()
            if action == "upsert" and operation["contact"].get("external_ids") and dice.random() < 0.5:
                operation["contact"]["match_by"] = "external_ids"
            operations.append(operation)
        body = {"atomic": dice.random() < 0.3, "operations": operations}
        response = await self.person.post("/api/herdbook/contacts/bulk", json=body)
        if response.status_code == 200:
            results = response.json()["results"]
            self.contacts += [each["contact"]["id"] for each in results if each["result"] == "created"]
        return response

    async def merge(self) -> Any:
        """Merge contacts."""
        active = [contact["id"] for contact in (await self.person.get(_CONTACTS)).json()["data"]]
        if len(active) < 3:
            return None
        target, *sources = self.dice.sample(active, 3)
        return await self.person.post(f"/api/herdbook/contacts/{target}/merge", json={"from": sources})

    async def merge_companies(self) -> Any:
        """Merge companies."""
        active = [company["id"] for company in (await self.person.get("/api/v2/companies")).json()["data"]]
        if len(active) < 2:
            return None
        target, source = self.dice.sample(active, 2)
        return await self.person.post(f"/api/herdbook/companies/{target}/merge", json={"from": [source]})

    async def restore(self) -> Any:
        """Restore an object."""
        plural, known = self.dice.choice(
            [("contacts", self.contacts), ("companies", self.companies), ("tags", self.tags), ("notes", self.notes)]
        )
        return await self.person.post(f"/api/herdbook/{plural}/{self.some(known)}/restore")

    async def undo(self) -> Any:
        """Undo a request, often the latest."""
        if not self.requests:
            return None
        request_id = self.requests[-1] if self.dice.random() < 0.6 else self.dice.choice(self.requests)
        return await self.person.post("/api/herdbook/undo", json={"request_id": request_id})


@pytest.mark.parametrize("seed", range(100 if DEEP else 8))
async def test_the_feed_rebuilds_every_row(
    client: httpx.AsyncClient, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]", seed: int
) -> None:
    """The feed rebuilds every row byte for byte, after writes, undos, merges and bulk requests."""
    connection = await connect(database_url)
    workspace_id = await create_owned_workspace(database_url, connection, "Life")
    person = Person(client, workspace_id, await create_key(connection, workspace_id, "Owner", [ADMIN]))
    await connection.close()
    life, replica = Life(person, random.Random(seed)), Replica(workspace_id)  # noqa: S311  # repeatable on purpose
    for _ in range(3):
        await life.live(75)
        await replica.follow(person)
        rows = await stored(pool, workspace_id)
        assert replica.rows.keys() == rows.keys()
        for place, row in rows.items():
            assert replica.rows[place] == row, place
        await assert_consistent(pool, workspace_id)

    expected = {"merge", "bulk", "undo", "restore", "change_engagement", "update_record", "define", "note"}
    assert expected <= life.done.keys()
