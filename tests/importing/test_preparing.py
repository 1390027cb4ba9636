"""Rows as requests: any contact that is written as a row is the same contact when the row is read."""

import csv
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from herdbook.contacts.model import ContactUpsert
from herdbook.fields import shows
from herdbook.formats import reading
from herdbook.formats.model import Layout, Record
from herdbook.importing.model import MappedColumn, Mapping
from herdbook.importing.preparing import Preparer

_TARGETS: Final = ("first_name", "last_name", "email", "email", "phone", "description", "company_name", "tags", "note")
_MAPPING: Final = Mapping(columns=tuple(MappedColumn(to=each) for each in _TARGETS))
_CHARS: Final = st.characters(blacklist_categories=["Cs", "Cc"])
_NAMES: Final = st.text(_CHARS, min_size=1, max_size=30).map(str.strip).filter(shows)
_LINES: Final = st.lists(_NAMES, min_size=1, max_size=3).map("\n".join)
# Separators between tags are no part of one.
_TAGS: Final = st.text(st.characters(whitelist_categories=["L", "N"]), min_size=1, max_size=20)
_ADDRESSES: Final = st.from_regex(r"[a-z][a-z0-9.]{0,9}[a-z]@[a-z]{2,9}\.test", fullmatch=True).filter(
    lambda each: ".." not in each
)


class _Person(NamedTuple):
    first_name: str
    last_name: str
    emails: list[str]
    phone: str
    description: str
    company: str
    tags: list[str]
    note: str

    @property
    def row(self) -> list[str]:
        """The person as a row."""
        addresses = [self.emails[0], ";".join(self.emails[1:])]
        tags = ", ".join(self.tags)
        return [self.first_name, self.last_name, *addresses, self.phone, self.description, self.company, tags, self.note]


_PEOPLE: Final = st.builds(
    _Person,
    first_name=_NAMES,
    last_name=_NAMES | st.just(""),
    emails=st.lists(_ADDRESSES, min_size=1, max_size=3, unique=True),
    phone=st.from_regex(r"\+44 20 7946 0[0-9]{3}", fullmatch=True) | st.just(""),
    description=_LINES | st.just(""),
    company=_NAMES | st.just(""),
    tags=st.lists(_TAGS, max_size=3, unique=True),
    note=_LINES | st.just(""),
)


@given(people=st.lists(_PEOPLE, min_size=1, max_size=4), delimiter=st.sampled_from(",;\t|"))
def test_a_row_is_the_person_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, people: list[_Person], delimiter: str
) -> None:
    """Each member comes back from the file, whatever its text has of delimiters, quotes and line breaks."""
    path = tmp_path_factory.mktemp("people") / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(person.row for person in people)
    preparer = Preparer(_MAPPING, {}, None)
    layout = Layout(format="csv", delimiter=delimiter, has_header=False)

    rows = [preparer.prepared(record) for record in reading.records(path, layout)]

    assert [row.faults for row in rows] == [()] * len(people)
    for person, row in zip(people, rows, strict=True):
        asked = row.asked
        assert isinstance(asked, ContactUpsert)
        assert (asked.first_name, asked.last_name or "") == (person.first_name, person.last_name)
        assert [item.email for item in asked.emails or ()] == person.emails
        assert [item.phone_number for item in asked.phone_numbers or ()] == ([person.phone] if person.phone else [])
        assert (asked.description or "", row.company_name) == (person.description, person.company)
        assert row.notes == ((person.note,) if person.note else ())
        assert row.tags == tuple(person.tags)


def test_numbers_of_a_region_become_international() -> None:
    """A number without a country code is one of the region of the mapping; without a region, it is kept as it is."""
    record = Record(2, ["Ada", "020 7946 0958"])
    columns = (MappedColumn(to="first_name"), MappedColumn(to="phone"))

    numbers = [Preparer(Mapping(columns=columns, region=region), {}, None).prepared(record).asked for region in ("GB", None)]

    assert [
        each.phone_numbers and each.phone_numbers[0].phone_number for each in numbers if isinstance(each, ContactUpsert)
    ] == [
        "+442079460958",
        "020 7946 0958",
    ]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("Ada Lovelace", ("Ada", "Lovelace")), ("Lovelace, Ada", ("Ada", "Lovelace")), ("Plato", ("Plato", UNSET))],
)
def test_full_names_are_split(name: str, parts: tuple[object, object]) -> None:
    """A full name becomes its parts."""
    asked = Preparer(Mapping(columns=(MappedColumn(to="full_name"),)), {}, None).prepared(Record(2, [name])).asked

    assert isinstance(asked, ContactUpsert)
    assert (asked.first_name, asked.last_name) == parts
