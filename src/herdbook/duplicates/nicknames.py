"""Forms of given names: short ones, familiar ones, spellings, and those of other languages.

`nicknames.txt` has a line for each name. A form may stand in several lines, as `alex` does, because it is short for several
names. Forms are written as `folded` leaves them: without case and accents.
"""

from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def _names() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in files("herdbook.duplicates").joinpath("nicknames.txt").read_text().splitlines():
        name, *others = line.split()
        for form in dict.fromkeys((name, *others)):
            found.setdefault(form, []).append(name)
    return {form: tuple(names) for form, names in found.items()}


def names_of(form: str) -> tuple[str, ...]:
    """Return the names that a form of a given name may stand for, or the form itself, if it is not known as one."""
    return _names().get(form) or (form,)
