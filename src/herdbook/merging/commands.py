"""The commands that merge objects."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.custom_fields.commands import EntryAt, fitted_entries, shown_entry, without_taken
from herdbook.custom_fields.values import MAX_BYTES, too_many_bytes
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.fields import MAX_ITEMS
from herdbook.ledger.index_entries import IndexReader
from herdbook.ledger.object_types import active, all_active, current, deleted, first_fitting, updated
from herdbook.ledger.unfinished import SliceDone, note
from herdbook.ledger.unit_of_work import Need, Result, UnitOfWork
from herdbook.merging.model import CompanyMerge, ContactMerge
from herdbook.merging.store import MAX_MOVED, MergeType, Referrers, Replacements


class MergePreview(Exception):
    """The result that a merge would have, raised by a dry run so that nothing is written."""

    def __init__(self, merge: ContactMerge | CompanyMerge) -> None:
        super().__init__(merge)
        self.merge = merge


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """Merge objects into a target, and move to it all that refers to them.

    If there is more than a batch should change, `MoveReferences` moves the rest. `region` is the workspace's default region for
    phone numbers. Refusals: NotFound, Invalid (from), Stale. A
    dry run raises MergePreview, which no caller sees.
    """

    merge_type: MergeType
    target_id: UUID
    sources: tuple[str, ...]
    is_dry_run: bool = False
    region: str | None = None
    if_version: frozenset[int] | None = None

    def needs(self) -> Iterator[Need]:
        table = self.merge_type.object_type.table
        yield Need(table, self.target_id)
        for source_id in self.source_ids:
            yield Need(table, source_id)
        for referrers in self.merge_type.referrers:
            yield from referrers.index.needs(self.source_ids)

    def apply(self, work: UnitOfWork) -> Result:
        object_type = self.merge_type.object_type
        if active(work, object_type.table, self.target_id) is None:
            raise NotFound(object_type.noun, object_id=self.target_id)
        sources = self._found(work)
        target: Any = current(work, object_type.table, self.target_id, self.if_version, object_type.noun)
        entries = [EntryAt(each.id, each.entry, each.version, is_active=True) for each in (target, *sources)]
        first, *others = fitted_entries(work, object_type, entries)
        after = self.merge_type.combined(first, others, self.region)
        self._require_few(first, after)
        # Deleting the sources first frees their keys before the target claims them.
        for source in sources:
            deleted(work, object_type, source, merged_into=target.id)
        ((_, after),) = without_taken(work, object_type, [(target, after)])
        self._claim(work, target, sources, after)
        version, _ = updated(work, object_type, target, after)
        merged: Any = work.get(object_type.table, target.id)
        members: dict[str, Any] = {object_type.name: shown_entry(work, object_type.name, merged.entry), **self._move(work)}
        merge = self.merge_type.answer(object="merge", dry_run=self.is_dry_run, merged=self.sources, **members)
        if self.is_dry_run:
            raise MergePreview(merge)
        return Result(version, merge)

    @property
    def source_ids(self) -> tuple[UUID, ...]:
        """The ids of the objects to merge, without malformed ones."""
        return tuple(ids.decoded_all(self.merge_type.object_type.prefix, self.sources))

    def _found(self, work: UnitOfWork) -> list[Any]:
        object_type = self.merge_type.object_type
        rows = all_active(work, object_type.table, [ids.decoded(object_type.prefix, source) for source in self.sources])
        errors: list[FieldError] = []
        for index, row in enumerate(rows):
            if row is None:
                message = f"`from[{index}]` names no {object_type.name} of this workspace. Leave it out."
                errors.append(FieldError(f"from[{index}]", "not_found", message, self.sources[index]))
        if errors:
            raise Invalid(errors)
        return [row for row in rows if row is not None]

    def _claim(self, work: UnitOfWork, target: Any, sources: Sequence[Any], after: Any) -> None:
        object_type = self.merge_type.object_type
        for unique_key in object_type.unique_keys:
            # The target may list a key that a source holds: a migration made their keys the same.
            of_sources = {key for source in sources for key in unique_key.keys(source.entry)}
            held = [key for key in unique_key.keys(target.entry) if key not in of_sources]
            unique_key.claim(work, object_type, target.id, held, unique_key.keys(after))

    def _require_few(self, target: Any, after: Any) -> None:
        plural = self.merge_type.object_type.plural
        for name, items in self.merge_type.lists.items():
            if (many := len(getattr(after, name) or ())) > MAX_ITEMS:
                message = f"Together, the {plural} have {many} {items}. {MAX_ITEMS} is the limit. Leave some of them out."
                raise Invalid([FieldError("from", "too_long", message)])
        if (size := too_many_bytes(target.fields, after.fields)) is not None:
            message = f"Together, the {plural} have {size:,} bytes of values in `fields`. {MAX_BYTES:,} is the limit. "
            raise Invalid([FieldError("from", "too_long", message + "Shorten some values, or leave some of them out.")])

    def _move(self, work: UnitOfWork) -> dict[str, int]:
        """Move as much as one batch may. Return how many objects of each type will have moved in the end."""
        referrers = self.merge_type.referrers
        moved, are_all = _moved(work, referrers, dict.fromkeys(self.source_ids, self.target_id))
        if not are_all:
            work.require(Need(each.count, self.source_ids) for each in referrers)
            counts = [work.get(each.count, self.source_ids) for each in referrers]
            moved = [count.many for count in counts if count is not None]
            for source_id in self.source_ids:
                note(work, self.merge_type.task, source_id, is_finished=False)
        return {each.moved: many for each, many in zip(referrers, moved, strict=True)}


class MoveReferences(msgspec.Struct, frozen=True):
    """Move some of the objects that refer to a merged one to the one that replaces it."""

    merge_type: MergeType
    object_id: UUID

    def needs(self) -> Iterator[Need]:
        yield Need(self.merge_type.object_type.table, self.object_id)
        for referrers in self.merge_type.referrers:
            yield from referrers.index.needs([self.object_id])

    def apply(self, work: UnitOfWork) -> Result:
        merge_type = self.merge_type
        row: Any = work.get(merge_type.object_type.table, self.object_id)
        is_finished = True
        # The object may have been restored since.
        if row is not None and row.merged_into is not None:
            moved, is_finished = _moved(work, merge_type.referrers, {row.id: row.merged_into})
            if any(moved):
                # The target may have been merged or deleted since, too.
                for task in merge_type.tasks_of_target:
                    note(work, task, row.merged_into, is_finished=False)
        if is_finished:
            note(work, merge_type.task, self.object_id, is_finished=True)
        return Result(work.seq, SliceDone(all=is_finished))


def _moved(work: UnitOfWork, referrers: Sequence[Referrers], replacements: Replacements) -> tuple[list[int], bool]:
    """Replace merged objects in those that refer to them, together at most as many as a batch should change.

    Return how many of each type changed, and whether these were all.
    """
    work.require(need for each in referrers for need in each.index.needs(replacements))
    moved: list[int] = []
    fit = True
    for each in referrers:
        most = MAX_MOVED - sum(moved) if fit else 0
        found = set(chain.from_iterable(IndexReader(work, each.index).first(replacements, most).values()))
        wanted = sorted(found)[:most]
        fitting = first_fitting(work, each.object_type.table, wanted)
        fit = fit and len(fitting) == len(wanted)
        for row in work.get_all(each.object_type.table, fitting):
            assert row is not None, "an index names rows that exist"
            updated(work, each.object_type, row, each.replaced(row, replacements))
        moved.append(len(fitting))
    return moved, fit and sum(moved) < MAX_MOVED
