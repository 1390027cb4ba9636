"""An import as clients see it: its file, its mapping, its progress, and what came of its rows."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.counts import number_of
from herdbook.custom_fields.model import FieldKind, FieldObjectType
from herdbook.errors import FieldError
from herdbook.formats.days import DayForm
from herdbook.formats.model import MAX_COLUMNS, Column, Layout
from herdbook.history.model import KEPT_MESSAGES, HistoryBy, Kept, KeptReason
from herdbook.shared_schemas import Time

MAX_TAGS: Final = 20
MAX_ROWS_SHOWN: Final = 500
# No file has more rows, and a `bigint` has place for their numbers.
MAX_ROW: Final = 2**53 - 1
# A workspace keeps at most this many imports and saved mappings.
MAX_IMPORTS: Final = 200
MAX_MAPPINGS: Final = 200
# The names of columns and the mappings of all that are saved, as they are stored.
MAX_MAPPING_BYTES: Final = 4_194_304
# An import goes in more ways than others know of.
GONE: Final = (
    "Check the id. An import is removed once its days are over or somebody deletes it, and so are all imports of a workspace "
    "when a person is erased. Upload the file again."
)
# All that a file may name.
READ_SCOPES: Final = ("companies:read", "contacts:read", "tags:read")
IGNORE: Final = "ignore"
LABEL: Final = "label"
CONTACT_TARGETS: Final = (
    *(
        "first_name",
        "middle_name",
        "last_name",
        "full_name",
        "email",
        "phone",
        "company_name",
        "company_domain",
        "company_id",
        "description",
    ),
    *("note", "tags", "time_zone", "crm_id", "external_id", "card"),
)
COMPANY_TARGETS: Final = ("name", "domain", "description", "note", "tags", "crm_id")
# Several columns may fill these; of the others, one each.
REPEATED: Final = frozenset({IGNORE, LABEL, "email", "phone", "domain", "tags", "note", "external_id", "card"})


class ImportState(Enum):
    """How far an import is."""

    UPLOADED = "uploaded"
    CHECKING = "checking"
    CHECKED = "checked"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


WORKING: Final = frozenset({ImportState.CHECKING, ImportState.RUNNING, ImportState.UNDOING})
"""The states in which a server works on an import."""
ENDED: Final = frozenset({ImportState.FINISHED, ImportState.CANCELLED, ImportState.FAILED})


class RowVerdict(Enum):
    """The outcome of a row."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    RESTORE = "restore"
    SKIP = "skip"
    DUPLICATE = "duplicate"
    PROBLEM = "problem"


_KEY: Final = "^[a-z][a-z0-9_]{0,49}$"


class NewField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field of one's own to define for a column."""

    schema_name: ClassVar[str] = "import_new_field"

    key: Annotated[str, Meta(extra_json_schema={"pattern": _KEY})]
    label: fields.Name
    kind: FieldKind


_Target: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="The member that the column fills: of a contact "
        + ", ".join(f"`{each}`" for each in CONTACT_TARGETS)
        + "; of a company "
        + ", ".join(f"`{each}`" for each in COMPANY_TARGETS)
        + "; `field:key` for a field of the workspace's own, and `field:key.part` for a part of an address or of money; "
        "`middle_name` for a name that goes behind the first one; "
        "`label` for the label of the address or number in the next column; `card` for the vCard that the row came from, of "
        "which what a contact has no place for is kept beside it; `ignore` for none.",
        extra_json_schema={"examples": ["email"], **fields.TEXT_SCHEMA},
    ),
]
_Label: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=50,
        description="The label of its addresses or numbers.",
        extra_json_schema=fields.TEXT_SCHEMA,
    ),
]


class MappedColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The member that a column fills."""

    schema_name: ClassVar[str] = "import_mapped_column"

    to: _Target
    label: _Label | UnsetType = UNSET
    field: (
        Annotated[
            NewField,
            Meta(description="The field to define, if `to` names one that does not exist. Beside `ignore`, a suggestion."),
        ]
        | UnsetType
    ) = UNSET
    days: (
        Annotated[
            DayForm,
            Meta(
                description="Of a field of days: how the column writes them beside `2026-12-31`: `31/12/2026` or `12/31/2026`. "
                "Absent: days with dots have the day first, and those that may mean two days are refused."
            ),
        ]
        | UnsetType
    ) = UNSET
    sure: Annotated[float, Meta(ge=0, le=1, description="How sure the guess is, from 0 to 1; absent if a person chose it.")] | (
        UnsetType
    ) = UNSET


class FixedValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that all rows have."""

    schema_name: ClassVar[str] = "import_fixed_value"

    to: _Target
    value: fields.Description


