"""The lab's requests and answers."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.errors import FieldError
from herdbook.http.body import did_you_mean

_Moment = Annotated[str, Meta(description="A time, as ISO 8601 in UTC.", extra_json_schema={"format": "date-time"})]


def _known_scopes(value: Sequence[str | None], path: str) -> Iterator[FieldError]:
    for place, scope in enumerate(value):
        if scope is not None and scope not in SCOPES:
            remedy = did_you_mean(scope, SCOPES) or f"Choose from: {', '.join(sorted(SCOPES))}."
            yield FieldError(f"{path}[{place}]", "not_allowed", f"There is no scope `{scope}`. {remedy}")


_WorkspaceId = Annotated[str, fields.id_schema(ids.WORKSPACE)]
_SEED_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_SeedName = Annotated[str, Meta(description="The name of a seed.", extra_json_schema={"pattern": _SEED_PATTERN})]
_is_seed_name: Final = fields.matching(_SEED_PATTERN, "a name: letters, digits, `_`, `-` and points")


class LabWorkspaceCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a new workspace of the lab."""

    schema_name: ClassVar[str] = "lab_workspace_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"clock": fields.time}
    example: ClassVar[dict[str, Any]] = {"seed": "crm-small", "clock": "2026-01-01T00:00:00Z", "random_seed": 7}

    seed: _SeedName = "empty"
    clock: (
        Annotated[
            str,
            Meta(
                description="The time that the clock of the workspace shows. It stands still there, unless `clock_runs`. "
                "Without it, the workspace has the time of the server.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET
    clock_runs: Annotated[bool, Meta(description="Whether the clock runs from `clock`.")] = False
    random_seed: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=2**53,
                description="Makes ids and secrets the same on each run, so that whole answers can be compared.",
            ),
        ]
        | UnsetType
    ) = UNSET


class LabUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user of a seed."""

    schema_name: ClassVar[str] = "lab_user"

    id: Annotated[str, fields.id_schema(ids.USER)]
    name: Annotated[str, Meta(description="The name of the user in the seed.")]
    role: str


class LabClock(msgspec.Struct, frozen=True, kw_only=True):
    """The clock of a workspace."""

    schema_name: ClassVar[str] = "lab_clock"
    example: ClassVar[dict[str, Any]] = {"now": "2026-01-01T00:00:00Z", "is_frozen": True}

    now: _Moment
    is_frozen: bool


class LabWorkspaceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace of the lab, with a key for it, and the ids of the seed's objects by their names."""

    schema_name: ClassVar[str] = "lab_workspace"
    example: ClassVar[dict[str, Any]] = {
        "object": "lab_workspace",
        "id": ids.example(ids.WORKSPACE),
        "api_key": "sk-apik_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.2vX0nS4tqYk7Lw1zR9bD3cF6gH8jM5pT0aBcDe",
        "seed": "crm-small",
        "clock": LabClock.example,
        "inbox_url": "http://127.0.0.1:8080/api/herdbook/lab/inboxes/wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "users": [{"id": ids.example(ids.USER), "name": "alice", "role": "OWNER"}],
        "objects": {"ada": ids.example(ids.CONTACT)},
    }

    object: Literal["lab_workspace"] = "lab_workspace"
    id: _WorkspaceId
    api_key: Annotated[str, Meta(description="A key with all scopes, which acts for the first user.")]
    seed: _SeedName
    clock: LabClock
    users: tuple[LabUser, ...]
    inbox_url: Annotated[str, Meta(description="The address of the inbox, for webhook endpoints.")]
    objects: Annotated[dict[str, str], Meta(description="The ids of the seed's objects by their names.")]


class LabWorkspaceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace of the lab in a list."""

    schema_name: ClassVar[str] = "lab_workspace_summary"

    id: _WorkspaceId
    seed: _SeedName
    clock: LabClock


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the lab: its workspaces, the newest last, its seeds, and how many workspaces there may be."""

    schema_name: ClassVar[str] = "lab_state"
    example: ClassVar[dict[str, Any]] = {
        "workspaces": [],
        "most_workspaces": 1000,
        "seeds": ["empty", "crm-small", "crm-large"],
    }

    workspaces: tuple[LabWorkspaceSummary, ...]
    most_workspaces: int
    seeds: tuple[str, ...]


