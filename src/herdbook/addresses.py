"""E-mail addresses and phone numbers: which are taken, and what is compared.

Both are kept as sent. An e-mail address is compared by its local part without case, in whatever normal form it comes, and its
domain without case in A-label form (RFC 5890); a phone number by its E.164 form, where it has one.
"""

import re
from functools import lru_cache
from typing import Final

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from herdbook.letter_case import without_case

# Most addresses are a dot-atom at a plain domain (RFC 5321, section 4.1.2), which needs no closer look.
_PLAIN: Final = re.compile(
    r"(?=.{1,254}\Z)(?=[^@]{1,64}@)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?!xn--)[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_LONGEST: Final = 254

# The library's own way to allow them: nothing is sent to these addresses, so `.local` and `localhost` are as good as others.
SPECIAL_USE_DOMAIN_NAMES.clear()


class NotAnAddress(ValueError):
    """The text is no e-mail address; the message says why."""


def comparable_address(email: str) -> str:
    """Return the form of an e-mail address that is compared; NotAnAddress where it is none.

    Taken is what RFC 5321 and RFC 6531 allow, domains such as `.test` and `.local`, quoted local parts and address literals
    included: a system of record takes what the world has. Nothing is looked up.
    """
    if _PLAIN.fullmatch(email) is not None:
        return email.lower()
    if len(email) > _LONGEST:
        raise NotAnAddress(f"It has {len(email)} characters, and {_LONGEST} are the most (RFC 5321).")
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


# Requests have them read before the ledger carries them out: so many are those of two batches of contacts as large as may be.
@lru_cache(maxsize=32_768)
def e164(phone_number: str) -> str | None:
    """Return the E.164 form of a number that is written with its country code, else None."""
    if "+" not in phone_number:
        return None
    try:
        parsed = phonenumbers.parse(phone_number)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
