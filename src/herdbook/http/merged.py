"""Merged objects in answers: each names the object that replaces it, to callers who may read that one."""

import contextlib
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from herdbook import ids
from herdbook.auth.authenticate import Caller
from herdbook.db.pool import CONNECTION_ERRORS, Executor
from herdbook.db.survivors import survivors
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.ledger.object_types import ObjectType, ObjectTypes


async def naming_survivors(refusal: Exception, object_types: ObjectTypes, statements: Executor, caller: Caller) -> Exception:
    """Return a refusal in which missing objects that were merged are named together with those that replace them.

    If the database is away, return it without these names.
    """
    with contextlib.suppress(*CONNECTION_ERRORS):
        return await _naming(refusal, object_types, statements, caller)
    return refusal


async def _naming(refusal: Exception, object_types: ObjectTypes, statements: Executor, caller: Caller) -> Exception:
    match refusal:
        case NotFound(kind=kind, object_id=UUID() as object_id):
            of_kind = [each for each in object_types if each.noun == kind]
            shown = {ids.encoded(each.prefix, object_id) for each in of_kind}
            for survivor in (await _survivors(shown, of_kind, statements, caller)).values():
                return NotFound(kind, f"It was merged into `{survivor}`. Use that one.", object_id, survivor)
        case Invalid(errors=errors) if any(error.missing for error in errors):
            found = await _survivors({error.missing for error in errors}, object_types, statements, caller)
            return Invalid([_with_name(error, found[error.missing]) if error.missing in found else error for error in errors])
        case _:
            pass
    return refusal


async def _survivors(
    shown_ids: Iterable[str], object_types: Iterable[ObjectType[Any, Any]], statements: Executor, caller: Caller
) -> dict[str, str]:
    """Return the ids of the objects that replace these, by their ids as the API shows them."""
    found: dict[str, str] = {}
    for object_type in object_types:
        object_ids = ids.decoded_all(object_type.prefix, shown_ids)
        if object_ids and object_type.merges and all(map(caller.may, object_type.read_scopes)):
            replacing = await survivors(statements, object_type.table.name, caller.workspace_id, object_ids)
            found |= {
                ids.encoded(object_type.prefix, merged): ids.encoded(object_type.prefix, survivor)
                for merged, survivor in replacing.items()
            }
    return found


def _with_name(error: FieldError, survivor: str) -> FieldError:
    return error._replace(message=f"`{error.field}` was merged into `{survivor}`. Send that id.", merged_into=survivor)
