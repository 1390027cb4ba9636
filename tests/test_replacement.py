"""The data of a folder are replaced completely or not at all, also if the process is killed meanwhile."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from herdbook.replacement import complete_replacement, is_replaced, replace_data

OLD: Final = {"media": "old", "postgres": "old"}
# Replaces the data, and is killed before its n-th change of a name.
_KILLED: Final = """
import os, signal, sys
from contextlib import ExitStack
from pathlib import Path
from herdbook.replacement import replace_data
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.mkdir"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
data_dir = Path(sys.argv[1])
sys.addaudithook(count)
with ExitStack() as back:
    replace_data(data_dir, data_dir / "restore.new" / "x", "replaced-1", back)
    back.pop_all()
"""


def _folder(folder: Path, old: dict[str, str], new: dict[str, str]) -> Path:
    for place, parts in ((folder, old), (folder / "restore.new" / "x", new)):
        place.mkdir(parents=True, exist_ok=True)
        for name, text in parts.items():
            (place / name).mkdir()
            (place / name / "file").write_text(text)
    return folder


def _parts(folder: Path) -> dict[str, str]:
    return {name: path.read_text() for name in ("media", "postgres") if (path := folder / name / "file").exists()}


@pytest.mark.parametrize("old", [OLD, {"postgres": "old"}, {"media": "old"}, {}])
@pytest.mark.parametrize("new", [{"media": "new", "postgres": "new"}, {"postgres": "new"}])
def test_a_kill_leaves_the_old_data_or_the_new(tmp_path: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """Whenever it is killed, the next holder of the folder finds all old data or all new ones, and then the old ones aside."""
    outcomes: list[bool] = []
    for step in range(1, 20):
        folder = _folder(tmp_path / str(step), old, new)
        status = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(step)], check=False).returncode
        has_database = is_replaced(folder) or (folder / "postgres").exists()
        complete_replacement(folder)
        is_new = _parts(folder) == new
        outcomes.append(is_new)

        assert is_new or _parts(folder) == old
        assert _parts(folder / "replaced-1") == (old if is_new else {})
        assert has_database or not is_new
        assert not (folder / "restore.new" / "whole").exists()
        if status == 0:
            break
        assert status == -signal.SIGKILL

    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_a_failure_leaves_the_old_data(tmp_path: Path) -> None:
    """If the rest of the work fails, everything is in its old place again."""
    folder = _folder(tmp_path, OLD, {"media": "new", "postgres": "new"})
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    with ExitStack() as back:
        replace_data(folder, folder / "restore.new" / "x", "replaced-1", back)
    (folder / "restore.new" / "x" / "former").unlink()

    assert _parts(folder) == OLD
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before


def test_nothing_is_done_without_a_replacement(tmp_path: Path) -> None:
    """The scratch folder of a restore that was killed earlier is no replacement."""
    folder = _folder(tmp_path, OLD, {"postgres": "half"})
    complete_replacement(folder)

    assert _parts(folder) == OLD
    assert os.listdir(folder / "restore.new") == ["x"]  # noqa: PTH208  # as names
