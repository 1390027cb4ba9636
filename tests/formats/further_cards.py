"""Cards with the traits that few programs share: related people, sounds, keys, agents, several languages."""

from typing import Final

from herdbook.formats.card_content import CardContent, CardItem

_GOOGLE_RELATIONS: Final = """BEGIN:VCARD
VERSION:3.0
FN:Katherine Johnson
N:Johnson;Katherine;;;
EMAIL;TYPE=INTERNET;TYPE=WORK:katherine@langley.example
item1.X-ABDATE:1939-01-01
item1.X-ABLabel:_$!<Anniversary>!$_
item2.X-ABRELATEDNAMES:Joylette
item2.X-ABLabel:Daughter
item3.EMAIL;TYPE=INTERNET:kj@home.example
item3.X-ABLabel:
PHOTO:https://lh3.example/contacts/AG6tpzF
X-PHONETIC-FIRST-NAME:Kath-rin
X-PHONETIC-LAST-NAME:Jon-son
NOTE:
CATEGORIES:starred,myContacts
END:VCARD
"""
_GOOGLE_SIM: Final = """BEGIN:VCARD
VERSION:3.0
FN:Taxi
N:;Taxi;;;
TEL;TYPE=CELL;TYPE=PREF:112
TEL;TYPE=CELL:*100#
TEL;TYPE=PAGER:+1 202-555-0199
X-GOOGLE-TALK:taxi@talk.example
END:VCARD
"""
_APPLE_FAMILY: Final = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Apple Inc.//iPhone OS 17.4//EN
N:Sørensen;Astrid;Maja,Ingrid;Dr.,Prof.;PhD
FN:Dr. Prof. Astrid Maja Ingrid Sørensen PhD
NICKNAME:Assi
X-MAIDENNAME:Holm
X-PHONETIC-FIRST-NAME:As-trit
ORG:Universitet;Institut;Laboratorium
item1.EMAIL;type=INTERNET;type=pref:astrid@uni.example
item1.X-ABLabel:_$!<School>!$_
EMAIL;type=INTERNET;type=HOME:astrid@hjem.example
item2.TEL;type=pref:+45 32 12 34 56
item2.X-ABLabel:Ø-kontor\\, 2. sal
item3.ADR;type=HOME:;;Gade 1;By;;1000;Danmark
item3.X-ABADR:dk
item4.ADR;type=HOME;type=pref:Postboks 7;;Vej 2;Odense;;5000;Danmark
item4.X-ABADR:dk
item4.X-ABLabel:_$!<Home>!$_
item5.X-ABRELATEDNAMES;type=pref:Søren
item5.X-ABLabel:_$!<Brother>!$_
item6.IMPP;X-SERVICE-TYPE=Skype;type=WORK:skype:astrid.s
item6.X-ABLabel:Skype
item7.URL;type=pref:https://uni.example/~astrid
item7.X-ABLabel:_$!<HomePage>!$_
X-ABUID:5AD380FD-B2DE-4261-BA99-DE1D1DB52FBE\\:ABPerson
X-IMAGETYPE:PHOTO
X-IMAGEHASH:Rg3QWlT0
END:VCARD
"""
_OUTLOOK_WORK: Final = """BEGIN:VCARD
VERSION:2.1
X-MS-SIGNATURE:YES
N;LANGUAGE=de;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:Gro=C3=9F;J=C3=B6rg;;Dr.
FN;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:Dr. J=C3=B6rg Gro=C3=9F
ORG;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller & S=C3=B6hne=5C=3B KG;Einkauf
TITLE:Leiter, Einkauf
TEL;WORK;VOICE:+49 (89) 1234-0
TEL;WORK;FAX:+49 (89) 1234-99
TEL;VOICE:
ADR;WORK;PREF:;Haus 3;Am Markt 1;Muenchen;;80331;Deutschland
LABEL;WORK;PREF;ENCODING=QUOTED-PRINTABLE;CHARSET=utf-8:Am Markt 1=0D=0A=
80331 M=C3=BCnchen
X-MS-OL-DEFAULT-POSTAL-ADDRESS:2
URL;WORK:http://www.mueller.example
X-MS-TEL;VOICE;ASSISTANT:+49 89 1234-5
X-MS-MANAGER:Frau Huber
X-MS-ASSISTANT;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:Herr Sch=C3=A4fer
X-MS-IMADDRESS:joerg@im.example
X-MS-OL-DESIGN;CHARSET=utf-8:<card xmlns="http://schemas.microsoft.example/office/outlook/12" ver="1.0"/>
KEY;X509;ENCODING=BASE64:
 MIICajCCAdOgAwIBAgICBEUwDQYJKoZIhvcNAQEEBQAwdzELMAkGA1UEBhMCVVMxLDAqBgNV
 BAoTI05ldHNjYXBlIENvbW11bmljYXRpb25z

