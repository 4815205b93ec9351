"""`/memory` and `/summary`: what a character keeps of a scene, without any Discord."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.memory import Recollection
from bot.plain_text import display_name, single_spaced, within_limit
from bot.recall import Moment
from bot.turn import Turns
from db.channels import Channel
from db.database import Database
from db.facts import Fact
from persona_prompts.character import Character

LONGEST_FACT = 300  # characters
LONGEST_SUMMARY = 2000
_SHOWN = 160  # characters of a message in `why`
_MOST_DROPPED = 30  # entries of lore in `why`


@dataclass(frozen=True, slots=True)
class Teller:
    """Who gives a command. `may_switch`: they may change the channel's settings."""

    key: str
    name: str
    may_switch: bool


class MemoryCommands:
    """The commands under `/memory` and `/summary`; all about the character who speaks there."""

    def __init__(self, database: Database, casting: Casting, turns: Turns) -> None:
        self._facts = database.facts
        self._summaries = database.summaries
        self._casting = casting
        self._turns = turns

    async def facts(self, place: Place) -> Answer:
        """What the character knows, with who said it."""
        channel, character = await self._here(place)
        known = await self._facts.of(channel, character.id)
        if not known:
            return Answer(f"{character.name} keeps no facts here yet; `/memory add` gives some.")
        return Answer("\n".join(_fact_line(fact) for fact in known))

    async def add(self, place: Place, who: Teller, text: str) -> Answer:
        """Let the character know something, on the word of whoever says so."""
        channel, character = await self._here(place)
        fact = await self._facts.add(
            channel,
            character.id,
            within_limit(text, LONGEST_FACT, "A fact"),
            author_key=who.key,
            author_name=display_name(who.name),
            at=time.time(),
        )
        if fact is None:
            return Answer(f"{character.name} knows that from you already.")
        return Answer(f"{character.name} will remember: {_fact_line(fact)}")

    async def pin(self, place: Place, who: Teller, number: int, *, pinned: bool) -> Answer:
        """Keep a fact when a new scene begins, and before all others; or no longer."""
        channel, character = await self._here(place)
        await self._own(channel, character, who, number)
        fact = await self._facts.pin(channel, character.id, number, pinned=pinned)
        return Answer(_fact_line(fact))

    async def correct(self, place: Place, who: Teller, number: int, text: str) -> Answer:
        """Put a fact otherwise; from now on it is the word of whoever corrects it."""
        channel, character = await self._here(place)
        await self._own(channel, character, who, number)
        fact = await self._facts.correct(
            channel,
            character.id,
            number,
            within_limit(text, LONGEST_FACT, "A fact"),
            author_key=who.key,
            author_name=display_name(who.name),
            at=time.time(),
        )
        self._turns.memory.forget(channel.id)
        return Answer(_fact_line(fact))

    async def forget(self, place: Place, who: Teller, number: int) -> Answer:
        """Delete a fact."""
        channel, character = await self._here(place)
        await self._own(channel, character, who, number)
        fact = await self._facts.forget(channel, character.id, number)
        self._turns.memory.forget(channel.id)
        return Answer(f"Forgotten: {fact.text}")

    async def why(self, place: Place) -> Answer:
        """What the memory put into the last prompt here, what it left out, and for which reason."""
        channel, character = await self._here(place)
        made = self._turns.memory.last(channel, character.id)
        if made is None:
            return Answer(
                f"{character.name} has not answered here since I started, or since something that"
                " it knew here was changed."
            )
        return Answer("\n".join(_reasons(made)))

    async def summary(self, place: Place) -> Answer:
        """The summary of the present scene."""
        channel, character = await self._here(place)
        found = await self._summaries.of(channel, character.id)
        if not found.text:
            return Answer("There is no summary of this scene; everything said still fits.")
        parts = [found.fixed and f"{found.fixed} *(written by hand)*", found.told]
        return Answer("\n".join(part for part in parts if part))

    async def set_summary(self, place: Place, who: Teller, text: str) -> Answer:
        """Somebody's own words instead of the summary; what follows is added to them."""
        _require(who, "the summary")
        channel, character = await self._here(place)
        text = within_limit(text, LONGEST_SUMMARY, "A summary")
        await self._summaries.fix(channel, character.id, text, by=who.key, at=time.time())
        return Answer(f"That is what {character.name} remembers of the scene now.")

    async def clear_summary(self, place: Place, who: Teller) -> Answer:
        """Forget the summary; what it told of is not told again."""
        _require(who, "the summary")
        channel, character = await self._here(place)
        await self._summaries.clear(channel, character.id, at=time.time())
        return Answer("The summary is empty now.")

    async def redo_summary(self, place: Place, who: Teller) -> Answer:
        """Have the whole scene summed up anew."""
        _require(who, "the summary")
        channel, character = await self._here(place)
        await self._summaries.redo(channel, character.id)
        self._turns.keeper.sum_up(channel, character, now=True)
        return Answer("What no longer fits into the prompt is being summed up anew.")

    async def _here(self, place: Place) -> tuple[Channel, Character]:
        channel = await self._turns.channel(place)
        return channel, self._casting.character(channel)

    async def _own(self, channel: Channel, character: Character, who: Teller, number: int) -> None:
        """Raise `CommandError` unless `who` said that fact or may change the channel's settings."""
        if who.may_switch:
            return
        for fact in await self._facts.of(channel, character.id):
            if fact.id == number and fact.author_key != who.key:
                raise CommandError(
                    f"Fact {number} is {fact.author_name}'s word; only they can change it, and"
                    " those who may change this channel's settings."
                )


