"""The runs' rows in the bot's database, written in short transactions.

The database is opened for each of them: it may be restored from a backup while a run goes on, and
a connection that was kept would go on writing into the file that was replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from config import Config
from db.database import Database, DatabaseError
from db.runs import Run

Say = Callable[[str], None]
Result = TypeVar("Result")


class Ledger:
    """Reads and writes the table of runs of one configuration."""

    def __init__(self, config: Config, say: Say) -> None:
        self._file = config.database_file
        self._patience = config.database.busy_timeout_seconds
        self._say = say

    def begin(self, run: Run) -> None:
        """Store a new run. Raises `DatabaseError`: without its row no run begins."""
        self._with(lambda database: database.runs.begin(run))

    def put(self, run: Run) -> bool:
        """Bring the row of `run` up to date; where that fails it is said, and the run goes on."""
        try:
            self._with(lambda database: database.runs.put(run))
        except DatabaseError as error:
            self._say(f"The row of the run {run.key} could not be written: {error}")
            return False
        return True

    def put_back(self, run: Run) -> None:
        """Store a run that the database lost; what ended long ago is not announced again."""
        self.put(replace(run, announced_at=run.finished_at))

    def forget_report(self, key: str) -> None:
        """Note that the report of a run is gone."""
        try:
            row = self.get(key)
        except DatabaseError as error:
            self._say(f"The row of the run {key} could not be read: {error}")
            return
        if row is not None and row.report is not None:
            self.put(replace(row, report=None))

    def get(self, key: str) -> Run | None:
        """The row of a run. Raises `DatabaseError`."""
        return self._with(lambda database: database.runs.get(key))

    def unfinished(self) -> list[Run]:
        """Rows that say that they are running. Raises `DatabaseError`."""
        return self._with(lambda database: database.runs.all_unfinished())

    def newest(self, count: int) -> list[Run]:
        """The last runs, newest first. Raises `DatabaseError`."""
        return self._with(lambda database: database.runs.newest(count))

    def is_cancelled(self, key: str) -> bool:
        """Whether somebody asked the run to stop; nobody did, if the database cannot be read."""
        try:
            return self._with(lambda database: database.runs.is_cancelled(key))
        except DatabaseError:  # asked again in a moment
            return False

    def _with(self, work: Callable[[Database], Awaitable[Result]]) -> Result:
        async def opened() -> Result:
            if not self._file.is_file():  # opening it would begin an empty one
                raise DatabaseError(f"There is no database {self._file} (any more).")
            async with await Database.open(
                self._file, busy_timeout_seconds=self._patience
            ) as database:
                return await work(database)

        return asyncio.run(opened())
