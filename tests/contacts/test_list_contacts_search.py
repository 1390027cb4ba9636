"""GET /v2/contacts: search."""

import asyncio
from typing import Final, cast

import asyncpg
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.db.pool import Executor
from herdbook.search_refresh import refresh_search
from herdbook.workspaces.store import set_region
from tests.cast import Json, Person, Thing, faults
from tests.contacts.listing import URL, listed, walked
from tests.ledger.ledger_client import ledger_on

PEOPLE: list[Json] = [
    {"first_name": "Ada", "last_name": "Lovelace", "emails": [{"email": "ada.king@engine.test"}]},
    {"first_name": "Björn", "last_name": "Ångström-Łukasz", "emails": [{"email": "b@xn--mnchen-3ya.test"}]},
    {"first_name": "Grace", "last_name": "Brewster Murray Hopper", "emails": [{"email": "grace_h@navy.example"}]},
    {"first_name": "𝐄𝐝𝐢𝐭𝐡", "last_name": "STRAẞE", "emails": [{"email": "edith@münchen.example"}]},
    {"first_name": "Ива́н", "last_name": "ΝΙΚΟΣ"},
    {"first_name": "100% real", "last_name": "a_b\\c"},
    {"first_name": "山田", "last_name": "太郎"},
    {
        "first_name": "O'Neil",
        "last_name": "Y",
        "description": "knows Lovelace",
        "phone_numbers": [{"phone_number": "555 1842"}],
    },
]


@pytest_asyncio.fixture
async def people(alice: Person) -> list[Thing]:
    """The people listed above, in Alice's workspace."""
    return [Thing(await alice.post(URL, json=person)) for person in PEOPLE]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        # Case, and beginnings of words
        ("ada", ["Ada"]),
        ("ADA", ["Ada"]),
        ("lovel", ["Ada"]),
        ("velace", []),
        ("hopper", ["Grace"]),
        ("opper", []),
        # Several words, all required, in any order
        ("ada lovelace", ["Ada"]),
        ("lovelace ada", ["Ada"]),
        # Punctuation around words, as people write names
        ("Lovelace, Ada", ["Ada"]),
        ('"ada."', ["Ada"]),
        ("  lovelace\tada ", ["Ada"]),
        ("ada hopper", []),
        ("gra mur", ["Grace"]),
        ("brewster hopper", ["Grace"]),
        # One letter, and two letters
        ("a", ["100% real", "Björn", "Ada"]),
        ("y", ["O'Neil"]),
        ("lo", ["Ada"]),
        ("b m", ["Grace", "Björn"]),
        # Accents, ligatures, other scripts
        ("bjorn", ["Björn"]),
        ("BJÖRN", ["Björn"]),
        ("angstrom", ["Björn"]),
        ("A\u030angstro\u0308m", ["Björn"]),
        ("ångström-łuk", ["Björn"]),
        ("lukasz", ["Björn"]),
        ("edith", ["𝐄𝐝𝐢𝐭𝐡"]),
        ("strasse", ["𝐄𝐝𝐢𝐭𝐡"]),
        ("straße", ["𝐄𝐝𝐢𝐭𝐡"]),
        ("ｅｄｉｔｈ", ["𝐄𝐝𝐢𝐭𝐡"]),
        ("иван", ["Ива́н"]),
        ("νίκος", ["Ива́н"]),
        ("νικοσ", ["Ива́н"]),
        ("山", ["山田"]),
        ("太郎", ["山田"]),
        # Parts of e-mail addresses
        ("ada.king@engine.test", ["Ada"]),
        ("ADA.KING@ENGINE.TEST", ["Ada"]),
        ("king@engine", ["Ada"]),
        ("engine.test", ["Ada"]),
        ("@engine", ["Ada"]),
        ("ngine", []),
        ("test", ["Björn", "Ada"]),
        ("grace_h", ["Grace"]),
        ("grace.h", []),
        ("munchen", ["𝐄𝐝𝐢𝐭𝐡", "Björn"]),
        # Wildcards of patterns are literal
        ("%", []),
        ("ad%", []),
        ("a%a", []),
        ("a_a", []),
        ("_", []),
        ("100%", ["100% real"]),
        ("100_", []),
        ("a_b", ["100% real"]),
        ("a_b\\c", ["100% real"]),
        ("a\\_b", []),
        ("\\", []),
        ("*", []),
        ("ada*", []),
        ("'", []),
        ("o'n", ["O'Neil"]),
        ("o''n", []),
        ("\x1fada", ["Ada"]),
        ("\U0010ffff", []),
        # Four digits and more from the beginning or the end of a phone number
        ("555", []),
        ("5551", ["O'Neil"]),
        ("555-1842", ["O'Neil"]),
        ("1842", ["O'Neil"]),
        ("842", []),
        ("5518", []),
        # No other member of a contact is searched, such as descriptions
        ("knows", []),
        ("cnt", []),
        ("contact", []),
    ],
)
async def test_a_search_finds_words_by_their_beginnings(alice: Person, search: str, expected: list[str]) -> None:
    """A search matches beginnings of words in full names and e-mail addresses, without case and accents."""
    assert await listed(alice, {"search": search}) == expected


