"""The order of the trials: rivals take turns, so that disturbances of the machine affect them alike."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.load import Figures, middle


@dataclass(frozen=True, eq=False)
class Trial:
    """One load on one rival, to be repeated, and the figures of each round."""

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
            # A server's postponed work (checkpoints, logs) should not fall into its rival's time.
            time.sleep(0.3)
    return trials


def ratio(trial: Trial, other: Trial) -> float:
    """Return how many times the other's rate this is, round by round, because adjacent runs share the machine's state."""
    return median(mine.per_second / its.per_second for mine, its in zip(trial.rounds, other.rounds, strict=True))
