"""Rows of the batch, what each does in the next step, and the tensors of that step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engine.adapter_weights import AdapterPlan
from inference.engine.interface import EngineRequest
from inference.engine.lora_columns import owned_columns
from inference.engine.runner import Pass, Runner, Segment, Virtual

_VIRTUAL = 0  # stands in `Row.tokens` for each embedding of a soft prompt


@dataclass(slots=True, eq=False)
class Row:
    """One reply, in a row of the batch or waiting for one."""

    request: EngineRequest
    plan: AdapterPlan | None
    tokens: list[int]  # virtual tokens and prompt, then what was generated
    index: int | None = None  # None: it waits
    columns: range | None = None  # of its adapter; None: base
    soft_prompt: Tensor | None = None  # [virtual tokens, hidden]
    seated: bool = False  # its adapter is ready
    to_read: int = field(init=False)  # tokens before the first that this batch gives it
    written: int = 0  # tokens whose keys and values are in the cache
    restored: bool = False  # from the prefix cache, as far as that knew it
    cached_tokens: int = 0  # of the prompt, found in the prefix cache

    def __post_init__(self) -> None:
        self.to_read = len(self.tokens)

    @classmethod
    def waiting(cls, request: EngineRequest, plan: AdapterPlan | None) -> Row:
        virtual = plan.virtual_tokens if plan else 0
        return cls(request, plan, [_VIRTUAL] * virtual + list(request.prompt))

    @property
    def place(self) -> int:
        assert self.index is not None, "the reply has a row of the batch"
        return self.index

    @property
    def virtual_tokens(self) -> int:
        return self.plan.virtual_tokens if self.plan else 0

    @property
    def generated(self) -> list[int]:
        return self.tokens[self.virtual_tokens + len(self.request.prompt) :]

    @property
    def decoding(self) -> bool:
        return len(self.tokens) > self.to_read

    @property
    def adapter_key(self) -> str:
        return self.plan.key if self.plan else "base"

    def wait(self) -> None:
        """Leave the batch; what was said stays, and is read again like a prompt."""
        self.index = self.columns = self.soft_prompt = None
        self.seated = self.restored = False
        self.to_read, self.written = len(self.tokens), 0


@dataclass(frozen=True, slots=True)
class Work:
    """What one step computes: a token for each row of `decode`, and chunks of prompts."""

    decode: tuple[int, ...]
    chunks: tuple[tuple[int, int], ...] = field(default=())  # row, tokens

    def __bool__(self) -> bool:
        return bool(self.decode or self.chunks)

    @property
    def prompt_tokens(self) -> int:
        return sum(count for _, count in self.chunks)

    def rows(self) -> list[int]:
        return [*self.decode, *(row for row, _ in self.chunks)]

    def alone(self) -> list[Work]:
        """The same work, one row at a time."""
        return [
            *(Work((row,)) for row in self.decode),
            *(Work((), (chunk,)) for chunk in self.chunks),
        ]


def finishing(work: Work, rows: list[Row | None]) -> list[int]:
    """The rows that this step gives a token to, in the order of their logits."""
    ending = [
        index
        for index, count in work.chunks
        if (row := rows[index]) and row.written + count == row.to_read
    ]
    return [*work.decode, *ending]


def build_pass(runner: Runner, rows: list[Row | None], work: Work, columns: int) -> Pass:
    """The tensors of one forward pass; see `Pass` for their meaning."""
    kv, device = runner.kv, runner.device
    decode = set(work.decode)
    width = _round_rows(max(decode, default=-1) + 1, len(rows), runner)
    tokens, positions = [0] * width, [0] * width
    lines, places = list(range(width)), [kv.scratch] * width  # rows and positions written to
    owned: list[range | None] = [None] * width
    outputs: list[int] = list(work.decode)
    for index in range(width):
        row = rows[index] if index in decode else None
        if row is not None:
            tokens[index] = row.tokens[row.written]
            positions[index] = places[index] = row.written
            owned[index] = row.columns
    window = _round_window(max(positions, default=0) + 1, runner)
    mask = _causal_rows(positions, window, runner) if width and runner.needs_masks else None

    segments: list[Segment] = []
    virtual: list[tuple[int, Tensor]] = []  # where in the pass, and what stands there
    for index, count in work.chunks:
        row = rows[index]
        assert row is not None
        start, past = len(tokens), row.written
        segments.append(Segment(index, start, count, past, _causal(count, past, runner)))
        if row.soft_prompt is not None and past < len(row.soft_prompt):
            virtual.append((start, row.soft_prompt[past : past + count]))
        tokens += row.tokens[past : past + count]
        positions += range(past, past + count)
        lines += [index] * count
        places += range(past, past + count)
        owned += [row.columns] * count
        if past + count == row.to_read:
            outputs.append(len(tokens) - 1)

    columns = _round_columns(columns, runner)
    return Pass(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        slots=kv.slots(torch.tensor(lines, device=device), torch.tensor(places, device=device)),
        decode_rows=width,
        window=window,
        decode_mask=mask,
        segments=tuple(segments),
        owned=owned_columns(owned, device),
        columns=columns,
        outputs=torch.tensor(outputs, dtype=torch.long, device=device),
        virtual=_virtual(virtual, device),
    )


def _virtual(parts: list[tuple[int, Tensor]], device: torch.device) -> Virtual | None:
    if not parts:
        return None
    places = [place for start, part in parts for place in range(start, start + len(part))]
    return Virtual(torch.tensor(places, device=device), torch.cat([part for _, part in parts]))


def _causal_rows(positions: Iterable[int], window: int, runner: Runner) -> Tensor:
    """Each row sees the positions up to its own: [rows, 1, 1, window], 0 or -inf."""
    last = torch.tensor(list(positions), device=runner.device)
    mask = torch.zeros(len(last), window, dtype=runner.dtype, device=runner.device)
    hidden = torch.arange(window, device=runner.device) > last[:, None]
    return mask.masked_fill_(hidden, -torch.inf)[:, None, None]


def _causal(count: int, past: int, runner: Runner) -> Tensor:
    """Each token of a chunk sees what came before it: [count, past + count], 0 or -inf."""
    full = torch.full((count, past + count), -torch.inf, dtype=runner.dtype, device=runner.device)
    return full.triu_(past + 1)


def _round_rows(rows: int, capacity: int, runner: Runner) -> int:
    """Powers of two where shapes are rounded."""
    if not runner.rounded or rows == 0:
        return rows
    return min(1 << (rows - 1).bit_length(), capacity)


def _round_window(length: int, runner: Runner) -> int:
    step = 256 if runner.rounded else 16
    return min(-(-length // step) * step, runner.kv.length)


def _round_columns(columns: int, runner: Runner) -> int:
    if not runner.rounded or columns == 0:
        return columns
    return min(max(16, 1 << (columns - 1).bit_length()), runner.lora.capacity)
