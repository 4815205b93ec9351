"""Which lines of a channel a character remembers when it answers a question."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from db.cast_members import Member
from db.channels import Channel
from db.messages import Message
from db.recall import Recall
from persona_prompts.character import Character
from persona_prompts.macros import Scene
from persona_prompts.prompt import greeting_text
from persona_prompts.speakers import NAMELESS, speaker_name
from persona_prompts.turns import Line


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Who spoke when: the channel's own character always, others during their stays."""

    own: str = ""
    stays: tuple[Member, ...] = ()

    def was_there(self, persona: str, message_id: int) -> bool:
        """Whether the character heard, or may have said, this message of the present scene."""
        return persona == self.own or any(
            stay.persona == persona and stay.heard(message_id) for stay in self.stays
        )

    def hears(self, persona: str, message: Message) -> bool:
        """Whether the character has heard or said `message`."""
        known = self.own == persona or any(stay.persona == persona for stay in self.stays)
        return not known or message.persona == persona or self.was_there(persona, message.id)

    @property
    def personas(self) -> frozenset[str]:
        return frozenset((self.own, *(stay.persona for stay in self.stays)))

    def since(self, persona: str) -> int:
        """The id behind which the character's present, or last, stay began; 0: the scene's."""
        sinces = [stay.since for stay in self.stays if stay.persona == persona]
        return 0 if persona == self.own or not sinces else sinces[-1]

    def began(self, persona: str) -> int:
        """The same of its first stay."""
        sinces = [stay.since for stay in self.stays if stay.persona == persona]
        return 0 if persona == self.own or not sinces else sinces[0]


@dataclass(frozen=True, slots=True)
class Staging:
    """How a channel's scene is played, as far as one character's next reply depends on it.

    `names` are those of the cast besides the character, `replies` what of it answered the question
    already. `stops` are where others than the character would begin to speak. `group`: lines have
    to say whose they are. `greeting` opens a history without one.
    """

    ensemble: Ensemble = Ensemble()
    names: tuple[str, ...] = ()
    replies: tuple[Message, ...] = ()
    stops: tuple[str, ...] = ()
    group: bool = False
    greeting: int = 0
    scene: Scene = Scene()  # noqa: RUF009 - frozen


def scene_messages(
    history: Sequence[Message], question: Message, persona: str, ensemble: Ensemble
) -> list[Message]:
    """What a character remembers when it answers, oldest first; the last one is `question`.

    `history` is the present scene up to `question`, which a new scene may have left behind. A
    character remembers what was said while it was there, also by others of the channel's cast.
    What a character said who is not of that cast, and what was said before that, stays out, so
    that no history passes from one to another.
    """
    kept: list[Message] = []
    for message in history:
        strange = message.role == "character" and message.persona != persona
        if strange and not ensemble.was_there(message.persona or "", message.id):
            kept.clear()
        elif message.id != question.id and ensemble.hears(persona, message):
            kept.append(message)
    return [*kept, question]


def line_of(message: Message, persona: str, names: Collection[str] = ()) -> Line:
    """A message as a line of the character's prompt.

    A person who is called like one of `names`, the rest of the cast, is not mistaken for it.
    """
    name = message.author_name
    if message.role == "user" and speaker_name(name).casefold() in {
        speaker_name(taken).casefold() for taken in names
    }:
        name = NAMELESS
    return Line(name, message.content, own=message.persona == persona)


async def hidden_up_to(recall: Recall, channel_id: int, persona: str, ensemble: Ensemble) -> int:
    """The place up to which nothing of the channel may reach the character's memory.

    There it was not in the cast yet, or a character spoke who was not.
    """
    others = await recall.last_of_others(channel_id, ensemble.personas | {persona})
    early = [
        await recall.last_before(channel_id, other, ensemble.began(other))
        for other in ensemble.personas - {persona, ensemble.own}
    ]
    return max(others, ensemble.since(persona), *early, 0)


def scene_of(channel: Channel, began: float) -> Scene:
    """What a card's macros draw on: the same for a whole scene. `began` in Unix seconds."""
    seed = zlib.crc32(f"{channel.key} {channel.scene_start}".encode())
    return Scene(seed=seed, now=datetime.fromtimestamp(began).astimezone())


def greeting_of(channel: Channel, character: Character, *, own: bool) -> int:
    """The index of the greeting with which the character opens a scene here."""
    known = len(character.greetings(group=channel.group))
    return channel.greeting if own and channel.greeting < known else 0


def opening_text(
    channel: Channel, character: Character, user_name: str, began: float, *, own: bool
) -> str:
    """The greeting with which the character opens a scene that begins now; empty if it waits."""
    index = greeting_of(channel, character, own=own)
    scene = scene_of(channel, began)
    return greeting_text(character, user_name, index, scene=scene, group=channel.group)


def speaker_stops(
    character: Character, others: Sequence[Character], history: Sequence[Message]
) -> tuple[str, ...]:
    """The strings at which somebody else of the cast, or who spoke lately, would begin to speak."""
    names = [name for other in others for name in (other.name, other.called)]
    names += [message.author_name for message in reversed(history) if message.role == "user"]
    shown = (speaker_name(name, taken=character.called) for name in names)
    return tuple(dict.fromkeys(f"\n{name}:" for name in shown))
