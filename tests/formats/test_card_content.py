"""People come from cards and go to cards, and nothing is lost on the way."""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herdbook.fields import shows
from herdbook.formats.card_content import CardContent, CardItem, content_of, properties_of
from herdbook.formats.cards import Card, Parameter, Property, read_cards, written
from tests.formats.cards import CARDS, opened
from tests.repeats import repeats

_VERSIONS = ("3.0", "4.0")
# A busy machine takes long to make them up.
_patient = settings(max_examples=repeats(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A card has no place for a carriage return, and for no controls but these.
# Imports take away the spaces around a text.
_text = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), min_size=1, max_size=30)
    .map(str.strip)
    .filter(shows)
)
_word = st.text("abcdeéß中-", min_size=1, max_size=8)
_names = st.sampled_from(
    ["N", "FN", "EMAIL", "TEL", "ORG", "TITLE", "ADR", "BDAY", "URL", "NOTE", "CATEGORIES", "TZ", "X-ABLABEL", "UID", "X-A-B"]
)
_parameters = st.lists(
    st.builds(
        Parameter,
        st.sampled_from(["TYPE", "PREF", "LANGUAGE", "X-P"]),
        st.lists(st.text("ab1,;:^'é", min_size=1, max_size=5), min_size=1, max_size=3).map(tuple),
    ),
    max_size=3,
).map(tuple)
_properties = st.lists(
    st.builds(
        Property, _names, st.text("ab1;,\\ :é\U0001f600", max_size=12), _parameters, st.sampled_from(["", "item1", "g-2"])
    ),
    max_size=8,
).map(tuple)
_parts = st.dictionaries(st.sampled_from(["street", "city", "region", "postal_code", "country"]), _text)


@st.composite
def _items(draw: st.DrawFn, values: st.SearchStrategy[str]) -> tuple[CardItem, ...]:
    """Return addresses or numbers, one of them the primary one."""
    found = draw(st.lists(values, max_size=4, unique=True))
    primary = draw(st.integers(0, max(0, len(found) - 1)))
    labels = st.sampled_from(["", "work", "home", "mobile", "fax", "other", 'Büro, oben; "hier"'])
    return tuple(CardItem(value, draw(labels), index == primary) for index, value in enumerate(found))


@st.composite
def _contents(draw: st.DrawFn) -> CardContent:
    """Return what a contact may say."""
    maybe = st.one_of(st.just(""), _text)
    links = draw(st.lists(_word.map(lambda word: f"https://{word}.example/a;b,c"), max_size=3, unique=True))
    company = draw(maybe)
    return CardContent(
        first_name=draw(maybe),
        last_name=draw(maybe),
        emails=draw(_items(_word.map(lambda word: f"{word}@x.example"))),
        phone_numbers=draw(_items(st.from_regex(r"\+[1-9][0-9]{5,10}", fullmatch=True))),
        company=company,
        department=draw(maybe) if company else "",
        job_title=draw(maybe),
        address=draw(_parts),
        birthday=draw(st.one_of(st.just(""), st.dates(date(1800, 1, 1)).map(date.isoformat))),
        website=links[0] if links else "",
        links=tuple(links[1:]),
        description=draw(maybe),
        notes=tuple(draw(st.lists(_text, max_size=3, unique=True))),
        tags=tuple(draw(st.lists(_text, max_size=3, unique=True))),
        time_zone=draw(st.sampled_from(["", "Europe/Paris"])),
        others=draw(st.dictionaries(_word, _text, max_size=2)),
    )


def _read(text: str | bytes) -> list[Card]:
    cards = [*read_cards(opened(text.encode() if isinstance(text, str) else text))]
    assert all(isinstance(card, Card) for card in cards), cards
    return [card for card in cards if isinstance(card, Card)]


@pytest.mark.parametrize("version", _VERSIONS)
@_patient
@given(content=_contents())
def test_a_contact_comes_back_from_its_card(content: CardContent, version: str) -> None:
    """A contact is the same after it has been a card."""
    [card] = _read(written(properties_of(content), version))

    assert content_of(card.properties) == content


@pytest.mark.parametrize("version", _VERSIONS)
@_patient
@given(content=_contents(), kept=_properties)
def test_a_change_of_a_contact_is_in_its_card(content: CardContent, kept: tuple[Property, ...], version: str) -> None:
    """A card says what its contact says now, whatever it said before."""
    [card] = _read(written(properties_of(content, kept), version))

    assert content_of(card.properties) == content


@pytest.mark.parametrize("version", _VERSIONS)
@_patient
@given(properties=_properties)
def test_a_card_loses_nothing(properties: tuple[Property, ...], version: str) -> None:
    """A card is the same after it has been a contact."""
    [card] = _read(written(properties, version))
    [again] = _read(written(card.properties, version))
    named = any(each.name == "FN" for each in card.properties)

    assert again == card
    if named:
        assert properties_of(content_of(card.properties), card.properties) == card.properties


@pytest.mark.parametrize("name", CARDS)
def test_cards_of_other_programs(name: str) -> None:
    """Cards as other programs write them say what they mean, and are written again with all that they had."""
    source, content = CARDS[name]
    [card] = _read(source)

    assert content_of(card.properties) == content
    assert properties_of(content, card.properties) == card.properties or not any(each.name == "FN" for each in card.properties)
    for version in _VERSIONS:
        [again] = _read(written(properties_of(content, card.properties), version))
        assert content_of(again.properties) == content
        assert {each.name for each in card.properties} <= {each.name for each in again.properties}
