"""Names of people as calendars, mail programs and telephone systems send them."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from herdbook.fields import shows

_ADDRESS: Final = re.compile(r"\S+@\S+")
_QUOTES: Final = ('""', "''", "“”", "„“", "‘’", "«»")  # noqa: RUF001  # the quotation marks that are meant


class PersonName(NamedTuple):
    """The parts of a name; either may be empty."""

    first: str
    last: str


# A name takes some tenths of a millisecond. Requests have them read before the ledger carries them out: so many are those of
# a batch of engagements with as many participants as possible.
@lru_cache(maxsize=16_384)
def person_name(text: str) -> PersonName:
    """Return the parts of a name such as `Ada Lovelace`, `Lovelace, Ada`, or `"Lovelace, Ada" <ada@example.com>`.

    The given name is the first name; the family name with its particles and suffixes is the last one. Middle names go with the
    given name if the family name comes first, otherwise with the family name. Titles and nicknames are left out. An address is
    no name, nor is a text without letters; both parts are empty then.
    """
    text = _without_quotes(_ADDRESS.sub(" ", text))
    if not any(map(str.isalpha, text)):
        return PersonName("", "")
    import nameparser  # noqa: PLC0415  # most servers start without ever having a name to read, and it takes a while

    name = nameparser.parse(text)
    firsts, lasts = [name.given], [name.family, name.suffix]
    if "," in text:
        firsts.append(name.middle)
    else:
        lasts.insert(0, name.middle)
    first, last = " ".join(filter(None, firsts)), " ".join(filter(None, lasts))
    # Some names consist of a title, such as `Prince`.
    return PersonName(first, last) if first or last else PersonName(text, "")


def _without_quotes(text: str) -> str:
    # Words that nothing shows of would become parts of their own.
    text = " ".join(word for word in text.split() if shows(word))
    while len(text) > 1 and text[0] + text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text