SOUGHT: list[Json] = [
    {"first_name": "小龙", "last_name": "李"},
    {"first_name": "田中 明"},
    {"first_name": "철수", "last_name": "김"},
    {"first_name": "สมชาย", "last_name": "ใจดี"},
    {"first_name": "マリア", "last_name": "東京tower"},
    {"first_name": "Þórr", "last_name": "O'Brien"},
    {"first_name": "Chiara", "last_name": "D’Angelo-Smith"},
    {"first_name": "Dial", "phone_numbers": [{"phone_number": "+44 (0)20 7946 0958"}]},
    {"first_name": "Home", "phone_numbers": [{"phone_number": "020 7946 2740"}]},
]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        # Chinese, Japanese, Korean and Thai names in either order, and parts of them
        *((search, "小龙") for search in ("李小龙", "小龙李", "龙", "小龙", "李", "龙李", "李 小龙")),
        *((search, "田中 明") for search in ("田中明", "明田中", "中", "田中 明")),
        *((search, "철수") for search in ("김철수", "철수김", "수", "김")),
        *((search, "สมชาย") for search in ("สมชายใจดี", "ชาย", "ใจดีสมชาย")),
        *((search, "マリア") for search in ("リア", "マリア東京", "京tower", "tower")),
        # Letters that have no accent, apostrophes and hyphens that are not typed
        *((search, "Þórr") for search in ("thorr", "þór", "obrien", "o'brien", "o’brien", "brien", "O´Brien", "thorr obrien")),
        *((search, "Chiara") for search in ("dangelo", "dangelosmith", "angelosmith", "d'angelo-smith", "chiara dangelo")),
        # Phone numbers, as they are dialled abroad, at home and on the spot
        *((search, "Dial") for search in ("+44 20 7946 0958", "02079460958", "(020) 7946-0958", "2079460", "0958", "79460958")),
        *((search, "Dial") for search in ("004420794", "011 44 20 7946 0958", "dial 0958", "4420", "0958 dial")),
        *((search, "Home") for search in ("020 7946 2740", "2740", "0207946 27", "79462740", "207946 27")),
    ],
)
async def test_people_are_found_as_others_write_them(alice: Person, search: str, expected: str) -> None:
    """A search finds a person by other common ways to write the name or the number."""
    await asyncio.gather(*(alice.post(URL, json=person) for person in SOUGHT))

    assert await listed(alice, {"search": search}) == [expected]


WRITTEN: Final[dict[str, Json]] = {
    name: {"first_name": first, "last_name": last} if last else {"first_name": first}
    for name, first, last in [
        ("one word", "Pat", "OBrien"),
        ("apostrophe", "Pat", "O'Brien"),
        ("space", "Pat", "O Brien"),
        ("joined", "Annemarie", "Otto"),
        ("hyphen", "Anne-Marie", "Otto"),
        ("two words", "Anne Marie", "Otto"),
        ("two fields", "Anne", "Marie Otto"),
        ("both", "Chiara", "D'Angelo-Smith"),
        ("neither", "Chiara", "DAngeloSmith"),
        ("only a space", "Chiara", "DAngelo Smith"),
        ("only an apostrophe", "Chiara", "D'AngeloSmith"),
        ("Chinese in Latin letters", "Zw'ang-Zi", ""),
        ("kana", "ナオミ", "キャンベル"),
        ("dotted kana", "マイケル・ジョーダン", ""),
        ("halfwidth dot", "ﾏｲｹﾙ･ｼﾞｮｰﾀﾞﾝ", ""),
        ("Chinese dot", "列奥纳多·达·芬奇", ""),
        ("Chinese", "小龙", "李"),
        ("Chinese in one field", "李小龙", ""),
        ("Korean in one field", "김철수", ""),
        ("Japanese in one field", "田中明", ""),
        ("comma", "Ada", "Lovelace"),
    ]
}


