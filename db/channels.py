"""Channels, and the settings that were made for each of them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

import aiosqlite

from db.cast_members import Member, members_from_json, members_to_json
from db.connection import DatabaseError, SerialConnection
from db.values import storable, storable_or_none, to_json

ChannelKind = Literal["guild", "dm", "thread", "terminal"]


class Unset(Enum):
    """The type of `UNSET`: this setting stays as it is (None would clear it)."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Channel:
    """A place where people and a character talk. A setting of None: the configuration's default."""

    id: int
    key: str  # the front end's name for it: `discord:123`, `terminal:main`
    guild_key: str | None
    name: str
    kind: ChannelKind
    persona: str | None
    adapter: str | None
    mode: str | None
    sampling: dict[str, object]  # only what was set for this channel
    scene_start: int  # messages with a greater id belong to the present scene
    parent_key: str | None = None  # of a thread: the key of the channel that it hangs under
    age_restricted: bool = False
    greeting: int = 0  # with which its own character opens a scene, counted from 0
    members: tuple[Member, ...] = ()  # further characters, those who left included

    @property
    def group(self) -> bool:
        """Whether several people may speak here, so that a prompt has to name them."""
        return self.kind in ("guild", "thread")

    @property
    def present(self) -> tuple[Member, ...]:
        """The further characters who speak here now."""
        return tuple(member for member in self.members if member.until is None)


