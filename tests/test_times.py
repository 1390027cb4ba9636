"""Times in all forms of RFC 3339 and ISO 8601."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.fields import parsed_time, time
from tests.cast import Person, Thing, faults

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

SAME = [
    *("2026-03-01T12:00:00Z", "2026-03-01t12:00:00z", "2026-03-01 12:00:00Z", "2026-03-01T12:00:00", "2026-03-01T12:00Z"),
    *("2026-03-01T12:00", "2026-03-01T12Z", "2026-03-01T12", "2026-03-01T12:00:00.000Z", "2026-03-01T12:00:00,000000000Z"),
    *("20260301T120000Z", "20260301T1200Z", "20260301T12Z", "2026-03-01T120000Z", "20260301T12:00:00Z"),
    *("2026-060T12:00:00Z", "2026060T120000Z", "2026-W09-7T12:00:00Z", "2026W097T120000Z", "2026-w09-7t12z"),
    *("2026-03-01T13:00:00+01:00", "2026-03-01T13:00:00+0100", "2026-03-01T13:00:00+01", "20260301T1300+01"),
    *("2026-03-01T13:00:00 01:00", "2026-03-01 12:00:00+00:00", "2026-03-01 12:00:00 00:00", "2026-03-01 12:00:00 +0000"),
    *("2026-03-01T07:00:00-05:00", "2026-03-01T07:00:00\u221205:00", "2026-03-02T11:59:00+23:59", "2026-03-01T12:00:00-00:00"),
    *("2026-03-01T11.99999999999999999Z", "2026-03-01T12:00:00.0000001Z"),
]


@pytest.mark.parametrize("text", SAME)
def test_a_time_has_many_forms(text: str) -> None:
    """Each form is the same moment; without a zone it is UTC."""
    assert parsed_time(text) == NOON


@pytest.mark.parametrize(
    ("text", "since_noon"),
    [
        ("2026-03-01T24:00:00Z", timedelta(hours=12)),
        ("2026-03-01T24:00", timedelta(hours=12)),
        ("20260301T24Z", timedelta(hours=12)),
        ("2026-02-28T23:59:60Z", timedelta(hours=-12)),
        ("2026-03-01T00:59:60+01:00", timedelta(hours=-12)),
        ("2026-03-01T12:00:00.5Z", timedelta(seconds=0.5)),
        ("2026-03-01T12:00:00,123456Z", timedelta(microseconds=123_456)),
        ("2026-03-01T12:00:00.123456789Z", timedelta(microseconds=123_457)),
        ("2026-03-01T12:30.5Z", timedelta(minutes=30, seconds=30)),
        ("20260301T12,25Z", timedelta(minutes=15)),
    ],
)
def test_other_times_are_taken_as_they_are_meant(text: str, since_noon: timedelta) -> None:
    """24:00 and a leap second are the next midnight, and a fraction belongs to the last unit."""
    found = parsed_time(text)

    assert found is not None
    assert found - NOON == since_noon


@pytest.mark.parametrize(
    "text",
    [
        # A day alone may mean its beginning or its end.
        *(
            "2026-03-01",
            "20260301",
            "2026-060",
            "2026-W09-7",
            "",
            "now",
            "2026",
            "2026-03",
            "202603",
            "2026-W09",
            "26-03-01",
            "260301",
            "--03-01",
            "01/03/2026",
            "1.3.2026",
        ),
        *(
            "2026-02-30",
            "2026-13-01",
            "2026-00-01",
            "2026-366",
            "2026-000",
            "2026-W54-1",
            "2025-W53-1",
            "2026-W09-8",
            "0000-01-01",
        ),
        *("2026-03-01T25:00Z", "2026-03-01T24:00:01Z", "2026-03-01T24:01Z", "2026-03-01T12:60Z", "2026-03-01T12:00:61Z"),
        *("2026-03-01T12:00:60Z", "2026-03-01T23:59:60Z", "2026-02-28T23:59:60+01:00", "2026-03-01T12:00:00+24:00"),
        *("2026-03-01T12:00:00+01:60", "2026-03-01T12:00:00+1", "2026-03-01T12:00:00ZZ", "2026-03-01T", "T12:00Z", "12:00"),
        *("2026-0301", "202603-01", "2026-03-01T12:0000Z", "2026-03-01T12:00:00.Z", "2026-03-01T1:00Z", "2026-3-1"),
        *("1772366400", "1772366400000", "+002026-03-01", "-0001-03-01", "2026-03-01T12:00+01:00[Europe/Paris]"),
        *("Sun, 01 Mar 2026 12:00:00 GMT", "2026-03-01T12:00:00 UTC", "2026-03-01T12:00:00EST", "P1D", "2026-03-01/2026-03-02"),
        *(
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T24:00Z",
            "9999-12-31T23:59:59-01:00",
            "２０２６-03-01",
            "2026-03-01T12:00Z\n",
        ),
        "2026-03-01T12:00:00." + "9" * 5000,
    ],
)
def test_what_is_no_time_is_refused_with_the_form_to_send(text: str) -> None:
    """Everything else is refused, and the refusal names the form to send."""
    (error,) = time(text, "start_at")

    assert parsed_time(text) is None
    assert (error.field, error.code) == ("start_at", "invalid_format")
    assert "`YYYY-MM-DDThh:mm:ssZ`" in error.message


@given(
    st.datetimes(timezones=st.just(UTC)), st.sampled_from(["T", " ", "t"]), st.sampled_from(["auto", "minutes", "microseconds"])
)
def test_what_other_programs_print_is_read(at: datetime, separator: str, unit: str) -> None:
    """A time that is printed by a library is read as that library reads it."""
    text = at.isoformat(separator, unit)

    assert parsed_time(text) == datetime.fromisoformat(text)


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00Z", "20260101T000000Z", "2026-001T00", "2026-W01-4T01%2B01", "2026-01-01t00:00:00z"]
)
async def test_a_filter_takes_every_form(alice: Person, ada: Thing, text: str) -> None:
    """Filters by time take every form."""
    found = await alice.get(f"/api/v2/contacts?filter[updated_at][gte]={text}")
    none = await alice.get(f"/api/v2/contacts?filter[updated_at][lt]={text}")

    assert [each["id"] for each in found.json()["data"]] == [ada.id]
    assert none.json()["data"] == []


async def test_a_history_takes_every_form(alice: Person, ada: Thing) -> None:
    """`at` takes every form: Ada exists at a time that is yet to come, and not at the beginning of the year 2000."""
    url = f"/api/herdbook/contacts/{ada.id}/history"

    assert [(await alice.get(f"{url}?at={at}")).status_code for at in ("99991231T00", "2000-001T00Z", "yesterday")] == [
        200,
        404,
        400,
    ]


@pytest.mark.parametrize(
    "path", ["/api/v2/contacts?filter[updated_at][gte]=tomorrow", "/api/v2/contacts?filter[updated_at][lt]=2026-1"]
)
async def test_a_filter_names_the_form_to_send(alice: Person, path: str) -> None:
    """A refusal names the parameter and the form."""
    response = await alice.get(path)

    assert response.status_code == 400
    assert [code for _, code in faults(response)] == ["invalid_format"]
    assert "YYYY-MM-DDThh:mm:ssZ" in response.text
