"""Measures herdbook beside its rivals, under attack, its console, its imports and its lab, and writes docs/bench.

`python -m bench [speed|attack|console|import|lab] [--quick]` measures all or one part.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from bench import bare_sql, herdbook, lab, pocketbase, report
from bench.console import measure_console
from bench.imports import measured_page
from bench.load import Figures, require_wrk, run_wrk
from bench.processes import Server, Strangers, memory
from bench.report import Fact, Results
from bench.trials import Trial, run_in_turns
from bench.under_attack import measure_attacks
from bench.webhooks import Flow, Subscription, idle_share, measure_flow, receiving, subscribe_all

RIVALS = ("herdbook", "PocketBase")
IDLE = 2.0  # seconds of idleness before a server's memory is read


@dataclass(frozen=True)
class Plan:
    rounds: int = 3
    seconds: int = 3
    connections: Sequence[int] = (1, 32, 64)
    bare_clients: Sequence[int] = (16, 32)
    contacts: int = 100_000
    workspaces: int = 1_000
    flow: int = 60
    idle: int = 15
    few: int = 10_000
    many: int = 1_000_000
    paged: int = 1_000_000
    page_rounds: int = 5
    imported: int = 1_000_000
    lab_rounds: int = 200


# All parts but the attacks together, in less than twelve minutes. A part alone has more time, and the contacts of its promises.
WHOLE = Plan(seconds=2, flow=20, idle=10, paged=200_000, page_rounds=3, imported=20_000, lab_rounds=100)
QUICK = Plan(
    rounds=1,
    seconds=2,
    connections=(1, 64),
    bare_clients=(16,),
    contacts=50_000,
    flow=10,
    idle=5,
    many=200_000,
    paged=200_000,
    page_rounds=2,
    imported=20_000,
    lab_rounds=50,
)


@dataclass
class Bench:
    """One run: its plan, a scratch folder, and the facts found so far."""

    plan: Plan
    scratch: Path
    facts: list[Fact] = field(default_factory=list)

    def load(self, name: str, connections: int, rival: str, server: Server, paths: Path, method: str = "GET") -> Trial:
        def run() -> Figures:
            return run_wrk(server, paths, method, connections, self.plan.seconds)

        return Trial(name, connections, rival, run)

    def measure_starts(self) -> None:
        """Measure the start from nothing, and again on the folder that this made.

        A machine's first folder is made by initdb. The second one makes a template, of which the third one is a copy.
        """
        nothing: dict[str, list[float]] = {rival: [] for rival in RIVALS}
        copied: dict[str, list[float]] = {"herdbook": []}
        existing: dict[str, list[float]] = {rival: [] for rival in RIVALS}
        for number in range(self.plan.rounds):
            # Each round is a machine of its own, whatever this one has started before.
            machine = self.scratch / f"start-{number}"
            machine.mkdir()
            cache = {"XDG_CACHE_HOME": str(machine / "cache")}
            for name, starts in (("first", nothing), ("second", None), ("third", copied), ("third", existing)):
                with herdbook.serving(machine / name, cache) as (_, seconds):
                    if starts is not None:
                        starts["herdbook"].append(seconds)
            for starts in (nothing, existing):
                with pocketbase.serving(machine / "pocketbase") as (_, seconds):
                    starts["PocketBase"].append(seconds)
        self.facts.append(Fact("from nothing to the first 200", "s", nothing))
        self.facts.append(Fact("the same, from the third new folder of a machine on", "s", copied))
        self.facts.append(Fact("start on an existing folder", "s", existing))

    def measure_memory(self, name: str, servers: dict[str, Server]) -> None:
        time.sleep(IDLE)
        self.facts.append(Fact(name, "MB", {rival: [memory(server)] for rival, server in servers.items()}))

    def measure_duel(self) -> tuple[list[Trial], list[Trial], list[Trial]]:
        """Measure both rivals with equally many contacts, then the bare statements, and the load over many workspaces."""
        plan = self.plan
        ours, theirs = self.scratch / "herdbook", self.scratch / "pocketbase"
        herd = herdbook.prepare(ours, plan.contacts)
        herdbook.prepare_bare(ours, plan.contacts)
        spread_paths = herdbook.prepare_many(ours, plan.workspaces, plan.contacts // plan.workspaces)
        records = pocketbase.prepare(theirs, plan.contacts)
        with herdbook.serving(ours) as (server, _), pocketbase.serving(theirs) as (rival, _):
            servers = {"herdbook": server, "PocketBase": rival}
            paths = {"herdbook": herd.contacts, "PocketBase": records}
            self.measure_memory(f"memory with {plan.contacts:,} contacts, after the start", servers)
            for name, each in servers.items():
                run_wrk(each, paths[name], "PATCH", 8, 1)

            duel = [
                self.load(method, connections, name, servers[name], paths[name], method)
                for method in ("PATCH", "GET")
                for connections in plan.connections
                for name in servers
            ]
            bare = [
                Trial("UPDATE + INSERT", clients, "bare SQL", self.bare_patch(server, clients)) for clients in plan.bare_clients
            ]
            spread = [
                self.load("PATCH", 64, "PocketBase", rival, records, "PATCH"),
                self.load("PATCH", 64, "herdbook, one workspace", server, herd.contacts, "PATCH"),
                self.load("PATCH", 64, f"herdbook, {plan.workspaces:,} workspaces", server, spread_paths, "PATCH"),
            ]
            run_in_turns([*duel, *bare, *spread], plan.rounds)
            self.measure_memory("memory after all loads on one and 1,000 workspaces", servers)
        return duel, bare, spread

    def bare_patch(self, server: Server, clients: int) -> Callable[[], Figures]:
        def run() -> Figures:
            socket = server.folder / "data" / "postgres"
            variables = {"contacts": self.plan.contacts}
            return bare_sql.run_pgbench(server, socket, herdbook.BARE_PATCH, variables, clients, self.plan.seconds)

        return run

    def measure_growth(self) -> list[Trial]:
        """Measure the same loads on few contacts and on many, and a search among the many beside a GET."""
        few, many = self.scratch / "few", self.scratch / "many"
        small, large = herdbook.prepare(few, self.plan.few), herdbook.prepare(many, self.plan.many)
        with herdbook.serving(few) as (few_server, _), herdbook.serving(many) as (many_server, _):
            sizes = {f"{self.plan.few:,}": (few_server, small), f"{self.plan.many:,}": (many_server, large)}
            trials = [
                self.load(name, connections, f"{size} contacts", server, getattr(herd, paths), method)
                for name, paths, method, counts in (
                    ("PATCH", "contacts", "PATCH", (32,)),
                    ("GET", "contacts", "GET", (1, 32)),
                    ("first page", "first_page", "GET", (1, 32)),
                    ("search for a name", "searches", "GET", (1, 32)),
                )
                for connections in counts
                for size, (server, herd) in sizes.items()
            ]
            return run_in_turns(trials, self.plan.rounds)

    def measure_webhooks(self) -> tuple[list[Trial], Flow]:
        """Measure the cost of an endpoint for writes, the flow of events beside them, and the cost of many idle endpoints."""
        folder = self.scratch / "herdbook"
        paths = folder / "contacts.paths"
        with herdbook.serving(folder) as (server, _), receiving() as receiver:
            run_wrk(server, paths, "PATCH", 64, 1)
            subscription = Subscription(server, receiver)

            def switched(*, on: bool) -> Callable[[], Figures]:
                def run() -> Figures:
                    subscription.switch(on=on)
                    return run_wrk(server, paths, "PATCH", 64, self.plan.seconds)

                return run

            trials = [
                Trial("PATCH", 64, "no webhook", switched(on=False)),
                Trial("PATCH", 64, "one webhook", switched(on=True)),
            ]
            run_in_turns(trials, self.plan.rounds)
            flow = measure_flow(subscription, paths, self.plan.flow)
            many = subscribe_all(server, folder / "spread.paths", receiver.url)
            time.sleep(5)  # until the last one is released
            shares = {"herdbook": [idle_share(server, self.plan.idle)]}
            self.facts.append(Fact(f"a core's share, idle, with {many:,} endpoints in as many workspaces", "%", shares))
        return trials, flow


def stop(*_: object) -> NoReturn:
    """Turn the signal into an exception, so that the servers under test are stopped on the way out."""
    sys.exit("bench: told to stop")


def measure_speed(plan: Plan, scratch: Path, folder: Path) -> str:
    require_wrk()
    bench = Bench(plan, scratch)
    bench.measure_starts()
    duel, bare, spread = bench.measure_duel()
    webhooks, flow = bench.measure_webhooks()
    growth = bench.measure_growth()
    results = Results("herdbook beside its rivals", duel, bare, spread, webhooks, flow, growth, bench.facts)
    return report.write(results, folder)


def measure_waits(_: Plan, scratch: Path, folder: Path) -> str:
    return report.write_attacked(measure_attacks(scratch), folder)


def measure_pages(plan: Plan, scratch: Path, folder: Path) -> str:
    return report.write_console(measure_console(scratch, plan.paged, plan.page_rounds), folder)


def measure_imports(plan: Plan, scratch: Path, folder: Path) -> str:
    return measured_page(scratch, plan.imported, folder)


def measure_lab(plan: Plan, scratch: Path, folder: Path) -> str:
    return lab.measured_page(scratch, plan.lab_rounds, folder)


PARTS: dict[str, Callable[[Plan, Path, Path], str]] = {
    "speed": measure_speed,
    "attack": measure_waits,
    "console": measure_pages,
    "import": measure_imports,
    "lab": measure_lab,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help="the one part to measure (default: all but the attacks)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="speed in two minutes instead of eight, and the console with fewer contacts: less to be trusted",
    )
    parser.add_argument("--to", type=Path, default=Path("docs/bench"), help="the folder to write (default: %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)

    plan = QUICK if arguments.quick else WHOLE if arguments.part is None else Plan()
    strangers = Strangers()
    started = time.monotonic()
    for name, measure in PARTS.items():
        # The attacks take three minutes, and say nothing of speed.
        if arguments.part == name or (arguments.part is None and measure is not measure_waits):
            with tempfile.TemporaryDirectory(prefix="herdbook-bench-") as scratch:
                print("\n" + measure(plan, Path(scratch), arguments.to))
            print(f"\nAfter {time.monotonic() - started:.0f} seconds, {strangers}.", flush=True)
    print(f"Written to {arguments.to}.")


if __name__ == "__main__":
    main()
