"""Seeds: from files, from a workspace as it is, and their errors."""

import time
from typing import Any

import pytest

from herdbook.db.pool import DatabaseAway
from herdbook.lab.seed_file import SeedInvalid, from_ndjson, from_yaml
from herdbook.lab.workspace import LabWorkspace
from tests.lab.conftest import LAB, NEW_YEAR, Bench

CONTACTS = "/api/v2/contacts"
YAML = """
clock: 2025-06-01T12:00:00Z
objects:
  - user: boss
    body: {first_name: Bo, role: OWNER}
  - tag: vip
    body: {name: VIP}
  - company: acme
    body: {name: Acme, domains: [{domain: acme.example}]}
  - contact: ada
    body: {first_name: Ada, company_id: $acme, tag_ids: [$vip], description: $$5 a day}
  - contact_note: first
    of: $ada
    body: {text: Met at the fair.}
  - request: PATCH /v2/contacts/$ada
    body: {last_name: Lovelace}
"""
BOMB = "objects:\n  - contact: ada\n    body:\n      a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"      a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 7)
)
NDJSON = """
{"clock": "2025-06-01T12:00:00Z"}
{"company": "acme", "body": {"name": "Acme", "domains": [{"domain": "acme.example"}]}}
{"contact": "ada", "body": {"first_name": "Ada", "company_id": "$acme"}}
"""


async def add(bench: Bench, name: str, **members: Any) -> Any:
    """Add a seed, and return the answer."""
    return (await bench.ask("POST", f"{LAB}/seeds", json={"name": name, **members})).json()


async def test_a_seed_from_yaml(bench: Bench) -> None:
    """Its objects refer to each other by name, and are of its time."""
    seed = await add(bench, "yaml", yaml=YAML)
    desk = await bench.workspace("yaml")

    ada = (await desk.ask("GET", f"{CONTACTS}/{desk.made['objects']['ada']}")).json()

    assert desk.made["objects"] == seed["objects"]
    assert (ada["last_name"], ada["description"]) == ("Lovelace", "$5 a day")
    assert ada["company"]["id"] == seed["objects"]["acme"]
    assert ada["created_at"].startswith("2025-06-01T12:00:0")
    assert [each["role"] for each in desk.made["users"]] == ["OWNER"]


