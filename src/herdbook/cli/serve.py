"""`herdbook serve`. It imports little, so that the database starts at once; everything else is imported meanwhile."""

from typing import Annotated

from cyclopts import Parameter

from herdbook.cli.places import opened, with_lab_token
from herdbook.settings import Settings


def serve(*, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> None:
    """Serve the API, on an embedded PostgreSQL unless another is given. Every option is also an environment variable."""
    settings = with_lab_token(settings)
    with opened(settings, beside=import_workers) as places:
        from herdbook.cli.workers import announce_server, preparing, run  # noqa: PLC0415  # they are imported by now

        run(settings, places, preparing(settings), announce_server(settings))


def import_workers() -> None:
    """Import what serves."""
    import herdbook.cli.workers  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]  # while the database starts
