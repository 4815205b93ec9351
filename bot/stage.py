"""Where replies are shown: what a front end offers to the turn, and what it tells the memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from db.channels import Channel
from db.messages import Message, Messages


class DeliveryError(Exception):
    """A reply cannot be shown any further; the message is a sentence for the operator."""


class ReplyGone(DeliveryError):
    """Somebody removed the reply or its channel: nobody wants it any more."""


class DeliveryRefused(DeliveryError):
    """The front end will never take this reply here, e.g. for want of a permission."""


class DeliveryInterrupted(DeliveryError):
    """The front end cannot be reached now; the reply may be shown later."""


class ReplyRecord:
    """The memory of one character message while it is being shown.

    What is about to be seen is stored first, so that after a crash nothing that the channel shows
    is missing. `rewrite` is given for a reply that was complete before: it stores the first words
    of what takes its text's place, and until then the old text stands.
    """

    def __init__(
        self,
        messages: Messages,
        reply: Message,
        rewrite: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.id = reply.id
        self.name = reply.author_name
        self.persona = reply.persona or ""
        self.posts = list(reply.post_ids)
        self.shown = reply.content if reply.post_ids or rewrite is not None else ""
        self.passes = reply.passing  # nothing of it is kept, so nobody can do anything with it
        self.rewrites = rewrite is not None
        self.begun = rewrite is None  # whether anything new of it was stored
        self._rewrite = rewrite
        self._messages = messages

    async def showing(self, text: str) -> None:
        """Remember `text`, the whole reply so far, before any of it is seen."""
        if text == self.shown:
            return
        if self._rewrite is not None and not self.begun:
            await self._rewrite(text)
        else:
            await self._messages.show(self.id, text)
        self.begun = True
        self.shown = text

    async def posted(self, post_id: int) -> None:
        """Remember that the next part of the reply stands in this post."""
        await self._messages.posted(self.id, post_id, len(self.posts))
        self.posts.append(post_id)

    async def reposted(self, index: int, post_id: int) -> None:
        """Remember that this post took the place of another one."""
        await self._messages.posted(self.id, post_id, index)
        self.posts[index] = post_id

    async def unposted(self, post_id: int) -> None:
        """Forget a post that is no longer there."""
        self.posts.remove(post_id)
        await self._messages.delete_post(post_id)


class Delivery(Protocol):
    """Shows one reply while it is written."""

    async def open(self) -> None:
        """Show that a reply is coming."""

    def update(self, text: str) -> None:
        """The whole reply so far; returns at once. Raises `DeliveryError` if it is in vain."""

    async def finish(self, text: str) -> None:
        """Show the whole reply. Raises `DeliveryError` if that is not possible."""

    async def close(self) -> None:
        """End whatever `open` began; the reply may be unfinished."""


class Stage(Protocol):
    """One front end."""

    def delivery(self, channel: Channel, question: Message | None, record: ReplyRecord) -> Delivery:
        """A delivery for the reply to `question`; None once that is deleted."""

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        """Tell the asker of `question` what went wrong. Raises `DeliveryError`."""

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        """Show a character's message that answers nobody. Raises `DeliveryError`."""

    async def show(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        """Show `text`, which is remembered already, where the message stands. `DeliveryError`."""

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        """Take these posts of characters away. Raises `DeliveryError`."""
