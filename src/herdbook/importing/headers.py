"""The names by which exports of other programs call their columns, as tables of data.

A target is a member that a column fills; behind a colon it has the label of an address or a number. Names are compared without
case, accents, spaces and punctuation, and without a number at their end.
"""

from typing import Final, NamedTuple

# The targets of contacts, and the names of their columns in several languages.
CONTACT_HEADERS: Final[dict[str, str]] = {
    "first_name": "first name, firstname, given name, givenname, forename, vorname, prénom, nombre, primer nombre, nome, "
    "nome próprio, primeiro nome, voornaam, imię, förnamn, fornavn, etunimi, имя, όνομα, ad, ön ad, 名, 名字, 이름",
    "middle_name": "middle name, middlename, middle names, additional name, additional names, zweiter vorname, weitere "
    "vornamen, deuxième prénom, autres prénoms, segundo nombre, secondo nome, nome do meio, tweede voornaam, drugie imię, "
    "mellannamn, mellomnavn, mellemnavn, отчество, 中间名",
    "last_name": "last name, lastname, surname, family name, familyname, second name, nachname, familienname, name de "
    "famille, nom, nom de famille, apellido, apellidos, cognome, sobrenome, apelido, último nome, achternaam, "
    "nazwisko, efternamn, etternavn, efternavn, sukunimi, фамилия, επώνυμο, soyad, 姓, 姓氏, 성",
    "full_name": "name, full name, fullname, display name, contact name, contact, person, person name, displayname, "
    "vollständiger name, anzeigename, kontakt, ansprechpartner, nom complet, nombre completo, nome completo, "
    "nome e cognome, volledige naam, naam, imię i nazwisko, namn, navn, nimi, фио, полное имя, имя и фамилия, "
    "氏名, 姓名, 名前, 전체 이름",
    "email": "email, e-mail, email address, e-mail address, emailaddress, mail, primary email, contact email, "
    "e-mail-adresse, emailadresse, adresse e-mail, adresse email, courriel, adresse électronique, correo, "
    "correo electrónico, dirección de correo, indirizzo e-mail, posta elettronica, endereço de e-mail, "
    "correio eletrônico, e-mailadres, adres e-mail, e-postadress, e-post, sähköposti, электронная почта, "
    "почта, адрес электронной почты, e-posta, メール, メールアドレス, 电子邮件, 邮箱, 電子郵件, 이메일",
    "email:work": "work email, business email, email work, e-mail work, geschäftliche e-mail, email professionnel",
    "email:home": "home email, personal email, private email, email home, e-mail home, private e-mail, email personnel",
    "email:other": "other email, email other, secondary email, additional email, additional email addresses, weitere e-mail",
    "phone": "phone, telephone, phone number, phonenumber, tel, telephone number, primary phone, contact phone, "
    "telefon, telefonnummer, rufnummer, téléphone, numéro de téléphone, teléfono, número de teléfono, "
    "telefono, telefone, número de telefone, telefoon, telefoonnummer, numer telefonu, puhelin, "
    "puhelinnumero, телефон, номер телефона, τηλέφωνο, 電話, 電話番号, 电话, 电话号码, 전화, 전화번호",
    "phone:work": "work phone, business phone, office phone, phone work, company phone, telefon geschäftlich, telefon "
    "(geschäftlich), geschäftlich, téléphone professionnel, téléphone (bureau), teléfono del trabajo, "
    "telefono ufficio",
    "phone:home": "home phone, private phone, phone home, telefon privat, telefon (privat), téléphone (domicile), teléfono "
    "de casa",
    "phone:mobile": "mobile, mobile phone, cell, cell phone, cellphone, phone mobile, mobile number, mobil, handy, "
    "mobiltelefon, handynummer, portable, téléphone portable, mobile (téléphone), móvil, teléfono móvil, "
    "celular, cellulare, telemóvel, mobiel, komórka, telefon komórkowy, matkapuhelin, мобильный, мобильный "
    "телефон, 携帯, 携帯電話, 手机, 휴대전화",
    "phone:other": "other phone, phone other, weitere telefonnummer",
    "phone:fax": "fax, business fax, work fax, home fax, other fax, fax number, telefax, télécopie, fax geschäftlich",
    "company_name": "company, company name, organization, organisation, organization name, account, account name, employer, "
    "firma, firmenname, unternehmen, société, entreprise, nom de la société, empresa, compañía, organización, "
    "azienda, società, organizacja, bedrijf, bedrijfsnaam, företag, bedrift, virksomhed, yritys, компания, "
    "организация, εταιρεία, şirket, 会社, 会社名, 公司, 单位, 회사, associated company, primary company, company "
    "associated",
    "company_domain": "company domain, company domain name, domain, company website, organization domain, domäne, domaine",
    "description": "description, about, summary, bio, beschreibung, descripción, descrizione, descrição, omschrijving, opis, "
    "описание",
    "note": "notes, note, comments, comment, remarks, notizen, notiz, bemerkung, bemerkungen, anmerkungen, "
    "commentaire, commentaires, remarques, notas, nota, observaciones, comentarios, observações, opmerkingen, "
    "notities, notatki, uwagi, anteckningar, notater, muistiinpanot, заметки, примечания, комментарий, メモ, "
    "備考, 备注, 메모",
    "tags": "tags, tag, labels, label, categories, category, groups, group membership, keywords, etiketten, "
    "schlagwörter, kategorien, kategorie, étiquettes, catégories, etiquetas, categorías, etichette, "
    "categorie, tagi, etykiety, taggar, метки, теги, タグ, 标签, 태그",
    "external_id": "external id, externalid, customer id, customer number, kundennummer, external identifier, numéro client",
    "crm_id": "contact id, record id, person id, crm id, id, record id contact, salesforce id, hubspot id",
    "time_zone": "time zone, timezone, tz, zeitzone, fuseau horaire, zona horaria, fuso orario",
    "field:job_title": "job title, jobtitle, title, position, role, organization title, beruf, stelle, funktion, jobtitel, "
    "fonction, poste, titre, cargo, puesto, mansione, ruolo, functie, stanowisko, befattning, stilling, "
    "должность, 役職, 职位, 직책",
    "field:department": "department, abteilung, service, département, departamento, reparto, afdeling, dział, "
    "avdelning, отдел, "
    "部署, 部门, 부서, organization department",
    "field:birthday": "birthday, birth date, birthdate, date of birth, dob, geburtstag, geburtsdatum, anniversaire, date de "
    "naissance, cumpleaños, fecha de nacimiento, compleanno, data di nascita, aniversário, data de "
    "nascimento, verjaardag, geboortedatum, urodziny, födelsedag, день рождения, дата рождения, 誕生日, 生日, 생일",
    "field:website": "website, web site, url, homepage, web page, webseite, internetseite, site web, site internet, sitio web, "
    "página web, sito web, strona internetowa, сайт, ウェブサイト, 网站",
    "field:profile_links": "linkedin, linkedin url, linkedin profile, profile links, person linkedin url, twitter, "
    "twitter username",
    "field:address.street": "street, street address, address, address line, mailing street, business street, home "
    "street, straße, "
    "strasse, adresse, anschrift, rue, calle, dirección, via, indirizzo, rua, endereço, straat, adres, ulica, "
    "gata, улица, адрес, 住所, 地址, 주소",
    "field:address.city": "city, town, mailing city, business city, home city, stadt, ort, ville, ciudad, città, "
    "cidade, plaats, "
    "stad, miasto, город, 市, 城市, 도시",
    "field:address.region": "state, region, state region, province, county, mailing state, mailing state province, "
    "business state, "
    "home state, bundesland, région, provincia, estado, provincie, województwo, область, 州",
    "field:address.postal_code": "zip, zip code, postal code, postcode, zip postal code, mailing zip, mailing zip postal "
    "code, business "
    "postal code, home postal code, plz, postleitzahl, code postal, código postal, cap, cep, kod pocztowy, "
    "postnummer, индекс, 郵便番号, 邮编, 우편번호",
    "field:address.country": "country, country region, mailing country, business country region, home country region, "
    "land, pays, "
    "país, paese, kraj, страна, 国, 国家, 국가",
}
# The same for companies.
COMPANY_HEADERS: Final[dict[str, str]] = {
    "name": "name, company, company name, organization, organization name, account name, account, firma, firmenname, "
    "unternehmen, organisation, société, nom, entreprise, empresa, nombre, azienda, nome, bedrijf, naam, "
    "nazwa, företag, компания, название, 会社名, 公司, 회사",
    "domain": "domain, company domain name, company domain, website, web site, url, homepage, webseite, site web, sitio "
    "web, sito web, domäne, domaine, website url, сайт, 网站",
    "description": CONTACT_HEADERS["description"],
    "note": CONTACT_HEADERS["note"],
    "tags": CONTACT_HEADERS["tags"],
    "crm_id": "company id, record id, account id, organization id, crm id, id",
}


