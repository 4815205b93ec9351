"""The stream that a remote server sends: bytes to events, events to the text of a reply."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

from inference.remote.errors import AGAIN_STATUSES, RemoteError, server_message
from inference.text_stream import TextStream
from inference.types import FinishReason, Usage

DONE = "[DONE]"
_LARGEST_EVENT = 8 << 20  # bytes; log-probabilities make events of a few hundred kilobytes
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")  # a \r at the very end may be half of a \r\n
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_FINISHED: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
}
_FAILED = {
    "content_filter": "The server's content filter ended this reply; please ask differently.",
    "tool_calls": "The model asked for a tool instead of answering; please ask differently.",
    "function_call": "The model asked for a tool instead of answering; please ask differently.",
}


class EventDecoder:
    """Server-sent events out of bytes, wherever the network cuts them."""

    def __init__(self, largest: int = _LARGEST_EVENT) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._first_line = True

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that `chunk` completes.

        Raises `RemoteError` if an event is too large to be one.
        """
        self._buffer += chunk
        events: list[str] = []
        start = 0
        while found := _LINE_END.search(self._buffer, max(start, self._searched)):
            events += self._take(bytes(self._buffer[start : found.start()]))
            start = found.end()
        del self._buffer[:start]
        self._searched = max(len(self._buffer) - 1, 0)
        if len(self._buffer) + sum(map(len, self._data)) > self._largest:
            raise RemoteError("The server sent a line without end instead of a reply.")
        return events

    def end(self) -> list[str]:
        """The data of an event that the server did not care to close with an empty line."""
        rest = bytes(self._buffer).removesuffix(b"\r")
        self._buffer.clear()
        return [*self._take(rest), *self._take(b"")]

    def _take(self, line: bytes) -> list[str]:
        if self._first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._first_line = False
        if not line:
            event = b"\n".join(self._data).decode("utf-8", "replace")
            self._data.clear()
            return [event] if event else []
        field, _, value = line.partition(b":")
        if field == b"data":  # comments have no name before the colon; other fields say nothing
            self._data.append(value.removeprefix(b" "))
        return []


class RemoteReply:
    """One reply as its events arrive; the text is trimmed as the local worker trims it."""

    def __init__(self, stop: Sequence[str], started: float, estimated_prompt_tokens: int) -> None:
        self._deltas: list[str] = []
        # What the worker does with tokens serves for the server's pieces of text as well.
        self._text = TextStream(lambda pieces: "".join(self._deltas[i] for i in pieces), stop)
        self._started = started
        self._first_token: float | None = None
        self._prompt_tokens = estimated_prompt_tokens
        self._cached_tokens = 0
        self._told_tokens: int | None = None
        self.tokens = 0
        self.finish: FinishReason | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found; the server need not know of all of them."""
        return self._text.stopped

    @property
    def begun(self) -> bool:
        """Whether the model has said anything, be it to itself."""
        return self._first_token is not None

    def take(self, data: str) -> tuple[str, int]:
        """Text that is certain after one event, and the tokens that it stands for.

        Raises `RemoteError` if the event is no part of a reply, or the end of a bad one.
        """
        event = _parse(data)
        if isinstance(usage := event.get("usage"), dict):
            self._read_usage(usage)
        choices = event.get("choices")
        if self.finish is not None or not isinstance(choices, list) or not choices:
            return "", 0  # usage alone, or something that we did not ask for
        choice = choices[0]
        if not isinstance(choice, dict):
            raise _not_understood()
        text, tokens = self._read_delta(choice.get("delta") or choice.get("message") or {})
        if self._text.stopped:
            self.finish = "stop"
        elif reason := choice.get("finish_reason"):
            self.finish = _finish(str(reason))
            text += self._text.finish()
        return text, tokens

    def usage(self) -> Usage:
        """What the server said that the reply cost, estimated where it did not."""
        now = time.monotonic()
        return Usage(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self.tokens if self._told_tokens is None else self._told_tokens,
            first_token_seconds=(self._first_token or now) - self._started,
            total_seconds=now - self._started,
        )

    def _read_delta(self, delta: object) -> tuple[str, int]:
        if not isinstance(delta, dict):
            raise _not_understood()
        content, thought = delta.get("content"), delta.get("reasoning_content")
        if delta.get("refusal"):
            raise RemoteError(_FAILED["content_filter"])
        if not isinstance(content, str | None):
            raise _not_understood()
        if not content and not thought:
            return "", 0  # the first event often holds nothing but the role
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.tokens += 1
        if not content:
            return "", 1
        self._deltas.append(content)
        return self._text.push(len(self._deltas) - 1), 1

    def _read_usage(self, usage: dict[str, Any]) -> None:
        def count(holder: object, name: str) -> int | None:
            value = holder.get(name) if isinstance(holder, dict) else None
            return value if isinstance(value, int) and value >= 0 else None

        prompt, completion = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
        self._prompt_tokens = self._prompt_tokens if prompt is None else prompt
        self._told_tokens = self._told_tokens if completion is None else completion
        cached = count(usage.get("prompt_tokens_details"), "cached_tokens") or 0
        self._cached_tokens = min(cached, self._prompt_tokens)


def _parse(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise _not_understood() from None
    if not isinstance(event, dict):
        raise _not_understood()
    if event.get("error") or event.get("object") == "error":
        raise _in_band_error(event)
    return event


def _in_band_error(event: dict[str, Any]) -> RemoteError:
    """An error that came after the server had already answered 200."""
    error = event["error"] if isinstance(event.get("error"), dict) else event
    code = error.get("code")
    status = code if isinstance(code, int) else 0
    message = server_message(event) or "it does not say why"
    return RemoteError(
        f"The server gave up this reply: {message}.",
        status=status,
        again=status in AGAIN_STATUSES,
    )


def _finish(reason: str) -> FinishReason:
    if finish := _FINISHED.get(reason.lower()):
        return finish
    sentence = _FAILED.get(reason.lower(), f"The server ended this reply early ({reason[:40]}).")
    raise RemoteError(sentence)


def _not_understood() -> RemoteError:
    return RemoteError(
        "The server sent something that is no chat completion; check that remote.urls name an"
        " OpenAI-compatible server."
    )