_MARIE: Final = ("joined", "hyphen", "two words", "two fields")
_SMITH: Final = ("both", "neither", "only a space", "only an apostrophe")


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        (("o'brien pat", "pat o’brien", "o'brien", "o-bri"), ("one word", "apostrophe", "space")),
        (("anne-marie", "anne-mar", "otto anne\u2011marie", "anne'marie", "anne-", "-'anne'", "„anne“ «otto»"), _MARIE),
        (("anne-tto", "nne-marie", "d'angelo-chiara"), ()),
        (("d'angelo-smith", "chiara d-angelo'sm"), _SMITH),
        (("zwang-zi", "zw'angzi", "zwangzi", "zw'ang-zi", "z-w-a-n-g-z-i"), ("Chinese in Latin letters",)),
        (
            ("ナオミ・キャンベル", "キャンベル･ナオミ", "ナオミ=キャンベル", "ナオミ\uff1dキャンベル", "ナオミキャンベル"),
            ("kana",),
        ),
        (("マイケルジョーダン", "マイケル・ジョーダン", "ジョーダンマイケル", "ｼﾞｮｰ"), ("dotted kana", "halfwidth dot")),
        (("列奥纳多达芬奇", "列奥纳多・达・芬奇", "达·芬奇", "芬奇"), ("Chinese dot",)),
        (("李,小龙", "李\uff0c小龙", "李、小龙", "李小龙", "小龙李"), ("Chinese", "Chinese in one field")),
        (("김철수", "철수김", "철수 김"), ("Korean in one field",)),
        (("田中明", "明田中", "明、田中"), ("Japanese in one field",)),
        (("Lovelace,Ada", "lovelace;ada", "ada、lovelace", "«Lovelace», ada."), ("comma",)),
    ],
)
async def test_punctuation_need_not_be_the_same(alice: Person, searches: list[str], expected: tuple[str, ...]) -> None:
    """A name is found with and without apostrophes, hyphens and dots, typed or stored, and with a comma between its words."""
    made = await asyncio.gather(*(alice.post(URL, json=body | {"description": name}) for name, body in WRITTEN.items()))
    pages = {search: (await alice.get(URL, params={"search": search})).json() for search in searches}
    found = {search: sorted(each["description"] for each in page["data"]) for search, page in pages.items()}

    assert {response.status_code for response in made} == {201}
    assert found == dict.fromkeys(searches, sorted(expected))


@pytest.mark.parametrize("region", [None, "GB", "US"])
@pytest.mark.parametrize(
    "number",
    [
        *(
            "+44 (0)20 7946 1111",
            "+44 20 7946 1111 ext 5",
            "tel:+442079461111",
            "+44 20 7946 1111 (mobile)",
            "020\u20117946\u20111111",
        ),
        *(
            "0044 (0)20 7946 1111",
            "sip:+442079461111@pbx",
            "442079461111@c.us",
            "\u202a+44 20 7946 1111\u202c",
            "1-800-FLOWERS",
        ),
        *('"Ada" <sip:+442079461111@pbx>', "PJSIP/442079461111-0000001a", "+44 20 7946 1111 Durchwahl 3"),
    ],
)
async def test_a_number_is_found_by_its_own_text(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", number: str, region: str | None
) -> None:
    """Text that is pasted from a contact finds the contact, in whatever form the number is."""
    await set_region(cast("Executor", pool), alice.workspace_id, region)
    await alice.post(URL, json={"first_name": "Ada", "phone_numbers": [{"phone_number": number}]})

    assert await listed(alice, {"search": number}) == ["Ada"]
    assert await listed(alice, {"search": f"{number} bob"}) == []


