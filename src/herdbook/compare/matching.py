"""Two answers to one request, matched with each other: what may differ between servers that do the same is no difference."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import UNSET

from herdbook.compare.model import UNIQUE, Answer, Scenario, Step, items_of, members_of

_ID: Final = r"(?:\b|(?<=_))[a-z]+(?:-[a-z]+)*_[0-9A-Za-z]{20,32}\b"
_TIME: Final = r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_TIMES: Final = re.compile(_TIME)
_TOKEN: Final = re.compile(f"({_ID}|{_TIME})")
# Messages may name the version of an object as it is in its ETag.
_VERSION: Final = re.compile(r'"\d+"')
# Servers may choose their own words for people, encode positions as they like, and make up secrets.
_TEXTS: Final = ("detail", "message", "title")
_OPAQUE: Final = ("next_cursor", "request_id", "secret")
# The errors of a problem may be found in any order.
_ALWAYS_UNORDERED: Final = ("/errors",)
_MAX_SHOWN: Final = 300

Kind = Literal["status", "missing", "added", "type", "value", "order", "length", "answer"]


class Difference(NamedTuple):
    """A member of an answer that is not the same on both sides.

    `place` is the JSON pointer (RFC 6901) of the member in `headers` or `body`, with `*` for any index of a list. `left` and
    `right` are what the sides have there, in JSON; None on a side that has nothing.
    """

    kind: Kind
    place: str
    left: str | None
    right: str | None


class Names(NamedTuple):
    """The texts of one side that are its own: its address, and the word of its run."""

    base: str
    unique: str


class _Pairs:
    """The ids and times of the left side, each with the one of the right side that stands for the same."""

    def __init__(self) -> None:
        self._rights: dict[str, str] = {}
        self._lefts: dict[str, str] = {}
        self._symbols: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def match(self, kind: str, left: str, right: str) -> bool:
        """Whether the two stand for the same: they have met before, or both are new, and are a pair from now on."""
        left, right = f"{kind} {left}", f"{kind} {right}"
        if left not in self._rights and right not in self._lefts:
            self._rights[left], self._lefts[right] = right, left
            number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
            self._symbols[left] = f"<{kind} {number}>"
        return self._rights.get(left) == right

    def symbol(self, kind: str, value: str, *, is_left: bool) -> str:
        """Return a text for an id or time that is the same for both of a pair."""
        place = f"{kind} {value}"
        return self._symbols.get(place if is_left else self._lefts.get(place, ""), f"<another {kind}>")


class Matcher:
    """Finds the differences between the answers of two servers to the steps of one scenario.

    An id of one side and the one at the same place of the other side are a pair from the first time that both are seen, so an
    object in place of another stays visible. The times of an object are paired in the same way: it is visible that one server
    changes `updated_at` and the other does not. Times that the scenario itself sends are compared as moments.
    """

    def __init__(self, scenario: Scenario, left: Names, right: Names, *, with_texts: bool) -> None:
        self._names = left, right
        self._with_texts = with_texts
        self._pairs = _Pairs()
        sent = unquote(msgspec.json.encode(scenario).decode())
        self._sent = {moment for each in _TIMES.findall(sent) if (moment := _moment(each)) is not None}

    def differences(self, step: Step, left: Answer, right: Answer) -> Iterator[Difference]:
        """Yield what differs. A success and a refusal differ in their status alone, because all else follows from that."""
        if left.status != right.status:
            yield Difference("status", "/status", str(left.status), str(right.status))
        if left.status // 100 != right.status // 100:
            return
        yield from self._headers(left.headers, right.headers)
        if left.body is UNSET or right.body is UNSET:
            if left.body is not right.body:
                yield self._difference("missing" if right.body is UNSET else "added", "/body", left.body, right.body)
            return
        bodies = [left.body, right.body]
        for pointer in (*_ALWAYS_UNORDERED, *step.unordered):
            parts = pointer.split("/")[1:]
            bodies = [self._sorted(body, parts, is_left=not index) for index, body in enumerate(bodies)]
        yield from self._between("/body", "", "", *bodies)

    def _headers(self, left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
        for name in dict.fromkeys((*left, *right)):
            place = f"/headers/{name}"
            a, b = left.get(name), right.get(name)
            if a is None or b is None:
                yield self._difference("added" if a is None else "missing", place, a or UNSET, b or UNSET)
            elif not self._same_header(name, a, b):
                yield self._difference("value", place, a, b)

    def _same_header(self, name: str, left: str, right: str) -> bool:
        match name:
            case "etag":
                return left.startswith("W/") == right.startswith("W/") and self._pairs.match("version", left, right)
            case "retry-after" | "last-modified":
                return left.isdecimal() == right.isdecimal()
            case "content-type":
                return left.lower().replace(" ", "") == right.lower().replace(" ", "")
            case "allow":
                return {each.strip() for each in left.split(",")} == {each.strip() for each in right.split(",")}
            case _:
                return self._same_text("", left, right)

    def _between(self, place: str, name: str, owner: str, left: Any, right: Any) -> Iterator[Difference]:
        """Yield what differs in two values. `name` is that of the member, and `owner` is the id of the left side's object."""
        if type(left) is not type(right):
            yield self._difference("type", place, left, right)
        elif (members := members_of(left)) is not None:
            yield from self._in_objects(place, owner, members, right)
        elif (items := items_of(left)) is not None:
            yield from self._in_lists(place, name, owner, items, right)
        elif not (self._same_text(name, left, right, owner) if isinstance(left, str) else left == right):
            yield self._difference("value", place, left, right)

    def _in_objects(self, place: str, owner: str, left: dict[str, Any], right: dict[str, Any]) -> Iterator[Difference]:
        owner = left["id"] if isinstance(left.get("id"), str) else owner
        for member in dict.fromkeys((*left, *right)):
            inner = f"{place}/{member.replace('~', '~0').replace('/', '~1')}"
            if member not in right:
                yield self._difference("missing", inner, left[member], UNSET)
            elif member not in left:
                yield self._difference("added", inner, UNSET, right[member])
            else:
                yield from self._between(inner, member, owner, left[member], right[member])

    def _in_lists(self, place: str, name: str, owner: str, left: list[Any], right: list[Any]) -> Iterator[Difference]:
        if len(left) != len(right):
            yield self._difference("length", place, len(left), len(right))
            return
        lefts, rights = (
            [self._identity(each, is_left=each_left) for each in items] for items, each_left in ((left, True), (right, False))
        )
        if lefts != rights and sorted(lefts) == sorted(rights):
            yield self._difference("order", place, left, right)
            # Objects may differ as well, each from the one that is the same.
            places = {identity: index for index, identity in enumerate(rights)}
            right = [right[places[identity]] for identity in lefts]
        for a, b in zip(left, right, strict=True):
            yield from self._between(f"{place}/*", name, owner, a, b)

    def _identity(self, value: Any, *, is_left: bool) -> str:
        """Return a text by which an item of a list is found on the other side: its id, or all that it is."""
        members = members_of(value) or {}
        return self._shown(members.get("id", value), is_left=is_left)

    def _same_text(self, name: str, left: str, right: str, owner: str = "") -> bool:
        if name in _OPAQUE or (name in _TEXTS and not self._with_texts):
            return True
        if name in _TEXTS:
            left, right = _VERSION.sub("<version>", left), _VERSION.sub("<version>", right)
        a, b = (_TOKEN.split(self._without_names(each, *names)) for each, names in zip((left, right), self._names, strict=True))
        if len(a) != len(b) or a[::2] != b[::2]:
            return False
        # Each is looked at, so that all become pairs.
        verdicts = [self._same_token(one, other, owner) for one, other in zip(a[1::2], b[1::2], strict=True)]
        return all(verdicts)

    def _same_token(self, left: str, right: str, owner: str) -> bool:
        moments = _moment(left), _moment(right)
        if moments == (None, None):
            kinds = _kind(left), _kind(right)
            return kinds[0] == kinds[1] and self._pairs.match(kinds[0], left, right)
        if None in moments or not self._sent.isdisjoint(moments):
            return moments[0] == moments[1]
        # Servers have clocks of different precision, so the times of one object alone are compared with each other.
        return self._pairs.match(f"time of {owner}", str(moments[0]), str(moments[1]))

    @staticmethod
    def _without_names(text: str, base: str, unique: str) -> str:
        return text.replace(base, "<server>").replace(unique, f"${{{UNIQUE}}}") if base or unique else text

    def _sorted(self, value: Any, parts: Sequence[str], *, is_left: bool) -> Any:
        """Return a tree whose list at a place is in an order that is the same on both sides."""
        if not parts:
            items = items_of(value)
            return value if items is None else sorted(items, key=lambda each: self._shown(each, is_left=is_left))
        first, rest = parts[0], parts[1:]
        if (members := members_of(value)) is not None:
            return {
                name: self._sorted(each, rest, is_left=is_left) if first in (name, "*") else each
                for name, each in members.items()
            }
        if (items := items_of(value)) is not None:
            return [
                self._sorted(each, rest, is_left=is_left) if first in (str(index), "*") else each
                for index, each in enumerate(items)
            ]
        return value

    def _difference(self, kind: Kind, place: str, left: Any, right: Any) -> Difference:
        shown = (None if each is UNSET else self._shown(each, is_left=not index) for index, each in enumerate((left, right)))
        a, b = (each if each is None or len(each) <= _MAX_SHOWN else f"{each[:_MAX_SHOWN]}..." for each in shown)
        return Difference(kind, place, a, b if b is None or a != b else b.replace("<", "<another "))

    def _shown(self, value: Any, *, is_left: bool) -> str:
        """Return a value in JSON, with symbols for ids and times, and without what one side alone is called."""
        text = self._without_names(msgspec.json.encode(value, order="sorted").decode(), *self._names[not is_left])

        def symbol(found: re.Match[str]) -> str:
            if (moment := _moment(found[0])) is None:
                return self._pairs.symbol(_kind(found[0]), found[0], is_left=is_left)
            return f"<{moment.isoformat()}>" if moment in self._sent else "<time>"

        return _TOKEN.sub(symbol, text)


def _kind(object_id: str) -> str:
    return object_id.rpartition("_")[0]


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
