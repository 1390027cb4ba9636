"""The results of a run: Markdown with tables, the figures as JSON, and plots for light and dark pages."""

# Much of matplotlib has no annotations.
# pyright: reportUnknownMemberType=false

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench import console
from bench.trials import Trial, ratio
from bench.under_attack import Attacked, Wait
from bench.webhooks import Flow

MAX_WAIT = 50.0  # milliseconds that a neighbour should wait at most
THEMES = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#e6edf3", "#3d444d")}
COLOURS = {"herdbook": "#2f81f7", "PocketBase": "#d29922", "bare SQL": "#8b949e"}

EXPLAINED = """The rivals took turns. Rates and percentiles are medians of the rounds, and *max* is the worst of all rounds.
A ratio is the median of the ratios within each round, because absolute figures mean little on another machine: it need not be
the ratio of the medians beside it. CPU is the server's processor time for a request, its database included; other programs
affect it less than the other figures."""

HANDICAPS = """PocketBase runs with its own defaults: its commits do not wait for the disk, and it keeps no history. herdbook's
commits wait for the disk and record each change in the ledger. PocketBase's rules require an ordinary user's token, as
herdbook requires a key with the right scopes, and its requests send one."""

ATTACKED = """The attacks run one after the other against one server, each for some seconds, from an address of its own and,
if it has a key, in a workspace of its own. Meanwhile a neighbour in another workspace reads contacts over one
connection and changes them over another, one request at a time. The table shows its longest waits, each until
the request succeeded. The figures in brackets leave out the time in which the server or the neighbour was ready
to run but others had the processors. They should stay below 50 ms; longer ones are bold.

The attacker has a lower priority than the server and the neighbour, but all share the same cores and the same disk. The
first two lines are not attacks: they show the waits that the machine alone causes. *Memory* is the peak of the server's
process, without its database but with leftovers of earlier attacks. *Answers* are the statuses that the attacker got, or
the ends of its connections."""

PAGES = """A page of the console and the operation of the API that reads the same objects take turns, one request at a time over
one connection each. The times are medians, in milliseconds, and *CPU* is the processor time of the server and its database.
A page may take 1.5 times the time of its operation, and 10 ms. *KB* is its HTML, compressed; its styles and scripts, which a
browser keeps, have {files:.0f} KB together."""

QUERIES = """First pages of 25 contacts, against that of the plain list, which takes {plain:.1f} ms. A row has queries of
several kinds of fields: the median of these, and the worst. {defined} fields are defined, and each contact has values of
{each}. Half of the fields belong to contacts that are spread over all, and half to contacts whose last names follow one
another."""

OTHERS = """Other pages show [how long a neighbour waits](attack.md) while somebody attacks the server, and [the console and
queries](console.md) at a million contacts."""

PICTURE = """<picture>
  <source media="(prefers-color-scheme: dark)" srcset="dark.svg">
  <img alt="Requests a second and the 99th percentile, herdbook and PocketBase side by side" src="light.svg">
</picture>"""


@dataclass(frozen=True)
class Fact:
    """A figure of each rival that needs no load: its name, its unit, and each rival's rounds."""

    name: str
    unit: str
    rounds: dict[str, list[float]]


@dataclass(frozen=True)
class Results:
    title: str
    duel: list[Trial]  # herdbook and PocketBase under the same load
    bare: list[Trial]  # the statements alone
    spread: list[Trial]  # PocketBase, one workspace, a thousand
    webhooks: list[Trial]  # without an endpoint, and with one
    flow: Flow  # writes and their events
    growth: list[Trial]  # few contacts, then many
    facts: list[Fact]