@pytest.mark.parametrize(
    ("held", "search"),
    [
        *(("+44 20 7946 2740", each) for each in ("sip:+442079462740@pbx", "442079462740@c.us", "020\u20117946\u20112740")),
        *(
            ("+44 20 7946 2740", each)
            for each in ("\u202a020 7946 2740\u202c", "7946\u20132740", "tel:2079462740;phone-context=+44")
        ),
        *(("020 7946 2740", each) for each in ("+442079462740", "0044 20 7946 2740", "442079462740")),
        *(("0044 (0)20 7946 2740", each) for each in ("+44 20 7946 2740", "020 7946 2740")),
    ],
)
async def test_a_search_reads_numbers_as_the_filter_does(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", held: str, search: str
) -> None:
    """A complete number finds a contact that has it in another form, by the region of the workspace, too."""
    await set_region(cast("Executor", pool), alice.workspace_id, "GB")
    await alice.post(URL, json={"first_name": "Ada", "phone_numbers": [{"phone_number": held}]})

    assert await listed(alice, {"search": search}) == ["Ada"]


@pytest.mark.parametrize("search", ["小李", "中田", "ใจสม", "7946", "0740 0958", "angelo smith brien"])
async def test_no_others_are_found(alice: Person, search: str) -> None:
    """Neither letters of a name in another order nor digits from the middle of a number find it."""
    await asyncio.gather(*(alice.post(URL, json=person) for person in SOUGHT))

    assert await listed(alice, {"search": search}) == []


@pytest.mark.parametrize("form", ["münchen.example", "xn--mnchen-3ya.example", "MÜNCHEN.example", "munchen"])
@pytest.mark.parametrize("sent", ["münchen.example", "xn--mnchen-3ya.example"])
async def test_addresses_are_found_in_either_form_of_their_domain(alice: Person, form: str, sent: str) -> None:
    """An internationalized domain is found as people write it, and as machines do."""
    await alice.post(URL, json={"first_name": "Ida", "emails": [{"email": f"ida@{sent}"}]})

    assert await listed(alice, {"search": f"ida@{form}"}) == ["Ida"]


ALIKE = ("jo.1@corp.example", "jo.1@corp.example.org", "ann.jo.1@corp.example")


@pytest.mark.parametrize(
    "search", ["jo.1@corp.example", "JO.1@corp.example,", "<jo.1@corp.example>", "right jo.1@corp.example"]
)
@pytest.mark.parametrize("order", ["updated_at:desc", "updated_at:asc"])
@pytest.mark.parametrize("limit", ["1", "2", "25"])
async def test_the_holder_of_an_address_comes_first(alice: Person, search: str, order: str, limit: str) -> None:
    """A search for an address begins with the contact that has exactly this one; the pages go on without it."""
    people = [await alice.post(URL, json={"first_name": "Other", "emails": [{"email": ALIKE[1]}]})]
    people += [await alice.post(URL, json={"first_name": "Right", "emails": [{"email": ALIKE[0]}]})]
    people += [await alice.post(URL, json={"first_name": "Right Another", "emails": [{"email": ALIKE[2]}]})]
    found = await walked(alice, {"search": search, "order_by": order, "limit": limit})

    others = [name for name in ("Other", "Right Another") if name != "Other" or "right" not in search]
    assert found == ["Right", *(others if order == "updated_at:asc" else reversed(others))]


async def test_an_address_that_moves_between_two_pages_hides_nobody(alice: Person) -> None:
    """The pages leave out the contact that they began with, also once another one has the address."""
    people = [Thing(await alice.post(URL, json={"first_name": str(n), "emails": [{"email": ALIKE[n]}]})) for n in range(3)]
    asked = {"search": ALIKE[0], "limit": "1", "order_by": "updated_at:asc"}
    page = (await alice.get(URL, params=asked)).json()
    await alice.patch(people[0].url, json={"emails": []})
    await alice.patch(people[2].url, json={"emails": [{"email": ALIKE[0]}]})
    rest = await walked(alice, {"cursor": page["next_cursor"]})

    assert [each["first_name"] for each in page["data"]] == ["0"]
    assert rest == ["1", "2"]


@pytest.mark.usefixtures("people")
async def test_an_empty_search_is_none(alice: Person) -> None:
    """An empty search returns the whole list, for clients that always send the parameter."""
    assert len(await listed(alice, {"search": ""})) == len(PEOPLE)


