"""A change of an endpoint is in force once it is answered: no later attempt uses the old state, and no event is lost."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
import svix

from herdbook import ids
from herdbook.outgoing import Targets
from herdbook.webhooks.delivery import SCHEDULE
from herdbook.webhooks.events import seq_of
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import KeptConnection, Sender
from tests.cast import Json, Person
from tests.webhooks.receiver import TAKEN, Receiver, Request, answer, receiving
from tests.webhooks.webhook_app import WEBHOOKS, WebhookApp, subscribe, write_contact


@pytest.fixture(autouse=True)
def _slow_to_store(post: WebhookApp) -> None:
    """The courier stores its position so rarely that it learns of changes from the ledger alone."""
    post.courier = post.new_courier(store_seconds=60.0)


async def hold(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Hold the answer to an event, so that a round is under way."""
    await write_contact(owner, first_name="Held")
    receiver.holds = lambda request: request.event["data"]["object"].get("first_name") == "Held"
    receiver.may_answer.clear()
    await post.courier.look()
    await receiver.wait_for(1)


async def finish(post: WebhookApp, receiver: Receiver) -> None:
    """Release the held answer, and deliver the rest."""
    receiver.may_answer.set()
    await post.courier.settled()
    await post.deliver()


def names(requests: Sequence[Request]) -> list[Any]:
    """Return the first names, or else the types, of the events sent."""
    return [request.event["data"]["object"].get("first_name") or request.event["type"] for request in requests]


async def test_what_is_newly_asked_for_is_told(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A type that is added during a round is delivered from the answer on."""
    endpoint = await subscribe(owner, receiver.url, event_types=["v1.contact.created"])
    await hold(post, owner, receiver)
    await post.heard(owner, owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"event_types": None}))
    await post.heard(owner, owner.post("/api/v2/tags", json={"name": "Renewal"}))
    await finish(post, receiver)

    assert names(receiver.requests) == ["Held", "v1.tag.created"]


async def test_a_change_waits_for_no_answer_of_the_endpoint(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A courier says at once that it begins no more attempts, though one is under way, and does not let its lease run out."""
    endpoint = await subscribe(owner, receiver.url)
    await hold(post, owner, receiver)
    await post.heard(owner, owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"event_types": ["v1.tag.created"]}))
    reader = await post.reader(endpoint)
    await finish(post, receiver)

    assert reader["sends_as"] is None
    assert reader["lease_holder"] is not None


async def test_another_url_gets_what_comes_after(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A new URL gets all later events, and the old one none."""
    async with receiving() as old:
        endpoint = await subscribe(owner, old.url)
        await hold(post, owner, old)
        await post.heard(owner, owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"url": receiver.url}))
        await post.heard(owner, owner.post("/api/v2/contacts", json={"first_name": "After"}))
        await finish(post, old)

    assert (names(old.requests), names(receiver.requests)) == (["Held"], ["After"])


@pytest.mark.parametrize("what", ["disable", "delete", "narrow"])
async def test_what_is_not_asked_for_any_more_is_not_told(
    post: WebhookApp, owner: Person, receiver: Receiver, what: str
) -> None:
    """A disabled, deleted or narrowed endpoint gets neither later events nor retries."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda request: TAKEN if names([request]) == ["Held"] else answer(500)
    await write_contact(owner, first_name="Waits")
    await post.deliver()
    receiver.requests.clear()
    await hold(post, owner, receiver)
    url = f"{WEBHOOKS}/{endpoint['id']}"
    await post.heard(
        owner,
        {
            "disable": lambda: owner.post(f"{url}/disable", json={}),
            "delete": lambda: owner.delete(url),
            "narrow": lambda: owner.patch(url, json={"event_types": ["v1.tag.created"]}),
        }[what](),
    )
    await post.heard(owner, owner.post("/api/v2/contacts", json={"first_name": "After"}))
    await finish(post, receiver)
    post.clock.go(SCHEDULE[1])
    await post.deliver()

    assert names(receiver.requests) == ["Held"]


async def test_a_revoked_secret_signs_nothing(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A secret revoked without an overlap signs nothing after the answer."""
    endpoint = await subscribe(owner, receiver.url)
    await hold(post, owner, receiver)
    rotated = await post.heard(owner, owner.post(f"{WEBHOOKS}/{endpoint['id']}/rotate_secret", json={"overlap_seconds": 0}))
    await post.heard(owner, owner.post("/api/v2/contacts", json={"first_name": "After"}))
    await finish(post, receiver)
    _, after = receiver.requests

    svix.Webhook(rotated.json()["secret"]).verify(after.body, after.headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(endpoint["secret"]).verify(after.body, after.headers)


@pytest.mark.parametrize("said", [answer(410), answer(500), answer(503, Retry_After="3600"), None], ids=str)
async def test_what_the_old_url_says_late_is_no_matter(
    post: WebhookApp, owner: Person, receiver: Receiver, said: bytes | None
) -> None:
    """A late answer of the old URL affects the new one in no way, and the event is sent there."""
    async with receiving() as old:
        endpoint = await subscribe(owner, old.url)
        await hold(post, owner, old)
        await post.heard(owner, owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"url": receiver.url}))
        old.answering = lambda _: said
        await finish(post, old)

    reader = await post.reader(endpoint)
    assert (await owner.get(f"{WEBHOOKS}/{endpoint['id']}")).json()["is_enabled"]
    assert (reader["failing_since"], reader["failures_in_a_row"], reader["paused_until"]) == (None, 0, None)
    assert names(receiver.requests) == ["Held"]


async def test_another_url_has_not_failed_yet(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A new URL starts without failures, and the events that the old one refused are sent there at once."""
    async with receiving() as old:
        old.answering = lambda _: answer(429, Retry_After="7200")
        endpoint = await subscribe(owner, old.url)
        await write_contact(owner, first_name="Ada")
        await post.deliver()
        await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"url": receiver.url})
        reader = await post.reader(endpoint)
        await post.deliver()

    assert (reader["failing_since"], reader["failures_in_a_row"], reader["paused_until"]) == (None, 0, None)
    assert names(receiver.requests) == ["Ada"]