EMAIL;PREF;INTERNET:joerg@mueller.example
PHOTO;TYPE=JPEG;ENCODING=BASE64:
 /9j/4AAQSkZJRgABAQEAYABgAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQY

X-MS-OL-DEFAULT-POSTAL-ADDRESS:2
REV:20240229T235959Z
END:VCARD
"""
_OUTLOOK_WEB: Final = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Microsoft Corporation//Outlook 16.0//EN
N:O'Brien;Siobhán;;Ms;
FN:Siobhán O'Brien
ORG:Harbour Trust;
ROLE:Trustee
EMAIL;TYPE=INTERNET;TYPE=PREF:siobhan@harbour.example
TEL;TYPE=WORK,VOICE,PREF:+353 1 555 0101
TEL;TYPE="HOME,CELL":+353 87 555 0102
BDAY;VALUE=date:1975-11-30
X-MS-CARDPICTURE;TYPE=GIF;ENCODING=b:R0lGODlhAQABAIAAAAUEBA==
X-MS-SPOUSE:Declan
X-MS-CHILD:Aoife
CLASS:PRIVATE
CATEGORIES:Key,Board\\, trustees
MAILER:Outlook
SORT-STRING:Brien
TZ:-05:00
GEO:53.3498;-6.2603
REV:2024-02-29T23:59:59Z
END:VCARD
"""
_ANDROID_PLUS: Final = """BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=9F=D0=B5=D1=82=D1=80=D0=BE=D0=B2=D0=B0;=D0=90=D0=BD=D0=BD=D0=B0;;;
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=90=D0=BD=D0=BD=D0=B0=20=D0=9F=D0=B5=D1=82=D1=80=D0=BE=D0=B2=
=D0=B0
X-PHONETIC-FIRST-NAME:Anna
SOUND;X-IRMC-N:Petrova;Anna;;;
TEL;CELL:+7 912 345-67-89
TEL;HOME:84951234567
EMAIL;WORK:anna@primer.example
ADR;HOME;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;;=D1=83=D0=BB. =D0=9C=D0=B8=D1=80=D0=B0;;;;
NOTE;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=9F=D0=B5=D1=80=D0=B2=D0=B0=D1=8F=0A=D0=92=D1=82=D0=BE=D1=80=D0=B0=D1=8F
BDAY:--0505
X-ANDROID-CUSTOM;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:vnd.android.cursor.item/relation;=D0=98=D0=B2=D0=B0=D0=BD;14;;;;;;;;;;;;;
X-ANDROID-CUSTOM:vnd.android.cursor.item/contact_event;2001-09-01;1;;;;;;;;;;;;;
X-JABBER:anna@jabber.example
PHOTO;ENCODING=BASE64;JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD/4gIoSUNDX1BST0ZJTEUAAQEAAAIYAAAAAAIQAABt
 bnRyUkdCIFhZWiAAAAAAAAAAAAAAAABhY3NwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA

END:VCARD
"""
_NOKIA_SERIES: Final = """BEGIN:VCARD
VERSION:2.1
REV:20091124T083015Z
UID:5f6a0c9b3d2e1f00-00e1c1a7d5f0b3d4-12
N;ENCODING=8BIT:Mäkinen;Väinö;;;
TEL;PREF;CELL:040 123 4567
TEL;HOME;VIDEO:09 123 456
X-SIP;SWIS:sip:vaino@example.fi
X-ASSISTANT:Liisa
X-ASSISTANT-TEL:+358501234567
X-SPOUSE:Aino
X-CHILDREN:Eero
X-ANNIVERSARY:19780617
X-EPOCCNTMODELLABEL1:Children
SOUND;WAVE;BASE64:UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=
END:VCARD
"""
_THUNDERBIRD_LISTS: Final = """BEGIN:VCARD
VERSION:4.0
N:van der Berg;Anneke;;;
FN:Anneke van der Berg
NICKNAME:Ann
EMAIL;PREF=2:second@berg.example
EMAIL;PREF=1;TYPE=work:first@berg.example
EMAIL:third@berg.example
TEL;TYPE=cell;VALUE=TEXT:+31 6 12345678
TEL;TYPE=pager:12345
ADR;TYPE=work:;;Gracht 1;Amsterdam;;1012;Nederland
ADR;TYPE=home:;;Laan 2;Utrecht;;3511;Nederland
NOTE:First note
NOTE;LANGUAGE=nl:Tweede aantekening
IMPP;PREF=1:xmpp:ann@berg.example
IMPP:matrix:u/ann:berg.example
ROLE:Voorzitter
SOURCE:https://berg.example/ann.vcf
ANNIVERSARY;VALUE=DATE:20050617
CUSTOM2;VALUE=TEXT:two
X-MOZILLA-PREFER-DISPLAY-NAME:1
TZ:Europe/Amsterdam
UID:urn:uuid:0b6d3f1e-5a7c-4e0c-9f2f-4f1f4b5b6c7d
END:VCARD
"""
_RFC_4: Final = """BEGIN:VCARD
VERSION:4.0
KIND:individual
FN;ALTID=1;LANGUAGE=ja:山田太郎
FN;ALTID=1;LANGUAGE=en:Yamada Taro
N;ALTID=1;LANGUAGE=ja;SORT-AS="やまだ,たろう":山田;太郎;;;
N;ALTID=1;LANGUAGE=en:Yamada;Taro;;;
GENDER:M;they/them
LANG;TYPE=work;PREF=1:ja
LANG;TYPE=work;PREF=2:en
ORG;TYPE=work;SORT-AS="ABC":ABC\\, Inc.;North American Division;Marketing
LOGO:https://abc.example/logo.png
MEMBER:mailto:someone@abc.example
RELATED;TYPE=friend:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6
RELATED;TYPE=co-worker;VALUE=text:Please contact my assistant "Jane" at 9^10.
TEL;VALUE=uri;TYPE="voice,home":tel:+81-3-1234-5678
GEO;TYPE=home:geo:35.6895,139.6917
TZ;VALUE=utc-offset:+0900
KEY;MEDIATYPE=application/pgp-keys:ftp://abc.example/keys/yamada
FBURL;PREF=1:https://abc.example/busy/yamada
CALADRURI:mailto:yamada@abc.example
CALURI;MEDIATYPE=text/calendar:https://abc.example/cal.ics
XML:<config xmlns="http://abc.example/config"><a>1</a></config>
CLIENTPIDMAP:1;urn:uuid:53e374d9-337e-4727-8803-a1e9c14e0556
EMAIL;PID=1.1,2.1;X-P="a^nb^'c^^":taro@abc.example
BDAY;VALUE=text:circa 1800
SOUND:data:audio/basic;base64,MIICajCCAdOgAwIBAgICBEUw
DEATHDATE:20200101
END:VCARD
"""
_RFC_3: Final = """BEGIN:VCARD
VERSION:3.0
PROFILE:VCARD
SOURCE:ldap://ldap.host.example/cn=Babs%20Jensen
NAME:Babs Jensen's Contact Information
FN:Babs Jensen
N:Jensen;Barbara;;Ms.;
AGENT:BEGIN:VCARD\\nVERSION:3.0\\nFN:Susan Thomas\\nEMAIL\\;TYPE=INTERNET:susan@agent.example\\nEND:VCARD\\n
LABEL;TYPE=dom,home,postal:Mr. John Q. Public\\, Esq.\\nMail Drop: TNE QB\\n123 Main Street
ADR;TYPE=dom,home,postal:;;123 Main Street;Any Town;CA;91921-1234;
TEL;TYPE=work,voice,msg:+1 213 555 1234
TEL;TYPE=modem:+1-213-555-7777
EMAIL;TYPE=x400:not an address
EMAIL;TYPE=INTERNET:babs@host.example
KEY;ENCODING=b:MIICajCCAdOgAwIBAgICBEUwDQYJKoZIhvcNAQEEBQAw
LOGO;VALUE=uri:http://www.host.example/pub/logos/abccorp.jpg
SOUND;TYPE=BASIC;ENCODING=b:MIICajCCAdOgAwIBAgICBEUw
NOTE:The first
NOTE;LANGUAGE=fr:La seconde
X-VIDEO;TYPE=mp4:http://host.example/babs.mp4
REV:1995-10-31T22:27:10Z
UID:19950401-080045-40000F192713-0052
END:VCARD
"""
_BUSINESS_CARD: Final = """BEGIN:VCARD
VERSION:3.0
N:;;;;
FN:Harbour Café
ORG:Harbour Café
X-ABShowAs:COMPANY
NOTE:Closed on Mondays
ADR;TYPE=WORK:;;Quay 4;Galway;;;Ireland
END:VCARD
"""
_BLACKBERRY: Final = """BEGIN:VCARD
VERSION:3.0
N:Ndlovu;Thandi;;;
FN:Thandi Ndlovu
TEL;TYPE=CELL:082 555 0101
TEL;TYPE=WORK:+27 21 555 0102
TEL;TYPE=WORK:+27 21 555 0103
X-WORK-TEL2;TYPE=WORK:+27 21 555 0104
EMAIL;TYPE=INTERNET:thandi@example.co.za
EMAIL;TYPE=INTERNET,HOME:THANDI@example.co.za
X-GROUP-MEMBERSHIP:Choir
X-AIM:thandi
X-SKYPE-USERNAME;TYPE=HOME:thandi.n
URL:www.thandi.example
URL:https://thandi.example/
BDAY:1990-13-45
CATEGORIES:
TITLE:
TITLE:Conductor
END:VCARD
"""

