"""`/lore`: what a channel's characters know, written there or brought in as lorebooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.answers import Answer, Attachment
from bot.errors import CommandError
from bot.incoming import Place
from bot.memory_commands import Teller
from bot.plain_text import display_name, single_spaced, well_formed, within_limit
from bot.scene_lore import numbered
from bot.turn import Turns
from db.channels import Channel
from db.database import Database
from db.direction import Lore
from db.lore_books import LoreBook
from persona_prompts.cards.document import MAX_TEXT_BYTES
from persona_prompts.cards.fields import MOST_ENTRIES
from persona_prompts.cards.store import id_from
from persona_prompts.lorebook.book import Book, Entry, Logic, read_book
from persona_prompts.lorebook.removing import without_entry, without_gaps

LONGEST_LORE = 1000  # characters
MOST_KEYS = 10
LONGEST_KEY = 50
_LONGEST_LIST = 4000  # characters; a longer one comes as a file
_SHOWN = 100  # characters of an entry of a lorebook, and of its keys
_LONGEST_NUMBER = 18  # digits, as SQLite's numbers have at least

_LOGIC: Mapping[Logic, str] = {
    "any": "with one of",
    "all": "with all of",
    "none": "with none of",
    "not_all": "without one of",
}


class LoreCommands:
    """The commands under `/lore`. Each raises `CommandError`, `DatabaseError` or, for files that
    are no lorebooks, `CharacterError` in a sentence."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._direction = database.direction
        self._books = database.lore_books
        self._turns = turns

    async def list(self, place: Place) -> Answer:
        """Everything that was written here, and the channel's lorebooks entry by entry."""
        channel = await self._turns.channel(place)
        written = [_lore_line(entry) for entry in await self._direction.lore(channel)]
        heads, entries = [], []
        for stored, book in await self._imported(channel):
            heads.append(_book_line(stored.name, book))
            entries += [heads[-1], *(_entry_line(stored.name, entry) for entry in book.entries)]
        if not written and not heads:
            return Answer(
                "This channel has no lore of its own; `/lore add` writes some, and `/lore import`"
                " brings in a lorebook."
            )
        text = "\n".join([*written, *entries])
        if len(text) <= _LONGEST_LIST:
            return Answer(text)
        own = [f"Written here: {_counted(len(written))}"] if written else []
        return Answer(
            "\n".join([*own, *heads, "The file has them all."]),
            file=Attachment("lore.txt", text.encode()),
        )

    async def add(self, place: Place, who: Teller, keys: str, text: str) -> Answer:
        """Add an entry, shown to characters when one of `keys` was said lately.

        `keys` are separated by commas; without any, the entry is always shown.
        """
        channel = await self._changing(place, who)
        found = tuple(key for part in keys.split(",") if (key := single_spaced(well_formed(part))))
        if len(found) > MOST_KEYS or any(len(key) > LONGEST_KEY for key in found):
            raise CommandError(
                f"An entry can have {MOST_KEYS} keys of {LONGEST_KEY} characters; take fewer or"
                " shorter ones."
            )
        text = within_limit(single_spaced(text), LONGEST_LORE, "An entry")
        entry = await self._direction.add_lore(channel, found, text, by=who.key, at=time.time())
        return Answer(_lore_line(entry))

    async def remove(self, place: Place, who: Teller, which: str) -> Answer:
        """Delete an entry (`3`, or `harbour#3` of a lorebook) or a whole lorebook (`harbour`)."""
        channel = await self._changing(place, who)
        name, sign, number = which.strip().lower().partition("#")
        if not sign and name.isdecimal():
            gone = await self._direction.remove_lore(channel, int(name[:_LONGEST_NUMBER]))
            return Answer(f"Removed: {_lore_line(gone)}")
        if not sign:
            await self._books.remove(channel, name)
            return Answer(f"Removed: the lorebook `{name}` with all its entries.")
        for stored, book in await self._imported(channel):
            for entry in book.entries if stored.name == name else ():
                if numbered(name, entry) == f"{name}#{number}":
                    text = await self._text(stored)
                    changed = await asyncio.to_thread(without_entry, text, entry.id)
                    await self._books.change(channel, stored, changed)
                    return Answer(f"Removed: {_entry_line(name, entry)}")
        raise CommandError(
            f"There is no entry {which.strip()[:80]!r} here; /lore list shows what there is."
        )

    async def import_bytes(
        self, place: Place, who: Teller, content: bytes, file_name: str, *, id: str = ""
    ) -> Answer:
        """Make the lorebook in a file one of the channel's.

        It is called `id`, else after the name that stands in it, else after the file.
        """
        channel = await self._changing(place, who)
        label = display_name(file_name)
        book = await asyncio.to_thread(read_book, content, "", label)
        if not book.entries:
            raise CommandError(f"{label} has no entry that is switched on and says something.")
        present = sum(len(other.entries) for _, other in await self._imported(channel))
        if present + len(book.entries) > MOST_ENTRIES:
            raise CommandError(
                f"The lorebooks of a channel can have {MOST_ENTRIES} entries together; remove one,"
                " or shorten this one."
            )
        name = id_from((id or book.name or Path(file_name).stem)[:_SHOWN])
        if name.isdecimal():  # which would be the number of an entry
            name = f"book-{name}"
        text = content.decode("utf-8-sig")
        await self._books.add(channel, name, text, by=who.key, at=time.time())
        return Answer(f"Brought in: {_book_line(name, book)}")

    async def import_file(self, place: Place, who: Teller, path: Path, *, id: str = "") -> Answer:
        """Bring in a lorebook from this machine's disk; for whoever sits at it only."""

        def read() -> bytes:
            with path.expanduser().open("rb") as stream:
                return stream.read(MAX_TEXT_BYTES + 1)

        try:
            content = await asyncio.to_thread(read)
        except (OSError, RuntimeError) as error:  # the latter for the home of an unknown user
            reason = getattr(error, "strerror", None) or error
            raise CommandError(f"{path} cannot be read: {reason}.") from None
        return await self.import_bytes(place, who, content, path.name, id=id)

    async def export(self, place: Place, name: str) -> Answer:
        """A lorebook of the channel as the file that it came as, without the entries removed."""
        channel = await self._turns.channel(place)
        stored = await self._books.named(channel, name.strip().lower())
        text = await self._text(stored)
        if stored.revision:
            text = await asyncio.to_thread(without_gaps, text)
        file = Attachment(f"{stored.name}.json", text.encode())
        return Answer(f"This is the lorebook `{stored.name}`.", file=file)

    async def _imported(self, channel: Channel) -> Sequence[tuple[LoreBook, Book]]:
        return await self._turns.memory.lore.imported(channel)

    async def _text(self, stored: LoreBook) -> str:
        text = await self._books.text(stored)
        if text is None:
            raise CommandError(f"The lorebook {stored.name} was removed at the same moment.")
        return text

    async def _changing(self, place: Place, who: Teller) -> Channel:
        if not who.may_switch:
            raise CommandError("Changing the lore needs the permission to change this channel.")
        return await self._turns.channel(place)


def _lore_line(entry: Lore) -> str:
    return f"{entry.id}. {', '.join(entry.keys) or 'always'}: {entry.text}"


def _book_line(name: str, book: Book) -> str:
    """A lorebook with its own settings."""
    settings = [_counted(len(book.entries))]
    if book.scan_depth is not None:
        settings.append(f"scan depth {book.scan_depth}")
    if book.token_budget is not None:
        settings.append(f"budget {book.token_budget} tokens")
    if book.recursive:
        settings.append("recursive")
    called = f" {_short(book.name)}" if book.name else ""
    return f"Lorebook `{name}`{called}: {', '.join(settings)}"


def _entry_line(name: str, entry: Entry) -> str:
    always = entry.constant or entry.decorators.always
    keys = "always" if always else ", ".join(entry.keys) or "never"
    if entry.selective and entry.secondary_keys and not always:
        keys += f" ({_LOGIC[entry.logic]} {', '.join(entry.secondary_keys)})"
    return f"{numbered(name, entry)}. {_short(keys)}: {_short(entry.content)}"


def _counted(entries: int) -> str:
    return f"{entries} {'entry' if entries == 1 else 'entries'}"


def _short(text: str) -> str:
    text = single_spaced(well_formed(text))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
