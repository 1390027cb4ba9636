"""The plug-in for pytest. It imports nothing more until a test uses one of its fixtures."""

from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from herdbook.testing.client import LabServer
    from herdbook.testing.workspace import Workspace

_MARK: Final = "herdbook"
_MEMBERS: Final = ("seed", "clock", "clock_runs", "random_seed")
_USED: Final = pytest.StashKey["Workspace"]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that chooses how the workspace of a test begins."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(seed='empty', clock=None, clock_runs=False, random_seed=None): how the workspace of the test begins.",
    )


@pytest.fixture(scope="session")
def herdbook_server(tmp_path_factory: pytest.TempPathFactory) -> "Generator[LabServer]":
    """One server with a lab for the session, which all workers of pytest-xdist share."""
    from herdbook.testing.server import LabNotStarted, joined  # noqa: PLC0415  # most sessions use none

    base = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist have folders within that of their controller.
    folder = base.parent if base.name.startswith("popen-") else base
    with ExitStack() as stack:
        try:
            server = stack.enter_context(joined(folder / "herdbook-lab"))
        except LabNotStarted as failure:
            pytest.fail(str(failure), pytrace=False)
        yield server


@pytest.fixture
def herdbook(request: pytest.FixtureRequest, herdbook_server: "LabServer") -> "Generator[Workspace]":
    """A workspace of the test's own. A rule for faults that never applied fails the test."""
    from herdbook.testing.client import LabGone, LabRefused  # noqa: PLC0415  # most sessions use none
    from herdbook.testing.workspace import created  # noqa: PLC0415

    item: pytest.Item = request.node
    try:
        workspace = created(herdbook_server, item.path.parent, **_asked(item))
    except (LabRefused, LabGone) as refused:
        pytest.fail(str(refused), pytrace=False)
    item.stash[_USED] = workspace
    yield workspace
    del item.stash[_USED]
    with suppress(LabGone):
        workspace.delete()


def _asked(item: pytest.Item) -> dict[str, Any]:
    """Return how the workspace of a test begins: the members of all its marks, the nearest first."""
    asked: dict[str, Any] = {}
    for mark in item.iter_markers(_MARK):
        if mark.args:
            pytest.fail(f"The mark `{_MARK}` takes its members by name, as in `seed={mark.args[0]!r}`.", pytrace=False)
        if unknown := [name for name in mark.kwargs if name not in _MEMBERS]:
            pytest.fail(f"The mark `{_MARK}` has no `{unknown[0]}`. It has {', '.join(_MEMBERS)}.", pytrace=False)
        if not isinstance(seed := mark.kwargs.get("seed", ""), str | Path):
            pytest.fail(f"The mark `{_MARK}` has `seed={seed!r}`. Name a seed, or the file of one.", pytrace=False)
        asked = {**mark.kwargs, **asked}
    return asked


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that has passed without the faults that it asked for."""
    result = yield
    workspace = item.stash.get(_USED, None)
    if workspace is not None and (unused := workspace.unused_faults()):
        pytest.fail(
            f"These faults never happened: {'; '.join(unused)}. Remove them, or correct what they apply to.", pytrace=False
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, pytest.TestReport]:
    """Add the journal of the workspace to the report of a failed test."""
    report = yield
    workspace = item.stash.get(_USED, None)
    if workspace is not None and call.when != "teardown" and report.failed:
        report.sections.append(("herdbook: the requests of this test, and its deliveries", workspace.told()))
    return report