async def test_a_seed_from_ndjson(bench: Bench) -> None:
    """Each line is an object; the first may say the time."""
    seed = await add(bench, "ndjson", ndjson=NDJSON)
    desk = await bench.workspace("ndjson")

    ada = (await desk.ask("GET", f"{CONTACTS}/{seed['objects']['ada']}")).json()

    assert ada["company"]["id"] == seed["objects"]["acme"]
    assert ada["created_at"].startswith("2025-06-01T12:00:0")


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("objects:\n  - contact: ada\n    bod: {}\n", 2, "`bod`"),
        ("objects:\n  - contact: ada\n  - contact: ada\n", 3, "line 2"),
        ("objects:\n  - contact: ada\n    body: {company_id: $acme}\n", 2, "`$acme`"),
        ("objects:\n  - contact: a b\n", 2, "`a b`"),
        ("objects:\n  - body: {}\n", 2, "exactly one kind"),
        ("objects:\n  - contact_note: one\n", 2, "needs `of`"),
        ("objects:\n  - request: GET /v2/contacts\n", 2, "`GET /v2/contacts`"),
        ("objects:\n  - just text\n", 2, "mapping"),
        ("clock: noon\nobjects: []\n", 1, "`clock`"),
        ("things: []\n", 1, "`things`"),
        ("objects: [\n", 2, "YAML"),
        ("- contact: ada\n", 1, "mapping with `objects`"),
        ("objects:\n  - contact: ada\n    body: &a\n      first_name: *a\n", 3, "alias"),
        (f"objects: {'[' * 60}{']' * 60}\n", 1, "more than 50 deep"),
        (f"objects:\n  - contact: ada\n    body: {'[' * 5000}\n", 3, "more than 50 deep"),
        (BOMB, 4, "more than 10,000 values"),
        ("objects:\n  - contact: ada\n    body:\n      ~: 1\n", 4, "`~` is no name"),
        ("objects:\n  - contact: ada\n    body:\n      [a, b]: 1\n", 4, "list"),
        ("objects:\n  - contact: ada\n    contact: bob\n", 3, "`contact` is there twice"),
        ("objects: []\nobjects: []\n", 2, "`objects` is there twice"),
        ("objects:\n  - contact: ada\n    body: {first_name: 2025-13-45}\n", 2, "in quotes"),
        ('objects:\n  - contact: ada\n    body: {first_name: "\\ud800"}\n', 2, "cannot be read"),
        ("objects:\n  - contact: ada\n    body: {first_name: !!timestamp x}\n", 2, "in quotes"),
        ("clock: 9999-12-31T23:59:59Z\nobjects: []\n", 1, "3000-01-01"),
        ("clock: 1969-12-31T23:59:59Z\nobjects: []\n", 1, "1970-01-02"),
        ("clock: 3000-01-01T00:00:00Z\nobjects:\n  - contact: ada\n", 3, "earlier `clock`"),
        ("clock: yesterday\nobjects: []\n", 1, "not a time"),
    ],
)
def test_an_error_of_a_yaml_file_has_its_line(text: str, line: int, named: str) -> None:
    """The message names the fault, and the line is that of the object."""
    with pytest.raises(SeedInvalid) as raised:
        from_yaml(text)

    assert raised.value.line == line
    assert named in raised.value.message


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"contact"', "not JSON"),
        ("[" * 50_000, "more than 50 deep"),
        (f'{{"contact": "bob", "body": {"[" * 60}{"]" * 60}}}', "more than 50 deep"),
        ('{"contact": "bob", "contact": "eve"}', "`contact` is there twice"),
    ],
    ids=["no JSON", "deep", "a deep body", "twice"],
)
def test_an_error_of_an_ndjson_file_has_its_line(line: str, named: str) -> None:
    """A line that cannot be read is named by its number."""
    with pytest.raises(SeedInvalid) as raised:
        from_ndjson(f'{{"contact": "ada"}}\n{line}\n')

    assert raised.value.line == 2
    assert named in raised.value.message


def test_a_time_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone of the machine does not count."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        seeds = [from_yaml(f"clock: {at}\nobjects: []\n") for at in ("2025-12-01 09:00:00", "2025-12-01T09:00:00Z")]
    finally:
        monkeypatch.undo()
        time.tzset()

    assert seeds[0].at == seeds[1].at


def test_an_alias_is_a_value_again() -> None:
    """Few of them are fine."""
    seed = from_yaml("objects:\n  - contact: ada\n    body: {a: &a [x, y], b: *a}\n")

    assert seed.steps[0].body == {"a": ["x", "y"], "b": ["x", "y"]}


async def test_a_workspace_does_not_begin_before_its_seed(bench: Bench) -> None:
    """A seed of the future needs a clock: without one, changes would be dated after it by guess."""
    await add(bench, "future", yaml="clock: 2900-01-01T00:00:00Z\nobjects:\n  - contact: ada\n    body: {first_name: Ada}\n")

    refused = await bench.ask("POST", f"{LAB}/workspaces", json={"seed": "future"})
    desk = await bench.workspace("future", clock="2900-01-01T00:00:02Z")
    await desk.ask("PATCH", ada := f"{CONTACTS}/{desk.made['objects']['ada']}", json={"last_name": "King"})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "clock"
    assert (await desk.ask("GET", ada)).json()["updated_at"].startswith("2900-01-01T00:00:02")


async def test_a_user_that_cannot_be_is_told_with_the_line(bench: Bench) -> None:
    """An address that is none, one that is taken, and a text that the database does not take."""
    bodies = ["{emails: [nonsense]}", "{emails: [a@x.example]}", '{first_name: "\\0"}']
    taken = "objects:\n  - user: al\n    body: {emails: [a@x.example]}\n"

    answers = [await add(bench, "users", yaml=f"{taken}  - user: bo\n    body: {body}\n") for body in bodies]

    assert [each["status"] for each in answers] == [422] * 3
    assert ["Line 4: The user `bo` cannot be created" in each["detail"] for each in answers] == [True] * 3


