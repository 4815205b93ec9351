"""The chat workload through llama.cpp, by the rules of its server; runs where llama-cpp-python is.

Usage: python llama_cpp_chats.py JOB.json, prints JSON. The server of llama-cpp-python reloads the
model to change an adapter and answers one request at a time, so this drives the library itself as
llama.cpp's own server does: a slot for every channel that keeps its cache, an adapter for each
request, and batches only of requests with the same adapter.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp as lib  # type: ignore[import-not-found]
import numpy as np

_BATCH = 512


class Slots:
    """One context; sequence i belongs to channel i."""

    def __init__(self, job: dict[str, Any]) -> None:
        lib.llama_log_set(_silent, ctypes.c_void_p(0))
        lib.llama_backend_init()
        model = lib.llama_model_load_from_file(
            job["gguf"].encode(), lib.llama_model_default_params()
        )
        settings = lib.llama_context_default_params()
        settings.n_ctx = job["context"] * job["channels"]
        settings.n_seq_max = job["channels"]
        settings.n_batch = settings.n_ubatch = _BATCH
        settings.n_threads = settings.n_threads_batch = job["threads"]
        self.context = lib.llama_init_from_model(model, settings)
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self.adapters = [lib.llama_adapter_lora_init(model, f.encode()) for f in job["adapters"]]
        self.forbidden = job["end_ids"]
        self.batch = lib.llama_batch_init(_BATCH, 0, 1)
        self.known: list[list[int]] = [[] for _ in range(job["channels"])]
        if not all(self.adapters):
            raise SystemExit("llama.cpp refused an adapter")

    def use(self, adapter: int | None) -> None:
        chosen = [] if adapter is None else [self.adapters[adapter]]
        kind = lib.llama_adapter_lora_p_ctypes * len(chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0] * len(chosen))
        lib.llama_set_adapters_lora(self.context, kind(*chosen), len(chosen), scales)

    def read(self, channel: int, prompt: list[int]) -> int:
        """Bring a channel's cache up to `prompt`; the token that follows."""
        known = self.known[channel]
        shared = 0
        while shared < min(len(known), len(prompt) - 1) and known[shared] == prompt[shared]:
            shared += 1
        memory = lib.llama_get_memory(self.context)
        lib.llama_memory_seq_rm(memory, channel, shared, -1)
        for start in range(shared, len(prompt), _BATCH):
            part = prompt[start : start + _BATCH]
            last = self._decode([(channel, start + i, token) for i, token in enumerate(part)])
        self.known[channel] = list(prompt)
        return last[-1]

    def step(self, tokens: dict[int, int]) -> dict[int, int]:
        """One token further in each of these channels."""
        wanted = [(channel, len(self.known[channel]), token) for channel, token in tokens.items()]
        chosen = self._decode(wanted, each=True)
        for channel, token in tokens.items():
            self.known[channel].append(token)
        return dict(zip(tokens, chosen, strict=True))

    def _decode(self, entries: list[tuple[int, int, int]], each: bool = False) -> list[int]:
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (channel, position, token) in enumerate(entries):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, channel
            batch.logits[i] = each or i == len(entries) - 1
        if lib.llama_decode(self.context, batch):
            raise SystemExit("llama.cpp could not decode")
        return [
            self._greedy(i) for i in (range(len(entries)) if each else [len(entries) - 1])
        ]  # fmt: skip

    def _greedy(self, index: int) -> int:
        logits = lib.llama_get_logits_ith(self.context, index)
        scores = np.ctypeslib.as_array(logits, (self.vocabulary,)).copy()
        scores[self.forbidden] = -np.inf
        return int(scores.argmax())


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    """llama.cpp describes every tensor that it loads."""


def serve(slots: Slots, job: dict[str, Any]) -> tuple[float, float]:
    """Seconds of all turns of all channels, and those of them that went into decode steps."""
    started, decoding = time.perf_counter(), 0.0
    groups: dict[int | None, list[int]] = {}
    for channel, adapter in enumerate(job["adapter_of"]):
        groups.setdefault(adapter, []).append(channel)
    for turn in range(len(job["prompts"][0])):
        for adapter, channels in groups.items():
            slots.use(adapter)
            tokens = {c: slots.read(c, job["prompts"][c][turn]) for c in channels}
            before = time.perf_counter()
            for _ in range(job["reply_tokens"] - 1):
                tokens = slots.step(tokens)
            decoding += time.perf_counter() - before
    return time.perf_counter() - started, decoding


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - runs without the project
        job = json.load(file)
    slots = Slots(job)
    seconds, decoding = serve(slots, job)
    print(json.dumps({"seconds": seconds, "decode_seconds": decoding}))


if __name__ == "__main__":
    main()
