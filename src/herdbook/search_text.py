"""The text that search compares: words without case and accents, each word's start marked.

One function, `searchable`, prepares both what is stored and what is asked, so that the two always agree. A term is found where
it stands at the start of a word: `lovel` finds "Lovelace", `x.com` finds "ada@x.com", `@x` finds nothing that `x` does not.
"""

import functools
import re
import unicodedata
from typing import Final

WORD_START: Final = "\x1f"
_WORD: Final = re.compile(r"[^\W_]+")
_MARKED: Final = WORD_START + r"\g<0>"
_MARKED_WORD: Final = re.compile(WORD_START + r"([^\W_]+)")
# An index entry holds 2,704 bytes, and a character becomes several where it is folded.
_LONGEST_WORD: Final = 200
# The soft hyphen, and what joins or parts letters without a width: none of it is seen within a word, and so none parts it.
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_AROUND_TERMS: Final = ',;:.!?"()[]<>'
# Letters that Unicode does not decompose into a base letter and a mark.
_UNMARKED: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ŧ": "t", "æ": "ae", "œ": "oe", "\u2019": "'"}
)


def folded(text: str) -> str:
    """Return text without case and accents: `Ångström` becomes `angstrom`, `STRASSE` and `Straße` become `strasse`."""
    if text.isascii():
        return text.lower()
    return _decomposed(text)


@functools.lru_cache(maxsize=4096)
def _decomposed(text: str) -> str:
    # Decomposed twice: `№` has a capital letter only after the first time, and what is folded may decompose again.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    decomposed = _UNSEEN.sub("", decomposed)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).translate(_UNMARKED)


def searchable(text: str) -> str:
    """Return folded text with `WORD_START` before each word."""
    return _WORD.sub(_MARKED, folded(text).replace(WORD_START, " "))


def searched(text: str) -> list[str]:
    """Return the terms of what a person searches for, prepared as what is stored; those without a word ask for nothing.

    Punctuation around a term is left out: people search for `Lovelace, Ada`.
    """
    terms = (searchable(term.strip(_AROUND_TERMS)) for term in text.split())
    return [term for term in terms if words(term)]


def first_word(searchable_text: str) -> str | None:
    """Return the first word of a text that `searchable` prepared, or as much of it as `words` gives."""
    found = _MARKED_WORD.search(searchable_text)
    return None if found is None else found[1][:_LONGEST_WORD]


def words(searchable_text: str) -> list[str]:
    """Return the words of a text that `searchable` prepared, in their order, and of long ones what an index can hold.

    Stored and asked words are cut off alike; the texts are compared whole.
    """
    return [word[:_LONGEST_WORD] for word in _MARKED_WORD.findall(searchable_text)]
