"""What a command knows of the world outside: where its words go, and how it ends."""

import sys
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TextIO


class ExitStatus(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2


class CommandFailed(Exception):
    """A command cannot do what it is asked; the message says why, and what would help."""


@dataclass
class Environment:
    """The world outside of a command."""

    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def say(self, text: str = "") -> None:
        """Say something to whoever reads the output."""
        print(text, file=self.stdout, flush=True)

    def complain(self, text: str) -> None:
        """Say what went wrong."""
        print(text, file=self.stderr, flush=True)


environment = Environment()
