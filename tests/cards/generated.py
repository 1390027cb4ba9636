"""Cards of any properties that RFC 6350 and RFC 2426 allow."""

from typing import Final

from hypothesis import strategies as st

from herdbook.fields import shows
from herdbook.formats.cards import Parameter, Property, escaped

_TEXT: Final = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t;,:\\\"'^=+-@* "), min_size=1, max_size=40
)
_SHOWN: Final = _TEXT.filter(shows)
_WORD: Final = st.text("abcXYZ019-", min_size=1, max_size=8)
_DAYS: Final = st.sampled_from(["1815-12-10", "18151210", "--1210", "1815", "20240230", "18151210T102200Z", "circa 1800"])
_URI: Final = st.sampled_from(
    ["https://a.example/x?y=1;z=2,3", "ftp://a.example/k", "mailto:a@b.example", "urn:uuid:1", "geo:1.2,3.4", "data:,x"]
)
_PARTS: Final = st.lists(_TEXT | st.just(""), min_size=1, max_size=7).map(lambda parts: ";".join(map(escaped, parts)))
_LISTED: Final = st.lists(_TEXT, min_size=1, max_size=4).map(lambda parts: ",".join(map(escaped, parts)))
_ESCAPED: Final = _TEXT.map(escaped)
_NUMBERS: Final = st.from_regex(r"\+[1-9][0-9]{5,12}", fullmatch=True) | _ESCAPED
_ADDRESSES: Final = _WORD.map(lambda word: f"{word.strip('-') or 'a'}@x.example") | _ESCAPED
# The names that both versions have, or one of them, and what their values may be.
_VALUES: Final[dict[str, st.SearchStrategy[str]]] = {
    **dict.fromkeys(("NICKNAME", "CATEGORIES"), _LISTED),
    **dict.fromkeys(("ORG", "ADR", "GENDER", "CLIENTPIDMAP"), _PARTS),
    **dict.fromkeys(("TITLE", "ROLE", "NOTE", "LABEL", "MAILER", "SORT-STRING", "CLASS", "PRODID", "LANG", "KIND"), _ESCAPED),
    **dict.fromkeys(("PHOTO", "LOGO", "SOUND", "KEY", "SOURCE", "RELATED", "IMPP", "MEMBER", "FBURL", "CALURI"), _URI),
    **dict.fromkeys(("URL", "UID", "CALADRURI", "AGENT", "X-SOCIALPROFILE"), _URI | _ESCAPED),
    **dict.fromkeys(("BDAY", "ANNIVERSARY", "REV", "X-ABDATE"), _DAYS),
    "TZ": st.sampled_from(["Europe/London", "-05:00", "-0500", "Raleigh/North America"]),
    "GEO": st.sampled_from(["37.386013;-122.082932", "geo:37.386013,-122.082932"]),
    "EMAIL": _ADDRESSES,
    "TEL": _NUMBERS | st.just("tel:+1-555-555-5555;ext=5555"),
    "XML": st.just('<a xmlns="urn:x">b</a>'),
    **dict.fromkeys(("X-SKYPE", "X-MS-MANAGER", "X-ABRELATEDNAMES", "X-PHONETIC-FIRST-NAME", "X-ANDROID-CUSTOM"), _ESCAPED),
}
_TYPES: Final = st.sampled_from(["work", "home", "cell", "fax", "voice", "INTERNET", "dom", "x-own", "pref"])


def _parameters(version: str) -> st.SearchStrategy[tuple[Parameter, ...]]:
    values = st.text("abc 1;,:'é" + ('^"\n' if version == "4.0" else ""), min_size=1, max_size=8).map(str.strip).filter(bool)
    found = [
        st.builds(Parameter, st.just("TYPE"), st.lists(_TYPES, min_size=1, max_size=3, unique=True).map(tuple)),
        st.builds(Parameter, st.just("LANGUAGE"), st.sampled_from([("en",), ("fr-CA",)])),
        st.builds(Parameter, st.just("X-OWN"), st.lists(values, min_size=1, max_size=3).map(tuple)),
    ]
    if version == "4.0":
        found += [
            st.builds(Parameter, st.just("PREF"), st.integers(1, 100).map(lambda number: (str(number),))),
            st.builds(Parameter, st.sampled_from(["ALTID", "PID", "SORT-AS"]), st.just(("1",))),
        ]
    return st.lists(st.one_of(found), max_size=3, unique_by=lambda each: each.name).map(tuple)


def _named(version: str) -> st.SearchStrategy[tuple[Property, ...]]:
    names = st.lists(_TEXT | st.just(""), min_size=5, max_size=5).map(lambda parts: ";".join(map(escaped, parts)))
    first = st.builds(Property, st.just("FN"), _SHOWN.map(escaped), _parameters(version), st.just(""))
    return st.tuples(st.builds(Property, st.just("N"), names, _parameters(version), st.just("")), first)


def _properties(version: str) -> st.SearchStrategy[Property]:
    groups = st.sampled_from(["", "", "item1", "item2", "g-3"])
    return st.sampled_from([*_VALUES]).flatmap(
        lambda name: st.builds(Property, st.just(name), _VALUES[name], _parameters(version), groups)
    ) | st.builds(Property, st.just("X-ABLABEL"), _ESCAPED, st.just(()), groups.filter(bool))


def cards_of(version: str) -> st.SearchStrategy[list[tuple[Property, ...]]]:
    """Return some cards, no two of which have an address in common."""
    card = st.tuples(_named(version), st.lists(_properties(version), max_size=12)).map(lambda parts: (*parts[0], *parts[1]))
    return st.lists(card, min_size=1, max_size=12).map(lambda cards: [_own(place, each) for place, each in enumerate(cards)])


def _own(place: int, card: tuple[Property, ...]) -> tuple[Property, ...]:
    return tuple(each._replace(value=f"n{place}.{each.value}") if each.name == "EMAIL" else each for each in card)