MatchBy: TypeAlias = Literal["email", "crm_id", "external_id", "phone", "name_and_company", "domain", "name", "never"]
Existing: TypeAlias = Literal["fill", "overwrite", "skip"]


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the rows of a file become contacts or companies."""

    schema_name: ClassVar[str] = "import_mapping"

    object_type: Annotated[FieldObjectType, Meta(description="The kind of object that each row becomes.")] = (
        FieldObjectType.CONTACT
    )
    columns: Annotated[
        tuple[MappedColumn, ...], Meta(max_length=MAX_COLUMNS, description="One for each column of the file, in their order.")
    ] = ()
    match_by: Annotated[
        MatchBy,
        Meta(
            description="How a row finds what is there already. A row without such a value is found by name and company, or by "
            "its number; `never` creates all rows."
        ),
    ] = "email"
    existing: Annotated[
        Existing,
        Meta(
            description="The treatment of one that is there already: `fill` sets members that are empty, `overwrite` sets all "
            "that the row has, `skip` changes nothing. Addresses, numbers, ids and tags are added in both of the first."
        ),
    ] = "fill"
    region: Annotated[
        str | None,
        Meta(
            description="The country of numbers without a country code, two letters (ISO 3166-1). Null: that of the workspace.",
            extra_json_schema={"examples": ["GB"]},
        ),
    ] = None
    crm_source: Annotated[fields.Name, Meta(description="The system that the CRM ids are of.")] = "import"
    create_companies: Annotated[
        bool, Meta(description="Whether companies that are not found by domain or name are created.")
    ] = True
    tags: Annotated[tuple[fields.Name, ...], Meta(max_length=MAX_TAGS, description="Names of tags for all rows.")] = ()
    fixed: Annotated[tuple[FixedValue, ...], Meta(max_length=MAX_TAGS, description="Values that all rows have.")] = ()


_key: Final = fields.matching(_KEY, "a key: small letters, digits and `_`, at most 50, the first of them a letter")


def _storable(mapping: Mapping, path: str) -> Iterator[FieldError]:
    """Refuse text of a mapping that PostgreSQL cannot store, or of which nothing shows, and malformed keys."""
    yield from fields.text(mapping.crm_source, f"{path}.crm_source")
    for index, tag in enumerate(mapping.tags):
        yield from fields.text(tag, f"{path}.tags[{index}]")
    for index, column in enumerate(mapping.columns):
        place = f"{path}.columns[{index}]"
        yield from fields.text(column.to, f"{place}.to")
        yield from fields.text(None if column.label is UNSET else column.label, f"{place}.label")
        if column.field is not UNSET:
            yield from _key(column.field.key, f"{place}.field.key")
            yield from fields.text(column.field.label, f"{place}.field.label")
    for index, fixed in enumerate(mapping.fixed):
        yield from fields.text(fixed.to, f"{path}.fixed[{index}].to")
        yield from fields.text(fixed.value, f"{path}.fixed[{index}].value")


class ImportUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing how an import reads its file, before it runs."""

    schema_name: ClassVar[str] = "import_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"mapping": _storable, "save_as": fields.text, "sheet": fields.text}
    example: ClassVar[dict[str, Any]] = {
        "mapping": {
            "object_type": "contact",
            "columns": [{"to": "full_name"}, {"to": "email", "label": "work"}],
            "match_by": "email",
            "existing": "fill",
        },
        "save_as": "Newsletter",
    }

    mapping: Mapping | UnsetType = UNSET
    has_header: Annotated[bool, Meta(description="Whether the first record names the columns.")] | UnsetType = UNSET
    sheet: Annotated[fields.Name, Meta(description="The sheet of the workbook to read, with a new guess.")] | UnsetType = UNSET
    save_as: (
        Annotated[
            fields.Name,
            Meta(
                description="A name under which the mapping is kept, and suggested for files with these columns. That of a "
                "mapping which the caller's scopes do not show is taken."
            ),
        ]
        | UnsetType
    ) = UNSET


class ImportsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of an upload."""

    schema_name: ClassVar[str] = "import_upload_query"
    rules: ClassVar[dict[str, fields.Rule]] = {
        "name": fields.text,
        "sheet": fields.matching(r"[^\x00]*", "the name of a sheet, because it holds a NUL character"),
    }

    name: Annotated[fields.Name, Meta(description="The name of the file.")] = "upload"
    sheet: Annotated[
        str,
        Meta(
            description="The sheet of a workbook to read; by default the first one that has values.",
            extra_json_schema=fields.NO_NUL_SCHEMA,
        ),
    ] = ""


class RowsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the rows of an import."""

    schema_name: ClassVar[str] = "import_rows_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    of: Annotated[
        Literal["check", "run"], Meta(description="Whether the rows of the dry run are shown, or those of the run.")
    ] = "run"
    verdict: Annotated[
        Literal["create", "update", "unchanged", "restore", "skip", "duplicate", "problem", ""],
        Meta(description="Only rows of which this came."),
    ] = ""
    after: Annotated[int, Meta(ge=0, le=MAX_ROW, description="Only rows behind this one.")] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS_SHOWN)] = 100


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a single import."""

    schema_name: ClassVar[str] = "import_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    wait: Annotated[
        int, Meta(ge=0, le=30, description="Seconds to wait while the import is in this `state`; 0 by default.")
    ] = 0
    state: Annotated[
        Literal[
            "uploaded", "checking", "checked", "running", "paused", "finished", "cancelled", "failed", "undoing", "undone", ""
        ],
        Meta(description="The state that the client knows. Without it, the answer waits for an import at work."),
    ] = ""


class KeptQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the objects that the undo of an import has kept."""

    schema_name: ClassVar[str] = "import_kept_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    after: Annotated[int, Meta(ge=0, le=MAX_ROW, description="Only objects behind this one: the `number` of the last.")] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS_SHOWN)] = 100


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows had each outcome."""

    schema_name: ClassVar[str] = "import_counts"

    create: int = 0
    update: int = 0
    unchanged: int = 0
    restore: int = 0
    skip: int = 0
    duplicate: int = 0
    problem: int = 0

    def plus(self, verdicts: Sequence[RowVerdict]) -> "Counts":
        """Return the counts with some more rows."""
        more = {each.value: getattr(self, each.value) + verdicts.count(each) for each in set(verdicts)}
        return msgspec.structs.replace(self, **more)


class RowFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of a row: the column, if it is known, and the reason."""

    schema_name: ClassVar[str] = "import_row_fault"

    code: str
    message: str
    column: Annotated[int, Meta(description="The column, counted from 0.")] | UnsetType = UNSET
    field: Annotated[str, Meta(description="The member of the contact or company.")] | UnsetType = UNSET


def told_fault(fault: RowFault, columns: Sequence[Column]) -> str:
    """Return the reason of a fault for people. Its column, if that is known, stands for the member at its beginning."""
    text = fault.message
    if fault.column is not UNSET and fault.column < len(columns):
        named = f"`{fault.field}`"
        text = f"This{text.removeprefix(named)}" if text.startswith(named) else text
        text = f"{columns[fault.column].name}: {text}"
    return text.replace("`", "")


class ImportedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of a row, or the one that it would have."""

    schema_name: ClassVar[str] = "import_row"

    row: Annotated[
        int,
        Meta(
            description="The number of the row, counted from 1 with the header, as spreadsheets do; of vCards that of the card."
        ),
    ]
    verdict: RowVerdict
    id: Annotated[str, Meta(description="The contact or company.")] | UnsetType = UNSET
    changed: Annotated[tuple[str, ...], Meta(description="The members that an update changes.")] = ()
    duplicate_of: Annotated[int, Meta(description="The earlier row that means the same.")] | UnsetType = UNSET
    left_out: Annotated[
        tuple[str, ...],
        Meta(description="The properties of the row's vCard that are too large to be kept: 512 KiB of each card are."),
    ] = ()
    faults: tuple[RowFault, ...] = ()


class ImportRows(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of an import, in the order of the file."""

    schema_name: ClassVar[str] = "import_rows"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [{"row": 2, "verdict": "create", "id": ids.example(ids.CONTACT)}],
        "has_more": False,
    }

    object: Literal["list"]
    data: tuple[ImportedRow, ...]
    has_more: bool


class ImportProblemRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file of rows that failed, if the import is in JSON: the object that was sent, and the reasons."""

    schema_name: ClassVar[str] = "import_problem_row"
    example: ClassVar[dict[str, Any]] = {
        "first_name": "Ada",
        "emails": [{"email": "ada"}],
        "problem": "emails[0].email is not an e-mail address.",
    }

    problem: Annotated[str, Meta(description="Why the row failed.")]


class ImportFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file of an import, as it was found."""

    schema_name: ClassVar[str] = "import_file"

    name: str
    bytes: int
    rows: int
    layout: Layout
    columns: tuple[Column, ...]
    preset: Annotated[str | None, Meta(description="The program whose export it is, if that is known.")] = None
    saved_mapping: Annotated[str | None, Meta(description="The saved mapping that is suggested, if there is one.")] = None
    sheets: Annotated[tuple[str, ...], Meta(description="The sheets of a workbook with several, at most 500 of them.")] = ()
    sheet: Annotated[int | None, Meta(description="The place in `sheets` of the one that is read, from 0.")] = None
    members: Annotated[
        tuple[str, ...], Meta(description="Of objects in JSON: the members that have a value, cut to 100 characters.")
    ] = ()


class KeptObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that the undo of an import has left unchanged, and why."""

    schema_name: ClassVar[str] = "import_kept_object"

    number: Annotated[int, Meta(description="Its place among those that are kept, from 1.")]
    kept: Kept


class KeptObjects(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the objects that the undo of an import has left unchanged."""

    schema_name: ClassVar[str] = "import_kept_objects"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [
            {
                "number": 1,
                "kept": {
                    "object": "contact",
                    "id": ids.example(ids.CONTACT),
                    "reason": "changed_since",
                    "message": KEPT_MESSAGES[KeptReason.CHANGED_SINCE],
                },
            }
        ],
        "has_more": False,
    }

    object: Literal["list"]
    data: tuple[KeptObject, ...]
    has_more: bool


class Undoing(msgspec.Struct, frozen=True, kw_only=True):
    """The undo of an import, which each of its slices changes.

    `former` is the state before it, and `may_name` has the names of the types whose objects it may name as holders of values.
    `first` and `last` are the numbers of the import's first and last entry. `step` counts the groups of types that are undone
    one after the other, and `after` is the number of the last entry that the present one is done with.
    """

    request_id: UUID
    credential_id: UUID
    former: ImportState
    may_name: tuple[str, ...]
    began: float
    first: int
    last: int
    total: int
    step: int = 0
    after: int = 0
    done: int = 0
    reverted: int = 0
    kept: int = 0
    ended: float | None = None
    error: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an import that each slice of its rows changes."""

    done: int = 0
    """The rows that the current work is done with."""
    checked: Counts | None = None
    ran: Counts | None = None
    error: str | None = None
    began: float = 0.0
    """The time at which the current work began, in seconds since 1970."""
    from_row: int = 0
    """The rows that were done when it began, after a pause."""
    undo: Undoing | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an import that only its own changes touch.

    `sent_with` are those of the scopes to read what a file may name that the sender of the file had.
    """

    file: ImportFile
    mapping: Mapping
    request_id: UUID
    credential_id: UUID
    user_id: UUID | None = None
    sent_with: tuple[str, ...] = READ_SCOPES


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the work on an import is."""

    schema_name: ClassVar[str] = "import_progress"

    done: int
    total: int
    rows_per_second: float | UnsetType = UNSET
    seconds_left: float | UnsetType = UNSET


class ImportUndo(msgspec.Struct, frozen=True, kw_only=True):
    """The undo of an import: how far it is, or what came of it.

    One by `POST /api/herdbook/undo` has neither progress nor counts: its answer had these.
    """

    schema_name: ClassVar[str] = "import_undo"

    request_id: Annotated[str, Meta(description="The request of all its changes.")]
    by: HistoryBy
    began_at: Annotated[Time, Meta(description="When it began.")] | UnsetType = UNSET
    ended_at: Annotated[Time, Meta(description="When it ended; absent before.")] | UnsetType = UNSET
    progress: Annotated[ImportProgress, Meta(description="How many changes of the import it is done with.")] | UnsetType = UNSET
    reverted: Annotated[int, Meta(description="How many objects are back in their earlier state.")] | UnsetType = UNSET
    kept: (
        Annotated[
            int, Meta(description="How many objects stay as they are: `GET /herdbook/imports/{import_id}/kept` lists them.")
        ]
        | UnsetType
    ) = UNSET
    error: Annotated[str, Meta(description="Why it ended early.")] | UnsetType = UNSET


class ImportObject(Enum):
    """Resource discriminator for imports."""

    IMPORT = "import"


class ImportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an import that changes while a server works on it."""

    object: ImportObject
    id: Annotated[str, fields.id_schema(ids.IMPORT)]
    state: ImportState
    progress: ImportProgress
    checked: Annotated[Counts, Meta(description="The findings of the dry run.")] | UnsetType = UNSET
    result: Annotated[Counts, Meta(description="The outcome of the rows so far.")] | UnsetType = UNSET
    error: Annotated[str, Meta(description="Why the import failed.")] | UnsetType = UNSET
    undo: Annotated[ImportUndo, Meta(description="The undo of the import, if there is one.")] | UnsetType = UNSET

    @property
    def status(self) -> "ImportStatus":
        """Without the rest."""
        return ImportStatus(**{name: getattr(self, name) for name in ImportStatus.__struct_fields__})


