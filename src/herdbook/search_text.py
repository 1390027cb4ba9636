"""The text that search compares: words without case and accents, with the start of each word marked.

One function, `searchable`, prepares both the stored text and the query, so that the two always agree. A term matches at the
start of a word: `lovel` finds "Lovelace", `x.com` finds "ada@x.com", `@x` finds nothing that `x` does not.
"""

import functools
import re
import unicodedata
from typing import Final

WORD_START: Final = "\x1f"
_BEFORE_WORD: Final = re.compile(r"(?<![^\W_])(?=[^\W_])")
_WORD: Final = re.compile(r"[^\W_]+")
_ASCII_WORDS: Final = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)) + bytes(128)
# An index entry holds 2,704 bytes, and folding can turn one character into several.
_MAX_WORD_LENGTH: Final = 200
# The soft hyphen and zero-width characters: they are invisible within a word, so they must not split it.
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
    # Decompose twice: `№` has a capital letter only after the first time, and folded text may decompose again.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    decomposed = _UNSEEN.sub("", decomposed)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).translate(_UNMARKED)


def searchable(text: str) -> str:
    """Return folded text with `WORD_START` before each word."""
    return _BEFORE_WORD.sub(WORD_START, folded(text).replace(WORD_START, " "))


def searched(text: str) -> list[str]:
    """Return the terms of a query, prepared like stored text, without terms that contain no word.

    Punctuation around a term is removed, because people search for `Lovelace, Ada`.
    """
    terms = (searchable(term.strip(_AROUND_TERMS)) for term in text.split())
    return [term for term in terms if words(term)]


def first_word(searchable_text: str) -> str | None:
    """Return the first word of a text that `searchable` prepared, cut off like the words of `words`."""
    found = _WORD.search(searchable_text)
    return None if found is None else found[0][:_MAX_WORD_LENGTH]


def words(searchable_text: str) -> list[str]:
    """Return the words of a text that `searchable` prepared, in order; cut long ones off to what an index can hold.

    Words of stored texts and of queries are cut off alike; the texts themselves are compared in full.
    """
    if searchable_text.isascii():
        # This takes a third of the time of the regular expression, and most texts are ASCII.
        found = searchable_text.encode().translate(_ASCII_WORDS).decode().split()
    else:
        found = _WORD.findall(searchable_text)
    return found if len(searchable_text) <= _MAX_WORD_LENGTH else [word[:_MAX_WORD_LENGTH] for word in found]