async def test_a_search_sees_a_write_at_once(alice: Person, people: list[Thing]) -> None:
    """A contact is found by its current data, not by old data."""
    ada = people[0]
    await alice.patch(ada.url, json={"last_name": "Byron", "emails": [{"email": "ada@home.test"}]})

    assert await listed(alice, {"search": "byron"}) == ["Ada"]
    assert await listed(alice, {"search": "ada@home"}) == ["Ada"]
    assert await listed(alice, {"search": "lovelace"}) == []
    assert await listed(alice, {"search": "king"}) == []


async def test_a_word_in_two_places_stays_while_it_is_in_one(alice: Person, ada: Thing) -> None:
    """A word in a name and in an address stays indexed until both lose it."""
    found: list[list[str]] = []
    patches: list[Json] = [{"first_name": "Augusta"}, {"emails": []}, {"last_name": "Ada"}, {"last_name": "King"}]
    for patch in patches:
        await alice.patch(ada.url, json=patch)
        found.append(await listed(alice, {"search": "ada"}))

    assert found == [["Augusta"], [], ["Augusta"], []]


async def test_a_contact_is_found_once(alice: Person) -> None:
    """A contact whose words match several times is listed once."""
    await alice.post(URL, json={"first_name": "Ann Anna", "last_name": "Anne Annabel", "emails": [{"email": "an@an.test"}]})

    assert await listed(alice, {"search": "an"}) == ["Ann Anna"]


@pytest.mark.usefixtures("people")
async def test_a_search_goes_with_an_order_and_a_cursor(alice: Person) -> None:
    """A search combines with an order and a cursor."""
    found = await walked(alice, {"search": "a", "limit": 1, "order_by": "updated_at:asc"})

    assert found == ["Ada", "Björn", "100% real"]


@pytest.mark.usefixtures("people")
async def test_a_search_goes_with_a_filter(alice: Person, people: list[Thing]) -> None:
    """A search and a filter must both match."""
    params = {"search": "a", "filter[updated_at][gt]": people[1].json["updated_at"]}

    assert await listed(alice, params) == ["100% real"]


async def test_a_search_of_many_terms_is_answered(alice: Person, ada: Thing) -> None:
    """The longest search works: 255 characters, up to 128 terms."""
    assert ada.json["first_name"] == "Ada"
    assert await listed(alice, {"search": ("a " * 128).strip()}) == ["Ada"]
    assert await listed(alice, {"search": "a b " * 63}) == []


@pytest.mark.parametrize(("search", "code"), [("x" * 256, "too_long"), ("a\u0000b", "invalid_characters")])
async def test_a_search_that_is_none_is_refused(alice: Person, search: str, code: str) -> None:
    """A search has at most 255 characters and no NUL."""
    response = await alice.get(URL, params={"search": search})

    assert response.status_code == 400
    assert faults(response) == [("search", code)]


FILL = """
    with one as (
        insert into contact (workspace_id, id, version, updated_at, search, object)
        select $1, gen_random_uuid(), n, now() + n * interval '1 millisecond',
            case when n <= 5100 then E'\\x1fold \\x1fada' when n <= 5200 then E'\\x1fbold' else '' end || E'\\x1e',
            json_build_object('first_name', n)
        from generate_series(1, 25500) as n
        returning workspace_id, id, version as n
    )
    insert into contact_word (workspace_id, word, contact_id)
    select workspace_id, word, id from one, unnest(case when n <= 5100 then array['old', 'ada'] else array['bold'] end) as word
    where n <= 5200
"""


