"""What can go wrong with a remote server, each as one sentence for the user."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from inference.types import InferenceError

# Worth another attempt: timed out, too early, too many, and what servers and proxies say while
# they are overloaded or starting.
AGAIN_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
ABSENT_STATUSES = frozenset({502, 503, 504})  # a proxy says these of a server that is not there
_LONGEST_MESSAGE = 240
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|max_model_len|too many (input |prompt )?tokens"
    r"|(prompt|input|request).{0,30}too (long|large)",
    re.IGNORECASE,
)


class RemoteError(InferenceError):
    """A server failed a request; the message is one sentence.

    `again`: the same request may succeed later, after `wait` seconds if the server said so.
    `unreachable`: there was no answer at all. `said`: the server's own words.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int = 0,
        again: bool = False,
        wait: float | None = None,
        unreachable: bool = False,
        said: str = "",
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.again = again
        self.wait = wait
        self.unreachable = unreachable
        self.said = said


def unreachable(server: str, reason: str) -> RemoteError:
    return RemoteError(
        f"The model's server {server} cannot be reached ({reason}); start it or check remote.urls.",
        again=True,
        unreachable=True,
    )


def refusal(
    server: str, status: int, headers: Mapping[str, str], body: bytes, *, model: str, key: str
) -> RemoteError:
    """The error for an answer other than 200.

    `model` is the one that was asked for. `key` says where the key comes from, never what it is.
    """
    values = _json(body)
    said = server_message(values) if values is not None else ""
    again = status in AGAIN_STATUSES and "insufficient_quota" not in body.decode("utf-8", "replace")
    return RemoteError(
        _sentence(server, status, said, values is not None, model, key),
        status=status,
        again=again,
        wait=_retry_after(headers) if again else None,
        said=said,
    )


def _sentence(server: str, status: int, said: str, is_json: bool, model: str, key: str) -> str:
    if status in (401, 403):
        return f"The server {server} refuses the key; put a valid one into {key}."
    if status == 404 and model and is_json and "model" in said.lower():
        return (
            f"The server {server} has no model {model!r}; check remote.model, remote.adapters and"
            " what it serves."
        )
    if 300 <= status < 400 or status in (404, 405):
        return (
            f"There is no OpenAI-compatible API at {server} (HTTP {status}); check remote.urls,"
            " which mostly end in /v1."
        )
    if status in (400, 413, 422) and (status == 413 or _TOO_LONG.search(said)):
        return (
            "The prompt is too long for the model's server; lower prompt.context_tokens or"
            " sampling.max_new_tokens."
        )
    reason = f": {said}" if said else ""
    if status == 429:
        return f"The server {server} takes no more requests now (HTTP 429){reason}."
    if status >= 500:
        return f"The server {server} failed (HTTP {status}){reason}."
    return f"The server {server} refused the request (HTTP {status}){reason}."


def server_message(values: Any) -> str:
    """What a server says in an error body, in one line without a full stop; possibly empty."""
    for key in ("error", "message", "detail"):
        if isinstance(values, dict) and values.get(key):
            values = values[key]
            if isinstance(values, dict):
                return server_message(values)
            break
    text = values if isinstance(values, str) else json.dumps(values) if values else ""
    text = " ".join(text.split())
    if len(text) > _LONGEST_MESSAGE:
        text = text[:_LONGEST_MESSAGE].rstrip() + "…"
    return text.rstrip(".")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None  # a page of some proxy in between; it is of no use to the user


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the header holds them or a date."""
    value = headers.get("Retry-After", "").strip()[:40]
    if value.isdecimal():
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
