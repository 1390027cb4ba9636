"""The imports of the workspace go with an erasure, however large they are, and bring nobody back."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from herdbook import ids
from herdbook.contacts.model import ContactUpsert
from herdbook.custom_fields.model import FieldObjectType
from herdbook.db.pool import Pool
from herdbook.erasure.commands import EraseSlice
from herdbook.erasure.erasing import certificate, command_for, sweep_uploads
from herdbook.erasure.store import ERASE, MAX_OUTCOMES
from herdbook.importing.commands import ImportSlice, Plan
from herdbook.importing.preparing import PreparedRow
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Thing
from tests.erasure.test_erase_contact import ADDRESS, MARKER, erase, everything, marked
from tests.importing.jobs import Job, upload

_NOBODY = Origin(ids.new_id(), ids.NIL)
_OUTCOMES = "select count(*) from import_slice where workspace_id = $1"


async def _begin(ledger: Ledger, own_pool: Pool, person: Person, target: Thing) -> None:
    """Erase a contact without a slice."""
    command = await command_for(own_pool, person.workspace_id, target.uuid, with_engagements=False)
    await ledger.write(person.workspace_id, command, _NOBODY)


async def _with_outcomes(pool: Any, workspace_id: UUID, job: Job, many: int, rows: str = "[]") -> None:
    """Give an import so many rows with outcomes."""
    await pool.execute(
        """
        insert into import_slice (workspace_id, job_id, is_check, last_row, verdicts, rows)
        select $1, $2, true, 100 * n, '{create}', $4::json from generate_series(1, $3::int) as n
        """,
        workspace_id,
        job.uuid,
        many,
        rows,
    )


def _row_of(job_id: UUID) -> ImportSlice:
    """Return the command that imports the marked person by a row of a file."""
    asked = msgspec.convert({"first_name": MARKER, "emails": [{"email": ADDRESS}]}, ContactUpsert)
    return ImportSlice(
        job_id=job_id,
        is_check=False,
        began=0.0,
        first_row=0,
        rows=(PreparedRow(number=2, asked=asked, match="emails"),),
        plan=Plan(
            object_type=FieldObjectType.CONTACT,
            existing="overwrite",
            creates_companies=False,
            crm_source="",
            region=None,
            user_id=None,
        ),
        duplicates={},
        companies=frozenset(),
        faults_of=lambda _row, _errors: (),
    )


async def test_outcomes_are_counted_unread(alice: Person, admin: Person, pool: Any) -> None:
    """The count does not look into the outcomes of rows: a file has millions, and all go."""
    ada = await marked(alice)
    job = await upload(alice, "First name\nGrace\n")
    # A row that is no list cannot be taken apart.
    await _with_outcomes(pool, alice.workspace_id, job, 3, "{}")

    expected = (await erase(admin, ada, dry_run="true")).json()
    certificate = (await erase(admin, ada)).json()

    assert expected["rows"] == certificate["rows"]
    assert [certificate["rows"][each] for each in ("import_job", "import_slice")] == [1, 3]
    assert await pool.fetchval(_OUTCOMES, alice.workspace_id) == 0


@pytest.mark.parametrize("many", [1, MAX_OUTCOMES, 2 * MAX_OUTCOMES + 1])
async def test_outcomes_go_in_slices(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, many: int) -> None:
    """No slice of an erasure removes more than its limit of outcomes, and all of them together remove all."""
    ada = await marked(alice)
    await _with_outcomes(pool, alice.workspace_id, await upload(alice, "First name\nGrace\n"), many)
    await _begin(ledger, own_pool, alice, ada)
    left = [await pool.fetchval(_OUTCOMES, alice.workspace_id)]
    while await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
        left.append(await pool.fetchval(_OUTCOMES, alice.workspace_id))

    assert max(before - after for before, after in pairwise(left)) <= MAX_OUTCOMES
    assert left[-1] == 0


@pytest.mark.parametrize("is_of_same_batch", [True, False])
async def test_an_import_at_work_brings_nobody_back(
    alice: Person,
    ledger: Ledger,
    pool: Any,
    own_pool: Pool,
    is_of_same_batch: bool,  # noqa: FBT001
) -> None:
    """No row of an import is done while a person is erased, who may be in it. The certificate lists all imports that went."""
    ada = await marked(alice)
    first = ids.new_id()
    # The server finds no file of the import, and so does not work on it by itself.
    uploaded = await upload(alice, "First name\nGrace\n")
    await pool.execute("update import_job set id = $2, state = 'running' where id = $1", uploaded.uuid, first)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    row = _row_of(first)
    if is_of_same_batch:
        await asyncio.gather(*(ledger.write(alice.workspace_id, each, _NOBODY) for each in (command, row)))
    else:
        await ledger.write(alice.workspace_id, command, _NOBODY)
        await ledger.write(alice.workspace_id, row, _NOBODY)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
    second = await upload(alice, f"First name,E-mail\n{MARKER},{ADDRESS}\n")
    await finish(own_pool, ledger, ERASE, EraseSlice, (alice.workspace_id, [ada.uuid]))
    shown = await certificate(own_pool, alice.workspace_id, ada.uuid)

    assert await everything(pool, alice.workspace_id) == {}
    assert await pool.fetchval("select count(*) from contact where workspace_id = $1", alice.workspace_id) == 0
    assert shown is not None
    assert shown.finished
    assert [each.id for each in shown.imports] == [ids.encoded(ids.IMPORT, first), second.id]


async def test_imports_go_on_after_an_erasure(alice: Person, admin: Person) -> None:
    """An import that begins once an erasure is finished is done."""
    ada = await marked(alice)
    await erase(admin, ada)

    assert (await (await upload(alice, f"First name\n{MARKER}\n")).run())["create"] == 1


async def test_a_sweep_of_one_workspace_leaves_the_files_of_others(pool: Pool, workspace_id: UUID, tmp_path: Path) -> None:
    """After an erasure, the files of its workspace's imports go, without a look at those of all others."""
    files = [tmp_path / each.hex / ids.new_id().hex for each in (workspace_id, ids.new_id())]
    for file in files:
        file.parent.mkdir()
        file.write_text("email\nada@engine.test\n")
    await sweep_uploads(pool, tmp_path, workspace_id)
    after = [file.exists() for file in files]
    await sweep_uploads(pool, tmp_path)

    assert after == [False, True]
    assert not files[1].exists()
