"""A saved view of a list of contacts or companies, as clients see it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.errors import FieldError
from herdbook.querying.model import CONDITION_EXAMPLE, MAX_SORT_KEYS, Sort
from herdbook.shared_schemas import Time, shown_time

# A user has at most this many views, and so have the credentials that act for no user.
MAX_VIEWS: Final = 200
MAX_COLUMNS: Final = 50


class ViewObjectType(Enum):
    """The type of objects that a view lists."""

    CONTACT = "contact"
    COMPANY = "company"


class ViewSort(Sort, frozen=True, forbid_unknown_fields=True):
    """A member to sort a view by."""

    schema_name: ClassVar[str] = "view_sort"


_Where: TypeAlias = Annotated[
    Any,
    Meta(
        description="The condition that the objects meet, as a query takes it; null: all objects.",
        extra_json_schema={"type": ["object", "null"]},
    ),
]
_Columns: TypeAlias = Annotated[
    tuple[fields.Name, ...],
    Meta(max_length=MAX_COLUMNS, description="The members that the console shows beside the name; empty: its usual ones."),
]
_Sorts: TypeAlias = Annotated[tuple[ViewSort, ...], Meta(max_length=MAX_SORT_KEYS)]
_Shared: TypeAlias = Annotated[bool, Meta(description="Whether it is a view of the team, or of its owner alone.")]
_Search: TypeAlias = Annotated[fields.Name, Meta(description="The words that the console searches for.")]


def _columns(names: Sequence[str] | None, path: str) -> Iterator[FieldError]:
    for index, name in enumerate(names or ()):
        yield from fields.text(name, f"{path}[{index}]")


_RULES: Final[dict[str, fields.Rule]] = {"name": fields.text, "search": fields.text, "columns": _columns}


class ViewCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for saving a view."""

    schema_name: ClassVar[str] = "view_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {
        "object_type": "contact",
        "name": "Pioneers",
        "shared": True,
        "where": {"field": "last_name", "op": "begins_with", "value": "love"},
        "sort": [{"field": "last_name", "direction": "asc"}],
        "columns": ["company_id", "emails"],
    }

    object_type: ViewObjectType
    name: fields.Name
    shared: _Shared = False
    where: _Where = None
    search: _Search | None = None
    sort: _Sorts = ()
    columns: _Columns = ()


class ViewUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for changing a view."""

    schema_name: ClassVar[str] = "view_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"name": "Pioneers", "where": CONDITION_EXAMPLE | {"field": "description"}}

    name: fields.Name | UnsetType = UNSET
    shared: _Shared | UnsetType = UNSET
    where: _Where | UnsetType = UNSET
    search: _Search | None | UnsetType = UNSET
    sort: _Sorts | None | UnsetType = UNSET
    columns: _Columns | None | UnsetType = UNSET


class ViewsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the list of views."""

    schema_name: ClassVar[str] = "views_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    object_type: Annotated[Literal["contact", "company", ""], Meta(description="Only views of these objects.")] = ""


class ViewContent(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a view that says what its list has, and how it is shown."""

    where: Any = None
    search: str | None = None
    sort: tuple[Sort, ...] = ()
    columns: tuple[str, ...] = ()


class ViewRow(NamedTuple):
    """A view, as its row has it."""

    id: UUID
    object_type: str
    owner_id: UUID | None
    name: str
    is_shared: bool
    content: bytes
    created_at: datetime
    updated_at: datetime
    updated_by: UUID | None = None


class ViewObject(Enum):
    """Resource discriminator for view payloads."""

    VIEW = "view"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A saved view of a list of contacts or companies."""

    schema_name: ClassVar[str] = "view"
    example: ClassVar[dict[str, Any]] = {
        "object": "view",
        "id": ids.example(ids.VIEW),
        "owner_id": ids.example(ids.USER),
        "search": None,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "updated_by": None,
    } | ViewCreate.example

    object: ViewObject
    id: Annotated[str, fields.id_schema(ids.VIEW)]
    object_type: ViewObjectType
    name: str
    owner_id: Annotated[
        str | None, fields.id_schema(ids.USER, "The user who saved it; null if a credential that was made for no user did.")
    ]
    shared: _Shared
    where: _Where
    search: str | None
    sort: tuple[ViewSort, ...]
    columns: tuple[str, ...]
    created_at: Time
    updated_at: Time
    updated_by: Annotated[
        str | None, fields.id_schema(ids.USER, "The user who changed it last; null if nobody has, or a credential for no user.")
    ]


class ViewList(msgspec.Struct, frozen=True, kw_only=True):
    """The views that a caller may see, by name."""

    schema_name: ClassVar[str] = "view_list"
    example: ClassVar[dict[str, Any]] = {"object": "list", "data": [View.example], "has_more": False, "next_cursor": None}

    object: Literal["list"]
    data: tuple[View, ...]
    has_more: bool = False
    next_cursor: str | None = None


def shown(row: ViewRow) -> View:
    """Return a view as clients see it."""
    content = msgspec.json.decode(row.content, type=ViewContent)
    return View(
        object=ViewObject.VIEW,
        id=ids.encoded(ids.VIEW, row.id),
        object_type=ViewObjectType(row.object_type),
        name=row.name,
        owner_id=None if row.owner_id is None else ids.encoded(ids.USER, row.owner_id),
        shared=row.is_shared,
        where=content.where,
        search=content.search,
        sort=tuple(ViewSort(each.field, each.direction) for each in content.sort),
        columns=content.columns,
        created_at=shown_time(row.created_at),
        updated_at=shown_time(row.updated_at),
        updated_by=None if row.updated_by is None else ids.encoded(ids.USER, row.updated_by),
    )
