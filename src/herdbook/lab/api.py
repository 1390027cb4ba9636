"""The operations of /herdbook/lab: they command the lab, with its own token."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import fields, ids
from herdbook.console.model import link_address
from herdbook.errors import FieldError, Invalid, InvalidQuery
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Handler, Operation
from herdbook.lab.clock import LAST_MOMENT, Clock
from herdbook.lab.expectations import LabVerdict, LabVerify, condition_errors, impossible, verdict
from herdbook.lab.faults import FAULT_PREFIX, Fault, FaultList, FaultRule
from herdbook.lab.journal import JournalPage, JournalQuery
from herdbook.lab.lab import Lab, Made
from herdbook.lab.model import (
    LabApproval,
    LabClient,
    LabClientCreate,
    LabClock,
    LabClockChange,
    LabDone,
    LabInbox,
    LabInboxChange,
    LabKey,
    LabKeyCreate,
    LabLink,
    LabMoved,
    LabRedirect,
    LabRestore,
    LabSeed,
    LabSeedCreate,
    LabSeedQuery,
    LabSignIn,
    LabSnapshot,
    LabState,
    LabUser,
    LabWorkspaceAnswer,
    LabWorkspaceCreate,
    LabWorkspaceSummary,
)
from herdbook.lab.seed_file import Seed, SeedInvalid, from_ndjson, from_yaml, of_entries
from herdbook.lab.store import INBOXES
from herdbook.lab.workspace import LabWorkspace
from herdbook.oauth.model import AUTHORIZE_PATH
from herdbook.shared_schemas import shown_time

_WORKSPACES: Final = "/herdbook/lab/workspaces"
_ONE: Final = _WORKSPACES + "/{lab_workspace_id}"
_SEEDS: Final = "/herdbook/lab/seeds"
PATH_IDS: Final[Mapping[str, str]] = {"lab_workspace": ids.WORKSPACE, "fault": FAULT_PREFIX}
_encode: Final = msgspec.json.Encoder().encode


def _shown_clock(clock: Clock) -> LabClock:
    return LabClock(now=shown_time(clock.now()), is_frozen=clock.frozen_at is not None)


def _inbox_url(call: Call, workspace: LabWorkspace) -> str:
    return f"{call.base_url}{INBOXES}{workspace.shown_id}"


def _shown(call: Call, made: Made) -> LabWorkspaceAnswer:
    return LabWorkspaceAnswer(
        id=made.workspace.shown_id,
        api_key=str(made.key),
        seed=made.state.seed,
        clock=_shown_clock(made.workspace.clock),
        users=tuple(LabUser(id=each.id, name=each.name, role=each.role) for each in made.state.template.users),
        inbox_url=_inbox_url(call, made.workspace),
        objects=dict(made.state.template.objects),
    )


def _summary(workspace: LabWorkspace, made: Made) -> LabWorkspaceSummary:
    return LabWorkspaceSummary(id=workspace.shown_id, seed=made.state.seed, clock=_shown_clock(workspace.clock))


def _user_of(made: Made, named: str | UnsetType) -> UUID:
    """Return the id of a user of a workspace. Refusal: Invalid."""
    users = {each.name: each.id for each in made.state.template.users}
    text = made.state.template.users[0].id if named is UNSET else users.get(named, named)
    found = ids.decoded(ids.USER, text)
    if found is None:
        message = f"There is no user `{named}` in the seed. There are {', '.join(users)}. Or send the id of a user."
        raise Invalid([FieldError("user", "not_found", message)])
    return found


def _rules_of(workspace: LabWorkspace) -> Collection[str]:
    """Return the ids of the rules for faults that are there, and of those that the journal has still."""
    return {each.id for each in workspace.faults.shown.faults} | {each.fault for each in workspace.journal.entries()}


def _target(asked: LabClockChange, now: datetime) -> datetime:
    """Return the time to which a clock is moved. Refusal: Invalid."""
    to = now + timedelta(seconds=asked.advance_seconds or 0)
    if asked.to is not UNSET and (named := fields.parsed_time(asked.to)) is not None:
        if named < now:
            message = f"The clock shows {shown_time(now)} and is only moved ahead. Reset the workspace."
            raise Invalid([FieldError("to", "in_the_past", message)])
        to = named
    if to > LAST_MOMENT:
        name = "advance_seconds" if asked.to is UNSET else "to"
        raise Invalid([FieldError(name, "too_large", f"A clock goes until {shown_time(LAST_MOMENT)}.")])
    return to


def _parameters_of(call: Call, url: str) -> list[tuple[str, str]]:
    """Return the parameters of an authorization request. Refusal: Invalid, if a browser would not get to this server's page."""
    address, _, query = url.partition("?")
    if address != (there := call.base_url + AUTHORIZE_PATH):
        message = f"`url` is not the page at which users of this server let a client in. Its address is {there}."
        raise Invalid([FieldError("url", "not_allowed", message)])
    return parse_qsl(query.partition("#")[0], keep_blank_values=True)


