"""Compiled templates are kept beside compiled modules."""

import sys
from pathlib import Path

import pytest
from jinja2 import Environment

from herdbook.console import rendering
from herdbook.console.rendering import Templates


def test_template_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later process loads what an earlier one has compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", tmp_path / "cache")
    Templates(["tags/list.html"]).compile()

    def refuse(*_: object, **_options: object) -> None:
        raise AssertionError("it is compiled again")

    monkeypatch.setattr(Environment, "compile", refuse)
    Templates(["tags/list.html"]).compile()


def test_templates_need_no_place_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot write beside its program compiles them for itself."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", Path("/proc/nowhere"))

    Templates(["tags/list.html"]).compile()


def test_others_may_read_compiled_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of a server loads what another user has compiled at the installation."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", tmp_path)

    Templates(["tags/list.html"]).compile()

    modes = {each.stat().st_mode for each in tmp_path.iterdir()}
    assert modes == {Path(rendering.__file__).stat().st_mode}
