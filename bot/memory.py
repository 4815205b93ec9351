"""What a character knows when it answers: the window, and what lies behind it.

One prompt draws on the summary and the facts of the scene, the newest messages, older moments that
the question is about, an author's note and lore. Everything is looked up by channel, persona and
scene, so nothing passes from one to another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bot.likeness import Likeness
from bot.passing import Passing
from bot.recall import Recalled, recall
from bot.scene import Ensemble, Staging, hidden_up_to, line_of, scene_messages
from bot.scene_lore import SceneLore
from config import Config
from db.channels import Channel
from db.database import Database
from db.direction import AuthorNote
from db.facts import Fact
from db.messages import Message
from db.summaries import Summary
from inference.types import ModelInfo
from persona_prompts.character import Character
from persona_prompts.identity.hygiene import without_unasked_introductions
from persona_prompts.lorebook.activation import Activated
from persona_prompts.prompt import Line, Note, Prompt, build_prompt
from persona_prompts.remembered import KnownFact, fact_line, memory_text, recall_note
from persona_prompts.speakers import clean_text

_NOTHING = Recalled()
_ALONE = Staging()
_REMEMBERED_PROMPTS = 1000  # channels of which `why` can tell


class Model(Protocol):
    """What a prompt needs of `inference.client.InferenceClient`."""

    @property
    def info(self) -> ModelInfo: ...

    def count_tokens(self, text: str) -> int: ...


class _Build(Protocol):
    def __call__(self, notes: Sequence[Note], without: int = 0) -> Prompt: ...


@dataclass(frozen=True, slots=True)
class Recollection:
    """One prompt and what memory put into it."""

    question_id: int
    persona: str
    scene_start: int
    prompt: Prompt
    room: int  # tokens that the prompt could have had
    summary: Summary
    facts: tuple[Fact, ...] = ()
    left_out: tuple[Fact, ...] = ()  # facts for which there was no room
    recalled: Recalled = _NOTHING
    note: AuthorNote | None = None
    cut: int = 0  # own lines that lost an introduction


class Memory:
    """Builds prompts, and can tell why the last one of a channel held what it held."""

    def __init__(
        self,
        config: Config,
        database: Database,
        model: Model,
        likeness: Likeness | None = None,
        passing: Passing | None = None,
    ) -> None:
        self._config = config
        self._settings = config.memory
        self._database = database
        self._model = model
        self.likeness = likeness or Likeness(config.memory, database)
        self._passing = passing or Passing(config.privacy, database)
        self.lore = SceneLore(database, model.count_tokens, budget=config.memory.lore_tokens)
        self._last: OrderedDict[int, Recollection] = OrderedDict()

    async def prompt(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        *,
        reply_tokens: int,
        so_far: str = "",
        staging: Staging = _ALONE,
    ) -> Recollection:
        """The prompt for a reply of `character` to `question`, of which `so_far` was said already.

        Raises `DatabaseError`, `PromptTooLong`, and `CharacterError` for a lorebook of the channel
        that cannot be read any more.
        """
        summary = await self._summary(channel, question, character.id)
        begun = summary.up_to > channel.scene_start
        window = replace(channel, scene_start=summary.up_to)
        most = self._config.prompt.history_messages
        history = await self._database.messages.history(window, limit=most, up_to=question.id)
        history = self._passing.woven(history, window, question, most)
        heard = scene_messages(history, question, character.id, staging.ensemble)
        said = [*heard, *staging.replies]
        lines = [line_of(m, character.id, staging.names) for m in said]
        if so_far:
            lines.append(Line(character.name, so_far, own=True))
        facts, left_out = await self._facts(channel, character)
        note = await self._database.direction.note(channel, character.id)
        notes = [Note(note.text, note.depth)] if note else []
        build = self._builder(
            channel, question, character, lines, reply_tokens, staging,
            memory=memory_text(
                character.called,
                summary.text,
                [KnownFact(fact.author_name, fact.text) for fact in facts],
            ),
            lore=await self.lore.of(channel, question, character, said, lines, staging),
            begun=begun,
        )  # fmt: skip
        prompt = build(notes)
        names = (character.name, *character.aliases)
        fed_back = without_unasked_introductions(lines, names)
        recalled = await self._recalled(
            channel, question, character, said, fed_back, prompt, staging.ensemble, begun=begun
        )
        moments = [line_of(m.message, character.id, staging.names) for m in recalled.moments]
        if found := recall_note(self._clean(moments, character), character.called):
            prompt = build([*notes, found], without=prompt.dropped)
        made = Recollection(
            question.id, character.id, channel.scene_start, prompt,
            room=self._context_tokens - reply_tokens,
            summary=summary, facts=facts, left_out=left_out, recalled=recalled, note=note,
            cut=sum(one != other for one, other in zip(lines, fed_back, strict=True)),
        )  # fmt: skip
        await self.lore.shown(channel, question, character, prompt.lore)
        self._last[channel.id] = made
        self._last.move_to_end(channel.id)
        if len(self._last) > _REMEMBERED_PROMPTS:
            self._last.popitem(last=False)
        return made

    def last(self, channel: Channel, persona: str) -> Recollection | None:
        """The newest prompt of this character in the channel's present scene, since the start."""
        made = self._last.get(channel.id)
        if made is None or (made.persona, made.scene_start) != (persona, channel.scene_start):
            return None
        return made

    def forget(self, channel_id: int | None = None) -> None:
        """Keep no prompt (of this channel) any more: what stands in it is gone, or said otherwise.

        Without a channel, of none: somebody whose words may stand in any is forgotten.
        """
        if channel_id is None:
            self._last.clear()
            self.lore.forget()
        else:
            self._last.pop(channel_id, None)

    def changed(self, message: Message | None) -> None:
        """This message was edited or deleted (None: there was none), so no prompt may show it."""
        if message is not None:
            self.forget(message.channel_id)

    @property
    def _context_tokens(self) -> int:
        return min(self._config.prompt.context_tokens, self._model.info.context_length)

    async def _summary(self, channel: Channel, question: Message, persona: str) -> Summary:
        """The summary, unless it tells of `question` itself already."""
        nothing = Summary(up_to=channel.scene_start)
        if not self._settings.summary:
            return nothing
        found = await self._database.summaries.of(channel, persona)
        return nothing if question.place <= found.up_to else found

    async def _facts(
        self, channel: Channel, character: Character
    ) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
        """The facts that fit, and those that do not; pinned ones first, then the newest."""
        if not self._settings.facts:
            return (), ()
        known = await self._database.facts.of(channel, character.id)
        room = self._settings.fact_tokens
        kept: list[Fact] = []
        for fact in sorted(known, key=lambda fact: (not fact.pinned, -fact.id)):
            line = fact_line(KnownFact(fact.author_name, fact.text), character.called)
            room -= self._model.count_tokens(line)
            if room < 0:
                break
            kept.append(fact)
        return (
            tuple(fact for fact in known if fact in kept),
            tuple(fact for fact in known if fact not in kept),
        )

    def _builder(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        lines: Sequence[Line],
        reply_tokens: int,
        staging: Staging,
        *,
        memory: str,
        lore: Activated,
        begun: bool,
    ) -> _Build:
        """The prompt as it depends on nothing but the notes.

        `without` the oldest lines, of which it is known that they do not fit.
        """
        info = self._model.info

        def build(notes: Sequence[Note], without: int = 0) -> Prompt:
            prompt = build_prompt(
                character,
                lines[without:],
                group=channel.group or staging.group,
                user_name=question.author_name,
                count=self._model.count_tokens,
                context_tokens=self._context_tokens,
                reply_tokens=reply_tokens,
                message_overhead=info.message_overhead,
                prompt_overhead=info.prompt_overhead,
                lore=lore,
                notes=notes,
                memory=memory,
                begun=begun or without > 0,
                scene=staging.scene,
                greeting=staging.greeting,
            )
            return replace(prompt, dropped=prompt.dropped + without)

        return build

    async def _recalled(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        said: Sequence[Message],
        fed_back: Sequence[Line],
        prompt: Prompt,
        ensemble: Ensemble,
        *,
        begun: bool,
    ) -> Recalled:
        """What lies behind the window and is about the question."""
        full = len(said) >= self._config.prompt.history_messages
        if not self._settings.recall or not (prompt.dropped or begun or full):
            return Recalled()
        hidden = await hidden_up_to(self._database.recall, channel.id, character.id, ensemble)
        after = max(channel.scene_start, hidden)
        before = _first_shown(said, fed_back, prompt.dropped).place
        return await recall(
            self._database.recall,
            channel.id,
            question.content,
            after=after,
            before=before,
            threshold=self._settings.recall_threshold,
            most=self._settings.recall_messages,
            alike=await self.likeness.nearest(
                channel.id, question.content, after=after, before=before
            ),
            similarity=self._settings.recall_similarity,
        )

    def _clean(self, moments: Sequence[Line], character: Character) -> list[Line]:
        """Moments without introductions, and without those of which nothing is left then."""
        names = (character.name, *character.aliases)
        # Something comes before and behind, else the ends would count as greeting and unfinished.
        around = [Line("", "…", own=False), *moments, Line("", "…", own=False)]
        cleaned = without_unasked_introductions(around, names)[1:-1]
        return [line for line in cleaned if line.text.strip()]


def _first_shown(said: Sequence[Message], fed_back: Sequence[Line], dropped: int) -> Message:
    """The oldest of the messages `said` in a window without the first `dropped` that say something.

    `fed_back` are their lines, as a prompt shows them.
    """
    for message, line in zip(said, fed_back, strict=False):
        if clean_text(line.text):
            if not dropped:
                return message
            dropped -= 1
    return said[-1]
