"""The figures of a run, as JSON and as tables in Markdown."""

import json
import os
import platform
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from evidence.checks import CHECKS, Fault

MAX_FINDINGS = 20
"""Findings that a page shows at most; each ends its server's run, so there are never many."""
MAX_FINDING = 300
"""Characters of a finding that it shows."""


def commit() -> str:
    """Return the commit of the code under test, or `unknown` where there is no repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass
class Results:
    """The figures of a run: the ways that were tried, and the faults that were found."""

    title: str
    about: str
    tried: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    acknowledged: Counter[str] = field(default_factory=Counter[str])
    compared: Counter[str] = field(default_factory=Counter[str])
    found: Counter[str] = field(default_factory=Counter[str])
    findings: list[str] = field(default_factory=list[str])
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    omitted: list[str] = field(default_factory=list[str])
    began: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    commit: str = field(default_factory=commit)

    def note(self, name: str, faults: Iterable[Fault]) -> None:
        """Note the faults that were found after this way to break a server."""
        self.failed[name] += 1
        for fault in faults:
            self.found[fault.check] += 1
            self.findings.append(f"{name}: {fault.check}: {fault.finding}")

    def add(self, acknowledged: Counter[str], compared: Counter[str]) -> None:
        """Add the figures of a server."""
        self.acknowledged += acknowledged
        self.compared += compared

    def write(self, folder: Path, name: str) -> str:
        """Write both files, and return the Markdown."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.markdown()
        (folder / f"{name}.md").write_text(text)
        (folder / f"{name}.json").write_text(json.dumps(self.as_data(), indent=1) + "\n")
        return text

    def as_data(self) -> dict[str, object]:
        return {
            "began": self.began,
            "commit": self.commit,
            "tried": self.tried,
            "failed": self.failed,
            "acknowledged": self.acknowledged,
            "compared": self.compared,
            "found": {check: self.found[check] for check in CHECKS},
            "findings": self.findings,
            "omitted": self.omitted,
            "starts": {name: _spread(seconds) for name, seconds in self.starts.items() if seconds},
            "outages": {name: _spread(seconds) for name, seconds in self.outages.items()},
        }

    def markdown(self) -> str:
        total, failed = self.tried.total(), self.failed.total()
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        parts = [
            f"# {self.title}",
            f"{self.began} UTC, commit {self.commit}, {machine}, shared by the server, its clients and others.",
            self.about,
            f"**{total:,} cycles, {failed:,} of them with a fault.**",
            _table(
                ("way to break it", "tried", "failed"),
                [(name, f"{count:,}", f"{self.failed[name]:,}") for name, count in self.tried.items()],
            ),
            _table(("acknowledged", "count"), [(name, f"{count:,}") for name, count in sorted(self.acknowledged.items())]),
            _table(("compared", "count"), [(name, f"{count:,}") for name, count in self.compared.items()]),
            _table(("searched for", "found"), [(text, f"{self.found[check]:,}") for check, text in CHECKS.items()]),
        ]
        times = [
            (name, f"{len(seconds):,}", f"{median(seconds):.2f}", f"{max(seconds):.2f}")
            for name, seconds in self.starts.items()
            if seconds
        ]
        if times:
            parts += ["## Seconds from the start of the program until it is ready"]
            parts += [_table(("after", "n", "median", "worst"), times)]
        times = [
            (name, f"{len(seconds):,}", f"{median(seconds):.2f}", f"{max(seconds):.2f}")
            for name, seconds in self.outages.items()
        ]
        if times:
            parts += ["## Seconds from the fault until a write passes"]
            parts += [_table(("fault", "n", "median", "worst"), times)]
        parts += [f"Left out: {text}." for text in self.omitted]
        parts += [f"- `{_shortened(finding)}`" for finding in self.findings[:MAX_FINDINGS]]
        return "\n\n".join(parts) + "\n"


def _shortened(finding: str) -> str:
    """Return the beginning and the end of a finding, on one line."""
    text = " ".join(finding.replace("`", "'").replace("|", "/").split())
    return text if len(text) <= MAX_FINDING else f"{text[: MAX_FINDING // 2]} ... {text[-MAX_FINDING // 2 :]}"


def _spread(seconds: Sequence[float]) -> Mapping[str, float]:
    return {"n": len(seconds), "median": round(median(seconds), 3), "worst": round(max(seconds), 3)}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    right = "|".join("---" if number == 0 else "---:" for number in range(len(heads)))
    return "\n".join(["| " + " | ".join(heads) + " |", f"|{right}|", *("| " + " | ".join(row) + " |" for row in rows)])