def _seed_of(asked: LabSeedCreate) -> Seed:
    """Return the seed of a request. Refusal: Invalid."""
    given = [name for name in ("yaml", "ndjson", "objects") if getattr(asked, name) is not UNSET]
    if len(given) != 1:
        message = "Send exactly one of `yaml`, `ndjson` and `objects`."
        raise Invalid([FieldError("objects", "required", message)])
    try:
        if asked.yaml is not UNSET:
            return from_yaml(asked.yaml)
        return of_entries(asked.objects or ()) if asked.ndjson is UNSET else from_ndjson(asked.ndjson)
    except SeedInvalid as invalid:
        raise Invalid([FieldError(given[0], "refused", str(invalid))]) from None


class _Handlers:
    """The handlers of the operations."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def state(self, _: Call) -> Answer:
        made = tuple(_summary(each.workspace, each) for each in self._lab.made.values())
        shown = LabState(workspaces=made, most_workspaces=self._lab.most_workspaces, seeds=tuple(self._lab.seed_names))
        return Answer(_encode(shown))

    async def add_seed(self, _: Call, asked: LabSeedCreate) -> Answer:
        # A long text takes long to read, while the server answers others.
        template = await self._lab.add_seed(asked.name, await asyncio.to_thread(_seed_of, asked))
        return Answer(_encode(LabSeed(name=asked.name, objects=dict(template.objects))))

    async def remove_seed(self, _: Call, asked: LabSeedQuery) -> Answer:
        await self._lab.remove_seed(asked.name)
        return Answer(_encode(LabDone(id=asked.name, done="deleted")))

    async def create(self, call: Call, asked: LabWorkspaceCreate) -> Answer:
        at = None if asked.clock is UNSET else fields.parsed_time(asked.clock)
        if at is None and asked.clock_runs:
            message = "`clock_runs` needs a time in `clock`."
            raise Invalid([FieldError("clock_runs", "required", message)])
        random_seed = None if asked.random_seed is UNSET else asked.random_seed
        is_frozen = at is not None and not asked.clock_runs
        return Answer(_encode(_shown(call, await self._lab.create(asked.seed, at, random_seed, is_frozen=is_frozen))))

    async def read(self, call: Call, workspace_id: UUID) -> Answer:
        return Answer(_encode(_shown(call, self._lab.made_as(workspace_id))))

    async def reset(self, call: Call, workspace_id: UUID) -> Answer:
        await self._lab.reset(workspace_id)
        return await self.read(call, workspace_id)

    async def restore(self, call: Call, workspace_id: UUID, asked: LabRestore) -> Answer:
        await self._lab.restore(workspace_id, asked.seed)
        return await self.read(call, workspace_id)

    async def snapshot(self, _: Call, workspace_id: UUID, asked: LabSnapshot) -> Answer:
        await self._lab.snapshot(workspace_id, asked.name)
        return Answer(_encode(LabSeed(name=asked.name, objects=dict(self._lab.made_as(workspace_id).state.template.objects))))

    async def delete(self, _: Call, workspace_id: UUID) -> Answer:
        shown_id = self._lab.workspace(workspace_id).shown_id
        await self._lab.delete(workspace_id)
        return Answer(_encode(LabDone(id=shown_id, done="deleted")))

    async def add_key(self, _: Call, workspace_id: UUID, asked: LabKeyCreate) -> Answer:
        expires_at = None if asked.expires_at is UNSET else fields.parsed_time(asked.expires_at)
        workspace = self._lab.workspace(workspace_id)
        self._lab.require_room()
        async with workspace.gate.inside():
            key = await workspace.create_key(asked.name, asked.scopes, expires_at)
        return Answer(_encode(LabKey(api_key=str(key))))

    async def change_clock(self, _: Call, workspace_id: UUID, asked: LabClockChange) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        if asked.advance_seconds is UNSET and asked.to is UNSET and asked.is_frozen is UNSET:
            message = "The body changes nothing. Send `advance_seconds` or `to`, or `is_frozen`."
            raise Invalid([FieldError("", "required", message)])
        if asked.to is not UNSET and asked.advance_seconds is not UNSET:
            message = "`to` and `advance_seconds` do not go together. Send one of them."
            raise Invalid([FieldError("to", "not_allowed", message)])
        async with workspace.gate.inside():
            sent = await workspace.advance(lambda now: _target(asked, now))
            if asked.is_frozen is not UNSET:
                workspace.change_clock(is_frozen=asked.is_frozen)
        return Answer(_encode(LabMoved(clock=_shown_clock(workspace.clock), deliveries=sent)))

    async def add_client(self, _: Call, workspace_id: UUID, asked: LabClientCreate) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        self._lab.require_room()
        async with workspace.gate.inside():
            made = await workspace.create_client(asked.name, asked.scopes, asked.redirect_uris, is_public=asked.is_public)
        return Answer(_encode(LabClient(client_id=made.client_id, client_secret=made.client_secret)))

    async def approve(self, call: Call, workspace_id: UUID, asked: LabApproval) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        user_id = _user_of(self._lab.made_as(workspace_id), asked.user)
        parameters = _parameters_of(call, asked.url)
        self._lab.require_room()
        async with workspace.gate.inside():
            location = await workspace.let_in(parameters, user_id, call.base_url)
        return Answer(_encode(LabRedirect(location=location)))

    async def sign_in(self, call: Call, workspace_id: UUID, asked: LabSignIn) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        self._lab.require_room()
        async with workspace.gate.inside():
            link = await workspace.sign_in_link(_user_of(self._lab.made_as(workspace_id), asked.user))
        return Answer(_encode(LabLink(url=link_address(call.base_url, link))))

    async def add_fault(self, _: Call, workspace_id: UUID, asked: FaultRule) -> Answer:
        return Answer(_encode(self._lab.workspace(workspace_id).add_rule(asked)))

    async def list_faults(self, _: Call, workspace_id: UUID) -> Answer:
        return Answer(_encode(self._lab.workspace(workspace_id).faults.shown))

    async def remove_fault(self, _: Call, workspace_id: UUID, fault_id: UUID) -> Answer:
        return Answer(_encode(self._lab.workspace(workspace_id).faults.remove(ids.encoded(FAULT_PREFIX, fault_id))))

    async def journal(self, _: Call, workspace_id: UUID, asked: JournalQuery) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        if errors := list(condition_errors(asked, workspace.operations, _rules_of(workspace))):
            raise InvalidQuery(errors)
        return Answer(_encode(await workspace.journal.found(asked)))

    async def verify(self, _: Call, workspace_id: UUID, asked: LabVerify) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        operations = workspace.operations
        if errors := list(impossible(asked, operations, _rules_of(workspace))):
            raise Invalid(errors)
        writes = frozenset(each.id for each in operations if each.is_write)
        return Answer(_encode(verdict(asked, workspace.journal, writes)))

    async def read_inbox(self, call: Call, workspace_id: UUID) -> Answer:
        workspace = self._lab.workspace(workspace_id)
        return Answer(_encode(LabInbox(url=_inbox_url(call, workspace), statuses=tuple(workspace.inbox.statuses))))

    async def change_inbox(self, call: Call, workspace_id: UUID, asked: LabInboxChange) -> Answer:
        inbox = self._lab.workspace(workspace_id).inbox
        inbox.statuses = list(asked.statuses)
        inbox.retry_after = None if asked.retry_after is UNSET else asked.retry_after
        return await self.read_inbox(call, workspace_id)


def operations(lab: Lab) -> tuple[Operation, ...]:
    """Return the operations that command a lab."""
    do = _Handlers(lab)
    return (
        _operation("GET", "/herdbook/lab/state", "get-lab-state", "Lists workspaces and seeds.", do.state, LabState),
        _operation(
            *("POST", _SEEDS, "create-lab-seed", "Builds a seed: a state with which workspaces begin.", do.add_seed, LabSeed),
            body=LabSeedCreate,
            status=201,
            is_large=True,
        ),
        _operation(
            *("DELETE", _SEEDS, "delete-lab-seed", "Removes a seed or a snapshot.", do.remove_seed, LabDone),
            query=LabSeedQuery,
        ),
        _operation(
            *("POST", _WORKSPACES, "create-lab-workspace", "Creates a workspace from a seed, with a key."),
            *(do.create, LabWorkspaceAnswer),
            body=LabWorkspaceCreate,
            status=201,
        ),
        _operation("GET", _ONE, "get-lab-workspace", "Reads a workspace of the lab.", do.read, LabWorkspaceAnswer),
        _operation("DELETE", _ONE, "delete-lab-workspace", "Deletes a workspace of the lab.", do.delete, LabDone),
        _operation(
            *("POST", _ONE + "/reset", "reset-lab-workspace"),
            "Gives a workspace the state and the time of its beginning again. Its keys stay; faults and journal go.",
            *(do.reset, LabWorkspaceAnswer),
        ),
        _operation(
            *("POST", _ONE + "/snapshot", "snapshot-lab-workspace", "Keeps the state of a workspace as a seed."),
            *(do.snapshot, LabSeed),
            body=LabSnapshot,
            status=201,
        ),
        _operation(
            *("POST", _ONE + "/restore", "restore-lab-workspace", "Gives a workspace the state of a seed or a snapshot."),
            *(do.restore, LabWorkspaceAnswer),
            body=LabRestore,
        ),
        _operation(
            *("POST", _ONE + "/keys", "create-lab-key", "Creates another key for a workspace.", do.add_key, LabKey),
            body=LabKeyCreate,
            status=201,
        ),
        _operation(
            *("POST", _ONE + "/clients", "create-lab-client", "Creates an OAuth client for a workspace.", do.add_client),
            LabClient,
            body=LabClientCreate,
            status=201,
        ),
        _operation(
            *("POST", _ONE + "/approvals", "create-lab-approval"),
            "Lets a user approve what an OAuth client asks for, as on the page to which the client sends its user.",
            *(do.approve, LabRedirect),
            body=LabApproval,
            status=201,
        ),
        _operation(
            *("POST", _ONE + "/sign-ins", "create-lab-sign-in"),
            "Makes a link that signs a user of a workspace in to the console.",
            *(do.sign_in, LabLink),
            body=LabSignIn,
            status=201,
        ),
        _operation(
            *("PATCH", _ONE + "/clock", "change-lab-clock"),
            "Moves the clock of a workspace ahead, and lets it stand still or run. What falls due is delivered on the way, "
            "in its order, before the answer.",
            *(do.change_clock, LabMoved),
            body=LabClockChange,
        ),
        _operation(
            *("POST", _ONE + "/faults", "create-lab-fault", "Adds a rule for faults.", do.add_fault, Fault),
            body=FaultRule,
            status=201,
        ),
        _operation(
            *("GET", _ONE + "/faults", "list-lab-faults", "Lists the rules, and how often each fired."),
            *(do.list_faults, FaultList),
        ),
        _operation(
            *("DELETE", _ONE + "/faults/{fault_id}", "delete-lab-fault", "Removes a rule."),
            *(do.remove_fault, Fault),
        ),
        _operation(
            *("GET", _ONE + "/journal", "list-lab-journal"),
            "Lists and counts the requests, deliveries and messages of a workspace that meet conditions, and waits for them.",
            *(do.journal, JournalPage),
            query=JournalQuery,
        ),
        _operation(
            *("POST", _ONE + "/verify", "verify-lab-workspace"),
            "Compares the journal of a workspace with what a test expects, and answers with what did not hold. Names habits of "
            "the client that cost it in production: it retries a 401, ignores `Retry-After`, writes again without "
            "`Idempotency-Key` after a lost answer, begins a sync after the newest object that it has seen, or answers a "
            "webhook before it has checked the signature.",
            *(do.verify, LabVerdict),
            body=LabVerify,
        ),
        _operation(
            *("GET", _ONE + "/inbox", "get-lab-inbox", "Reads the address of the inbox. Its messages are in the journal."),
            *(do.read_inbox, LabInbox),
        ),
        _operation(
            *("PUT", _ONE + "/inbox", "set-lab-inbox", "Sets the answers of the inbox to the next messages."),
            *(do.change_inbox, LabInbox),
            body=LabInboxChange,
        ),
    )


def _operation(  # the parts of a declaration
    method: str,
    path: str,
    operation_id: str,
    description: str,
    handler: Handler,
    answer: type[msgspec.Struct],
    **members: Any,
) -> Operation:
    """Return an operation that takes the lab token."""
    return Operation(
        method=method,
        path=path,
        id=operation_id,
        summary=operation_id.replace("-", " ").capitalize(),
        description=f"{description} Takes the lab token.",
        tag="subpackage_lab",
        scopes=(),
        handler=handler,
        answer=answer,
        answer_description="The answer.",
        bypasses_ledger=True,
        **members,
    )
