"""Compiled templates are kept beside compiled modules."""

import sys
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.bccache import bc_magic

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


def test_template_is_compiled_again_by_another_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that another Jinja has compiled is replaced, not used."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", tmp_path)
    Templates(["tags/list.html"]).compile()
    monkeypatch.setattr(rendering, "version", {"jinja2": "4.0"}.get)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    Templates(["tags/list.html"]).compile()

    after = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert not after.items() & before.items()


def test_templates_that_another_user_compiled_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as open as the module: root installs herdbook, and an ordinary user runs it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", tmp_path)

    Templates(["tags/list.html"]).compile()

    modes = {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    assert modes == {Path(rendering.__file__).stat().st_mode & 0o666}


def test_cut_template_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of power may leave a file of which only the beginning is there, wherever it ends."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", tmp_path)
    Templates(["tags/list.html"]).compile()
    whole = {each: each.read_bytes() for each in tmp_path.iterdir()}
    for end in (0, 5, len(bc_magic), len(bc_magic) + 10, 100):
        for path, content in whole.items():
            path.write_bytes(content[:end])

        Templates(["tags/list.html"]).compile()

        assert {each: each.read_bytes() for each in tmp_path.iterdir()} == whole


def test_templates_need_no_place_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot write beside its program compiles them for itself."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "_FOLDER", Path("/proc/nowhere"))

    Templates(["tags/list.html"]).compile()
