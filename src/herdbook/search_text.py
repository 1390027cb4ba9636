"""The text that search compares: words without case and accents, with the start of each word marked.

One function, `searchable`, prepares both the stored text and the query, so that the two always agree. A term matches at the
start of a word: `lovel` finds "Lovelace", `x.com` finds "ada@x.com", `@x` finds nothing that `x` does not. In scripts without
spaces between words, such as Chinese, each letter starts a word.

A stored text consists of sections. `END` closes each, so a change of one section leaves the others as they are.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

WORD_START: Final = "\x1f"
END: Final = "\x1e"
# Words that begin with these letters are the digits of a phone number, and its digits in reverse, by which its last ones find
# it. Folded text has no capital letter.
_DIGITS: Final = "N"
_REVERSED: Final = "R"
# Follows the reversed digits of a number with its country code, so that they differ from the same digits without one.
_INTERNATIONAL: Final = "P"
# The letters of scripts without spaces between words: Thai and Lao, Burmese, the leading parts of Hangul syllables, Khmer,
# kana, bopomofo, Chinese characters.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u115f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
# The other parts of Hangul syllables, which start no word.
_WITHIN_SYLLABLES: Final = "\u1160-\u11ff\ud7b0-\ud7ff"
_BEFORE_ASCII_WORD: Final = re.compile(r"(?<![^\W_])(?=[^\W_])")
_BEFORE_WORD: Final = re.compile(
    rf"(?=[^\W_])(?:(?<![^\W_])|(?=[{_UNSPACED}])|(?<=[{_UNSPACED}{_WITHIN_SYLLABLES}])(?![{_WITHIN_SYLLABLES}]))"
)
_HAS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]").search
_WORD: Final = re.compile(r"[^\W_]+")
# Words without anything between them, as in scripts without spaces.
_RUN: Final = re.compile(rf"[^\W_]+(?:{WORD_START}[^\W_]+)*")
_PUNCTUATED: Final = re.compile(rf"[^\W_]+(?:['`-]{WORD_START}[^\W_]+)+")
_JOINTS: Final = re.compile(rf"(?<=[^\W_])['`-]{WORD_START}")
# Matches everything that people write for an apostrophe or a hyphen within a name, and nothing.
_ANY_JOINT: Final = rf"(?:[[:space:]'`-]*{WORD_START})?"
# Limits the words that are made of one punctuated word.
_MAX_JOINED: Final = 8
# Limits the parts of a typed word with punctuation that are looked up.
_MAX_LOOKED_UP: Final = 4
# Separate words like spaces: commas, and the signs between the parts of foreign names in Chinese and Japanese.
_SPACES: Final = re.compile(r"[\s,;=\u00b7\u2022\u2027\u3001\u30a0\u30fb]+")
# A name without a space within, as Chinese and Koreans write a full name, has so many letters.
_FULL_NAME: Final = re.compile(rf"(?:{WORD_START}[{_UNSPACED}][{_WITHIN_SYLLABLES}]*){{3,6}}").fullmatch
_ASCII_WORDS: Final = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)) + bytes(128)
# An index entry holds 2,704 bytes, and folding can turn one character into several.
_MAX_WORD_LENGTH: Final = 200
# A word of a script without spaces goes on to the end of the run. An index has this many characters of it.
_MAX_UNSPACED_LENGTH: Final = 16
# The soft hyphen and zero-width characters: they are invisible within a word, so they must not split it.
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_AROUND_TERMS: Final = ":.!?\"()[]<>'`-¡«»¿‹›‚“”„‟。〈〉《》「」『』【】〔〕"  # noqa: RUF001  # the marks that are meant
_TYPED_NUMBER: Final = re.compile(r"\+?[\d().\-/]+")
_MIN_DIGITS: Final = 4


def _unmarked_letters() -> dict[str, str]:
    """Return the Latin letters that Unicode does not decompose into a base letter and a mark, with what people type for them.

    Unicode names those with a stroke, a hook or the like after their base letter.
    """
    named = re.compile(r"LATIN SMALL LETTER ([A-Z]{1,2}) WITH .*").fullmatch
    found = (
        (chr(code), named(unicodedata.name(chr(code), "")))
        for first, last in (
            (0xC0, 0x24F),
            (0x250, 0x2AF),
            (0x1D00, 0x1EFF),
            (0x2C60, 0x2C7F),
            (0xA720, 0xA7FF),
            (0xAB30, 0xAB6F),
        )
        for code in range(first, last + 1)
    )
    letters = {letter: match[1].lower() for letter, match in found if match is not None}
    others = zip("ðıȷŋĸƿǝəɛɔɑɩʊʋɣʒ", "dijnkweeeoaiuvgz", strict=True)  # they look alike, hence this table
    return letters | dict(others) | {"æ": "ae", "œ": "oe", "þ": "th", "ꜳ": "aa", "ꜵ": "ao"}


_APOSTROPHES: Final = "\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u055a\u05f3\u2018\u2019\u201b\u2032\ua78c"
_HYPHENS: Final = "\u02d7\u058a\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212"
_UNMARKED: Final = str.maketrans(_unmarked_letters() | dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_HYPHENS, "-"))


def folded(text: str) -> str:
    """Return text without case and accents: `Ångström` becomes `angstrom`, `STRASSE` and `Straße` become `strasse`."""
    if text.isascii():
        return text.lower()
    return _decomposed(text)


@functools.lru_cache(maxsize=4096)
def _decomposed(text: str) -> str:
    # Decompose twice: `№` has a capital letter only after the first time, and folded text may decompose again.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    # An acute accent by itself is typed for an apostrophe.
    decomposed = _UNSEEN.sub("", decomposed).replace(" \u0301", "'")
    return "".join(char for char in decomposed if not unicodedata.combining(char)).translate(_UNMARKED)


def searchable(text: str) -> str:
    """Return folded text with `WORD_START` before each word."""
    if text.isascii():
        if text.isalnum():
            # Most names are a single word.
            return WORD_START + text.lower()
        return _BEFORE_ASCII_WORD.sub(WORD_START, text.lower().replace(WORD_START, " ").replace(END, " "))
    return _BEFORE_WORD.sub(WORD_START, folded(text).replace(WORD_START, " ").replace(END, " "))


def searchable_name(*parts: str) -> str:
    """Return the searchable text of a name or title: a line for each part, and a line for other ways to write them.

    Apostrophes and hyphens need not be typed, and a full name of a script without spaces may be written in either order, in
    one part or in two.
    """
    text = "\n".join([searchable(part.replace("\n", " ")) for part in parts])
    others: list[str] = []
    if "'" in text or "-" in text or "`" in text:
        others += _without_punctuation(text)
    if not text.isascii():
        others += _without_spaces(text)
    return text if not others else text + "\n" + " ".join(others)


def _without_punctuation(text: str) -> Iterator[str]:
    for word in _PUNCTUATED.findall(text):
        parts = _JOINTS.split(word)
        for first in range(min(len(parts) - 1, _MAX_JOINED)):
            yield searchable("".join(parts[first:]))


def _without_spaces(text: str) -> Iterator[str]:
    if not _HAS_UNSPACED(text):
        return
    names = [name for name in _SPACES.split(text.replace(WORD_START, "")) if _HAS_UNSPACED(name)]
    if len(names) == 1 and _FULL_NAME(marked := searchable(names[0])):
        # Nothing tells how many letters are the family name.
        names = marked.split(WORD_START)[1:]
    if len(names) > 1:
        yield searchable("".join([*names, *names[:-1]]))


def searchable_number(digits: str, national: str, *, is_international: bool) -> str:
    """Return the searchable text of a phone number: its digits, those within its country, and the digits in reverse."""
    text = WORD_START + _DIGITS + digits
    if national != digits:
        text += " " + WORD_START + _DIGITS + national
    return text + " " + WORD_START + reversed_digits(digits) + (_INTERNATIONAL if is_international else "")


def reversed_digits(digits: str) -> str:
    """Return the word that is the whole of a number without a country code."""
    return _REVERSED + digits[::-1]


def searched(text: str) -> list[str]:
    """Return the terms of a query, prepared like stored text, without terms that contain no word.

    Punctuation around a term is removed, because people search for `Lovelace, Ada` and `"Ada"`.
    """
    terms = (searchable(term.strip(_AROUND_TERMS)) for term in _SPACES.split(folded(text)))
    return [term for term in terms if words(term)]


def pattern(term: str) -> str | None:
    """Return the regular expression of PostgreSQL for a term with an apostrophe or a hyphen within, or None for another."""
    parts = _JOINTS.split(term)
    return None if len(parts) == 1 else _ANY_JOINT.join(map(re.escape, parts))


def lookups(term: str) -> list[list[str]]:
    """Return lists of words for a term: a text that matches the term has words that begin with one of each list."""
    parts = _JOINTS.split(term)
    if len(parts) == 1:
        return [[word] for word in words(term)]
    found: list[list[str]] = []
    for last, part in enumerate(parts[:_MAX_LOOKED_UP]):
        count = len(words(searchable(part)))
        # The part stands by itself, or behind one or more of those before it.
        ways = ["".join(parts[first : last + 1]).replace(WORD_START, "") for first in range(last + 1)]
        found += map(list, zip(*(words(searchable(way))[-count:] for way in ways), strict=True))
    return found


def plain(text: str) -> str:
    """Return text in its compatible form, with plain hyphens, and without the invisible marks around numbers."""
    if text.isascii():
        return text
    kept = (char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return "".join("-" if unicodedata.category(char) == "Pd" else char for char in kept)


def number_term(digits: str) -> str:
    """Return the term of a query that finds numbers which begin with these digits."""
    return WORD_START + _DIGITS + digits


def readings(text: str) -> list[list[str]]:
    """Return the ways to read a query, each as terms that must all match: as words, and with a phone number in it.

    Successive terms that look like parts of a number are read as one: its first digits, in the way they are dialled abroad or
    at home, or its last ones.
    """
    found = [searched(text)]
    terms = plain(text).split()
    first, last = _longest_number(terms)
    digits = "".join(str(unicodedata.digit(char)) for char in "".join(terms[first:last]) if char.isdecimal())
    if len(digits) >= _MIN_DIGITS:
        others = [*searched(" ".join(terms[:first])), *searched(" ".join(terms[last:]))]
        begun = [digits, digits.lstrip("0"), digits.removeprefix("011")]
        ways = [*dict.fromkeys(_DIGITS + way for way in begun if len(way) >= _MIN_DIGITS), reversed_digits(digits)]
        found += [[*others, WORD_START + way] for way in ways]
    return [reading for reading in found if reading]


def _longest_number(terms: list[str]) -> tuple[int, int]:
    """Return the start and the end of the longest part of a query that looks like a number."""
    longest, start = (0, 0), 0
    for end, term in enumerate(terms, start=1):
        if _TYPED_NUMBER.fullmatch(term.strip(",;:")) is None:
            start = end
        longest = max(longest, (start, end), key=lambda part: sum(map(len, terms[part[0] : part[1]])))
    return longest


def first_word(searchable_text: str) -> str | None:
    """Return the first word of a text that `searchable` prepared, cut off like the words of `words`."""
    found = _WORD.search(searchable_text)
    if found is None:
        return None
    # Most words stand by themselves.
    is_run = searchable_text.startswith(WORD_START, found.end())
    return words(searchable_text)[0] if is_run else found[0][:_MAX_WORD_LENGTH]


def name_key(text: str) -> str | None:
    """Return the text by which a name is sorted, which begins with its first word: folded, from that word on, and cut off."""
    return name_key_of(searchable(text.replace("\n", " ")))


def name_key_of(searchable_text: str) -> str | None:
    """Return the same of a text that `searchable` prepared."""
    _, start, rest = searchable_text.partition(WORD_START)
    return rest.replace(WORD_START, "")[:_MAX_WORD_LENGTH] if start else None


def words(searchable_text: str) -> list[str]:
    """Return the words of a text that `searchable` prepared, in order; cut long ones off to what an index can hold.

    Words of stored texts and of queries are cut off alike; the texts themselves are compared in full.
    """
    if searchable_text.isascii():
        # This takes a third of the time of the regular expression, and most texts are ASCII.
        found = searchable_text.encode().translate(_ASCII_WORDS).decode().split()
        return found if len(searchable_text) <= _MAX_WORD_LENGTH else [word[:_MAX_WORD_LENGTH] for word in found]
    return [word for run in _RUN.findall(searchable_text) for word in _words_of_run(run)]


def indexed(searchable_text: str) -> set[str]:
    """Return the words of a stored text that an index needs: a word that begins another one is found by that one."""
    found = set(words(searchable_text))
    if searchable_text.isascii() or END not in searchable_text:
        return found
    return {word for word, after in itertools.pairwise([*sorted(found), ""]) if not after.startswith(word)}


def _words_of_run(run: str) -> Iterator[str]:
    parts = run.split(WORD_START)
    if len(parts) == 1:
        yield run[:_MAX_WORD_LENGTH]
        return
    for index, part in enumerate(parts):
        length = max(_MAX_UNSPACED_LENGTH, min(len(part), _MAX_WORD_LENGTH))
        yield "".join(parts[index : index + _MAX_UNSPACED_LENGTH])[:length]
