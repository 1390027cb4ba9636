"""E-mail addresses and phone numbers: which ones are accepted, and how they are compared.

Both are stored as sent. E-mail addresses are compared by local part, ignoring case and Unicode normal form, and by domain,
ignoring case, in A-label form (RFC 5890). Phone numbers are compared by their E.164 form, if they have one. A number that a
telephone system sends is looked up by everything that it may be. Domains of companies are compared without `www.` in front.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

import idna
import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from herdbook.letter_case import without_case

# Most addresses are a dot-atom at a plain domain (RFC 5321, section 4.1.2), which needs no full parser.
_PLAIN: Final = re.compile(
    r"(?=.{1,254}\Z)(?=[^@]{1,64}@)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?!xn--)[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_MAX_LENGTH: Final = 254

# This is the library's way to allow them: nothing is sent to these addresses, so `.local` and `localhost` do no harm.
SPECIAL_USE_DOMAIN_NAMES.clear()


# Calendars of Google and Yahoo give rooms and equipment addresses of their own. The others are domains of meetings and of
# devices in meeting rooms: Zoom, Lifesize, BlueJeans, Pexip, Poly, and every domain below Webex's own, at which people are.
_DOMAIN_OF_ROOMS: Final = re.compile(
    r"(?:.+\.)?(?:calendar\.google\.com|calendar\.yahoo\.com|zoomcrc\.com|zmeu\.us|lifesizecloud\.com|bjn\.vc|pexip\.me|plcm\.vc)"
    r"|.+\.webex\.com"
)
# In front of a name with a dot, so that `www.com` stays as it is.
_WWW: Final = re.compile(r"\A(?:www\.)+(?=[^.]+\.)")


class NotAnAddress(ValueError):
    """The text is no e-mail address; the message says why."""


def comparable_address(email: str) -> str:
    """Return the form of an e-mail address that is compared. Raise NotAnAddress if it is none.

    It accepts everything that RFC 5321 and RFC 6531 allow, including domains such as `.test` and `.local`, quoted local parts
    and address literals, because a system of record must accept what exists. It looks up nothing in the DNS.
    """
    if _PLAIN.fullmatch(email) is not None:
        return email.lower()
    if len(email) > _MAX_LENGTH:
        raise NotAnAddress(f"It has {len(email)} characters; the limit is {_MAX_LENGTH} (RFC 5321).")
    return _closely_read(email)


@lru_cache(maxsize=8192)
def _closely_read(email: str) -> str:
    try:
        read = validate_email(
            email,
            check_deliverability=False,
            globally_deliverable=False,
            strict=True,
            allow_quoted_local=True,
            allow_domain_literal=True,
        )
    except EmailNotValidError as error:
        raise NotAnAddress(str(error)) from None
    return f"{without_case(read.local_part)}@{(read.ascii_domain or read.domain).lower()}"


def is_of_a_room(address: str) -> bool:
    """Whether a comparable address belongs to a room, to equipment or to a calendar, and not to a person."""
    return _DOMAIN_OF_ROOMS.fullmatch(address.rpartition("@")[2]) is not None


def without_www(domain: str) -> str:
    """Return a domain in lower case without `www.` in front."""
    return _WWW.sub("", domain)


def regions() -> frozenset[str]:
    """Return the countries that phone numbers may belong to, as two letters (ISO 3166-1)."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def forms(email: str) -> list[str]:
    """Return an address as it is written, and with its domain in the two forms of RFC 5890 if it is internationalized."""
    if email.isascii() and "xn--" not in email.lower():
        return [email]
    try:
        local_part, _, domain = comparable_address(email.strip()).rpartition("@")
        shown = idna.decode(domain)
    except (NotAnAddress, idna.IDNAError):
        return [email]
    return list(dict.fromkeys([email, f"{local_part}@{shown}", f"{local_part}@{domain}"]))


_AROUND_ADDRESSES: Final = ',;:!?"()[]<>'


def addresses_in(text: str) -> list[str]:
    """Return the e-mail addresses among the words of a text, in the form that is compared."""
    found: list[str] = []
    for word in text.split():
        try:
            found.append(comparable_address(word.strip(_AROUND_ADDRESSES).removeprefix("mailto:")))
        except NotAnAddress:
            continue
    return found


class PhoneNumber(NamedTuple):
    """A phone number: its digits, those within its country, and its E.164 form if the country is known."""

    digits: str
    national: str
    e164: str | None