class Channels:
    """The store of channels. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def seen(
        self,
        key: str,
        *,
        guild_key: str | None,
        name: str,
        kind: ChannelKind,
        parent_key: str | None = None,
        age_restricted: bool = False,
    ) -> Channel:
        """The channel `key`, created at first sight; what its front end says is refreshed.

        A `parent_key` of None leaves the one that is known. Nothing is written when nothing
        changed, so it may be called for every message.
        """
        key, name = storable(key), storable(name)
        guild_key, parent_key = storable_or_none(guild_key), storable_or_none(parent_key)
        channel = await self.get(key)
        same = channel is not None and _looks(channel) == (
            guild_key,
            name,
            kind,
            age_restricted,
        )
        if channel is not None and same and parent_key in (None, channel.parent_key):
            return channel
        async with self._connection.transaction() as connection:
            [row] = await connection.execute_fetchall(
                """INSERT INTO channels (key, guild_key, name, kind, parent_key, age_restricted)
                   VALUES (?, ?, ?, ?, ?, ?)
                   ON CONFLICT (key) DO UPDATE
                   SET guild_key = excluded.guild_key, name = excluded.name, kind = excluded.kind,
                       parent_key = coalesce(excluded.parent_key, parent_key),
                       age_restricted = excluded.age_restricted
                   RETURNING *""",
                (key, guild_key, name, kind, parent_key, age_restricted),
            )
        return _channel(row)

    async def get(self, key: str) -> Channel | None:
        """The channel that its front end calls `key`; None if it was never seen."""
        rows = await self._connection.rows("SELECT * FROM channels WHERE key = ?", (storable(key),))
        return _channel(rows[0]) if rows else None

    async def by_id(self, channel_id: int) -> Channel:
        """The channel of this id; a `DatabaseError` if there is none."""
        rows = await self._connection.rows("SELECT * FROM channels WHERE id = ?", (channel_id,))
        return _the_channel(rows, channel_id)

    async def all(self) -> list[Channel]:
        """Every channel ever seen, in the order of first sight."""
        rows = await self._connection.rows("SELECT * FROM channels ORDER BY id")
        return [_channel(row) for row in rows]

    async def with_messages(self) -> list[Channel]:
        """Every channel of which anything is remembered, in the order of first sight."""
        rows = await self._connection.rows(
            """SELECT * FROM channels AS c
               WHERE EXISTS (SELECT 1 FROM messages WHERE channel_id = c.id) ORDER BY id"""
        )
        return [_channel(row) for row in rows]

    async def set(
        self,
        channel_id: int,
        *,
        persona: str | Unset | None = UNSET,
        adapter: str | Unset | None = UNSET,
        mode: str | Unset | None = UNSET,
        sampling: dict[str, object] | Unset | None = UNSET,
        greeting: int | Unset = UNSET,
        members: tuple[Member, ...] | Unset = UNSET,
    ) -> Channel:
        """Change the settings that are given; None goes back to the configuration's default.

        `sampling` and `members` are replaced as a whole. Returns the channel as it is now.
        """
        changes: dict[str, str | int | None] = {}
        for column, value in (("persona", persona), ("adapter", adapter), ("mode", mode)):
            if not isinstance(value, Unset):
                changes[column] = storable_or_none(value)
        if not isinstance(sampling, Unset):
            changes["sampling"] = to_json(sampling or {})
        if not isinstance(greeting, Unset):
            changes["greeting"] = greeting
        if not isinstance(members, Unset):
            changes["members"] = members_to_json(members)
        if not changes:
            return await self.by_id(channel_id)
        columns = ", ".join(f"{column} = ?" for column in changes)
        async with self._connection.transaction() as connection:
            rows = await connection.execute_fetchall(
                f"UPDATE channels SET {columns} WHERE id = ? RETURNING *",
                (*changes.values(), channel_id),
            )
            return _the_channel(list(rows), channel_id)

    async def add_member(self, channel_id: int, persona: str, adapter: str | None) -> Channel:
        """Let a further character speak here, or give one who does another adapter.

        It hears what is said from now on.
        """
        async with self._connection.transaction() as connection:
            channel, newest = await _channel_now(connection, channel_id)
            if any(member.persona == persona for member in channel.present):
                members = tuple(
                    replace(m, adapter=adapter) if m.persona == persona and m.until is None else m
                    for m in channel.members
                )
            else:
                members = (*channel.members, Member(storable(persona), newest, None, adapter))
            return await _set_members(connection, channel, members)

    async def remove_member(self, channel_id: int, persona: str) -> Channel:
        """A further character speaks here no more; what it said stays with those who heard it."""
        async with self._connection.transaction() as connection:
            channel, newest = await _channel_now(connection, channel_id)
            members = tuple(
                replace(m, until=newest) if m.persona == persona and m.until is None else m
                for m in channel.members
            )
            return await _set_members(connection, channel, members)

    async def new_scene(self, channel_id: int) -> Channel:
        """Begin a new scene: what was said so far stays stored but leaves the history."""
        async with self._connection.transaction() as connection:
            rows = await connection.execute_fetchall(
                """UPDATE channels SET scene_start = max(scene_start, coalesce(
                       (SELECT max(id) FROM messages WHERE channel_id = channels.id), 0))
                   WHERE id = ? RETURNING *""",
                (channel_id,),
            )
            channel = _the_channel(list(rows), channel_id)
            # `Messages.scenes` wants to know where the earlier ones began, too.
            await connection.execute_fetchall(
                "INSERT OR IGNORE INTO scenes (channel_id, start) SELECT ?1, ?2 WHERE ?2 > 0",
                (channel_id, channel.scene_start),
            )
            return channel


async def _channel_now(connection: aiosqlite.Connection, channel_id: int) -> tuple[Channel, int]:
    """The channel, and the id of what was said there last."""
    rows = await connection.execute_fetchall("SELECT * FROM channels WHERE id = ?", (channel_id,))
    [newest] = await connection.execute_fetchall(
        "SELECT coalesce(max(id), 0) FROM messages WHERE channel_id = ?", (channel_id,)
    )
    return _the_channel(list(rows), channel_id), int(newest[0])


async def _set_members(
    connection: aiosqlite.Connection, channel: Channel, members: tuple[Member, ...]
) -> Channel:
    """Who left before the present scene is not needed any more."""
    kept = [m for m in members if m.until is None or m.until > max(channel.scene_start, m.since)]
    rows = await connection.execute_fetchall(
        "UPDATE channels SET members = ? WHERE id = ? RETURNING *",
        (members_to_json(kept), channel.id),
    )
    return _the_channel(list(rows), channel.id)


def no_channel(channel_id: int) -> DatabaseError:
    """What a method says to an id that stands for no channel."""
    return DatabaseError(f"The database has no channel with the id {channel_id}.")


def _looks(channel: Channel) -> tuple[str | None, str, ChannelKind, bool]:
    return channel.guild_key, channel.name, channel.kind, channel.age_restricted


def _the_channel(rows: list[sqlite3.Row], channel_id: int) -> Channel:
    if not rows:
        raise no_channel(channel_id)
    return _channel(rows[0])


def _channel(row: sqlite3.Row) -> Channel:
    return Channel(
        id=row["id"],
        key=row["key"],
        guild_key=row["guild_key"],
        name=row["name"],
        kind=row["kind"],
        persona=row["persona"],
        adapter=row["adapter"],
        mode=row["mode"],
        sampling=json.loads(row["sampling"]),
        scene_start=row["scene_start"],
        parent_key=row["parent_key"],
        age_restricted=bool(row["age_restricted"]),
        greeting=row["greeting"],
        members=members_from_json(row["members"]),
    )
