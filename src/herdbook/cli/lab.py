"""`herdbook lab`: a server for tests, on a folder of its own."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from herdbook.cli.places import opened, with_lab_token
from herdbook.cli.serve import import_workers
from herdbook.settings import Settings


@dataclass(frozen=True, kw_only=True)
class LabSettings(Settings):
    """The settings, without those that say where data is: whatever they are, the lab does not touch it."""

    data_dir: Annotated[Path, Parameter(parse=False)] = Path("herdbook-lab")
    database_url: Annotated[str | None, Parameter(parse=False)] = None
    database_direct_url: Annotated[str | None, Parameter(parse=False)] = None
    lab: Annotated[bool, Parameter(parse=False)] = True


def lab(*, settings: Annotated[LabSettings, Parameter(name="*")] = LabSettings()) -> None:
    """Serve a lab: workspaces that tests make in milliseconds, faults on command, and clocks that they move."""
    with tempfile.TemporaryDirectory(prefix="herdbook-lab-") as folder:
        chosen = dataclasses.replace(with_lab_token(settings), data_dir=Path(folder) / "data")
        with opened(chosen, beside=import_workers) as places:
            from herdbook.cli.workers import announce_server, preparing, run  # noqa: PLC0415  # they are imported by now

            run(chosen, places, preparing(chosen), announce_server(chosen))
