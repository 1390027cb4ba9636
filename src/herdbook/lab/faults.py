"""Faults: rules that say which requests or deliveries meet one, and what happens."""

import fnmatch
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.operation import Operation
from herdbook.lab.names import name_errors, unknown

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
_READS_BY_POST: Final = frozenset({"query-contacts", "query-companies", "export-found-objects", "export-some-meetings"})
_OF_ALL: Final = ("fault", "nth", "every", "probability", "random_seed", "times")
_OF_REQUESTS: Final = ("operation", "method", "path", "api_key")
# The members that rules of each fault take beside those of all.
MEMBERS: Final[Mapping[FaultKind, tuple[str, ...]]] = {
    "status": (*_OF_REQUESTS, "status", "retry_after"),
    "rate_limited": (*_OF_REQUESTS, "retry_after"),
    "read_only": (*_OF_REQUESTS, "retry_after"),
    "delay": (*_OF_REQUESTS, "when", "seconds"),
    "close": (*_OF_REQUESTS, "when"),
    "drip": (*_OF_REQUESTS, "seconds"),
    "truncate": _OF_REQUESTS,
    "not_json": _OF_REQUESTS,
    "edit": (*_OF_REQUESTS, "method_of_edit", "path_of_edit", "body"),
    "invalid_cursor": _OF_REQUESTS,
    "expire_credential": _OF_REQUESTS,
    "webhook_late": ("event_type", "seconds"),
    "webhook_twice": ("event_type",),
    "webhook_reorder": ("event_type", "seconds"),
    "webhook_wrong_signature": ("event_type",),
    "webhook_wrong_time": ("event_type",),
    "webhook_lost": ("event_type",),
}
# The requests on which a fault has an effect, if not on all.
_NEEDS: Final[Mapping[FaultKind, str]] = {
    "read_only": "`read_only` refuses writes alone.",
    "invalid_cursor": "`invalid_cursor` needs an operation that takes a `cursor`.",
    "expire_credential": "`expire_credential` needs an operation that takes an API key or an access token.",
    "delay": "`within` holds a transaction of the ledger, so that it needs a write of one.",
}
_METHODS_OF_EDIT: Final = ("DELETE", "PATCH", "POST", "PUT")


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
        self._key = _key_id(rule)

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
                return asked.method not in READS and (not asked.operation or asked.operation in self._affected)
            case "invalid_cursor":
                return asked.has_cursor and asked.operation in self._affected
            case "expire_credential":
                return bool(asked.api_key)
            case _ if _is_within(self.rule):
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
        errors = [*_foreign(rule), *_errors(rule), *name_errors(rule, operations)]
        if errors := errors or list(_without_effect(rule, operations)):
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


def _is_within(rule: FaultRule) -> bool:
    return rule.fault == "delay" and rule.when == "within"


def _affects(rule: FaultRule, operation: Operation) -> bool:
    """Whether the fault of a rule can change anything for requests of an operation."""
    match rule.fault:
        case "read_only":
            return operation.method not in READS and operation.id not in _READS_BY_POST
        case "invalid_cursor":
            return operation.list_of is not None or "cursor" in getattr(operation.query, "__struct_fields__", ())
        case "expire_credential":
            return operation.scopes is not None
        case _ if _is_within(rule):
            return operation.is_write
        case _:
            return True


def _key_id(rule: FaultRule) -> str:
    return rule.api_key.partition(".")[0].removeprefix("sk-")


def _foreign(rule: FaultRule) -> Iterator[FieldError]:
    """Yield an error for each member that has no meaning for a fault."""
    own = MEMBERS[rule.fault]
    for each in msgspec.structs.fields(FaultRule):
        if each.name not in (*_OF_ALL, *own) and getattr(rule, each.name) != each.default:
            taken = ", ".join(f"`{name}`" for name in (*own, *_OF_ALL[1:]))
            message = f"`{each.name}` has no meaning for `{rule.fault}`. Leave it out. The fault takes {taken}."
            yield FieldError(each.name, "not_allowed", message)


def _errors(rule: FaultRule) -> Iterator[FieldError]:
    if rule.fault == "edit":
        yield from _errors_of_edit(rule)
    if rule.fault == "delay" and rule.when == "body":
        message = "`delay` waits `before`, `within` or `after`. To slow a body down, use `drip`."
        yield FieldError("when", "invalid_choice", message)
    if rule.fault == "close" and rule.when == "within":
        yield FieldError("when", "invalid_choice", "`close` closes `before`, `after` or in the middle of the `body`.")
    if _is_within(rule) and rule.seconds > _MOST_SECONDS_WITHIN:
        yield FieldError("seconds", "too_large", f"A transaction is held for at most {_MOST_SECONDS_WITHIN} seconds.")
    elif rule.fault in ("delay", "drip") and rule.seconds > _MOST_SECONDS:
        message = f"A request takes at most {_MOST_SECONDS} seconds longer. Only events may be later than that."
        yield FieldError("seconds", "too_large", message)
    if rule.nth is not UNSET and rule.every is not UNSET:
        yield FieldError("every", "not_allowed", "`nth` and `every` do not go together. Send one of both.")
    if rule.random_seed and rule.probability is UNSET:
        yield FieldError("random_seed", "not_allowed", "`random_seed` is for `probability`. Send that, too, or neither.")
    prefixes = (ids.CREDENTIAL, ACCESS_TOKEN_PREFIX)
    if rule.api_key and not any(ids.decoded(prefix, _key_id(rule)) for prefix in prefixes):
        message = f"`api_key` is an API key, an access token, or the id of one: {ids.form(ids.CREDENTIAL)}."
        yield FieldError("api_key", "invalid_format", message)


def _errors_of_edit(rule: FaultRule) -> Iterator[FieldError]:
    method = rule.method_of_edit.upper()
    if method not in _METHODS_OF_EDIT:
        yield unknown("method_of_edit", "method of an edit", method, _METHODS_OF_EDIT)
    elif rule.body is UNSET and method != "DELETE":
        yield FieldError("body", "required", "`edit` needs `body`, which somebody else sends before the client's request.")
    if rule.path_of_edit and not rule.path_of_edit.startswith("/"):
        message = f"The path `{rule.path_of_edit}` does not begin with `/`. Send one such as `/v2/contacts/cnt_...`."
        yield FieldError("path_of_edit", "invalid_format", message)


def _without_effect(rule: FaultRule, operations: Sequence[Operation]) -> Iterator[FieldError]:
    """Yield an error if the fault of a rule has an effect on no request that the rule chooses."""
    method = rule.method.upper().replace("HEAD", "GET")
    chosen = [each for each in operations if rule.operation in ("", each.id) and method in ("", each.method)]
    if chosen and not any(_affects(rule, each) for each in chosen):
        field = "operation" if rule.operation else "method"
        message = f"{_NEEDS[rule.fault]} Choose another `{field}`."
        yield FieldError(field, "not_allowed", message)
