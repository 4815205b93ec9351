"""What the channel's lorebook and the character's own have to say to a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bot.scene import Staging
from db.channels import Channel
from db.database import Database
from db.direction import Lore
from db.messages import Message
from persona_prompts.character import Character
from persona_prompts.lorebook.activation import Activated, ActiveEntry, activate, lasting_keys
from persona_prompts.lorebook.book import Book, Entry
from persona_prompts.turns import Line


class SceneLore:
    """Looks lore up, and remembers what of it counts for later prompts of a scene."""

    def __init__(self, database: Database, count: Callable[[str], int], *, budget: int) -> None:
        """`count` gives the tokens of a text, `budget` those that lore may have in a prompt."""
        self._direction = database.direction
        self._matches = database.lore_matches
        self._speech = database.speech
        self._count = count
        self._budget = budget

    async def of(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        said: Sequence[Message],
        lines: Sequence[Line],
        staging: Staging,
    ) -> Activated:
        """What comes up with `question`; `lines` are the window, made of the messages `said`.

        Raises `DatabaseError`.
        """
        entries = await self._direction.lore(channel)
        books = [book_of(channel, entries)] if entries else []
        replies, before = None, frozenset[str]()
        if character.book is not None:
            books.append(character.book)
            if character.book.counts_replies:
                replies = await self._replies(channel, question, character, said)
            if lasting_keys(character.book):
                before = await self._matches.before(channel, character.id, question.id)
        if not books:
            return Activated()
        return activate(
            books,
            lines,
            self._count,
            budget=self._budget,
            char=character.called,
            user=question.author_name,
            scene=staging.scene,
            greeting=staging.greeting,
            replies=replies,
            matched_before=before,
        )

    async def shown(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        entries: Iterable[ActiveEntry],
    ) -> None:
        """The prompt for the reply to `question` holds these entries. Raises `DatabaseError`."""
        lasting = lasting_keys(character.book) if character.book is not None else frozenset()
        if found := lasting & {entry.key for entry in entries}:
            before = await self._matches.before(channel, character.id, question.id)
            if new := found - before:
                await self._matches.add(channel, character.id, question.id, sorted(new))

    async def _replies(
        self, channel: Channel, question: Message, character: Character, said: Sequence[Message]
    ) -> int:
        """How often the character spoke; what is not logged is in the window only."""
        stored = await self._speech.replies_before(channel, character.id, question.place)
        return max(stored, sum(message.persona == character.id for message in said))


def book_of(channel: Channel, entries: Sequence[Lore]) -> Book:
    """The channel's entries as a lorebook."""
    return Book(
        source=f"channel:{channel.id}",
        name="the channel's lore",
        entries=tuple(
            Entry(
                id=entry.id,
                title=", ".join(entry.keys[:3]) or entry.text[:40],
                content=entry.text,
                keys=entry.keys,
                constant=not entry.keys,
                whole_words="".join(entry.keys).isascii(),  # others have no spaces between
                order=100,
                rank=100,
            )
            for entry in entries
        ),
    )
