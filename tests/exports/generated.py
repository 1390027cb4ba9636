"""Contacts of any members that the API takes."""

from typing import Any, Final, cast

from hypothesis import strategies as st

from herdbook.fields import shows
from tests.cast import Json

# Texts of any signs, more often of those by which formats separate values, or which spreadsheets read as something else.
_SIGNS: Final = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from([*" \"';,:\\=+-@*|.<>&\t\n\u00a0"])
_PLAIN: Final = st.sampled_from(["Ada", "=1+1", "'=1", "+49 30", "a; b", "1,5", '"x"', "true", "2026-03-01", "x ::: y", "* x"])


def texts(most: int = 30, signs: st.SearchStrategy[str] = _SIGNS) -> st.SearchStrategy[str]:
    """Return texts that show something."""
    return st.text(signs, min_size=1, max_size=most).filter(shows) | _PLAIN


_LINE: Final = texts(signs=_SIGNS.filter(lambda sign: sign not in "\t\n"))
_LABEL: Final = st.sampled_from(["work", "home", "mobile", "fax", "other", "Work", "pref", "Sommer; Haus"]) | _LINE
_NUMBERS: Final = st.from_regex(r"\+[1-9][0-9]{6,11}", fullmatch=True) | st.sampled_from(["030/1234 5", "112 x 5", "Tel. 77"])
_DAYS: Final = st.dates().map(str)
_AMOUNTS: Final = st.decimals(-(10**9), 10**9, places=2).map(str)
_OPTIONS: Final = {"gold": "Gold, the best", "silver": "Silver", "bronze": '"Bronze"; third'}
# The fields of a workspace whose contacts have any value, and what these may be.
FIELDS: Final[dict[str, tuple[Json, st.SearchStrategy[Any]]]] = {
    "job_title": ({"kind": "text"}, _LINE),
    "department": ({"kind": "text"}, _LINE),
    "birthday": ({"kind": "date"}, _DAYS),
    "bio": ({"kind": "long_text"}, texts(120)),
    "height": ({"kind": "integer"}, st.integers(-(10**12), 10**12)),
    "weight": ({"kind": "decimal"}, _AMOUNTS),
    "likes": ({"kind": "yes_no"}, st.booleans()),
    "seen": ({"kind": "date_time"}, st.datetimes().map(lambda at: at.isoformat(timespec="microseconds") + "Z")),
    "blog": ({"kind": "link"}, st.sampled_from(["https://a.test/?x=1;y=2,3", "http://b.test"])),
    "second": ({"kind": "email"}, st.sampled_from(["x@y.test", "'+a'@y.test"])),
    "desk": ({"kind": "phone"}, st.from_regex(r"\+4930[0-9]{6}", fullmatch=True)),
    "tier": (
        {"kind": "one_of", "options": [{"id": key, "label": label} for key, label in _OPTIONS.items()]},
        st.sampled_from([*_OPTIONS]),
    ),
    "worth": (
        {"kind": "money"},
        st.fixed_dictionaries({"amount": _AMOUNTS, "currency": st.sampled_from(["EUR", "USD"])}),
    ),
    "address": (
        {"kind": "address"},
        st.dictionaries(st.sampled_from(["street", "city", "region", "postal_code", "country"]), _LINE, min_size=1),
    ),
}


def _several(item: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(item, max_size=most)


def _items(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[Json]]:
    item = st.fixed_dictionaries({name: values}, optional={"label": _LABEL})
    primary = st.integers(0, 2)
    return st.builds(_with_primary, st.lists(item, max_size=3, unique_by=lambda each: each[name]), primary)


def _with_primary(items: list[Json], place: int) -> list[Json]:
    return [each | ({"is_primary": True} if index == place else {}) for index, each in enumerate(items)]


_EMAILS: Final = st.from_regex(r"[a-z0-9]{1,8}(\+[a-z]{1,3})?@[a-z]{1,6}\.example", fullmatch=True)
_BODIES: Final[st.SearchStrategy[Json]] = st.fixed_dictionaries(
    {"first_name": _LINE},
    optional={
        "last_name": _LINE,
        "description": texts(80),
        "time_zone": st.sampled_from(["Europe/Berlin", "America/New_York"]),
        "emails": _items("email", _EMAILS),
        "phone_numbers": _items("phone_number", _NUMBERS),
        "external_ids": st.lists(_LINE, max_size=3, unique=True),
        "crm_association": st.fixed_dictionaries(
            {"object_type": st.just("contact"), "crm_object_id": _LINE, "source": st.just("hubspot")}
        ),
        "fields": st.fixed_dictionaries({}, optional={key: values for key, (_, values) in FIELDS.items()}),
    },
)


def contacts(*, of_cards: bool) -> st.SearchStrategy[list[Json]]:
    """Return bodies of some contacts, no two of which share an address or an id, each with `notes`, `tags` and a `company`.

    `of_cards` if no text has spaces around it, and no usual label has a capital letter: a card keeps neither.
    """
    more: st.SearchStrategy[Json] = st.fixed_dictionaries(
        {}, optional={"notes": _several(texts(60)), "tags": _several(_LINE), "company": _LINE}
    )
    pair = st.tuples(_BODIES, more)
    several = st.lists(pair, min_size=1, max_size=4).map(
        lambda pairs: [_own(place, body, more) for place, (body, more) in enumerate(pairs)]
    )
    return several.map(lambda bodies: [*map(_of_card, bodies)]) if of_cards else several


def _of_card(value: Any) -> Any:
    match value:
        case str():
            return "work" if value == "Work" else value.strip()
        case list():
            return [*map(_of_card, cast("list[Any]", value))]
        case dict():
            return {name: _of_card(each) for name, each in cast("Json", value).items()}
        case _:
            return value


def _own(place: int, body: Json, more: Json) -> Json:
    emails = [each | {"email": f"n{place}.{each['email']}"} for each in body.get("emails", ())]
    own_ids = [f"{each}{place}" for each in body.get("external_ids", ())]
    return body | {"emails": emails, "external_ids": own_ids, "more": more}
