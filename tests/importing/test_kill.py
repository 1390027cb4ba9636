"""A server that is killed in the middle of an import, or of its undo, goes on where it was."""

from pathlib import Path

from evidence.imports import break_import

ROWS = 3000
KILLS = 4


async def test_each_row_is_imported_and_undone_once(tmp_path: Path) -> None:
    """Each row has one outcome, the ledger has no gap, and one undo takes all back, after any kills."""
    found = await break_import(tmp_path, ROWS, KILLS)

    assert found.faults == []
    assert found.kills.total() > KILLS
