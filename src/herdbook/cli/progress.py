"""The progress of a long command, on standard error: a bar in a terminal, otherwise lines."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_SECONDS: Final = 10.0


@contextmanager
def step(name: str, total: int | None) -> Generator[Callable[[int], None]]:
    """Show a step of so many bytes, if they are known. Yield a function to call with each number of bytes that are done."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # a shell's `2>&-` closes it
        yield lambda _: None
        return
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(name, total=total)
            yield lambda size: bars.advance(task, size)
        return
    lines = _Lines(name, total)
    yield lines.advance
    lines.end()


class _Lines:
    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._of = "" if total is None else f" of {decimal(total)}"
        self._done = 0
        self._began_at = self._shown_at = time.monotonic()

    def advance(self, size: int) -> None:
        self._done += size
        if time.monotonic() - self._shown_at > _LINE_SECONDS:
            self._shown_at = time.monotonic()
            sys.stderr.write(f"{self._name}: {decimal(self._done)}{self._of}\n")

    def end(self) -> None:
        done = f" {decimal(self._done)} in" if self._done else ""
        sys.stderr.write(f"{self._name}:{done} {time.monotonic() - self._began_at:.1f} s\n")
