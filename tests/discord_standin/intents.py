"""Gateway intents: which bit a session needs to hear which event."""

from __future__ import annotations

from enum import IntFlag


class Intent(IntFlag):
    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_MODERATION = 1 << 2
    GUILD_WEBHOOKS = 1 << 5
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15


PRIVILEGED = Intent.GUILD_MEMBERS | Intent.GUILD_PRESENCES | Intent.MESSAGE_CONTENT

#: Every bit that gateway version 10 defines; another one closes the connection with 4013.
KNOWN_BITS = (1 << 22) - 1 | 1 << 24 | 1 << 25

#: Always delivered, whatever the session asked for.
NO_INTENT = Intent(0)


def in_guild_or_dm(in_guild: bool, event: str) -> Intent:
    """The intent for an event of the message family ("messages", "reactions", "typing")."""
    pairs = {
        "messages": (Intent.GUILD_MESSAGES, Intent.DIRECT_MESSAGES),
        "reactions": (Intent.GUILD_MESSAGE_REACTIONS, Intent.DIRECT_MESSAGE_REACTIONS),
        "typing": (Intent.GUILD_MESSAGE_TYPING, Intent.DIRECT_MESSAGE_TYPING),
    }
    return pairs[event][0 if in_guild else 1]
