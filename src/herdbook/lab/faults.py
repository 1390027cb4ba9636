"""Faults: rules that say which requests or deliveries meet one, and what happens."""

import fnmatch
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.operation import Operation

FAULT_PREFIX: Final = "fault_"
MOST_RULES: Final = 100
# The most seconds of a request, of a transaction (then the database ends it), and by which an event is late.
_MOST_SECONDS: Final = 60
_MOST_SECONDS_WITHIN: Final = 7
MOST_SECONDS_LATE: Final = 2_592_000

FaultKind = Literal[
    "status",
    "rate_limited",
    "delay",
    "close",
    "drip",
    "truncate",
    "not_json",
    "edit",
    "invalid_cursor",
    "expire_credential",
    "read_only",
    "webhook_late",
    "webhook_twice",
    "webhook_reorder",
    "webhook_wrong_signature",
    "webhook_wrong_time",
    "webhook_lost",
]
_WEBHOOK: Final = "webhook_"
READS: Final = frozenset({"GET", "HEAD"})


class FaultRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a rule: which requests, or deliveries, meet which fault."""

    schema_name: ClassVar[str] = "lab_fault_rule_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"fault": "close", "when": "after", "operation": "update-contact", "times": 1}

    fault: FaultKind
    operation: Annotated[str, Meta(description="Only requests of this operation.")] = ""
    method: Annotated[str, Meta(description="Only requests with this method.")] = ""
    path: Annotated[str, Meta(description="Only requests with this path, in which `*` stands for anything.")] = ""
    api_key: Annotated[str, Meta(description="Only requests with this API key, or its id.")] = ""
    event_type: Annotated[str, Meta(description="Only deliveries of this type of event.")] = ""
    nth: Annotated[int, Meta(ge=1, description="Only the n-th of them.")] | UnsetType = UNSET
    every: Annotated[int, Meta(ge=1, description="Only every n-th of them.")] | UnsetType = UNSET
    probability: Annotated[float, Meta(ge=0, le=1, description="Only so many of them.")] | UnsetType = UNSET
    random_seed: Annotated[int, Meta(description="Makes the choice by `probability` the same on each run.")] = 0
    times: Annotated[int, Meta(ge=1, description="How often the fault happens at most.")] | UnsetType = UNSET
    status: Annotated[int, Meta(ge=400, le=599, description="The status of `status`.")] = 503
    retry_after: (
        Annotated[
            int, Meta(ge=0, le=86_400, description="Seconds in `Retry-After` of `status`, `rate_limited` and `read_only`.")
        ]
        | UnsetType
    ) = UNSET
    when: Annotated[
        Literal["before", "within", "after", "body"],
        Meta(
            description="When `delay` waits, and `close` closes the connection: `before` the request is carried out; `within` "
            "its transaction, while locks are held; `after` the commit, before the answer; in the middle of the `body`."
        ),
    ] = "before"
    seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=MOST_SECONDS_LATE,
            description="Seconds that `delay` waits, and that `drip` takes for the body, at most 60; seconds of the clock "
            "after which `webhook_late` delivers, and `webhook_reorder`, too, if no other event follows before.",
        ),
    ] = 1.0
    method_of_edit: Annotated[str, Meta(description="The method of the request of `edit`.")] = "PATCH"
    path_of_edit: Annotated[str, Meta(description="The path of the request of `edit`; by default that of the client's.")] = ""
    body: Annotated[dict[str, Any], Meta(description="The body of the request of `edit`.")] | UnsetType = UNSET


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, and how often it has matched and happened."""

    schema_name: ClassVar[str] = "lab_fault"
    example: ClassVar[dict[str, Any]] = {
        "id": ids.example(FAULT_PREFIX),
        "rule": FaultRule.example,
        "matched": 3,
        "fired": 1,
    }

    id: Annotated[str, fields.id_schema(FAULT_PREFIX)]
    rule: FaultRule
    matched: Annotated[int, Meta(description="Requests or deliveries that met the conditions, in their turn or not.")]
    fired: Annotated[int, Meta(description="How often the fault happened.")]
    refusal: Annotated[
        str, Meta(description="Why the last request of `edit` was refused. It changed nothing, so that it does not count.")
    ] = ""


