"""Running summaries: what became of the turns that no longer fit into a prompt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from db.channels import Channel
from db.connection import SerialConnection
from db.messages import Message
from db.values import storable


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one character's present scene in a channel.

    `fixed` is what people wrote, by the author key `fixed_by`; `told` what the model made of the
    messages of the scene whose place is at most `up_to`.
    """

    fixed: str = ""
    fixed_by: str | None = None
    told: str = ""
    up_to: int = 0
    written_at: float = 0.0  # Unix seconds
    fixed_at: float | None = None  # when people wrote what is fixed

    @property
    def text(self) -> str:
        """What a prompt says."""
        return "\n".join(part for part in (self.fixed, self.told) if part)


class Summaries:
    """The store of summaries, by channel, persona and present scene.

    A message that is deleted or changed takes the model's text with it that it is told in; the
    scene is then summed up anew. Every method raises `DatabaseError`.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def of(self, channel: Channel, persona: str) -> Summary:
        """The summary of the scene that `channel` says; an empty one if there is none."""
        rows = await self._connection.rows(OF, (channel.id, storable(persona), channel.scene_start))
        return _summary(rows[0]) if rows else Summary(up_to=channel.scene_start)

    async def tell(
        self,
        channel: Channel,
        persona: str,
        told: str,
        *,
        since: Summary,
        piece: Sequence[Message],
        up_to: int,
        at: float,
    ) -> bool:
        """Store the model's text for the messages up to place `up_to`, made of `since` and `piece`.

        False, and nothing is stored, if the summary is no longer `since`, or a message of `piece`
        is gone or says something else: somebody changed it while the model was writing.
        """
        async with self._connection.transaction():
            if await self.of(channel, persona) != since or not await self._still_said(piece):
                return False
            told = storable(told)
            kept = (since.fixed, since.fixed_by, since.fixed_at)
            await self._put(channel, persona, kept, told, up_to, at)
        return True

    async def fix(self, channel: Channel, persona: str, text: str, *, by: str, at: float) -> None:
        """Somebody's own words instead of the summary so far; the model only adds to them."""
        async with self._connection.transaction():
            up_to = (await self.of(channel, persona)).up_to
            fixed = (storable(text), storable(by), at)
            await self._put(channel, persona, fixed, "", up_to, at)

    async def clear(self, channel: Channel, persona: str, *, at: float) -> None:
        """Forget what is told; what comes next is summed up as before."""
        async with self._connection.transaction():
            up_to = (await self.of(channel, persona)).up_to
            await self._put(channel, persona, ("", None, None), "", up_to, at)

    async def redo(self, channel: Channel, persona: str) -> None:
        """Forget it altogether, so that the whole scene is summed up anew."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "DELETE FROM summaries WHERE channel_id = ? AND persona = ? AND scene_start = ?",
                (channel.id, storable(persona), channel.scene_start),
            )

    async def _still_said(self, piece: Sequence[Message]) -> bool:
        """Whether all these messages are there and say what they said."""
        rows = await self._connection.rows(SAID, (json.dumps([message.id for message in piece]),))
        said = {row["id"]: row["content"] for row in rows}
        return all(said.get(message.id) == message.content for message in piece)

    async def _put(
        self,
        channel: Channel,
        persona: str,
        fixed: tuple[str, str | None, float | None],  # what, by whom, when
        told: str,
        up_to: int,
        at: float,
    ) -> None:
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """INSERT OR REPLACE INTO summaries (channel_id, persona, scene_start, fixed,
                                                     fixed_by, fixed_at, told, up_to,
                                                     written_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    *(channel.id, storable(persona), channel.scene_start),
                    *(*fixed, told, up_to, at),
                ),
            )


OF = "SELECT * FROM summaries WHERE channel_id = ? AND persona = ? AND scene_start = ?"
SAID = "SELECT id, content FROM messages WHERE id IN (SELECT value FROM json_each(?))"


def _summary(row: sqlite3.Row) -> Summary:
    return Summary(
        fixed=row["fixed"],
        fixed_by=row["fixed_by"],
        told=row["told"],
        up_to=row["up_to"],
        written_at=row["written_at"],
        fixed_at=row["fixed_at"],
    )
