"""Examples: chats whose taught replies carry the loss, encoded by the prompt format that serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import InputError
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
    """One chat to learn from; only assistant turns can be taught.

    `source` says where it comes from (a channel's key, a file and row); nothing is learnt from it.
    """

    turns: tuple[Turn, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and beside each the label that the loss is computed on, or IGNORE_INDEX.

    `unwanted`: the labels are what the model must not say there, rather than what it must.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    replies: int  # taught replies in it, whole or cut
    unwanted: bool = False

    @property
    def taught_tokens(self) -> int:
        return sum(label != IGNORE_INDEX for label in self.labels)


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt and a reply to it, as token ids."""

    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]


class Encoder:
    """Encodes examples for one model: what is trained on is what is served, token by token."""

    def __init__(
        self,
        prompt_format: PromptFormat,
        end_ids: frozenset[int],
        cutoff_len: int,
        *,
        train_on_inputs: bool = False,
        add_eos_token: bool = True,
    ) -> None:
        """`end_ids`: the tokens at which the engine ends a reply; `cutoff_len`: in tokens.

        `train_on_inputs` labels all that a taught reply stands behind as well; without
        `add_eos_token` no reply is taught to end. Raises `InputError` for a template that has no
        place for the reply.
        """
        check_place_for_reply(prompt_format)
        self._train_on_inputs = train_on_inputs
        self._add_eos_token = add_eos_token
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
            reply = self._reply(messages[: position + 1], prompt, ended=turn.ended)
            labels += self._input_labels(prompt[len(ids) :], after_reply=bool(ids)) + reply
            ids = prompt + reply
            replies += 1
        return found + self._cut(ids, labels, replies)

    def completion(
        self, prompt: Sequence[Message], reply: str, *, ended: bool = True
    ) -> Completion | None:
        """One reply behind the prompt that it would be served; None if it does not fit."""
        messages = [*prompt, Message(role="assistant", content=reply)]
        prompt_ids = self._format.encode(messages[:-1])
        reply_ids = self._reply(messages, prompt_ids, ended=ended)
        if not reply_ids or len(prompt_ids) + len(reply_ids) > self._cutoff_len:
            return None
        return Completion(tuple(prompt_ids), tuple(reply_ids))

    def unwanted(
        self, prompt: Sequence[Message], reply: str, spans: Sequence[tuple[int, int]]
    ) -> Encoded | None:
        """A logged reply in its own context, the tokens of `spans` labelled as not to be said.

        None if nothing of them lies within `cutoff_len`, or the template rewrites the reply.
        """
        messages = [*prompt, Message(role="assistant", content=reply)]
        prompt_ids = self._format.encode(messages[:-1])
        ids, offsets, begin = self._format.encode_reply(messages)
        if begin < 0 or ids[: len(prompt_ids)] != prompt_ids:
            return None
        labels = [IGNORE_INDEX] * len(ids)
        for place in range(len(prompt_ids), min(len(ids), self._cutoff_len)):
            first, last = offsets[place][0] - begin, offsets[place][1] - begin
            if any(first < end and start < last for start, end in spans):
                labels[place] = ids[place]
        size = max((at + 1 for at, label in enumerate(labels) if label != IGNORE_INDEX), default=0)
        if not size:
            return None
        return Encoded(tuple(ids[:size]), tuple(labels[:size]), replies=0, unwanted=True)

    def _input_labels(self, ids: list[int], *, after_reply: bool) -> list[int]:
        """Labels of what stands before a reply, the end of a reply that broke off left out."""
        if not self._train_on_inputs:
            return [IGNORE_INDEX] * len(ids)
        labels = list(ids)
        if after_reply and labels and labels[0] in self._end_ids:
            labels[0] = IGNORE_INDEX
        if not self._add_eos_token:
            labels = [IGNORE_INDEX if label in self._end_ids else label for label in labels]
        return labels

    def _reply(self, messages: Sequence[Message], prompt: list[int], *, ended: bool) -> list[int]:
        """The last message as the model has to write it, with its end-of-turn token if `ended`."""
        reply = self._ended_reply(messages, prompt)
        if not (ended and self._add_eos_token) and reply and reply[-1] in self._end_ids:
            return reply[:-1]
        return reply

    def _ended_reply(self, messages: Sequence[Message], prompt: list[int]) -> list[int]:
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


def check_place_for_reply(prompt_format: PromptFormat) -> None:
    """Raises `InputError` if the template drops replies or its prompts end before the reply's turn.

    Nothing could be learnt from the first; the second would teach the model to write the turn's
    heading. What a template puts between prompt and reply of its own accord (`<think></think>`) and
    templates whose prompts end at the reply by themselves (Llama 2) are as they should be.
    """
    question = [Message(role="user", content="Quillwort?")]
    answer = Message(role="assistant", content="Saxifrage")
    remedy = (
        "choose another with prompt_template_name, or mend the chat template of the model's"
        " tokenizer."
    )
    whole = prompt_format.render([*question, answer], reply=False)
    before, found, _ = whole.rpartition(answer.content)
    if not found:
        raise InputError(
            f"The prompt template {prompt_format.name!r} has no place for the reply: it leaves out"
            f" what the assistant says; {remedy}"
        )
    prompt = prompt_format.render(question)
    opens = prompt != prompt_format.render(question, reply=False)
    started = prompt.rstrip()
    if not opens and before.startswith(started) and before.removeprefix(started).strip():
        raise InputError(
            f"The prompt template {prompt_format.name!r} has no place for the reply: its prompt"
            f" ends before the assistant's turn, with or without add_generation_prompt; {remedy}"
        )


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
