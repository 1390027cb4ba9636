"""Words and domains that many people or companies have in common, so that they tell nobody from others."""

from typing import Final

_DOMAINS: Final = """
gmail.com googlemail.com yahoo.com yahoo.co.uk yahoo.fr yahoo.de yahoo.es yahoo.it yahoo.co.in yahoo.com.br ymail.com
rocketmail.com hotmail.com hotmail.co.uk hotmail.fr hotmail.de hotmail.it hotmail.es outlook.com outlook.fr outlook.de
live.com live.co.uk live.fr live.nl msn.com icloud.com me.com mac.com aol.com gmx.de gmx.net gmx.com gmx.at gmx.ch
web.de t-online.de freenet.de posteo.de mailbox.org proton.me protonmail.com pm.me tutanota.com fastmail.com zoho.com
mail.com mail.ru yandex.ru yandex.com bk.ru list.ru inbox.ru orange.fr wanadoo.fr free.fr laposte.net sfr.fr libero.it
virgilio.it tiscali.it alice.it bluewin.ch hispeed.ch telia.com telenet.be skynet.be ziggo.nl kpnmail.nl planet.nl
xs4all.nl btinternet.com sky.com virginmedia.com ntlworld.com talktalk.net comcast.net verizon.net att.net sbcglobal.net
bellsouth.net cox.net charter.net earthlink.net shaw.ca rogers.com sympatico.ca bigpond.com bigpond.net.au
optusnet.com.au xtra.co.nz uol.com.br bol.com.br terra.com.br qq.com 163.com 126.com sina.com naver.com daum.net
hanmail.net wp.pl o2.pl onet.pl interia.pl seznam.cz centrum.cz abv.bg ukr.net rediffmail.com
"""
_POSTS: Final = """
info sales contact office hello support admin mail team service billing accounts accounting hr jobs press marketing help
noreply no-reply kontakt buero vertrieb contacto ventas compras reception enquiries webmaster postmaster
"""
_TITLES: Final = "mr mrs ms miss mx dr prof sir herr frau mme mlle sr sra jr phd md dipl ing mba bsc msc esq"
_LEGAL_FORMS: Final = """
inc incorporated llc llp lp ltd limited plc corp corporation co company gmbh ag kg ohg ug se sa sas sarl srl spa sl bv
nv cv oy oyj ab as asa aps pty kk sro zoo ooo oao pjsc the and und et y e mbh gesellschaft holding group
"""
_STREETS: Final = """
st street str strasse rd road ave avenue av avenue pl place cres crescent crt court ct court dr drive ln lane sq square
blvd boulevard cct circuit cl close tce terrace hwy highway
"""
# Anybody may have an address at one of these.
DOMAINS: Final = frozenset(_DOMAINS.split())
# They begin the addresses of a post, and not of a person.
POSTS: Final = frozenset(_POSTS.split())
TITLES: Final = frozenset(_TITLES.split())
LEGAL_FORMS: Final = frozenset(_LEGAL_FORMS.split())
# The short forms of words in the names of streets, and what they stand for.
STREETS: Final[dict[str, str]] = dict(zip(_STREETS.split()[::2], _STREETS.split()[1::2], strict=True))
# Companies have their domains below these, as in `acme.co.uk`.
SECOND_LEVELS: Final = frozenset(("ac", "co", "com", "edu", "gen", "gov", "ne", "net", "or", "org"))
