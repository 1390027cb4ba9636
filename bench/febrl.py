"""The weights of duplicates on data that they were not fitted to: `python -m bench.febrl`.

The FEBRL data sets have persons whose records were duplicated with errors. Weights are fitted to two of the sets, measured on
the others, in each of the six ways to choose two; the weights that herdbook has are measured beside them. A weight is the
natural logarithm of how much likelier its evidence is among pairs of the same person than among others that share a key
(Fellegi and Sunter, 1969). Fitted ones are those of names, addresses and birthdays, because the records have nothing else.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any, Final, NamedTuple

import msgspec

from herdbook.duplicates import comparison
from herdbook.duplicates.comparison import (
    Evidence,
    Person,
    StoredContact,
    evidence_of_persons,
    has_name,
    keys_of_person,
    person_of,
    score,
)
from herdbook.duplicates.searching import MAX_NAMESAKES, MAX_SHARING
from tests.duplicates.test_febrl import SETS, as_contact, records

_LEAST: Final = 0.5


class Compared(NamedTuple):
    """Two records that share a key: whether they are of one person, the evidence, and how many have a name of theirs."""

    is_same: bool
    evidence: Sequence[Evidence]
    namesakes: int


class DataSet(NamedTuple):
    """The pairs of a data set that are compared, and how many pairs of one person there are."""

    pairs: Sequence[Compared]
    same: int


@cache
def data_set(name: str) -> DataSet:
    """Compare the records of a data set as a search does."""
    rows = [*records(SETS[name][0])]
    persons = [_person(as_contact(row)) for row in rows]
    originals = [row["rec_id"].split("-")[1] for row in rows]
    keys = [keys_of_person(each) for each in persons]
    holders: dict[int, list[int]] = defaultdict(list)
    names: set[int] = set()
    for number, each in enumerate(keys):
        names |= each.names
        for key in each.all:
            holders[key].append(number)
    limits = {key: MAX_NAMESAKES if key in names else MAX_SHARING for key in holders}
    meeting = {pair for key, some in holders.items() if len(some) <= limits[key] for pair in combinations(some, 2)}
    found = {pair: evidence_of_persons(persons[pair[0]], persons[pair[1]]) for pair in meeting}
    namesakes: Counter[int] = Counter()
    for pair, evidence in found.items():
        if has_name(evidence):
            namesakes.update(pair)
    for number, each in enumerate(keys):
        if any(len(holders[key]) > limits[key] for key in each.names):
            namesakes[number] = max(namesakes[number], MAX_NAMESAKES)
    pairs = [
        Compared(originals[one] == originals[other], evidence, max(namesakes[one], namesakes[other]))
        for (one, other), evidence in found.items()
    ]
    return DataSet(pairs, SETS[name][1])


def _person(contact: Mapping[str, Any]) -> Person:
    return person_of(msgspec.convert(contact, StoredContact), contact["fields"], None)


def fitted(names: Sequence[str]) -> dict[str, float]:
    """Return the weights that fit some data sets, and the others as herdbook has them."""
    pairs = [pair for name in names for pair in data_set(name).pairs]
    counts = {
        is_same: Counter(each.kind for pair in pairs if pair.is_same is is_same for each in pair.evidence)
        for is_same in (True, False)
    }
    same = sum(pair.is_same for pair in pairs)
    others = len(pairs) - same
    kinds = {*counts[True], *counts[False]}
    weights = {
        kind: math.log((counts[True][kind] + 0.5) / (same + 1)) - math.log((counts[False][kind] + 0.5) / (others + 1))
        for kind in kinds
    }
    return comparison.WEIGHTS | weights | {"prior": math.log(same / others)}


def measured(name: str, weights: Mapping[str, float]) -> tuple[float, float]:
    """Return precision and recall on a data set, of pairs from 0.5 on."""
    found = data_set(name)
    likely = [pair for pair in found.pairs if score(pair.evidence, pair.namesakes, weights) >= _LEAST]
    right = sum(pair.is_same for pair in likely)
    return right / max(1, len(likely)), right / found.same


def main() -> None:
    """Print the table."""
    print("| fitted to | measured on | precision | recall |\n|---|---|---|---|")
    for name in SETS:
        precision, recall = measured(name, comparison.WEIGHTS)
        print(f"| herdbook's weights | {name} | {precision:.3f} | {recall:.3f} |")
    for some in combinations(SETS, 2):
        weights = fitted(some)
        for name in SETS:
            if name not in some:
                precision, recall = measured(name, weights)
                print(f"| {' and '.join(some)} | {name} | {precision:.3f} | {recall:.3f} |")
    for kind, weight in fitted(("1", "2")).items():
        if weight != comparison.WEIGHTS[kind]:
            print(
                f"{kind}: {comparison.WEIGHTS[kind]} here, {weight:.1f} by 1 and 2, {fitted(('3', '4'))[kind]:.1f} by 3 and 4"
            )


if __name__ == "__main__":
    main()
