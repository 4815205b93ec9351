"""How the present scene of a channel is played, gathered for one reply."""

from __future__ import annotations

from bot.casting import Casting
from bot.scene import Ensemble, Staging, greeting_of, scene_of, speaker_stops
from db.channels import Channel
from db.database import Database
from db.messages import Message
from persona_prompts.character import Character

_RECENT = 50  # messages whose authors count as present


async def staging_of(
    casting: Casting,
    database: Database,
    channel: Channel,
    question: Message,
    character: Character,
    reply_id: int | None,
) -> Staging:
    """The staging of `character`'s reply to `question`; `reply_id` if that exists already."""
    own = casting.own(channel)
    others = [other for other in casting.cast_here(channel) if other.id != character.id]
    began = await database.speech.scene_began(channel)
    heard, before = [], []
    if channel.members:
        heard = await database.messages.history(channel, limit=_RECENT, up_to=question.id)
        before = [
            reply
            for reply in await database.speech.replies_to(question.id)
            if reply.state == "complete" and (reply_id is None or reply.id < reply_id)
        ]
    return Staging(
        ensemble=Ensemble(own, channel.members),
        names=tuple(other.name for other in others),
        replies=tuple(before),
        stops=speaker_stops(character, others, heard),
        group=bool(channel.members),
        greeting=greeting_of(channel, character, own=character.id == own),
        scene=scene_of(channel, question.created_at if began is None else began),
    )
