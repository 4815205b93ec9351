"""A channel's log as training data: who said what, and which replies a character can learn from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from config import Config, FinetuneSettings
from db.channels import Channel
from db.database import Database
from db.messages import Message as Logged
from finetune.dataset import Example, Turn
from finetune.errors import InputError
from inference.types import Message, ModelInfo
from persona_prompts.cast import Cast
from persona_prompts.character import Character
from persona_prompts.prompt import (
    Line,
    PromptTooLong,
    build_prompt,
    greeting_text,
    system_text,
)
from persona_prompts.speakers import clean_text, speaker_name

_EVERYTHING = 2**62  # messages
_SHOWN_CHANNELS = 12


@dataclass(frozen=True, slots=True)
class Said:
    """One line of a dialogue; `teachable`: a reply to the line before it, finished on purpose."""

    line: Line
    teachable: bool = False
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What one character remembers of one scene, oldest first."""

    character: Character
    group: bool
    said: tuple[Said, ...]

    @property
    def replies(self) -> int:
        return sum(said.teachable for said in self.said)


@dataclass(frozen=True, slots=True)
class ChannelLog:
    """Everything in a channel that can be learnt from."""

    key: str
    dialogues: tuple[Dialogue, ...]

    @property
    def replies(self) -> int:
        return sum(dialogue.replies for dialogue in self.dialogues)

    @property
    def character_id(self) -> str:
        """The character with the most replies."""
        spoken: Counter[str] = Counter()
        for dialogue in self.dialogues:
            spoken[dialogue.character.id] += dialogue.replies
        return spoken.most_common(1)[0][0]


async def read_channel(config: Config, cast: Cast, key: str) -> ChannelLog:
    """The log of channel `key`; the database is only read, so the bot may run meanwhile.

    A key of digits alone is a Discord channel's id. Raises `InputError` if there is no such
    channel or no reply in it to learn from, `CharacterError` if its character is gone, and
    `DatabaseError`.
    """
    file = config.database_file
    if not file.exists():
        raise InputError(
            f"There is no database {file} yet; talk with a character first, or check paths.data."
        )
    key = f"discord:{key}" if key.isdecimal() else key
    patience = config.database.busy_timeout_seconds
    async with await Database.open(file, busy_timeout_seconds=patience) as database:
        channel = await database.channels.get(key)
        if channel is None:
            raise InputError(_no_channel(key, await database.channels.all()))
        # A scene that ended is still worth learning from.
        everything = replace(channel, scene_start=0)
        log = await database.messages.history(everything, limit=_EVERYTHING)
    earlier = [message for message in log if message.place <= channel.scene_start]
    present = [message for message in log if message.place > channel.scene_start]
    dialogues = [
        dialogue for scene in (earlier, present) for dialogue in _dialogues(scene, channel, cast)
    ]
    with_replies = tuple(dialogue for dialogue in dialogues if dialogue.replies)
    if not with_replies:
        raise InputError(
            f"The channel {key} holds no finished reply of a character to learn from; talk with one"
            " there first."
        )
    return ChannelLog(key, with_replies)


def _no_channel(key: str, known: list[Channel]) -> str:
    if not known:
        return f"There is no channel {key!r}; the database holds no channel at all yet."
    names = [f"{channel.key} ({channel.name})" for channel in known[:_SHOWN_CHANNELS]]
    more = len(known) - len(names)
    rest = f" and {more} more" if more else ""
    return f"There is no channel {key!r}; there are {', '.join(names)}{rest}."


def _dialogues(scene: Iterable[Logged], channel: Channel, cast: Cast) -> Iterator[Dialogue]:
    """`scene` split where another character took over: it remembers only what came after."""
    persona: str | None = None
    said: list[Said] = []
    for message in scene:
        if not clean_text(message.content):
            continue
        own = message.role == "character"
        if own and message.persona != persona:
            if persona is not None:
                yield Dialogue(cast.get(persona), channel.group, tuple(said))
                said = list(_after_last_reply(said))
            persona = message.persona
        line = Line(message.author_name, message.content, own=own)
        answers = bool(said) and not said[-1].line.own
        teachable = own and answers and message.reply_to is not None and _finished(message)
        said.append(Said(line, teachable, ended=message.finish_reason in ("stop", None)))
    if persona is not None:
        yield Dialogue(cast.get(persona), channel.group, tuple(said))