def _require(who: Teller, what: str) -> None:
    if not who.may_switch:
        raise CommandError(f"Changing {what} needs the permission to change this channel.")


def _fact_line(fact: Fact) -> str:
    return f"{fact.id}. {'📌 ' if fact.pinned else ''}{fact.author_name}: {fact.text}"


def _reasons(made: Recollection) -> list[str]:
    prompt = made.prompt
    lines = [f"The last prompt had {prompt.tokens} of {made.room} tokens."]
    if prompt.dropped:
        lines.append(f"window: the oldest {prompt.dropped} lines did not fit")
    if made.cut:
        lines.append(f"identity: {made.cut} earlier replies went in without an introduction")
    if made.summary.text:
        lines.append(f"summary: {len(made.summary.text.split())} words stand for what is older")
    lines += [f"fact: {_fact_line(fact)}" for fact in made.facts]
    lines += [f"fact without room: {_fact_line(fact)}" for fact in made.left_out]
    lines += [f"recalled: {_moment(moment)}" for moment in made.recalled.moments]
    if made.recalled.passed_over is not None:
        lines.append(f"not near enough: {_moment(made.recalled.passed_over)}")
    if made.note is not None:
        lines.append(f"note, {made.note.depth} messages before the end: {made.note.text}")
    lines += [f"lore: {entry.title} ({entry.reason})" for entry in prompt.lore]
    dropped = [f"{entry.title} ({entry.reason})" for entry in prompt.dropped_lore]
    lines += [f"lore left out: {entry}" for entry in dropped[:_MOST_DROPPED]]
    if len(dropped) > _MOST_DROPPED:
        lines.append(f"lore left out: {len(dropped) - _MOST_DROPPED} entries more")
    if not prompt.remembers and (made.facts or made.summary.text or made.note):
        lines.append("No room was left for any of the memory beside the newest message.")
    return lines


def _moment(moment: Moment) -> str:
    text = single_spaced(moment.message.content)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    reasons = [f"{moment.relevance:.0%} ({', '.join(moment.shared)})"] if moment.shared else []
    if moment.similarity is not None:
        reasons.append(f"alike {moment.similarity:.2f}")
    return f"{', '.join(reasons)} {moment.message.author_name}: {text}"
