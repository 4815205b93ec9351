"""The figures of a running bot, for Prometheus: no text, no person, no channel in any of them.

What happens is counted as turns end (`bot.turn_log`); what is, is read when somebody looks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bot.startup import Company
from bot.turn_log import Turn
from db.database import DatabaseError
from db.runs import Run, RunState
from inference.backend import BackendState
from inference.engine.interface import EngineStats
from persona_prompts.identity.measures import ReplyMeasures

log = logging.getLogger(__name__)

MOST_ADAPTERS = 50  # labels; each is a set of time series that Prometheus keeps
OTHER = "other"  # the label of all further adapters
# From a GPU that answers at once to a queue that ends at inference.deadline_seconds.
_SECONDS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 13, 21, 34, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the disk and the database say; `readable` is false where they say nothing."""

    readable: bool = False
    sizes: tuple[tuple[str, int], ...] = ()  # file, bytes
    run: Run | None = None  # the newest retraining


class Metrics:
    """All figures of one company. Use it from the company's event loop."""

    def __init__(self, behind: Company) -> None:
        self._behind = behind
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Now(behind, self))
        self.stored = _Stored()
        self._adapters: set[str] = set()
        self._turns = self._counter("turns", "Turns that ended.", "adapter", "finish_reason")
        self._unasked = self._counter(
            "unasked_replies", "Replies after the first whose user did not ask for a name.",
            "adapter",
        )  # fmt: skip
        self._introductions = self._counter(
            "introductions", "Those of them that introduced the character all the same.", "adapter"
        )
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts.")
        self._cached_tokens = self._counter(
            "cached_prompt_tokens", "Tokens of prompts that were found in the cache."
        )
        self._reply_tokens = self._counter("reply_tokens", "Tokens of replies.")
        self._first = self._histogram(
            "first_token", "Seconds from the question to the model until the first words."
        )
        self._waited = self._histogram("wait", "Seconds until the model took the question up.")
        self._total = self._histogram("reply", "Seconds until the reply was complete.")
        behind.turns.turn_log.subscribe(self._count)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """All figures as they are now, in the format that `accept` asks for, and its name."""
        self.stored = await self._look()
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _count(self, turn: Turn, measures: ReplyMeasures | None) -> None:
        adapter = self._label(turn.adapter)
        self._turns.labels(adapter, turn.finish_reason).inc()
        if turn.usage is not None:
            self._prompt_tokens.inc(turn.usage.prompt_tokens)
            self._cached_tokens.inc(turn.usage.cached_tokens)
            self._reply_tokens.inc(turn.usage.completion_tokens)
        times = (
            (self._first, turn.timing.first_token),
            (self._waited, turn.timing.waited),
            (self._total, turn.timing.total),
        )
        for histogram, seconds in times:
            if seconds is not None:
                histogram.observe(seconds)
        if measures is not None and measures.k and not measures.elicited and turn.kind == "reply":
            self._unasked.labels(adapter).inc()
            self._introductions.labels(adapter).inc(measures.introduces)

    def _label(self, adapter: str) -> str:
        """`adapter`, or what stands for it where there are too many for one label."""
        if adapter not in self._adapters and len(self._adapters) >= MOST_ADAPTERS:
            return OTHER
        self._adapters.add(adapter)
        return adapter

    async def _look(self) -> _Stored:
        file = self._behind.config.database_file
        sizes = tuple((name, _size(path)) for name, path in _files(file).items())
        try:
            runs = await self._behind.database.runs.newest(1)
        except DatabaseError as error:
            log.warning("The figures lack what the database knows: %s", error)
            return _Stored(sizes=sizes)
        return _Stored(readable=True, sizes=sizes, run=runs[0] if runs else None)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"troupe_{name}", about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(f"troupe_{name}_seconds", about, buckets=_SECONDS, registry=self._registry)


