"""Decode steps as CUDA graphs: one launch instead of hundreds, for each shape that occurs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from inference.engine.runner import Pass

_WARM_UP_RUNS = 2

Replay = Callable[[], None]
Capture = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]


class DecodeGraphs:
    """Runs `forward`, replaying a captured graph where the pass only decodes.

    Shapes are rounded (`Runner.rounded`), so there are few graphs. A replay reads its inputs from,
    and leaves its logits in, memory that stays in place.
    """

    def __init__(self, forward: Callable[[Pass], Tensor], capture: Capture) -> None:
        self._forward = forward
        self._capture = capture
        self._graphs: dict[tuple[int, int, int], tuple[Replay, Pass, Tensor]] = {}

    def __call__(self, step: Pass) -> Tensor:
        if step.segments:
            return self._forward(step)
        columns = 0 if step.owned is None else step.columns
        shape = (step.decode_rows, step.window, columns)
        # which rows are wanted varies from step to step; the graph computes all of them
        whole = replace(step, outputs=None)
        if shape not in self._graphs:
            inputs = _clone_tensors(whole)
            replay, logits = self._capture(lambda: self._forward(inputs))
            self._graphs[shape] = (replay, inputs, logits)
        replay, inputs, logits = self._graphs[shape]
        _copy_tensors(whole, inputs)
        replay()
        return logits.clone() if step.outputs is None else logits[step.outputs]


class CudaCapture:
    """Captures a function of static memory as a CUDA graph; all graphs share one memory pool."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = function()
        return graph.replay, logits


def _clone_tensors(step: Pass) -> Pass:
    tensors = {
        field.name: value.clone()
        for field in fields(step)
        if isinstance(value := getattr(step, field.name), Tensor)
    }
    return replace(step, **tensors)  # type: ignore[arg-type]


def _copy_tensors(source: Pass, target: Pass) -> None:
    for field in fields(source):
        value = getattr(source, field.name)
        if isinstance(value, Tensor):
            getattr(target, field.name).copy_(value)