class FaultList(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a workspace."""

    schema_name: ClassVar[str] = "lab_fault_list"
    example: ClassVar[dict[str, Any]] = {"faults": [Fault.example]}

    faults: tuple[Fault, ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request or a delivery, as far as a rule looks at it."""

    operation: str = ""
    method: str = ""
    path: str = ""
    has_cursor: bool = False
    api_key: str = ""
    event_type: str = ""


class _Counted:
    def __init__(self, fault_id: str, rule: FaultRule, operations: Sequence[Operation]) -> None:
        self.id = fault_id
        self.rule = rule
        self.matched = self.fired = 0
        self.refusal = ""
        self._affected = {each.id for each in operations if _affects(rule, each)}
        self._random = random.Random(rule.random_seed)  # noqa: S311  # the same each time
        self._key = rule.api_key.partition(".")[0].removeprefix("sk-")

    def fires(self, asked: Asked) -> bool:
        rule = self.rule
        path = rule.path.removeprefix("/api")
        if not (
            rule.operation in ("", asked.operation)
            and rule.method.upper() in ("", asked.method)
            and (not path or fnmatch.fnmatchcase(asked.path, path))
            and self._key in ("", asked.api_key)
            and rule.event_type in ("", asked.event_type)
            and self._can_happen(asked)
        ):
            return False
        self.matched += 1
        is_drawn = rule.probability is UNSET or self._random.random() < rule.probability
        if not is_drawn or (rule.times is not UNSET and self.fired >= rule.times):
            return False
        if rule.nth is not UNSET and self.matched != rule.nth:
            return False
        if rule.every is not UNSET and self.matched % rule.every:
            return False
        self.fired += 1
        return True

    def _can_happen(self, asked: Asked) -> bool:
        """Whether the fault can change anything for a request, which may be of no operation, or for a delivery."""
        match self.rule.fault:
            case "read_only":
                return asked.method not in READS
            case "invalid_cursor":
                return asked.has_cursor and asked.operation in self._affected
            case "expire_credential":
                return bool(asked.api_key)
            case "delay" if self.rule.when == "within":
                return asked.operation in self._affected
            case _:
                return True

    @property
    def shown(self) -> Fault:
        return Fault(id=self.id, rule=self.rule, matched=self.matched, fired=self.fired, refusal=self.refusal)


class Faults:
    """The rules of one workspace. If several would fire, the first does."""

    def __init__(self) -> None:
        self._rules: dict[str, _Counted] = {}

    def add(self, rule: FaultRule, operations: Sequence[Operation]) -> Fault:
        """Add a rule. Refusal: Invalid."""
        if errors := list(_errors(rule)):
            raise Invalid(errors)
        if len(self._rules) >= MOST_RULES:
            message = f"This workspace has {MOST_RULES} rules, which is the limit. Remove some."
            raise Invalid([FieldError("", "not_allowed", message)])
        counted = _Counted(ids.encoded(FAULT_PREFIX, ids.new_id()), rule, operations)
        self._rules[counted.id] = counted
        return counted.shown

    def remove(self, fault_id: str) -> Fault:
        """Remove a rule, and return how often it fired. Refusal: NotFound."""
        found = self._rules.pop(fault_id, None)
        if found is None:
            raise NotFound("fault", fault="There is no such fault in this workspace.")
        return found.shown

    def not_happened(self, fault_id: str, refusal: str = "") -> None:
        """Take back that a rule fired, because its fault changed nothing after all. It may fire again for that."""
        counted = self._rules.get(fault_id)
        if counted is not None and counted.fired:
            counted.fired -= 1
            counted.refusal = refusal

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()

    def of_request(self, asked: Asked) -> Fault | None:
        """Return the rule that this request fires."""
        return next((each.shown for each in self._of_requests() if each.fires(asked)), None)

    def of_delivery(self, asked: Asked) -> Fault | None:
        """Return the rule that this delivery fires."""
        deliveries = (each for each in self._rules.values() if each.rule.fault.startswith(_WEBHOOK))
        return next((each.shown for each in deliveries if each.fires(asked)), None)

    @property
    def shown(self) -> FaultList:
        """The rules, the oldest first."""
        return FaultList(faults=tuple(each.shown for each in self._rules.values()))

    def _of_requests(self) -> Iterator[_Counted]:
        return (each for each in self._rules.values() if not each.rule.fault.startswith(_WEBHOOK))


def _affects(rule: FaultRule, operation: Operation) -> bool:
    """Whether the fault of a rule can change anything for requests of an operation."""
    match rule.fault:
        case "read_only":
            return operation.method not in READS
        case "invalid_cursor":
            return operation.list_of is not None or "cursor" in getattr(operation.query, "__struct_fields__", ())
        case "expire_credential":
            return operation.scopes is not None
        case "delay" if rule.when == "within":
            return operation.is_write
        case _:
            return True


def _errors(rule: FaultRule) -> Iterator[FieldError]:
    if rule.fault == "edit" and rule.body is UNSET and rule.method_of_edit.upper() != "DELETE":
        yield FieldError("body", "required", "`edit` needs `body`, which somebody else sends before the client's request.")
    if rule.fault == "delay" and rule.when == "body":
        message = "`delay` waits `before`, `within` or `after`. To slow a body down, use `drip`."
        yield FieldError("when", "invalid_choice", message)
    if rule.fault == "close" and rule.when == "within":
        yield FieldError("when", "invalid_choice", "`close` closes `before`, `after` or in the middle of the `body`.")
    if rule.when == "within" and rule.seconds > _MOST_SECONDS_WITHIN:
        yield FieldError("seconds", "too_large", f"A transaction is held for at most {_MOST_SECONDS_WITHIN} seconds.")
    elif rule.seconds > _MOST_SECONDS and not rule.fault.startswith(_WEBHOOK):
        message = f"A request takes at most {_MOST_SECONDS} seconds longer. Only events may be later than that."
        yield FieldError("seconds", "too_large", message)
    if rule.fault.startswith(_WEBHOOK) and (rule.operation or rule.method or rule.path or rule.api_key):
        yield FieldError("fault", "invalid_choice", "A fault of deliveries is chosen by `event_type` alone.")
