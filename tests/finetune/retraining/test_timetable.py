"""Cron's expressions as cron means them, and due times that outlive the service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import ScheduleSettings
from finetune.errors import InputError
from finetune.retraining.timetable import Timetable, plan_of, trigger_of

_MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def _settings(cron: str = "0 4 * * *", zone: str = "UTC", jitter: int = 0) -> ScheduleSettings:
    return ScheduleSettings(cron=cron, time_zone=zone, jitter_seconds=jitter)


def _times(settings: ScheduleSettings, count: int, now: datetime = _MONDAY) -> list[datetime]:
    trigger, found = trigger_of(settings), list[datetime]()
    for _ in range(count):
        found.append(trigger.get_next_fire_time(None, now + timedelta(microseconds=1)))
        now = found[-1].astimezone(UTC)
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 4 * * *", ["11-23 04:00", "11-24 04:00", "11-25 04:00"]),
        ("@daily", ["11-24 00:00", "11-25 00:00", "11-26 00:00"]),
        ("@weekly", ["11-29 00:00", "12-06 00:00", "12-13 00:00"]),
        ("*/30 3 * * *", ["11-23 03:00", "11-23 03:30", "11-24 03:00"]),
        # Sunday is 0, and 7, as cron has it; APScheduler's 0 is Monday.
        ("0 4 * * 0", ["11-29 04:00", "12-06 04:00", "12-13 04:00"]),
        ("0 4 * * 7", ["11-29 04:00", "12-06 04:00", "12-13 04:00"]),
        ("0 4 * * SUN", ["11-29 04:00", "12-06 04:00", "12-13 04:00"]),
        ("0 4 * * 1-5", ["11-23 04:00", "11-24 04:00", "11-25 04:00"]),
        ("0 4 * * 5-7", ["11-27 04:00", "11-28 04:00", "11-29 04:00"]),
        ("0 4 * * sat-mon", ["11-23 04:00", "11-28 04:00", "11-29 04:00"]),
        ("0 4 * * */3", ["11-25 04:00", "11-28 04:00", "11-29 04:00"]),
        ("0 4 * * 2,4", ["11-24 04:00", "11-26 04:00", "12-01 04:00"]),
        # Where day and day of the week are both given, either will do.
        ("0 4 25 * 0", ["11-25 04:00", "11-29 04:00", "12-06 04:00"]),
        ("0 4 1-2 dec *", ["12-01 04:00", "12-02 04:00", "12-01 04:00"]),
    ],
)
def test_expressions_mean_what_cron_means_by_them(cron: str, expected: list[str]) -> None:
    assert [f"{time:%m-%d %H:%M}" for time in _times(_settings(cron), 3)] == expected


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (_settings("0 4 * *"), r"schedule\.cron = '0 4 \* \*' must have five parts"),
        (_settings("@reboot"), "must have five parts"),
        (_settings("61 4 * * *"), r"schedule\.cron = '61 4 \* \* \*' is not usable"),
        (_settings("0 4 * * 8"), "'8' is no day of the week, which are 0 to 7 or sun to sat"),
        (_settings("0 4 * * mon/x"), "'mon/x' is no day of the week"),
        (_settings("0 4 * * */0"), "is no day of the week"),
        (_settings("four o'clock every day please"), "is not usable"),
        (_settings("0 4 31 2 *"), "never comes; change its day or month"),
        (_settings(zone="Europe/Atlantis"), "is no time zone; use a name such as Europe/Paris"),
        (_settings(zone="../etc/passwd"), "is no time zone"),
        (_settings(zone="Europe"), "is no time zone"),
    ],
)
def test_what_cannot_be_is_one_sentence(settings: ScheduleSettings, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        trigger_of(settings)


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("0 4 * * *", datetime(2026, 3, 28, tzinfo=UTC)),
        ("30 2 * * *", datetime(2026, 3, 28, tzinfo=UTC)),  # an hour that does not exist there
        ("0 4 * * *", datetime(2026, 10, 24, tzinfo=UTC)),
    ],
)
def test_a_night_on_which_the_clock_is_changed_has_its_run(cron: str, first: datetime) -> None:
    times = _times(_settings(cron, "Europe/Paris"), 3, first)
    assert [time.date() - times[0].date() for time in times] == [
        timedelta(days=day) for day in range(3)
    ]


def test_the_start_is_put_off_by_chance_and_never_brought_forward() -> None:
    times = {_times(_settings(jitter=600), 1)[0] for _ in range(50)}
    regular = _MONDAY + timedelta(hours=4)
    assert len(times) > 1
    assert all(regular <= time <= regular + timedelta(seconds=600) for time in times)


class Kept:
    """A timetable that is opened anew for each question, as after a restart."""

    def __init__(self, file: Path, settings: ScheduleSettings) -> None:
        self.file = file
        self.plan, self.trigger = plan_of(settings), trigger_of(settings)

    def next(self, now: datetime) -> datetime:
        return Timetable(self.file).next("retrain", self.plan, self.trigger, now)

    def begin(self, following: datetime, now: datetime) -> None:
        Timetable(self.file).begin("retrain", self.plan, following, now)

    def end(self, now: datetime) -> None:
        Timetable(self.file).end("retrain", now)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "retraining" / "schedule.json", _settings(jitter=600))


_HOUR = timedelta(hours=1)


def test_a_first_start_waits_for_the_next_time_and_a_second_keeps_its_chance(kept: Kept) -> None:
    first = kept.next(_MONDAY)
    assert _MONDAY + 4 * _HOUR <= first <= _MONDAY + 4 * _HOUR + timedelta(seconds=600)
    assert {kept.next(_MONDAY + timedelta(minutes=minute)) for minute in range(30)} == {first}


def test_what_was_missed_is_due_at_once_and_once(kept: Kept) -> None:
    kept.next(_MONDAY)
    back = _MONDAY + timedelta(days=5, hours=12)
    assert kept.next(back) == back
    following = back + timedelta(hours=16)
    kept.begin(following, back)
    kept.end(back + _HOUR)
    assert kept.next(back + 2 * _HOUR) == following


def test_what_was_broken_off_is_due_at_once(kept: Kept) -> None:
    kept.next(_MONDAY)
    began = _MONDAY + 5 * _HOUR
    kept.begin(_MONDAY + 28 * _HOUR, began)
    assert kept.next(began + _HOUR) == began + _HOUR
    # Also where the plan was changed meanwhile.
    other = Kept(kept.file, _settings("0 5 * * *"))
    assert other.next(began + _HOUR) == began + _HOUR


def test_another_plan_forgets_what_was_due_by_the_old_one(kept: Kept) -> None:
    kept.next(_MONDAY)
    other = Kept(kept.file, _settings("0 22 * * *"))
    later = _MONDAY + timedelta(days=2)
    assert other.next(later) == later + 22 * _HOUR
    assert other.next(later) == later + 22 * _HOUR


def test_a_clock_that_was_ahead_does_not_put_off_the_next_run(kept: Kept) -> None:
    kept.next(_MONDAY + timedelta(days=400))
    due = kept.next(_MONDAY)
    assert due <= _MONDAY + 4 * _HOUR + timedelta(seconds=600)
    assert kept.next(_MONDAY) == due


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"retrain": {"due": "soon"}}', '{"retrain": 3}', "\x00\x00\x00", "null"],
)
def test_a_torn_file_counts_as_none(
    kept: Kept, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.file.parent.mkdir()
    kept.file.write_text(content, encoding="utf-8")
    assert kept.next(_MONDAY) > _MONDAY
    assert "nothing counts as missed" in caplog.text
    assert json.loads(kept.file.read_text("utf-8"))["retrain"]["begun"] is None


def test_a_file_that_cannot_be_written_is_said_and_the_service_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "retraining").write_text("a file where the folder should be", encoding="utf-8")
    timetable = Timetable(tmp_path / "retraining" / "schedule.json")
    settings = _settings()
    due = timetable.next("retrain", plan_of(settings), trigger_of(settings), _MONDAY)
    assert due == _MONDAY + 4 * _HOUR
    assert timetable.due("retrain") == due
    assert "may stay missed" in caplog.text