async def test_a_common_word_of_what_was_not_changed_for_long(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A common word is found page by page even if the twenty thousand latest contacts lack it."""
    await pool.execute(FILL, alice.workspace_id)
    newest = await walked(alice, {"search": "old ada", "limit": "100"})
    oldest = await listed(alice, {"search": "ada", "order_by": "updated_at:asc", "limit": "2"})

    assert newest == list(range(5100, 0, -1))
    assert oldest == [1, 2]


@pytest.mark.parametrize("symbols", ["👍", "★ ☎", "€ £", "❤️", "🇬🇧", "…", "→ ∞"])
async def test_a_name_of_symbols_is_stored(alice: Person, symbols: str) -> None:
    """A name without letters and digits is a name; no search finds it, but one for the address does."""
    made = await alice.post(URL, json={"first_name": symbols, "emails": [{"email": "x@star.test"}]})
    by_address = await listed(alice, {"search": "star.test"})
    patches: list[Json] = [{"emails": []}, {"first_name": None, "last_name": symbols}, {"first_name": symbols}]
    patched = [await alice.patch(Thing(made).url, json=patch) for patch in patches]

    assert by_address == [symbols]
    assert [response.status_code for response in patched] == [200, 200, 200]
    assert await listed(alice, {"search": symbols}) == []


EARLIER = """
    with one as (
        insert into contact (
            workspace_id, id, version, updated_at, search, first_name_word, last_name_word, phone_numbers_e164, object
        )
        values (
            $1, $2, 7, now(), E'\\x1f小龙\\n\\x1fo\\'\\x1fbrien\\n\\x1fx@\\x1fx', '小龙', 'o', '{+442079460958}',
            json_build_object(
                'object', 'contact', 'id', $3::text, 'first_name', '小龙', 'last_name', 'O''Brien',
                'emails', '[{"email": "x@x.test", "is_primary": true}]'::json,
                'phone_numbers', '[{"phone_number": "+44 20 7946 0958", "is_primary": true}]'::json,
                'created_at', '2026-03-01T12:00:00.000000Z', 'updated_at', '2026-03-01T12:00:00.000000Z'
            )
        )
    ), address as (
        insert into contact_email (workspace_id, address, contact_id) values ($1, 'x@x.test', $2)
    )
    insert into contact_word (workspace_id, word, contact_id)
    select $1, word, $2 from unnest('{brien,x,+442079460958}'::text[]) as word
"""


async def test_what_an_earlier_release_wrote_is_found_in_the_new_ways(
    alice: Person, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Rows of an earlier release get the search data of this one, without a change of the contact."""
    contact_id = ids.new_id()
    await pool.execute(EARLIER, alice.workspace_id, contact_id, ids.encoded(ids.CONTACT, contact_id))
    before = await alice.get(f"{URL}/{ids.encoded(ids.CONTACT, contact_id)}")
    async with ledger_on(database_url) as ledger:
        await refresh_search(cast("Executor", pool), ledger)
    after = await alice.get(f"{URL}/{ids.encoded(ids.CONTACT, contact_id)}")

    assert [await listed(alice, {"search": search}) for search in ("龙", "obrien", "0958", "x@x.test")] == [["小龙"]] * 4
    assert (before.json(), before.headers["etag"]) == (after.json(), after.headers["etag"])
    assert await pool.fetchval("select count(*) from contact where strpos(search, chr(30)) = 0 and deleted_at is null") == 0


async def test_what_an_earlier_release_wrote_may_have_no_word(
    alice: Person, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Rows of an earlier release without any word are brought up to date, too, together with the others."""
    symbols = Thing(await alice.post(URL, json={"first_name": "👍"}))
    await alice.post(URL, json={"first_name": "Ada", "last_name": "O'Brien"})
    unmarked = "update contact set search = translate(search, chr(30), '') where workspace_id = $1"
    await pool.execute(unmarked, alice.workspace_id)
    async with ledger_on(database_url) as ledger:
        await refresh_search(cast("Executor", pool), ledger)

    outdated = "select count(*) from contact where strpos(search, chr(30)) = 0 and workspace_id = $1"
    assert await pool.fetchval(outdated, alice.workspace_id) == 0
    assert (await alice.get(symbols.url)).headers["etag"] == symbols.etag
    assert await listed(alice, {"search": "obrien"}) == ["Ada"]


async def test_names_of_which_an_earlier_release_kept_the_first_word_are_sorted_whole(
    alice: Person, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Names of which a row has the first word alone get the key that sorts them, and are found as before."""
    for name in ("(Ada) Marie", "O'Brien", "王小明", "👍", "a" * 255):
        await alice.post(URL, json={"first_name": name, "last_name": name})
    stored_names = "select first_name_word, last_name_word from contact where workspace_id = $1 order by id"
    kept = await pool.fetch(stored_names, alice.workspace_id)
    await pool.execute(
        "update contact set first_name_word = left(first_name_word, 1), last_name_word = left(last_name_word, 1) "
        "where workspace_id = $1",
        alice.workspace_id,
    )
    async with ledger_on(database_url) as ledger:
        await refresh_search(cast("Executor", pool), ledger)

    assert await pool.fetch(stored_names, alice.workspace_id) == kept
    assert [each[0] for each in kept] == ["ada) marie", "o'brien", "王小明", None, "a" * 200]
    assert await listed(alice, {"search": "marie ada"}) == ["(Ada) Marie"]
