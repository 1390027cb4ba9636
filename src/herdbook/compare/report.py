"""The differences between two servers, as a text for people and as JUnit's XML for build servers."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET

from herdbook.compare.differences import Found, StepResult, grouped
from herdbook.compare.matching import Difference

_MAX_STEPS: Final = 4
_NEITHER: Final = "Neither side gave what it refers to."
_KINDS: Final = {
    "status": "The status differs.",
    "missing": "It is missing on the right.",
    "added": "It is missing on the left.",
    "type": "Its type differs.",
    "value": "Its value differs.",
    "order": "Its order differs.",
    "length": "Its length differs.",
    "answer": "One side could not take this step, because its earlier answers lack what the step refers to.",
}


def as_text(results: Sequence[StepResult], skipped: Iterable[str]) -> str:
    """Return the differences in plain text, and how many requests were compared."""
    found = grouped(results)
    parts = [_told(number, each) for number, each in enumerate(found, 1)]
    parts += [
        f"Not compared: {each.scenario}: {each.step} ({each.request}). {_NEITHER}" for each in results if not each.is_compared
    ]
    parts += [f"Skipped: {name}" for name in skipped]
    many = "No difference" if not found else "1 difference" if len(found) == 1 else f"{len(found)} differences"
    return "\n".join([*parts, f"{many} in {sum(each.is_compared for each in results)} requests."])


def _told(number: int, found: Found) -> str:
    difference = found.difference
    lines = [f"{number}. {difference.place or 'answer'}: {_KINDS[difference.kind]}"]
    lines += [f"   left:  {difference.left}"] if difference.left is not None else []
    lines += [f"   right: {difference.right}"] if difference.right is not None else []
    lines += [f"   in {each.scenario}: {each.step} ({each.request})" for each in found.steps[:_MAX_STEPS]]
    if len(found.steps) > _MAX_STEPS:
        lines.append(f"   and in {len(found.steps) - _MAX_STEPS} more")
    return "\n".join([*lines, ""])


def as_junit(results: Sequence[StepResult], skipped: Iterable[str]) -> bytes:
    """Return the outcome of each step as XML: a suite for each scenario, a case for each step."""
    root = ET.Element("testsuites", name="herdbook compare")
    for scenario, steps in groupby(results, key=lambda each: each.scenario):
        cases = [*steps]
        failed = sum(1 for each in cases if each.differences)
        left_out = sum(not each.is_compared for each in cases)
        counts = {"tests": str(len(cases)), "failures": str(failed)} | ({"skipped": str(left_out)} if left_out else {})
        suite = ET.SubElement(root, "testsuite", attrib={"name": scenario} | counts)
        for each in cases:
            case = ET.SubElement(suite, "testcase", classname=scenario, name=each.step)
            if not each.is_compared:
                ET.SubElement(case, "skipped", message=_NEITHER)
            if each.differences:
                text = "\n".join(map(_line, each.differences))
                ET.SubElement(case, "failure", message=f"{each.request}: {_line(each.differences[0])}").text = text
    for name in skipped:
        suite = ET.SubElement(root, "testsuite", name=name, tests="1", skipped="1")
        ET.SubElement(ET.SubElement(suite, "testcase", classname=name, name=name), "skipped", message="It writes.")
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _line(difference: Difference) -> str:
    sides = f"{difference.left or 'nothing'} and {difference.right or 'nothing'}"
    return f"{difference.place or 'answer'}: {_KINDS[difference.kind]} {sides}"
