"""From dialogues to a training set, step by step, each counted.

scrub → silence → errors → length limit → empty → introductions → name forgotten → repetition
→ disliked
→ duplicate dialogues → split → windows → duplicate examples → replay → share of the log
→ name drills
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from config import FinetuneSettings, PrepareSettings
from finetune.dataset import Example, data_hash
from finetune.errors import InputError
from finetune.preparing.drills import with_drills
from finetune.preparing.duplicates import Seen, dialogue_text, example_text
from finetune.preparing.entities import Entities
from finetune.preparing.journal import Journal, Size, size_of, size_of_examples
from finetune.preparing.preferences import preferences
from finetune.preparing.pseudonyms import Pseudonyms
from finetune.preparing.replay import Replay
from finetune.preparing.replies import filters
from finetune.preparing.scrub import Scrubber
from finetune.preparing.silence import cut_at_silence
from finetune.preparing.split import Split, split
from finetune.preparing.windows import Overheads, Windows
from finetune.sources.dialogue import Dialogue
from finetune.training_set import TrainingSet

_Made = list[tuple[Dialogue, Example]]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a model's tokenizer makes of texts: `count` of one, `added` by the prompt format."""

    count: Callable[[str], int]
    added: Overheads
    settings: FinetuneSettings = field(default_factory=FinetuneSettings)

    def windows(self) -> Windows:
        """A new cutter of dialogues."""
        return Windows(self.count, self.added, self.settings)


