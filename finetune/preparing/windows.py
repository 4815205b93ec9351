"""Dialogues cut into examples, each as it would be served."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from config import FinetuneSettings
from finetune.dataset import Example, Turn
from finetune.sources.dialogue import Dialogue, Said
from inference.types import Message
from persona_prompts.character import Character
from persona_prompts.identity.hygiene import without_unasked_introductions
from persona_prompts.prompt import (
    Prompt,
    PromptTooLong,
    build_prompt,
    greeting_text,
    system_text,
)
from persona_prompts.speakers import clean_text, speaker_name


class Overheads(Protocol):
    """What a prompt format adds, in tokens: `ModelInfo` and `PromptFormat` both say it."""

    @property
    def message_overhead(self) -> int: ...

    @property
    def prompt_overhead(self) -> int: ...


class Windows:
    """Cuts dialogues into examples, each as it would be served."""

    def __init__(
        self, count: Callable[[str], int], info: Overheads, settings: FinetuneSettings
    ) -> None:
        """`count` gives the tokens of a text; `info` what the prompt format adds."""
        self._count = count
        self._message_overhead = info.message_overhead
        self._prompt_overhead = info.prompt_overhead
        self._cutoff_len = settings.cutoff_len
        self._most_replies = settings.replies_per_example
        self.too_long = 0  # replies left out because the character alone leaves no room

    def examples(self, dialogue: Dialogue) -> list[Example]:
        """Examples that teach every reply once, oldest first.

        Begun at the newest reply: a window is the prompt that the bot would build for it, had the
        scene begun `replies_per_example` replies earlier and were `cutoff_len` the budget. It also
        teaches the earlier replies that this prompt shows. The next window ends with the newest
        reply that is still untaught. Lines that say nothing are left out.
        """
        fed_back = without_unasked_introductions(
            [said.line for said in dialogue.said], dialogue.names
        )
        spoken = tuple(
            said
            for said, line in zip(dialogue.said, fed_back, strict=True)
            if clean_text(said.line.text if said.teachable else line.text)
        )
        dialogue = replace(dialogue, said=spoken)
        untaught = {
            at
            for at, said in enumerate(spoken)
            if said.teachable and at > 0 and not spoken[at - 1].line.own
        }
        found: list[Example] = []
        while untaught:
            target = max(untaught)
            first = _turn_start(spoken, sorted(untaught)[-self._most_replies :][0])
            window = self._window(dialogue, first, target, untaught)
            untaught.discard(target)
            if window is None:
                self.too_long += 1
                continue
            example, taught = window
            untaught -= taught
            found.append(example)
        return found[::-1]

    def prompt(self, dialogue: Dialogue, target: int) -> tuple[Message, ...] | None:
        """What the bot would be given to answer with line `target`; None if it does not fit."""
        said = [earlier for earlier in dialogue.said[:target] if clean_text(earlier.line.text)]
        if not said:
            return None
        built = self._build(dialogue, said, clean_text(dialogue.said[target].line.text))
        return None if built is None else tuple(_messages(dialogue, built))

    def fits(self, example: Example) -> bool:
        """Whether the whole of `example` is taught within `cutoff_len` tokens."""
        tokens = sum(self._count(turn.message.content) for turn in example.turns)
        overhead = self._message_overhead * len(example.turns) + self._prompt_overhead
        return tokens + overhead <= self._cutoff_len

    def _build(self, dialogue: Dialogue, said: list[Said], reply: str) -> Prompt | None:
        needed = self._count(reply) + self._message_overhead
        try:
            return build_prompt(
                dialogue.character,
                [earlier.line for earlier in said],
                group=dialogue.group,
                user_name=said[-1].line.speaker,
                count=self._count,
                context_tokens=self._cutoff_len,
                reply_tokens=min(needed, self._cutoff_len // 2),
                message_overhead=self._message_overhead,
                prompt_overhead=self._prompt_overhead,
            )
        except PromptTooLong:
            return None

    def _window(
        self, dialogue: Dialogue, first: int, target: int, untaught: set[int]
    ) -> tuple[Example, set[int]] | None:
        """The example of the lines from `first` to reply `target`, and which lines it teaches."""
        said = dialogue.said
        reply = clean_text(said[target].line.text)
        prompt = self._build(dialogue, list(said[first:target]), reply)
        if prompt is None:
            return None
        shown = self._shown(dialogue, first, target)
        runs = _runs(said, shown[prompt.dropped :])
        messages = _messages(dialogue, prompt)
        unlogged = len(messages) - len(runs)  # system message and greeting
        turns = [Turn(message) for message in messages[:unlogged]]
        taught: set[int] = {target}
        for message, run in zip(messages[unlogged:], runs, strict=True):
            at = run[0]
            # Several replies in a row are one message in the prompt; none of them was served so.
            teach = len(run) == 1 and at in untaught and self._same_card(dialogue, at, target)
            turns.append(Turn(message, taught=teach, ended=said[at].ended))
            if teach:
                taught.add(at)
        last = Message(role="assistant", content=reply)
        turns.append(Turn(last, taught=True, ended=said[target].ended))
        return Example(tuple(turns), source=dialogue.source), taught

    def _shown(self, dialogue: Dialogue, first: int, target: int) -> list[int]:
        """Which lines a prompt has to show: all but those that hygiene leaves nothing of."""
        lines = [said.line for said in dialogue.said[first:target]]
        fed_back = without_unasked_introductions(lines, dialogue.names)
        return [at for at, line in enumerate(fed_back, start=first) if clean_text(line.text)]

    def _same_card(self, dialogue: Dialogue, first: int, second: int) -> bool:
        """Whether both replies were written under the same card: {{user}} is whoever asked."""
        askers = (dialogue.said[at - 1].line.speaker for at in (first, second))
        return len({_card_for(dialogue.character, asker) for asker in askers}) == 1


def _messages(dialogue: Dialogue, prompt: Prompt) -> list[Message]:
    messages = [Message(role=m.role, content=m.content) for m in prompt.messages]
    return messages if dialogue.has_card else messages[1:]


def _turn_start(said: tuple[Said, ...], reply: int) -> int:
    """The first of the lines that `reply` answers."""
    start = reply
    while start > 0 and not said[start - 1].line.own:
        start -= 1
    return start


def _runs(said: tuple[Said, ...], places: list[int]) -> list[list[int]]:
    """`places` in `said`, those of one side in a row together."""
    groups = itertools.groupby(places, key=lambda at: said[at].line.own)
    return [list(run) for _, run in groups]


def _card_for(character: Character, asker: str) -> tuple[str, str]:
    name = speaker_name(asker, taken=character.name)
    return system_text(character, name, examples=True), greeting_text(character, name)