# Requests have them read before the ledger carries them out: so many are those of two batches of contacts as large as may be.
@lru_cache(maxsize=32_768)
def read_number(phone_number: str) -> PhoneNumber | None:
    """Return a number as it is stored, or None if there is no digit. Its country is known only if its code follows a plus."""
    dialled = _dialled(phone_number)
    if "+" in dialled and (parsed := _parsed(dialled, None)) is not None:
        return PhoneNumber(_e164(parsed)[1:], phonenumbers.national_significant_number(parsed), _e164(parsed))
    digits = _digits(dialled)
    return PhoneNumber(digits, digits.lstrip("0") or digits, None) if digits else None


def e164(phone_number: str) -> str | None:
    """Return the E.164 form of a number with a country code, or None."""
    number = read_number(phone_number) if "+" in phone_number else None
    return None if number is None else number.e164


class Lookup(NamedTuple):
    """A number to look up: its E.164 form if the country is known, and everything else that it may be, the surest first.

    `international` are further E.164 forms, and `national` digits without a country code, as contacts may have them.
    """

    e164: str | None
    international: tuple[str, ...]
    national: tuple[str, ...]


@lru_cache(maxsize=32_768)
def looked_up(phone_number: str, region: str | None) -> Lookup:
    """Return how to look up a number that a telephone system sends, in a workspace with a default region, if any.

    The country is known from a plus, from `00` before its code, or because the number is one of the region.
    """
    dialled = _dialled(phone_number)
    known = _known(dialled, region)
    digits = _digits(dialled)
    maybe = [] if known else [_valid("+" + digits), _valid("+" + digits.removeprefix("011"))]
    international = [number for number in dict.fromkeys(maybe) if number is not None]
    national = [] if known else [digits]
    for number in [known] if known else international:
        national += [way for way in _national_spellings(number, region) if _known(way, region) in (None, number)]
    return Lookup(known, tuple(international), tuple(dict.fromkeys(way for way in national if way)))


def _national_spellings(number: str, region: str | None) -> list[str]:
    """Return the digits of an E.164 number as people write them without a plus."""
    digits = number[1:]
    spelled = [digits, "00" + digits, "011" + digits]
    parsed = phonenumbers.parse(number)
    if region is not None and parsed.country_code == phonenumbers.country_code_for_region(region):
        dialled = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
        spelled = [_digits(dialled), phonenumbers.national_significant_number(parsed), *spelled]
    return spelled


def _known(dialled: str, region: str | None) -> str | None:
    """Return the E.164 form of a number whose country is known."""
    if "+" in dialled:
        parsed = _parsed(dialled, None)
        return None if parsed is None else _e164(parsed)
    if region is not None and (parsed := _parsed(dialled, region)) is not None and phonenumbers.is_valid_number(parsed):
        return _e164(parsed)
    digits = _digits(dialled)
    return _valid("+" + digits[2:]) if digits.startswith("00") else None


def _valid(number: str) -> str | None:
    parsed = _parsed(number, None)
    return None if parsed is None or not phonenumbers.is_valid_number(parsed) else _e164(parsed)


def _parsed(dialled: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        return None
    return parsed if phonenumbers.is_possible_number(parsed) else None


def _e164(parsed: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _digits(dialled: str) -> str:
    """Return the digits of a number; letters among them stand for digits, as on the keys of a telephone."""
    if not any(char.isdecimal() for char in dialled):
        return ""
    return phonenumbers.normalize_digits_only(phonenumbers.convert_alpha_characters_in_number(dialled))


_URI: Final = re.compile(
    r"(?:.*<)?\s*(?:sips?|tel|callto|whatsapp|sms|skype|facetime|facetime-audio)\s*:/*([^>]*)", re.IGNORECASE
)
_EXTENSION: Final = re.compile(
    r"(?<=[\d)])[\s,]*(?:ext(?:n|ension)?\.?|x|#|,|доб\.?|anexo|int\.?)[\s:.=]*\d{1,9}\s*#?\s*", re.IGNORECASE
)
_WHATSAPP: Final = ("c.us", "s.whatsapp.net")


def _dialled(phone_number: str) -> str:
    """Return the number in the text of a telephone system: without a scheme, a host, parameters and an extension."""
    text = unicodedata.normalize("NFKC", phone_number).strip()
    if (uri := _URI.match(text)) is not None:
        text = unquote(uri[1])
    user, at, host = text.partition("@")
    if at:
        text = user.partition(":")[0]
        if host.strip().lower() in _WHATSAPP and "+" not in text:
            text = "+" + text
    text = text.partition(";")[0]
    extension = _EXTENSION.search(text)
    return text if extension is None or extension.end() < len(text) else text[: extension.start()]