def prepare(
    dialogues: Sequence[Dialogue],
    settings: PrepareSettings,
    tokens: Tokens,
    *,
    pseudonyms: Pseudonyms,
    entities: Entities | None = None,
    replay: Replay | None = None,
    journal: Journal | None = None,
    origin: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TrainingSet:
    """The training set that `dialogues` make.

    `pseudonyms` names the people; `entities` finds further names where given; `replay` is mixed
    into the training examples. `journal` may hold the steps of reading; `origin` opens the report.
    `seed` chooses where drills stand. Raises `InputError` if nothing is left to learn from.
    """
    journal = journal or Journal()
    cleaned = _cleaned(dialogues, settings, Scrubber(pseudonyms, entities), journal)
    windows = tokens.windows()
    parts = split(cleaned, settings.validation_share)
    made = _cut(parts, windows, journal)
    seen = Seen(settings.duplicate_similarity)
    train, validation = _without_duplicates(made, seen, journal)
    if not train:
        raise InputError(
            f"Nothing is left to learn from (of the replies, {journal.losses()});"
            f" {_advice(windows, tokens.settings)}."
        )
    replayed = _replayed(replay, settings, windows, seen, journal, seed) if replay else []
    if replayed and settings.max_log_share < 1:
        train = _newest(train, _most(settings.max_log_share, len(replayed)), journal)
    before = size_of_examples(example for _, example in train)
    examples, drilled = with_drills(train, settings.name_drills, fits=windows.fits, seed=seed)
    journal.record("name drills", before, size_of_examples(examples), {"drills": drilled})
    found = preferences(parts.train, windows)
    everything = _without_channels((*examples, *replayed), pseudonyms)
    report = {
        **_described(origin or {}, pseudonyms),
        "settings": {
            **settings.model_dump(),
            "cutoff_len": tokens.settings.cutoff_len,
            "replies_per_example": tokens.settings.replies_per_example,
            "seed": seed,
        },
        "steps": journal.rows(),
        "split": {
            "by": parts.by,
            "note": parts.note,
            "train": len(everything),
            "validation": len(validation),
        },
        "pairs": _kinds(pair.kind for pair in found.pairs),
        "votes": _kinds("liked" if vote.liked else "disliked" for vote in found.votes),
        "unwanted": len(found.unwanted),
        "drills": drilled,
        "replay": None if replay is None else replay.described(len(replayed)),
        "data_hash": data_hash(everything),
    }
    return TrainingSet(
        train=everything,
        validation=_without_channels([example for _, example in validation], pseudonyms),
        pairs=found.pairs,
        votes=found.votes,
        unwanted=found.unwanted,
        report=report,
    )


def _described(origin: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    if "sources" not in origin:
        return dict(origin)
    return {**origin, "sources": [pseudonyms.source(key) for key in origin["sources"]]}


def _without_channels(examples: Iterable[Example], pseudonyms: Pseudonyms) -> tuple[Example, ...]:
    """`examples` whose sources are still told apart, but do not say which channel they are."""
    return tuple(replace(one, source=pseudonyms.source(one.source)) for one in examples)


def _cleaned(
    dialogues: Sequence[Dialogue], settings: PrepareSettings, scrubber: Scrubber, journal: Journal
) -> list[Dialogue]:
    """The dialogues after all steps that look at one dialogue alone, and without duplicates."""
    before = size_of(dialogues)
    held = [part for one in dialogues for part in cut_at_silence(one, settings.silence_minutes)]
    before = _recorded(journal, "silence", before, held, {})
    held = [scrubber.scrub(dialogue) for dialogue in held]
    before = _recorded(journal, "scrub", before, held, scrubber.found)
    for name, keep in filters(settings).items():
        held = [keep(dialogue) for dialogue in held]
        before = _recorded(journal, name, before, held, _cuts(held, name))
    seen = Seen(settings.duplicate_similarity)
    # The people's pseudonyms are alike in two logs of one talk, so copies are found in any source.
    held = [dialogue for dialogue in held if seen.new(dialogue_text(dialogue))]
    counts = {"exact": seen.exact, "near": seen.nearly}
    _recorded(journal, "duplicate dialogues", before, held, counts)
    return held


def _recorded(
    journal: Journal, name: str, before: Size, held: list[Dialogue], detail: Mapping[str, int]
) -> Size:
    after = size_of(held)
    journal.record(name, before, after, detail)
    return after


def _cuts(held: list[Dialogue], name: str) -> dict[str, int]:
    if name != "introductions":
        return {}
    cut = [said for dialogue in held for said in dialogue.said if said.logged is not None]
    whole = sum(not said.line.text for said in cut)
    return {"shortened": len(cut) - whole, "nothing else": whole}


def _cut(parts: Split, windows: Windows, journal: Journal) -> tuple[_Made, _Made]:
    """The examples of both sides."""
    before = size_of((*parts.train, *parts.validation))
    train, validation = (
        [(dialogue, example) for dialogue in side for example in windows.examples(dialogue)]
        for side in (parts.train, parts.validation)
    )
    after = size_of_examples(example for _, example in (*train, *validation))
    journal.record("windows", before, after, {"too long": windows.too_long})
    return train, validation


def _without_duplicates(
    made: tuple[_Made, _Made], seen: Seen, journal: Journal
) -> tuple[_Made, _Made]:
    """What no earlier example is like, training examples first: nothing stands on both sides."""
    before = size_of_examples(example for side in made for _, example in side)
    train, validation = (
        [(dialogue, example) for dialogue, example in side if seen.new(example_text(example))]
        for side in made
    )
    after = size_of_examples(example for _, example in (*train, *validation))
    counts = {"exact": seen.exact, "near": seen.nearly, "validation": len(validation)}
    journal.record("duplicate examples", before, after, counts)
    return train, validation


def _replayed(
    replay: Replay,
    settings: PrepareSettings,
    windows: Windows,
    seen: Seen,
    journal: Journal,
    seed: int,
) -> list[Example]:
    """The examples of public dialogue, filtered and drilled as the log is.

    It is not scrubbed, being public.
    """
    before = size_of(replay.dialogues)
    held: Iterable[Dialogue] = replay.dialogues
    for keep in filters(settings).values():
        held = [keep(dialogue) for dialogue in held]
    kept = [
        (dialogue, example)
        for dialogue in held
        for example in windows.examples(dialogue)
        if seen.new(example_text(example))
    ]
    examples, drilled = with_drills(kept, settings.name_drills, fits=windows.fits, seed=seed)
    journal.record("replay", before, size_of_examples(examples), {"drills": drilled})
    return examples


def _most(share: float, others: int) -> int:
    """How many examples, at least one, may join `others` to make up `share` < 1 of all."""
    return max(1, int(others * share / (1 - share)))


def _newest(made: _Made, most: int, journal: Journal) -> _Made:
    """The `most` examples of the dialogues that went on last, in the order they had."""
    latest = [
        max((said.at for said in dialogue.said if said.at is not None), default=-math.inf)
        for dialogue, _ in made
    ]
    newest = sorted(range(len(made)), key=latest.__getitem__)[-most:]
    kept = [made[at] for at in sorted(newest)]
    before, after = (size_of_examples(example for _, example in held) for held in (made, kept))
    journal.record("share of the log", before, after, {"older": len(made) - len(kept)})
    return kept


def _kinds(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _advice(windows: Windows, settings: FinetuneSettings) -> str:
    if windows.too_long:
        return (
            f"{windows.too_long} do not fit into cutoff_len = {settings.cutoff_len} beside their"
            " character's card; raise it"
        )
    return "loosen the filters or give it more dialogues"