def write(results: Results, folder: Path) -> str:
    """Write everything to the folder and return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(results)
    (folder / "README.md").write_text(text)
    (folder / "figures.json").write_text(json.dumps(as_data(results), indent=1) + "\n")
    for theme in THEMES:
        draw(results, theme, folder / f"{theme}.svg")
    return text


def markdown(results: Results) -> str:
    every = [*results.duel, *results.bare, *results.spread, *results.webhooks, *results.growth]
    failed = sum(trial.middle.failed for trial in every)
    strangers = [figures.strangers for trial in every for figures in trial.rounds]
    parts = [
        f"# {results.title}",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, shared by the server and wrk. Other programs took {median(strangers):.2f} cores "
        f"(median of the runs; at worst {max(strangers):.2f}). "
        + (f"**{failed:,} requests failed.**" if failed else "Every request succeeded."),
        EXPLAINED,
        PICTURE,
        OTHERS,
        "## herdbook and PocketBase",
        table(results.duel, "PocketBase"),
        HANDICAPS,
    ]
    if results.bare:
        best = max(results.bare, key=lambda trial: trial.middle.per_second)
        parts += [
            "## The bare statements",
            (
                "pgbench with an `UPDATE` of one contact and an `INSERT` of one change, on herdbook's tables over the same "
                f"socket: no HTTP, no rules, no ledger. The best rate came with {best.connections} clients."
            ),
            table(results.bare, ""),
        ]
        parts += [
            "herdbook's PATCH is "
            + ", ".join(
                f"{ratio(trial, best):.2f} times that with {trial.connections}"
                for trial in results.duel
                if trial.rival == "herdbook" and trial.load == "PATCH"
            )
            + " connections."
        ]
    if results.spread:
        parts += ["## Many workspaces", table(results.spread, results.spread[0].rival)]
    parts += ["## Webhooks", table(results.webhooks, "no webhook"), flow_text(results.flow)]
    if results.growth:
        parts += ["## Growth", table(results.growth, results.growth[0].rival)]
    if results.facts:
        parts += ["## Start and memory", fact_table(results.facts)]
    return "\n\n".join(parts) + "\n"


def table(trials: Sequence[Trial], reference: str) -> str:
    """Return a table with a line for each trial, compared to the reference rival under the same load if there is one."""
    references = {(trial.load, trial.connections): trial for trial in trials if trial.rival == reference}
    beside = f" x {reference} |" if reference else ""
    lines = [
        f"| load | connections | who | a second |{beside} p50 ms | p99 ms | max ms | CPU µs |",
        f"|---|---:|---|---:|{'---:|' if reference else ''}---:|---:|---:|---:|",
    ]
    for trial in sorted(trials, key=lambda trial: [other.load for other in trials].index(trial.load)):
        figures = trial.middle
        other = references.get((trial.load, trial.connections))
        times = f" {ratio(trial, other):.2f} |" if other else " |" if reference else ""
        lines.append(
            f"| {trial.load} | {trial.connections} | {trial.rival} | {figures.per_second:,.0f} |{times} "
            f"{figures.p50:.2f} | {figures.p99:.1f} | {figures.longest:.0f} | {figures.processor:.0f} |"
        )
    return "\n".join(lines)


def write_attacked(attacked: Sequence[Attacked], folder: Path) -> str:
    """Write the page about attacks to the folder and return its Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(
        [
            "# herdbook under attack",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, {os.cpu_count()} cores.",
            ATTACKED,
            attack_table(attacked),
        ]
    )
    (folder / "attack.md").write_text(text + "\n")
    return text


