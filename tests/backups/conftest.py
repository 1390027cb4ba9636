"""The data folder of a stopped server, a backup of it, and recordings to fetch."""

from collections.abc import Generator
from pathlib import Path

import pytest
import trustme

from tests.backups.farm import OPTIONS, fill, sounds
from tests.cli.programs import herdbook, serving
from tests.engagements.labs import certificate


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Generator[trustme.CA]:
    """The only certificate authority that the servers of these tests trust."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield authority


@pytest.fixture(scope="session")
def media(trusted: trustme.CA) -> Generator[str]:
    """The address of a server of recordings."""
    with sounds(certificate(trusted)) as address:
        yield address


@pytest.fixture(scope="session")
def farm(media: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a stopped server. Tests copy it before they write there."""
    with serving(tmp_path_factory.mktemp("farm"), *OPTIONS) as server:
        fill(server, media)
    return server.folder / "herdbook-data"


@pytest.fixture(scope="session")
def backup(farm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the farm, made without a server."""
    file = tmp_path_factory.mktemp("backup") / "farm.backup"
    done = herdbook("backup", str(file), f"--data-dir={farm}", folder=file.parent)
    assert done.status == 0, done.complained
    return file