class Import(ImportStatus, frozen=True, kw_only=True):
    """An import of contacts or companies from a file."""

    schema_name: ClassVar[str] = "import_job"
    example: ClassVar[dict[str, Any]] = {
        "object": "import",
        "id": ids.example(ids.IMPORT),
        "state": "uploaded",
        "file": {
            "name": "people.csv",
            "bytes": 48,
            "rows": 1,
            "layout": {"format": "csv"},
            "columns": [{"name": "Name", "samples": ["Ada Lovelace"]}, {"name": "E-mail", "samples": ["ada@example.com"]}],
        },
        "mapping": {"object_type": "contact", "columns": [{"to": "full_name", "sure": 0.9}, {"to": "email", "sure": 0.9}]},
        "progress": {"done": 0, "total": 1},
        "request_id": ids.example(ids.REQUEST),
        "created_at": "2026-03-01T12:00:00.000000Z",
        "expires_at": "2026-03-08T12:00:00.000000Z",
    }

    file: ImportFile
    mapping: Mapping
    request_id: Annotated[
        str, Meta(description="The request of all its changes: `POST /herdbook/imports/{import_id}/undo` takes them back.")
    ]
    created_at: Time
    expires_at: Annotated[Time, Meta(description="When the file and the outcome of the rows are deleted.")]


class ImportList(msgspec.Struct, frozen=True, kw_only=True):
    """The imports of a workspace, without the parts that may be long."""

    schema_name: ClassVar[str] = "import_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [Import.example | {"file": Import.example["file"] | {"columns": []}, "mapping": {"object_type": "contact"}}],
    }

    object: Literal["list"]
    data: tuple[Import, ...]


