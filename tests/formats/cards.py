"""Cards as the programs that people come from write them, each with what it says of its person."""

import io
from typing import Final, cast

from herdbook.formats.card_content import CardContent, CardItem
from tests.formats.further_cards import FURTHER


def opened(content: bytes) -> io.BufferedReader:
    """Return a file with this content."""
    return io.BufferedReader(cast("io.RawIOBase", io.BytesIO(content)))


_GOOGLE: Final = """BEGIN:VCARD
VERSION:3.0
N:Hopper;Grace;Brewster;Rear Adm.;
FN:Rear Adm. Grace Brewster Hopper
NICKNAME:Amazing Grace
item1.EMAIL;TYPE=INTERNET:grace@navy.example
item1.X-ABLabel:Ship
EMAIL;TYPE=INTERNET;TYPE=HOME:grace@home.example
TEL;TYPE=CELL:+1 202-555-0143
ADR;TYPE=HOME:;;2 Main St;Arlington;VA;22201;USA
item2.ORG:Navy;Computing
item2.TITLE:Programmer
BDAY:1906-12-09
item3.URL:https\\://example.com/grace
item3.X-ABLabel:_$!<HomePage>!$_
NOTE:Found the first bug.\\nKept it.
CATEGORIES:myContacts,Pioneers
END:VCARD
"""
_APPLE: Final = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Apple Inc.//macOS 14.5//EN
N:Müller;Jürgen;;Dr.;
FN:Dr. Jürgen Müller
ORG:Acme GmbH;
EMAIL;type=INTERNET;type=WORK;type=pref:jm@acme.example
TEL;type=IPHONE;type=CELL;type=VOICE;type=pref:+49 170 1234567
item1.TEL:+49 30 901820
item1.X-ABLabel:_$!<Main>!$_
item2.ADR;type=WORK;type=pref:;;Unter den Linden 1\\nHinterhaus;Berlin;;10117;Deutschland
item2.X-ABADR:de
BDAY;X-APPLE-OMIT-YEAR=1604;value=date:1604-03-14
X-SOCIALPROFILE;type=linkedin;x-user=jm:https://linkedin.example/in/jm
PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQE
 BAQEBAQEBAQEB
