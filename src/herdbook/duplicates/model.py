"""Duplicates as clients see them, and what they may ask and say of them."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from herdbook import fields, ids
from herdbook.http.problems import Problem

MAX_PAGE: Final = 100
# Limits the groups that one request merges.
MAX_MERGED: Final = 100
# Limits the objects of which somebody says that they are not the same.
MAX_DISTINCT: Final = 51
# A pair is kept from this score on, so a lower one would find no more.
LEAST_SCORE: Final = 0.5

_OTHER_ID: Final = "01HQXVB5M3Y3Y7Q2J7Y5R9T0WZ"
_ObjectType: TypeAlias = Annotated[Literal["contact", "company"], Meta(description="The type of the objects.")]
_MinScore: TypeAlias = Annotated[
    float,
    Meta(
        ge=LEAST_SCORE,
        le=1,
        description="The least score: the probability that two objects are the same. 0.95 takes strong evidence of two kinds, "
        "such as a name and a phone number.",
    ),
]
_Score: TypeAlias = Annotated[float, Meta(description="The probability that they are the same, from 0 to 1.")]


class DuplicatesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the list of duplicates."""

    schema_name: ClassVar[str] = "duplicates_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    object_type: _ObjectType = "contact"
    min_score: _MinScore = LEAST_SCORE
    id: Annotated[str, Meta(description="Only the group that has this object; empty for all.")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many groups to return.")] = 25
    cursor: Annotated[str, Meta(description="`next_cursor` of the last page; empty for the first one.")] = ""


class DuplicatesCursor(msgspec.Struct, frozen=True):
    """The end of a page: the pair, and what was asked for."""

    object_type: str
    min_score: float
    score: int
    one_id: UUID
    other_id: UUID


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """An object that may be there twice."""

    schema_name: ClassVar[str] = "duplicate"

    id: str
    name: Annotated[str, Meta(description="Its name, or an address or domain that stands for it.")]


class DuplicatePair(msgspec.Struct, frozen=True, kw_only=True):
    """Two objects that may be the same, and why."""

    schema_name: ClassVar[str] = "duplicate_pair"

    ids: tuple[str, ...]
    score: _Score
    reasons: Annotated[tuple[str, ...], Meta(description="Why they may be the same, in words; the strongest reason first.")]


class DuplicateGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that may all be the same."""

    schema_name: ClassVar[str] = "duplicate_group"
    example: ClassVar[dict[str, Any]] = {
        "object": "duplicate_group",
        "object_type": "contact",
        "score": 0.982,
        "objects": [
            {"id": ids.example(ids.CONTACT), "name": "Jonathan Smith"},
            {"id": ids.example(ids.CONTACT, _OTHER_ID), "name": "Jon Smith"},
        ],
        "pairs": [
            {
                "ids": [ids.example(ids.CONTACT), ids.example(ids.CONTACT, _OTHER_ID)],
                "score": 0.982,
                "reasons": ["same name in another form at the same company", "same phone +44 20 7946 0000"],
            }
        ],
    }

    object: Literal["duplicate_group"]
    object_type: _ObjectType
    score: Annotated[float, Meta(description="The score of its most likely pair.")]
    objects: Annotated[
        tuple[Duplicate, ...],
        Meta(
            description="The one that a merge of all keeps comes first: it has most members, and of several it is the oldest."
        ),
    ]
    pairs: Annotated[tuple[DuplicatePair, ...], Meta(description="The most likely pair comes first.")]


class DuplicateList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the groups, the most likely first."""

    schema_name: ClassVar[str] = "duplicate_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [DuplicateGroup.example],
        "has_more": False,
        "next_cursor": None,
        "complete": True,
        "too_common": ["the phone number +44 20 7946 0000"],
    }

    object: Literal["list"]
    data: tuple[DuplicateGroup, ...]
    has_more: bool
    next_cursor: str | None
    complete: Annotated[
        bool,
        Meta(description="Whether all objects and changes have been looked at. The search goes on; ask again for the others."),
    ]
    too_common: Annotated[
        tuple[str, ...],
        Meta(description="What more than 100 objects have in common, so that they are not compared for that alone."),
    ]


class DistinctRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for saying that objects are not the same, or that they may be after all."""

    schema_name: ClassVar[str] = "duplicate_distinct_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {
        "object_type": "contact",
        "ids": [ids.example(ids.CONTACT), ids.example(ids.CONTACT, _OTHER_ID)],
    }

    object_type: _ObjectType
    ids: Annotated[
        tuple[str, ...],
        Meta(min_length=2, max_length=MAX_DISTINCT, description="Active objects, of which no two are the same."),
    ]
    distinct: Annotated[bool, Meta(description="Whether they are not the same; false takes back what was said.")] = True


class Distinct(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of whether objects are the same."""

    schema_name: ClassVar[str] = "duplicate_distinct"
    example: ClassVar[dict[str, Any]] = {"object": "distinct", "distinct": True} | DistinctRequest.example

    object: Literal["distinct"]
    object_type: _ObjectType
    ids: tuple[str, ...]
    distinct: bool


class DistinctQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the list of what is not the same."""

    schema_name: ClassVar[str] = "duplicate_distinct_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    object_type: _ObjectType = "contact"
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many pairs to return.")] = 25
    cursor: Annotated[str, Meta(description="`next_cursor` of the last page; empty for the first one.")] = ""


class DistinctCursor(msgspec.Struct, frozen=True):
    """The end of a page of pairs that are not the same."""

    object_type: str
    at: datetime
    one_id: UUID
    other_id: UUID


class DistinctList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the pairs that are not the same, the last that was said first."""

    schema_name: ClassVar[str] = "duplicate_distinct_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [Distinct.example],
        "has_more": False,
        "next_cursor": None,
    }

    object: Literal["list"]
    data: tuple[Distinct, ...]
    has_more: bool
    next_cursor: str | None


class DuplicateMergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for merging all groups from a score on."""

    schema_name: ClassVar[str] = "duplicate_merge_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"object_type": "contact", "min_score": 0.95}

    object_type: _ObjectType
    min_score: _MinScore
    cursor: Annotated[
        str,
        Meta(description="`next_cursor` of the last answer, to go on behind its groups; empty for the most likely groups."),
    ] = ""


class DuplicateMergeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a merge of all groups."""

    schema_name: ClassVar[str] = "duplicate_merge_query"
    rules: ClassVar[dict[str, fields.Rule]] = {}

    dry_run: Annotated[bool, Meta(description="Whether to return the groups only, and change nothing.")] = False


class MergedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group that was merged, or that would be."""

    schema_name: ClassVar[str] = "duplicate_merged_group"

    id: Annotated[str, Meta(description="The object that the others are merged into.")]
    merged: Annotated[tuple[str, ...], Meta(description="The objects that are merged into it.")]
    score: _Score
    problem: Annotated[Problem | None, Meta(description="Why the group was not merged; null if it was.")] = None


class DuplicateMerge(msgspec.Struct, frozen=True, kw_only=True):
    """The groups that were merged, or that would be."""

    schema_name: ClassVar[str] = "duplicate_merge"
    example: ClassVar[dict[str, Any]] = {
        "object": "duplicate_merge",
        "dry_run": False,
        "object_type": "contact",
        "groups": [
            {
                "id": ids.example(ids.CONTACT),
                "merged": [ids.example(ids.CONTACT, _OTHER_ID)],
                "score": 0.982,
                "problem": None,
            }
        ],
        "has_more": False,
        "next_cursor": None,
        "request_id": ids.example(ids.REQUEST),
    }

    object: Literal["duplicate_merge"]
    dry_run: bool
    object_type: _ObjectType
    groups: tuple[MergedGroup, ...]
    has_more: Annotated[bool, Meta(description=f"Whether there are more groups: one request merges at most {MAX_MERGED}.")]
    next_cursor: Annotated[
        str | None, Meta(description="The `cursor` of the next request. Without it, groups that were refused come again.")
    ]
    request_id: Annotated[str, Meta(description="The request to undo, if all of it is to be taken back.")]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An object that may be the same as a new one."""

    schema_name: ClassVar[str] = "duplicate_candidate"

    id: str
    name: str
    score: _Score
    reasons: tuple[str, ...]


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that may be the same as a new one, the most likely first."""

    schema_name: ClassVar[str] = "duplicate_candidates"

    data: tuple[Candidate, ...]
    complete: bool
