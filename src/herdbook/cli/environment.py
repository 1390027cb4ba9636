"""What a command knows of the world outside: where its words go, and how it ends."""

import os
import sys
from enum import IntEnum
from typing import Final, TextIO

_LONGEST_NAME: Final = 255


class ExitStatus(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2


class CommandFailed(Exception):
    """A command cannot do what it is asked; the message says why, and what would help."""


def require_name(name: str, remedy: str) -> None:
    """Refuse a name that nobody could read; the remedy says what it is for."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise CommandFailed(f"{remedy} It has from 1 to {_LONGEST_NAME} characters, and only such as can be seen.")


class Environment:
    """The world outside of a command."""

    def say(self, text: str) -> None:
        """Say something to whoever reads the output."""
        try:
            self.stdout.write(text + "\n")
            self.stdout.flush()
        except OSError:
            # Else the interpreter would try again at its end, and end with a status of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            raise

    def complain(self, text: str) -> None:
        """Say what went wrong."""
        sys.stderr.write(text + "\n")

    @property
    def stdout(self) -> TextIO:
        """Where the output goes."""
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  # as a shell's `>&-` has it
            raise CommandFailed("Standard output is closed, so nothing could be shown, and nothing was done.")
        return sys.stdout


environment = Environment()
