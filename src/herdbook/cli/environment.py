"""What a command knows of the world outside: where its words go, and how it ends."""

import sys
from enum import IntEnum
from typing import TextIO


class ExitStatus(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2


class CommandFailed(Exception):
    """A command cannot do what it is asked; the message says why, and what would help."""


class Environment:
    """The world outside of a command."""

    def say(self, text: str) -> None:
        """Say something to whoever reads the output."""
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def complain(self, text: str) -> None:
        """Say what went wrong."""
        sys.stderr.write(text + "\n")

    @property
    def stdout(self) -> TextIO:
        """Where the output goes."""
        return sys.stdout


environment = Environment()