async def test_a_build_that_broke_down_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost database is told as one, not as an error of the seed, and the next one who asks gets the seed."""
    text = "objects:\n  - user: al\n    body: {first_name: Al}\n"
    with monkeypatch.context() as broken:

        async def lost(*_: object) -> bytes:
            raise DatabaseAway

        broken.setattr(LabWorkspace, "write", lost)
        refused = await add(bench, "again", yaml=text)
    added = await add(bench, "again", yaml=text)

    assert refused["status"] == 503
    assert added["name"] == "again"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ({"yaml": "objects:\n  - contact: ada\n  - bogus: x\n"}, "Line 3"),
        ({"yaml": "objects:\n  - contact: ada\n    body: [\n"}, "Line 4"),
        ({"ndjson": '{"contact": "ada", "body": {}}\n{"contact"\n'}, "Line 2"),
    ],
    ids=str,
)
async def test_an_error_of_a_text_is_told_with_its_line(bench: Bench, text: dict[str, str], line: str) -> None:
    """The answer says where, in the file of its sender."""
    refused = await add(bench, "wrong", **text)

    assert refused["status"] == 422
    assert refused["errors"][0]["field"] == next(iter(text))
    assert refused["errors"][0]["message"].startswith(f"{line}: ")


async def test_what_the_api_refuses_is_told_with_the_line(bench: Bench) -> None:
    """The answer has the line, the name of the object, and the API's own message; the name of the seed stays free."""
    text = "objects:\n  - contact: ada\n    body: {first_name: Ada, nickname: A}\n"

    refused = await add(bench, "refused", yaml=text)
    again = await add(bench, "refused", yaml="objects: []\n")

    assert refused["status"] == 422
    assert "Line 2" in refused["detail"]
    assert "`nickname`" in refused["detail"]
    assert again["name"] == "refused"


async def test_a_name_that_is_taken_is_refused(bench: Bench) -> None:
    """A seed is not replaced: workspaces of it may be there."""
    refused = await add(bench, "crm-small", objects=[])

    assert refused["errors"][0]["field"] == "name"


async def test_a_snapshot_is_a_seed(bench: Bench) -> None:
    """A new workspace begins with the state in which the other one was, and the other one can go back to it."""
    desk = await bench.workspace("crm-small", clock=NEW_YEAR)
    ada = f"{CONTACTS}/{desk.made['objects']['ada']}"
    await desk.ask("PATCH", ada, json={"first_name": "Augusta"})
    await desk.command("POST", "/snapshot", json={"name": "augusta"})
    await desk.ask("PATCH", ada, json={"first_name": "Somebody"})

    other = await bench.workspace("augusta")
    await desk.command("POST", "/restore", json={"seed": "augusta"})
    names = [(await each.ask("GET", ada)).json()["first_name"] for each in (desk, other)]
    await desk.command("POST", "/reset")

    assert names == ["Augusta", "Augusta"]
    assert (await desk.ask("GET", ada)).json()["first_name"] == "Ada"


async def test_a_seed_is_removed_once_no_workspace_is_of_it(bench: Bench) -> None:
    """As long as a workspace can be reset to it, it stays."""
    await add(bench, "gone", objects=[])
    desk = await bench.workspace("gone")

    refused = await bench.ask("DELETE", f"{LAB}/seeds", params={"name": "gone"})
    await desk.command("DELETE")
    removed = await bench.ask("DELETE", f"{LAB}/seeds", params={"name": "gone"})

    assert (refused.status_code, removed.status_code) == (422, 200)
    assert "gone" not in (await bench.command("GET", f"{LAB}/state"))["seeds"]


async def test_the_shipped_seed_has_objects_of_all_kinds(bench: Bench) -> None:
    """About 120 objects, each of a kind of the API."""
    desk = await bench.workspace("crm-small")
    kinds = {name.partition("_")[0] for name in desk.made["objects"].values()}

    assert kinds == {"cnt", "cmp", "usr", "tag", "fld", "ngmt", "tano", "note", "view"}
    assert 100 < len(desk.made["objects"]) < 130
