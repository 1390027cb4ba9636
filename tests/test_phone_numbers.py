"""Phone numbers: how they are read, and by which keys contacts with them are found."""

from collections.abc import Iterator
from typing import Final

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herdbook import phone_numbers
from herdbook.phone_numbers import (
    PhoneNumber,
    e164,
    international_number,
    known_number,
    number_keys,
    read_number,
    regions,
    sure_keys,
)
from tests.repeats import repeats

REGIONS: Final = sorted(regions())
TYPES: Final = sorted(phonenumbers.PhoneNumberType.values())


def test_the_countries_are_those_of_the_library() -> None:
    """Our list of the countries with phone numbers is the library's."""
    assert regions() == phonenumbers.SUPPORTED_REGIONS


@pytest.mark.parametrize(
    ("phone_number", "expected"),
    [
        ("+44 20 7946 0018", "+442079460018"),
        ("+44 (0)20 7946-0018", "+442079460018"),
        ("tel:+44-20-7946-0018", "+442079460018"),
        ("+1 (212) 555-0100 ext. 12", "+12125550100"),
        ("＋４４ ２０ ７９４６ ００１８", "+442079460018"),
        ("020 7946 0018", None),
        ("0044 20 7946 0018", None),
        ("+999 123456", None),
        ("+44", None),
        ("+", None),
        ("", None),
        ("ask reception", None),
        ("+" * 255, None),
        ("+1" * 127, None),
    ],
)
async def test_numbers_with_a_country_code_have_an_e164_form(phone_number: str, expected: str | None) -> None:
    """A number without a country code has no E.164 form: the code is never guessed."""
    assert e164(phone_number) == expected


@pytest.mark.parametrize(
    ("phone_number", "expected"),
    [
        ("+44 (0)20 7946-0018", "+442079460018"),
        ("0044 20 7946 0018", "+442079460018"),
        ("020/7946\u20130018", "+442079460018"),
        ("＋４４ ２０ ７９４６ ００１８", "+442079460018"),
        ("+49 30 901820", "+4930901820"),
        ("112", None),
        ("+44", None),
        ("+44 20 7946 0018 ext. 12", "+442079460018 ext. 12"),
        ("020 7946 0018;ext=\uff11\uff12", "+442079460018 ext. 12"),
        ("020 7946 0018 x", None),
        ("020 7946 0018 ext. 12345678", None),
        ("020 7946 0018 (mornings)", None),
        ("tel:+44-20-7946-0018", "+442079460018"),
        ("sip:+442079460018@pbx", None),
        ("ask reception", None),
        ("", None),
    ],
)
def test_a_number_alone_has_an_international_form(phone_number: str, expected: str | None) -> None:
    """A number of a known country has one form in the region of a workspace; a text that says more stays as it is."""
    assert international_number(phone_number, "GB") == (expected or phone_number)
    assert international_number(expected or "112", None) == (expected or "112")


@pytest.mark.parametrize(
    "phone_number",
    [
        # URIs
        *(
            "tel:+14155561041",
            "tel:4155561041;phone-context=+1",
            "tel:556-1041;ext=7;phone-context=+1-415",
            "tel:%2B14155561041",
        ),
        *(
            "sip:4155561041;phone-context=+1@pbx.example",
            "sip:4155561041@pbx;user=phone;phone-context=+1",
            "sips:+14155561041@x",
        ),
        *(
            "<sip:+14155561041@pbx;user=phone>",
            "sip:+14155561041:secret@pbx:5060;transport=tcp?subject=2",
            "h323:+14155561041@gk",
        ),
        *("sms:+14155561041?body=x%202", "sms:+14155561041;7?body=3", "skype:+14155561041?call", "callto:+14155561041"),
        *("whatsapp:+14155561041", "whatsapp://send?phone=+14155561041", "facetime-audio:+14155561041"),
        # WhatsApp, Asterisk and FreeSWITCH
        *("14155561041@c.us", "14155561041@s.whatsapp.net", "14155561041:3@s.whatsapp.net", "PJSIP/+14155561041-0000001a"),
        *("SIP/trunk/+14155561041", "PJSIP/trunk/sip:+14155561041@pbx", "Local/+14155561041@from-internal-0000001b;1"),
        *("DAHDI/i1/+14155561041-5", "IAX2/+14155561041-5", "sofia/gateway/one/+14155561041"),
        # Names
        *('"14155561041" <+14155561041>', "Ada (mobile) <tel:+14155561041>", "+14155561041 \u2039+14155561041\u203a"),
        *("Mobile: +1 415 556 1041", "Móvil +1 415 556 1041", "Tel. 2: +1 415 556 1041", "\u202a+1 415 556 1041\u202c"),
        # Extensions, pauses and remarks
        *(
            f"+1 415 556 1041{more}"
            for more in (
                *(" x7", " ext. 12", "ext12", ", extension 3", " poste 3", " Durchwahl 3", " DW 12", " доб. 5", " anexo 9"),
                *(
                    " int. 4",
                    " interno 4",
                    " toestel 5",
                    " wew. 12",
                    " 分機12",
                    " 内線 3",
                    " 轉 8001",
                    "#12",
                    "p12",
                    "w3",
                    "P12",
                ),
                *(",,12#", ";12", "*12", "/12", " / 12", " (mobile)", " mobile", " [home]", " (Büro 2)", " - private"),
                *(" / +1 415 556 1042", " or 415 556 1042", "; 415 556 1042"),
            )
        ),
        # Separators
        *("+1.415.556.1041", "+1/415/556-1041", "+1 (415) 556\u20111041", "+1\u00a0415\u2013556\u20131041", "+0014155561041"),
        *("+01114155561041", "+1 [415] 556_1041", "+ 1 415 556 1041", "(+1) 415 556 1041", "+1\u00ad415\u200b5561041"),
    ],
)
async def test_a_number_as_telephone_systems_and_people_write_it(phone_number: str) -> None:
    """Everything around the number is left out."""
    assert e164(phone_number) == "+14155561041"


