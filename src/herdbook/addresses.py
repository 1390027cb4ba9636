"""E-mail addresses and domains: which ones are accepted, and how they are compared.

Addresses are stored as sent. They are compared by local part, ignoring case and Unicode normal form, and by domain, ignoring
case, in A-label form (RFC 5890). Domains of companies are compared without `www.` in front.
"""

import re
from functools import lru_cache
from typing import Final

import idna

from herdbook.letter_case import without_case

# Most addresses are a dot-atom at a plain domain (RFC 5321, section 4.1.2), which needs no full parser.
_PLAIN: Final = re.compile(
    r"(?=.{1,254}\Z)(?=[^@]{1,64}@)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?!xn--)[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_MAX_LENGTH: Final = 254

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


# An import asks for the same address while it is checked, looked up and written.
@lru_cache(maxsize=8192)
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


def load_e_mail_library() -> None:
    """Import the library that reads unusual addresses, before one needs it."""
    _closely_read('"Ada Lovelace"@example.com')


@lru_cache(maxsize=8192)
def _closely_read(email: str) -> str:
    # Few addresses need the library, and it takes a twentieth of a start to import.
    from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email  # noqa: PLC0415

    # This is the library's way to allow them: nothing is sent to these addresses, so `.local` and `localhost` do no harm.
    SPECIAL_USE_DOMAIN_NAMES.clear()
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


# A local part is one word or is quoted; a domain is one word or, in brackets, an address of the network.
_LOCAL_PART: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s@<>(),;:"\[\]\\]+)\Z')
_DOMAIN: Final = re.compile(r"\[[^\]\s]*\]|[\w.-]+")
_BEGINNINGS: Final = re.compile(r"\A|(?<=\W)(?=\w)")


def addresses_within(text: str) -> set[str]:
    """Return all e-mail addresses that a text may have, in the form that is compared: each reading, if there are several."""
    found: set[str] = set()
    readings = {text.strip()}
    for place in (sign.start() for sign in re.finditer("@", text)):
        local_part = _LOCAL_PART.search(text[max(place - _MAX_LENGTH, 0) : place])
        domain = _DOMAIN.match(text[place + 1 : place + 1 + _MAX_LENGTH])
        if local_part is not None and domain is not None:
            name, at = local_part[0], f"@{domain[0].rstrip('.-')}"
            begins = (0,) if name.startswith('"') else (each.start() for each in _BEGINNINGS.finditer(name))
            readings.update(name[begin:] + at for begin in begins)
    for each in readings:
        try:
            found.add(comparable_address(each))
        except NotAnAddress:
            continue
    return found
