"""The pages of the console beside the operations that read the same, and queries by fields, at many contacts."""

import asyncio
import gzip
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from bench import herdbook, seeding
from bench.processes import Meter, Server, call, processor_seconds
from herdbook import ids
from herdbook.console import static_files
from herdbook.console.store import create_link

LIMIT = 50
PLAIN = "/api/v2/contacts?limit=25"
DEFINED = 200
IN_EACH = 10
# The first half of the fields is spread over all contacts. Each of the others belongs to contacts whose last names follow one
# another, as those of an import do.
RUNS = DEFINED // IN_EACH
OPTIONS = 5
DEEP = 20  # pages before the deep one
WARM_UP = 10
REQUESTS = 20  # of a page or an operation, before the other one has its turn

Value = Callable[[int], Any]
# The kinds of fields, and their values by a number that looks random.
KINDS: Mapping[str, Value] = {
    "text": lambda number: f"Note {number % 1000:03d}",
    "integer": lambda number: number % 1000,
    "decimal": lambda number: f"{number % 100}.{number // 100 % 100:02d}",
    "date": lambda number: f"{2020 + number % 6}-{number // 6 % 12 + 1:02d}-{number // 72 % 28 + 1:02d}",
    "yes_no": lambda number: number % 2 == 0,
    "one_of": lambda number: f"option{number % OPTIONS}",
    "several_of": lambda number: sorted({f"option{number % OPTIONS}", f"option{number // OPTIONS % OPTIONS}"}),
}
# Ranges that half of the values are in.
RANGES = {"integer": 500, "decimal": "50", "date": "2023-01-01"}


def key_of(number: int) -> str:
    return f"field{number:03d}"


def kind_of(number: int) -> str:
    return list(KINDS)[number % len(KINDS)]


@dataclass(frozen=True)
class Names:
    """The numbers in the last names of contacts: in another order than the contacts, as in real workspaces."""

    size: int

    def __call__(self, number: int) -> int:
        return number * 7919 % self.size


@dataclass(frozen=True)
class Values:
    """The values of contacts."""

    names: Names

    def __call__(self, number: int) -> Mapping[str, Any]:
        half = IN_EACH // 2
        spread = number % RUNS * half
        in_a_row = DEFINED // 2 + self.names(number) * RUNS // self.names.size * half
        keys = (first + each for first in (spread, in_a_row) for each in range(half))
        return {key_of(each): KINDS[kind_of(each)]((number * 2_654_435_761 + each * 40_503) % 2**32 >> 7) for each in keys}


@dataclass
class Asked:
    """A request, to be sent again and again with other numbers. `path` and `body` are those for a number."""

    path: Callable[[int], str]
    body: Callable[[int], Any] | None = None


@dataclass
class Measured:
    """The times of a page or an operation in milliseconds: each wait, and the server's processor time in each round."""

    waits: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])
    size: int = 0

    @property
    def wait(self) -> float:
        return median(self.waits)


@dataclass
class Case:
    """A page, and the operation that reads what it shows."""

    name: str
    page: Asked
    operation: Asked
    of_page: Measured = field(default_factory=Measured)
    of_operation: Measured = field(default_factory=Measured)

    @property
    def allowed(self) -> float:
        """The time that the page may take, in milliseconds."""
        return 1.5 * self.of_operation.wait + 10

    @property
    def holds(self) -> bool:
        return self.of_page.wait <= self.allowed


@dataclass
class Queried:
    """Queries of one kind, and the times of the first page of each, in milliseconds."""

    name: str
    queries: list[dict[str, Any]]
    times: list[list[float]] = field(default_factory=list[list[float]])


@dataclass(frozen=True)
class Results:
    contacts: int
    cases: list[Case]
    plain: float
    queried: list[Queried]
    strangers: float  # the cores that other programs took meanwhile