def _after_last_reply(said: list[Said]) -> Iterator[Said]:
    heard = itertools.takewhile(lambda earlier: not earlier.line.own, reversed(said))
    return reversed(list(heard))


def _finished(reply: Logged) -> bool:
    """False for what an error or a crash broke off: such a reply is context, not an example."""
    return reply.state == "complete" and reply.finish_reason != "error"


class Windows:
    """Cuts dialogues into examples, each as it would be served."""

    def __init__(
        self, count: Callable[[str], int], info: ModelInfo, settings: FinetuneSettings
    ) -> None:
        """`count` gives the tokens of a text; `info` what the prompt format adds."""
        self._count = count
        self._info = info
        self._cutoff_len = settings.cutoff_len
        self._most_replies = settings.replies_per_example
        self.too_long = 0  # replies left out because the character alone leaves no room

    def examples(self, dialogue: Dialogue) -> list[Example]:
        """Examples that teach every reply once, oldest first.

        Begun at the newest reply: a window is the prompt that the bot would build for it, had the
        scene begun `replies_per_example` replies earlier and were `cutoff_len` the budget. It also
        teaches the earlier replies that this prompt shows. The next window ends with the newest
        reply that is still untaught.
        """
        untaught = {at for at, said in enumerate(dialogue.said) if said.teachable}
        found: list[Example] = []
        while untaught:
            target = max(untaught)
            first = _turn_start(dialogue.said, sorted(untaught)[-self._most_replies :][0])
            window = self._window(dialogue, first, target, untaught)
            untaught.discard(target)
            if window is None:
                self.too_long += 1
                continue
            example, taught = window
            untaught -= taught
            found.append(example)
        return found[::-1]

    def _window(
        self, dialogue: Dialogue, first: int, target: int, untaught: set[int]
    ) -> tuple[Example, set[int]] | None:
        """The example of the lines from `first` to reply `target`, and which lines it teaches."""
        said, character = dialogue.said, dialogue.character
        reply = clean_text(said[target].line.text)
        asker = said[target - 1].line.speaker
        needed = self._count(reply) + self._info.message_overhead
        try:
            prompt = build_prompt(
                character,
                [earlier.line for earlier in said[first:target]],
                group=dialogue.group,
                user_name=asker,
                count=self._count,
                context_tokens=self._cutoff_len,
                reply_tokens=min(needed, self._cutoff_len // 2),
                message_overhead=self._info.message_overhead,
                prompt_overhead=self._info.prompt_overhead,
            )
        except PromptTooLong:
            return None
        runs = _runs(said, first + prompt.dropped, target)
        messages = [Message(role=m.role, content=m.content) for m in prompt.messages]
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
        return Example(tuple(turns)), taught

    def _same_card(self, dialogue: Dialogue, first: int, second: int) -> bool:
        """Whether both replies were written under the same card: {{user}} is whoever asked."""
        askers = (dialogue.said[at - 1].line.speaker for at in (first, second))
        return len({_card_for(dialogue.character, asker) for asker in askers}) == 1


def _turn_start(said: tuple[Said, ...], reply: int) -> int:
    """The first of the lines that `reply` answers."""
    start = reply
    while start > 0 and not said[start - 1].line.own:
        start -= 1
    return start


def _runs(said: tuple[Said, ...], first: int, end: int) -> list[list[int]]:
    """Indices from `first` to before `end`, those of one side in a row together."""
    groups = itertools.groupby(range(first, end), key=lambda at: said[at].line.own)
    return [list(run) for _, run in groups]


def _card_for(character: Character, asker: str) -> tuple[str, str]:
    name = speaker_name(asker, taken=character.name)
    return system_text(character, name, examples=True), greeting_text(character, name)
