"""`herdbook compare`, between a server and itself, copies of it with other rules, and recordings."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.cli.programs import Finished, Running, herdbook, serving
from tests.compare.changing import Passed, Rule, changing

WRITES = "--allow-writes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server with a workspace."""
    with serving(tmp_path_factory.mktemp("compared"), HERDBOOK_RATE_LIMIT="0") as running:
        yield running


def compare(server: Running, right: str, *options: str, folder: Path) -> Finished:
    """Compare the server with another address or file."""
    keys = {"HERDBOOK_LEFT_KEY": server.key, "HERDBOOK_RIGHT_KEY": server.key}
    return herdbook("compare", f"--left={server.url}", f"--right={right}", *options, folder=folder, **keys)


def counts(server: Running) -> list[int]:
    """Return how many contacts, companies and tags the server has."""
    return [len(server.get(f"/api/v2/{name}?limit=100").json()["data"]) for name in ("contacts", "companies", "tags")]


def test_a_server_does_not_differ_from_itself(server: Running, tmp_path: Path) -> None:
    """No difference is found, in messages neither, and nothing of what the scenarios made is left."""
    before = counts(server)
    done = compare(server, server.url, WRITES, "--texts", folder=tmp_path)

    assert (done.status, done.complained) == (0, ""), done.said
    assert "No difference in" in done.said
    assert "Skipped" not in done.said
    assert counts(server) == before


def _another_status(passed: Passed) -> None:
    if passed.is_of("POST", "contacts") and passed.status == 201:
        passed.status = 200


def _missing_member(passed: Passed) -> None:
    for each in _contacts(passed):
        each.pop("description", None)


def _another_order(passed: Passed) -> None:
    if passed.is_of("GET", "contacts?search="):
        passed.body["data"].reverse()


def _another_code(passed: Passed) -> None:
    if passed.is_of("GET", "contacts?limit=101"):
        passed.body["errors"][0]["code"] = "too_many"


def _another_refusal(passed: Passed) -> None:
    if passed.is_of("PATCH", "contacts") and passed.status == 409:
        passed.status = 422


def _member_more(passed: Passed) -> None:
    if passed.is_of("GET", "tags/") and passed.status == 200:
        passed.body["colour"] = "blue"


def _another_case(passed: Passed) -> None:
    if passed.is_of("POST", "tags") and passed.status == 201:
        passed.body["hex_color"] = passed.body["hex_color"].lower()


def _another_word(passed: Passed) -> None:
    if passed.is_of("DELETE", "tags"):
        passed.body["object"] = "label"


def _missing_header(passed: Passed) -> None:
    if passed.is_of("DELETE", "companies"):
        del passed.headers["x-api-version"]


def _missing_challenge(passed: Passed) -> None:
    if passed.status == 401:
        del passed.headers["www-authenticate"]


def _another_type(passed: Passed) -> None:
    if passed.is_of("GET", "companies/") and passed.status == 200:
        passed.body["domains"] = {"domain": passed.body["domains"][0]["domain"]}


def _same_time(passed: Passed) -> None:
    for each in _contacts(passed):
        if passed.method == "PATCH":
            each["updated_at"] = each["created_at"]


def _contacts(passed: Passed) -> list[dict[str, Any]]:
    body: dict[str, Any] = passed.body or {}
    return [each for each in (body, *body.get("data", [])) if each.get("object") == "contact"]


RULES: dict[Rule, str] = {
    _another_status: "/status: The status differs.\n   left:  201\n   right: 200",
    _missing_member: "/body/description: It is missing on the right.",
    _another_order: "/body/data: Its order differs.",
    _another_code: '/body/errors/*/code: Its value differs.\n   left:  "invalid_range"\n   right: "too_many"',
    _another_refusal: "/status: The status differs.\n   left:  409\n   right: 422",
    _member_more: "/body/colour: It is missing on the left.",
    _another_case: '/body/hex_color: Its value differs.\n   left:  "#1F6FEB"\n   right: "#1f6feb"',
    _another_word: '/body/object: Its value differs.\n   left:  "tag"\n   right: "label"',
    _missing_header: "/headers/x-api-version: It is missing on the right.",
    _missing_challenge: "/headers/www-authenticate: It is missing on the right.",
    _another_type: "/body/domains: Its type differs.",
    _same_time: '/body/updated_at: Its value differs.\n   left:  "<time>"\n   right: "<another time>"',
}


def test_the_twelve_changes_of_a_copy_are_found_and_nothing_else(server: Running, tmp_path: Path) -> None:
    """Each change of a copy is one difference, however many answers show it."""
    with changing(server.url, [*RULES]) as copy:
        done = compare(server, copy, WRITES, folder=tmp_path)

    assert (done.status, done.complained) == (1, "herdbook: There are 12 differences.\n"), done.said
    assert [told for told in RULES.values() if told not in done.said] == [], done.said
    assert "12. /" in done.said
    assert "13. /" not in done.said


