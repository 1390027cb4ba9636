"""The shell blocks of a page, typed one after the other into one shell, and compared with the output that the page shows.

Ids, times and secrets are new each time: each that a page shows stands from then on for the one that was printed in its place,
in commands as in output. `...` stands for anything, and output may be broken into lines anywhere.
"""

import contextlib
import re
import subprocess
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from tests.cli.programs import PATIENCE, kill, until

# They are new each time, and the same within a page.
_NAMED: Final = r"""(?x:
    \bsk-apik_\w+\.\w+
    | \blink_\w+\.\w+
    | \b(?:whsec_|oc[ls]_|oat_)[\w+/=.-]+
    | \b(?:cnt|cmp|usr|tag|ngmt|rid|apik|wrks|whep|evt|tt|tano|fault)_[0-9A-Z]{26}
    | \b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z
)"""
# They are new each time, and nothing refers to them.
_UNNAMED: Final = r"""(?x:
    (?<="milliseconds":)[\d.]+
    | (?<="webhook-timestamp":")\d+
    | (?<="next_cursor":")[\w.-]+
    | \bv1,[\w+/=]+
    | (?<=date:\ )\w{3},\ \d\d\ \w{3}\ \d{4}\ [\d:]{8}\ GMT
)"""
_PARTS: Final = re.compile(rf"(?P<named>{_NAMED})|(?P<unnamed>{_UNNAMED})|(?P<anything>,? ?\.\.\. ?)|(?P<end>\n)")


class Block(NamedTuple):
    """The commands of a block, and the output below them."""

    commands: str
    output: str

    @property
    def is_endless(self) -> bool:
        """Whether the last command follows a stream of events."""
        return "text/event-stream" in self.commands

    @property
    def only_reads(self) -> bool:
        """Whether the commands may be repeated."""
        return re.search(r" -d| --json| -X|^herdbook|^export|&$", self.commands, re.MULTILINE) is None


def blocks(page: str) -> Iterator[Block]:
    """Return the shell blocks of a page: those that begin with a command behind a `$`."""
    for text in re.findall(r"^```\n(\$ .*?)^```", page, re.MULTILINE | re.DOTALL):
        commands: list[str] = []
        output: list[str] = []
        for line in text.splitlines():
            if line.startswith("$ "):
                commands.append(line.removeprefix("$ "))
            elif not output and _goes_on("\n".join(commands)):
                commands.append(line)
            else:
                output.append(line)
        yield Block("\n".join(commands), "\n".join(output).strip())


def files(page: str) -> Iterator[tuple[str, str]]:
    """Return the files of a page: the blocks that begin with a comment that names one, with that name and their text."""
    for text, name in re.findall(r"^```\w+\n((?:#|//) (\w[\w-]*\.\w+)\b.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield name, text


def _goes_on(commands: str) -> bool:
    """Whether the last command goes on in the next line."""
    return commands.endswith("\\") or commands.count("'") % 2 == 1


class Shell:
    """A shell, and the values for which the ids, times and secrets of a page stand."""

    def __init__(self, bash: "subprocess.Popen[bytes]", terminal: Path) -> None:
        self._bash = bash
        self._terminal = terminal
        self._values: dict[str, str] = {}
        self._printed = ""
        self._fits = False

    def type(self, block: Block) -> None:
        """Type the commands of a block, and require their output. Reads are repeated, because what they show may come later."""
        with contextlib.suppress(AssertionError):
            until(lambda: self._shows(block) or not block.only_reads)
        self.require(block, self._printed)

    def require(self, block: Block, printed: str) -> None:
        """Require that the output of a block was printed, and learn the values in it."""
        match = _pattern(block.output).fullmatch(printed)
        assert match is not None, f"{block.commands}\nprints\n{printed}\nand not\n{block.output}"
        names = [part["named"] for part in _PARTS.finditer(block.output) if part["named"]]
        for name, value in zip(names, match.groups(), strict=True):
            assert self._values.setdefault(name, value) == value, f"{name} stands for {self._values[name]} already"

    def _shows(self, block: Block) -> bool:
        """Type the commands of a block; whether they print its output. End a stream of events once its output is there."""
        begin = self._terminal.stat().st_size
        done = f"done {begin}"
        commands = _PARTS.sub(lambda part: self._values.get(part[0], part[0]), block.commands)
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{commands}\necho -n '{done}'\n".encode())
        self._bash.stdin.flush()
        expected = _pattern(block.output)

        def text() -> str:
            return self._terminal.read_bytes()[begin:].decode().replace("\r", "")

        def is_there() -> bool:
            printed = text().replace(done, "").strip()
            # A comparison may take long, so that the same text is compared once.
            if printed != self._printed:
                self._printed, self._fits = printed, expected.fullmatch(printed) is not None
            return self._fits and (done in text() or block.is_endless)

        self._printed, self._fits = "", expected.fullmatch("") is not None
        # A program in the background may print later than the command that made it do so. A read is repeated instead.
        until(lambda: done in text() or (block.is_endless and is_there()))
        with contextlib.suppress(AssertionError):
            until(is_there, 0 if block.only_reads else PATIENCE)
        if block.is_endless:
            for process in psutil.Process(self._bash.pid).children():
                if process.name() == "curl":
                    process.terminate()
            until(lambda: done in text())
        return self._fits


def _pattern(output: str) -> re.Pattern[str]:
    pattern, position = "", 0
    for part in _PARTS.finditer(output):
        pattern += re.escape(output[position : part.start()])
        position = part.end()
        if part["named"]:
            pattern += f"({_NAMED})"
        elif part["unnamed"]:
            pattern += _UNNAMED
        else:
            pattern += r"\s*" if part["end"] else ".*?"
    return re.compile(pattern + re.escape(output[position:]), re.DOTALL)


@contextlib.contextmanager
def shell(folder: Path, environment: Mapping[str, str]) -> Generator[Shell]:
    """Run a shell in a folder while the block lasts; leave no process behind."""
    terminal = folder / "terminal.txt"
    with terminal.open("wb") as output, (folder / "complaints.txt").open("wb") as complaints:
        bash = subprocess.Popen(["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=complaints)
    try:
        yield Shell(bash, terminal)
    finally:
        for process in psutil.Process(bash.pid).children(recursive=True):
            kill(process)
        bash.kill()
        bash.communicate()
