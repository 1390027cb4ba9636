"""Phone numbers: how they are read, and the keys under which they are found.

A number is stored as sent. One reading of it makes everything else: the digits that a search compares, the key under which its
contact is found, and the keys by which others look for that contact. Stored numbers are read without a region, because the
region of a workspace may change.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from herdbook.search_text import number_term, plain, reversed_digits

if TYPE_CHECKING:
    import phonenumbers

# No number has more digits with its country code (E.164), and no shorter one than this is complete by itself.
_MAX_DIGITS: Final = 15
_MIN_COMPLETE: Final = 7
# The countries of the library, which is not imported before there is a number; a test compares the two.
_REGIONS: Final = frozenset(
    (  # noqa: SIM905  # a list has one code a line
        "AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA "
        "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR "
        "GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP "
        "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR "
        "MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO "
        "RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT "
        "TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
    ).split()
)
# A region whose networks have more prefixes than this for calls abroad is looked up by the first ones only.
_MAX_PREFIXES: Final = 12


@cache
def _library():  # noqa: ANN202  # only as an inferred type does a module have its members
    """Return the library, which is imported for the first number, because it takes a twentieth of a start."""
    import phonenumbers  # noqa: PLC0415

    return phonenumbers


def load_phone_library() -> None:
    """Import the library, before a number needs it."""
    _library()


def regions() -> frozenset[str]:
    """Return the countries that phone numbers may belong to, as two letters (ISO 3166-1)."""
    return _REGIONS


def region_named(text: str) -> str | None:
    """Return the country that two letters in any case name, in capital letters, or None."""
    return text.upper() if text.upper() in regions() else None


class PhoneNumber(NamedTuple):
    """A phone number: its digits, those within its country, and its E.164 form if the country is known."""

    digits: str
    national: str
    e164: str | None

    @property
    def key(self) -> str:
        """The key under which a contact with the number is found: the E.164 form, or else all digits."""
        return self.e164 or reversed_digits(self.digits)


# Requests have them read before the ledger carries them out: so many are those of two batches of contacts as large as may be.
@lru_cache(maxsize=32_768)
def read_number(phone_number: str) -> PhoneNumber | None:
    """Return a number as it is stored, or None if there is no digit. Its country is known only if its code follows a plus."""
    if (plain_number := plain_international(phone_number)) is not None:
        return plain_number
    dialled = _dialled(phone_number)
    if not dialled:
        return None
    if dialled[0].startswith("+") and (parsed := _parsed_first(dialled, None)) is not None:
        number = _e164(parsed)
        return PhoneNumber(number[1:], _library().national_significant_number(parsed), number)
    digits = dialled[0].removeprefix("+")
    return PhoneNumber(digits, digits.lstrip("0") or digits, None)


# Most numbers of a country: a plus, a code, and digits with nothing but spaces and the like between them.
_PLAIN_INTERNATIONAL: Final = re.compile(r"\+[1-9][0-9 ().-]*").fullmatch
_between_digits: Final = str.maketrans("", "", "+ ().-")
# Mexico's numbers may have a digit that no longer belongs to them (`_parsed`).
_MEXICO: Final = 52


def plain_international(phone_number: str) -> PhoneNumber | None:
    """Return a number that can be read without the parser, which then reads it as the same; None for all others.

    The parser takes time for spellings that this one has none of. With a plus in front, the digits are a country's code and the
    number in it, unless they begin with the prefix of calls at home.
    """
    if _PLAIN_INTERNATIONAL(phone_number) is None:
        return None
    digits = phone_number.translate(_between_digits)
    for length in (1, 2, 3):
        at_home = _at_home(digits[:length])
        if at_home is not None:
            national = digits[length:]
            if not national or national[0] == "0" or at_home(national) is not None:
                return None
            return PhoneNumber(digits, national, f"+{digits}") if _is_possible(digits[:length], len(national)) else None
    return None


@lru_cache(maxsize=1024)
def _at_home(code: str) -> Callable[[str], object] | None:
    """Return what finds the prefix of calls at home in a number of a country, or None if no country alone has this code."""
    library = _library()
    region = library.region_code_for_country_code(int(code))
    metadata = library.PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or int(code) == _MEXICO:
        return None
    prefix = metadata.national_prefix_for_parsing
    return (lambda _: None) if not prefix else re.compile(prefix).match


@lru_cache(maxsize=4096)
def _is_possible(code: str, length: int) -> bool:
    """Whether numbers of a country may have so many digits."""
    library = _library()
    return library.is_possible_number(library.PhoneNumber(int(code), 10 ** (length - 1)))


def e164(phone_number: str) -> str | None:
    """Return the E.164 form of a number with a country code, or None."""
    number = read_number(phone_number)
    return None if number is None else number.e164


@lru_cache(maxsize=32_768)
def known_number(phone_number: str, region: str | None) -> str | None:
    """Return the E.164 form of a number if its country is known, or None.

    It is known from a plus, from `00` before its code, or because the number is one of the region.
    """
    return _known(_dialled(phone_number), region)


def international_number(phone_number: str, region: str | None = None) -> str:
    """Return the E.164 form of a text that is a number of a known country and nothing else, and any other text as it is.

    An extension follows that form: `+12125550100 ext. 5`.
    """
    number, extension = _with_extension(phone_number) or (plain(phone_number), "")
    dialled = _dialled(number) if _NUMBER_ALONE.fullmatch(number) else ()
    # A slash may begin an extension.
    known = None if len(dialled) != 1 else _known(dialled, region)
    if known is None:
        return phone_number
    return f"{known} ext. {extension}" if extension else known


def national_spellings(phone_number: str, region: str | None) -> tuple[str, ...]:
    """Return the usual spellings of an international number at home, if that is the region, and no extension follows it."""
    known = e164(phone_number) if region is not None and not extension_of(phone_number) else None
    parsed = None if known is None else _library().parse(known)
    if parsed is None or region is None or parsed.country_code != _library().country_code_for_region(region):
        return ()
    shown = _library().format_number(parsed, _library().PhoneNumberFormat.NATIONAL)
    return tuple(dict.fromkeys((shown, _library().normalize_digits_only(shown))))


def extension_of(phone_number: str) -> str:
    """Return the extension at the end of a number, or an empty text."""
    found = _with_extension(phone_number)
    return "" if found is None else found[1]


def _with_extension(phone_number: str) -> tuple[str, str] | None:
    found = _EXTENSION.fullmatch(plain(phone_number))
    return None if found is None else (found[1], found[2])


def comparable_number(phone_number: str, region: str | None = None) -> str:
    """Return a text that is the same for all spellings of a number in a workspace with a default region, if any."""
    return next(iter(sure_keys(phone_number, region)), phone_number)


def number_with(key: str) -> str:
    """Return a number that has a key, or the key itself, if that is a text without digits."""
    return key[:0:-1] if key.startswith(reversed_digits("")) and key[1:].isdecimal() else key


def spelled(key: str) -> str:
    """Return the number with a key as people write it: an E.164 form with spaces, and any other number with its digits."""
    if not key.startswith("+"):
        return number_with(key)
    return _library().format_number(_library().parse(key), _library().PhoneNumberFormat.INTERNATIONAL)


@lru_cache(maxsize=32_768)
def number_keys(phone_number: str, region: str | None) -> tuple[str, ...]:
    """Return the keys of contacts that may have a number, the surest first, in a workspace with a default region, if any.

    The key under which a contact with the very same text is found is always among them. A spelling that means another number in
    this region is never.
    """
    number = read_number(phone_number)
    if number is None:
        return ()
    known = known_number(phone_number, region)
    meant = _complete(number, region) if known is None else [known]
    keys = [*sure_keys(phone_number, region)]
    for each in [*meant, *chain.from_iterable(map(_twins, meant))]:
        keys += [*map(reversed_digits, _spellings(each, region)), each]
    return tuple(dict.fromkeys(keys))


def sure_keys(phone_number: str, region: str | None) -> tuple[str, ...]:
    """Return the keys that mean this number and no other one, in a workspace with a default region, if any."""
    number, known = read_number(phone_number), known_number(phone_number, region)
    return () if number is None else (number.key,) if known is None else (known, number.key)


def search_terms(text: str, region: str | None) -> list[str]:
    """Return the terms by which a search finds the contacts that may have a number."""
    return [number_term(key[1:] if key.startswith("+") else key[:0:-1]) for key in number_keys(text, region)]


def is_number(text: str) -> bool:
    """Whether a text is a complete phone number, without words in front of it or behind it, except an extension or a remark."""
    number = read_number(text)
    head, at, host = text.partition("@")
    if number is None or len(number.digits) < _MIN_COMPLETE or len(host.split()) > 1:
        return False
    if at and ":" not in head and not _is_whatsapp(host):
        return False
    user, _ = _user_part(plain(text))
    if sum(map(str.isdecimal, user)) < len(number.digits):
        user = _SPELLED.sub("", user)
    return _ALONE.fullmatch(_REMARK.sub("", user)) is not None


def _complete(number: PhoneNumber, region: str | None) -> list[str]:
    """Return the E.164 forms that a number may have if its code comes first, without a plus, or is left out in the region."""
    maybe = [number.digits, number.digits.removeprefix("011")]
    if region is not None:
        code = _library().country_code_for_region(region)
        maybe += [f"{code}{each}" for each in (number.digits, number.digits.removeprefix(_home_prefix(code)))]
    valid = (_valid("+" + each, None) for each in maybe)
    return list(dict.fromkeys(_e164(each) for each in valid if each is not None))


def _spellings(number: str, region: str | None) -> Iterator[str]:
    """Yield the digits of an E.164 number as people write them without a plus, unless they mean another number in the region.

    Those are the digits as they are dialled at home, and from abroad. Some write the digit for calls at home in brackets after
    the country code, as in `0044 (0)20 ...`.
    """
    parsed = _library().parse(number)
    code, national = parsed.country_code or 0, _library().national_significant_number(parsed)
    home = _home_prefix(code)
    at_home: list[str] = []
    if region is not None and code == _library().country_code_for_region(region):
        dialled = _library().format_number(parsed, _library().PhoneNumberFormat.NATIONAL)
        at_home = [_library().normalize_digits_only(dialled), home + national, national]
    begun = [f"{code}{national}", *([f"{code}0{national}"] if home == "0" else [])]
    for way in (*at_home, *(prefix + way for prefix in ("", *_prefixes(region)) for way in begun)):
        # Without a region, a spelling means the number that it was made of.
        if region is None or _known((way,), region) in (None, number):
            yield way


@lru_cache(maxsize=512)
def _prefixes(region: str | None) -> tuple[str, ...]:
    """Return the prefixes of calls abroad that contacts may have in their numbers: the usual ones, and those of the region."""
    usual = ("00", "011")
    metadata = None if region is None else _library().PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.international_prefix is None:
        return usual
    if metadata.preferred_international_prefix is not None:
        return tuple(dict.fromkeys([*usual, metadata.preferred_international_prefix.replace("~", "")]))
    numerals = (f"{number:0{length}}" for length in (1, 2, 3, 4) for number in range(10**length))
    dialled = [each for each in numerals if re.fullmatch(metadata.international_prefix, each)]
    return tuple(dict.fromkeys([*usual, *dialled[:_MAX_PREFIXES]]))


# Numbers of mobile telephones that are called with and without a further digit, as WhatsApp and the networks do: Argentina's 9
# before the area, and Brazil's 9 before the eight digits that mobile numbers had until 2016.
_TWINS: Final = (
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+54([1-8]\d{9})"), r"+549\1"),
    (re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),
    (re.compile(r"\+55(\d\d)([6-9]\d{7})"), r"+55\g<1>9\2"),
)


def _twins(number: str) -> list[str]:
    return [match.expand(other) for pattern, other in _TWINS if (match := pattern.fullmatch(number)) is not None]


def _known(dialled: Sequence[str], region: str | None) -> str | None:
    """Return the E.164 form of a number whose country is known, or None."""
    parsed = _parsed_first(dialled, region)
    return None if parsed is None else _e164(parsed)


def _parsed_first(dialled: Sequence[str], region: str | None) -> "phonenumbers.PhoneNumber | None":
    """Return the first reading of a number that is valid. After a plus, a number that is possible will do."""
    has_plus = bool(dialled) and dialled[0].startswith("+")
    if len(dialled) > 1 or not has_plus:
        valid = next((parsed for each in dialled if (parsed := _valid(each, region)) is not None), None)
        if valid is not None:
            return valid
    parsed = _parsed(dialled[0], None) if has_plus else None
    if parsed is None or not _library().is_possible_number(parsed):
        return None
    trimmed = _without_zero(parsed)
    return parsed if trimmed is parsed or not _library().is_valid_number(trimmed) else trimmed


def _valid(dialled: str, region: str | None) -> "phonenumbers.PhoneNumber | None":
    parsed = None if region is None and not dialled.startswith("+") else _parsed(dialled, region)
    if parsed is not None:
        trimmed = _without_zero(parsed)
        if _library().is_valid_number(trimmed):
            return trimmed
    # Telephone systems write `00` before the country code in every country.
    return _valid("+" + dialled[2:], None) if dialled.startswith("00") else None


def _parsed(dialled: str, region: str | None) -> "phonenumbers.PhoneNumber | None":
    try:
        parsed = _library().parse(dialled, region)
    except _library().NumberParseException:
        return None
    # Mexico's mobile numbers had a 1 after the country code until 2019, and WhatsApp still sends it.
    if parsed.country_code == 52 and parsed.national_number is not None and 10**10 < parsed.national_number < 2 * 10**10:
        parsed.national_number -= 10**10
    return parsed


def _without_zero(parsed: "phonenumbers.PhoneNumber") -> "phonenumbers.PhoneNumber":
    """Return a number without the one 0 before it, if calls at home begin with 0 and it is not valid with it.

    phonenumbers leaves it where it may begin a carrier's code, as in Colombia: `+57 (0)321 ...`.
    """
    zeros = parsed.number_of_leading_zeros or 1
    if not parsed.italian_leading_zero or zeros > 1 or _home_prefix(parsed.country_code or 0) != "0":
        return parsed
    if _library().is_valid_number(parsed):
        return parsed
    return _library().PhoneNumber(parsed.country_code, parsed.national_number)


def _home_prefix(code: int) -> str:
    """Return the digits before a number within its country, or an empty text."""
    return _library().ndd_prefix_for_region(_library().region_code_for_country_code(code), strip_non_digits=True) or ""


def _e164(parsed: "phonenumbers.PhoneNumber") -> str:
    return _library().format_number(parsed, _library().PhoneNumberFormat.E164)


_EXTENSION: Final = re.compile(r"(?is)(.*[\d)])[\s,;]*+(?:ext(?:ension)?\.?|x|#)\s*+[:=]?\s*+(\d{1,7})\s*+")
_NUMBER_ALONE: Final = re.compile(r"(?:tel:)?[\d\s+().\-\u2010-\u2015/]+")
_BRACKETED: Final = re.compile("[<\u2039]([^<>\u2039\u203a]*[0-9][^<>\u2039\u203a]*)")
# The drivers of Asterisk and FreeSWITCH that begin the name of a channel.
_CHANNEL: Final = re.compile(
    r"\s*(?:PJSIP|SIP|IAX2?|DAHDI|Zap|Local|SCCP|Skinny|MGCP|H323|OOH323|mISDN|CAPI|Dongle|Quectel|Motif|sofia)/(?:.*/)?([^/]+)",
    re.IGNORECASE,
)
_CHANNEL_ID: Final = re.compile(r"-[0-9a-f]+(?:;\d)?\Z")
_SCHEME: Final = re.compile(r"\s*[^\W\d_][\w.+-]*\s*:/*")
_QUERY: Final = re.compile(r"(?<=\d)\?.*|\A[^\d?]*\?", re.DOTALL)
_CONTEXT: Final = re.compile(r"phone-context\s*=\s*(\+[\d.()-]*\d)", re.IGNORECASE)
_WHATSAPP: Final = ("c.us", "s.whatsapp.net")
_PLUS: Final = re.compile(r"\+[\s(]*(?=\d)")
_PART: Final = re.compile(r"\d+|[^\W\d_]+|\s+|.", re.DOTALL)
_REMARK: Final = re.compile(r"[(\[][^\d()\[\]]*[)\]]")
_SPELLED: Final = re.compile(r"[A-Z]{2,}|(?<=[-.])[a-z]{2,}")
_ALONE: Final = re.compile(r"[\d\W_]+(?:[^\W\d_]+[\W_]*\d[\d\W_]*)?")
_SEPARATORS: Final = frozenset("-.()[]/\\~·_'\"")


def _dialled(phone_number: str) -> tuple[str, ...]:
    """Return the digits to dial in the text of a person or a telephone system, with a plus if it has one; the surest first.

    Schemes, hosts, parameters, channels, names, extensions, pauses and remarks are left out. There is more than one result if a
    slash may begin an extension, and none if there is no digit.
    """
    text, context = _user_part(plain(phone_number))
    start = _PLUS.search(text)
    digits = list(_digits(text if start is None else text[start.end() :]))
    if start is None and not context:
        return tuple(digits)
    # No country code begins with 0, so this one follows a prefix for calls abroad.
    return tuple("+" + re.sub(r"\A(?:00|011)", "", each if start is not None else context + each) for each in digits)


def _user_part(text: str) -> tuple[str, str]:
    """Return the part of a text that names a telephone, and the digits of the context that a URI states for it (RFC 3966)."""
    if (bracketed := _BRACKETED.search(text)) is not None:
        text = bracketed[1]
    if (channel := _CHANNEL.fullmatch(text)) is not None:
        # An identifier follows the only hyphen in the name of a channel: `PJSIP/4155561041-0000001a`.
        text = channel[1] if channel[1].count("-") > 1 else _CHANNEL_ID.sub("", channel[1])
    if (scheme := _SCHEME.match(text)) is not None and any(char.isdecimal() for char in text[scheme.end() :]):
        text = _QUERY.sub("", unquote(text[scheme.end() :]))
    context = _CONTEXT.search(text)
    user, at, host = text.partition("@")
    if at:
        text = user.partition(":")[0]
        if _is_whatsapp(host) and "+" not in text:
            text = "+" + text
    return text.partition(";")[0], "" if context is None else "".join(filter(str.isdecimal, context[1]))


def _is_whatsapp(host: str) -> bool:
    return host.partition(";")[0].strip().lower() in _WHATSAPP


def _digits(text: str) -> Iterator[str]:
    """Yield the digits of a number; if a slash in it may begin an extension, also those before it.

    Letters are digits, as on the keys of a telephone, if they stand for missing ones: `1-800-FLOWERS`. Otherwise they begin an
    extension or a remark.
    """
    digits, spelled, before_slash, previous = "", "", "", ""
    for part in _PART.findall(text):
        if part.isdecimal():
            digits, spelled = digits + part, spelled + part
        elif not digits or part.isspace():
            pass
        elif len(part) > 1 and part.isascii() and len(digits) < _MIN_COMPLETE and (part.isupper() or previous in "-."):
            spelled += _library().convert_alpha_characters_in_number(part)
        elif part not in _SEPARATORS and (part.isalpha() or part in "#*,;+" or len(digits) >= _MIN_COMPLETE):
            break
        elif part == "/" and not before_slash and len(digits) >= _MIN_COMPLETE:
            before_slash = digits
        previous = part
    digits = _library().normalize_digits_only(spelled if len(spelled) >= _MIN_COMPLETE else digits)
    if digits and not (before_slash and len(digits) > _MAX_DIGITS):
        yield digits
    if before_slash and before_slash != digits:
        yield _library().normalize_digits_only(before_slash)
