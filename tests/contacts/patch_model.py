"""A small model of a contact and its patches, written from the rules, which shares nothing with the code under test.

The model does not compute which spellings are equal, nor which values are wrong: tables say so.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.cast import Json

Fault: TypeAlias = tuple[str, str]

# Placeholder for the id of an existing company.
ENGINE: Final = "the company that there is"
UNKNOWN_COMPANY: Final = "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"

# Values of each field, with their faults.
_TEXTS: Final = {"Ada": None, " Ada ": None, "é" * 255: None, "": "too_short", " \n": "blank", "a\u0000": "invalid_characters"}
FIELDS: Final[dict[str, dict[Any, str | None]]] = {
    "first_name": {**_TEXTS, "x" * 256: "too_long", 5: "invalid_type"},
    "last_name": {**_TEXTS, "x" * 256: "too_long", 5: "invalid_type"},
    "description": {**_TEXTS, "x" * 2000: None, "x" * 2001: "too_long", False: "invalid_type"},
    "company_id": {ENGINE: None, UNKNOWN_COMPANY: None, "engine": "invalid_format", 5: "invalid_type"},
    "time_zone": {"Europe/London": None, "GB": None, "Mars/Olympus": "unknown_time_zone", "": "too_short", 5: "invalid_type"},
}
# Spellings of addresses and numbers, with their meaning. `taken` is another contact's address.
EMAILS: Final = {
    **dict.fromkeys(["ada@x.test", "ADA@x.TEST", '"ada"@x.test'], "ada"),
    **dict.fromkeys([" bob@x.test ", "bob@x.test"], "bob"),
    **dict.fromkeys(["ü@münchen.test", "Ü@xn--mnchen-3ya.test"], "ü"),
    **dict.fromkeys(["taken@x.test", "Taken@X.test"], "taken"),
}
PHONES: Final = {"+44 20 7946 0018": "london", "+442079460018": "london", "0800": "free", "ask": "ask"}
WRONG: Final = {
    **dict.fromkeys(["nobody", "a b@x.test", "a\u0000@x.test"], "invalid_format"),
    " ": "blank",
    "1\u0000": "invalid_characters",
}


def _mostly(good: Sequence[Any], bad: Sequence[Any]) -> SearchStrategy[Any]:
    return st.sampled_from([*good] * (15 * len(bad) // len(good) + 1) + [*bad])


def _values(table: Mapping[Any, str | None]) -> SearchStrategy[Any]:
    return _mostly([None, *(value for value in table if table[value] is None)], [value for value in table if table[value]])


def _items(member: str, meanings: Mapping[str, str], bad: Sequence[str]) -> SearchStrategy[list[Json]]:
    marks = _mostly([False, False, True], [None])
    any_item = st.fixed_dictionaries({member: _mostly([*meanings], bad)}, optional={"is_primary": marks})
    any_items = st.lists(st.one_of(*[any_item] * 15, st.sampled_from([{}, "x", {member: 5}])), max_size=4)
    spellings = st.lists(st.sampled_from([*meanings]), max_size=3, unique_by=meanings.__getitem__)
    sound_items = st.builds(partial(_marked, member), spellings, st.integers(0, 5))
    return st.one_of(sound_items, sound_items, sound_items, any_items)


def _marked(member: str, spellings: Sequence[str], primary: int) -> list[Json]:
    return [
        {member: spelling, "is_primary": True} if index == primary else {member: spelling}
        for index, spelling in enumerate(spellings)
    ]


PATCHES: Final[SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {},
    optional={
        **{name: _values(table) for name, table in FIELDS.items()},
        "emails": _items("email", EMAILS, ["nobody", "a b@x.test", "a\u0000@x.test"]),
        "phone_numbers": _items("phone_number", PHONES, [" ", "1\u0000"]),
    },
)


def faults_of(body: Mapping[str, Any], *, creating: bool = False) -> list[Fault]:
    """Return the faults of a body, independent of the database."""
    faults: list[Fault] = []
    for name, value in body.items():
        if name in FIELDS and (value is not None or creating):
            code = "invalid_type" if value is None else FIELDS[name][value]
            faults += [] if code is None else [(name, code)]
    faults += _item_faults("emails", "email", body.get("emails", []))
    faults += _item_faults("phone_numbers", "phone_number", body.get("phone_numbers", []))
    return sorted(faults)


def _item_faults(name: str, member: str, items: Sequence[Json]) -> list[Fault]:
    faults: list[Fault] = []
    marked, seen = 0, set[str]()
    for index, item in enumerate(items):
        place = f"{name}[{index}]"
        if (fault := _type_fault(item, member)) is not None:
            faults.append((place + fault[0], fault[1]))
            continue
        if item.get("is_primary"):
            marked += 1
            faults += [(f"{place}.is_primary", "multiple_primary")] if marked > 1 else []
        value = item[member]
        if value in WRONG:
            faults.append((f"{place}.{member}", WRONG[value]))
        elif value in EMAILS and EMAILS[value] in seen:
            faults.append((f"{place}.{member}", "duplicate"))
        seen.add(EMAILS.get(value, ""))
    return faults


def _type_fault(item: Json, member: str) -> Fault | None:
    if item == "x":
        return "", "invalid_type"
    if member not in item:
        return f".{member}", "required"
    if item[member] == 5:
        return f".{member}", "invalid_type"
    return (".is_primary", "invalid_type") if item.get("is_primary", False) is None else None


def conflicts_of(body: Mapping[str, Any]) -> list[Fault]:
    """Return the addresses of a body that belong to another contact."""
    emails = enumerate(body.get("emails", []))
    return [(f"emails[{index}].email", "already_in_use") for index, item in emails if EMAILS[item["email"]] == "taken"]


def after(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patched contact without its times: absent leaves a field alone, null clears it, an array replaces."""
    contact = dict(before)
    for name in ("first_name", "last_name"):
        contact[name] = patch.get(name, contact[name])
    for name in ("description", "time_zone"):
        if patch.get(name) is not None:
            contact[name] = patch[name]
        elif name in patch:
            contact.pop(name, None)
    if patch.get("company_id") is not None:
        contact["company"] = {"id": patch["company_id"], "object": "company"}
    elif "company_id" in patch:
        contact.pop("company", None)
    for name, member, meanings in (("emails", "email", EMAILS), ("phone_numbers", "phone_number", PHONES)):
        if name in patch:
            contact[name] = _replaced(contact[name], patch[name], member, meanings)
    return contact


def _replaced(old: Sequence[Json], new: Sequence[Json], member: str, meanings: Mapping[str, str]) -> list[Json]:
    """Return the new array with one primary item: the marked one, else the previous one, else the first."""
    spellings = [item[member].strip() if member == "email" else item[member] for item in new]
    was = next((item[member] for item in old if item["is_primary"]), None)
    meant = {spelling.strip(): meaning for spelling, meaning in meanings.items()}
    candidates = [
        *(index for index, item in enumerate(new) if item.get("is_primary")),
        *(index for index, spelling in enumerate(spellings) if spelling == was),
        *(index for index, spelling in enumerate(spellings) if was is not None and meant[spelling] == meant[was]),
        0,
    ]
    return [{member: spelling, "is_primary": index == candidates[0]} for index, spelling in enumerate(spellings)]