FURTHER: Final[dict[str, tuple[bytes, CardContent]]] = {
    "Google, relations": (
        _GOOGLE_RELATIONS.encode(),
        CardContent(
            first_name="Katherine",
            last_name="Johnson",
            emails=(CardItem("katherine@langley.example", "work", is_primary=True), CardItem("kj@home.example")),
            tags=("starred", "myContacts"),
        ),
    ),
    "Google, short numbers": (
        _GOOGLE_SIM.encode(),
        CardContent(
            first_name="Taxi",
            phone_numbers=(
                CardItem("112", "mobile", is_primary=True),
                CardItem("*100#", "mobile"),
                CardItem("+1 202-555-0199"),
            ),
        ),
    ),
    "Apple, a family": (
        _APPLE_FAMILY.encode(),
        CardContent(
            first_name="Astrid Maja Ingrid",
            last_name="Sørensen",
            emails=(CardItem("astrid@uni.example", "school", is_primary=True), CardItem("astrid@hjem.example", "home")),
            phone_numbers=(CardItem("+45 32 12 34 56", "Ø-kontor, 2. sal", is_primary=True),),
            company="Universitet",
            department="Institut, Laboratorium",
            address={"street": "Postboks 7, Vej 2", "city": "Odense", "postal_code": "5000", "country": "Danmark"},
            website="https://uni.example/~astrid",
        ),
    ),
    "Outlook, at work": (
        _OUTLOOK_WORK.encode(),
        CardContent(
            first_name="Jörg",
            last_name="Groß",
            emails=(CardItem("joerg@mueller.example", is_primary=True),),
            phone_numbers=(CardItem("+49 (89) 1234-0", "work", is_primary=True), CardItem("+49 (89) 1234-99", "work")),
            company="Müller & Söhne; KG",
            department="Einkauf",
            job_title="Leiter, Einkauf",
            address={"street": "Haus 3, Am Markt 1", "city": "Muenchen", "postal_code": "80331", "country": "Deutschland"},
            website="http://www.mueller.example",
        ),
    ),
    "Outlook, of the web": (
        _OUTLOOK_WEB.encode(),
        CardContent(
            first_name="Siobhán",
            last_name="O'Brien",
            emails=(CardItem("siobhan@harbour.example", is_primary=True),),
            phone_numbers=(CardItem("+353 1 555 0101", "work", is_primary=True), CardItem("+353 87 555 0102", "mobile")),
            company="Harbour Trust",
            birthday="1975-11-30",
            tags=("Key", "Board, trustees"),
        ),
    ),
    "Android, with more": (
        _ANDROID_PLUS.encode(),
        CardContent(
            first_name="Анна",
            last_name="Петрова",
            emails=(CardItem("anna@primer.example", "work", is_primary=True),),
            phone_numbers=(CardItem("+7 912 345-67-89", "mobile", is_primary=True), CardItem("84951234567", "home")),
            address={"street": "ул. Мира"},
            notes=("Первая\nВторая",),
        ),
    ),
    "Nokia, with more": (
        _NOKIA_SERIES.encode(),
        CardContent(
            first_name="Väinö",
            last_name="Mäkinen",
            phone_numbers=(CardItem("040 123 4567", "mobile", is_primary=True), CardItem("09 123 456", "home")),
        ),
    ),
    "Thunderbird, lists": (
        _THUNDERBIRD_LISTS.encode(),
        CardContent(
            first_name="Anneke",
            last_name="van der Berg",
            emails=(
                CardItem("second@berg.example"),
                CardItem("first@berg.example", "work", is_primary=True),
                CardItem("third@berg.example"),
            ),
            phone_numbers=(CardItem("+31 6 12345678", "mobile", is_primary=True), CardItem("12345")),
            address={"street": "Gracht 1", "city": "Amsterdam", "postal_code": "1012", "country": "Nederland"},
            notes=("First note", "Tweede aantekening"),
            time_zone="Europe/Amsterdam",
        ),
    ),
    "RFC 6350": (
        _RFC_4.encode(),
        CardContent(
            first_name="太郎",
            last_name="山田",
            emails=(CardItem("taro@abc.example", is_primary=True),),
            phone_numbers=(CardItem("+81-3-1234-5678", "home", is_primary=True),),
            company="ABC, Inc.",
            department="North American Division, Marketing",
        ),
    ),
    "RFC 2426": (
        _RFC_3.encode(),
        CardContent(
            first_name="Barbara",
            last_name="Jensen",
            emails=(CardItem("babs@host.example", is_primary=True),),
            phone_numbers=(CardItem("+1 213 555 1234", "work", is_primary=True), CardItem("+1-213-555-7777")),
            address={"street": "123 Main Street", "city": "Any Town", "region": "CA", "postal_code": "91921-1234"},
            notes=("The first", "La seconde"),
        ),
    ),
    "Apple, a company without a number": (
        _BUSINESS_CARD.encode(),
        CardContent(
            company="Harbour Café",
            address={"street": "Quay 4", "city": "Galway", "country": "Ireland"},
            notes=("Closed on Mondays",),
        ),
    ),
    "BlackBerry": (
        _BLACKBERRY.encode(),
        CardContent(
            first_name="Thandi",
            last_name="Ndlovu",
            emails=(CardItem("thandi@example.co.za", is_primary=True),),
            phone_numbers=(
                CardItem("082 555 0101", "mobile", is_primary=True),
                CardItem("+27 21 555 0102", "work"),
                CardItem("+27 21 555 0103", "work"),
            ),
            website="https://thandi.example/",
            job_title="Conductor",
        ),
    ),
}
