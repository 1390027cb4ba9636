"""`herdbook compare`: the differences between the answers of two servers."""

import re
import secrets
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, Literal

import httpx
import msgspec
from cyclopts import Parameter

from herdbook.cli.environment import CommandFailed, environment
from herdbook.cli.requests import trusted_by
from herdbook.compare import reading
from herdbook.compare.differences import StepResult, compared, grouped
from herdbook.compare.model import Scenario, Unusable
from herdbook.compare.report import as_junit, as_text
from herdbook.compare.running import BrokenOff, Interrupted, RecordedSide, ServerSide, Side, is_address, recorded

_TIMEOUT: Final = 60.0
_HOST: Final = re.compile(r"[\w.-]+:\d+(?:/.*)?|localhost").fullmatch


def compare(  # noqa: PLR0913  # the options of one command
    *,
    left: str,
    right: str | None = None,
    left_key: str | None = None,
    right_key: str | None = None,
    scenarios: Annotated[list[Path] | None, Parameter(negative=())] = None,
    only: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_writes: Annotated[bool, Parameter(negative=())] = False,
    texts: Annotated[bool, Parameter(negative=())] = False,
    format: Literal["text", "junit"] = "text",  # noqa: A002  # the name of the option
    record: Path | None = None,
) -> None:
    """Compare the answers of two servers to the same requests.

    Ids, times, cursors, versions and the words of messages may differ, and so may orders that the API leaves open. The exit
    status is 1 if anything else does.

    Parameters
    ----------
    left
        The address of a server, or a file that --record has written.
    right
        The other one. It can be left out with --record.
    left_key
        A key for the left server. The environment variable keeps it out of the list of processes.
    right_key
        A key for the right server.
    scenarios
        Files of scenarios, in YAML or JSON. Default: those that herdbook brings.
    only
        Names of scenarios. Default: all.
    allow_writes
        Run scenarios that write, too. They remove what they made.
    texts
        Compare the words of messages, too.
    format
        `text`, or `junit` for build servers.
    record
        A file to which the answers of the left side are written, to take the place of a server later.

    """
    if right is None and record is None:
        raise CommandFailed("There is nothing to compare with. Use --right, or --record to keep the answers of the left side.")
    if record is not None and record.exists():
        raise CommandFailed(f"`{record}` exists. Choose another name.")
    try:
        wanted = _wanted(scenarios, only)
        chosen = _chosen(wanted, allow_writes=allow_writes)
        with ExitStack() as stack:
            is_interrupted = stack.enter_context(_noting_interruption())
            sides = [
                _side(stack, place, key, name, is_interrupted)
                for name, place, key in (("left", left, left_key), ("right", right, right_key))
                if place is not None
            ]
            if record is not None:
                record.write_bytes(msgspec.json.format(msgspec.json.encode(recorded(sides[0], chosen))))
                sides[0] = RecordedSide("left", reading.recording(record))
            results = _compared(chosen, sides, with_texts=texts)
    except Unusable as unusable:
        raise CommandFailed(str(unusable)) from None
    except Interrupted:
        raise CommandFailed("The comparison was interrupted, so it says nothing.") from None
    except BrokenOff as broken:
        raise CommandFailed(str(broken)) from None
    if right is None:
        many = "1 scenario" if len(chosen) == 1 else f"{len(chosen)} scenarios"
        environment.say(f"`{record}` has the answers to {many}.")
        return
    skipped = [f"{each.name} (it writes: --allow-writes)" for each in wanted if each not in chosen]
    environment.say(as_text(results, skipped) if format == "text" else as_junit(results, skipped).decode())
    if found := grouped(results):
        raise CommandFailed("There is 1 difference." if len(found) == 1 else f"There are {len(found)} differences.")


def _wanted(files: Sequence[Path] | None, only: Sequence[str] | None) -> list[Scenario]:
    found = reading.shipped() if not files else [each for file in files for each in reading.from_file(file)]
    if only is None:
        return found
    names = [each.name for each in found]
    if unknown := [name for name in only if name not in names]:
        raise Unusable(f"There is no scenario `{unknown[0]}`. There are {', '.join(f'`{name}`' for name in names)}.")
    return [each for each in found if each.name in only]


def _chosen(wanted: Sequence[Scenario], *, allow_writes: bool) -> list[Scenario]:
    chosen = [each for each in wanted if allow_writes or not each.writes]
    if not wanted:
        raise Unusable("Nothing was compared, because the files have no scenario. Write one into them.")
    if not chosen:
        names = ", ".join(f"`{each.name}`" for each in wanted)
        raise Unusable(
            f"Nothing was compared, because all scenarios write: {names}. Use --allow-writes with servers for tests."
        )
    return chosen


@contextmanager
def _noting_interruption() -> Generator[Callable[[], bool]]:
    """Note the first signal that ends a command, so that what was made can be removed. The second one ends it."""
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _side(stack: ExitStack, place: str, key: str | None, name: str, is_interrupted: Callable[[], bool]) -> Side:
    if not is_address(place):
        if not Path(place).exists() and _HOST(place):
            raise Unusable(f"`{place}` is neither a file nor an address. Write the address as `http://{place}`.")
        return RecordedSide(name, reading.recording(Path(place)))
    if key is None:
        raise CommandFailed(f"The {name} server needs a key. Set HERDBOOK_{name.upper()}_KEY, or use --{name}-key.")
    url = httpx.URL(place)
    client = stack.enter_context(httpx.Client(base_url=url, timeout=_TIMEOUT, verify=trusted_by(url)))
    side = ServerSide(name, client, key, secrets.token_hex(8), is_interrupted)
    stack.callback(_tell_left_behind, side)
    return side


def _compared(scenarios: Sequence[Scenario], sides: Sequence[Side], *, with_texts: bool) -> list[StepResult]:
    if len(sides) == 1:
        return []
    results = [result for each in scenarios for result in compared(each, *sides, with_texts=with_texts)]
    if not any(each.is_compared for each in results):
        raise Unusable("Nothing was compared, because neither side gave what the steps refer to. Correct the scenarios.")
    return results


def _tell_left_behind(side: ServerSide) -> None:
    if side.left_behind:
        environment.complain(f"{side.base} still has {', '.join(side.left_behind)}, which it did not delete.")
    if side.perhaps_left:
        asked = ", ".join(side.perhaps_left)
        environment.complain(f"{side.base} may still have an object of {asked}, because the answer was lost.")
