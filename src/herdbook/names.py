"""Names of people as calendars, mail programs and telephone systems send them."""

import dataclasses
import re
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, cast

from herdbook.fields import shows

# Addresses of mail and of telephone systems. A local part in quotation marks may have spaces.
_ADDRESS: Final = re.compile(
    r"""(?:mailto:|tel:|sips?:|callto:)?(?:"(?:\\.|[^"\\])*"@\S+|\S+@\S+)|(?:mailto|tel|sips?|callto):\S*""", re.IGNORECASE
)
_ESCAPED: Final = re.compile(r"""\\([\\"',;()])""")
# Lists and shared mailboxes write `Ada Lovelace via Support`.
_VIA: Final = re.compile(r"(?<=\S)\s+via(?:\s.*)?\Z", re.DOTALL)
_COMMAS: Final = re.compile(r"\s*[,;，；､、]\s*")  # noqa: RUF001  # the commas that are meant
_QUOTED: Final = re.compile(
    r"""(?<![^\s,])(?:"([^"]*)"|'([^']*)'|“([^“”]*)”|„([^“”]*)[“”]|‘([^‘’]*)’|«([^«»]*)»|‹([^‹›]*)›|「([^「」]*)」|『([^『』]*)』)(?![^\s,])"""  # noqa: RUF001
)
_BRACKETED: Final = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|<([^<>]*)>|\{([^{}]*)\}|（([^（）]*)）|【([^【】]*)】")  # noqa: RUF001
# They make a company of what follows the last comma: `Ada Lovelace, Acme Inc.`. Those that are people's names are left out.
_IS_COMPANY_SUFFIX: Final = re.compile(
    "inc|incorporated|llc|llp|ltd|limited|plc|corp|corporation|company|gmbh|ag|kg|ohg|ug|sas|sarl|srl|bv|nv|oy|oyj|aps|pty"
).fullmatch
# They are never names, unlike `Queen` or `Judge`.
_IS_FORM_OF_ADDRESS: Final = re.compile(
    "mr|mrs|ms|miss|mx|sir|madam|dr|doctor|prof|professor|herr|frau|monsieur|madame|mme|mlle|señor|señora|sr|sra"
).fullmatch
# Chinese family names that are no given names in Japanese, in which the family name has two letters and comes first.
_CHINESE_FAMILY_NAMES: Final = frozenset(
    "王李张張刘劉陈陳杨楊黄黃赵趙吴吳徐孙孫胡郭何罗羅郑鄭谢謝宋许許邓鄧冯馮曹彭曾蔡蒋蔣余杜魏苏蘇吕呂姚沈"
)
_IS_LONG_FAMILY_NAME: Final = re.compile(
    "欧阳|歐陽|司马|司馬|上官|诸葛|諸葛|夏侯|东方|東方|皇甫|尉迟|尉遲|公孙|公孫|令狐|남궁|황보|제갈|사공|선우|독고"
).fullmatch
_CHINESE_NAME: Final = re.compile(r"([\u4e00-\u9fff]{2}) ([\u4e00-\u9fff])")
_KOREAN_NAME: Final = re.compile(r"([\uac00-\ud7a3]{2}) ([\uac00-\ud7a3])")


# Most names are two words in Latin letters. Reading those takes the hundredth part.
_CAPITALIZED: Final = "([A-Z\u00c0-\u00d6\u00d8-\u00de][a-z\u00df-\u00f6\u00f8-\u00ff]+)"
_TWO_WORDS: Final = re.compile(f"{_CAPITALIZED} {_CAPITALIZED}").fullmatch


@cache
def words_with_meaning() -> frozenset[str]:
    """Return the words that the reader of names knows, such as titles and suffixes. It takes all others for parts of names."""
    import nameparser  # noqa: PLC0415  # as below

    lexicon = nameparser.Lexicon.default()
    listed: list[Any] = [getattr(lexicon, each.name) for each in dataclasses.fields(lexicon)]
    entries = (each for words in listed if isinstance(words, frozenset) for each in cast("frozenset[str]", words))
    return frozenset(word for each in entries for word in each.split())


def load_reader_of_names() -> None:
    """Import the reader of names, before a participant has one."""
    words_with_meaning()


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
    given name if the family name comes first, otherwise with the family name. Titles, nicknames, remarks in brackets, a company
    after a comma and `via ...` are left out. A title is kept if there would be no given name, as of Queen Latifah. An address
    is no name, nor is a text without letters; both parts are empty then.
    """
    if (words := _TWO_WORDS(text)) is not None and words_with_meaning().isdisjoint((words[1].lower(), words[2].lower())):
        return PersonName(words[1], words[2])
    text = _without_remarks(text)
    if not any(map(str.isalpha, text)):
        return PersonName("", "")
    chinese, korean = _CHINESE_NAME.fullmatch(text), _KOREAN_NAME.fullmatch(text)
    match = korean or (chinese if chinese is not None and chinese[2] in _CHINESE_FAMILY_NAMES else None)
    if match is not None and not _IS_LONG_FAMILY_NAME(match[1]):
        return PersonName(match[1], match[2])
    import nameparser  # noqa: PLC0415  # most servers start without ever having a name to read, and it takes a while

    name = nameparser.parse(text)
    title, _, other = text.partition(" ")
    if title == name.title and other in (name.given, name.family) and not _IS_FORM_OF_ADDRESS(title.strip(".").lower()):
        return PersonName(title, other)
    firsts, lasts = [name.given], [name.family, name.suffix]
    if "," in text:
        firsts.append(name.middle)
    else:
        lasts.insert(0, name.middle)
    first, last = " ".join(filter(None, firsts)), " ".join(filter(None, lasts))
    # Some names consist of a title, such as `Prince`.
    return PersonName(first, last) if first or last else PersonName(text, "")


def _without_remarks(text: str) -> str:
    """Return the name in a text, without anything around it."""
    # Words that nothing shows of would become parts of their own.
    text = " ".join(word for word in _ADDRESS.sub(" ", text).split() if shows(word))
    text = _ESCAPED.sub(r"\1", text)
    while (whole := _QUOTED.fullmatch(text)) is not None:
        text = _content(whole).strip()
    text = _VIA.sub("", text)
    text = _without_nicknames(_without_nicknames(text, _BRACKETED, 1), _QUOTED, 2)
    parts = [part for part in _COMMAS.split(" ".join(text.split())) if part]
    if len(parts) > 1 and _is_company(parts[-1]):
        parts.pop()
    return ", ".join(parts)


def _without_nicknames(text: str, enclosed: re.Pattern[str], least_words: int) -> str:
    """Return a text without enclosed parts, if that leaves so many words; otherwise without the marks around them."""
    while found := list(enclosed.finditer(text)):
        rest = enclosed.sub(" ", text)
        words = rest.replace(",", " ").split()
        count = sum(any(map(str.isalpha, word)) for word in words)
        if count >= least_words:
            text = rest
        elif count or not words:
            text = enclosed.sub(lambda match: f" {_content(match)} ", text)
        else:
            text = " ".join(map(_content, found))
    return text.strip()


def _content(enclosed: re.Match[str]) -> str:
    return enclosed[enclosed.lastindex or 0]


def _is_company(text: str) -> bool:
    *others, last = text.split()
    return "&" in others or (bool(others) and _IS_COMPANY_SUFFIX(last.replace(".", "").lower()) is not None)
