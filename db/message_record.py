"""One stored message, and how it is read from a row."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "character"]
AnswerState = Literal["none", "owed", "answered", "failed"]

# Put a condition behind it. The posts come as "position post_id" pairs, because SQLite does not
# promise the order inside group_concat.
SELECT_MESSAGE = """
    SELECT m.*, (SELECT group_concat(p.position || ' ' || p.post_id)
                 FROM posts AS p WHERE p.message_id = m.id) AS shown_by
    FROM messages AS m"""


@dataclass(frozen=True, slots=True)
class Message:
    """What a person or a character said. Times are Unix seconds in UTC."""

    id: int
    channel_id: int
    role: Role
    author_key: str  # the front end's key of a person; `persona:mirela` for a character
    author_name: str
    content: str
    created_at: float
    edited_at: float | None
    reply_to: int | None  # id of the message it answers; None again once that one is deleted
    persona: str | None
    adapter: str | None
    sampling: dict[str, object] | None
    answer: AnswerState  # of a user's message: does somebody wait for a reply
    state: Literal["complete", "streaming"]  # a character's message may still be growing
    finish_reason: str | None
    place: int  # where it stands in the history: a reply at its question, all else at its own id
    post_ids: tuple[int, ...]  # Discord ids of the posts that show it, in order
    unasked: bool = False  # of a user's message: nobody asked for the reply to it
    passing: bool = False  # it is not logged, and stored only until it is answered


def message_from(row: sqlite3.Row) -> Message:
    """The message in a row of `SELECT_MESSAGE`."""
    return Message(
        id=row["id"],
        channel_id=row["channel_id"],
        role=row["role"],
        author_key=row["author_key"],
        author_name=row["author_name"],
        content=row["content"],
        created_at=row["created_at"],
        edited_at=row["edited_at"],
        reply_to=row["reply_to"],
        persona=row["persona"],
        adapter=row["adapter"],
        sampling=None if row["sampling"] is None else json.loads(row["sampling"]),
        answer=row["answer"],
        state=row["state"],
        finish_reason=row["finish_reason"],
        place=row["place"],
        unasked=bool(row["unasked"]),
        passing=bool(row["passing"]),
        post_ids=_in_order(row["shown_by"]),
    )


def _in_order(shown_by: str | None) -> tuple[int, ...]:
    pairs = (pair.split(" ") for pair in shown_by.split(",")) if shown_by else ()
    return tuple(post for _, post in sorted((int(place), int(post)) for place, post in pairs))