class LabDone(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command that has nothing to tell."""

    schema_name: ClassVar[str] = "lab_done"
    example: ClassVar[dict[str, Any]] = {"id": ids.example(ids.WORKSPACE), "done": "reset"}

    id: str
    done: str


class LabRestore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for giving a workspace another state."""

    schema_name: ClassVar[str] = "lab_restore_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"seed": "after-import"}

    seed: _SeedName


class LabSnapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for keeping the state of a workspace under a name."""

    schema_name: ClassVar[str] = "lab_snapshot_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"name": _is_seed_name}
    example: ClassVar[dict[str, Any]] = {"name": "after-import"}

    name: _SeedName


class LabSeedCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a seed: exactly one of `yaml`, `ndjson` and `objects`."""

    schema_name: ClassVar[str] = "lab_seed_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"name": _is_seed_name}
    example: ClassVar[dict[str, Any]] = {
        "name": "one-customer",
        "objects": [{"tag": "vip", "body": {"name": "VIP"}}, {"contact": "ada", "body": {"tag_ids": ["$vip"]}}],
    }

    name: _SeedName
    yaml: Annotated[str, Meta(description="The text of a YAML file.")] | UnsetType = UNSET
    ndjson: Annotated[str, Meta(description="The text of an NDJSON file.")] | UnsetType = UNSET
    objects: Annotated[tuple[dict[str, Any], ...], Meta(description="The objects themselves.")] | UnsetType = UNSET


class LabSeed(msgspec.Struct, frozen=True, kw_only=True):
    """A seed: the ids of its objects by their names."""

    schema_name: ClassVar[str] = "lab_seed"
    example: ClassVar[dict[str, Any]] = {"name": "one-customer", "objects": {"ada": ids.example(ids.CONTACT)}}

    name: _SeedName
    objects: dict[str, str]


class LabSeedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters that name a seed."""

    schema_name: ClassVar[str] = "lab_seed_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    name: Annotated[str, Meta(description="The name of the seed.")]


class LabClockChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for the clock of a workspace: it is moved first, and then stands still or runs."""

    schema_name: ClassVar[str] = "lab_clock_change_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"to": fields.time}
    example: ClassVar[dict[str, Any]] = {"advance_seconds": 36000}

    advance_seconds: (
        Annotated[float, Meta(ge=0, le=315_360_000, description="Seconds by which the clock is moved ahead.")] | UnsetType
    ) = UNSET
    to: (
        Annotated[str, Meta(description="A time to which it is moved ahead.", extra_json_schema={"format": "date-time"})]
        | UnsetType
    ) = UNSET
    is_frozen: Annotated[bool, Meta(description="Whether the clock stands still afterwards.")] | UnsetType = UNSET


class LabMoved(msgspec.Struct, frozen=True, kw_only=True):
    """The clock of a workspace after a change, and how many attempts to deliver were made meanwhile."""

    schema_name: ClassVar[str] = "lab_moved_clock"
    example: ClassVar[dict[str, Any]] = {"clock": LabClock.example, "deliveries": 2}

    clock: LabClock
    deliveries: int


class LabInboxChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for the inbox: its answers to the next messages. Then it answers with 200."""

    schema_name: ClassVar[str] = "lab_inbox_change_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"statuses": [500, 503], "retry_after": 60}

    statuses: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=599)], ...],
        Meta(max_length=1000, description="The statuses of the next answers, in order."),
    ]
    retry_after: Annotated[int, Meta(ge=0, le=86_400, description="`Retry-After` of a 429 or a 503.")] | UnsetType = UNSET


class LabInbox(msgspec.Struct, frozen=True, kw_only=True):
    """The inbox of a workspace: an address for webhook endpoints, and the answers that it has still to give."""

    schema_name: ClassVar[str] = "lab_inbox"
    example: ClassVar[dict[str, Any]] = {
        "url": "http://127.0.0.1:8080/api/herdbook/lab/inboxes/wrks_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "statuses": [],
    }

    url: str
    statuses: tuple[int, ...]


class LabKeyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for another key of a workspace."""

    schema_name: ClassVar[str] = "lab_key_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"expires_at": fields.time, "scopes": _known_scopes}
    example: ClassVar[dict[str, Any]] = {"name": "Reader", "scopes": ["contacts:read"]}

    name: fields.Name = "Test"
    scopes: Annotated[tuple[Annotated[str, Meta(extra_json_schema={"enum": sorted(SCOPES)})], ...], Meta(min_length=1)] = (
        ADMIN,
    )
    expires_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | UnsetType = UNSET


class LabClientCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for an OAuth client of a workspace."""

    schema_name: ClassVar[str] = "lab_client_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"name": "App", "scopes": ["contacts:read"]}

    name: fields.Name = "Test"
    scopes: Annotated[
        tuple[Annotated[str, Meta(extra_json_schema={"enum": sorted(SCOPES.keys() - {ADMIN})})], ...], Meta(min_length=1)
    ]
    redirect_uris: Annotated[
        tuple[str, ...], Meta(description="Where its users are sent with a code. Without any it acts for no user.")
    ] = ()
    is_public: Annotated[bool, Meta(description="Whether it has no secret.")] = False


class LabClient(msgspec.Struct, frozen=True, kw_only=True):
    """A new OAuth client of a workspace. It gets its tokens as from any server."""

    schema_name: ClassVar[str] = "lab_client"
    example: ClassVar[dict[str, Any]] = {"client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "client_secret": "ocs_SECRET"}

    client_id: str
    client_secret: Annotated[str, Meta(description="Empty for a public client.")]


_NamedUser = Annotated[str, Meta(description="The user, by id or by the name in the seed; without it, the first one.")]


class LabApproval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a user's consent to an OAuth client."""

    schema_name: ClassVar[str] = "lab_approval_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {
        "url": "http://127.0.0.1:8080/oauth/authorize?response_type=code&client_id=ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "user": "alice",
    }

    url: Annotated[str, Meta(description="The address to which the client sends its user.")]
    user: _NamedUser | UnsetType = UNSET


class LabRedirect(msgspec.Struct, frozen=True, kw_only=True):
    """The address to which a user is sent back."""

    schema_name: ClassVar[str] = "lab_redirect"
    example: ClassVar[dict[str, Any]] = {"location": "https://app.example/callback?code=oac_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.SECRET"}

    location: Annotated[str, Meta(description="The redirect URI, with a code or an error.")]


class LabSignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a link to the console."""

    schema_name: ClassVar[str] = "lab_sign_in_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"user": "alice"}

    user: _NamedUser | UnsetType = UNSET


class LabLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs a user in to the console, once, within minutes of the workspace's clock."""

    schema_name: ClassVar[str] = "lab_link"
    example: ClassVar[dict[str, Any]] = {"url": "http://127.0.0.1:8080/console/link/link_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.SECRET"}

    url: str


class LabKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key of a workspace."""

    schema_name: ClassVar[str] = "lab_key"
    example: ClassVar[dict[str, Any]] = {"api_key": LabWorkspaceAnswer.example["api_key"]}

    api_key: str
