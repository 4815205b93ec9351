"""When a retraining is due: cron's expressions, and a memory that outlives the service."""

from __future__ import annotations

import json
import logging
import zoneinfo
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from apscheduler.triggers.combining import OrTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

from config import ScheduleSettings
from finetune.errors import InputError
from finetune.retraining.workspace import write_durably

log = logging.getLogger(__name__)

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # 0 is Sunday, as cron has it
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def plan_of(settings: ScheduleSettings) -> str:
    """What of the settings says when; with another plan, what was due before no longer counts."""
    return f"{settings.cron} {settings.time_zone} {settings.jitter_seconds}"


def trigger_of(settings: ScheduleSettings) -> OrTrigger:
    """The times that `settings` names, each put off at random by `jitter_seconds` at most.

    Raises `InputError` for an expression that cron would not take, a time that never comes, or a
    time zone that nobody knows.
    """
    zone = _zone(settings.time_zone)
    expression = _SHORTHANDS.get(settings.cron.strip().lower(), settings.cron)
    parts = expression.split()
    if len(parts) != 5:
        raise InputError(
            f"schedule.cron = {settings.cron!r} must have five parts (minute, hour, day, month, day"
            ' of the week), as "0 4 * * *", or be one of @hourly, @daily, @weekly, @monthly.'
        )
    minute, hour, day, month, weekday = parts
    jitter = settings.jitter_seconds or None
    common = {"minute": minute, "hour": hour, "month": month, "timezone": zone}
    try:
        named = _weekdays(weekday)
        if day.startswith("*") or weekday.startswith("*"):
            times = [CronTrigger(day=day, day_of_week=named, **common)]
        else:  # cron takes days that fit either
            times = [CronTrigger(day=day, **common), CronTrigger(day_of_week=named, **common)]
        trigger = OrTrigger(times, jitter=jitter)
        first = trigger.get_next_fire_time(None, datetime.now(UTC))
    except ValueError as error:
        raise InputError(
            f"schedule.cron = {settings.cron!r} is not usable: {_lowered(error)}."
        ) from None
    if first is None:
        raise InputError(f"schedule.cron = {settings.cron!r} never comes; change its day or month.")
    return trigger


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"schedule.time_zone = {name!r} is no time zone; use a name such as Europe/Paris, or"
            ' "" for this machine\'s.'
        ) from None


def _lowered(error: ValueError) -> str:
    text = str(error).rstrip(".")
    return text[:1].lower() + text[1:]


def _weekdays(field: str) -> str:
    """Cron's days of the week by their names: APScheduler counts them from Monday, cron does not.

    Raises `ValueError`.
    """
    if field == "*":
        return field
    chosen: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = 0, 6
        else:
            start = _weekday(first)
            end = _weekday(last) if dash else (6 if step else start)
        if end < start:
            end += 7  # from one week into the next
        if step and (not step.isdecimal() or int(step) == 0):
            raise ValueError(f"{part!r} is no day of the week")
        chosen.update(day % 7 for day in range(start, end + 1, int(step or 1)))
    return ",".join(_DAYS[day] for day in sorted(chosen))


def _weekday(text: str) -> int:
    if text in _DAYS:
        return _DAYS.index(text)
    if text.isdecimal() and int(text) <= 7:
        return int(text)
    raise ValueError(f"{text!r} is no day of the week, which are 0 to 7 or sun to sat")


@dataclass
class Entry:
    """What is remembered of one job; times in Unix seconds.

    `due`: when it runs next, chance included. `begun`: when a run of it began that has not come to
    its end.
    """

    plan: str
    due: float
    begun: float | None = None
    ended: float | None = None


class Timetable:
    """When each job is due, kept in a file, so that a night that the service slept through counts.

    A run that was broken off, by a power cut or by somebody who stopped the service, is due at
    once. APScheduler's own stores that last would put the next run after the restart instead
    whenever the job is added again, and keep the job itself as a pickle.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries = _read(file)

    def next(self, job: str, plan: str, trigger: OrTrigger, now: datetime) -> datetime:
        """When `job` is to run next: now or earlier if a run was missed or broken off.

        Of several that were missed one is left. A time further away than the plan has it, as one
        kept while the clock was wrong, does not count.
        """
        regular: datetime = trigger.get_next_fire_time(None, now)
        entry = self._entries.get(job)
        if entry is None or entry.plan != plan:
            begun = entry.begun if entry is not None else None
            self._put(job, Entry(plan, regular.timestamp(), begun))
            return now if begun is not None else regular
        if entry.begun is not None or entry.due <= now.timestamp():
            return now
        if entry.due <= regular.timestamp() + (trigger.jitter or 0):
            return datetime.fromtimestamp(entry.due, UTC)
        self._put(job, Entry(plan, regular.timestamp(), ended=entry.ended))
        return regular

    def begin(self, job: str, plan: str, following: datetime, now: datetime) -> None:
        """A run of `job` begins; the next regular one is `following`."""
        known = self._entries.get(job)
        ended = known.ended if known is not None else None
        self._put(job, Entry(plan, following.timestamp(), now.timestamp(), ended))

    def end(self, job: str, now: datetime) -> None:
        """The run of `job` came to its end, whatever that was."""
        entry = self._entries[job]
        entry.begun, entry.ended = None, now.timestamp()
        self._put(job, entry)

    def due(self, job: str) -> datetime:
        """When `job` is due next, as was last said."""
        return datetime.fromtimestamp(self._entries[job].due, UTC)

    def _put(self, job: str, entry: Entry) -> None:
        self._entries[job] = entry
        entries = {name: asdict(kept) for name, kept in self._entries.items()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._file, json.dumps(entries, indent=2))
        except OSError as error:
            log.error(
                "%s cannot be written (%s); a run that is missed from now on may stay missed.",
                self._file,
                error.strerror or error,
            )


def _read(file: Path) -> dict[str, Entry]:
    try:
        stored: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return {job: Entry(**values) for job, values in stored.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read, so nothing counts as missed: %s", file, error)
        return {}
