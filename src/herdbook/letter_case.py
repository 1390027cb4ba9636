"""Text without case, for what is compared by case and normal form, and by nothing more."""

import unicodedata


def without_case(text: str) -> str:
    """Return text in lower case and in the normal form NFC. Doing it twice changes nothing.

    It is the lower case of Unicode and not its case folding, which takes `ß` for `ss` and `ﬁ` for `fi`. The Greek
    sigma has two lower cases, of which one stands at the end of a word alone: they are one letter, wherever they stand.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower().replace("\u03c2", "\u03c3"))
