"""What a person may ask of the memory: to see what it holds of them, and to be forgotten."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from db.connection import SerialConnection
from db.consent import WITHDRAW_DIRECT_MESSAGES
from db.message_record import SELECT_MESSAGE, message_from
from db.recall import Recall
from db.values import storable


@dataclass(frozen=True, slots=True)
class Held:
    """How much is held of a person; `kept`: facts, notes, lore, lorebooks and summaries."""

    messages: int
    votes: int
    kept: int = 0


class Privacy:
    """Count, export and deletion by author. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def held_of(self, author_key: str) -> Held:
        """How much is held of a person."""
        author_key = storable(author_key)
        [row] = await self._connection.rows(COUNTED, (author_key,) * 7)
        return Held(messages=row["messages"], votes=row["votes"], kept=row["kept"])

    async def forget_author(self, author_key: str) -> int:
        """Delete what is held of a person and return how many messages there were.

        Their messages and votes go, what they agreed to, and their name on direct messages; so do
        the facts, notes, lore and lorebooks that they gave, and every summary in a channel where
        they spoke. Replies to them stay, as the character's own words, but no longer say whom they
        answered; variants of such replies that are not shown go too. What they decided for a server
        as its administrator stays in force without their name. Two things are kept: that they opted
        out of training or logging, with their key and no date, so that being forgotten does not opt
        them in again; and where they are blocked, so that it does not let them in again.

        The text is overwritten in the file, and the write-ahead log is emptied, so that nothing of
        it can be read from the disk's files afterwards (while another process reads the database,
        the log is emptied later).
        """
        author_key = storable(author_key)
        async with self._connection.transaction() as connection:
            for statement in BEFORE_THEIR_MESSAGES:
                await connection.execute_fetchall(statement, (author_key,))
            deleted = await connection.execute_fetchall(
                "DELETE FROM messages WHERE author_key = ? AND role = 'user' RETURNING id",
                (author_key,),
            )
            count = len(list(deleted))
        if count:
            await Recall(self._connection).scrub()
        await self._connection.empty_log()
        return count

    async def export_author(self, author_key: str) -> dict[str, object]:
        """All that is held of a person, as values that JSON can hold, oldest first.

        {"author_key", "messages": [{"channel", "channel_name", "author_name", "content",
        "created_at", "edited_at", "post_ids"}, …], "votes": [{"channel", "channel_name", "reply",
        "liked", "created_at"}, …], "consent": {"training": true, false or null, "decided_at",
        "servers": [{"server", "allowed", "decided_at"}, …]}, "logging": {"logged", "since"},
        "blocked": [{"server", "blocked_at"}, …], "facts": [{"channel", "persona",
        "text", "pinned", "created_at"}, …], "notes", "lore", "lore_books" and "summaries":
        [{"channel", …, "text", "written_at"}, …]}. Times are Unix seconds in UTC. All of one
        moment: nothing is written in between.
        """
        author_key = storable(author_key)
        async with self._connection.transaction() as connection:
            said = await connection.execute_fetchall(MESSAGES, (author_key,))
            votes = await connection.execute_fetchall(VOTES, (author_key,))
            own_word = await connection.execute_fetchall(OWN_WORD, (author_key,))
            servers = await connection.execute_fetchall(SERVERS, (author_key,))
            unlogged = list(await connection.execute_fetchall(UNLOGGED, (author_key,)))
            blocked = await connection.execute_fetchall(BLOCKED, (author_key,))
            kept = {
                name: [dict(row) for row in await connection.execute_fetchall(query, (author_key,))]
                for name, query in KEPT.items()
            }
        training: dict[str, object] = {"training": None, "decided_at": None}
        for row in own_word:
            training = {"training": bool(row["allowed"]), "decided_at": row["decided_at"]}
        return {
            "author_key": author_key,
            "messages": [_message(row) for row in said],
            "votes": [{**dict(row), "liked": bool(row["liked"])} for row in votes],
            "consent": {
                **training,
                "servers": [{**dict(row), "allowed": bool(row["allowed"])} for row in servers],
            },
            "logging": {
                "logged": not unlogged,
                "since": unlogged[0]["since"] if unlogged else None,
            },
            "blocked": [dict(row) for row in blocked],
            **kept,
        }