def test_nothing_is_written_unless_it_is_allowed(server: Running, tmp_path: Path) -> None:
    """Scenarios that write are skipped, and named; only requests that read arrive."""
    methods: set[str] = set()
    with changing(server.url, [lambda passed: methods.add(passed.method)]) as copy:
        done = compare(server, copy, folder=tmp_path)

    assert done.status == 0, done.complained
    assert methods == {"GET"}
    assert "Skipped: a contact from its creation to its deletion" in done.said


def test_a_recording_takes_the_place_of_a_server(server: Running, tmp_path: Path) -> None:
    """A recording has the same answers as its server, has no key in it, and shows later changes of the server."""
    keys = {"HERDBOOK_LEFT_KEY": server.key}
    kept = herdbook("compare", f"--left={server.url}", WRITES, "--record=kept.json", folder=tmp_path, **keys)
    same = compare(server, "kept.json", WRITES, folder=tmp_path)
    with changing(server.url, [_member_more]) as copy:
        changed = herdbook(
            *("compare", "--left=kept.json", f"--right={copy}", WRITES), folder=tmp_path, HERDBOOK_RIGHT_KEY=server.key
        )

    assert (kept.status, same.status, changed.status) == (0, 0, 1), kept.complained + same.complained
    assert "`kept.json` has the answers to" in kept.said
    assert server.key not in (tmp_path / "kept.json").read_text()
    assert RULES[_member_more] in changed.said


def test_junit_has_a_case_for_each_step(server: Running, tmp_path: Path) -> None:
    """A build server sees a failure for each step that differs, and the scenarios that were skipped."""
    with changing(server.url, [_another_code]) as copy:
        done = compare(server, copy, "--format=junit", folder=tmp_path)
    root = ET.fromstring(done.said)  # noqa: S314  # our own program wrote it

    assert done.status == 1
    assert [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None] == ["limit of 101"]
    assert len(root.findall(".//skipped")) > 3


def test_scenarios_of_ones_own_are_run(server: Running, tmp_path: Path) -> None:
    """A file of scenarios takes the place of those that herdbook brings; what they refer to may come from earlier answers."""
    steps = [
        {"name": "create", "method": "POST", "path": "/api/v2/tags", "body": {"name": "Own ${unique}"}, "keep": {"id": "/id"}},
        {"name": "read", "path": "/api/v2/tags/${id}"},
        {"name": "keep nothing", "path": "/api/v2/tags/${id}", "keep": {"nothing": "/nothing"}},
        {"name": "read what is unknown", "path": "/api/v2/tags/${nothing}"},
    ]
    (tmp_path / "own.yaml").write_text(json.dumps([{"name": "own", "steps": steps}]))
    with changing(server.url, [_member_more]) as copy:
        done = compare(server, copy, WRITES, "--scenarios=own.yaml", folder=tmp_path)

    assert done.status == 1
    assert RULES[_member_more] in done.said
    told = "Not compared: own: read what is unknown (GET /api/v2/tags/${nothing}). Neither side gave what it refers to.\n"
    assert told + "1 difference in 3 requests." in done.said