class SavedMapping(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping that is kept by a name, with the columns that it is for."""

    schema_name: ClassVar[str] = "saved_import_mapping"
    example: ClassVar[dict[str, Any]] = {
        "name": "Newsletter",
        "columns": ["Name", "E-mail"],
        "mapping": {"object_type": "contact", "columns": [{"to": "full_name"}, {"to": "email"}]},
    }

    name: str
    columns: tuple[str, ...]
    mapping: Mapping


def fitted(saved: SavedMapping, names: Sequence[str]) -> Mapping | None:
    """Return a saved mapping in the order of the columns of a file, or None if the file has others.

    If several columns have one name, the first is that of the first one.
    """
    if not names or sorted(saved.columns) != sorted(names):
        return None
    waiting: dict[str, list[MappedColumn]] = {}
    for name, column in zip(reversed(saved.columns), reversed(saved.mapping.columns), strict=True):
        waiting.setdefault(name, []).append(column)
    return msgspec.structs.replace(saved.mapping, columns=tuple(waiting[name].pop() for name in names))


class SavedMappings(msgspec.Struct, frozen=True, kw_only=True):
    """The saved mappings of a workspace."""

    schema_name: ClassVar[str] = "saved_import_mapping_list"
    example: ClassVar[dict[str, Any]] = {"object": "list", "data": [SavedMapping.example]}

    object: Literal["list"]
    data: tuple[SavedMapping, ...]


def targets_of(object_type: FieldObjectType) -> tuple[str, ...]:
    """Return the members that a column can fill, beside fields of one's own."""
    return CONTACT_TARGETS if object_type is FieldObjectType.CONTACT else COMPANY_TARGETS


def new_fields(mapping: Mapping) -> list[NewField]:
    """Return the fields that a mapping defines."""
    return [each.field for each in mapping.columns if each.field is not UNSET and each.to != IGNORE]


_OF_COMPANIES: Final = frozenset({"domain", "crm_id", "name", "never"})
_OF_CONTACTS: Final = frozenset({"email", "crm_id", "external_id", "phone", "name_and_company", "never"})


def unsound(mapping: Mapping, columns: Sequence[Column], known: frozenset[str]) -> Iterator[FieldError]:
    """Yield the errors of a mapping for a file with these columns. `known` are the keys of the fields that are there."""
    if len(mapping.columns) != len(columns):
        message = (
            f"`mapping.columns` has {number_of(len(mapping.columns), 'item')}, and the file has "
            f"{number_of(len(columns), 'column')}. Send one for each."
        )
        yield FieldError("mapping.columns", "invalid_length", message)
        return
    possible = _OF_CONTACTS if mapping.object_type is FieldObjectType.CONTACT else _OF_COMPANIES
    if mapping.match_by not in possible:
        listed = ", ".join(f"`{each}`" for each in sorted(possible))
        yield FieldError(
            "mapping.match_by", "invalid_choice", f"`mapping.match_by` must be one of {listed} for this type of objects."
        )
    places: dict[str, int] = {}
    fields_filled: dict[str, str] = {}
    for index, each in enumerate(mapping.columns):
        path = f"mapping.columns[{index}]"
        yield from _unsound_part(each.to, f"{path}.to", fields_filled)
        yield from _unsound_target(mapping, each.to, f"{path}.to", known, is_defined=each.field is not UNSET)
        if each.to not in REPEATED and (first := places.setdefault(each.to, index)) != index:
            message = f"`{path}.to` is the same member as `mapping.columns[{first}].to`. Choose another, or `ignore`."
            yield FieldError(f"{path}.to", "duplicate", message)
        if each.field is not UNSET and each.to not in (IGNORE, f"field:{each.field.key}"):
            yield FieldError(
                f"{path}.field", "not_allowed", f"`{path}.to` must be `field:{each.field.key}` to define this field."
            )
        if each.to == LABEL and (index + 1 == len(columns) or mapping.columns[index + 1].to not in ("email", "phone")):
            message = f"`{path}.to` is a label, and the next column is neither an address nor a number. Choose `ignore`."
            yield FieldError(f"{path}.to", "not_allowed", message)
    for index, fixed in enumerate(mapping.fixed):
        path = f"mapping.fixed[{index}].to"
        yield from _unsound_target(mapping, fixed.to, path, known, is_defined=False)
        yield from _unsound_part(fixed.to, path, fields_filled)


def _unsound_part(target: str, path: str, filled: dict[str, str]) -> Iterator[FieldError]:
    """Yield the error of a target that fills a field of which another one fills a part, or the other way round."""
    field, _, part = target.partition(".")
    if field.startswith("field:"):
        first = filled.setdefault(field, target)
        if bool(part) is (first == field):
            message = f"`{path}` is `{target}`, and `{first}` is filled as well. Fill the field as a whole, or its parts."
            yield FieldError(path, "conflict", message)


def _unsound_target(
    mapping: Mapping, target: str, path: str, known: frozenset[str], *, is_defined: bool
) -> Iterator[FieldError]:
    if target in (IGNORE, LABEL) or target in targets_of(mapping.object_type):
        return
    key = target.removeprefix("field:").partition(".")[0]
    defined = {each.key for each in new_fields(mapping)}
    if not target.startswith("field:"):
        listed = ", ".join(f"`{each}`" for each in targets_of(mapping.object_type))
        message = f"`{path}` must be one of {listed}, `field:` and the key of a field, `label`, or `ignore`."
        yield FieldError(path, "invalid_choice", message)
    elif key not in known and key not in defined and not is_defined:
        message = f"`{path}` names no field of the workspace. Send `field` with its definition, or choose another."
        yield FieldError(path, "not_found", message)
