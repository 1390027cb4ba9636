"""The progress of a long command, on standard error: a bar in a terminal, otherwise lines."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from herdbook.counts import number_of

_LINE_SECONDS: Final = 10.0


class Unit(Enum):
    """The things that a step counts."""

    BYTES = "bytes"
    ROWS = "rows"
    CHANGES = "changes"

    def shown(self, many: int) -> str:
        """Return a number of them in words."""
        return decimal(many) if self is Unit.BYTES else number_of(many, self.value.removesuffix("s"))

    @property
    def column(self) -> ProgressColumn:
        """The column of a bar that shows how many are done."""
        return DownloadColumn() if self is Unit.BYTES else MofNCompleteColumn()


@contextmanager
def step(name: str, total: int | None, *, unit: Unit = Unit.BYTES, shows: bool = True) -> Generator[Callable[[int], None]]:
    """Show a step of so many bytes or rows, if that is known. Yield a function to call with each number that is done."""
    # A shell's `2>&-` closes it.
    if not shows or sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        yield lambda _: None
        return
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), unit.column, TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(name, total=total)
            yield lambda size: bars.advance(task, size)
        return
    lines = _Lines(name, total, unit.shown)
    yield lines.advance
    lines.end()


@contextmanager
def counted(name: str) -> Generator[Callable[[int], None]]:
    """Show a step of which nobody knows how long it is. Yield a function to call with each number of things that are done."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # as above
        yield lambda _: None
        return
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), SpinnerColumn(), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(name, total=None)
            yield lambda many: bars.advance(task, many)
        return
    lines = _Lines(name, None, "{:,}".format)
    yield lines.advance
    lines.end()


class _Lines:
    def __init__(self, name: str, total: int | None, shown: Callable[[int], str] = decimal) -> None:
        self._name = name
        self._shown = shown
        self._of = "" if total is None else f" of {shown(total)}"
        self._done = 0
        self._began_at = self._shown_at = time.monotonic()

    def advance(self, size: int) -> None:
        self._done += size
        if time.monotonic() - self._shown_at > _LINE_SECONDS:
            self._shown_at = time.monotonic()
            sys.stderr.write(f"{self._name}: {self._shown(self._done)}{self._of}\n")

    def end(self) -> None:
        done = f" {self._shown(self._done)} in" if self._done else ""
        sys.stderr.write(f"{self._name}:{done} {time.monotonic() - self._began_at:.1f} s\n")
