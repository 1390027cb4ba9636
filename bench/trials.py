"""The order of the trials: rivals take turns, so that whatever else the machine does hits them alike."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.load import Figures, middle


@dataclass(frozen=True, eq=False)
class Trial:
    """One load on one rival, to be repeated, and what each round of it showed."""

    load: str
    connections: int
    rival: str
    run: Callable[[], Figures]
    rounds: list[Figures] = field(default_factory=list)

    @property
    def middle(self) -> Figures:
        return middle(self.rounds)


def run_in_turns(trials: Iterable[Trial], rounds: int) -> list[Trial]:
    trials = list(trials)
    for number in range(1, rounds + 1):
        for trial in trials:
            figures = trial.run()
            trial.rounds.append(figures)
            print(f"round {number}  {trial.load:<28}{trial.connections:5}  {trial.rival:<20}{figures}", flush=True)
            # What a server has put off (checkpoints, logs) should not fall into its rival's time.
            time.sleep(0.3)
    return trials


def ratio(trial: Trial, other: Trial) -> float:
    """How many times the other's speed, round by round, since two runs side by side meet the same machine."""
    return median(mine.per_second / its.per_second for mine, its in zip(trial.rounds, other.rounds, strict=True))
