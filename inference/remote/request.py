"""A request in the words of the OpenAI protocol, and what one server understands of them."""

from __future__ import annotations

import logging
import re
from typing import Any

from inference.prompt_format import strictly_alternating
from inference.remote.errors import RemoteError
from inference.types import GenerationRequest, Message, Sampling

log = logging.getLogger(__name__)

_MOST_STOPS = 4  # the protocol's limit; the rest are found in the text here
_BYTES_PER_TOKEN = 4

# What vLLM, SGLang, llama.cpp and others take beyond the protocol, with the value that is off.
_EXTENSIONS: dict[str, float] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
_OPTIONAL: dict[str, object] = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "seed": None,
}
_REQUIRED = frozenset({"model", "messages", "stream"})

_FIELD_REFUSED = re.compile(
    r"unrecogni[sz]ed|unknown|unsupported|not (supported|permitted|allowed)|unexpected|extra"
    r"|does not support",
    re.IGNORECASE,
)
_ORDER_REFUSED = re.compile(
    r"alternat|system (role|message)|conversation roles|only user and assistant", re.IGNORECASE
)
# The markers with which chat templates open and close turns, in the shapes that are about.
_MARKERS = (
    r"<[|｜][^\s<>]{1,64}[|｜]>",
    r"</?s>",
    r"\[/?INST\]",
    r"<</?SYS>>",
    r"<(?:start|end)_of_turn>",
)


class RemoteDialect:
    """How one server wants to be asked; it learns from what the server refuses."""

    def __init__(self, server: str, *, explicit: bool, special_texts: frozenset[str]) -> None:
        """`explicit`: also send what is off, as vLLM else takes the checkpoint's own defaults.

        `special_texts` are special tokens that are known besides the usual ones.
        """
        self._server = server
        self._explicit = explicit
        known = sorted(map(re.escape, special_texts), key=len, reverse=True)
        self._special = re.compile("|".join([*known, *_MARKERS]))
        self._left_out: set[str] = set()
        self._limit_name = "max_tokens"
        self._alternating = False
        self._told_left_out = False

    def body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """The JSON of one request for a streamed reply."""
        self._tell_left_out(request.sampling)
        turns = [{"role": m.role, "content": self._neutral(m)} for m in request.messages]
        body = {
            "model": model,
            "messages": strictly_alternating(turns) if self._alternating else turns,
            "stream": True,
            "stream_options": {"include_usage": True},
            self._limit_name: request.sampling.max_new_tokens,
            **self._sampling(request.sampling),
        }
        return {name: value for name, value in body.items() if name not in self._left_out}

    def learn(self, body: dict[str, Any], error: RemoteError) -> bool:
        """Whether a request that was refused with `error` is worth sending again, differently."""
        if error.status not in (400, 422) or not error.said:
            return False
        if "max_tokens" in body and "max_completion_tokens" in error.said:
            self._limit_name = "max_completion_tokens"
            return True
        if _FIELD_REFUSED.search(error.said):
            named = [n for n in body if n not in _REQUIRED and re.search(rf"\b{n}\b", error.said)]
            if new := set(named) - self._left_out:
                log.warning("%s does not know %s; left out.", self._server, ", ".join(sorted(new)))
            self._left_out.update(named)
            if named:
                return True
        if _ORDER_REFUSED.search(error.said):
            if not self._alternating:
                log.info("%s wants user and assistant in turn; merging messages.", self._server)
            self._alternating = True
            return bool(strictly_alternating(body["messages"]) != body["messages"])
        return False

    def _sampling(self, sampling: Sampling) -> dict[str, Any]:
        values: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        for name, off in _OPTIONAL.items():
            if (value := getattr(sampling, name)) != off:
                values[name] = value
        for name, off in _EXTENSIONS.items():
            if (value := getattr(sampling, name)) != off or self._explicit:
                values[name] = value
        if sampling.logit_bias:
            values["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
        if sampling.stop:
            values["stop"] = list(sampling.stop[:_MOST_STOPS])
        return values

    def _tell_left_out(self, sampling: Sampling) -> None:
        """Say once what the protocol has no words for; a reply without it is better than none."""
        missing = {
            "DRY": sampling.dry_multiplier > 0,
            "no_repeat_ngram": sampling.no_repeat_ngram > 0,
            "logprobs": sampling.logprobs is not None,
        }
        if not self._told_left_out and any(missing.values()):
            self._told_left_out = True
            names = ", ".join(name for name, wanted in missing.items() if wanted)
            log.info("%s is asked without %s, which it cannot do.", self._server, names)

    def _neutral(self, message: Message) -> str:
        """Break up special tokens: what a user types cannot end a turn at the server either."""
        content = message.content.encode("utf-8", "replace").decode("utf-8")
        while self._special.search(content):
            content = self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)
        return content


def estimated_tokens(request: GenerationRequest) -> int:
    """Roughly the size of a prompt, for replies whose usage the server never told."""
    size = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
    return size // _BYTES_PER_TOKEN + 1
