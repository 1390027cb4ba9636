"""Two data folders: one with a full workspace and its neighbour, and archives of it."""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.archives.shelves import PASSPHRASE, Original, furnish
from tests.cli.programs import herdbook, serving
from tests.erasure.planting import Echo


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The data folder of a stopped server with two workspaces. Tests do not write there."""
    folder = tmp_path_factory.mktemp("original")
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        with serving(folder) as server:
            made = furnish(server, f"http://127.0.0.1:{receiver.server_port}/hook")
        receiver.shutdown()
        thread.join()
    return made


@pytest.fixture(scope="session")
def archive(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the full workspace, without secrets."""
    return _archived(original, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def sealed(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the full workspace, with secrets."""
    return _archived(original, tmp_path_factory.mktemp("sealed"), "--with-secrets")


def _archived(original: Original, folder: Path, *options: str) -> Path:
    file = folder / "herd.archive"
    words = ("archive", str(file), f"--workspace={original.workspace}", f"--data-dir={original.data_dir}", *options)
    done = herdbook(*words, folder=folder, HERDBOOK_PASSPHRASE=PASSPHRASE)
    assert done.status == 0, done.complained
    return file
