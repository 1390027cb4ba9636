"""The states that workspaces begin with: each is built once, by requests to a workspace, and copied from there."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any, Final

import msgspec

from herdbook import fields, ids
from herdbook.addresses import NotAnAddress
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_workspace
from herdbook.custom_fields.commands import DefineUsualFields
from herdbook.errors import Refusal
from herdbook.lab import store
from herdbook.lab.clock import Clock, within
from herdbook.lab.seed_file import STEP, USER, Seed, SeedInvalid, Step, from_yaml, of_entries, resolved, resolved_path
from herdbook.lab.workspace import LabWorkspace, Parts, Reply, Template
from herdbook.lab.workspace import User as SeedUser
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, UserRole

EMPTY: Final = "empty"
LARGE: Final = "crm-large"
_LARGE: Final = 10_000
_LARGE_COMPANIES: Final = 500
_IN_A_BULK: Final = 500
_STREETS: Final = ("Alder", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Larch", "Maple", "Oak", "Pine", "Rowan", "Willow")
_NAMES: Final = (
    "Ada",
    "Bo",
    "Cleo",
    "Dara",
    "Eli",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "June",
    "Kai",
    "Lena",
    "Milo",
    "Nia",
    "Omar",
    "Pia",
)


def _shipped(name: str) -> Seed:
    return from_yaml(resources.files("herdbook.lab").joinpath("seeds", f"{name}.yaml").read_text("utf-8"))


def _large() -> Seed:
    return of_entries(_large_entries())


def _large_entries() -> Iterator[Any]:
    companies = [
        {
            "action": "create",
            "company": {"name": f"{_STREETS[n % 12]} Works {n}", "domains": [{"domain": f"works-{n}.example"}]},
        }
        for n in range(_LARGE_COMPANIES)
    ]
    yield {"request": "POST /herdbook/companies/bulk", "body": {"atomic": True, "operations": companies}}
    contacts = [
        {
            "action": "create",
            "contact": {
                "first_name": _NAMES[n % 16],
                "last_name": f"{_STREETS[n // 16 % 12]}son {n}",
                "emails": [{"email": f"person-{n}@works-{n % _LARGE_COMPANIES}.example"}],
            },
        }
        for n in range(_LARGE - _LARGE_COMPANIES)
    ]
    for start in range(0, len(contacts), _IN_A_BULK):
        operations = contacts[start : start + _IN_A_BULK]
        yield {"request": "POST /herdbook/contacts/bulk", "body": {"atomic": True, "operations": operations}}


SHIPPED: Final[Mapping[str, Callable[[], Seed]]] = {
    EMPTY: lambda: _shipped("empty"),
    "crm-small": lambda: _shipped("crm-small"),
    LARGE: _large,
}


async def build(parts: Parts, name: str, seed: Seed) -> Template:
    """Build a seed in a workspace of its own, by the requests of its steps. Refusal: SeedInvalid."""
    # The randomness follows from the name, so the objects of a seed have the same ids on every server.
    number = int.from_bytes(name.encode())
    workspace = LabWorkspace(parts, ids.NIL, Clock(seed.at, is_frozen=True), number)
    with within(workspace.surroundings):
        workspace.move_in(await create_workspace(workspace.pool, "Lab"))
    try:
        builder = await _built(workspace, seed)
    except Exception:
        # The next attempt has the same ids.
        await store.delete_workspace(workspace.pool, workspace.id)
        raise
    finally:
        await workspace.forget()
    kept = await store.kept(workspace.pool, workspace.id)
    return Template(kept, builder.objects, tuple(builder.users), workspace.clock.now().timestamp())


async def _built(workspace: LabWorkspace, seed: Seed) -> "_Builder":
    builder = _Builder(workspace, str(await workspace.create_key("Seed", [ADMIN])))
    await workspace.write(DefineUsualFields())
    if not any(step.kind == USER for step in seed.steps):
        await builder.create_user(0, "owner", NewUser("Workspace", "Owner", role=UserRole.OWNER))
    for step in seed.steps:
        await builder.carry_out(step)
    return builder


class _Builder:
    def __init__(self, workspace: LabWorkspace, key: str) -> None:
        self._workspace = workspace
        self._key = key
        self.objects: dict[str, str] = {}
        self.users: list[SeedUser] = []

    async def carry_out(self, step: Step) -> None:
        self._workspace.clock.move_to(self._workspace.clock.now() + STEP)
        if step.kind == USER:
            await self.create_user(step.line, step.name, _new_user(step))
            return
        method, path = resolved_path(step, self.objects)
        reply = await self._workspace.ask(method, path, resolved(step.body, self.objects), self._key)
        if reply.status >= 400:
            raise SeedInvalid(step.line, _refusal(step, reply))
        if step.name:
            self.objects[step.name] = msgspec.json.decode(reply.body)["id"]
        # Long steps share the server with its callers.
        await asyncio.sleep(0)

    async def create_user(self, line: int, name: str, new: NewUser) -> None:
        try:
            answer = msgspec.json.decode(await self._workspace.write(CreateUser(new)))
        except (Refusal, NotAnAddress) as error:
            raise SeedInvalid(line, f"The user `{name}` cannot be created: {error}") from None
        self.objects[name] = answer["id"]
        self.users.append(SeedUser(answer["id"], new.role.value, name))


def _new_user(step: Step) -> NewUser:
    try:
        new = msgspec.convert(step.body or {}, NewUserBody).new()
    except msgspec.ValidationError as error:
        raise SeedInvalid(step.line, f"The user `{step.name}` cannot be created: {error}.") from None
    texts = ((name, value) for name, value in new._asdict().items() if isinstance(value, str))
    for error in (error for name, value in texts for error in fields.text(value, name)):
        raise SeedInvalid(step.line, f"The user `{step.name}` cannot be created: {error.message}")
    return new


class NewUserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a user in a seed."""

    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[str, ...] = ()
    role: UserRole = UserRole.MEMBER
    job_title: str | None = None
    time_zone: str | None = None
    phone_number: str | None = None

    def new(self) -> NewUser:
        """Return the data of the new user."""
        return NewUser(
            self.first_name, self.last_name, self.emails, self.role, self.job_title, self.time_zone, self.phone_number
        )


def _refusal(step: Step, reply: Reply) -> str:
    problem = msgspec.json.decode(reply.body)
    errors = "; ".join(f"`{each.get('field', '')}`: {each['message']}" for each in problem.get("errors", ()))
    shown = f"{step.kind} `{step.name}`" if step.name else f"`{step.request}`"
    return f"The API refuses {shown} with {reply.status}: {errors or problem['detail']}"
