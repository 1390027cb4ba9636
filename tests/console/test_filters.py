"""The filters of a list, as forms add them and addresses have them, without a browser."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from herdbook.custom_fields import filters
from herdbook.custom_fields.filters import FURTHER, OFFERED
from herdbook.custom_fields.forms import Member
from herdbook.custom_fields.model import FieldKind
from tests.cast import Person, Thing
from tests.console.people import Visitor
from tests.console.test_contact_pages import NASTY
from tests.custom_fields.definitions import define

_DAY: Final = "2026-03-01"
# A value of each kind of fields, as people type it, and as the API takes it.
VALUES: Final[dict[FieldKind, tuple[str, Any]]] = {
    FieldKind.TEXT: ("blue", "Blue"),
    FieldKind.LONG_TEXT: ("blue", "Blue"),
    FieldKind.INTEGER: ("7", 7),
    FieldKind.DECIMAL: ("7.50", "7.50"),
    FieldKind.DATE: (_DAY, _DAY),
    FieldKind.DATE_TIME: (_DAY, f"{_DAY}T12:00:00Z"),
    FieldKind.YES_NO: ("yes", True),
    FieldKind.ONE_OF: ("gold", "gold"),
    FieldKind.SEVERAL_OF: ("gold", ["gold"]),
    FieldKind.LINK: ("https://a.test", "https://a.test"),
    FieldKind.EMAIL: ("a@b.test", "a@b.test"),
    FieldKind.PHONE: ("+4930123456", "+4930123456"),
    FieldKind.ADDRESS: ("Berlin", {"city": "Berlin"}),
    FieldKind.MONEY: ("12.50 eur", {"amount": "12.50", "currency": "EUR"}),
}


def _rows(text: str) -> list[str]:
    return re.findall(r'class="row-link"[^>]*>.*?</span><span>([^<]*)</span>', text)


def _chips(text: str) -> list[str]:
    chips = re.findall(r'<span class="chip-text">(.*?)</span><a', text)
    return [" ".join(re.sub(r"<[^>]+>", "", each).split()) for each in chips]


async def _added(visitor: Visitor, path: str, **form: str) -> str:
    """Send the form of a new filter, and return the page that it leads to."""
    answer = await visitor.get(
        path + ("&" if "?" in path else "?") + "&".join(f"{key}={quote(text)}" for key, text in form.items())
    )
    assert answer.status_code == 303, answer.text
    page = await visitor.client.get(answer.headers["Location"])
    assert page.status_code == 200, page.text
    return page.text


async def test_filter_is_added_one_at_a_time(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """Choose a member, then a comparison and a value: the address has the filter, and the list what fits it."""
    assert ada.etag != grace.etag
    form = (await olga.get("/contacts?add=last_name")).text
    assert '<option value="begins_with">begins with</option>' in form

    page = await _added(olga, "/contacts?sort=first_name:asc", add="last_name", op="begins_with", value="love")

    assert _rows(page) == ["Ada Lovelace"]
    assert _chips(page) == ["Last name begins with love"]
    assert 'name="sort" value="first_name:asc"' in page


async def test_filters_must_all_hold_unless_one_is_an_alternative(
    olga: Visitor, alice: Person, ada: Thing, grace: Thing
) -> None:
    """Filters are joined by "and", and one with "or" is an alternative to the one before it."""
    await alice.patch(ada.url, json={"description": "Wrote programs."})
    both = "/contacts?filter=last_name:eq:lovelace&filter=or:last_name:eq:hopper"
    page = await _added(olga, "/contacts?filter=last_name:eq:lovelace", add="last_name", op="eq", value="hopper", **{"or": "1"})

    assert sorted(_rows(page)) == ["Ada Lovelace", "Grace Hopper"]
    assert _rows((await olga.get(both.replace("or:", ""))).text) == []
    assert _rows((await olga.get(both + "&filter=description:is_set:")).text) == ["Ada Lovelace"]
    assert grace.id in (await olga.get(both + "&filter=description:is_not_set:")).text


async def test_filter_is_removed(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """Each filter has a link to the list without it. The alternative to one that goes takes its place."""
    page = (await olga.get("/contacts?filter=last_name:eq:lovelace&filter=or:last_name:eq:hopper&sort=last_name:asc")).text
    removals: list[str] = re.findall(r'class="chip-remove" href="([^"]+)"', page)

    query = parse_qsl(urlsplit(removals[0].replace("&amp;", "&")).query)

    assert sorted(query) == [("filter", "last_name:eq:hopper"), ("sort", "last_name:asc")]
    assert {ada.id, grace.id} <= set(re.findall(r"cnt_\w{26}", page))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("filter=emails:eq:nonsense@", "The filter of E-mail: The value is not an e-mail address"),
        ("filter=last_name:eq:a&filter=shoe_size:eq:7", "A filter: The name names no field of contacts: shoe_size"),
        ("filter=last_name:near:a", "The filter of Last name: The comparison must be one of"),
        ("filter=last_name", "The filter of Last name: The comparison must be one of"),
        ("filter=updated_at:before:soon", "The filter of Changed: The value is no time"),
        ("filter=last_name:eq:", "The filter of Last name: The value has 0 characters"),
        ("filter=%7B%22field%22", "A filter: "),
        ("filter=%7B%22and%22%3A%5B%5D%7D", "A filter: "),
        ("filter=last_name:eq:a&filter=or:emails:eq:nonsense@", "The filter of E-mail: The value is not"),
        ("&".join(["filter=last_name:eq:a"] * 60), "too many conditions"),
    ],
)
async def test_wrong_filter_is_named(olga: Visitor, ada: Thing, address: str, words: str) -> None:
    """A filter in an address that makes no sense is named, with the reason, and can be removed. Nothing is listed meanwhile."""
    page = await olga.get(f"/contacts?{address}")

    assert page.status_code == 422
    assert words in page.text
    assert ada.id not in page.text
    assert page.text.count('class="chip-remove"') == address.count("filter=")
    assert "`" not in page.text.split('id="list-error"')[1].split("</div></div>")[0]


async def test_form_without_a_value_says_so(olga: Visitor) -> None:
    """A comparison that needs a value is not added without one."""
    page = await olga.get("/contacts?add=last_name&op=eq&value=")

    assert page.status_code == 200
    assert "This comparison needs a value." in page.text
    assert _chips(page.text) == []


@pytest.mark.parametrize("kind", VALUES)
async def test_each_comparison_that_is_offered_is_one(olga: Visitor, frank: Person, ada: Thing, kind: FieldKind) -> None:
    """For each kind of field, the API takes each comparison of the form with a value as people type it."""
    typed, stored = VALUES[kind]
    await define(frank, "extra", kind.value)
    answer = await frank.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"fields": {"extra": stored}})
    assert answer.status_code == 200, answer.text
    form = (await olga.get("/contacts?add=fields.extra")).text
    ops = re.findall(r'<option value="(\w+)">', form.split('name="op"')[1].split("</select>")[0])
    found: dict[str, list[str]] = {
        op: _rows(await _added(olga, "/contacts", add="fields.extra", op=op, value=typed)) for op in ops
    }

    assert {"is_set", "is_not_set"} <= set(ops)
    holding = {"is_set", "contains", "begins_with", "eq", "one_of", "gte", "lte"}
    assert {op for op, rows in found.items() if rows == ["Ada Lovelace"]} == holding & set(ops)


@pytest.mark.parametrize("object_type", ["contacts", "companies"])
async def test_each_member_can_be_filtered(olga: Visitor, ada: Thing, engine: Thing, object_type: str) -> None:
    """Each member that the form offers has comparisons, and the API takes each of them."""
    assert ada.etag
    members = re.findall(
        r'<option value="([^"]+)">', (await olga.get(f"/{object_type}")).text.split('name="add"')[1].split("</select>")[0]
    )
    values = {
        "company_id": engine.id,
        "tag_ids": "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "emails": "a@b.test",
        "phone_numbers": "123",
        "domains": "a.test",
    }

    assert {"created_at", "crm_association", "tag_ids", "description"} < set(members)
    for member in members:
        form = (await olga.get(f"/{object_type}?add={member}")).text
        for op in re.findall(r'<option value="(\w+)">', form.split('name="op"')[1].split("</select>")[0]):
            value = values.get(member, _DAY if member.endswith("_at") else "a")
            await _added(olga, f"/{object_type}", add=member, op=op, value=value)


async def test_reference_and_tag_are_shown_by_name(
    olga: Visitor, alice: Person, ada: Thing, grace: Thing, engine: Thing
) -> None:
    """A filter by a company or a tag finds what refers to it, and shows its name."""
    tag = Thing(await alice.post("/api/v2/tags", json={"name": "Patron"}))
    await alice.patch(f"/api/herdbook/contacts/{ada.id}/record", json={"company_id": engine.id, "tag_ids": [tag.id]})
    assert grace.etag

    form = (await olga.get("/contacts?add=company_id&find=anal")).text
    page = await _added(olga, f"/contacts?filter=company_id:eq:{engine.id}", add="tag_ids", op="one_of", value=tag.id)

    assert f'name="value" data-found value="{engine.id}">Analytical Engine' in form
    assert _chips(page) == ["Company is Analytical Engine", "Tags is one of Patron"]
    assert _rows(page) == ["Ada Lovelace"]


async def test_search_and_filters_go_together(olga: Visitor, alice: Person, ada: Thing, grace: Thing) -> None:
    """A search looks among what fits the filters, for its words anywhere in names, addresses and numbers."""
    for each in (ada, grace):
        await alice.patch(each.url, json={"description": "Wrote programs."})
    start = "/contacts?filter=description:is_set:"

    assert len(_rows((await olga.get(start)).text)) == 2
    assert _rows((await olga.get(start + "&search=love+engine.test")).text) == ["Ada Lovelace"]
    assert "No contact has all these words and fits the filters" in (await olga.get(start + "&search=nobody")).text


async def test_condition_of_another_form_is_a_filter(olga: Visitor, ada: Thing, grace: Thing) -> None:
    """Any condition that queries take can be in an address, as JSON."""
    condition = '{"not":{"and":[{"field":"last_name","op":"contains","value":"love"}]}}'
    page = (await olga.get(f"/contacts?filter={quote(condition)}")).text

    assert _rows(page) == ["Grace Hopper"]
    assert ada.id not in page
    assert grace.id in page
    assert _chips(page) == [f"Condition {escape(condition)}"]


@pytest.mark.parametrize("text", NASTY, ids=["markup", "template", "right-to-left", "long"])
async def test_every_filter_is_shown_as_text(olga: Visitor, text: str) -> None:
    """Nothing in a filter is taken for a part of the page, whether it makes sense or not."""
    for name in ("last_name:contains:", "last_name:one_of:", "emails:eq:", "", "{", "fields."):
        page = (
            await olga.get(f"/contacts?filter={quote(name + text)}&add={quote(text)}&columns={quote(text)}&sort={quote(text)}")
        ).text
        assert "<img" not in page
        assert "49" not in page.split('class="chips"')[1].split("</ul>")[0]


_MEMBERS: Final = {each.name: each for each in (Member("last_name", "Last name", "text"), *FURTHER)}
_TEXTS: Final = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def _comparison(member: str, op: str, value: Any) -> Any:
    return {"field": member, "op": op} | ({} if op in ("is_set", "is_not_set") else {"value": value})


def _group(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else {"or": parts}


_COMPARISONS: Final[st.SearchStrategy[Any]] = st.builds(
    _comparison,
    st.sampled_from([*_MEMBERS, "fields.other"]),
    st.sampled_from([op for ops in OFFERED.values() for op in ops]),
    st.one_of(_TEXTS, st.booleans(), st.integers(), st.lists(_TEXTS, max_size=3), st.fixed_dictionaries({"amount": _TEXTS})),
)
_GROUPS: Final[st.SearchStrategy[Any]] = st.builds(_group, st.lists(_COMPARISONS, min_size=1, max_size=3))


@given(st.lists(_GROUPS, min_size=1, max_size=4))
def test_condition_is_read_from_its_filters(groups: list[Any]) -> None:
    """The filters of a condition, written into an address and read again, stand for that condition."""
    found = filters.filters_of({"and": groups}, _MEMBERS)

    assert filters.condition(filters.read(map(str, found)), _MEMBERS) == groups
