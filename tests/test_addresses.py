"""E-mail addresses and phone numbers: which are valid, and which are equal."""

import pytest

from herdbook.addresses import NotAnAddress, addresses_within, comparable_address, is_of_a_room


@pytest.mark.parametrize(
    ("email", "comparable"),
    [
        ("ada@engine.test", "ada@engine.test"),
        ("Ada.King+Lists@Engine.TEST", "ada.king+lists@engine.test"),
        ("!#$%&'*+/=?^_`{|}~-@x.test", "!#$%&'*+/=?^_`{|}~-@x.test"),
        ("a@b.c.d.e.example", "a@b.c.d.e.example"),
        ("a@1.2.3.test", "a@1.2.3.test"),
        # Domains outside the public Internet
        ("ada@printer.local", "ada@printer.local"),
        ('"ada lovelace"@printer.local', '"ada lovelace"@printer.local'),
        ("ädä@printer.local", "ädä@printer.local"),
        ("root@localhost", "root@localhost"),
        ("ada@intranet", "ada@intranet"),
        ("ada@x.invalid", "ada@x.invalid"),
        ("ada@x.onion", "ada@x.onion"),
        # Quoted local parts: unnecessary quotes make no difference
        ('"ada"@x.test', "ada@x.test"),
        ('"ADA"@x.test', "ada@x.test"),
        ('"ada..king"@x.test', '"ada..king"@x.test'),
        ('"a\\"b"@x.test', '"a\\"b"@x.test'),
        ('"a@b"@x.test', '"a@b"@x.test'),
        ('"Ada Lovelace"@x.test', '"ada lovelace"@x.test'),
        # Other scripts
        ("ÄDÄ@x.test", "ädä@x.test"),
        ("a\u0301da@x.test", "\u00e1da@x.test"),
        ("STRAẞE@x.test", "straße@x.test"),
        ("Strasse@straße.test", "strasse@xn--strae-oqa.test"),
        ("SS\u0301@x.test", "s\u015b@x.test"),
        ("\u00df\u0301@x.test", "\u00df\u0301@x.test"),
        ("ﬁne@x.test", "ﬁne@x.test"),
        ("ŉ@x.test", "ŉ@x.test"),
        ("İ@x.test", "i\u0307@x.test"),
        ("ΝΙΚΟΣ@x.test", "νικοσ@x.test"),
        ("νικος@x.test", "νικοσ@x.test"),
        ("用户@例子.test", "用户@xn--fsqu00a.test"),
        ("ada@münchen.test", "ada@xn--mnchen-3ya.test"),
        ("ada@MÜNCHEN.test", "ada@xn--mnchen-3ya.test"),
        ("ada@XN--MNCHEN-3YA.test", "ada@xn--mnchen-3ya.test"),
        ("ada@x.рф", "ada@x.xn--p1ai"),
        ("ada@x.xn--p1ai", "ada@x.xn--p1ai"),
        ("ada@faß.test", "ada@xn--fa-hia.test"),
        # Address literals
        ("ada@[127.0.0.1]", "ada@[127.0.0.1]"),
        ("ada@[IPv6:::1]", "ada@[ipv6:::1]"),
        ("ada@[IPv6:0:0:0:0:0:0:0:1]", "ada@[ipv6:::1]"),
    ],
)
async def test_addresses_that_are_taken(email: str, comparable: str) -> None:
    """Addresses by RFC 5321 and RFC 6531 are valid. Both parts are compared without case, domains as A-labels."""
    assert comparable_address(email) == comparable


