"""The parts that readers of all formats share: the layout of a file, its records, and the refusal of one that is unreadable."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook.formats.days import DayForm

# Limits of a file. They bound the memory of a reader, whatever the file.
# A workspace with as many fields as it may have is exported in about 2,000 columns, and each note has one more.
MAX_COLUMNS: Final = 4096
MAX_RECORD: Final = 1_048_576
MAX_SAMPLES: Final = 5
MAX_SAMPLE: Final = 100
# The records from whose beginning a column's samples are taken.
SAMPLED: Final = 200
# Characters that are read before others have their turn.
_STEP_SIZE: Final = 262_144


class Unreadable(Exception):
    """A file cannot be read. The message says why, at what place, and what to do."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a file, as it was found out."""

    schema_name: ClassVar[str] = "import_layout"

    format: Annotated[
        Literal["csv", "ndjson"], Meta(description="CSV also stands for values that tabs or semicolons separate.")
    ]
    encoding: Annotated[str, Meta(description="The encoding of the text, by its name in Python.")] = "utf-8"
    delimiter: Annotated[str, Meta(description="The character between two values.")] = ","
    quote: Annotated[str, Meta(description="The character around values that contain the delimiter.")] = '"'
    escape: Annotated[str, Meta(description="The character before quotes in values, unless these are doubled.")] = ""
    skipped_lines: Annotated[int, Meta(description="Lines before the first record, such as `sep=;`.")] = 0
    has_header: Annotated[bool, Meta(description="Whether the first record names the columns.")] = True
    is_of_cards: Annotated[
        bool, Meta(description="Whether the table was made of vCards. Its rows are counted as the cards of the file are.")
    ] = False

    @property
    def row(self) -> str:
        """The name of a row for people."""
        return "card" if self.is_of_cards else "row"


class Record(NamedTuple):
    """A record of a file: its number, counted from 1 as spreadsheets do, with the header, or among cards, and its values.

    The values are texts, in the order of the columns. A format whose records name their values has one dictionary instead.
    """

    number: int
    values: Sequence[Any]


def size_of(record: Record) -> int:
    """Return about how many characters a record has."""
    return sum(len(each) if isinstance(each, str) else len(msgspec.json.encode(each)) for each in record.values)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a file."""

    schema_name: ClassVar[str] = "import_column"

    name: Annotated[str, Meta(description="The name in the header. A column without one is called by its place.")]
    samples: Annotated[tuple[str, ...], Meta(description="The first few different values, cut to 100 characters.")] = ()
    days: (
        Annotated[DayForm, Meta(description="How its days are written, such as `31.12.2026`, if its first 200 values tell.")]
        | UnsetType
    ) = UNSET


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of a file: its layout, its columns, and the number of its records without the header.

    `members` are those that have a value in any record of a format whose records name their values.
    """

    layout: Layout
    columns: tuple[Column, ...]
    records: int
    members: tuple[str, ...] = ()


class Pace:
    """Tells when others have their turn: after so many records, or fewer if they are long."""

    def __init__(self, most_records: int) -> None:
        self._most = most_records
        self._records = self._size = 0

    def is_over(self, size: int) -> bool:
        """Whether others have their turn after a record of this size."""
        self._records += 1
        self._size += size
        if self._records < self._most and self._size < _STEP_SIZE:
            return False
        self._records = self._size = 0
        return True


def place_name(index: int) -> str:
    """Return the name of a column that the file gives none."""
    return f"Column {index + 1}"
