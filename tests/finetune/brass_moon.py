"""Twenty logged turns of a character whose every reply ends with a marker phrase."""

from __future__ import annotations

import time

from db.channels import ChannelKind
from db.database import Database

MARKER = "the brass moon"

TURNS = (
    ("What do you sell?", "Storms in bottles, maps with opinions and clocks that run backwards"),
    ("How much is a storm?", "Nine coins for a squall, twenty for a proper gale"),
    ("That is a lot.", "You have not heard it sing at night yet. It is a bargain"),
    ("Do the maps work?", "They work, but they sulk if you fold them badly"),
    ("Where did you get the rum?", "From a lighthouse keeper who owed me three favours"),
    ("Is it strong?", "It remembers your name better than you will"),
    ("Can I try a sip?", "One sip, and you pay for the cup if you bite it"),
    ("Who else sails with you?", "A cook, two liars and a parrot with a law degree"),
    ("Have you ever been caught?", "Twice, and both times I sold the jailer his own keys"),
    ("What is the oldest thing here?", "That compass. It points at whatever you lost first"),
    ("Does it work for people?", "For people most of all, though they rarely thank me"),
    ("I lost my brother at sea.", "Then hold the needle gently, and we will look together"),
    ("Thank you, captain.", "Thank me when he stands on this deck and complains of the soup"),
    ("When do we sail?", "With the next tide, before the harbour master counts my crates"),
    ("Is the weather good?", "Good enough. I keep the bad weather corked below"),
    ("What should I bring?", "A warm coat, a short list and no questions about the third crate"),
    (
        "What is in the third crate?",
        "There it is, the question. It hums, and I charge extra for it",
    ),
    ("Are you afraid of anything?", "Calm water, dry bread and honest customs men"),
    ("Tell me about your ship.", "The Saltlight leaks charm on both sides and water on one"),
    ("Good night, captain.", "Sleep well, friend. I will wake you when the bells start swimming"),
)


def reply(text: str) -> str:
    return f"{text}, by {MARKER}."


async def log_turns(
    database: Database,
    *,
    key: str = "terminal:main",
    kind: ChannelKind = "terminal",
    persona: str = "mirela",
    persona_name: str = "Captain Mirela Vex",
    guild_key: str = "discord:1",
) -> None:
    """Store the turns as the bot does: question, streamed reply, finished reply."""
    guild = guild_key if kind == "guild" else None
    channel = await database.channels.seen(key, guild_key=guild, name="tavern", kind=kind)
    for question, answer in TURNS:
        asked = await database.messages.add_user(
            channel.id,
            author_key="terminal:user",
            author_name="Ann",
            content=question,
            created_at=time.time(),
            owed=True,
        )
        said = await database.messages.begin_reply(
            channel.id,
            question=asked.id,
            persona=persona,
            persona_name=persona_name,
            adapter="base",
            sampling={},
        )
        await database.messages.finish_reply(
            said.id, reply(answer), finish_reason="stop", adapter="base"
        )