class Preset(NamedTuple):
    """The exports of one program: the columns by which they are known, and those that no other program calls so.

    A column without a target here has that of its name in the tables above.
    """

    name: str
    source: str
    object_type: str
    known_by: frozenset[str]
    targets: dict[str, str]


def _preset(name: str, known_by: str, targets: dict[str, str], *, object_type: str = "contact") -> Preset:
    return Preset(name, name.partition(" ")[0].lower(), object_type, frozenset(known_by.split(", ")), targets)


# A column with the label of the value in the next one.
LABEL: Final = "label"
_IGNORED: Final = "ignore"
_OUTLOOK: Final = {
    "E-mail Address": "email",
    "E-mail 2 Address": "email",
    "E-mail 3 Address": "email",
    "Business Phone 2": "phone:work",
    "Home Phone 2": "phone:home",
    "Primary Phone": "phone",
    "Company Main Phone": _IGNORED,
    "Web Page": "field:website",
    "Title": _IGNORED,
    "Business Address PO Box": _IGNORED,
    "E-mail Type": _IGNORED,
    "E-mail 2 Type": _IGNORED,
    "E-mail 3 Type": _IGNORED,
}
_ADDRESS: Final = ("street", "city", "region", "postal_code", "country")
# The columns of the lists that exports of herdbook and tables of cards have.
_LISTS: Final = {
    "email_1_label": LABEL,
    "email_1": "email",
    "phone_number_1_label": LABEL,
    "phone_number_1": "phone",
    "note_1": "note",
}
PRESETS: Final = (
    _preset(
        "herdbook",
        "id, first_name, last_name, email_1_label, crm_object_type, created_at",
        {
            **_LISTS,
            "id": _IGNORED,
            "company_id": _IGNORED,
            "external_id_1": "external_id",
            "crm_object_id": "crm_id",
            "crm_source": _IGNORED,
            "crm_object_type": _IGNORED,
            "created_at": _IGNORED,
            "updated_at": _IGNORED,
        },
    ),
    _preset(
        "herdbook",
        "id, name, domain_1, crm_object_type, created_at",
        {
            "id": _IGNORED,
            "domain_1": "domain",
            "note_1": "note",
            "crm_object_id": "crm_id",
            "crm_source": _IGNORED,
            "crm_object_type": _IGNORED,
            "created_at": _IGNORED,
            "updated_at": _IGNORED,
        },
        object_type="company",
    ),
    _preset(
        "vCard",
        "first_name, last_name, address_street, profile_links",
        {
            **_LISTS,
            **{f"address_{part}": f"field:address.{part}" for part in _ADDRESS},
            "profile_links": "field:profile_links",
            "external_id_1": "external_id",
            "crm_object_id": "crm_id",
            "card_1": "card",
        },
    ),
    _preset(
        "Google Contacts",
        "Given Name, Family Name, E-mail 1 - Value",
        {
            "Name": _IGNORED,
            "E-mail 1 - Type": LABEL,
            "E-mail 1 - Value": "email",
            "Phone 1 - Type": LABEL,
            "Phone 1 - Value": "phone",
            "Organization 1 - Name": "company_name",
            "Organization 1 - Title": "field:job_title",
            "Organization 1 - Department": "field:department",
            "Website 1 - Value": "field:website",
            "Address 1 - Street": "field:address.street",
            "Address 1 - City": "field:address.city",
            "Address 1 - Region": "field:address.region",
            "Address 1 - Postal Code": "field:address.postal_code",
            "Address 1 - Country": "field:address.country",
            "Group Membership": "tags",
        },
    ),
    _preset(
        "Google Contacts",
        "First Name, Last Name, E-mail 1 - Value",
        {
            "File As": _IGNORED,
            "E-mail 1 - Label": LABEL,
            "E-mail 1 - Value": "email",
            "Phone 1 - Label": LABEL,
            "Phone 1 - Value": "phone",
            "Organization Name": "company_name",
            "Organization Title": "field:job_title",
            "Organization Department": "field:department",
            "Website 1 - Value": "field:website",
            "Address 1 - Street": "field:address.street",
            "Address 1 - City": "field:address.city",
            "Address 1 - Region": "field:address.region",
            "Address 1 - Postal Code": "field:address.postal_code",
            "Address 1 - Country": "field:address.country",
            "Labels": "tags",
        },
    ),
    _preset("Outlook", "First Name, Last Name, E-mail Address, Business Phone", _OUTLOOK),
    _preset("Outlook", "First Name, Last Name, E-mail 1 Address", _OUTLOOK | {"E-mail 1 Address": "email"}),
    _preset(
        "Apple Contacts",
        "First name, Last name, E-mail (work)",
        {"E-mail (work)": "email:work", "E-mail (home)": "email:home", "E-mail (other)": "email:other"}
        | {"Phone (mobile)": "phone:mobile", "Phone (work)": "phone:work", "Phone (home)": "phone:home"},
    ),
    _preset(
        "HubSpot",
        "Record ID, First Name, Last Name, Email",
        {
            "Record ID": "crm_id",
            "Lifecycle Stage": _IGNORED,
            "Associated Company": "company_name",
            "Associated Company IDs": _IGNORED,
            "Company name": "company_name",
            "Email Domain": _IGNORED,
        },
    ),
    _preset(
        "HubSpot",
        "Record ID, Company name, Company Domain Name",
        {"Record ID": "crm_id", "Company name": "name", "Company Domain Name": "domain"},
        object_type="company",
    ),
    _preset(
        "Salesforce",
        "Contact ID, First Name, Last Name, Account Name",
        {"Contact ID": "crm_id", "Account ID": _IGNORED, "Title": "field:job_title", "Mobile": "phone:mobile"},
    ),
    _preset(
        "Salesforce",
        "Id, FirstName, LastName, AccountId",
        {
            "Id": "crm_id",
            "FirstName": "first_name",
            "LastName": "last_name",
            "AccountId": _IGNORED,
            "Name": _IGNORED,
            "MobilePhone": "phone:mobile",
            "HomePhone": "phone:home",
            "OtherPhone": "phone:other",
            "Fax": "phone:fax",
            "MailingStreet": "field:address.street",
            "MailingCity": "field:address.city",
            "MailingState": "field:address.region",
            "MailingPostalCode": "field:address.postal_code",
            "MailingCountry": "field:address.country",
            "Birthdate": "field:birthday",
        },
    ),
    _preset(
        "Pipedrive",
        "Person - Name, Person - Email - Work",
        {
            "Person - ID": "crm_id",
            "Person - Name": "full_name",
            "Person - First name": "first_name",
            "Person - Last name": "last_name",
            "Person - Email - Work": "email:work",
            "Person - Email - Home": "email:home",
            "Person - Email - Other": "email:other",
            "Person - Phone - Work": "phone:work",
            "Person - Phone - Home": "phone:home",
            "Person - Phone - Mobile": "phone:mobile",
            "Person - Phone - Other": "phone:other",
            "Person - Organization": "company_name",
            "Person - Label": "tags",
        },
    ),
    _preset(
        "Pipedrive",
        "Organization - Name, Organization - ID",
        {"Organization - ID": "crm_id", "Organization - Name": "name", "Organization - Label": "tags"},
        object_type="company",
    ),
    _preset(
        "AskElephant",
        "id, first_name, last_name, emails",
        {
            "id": "external_id",
            "first_name": "first_name",
            "last_name": "last_name",
            "emails": "email",
            "phone_numbers": "phone",
            "company": "company_name",
            "description": "description",
            "time_zone": "time_zone",
        },
    ),
)
