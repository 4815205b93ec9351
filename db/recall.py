"""Old moments found by their words, through SQLite's FTS5, in one channel and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from unicodedata import ucd_3_2_0

from db.connection import SerialConnection
from db.message_record import SELECT_MESSAGE, Message, message_from
from db.values import storable

CHANNEL_BITS = 40  # a rowid of the index is channel id << 40 | message id
MOST_WORDS = 12  # of one search
MOST_HITS = 500  # of one word, the newest; a word that stands everywhere tells nothing
MOST_COUNTED = 2000  # messages
MERGE_PAGES = 256  # of the index that one step may rewrite, which takes some milliseconds

_WORD = re.compile(r"[^\W_]+")
# Scripts without spaces between words: there, pairs of characters stand for words.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
_HANGUL = re.compile("[\uac00-\ud7a3]+")


@dataclass(frozen=True, slots=True)
class Hits:
    """Where words stand: for each the ids of messages, newest first, at most `MOST_HITS`.

    `searched` is the number of messages that were looked through, at most `MOST_COUNTED`.
    """

    searched: int
    by_word: dict[str, tuple[int, ...]]


class Recall:
    """The index of words. Every method raises `DatabaseError`.

    The triggers of the schema note which messages it lacks; `catch_up` adds them, some time after
    they were said, so that nobody waits for it. What is deleted leaves the index at once.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def catch_up(self, limit: int = 200) -> int:
        """Index up to `limit` messages that are due; how many there were, 0 once none is left."""
        async with self._connection.transaction() as connection:
            due = list(await connection.execute_fetchall(DUE, (limit,)))
            entries = [(row["entry"], " ".join(index_words(row["content"]))) for row in due]
            await connection.executemany(
                "DELETE FROM recall WHERE rowid = ?", [(entry,) for entry, _ in entries]
            )
            await connection.executemany(
                "INSERT INTO recall (rowid, words) VALUES (?, ?)",
                [(entry, words) for entry, words in sorted(entries) if words],
            )
            await connection.executemany(
                "DELETE FROM recall_due WHERE message_id = ?", [(row["id"],) for row in due]
            )
            return len(due)

    async def hits(self, channel_id: int, words: Sequence[str], *, after: int, before: int) -> Hits:
        """Where `words` stand among the channel's messages with ids between `after` and `before`.

        Both ends excluded. Other forms of an English word count as the same (Porter's stems), small
        and capital letters are alike. Words past `MOST_WORDS` are left out.
        """
        wanted = {word: token for word in words if (token := _token(word))}
        wanted = dict(list(wanted.items())[:MOST_WORDS])
        base = channel_id << CHANNEL_BITS
        if not wanted or before - after < 2:
            return Hits(0, {})
        sql = " UNION ALL ".join([HITS] * len(wanted))
        values: list[object] = []
        for number, token in enumerate(wanted.values()):
            values += [number, f'"{token}"', base + after + 1, base + before - 1, MOST_HITS]
        rows = await self._connection.rows(sql, values)
        [counted] = await self._connection.rows(COUNTED, (channel_id, after, before, MOST_COUNTED))
        found: dict[str, list[int]] = {word: [] for word in wanted}
        names = list(wanted)
        for row in rows:
            found[names[row["word"]]].append(row["id"] - base)
        return Hits(counted[0], {word: tuple(ids) for word, ids in found.items()})

    async def read(self, channel_id: int, message_ids: Sequence[int]) -> list[Message]:
        """These messages of the channel, oldest first; those that are gone are left out."""
        rows = []
        for message_id in sorted(message_ids):
            rows += await self._connection.rows(ONE, (message_id, channel_id))
        return [message_from(row) for row in rows]

    async def last_of_others(self, channel_id: int, personas: Collection[str]) -> int:
        """The place where a character not of `personas` spoke last in the channel; 0 if none did.

        Nothing up to there may reach the prompts of `personas`.
        """
        rows = await self._connection.rows(LAST_OF_EACH, (channel_id, channel_id))
        own = {storable(persona) for persona in personas}
        return max((row["place"] for row in rows if row["persona"] not in own), default=0)

    async def last_before(self, channel_id: int, persona: str, place: int) -> int:
        """The place where this character spoke last, up to `place`; 0 if it did not."""
        rows = await self._connection.rows(LAST_BEFORE, (channel_id, storable(persona), place))
        return rows[0]["place"] if rows else 0

    async def oldest(
        self, channel_id: int, *, after: int, before: int, limit: int
    ) -> list[Message]:
        """The first messages whose place is between `after` and `before`, oldest first."""
        rows = await self._connection.rows(OLDEST, (channel_id, after, before, limit))
        return [message_from(row) for row in rows]

    async def scrub(self) -> None:
        """Rewrite the index without the words of deleted messages, in small steps.

        FTS5 only marks entries as gone; their words stay in the file until pages are merged.
        """
        first = True
        while True:
            async with self._connection.transaction() as connection:
                before = connection.total_changes
                # Negative: merge all there is, however little it would save.
                pages = -MERGE_PAGES if first else MERGE_PAGES
                await connection.execute_fetchall(
                    "INSERT INTO recall (recall, rank) VALUES ('merge', ?)", (pages,)
                )
                if connection.total_changes - before < 2:  # as FTS5's manual says to tell the end
                    return
            first = False


