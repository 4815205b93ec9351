"""What is seen of a training while it runs, and stopping it where it can be resumed."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from finetune.errors import TrainingError
from finetune.progress import Progress
from finetune.training.sharding import is_sharded


class History(TrainerCallback):
    """Keeps and shows the loss of every step, and ends a training that has gone astray.

    `rows` hold `phase`, `step` and `learning_rate` with `loss`, or with `validation_loss`.
    """

    def __init__(self, progress: Progress) -> None:
        self.rows: list[dict[str, Any]] = []
        self.phase = ""
        self._progress = progress

    def losses(self, phase: str) -> list[float]:
        return [row["loss"] for row in self.rows if row["phase"] == phase and "loss" in row]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A resumed training brings what was logged before.
        for row in state.log_history:
            self._keep(row, int(row.get("step", 0)))
        if state.is_world_process_zero:
            self._progress.begin(int(state.max_steps), done=int(state.global_step))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs is None or not self._keep(logs, int(state.global_step)):
            return
        row = self.rows[-1]
        if "loss" not in row:
            return
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"The loss became {row['loss']} at step {state.global_step}; lower learning_rate,"
                " or set model.dtype to float32."
            )
        if state.is_world_process_zero:
            self._progress.step(row["loss"], row["learning_rate"])

    def _keep(self, logs: dict[str, float], step: int) -> bool:
        if "loss" in logs:
            values = {
                "loss": float(logs["loss"]),
                "learning_rate": float(logs.get("learning_rate", 0.0)),
            }
        elif "eval_loss" in logs:
            values = {"validation_loss": float(logs["eval_loss"])}
        else:
            return False
        self.rows.append({"phase": self.phase, "step": step, **values})
        return True


class Stopping(TrainerCallback):
    """Ends the training after the step in which Ctrl-C or SIGTERM came, with a checkpoint."""

    def __init__(self) -> None:
        self.by: int | None = None  # the signal's number

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.by is not None:
            control.should_save = not is_sharded()
            control.should_training_stop = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over while the context is open; a second one stops at once.

        Raises what the signal would have raised, once the checkpoint is written.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def hear(number: int, _: FrameType | None) -> None:
            self.by = number
            print("Stopping after this step; once more stops at once.", file=sys.stderr)
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in before:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.by == signal.SIGINT:
            raise KeyboardInterrupt
        if self.by is not None:
            sys.exit(128 + self.by)
