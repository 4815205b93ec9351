"""Speaks as `inference/embedding_worker.py` does, without a model; run by test_embedder.py.

The first argument says how it behaves.
"""

from __future__ import annotations

import base64
import json
import os
import sys

behaviour = sys.argv[1]
if behaviour == "other model":
    print(json.dumps({"dimensions": 7}), flush=True)
elif behaviour == "no model":
    print(json.dumps({"error": "ImportError: torch is broken"}), flush=True)
else:
    print(json.dumps({"dimensions": 384}), flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    if "die" in texts:
        os._exit(9)
    if "sleep" in texts:
        continue
    answer: object = [
        base64.b64encode(bytes([len(text) % 128]) * 384).decode("ascii") for text in texts
    ]
    if "short" in texts:
        answer = [base64.b64encode(b"xx").decode("ascii")]
    if "noise" in texts:
        print("not JSON", flush=True)
        continue
    if "refuse" in texts:
        answer = {"error": "RuntimeError: no"}
    print(json.dumps(answer), flush=True)
