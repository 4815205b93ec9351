"""Which character of a channel answers: by name, by reply, or by who fits; and whether one more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import regex

from bot.casting import Casting
from config import Config
from db.channels import Channel
from db.database import Database
from db.messages import Message
from persona_prompts.character import Character
from persona_prompts.identity.text_units import content_words, words

_TITLES = frozenset((
    "abuela", "aunt", "captain", "count", "countess", "dame", "doctor", "dr", "duke", "inspector",
    "king", "lady", "lord", "madame", "miss", "mr", "mrs", "ms", "old", "prince", "princess",
    "professor", "queen", "saint", "sir", "st", "the", "uncle",
))  # fmt: skip
_LEAST_NAME = 3  # letters of a part of a name that stands for the whole
_GREETS = r"(?:hey|hi|hello|yo|oh|ok|okay|so|and|well|dear|good (?:morning|evening|night))"
_NO_BOUNDARY = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]+")
_WHOLE = ("stop", "length")  # how replies end that did not break off
_RECENT = 20  # messages in which who talks to whom is looked for
_CONTINUES = 1.5  # what having answered this person last weighs; a fitting word weighs up to 1


def names_of(character: Character) -> tuple[str, ...]:
    """What people call the character: its names, and the parts of its name that are no titles."""
    parts = [
        part
        for part in regex.findall(r"[\w'-]+", character.name)
        if len(part) >= _LEAST_NAME and part.casefold() not in _TITLES
    ]
    return tuple(dict.fromkeys((character.name, *character.aliases, *parts)))


def named(characters: Iterable[Character], text: str) -> list[Character]:
    """Those whose name is in `text`, in the order in which they are named."""
    found = []
    for character in characters:
        places = [m.start() for name in names_of(character) if (m := _name(name).search(text))]
        if places:
            found.append((min(places), character))
    return [character for _, character in sorted(found, key=lambda pair: pair[0])]


def called(characters: Iterable[Character], text: str) -> list[Character]:
    """Those whom `text` speaks to by name: `Mirela, …`, `hey Mirela`, `…, Mirela?`, `@Mirela`."""
    return named([c for c in characters if any(_calls(n, text) for n in names_of(c))], text)


class Choosing:
    """Chooses among the cast of a channel."""

    def __init__(self, config: Config, database: Database, casting: Casting) -> None:
        self._most_added = config.bot.cast_replies
        self._messages = database.messages
        self._speech = database.speech
        self._casting = casting

    def calls(self, channel: Channel, text: str) -> bool:
        """Whether `text` speaks to one of the characters by name."""
        return bool(called(self._casting.cast_here(channel), text))

    async def speaker(self, channel: Channel, question: Message) -> Character:
        """Who answers `question`. Raises `CharacterError` if nobody here can.

        Whom it calls by name, else whom it replies to, else whom it names, else who fits: whose
        card shares rare words with it, or who talked with this person last.
        """
        cast = self._casting.cast_here(channel)
        if len(cast) < 2:
            return cast[0] if cast else self._casting.character(channel)
        if spoken_to := called(cast, question.content):
            return spoken_to[0]
        replied = None
        if question.reply_to is not None:
            replied = await self._messages.get(question.reply_to)
        for character in cast:
            if replied is not None and replied.persona == character.id:
                return character
        if mentioned := named(cast, question.content):
            return mentioned[0]
        partner = await self._partner(channel, question)
        scores = _fitting(cast, question.content)
        for character in cast:
            scores[character.id] += _CONTINUES * (character.id == partner)
        return max(cast, key=lambda character: scores[character.id])

    async def next(
        self, channel: Channel, question: Message, spoken: int, *, only_named: bool = False
    ) -> tuple[Character, int] | None:
        """Who speaks next to `question`, and how many have spoken; None if that was all.

        First those whom the question named besides, then (unless `only_named`) whom the last reply
        names. `spoken` is the number that this gave the last time: where nobody spoke since, or a
        reply broke off, nobody goes on.
        """
        replies = await self._speech.replies_to(question.id) if channel.present else []
        if not spoken < len(replies) <= self._most_added:
            return None
        if replies[-1].finish_reason not in _WHOLE:
            return None
        cast = self._casting.cast_here(channel)
        others = [character for character in cast if character.id != replies[-1].persona]
        before = {reply.persona for reply in replies}
        waiting = [c for c in named(others, question.content) if c.id not in before]
        answering = waiting or ([] if only_named else named(others, replies[-1].content))
        return (answering[0], len(replies)) if answering else None

    async def _partner(self, channel: Channel, question: Message) -> str | None:
        """The character that answered this person last, lately."""
        history = await self._messages.history(channel, limit=_RECENT, up_to=question.id)
        theirs = {m.id for m in history if m.author_key == question.author_key}
        answers = [m.persona for m in history if m.role == "character" and m.reply_to in theirs]
        return answers[-1] if answers else None


def _name(name: str) -> regex.Pattern[str]:
    escaped = regex.escape(name)
    if not _NO_BOUNDARY.fullmatch(name):
        escaped = rf"(?<!\w){escaped}(?!\w)"
    return regex.compile(escaped, regex.IGNORECASE)


def _calls(name: str, text: str) -> bool:
    pattern = _name(name).pattern
    return any(
        regex.search(form, text, regex.IGNORECASE)
        for form in (
            rf"^\W*(?:{_GREETS}\W+)?{pattern}\s*(?:[,:;!?.…—–，、：；！？。]|$)",
            rf"[,，]\s*{pattern}\s*[.!?…。！？]*\s*$",
            rf"(?<!\S)@{pattern}",
        )
    )


def _fitting(cast: Sequence[Character], text: str) -> dict[str, float]:
    """How much of `text` each card is about: a word weighs less the more cards have it."""
    about = {character.id: _vocabulary(character) for character in cast}
    scores = dict.fromkeys(about, 0.0)
    for word in content_words(words(text)):
        knowing = [id for id, known in about.items() if word in known]
        if len(knowing) < len(cast):
            for id in knowing:
                scores[id] += 1 / len(knowing)
    return scores


def _vocabulary(character: Character) -> frozenset[str]:
    entries = character.book.entries if character.book is not None else ()
    texts = (
        character.description,
        character.personality,
        character.scenario,
        *character.tags,
        *(key for entry in entries for key in entry.keys if not entry.use_regex),
    )
    return content_words(words(" ".join(texts)))
