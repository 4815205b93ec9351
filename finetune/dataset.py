"""Examples: chats whose taught replies carry the loss, encoded by the prompt format that serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inference.prompt_format import PromptFormat
from inference.types import Message

IGNORE_INDEX = -100  # what torch's cross entropy leaves out


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of an example. `taught`: the model learns to say it; `ended`: and to stop there.

    A reply that broke off must not be taught as ended.
    """

    message: Message
    taught: bool = False
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """One chat to learn from; only assistant turns can be taught."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and beside each the label that the loss is computed on, or IGNORE_INDEX."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    replies: int  # taught replies in it, whole or cut

    @property
    def taught_tokens(self) -> int:
        return sum(label != IGNORE_INDEX for label in self.labels)


class Encoder:
    """Encodes examples for one model: what is trained on is what is served, token by token."""

    def __init__(
        self, prompt_format: PromptFormat, end_ids: frozenset[int], cutoff_len: int
    ) -> None:
        """`end_ids`: the tokens at which the engine ends a reply; `cutoff_len`: in tokens."""
        self._format = prompt_format
        self._tokenizer: Any = prompt_format.tokenizer
        self._end_ids = end_ids
        self._cutoff_len = cutoff_len
        own = self._tokenizer.eos_token_id
        # What ends a reply where the template does not write an end itself.
        self._end = own if own in end_ids else min(end_ids, default=None)

    def count(self, text: str) -> int:
        """Tokens of a text by itself."""
        return len(self._tokenize(text))

    def encode_all(self, examples: Iterable[Example]) -> list[Encoded]:
        """Every example that has something to teach within `cutoff_len` tokens."""
        return [encoded for example in examples for encoded in self.encode(example)]

    def encode(self, example: Example) -> list[Encoded]:
        """The example as one sequence, or as several where one sequence could not be true.

        Each taught reply stands behind exactly the tokens that the engine would be given, and is
        labelled with its end-of-turn token. Templates that write an earlier turn differently once
        it is past, and tokenizers that join tokens across the border, make that impossible in one
        sequence; the example then goes on in a new one. What passes `cutoff_len` is cut off.
        """
        found: list[Encoded] = []
        ids: list[int] = []
        labels: list[int] = []
        replies = 0
        messages = [turn.message for turn in example.turns]
        for position, turn in enumerate(example.turns):
            if not turn.taught:
                continue
            prompt = self._format.encode(messages[:position])
            if prompt[: len(ids)] != ids:
                found += self._cut(ids, labels, replies)
                ids, labels, replies = [], [], 0
            reply = self._reply(messages[: position + 1], prompt)
            if not turn.ended and reply[-1] in self._end_ids:
                reply = reply[:-1]
            labels += [IGNORE_INDEX] * (len(prompt) - len(ids)) + reply
            ids = prompt + reply
            replies += 1
        return found + self._cut(ids, labels, replies)

    def _reply(self, messages: Sequence[Message], prompt: list[int]) -> list[int]:
        """The last message as the model has to write it, its end-of-turn token at the end."""
        whole = self._format.encode(messages, reply=False)
        if whole[: len(prompt)] == prompt:
            rest = whole[len(prompt) :]
        else:
            text = self._format.render(messages, reply=False)
            opening = self._format.render(messages[:-1])
            if text.startswith(opening):
                rest = self._tokenize(text[len(opening) :])
            else:  # a template that rewrites even this leaves the words themselves
                rest = self._tokenize(messages[-1].content, split_special_tokens=True)
        for place, token in enumerate(rest):
            if token in self._end_ids:
                return rest[: place + 1]
        return rest if self._end is None else [*rest, self._end]

    def _cut(self, ids: list[int], labels: list[int], replies: int) -> list[Encoded]:
        end = self._cutoff_len
        encoded = Encoded(tuple(ids[:end]), tuple(labels[:end]), replies)
        return [encoded] if encoded.taught_tokens else []

    def _tokenize(self, text: str, **options: bool) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, **options)["input_ids"]
        return ids


def data_hash(examples: Iterable[Example]) -> str:
    """sha256 over the messages and what of them is taught, in order."""
    digest = hashlib.sha256()
    for example in examples:
        turns = [
            [turn.message.role, turn.message.content, turn.taught, turn.ended]
            for turn in example.turns
        ]
        digest.update(json.dumps(turns).encode("ascii") + b"\n")
    return digest.hexdigest()