class Browser:
    """Somebody who has signed in, over one connection."""

    def __init__(self, server: Server, cookie: str) -> None:
        self.server = server
        address = urlsplit(server.url)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        self._page = {"Cookie": cookie, "Accept-Encoding": "gzip"}
        self._operation = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}

    def ask(self, path: str, body: Any = None) -> bytes:
        """Return the body of the answer, as it was sent."""
        headers = self._page if path.startswith("/console") else self._operation
        sent = None if body is None else json.dumps(body).encode()
        self._connection.request("GET" if body is None else "POST", path, sent, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:500]!r}")
        return content

    def measure(self, asked: Asked, measured: Measured, numbers: Sequence[int]) -> None:
        """Send a request for each number, one after the other."""
        waits: list[float] = []
        before = processor_seconds(self.server)
        for number in numbers:
            body = None if asked.body is None else asked.body(number)
            began = time.perf_counter()
            content = self.ask(asked.path(number), body)
            waits.append((time.perf_counter() - began) * 1000)
            measured.size = max(measured.size, len(content))
        measured.waits += waits
        measured.processor.append((processor_seconds(self.server) - before) / len(numbers) * 1000)


def measure_console(scratch: Path, contacts: int, rounds: int) -> Results:
    folder = scratch / "console"
    prepare(folder, contacts)
    with herdbook.serving(folder) as (server, _):
        browser = Browser(server, sign_in(server))
        cases, queried = cases_of(browser, contacts), queries_of()
        with Meter(server) as meter:
            measure_pages(browser, cases, rounds)
            plain = measure_queries(browser, queried, rounds)
        return Results(contacts, cases, plain, queried, meter.strangers_cores)


def measure_pages(browser: Browser, cases: Sequence[Case], rounds: int) -> None:
    for each in cases:
        for asked in (each.page, each.operation):
            browser.measure(asked, Measured(), range(WARM_UP))
    for number in range(1, rounds + 1):
        numbers = range(number * REQUESTS, (number + 1) * REQUESTS)
        for each in cases:
            browser.measure(each.page, each.of_page, numbers)
            browser.measure(each.operation, each.of_operation, numbers)
    for each in cases:
        print(f"{each.name:<40}{each.of_page.wait:8.2f}{each.of_operation.wait:8.2f} ms", flush=True)


def measure_queries(browser: Browser, queried: Sequence[Queried], rounds: int) -> float:
    """Measure queries, and return the time of the plain list."""
    plain: list[float] = []
    for number in range(rounds + 1):
        for each in queried:
            each.times = each.times or [[] for _ in each.queries]
            plain.append(timed(browser, None))
            for query, times in zip(each.queries, each.times, strict=True):
                waited = timed(browser, query)
                if number:
                    times.append(waited)
    for each in queried:
        print(f"{each.name:<70}{median(map(median, each.times)):8.2f} ms", flush=True)
    return median(plain)


def timed(browser: Browser, query: dict[str, Any] | None) -> float:
    began = time.perf_counter()
    if query is None:
        browser.ask(PLAIN)
    else:
        browser.ask("/api/herdbook/contacts/query", {"limit": 25, **query})
    return (time.perf_counter() - began) * 1000


def prepare(folder: Path, contacts: int) -> None:
    """Fill a new folder: fields, companies, contacts, some of them changed or deleted, and a view."""
    with herdbook.serving(folder) as (server, _):
        workspace_id = ids.decoded(ids.WORKSPACE, json.loads((folder / "ready.json").read_text())["workspace_id"])
        assert workspace_id is not None
        for number in range(DEFINED):
            kind = kind_of(number)
            options = [{"id": f"option{each}", "label": f"Option {each}"} for each in range(OPTIONS)]
            body = {"object_type": "contact", "key": key_of(number), "label": f"Field {number}", "kind": kind}
            body |= {"options": options} if kind in ("one_of", "several_of") else {}
            call(f"{server.url}/api/herdbook/fields", "POST", body, server.token)
        asyncio.run(seeding.add_companies(folder, workspace_id))
        names = Names(contacts)
        asyncio.run(seeding.fill(folder, [workspace_id], contacts, name=names, values=Values(names)))
        for number in range(1, 201):
            path = server.url + seeding.contact_path(number * 97 % contacts + 1)
            call(path, "PATCH", {"description": f"Called {number} times."}, server.token)
        for number in range(1, 201):
            call(server.url + seeding.contact_path(contacts - number), "DELETE", None, server.token)


