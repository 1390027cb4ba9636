"""The environment of a command: its output and its exit status."""

import os
import sys
from enum import IntEnum
from typing import Final, TextIO

from herdbook.faults import OperatorFault
from herdbook.logs import LINES

_MAX_NAME: Final = 255


class ExitStatus(IntEnum):
    """The exit status of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3


class CommandFailed(OperatorFault):
    """A command failed; the message gives the reason and the remedy."""


class CommandIncomplete(Exception):
    """A command did its work, except for a part; the message names this part and the remedy."""


def require_name(name: str, remedy: str) -> None:
    """Refuse an unreadable name. `remedy` begins the message and says why a name is needed."""
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise CommandFailed(f"{remedy} Use 1 to {_MAX_NAME} printable characters.")


class Environment:
    """The output of a command."""

    def say(self, text: str) -> None:
        """Write a line to standard output."""
        try:
            self.stdout.write(text + "\n")
            self.stdout.flush()
        except OSError:
            # Otherwise the interpreter would flush again at exit, and end with its own status.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            raise

    def complain(self, text: str) -> None:
        """Write an error to standard error, after the lines of the log that led to it."""
        LINES.flush()
        sys.stderr.write(text + "\n")

    @property
    def is_terminal(self) -> bool:
        """Whether somebody can answer a question."""
        return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # `<&-` closes it

    def confirms(self, question: str) -> bool:
        """Whether the answer to a question is `yes`."""
        LINES.flush()
        sys.stderr.write(f"{question} Type `yes` to go on: ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() == "yes"

    @property
    def stdout(self) -> TextIO:
        """Standard output."""
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  # a shell's `>&-` closes it
            raise CommandFailed("Standard output is closed, so the result could not be shown. Nothing was done.")
        return sys.stdout


environment = Environment()
