"""A training set as token ids: what each method learns from, and nothing that it does not."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from config import FinetuneSettings
from finetune.dataset import Completion, Encoded, Encoder
from finetune.errors import InputError
from finetune.training_set import Pair, TrainingSet, Unwanted, Vote


@dataclass(frozen=True, slots=True)
class Material:
    """What a training reads, cut to the model's tokens.

    `left_out` counts what had no place within `cutoff_len`, by kind.
    """

    replies: tuple[Encoded, ...] = ()
    validation: tuple[Encoded, ...] = ()
    pairs: tuple[tuple[Completion, Completion], ...] = ()  # chosen, rejected
    votes: tuple[tuple[Completion, bool], ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over all token ids and labels, in order."""
        digest = hashlib.sha256()
        for one in (*self.replies, *self.validation):
            digest.update(json.dumps([one.input_ids, one.labels, one.unwanted]).encode("ascii"))
        for first, second in self.pairs:
            digest.update(
                json.dumps([first.prompt_ids, first.reply_ids, second.reply_ids]).encode()
            )
        for reply, liked in self.votes:
            digest.update(json.dumps([reply.prompt_ids, reply.reply_ids, liked]).encode("ascii"))
        return digest.hexdigest()


def material(
    made: TrainingSet, encoder: Encoder, settings: FinetuneSettings, seed: int
) -> Material:
    """Encode what `settings.method` learns from.

    Raises `InputError` if it needs what the set does not hold, if nothing is left within
    `cutoff_len`, or if `val_set_size` leaves nothing to learn.
    """
    method = settings.method
    validation = tuple(encoder.encode_all(made.validation))
    if method == "kto":
        votes, left_out = _votes(made, encoder)
        return Material(validation=validation, votes=votes, left_out=_counted(left_out))
    # Who has no source stands alone.
    sourced = [
        (example.source or at, one)
        for at, example in enumerate(made.train)
        for one in encoder.encode(example)
    ]
    replies = tuple(one for _, one in sourced)
    left_out = {"replies": len(made.train) - len(replies)} if not replies else {}
    if not validation:
        replies, validation = _split(sourced, settings.val_set_size, seed)
    if method == "sft+dpo":
        pairs, lost = _pairs(made.pairs, encoder)
        return Material(replies, validation, pairs, left_out=_counted({**left_out, "pairs": lost}))
    if method == "sft+unlikelihood":
        unwanted, lost = _unwanted(made.unwanted, encoder)
        return Material(
            (*replies, *unwanted), validation, left_out=_counted({**left_out, "unwanted": lost})
        )
    if not replies:
        raise InputError(
            f"Nothing is left to learn from within cutoff_len = {settings.cutoff_len}; raise it."
        )
    return Material(replies, validation, left_out=_counted(left_out))


def _split(
    sourced: Sequence[tuple[str | int, Encoded]], size: int, seed: int
) -> tuple[tuple[Encoded, ...], tuple[Encoded, ...]]:
    replies = [one for _, one in sourced]
    if not size:
        return tuple(replies), ()
    if size >= len(replies):
        raise InputError(
            f"val_set_size = {size} would leave nothing to learn from: there are only"
            f" {len(replies)} examples; lower it."
        )
    held = _held_out([source for source, _ in sourced], size, seed)
    return (
        tuple(one for at, one in enumerate(replies) if at not in held),
        tuple(one for at, one in enumerate(replies) if at in held),
    )


def _held_out(sources: Sequence[str | int], size: int, seed: int) -> set[int]:
    """Places of `size` examples: whole sources as far as they fit, then the end of another.

    Neighbouring windows of one dialogue share their context, so few borders leak little.
    """
    places: dict[str | int, list[int]] = {}
    for at, source in enumerate(sources):
        places.setdefault(source, []).append(at)
    held: set[int] = set()
    too_big: list[int] = []
    for group in random.Random(seed).sample(list(places.values()), len(places)):
        if len(group) <= size - len(held):
            held.update(group)
        else:
            too_big = too_big or group
    return held | set(too_big[len(too_big) - (size - len(held)) :])


def _pairs(
    pairs: Sequence[Pair], encoder: Encoder
) -> tuple[tuple[tuple[Completion, Completion], ...], int]:
    if not pairs:
        raise InputError(
            "sft+dpo learns from pairs of replies and there are none; let prepare find"
            " introductions to cut, regenerate replies in the bot, or take the method sft."
        )
    found = []
    for pair in pairs:
        chosen = encoder.completion(pair.prompt, pair.chosen)
        rejected = encoder.completion(pair.prompt, pair.rejected)
        if chosen is not None and rejected is not None and chosen != rejected:
            found.append((chosen, rejected))
    if not found:
        raise InputError("No pair of replies fits into cutoff_len; raise it.")
    return tuple(found), len(pairs) - len(found)


def _votes(
    made: TrainingSet, encoder: Encoder
) -> tuple[tuple[tuple[Completion, bool], ...], dict[str, int]]:
    """People's votes; the sides of a pair count as one liked and one disliked reply."""
    given = [
        *made.votes,
        *(Vote(pair.prompt, pair.chosen, liked=True) for pair in made.pairs),
        *(Vote(pair.prompt, pair.rejected, liked=False) for pair in made.pairs),
    ]
    encoded = [(encoder.completion(vote.prompt, vote.reply), vote.liked) for vote in given]
    found = tuple((reply, liked) for reply, liked in encoded if reply is not None)
    liked = sum(liked for _, liked in found)
    if not 0 < liked < len(found):
        raise InputError(
            f"kto learns from liked and disliked replies and there are {liked} and"
            f" {len(found) - liked}; vote with 👍 and 👎 in the bot, or take the method sft."
        )
    return found, {"votes": len(given) - len(found)}


def _unwanted(rows: Sequence[Unwanted], encoder: Encoder) -> tuple[tuple[Encoded, ...], int]:
    if not rows:
        raise InputError(
            "sft+unlikelihood unlearns parts of logged replies and there are none; run prepare over"
            " logs that hold introductions or repetitions, or take the method sft."
        )
    found = []
    for row in rows:
        encoded = encoder.unwanted(row.prompt, row.reply, row.spans)
        if encoded is not None:
            found.append(encoded)
    if not found:
        raise InputError("No unwanted part of a reply lies within cutoff_len; raise it.")
    return tuple(found), len(rows) - len(found)


def _counted(left_out: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((kind, count) for kind, count in left_out.items() if count)


def pair_rows(pairs: Iterable[tuple[Completion, Completion]]) -> list[dict[str, Any]]:
    """As `PairTrainer` reads them."""
    return [
        {
            "prompt_ids": list(chosen.prompt_ids),
            "chosen_ids": list(chosen.reply_ids),
            "rejected_ids": list(rejected.reply_ids),
        }
        for chosen, rejected in pairs
    ]


def vote_rows(votes: Sequence[tuple[Completion, bool]], seed: int) -> list[dict[str, Any]]:
    """As `VoteTrainer` reads them, in an order that lasts: TRL pairs neighbours."""
    shuffled = random.Random(seed).sample(list(votes), len(votes))
    return [
        {
            "prompt_ids": list(reply.prompt_ids),
            "completion_ids": list(reply.reply_ids),
            "label": liked,
        }
        for reply, liked in shuffled
    ]
