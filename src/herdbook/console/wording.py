"""Refusals in words for people, who see pages and buttons where programs see parameters and ids."""

import re
from typing import Final

import msgspec
from msgspec import UNSET

from herdbook.http.problems import ErrorItem, Problem

# The titles of the page that shows a refusal, by its status.
_TITLES: Final = {
    403: "Not allowed",
    404: "Not here",
    409: "Something else has it",
    410: "No longer kept",
    412: "Somebody has changed it meanwhile",
    413: "Too large",
    429: "Too much at once",
    500: "Something went wrong",
    503: "Not possible at the moment",
}
_OTHER_TITLE: Final = "This cannot be done"
# Sentences that tell a program how to send something, and those that tell a person the same.
_SENTENCES: Final = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"The path names the (.+?) as `.*?`\. Send .*", r"There is no such \1 in this workspace. Check the address."),
        (r"Check the id, and that it was not deleted\.", "It may have been deleted, or the address is wrong."),
        (r"There is no such request in this workspace\. Check the id\.", "There is no such request in this workspace."),
        (r"`.*?` is not the id of an? (.+?)\. Send .*", r"There is no such \1."),
        (r"`cursor` does not belong to this .*", "This page of the list is no longer there. Begin with the first page."),
        (r"`cursor` belongs to another .*", "This page is one of another list. Begin with the first page."),
        (r"(`.*?`) is not a time of .*", r"\1 is no time. Give a day, such as 2026-03-01, or a day with a time of that day."),
        (r"`If-Match` .*", "Somebody has changed it since you opened it. Open it again, and look at what is there now."),
    )
)
_QUOTED: Final = re.compile("`(.*?)`")


def title_of(problem: Problem) -> str:
    """Return the title of the page that shows a refusal."""
    return _TITLES.get(problem.status, _OTHER_TITLE)


def for_people(problem: Problem) -> Problem:
    """Return a problem whose messages say what a person can do. They still quote the names of fields, in backticks."""
    errors = UNSET if problem.errors is UNSET else tuple(map(_item, problem.errors))
    return msgspec.structs.replace(problem, detail=_said(problem.detail), errors=errors)


def _item(error: ErrorItem) -> ErrorItem:
    return msgspec.structs.replace(error, message=_said(error.message))


def _said(message: str) -> str:
    for sentence, instead in _SENTENCES:
        message = sentence.sub(instead, message)
    return message


def unquoted(message: str) -> str:
    """Return a message in which the names of fields are words: "first name" for one that programs write with an underscore."""
    return _QUOTED.sub(lambda found: found[1].replace("_", " "), message)