COUNTED = """
    SELECT (SELECT count(*) FROM messages WHERE author_key = ? AND role = 'user') AS messages,
           (SELECT count(*) FROM votes WHERE voter_key = ?) AS votes,
           (SELECT count(*) FROM facts WHERE author_key = ?)
           + (SELECT count(*) FROM author_notes WHERE written_by = ?)
           + (SELECT count(*) FROM lore WHERE written_by = ?)
           + (SELECT count(*) FROM lore_books WHERE written_by = ?)
           + (SELECT count(*) FROM summaries WHERE fixed_by = ?) AS kept"""
MESSAGES = f"""
    SELECT said.*, c.key AS channel_key, c.name AS channel_name
    FROM ({SELECT_MESSAGE} WHERE m.author_key = ? AND m.role = 'user') AS said
    JOIN channels AS c ON c.id = said.channel_id ORDER BY said.id"""
VOTES = """
    SELECT c.key AS channel, c.name AS channel_name, coalesce(w.content, m.content) AS reply,
           v.liked, v.created_at
    FROM votes AS v
    JOIN messages AS m ON m.id = v.message_id
    JOIN channels AS c ON c.id = v.channel_id
    LEFT JOIN variants AS w ON w.id = v.variant_id
    WHERE v.voter_key = ? ORDER BY v.message_id"""
OWN_WORD = "SELECT allowed, decided_at FROM author_consent WHERE author_key = ?"
SERVERS = """
    SELECT guild_key AS server, allowed, decided_at FROM server_consent
    WHERE decided_by = ? ORDER BY guild_key"""
UNLOGGED = "SELECT since FROM unlogged WHERE scope = 'author' AND key = ?"
BLOCKED = """
    SELECT guild_key AS server, blocked_at FROM blocks WHERE author_key = ? ORDER BY guild_key"""
KEPT = {
    "facts": """
    SELECT c.key AS channel, f.persona, f.text, f.pinned, f.created_at
    FROM facts AS f JOIN channels AS c ON c.id = f.channel_id WHERE f.author_key = ?
    ORDER BY f.id""",
    "notes": """
    SELECT c.key AS channel, n.persona, n.text, n.depth, n.written_at
    FROM author_notes AS n JOIN channels AS c ON c.id = n.channel_id WHERE n.written_by = ?
    ORDER BY n.channel_id, n.persona""",
    "lore": """
    SELECT c.key AS channel, l.keys, l.text, l.written_at
    FROM lore AS l JOIN channels AS c ON c.id = l.channel_id WHERE l.written_by = ?
    ORDER BY l.id""",
    "lore_books": """
    SELECT c.key AS channel, b.name, b.book AS text, b.written_at
    FROM lore_books AS b JOIN channels AS c ON c.id = b.channel_id WHERE b.written_by = ?
    ORDER BY b.id""",
    "summaries": """
    SELECT c.key AS channel, s.persona, s.fixed AS text, s.written_at
    FROM summaries AS s JOIN channels AS c ON c.id = s.channel_id WHERE s.fixed_by = ?
    ORDER BY s.channel_id, s.persona""",
}
BEFORE_THEIR_MESSAGES = (
    # What is summed up may be theirs, whoever put it into words.
    """DELETE FROM summaries WHERE channel_id IN
       (SELECT channel_id FROM messages WHERE author_key = ? AND role = 'user')""",
    "DELETE FROM summaries WHERE fixed_by = ?",
    "DELETE FROM facts WHERE author_key = ?",
    "DELETE FROM author_notes WHERE written_by = ?",
    "DELETE FROM lore WHERE written_by = ?",
    "DELETE FROM lore_books WHERE written_by = ?",
    # A direct message is named after the person.
    """UPDATE channels SET name = 'direct message' WHERE kind = 'dm' AND id IN
       (SELECT channel_id FROM messages WHERE author_key = ? AND role = 'user')""",
    "DELETE FROM votes WHERE voter_key = ?",
    WITHDRAW_DIRECT_MESSAGES,
    "UPDATE server_consent SET decided_by = NULL WHERE decided_by = ?",
    "DELETE FROM author_consent WHERE author_key = ? AND allowed = 1",
    "UPDATE author_consent SET decided_at = NULL WHERE author_key = ?",
    "UPDATE unlogged SET since = NULL WHERE scope = 'author' AND key = ?",
)


def _message(row: sqlite3.Row) -> dict[str, object]:
    message = message_from(row)
    return {
        "channel": row["channel_key"],
        "channel_name": row["channel_name"],
        "author_name": message.author_name,
        "content": message.content,
        "created_at": message.created_at,
        "edited_at": message.edited_at,
        "post_ids": list(message.post_ids),
    }
