"""Which adapters are in memory, which of them stand in the batch's columns, and who uses them.

Reading a file happens on a thread of its own; the step loop only copies an adapter that is ready
into columns that nobody uses. An adapter in use is never moved or evicted, and a version never
changes, so a reply ends on the weights it began with.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from inference.adapters import AdapterError, AdapterInfo, is_soft_prompt
from inference.engine.adapter_weights import (
    AdapterPlan,
    AdapterWeights,
    plan_adapter,
    read_adapter,
)
from inference.engine.lora_columns import LoraColumns
from inference.engine.soft_prompt import plan_soft_prompt, read_soft_prompt


class Held(NamedTuple):
    """What a row computes with while it has an adapter."""

    columns: range
    soft_prompt: Tensor | None  # [virtual tokens, hidden]


@dataclass(slots=True)
class _Seat:
    """An adapter's place in the columns."""

    start: int
    rank: int
    users: int = 0

    @property
    def columns(self) -> range:
        return range(self.start, self.start + self.rank)


class AdapterStore:
    """Adapters of one model: files → host memory (up to `budget` bytes) → columns."""

    def __init__(self, columns: LoraColumns, head_dim: int, budget: int) -> None:
        self._columns = columns
        self._head_dim = head_dim
        self._budget = budget
        self._plans: dict[tuple[str, str], AdapterPlan] = {}
        self._resident: OrderedDict[str, AdapterWeights] = OrderedDict()
        self._loading: dict[str, Future[AdapterWeights]] = {}
        self._seats: OrderedDict[str, _Seat] = OrderedDict()  # least recently used first
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="adapter-reader")
        self.loads = 0

    def plan(self, info: AdapterInfo) -> AdapterPlan:
        """Check that the adapter can be mixed with others, and start reading it.

        Raises `AdapterError` with the reason if it cannot.
        """
        identity = (str(info.folder), info.card.weights_hash)
        plan = self._plans.get(identity)
        if plan is None:
            plan = self._check(info)
            if plan.rank > self._columns.capacity:
                raise AdapterError(
                    f"Adapter {info.label} has rank {plan.rank}, above the"
                    f" {self._columns.capacity} columns that are set aside for adapters."
                )
            self._plans[identity] = plan
        if plan.key not in self._seats:
            self._begin_reading(plan)
        return plan

    def acquire(self, plan: AdapterPlan) -> Held | None:
        """An adapter in its columns, until `release`; None while it is read or none are free.

        Raises `AdapterError` if reading it failed.
        """
        if plan.virtual_tokens:
            weights = self._weights(plan)
            return None if weights is None else Held(range(0), weights.soft_prompt)
        seat = self._seats.get(plan.key)
        if seat is None or self._wasteful(seat):
            seat = self._seat(plan) or seat
        if seat is None:
            return None
        seat.users += 1
        self._seats.move_to_end(plan.key)
        return Held(seat.columns, None)

    def is_read(self, plan: AdapterPlan) -> bool:
        """Whether the adapter is in memory, so that only columns can be wanting."""
        return plan.key in self._resident

    def release(self, plan: AdapterPlan) -> None:
        if not plan.virtual_tokens:  # whoever has a soft prompt has a reference to it
            self._seats[plan.key].users -= 1

    def used_columns(self) -> int:
        """Columns up to the last one in use."""
        return max((s.columns.stop for s in self._seats.values() if s.users), default=0)

    def wait(self, seconds: float) -> None:
        """Return when an adapter has been read, or after that time."""
        # one whose reply was cancelled stays here, read; waiting for it would not wait at all, and
        # the step loop would take the processor from the thread that reads
        reading = [future for future in self._loading.values() if not future.done()]
        wait(reading, timeout=seconds, return_when="FIRST_COMPLETED")

    @property
    def in_columns(self) -> int:
        return len(self._seats)

    @property
    def resident_bytes(self) -> int:
        return sum(weights.nbytes for weights in self._resident.values())

    def close(self) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _check(self, info: AdapterInfo) -> AdapterPlan:
        groups, layers = self._columns.groups, self._columns.layers
        if is_soft_prompt(info):
            return plan_soft_prompt(info, hidden=groups[0].width)
        return plan_adapter(info, groups, layers)

    def _seat(self, plan: AdapterPlan) -> _Seat | None:
        weights = self._weights(plan)
        if weights is None:
            return None
        start = self._free_columns(weights.rank)
        if start is None:
            return None
        self._clear(range(start, start + weights.rank))
        self._seats.pop(plan.key, None)
        self._columns.write(weights, start)
        seat = self._seats[plan.key] = _Seat(start, weights.rank)
        return seat

    def _begin_reading(self, plan: AdapterPlan) -> None:
        self._take_in()
        if plan.key in self._resident or plan.key in self._loading:
            return
        self.loads += 1
        self._loading[plan.key] = self._reader.submit(self._read, plan)

    def _read(self, plan: AdapterPlan) -> AdapterWeights:
        columns = self._columns
        if plan.virtual_tokens:
            return read_soft_prompt(plan, columns.device)
        return read_adapter(plan, columns.groups, columns.layers, self._head_dim, columns.dtype)

    def _weights(self, plan: AdapterPlan) -> AdapterWeights | None:
        """The adapter in host memory; None while it is read (again, if it had been evicted)."""
        self._begin_reading(plan)
        if plan.key in self._resident:
            self._resident.move_to_end(plan.key)
            return self._resident[plan.key]
        if not self._loading[plan.key].done():
            return None
        return self._keep(plan.key, self._loading.pop(plan.key).result())

    def _take_in(self) -> None:
        """Count what was read, also for replies that were cancelled meanwhile, in the budget."""
        for key in [key for key, future in self._loading.items() if future.done()]:
            if self._loading[key].exception() is None:  # an error waits for whoever asks again
                self._keep(key, self._loading.pop(key).result())

    def _keep(self, key: str, weights: AdapterWeights) -> AdapterWeights:
        self._resident[key] = weights
        self._shrink(keep=key)
        return weights

    def _shrink(self, keep: str) -> None:
        total = self.resident_bytes
        for key in list(self._resident):
            if total <= self._budget:
                return
            if key != keep:
                total -= self._resident.pop(key).nbytes

    def _free_columns(self, rank: int) -> int | None:
        """The lowest run of `rank` columns that nobody uses: every column in use costs time."""
        taken = sorted((s.start, s.columns.stop) for s in self._seats.values() if s.users)
        start = 0
        for low, high in taken:
            if low - start >= rank:
                break
            start = high
        return start if start + rank <= self._columns.capacity else None

    def _clear(self, columns: range) -> None:
        """Unseat the idle adapters that overlap `columns`."""
        for key, seat in list(self._seats.items()):
            if seat.start < columns.stop and columns.start < seat.columns.stop:
                assert not seat.users, "columns in use are never given away"
                del self._seats[key]

    def _wasteful(self, seat: _Seat) -> bool:
        """An idle adapter far behind the columns in use is better copied to the front."""
        if seat.users:
            return False
        return seat.columns.stop > 2 * (self.used_columns() + seat.rank)
