"""`herdbook duplicates`."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.programs import Running, herdbook, serving

CONTACTS = "/api/v2/contacts"
NUMBER = [{"phone_number": "+44 20 7946 0000"}]


class Planted(NamedTuple):
    """A running server with two contacts that are surely the same, two that may be, and one like no other."""

    server: Running
    folder: Path


@pytest.fixture
def planted(tmp_path: Path) -> Generator[Planted]:
    """Such a server."""
    with serving(tmp_path) as server:
        for index in range(2):
            ada = {"first_name": "Ada", "last_name": "Lovelace", "phone_numbers": NUMBER}
            server.post(CONTACTS, ada | {"emails": [{"email": f"ada@engine{index}.test"}]})
            server.post(CONTACTS, {"first_name": "Grace", "last_name": "Hopper"})
        server.post(CONTACTS, {"first_name": "Edith", "last_name": "Clarke"})
        yield Planted(server, tmp_path)


def names(server: Running) -> list[str]:
    """Return the first names of all contacts."""
    return sorted(each["first_name"] for each in server.get(CONTACTS).json()["data"])


def test_it_lists_merges_and_says_what_to_undo(planted: Planted) -> None:
    """It lists the groups, shows what a merge would do, and merges those from a score on in one request."""
    server, folder = planted

    listed = herdbook("duplicates", folder=folder)
    lines = [json.loads(line) for line in herdbook("duplicates", "--json", folder=folder).said.splitlines()]
    assert listed.status == 0, listed.complained
    assert "same name; same phone +44 20 7946 0000" in listed.said
    assert [line["names"][0] for line in lines] == ["Ada Lovelace", "Grace Hopper"]
    assert lines[0]["score"] > 0.95 > lines[1]["score"]

    dry = herdbook("duplicates", "--merge-above", "0.95", "--dry-run", "--json", folder=folder)
    assert [json.loads(line)["merged"] for line in dry.said.splitlines()] == [False]
    assert names(server) == ["Ada", "Ada", "Edith", "Grace", "Grace"]

    done = herdbook("duplicates", "--merge-above", "0.95", folder=folder)
    assert done.status == 0, done.complained
    assert names(server) == ["Ada", "Edith", "Grace", "Grace"]
    request_id = done.complained.split("undo the request ")[1].split(".")[0]
    assert server.post("/api/herdbook/undo", {"request_id": request_id}).status_code == 200
    assert names(server) == ["Ada", "Ada", "Edith", "Grace", "Grace"]


def test_a_server_does_the_same_by_a_key(planted: Planted) -> None:
    """By the key of a running server, the same groups are listed, shown and merged, and the request is there to undo."""
    server, folder = planted
    at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
    there = herdbook("duplicates", "--json", folder=folder, **at_server)
    here = herdbook("duplicates", "--json", folder=folder)
    dry = herdbook("duplicates", "--merge-above", "0.95", "--dry-run", "--json", folder=folder, **at_server)
    before = names(server)
    done = herdbook("duplicates", "--merge-above", "0.95", "--json", folder=folder, **at_server)
    after = names(server)
    request_id = done.complained.split("undo the request ")[1].split(".")[0]
    undone = server.post("/api/herdbook/undo", {"request_id": request_id})

    assert there.said == here.said
    assert [json.loads(line)["merged"] for line in dry.said.splitlines()] == [False]
    assert before == names(server) == ["Ada", "Ada", "Edith", "Grace", "Grace"]
    assert (done.status, after) == (0, ["Ada", "Edith", "Grace", "Grace"])
    assert [(line["names"], line["merged"]) for line in map(json.loads, done.said.splitlines())] == [
        (["Ada Lovelace", "Ada Lovelace"], True)
    ]
    assert undone.status_code == 200


def test_a_server_says_what_cannot_be_merged(planted: Planted) -> None:
    """A server names the groups that stay apart, and why, once each; one without a key is not asked."""
    server, folder = planted
    at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
    for name in ("one", "other"):
        emails = [{"email": f"{name}{index}@engine.test"} for index in range(60)]
        server.post(CONTACTS, {"first_name": "Mary", "last_name": "Somerville", "emails": emails, "phone_numbers": NUMBER})
    done = herdbook("duplicates", "--merge-above", "0.95", "--json", folder=folder, **at_server)
    lines = [json.loads(line) for line in done.said.splitlines()]
    without = herdbook("duplicates", folder=folder, HERDBOOK_SERVER=server.url)
    wrong = herdbook("duplicates", folder=folder, HERDBOOK_SERVER=server.url, HERDBOOK_API_KEY="hbk_wrong")

    assert done.status == 3
    assert sorted((line["merged"], line["problem"] is None) for line in lines) == [(False, False), (True, True)]
    assert "100 is the limit" in done.said
    assert names(server).count("Ada") == 1
    assert (without.status, "needs a key" in without.complained) == (1, True)
    assert wrong.status == 1


def test_what_cannot_be_merged_is_said(planted: Planted) -> None:
    """Groups that are refused stay apart, with the reason, and the status tells."""
    server, folder = planted
    for name in ("one", "other"):
        emails = [{"email": f"{name}{index}@engine.test"} for index in range(60)]
        server.post(CONTACTS, {"first_name": "Mary", "last_name": "Somerville", "emails": emails, "phone_numbers": NUMBER})

    done = herdbook("duplicates", "--merge-above", "0.95", folder=folder)

    assert done.status == 3
    assert "100 is the limit" in done.said
    assert names(server).count("Mary") == 2
    assert names(server).count("Ada") == 1


def test_nobody_is_there_twice(tmp_path: Path) -> None:
    """Without duplicates, it says so; companies are asked for by their type."""
    with serving(tmp_path):
        assert herdbook("duplicates", "--type", "company", folder=tmp_path).said == "Nobody is there twice.\n"


@pytest.mark.parametrize("option", ["--merge-above", "--min-score"])
def test_scores_have_limits(tmp_path: Path, option: str) -> None:
    """A score that no pair has is refused with the option's name."""
    refused = herdbook("duplicates", option, "0.2", folder=tmp_path)

    assert refused.status == 1
    assert f"{option} must be from 0.5 to 1" in refused.complained


def test_a_dry_run_needs_a_score(tmp_path: Path) -> None:
    """A dry run is one of a merge, and a list needs none."""
    refused = herdbook("duplicates", "--dry-run", folder=tmp_path)

    assert refused.status == 1
    assert "--merge-above 0.95" in refused.complained