@pytest.mark.parametrize(
    ("phone_number", "digits"),
    [
        ("1-800-FLOWERS", "18003569377"),
        ("1-800-flowers ext. 5", "18003569377"),
        ("1 800 CALL-ATT", "18002255288"),
        ("100 (mobile)", "100"),
        ("100 mobile", "100"),
        ("100x5", "100"),
        ("100 ext. 5", "100"),
        ("100,5", "100"),
        ("030/1234567", "0301234567"),
        ("020 7946 0958 / 07700 900123", "02079460958"),
        ("tel:7042;phone-context=pbx.example", "7042"),
        ("PJSIP/100-0000001a", "100"),
        ("+999 123456", "999123456"),
        ("٠٢٠ ٧٩٤٦ ٠٩٥٨", "02079460958"),
    ],
)
async def test_the_digits_of_a_number_without_a_country(phone_number: str, digits: str) -> None:
    """Letters are digits only if they stand for missing ones."""
    number = read_number(phone_number)

    assert number is not None
    assert (number.digits, number.e164) == (digits, None)


@pytest.mark.parametrize("text", ["", "-", "anonymous", "N/A", "sip:ada@192.168.0.1", "sip:anonymous@anonymous.invalid", "+"])
async def test_a_text_without_a_number(text: str) -> None:
    """A text that names no telephone has no keys."""
    assert read_number(text) is None
    assert number_keys(text, "GB") == ()


@pytest.mark.parametrize(
    ("one", "other", "region"),
    [
        ("+52 55 1234 5678", "5215512345678@c.us", None),
        ("+52 1 55 1234 5678", "+525512345678", None),
        ("+54 9 11 2345-6789", "541123456789@c.us", None),
        ("+54 11 2345-6789", "5491123456789@c.us", None),
        ("011 15-2345-6789", "+541123456789", "AR"),
        ("+55 11 96123-4567", "551161234567@c.us", None),
        ("+55 11 6123-4567", "5511961234567@c.us", None),
        ("(11) 96123-4567", "551161234567@c.us", "BR"),
        ("0011 44 20 7946 0958", "+44 20 7946 0958", "AU"),
        ("010 44 20 7946 0958", "+44 20 7946 0958", "JP"),
        ("001 44 20 7946 0958", "+44 20 7946 0958", "SG"),
        ("8 10 44 20 7946 0958", "+44 20 7946 0958", "RU"),
        ("0021 44 20 7946 0958", "+44 20 7946 0958", "BR"),
        ("011 44 (0)20 7946 0958", "+44 20 7946 0958", "US"),
        ("57 (0)321 1234567", "+57 321 1234567", None),
        ("+57 (0)321 1234567", "+57 321 1234567", "CO"),
        ("019 1912 3456", "+972 1919 123456", "IL"),
        ("310-1234", "+1 310 1234", "VG"),
    ],
)
async def test_two_ways_to_call_the_same_telephone(one: str, other: str, region: str | None) -> None:
    """Either finds a contact that has the other."""
    assert _finds(one, other, region)
    assert _finds(other, one, region)


@pytest.mark.parametrize(
    ("one", "other", "region"),
    [
        ("020 7946 0958", "+44 20 7946 0958", None),
        ("020 7946 0958", "+49 20 7946 0958", "GB"),
        ("+1 415 556 1041", "+1 415 556 1042", "US"),
        ("+52 1 55 1234 5678", "+52 55 1234 5679", "MX"),
        ("+55 11 3123-4567", "+55 11 93123-4567", "BR"),
        ("1234567", "234567", "GB"),
        ("+39 06 1234567", "+39 6 1234567", "IT"),
    ],
)
async def test_two_telephones(one: str, other: str, region: str | None) -> None:
    """Neither finds a contact that has the other."""
    assert not _finds(one, other, region)
    assert not _finds(other, one, region)


