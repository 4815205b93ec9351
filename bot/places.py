"""Where something is said, as the memory knows it."""

from __future__ import annotations

from dataclasses import replace

from bot.incoming import Place
from bot.plain_text import well_formed
from db.channels import Channel, Channels


async def channel_of(channels: Channels, place: Place) -> Channel:
    """The memory's record of a place; a new thread starts with its parent's settings."""
    known = await channels.get(place.key) if place.parent_key else None
    channel = await channels.seen(
        place.key,
        guild_key=place.guild_key,
        name=well_formed(place.name),
        kind=place.kind,
        parent_key=place.parent_key,
        age_restricted=place.age_restricted,
    )
    if place.parent_key is None or known is not None:
        return channel
    parent = await channels.get(place.parent_key)
    if parent is None:
        return channel
    return await channels.set(
        channel.id,
        persona=parent.persona,
        adapter=parent.adapter,
        mode=parent.mode,
        sampling=parent.sampling,
        greeting=parent.greeting,
        members=tuple(replace(member, since=0) for member in parent.present),
    )