def test_a_journal_is_run_again(server: Running, tmp_path: Path) -> None:
    """The requests that a lab has recorded are made of both servers, with the ids and versions that each server gives."""
    tag = "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
    json_headers = {"content-type": "application/json", "user-agent": "curl"}

    def entry(number: int, method: str, path: str, body: str, answer: str, **headers: str) -> dict[str, Any]:
        request = {"headers": {**json_headers, **headers}, "body": body, "is_cut": False}
        answered = {"headers": {"etag": '"7"'}, "body": answer, "is_cut": False}
        return {"number": number, "kind": "request", "method": method, "path": path, "request": request, "answer": answered}

    name = f"Renewal ${{x}} {tmp_path}"
    entries = [
        entry(1, "POST", "/v2/tags", json.dumps({"name": name}), json.dumps({"object": "tag", "id": tag})),
        {"number": 2, "kind": "delivery", "path": "https://example.com"},
        entry(3, "GET", f"/v2/tags/{tag}", "", json.dumps({"id": tag})),
        entry(4, "PATCH", f"/v2/tags/{tag}", json.dumps({"description": "7"}), "", **{"if-match": '"7"'}),
        entry(5, "DELETE", f"/v2/tags/{tag}", "", ""),
    ]
    (tmp_path / "mine.json").write_text(json.dumps({"entries": entries, "count": 5, "last": 5, "dropped": 0}))
    with serving(tmp_path) as other, changing(other.url, [_member_more]) as copy:
        keys = {"HERDBOOK_LEFT_KEY": server.key, "HERDBOOK_RIGHT_KEY": other.key}
        sides = (f"--left={server.url}", f"--right={copy}", WRITES, "--scenarios=mine.json")
        done = herdbook("compare", *sides, folder=tmp_path, **keys)
        kept = herdbook("compare", sides[0], WRITES, sides[3], "--record=kept.json", folder=tmp_path, **keys)
    answers = json.loads((tmp_path / "kept.json").read_text())["answers"]["mine"]

    assert (done.status, kept.status) == (1, 0), done.complained + kept.complained
    assert "1 difference in 4 requests." in done.said
    assert RULES[_member_more] in done.said
    assert [each["status"] for each in answers.values()] == [201, 200, 200, 200]
    assert answers["1. /v2/tags"]["body"]["name"] == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- name: [", "line 1"),
        ("- {name: a, steps: []}", "steps"),
        ("- {name: a, steps: [{name: b, path: contacts}]}", "path"),
        ("- {name: a, steps: [{name: b, path: /c, verb: GET}]}", "verb"),
        ("- {name: a, steps: [{name: b, path: /c}, {name: b, path: /d}]}", "2 steps named `b`"),
        ("- {name: a, steps: [{name: b, path: '/c/${tga}'}]}", "step `b`: `${tga}` is not known here"),
        ("- {name: a, steps: [{name: b, path: /c, keep: {d: /id}, headers: {If-Match: '${d}'}}]}", "`${d}` is not known"),
        ("- {name: a, steps: [{name: b, path: /c, body: {d: ['${ }']}}]}", "`${ }` is not known here"),
        ("- {name: a, steps: [{name: b, path: /c, keep: {d: data/0/id}}]}", "has `data/0/id`. Write a JSON pointer"),
        ("- {name: a, steps: [{name: b, path: /c, keep: {unique: /id}}]}", "cannot give the name `unique`"),
        ("- {name: a, steps: [{name: b, path: /c, unordered: [data]}]}", "`unordered` has `data`"),
        ("- {name: a, steps: [{name: b, path: /c, body: {}, content: x}]}", "`body` and `content` do not go together"),
        ("[]", "files have no scenario"),
        ("- {name: a, steps: [{name: b, path: /c, method: POST}]}", "all scenarios write: `a`"),
        ("name: a", "list of scenarios"),
        ('{"entries": [{"number": 1, "kind": "request", "request": {"is_cut": true}}]}', "a part of request 1"),
        ('{"entries": [], "count": 5}', "0 of 5 entries"),
        ('{"entries": [], "count": 0, "dropped": 3}', "first 3 entries are gone"),
    ],
)
def test_a_file_that_has_no_scenarios_is_refused(server: Running, tmp_path: Path, text: str, told: str) -> None:
    """The refusal names the file and the place."""
    (tmp_path / "own.yaml").write_text(text)
    done = compare(server, server.url, "--scenarios=own.yaml", folder=tmp_path)

    assert (done.status, done.said) == (1, "")
    assert told in done.complained


def test_what_cannot_be_compared_is_refused(server: Running, tmp_path: Path) -> None:
    """The refusal says what is missing."""
    (tmp_path / "there.json").write_text("{}")
    refused = [
        herdbook("compare", *options, folder=tmp_path)
        for options in (
            [f"--left={server.url}"],
            [f"--left={server.url}", f"--right={server.url}"],
            ["--left=http://127.0.0.1:9", "--left-key=k", "--right=http://127.0.0.1:9", "--right-key=k"],
            ["--left=there.json", "--right=there.json"],
            ["--left=nowhere.json", "--right=there.json"],
            ["--left=there.json", "--record=there.json"],
            [f"--left={server.url}", "--left-key=k", f"--right={server.url}", "--right-key=k", "--only=nothing"],
            [f"--left={server.url.removeprefix('http://')}", "--left-key=k", f"--right={server.url}", "--right-key=k"],
        )
    ]
    words = [
        "--right",
        "needs a key",
        "cannot be reached",
        "no recording",
        "cannot be read",
        "exists",
        "no scenario `nothing`",
        "`http://127",
    ]

    assert [word in each.complained for word, each in zip(words, refused, strict=True)] == [True] * 8, refused
    assert {each.status for each in refused} == {1}


def test_scenarios_of_which_no_step_can_be_taken_are_no_success(tmp_path: Path) -> None:
    """A recording without answers leaves nothing to compare."""
    (tmp_path / "none.json").write_text(json.dumps({"base": "", "unique": "", "answers": {}}))
    done = herdbook("compare", "--left=none.json", "--right=none.json", folder=tmp_path)

    assert (done.status, done.said) == (1, "")
    assert "Nothing was compared" in done.complained