async def test_a_courier_elsewhere_is_waited_for(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A change is committed first, and answered once the courier with the old state says that it stopped using it."""
    endpoint = await subscribe(owner, receiver.url)
    await post.pool.execute(
        """
        update webhook_reader
        set lease_holder = $1, leased_until = now() + interval '1 minute', sends_as = 1
        where is_enabled
        """,
        ids.new_id(),
    )
    asked = asyncio.create_task(owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"url": receiver.url + "&changed"}))
    while not await post.pool.fetchval("select count(*) from webhook_endpoint where object ->> 'url' like '%changed'"):
        assert not asked.done()
    for _ in range(50):
        await post.pool.fetchval("select 1")
        assert not asked.done(), "a courier may still send to the old URL"
    await post.pool.execute("update webhook_reader set sends_as = null where is_enabled")

    assert (await asked).status_code == 200


async def test_a_lease_lasts_while_answers_are_waited_for(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A round that the endpoint asked to pause keeps its lease while answers are outstanding."""
    post.courier = post.new_courier()
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda request: TAKEN if names([request]) == ["Held"] else answer(503, Retry_After="60")
    await hold(post, owner, receiver)
    await post.heard(owner, owner.post("/api/v2/contacts", json={"first_name": "Not now"}))
    await receiver.wait_for(2)
    first = reader = await post.reader(endpoint)
    leased: set[Any] = set()
    while len(leased) < 4:
        reader = await post.reader(endpoint)
        leased.add(reader["leased_until"])
    assert reader["lease_holder"] == first["lease_holder"]
    other = post.new_courier()
    await other.look()
    await other.settled()
    receiver.may_answer.set()
    await post.courier.settled()

    assert names(receiver.requests) == ["Held", "Not now"]


# Random stories


class Sent(NamedTuple):
    """An attempt that began: its place in the journal, URL, signing secrets and entry."""

    when: int
    url: str
    secrets: Sequence[str]
    seq: int


class WatchedConnection(KeptConnection):
    """A connection that records each attempt when it begins."""

    begun: Callable[[str, Sequence[str], str], None]

    async def attempt(
        self, signing_secrets: Sequence[str], event_id: str, body: bytes, may_begin: Callable[[], bool] = lambda: True
    ) -> tuple[Attempt, str | None]:
        """Send an event."""

        def noted() -> bool:
            may = may_begin()
            if may:
                self.begun(self._url, signing_secrets, event_id)
            return may

        return await super().attempt(signing_secrets, event_id, body, noted)


class WatchedSender(Sender):
    """A sender that records each attempt with the number of changes answered before it."""

    def __init__(self) -> None:
        super().__init__(Targets(("127.0.0.0/8",)), 60.0)
        self.sent: list[Sent] = []
        self.answered = 0

    def kept_connection(self, url: str, workspace_id: UUID, own_headers: str | None = None) -> KeptConnection:
        """Return a recording connection."""
        kept = WatchedConnection(self, url, workspace_id, own_headers)
        kept.begun = self._begun
        return kept

    def _begun(self, url: str, secrets: Sequence[str], event_id: str) -> None:
        seq = seq_of(event_id)
        assert seq is not None
        self.sent.append(Sent(self.answered, url, tuple(secrets), seq))


class State(NamedTuple):
    """An endpoint's state from the entry with this version on."""

    version: int
    url: str
    secret: str
    types: tuple[str, ...] | None
    is_enabled: bool

    def asks_for(self, type_: str) -> bool:
        """Whether the endpoint receives this type."""
        return self.types is None or type_ in self.types


_TYPES = (None, ("v1.contact.created",), ("v1.tag.created",), ("v1.contact.created", "v1.tag.created"))


class Story:
    """The story of one endpoint: its states, and the changes written, by their numbers."""

    def __init__(self, post: WebhookApp, owner: Person, endpoint: Json, dice: random.Random, urls: Sequence[str]) -> None:
        self.states = [State(1, urls[0], endpoint["secret"], None, is_enabled=True)]
        self.written: dict[int, str] = {}
        self.sender = WatchedSender()
        self._post = post
        self._owner = owner
        self._url = f"{WEBHOOKS}/{endpoint['id']}"
        self._endpoint = endpoint
        self._dice = dice
        self._urls = urls

    async def go_on(self) -> None:
        """Take a random step."""
        now = self.states[-1]
        number = self._dice.randrange(12)
        if number == 0:
            url = self._dice.choice(self._urls)
            await self._change(now._replace(url=url), await self._owner.patch(self._url, json={"url": url}))
        elif number == 1:
            types = self._dice.choice(_TYPES)
            await self._change(now._replace(types=types), await self._owner.patch(self._url, json={"event_types": types}))
        elif number == 2:
            await self._change(now._replace(is_enabled=False), await self._owner.post(f"{self._url}/disable", json={}))
        elif number in (3, 4):
            await self.enable()
        elif number == 5:
            response = await self._owner.post(f"{self._url}/rotate_secret", json={"overlap_seconds": 0})
            await self._change(now._replace(secret=response.json()["secret"]), response)
        elif number == 6:
            self._post.clock.go(timedelta(minutes=1))
        else:
            await self._write("tag" if number % 2 else "contact")

    async def enable(self) -> None:
        """Enable the endpoint."""
        response = await self._owner.post(f"{self._url}/enable", json={})
        await self._change(self.states[-1]._replace(is_enabled=True), response)

    def assert_sent_in_force(self) -> None:
        """Check that no attempt used a state older than a change already answered."""
        for sent in self.sender.sent:
            # An attempt that begins during a change may use the old or the new state.
            possible = self.states[sent.when : sent.when + 2]
            type_ = self.written[sent.seq]
            assert any(
                state.is_enabled and (sent.url, *sent.secrets) == (state.url, state.secret) and state.asks_for(type_)
                for state in possible
            ), (sent, possible)

    def assert_nothing_lost(self) -> None:
        """Check that every event was sent whose type the endpoint has asked for ever since."""
        told = {sent.seq for sent in self.sender.sent}
        for seq, type_ in self.written.items():
            since = max(index for index, state in enumerate(self.states) if state.version <= seq)
            assert seq in told or not all(state.asks_for(type_) for state in self.states[since:]), (seq, type_)

    async def _change(self, new: State, response: httpx.Response) -> None:
        assert response.is_success, response.text
        version = await self._post.pool.fetchval(
            "select version from webhook_endpoint where object ->> 'id' = $1", self._endpoint["id"]
        )
        self.states.append(new._replace(version=version))
        self.sender.answered += 1

    async def _write(self, kind: str) -> None:
        body = {"name": f"T{len(self.written)}"} if kind == "tag" else {"first_name": f"C{len(self.written)}"}
        assert (await self._owner.post(f"/api/v2/{kind}s", json=body)).status_code == 201
        seq = await self._post.pool.fetchval("select seq from workspace where id = $1", self._owner.workspace_id)
        self.written[seq] = f"v1.{kind}.created"


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens(post: WebhookApp, owner: Person, receiver: Receiver, seed: int) -> None:
    """No attempt uses a state older than an answered change, and no event is lost whose type stayed selected."""
    dice = random.Random(seed)  # noqa: S311  # repeatable on purpose
    async with receiving() as other:
        for each in (receiver, other):
            each.answering = lambda _: dice.choice([TAKEN, TAKEN, TAKEN, answer(500), None])
        endpoint = await subscribe(owner, receiver.url)
        story = Story(post, owner, endpoint, dice, (receiver.url, other.url))
        couriers = [post.new_courier(story.sender, store_seconds=0.02) for _ in range(2)]
        for _ in range(60):
            await dice.choice(couriers).look()
            await story.go_on()
        for each in (receiver, other):
            each.answering = lambda _: TAKEN
        if not story.states[-1].is_enabled:
            await story.enable()
        for post.courier in couriers:
            for pause in SCHEDULE:
                post.clock.go(pause)
                await post.deliver()

    story.assert_sent_in_force()
    story.assert_nothing_lost()
