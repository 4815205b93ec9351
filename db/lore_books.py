"""The lorebooks that people brought into a channel as files."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from db.channels import Channel
from db.connection import DatabaseError, SerialConnection
from db.values import storable

MOST_BOOKS = 10  # of one channel
MOST_CHARACTERS = 4 * 1024 * 1024  # of all books of one channel, as much as one file may have


@dataclass(frozen=True, slots=True)
class LoreBook:
    """One lorebook of a channel, without its text; that is another one with each `revision`.

    `name` is what commands call it, `written_by` the author key of who brought it in.
    """

    id: int
    name: str
    revision: int
    written_by: str


class LoreBooks:
    """The store of lorebooks, by channel. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def of(self, channel: Channel) -> list[LoreBook]:
        """The channel's books, the oldest first."""
        rows = await self._connection.rows(
            "SELECT id, name, revision, written_by FROM lore_books WHERE channel_id = ?",
            (channel.id,),
        )
        return sorted(map(_book, rows), key=lambda book: book.id)

    async def named(self, channel: Channel, name: str) -> LoreBook:
        """The channel's book of this name. A `DatabaseError` if there is none."""
        for book in await self.of(channel):
            if book.name == name:
                return book
        raise _missing(name)

    async def text(self, book: LoreBook) -> str | None:
        """The JSON of a book as it is now; None if it is gone."""
        rows = await self._connection.rows("SELECT book FROM lore_books WHERE id = ?", (book.id,))
        return str(rows[0]["book"]) if rows else None

    async def add(self, channel: Channel, name: str, text: str, *, by: str, at: float) -> LoreBook:
        """Keep a book. A `DatabaseError` if the channel has one of this name, or has no room."""
        async with self._connection.transaction() as connection:
            present = await self.of(channel)
            if any(book.name == name for book in present):
                raise DatabaseError(
                    f"This channel has a lorebook {name} already; remove that one, or call this one"
                    " otherwise."
                )
            if len(present) >= MOST_BOOKS:
                raise DatabaseError(
                    f"This channel has {MOST_BOOKS} lorebooks, which is the most; remove one."
                )
            [row] = await connection.execute_fetchall(
                "SELECT total(length(book)) AS held FROM lore_books WHERE channel_id = ?",
                (channel.id,),
            )
            if row["held"] + len(text) > MOST_CHARACTERS:
                raise DatabaseError(
                    f"The lorebooks of a channel can have {MOST_CHARACTERS >> 20} million"
                    " characters together; remove one, or shorten this one."
                )
            [row] = await connection.execute_fetchall(
                """INSERT INTO lore_books (channel_id, name, book, written_by, written_at)
                   VALUES (?, ?, ?, ?, ?) RETURNING id, name, revision, written_by""",
                (channel.id, storable(name), storable(text), storable(by), at),
            )
            return _book(row)

    async def change(self, channel: Channel, book: LoreBook, text: str) -> None:
        """Put `text` in the place of that of `book`.

        A `DatabaseError` if the channel has no such book, or another revision of it by now.
        """
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                """UPDATE lore_books SET book = ?, revision = revision + 1
                   WHERE id = ? AND channel_id = ? AND revision = ? RETURNING id""",
                (storable(text), book.id, channel.id, book.revision),
            )
            if not list(changed):
                raise DatabaseError(
                    f"The lorebook {book.name} was changed at the same moment; see /lore list."
                )

    async def remove(self, channel: Channel, name: str) -> None:
        """Delete a book. A `DatabaseError` if the channel has none of this name."""
        async with self._connection.transaction() as connection:
            gone = await connection.execute_fetchall(
                "DELETE FROM lore_books WHERE channel_id = ? AND name = ? RETURNING id",
                (channel.id, storable(name)),
            )
            if not list(gone):
                raise _missing(name)


def _missing(name: str) -> DatabaseError:
    return DatabaseError(
        f"There is no lorebook {name[:64]!r} here; /lore list shows what there is."
    )


def _book(row: sqlite3.Row) -> LoreBook:
    return LoreBook(row["id"], row["name"], row["revision"], row["written_by"])
