"""When a schedule is due: fields, names, steps, time zones, and the odd hours of clocks that change."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from luthier.studies.cron import due_times
from luthier.studies.schedule import ScheduleSpec, changed, parse_schedule
from luthier.studies.schedule_runs import Due, SkipReason, decide
from luthier.studies.space import Space
from luthier.studies.warm_start import adapt
from tests.support.specs import document


def schedule(**changes: object) -> ScheduleSpec:
    template = {key: value for key, value in document().items() if key != "name"}
    return ScheduleSpec.model_validate({"name": "nightly", "cron": "0 3 * * *", "study": template} | changes)


def times(cron: str, zone: str, start: str, count: int) -> list[str]:
    """The next due times after a local time, as local times with their offsets from UTC."""
    place = ZoneInfo(zone)
    after = datetime.fromisoformat(start).replace(tzinfo=place).timestamp()
    return [f"{datetime.fromtimestamp(t, place):%m-%d %H:%M %z}" for t in islice(due_times(cron, zone, after), count)]


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("30 4 * * *", "2026-11-25T04:30", ["11-26 04:30", "11-27 04:30"]),
        ("*/20 9-10 * * *", "2026-11-25T09:30", ["11-25 09:40", "11-25 10:00", "11-25 10:20", "11-25 10:40"]),
        ("0 0 * * MON-FRI", "2026-11-27T12:00", ["11-30 00:00", "12-01 00:00"]),
        ("0 0 * * sun", "2026-11-25T00:00", ["11-29 00:00", "12-06 00:00"]),
        ("0 0 * * 0", "2026-11-25T00:00", ["11-29 00:00"]),
        ("0 0 * * 7", "2026-11-25T00:00", ["11-29 00:00"]),
        ("0 12 1,15 jan,feb *", "2026-11-25T00:00", ["01-01 12:00", "01-15 12:00", "02-01 12:00"]),
        ("0 0 29 2 *", "2026-11-25T00:00", ["02-29 00:00"]),
        ("0 0 13 * FRI", "2026-11-25T00:00", ["11-27 00:00", "12-04 00:00", "12-11 00:00", "12-13 00:00"]),  # either
        ("0 0 L * *", "2027-02-01T00:00", ["02-28 00:00", "03-31 00:00"]),
        ("@weekly", "2026-11-25T00:00", ["11-29 00:00"]),
        ("@Hourly", "2026-11-25T00:30", ["11-25 01:00"]),
    ],
)
def test_fields(cron: str, start: str, expected: list[str]) -> None:
    assert times(cron, "UTC", start, len(expected)) == [f"{text} +0000" for text in expected]


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [  # Berlin goes from 02:00 +1 to 03:00 +2 on March 29 2026, and from 03:00 +2 to 02:00 +1 on October 25
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:45", ["03-29 01:30 +0100", "03-29 03:30 +0200"]),
        ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 03:00 +0200"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:45",
         ["10-25 02:00 +0200", "10-25 02:30 +0200", "10-25 02:00 +0100", "10-25 02:30 +0100", "10-25 03:00 +0100"]),
        ("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 03:00 +0100", "10-26 03:00 +0100"]),
        # New York: March 8, November 1 2026
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00 -0400", "03-09 02:30 -0400"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        # Lord Howe moves by half an hour, on April 5 and October 4 2026
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:30 +1100", "10-05 02:15 +1100"]),
        # Half-hour and three-quarter zones, and one that has no summer time
        ("0 0 * * *", "Asia/Kathmandu", "2026-11-25T12:00", ["11-26 00:00 +0545"]),
        ("0 9 * * *", "Asia/Tokyo", "2026-11-25T12:00", ["11-26 09:00 +0900"]),
    ],
)  # fmt: skip
def test_clocks_that_change(cron: str, zone: str, start: str, expected: list[str]) -> None:
    assert times(cron, zone, start, len(expected)) == expected


def test_no_due_time_comes_twice_wherever_one_looks_from() -> None:
    """Also from within the hour that exists twice: what has been dealt with does not come due again."""
    start = datetime(2026, 10, 24, 23, tzinfo=UTC).timestamp()
    every = list(islice(due_times("30 2 * * *", "Europe/Berlin", start), 3))
    for minutes in range(0, 240, 7):
        after = start + 60 * minutes
        assert next(due_times("30 2 * * *", "Europe/Berlin", after)) == next(t for t in every if t > after)


@pytest.mark.parametrize("cron", ["", "* * * *", "60 * * * *", "* * 30 2 *", "@fortnightly", "0 0 0 * *", "a b c d e"])
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(ValidationError) as refused:
        schedule(cron=cron)
    assert [error["loc"] for error in refused.value.errors()] == [("cron",)]


def test_a_run_is_named_by_its_time_and_confirms_as_the_promotion_asks() -> None:
    due = datetime(2026, 11, 25, 3, tzinfo=UTC).timestamp()
    spec = schedule(promote={"seeds": 2, "candidates": 4}).run_spec(due)
    assert spec.name == "nightly-20261125t030000z"
    assert spec.dataset.draw == "stable"
    assert spec.confirm is not None
    assert (spec.confirm.candidates, spec.confirm.seeds) == (4, 2)
    assert schedule(promote={"seeds": 0}).run_spec(due).confirm is None
    longest = schedule(name="x" * 46).run_spec(due)
    assert type(spec).model_validate(longest.model_dump()) == longest  # its name is no longer than a study's may be


def test_a_schedule_survives_being_stored_and_shown() -> None:
    spec = schedule(notify=["failed"], timezone="Europe/Berlin")
    assert ScheduleSpec.model_validate_json(spec.model_dump_json()) == spec
    assert ScheduleSpec.model_validate(spec.shown()) == spec
    assert "name" not in spec.shown()["study"]
    assert changed(spec, {"paused": True, "notify": None}).notify == schedule().notify
    with pytest.raises(ValueError, match="a schedule is a mapping"):
        parse_schedule("- cron")


NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()


def test_of_missed_due_times_the_latest_runs() -> None:
    due = [NOON - 120, NOON - 60, NOON]
    late, none = SkipReason.TOO_LATE, None
    assert decide(schedule(), due, NOON + 1, True, False) == [
        Due(t, s) for t, s in zip(due, (late, late, none), strict=True)
    ]
    assert [d.skip for d in decide(schedule(), due, NOON + 1, False, False)] == [late] * 3
    assert [d.skip for d in decide(schedule(), due, NOON + 1, True, True)] == [late, late, SkipReason.STILL_RUNNING]
    assert [d.skip for d in decide(schedule(paused=True), due, NOON, True, True)] == [SkipReason.PAUSED] * 3
    assert decide(schedule(catch_up="none"), [NOON], NOON + 60, True, False)[0].skip is None
    assert decide(schedule(catch_up="none"), [NOON], NOON + 61, True, False)[0].skip is late


def test_old_configurations_are_clamped_or_dropped_and_it_is_said() -> None:
    space = Space.model_validate({
        "learning_rate": {"low": 1e-5, "high": 1e-4, "log": True},
        "batch_size": [8, 16],
        "optimizer": ["adamw", "sgd"],
        "dropout": {"low": 0.1, "high": 0.5},
    })  # fmt: skip
    old = {"learning_rate": 1e-3, "batch_size": 16, "optimizer": "adamw", "epochs": 3}
    adapted = adapt(old, space)
    assert adapted.params is not None
    assert adapted.params["learning_rate"] == 1e-4
    assert adapted.params["dropout"] >= 0.1
    said = " / ".join(adapted.changes)
    assert "learning_rate 0.001 became 0.0001" in said
    assert "dropout is new" in said
    assert "epochs is not searched" in said
    dropped = adapt({**old, "optimizer": "adam"}, space)
    assert dropped.params is None
    assert dropped.changes == ("optimizer adam is not offered any more",)
