"""The keys of the console: one table, of which the script and the page that shows the keys are made."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Shortcut(NamedTuple):
    """Keys as people read them, and what they do. `acts` has the act of the script for each key, as a browser names it.

    `Mod+` stands for Ctrl, and on a Mac for Command. The act `use` clicks the element that names the key, or gives it
    the focus.
    """

    keys: tuple[str, ...]
    does: str
    acts: Mapping[str, str]


SHORTCUTS: Final = (
    Shortcut(("Ctrl", "K"), "finds pages, actions and records; on a Mac, Command and K do", {"Mod+k": "find"}),
    Shortcut(("?",), "shows these keys", {"?": "use"}),
    Shortcut(("/",), "goes to the search of a list", {"/": "use"}),
    Shortcut(
        ("↑", "↓", "j", "k"),
        "go between the rows, and the arrows also from the search to them; Enter opens one",
        {"ArrowUp": "previous-row", "ArrowDown": "next-row", "j": "next-row", "k": "previous-row"},
    ),
    Shortcut(("x",), "selects the row in focus", {"x": "select-row"}),
    Shortcut(("Shift", "x"), "selects all rows from the last selected one to the one in focus", {"X": "select-row"}),
    Shortcut(("e",), "changes the selected rows", {"e": "use"}),
    Shortcut(("f",), "opens the filters of a list", {"f": "use"}),
    Shortcut(("v",), "opens the views of a list", {"v": "use"}),
    Shortcut(("c",), "begins a new one of what the page lists", {"c": "use"}),
    Shortcut(("m",), "merges the records of a group of duplicates", {"m": "use"}),
    Shortcut(("n",), "remembers that the records of a group are not the same", {"n": "use"}),
    Shortcut(("z",), "undoes the last change", {"z": "use"}),
    Shortcut(("Esc",), "leaves a field as it is, closes what is open, and goes back", {"Escape": "use"}),
    Shortcut(("Ctrl", "Enter"), "sends a text of several lines", {"Mod+Enter": "send"}),
)
# The key before the letter of a page in the menu.
JUMP: Final = "g"


def acts() -> dict[str, str]:
    """Return the act of the script for each key."""
    return {JUMP: "jump"} | {key: act for shortcut in SHORTCUTS for key, act in shortcut.acts.items()}