def write_console(results: console.Results, folder: Path) -> str:
    """Write the page about the console and queries to the folder and return its Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(
        [
            "# The console, and queries by fields",
            (
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
                f"{results.contacts:,} contacts. Other programs took {results.strangers:.2f} cores."
            ),
            "## Pages",
            PAGES.format(files=console.files_size() / 1024),
            page_table(results.cases),
            "## Queries",
            QUERIES.format(plain=results.plain, defined=console.DEFINED, each=console.IN_EACH),
            query_table(results),
        ]
    )
    (folder / "console.md").write_text(text + "\n")
    return text


def page_table(cases: Sequence[console.Case]) -> str:
    lines = [
        "| page | ms | operation, ms | allowed, ms | holds | CPU | operation, CPU | KB |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for each in cases:
        page, operation = each.of_page, each.of_operation
        holds = "yes" if each.holds else "**no**"
        lines.append(
            f"| {each.name} | {page.wait:.1f} | {operation.wait:.1f} | {each.allowed:.1f} | {holds} "
            f"| {median(page.processor):.1f} | {median(operation.processor):.1f} | {page.size / 1024:.1f} |"
        )
    return "\n".join(lines)


def query_table(results: console.Results) -> str:
    lines = ["| first page | times the plain list | worst kind |", "|---|---:|---:|"]
    for each in results.queried:
        times = [median(some) / results.plain for some in each.times]
        worst = f"{max(times):.1f}" if len(times) > 1 else ""
        lines.append(f"| {each.name} | {median(times):.1f} | {worst} |")
    return "\n".join(lines)


def attack_table(attacked: Sequence[Attacked]) -> str:
    lines = [
        "| attack | longest GET, ms | longest PATCH, ms | memory, MB | answers |",
        "|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {each.name} | {marked(each.get)} | {marked(each.patch)} | {each.memory:,.0f} | {each.shown_answers} |"
        for each in attacked
    ]
    return "\n".join(lines)


def marked(wait: Wait) -> str:
    return f"**{wait}**" if wait.longest_unqueued >= MAX_WAIT else str(wait)


def flow_text(flow: Flow) -> str:
    """Describe the events of a load in words."""
    arrived = flow.arrived
    twice = arrived.events - arrived.different
    return (
        f"Then followed {flow.seconds} seconds of writes, each of them an event, to an endpoint that answers at once: "
        f"{flow.writes.per_second:,.0f} writes a second, {flow.writes.answered:,} in all and those that were under way when "
        f"wrk ended. {flow.arrived_at_end:,} events had arrived then, and {flow.seconds_behind:.1f} seconds later all "
        f"{arrived.different:,}, {twice or 'none'} twice. An event arrived {arrived.delay(0.5):.0f} ms after its change "
        f"(median; {arrived.delay(0.99):.0f} ms at the 99th percentile)."
    )


def fact_table(facts: Sequence[Fact]) -> str:
    rivals = list(facts[0].rounds)
    lines = ["| | " + " | ".join(rivals) + " |", "|---|" + "---:|" * len(rivals)]
    for fact in facts:
        figures = " | ".join(
            f"{median(fact.rounds[rival]):.3g} {fact.unit}" if rival in fact.rounds else "" for rival in rivals
        )
        lines.append(f"| {fact.name} | {figures} |")
    return "\n".join(lines)


def as_data(results: Results) -> dict[str, object]:
    """Return every round of everything, for readers who doubt the medians."""
    trials = [*results.duel, *results.bare, *results.spread, *results.webhooks, *results.growth]
    return {
        "trials": [
            {
                "load": trial.load,
                "connections": trial.connections,
                "rival": trial.rival,
                "rounds": [dataclasses.asdict(figures) for figures in trial.rounds],
            }
            for trial in trials
        ],
        "flow": flow_text(results.flow),
        "facts": [dataclasses.asdict(fact) for fact in results.facts],
    }


def draw(results: Results, theme: str, file: Path) -> None:
    """Draw the rate and 99th percentile of each load, the rivals side by side."""
    ink, lines = THEMES[theme]
    style: dict[Any, Any] = {  # matplotlib's type is a literal of all its four hundred settings
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.edgecolor": lines,
        "grid.color": lines,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with plt.rc_context(style):
        loads = list(dict.fromkeys(trial.load for trial in results.duel))
        figure, panels = plt.subplots(len(loads), 2, figsize=(9, 3 * len(loads)), squeeze=False)
        for load, (speed, wait) in zip(loads, panels, strict=True):
            chosen = [trial for trial in results.duel if trial.load == load]
            draw_bars(speed, chosen, "per_second")
            speed.set_title(f"{load}: requests a second, more is better", loc="left", fontsize=10)
            draw_bars(wait, chosen, "p99")
            wait.set_yscale("log")
            wait.yaxis.set_major_formatter("{x:g}")
            wait.set_title(f"{load}: 99th percentile in ms, less is better", loc="left", fontsize=10)
            if load == "PATCH" and results.bare:
                best = max(trial.middle.per_second for trial in results.bare)
                speed.axhline(best, color=COLOURS["bare SQL"], linestyle="--", label="bare SQL, its best")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, ncols=len(labels), loc="upper right", fontsize=9)
        figure.tight_layout(rect=(0, 0, 1, 0.95))
        figure.savefig(file, transparent=True, metadata={"Date": None})
        plt.close(figure)


def short(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"


def draw_bars(panel: Axes, trials: Sequence[Trial], figure: str) -> None:
    """Draw bars in groups, one group for each number of connections."""
    rivals = list(dict.fromkeys(trial.rival for trial in trials))
    counts = sorted({trial.connections for trial in trials})
    width = 0.8 / len(rivals)
    for place, rival in enumerate(rivals):
        heights = {trial.connections: getattr(trial.middle, figure) for trial in trials if trial.rival == rival}
        left = [number + (place - (len(rivals) - 1) / 2) * width for number in range(len(counts))]
        drawn = panel.bar(left, [heights[count] for count in counts], width * 0.94, color=COLOURS[rival], label=rival)
        panel.bar_label(drawn, fmt=short, fontsize=7)
    panel.set_xticks(range(len(counts)), [str(count) for count in counts])
    panel.set_xlabel("connections")
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.margins(y=0.12)