def sign_in(server: Server) -> str:
    """Return the cookie of the workspace's first user."""

    async def link() -> str:
        connection = await seeding.connect(server.folder)
        try:
            user = await connection.fetchrow("select workspace_id, id from workspace_user order by id limit 1")
            return str(await create_link(connection, user["workspace_id"], user["id"]))
        finally:
            await connection.close()

    address = urlsplit(server.url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request(
        "POST",
        f"/console/link/{asyncio.run(link())}",
        b"",
        {"Origin": server.url, "Content-Type": "application/x-www-form-urlencoded"},
    )
    answer = connection.getresponse()
    answer.read()
    cookie = answer.getheader("Set-Cookie") or ""
    if answer.status != 303 or not cookie:
        raise RuntimeError(f"the sign-in was refused: {answer.status}")
    return cookie.partition(";")[0]


def cases_of(browser: Browser, contacts: int) -> list[Case]:
    """Return the pages to measure, each with the operation that reads the same objects."""
    query, search = "/api/herdbook/contacts/query", "/api/v2/contacts?limit=50&search="
    spread = next(number for number in range(DEFINED // 2) if kind_of(number) == "one_of")
    option = {"field": f"fields.{key_of(spread)}", "op": "eq", "value": "option3"}
    company = [ids.encoded(ids.COMPANY, seeding.company_id(number)) for number in range(seeding.COMPANIES)]
    by_option = f"/console/contacts?{urlencode({'filter': f'fields.{key_of(spread)}:eq:option3'})}"
    view = call(
        f"{browser.server.url}/api/herdbook/views",
        "POST",
        {
            "object_type": "contact",
            "name": "Bench",
            "shared": True,
            "where": option,
            "sort": [{"field": "created_at", "direction": "desc"}],
        },
        browser.server.token,
    )
    at_view = f"{by_option}&{urlencode({'sort': 'created_at:desc', 'view': view['id']})}"

    def same(path: str) -> Asked:
        return Asked(lambda _: path)

    def queried(where: Any = None, sort: str = "updated_at", direction: str = "desc", cursor: str | None = None) -> Asked:
        body = {"where": where, "sort": [{"field": sort, "direction": direction}], "limit": LIMIT, "cursor": cursor}
        return Asked(lambda _: query, lambda _: body)

    def by_company(number: int) -> Any:
        condition = {"field": "company_id", "op": "eq", "value": company[number % len(company)]}
        return {"where": condition, "sort": [{"field": "updated_at", "direction": "desc"}], "limit": LIMIT}

    def searching(words: Callable[[int], str]) -> tuple[Asked, Asked]:
        return (
            Asked(lambda number: f"/console/contacts?search={quote(words(number))}"),
            Asked(lambda number: search + quote(words(number))),
        )

    def contact(number: int) -> str:
        return ids.encoded(ids.CONTACT, seeding.contact_id(number * 7 % (contacts // 2) + 1))

    page_cursor, cursor = deep(browser, queried())
    by_field = f"fields.{key_of(spread)}"
    return [
        Case("contacts", same("/console/contacts"), queried()),
        Case(f"contacts, page {DEEP + 1}", same(page_cursor), queried(cursor=cursor)),
        Case("search for one contact's name", *searching(lambda number: f"Byron{number:06d}")),
        Case("search for a word that all have", *searching(lambda _: "ada")),
        Case("search for two words", *searching(lambda number: f"ada{number % 10} byron{number % 90 + 10}")),
        Case(
            "contacts of a company",
            Asked(lambda number: f"/console/contacts?filter=company_id:eq:{company[number % len(company)]}"),
            Asked(lambda _: query, by_company),
        ),
        Case("contacts with an option of a list", same(by_option), queried(option)),
        Case(
            "contacts by last name",
            same("/console/contacts?sort=last_name:asc"),
            queried(sort="last_name", direction="asc"),
        ),
        Case("contacts by a field", same(f"/console/contacts?sort={by_field}:asc"), queried(sort=by_field, direction="asc")),
        Case("a saved view", same(at_view), queried(option, "created_at")),
        Case(
            "a contact",
            Asked(lambda number: f"/console/contacts/{contact(number)}"),
            Asked(lambda number: f"/api/herdbook/contacts/{contact(number)}/record"),
        ),
        Case(
            "companies",
            same("/console/companies"),
            Asked(
                lambda _: "/api/herdbook/companies/query",
                lambda _: {"sort": [{"field": "updated_at", "direction": "desc"}], "limit": LIMIT},
            ),
        ),
        Case("activity", same("/console/activity"), same(f"/api/herdbook/activity?limit={LIMIT}")),
        Case("bin", same("/console/bin"), same(f"/api/herdbook/contacts/deleted?limit={LIMIT}")),
    ]


def deep(browser: Browser, first: Asked) -> tuple[str, str]:
    """Return the address of a later page of the list, and the operation's cursor for it."""
    path, cursor = "/console/contacts", None
    assert first.body is not None
    for _ in range(DEEP):
        shown = gzip.decompress(browser.ask(path)).decode()
        found = re.search(r'rel="next" href="([^"]+)"', shown)
        assert found is not None
        path = found[1].replace("&amp;", "&")
        cursor = json.loads(browser.ask(first.path(0), {**first.body(0), "cursor": cursor}))["next_cursor"]
    assert cursor is not None
    return path, cursor


def queries_of() -> list[Queried]:
    """Return the kinds of queries to measure, each for fields of all kinds."""
    spread, in_a_row = range(DEFINED // 2), range(DEFINED - IN_EACH // 2, DEFINED)
    # The last run of names is the one that a walk by last name meets last.
    by_kind = {kind_of(number): f"fields.{key_of(number)}" for number in (*in_a_row, *reversed(spread))}
    late = {kind_of(number): f"fields.{key_of(number)}" for number in in_a_row}
    by_name = [{"field": "last_name"}]
    # Members with several values are in no order.
    sortable = by_kind.keys() - {"several_of"}
    values = {"one_of": "option3", "several_of": "option3", "yes_no": True}
    common = {kind: {"field": by_kind[kind], "op": "eq", "value": value} for kind, value in values.items()}
    ranges = {kind: {"field": by_kind[kind], "op": "lt", "value": value} for kind, value in RANGES.items()}
    late_ranges = [{"field": late[kind], "op": "lt", "value": value} for kind, value in RANGES.items() if kind in late]
    few = [
        {"field": by_kind["text"], "op": "eq", "value": "note 123"},
        {"field": by_kind["integer"], "op": "eq", "value": 123},
    ]
    any_value = [{"field": each, "op": "is_set"} for each in by_kind.values()]
    none = [{"field": each, "op": "is_not_set"} for each in by_kind.values()]
    parts = [
        {"field": by_kind["text"], "op": "begins_with", "value": "note 1"},
        {"field": by_kind["text"], "op": "contains", "value": "te 12"},
    ]

    def of(*conditions: dict[str, Any], sort: Any = None) -> list[dict[str, Any]]:
        return [{"where": each} | ({} if sort is None else {"sort": sort}) for each in conditions]

    def by_own(conditions: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"where": each, "sort": [{"field": by_kind[kind]}]} for kind, each in conditions.items() if kind in sortable]

    return [
        Queried("sorted by a time or by `company_id`", [{"sort": [{"field": each}]} for each in ("created_at", "company_id")]),
        Queried("sorted by a field", [{"sort": [{"field": each}]} for kind, each in by_kind.items() if kind in sortable]),
        Queried(
            "sorted by last name, by last and first name", [{"sort": by_name}, {"sort": [*by_name, {"field": "first_name"}]}]
        ),
        Queried("of a value that few contacts have, in any order", [*of(*few), *of(*few, sort=by_name)]),
        Queried("of a value or a range, by that field", [*by_own(common), *by_own(ranges)]),
        Queried("of the contacts without a value, the last changed first", of(*none)),
        Queried("of the contacts with any value of a field, the last changed first", of(*any_value)),
        Queried("of a range that thousands have, the last changed first", of(*ranges.values())),
        Queried("of texts that begin with a part, or contain it, the last changed first", of(*parts)),
        Queried("of a value that thousands have, the last changed first", of(*common.values())),
        Queried(
            "of a value that thousands have, sorted by another field", of(*common.values(), sort=[{"field": by_kind["date"]}])
        ),
        Queried("sorted by a list, and by last name within each option", [{"sort": [{"field": by_kind["one_of"]}, *by_name]}]),
        Queried("of a value that thousands have, by last name", of(*common.values(), sort=by_name)),
        Queried("of a range that tens of thousands have, by last name", of(*ranges.values(), sort=by_name)),
        Queried("the same, if their last names come last", of(*late_ranges, sort=by_name)),
    ]


def files_size() -> int:
    """Return the bytes of the styles and scripts of a page, compressed."""
    return sum(len(each.compressed) for each in static_files.files().values())
