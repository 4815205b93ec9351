"""What `prepare` hands to `train`: a folder of JSONL files, one row an example.

    train.jsonl        {"messages": [{"role", "content", "taught", "ended"}, …], "source": "…"}
    validation.jsonl   the same, from channels of which nothing is in train.jsonl
    pairs.jsonl        {"prompt": [{"role", "content"}, …], "chosen", "rejected", "kind"}
    votes.jsonl        {"prompt": […], "reply", "liked"}
    unwanted.jsonl     {"prompt": […], "reply", "spans": [[start, end], …]}
    report.json        where it came from, and how many dialogues and turns every step left

`taught` (true for assistants when missing) and `ended` (true when missing) are those of
`dataset.Turn`; spans are character offsets into the reply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from finetune.dataset import Example
from inference.types import Message

PairKind = Literal["introduction", "repetition", "regeneration", "best_of_n"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to the same prompt, one better than the other."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    kind: PairKind


@dataclass(frozen=True, slots=True)
class Vote:
    """A reply that a person marked with 👍 or 👎."""

    prompt: tuple[Message, ...]
    reply: str
    liked: bool


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A reply, and the parts of it (character offsets) that should not have been said there."""

    prompt: tuple[Message, ...]
    reply: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything that one training may learn from; what a method does not use, it leaves."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    pairs: tuple[Pair, ...] = ()
    votes: tuple[Vote, ...] = ()
    unwanted: tuple[Unwanted, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