def _examples() -> list[phonenumbers.PhoneNumber]:
    found = (phonenumbers.example_number_for_type(region, each) for region in REGIONS for each in TYPES)
    valid = [number for number in found if number is not None and phonenumbers.is_valid_number(number)]
    return list({phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164): number for number in valid}.values())


NUMBERS: Final = _examples()


def _spelled(number: phonenumbers.PhoneNumber, region: str | None) -> Iterator[str]:
    """Yield a number in many spellings of which none means another number in a workspace with this region."""
    complete = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    national = phonenumbers.national_significant_number(number)
    code = number.country_code or 0
    yield from (complete, written, written.replace("-", " "), written.replace(" ", "."), written.replace(" ", "\u2011"))
    yield phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.RFC3966)
    yield from (f"sip:{complete}@pbx.example;user=phone", f"tel:{national};phone-context=+{code}", f"{complete[1:]}@c.us")
    yield from (f"{written} ext. 12", f"{written} (mobile)", f'"Ada" <sip:{complete}@pbx>', f"PJSIP/{complete}-0000001a")
    home = phonenumbers.ndd_prefix_for_region(phonenumbers.region_code_for_country_code(code), strip_non_digits=True)
    begun = [f"{code} {national}", *([f"{code} (0){national}"] if home == "0" else [])]
    yield from (f"+{way}" for way in begun)
    others = [prefix + way for prefix in ("", "00 ", "011 ") for way in begun]
    if region is not None:
        others.append(phonenumbers.format_out_of_country_calling_number(number, region))
        if code == phonenumbers.country_code_for_region(region):
            others += [phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL), f"{home or ''}{national}"]
    yield from (each for each in others if known_number(each, region) in (None, complete))


def _finds(asked: str, held: str, region: str | None) -> bool:
    number = read_number(held)
    return number is not None and number.key in number_keys(asked, region)


@settings(max_examples=repeats(400))
@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from([None, *REGIONS]))
async def test_two_spellings_of_a_number_are_one(
    data: st.DataObject, number: phonenumbers.PhoneNumber, region: str | None
) -> None:
    """Each spelling finds itself and each other one. An upsert takes them for the same number."""
    one, other = data.draw(st.lists(st.sampled_from([*_spelled(number, region)]), min_size=2, max_size=2))

    assert _finds(one, one, region)
    assert _finds(one, other, region)
    assert not set(sure_keys(one, region)).isdisjoint(number_keys(other, region))


@settings(max_examples=repeats(400))
@given(st.text(alphabet="0123456789+-()/ .;,x@<>:abN\u202a\u2011٣", max_size=24), st.sampled_from([None, *REGIONS]))
async def test_any_text_with_a_number_finds_itself(text: str, region: str | None) -> None:
    """A stored number finds its contact by the very same text, in a workspace with any region."""
    number = read_number(text)

    assert number_keys(text, region) == () if number is None else number.key in sure_keys(text, region)
    assert set(sure_keys(text, region)) <= set(number_keys(text, region))


@settings(max_examples=repeats(400))
@given(st.sampled_from(NUMBERS), st.sampled_from([None, *REGIONS]))
async def test_a_spelling_that_means_another_number_is_not_looked_up(
    number: phonenumbers.PhoneNumber, region: str | None
) -> None:
    """A complete number finds nobody whose number is known to be another one."""
    complete = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    keys = number_keys(complete, region)
    meant = [key for key in keys if key.startswith("+")]
    written = [key[:0:-1] for key in keys if not key.startswith("+")]

    assert meant[0] == complete
    assert len(meant) <= (2 if number.country_code in (54, 55) else 1)
    assert {known_number(each, region) for each in written} <= {None, *meant}


def _not_read(_: str) -> None:
    """Leave a number to the parser."""


def _parsed(phone_number: str) -> PhoneNumber | None:
    """Return a number as the parser reads it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(phone_numbers, "plain_international", _not_read)
        return read_number.__wrapped__(phone_number)


def test_plain_numbers_are_read_as_the_parser_does() -> None:
    """Most example numbers of all countries are read without the parser, and all of these as it reads them."""
    formats = (phonenumbers.PhoneNumberFormat.E164, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    examples = [phonenumbers.format_number(each, form) for each in NUMBERS for form in formats]
    read = {each: found for each in examples if (found := phone_numbers.plain_international(each)) is not None}

    assert {each: _parsed(each) for each in read} == read
    assert len(read) > len(examples) * 0.8


@given(
    code=st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)),
    begun=st.sampled_from(["", "0", "00", "1", "8", "9", "15", "(0)", " "]),
    rest=st.text("0123456789 ().-", max_size=14),
)
def test_any_plain_number_is_read_as_the_parser_does(code: int, begun: str, rest: str) -> None:
    """Digits behind a plus, with or without the prefix of calls at home, are read as the parser reads them."""
    text = f"+{code}{begun}{rest}"

    assert read_number.__wrapped__(text) == _parsed(text)
