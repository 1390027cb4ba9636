"""Scenarios run on two servers, and the differences between their answers, each told once."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from herdbook.compare.matching import Difference, Matcher, Names
from herdbook.compare.model import Answer, Scenario, word_of
from herdbook.compare.running import Side, together

_COLLECTION: Final = re.compile(r"/api/\w+/(\w+)")
_WHATEVER_VALUE: Final = ("missing", "added", "order", "length")
# A member is the same whether its object is the answer or one of a list.
_ENTRY: Final = re.compile(r"^/body/data/\*/")


class StepResult(NamedTuple):
    """The outcome of a step: its differences, none if both sides answered alike.

    It is not compared if neither side could take it.
    """

    scenario: str
    step: str
    request: str
    differences: tuple[Difference, ...]
    is_compared: bool = True


class Found(NamedTuple):
    """A difference, and the steps in which it shows."""

    difference: Difference
    steps: tuple[StepResult, ...]


def compared(scenario: Scenario, left: Side, right: Side, *, with_texts: bool = False) -> Iterator[StepResult]:
    """Run a scenario on both sides, and yield the outcome of each step.

    Nothing more is compared of a step that only one side could take, because it refers to what the other did not give.
    Refusals: those of both sides.
    """
    names = (Names(side.base, word_of(side.unique, scenario)) for side in (left, right))
    matcher = Matcher(scenario, *names, with_texts=with_texts)
    for step, (a, b) in zip(scenario.steps, together(scenario, left, right), strict=True):
        request = f"{step.method} {step.path}"
        if a is not None and b is not None:
            found = tuple(dict.fromkeys(matcher.differences(step, a, b)))
        else:
            found = () if a is b else (Difference("answer", "", _status(a), _status(b)),)
        yield StepResult(scenario.name, step.name, request, found, is_compared=a is not b)


def grouped(results: Iterable[StepResult]) -> list[Found]:
    """Return each difference once, with the steps in which it shows.

    A member that one server leaves out of contacts is missing in every answer with a contact, whatever its value, which is one
    difference. Another status of one method is another difference than that of another method.
    """
    found: dict[tuple[str | None, ...], list[tuple[Difference, StepResult]]] = {}
    for result in results:
        method, _, path = result.request.partition(" ")
        collection = _COLLECTION.match(path)
        for each in result.differences:
            values = (None, None) if each.kind in _WHATEVER_VALUE else (each.left, each.right)
            place = _ENTRY.sub("/body/", each.place)
            key = (each.kind, place, collection and collection[1], method if each.kind == "status" else None, *values)
            found.setdefault(key, []).append((each._replace(place=place), result))
    return [Found(shown[0][0], tuple(dict.fromkeys(step for _, step in shown))) for shown in found.values()]


def _status(answer: Answer | None) -> str | None:
    return None if answer is None else str(answer.status)
