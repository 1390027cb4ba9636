"""Days of columns: with the day first or the month first, found out and chosen."""

import pytest

from herdbook.formats.days import Ambiguous, DayForm, day_of, form_of
from tests.cast import Person
from tests.custom_fields.definitions import define
from tests.importing.jobs import Job, counts, upload


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["1/2/2026", "31/12/2026"], "day_first"),
        (["1/2/2026", "12/31/2026"], "month_first"),
        (["1.2.2026"], "day_first"),
        (["1.2.2026", "12.31.2026"], "month_first"),
        (["1/2/2026", "3-4-2026"], None),
        (["31/12/2026", "12/31/2026"], None),
        (["2026-12-31", "soon", "1/2/26"], None),
    ],
)
def test_the_form_is_found_out(texts: list[str], form: DayForm | None) -> None:
    """A number that is no month tells where the day is; dots do, if nothing else does; days that contradict do not."""
    assert form_of(texts) == form


@pytest.mark.parametrize(
    ("text", "form", "day"),
    [
        ("1/2/2026", "day_first", "2026-02-01"),
        ("1/2/2026", "month_first", "2026-01-02"),
        ("1-2-2026 00:00:00", "month_first", "2026-01-02"),
        ("31/12/2026", None, "2026-12-31"),
        ("3.4.2026", None, "2026-04-03"),
        ("4/4/2026", None, "2026-04-04"),
        ("2026/3/1", None, "2026-03-01"),
        ("31/12/2026", "month_first", None),
        ("31/2/2026", None, None),
        ("1/2/26", "day_first", None),
        ("1/2-2026", "day_first", None),
    ],
)
def test_a_day_is_read(text: str, form: DayForm | None, day: str | None) -> None:
    """A day is read in the form of its column; what is none in it stays as it is."""
    assert day_of(text, form) == day


def test_a_day_that_may_be_two_is_none() -> None:
    """Nobody guesses whether the 1st of February is meant, or the 2nd of January."""
    with pytest.raises(Ambiguous):
        day_of("1/2/2026", None)


async def _job(frank: Person, *days: str) -> Job:
    await define(frank, "since", kind="date")
    rows = "".join(f"Ada {number},{day}\n" for number, day in enumerate(days))
    return await upload(frank, f"Full name,Since\n{rows}")


async def _days(frank: Person, job: Job) -> list[str]:
    found = [await frank.get(f"/api/herdbook/contacts/{row['id']}/record") for row in await job.rows()]
    return [each.json()["fields"]["since"] for each in found]


@pytest.mark.parametrize(
    ("last", "form", "days"),
    [("12/31/2026", "month_first", ["2026-01-02", "2026-12-31"]), ("31/12/2026", "day_first", ["2026-02-01", "2026-12-31"])],
)
async def test_a_column_tells_the_form_of_all_its_days(frank: Person, last: str, form: str, days: list[str]) -> None:
    """One day of the column that has only one meaning tells that of the others, and the mapping says so."""
    job = await _job(frank, "1/2/2026", last)
    await job.run()

    assert job.shown["file"]["columns"][1]["days"] == form
    assert job.shown["mapping"]["columns"][1]["days"] == form
    assert await _days(frank, job) == days


async def test_a_form_is_chosen(frank: Person) -> None:
    """A day that may be two is a problem that says what to choose; then all of them are read so."""
    job = await _job(frank, "1/2/2026", "2026-03-04")
    assert "days" not in job.shown["mapping"]["columns"][1]
    assert await job.check() == counts(create=1, problem=1)
    [problem] = await job.rows("check", verdict="problem")
    [fault] = problem["faults"]
    assert (fault["field"], fault["column"]) == ("fields.since", 1)
    assert "`1/2/2026` may mean two days. Set `days`" in fault["message"]

    await job.map(["full_name", {"to": "field:since", "days": "month_first"}])
    assert await job.run() == counts(create=2)
    assert await _days(frank, job) == ["2026-01-02", "2026-03-04"]


async def test_a_day_that_contradicts_the_form_is_a_problem(frank: Person) -> None:
    """A day that is none in the form of its column is refused, and not turned."""
    job = await _job(frank, "12/31/2026")
    await job.map(["full_name", {"to": "field:since", "days": "day_first"}])

    assert await job.run() == counts(problem=1)


async def test_a_column_of_days_suggests_a_field_of_days(frank: Person) -> None:
    """A column that nothing knows, and that has days with slashes, suggests a field of days."""
    job = await upload(frank, "Full name,Joined us\nAda Lovelace,12/31/2026\n")
    column = job.shown["mapping"]["columns"][1]

    assert (column["field"]["kind"], column["days"]) == ("date", "month_first")


@pytest.mark.parametrize("text", ["0/0/00", "00.00.0000"])
async def test_no_day_is_none(frank: Person, text: str) -> None:
    """Outlook writes a day of zeros for those that it does not know, which no row fails for."""
    job = await _job(frank, text, "2026-03-04")

    assert await job.run() == counts(create=2)
    records = [(await frank.get(f"/api/herdbook/contacts/{row['id']}/record")).json() for row in await job.rows()]
    assert [each.get("fields") for each in records] == [None, {"since": "2026-03-04"}]