def index_words(text: str) -> list[str]:
    """The words of `text` as the index has them, in order, repeated ones included.

    Chinese and Japanese stand as pairs of characters; a Korean word stands beside what is left of
    it without its last syllable and its last two, which are often particles.
    """
    return [form for word in _WORD.findall(text.lower()) if _known(word) for form in _forms(word)]


def _forms(word: str) -> list[str]:
    if word.isascii():
        return [word]
    if _HANGUL.fullmatch(word):
        return [word, *(word[:-cut] for cut in (1, 2) if len(word) - cut >= 2)]
    forms = []
    for piece in re.split(f"({_UNSPACED.pattern})", word):
        if _UNSPACED.fullmatch(piece) and len(piece) > 1:
            forms += [piece[at : at + 2] for at in range(len(piece) - 1)]
        elif piece:
            forms.append(piece)
    return forms


def _token(word: str) -> str:
    """`word` as FTS5 takes it for one word; empty if it is none."""
    return word.lower() if _WORD.fullmatch(word) and _known(word.lower()) else ""


def _known(word: str) -> bool:
    """Whether FTS5, which knows Unicode 6.1, takes every character for a letter or digit."""
    return word.isascii() or all(ucd_3_2_0.category(mark)[0] in "LN" for mark in word)


DUE = f"""
    SELECT due.message_id + (m.channel_id << {CHANNEL_BITS}) AS entry, m.id, m.content
    FROM recall_due AS due JOIN messages AS m ON m.id = due.message_id
    WHERE m.state = 'complete' ORDER BY due.message_id LIMIT ?"""
HITS = """
    SELECT * FROM (SELECT ? AS word, rowid AS id FROM recall
                   WHERE recall MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?)"""
COUNTED = """
    SELECT count(*) FROM (SELECT 1 FROM messages
                          WHERE channel_id = ? AND place > ? AND place < ? LIMIT ?)"""
ONE = f"{SELECT_MESSAGE} WHERE m.id = ? AND m.channel_id = ?"
# One step of the index for each character, however often it spoke.
LAST_BEFORE = """
    SELECT place FROM messages
    WHERE role = 'character' AND channel_id = ? AND persona = ? AND place <= ?
    ORDER BY place DESC LIMIT 1"""
LAST_OF_EACH = """
    WITH RECURSIVE speaker (persona) AS (
        SELECT min(persona) FROM messages WHERE role = 'character' AND channel_id = ?1
        UNION ALL
        SELECT (SELECT min(persona) FROM messages
                WHERE role = 'character' AND channel_id = ?1 AND persona > speaker.persona)
        FROM speaker WHERE speaker.persona IS NOT NULL)
    SELECT persona, (SELECT max(place) FROM messages
                     WHERE role = 'character' AND channel_id = ?2
                       AND messages.persona = speaker.persona) AS place
    FROM speaker WHERE persona IS NOT NULL"""
OLDEST = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.place > ? AND m.place < ? AND m.state = 'complete'
      AND m.passing = 0
    ORDER BY m.place, m.id LIMIT ?"""
)
