"""GET /v2/contacts: search."""

import asyncpg
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Thing, faults
from tests.contacts.listing import URL, listed, walked

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
        ("munchen", ["𝐄𝐝𝐢𝐭𝐡"]),
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
        # No other member of a contact is searched, such as phone numbers or descriptions
        ("555", []),
        ("1842", []),
        ("knows", []),
        ("cnt", []),
        ("contact", []),
    ],
)
async def test_a_search_finds_words_by_their_beginnings(alice: Person, search: str, expected: list[str]) -> None:
    """A search matches beginnings of words in full names and e-mail addresses, without case and accents."""
    assert await listed(alice, {"search": search}) == expected


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
            case when n <= 5100 then E'\\x1fold \\x1fada' when n <= 5200 then E'\\x1fbold' else '' end,
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
