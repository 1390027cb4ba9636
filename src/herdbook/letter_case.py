"""Text without case, for comparisons that ignore case and normal form, and nothing else."""

import unicodedata


def without_case(text: str) -> str:
    """Return text in lower case and in the normal form NFC. A second call changes nothing.

    It uses Unicode's lower case and not its case folding, which turns `ß` into `ss` and `ﬁ` into `fi`. The Greek sigma has two
    lower-case forms, one of them only for the end of a word; both become the same letter.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower().replace("\u03c2", "\u03c3"))
