"""Runs of the retraining as rows."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from db.database import Database, DatabaseError
from db.runs import Run

FIRST = Run(
    key="2026-11-21T03-00-00Z",
    adapter="default",
    stage="snapshot",
    started_at=1000.0,
    settings={"seed": 3, "retrain": {"suite": "development"}},
    champion="default@0",
    pid=42,
)
SECOND = dataclasses.replace(FIRST, key="2026-11-22T03-00-00Z", started_at=2000.0)


async def test_a_run_is_a_row_from_its_beginning(database: Database) -> None:
    await database.runs.begin(FIRST)
    assert await database.runs.get(FIRST.key) == FIRST
    assert await database.runs.get("2020-01-01T00-00-00Z") is None
    with pytest.raises(DatabaseError, match=f"a run {FIRST.key} already"):
        await database.runs.begin(FIRST)


async def test_stages_figures_and_end(database: Database) -> None:
    runs = database.runs
    await runs.begin(FIRST)
    await runs.enter_stage(FIRST.key, "train", 1200.0)
    await runs.update(FIRST.key, figures={"IIR": {"value": 0.0}}, stage_times={"snapshot": 1.5})
    await runs.finish(FIRST.key, "rejected", "It babbles.", 1500.0, challenger="default@1")
    assert await runs.get(FIRST.key) == dataclasses.replace(
        FIRST,
        state="rejected",
        stage="train",
        stage_at=1200.0,
        figures={"IIR": {"value": 0.0}},
        stage_times={"snapshot": 1.5},
        reason="It babbles.",
        finished_at=1500.0,
        challenger="default@1",
    )


async def test_newest_and_unfinished(database: Database) -> None:
    runs = database.runs
    assert await runs.newest(5) == []
    assert await runs.unfinished() is None
    await runs.begin(SECOND)
    await runs.begin(FIRST)
    assert [run.key for run in await runs.newest(5)] == [SECOND.key, FIRST.key]
    assert [run.key for run in await runs.newest(1)] == [SECOND.key]
    assert await runs.unfinished() == SECOND
    assert await runs.all_unfinished() == [FIRST, SECOND]
    await runs.finish(FIRST.key, "failed", "The disk is full.", 3000.0)
    assert await runs.all_unfinished() == [SECOND]


async def test_cancelling(database: Database) -> None:
    runs = database.runs
    await runs.begin(FIRST)
    assert not await runs.is_cancelled(FIRST.key)
    assert await runs.request_cancel(FIRST.key)
    assert await runs.is_cancelled(FIRST.key)
    await runs.finish(FIRST.key, "cancelled", "Cancelled in stage train.", 1100.0)
    assert not await runs.request_cancel(FIRST.key)  # too late
    assert not await runs.request_cancel("2020-01-01T00-00-00Z")
    assert not await runs.is_cancelled("2020-01-01T00-00-00Z")


async def test_operators_are_told_once(database: Database) -> None:
    runs = database.runs
    await runs.begin(FIRST)
    await runs.begin(SECOND)
    assert await runs.unannounced() == []
    await runs.finish(SECOND.key, "rejected", "Worse.", 2500.0)
    await runs.finish(FIRST.key, "promoted", "Better.", 3000.0)
    assert [run.key for run in await runs.unannounced()] == [SECOND.key, FIRST.key]
    assert await runs.mark_announced(SECOND.key, 2600.0)
    assert not await runs.mark_announced(SECOND.key, 2700.0)
    assert [run.key for run in await runs.unannounced()] == [FIRST.key]


async def test_a_lost_row_is_put_back_and_a_present_one_keeps_what_others_wrote(
    database: Database,
) -> None:
    runs = database.runs
    await runs.put(FIRST)
    assert await runs.get(FIRST.key) == FIRST
    await runs.request_cancel(FIRST.key)
    await runs.mark_announced(FIRST.key, 7.0)
    await runs.put(dataclasses.replace(FIRST, stage="gate", pid=43))
    assert await runs.get(FIRST.key) == dataclasses.replace(
        FIRST, stage="gate", pid=43, cancel_requested=True, announced_at=7.0
    )


@pytest.mark.parametrize("fields", [{"key": "x"}, {"announced_at": 1.0}, {"nonsense": 1}])
async def test_only_what_a_run_reports_can_be_changed(
    database: Database, fields: dict[str, Any]
) -> None:
    await database.runs.begin(FIRST)
    name = next(iter(fields))
    with pytest.raises((ValueError, TypeError), match=name):
        await database.runs.update(FIRST.key, **fields)


async def test_a_change_of_a_run_that_is_gone_is_said(database: Database) -> None:
    with pytest.raises(DatabaseError, match="no run"):
        await database.runs.enter_stage(FIRST.key, "train", 1200.0)


async def test_states_are_those_that_are_known(database: Database, file: Path) -> None:
    await database.runs.begin(FIRST)
    raw = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("UPDATE runs SET state = 'won'")
    raw.close()