UID:3F2504E0-4F89-11D3-9A0C-0305E82C3301
END:VCARD
"""
_APPLE_COMPANY: Final = """BEGIN:VCARD
VERSION:3.0
N:;;;;
FN:Acme GmbH
ORG:Acme GmbH;
X-ABShowAs:COMPANY
TEL;type=WORK;type=VOICE:+49 30 901820
END:VCARD
"""
_OUTLOOK: Final = """BEGIN:VCARD
VERSION:2.1
N;LANGUAGE=fr;CHARSET=Windows-1252:Lef\u00e8vre;Zo\u00e9
FN;CHARSET=Windows-1252:Zo\u00e9 Lef\u00e8vre
ORG:Soci\u00e9t\u00e9, Fils;Ventes
TITLE:Directrice
NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=utf-8:Parle fran=C3=A7ais=0D=0A=
et anglais
TEL;WORK;VOICE:01 42 68 53 00
TEL;CELL;VOICE:06 12 34 56 78
ADR;WORK;PREF;ENCODING=QUOTED-PRINTABLE:;;1 rue de la Paix=0D=0A2e =C3=A9tage;Paris;;75002;France
LABEL;WORK;PREF;ENCODING=QUOTED-PRINTABLE:1 rue de la Paix=0D=0A75002 Paris
EMAIL;PREF;INTERNET:zoe@societe.example
X-MS-OL-DEFAULT-POSTAL-ADDRESS:2
REV:20240102T030405Z
END:VCARD
"""
_ANDROID: Final = """BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E7=8E=8B;=E5=B0=8F=E6=98=8E;;;
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E5=B0=8F=E6=98=8E=E7=8E=8B
TEL;CELL;PREF:13800138000
TEL;X-Office:010-12345678
EMAIL;HOME:ming@example.com
X-ANDROID-CUSTOM:vnd.android.cursor.item/nickname;Ming;1;;;;;;;;;;;;;
END:VCARD
"""
_NOKIA: Final = """BEGIN:VCARD
VERSION:2.1
N:Virtanen;Aino
TEL;VOICE;PREF:+358401234567
TEL;FAX;WORK:+35891234567
X-CLASS:private
BDAY:19800229
END:VCARD
"""
_THUNDERBIRD: Final = """BEGIN:VCARD
VERSION:4.0
N:Lovelace;Ada;;;
FN:Ada Lovelace
EMAIL;PREF=1:ada@example.com
EMAIL:ada@work.example
TEL;VALUE=TEL;TYPE=work:+44 20 7946 0958
URL;VALUE=URL:https://ada.example/
NOTE:Countess\\, mathematician
BDAY;VALUE=DATE:18151210
TZ:Europe/London
CUSTOM1;VALUE=TEXT:first
UID:9f0c4b0e-7a5c-4c53-8d26-3cbc3a5f5f2c
END:VCARD
"""
_NEXTCLOUD: Final = """BEGIN:VCARD
VERSION:4.0
PRODID:-//Sabre//Sabre VObject 4.5.4//EN
FN:Berners-Lee\\, Tim
GENDER:M
TEL;TYPE="home,voice";VALUE=uri;PREF=1:tel:+1-617-253-5702;ext=12
RELATED;TYPE=spouse:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6
ADR;TYPE=work;LABEL="32 Vassar St^nCambridge, MA":;;32 Vassar St;Cambridge;MA;02139;USA
BDAY:--0608
ORG:World Wide Web Consortium
LANG;PREF=1:en
CATEGORIES:web
END:VCARD
"""

CARDS: Final[dict[str, tuple[bytes, CardContent]]] = {
    "Google": (
        _GOOGLE.encode(),
        CardContent(
            first_name="Grace Brewster",
            last_name="Hopper",
            emails=(CardItem("grace@navy.example", "Ship", is_primary=True), CardItem("grace@home.example", "home")),
            phone_numbers=(CardItem("+1 202-555-0143", "mobile", is_primary=True),),
            company="Navy",
            department="Computing",
            job_title="Programmer",
            address={"street": "2 Main St", "city": "Arlington", "region": "VA", "postal_code": "22201", "country": "USA"},
            birthday="1906-12-09",
            website="https://example.com/grace",
            notes=("Found the first bug.\nKept it.",),
            tags=("myContacts", "Pioneers"),
        ),
    ),
    "Apple": (
        _APPLE.encode(),
        CardContent(
            first_name="Jürgen",
            last_name="Müller",
            emails=(CardItem("jm@acme.example", "work", is_primary=True),),
            phone_numbers=(CardItem("+49 170 1234567", "mobile", is_primary=True), CardItem("+49 30 901820", "main")),
            company="Acme GmbH",
            address={
                "street": "Unter den Linden 1\nHinterhaus",
                "city": "Berlin",
                "postal_code": "10117",
                "country": "Deutschland",
            },
            website="https://linkedin.example/in/jm",
        ),
    ),
    "Apple, a company": (
        _APPLE_COMPANY.encode(),
        CardContent(company="Acme GmbH", phone_numbers=(CardItem("+49 30 901820", "work", is_primary=True),)),
    ),
    "Outlook": (
        _OUTLOOK.encode("cp1252"),
        CardContent(
            first_name="Zoé",
            last_name="Lefèvre",
            company="Société, Fils",
            department="Ventes",
            job_title="Directrice",
            notes=("Parle français\net anglais",),
            phone_numbers=(CardItem("01 42 68 53 00", "work", is_primary=True), CardItem("06 12 34 56 78", "mobile")),
            emails=(CardItem("zoe@societe.example", is_primary=True),),
            address={
                "street": "1 rue de la Paix\n2e étage",
                "city": "Paris",
                "postal_code": "75002",
                "country": "France",
            },
        ),
    ),
    "Android": (
        _ANDROID.encode(),
        CardContent(
            first_name="小明",
            last_name="王",
            phone_numbers=(CardItem("13800138000", "mobile", is_primary=True), CardItem("010-12345678")),
            emails=(CardItem("ming@example.com", "home", is_primary=True),),
        ),
    ),
    "Nokia": (
        _NOKIA.encode(),
        CardContent(
            first_name="Aino",
            last_name="Virtanen",
            phone_numbers=(CardItem("+358401234567", is_primary=True), CardItem("+35891234567", "work")),
            birthday="1980-02-29",
        ),
    ),
    "Thunderbird": (
        _THUNDERBIRD.encode(),
        CardContent(
            first_name="Ada",
            last_name="Lovelace",
            emails=(CardItem("ada@example.com", is_primary=True), CardItem("ada@work.example")),
            phone_numbers=(CardItem("+44 20 7946 0958", "work", is_primary=True),),
            website="https://ada.example/",
            notes=("Countess, mathematician",),
            birthday="1815-12-10",
            time_zone="Europe/London",
        ),
    ),
    "Nextcloud": (
        _NEXTCLOUD.encode(),
        CardContent(
            first_name="Tim",
            last_name="Berners-Lee",
            phone_numbers=(CardItem("+1-617-253-5702 ext. 12", "home", is_primary=True),),
            address={
                "street": "32 Vassar St",
                "city": "Cambridge",
                "region": "MA",
                "postal_code": "02139",
                "country": "USA",
            },
            company="World Wide Web Consortium",
            tags=("web",),
        ),
    ),
} | FURTHER
