"""What tests of webhooks look at: the character's posts, and what is remembered of them."""

from __future__ import annotations

from tests.bot.discord.conftest import Running, Town
from tests.discord_standin import ChannelHandle, Message

NAME = "Captain Mirela Vex"
WEBHOOK = "/webhooks/{id}/{token}"
WEBHOOK_MESSAGE = "/webhooks/{id}/{token}/messages/{id}"


async def answered(
    town: Town, running: Running, content: str = "hi", where: ChannelHandle | None = None
) -> Message:
    """The first post of the character's that comes after a question, once it is complete."""
    where = where or town.general
    asked = await town.ask(content, where)
    post = await where.wait_message(by=NAME, after=asked)
    await running.settled()
    return post


async def remembered_posts(running: Running, post: Message) -> tuple[int, ...]:
    message = await running.behind.database.messages.by_post(post.id)
    return () if message is None else message.post_ids
