"""Scenarios and recordings from files."""

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import yaml

from herdbook.compare.journal import journal_in, scenario_of
from herdbook.compare.model import Recording, Scenario, Unusable, unusable_parts


def shipped() -> list[Scenario]:
    """Return the scenarios that herdbook brings, in their order."""
    file = resources.files("herdbook.compare").joinpath("scenarios.yaml")
    return _scenarios(file.read_text("utf-8"), file.name)


def from_file(path: Path) -> list[Scenario]:
    """Return the scenarios of a file, in YAML or JSON. Refusal: Unusable, which says where and why."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise Unusable(f"`{path}` cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Unusable(f"`{path}` is not in UTF-8.") from None
    return _scenarios(text, str(path))


def _loaded(text: str, name: str) -> Any:
    try:
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise Unusable(f"`{name}`{line}: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise Unusable(f"`{name}`: {error}.") from None
    try:
        journal = journal_in(found)
        return found if journal is None else [msgspec.to_builtins(scenario_of(journal, Path(name).stem))]
    except (Unusable, KeyError, msgspec.ValidationError) as error:
        raise Unusable(f"`{name}` is a journal that cannot be run: {error}") from None


def recording(path: Path) -> Recording:
    """Return a recording. Refusal: Unusable, which says where and why."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recording)
    except OSError as error:
        raise Unusable(f"`{path}` cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise Unusable(f"`{path}` is no recording: {error}.") from None


def _scenarios(text: str, name: str) -> list[Scenario]:
    loaded = _loaded(text, name)
    try:
        found = msgspec.convert(loaded, list[Scenario])
    except msgspec.ValidationError as error:
        raise Unusable(f"`{name}`: {error}. A file has a list of scenarios, each with `name` and `steps`.") from None
    for scenario in found:
        for step, times in Counter(each.name for each in scenario.steps).items():
            if times > 1:
                raise Unusable(
                    f"`{name}`: the scenario `{scenario.name}` has {times} steps named `{step}`. Name each differently."
                )
        for told in unusable_parts(scenario):
            raise Unusable(f"`{name}`: the scenario `{scenario.name}`, {told}")
    for scenario_name, times in Counter(each.name for each in found).items():
        if times > 1:
            raise Unusable(f"`{name}` has {times} scenarios named `{scenario_name}`. Name each differently.")
    return found