class _Now(Collector):
    """What is read anew each time."""

    def __init__(self, behind: Company, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._model()
        yield from self._identity()
        yield from _database(self._metrics.stored)
        yield from _retraining(self._metrics.stored.run)

    def _model(self) -> Iterator[Metric]:
        status = self._behind.client.status()
        yield _gauge("queue_waiting", "Requests that wait for the model.", status.waiting)
        yield _gauge("replies_running", "Replies being written.", status.running)
        yield _gauge("workers", "Places where replies are written.", status.backends)
        yield _gauge(
            "tokens_per_second", "Of all replies together, lately.", status.tokens_per_second
        )
        yield _one_of(
            "model_state", "1 for the state of the model.", get_args(BackendState), status.state
        )
        restarts = CounterMetricFamily("troupe_worker_restarts", "Workers that were replaced.")
        restarts.add_metric([], status.restarts)
        yield restarts
        yield from _workers(status.engines)

    def _identity(self) -> Iterator[Metric]:
        rates = self._behind.turns.rates
        yield _gauge("identity_replies", "The newest replies, which the rates are of.", len(rates))
        family = GaugeMetricFamily(
            "troupe_identity_rate", "Share of these replies, 0 to 1.", labels=["measure"]
        )
        for measure, rate in rates.rates().items():
            if rate is not None:
                family.add_metric([measure], rate)
        yield family


def _workers(engines: tuple[EngineStats, ...]) -> Iterator[Metric]:
    """What each worker last said of itself."""
    memory = GaugeMetricFamily(
        "troupe_worker_memory_bytes", "Memory of a worker.", labels=["worker", "of"]
    )
    loaded = GaugeMetricFamily(
        "troupe_worker_adapters", "Adapters in use or ready for it.", labels=["worker"]
    )
    loads = CounterMetricFamily(
        "troupe_worker_adapter_loads", "Adapters that were loaded.", labels=["worker"]
    )
    generated = CounterMetricFamily(
        "troupe_worker_tokens", "Tokens that were written, given up ones too.", labels=["worker"]
    )
    for number, engine in enumerate(engines):
        worker = str(number)
        held = {
            "process": engine.resident_bytes,
            "device": engine.device_bytes,
            "prefix_cache": engine.prefix_bytes,
        }
        for name, size in held.items():
            memory.add_metric([worker, name], size)
        loaded.add_metric([worker], engine.adapters_in_batch_memory)
        loads.add_metric([worker], engine.adapter_loads)
        generated.add_metric([worker], engine.generated_tokens)
    yield from (memory, loaded, loads, generated)


def _database(stored: _Stored) -> Iterator[Metric]:
    yield _gauge("database_readable", "1 if the database could be read.", stored.readable)
    sizes = GaugeMetricFamily("troupe_database_bytes", "Size of its files.", labels=["file"])
    for name, size in stored.sizes:
        sizes.add_metric([name], size)
    yield sizes


def _retraining(run: Run | None) -> Iterator[Metric]:
    """The newest run of the retraining; nothing before the first."""
    if run is None:
        return
    yield _one_of(
        "retraining_state", "1 for the state of the newest run.", get_args(RunState), run.state
    )
    yield _gauge("retraining_started_seconds", "Unix time of its start.", run.started_at)
    if run.finished_at is not None:
        yield _gauge("retraining_finished_seconds", "Unix time of its end.", run.finished_at)
    elif run.stage:
        stage = GaugeMetricFamily(
            "troupe_retraining_stage", "1 for what it is doing.", labels=["stage"]
        )
        stage.add_metric([run.stage], 1)
        yield stage


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"troupe_{name}", about, value=value)


def _one_of(name: str, about: str, known: tuple[str, ...], present: str) -> Metric:
    """A series for each of a few states, of which one is 1."""
    family = GaugeMetricFamily(f"troupe_{name}", about, labels=["state"])
    for state in known:
        family.add_metric([state], state == present)
    return family


def _files(database: Path) -> dict[str, Path]:
    """The database and its write-ahead log."""
    return {"main": database, "log": database.with_name(f"{database.name}-wal")}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the log is there only while there is something in it
        return 0
