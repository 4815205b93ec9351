"""Whom a name means on a server, where other servers brought in characters of the same name."""

from __future__ import annotations

from db.card_homes import CardHomes
from persona_prompts.cast import Cast
from persona_prompts.character import Character


async def named(cast: Cast, homes: CardHomes, name: str, guild_key: str | None) -> Character:
    """The character with this id, name or alias, as `Cast.get` finds it.

    Of several with one name the server's own comes first, then the operator's, then those that
    other servers brought in; so nobody's import changes what a name means elsewhere. Raises
    `CharacterError` and `DatabaseError`.
    """
    known = await homes.all()
    own = {persona for persona, home in known.items() if home == guild_key}
    return cast.get(name, own=own, strangers=known.keys() - own)
