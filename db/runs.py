"""Runs of the retraining: what each did, when, with what figures and verdict."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Literal

from db.connection import DatabaseError, SerialConnection
from db.values import storable, storable_or_none, to_json

RunState = Literal["running", "promoted", "canary", "rejected", "skipped", "failed", "cancelled"]

_JSON = ("settings", "stage_times", "figures", "verdict")
_TEXTS = ("state", "stage", "data_hash", "reason", "challenger", "champion", "report")
_NUMBERS = ("stage_at", "started_at", "finished_at", "pid")


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are Unix seconds, `stage_times` how many seconds each finished stage took.

    `stage` is the one that was entered last, at `stage_at`.
    `challenger` and `champion` are adapter labels (`default@4`, `base`), `report` is a folder.
    """

    key: str
    adapter: str
    state: RunState = "running"
    stage: str = ""
    stage_at: float | None = None
    started_at: float = 0.0
    finished_at: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    stage_times: dict[str, float] = field(default_factory=dict)
    data_hash: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    challenger: str | None = None
    champion: str | None = None
    report: str | None = None
    cancel_requested: bool = False
    announced_at: float | None = None
    pid: int = 0


class Runs:
    """The store of runs. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def begin(self, run: Run) -> None:
        """Store a new run; its key must not be taken."""
        if await self.get(run.key) is not None:
            raise DatabaseError(f"There is a run {run.key} already; give the new one another key.")
        await self.put(run)

    async def put(self, run: Run) -> None:
        """Store all of `run`, whether or not its row is there.

        A wish to cancel and the time of the announcement stay as they are in a row that is there.
        """
        columns = ("key", "adapter", *_TEXTS, *_NUMBERS, *_JSON)
        values = [_stored(name, getattr(run, name)) for name in columns]
        changes = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                f"INSERT INTO runs ({', '.join(columns)}, cancel_requested, announced_at)"
                f" VALUES ({', '.join('?' * len(columns))}, ?, ?)"
                f" ON CONFLICT (key) DO UPDATE SET {changes}",
                (*values, run.cancel_requested, run.announced_at),
            )

    async def enter_stage(self, key: str, stage: str, at: float) -> None:
        """Say what a run is doing now."""
        await self.update(key, stage=stage, stage_at=at)

    async def update(self, key: str, **fields: Any) -> None:
        """Change fields of a run by their names in `Run`."""
        unknown = fields.keys() - {*_JSON, *_TEXTS, *_NUMBERS}
        if unknown:
            raise ValueError(f"A run has no {', '.join(sorted(unknown))} to be changed.")
        changes = ", ".join(f"{name} = ?" for name in fields)
        values = [_stored(name, value) for name, value in fields.items()]
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                f"UPDATE runs SET {changes} WHERE key = ? RETURNING key", (*values, storable(key))
            )
            if not list(changed):
                raise DatabaseError(f"There is no run {key}; it may have been deleted.")

    async def finish(
        self, key: str, state: RunState, reason: str, at: float, **fields: Any
    ) -> None:
        """End a run in `state`; `reason` is one sentence."""
        await self.update(key, state=state, reason=reason, finished_at=at, **fields)

    async def settle(
        self, key: str, was: RunState, state: RunState, reason: str, at: float
    ) -> bool:
        """What became, at `at`, of a run that had ended as `was`; the operators are told once more.

        `reason` stands in its verdict, too, under `live`. False if it is not (or no longer) in that
        state.
        """
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                "UPDATE runs SET state = ?1, reason = ?2, finished_at = ?3, announced_at = NULL,"
                " verdict = json_set(verdict, '$.live', ?2)"
                " WHERE key = ?4 AND state = ?5 RETURNING key",
                (state, storable(reason), at, storable(key), was),
            )
            return bool(list(changed))

    async def get(self, key: str) -> Run | None:
        """The run of that key."""
        rows = await self._connection.rows("SELECT * FROM runs WHERE key = ?", (storable(key),))
        return _run(rows[0]) if rows else None

    async def newest(self, count: int) -> list[Run]:
        """The last `count` runs, newest first."""
        rows = await self._connection.rows(
            "SELECT * FROM runs ORDER BY started_at DESC, key DESC LIMIT ?", (count,)
        )
        return [_run(row) for row in rows]

    async def unfinished(self) -> Run | None:
        """The newest run that is under way or was broken off."""
        found = await self.all_unfinished()
        return found[-1] if found else None

    async def all_unfinished(self) -> list[Run]:
        """Runs that are under way or were broken off, oldest first."""
        rows = await self._connection.rows("SELECT * FROM runs WHERE state = 'running'")
        return sorted((_run(row) for row in rows), key=lambda run: (run.started_at, run.key))

    async def request_cancel(self, key: str) -> bool:
        """Ask a run to stop for good; False if it is not running (any more)."""
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                "UPDATE runs SET cancel_requested = 1 WHERE key = ? AND state = 'running'"
                " RETURNING key",
                (storable(key),),
            )
            return bool(list(changed))

    async def is_cancelled(self, key: str) -> bool:
        """Whether somebody asked the run to stop for good."""
        rows = await self._connection.rows(
            "SELECT cancel_requested FROM runs WHERE key = ?", (storable(key),)
        )
        return bool(rows and rows[0]["cancel_requested"])

    async def unannounced(self) -> list[Run]:
        """Finished runs that the operators were not told of, oldest first."""
        rows = await self._connection.rows(
            "SELECT * FROM runs WHERE announced_at IS NULL AND finished_at IS NOT NULL"
            " ORDER BY finished_at"
        )
        return [_run(row) for row in rows]

    async def mark_announced(self, key: str, at: float) -> bool:
        """Note that the operators were told; False if that was noted before."""
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                "UPDATE runs SET announced_at = ? WHERE key = ? AND announced_at IS NULL"
                " RETURNING key",
                (at, storable(key)),
            )
            return bool(list(changed))


def _stored(name: str, value: Any) -> Any:
    if name in _JSON:
        return to_json(value)
    return value if name in _NUMBERS else storable_or_none(value)


def _run(row: sqlite3.Row) -> Run:
    values = dict(row)
    values.update({name: json.loads(values[name]) for name in _JSON})
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Run(**values)