@pytest.mark.parametrize(
    "email",
    [
        *("", "ada", "@", "ada@", "@x.test", "ada@@x.test", "ada@x@y.test", "ada x@y.test", "ada@x y.test"),
        *(".ada@x.test", "ada.@x.test", "a..b@x.test", "ada@.test", "ada@x..test", "ada@x.test.", "ada@-x.test", "ada@x-.test"),
        *('"ada@x.test', 'a"d"a@x.test', '""@x.test', '"a"b@x.test', "ada\\@x.test", "ada(comment)@x.test"),
        *(
            "Ada <ada@x.test>",
            "<ada@x.test>",
            "mailto:ada@x.test",
            "ada@x.test, bob@x.test",
            "ada@x.test\n",
            "ada@x.test\r\nBcc: x",
        ),
        *("a\u0000@x.test", '"a\u0000"@x.test', '"a\nb"@x.test', "ada@x.test\u200b", "ada\u202e@x.test", "ada＠x.test"),
        *("ada@[127.0.0.256]", "ada@[IPv6:x]", "ada@[x]", "ada@127.0.0.1]", "ada@x_y.test", "ada@x.test/path", "ada@x.test:25"),
    ],
)
async def test_addresses_that_are_none(email: str) -> None:
    """Any other address is refused with a reason."""
    with pytest.raises(NotAnAddress, match=r"\w"):
        comparable_address(email)


LABEL = "b" * 63
MAX_DOMAIN = f"{LABEL}.{LABEL}.{'b' * 56}.test"


@pytest.mark.parametrize(
    ("email", "is_taken"),
    [
        ("a" * 64 + "@x.test", True),
        ("a" * 65 + "@x.test", False),
        ("é" * 64 + "@x.test", True),
        ("é" * 65 + "@x.test", False),
        (f"a@{LABEL}.test", True),
        (f"a@{LABEL}b.test", False),
        ("a" * (253 - len(MAX_DOMAIN)) + "@" + MAX_DOMAIN, True),
        ("a" * (254 - len(MAX_DOMAIN)) + "@" + MAX_DOMAIN, False),
        ("é" * 64 + "@" + MAX_DOMAIN, False),
        ("a" * 1_000_000 + "@x.test", False),
        ("a@" + "x." * 500_000 + "test", False),
        ('"' + "é " * 300_000 + '"@x.test', False),
    ],
)
async def test_lengths_are_those_of_rfc_5321(email: str, is_taken: bool) -> None:  # noqa: FBT001
    """A local part has at most 64 characters, a label 63, and the whole address 254."""
    try:
        comparable_address(email)
    except NotAnAddress:
        taken = False
    else:
        taken = True

    assert taken == is_taken


@pytest.mark.parametrize("address", ["ada@webex.com", "ada@notzoomcrc.com", "ada@google.com", "ada@calendar.google.com.test"])
def test_a_person_is_no_room(address: str) -> None:
    """People who work for the makers of meeting systems, or whose domains look like theirs, are people."""
    assert not is_of_a_room(address)


@pytest.mark.parametrize(
    "text",
    [
        "ada@x.test",
        " ADA@X.TEST ",
        "Write to ada@x.test. Thanks",
        "<ada@x.test>,bob@y.test",
        "mailto:ada@x.test?subject=Tea",
        "'ada@x.test'",
        "a=1&email=ada@x.test&b=2",
        "https://y.test/people/ada@x.test/",
        "k-ada@x.test",
        "ada@x.test-",
    ],
)
def test_an_address_is_found_within_a_text(text: str) -> None:
    """An address is found wherever it stands in a text, beside other readings of the same letters."""
    assert "ada@x.test" in addresses_within(text)


@pytest.mark.parametrize("address", ['"a b"@x.test', "ada@[192.0.2.7]", "zoë@bücher.test", "o'ada+tea@x.test"])
def test_uncommon_addresses_are_found_within_a_text(address: str) -> None:
    """Quoted local parts, addresses of the network and other letters are found, too."""
    assert comparable_address(address) in addresses_within(f"To ({address}), today")


@pytest.mark.parametrize("text", ["", "@", "a @ b", "ada@", "@x.test", '"' * 500 + "@", "@" * 5000])
def test_no_address_is_found_in_other_texts(text: str) -> None:
    """Signs alone are no address."""
    assert addresses_within(text) == set()
