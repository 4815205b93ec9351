"""What the channel's lorebooks and the character's own have to say to a question."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bot.scene import Staging
from db.channels import Channel
from db.database import Database
from db.direction import Lore
from db.lore_books import LoreBook
from db.messages import Message
from persona_prompts.character import Character
from persona_prompts.lorebook.activation import Activated, ActiveEntry, activate
from persona_prompts.lorebook.book import Book, Entry, read_book
from persona_prompts.turns import Line

_MOST_READ = 16 * 1024 * 1024  # characters of the books that are kept as read, of all channels


class SceneLore:
    """Looks lore up, and remembers what of it counts for later prompts of a scene."""

    def __init__(self, database: Database, count: Callable[[str], int], *, budget: int) -> None:
        """`count` gives the tokens of a text, `budget` those that lore may have in a prompt."""
        self._direction = database.direction
        self._lore_books = database.lore_books
        self._matches = database.lore_matches
        self._speech = database.speech
        self._count = count
        self._budget = budget
        # By id and revision: the book, and the characters of its JSON.
        self._read: OrderedDict[tuple[int, int], tuple[Book, int]] = OrderedDict()

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

        Of entries of one rank, those that were written here stay first, then those of the
        channel's lorebooks, the oldest first, then the card's. Raises `DatabaseError`, and
        `CharacterError` for a lorebook that cannot be read any more.
        """
        entries = await self._direction.lore(channel)
        books = [book_of(channel, entries)] if entries else []
        books += [book for _, book in await self.imported(channel)]
        books += [character.book] if character.book is not None else []
        if not books:
            return Activated()
        replies, before = None, frozenset[str]()
        if any(book.counts_replies for book in books):
            replies = await self._replies(channel, question, character, said)
        if any(book.has_lasting for book in books):
            before = await self._matches.before(channel, character.id, question.id)
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
        if found := {entry.key for entry in entries if entry.lasting}:
            before = await self._matches.before(channel, character.id, question.id)
            if new := found - before:
                await self._matches.add(channel, character.id, question.id, sorted(new))

    def forget(self) -> None:
        """Keep no lorebook as read any more: somebody whose words may stand in one is forgotten."""
        self._read.clear()

    async def imported(self, channel: Channel) -> list[tuple[LoreBook, Book]]:
        """The lorebooks that were brought into the channel, the oldest first.

        What was read is kept for the next time. Raises `DatabaseError` and `CharacterError`.
        """
        books = []
        for stored in await self._lore_books.of(channel):
            key = (stored.id, stored.revision)
            known = self._read.get(key)
            if known is None:
                text = await self._lore_books.text(stored)
                if text is None:
                    continue  # removed meanwhile
                known = (await asyncio.to_thread(_read_stored, stored, text), len(text))
                self._read[key] = known
            self._read.move_to_end(key)
            books.append((stored, known[0]))
        while sum(size for _, size in self._read.values()) > _MOST_READ:
            self._read.popitem(last=False)
        return books

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


def _read_stored(stored: LoreBook, text: str) -> Book:
    """The lorebook that is kept as the JSON `text`; the titles in it begin with the numbers."""
    book = read_book(text.encode(), f"book:{stored.id}", f"The lorebook {stored.name}")
    return replace(
        book,
        entries=tuple(
            replace(entry, title=f"{numbered(stored.name, entry)} {entry.title}")
            for entry in book.entries
        ),
    )


def numbered(name: str, entry: Entry) -> str:
    """What commands call an entry of the lorebook `name`."""
    return f"{name}#{entry.id + 1}"
